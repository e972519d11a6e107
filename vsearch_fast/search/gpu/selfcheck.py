"""A small search on a device against the definition, before its first result is believed.

What it must catch is arithmetic that is not what was asked for: subnormal numbers flushed,
multiply-adds fused, a matrix layout that is not what was assumed. So it runs every scan that the
device has, on random rows with subnormal numbers, ties and duplicates among them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ...kernels import layout, reference, sketch
from ...kernels.cuda import sources
from ...kernels.cuda.device import Device
from ..learning import departure
from ..reductions import Plane, Reduction, Shape
from ..sketches import build
from .blocks import Block, Live, ReducedPart, Vectors, padded
from .host import HostRows
from .resident_rows import count_bits
from .rounds import Problem, search

_ROWS, _QUERIES, _DIM, _BYTES, _K = 300, 9, 160, 80, 12
#: So many numbers that reductions exclude much, of L1 as of L2.
_SHAPES = {"l1": Shape("l1", 96, 192), "l2": Shape("l2", 96, 160)}


def check(device: Device) -> str:
    """What went wrong, or the empty string."""
    try:
        with device.use():
            for what, right in _trials(device):
                if not right:
                    return f"{what} gave wrong results"
    except Exception as error:  # a driver's, a compiler's: whatever it is, it cannot be trusted
        return f"{type(error).__name__}: {error}"
    return ""


def _trials(device: Device) -> Iterator[tuple[str, bool]]:
    """(kernel, whether its results are those of the definition)."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (_ROWS, _BYTES), dtype=np.uint8)
    floats = np.maximum(rng.standard_normal((_ROWS, _DIM), np.float32), 0)
    for rows in (codes, floats):
        rows[7::50] = rows[3]
    floats[11] *= np.float32(1e-40)  # subnormal
    floats[12] *= np.float32(1e-20)  # with squares that are
    live = np.delete(np.arange(_ROWS, dtype=np.uint32), [0, 5, 250])
    for metric, rows in (("hamming", codes), ("l1", floats), ("l2", floats)):
        queries = rows[:_QUERIES].copy()
        queries[4] = 0
        mask = np.zeros(_ROWS, np.bool_)
        mask[live] = True
        expected = reference.topk(queries, rows, _K, metric, mask)
        families = (
            ["hamming"] if metric == "hamming" else [f"{metric}_sketches", f"{metric}_floats"]
        )
        for family in families:
            for kernel in sources.scans_for(family, device.capability):
                found = _search(device, metric, family, kernel, queries, rows, Live(live))
                yield kernel, _same(found, expected)
        if metric != "hamming":
            family, reduced = families[0], _reduction(metric, floats)
            found = _search(device, metric, family, None, queries, rows, Live(live), reduced)
            yield f"{metric}_reduced", _same(found, expected)


def _same(found: tuple[NDArray, NDArray], expected: tuple[NDArray, NDArray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def _reduction(metric: str, rows: NDArray[np.float32]) -> Reduction:
    """A reduction of rows to about as many numbers as they have: turned, or regrouped."""
    shape, dim = _SHAPES[metric], rows.shape[1]
    centre = rows.mean(axis=0)
    departures = [0.0, 0.0]
    if metric == "l2":
        directions = np.linalg.svd(rows - centre)[2][: shape.fine].astype(np.float32)
        combine = np.eye(shape.coarse, shape.fine)
        fine = departure(directions)
        departures = [(1 + fine) * (1 + departure(combine)) - 1, fine]
    else:
        numbers = np.arange(dim)
        directions = np.stack([numbers, 1 - numbers % 3 % 2 * 2]).astype(np.float32)
        combine = np.zeros((shape.coarse, shape.fine))
        combine[np.arange(shape.fine) // 2, np.arange(shape.fine)] = 1
        centre = np.zeros(shape.fine)
    scales = [np.ones(count, np.uint8) for count in (shape.coarse, shape.fine)]
    wide, narrow = (Plane(0.0, 1.0, d, s) for d, s in zip(departures, scales, strict=True))
    draft = Reduction(shape, centre, directions, combine, wide, narrow, (0.0, 0.0))
    mapped = draft.numbers(rows)
    wide, narrow = (
        Plane(*sketch.choose(some.numbers.astype(np.float32)), d, s)
        for some, d, s in zip((draft.coarser(mapped), mapped), departures, scales, strict=True)
    )
    return Reduction(shape, centre, directions, combine, wide, narrow, (0.0, 0.0))


def _search(
    device: Device,
    metric: str,
    family: str,
    kernel: str | None,
    queries: NDArray,
    rows: NDArray,
    live: Live,
    reduction: Reduction | None = None,
) -> tuple[NDArray, NDArray]:
    host = np.zeros((len(rows), padded(rows.shape[1] * rows.itemsize)), np.uint8)
    host[:, : rows.shape[1] * rows.itemsize] = rows.view(np.uint8)
    stored = device.upload(host)
    block = Block(family, stored, 0, len(rows), live=live, kernel=kernel)
    if metric == "hamming":
        block.sums = count_bits(device, stored)
    else:
        block.vectors = Vectors(stored, halves=False)
        if family.endswith("sketches"):
            made = build(rows, 1)
            block.rows = device.upload(made.bytes)
            column = layout.E2 if metric == "l2" else layout.E1
            block.errors = device.upload(made.facts[:, column].copy())
            block.sums = device.upload(made.facts[:, layout.SQUARES].astype(np.uint32))
            block.runs = tuple(made.runs)
    if reduction is not None:
        whole = len(rows) // layout.PAGE * layout.PAGE
        pages = (device.upload(part) for part in reduction.reduce(rows[:whole]))
        block.reduced = (ReducedPart(reduction, 0, whole, *pages),)
        block.first_rows = 2 * _K

    def refuse(row: int) -> Exception:
        return ArithmeticError(f"row {row} seems not to be finite")

    rows_there = None if metric == "hamming" else HostRows([rows], 1)
    problem = Problem(metric, queries.shape[1], _K, rows_there, refuse)
    distances, ids, _, _ = search(device, problem, queries, lambda: (one for one in [block]))
    return distances, ids


#: Error of a device that gave wrong results in this process, by its number.
_distrusted: dict[str, str] = {}
_checking = Lock()


def trusted(some: Sequence[Device]) -> bool:
    """Whether all devices pass the self-check, which runs once a process; warns where not."""

    with _checking:
        for device in some:
            key = repr(device)
            if key not in _distrusted:
                _distrusted[key] = check(device)
                if _distrusted[key]:
                    warnings.warn(
                        f"{device.name} failed the self-check: {_distrusted[key]}. Searches of this"
                        " process use the processor instead. Please report this, with the device"
                        " and the versions of CuPy and the driver.",
                        RuntimeWarning,
                        stacklevel=4,
                    )
        return not any(_distrusted[repr(device)] for device in some)
