"""8-bit sketches of a database's float rows: a quarter of the memory, and proved bounds.

    fast = Sketched(vectors)                        # once
    distances, ids = topk(queries, fast, k=10, metric="l2")

An `Index` stores sketches beside its vectors and needs none of this. How a sketch excludes
rows is told in `vsearch_fast.kernels.sketch`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import usually
from ..kernels import layout
from ..kernels.memory import aligned
from ..loading import once, package
from ..machine import available_threads
from ..threads import run
from . import learning, tiling
from .reductions import Reduced, Reduction
from .rows import Live, converted

#: Metrics that rows can be reduced for.
REDUCED = ("l1", "l2")
#: Rows that parameters are chosen by, of each run.
_SAMPLE = 32
#: Rows that show whether the parameters of the run before serve, and residuals at which they do.
_FEW = 8
_GOOD_ENOUGH = 1.1


@dataclass(frozen=True, slots=True)
class Run:
    """Rows from ``start`` on, to the next run, that share ``x_hat = lo + step * u``."""

    start: int
    lo: float
    step: float
    lost: float
    """Residuals in proportion to the spread of the rows that lo and step were chosen by."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """The sketch of the first rows of an array.

    Attributes:
        bytes: uint8 (rows, `kernels.layout.width_of` (dim)), C-contiguous.
        facts: float64 (rows, 4): residual norms and sums (`kernels.sketch`).
        runs: what the bytes mean, in ascending order of rows.
        bad: numbers of the rows that hold NaN or infinity.
        reduced: by metric, the rows that are reduced, too, in ascending order.
    """

    bytes: NDArray[np.uint8]
    facts: NDArray[np.float64]
    runs: Sequence[Run]
    bad: NDArray[np.int64]
    reduced: Mapping[str, Sequence[Reduced]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.bytes)

    @cached_property
    def joined(self) -> list[tuple[Run, int]]:
        """Runs and where they end; neighbours of equal parameters as one."""
        joined: list[tuple[Run, int]] = []
        stops = [*(run_.start for run_ in self.runs[1:]), len(self)]
        for run_, stop in zip(self.runs, stops, strict=False):
            if joined and (joined[-1][0].lo, joined[-1][0].step) == (run_.lo, run_.step):
                joined[-1] = (joined[-1][0], stop)
            else:
                joined.append((run_, stop))
        return joined

    def runs_within(self, start: int, stop: int) -> tuple[Run, ...]:
        """The runs of rows ``start`` to ``stop``, numbered from ``start``."""
        ends = [*(run_.start for run_ in self.runs[1:]), len(self)]
        return tuple(
            Run(max(0, run_.start - start), run_.lo, run_.step, run_.lost)
            for run_, end in zip(self.runs, ends, strict=False)  # no run: one end, of no rows
            if run_.start < stop and end > start
        )


@once
def _kernels() -> Any:
    package("numba")
    from ..kernels import sketch

    return sketch


@usually
def choose_run(rows: NDArray, start: int = 0, before: Run | None = None) -> Run:
    """A run for these rows, with the parameters of the one before where they serve as well.

    Equal parameters spare a search from sketching its queries anew.
    """
    sketch = _kernels()
    sample = converted(rows[:: max(1, len(rows) // _SAMPLE)][:_SAMPLE])
    sample = sample[np.isfinite(sample).all(axis=1)]
    if before is not None:
        few = np.ascontiguousarray(sample[:: max(1, len(sample) // _FEW)])
        lost = _lost(few, before.lo, before.step)
        if lost <= _GOOD_ENOUGH * before.lost:
            return Run(start, before.lo, before.step, before.lost)
    lo, step = sketch.choose(sample)
    return Run(start, lo, step, _lost(sample, lo, step))


def live_sample(rows: NDArray, live: Live, first: int) -> NDArray:
    """Rows to choose a run by: those that live, the first of them the ``first`` of ``live``."""
    if live is None:
        return rows
    numbers = np.flatnonzero(live[first:])
    return rows[numbers[:: max(1, len(numbers) // _SAMPLE)][:_SAMPLE]]


def _lost(sample: NDArray[np.float32], lo: float, step: float) -> float:
    """Residuals in proportion to how far the numbers spread."""
    sketch = _kernels()
    if sample.size == 0:
        return 0.0
    spread = float(sample.std(dtype=np.float64))
    residual = sketch.residual(sample, lo, step)
    return residual / spread if spread > 0 else residual


@usually
def sketch_block(
    rows: NDArray, lo: float, step: float, out: NDArray[np.uint8], facts: NDArray[np.float64]
) -> bool:
    """Sketch rows into ``out`` and ``facts``; whether all of them are finite."""
    block = converted(rows)
    base = block.__array_interface__["data"][0]
    return _kernels().sketch_rows(base, block.strides[0], block.shape[1], lo, step, out, facts) < 0


def sketch_live(
    rows: NDArray, live: Live, lo: float, step: float, out: NDArray[np.uint8],
    facts: NDArray[np.float64],
) -> bool:  # fmt: skip
    """`sketch_block` of the rows that live, at their places; of others neither is written."""
    if live is None:
        return sketch_block(rows, lo, step, out, facts)
    numbers = np.flatnonzero(live)
    data, some = (
        np.empty((len(numbers), out.shape[1]), np.uint8),
        np.empty((len(numbers), layout.FACTS)),
    )
    finite = sketch_block(rows[numbers], lo, step, data, some)
    out[numbers], facts[numbers] = data, some
    return finite


@usually
def build(array: NDArray, threads: int | None = None, reduced: Sequence[str] = REDUCED) -> Sketch:
    """Sketch all rows of an array of floats, in parallel.

    Args:
        reduced: metrics whose reductions are learnt, too, and taken where they pay: seconds each.
    """
    rows, dim = array.shape
    data = aligned((rows, layout.width_of(dim)), np.uint8)
    facts = np.empty((rows, layout.FACTS))
    size = tiling.TILING.sketch_rows
    starts = range(0, rows, size)
    runs: list[Run] = []
    for start in starts:
        runs.append(choose_run(array[start : start + size], start, runs[-1] if runs else None))
    workers = max(1, min(threads or available_threads(), len(runs)))
    stop = Event()

    def work(worker: int) -> None:
        for run_ in runs[worker::workers]:
            if stop.is_set():
                return
            part = slice(run_.start, run_.start + size)
            sketch_block(array[part], run_.lo, run_.step, data[part], facts[part])

    run(work, workers, stop)
    bad = np.flatnonzero(~np.isfinite(facts[:, layout.E2]))
    return Sketch(data, facts, runs, bad, _reduced(array, reduced, workers, stop))


def _reduced(
    array: NDArray, metrics: Sequence[str], workers: int, stop: Event
) -> dict[str, list[Reduced]]:
    """The rows of an array reduced, by metric, where that pays."""
    made: dict[str, list[Reduced]] = {}
    count = len(array) // layout.PAGE * layout.PAGE
    if len(array) < tiling.TILING.reduce_rows:
        return made
    for metric in metrics:
        reduction = learning.learn(array, metric)
        if reduction is None:
            continue
        shape = reduction.shape
        coarse = aligned((count, shape.coarse_bytes), np.uint8)
        fine = aligned((count, shape.fine_bytes), np.uint8)
        size = -(-tiling.TILING.sketch_rows // layout.PAGE) * layout.PAGE
        starts = range(0, count, size)

        def work(
            worker: int, starts: range = starts, size: int = size,
            reduction: Reduction = reduction, coarse: NDArray = coarse, fine: NDArray = fine,
        ) -> None:  # fmt: skip
            for start in starts[worker::workers]:
                if stop.is_set():
                    return
                part = slice(start, min(start + size, count))
                coarse[part], fine[part] = reduction.reduce(array[part])

        run(work, workers, stop)
        made[metric] = [Reduced(reduction, 0, coarse, fine)]
    return made


class Sketched:
    """A database with its sketch, for many searches of floats: pass it to `topk` for the array.

    Args:
        database: ``(n, d)`` float16, float32 or float64 (rounded to float32); kept, not copied,
            and not to be changed. Memory-mapped arrays stay on disk.
        threads: None for all processors that the process may use.

    Attributes:
        array: the database.
        sketch: its `Sketch`: about ``n * d`` bytes in memory.

    Raises:
        ArgumentError, DTypeError: as `topk`.
    """

    def __init__(self, database: NDArray, *, threads: int | None = None) -> None:
        from .arguments import checked_array

        self.array = checked_array(database, "the database", "l2")
        self.sketch = build(self.array, threads)

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> Any:
        """(n, d)."""
        return self.array.shape

    def __reduce__(self) -> tuple[Any, ...]:
        # Views of cache lines become plain arrays; an array in a file is copied.
        return _sketched, (type(self), np.asarray(self.array), self.sketch)

    def __repr__(self) -> str:
        rows, dim = self.array.shape
        return f"<Sketched {rows:,} x {dim}, {self.sketch.bytes.nbytes / 1e6:,.0f} MB>"


def _sketched(kind: type[Sketched], array: NDArray, sketch: Sketch) -> Sketched:
    """A `Sketched` as it was pickled."""
    made = kind.__new__(kind)
    made.array, made.sketch = array, sketch
    return made
