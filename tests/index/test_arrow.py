"""Indexes as tables of Arrow and back: nothing is lost, and tables of others come in."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast import optional
from vsearch_fast.errors import ArgumentError, DTypeError, MissingDependencyError
from vsearch_fast.index import Index, Item, arrow
from vsearch_fast.index import arrow_reading as reading
from vsearch_fast.index.items import facets_of
from vsearch_fast.shards.index import ShardedIndex

pa: Any = pytest.importorskip("pyarrow")
DIM = 5

SCALARS: list[Any] = [1, -(2**60), 2**70, 1.5, True, False, None, "", "x", "é", "1"]
VALUES = st.one_of(st.sampled_from(SCALARS), st.lists(st.sampled_from(SCALARS), max_size=3))
COLUMNS = st.sampled_from(["colour", "path", "vector", "metadata.a", "price"])


def filled(folder: Path, metadata: list[dict[str, Any]], **options: Any) -> Index:
    index = Index.create(folder, DIM, model_id="m", model={"layer": "fc1"}, **options)
    views = len(index.views)
    shape = (len(metadata), DIM) if views == 1 else (len(metadata), views, DIM)
    rows = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    boxes = [(1, 2, 3 + n, 4) if n % 2 else None for n in range(len(metadata))]
    index.add(
        [f"id {n}" for n in range(len(metadata))], rows,
        [Item(f"id {n}", f"/p/{n}.jpg" if n % 3 else None, boxes[n], found, "1:2" if n else None)
         for n, found in enumerate(metadata)],
    )  # fmt: skip
    return index


def same(index: Index, again: Index) -> None:
    items, back = list(index), list(again)
    assert [(i.id, i.path, i.box, i.stamp) for i in back] == [
        (i.id, i.path, i.box, i.stamp) for i in items
    ]
    for item, other in zip(items, back, strict=True):
        # Null and a column that is not there are one.
        held = {name: value for name, value in item.metadata.items() if value is not None}
        there = {name: facets_of(value) for name, value in held.items()}
        assert {name: facets_of(value) for name, value in other.metadata.items()} == there
    ids = [item.id for item in items]
    assert np.array_equal(again.features(ids), index.features(ids))
    assert np.array_equal(again.codes(ids), index.codes(ids))
    for name in ("dim", "bits", "binarize", "dtype", "views", "model_id", "model"):
        assert getattr(again, name) == getattr(index, name), name


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(COLUMNS, VALUES, max_size=3), min_size=1, max_size=8))
def test_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, metadata: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("of")
    with filled(folder / "a", metadata) as index:
        index.remove(["id 0"])
        with Index.from_arrow(folder / "b", index.to_arrow()) as again:
            same(index, again)


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"views": "whole,box"}])
def test_other_kinds_of_rows_batch_by_batch(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "_ROWS", 4)
    monkeypatch.setattr(reading, "_ROWS", 3)
    with filled(tmp_path / "a", [{"n": n} for n in range(11)], **options) as index:
        table = index.to_arrow().read_all()
        assert table.column("vector").num_chunks == 3
        with Index.from_arrow(tmp_path / "b", table) as again:
            same(index, again)
    ShardedIndex.create(tmp_path / "s", [tmp_path / "a", tmp_path / "b"]).close()
    with ShardedIndex.open(tmp_path / "s") as both:
        assert both.to_arrow().read_all().num_rows == 22


def test_codes_of_another_rule(tmp_path: Path) -> None:
    codes = np.arange(6, dtype=np.uint8)[:, None]
    model = {"binarize": "itq", "bits": 8}
    with Index.create(tmp_path / "a", DIM, model=model) as index:
        index.add([str(n) for n in range(6)], np.zeros((6, DIM), np.float32), codes=codes)
        with Index.from_arrow(tmp_path / "b", index.to_arrow()) as again:
            same(index, again)


def test_columns_have_the_types_of_their_values(tmp_path: Path) -> None:
    values: dict[str, list[Any]] = {
        "int64": [1, None, -5], "double": [1, 2.5, None], "bool": [True, False, None],
        "string": ["a", None, "b"], "list<element: string>": [["a"], [], None],
    }  # fmt: skip
    rows = [{name: column[n] for name, column in values.items()} for n in range(3)]
    with filled(tmp_path / "a", rows) as index:
        schema = index.to_arrow().schema
    for name in values:
        assert str(schema.field(name).type).replace("item:", "element:") == name
    assert str(schema.field("vector").type) == f"fixed_size_list<element: float>[{DIM}]".replace(
        "element", schema.field("vector").type.value_field.name
    )


def vectors(rows: int = 3) -> list[list[float]]:
    return [[float(row), 1.0, 2.0] for row in range(rows)]


def test_a_table_of_somebody_else(tmp_path: Path) -> None:
    table = pa.table({
        "embedding": vectors(), "name": ["a", "b", "c"], "price": [1.5, float("nan"), None],
        "day": [datetime.date(2026, 5, n) for n in (1, 2, 3)],
        "cost": [decimal.Decimal("1.50")] * 3, "tags": [["x", "y"], [], None],
        "picture": [{"bytes": b"", "path": "a"}] * 3, "path": ["p", None, "q"],
        "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
    })  # fmt: skip
    with (
        pytest.warns(UserWarning, match=r"left out: picture \(struct"),
        Index.from_arrow(tmp_path / "i", table, id="name") as index,
    ):
        assert [item.id for item in index] == ["a", "b", "c"]
        assert index.features(["b"]).tolist() == [[1.0, 1.0, 2.0]]
        assert index.get("a") == Item("a", "p", None, {
            "price": 1.5, "day": "2026-05-01", "cost": "1.50", "tags": ["x", "y"], "kind": "u"
        })  # fmt: skip
        assert index.get("b").metadata == {
            "day": "2026-05-02",
            "cost": "1.50",
            "tags": [],
            "kind": "v",
        }
        assert [i.id for i in index.page(9, where="day > 2026-05-01 and cost < 2")[0]] == ["b", "c"]


def test_frames(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"vector": vectors(), "id": [7, 8, 9], "n": [1, 2, 3]})
    with Index.from_arrow(tmp_path / "i", frame, model_id="mine") as index:
        assert [item.id for item in index] == ["7", "8", "9"] and index.model_id == "mine"
        assert index.get("8").metadata["n"] == 2
    with Index.from_arrow(tmp_path / "j", pa.table({"v": vectors()}), dtype="float16") as index:
        assert [item.id for item in index] == ["0", "1", "2"] and index.dtype == "float16"


@pytest.mark.parametrize(
    ("columns", "options", "what"),
    [
        ({"id": ["a"]}, {}, "no column of vectors"),
        ({"a": vectors(), "b": vectors()}, {}, "2 columns of vectors, a, b"),
        ({"a": vectors()}, {"vector": "b"}, "no column 'b' of vectors"),
        ({"a": vectors()}, {"id": "name"}, "no column 'name' of ids"),
        ({"a": [[1.0], None]}, {}, "Row 2 of the table has no vector"),
        ({"a": [None, [1.0]]}, {}, "Row 1 of the table has no vector"),
        ({"a": [[1.0], [1.0, 2.0]]}, {}, "Row 2 of the table has a vector of 2 numbers"),
        ({"a": [[1.0], [None]]}, {}, "of rows 1 to 2 of the table holds null"),
        ({"a": pa.array([], pa.list_(pa.float32()))}, {}, "no rows, and does not say"),
    ],
)
def test_what_is_no_table_of_vectors_is_refused(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], what: str
) -> None:
    with pytest.raises(ArgumentError, match=what):
        Index.from_arrow(tmp_path / "i", pa.table(columns), **options)
    with pytest.raises(DTypeError, match="source is a dict"):
        Index.from_arrow(tmp_path / "i", {"a": [1]})


def test_an_empty_table_says_how_long_its_vectors_are(tmp_path: Path) -> None:
    kind = pa.list_(pa.float32(), 4)
    with Index.from_arrow(tmp_path / "i", pa.table({"v": pa.array([], kind)})) as index:
        assert index.dim == 4 and len(index) == 0
        assert json.loads(index.to_arrow().schema.metadata[b"vsearch_fast"])["model_id"] == ""


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(optional, "package", missing)
    with (
        Index.create(tmp_path / "i", 2) as index,
        pytest.raises(MissingDependencyError, match="pyarrow, which tables need"),
    ):
        index.to_arrow()
