"""Index: items come back as they were, and change as they are told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from index_data import DIM, ROWS, described, features

from vsearch_fast.errors import ArgumentError, DuplicateIdError, UnknownIdError
from vsearch_fast.index import Index, Item


def test_items_come_back_as_they_were(index: Index) -> None:
    items = list(index)
    assert items == [described(row) for row in range(ROWS)]
    assert all(type(item.box) in (tuple, type(None)) for item in items)
    assert len(index) == ROWS
    assert "item 5" in index and "item 500" not in index and 5 not in index
    assert index.get("item 5") == described(5)
    assert index.columns() == ["colour", "new", "nr", "price"]


def test_any_text_survives(tmp_path: Path) -> None:
    names = ["é", "e\u0301", "日本", "a b", "'; DROP TABLE items; --", "\n", "😀", "%", "A", "a"]
    with Index.create(tmp_path / "index", DIM) as index:
        metadata = [{name: name, "half \ud800": "\ud800 \0"} for name in names]
        with pytest.raises(ArgumentError, match="half a Unicode character"):
            index.add(names, features(len(names)), metadata)
        metadata = [{name: name, "half": "\ud800 \0"} for name in names]
        index.add(names, features(len(names)), metadata)
        assert [item.id for item in index] == names
        assert [item.metadata for item in index] == metadata
        assert index.search(features(1), where={"half": "\ud800 \0", "é": "é"})[0][0].id == "é"


def test_paths_may_be_paths_and_numpy_strings_are_strings(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", DIM) as index:
        names = np.array(["a", "b"])
        items = [Item("a", path=Path("x/y")), Item("b", box=np.array([1, 2, 3, 4]))]  # type: ignore[arg-type]
        index.add(names, features(2), items)
        assert index.get("a").path == "x/y"
        assert index.get("b").box == (1, 2, 3, 4)
        assert type(index.get("b").id) is str


def test_iteration_goes_on_while_the_index_changes(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsearch_fast.index.item_rows._PAGE", 8)
    met = []
    for item in index:
        met.append(item.id)
        if item.id == "item 7":
            index.remove(["item 1", "item 70"])
            index.add(["late"], features(1))
    assert met == [f"item {row}" for row in range(ROWS) if row != 70] + ["late"]


def test_features_by_id(index: Index, data: np.ndarray) -> None:
    ids = ["item 80", "item 3", "item 17", "item 3"]
    assert (index.features(ids) == data[[80, 3, 17, 3]]).all()
    assert index.features([]).shape == (0, DIM)
    index.features(["item 3"])[:] = 0  # a copy
    assert (index.features(["item 3"])[0] == data[3]).all()
    with pytest.raises(UnknownIdError, match="no item 'x'"):
        index.features(["item 3", "x"])


def test_info(index: Index) -> None:
    index.remove(["item 4", "item 4"])
    info = index.info()
    assert info.pop("bytes") > 0
    assert info.pop("created").endswith("+00:00")
    assert info == {
        "path": str(index.path),
        "format": 2,
        "dim": DIM,
        "dtype": "float32",
        "views": "whole",
        "model": {},
        "model_id": "m",
        "rows": ROWS,
        "live": ROWS - 1,
        "removed": 1,
        "segments": 6,
        "segment_rows": 16,
        "joined": 1,
        "columns": ["colour", "new", "nr", "price"],
        "boxed": sum(item.box is not None for item in index),
        "checksums": True,
        "reductions": {},
        "thresholds": {},
        "likeness": {},
        "titles": {},
    }
    assert repr(index).startswith("<Index '")


def test_nothing_to_do(index: Index) -> None:
    before = index.info()
    index.add([], np.empty((0, DIM), np.float32))
    index.remove([])
    index.update([])
    assert index.info() == before


def test_one_call_updates_an_id_once(tmp_path):
    with Index.create(tmp_path / "i", 4) as index:
        index.add(["a"], np.zeros((1, 4), np.float32))
        with pytest.raises(DuplicateIdError, match="'a' is named twice"):
            index.update([Item("a", metadata={"c": 1}), Item("a", metadata={"c": 2})])
        assert index.get("a").metadata == {}


def test_items_that_are_replaced_while_they_are_listed(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each id comes once, whether it was read before it was replaced or after."""
    monkeypatch.setattr("vsearch_fast.index.item_rows._PAGE", 8)
    listed = iter(index)
    read = [next(listed).id for _ in range(20)]
    early, late = read[3], f"item {ROWS - 5}"
    index.add([early, late, "new"], features(3, seed=9), replace=True)
    index.remove([read[5]])
    index.add([read[5], "newer"], features(2, seed=8))
    read += [item.id for item in listed]
    assert len(read) == len(set(read))
    assert set(read) == {f"item {row}" for row in range(ROWS)} | {"new", "newer"}
    assert read[-3:] == [late, "new", "newer"]
    assert len(list(index)) == ROWS + 2
