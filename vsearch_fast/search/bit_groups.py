"""Hamming search that reads most rows in a few bytes: sums of groups of their bits.

`Grouped` keeps 32 or 64 sums beside each code of its array; `topk_grouped` bounds all rows by
these and counts the bits of those that are left (`kernels.bit_groups`). The answer is `topk`'s.

Groups are chosen by a sample: its bits' strongest common directions, and k-means on the lines that
the bits point along, so that a group has bits which are set together (or, inverted, never). Where
the sample says that reading would not become a good deal less, there are no groups, no sums, and
rows are scanned as ever: so for random bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import usually
from ..checks import array_of
from ..errors import ArgumentError
from ..kernels import bit_groups
from ..kernels.cache import prepare
from ..kernels.hamming import UNROLLED
from ..kernels.level import simd_level
from ..kernels.memory import aligned
from ..kernels.simd_groups import VECTOR
from ..kernels.simd_u8 import number_of
from ..machine import available_threads
from ..threads import run
from .arguments import checked_array, checked_masks, checked_options
from .cpu.buffers import capacity_for, merge, merging
from .dispatch import topk
from .proof import Work
from .rows import Live, converted, direct, no_mask

#: Sums a row, of which the sample chooses.
WIDTHS = (VECTOR, 2 * VECTOR)
SAMPLE_ROWS = 4096
_DIRECTIONS = 16  # more separated the groups of real codes no better
_ROUNDS = 12  # of k-means
_TRIED_QUERIES = 48
_NEAREST = 10
#: Share of the bytes of a scan that may be read at most: a row by itself costs more than in a run.
MOST_READ = 0.6
_BLOCK = 4096  # rows whose sums are made at a time
_GUESSED = 16_384  # rows whose bounds tell which are promising, for a limit to begin with


@dataclass(frozen=True, eq=False)
class BitGroups:
    """Which sum each bit adds to.

    Attributes:
        group: int16 ``(bits,)``, numbers of groups below ``width``.
        inverted: bool ``(bits,)``: bits that are counted where they are not set.
        width: sums a row, a multiple of 32; at most 255 bits add to each.
        read: share of the bytes of a scan that the sample's searches read.
    """

    group: NDArray[np.int16]
    inverted: NDArray[np.bool_]
    width: int
    read: float

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """What each value of each half byte adds to each sum, as `kernels.bit_groups` takes it."""
        bits = np.arange(len(self.group))
        table = aligned((len(bits) // 4, 16, self.width), np.uint8)
        table[:] = 0
        # np.packbits: the first bit of a byte is the highest. Plane 2 b is the lower half.
        plane, shift = 2 * (bits // 8) + (bits % 8 < 4), 3 - bits % 4
        for value in range(16):
            counted = (value >> shift & 1) ^ self.inverted
            np.add.at(table[:, value], (plane, self.group), counted.astype(np.uint8))
        table.flags.writeable = False
        return table

    def sums(self, codes: NDArray[np.uint8], threads: int | None = None) -> NDArray[np.uint8]:
        """``(n, width)`` sums of packed codes ``(n, bits / 8)``."""
        table = self.table
        out = aligned((len(codes), self.width), np.uint8)
        blocks = range(0, len(codes), _BLOCK)
        turn = iter(blocks)
        workers = max(1, min(threads or available_threads(), len(blocks)))
        prepare([bit_groups.group_sums])

        def work(_: int) -> None:
            for start in turn:
                rows = codes[start : start + _BLOCK]
                if not direct(rows, np.dtype(np.uint8)):
                    rows = converted(rows, np.uint8)
                bit_groups.group_sums(
                    rows.__array_interface__["data"][0], rows.strides[0], rows.shape[1], len(rows),
                    table, out[start : start + len(rows)],
                )  # fmt: skip

        run(work, workers, Event())
        return out


def choose_groups(sample: NDArray[np.uint8], seed: int = 0) -> BitGroups | None:
    """Groups for codes like those of a sample, or None where bounds by them would not pay.

    Tried on the sample itself: some of its codes search the others, as many are near a query as
    among the rows that the sample stands for at most, and what such searches read is counted.

    Args:
        sample: packed codes ``(n, b)``; a few thousand rows from all over the database. Fewer than
            64, or codes of less than 64 bytes, have no groups.
    """
    count, length = sample.shape
    if count < 64 or length < 64:
        return None
    rng = np.random.default_rng(seed)
    codes = sample
    if count > SAMPLE_ROWS:
        codes = sample[np.sort(rng.choice(count, SAMPLE_ROWS, replace=False))]
    bits = np.unpackbits(codes, axis=1).astype(np.float32)
    lines = _lines(bits, rng)
    tried = rng.choice(len(codes), min(_TRIED_QUERIES, len(codes) // 8), replace=False)
    distances = np.array([np.bitwise_count(codes ^ codes[q]).sum(axis=1) for q in tried])
    distances[np.arange(len(tried)), tried] = 8 * length + 1  # not itself
    limits = np.partition(distances, _NEAREST - 1, axis=1)[:, _NEAREST - 1]
    best: BitGroups | None = None
    for width in WIDTHS:
        group, sign = _grouped(lines, width, rng)
        matrix = np.zeros((8 * length, width), np.float32)
        matrix[np.arange(8 * length), group] = np.where(sign, 1, -1)
        sums = bits @ matrix
        bounds = np.array([np.abs(sums - sums[q]).sum(axis=1) for q in tried])
        left = float((bounds < limits[:, None]).mean())
        read = width / length + left
        if read <= MOST_READ and (best is None or read < best.read):
            best = BitGroups(group.astype(np.int16), ~sign, width, read)
    return best


def _lines(bits: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Each bit as a point in the strongest directions of the sample, by subspace iteration."""
    centred = bits - bits.mean(axis=0)
    directions = rng.standard_normal((bits.shape[1], 2 * _DIRECTIONS)).astype(np.float32)
    for _ in range(5):
        directions, _ = np.linalg.qr(centred.T @ (centred @ directions))
    seen = centred @ directions
    values, turned = np.linalg.eigh(seen.T @ seen / len(bits))
    strongest = slice(None, -_DIRECTIONS - 1, -1)
    scale = np.sqrt(np.maximum(values[strongest], 0))
    return (directions @ turned[:, strongest] * scale).astype(np.float32)


