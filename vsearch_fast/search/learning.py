"""How a reduction is learnt from a sample of rows, and whether it is worth having.

Directions are the principal ones of the sample, by subspace iteration (Halko, Martinsson and
Tropp, SIAM Review 2011), turned at random within their span so that all numbers vary alike and
one step suits them. Groups are clusters of numbers that vary together, up to their signs
(spherical k-means of their loadings on the principal directions).

All of it depends on the rows alone: equal samples give equal reductions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import usually
from . import tiling
from .reductions import Plane, Reduction, Shape, kernels, shape_for
from .rows import converted

#: Rows that are learnt from, and of these, queries that what is left is counted for.
SAMPLE = 2048
_ASKED = 64
_ITERATIONS = 2
#: Principal directions that numbers are grouped by, and turns of k-means.
_LOADINGS, _TURNS = 64, 10
#: Pairs of rows, and groups tried for each number, of regrouping.
_PAIRS, _TRIED = 512, 32
#: Numbers a row up to which that is done: it takes a quarter of a millisecond each.
_REGROUPED = 8192
#: Rows of the sample whose differences lie in the processor's cache together.
_TOGETHER = 64
#: Bytes that one more row costs wherever it lies: it is waited for.
_APART = 192
#: What pairs of many queries cost, in bytes of sketches compared in tiles (Zen 3, AVX2: 11 ps a
#: byte for L1, 18 for L2): a coarse number, a fine one, a pair of fine rows beside them, a byte of
#: a sketch by itself, a pair of sketches beside that.
_COSTS = {"l1": (2.5, 3.3, 600, 2.3, 1000), "l2": (1.6, 2.5, 500, 1.4, 600)}


def sample_of(rows: int, most: int = SAMPLE) -> NDArray[np.int64]:
    """Numbers of the rows, of so many, that a reduction is learnt from: spread over all."""
    count = min(rows, most)
    return np.arange(count) * rows // max(1, count)


def learn(rows: NDArray, metric: str) -> Reduction | None:
    """The reduction of rows ``(n, d)``, or None where it would not pay."""
    reduction = drafted(rows, metric)
    return reduction if reduction is not None and worth(reduction) else None


@usually
def drafted(rows: NDArray, metric: str) -> Reduction | None:
    """The reduction of rows, whether it pays or not; None where there can be none: of
    few numbers a row, few rows, or rows that are all alike."""
    shape = shape_for(metric, rows.shape[1])
    sample = converted(rows[sample_of(len(rows))])
    sample = sample[np.isfinite(sample).all(axis=1)]
    if shape is None or len(sample) < max(1, tiling.TILING.reduce_rows // 2):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        centre = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = sample - centre
        size = float(np.abs(centred).max(initial=0))
        if not 1e-12 < size < 1e12:  # squares must stay within float32
            return None
        few = min(_LOADINGS if metric == "l1" else shape.numbers, len(sample), sample.shape[1])
        directions, deviations = _principal(centred, few)
        if metric == "l2":
            return _along(shape, centre, directions, sample)
        return _grouped(shape, directions, deviations, sample)


def _principal(
    centred: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orthonormal rows ``(count, d)`` by falling deviation, and their deviations."""
    rng = np.random.default_rng(0)
    dim = centred.shape[1]
    basis = rng.standard_normal((dim, min(dim, count + 8)), np.float32)
    for _ in range(_ITERATIONS):
        basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
    inside = (centred @ basis).astype(np.float64)
    values, vectors = np.linalg.eigh(inside.T @ inside)
    order = np.argsort(values)[::-1][:count]
    directions = (basis.astype(np.float64) @ vectors[:, order]).T
    return directions, np.sqrt(np.maximum(values[order], 0) / len(centred))


