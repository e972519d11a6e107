"""Data that hurts, cuts of the work, and checks, for the tests of `topk` against the oracle."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from vsearch_fast.kernels import amx, level, reference
from vsearch_fast.kernels.layout import PAGE
from vsearch_fast.search import tiling
from vsearch_fast.search.proof import Proof
from vsearch_fast.search.reductions import Reduced
from vsearch_fast.search.sketches import Sketch, build
from vsearch_fast.search.tiling import Tiling
from vsearch_fast.words import Metric

METRICS = reference.METRICS
FLOAT_METRICS = ("l1", "l2", "cosine", "ip")
#: Those of differences, which have kernels of their own; and those that CUDA devices search by.
DIFFERENCES = ("l1", "l2")
DEVICE_METRICS: tuple[Metric, ...] = ("l2", "l1", "hamming", "cosine", "ip")

#: Levels of instructions that can be tried in this process.
LEVELS = level.supported()


@contextlib.contextmanager
def at_level(name: str | None) -> Iterator[None]:
    """Search with the instructions of a level; None: as the processor has them."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            if name is not None:
                patch.setenv("VSEARCH_SIMD", name)
            forget_level()
            yield
    finally:
        forget_level()


def forget_level() -> None:
    """Have ``VSEARCH_SIMD`` read anew."""
    level.simd_level.cache_clear()
    amx.available.cache_clear()


_TINY: dict[str, Any] = {
    "first_rows": 1, "few_pairs": 0, "kept_parameters": 1, "build_queries": 1, "build_rows": 1,
    "many_pairs": 0, "decided_share": 0,
}  # fmt: skip
#: Rows are reduced however few they are, and whether that pays or not.
REDUCED: dict[str, Any] = {
    "reduce_rows": 1, "reduced_worth": np.inf, "reduced_tile": 1, "seed_rows": 1,
    "reduced_chunk": 1, "regroupings": 0,
    "reduced_shapes": (("l2", 1, 4, 16), ("l1", 1, 6, 64)),
}  # fmt: skip
#: A share of the pairs that no search can leave undecided: bounds that exclude too little are
#: used all the same.
NEVER = 2.0

# Tiles of one to a few rows and queries, so that small inputs cross every border.
CUTS = {
    "usual": Tiling(),
    "ones": Tiling(
        tile_bytes=1, query_bytes=1, sketch_query_bytes=1, chunk_rows=1, copy_bytes=1,
        inline_bytes=0, list_bytes=1, sketch_rows=1, hopeless=NEVER, reduced_left=NEVER,
        **REDUCED, **_TINY,
    ),
    "small": Tiling(
        tile_bytes=700, query_bytes=900, sketch_query_bytes=2000, chunk_rows=5,
        copy_bytes=300, inline_bytes=0, list_bytes=500, sketch_rows=7,
        first_rows=3, few_pairs=5, build_queries=2, build_rows=4, hopeless=NEVER,
        reduced_left=NEVER, decided_share=0, **REDUCED,
    ),
    "small buffers": Tiling(
        tile_bytes=4000, query_bytes=4000, buffer_bytes=3000, chunk_rows=17, inline_bytes=0,
        sketch_rows=9, kept_parameters=2,
    ),
    "overflowing lists": Tiling(
        tile_bytes=1, list_bytes=1, chunk_rows=29, inline_bytes=0,
        pairs_a_query=1, hopeless=NEVER, reduced_left=NEVER, **REDUCED,
    ),
    "large tiles, short lists": Tiling(
        tile_bytes=1000, list_bytes=1, inline_bytes=0,
        few_pairs=0, many_pairs=0, hopeless=NEVER, decided_share=0,
    ),
    "whole": Tiling(
        tile_bytes=700, sketch_query_bytes=2000, inline_bytes=0, whole_queries=1, list_bytes=500,
        first_rows=3, few_pairs=0, hopeless=NEVER, decided_share=0,
    ),
    "guesses": Tiling(
        chunk_rows=13, inline_bytes=0, small_k=0, sample_rows=7, sample_stride=2, small_batch=3,
        listed_times_k=1000,
    ),
    "guesses by reductions": Tiling(
        chunk_rows=32, inline_bytes=0, small_k=0, sample_rows=1, sample_stride=1, guessed_ranks=1,
        hopeless=NEVER, reduced_left=NEVER, **REDUCED,
    ),
    "gives up": Tiling(
        tile_bytes=1, list_bytes=1, chunk_rows=11, inline_bytes=0, sketch_rows=11,
        fair_trial=1, hopeless=0.05, first_rows=4, decided_share=0, **REDUCED,
    ),
    "reduced": Tiling(
        sketch_rows=32, inline_bytes=0, hopeless=NEVER, reduced_left=NEVER, reduce_rows=1,
        reduced_worth=np.inf, reduced_shapes=(("l2", 1, 2, 0), ("l1", 1, 2, 0)),
    ),
    "reduced until it is flat": Tiling(
        chunk_rows=16, fair_trial=1, reduced_left=0.01, inline_bytes=0, **REDUCED,
    ),
}  # fmt: skip


