"""embedder.py: order, laziness, progress, and shutting down."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from embedding_data import ahead_threads, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vsearch_fast.embedder import Batch, Embedder, ImageSkippedWarning
from vsearch_fast.errors import ArgumentError
from vsearch_fast.threads import run_ahead

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[cpu]'")


@given(st.lists(st.booleans(), max_size=30))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_picture_is_in_exactly_one_batch(embedder: Embedder, good: list[bool]) -> None:
    pixels = picture(0)
    sources = [pixels if fine else b"" for fine in good]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageSkippedWarning)
        batches = list(embedder.stream(iter(sources), on_error="skip"))
    kept = [int(position) for batch in batches for position in batch.positions]
    skipped = [skip.position for batch in batches for skip in batch.skipped]
    assert kept == [position for position, fine in enumerate(good) if fine]
    assert skipped == [position for position, fine in enumerate(good) if not fine]
    for batch in batches:
        assert isinstance(batch, Batch) and batch.positions.dtype == np.int64
        assert batch.features.shape == (len(batch.positions), 64)
        np.testing.assert_array_equal(batch.codes, np.packbits(batch.features > 0, axis=-1))
    assert all(len(batch.positions) == 4 for batch in batches[:-1])


def test_a_stream_is_lazy_and_bounded(embedder: Embedder) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield pixels

    pixels = picture(0)
    stream = embedder.stream(endless())
    assert taken == 0
    for count, _ in enumerate(stream, start=1):
        # Two batches ahead, and the picture whose arrival let the last result go.
        assert taken <= 4 * count + 2 * 4 + 1
        if count == 25:
            break
    assert len(ahead_threads()) == 2
    assert isinstance(stream, Generator)
    stream.close()
    assert ahead_threads() == []


def test_the_iterable_is_advanced_in_the_callers_thread(embedder: Embedder) -> None:
    seen = set()

    def sources() -> Iterator[np.ndarray]:
        for seed in range(9):
            seen.add(threading.current_thread())
            yield picture(seed)

    embedder.embed(sources())
    assert seen == {threading.current_thread()}


def test_an_error_in_the_iterable_reaches_the_caller(embedder: Embedder) -> None:
    def sources() -> Iterator[np.ndarray]:
        yield picture(0)
        raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        embedder.embed(sources())
    assert ahead_threads() == []


@pytest.mark.parametrize(("count", "words"), [(5, "more than the 4"), (3, "fewer than the 4")])
def test_a_wrong_len_is_told(embedder: Embedder, count: int, words: str) -> None:
    class Wrong(list):
        def __len__(self) -> int:
            return 4

    with pytest.raises(ArgumentError, match=words):
        embedder.embed(Wrong([picture(0)] * count))


def test_progress_shows_rate_and_time_left(
    embedder: Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [picture(seed) for seed in range(9)]
    embedder.embed(sources, progress=True)
    shown = capsys.readouterr().err
    assert "9/9" in shown and "images/s" in shown and "<" in shown  # elapsed<left
    list(embedder.stream(iter(sources), progress=True, total=9))
    assert "9/9" in capsys.readouterr().err
    embedder.embed(iter(sources), progress=True)
    assert "9 images" in capsys.readouterr().err
    embedder.embed(sources)
    assert capsys.readouterr() == ("", "")


def test_many_threads_may_embed_at_once(embedder: Embedder) -> None:
    sources = [picture(seed) for seed in range(9)]
    expected = embedder.embed(sources)
    results: list[np.ndarray] = []
    callers = [
        threading.Thread(target=lambda: results.append(embedder.embed(sources))) for _ in range(6)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 6
    for result in results:
        np.testing.assert_array_equal(result, expected)


# Shutting down -----------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "exception", "exhaustion", "step"])
def test_run_ahead_leaves_no_thread(end: str) -> None:
    started = []

    def step(item: int) -> int:
        started.append(item)
        time.sleep(0.02)
        if end == "step" and item == 3:
            raise LookupError(item)
        return item

    def items() -> Iterator[int]:
        for item in range(40 if end == "exhaustion" else 10**6):
            if end == "exception" and item == 30:
                raise LookupError(item)
            yield item

    results = run_ahead(step, items(), threads=3, depth=20)
    begun = time.perf_counter()
    if end == "close":
        assert next(results) == 0
        results.close()
    elif end == "exhaustion":
        assert list(results) == list(range(40))
    else:
        with pytest.raises(LookupError):
            list(results)
    assert ahead_threads() == []
    if end != "exhaustion":
        assert len(started) < 20  # what was queued and not begun is dropped
        assert time.perf_counter() - begun < 5


def test_ctrl_c_ends_a_run_at_once(model: Path) -> None:
    code = """
import itertools, sys, threading
import numpy as np
from vsearch_fast.embedder import Embedder

embedder = Embedder(sys.argv[1], batch_size=8, threads=2)
picture = np.zeros((900, 900, 3), np.uint8)
print("running", flush=True)
try:
    for batch in embedder.stream(itertools.repeat(picture)):
        pass
except KeyboardInterrupt:
    print([thread.name for thread in threading.enumerate()], flush=True)
    raise
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    interrupted = time.perf_counter()
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()  # of an endless run nothing may be left
    assert time.perf_counter() - interrupted < 60  # and not to the end of what is endless
    assert out == "['MainThread']\n"
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in err
