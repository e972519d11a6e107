"""Paired timing: contenders run in turn, in alternating order, on the same data."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from ..search import available_threads
from .cases import OURS, Answer, Case, Contender


@dataclass(frozen=True)
class Timing:
    """Median seconds of a contender on a case, and whether its answer is the reference's."""

    contender: str
    seconds: float
    exact: bool
    runs: list[float]


def same(a: Answer, b: Answer) -> bool:
    """Whether two answers agree in type and to the bit."""
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def measure(
    case: Case,
    contenders: tuple[Contender, ...],
    *,
    pairs: int,
    say: Callable[[str], None] = lambda _: None,
) -> list[Timing]:
    """Time each contender ``pairs`` times; the last contender's answer is the right one.

    The first run of each (compilation, page faults) is checked, not timed.
    """
    queries, database = case.data()
    answers: dict[str, Answer] = {}
    for contender in contenders:
        say(f"{case.metric}: {contender.name}, first run")
        answers[contender.name] = contender.search(queries, database, case)
    right = answers[contenders[-1].name]
    runs: dict[str, list[float]] = {c.name: [] for c in contenders}
    for number in range(pairs):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            say(f"{case.metric}: {contender.name}, run {number + 1} of {pairs}")
            start = time.perf_counter()
            contender.search(queries, database, case)
            runs[contender.name].append(time.perf_counter() - start)
    return [
        Timing(
            c.name,
            statistics.median(runs[c.name]),
            same(answers[c.name], right),
            runs[c.name],
        )
        for c in contenders
    ]


def ratio(timings: list[Timing], name: str) -> float:
    """Median over pairs of (time of ``name``) / (our time)."""
    of = {t.contender: t.runs for t in timings}
    return statistics.median(
        theirs / ours for theirs, ours in zip(of[name], of[OURS.name], strict=True)
    )


def environment() -> dict[str, str | int]:
    """Processor and versions, for the record of a result."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1] for line in info.read_text().splitlines() if
                 line.startswith("model name")]  # fmt: skip
        cpu = names[0].strip() if names else cpu
    versions = {name: metadata.version(name) for name in ("vsearch_fast", "numpy", "numba")}
    return {
        "cpu": cpu,
        "threads": available_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
    }