@contextlib.contextmanager
def cut_as(cut: str | Tiling) -> Iterator[None]:
    """Cut the work like this, named in `CUTS` or given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "TILING", CUTS[cut] if isinstance(cut, str) else cut)
        yield


Shape = tuple[int, int]
Maker = Callable[[np.random.Generator, Shape], np.ndarray]


def _near_ties(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    base = rng.random(shape[-1]).astype(np.float32)
    steps = rng.integers(-1, 2, shape)
    return np.nextafter(base, base + steps.astype(np.float32))


def _scale_changes(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Parts of the rows differ in scale and place, so that they need other parameters."""
    part = 3 * np.arange(shape[0]) // max(1, shape[0])
    rows = rng.standard_normal(shape)
    return (rows * 10.0 ** (3 * part[:, None] - 2) + 500 * part[:, None]).astype(np.float32)


def _any_half(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """float16 of all bit patterns that are finite: a third of the rows subnormal."""
    bits = rng.integers(0, 0x7C00, shape, np.uint16)
    bits[::3] &= 0x3FF
    return (bits | (rng.integers(0, 2, shape, np.uint16) << 15)).view(np.float16)


def _float32(make: Maker) -> Maker:
    return lambda rng, shape: make(rng, shape).astype(np.float32)


FLOAT_DATA: dict[str, Maker] = {
    "relu": _float32(lambda rng, shape: np.maximum(rng.standard_normal(shape), 0)),
    "gaussian": _float32(lambda rng, shape: rng.standard_normal(shape)),
    "negative": _float32(lambda rng, shape: -rng.random(shape) - 3),
    "equal": _float32(lambda rng, shape: np.full(shape, 0.1)),
    "zero": _float32(lambda rng, shape: np.zeros(shape)),
    "few values": _float32(lambda rng, shape: rng.integers(0, 2, shape)),
    "saturated": _float32(lambda rng, shape: 255.0 * (rng.random((shape[0], 1)) < 0.5)
                          + np.zeros(shape)),
    "one ulp": _near_ties,
    "some zero rows": _float32(lambda rng, shape: rng.random(shape) * (rng.random((shape[0], 1))
                                                                       < 0.5)),
    "huge": _float32(lambda rng, shape: rng.choice([3e38, -3e38, 1e-38, 0], shape)),
    "one huge": _float32(lambda rng, shape: np.where(rng.random(shape) < 0.01, 3e38,
                                                     rng.random(shape))),
    "small": _float32(lambda rng, shape: rng.standard_normal(shape) * 1e-38),
    "denormal": _float32(lambda rng, shape: rng.random(shape) * 1e-42),
    "offset": _float32(lambda rng, shape: 30000 + 0.01 * rng.standard_normal(shape)),
    "far offset": _float32(lambda rng, shape: 1e6 + 0.01 * rng.standard_normal(shape)),
    "outlier": _float32(lambda rng, shape: np.where(rng.random(shape) < 0.01, 1e6,
                                                    rng.standard_normal(shape))),
    "all magnitudes": _float32(lambda rng, shape: rng.choice([-1, 1], shape)
                               * 10.0 ** rng.uniform(-44, 38, shape)),
    "scale changes": _scale_changes,
    "float64": lambda rng, shape: rng.standard_normal(shape),
    "float16": lambda rng, shape: rng.standard_normal(shape).astype(np.float16),
    "any float16": _any_half,
}  # fmt: skip

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": lambda a: a,
    "fortran": np.asfortranarray,
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every other column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "columns backwards": lambda a: a[:, ::-1].copy()[:, ::-1],
    "part of wider rows": lambda a: np.pad(a, ((1, 1), (3, 2)))[1:-1, 3:-2],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": lambda a: (
        np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)
    ),
}


