"""An index of sixty rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from threshold_data import DIM, fill, rows_of

from vsearch_fast.index import Index


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "index", DIM, segment_rows=16) as made:
        fill(made, rows_of(60))
        yield made
