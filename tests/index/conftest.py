"""Rows, an index of them, and a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from index_data import DIM, ROWS, described, features
from store_data import make

from vsearch_fast.index import Index
from vsearch_fast.index.store import Store


@pytest.fixture
def data() -> np.ndarray:
    rows = features(ROWS)
    rows[10:20] = rows[40:50]  # equal distances
    return rows


@pytest.fixture
def index(tmp_path: Path, data: np.ndarray) -> Iterator[Index]:
    items = [described(row) for row in range(ROWS)]
    with Index.create(tmp_path / "index", DIM, model_id="m", segment_rows=16) as made:
        made.add([item.id for item in items[:50]], data[:50], items[:50])
        made.add([item.id for item in items[50:]], data[50:], items[50:])
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = make(tmp_path / "index")
    yield opened
    opened.close()
