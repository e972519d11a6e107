"""In actors: readers beside a writer whose every commit can be told by itself.

The index always holds the same ids. Commit n writes all of them in one transaction: features of
version n and metadata of mark n, or (each third) the mark alone. So an answer that mixes two
commits, or has one's metadata with another's distances, gives itself away.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import fault_truth
import numpy as np
from fault_stage import say
from fault_truth import Content, Row, WrongError

from vsearch_fast.errors import StoreError
from vsearch_fast.index import Index

_IDS = fault_truth.ids(0, 40)
_QUERY = np.linspace(-1, 1, fault_truth.DIM, dtype=np.float32)

#: Seconds after which a child of a fork counts as hanging.
HANGING = 10.0


@lru_cache(64)
def state_of(mark: int) -> Content:
    """What commit `mark` leaves."""
    return Content(tuple(Row(id_, mark - (mark % 3 == 2), mark) for id_ in _IDS))


@lru_cache(256)
def _nearest(mark: int, metric: str) -> list[tuple[str, float]]:
    return state_of(mark).hits(_QUERY[None], 99, metric, None)[0]  # type: ignore[arg-type]


def commit(index: Index, mark: int) -> None:
    rows = state_of(mark).rows
    if mark % 3 == 2:
        index.update([row.item() for row in rows])
    else:
        fault_truth.put(index, rows, replace=True)


def make(folder: Path) -> None:
    """The index of commit 0; its segments are longer than elsewhere, since it grows fast."""
    with Index.create(
        folder, fault_truth.DIM, model_id=fault_truth.MODEL_ID, model=fault_truth.MODEL,
        segment_rows=4096,
    ) as index:  # fmt: skip
        commit(index, 0)


def keep_committing(folder: Path, seconds: float = 1e9) -> None:
    """Commit 1, 2, ... until the time is over; says their count."""
    end = time.monotonic() + seconds
    mark = 0
    with Index.open(folder, mode="rw") as index:
        say("open")
        while time.monotonic() < end:
            mark += 1
            commit(index, mark)
    say(mark)


# What readers ask: each returns the mark of the commit that the answer is of.


def _mark_of(marks: set[object], what: str) -> int:
    if len(marks) != 1:
        raise WrongError(f"{what} mixes the commits {sorted(map(str, marks))}")
    mark = marks.pop()
    assert isinstance(mark, int)
    return mark


def listed(index: Index) -> int:
    items, _ = index.page(1000)  # of one commit, where `list` meets what is added meanwhile
    mark = _mark_of({item.metadata["mark"] for item in items}, "a list")
    if items != state_of(mark).items():
        raise WrongError(f"a list of commit {mark} has {len(items)} items, not all its own")
    return mark


def counted(index: Index) -> int:
    if len(index) != len(_IDS):
        raise WrongError(f"len is {len(index)}, not {len(_IDS)}")
    return 0


def _searched(metric: str) -> Callable[[Index], int]:
    def search(index: Index) -> int:
        hits = index.search(_QUERY, 99, metric)[0]  # type: ignore[call-overload]
        mark = _mark_of({hit.metadata["mark"] for hit in hits}, f"a search by {metric}")
        found = [(hit.id, hit.distance) for hit in hits]
        if found != _nearest(mark, metric):
            raise WrongError(
                f"a search by {metric} of commit {mark}: {found[:3]}... ({len(found)}), not"
                f" {_nearest(mark, metric)[:3]}... ({len(_IDS)})"
            )
        return mark

    return search


def held(index: Any) -> int:
    """A snapshot stays what it is: all that it answers is of one commit."""
    with index.snapshot() as snapshot:
        marks = {ask(snapshot) for ask in (listed, _searched("l2"), _searched("hamming"))}
    return _mark_of(set(marks), "a snapshot")


ASKED: list[Callable[[Index], int]] = [listed, counted, *map(_searched, fault_truth.METRICS)]
if hasattr(Index, "snapshot"):
    ASKED.append(held)


class Askers:
    """Threads that ask one index over and over, each in an order of its own.

    Args:
        index: opened for reading.
        threads: how many.
        seconds: for so long, or until `stop`.
    """

    def __init__(self, index: Index, threads: int, seconds: float = 1e9) -> None:
        self.answers: Counter[str] = Counter()
        self.errors: list[str] = []
        self.marks: set[int] = set()
        self.end = time.monotonic() + seconds
        self._index = index
        self._threads = [
            threading.Thread(target=self._ask, args=(random.Random(n),), daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, numbers: random.Random) -> None:
        last = 0
        while time.monotonic() < self.end:
            try:
                mark = numbers.choice(ASKED)(self._index)
                if mark and mark < last:
                    raise WrongError(f"commit {mark} after commit {last}")
                last = max(last, mark)
                self.marks.add(mark)
                self.answers["right"] += 1
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                return

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def ask_in_threads(folder: Path, threads: int, seconds: float) -> tuple[int, int, list[str]]:
    """Ask beside a writer: how many answers were right, of how many commits, and what was wrong."""
    with Index.open(folder) as index:
        askers = Askers(index, threads, seconds)
        askers.join()
    return askers.answers["right"], len(askers.marks), askers.errors


def fork_beside_threads(folder: Path, writer: str, forks: int) -> str:
    """Fork so many children beside threads that search and list; each child asks once and ends.
    Says of each what became of it: "right", "refused" (a StoreError in words), or what is wrong.

    Args:
        writer: "thread": one of this process writes meanwhile; "process": another does.
    """
    numbers = random.Random(forks)
    index = Index.open(folder)
    for ask in ASKED:  # what the first search of a process loads is loaded
        ask(index)
    askers = Askers(index, 4)
    if writer == "thread":
        threading.Thread(target=_write, args=(folder,), daemon=True).start()
    hung = 0
    for _ in range(forks):
        time.sleep(numbers.random() * 0.004)
        outcome = _fork(index, ASKED[numbers.randrange(len(ASKED))])
        hung += outcome.startswith("hung")
        say(outcome)
        if hung > 5:
            say("no more are tried: it hangs time and again")
            break
    say(f"parent: {'; '.join(askers.errors) or 'right'}")
    return "done"


def _write(folder: Path) -> None:
    with Index.open(folder, mode="rw") as index:
        mark = 0
        while True:
            mark += 1
            commit(index, mark)


def _fork(index: Index, ask: Callable[[Index], int]) -> str:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        faulthandler.dump_traceback_later(HANGING - 2, file=writer)
        try:
            ask(index)
            told = "right"
        except StoreError as error:
            told = f"refused {error}" if error.cure else f"unworded {error!r}"
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        os.write(writer, told.encode()[:4000])
        os._exit(0)
    os.close(writer)
    end = time.monotonic() + HANGING
    status = None
    while time.monotonic() < end:
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(code)
            break
        time.sleep(0.001)
    if status is None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with open(reader, "rb") as file:
        told = file.read().decode(errors="replace")
    if status is None:
        return f"hung over {HANGING:.0f} s in {ask.__qualname__}: {told}"
    return told if status == 0 else f"ended by {status}: {told}"


def read_when_told(folder: Path, go: Path, opened: bool) -> float:
    """With an index that is `opened` before or after a file `go` appears: list and search it.
    Returns the seconds that this took; the answers are those of a state of `fault_operations`."""
    index = Index.open(folder) if opened else None
    say("open")
    while not go.exists():
        time.sleep(0.005)
    begin = time.monotonic()
    index = index or Index.open(folder)
    len(index)
    list(index)
    index.search(_QUERY, 5)
    took = time.monotonic() - begin
    say(took)
    return took


def ask_copy(folder: Path) -> str:
    """Whether a copy answers all of one commit ("right") or is "refused"."""
    try:
        with Index.open(folder) as index:
            marks = {ask(index) for ask in ASKED if ask is not counted}
    except StoreError as error:
        if not (error.cause and error.consequence and error.cure):
            raise WrongError(f"not worded: {error!r}") from error
        return "refused"
    _mark_of(set(marks), "a copy")
    return "right"
