"""Index: making one, and opening it again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_data import DIM, expected, features, found

from vsearch_fast.errors import ArgumentError, LockedError, ModelMismatchError, StoreError
from vsearch_fast.index import Index


def test_open_again(index: Index, data: np.ndarray, tmp_path: Path) -> None:
    index.close()
    with Index.open(index.path, model_id="m") as again:
        assert (again.dim, again.model_id, again.model) == (DIM, "m", {})
        assert found(again.search(data[:2], 9)) == expected(data[:2], data, 9, "l2")
        with pytest.raises(StoreError, match="opened for reading"):
            again.add(["x"], features(1))
    with pytest.raises(StoreError, match="was closed"):
        again.search(data[:1])
    with pytest.raises(ModelMismatchError, match="of model m, not of other"):
        Index.open(index.path, model_id="other")
    with pytest.raises(ArgumentError, match="mode is 'w'"):
        Index.open(index.path, mode="w")  # type: ignore[arg-type]
    with pytest.raises(ModelMismatchError):
        Index.open(index.path, mode="rw", model_id="other")
    Index.open(index.path, mode="rw").close()  # the refused one has let go of the lock


def test_create_again(tmp_path: Path) -> None:
    model = {"layer": "fc1", "input_size": 224}
    with Index.create(tmp_path / "a" / "b", 4, model_id="m", model=model) as index:
        assert index.model == model
        index.add(["a"], np.ones((1, 4)))
        with pytest.raises(LockedError):
            Index.create(tmp_path / "a" / "b", 4, model_id="m", exist_ok=True)
    with pytest.raises(StoreError, match="holds an index already"):
        Index.create(tmp_path / "a" / "b", 4, model_id="m")
    with Index.create(tmp_path / "a" / "b", 4, model_id="m", exist_ok=True) as index:
        assert len(index) == 1
    with pytest.raises(ModelMismatchError):
        Index.create(tmp_path / "a" / "b", 4, model_id="n", exist_ok=True)
    with pytest.raises(ArgumentError, match="holds rows of 4 float32 numbers, not 5"):
        Index.create(tmp_path / "a" / "b", 5, model_id="m", exist_ok=True)
    Index.open(tmp_path / "a" / "b", mode="rw").close()


@pytest.mark.parametrize(
    "arguments",
    [{"dim": 0}, {"dim": 2.5}, {"dim": True}, {"segment_rows": 0}, {"model": {"a": object()}},
     {"model": {"a": math.nan}}, {"model_id": None}],
)  # fmt: skip
def test_create_refuses(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        Index.create(tmp_path / "index", **{"dim": 4, **arguments})
    assert not (tmp_path / "index").exists()
