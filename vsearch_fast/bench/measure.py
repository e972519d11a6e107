"""Paired timing: contenders run in turn, in alternating order, on the same data."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .answers import mistakes, right_answer, same
from .cases import Case
from .contenders import OURS, Contender, Search
from .roofs import reader

Say = Callable[[str], None]

#: Threads of the libraries' own pools spin for a while after their work: the next run waits.
_PAUSE = 0.005

#: Runs of a contender that takes long, at least.
_FEWEST = 3


@dataclass
class Timing:
    """One contender on one case.

    Attributes:
        runs: seconds of each timed run, by the number of its round.
        prepared: seconds of what was done once for the database.
        wrong: wrong ids (`answers.mistakes`), of queries x k.
        error: largest relative error of its distances.
        exact: whether its answer is the right one to the bit, types included.
        why_not: why it has no times, where it has none.
        proof: how our answer was proved.
    """

    contender: str
    runs: dict[int, float] = field(default_factory=dict)
    prepared: float = 0.0
    wrong: int = 0
    error: float = 0.0
    exact: bool = False
    why_not: str = ""
    proof: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        """Median."""
        return statistics.median(self.runs.values())


@dataclass
class Measured:
    """All contenders on one case; ours is the first of ``timings``.

    Attributes:
        checked: queries whose right answer was checked against the definition.
        right: whether that check held.
        reads: seconds to read the database once with all threads, by round: between the runs
            of a case of one query.
    """

    case: Case
    timings: list[Timing]
    checked: int
    right: bool
    reads: dict[int, float]

    @property
    def ours(self) -> Timing:
        return self.timings[0]

    @property
    def ok(self) -> bool:
        """Whether our answer is the right one and that is checked."""
        return self.right and self.ours.exact


def paired_ratio(these: Mapping[int, float], those: Mapping[int, float]) -> float:
    """Median over common rounds of (time of these) / (time of those)."""
    return statistics.median(these[n] / those[n] for n in these if n in those)


def rounds_of(pairs: int, runs: int) -> set[int]:
    """Numbers of ``runs`` rounds spread over ``pairs``; the first among them."""
    return {number * pairs // runs for number in range(runs)}


def alternate(
    contenders: Mapping[str, Callable[[], object]],
    pairs: int,
    budget: float,
    first: Mapping[str, float],
    say: Say,
) -> dict[str, dict[int, float]]:
    """Seconds of each contender by round, run in turn, every second round backwards.

    Each takes part in all ``pairs`` rounds, unless that would take it more than ``budget``
    seconds, judged by its ``first`` run: then in as many as that allows, at least 3.
    """
    takes_part = {}
    for name in contenders:
        runs = int(budget / max(first[name], 1e-9))
        takes_part[name] = rounds_of(pairs, min(pairs, max(_FEWEST, runs)))
    seconds: dict[str, dict[int, float]] = {name: {} for name in contenders}
    for number in range(pairs):
        for name in contenders if number % 2 == 0 else reversed(list(contenders)):
            if number not in takes_part[name]:
                continue
            say(f"{name}, run {number + 1} of {pairs}")
            time.sleep(_PAUSE)
            start = time.perf_counter()
            contenders[name]()
            seconds[name][number] = time.perf_counter() - start
    return seconds


def _once(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def measure(
    case: Case,
    queries: NDArray,
    database: NDArray,
    contenders: Sequence[Contender],
    *,
    pairs: int,
    threads: int,
    budget: float = 20.0,
    say: Say = lambda _: None,
    ours: Contender = OURS,
) -> Measured:
    """Time ``ours`` and those contenders that have the case's metric and fit it.

    The first run of each (compilation, page faults) is checked, not timed. Those that are not
    installed, or fail, are listed with the reason. Who takes no float16 rows gets the same numbers
    as float32, beforehand.
    """
    what = f"{case.metric}, {case.rows:,} rows, {case.queries} queries: "
    say(f"{what}the right answer")
    right, checked, held = right_answer(queries, database, case, threads)
    timings: list[Timing] = []
    searches: list[tuple[Timing, Search]] = []
    first: dict[str, float] = {}
    for contender in (ours, *contenders):
        if case.metric not in contender.metrics:
            continue
        timing = Timing(contender.name)
        timings.append(timing)
        if not contender.installed:
            timing.why_not = f"not installed: pip install {contender.package}"
            continue
        if not contender.fits(case):
            timing.why_not = f"not run above {contender.limit}"
            continue
        say(f"{what}{contender.name}, first run")
        try:
            given = database
            if database.dtype == np.float16 and not contender.halves:
                given = database.astype(np.float32)
            search, timing.prepared = _once(partial(contender.prepare, given, case, threads))
            del given
            answer, first[contender.name] = _once(partial(search, queries))
        except Exception as error:  # a peer's: told in its row, and the others go on
            if contender is ours:
                raise
            timing.why_not = f"failed: {type(error).__name__}: {error}"
            continue
        timing.exact = same(answer, right)
        timing.wrong, timing.error = mistakes(answer, right, queries, database, case.metric)
        if explain := getattr(search, "proof", None):
            timing.proof = asdict(explain(queries))
        searches.append((timing, search))
    runs: dict[str, Callable[[], object]] = {
        timing.contender: partial(search, queries) for timing, search in searches
    }
    if case.queries == 1:
        with ThreadPoolExecutor(threads) as pool:
            once = reader(database, threads)
            runs["read"] = lambda: once(pool)
            first["read"] = _once(runs["read"])[1]
            seconds = alternate(runs, pairs, budget, first, lambda text: say(what + text))
    else:
        seconds = alternate(runs, pairs, budget, first, lambda text: say(what + text))
    for timing, _ in searches:
        timing.runs = seconds[timing.contender]
    searches.clear()
    runs.clear()
    gc.collect()  # the peers' copies of the database go before the next case's are made
    return Measured(case, timings, checked, held, seconds.get("read", {}))
