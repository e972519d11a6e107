"""Work that is shared among threads, and a pool that takes no more of it, as at the end."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
from contract_data import METRICS, NEVER, assert_same, cut_as, gaussian
from processes import in_a_process

from vsearch_fast import threads
from vsearch_fast.kernels import reference
from vsearch_fast.search import topk
from vsearch_fast.search.cpu.worker import Worker
from vsearch_fast.search.sketches import build
from vsearch_fast.search.tiling import Tiling


class Refusing:
    """A pool that refuses what is submitted after the first few."""

    def __init__(self, accepted: int) -> None:
        self.pool = ThreadPoolExecutor(4)
        self.accepted = accepted
        self.submitted = 0

    def submit(self, *work: Any) -> Future:
        self.submitted += 1
        if self.submitted > self.accepted:
            raise RuntimeError("cannot schedule new futures after shutdown")
        return self.pool.submit(*work)


@pytest.fixture
def refusing(monkeypatch):
    """Makes the pool of searches one that accepts so many tasks."""
    made = []

    def make(accepted: int) -> Refusing:
        made.append(Refusing(accepted))
        monkeypatch.setattr(threads, "_pool", made[-1])
        return made[-1]

    yield make
    for refused in made:
        refused.pool.shutdown()


EVERY_STEP_IN_THE_POOL = Tiling(
    chunk_rows=7,
    sketch_rows=7,
    inline_bytes=0,
    few_pairs=0,
    many_pairs=0,
    hopeless=NEVER,
    decided_share=0,
)


def each_takes_a_chunk(monkeypatch, workers: int) -> None:
    """No worker's turn comes again before so many have had a chunk: all have pairs to decide."""
    barrier = threading.Barrier(workers)
    began = set()
    take = Worker.take

    def waiting(worker, chunk):
        if worker.number not in began:
            began.add(worker.number)
            barrier.wait(60)
        return take(worker, chunk)

    monkeypatch.setattr(Worker, "take", waiting)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("strategy", ["scan", "sketch"])
def test_a_pool_that_refuses_from_any_task_on(metric, strategy, refusing):
    """As at the interpreter's end, which may come between any two steps of a search."""
    rows = gaussian(100, 64)
    if metric == "hamming":
        rows = reference.pack_bits(rows)
    want = reference.topk(rows[:9], rows, 60, metric)
    # Three workers: a task for each of two, in the scan or in four steps, and in the merge.
    tasks = 4 if strategy == "scan" or metric == "hamming" else 10
    for accepted in (tasks, *range(tasks)):
        pool = refusing(accepted)
        with cut_as(EVERY_STEP_IN_THE_POOL), pytest.MonkeyPatch.context() as patch:
            each_takes_a_chunk(patch, min(3, accepted + 1))
            got = topk(rows[:9], rows, 60, metric=metric, strategy=strategy, threads=3)
        assert_same(got, want)
        assert pool.submitted == tasks if accepted == tasks else pool.submitted > accepted


def test_sketches_are_whole_when_a_pool_refuses(refusing):
    rows = gaussian(100)
    with cut_as(EVERY_STEP_IN_THE_POOL):
        want = build(rows, 1)
        for accepted in range(3):
            pool = refusing(accepted)
            got = build(rows, 4)
            assert pool.submitted == accepted + 1
            np.testing.assert_array_equal(got.bytes, want.bytes)
            np.testing.assert_array_equal(got.facts, want.facts)
            assert got.runs == want.runs


@pytest.mark.parametrize("accepted", range(4))
def test_each_share_of_the_work_is_done_once(accepted, refusing):
    refusing(accepted)
    done: Counter[int] = Counter()
    threads.run(lambda worker: done.update([worker]), 4, Event())
    assert done == Counter(range(4))


def test_work_of_a_thread_that_cannot_start_is_done_once(monkeypatch):
    """``submit`` queues a task before it starts a thread for it. Where the system has no more
    threads it raises, and the task stays queued for a thread that another search holds."""
    pool = ThreadPoolExecutor(8)
    monkeypatch.setattr(threads, "_pool", pool)
    free = Event()
    busy = pool.submit(free.wait)  # another search, on the one thread that there is
    done = []

    def work(worker: int) -> None:
        done.append(worker)
        if worker == 0:
            free.set()

    def no_thread(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        threads.run(work, 3, Event())
        assert busy.result(60)
    pool.shutdown()  # waits for all that is queued
    assert sorted(done) == [0, 1, 2]


def test_an_error_in_any_share_of_the_work_is_raised(refusing):
    for accepted, wrong in itertools.product(range(4), range(4)):
        refusing(accepted)
        stop = Event()

        def work(worker: int, wrong: int = wrong) -> None:
            if worker == wrong:
                raise ValueError(f"share {worker}")

        with pytest.raises(ValueError, match=f"share {wrong}"):
            threads.run(work, 4, stop)
        assert stop.is_set()


def test_sketching_and_searching_at_the_interpreters_end():
    code = """if True:
        import atexit, numpy as np
        from vsearch_fast.search import tiling
        from vsearch_fast.kernels import reference
        from vsearch_fast.search import Sketched, topk
        tiling.TILING = tiling.Tiling(
            inline_bytes=0, chunk_rows=9, sketch_rows=9, few_pairs=0
        )
        rows = np.random.default_rng(0).standard_normal((100, 20)).astype(np.float32)

        def end():
            for metric in ("l1", "l2"):
                want = reference.topk(rows[:9], rows, 5, metric)
                for database in rows, Sketched(rows, threads=3):
                    got = topk(
                        rows[:9], database, 5, metric=metric, strategy="sketch", threads=3
                    )
                    assert all(map(np.array_equal, got, want))
                    print(metric)

        BEFORE
        atexit.register(end)
    """
    for before in ("pass", "end()"):  # without a pool, and with one that was closed
        printed = in_a_process(code.replace("BEFORE", before)).split()
        assert printed == ["l1", "l1", "l2", "l2"] * (2 if before == "end()" else 1)
