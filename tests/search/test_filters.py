"""A mask costs what it keeps: rows that do not live are neither read nor converted nor sketched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from contract_data import (
    FLOAT_METRICS,
    LAYOUTS,
    METRICS,
    assert_same,
    cut_as,
    gaussian,
)
from hypothesis import given
from hypothesis import strategies as st

from vsearch_fast.kernels import halves, reference
from vsearch_fast.search import Sketched, rows, topk, topk_segments
from vsearch_fast.search.tiling import Tiling

KINDS = ("float32", "float16", "float64", ">f4", ">f2", "strided")


def database(kind: str, count: int, dim: int, seed: int = 0) -> np.ndarray:
    made = gaussian(count, dim, seed)
    return LAYOUTS["every other column"](made) if kind == "strided" else made.astype(kind)


@given(
    kind=st.sampled_from(KINDS), metric=st.sampled_from(FLOAT_METRICS),
    strategy=st.sampled_from(("scan", "sketch")), sketched=st.booleans(),
    share=st.sampled_from((0.0, 0.02, 0.5, 0.98, 1.0)), count=st.integers(0, 90),
    queries=st.integers(1, 9), dim=st.sampled_from((1, 7, 33, 200)), seed=st.integers(0, 10**6),
    cut=st.sampled_from(("usual", "small", "gives up")),
)  # fmt: skip
def test_rows_that_do_not_live_may_hold_anything(
    kind, metric, strategy, sketched, share, count, queries, dim, seed, cut
):
    array, rng = database(kind, count, dim, seed), np.random.default_rng(seed)
    mask = rng.random(count) < share
    array[~mask] = rng.choice([np.nan, np.inf, 6e4], (int((~mask).sum()), dim))
    asked = gaussian(queries, dim, seed + 1)
    with cut_as(cut):
        there = Sketched(array) if sketched else array
        got = topk(asked, there, 5, metric=metric, mask=mask, strategy=strategy, threads=2)
    assert_same(got, reference.topk(asked, array, 5, metric, mask))


class Told:
    """What a search says that it reads, by segment."""

    def __init__(self, lengths: list[int]) -> None:
        self.firsts = np.cumsum([0, *lengths])
        self.stored: set[int] = set()
        self.sketched: set[int] = set()

    def _lines(self, segment, start, stop, live):
        lines = np.arange(start, stop) if live is None else start + np.flatnonzero(live)
        return (self.firsts[segment] + lines).tolist()

    def rows(self, segment, start, stop, live=None):
        self.stored.update(self._lines(segment, start, stop, live))

    def sketches(self, segment, start, stop, live=None):
        self.sketched.update(self._lines(segment, start, stop, live))

    def reduced(self, segment, start, stop, live=None):
        raise AssertionError("few rows are not reduced")

    def pairs(self, ids):
        self.stored.update(ids.tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("strategy", ["scan", "sketch"])
@pytest.mark.parametrize("sketched", [False, True])
def test_what_is_read_is_what_lives(kind, metric, strategy, sketched):
    segments = [database(kind, 200, 40), database(kind, 70, 40, 1)]
    masks = [np.random.default_rng(n).random(len(s)) < 0.1 for n, s in enumerate(segments)]
    living = {int(i) for i in np.flatnonzero(np.concatenate(masks))}
    told = Told([200, 70])
    sketches = [Sketched(s).sketch for s in segments] if sketched else None
    with cut_as(Tiling(chunk_rows=16, inline_bytes=0)):
        *_, proof = topk_segments(
            gaussian(3, 40), segments, 4, metric=metric, masks=masks, sketches=sketches,
            reading=told, strategy=strategy, threads=2,
        )  # fmt: skip
    assert told.stored | told.sketched == living
    assert proof.rows == len(living)
    if strategy == "scan":
        assert told.stored == living and not told.sketched
        assert proof.bytes_read == sum(
            int(m.sum()) * s.shape[1] * s.itemsize for s, m in zip(segments, masks, strict=True)
        )


_PAGES = """
import ctypes, mmap, sys
import numpy as np
from vsearch_fast.kernels import reference
from vsearch_fast.search import topk
libc = ctypes.CDLL(None, use_errno=True)
rows, page = 300, mmap.PAGESIZE
for kind in ("uint8", "float32", "float16", "float64", ">f4"):
    dtype = np.dtype(kind)
    memory = mmap.mmap(-1, rows * page)
    array = np.frombuffer(memory, dtype).reshape(rows, page // dtype.itemsize)
    rng = np.random.default_rng(0)
    array[:] = rng.integers(0, 256, array.shape) if kind == "uint8" else rng.random(array.shape)
    mask = rng.random(rows) < 0.1
    queries = array[np.flatnonzero(mask)[:2]].copy()
    metrics = ("hamming",) if kind == "uint8" else ("l1", "l2")
    want = {m: reference.topk(queries, array, 4, m, mask) for m in metrics}
    for row in np.flatnonzero(~mask):  # reading such a row ends the process
        assert libc.mprotect(ctypes.c_void_p(array[row].ctypes.data), page, 0) == 0
    for metric in metrics:
        for strategy in ("scan", "sketch"):
            got = topk(queries, array, 4, metric=metric, mask=mask, strategy=strategy)
            assert all((a == b).all() for a, b in zip(got, want[metric])), (kind, metric)
print("read what lives alone")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect")
def test_a_row_that_does_not_live_is_never_touched():
    """Its page is taken away: whoever reads a byte of it is killed."""
    done = subprocess.run(
        [sys.executable, "-c", _PAGES], capture_output=True, text=True,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == "read what lives alone", done.stderr[-2000:]


@pytest.mark.parametrize("metric", METRICS)
def test_a_mask_of_a_few_rows_far_apart(metric):
    """Chunks without a live row are passed over, in every worker."""
    made = gaussian(5000, 64)
    array = reference.pack_bits(made) if metric == "hamming" else made.astype(np.float16)
    mask = np.zeros(5000, bool)
    mask[[0, 2500, 4999]] = True
    with cut_as(Tiling(chunk_rows=64, inline_bytes=0)):
        for strategy in ("scan", "sketch"):
            got = topk(array[:3], array, 10, metric=metric, mask=mask, strategy=strategy, threads=3)
            assert_same(got, reference.topk(array[:3], array, 10, metric, mask))


def test_halves_are_widened_exactly():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    out = np.full(every.shape, 7, np.float32)
    some = np.arange(0, 256, 3)
    halves.widen_rows(every.ctypes.data, every.strides[0], some, out)
    want = every.astype(np.float32)
    number = ~np.isnan(want[some])
    assert (out[some].view(np.uint32)[number] == want[some].view(np.uint32)[number]).all()
    assert np.isnan(out[some][~number]).all()
    assert (np.delete(out, some, axis=0) == 7).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["float32", "float16", "float64"])
def test_conversion_of_some_rows(layout, kind, monkeypatch):
    array = LAYOUTS[layout](gaussian(50, 40).astype(kind))
    live = (np.random.default_rng(0).random(50) < 0.4).view(np.uint8)
    for many in (1, 1 << 20):
        monkeypatch.setattr(rows, "_MANY_HALVES", many)
        assert_same([rows.converted(array)], [np.ascontiguousarray(array, np.float32)])
        got = rows.converted(array, live=live)
        assert got.dtype == np.float32 and got.flags.c_contiguous
        assert (got[live > 0] == array[live > 0].astype(np.float32)).all()
