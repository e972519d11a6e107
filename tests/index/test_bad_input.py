"""Index: what it says to bad input, of which nothing is kept."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from index_data import DIM, described, expected, features, found

from vsearch_fast.errors import ArgumentError, DTypeError, DuplicateIdError, UnknownIdError
from vsearch_fast.index import Index, Item
from vsearch_fast.index import arguments as inputs


def _nan(row: int, value: float = math.nan) -> np.ndarray:
    rows = features(4)
    rows[row, 3] = value
    return rows


NAMES = ["a", "b", "c", "d"]

#: An item whose fields the types forbid.
wrong: Any = Item


@pytest.mark.parametrize(
    ("ids", "rows", "more", "error", "words"),
    [
        (NAMES, features(3), {}, ArgumentError, "4 ids and 3 rows of features"),
        (NAMES, features(4)[0], {}, ArgumentError, r"shape \(20,\)"),
        (NAMES, features(4, 21), {}, ArgumentError, "shape .4, 21.*holds 20 numbers a row"),
        (NAMES, features(4).astype(int), {}, DTypeError, "features are of type int64"),
        (NAMES, features(4).astype(bool), {}, DTypeError, "of type bool"),
        (NAMES, features(4).astype(complex), {}, DTypeError, "of type complex128"),
        (NAMES, features(4).astype(np.longdouble), {}, DTypeError, "of type float128"),
        (NAMES, _nan(2), {}, ArgumentError, "Row 2 of features holds nan at position 3"),
        (NAMES, _nan(0, math.inf), {}, ArgumentError, "Row 0 of features holds inf"),
        (NAMES, _nan(3).astype(np.float16), {}, ArgumentError, "Row 3 of features"),
        (NAMES, np.full((4, DIM), 1e300), {}, ArgumentError, "Row 0 of features holds 1e.300"),
        (["a", "b", "a", "c"], features(4), {}, DuplicateIdError, "'a' is named twice"),
        (["a", "b", "item 3", "c"], features(4), {}, DuplicateIdError, "an item 'item 3' already"),
        (["a", "b", 3, "c"], features(4), {}, ArgumentError, "An id is 3, which is not a string"),
        (["a", "b", "", "c"], features(4), {}, ArgumentError, "An id is the empty string"),
        (["a", "b", "x\0", "c"], features(4), {}, ArgumentError, "NUL"),
        (["a", "b", "\udc80", "c"], features(4), {}, ArgumentError, "half a Unicode"),
        ("abcd", features(4), {}, ArgumentError, "single string 'abcd'"),
        (NAMES, features(4), {"items": [{}]}, ArgumentError, "4 ids and 1 items"),
        (NAMES, features(4), {"items": [{}, {}, {}, Item("x")]}, ArgumentError, "'x' stands"),
        (NAMES, features(4), {"items": [{}, {}, {}, 7]}, ArgumentError, "is a int, not a mapping"),
        (NAMES, features(4), {"items": [{"x": {1}}] * 4}, ArgumentError, "'x' of item 'a' holds"),
        (NAMES, features(4), {"items": [{"x": math.nan}] * 4}, ArgumentError, "holds nan"),
        (NAMES, features(4), {"items": [{"x": np.float32("inf")}] * 4}, ArgumentError, "holds np"),
        (set(NAMES), features(4), {}, ArgumentError, "has no order"),
        (frozenset(NAMES), features(4), {}, ArgumentError, "has no order"),
        (NAMES, features(4), {"items": [{3: 1}] * 4}, ArgumentError, "has the name 3"),
        (NAMES, features(4), {"items": [{"": 1}] * 4}, ArgumentError, "has the name ''"),
        (["a"], features(1), {"items": [Item("a", path="\0")]}, ArgumentError, "path of item 'a'"),
        (["a"], features(1), {"items": [wrong("a", stamp=3)]}, ArgumentError, "stamp of item 'a'"),
        (["a"], features(1), {"items": [Item("a", box=(5, 0, 5, 9))]}, ArgumentError, "box of"),
        (["a"], features(1), {"items": [wrong("a", box=(0, 0, 5.5, 9))]}, ArgumentError, "box of"),
        (["a"], features(1), {"items": [wrong("a", box=(0, 0, 5))]}, ArgumentError, "box of item"),
        (NAMES, features(4), {"codes": np.zeros((4, 2), np.uint8)}, ArgumentError, "3 bytes a row"),
        (NAMES, features(4), {"codes": np.zeros((3, 3), np.uint8)}, ArgumentError, "3 rows of"),
        (NAMES, features(4), {"codes": np.zeros((4, 3))}, DTypeError, "float64, not uint8"),
        (NAMES, features(4), {"codes": np.ones((4, 3), np.uint8)}, ArgumentError, "Row 0 of codes"),
    ],
)  # fmt: skip
def test_add_refuses_the_whole_call(
    index: Index,
    data: np.ndarray,
    ids: Any,
    rows: np.ndarray,
    more: Mapping[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    before = {path.name: path.read_bytes() for path in index.path.iterdir()}
    with pytest.raises(error, match=words) as caught:
        index.add(ids, rows, **more)
    assert "None of the rows was added" in str(caught.value)
    assert {path.name: path.read_bytes() for path in index.path.iterdir()} == before
    assert found(index.search(data[:1], 3)) == expected(data[:1], data, 3, "l2")


def test_nan_is_found_before_the_first_block_is_written(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 4 * DIM * 3)
    monkeypatch.setattr(os, "pwrite", lambda *_: pytest.fail("written"))
    rows = features(50)
    rows[47, 1] = math.nan
    with pytest.raises(ArgumentError, match="Row 47 of features holds nan at position 1"):
        index.add([str(row) for row in range(50)], rows)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"k": 0}, ArgumentError, "k is 0"),
        ({"k": -3}, ArgumentError, "k is -3"),
        ({"k": 2.0}, ArgumentError, "k is 2.0"),
        ({"k": True}, ArgumentError, "k is True"),
        ({"metric": "chebyshev"}, ArgumentError, "metric is 'chebyshev'"),
        ({"max_distance": math.nan}, ArgumentError, "max_distance is nan"),
        ({"max_distance": -1}, ArgumentError, "max_distance is -1"),
        ({"max_distance": "1"}, ArgumentError, "max_distance is '1'"),
        ({"where": "colour"}, ArgumentError, "'colour' ends too soon"),
        ({"where": 7}, ArgumentError, "where is a int"),
        ({"where": {"colour": [["red"]]}}, ArgumentError, r"where\['colour'\] holds \['red'\]"),
        ({"where": {"colour": object()}}, ArgumentError, "holds <object"),
        ({"queries": features(2, DIM + 1)}, ArgumentError, "queries have the shape"),
        ({"queries": features(2)[None, None]}, ArgumentError, "queries have the shape"),
        ({"queries": _nan(2)}, ArgumentError, "Row 2 of queries holds nan"),
        ({"queries": np.zeros((2, DIM), int)}, DTypeError, "queries are of type int64"),
        ({"queries": np.zeros((2, 3), np.uint8)}, DTypeError, "queries are of type uint8"),
        ({"queries": np.zeros((2, 4), np.uint8), "metric": "hamming"}, ArgumentError, "3 bytes"),
        ({"queries": np.ones((2, 3), np.uint8), "metric": "hamming"}, ArgumentError, "has a bit"),
    ],
)
def test_search_refuses(
    index: Index, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        index.search(**{"queries": features(2), **arguments})
    assert "Nothing was searched" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.remove(["item 1", "missing"]),
        lambda index: index.update([Item("item 1"), Item("missing")]),
    ],
)
def test_unknown_ids_change_nothing(index: Index, change: Callable[[Index], None]) -> None:
    with pytest.raises(UnknownIdError, match="no item 'missing'"):
        change(index)
    assert index.get("item 1") == described(1)
    with pytest.raises(KeyError):
        index.get("missing")


@pytest.mark.parametrize(
    "call",
    [
        lambda index: index.get(["a"]),
        lambda index: index.get("\ud800"),
        lambda index: index.search(np.zeros(4, np.float32), where={1: "a"}),
        lambda index: index.search(np.zeros(4, np.float32), where={"c": b"ab"}),
        lambda index: index.update([Item("a", box=(0, 0, 2**70, 5))]),
        lambda index: index.update([Item("a", metadata={"c": 10**400})]),
        lambda index: Index.create(index.path / "new", 4, model=[1]),  # type: ignore[arg-type]
        lambda index: Index.create(index.path / "new", 4, model_id="\ud800"),
        lambda index: Index.create(index.path / "new", 2**40),
    ],
)
def test_odd_values_are_argument_errors(tmp_path, call):
    with Index.create(tmp_path / "i", 4) as index:
        index.add(["a"], np.zeros((1, 4), np.float32), [{"c": 1}])
        with pytest.raises(ArgumentError):
            call(index)
        assert "\ud800" not in index
        assert index.get("a").metadata == {"c": 1}
