"""Metadata of several values: kept as they are, met by any, told in words."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vsearch_fast.datasets.lists import split_lists
from vsearch_fast.datasets.records import Record
from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Index, Item
from vsearch_fast.index.verifying import verify
from vsearch_fast.results.result import Result
from vsearch_fast.results.text import as_csv, as_text
from vsearch_fast.shards.index import ShardedIndex

LISTS: list[Any] = [["gingham", "belted"], ["belted", "belted", 1, True], [], ["x" * 300], "belted"]


@pytest.fixture
def index(tmp_path: Path) -> Any:
    with Index.create(tmp_path / "index", 2) as made:
        names = [str(n) for n in range(len(LISTS))]
        rows = np.zeros((len(LISTS), 2), np.float32)
        made.add(names, rows, [{"attributes": value} for value in LISTS])
        yield made


def test_lists_are_kept_and_any_value_is_met(index: Index) -> None:
    assert [item.metadata["attributes"] for item in index] == LISTS

    def met(where: Any) -> list[str]:
        return [hit.id for hit in index.search(np.zeros(2), 9, where=where)[0]]

    assert met({"attributes": "belted"}) == ["0", "1", "4"]
    assert met({"attributes": ["gingham", True]}) == ["0", "1"]
    assert met('attributes contains "xxx"') == ["3"]
    assert met("attributes is null") == ["2"]
    assert met("attributes != belted") == ["2", "3"]
    found = [(repr(value), count) for value, count in index.values("attributes") or []]
    ones = ["'gingham'", "1", "True", repr("x" * 300)]
    assert found[0] == ("'belted'", 3) and sorted(found[1:]) == sorted((one, 1) for one in ones)


def test_they_follow_changes_and_are_verified(index: Index) -> None:
    index.update([Item("0", metadata={"attributes": ["striped"]})])
    index.remove(["1"])
    index.add(["4"], np.zeros((1, 2)), [{"attributes": ("striped", "striped")}], replace=True)
    assert dict(index.values("attributes") or []) == {"striped": 2, "x" * 300: 1}
    assert index.get("4").metadata["attributes"] == ["striped", "striped"]
    assert verify(index._store).sound
    index.compact()
    assert verify(index._store).sound
    with ShardedIndex.create(index.path.parent / "both", [index.path]) as both:
        assert dict(both.values("attributes") or []) == {"striped": 2, "x" * 300: 1}
        assert [i.id for i in both.page(9, where={"attributes": "striped"})[0]] == ["0", "4"]


@pytest.mark.parametrize("value", [[["a"]], [{}], [float("nan")], {"a": 1}, {"a"}])
def test_what_is_no_list_of_values_is_refused(index: Index, value: Any) -> None:
    with pytest.raises(ArgumentError, match="Metadata column 'attributes' of item 'new' holds"):
        index.add(["new"], np.zeros((1, 2)), [{"attributes": value}])


def test_they_are_told_in_words(index: Index) -> None:
    result = Result("query", "l2", index.search(np.zeros(2), 1)[0])
    assert "attributes=gingham, belted" in as_text([result])
    [_, line] = csv.reader(io.StringIO(as_csv([result])))
    assert line[-1] == "gingham, belted"


def test_cells_are_split() -> None:
    cells: list[Any] = ["gingham; belted;", "", None, "plain", 7]
    records = [Record(str(n), Path("x"), metadata={"a": c}) for n, c in enumerate(cells)]
    records.append(Record("lacks", Path("x")))
    split = split_lists(records, {"a": ";"})
    assert [record.metadata.get("a") for record in split] == [
        ["gingham", "belted"], [], [], ["plain"], [7], None,
    ]  # fmt: skip
    with pytest.raises(ArgumentError, match="There is no column 'b' to make lists of"):
        split_lists(records, {"b": ";"})
    with pytest.raises(ArgumentError, match="'a' have no separator"):
        split_lists(records, {"a": ""})