def gaussian(rows: int, dim: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.view()
    array.flags.writeable = False
    return array


QUERIES = ("alike", "rows", "far", "other")


def floats(
    data: str, kind: str, rng: np.random.Generator, rows: int, queries: int, dim: int
) -> tuple[np.ndarray, np.ndarray]:
    """(database, queries) of some `FLOAT_DATA`; the first query is a row.

    Queries are of the same data, all of them rows, far outside of the range of the rows, or of
    other data.
    """
    both = FLOAT_DATA[data](rng, (rows + queries, dim))
    database, query = both[:rows], both[rows:].copy()
    if kind == "far":
        query = (np.sign(query.astype(np.float32)) + np.float32(3)) * np.float32(1e30)
    elif kind == "other":
        query = rng.standard_normal(query.shape).astype(np.float32)
    if rows and queries:
        equal = len(query) if kind == "rows" else min(1, len(query))
        query[:equal] = database[rng.integers(rows, size=equal)]
    return database, query


def codes(
    data: str, rng: np.random.Generator, rows: int, queries: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """(database, queries) of packed bits, with thousands of ties for some of the data."""
    both = rng.integers(0, 256, (rows + queries, width), np.uint8)
    if data in ("equal", "few values"):
        both &= 1
    database, query = both[:rows], both[rows:].copy()
    if rows and queries:
        query[0] = database[rng.integers(rows)]
    return database, query


MASKS = (None, "none", "half", "one", "all")


def mask_of(kind: str | None, rng: np.random.Generator, rows: int) -> np.ndarray | None:
    """A mask that leaves no row, half of them, one, or all; or None."""
    if kind is None:
        return None
    mask = rng.random(rows) < {"none": -1, "half": 0.5, "one": -1, "all": 2}[kind]
    if kind == "one" and rows:
        mask[rng.integers(rows)] = True
    return mask


def cut_sketch(sketch: Sketch, stop: int) -> Sketch:
    """The sketch of the first rows of what is sketched; whole pages of them stay reduced."""
    reduced = {
        metric: [
            Reduced(part.reduction, part.start, part.coarse[:rows], part.fine[:rows])
            for part in parts
            if (rows := max(0, stop - part.start) // PAGE * PAGE)
        ]
        for metric, parts in sketch.reduced.items()
    }
    return Sketch(
        sketch.bytes[:stop], sketch.facts[:stop],
        [run for run in sketch.runs if run.start < stop], sketch.bad[sketch.bad < stop], reduced,
    )  # fmt: skip


COVERAGE = ("no", "all", "first rows", "some")


def sketches_for(
    segments: Sequence[np.ndarray], coverage: str, rng: np.random.Generator
) -> list[Sketch | None] | None:
    """Sketches of no segment, of all rows, of the first of each, or now this and now that."""
    if coverage == "no":
        return None
    made: list[Sketch | None] = []
    for segment in segments:
        if coverage == "some" and rng.random() < 0.4:
            made.append(None)
            continue
        sketch = build(segment, 1)
        if coverage != "all":
            sketch = cut_sketch(sketch, int(rng.integers(0, len(segment) + 1)))
        made.append(sketch)
    return made


def assert_same(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> None:
    """Equality to the bit of distances and ids, dtypes and shapes included."""
    for ours, oracle in zip(got, want, strict=True):
        assert ours.dtype == oracle.dtype
        assert ours.shape == oracle.shape
        np.testing.assert_array_equal(ours, oracle)
        assert ours.tobytes() == np.ascontiguousarray(oracle).tobytes()  # 0.0 is not -0.0


def assert_adds_up(
    proof: Proof, metric: str, strategy: str, queries: int, rows: int, k: int,
    simd: str | None = None,
) -> None:  # fmt: skip
    """A proof's counts and words, whatever was searched with a strategy forced, on the processor
    or by what ``simd`` names."""
    pairs = queries * rows
    assert (proof.metric, proof.queries, proof.rows) == (metric, queries, rows)
    assert proof.simd == (simd or level.simd_level())
    bounded = proof.sketched + proof.reduced
    assert proof.scanned + bounded == pairs
    assert 0 <= proof.after_fine <= proof.after_coarse <= proof.reduced
    # Queries that were searched again have been through the tiers twice.
    assert 0 <= proof.undecided <= proof.candidates <= bounded + proof.repeated * rows
    # What is returned was computed in float64.
    assert proof.scanned + proof.undecided >= queries * min(k, rows)
    assert proof.bytes_read >= 0
    if metric == "hamming" or strategy == "scan":
        assert (proof.strategy, bounded) == ("scan", 0)
    elif proof.scanned:
        assert proof.strategy == ("sketch and scan" if bounded else "scan")
    else:
        assert proof.strategy == "sketch"
    words = str(proof)
    assert words.startswith(f"{metric} by {proof.strategy} ({proof.simd}), {rows:,} rows")
    assert (f" x {queries:,} queries" in words) == (queries != 1)
    assert ("bounded by sketches" in words) == (proof.sketched > 0)
    assert ("bounded by reduced rows" in words) == (proof.reduced > 0)
    assert ("computed from stored values" in words) == (proof.scanned > 0)
    assert words.endswith(" MB read")
