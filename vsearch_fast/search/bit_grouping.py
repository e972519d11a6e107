"""How a code's bits are grouped, by a sample of codes, and whether their sums are worth having.

Bits are points in the sample's strongest common directions, and k-means on the lines that they
point along puts those together that are set together (or, inverted, never). Bits of no structure,
which fair coins are, have no groups whose sums exclude anything.

All of it depends on the codes alone: equal samples give equal groups.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import usually
from ..kernels.layout import MOST_BITS, SUMS
from . import learning, tiling
from .bit_groups import BitGroups, first_half

#: Rows that are learnt from, and of these, queries that what is left is counted for.
SAMPLE = 4096
_ASKED = 48
_NEAREST = 10
_DIRECTIONS = 16  # more separated the groups of real codes no better
_ROUNDS = 12  # of k-means
#: Bytes that one more row costs wherever it lies: it is waited for.
_APART = 192


def learn(sample: NDArray[np.uint8]) -> BitGroups | None:
    """Groups for codes like these ``(n, b)``, or None where their sums would not pay."""
    groups = drafted(sample)
    return groups if groups is not None and worth(groups) else None


def can_be(length: int) -> bool:
    """Whether codes of so many bytes can have groups: neither too short nor too long."""
    return tiling.TILING.summed_bytes <= length <= SUMS // 2 * MOST_BITS // 4


@usually
def drafted(sample: NDArray[np.uint8]) -> BitGroups | None:
    """Groups for codes like these, whether they pay or not; None where there can be none.

    Tried on the sample itself: some of its codes search the others, and what sums and first halves
    leave of them is counted.
    """
    sample = sample[learning.sample_of(len(sample), SAMPLE)]
    count, length = sample.shape
    if not can_be(length) or count < max(2, tiling.TILING.reduce_rows // 2):
        return None
    rng = np.random.default_rng(0)
    bits = np.unpackbits(sample, axis=1).astype(np.float32)
    lines = _lines(bits, rng)
    group, sign = np.empty(len(lines), np.int16), np.empty(len(lines), np.bool_)
    half = first_half(length)
    for number, part in enumerate((slice(0, 8 * half), slice(8 * half, None))):
        places, sign[part] = _grouped(lines[part], SUMS // 2, rng)
        group[part] = places + number * SUMS // 2
    draft = BitGroups(group, ~sign, (1.0, 1.0))
    return replace(draft, left=_left(draft, sample, rng))


def _left(
    groups: BitGroups, sample: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[float, float]:
    """Shares of the sample that sums leave to be read, and the first halves."""
    half = first_half(sample.shape[1])
    sums = groups.sums(sample).astype(np.int16)
    asked = rng.choice(len(sample), min(_ASKED, len(sample)), replace=False)
    left = np.zeros(2)
    for q in asked:
        others = np.arange(len(sample)) != q
        apart = np.bitwise_count(sample[others] ^ sample[q])
        first, second = (
            apart[:, part].sum(axis=1, dtype=np.int32) for part in (slice(half), slice(half, None))
        )
        place = min(_NEAREST, len(apart)) - 1
        limit = np.partition(first + second, place)[place]
        bounds = np.abs(sums[others] - sums[q])
        rest = bounds[:, SUMS // 2 :].sum(axis=1)
        left += (bounds.sum(axis=1) < limit).mean(), (first + rest < limit).mean()
    return float(left[0] / len(asked)), float(left[1] / len(asked))


def worth(groups: BitGroups) -> bool:
    """Whether reading sums first costs less than reading all codes."""
    half = groups.length / 2
    cost = SUMS + sum(groups.left) * (half + _APART)
    return cost < tiling.TILING.reduced_worth * groups.length


def _lines(bits: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Each bit as a point in the strongest directions of the sample, by subspace iteration."""
    centred = bits - bits.mean(axis=0)
    directions = rng.standard_normal((bits.shape[1], 2 * _DIRECTIONS)).astype(np.float32)
    for _ in range(5):
        directions, _ = np.linalg.qr(centred.T @ (centred @ directions))
    seen = centred @ directions
    values, turned = np.linalg.eigh(seen.T @ seen / len(bits))
    strongest = slice(None, -_DIRECTIONS - 1, -1)
    # Square roots of deviations: by these less is left than by deviations, or without any.
    scale = np.maximum(values[strongest], 0) ** 0.25
    return (directions @ turned[:, strongest] * scale).astype(np.float32)


def _grouped(
    lines: NDArray[np.float32], width: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """k-means on lines: a group and a direction for each bit, at most 255 bits a group."""
    bits = np.arange(len(lines))
    centres = lines[rng.choice(len(lines), width, replace=len(lines) < width)]
    for _ in range(_ROUNDS):
        lengths = np.linalg.norm(centres, axis=1)
        lost = lengths == 0
        centres[lost] = rng.standard_normal((int(lost.sum()), lines.shape[1]))
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        scores = lines @ centres.T
        group = np.abs(scores).argmax(axis=1)
        sign = scores[bits, group] >= 0
        centres = np.zeros_like(centres)
        np.add.at(centres, group, lines * np.where(sign, 1, -1)[:, None])
    # Those that fit best come first; a full group sends the others to their next best.
    order = np.argsort(-np.abs(scores[bits, group]), kind="stable")
    room = np.full(width, max(MOST_BITS, -(-len(lines) // width)))
    choices = np.argsort(-np.abs(scores), axis=1, kind="stable")
    for bit in order:
        for choice in choices[bit]:
            if room[choice]:
                room[choice] -= 1
                group[bit] = choice
                sign[bit] = scores[bit, choice] >= 0
                break
    return group, sign