def _grouped(
    lines: NDArray[np.float32], width: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """k-means on lines: a group and a direction for each bit, at most 255 bits a group."""
    bits = np.arange(len(lines))
    centres = lines[rng.choice(len(lines), width, replace=False)]
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
    room = np.full(width, max(bit_groups.MOST_BITS, -(-len(lines) // width)))
    choices = np.argsort(-np.abs(scores), axis=1, kind="stable")
    for bit in order:
        for choice in choices[bit]:
            if room[choice]:
                room[choice] -= 1
                group[bit] = choice
                sign[bit] = scores[bit, choice] >= 0
                break
    return group, sign


class Grouped:
    """Codes and the sums of groups of their bits, for `topk_grouped`.

    Attributes:
        array: packed codes ``(n, b)``, as they were given.
        groups: how their bits are grouped; None where a sample said that it would not pay (or
            codes of more than 16,320 bits, which 64 groups of 255 cannot hold).
        sums: uint8 ``(n, width)``, or None.
    """

    def __init__(
        self,
        array: NDArray[np.uint8],
        groups: BitGroups | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        self.array = checked_array(array, "the database", "hamming")
        self.groups = groups
        if groups is not None and len(groups.group) != 8 * self.array.shape[1]:
            raise ArgumentError(
                f"the groups are of other bits: {len(groups.group)} of them, and codes have "
                f"{8 * self.array.shape[1]}",
                "No sums were made",
                "Choose groups by a sample of these codes",
            )
        if groups is None and 8 * self.array.shape[1] <= max(WIDTHS) * bit_groups.MOST_BITS:
            stride = max(1, len(self.array) // SAMPLE_ROWS)
            self.groups = choose_groups(np.ascontiguousarray(self.array[::stride]))
        self.sums = None if self.groups is None else self.groups.sums(self.array, threads)

    def __len__(self) -> int:
        return len(self.array)


@usually
def topk_grouped(
    queries: NDArray[np.uint8],
    database: Grouped,
    k: int,
    *,
    mask: NDArray[np.bool_] | None = None,
    threads: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int64], Work]:
    """`topk` by Hamming distance; also what was read: pairs ``sketched`` are those bounded.

    Args:
        queries: packed ``(q, b)``.
        database: codes with their sums; without these all rows are scanned.
        k, mask, threads: as for `topk`.
    """
    array, sums, groups = database.array, database.sums, database.groups
    if sums is None or groups is None or not direct(array, np.dtype(np.uint8)):
        distances, ids, proof = topk(
            queries, array, k, metric="hamming", mask=mask, threads=threads, explain=True
        )
        return distances, ids, Work(scanned=proof.scanned, bytes_read=proof.bytes_read)
    k = checked_options(k, "hamming", "cpu", "auto", threads)
    queries = array_of(queries, "queries", "Nothing was searched")
    queries = checked_array(queries[None] if queries.ndim == 1 else queries, "queries", "hamming")
    if queries.shape[1] != array.shape[1]:
        raise ArgumentError(
            f"queries have {queries.shape[1]} columns and the database {array.shape[1]}",
            "Nothing was searched",
            "Use codes of one model, packed alike, for both",
        )
    (live,) = checked_masks(None if mask is None else [mask], [array])
    rows = len(array) if live is None else int(np.count_nonzero(live))
    best = np.empty((len(queries), min(k, rows)), np.int32)
    best_ids = np.empty(best.shape, np.int64)
    work = Work()
    if best.size:
        batch = max(1, min(1024, (24 << 20) // (16 * capacity_for(best.shape[1]))))
        for first in range(0, len(queries), batch):
            part = slice(first, first + batch)
            some = np.ascontiguousarray(queries[part])
            work.add(
                _search(
                    some, groups.sums(some, 1), array, sums, live, best[part], best_ids[part],
                    threads or available_threads(),
                )
            )  # fmt: skip
    return best, best_ids, work


def _search(
    queries: NDArray[np.uint8],
    query_sums: NDArray[np.uint8],
    array: NDArray[np.uint8],
    sums: NDArray[np.uint8],
    live: Live,
    best: NDArray[np.int32],
    best_ids: NDArray[np.int64],
    workers: int,
) -> Work:
    """Search all rows for one batch of queries."""
    count, k = best.shape
    level = min(2, max(1, number_of(simd_level())))  # AVX2's instructions, or none by name
    length = array.shape[1]
    words = length // 64 if length in UNROLLED else 0
    scan = bit_groups.scanner(level, sums.shape[1] // VECTOR, words)
    prepare([scan, merging(best.dtype)])
    chunks = _chunks(len(array), workers)
    workers = min(workers, len(chunks))
    capacity = capacity_for(k)
    distances = np.empty((workers, count, capacity), np.int32)
    ids = np.empty((workers, count, capacity), np.int64)
    counts = np.zeros((workers, count), np.int64)
    left = [0] * workers
    turn = iter(chunks)
    everything = no_mask()
    begin = first_limits(queries, query_sums, array, sums, live, k)

    def work(worker: int) -> None:
        limits = begin.copy()
        for start, stop in turn:
            left[worker] += scan(
                queries.ctypes.data, queries.strides[0], count, query_sums.ctypes.data,
                array.__array_interface__["data"][0], array.strides[0], array.shape[1],
                sums.ctypes.data, start, stop, 0,
                everything if live is None else live, k,
                distances[worker], ids[worker], counts[worker], limits,
            )  # fmt: skip

    run(work, workers, Event())
    merge(distances, ids, counts, best, best_ids)
    rows = len(array) if live is None else int(np.count_nonzero(live))
    counted = sum(left)
    return Work(
        sketched=rows * count, candidates=counted,
        bytes_read=rows * sums.shape[1] + counted * array.shape[1],
    )  # fmt: skip


def _chunks(rows: int, workers: int) -> Sequence[tuple[int, int]]:
    size = max(8192, -(-rows // (8 * workers)))
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]


def first_limits(
    queries: NDArray[np.uint8],
    query_sums: NDArray[np.uint8],
    array: NDArray[np.uint8],
    sums: NDArray[np.uint8],
    live: Live,
    k: int,
) -> NDArray[np.int32]:
    """Limits that k live rows are below: one above the k-th true distance of promising rows.

    Promising are those of least bounds among rows spread over the database.
    """
    bits = 8 * array.shape[1]
    limits = np.full(len(queries), bits + 1, np.int32)
    stride = max(1, len(sums) // max(2 * k, _GUESSED // max(1, len(queries))))
    rows = np.arange(0, len(sums), stride)
    if live is not None:
        rows = rows[live[rows] != 0]
    few = max(2 * k, 64)
    if len(rows) < few:
        return limits
    some = sums[rows].astype(np.int16)
    for q, line in enumerate(query_sums):
        bounds = np.abs(some - line.astype(np.int16)).sum(axis=1, dtype=np.int32)
        chosen = rows[np.argpartition(bounds, few - 1)[:few]]
        found = np.bitwise_count(array[chosen] ^ queries[q]).sum(axis=1, dtype=np.int32)
        limits[q] = np.partition(found, k - 1)[k - 1] + 1
    return limits
