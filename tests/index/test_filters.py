"""Index: filters by metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_data import ROWS, features

from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Index, Item, item_rows


def test_where_compares_json_values(tmp_path: Path) -> None:
    values: list[Any] = [1, True, "1", 1.0, 0, False, None, "", "True", "None", 1.5]
    values += [10**30, 1e30, -0.0, "é"]
    long = ["x" * 5000, "x" * 4999 + "y"]
    with Index.create(tmp_path / "index", 2) as index:
        everything = [*values, *long]
        names = [str(row) for row in range(len(everything))]
        index.add(names, np.zeros((len(names), 2), np.float32), [{"v": v} for v in everything])
        index.add(["lacks"], np.zeros((1, 2), np.float32))

        def match(value: Any) -> list[Any]:
            hits = index.search(np.zeros(2, np.float32), 99, where={"v": value})[0]
            return [hit.metadata["v"] for hit in hits]

        def same(left: list[Any], right: list[Any]) -> bool:
            return json.dumps(left) == json.dumps(right)

        assert same(match(1), [1, 1.0])
        assert same(match(1.0), [1, 1.0])
        assert same(match(True), [True])
        assert same(match("1"), ["1"])
        assert same(match(0), [0, -0.0])
        assert same(match(False), [False])
        assert same(match(None), [None])
        assert same(match(""), [""])
        assert same(match(1.5), [1.5])
        assert same(match(10**30), [10**30])  # 1e30 is another number
        assert same(match(1e30), [1e30])
        assert same(match("é"), ["é"])
        assert same(match(long[1]), [long[1]])
        assert same(match([True, "1", "nothing"]), [True, "1"])
        assert same(match(v for v in (None, 1.5)), [None, 1.5])
        assert same(match([]), [])
        assert same(match(values), values)
        assert len(index.search(np.zeros(2, np.float32), 99, where={})[0]) == len(names) + 1


def test_where_takes_more_values_than_sqlite_takes_parameters(
    index: Index, data: np.ndarray
) -> None:
    hits = index.search(data[:1], ROWS, where={"nr": range(-40_000, 40)})
    assert {hit.metadata["nr"] for hit in hits[0]} == set(range(40))


def test_unknown_column_names_those_there_are(index: Index, data: np.ndarray) -> None:
    for name in ("colur", "id", "path", "box"):
        with pytest.raises(ArgumentError, match=f"no metadata column '{name}'") as caught:
            index.search(data[:1], where={name: 1})
        assert caught.value.cure == "Its columns are: 'colour', 'new', 'nr', 'price'"


def test_where_follows_update_and_replace(index: Index, data: np.ndarray) -> None:
    def red() -> set[str]:
        return {hit.id for hit in index.search(data[:1], ROWS, where={"colour": "red"})[0]}

    before = red()
    index.update([Item("item 0", metadata={"colour": "blue"}), Item("item 3")])
    index.add(["item 6", "new"], features(2), [{"colour": "pink"}, {"colour": "red"}], replace=True)
    assert red() == (before - {"item 0", "item 3", "item 6"}) | {"new"}
    item = index.get("item 0")
    assert item == Item("item 0", metadata={"colour": "blue"})
    assert (index.features(["item 0"])[0] == data[0]).all()
    assert [hit.id for hit in index.search(data[0], 1)[0]] == ["item 0"]


def test_rows_of_a_filter_come_in_texts_of_some(
    index: Index, data: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite joins row numbers to texts; where those end changes nothing."""
    wanted = {"colour": ["red", "green"]}
    whole = [hit.id for hit in index.search(data[:1], ROWS, where=wanted)[0]]
    assert len(whole) > 3
    for most in (1, 2, 3, 7):
        monkeypatch.setattr(item_rows, "_JOINED", most)
        with Index.open(index.path) as again:
            assert [hit.id for hit in again.search(data[:1], ROWS, where=wanted)[0]] == whole
