"""Index: the time that opening takes, and the memory that adding takes."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from index_data import features

from vsearch_fast.index import Index
from vsearch_fast.search import tiling
from vsearch_fast.search.tiling import Tiling


def test_opening_reads_nothing_per_row(tmp_path: Path) -> None:
    """100,000 items open in well under the 20 ms that are aimed at (generous here)."""
    rows = 100_000
    with Index.create(tmp_path / "index", 8, segment_rows=4096) as index:
        names = [f"{row}" for row in range(rows)]
        index.add(names, features(rows, 8), [{"c": row % 10} for row in range(rows)])
    seconds = []
    for _ in range(5):
        start = time.process_time()  # of this process alone, on however busy a machine
        Index.open(tmp_path / "index").close()
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1
    with Index.open(tmp_path / "index") as index:
        index.search(features(1, 8))
        start = time.process_time()
        assert len(index) == rows
        assert time.process_time() - start < 0.05
        start = time.process_time()
        hits = index.search(features(1, 8), 3, where={"c": [1, 2, 3, 4, 5]})
        assert time.process_time() - start < 0.5
        assert {hit.metadata["c"] for hit in hits[0]} <= {1, 2, 3, 4, 5}


@pytest.mark.parametrize(("learnt", "most"), [(False, 40 << 20), (True, 200 << 20)])
def test_a_large_add_takes_little_memory_beyond_its_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learnt: bool, most: int
) -> None:
    """But once for the sample of rows that reductions are learnt from, however many there are."""
    if not learnt:
        monkeypatch.setattr(tiling, "TILING", Tiling(reduce_rows=1 << 30))
    rows = features(1, 4096).repeat(20_000, axis=0)  # 312 MiB
    names = [str(row) for row in range(len(rows))]
    tracemalloc.start()  # sees NumPy's arrays, too
    try:
        with Index.create(tmp_path / "index", 4096) as index:
            index.add(names, rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most