def _turned(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    return np.linalg.qr(rng.standard_normal((count, count)))[0]


def _along(
    shape: Shape, centre: NDArray[np.float32], directions: NDArray[np.float64], sample: NDArray
) -> Reduction:
    rng = np.random.default_rng(1)
    real = len(directions)  # fewer where rows or samples are few: then numbers are zero
    first = min(shape.coarse, real)
    turn = _turned(rng, real)
    stored = np.zeros((shape.numbers, directions.shape[1]), np.float32)
    stored[:real] = turn @ directions
    combine = np.eye(shape.coarse)
    if shape.fine:
        combine = np.zeros((shape.coarse, shape.numbers))
        combine[:first, :real] = _turned(rng, first) @ turn.T[:first]
    departures = [departure(stored), departure(combine)]
    both = (1 + departures[0]) * (1 + departures[1]) - 1
    draft = Reduction(
        shape, centre, stored, combine,
        Plane(0.0, 1.0, both if shape.fine else departures[0], _ones(shape.coarse)),
        Plane(0.0, 1.0, departures[0], _ones(shape.fine)), (1.0, 1.0),
    )  # fmt: skip
    return _finished(draft, sample)


def _ones(count: int) -> NDArray[np.uint8]:
    return np.ones(count, np.uint8)


def departure(rows: NDArray) -> float:
    """A bound on how far squares of the singular values of ``rows`` are from 1, rows of zeros
    aside."""
    wide = rows[rows.any(axis=1)].astype(np.float64)
    product = wide @ wide.T
    product[np.diag_indices(len(product))] -= 1
    # The products of float32 are exact, and their sums off by 2**-53 of at most 2 each.
    rounding = (rows.shape[1] + 2) * 2.0**-52 * len(rows)
    return float(np.sqrt((product * product).sum()) * (1 + 2.0**-40) + rounding)


def _grouped(
    shape: Shape, directions: NDArray[np.float64], deviations: NDArray[np.float64],
    sample: NDArray,
) -> Reduction:  # fmt: skip
    loadings = (directions * deviations[:, None]).T
    groups, signs, centres = _clusters(loadings, shape.numbers)
    if len(groups) <= _REGROUPED:
        _regroup(groups, signs, sample, _likeness(loadings, centres))
    centres = np.zeros_like(centres)
    np.add.at(centres, groups, loadings * signs[:, None])
    combine = np.zeros((shape.coarse, shape.numbers))
    if shape.fine:
        unions, union_signs, _ = _clusters(centres, shape.coarse)
        combine[unions, np.arange(shape.numbers)] = union_signs
    else:
        combine = np.eye(shape.coarse)
    draft = Reduction(
        shape, np.zeros(shape.numbers), np.stack([groups, signs]).astype(np.float32), combine,
        Plane(0.0, 1.0, 0.0, _ones(shape.coarse)), Plane(0.0, 1.0, 0.0, _ones(shape.fine)),
        (1.0, 1.0),
    )  # fmt: skip
    centre = draft.numbers(sample).numbers.mean(axis=0)
    draft = replace(draft, centre=centre)
    fine = draft.numbers(sample)
    coarse = draft.coarser(fine).numbers.std(axis=0)
    draft = replace(draft, coarse=replace(draft.coarse, scales=scales_for(coarse, 1)))
    if shape.fine:
        scales = scales_for(fine.numbers.std(axis=0), kernels().coarse.SUMS)
        draft = replace(draft, fine=replace(draft.fine, scales=scales))
    return _finished(draft, sample)


def scales_for(deviations: NDArray[np.float64], sums: int) -> NDArray[np.uint8]:
    """Whole scales in proportion to deviations, as far as `kernels.coarse` can add them up.

    Numbers are added up in so many ``sums``, two of them in each by turns.
    """
    most = kernels().coarse.MOST
    lanes = np.arange(len(deviations)) // 2 % sums
    unit = deviations.mean() / 8
    while True:
        scales = np.clip(np.rint(deviations / unit), 1, 64) if unit > 0 else np.ones(len(lanes))
        if np.bincount(lanes, scales).max() <= most:
            return scales.astype(np.uint8)
        unit *= 1.1


def _clusters(
    loadings: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Cluster and sign of each row of loadings, and the clusters' sums of signed rows."""
    rng = np.random.default_rng(2)
    points = loadings.astype(np.float32)
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    unit = points / np.maximum(lengths, 1e-30)
    centres = unit[rng.permutation(len(unit))[np.arange(count) % len(unit)]]
    everyone = np.arange(len(points))
    for _ in range(_TURNS):
        likeness = unit @ centres.T
        groups = np.abs(likeness).argmax(axis=1)
        signs = np.where(likeness[everyone, groups] < 0, -1.0, 1.0)
        sums = np.zeros((count, points.shape[1]))
        np.add.at(sums, groups, points * signs[:, None])
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = (sums / np.maximum(length, 1e-30)).astype(np.float32)
        empty = np.flatnonzero(length[:, 0] <= 1e-30)
        centres[empty] = unit[rng.integers(0, len(unit), len(empty))]
    return groups, signs, sums


def _likeness(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine of each point and centre, their signs aside."""
    points, centres = (
        rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        for rows in (points, centres)
    )
    return np.abs(points @ centres.T)


def _regroup(
    groups: NDArray[np.int64],
    signs: NDArray[np.float64],
    sample: NDArray[np.float32],
    likeness: NDArray[np.float64],
) -> None:
    """Move numbers, one by one, to where sums of groups keep more of the distances of a sample.

    ``groups`` and ``signs`` are changed; a number is tried in the groups that it is most like.
    """
    rng = np.random.default_rng(3)
    pairs = rng.integers(0, len(sample), (4 * _PAIRS, 2))
    apart = (sample[pairs[:, 0]] - sample[pairs[:, 1]])[pairs[:, 0] != pairs[:, 1]]
    order = np.argsort(np.abs(apart).sum(axis=1))
    apart = np.ascontiguousarray(apart[order[len(order) // 20 :][:_PAIRS]].T)  # the nearer ones
    sums = np.zeros((likeness.shape[1], apart.shape[1]), np.float32)
    np.add.at(sums, groups, apart * signs[:, None].astype(np.float32))
    count = min(_TRIED, likeness.shape[1])
    tried = np.argpartition(likeness, -count, axis=1)[:, -count:]
    for _ in range(tiling.TILING.regroupings):
        for number in rng.permutation(len(groups)):
            change, here = apart[number], groups[number]
            sums[here] -= np.float32(signs[number]) * change
            places = np.append(tried[number], here)
            there = sums[places]
            before = np.abs(there).sum(axis=1)
            gains = [np.abs(there + sign * change).sum(axis=1) - before for sign in (1, -1)]
            best = int(np.argmax(np.concatenate(gains)))
            groups[number] = places[best % len(places)]
            signs[number] = 1.0 if best < len(places) else -1.0
            sums[groups[number]] += np.float32(signs[number]) * change


def _finished(draft: Reduction, sample: NDArray[np.float32]) -> Reduction:
    """The reduction with its sketches chosen, and what it leaves of the sample counted."""
    sketch = kernels().sketch
    fine = draft.numbers(sample)
    coarse = draft.coarser(fine)
    planes = []
    for mapped, plane in ((coarse, draft.coarse), (fine, draft.fine)):
        numbers = mapped.numbers
        if draft.shape.metric == "l1" and len(plane.scales):
            numbers = numbers / plane.scales
        lo, step = sketch.choose(numbers.astype(np.float32))
        planes.append(replace(plane, lo=lo, step=step))
    asked = slice(0, len(sample), max(1, len(sample) // _ASKED))
    queries = np.arange(len(sample))[asked]
    residuals = [
        mapped.residuals(plane)[0] if draft.shape.metric == "l2" else None
        for mapped, plane in zip((coarse, fine), planes, strict=True)
    ]
    left = [0.0, 0.0]
    for query in queries:
        others = np.arange(len(sample)) != query
        nearest = _nearest(sample, query, draft.shape.metric)
        for i, (mapped, plane) in enumerate(zip((coarse, fine), planes, strict=True)):
            difference = mapped.numbers[others] - mapped.numbers[query]
            apart = residuals[i]
            if apart is not None:
                reduced = np.sqrt(
                    np.einsum("ij,ij->i", difference, difference)
                    + (apart[others] - apart[query]) ** 2
                )
                error = 1.2 * plane.step * np.sqrt(difference.shape[1] / 12)
            else:
                reduced = np.abs(difference).sum(axis=1)
                error = 2 * plane.step * float(plane.scales.sum()) / 4
            left[i] += float((reduced - error <= nearest).mean()) / len(queries)
    return replace(draft, coarse=planes[0], fine=planes[1], left=(left[0], left[1]))


def _nearest(sample: NDArray[np.float32], query: int, metric: str) -> float:
    """The distance of a row of the sample to the nearest other one."""
    nearest = np.inf
    for start in range(0, len(sample), _TOGETHER):
        apart = sample[start : start + _TOGETHER] - sample[query]
        if metric == "l2":
            distances = np.sqrt(np.einsum("ij,ij->i", apart, apart))
        else:
            distances = np.abs(apart, out=apart).sum(axis=1)
        if start <= query < start + len(apart):
            distances[query - start] = np.inf
        nearest = min(nearest, float(distances.min()))
    return nearest


def worth(reduction: Reduction) -> bool:
    """Whether bounding by reduced rows first costs less than by all sketches: in bytes, which is
    what a query by itself takes, and in instructions, which is what many queries take."""
    shape, (coarse, fine) = reduction.shape, reduction.left
    left = fine if shape.fine else coarse
    read = shape.coarse_bytes + left * (reduction.dim + _APART)
    a_coarse, a_fine, fine_pair, a_byte, sketch_pair = _COSTS[shape.metric]
    cost = a_coarse * shape.coarse + left * (a_byte * reduction.dim + sketch_pair)
    if shape.fine:
        read += coarse * (shape.fine_bytes + _APART)
        cost += coarse * (a_fine * shape.fine + fine_pair)
    return max(read, cost / 0.7) < tiling.TILING.reduced_worth * reduction.dim
