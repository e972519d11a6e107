"""The numbers of metadata: ranges are found by them, exactly, and never by old or damaged ones."""

from __future__ import annotations

import contextlib
import math
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from old_index import make_format_1

from vsearch_fast.errors import DamagedError
from vsearch_fast.index import Index, Item, item_rows, numbers
from vsearch_fast.index.conditions import ORDERS, Compared
from vsearch_fast.index.item_rows import ItemRows
from vsearch_fast.index.upkeep import Upkeep

EDGES: list[Any] = [
    0, -0.0, 1, 1.5, -3, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, 2**63, -(2**63), -(2**63) - 1,
    float(2**63), 1e300, 2**1024 - 1, 1 - 2**1024, 5e-324, 0.1, "7", "7.0", "0.1", "1e999",
    "-1e999", "9007199254740993", "red", "", True, None, [1, "1", 1.0], [],
    ["x", 2**53 + 1], "-0.0",
]  # fmt: skip
THAN: list[Any] = [
    value for value in EDGES if type(value) in (int, float)
] + [math.inf, -math.inf, 2**62 + 1, float(2**62), 0.30000000000000004]  # fmt: skip


def filled(folder: Path, values: list[Any], column: str = "n") -> Index:
    index = Index.create(folder, 2)
    add(index, values, "", column)
    return index


def add(index: Index, values: list[Any], prefix: str, column: str = "n") -> None:
    ids = [f"{prefix}{number}" for number in range(len(values))]
    rows = np.zeros((len(values), 2), np.float32)
    index.add(
        ids, rows, [Item(id_, metadata={column: v}) for id_, v in zip(ids, values, strict=True)]
    )


def met(index: Index, condition: Compared) -> set[str]:
    items, after = index.page(10_000, where=condition)
    assert after is None
    return {item.id for item in items}


def expected(index: Index, condition: Compared) -> set[str]:
    def accepts(item: Item) -> bool:
        value = item.metadata.get(condition.column)
        each: list[Any] = value if isinstance(value, list) else [value]
        return any(condition.accepts(one) for one in each)

    return {item.id for item in index if accepts(item)}


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Columns whose values were looked at, each by itself."""
    columns: list[str] = []
    real = ItemRows.values

    def values(self: ItemRows, sql: Any, column: int, name: str) -> Any:
        columns.append(name)
        return real(self, sql, column, name)

    monkeypatch.setattr(ItemRows, "values", values)
    return columns


@contextlib.contextmanager
def database(index: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(index / "index.sqlite", isolation_level=None)) as sql:
        yield sql


def as_an_older_one(index: Path) -> None:
    """What a version wrote that knows nothing of numbers."""
    from vsearch_fast.index import sealing

    with database(index) as sql:
        sql.execute("DROP TABLE numbers")
        sql.execute("DELETE FROM meta WHERE key = 'numbers'")
        sealing.seal(sql)


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return filled(tmp_path_factory.mktemp("edges") / "i", EDGES * 36)


@pytest.mark.parametrize("order", ORDERS)
def test_every_edge(edges: Index, order: str, looked: list[str]) -> None:
    for than in dict.fromkeys(THAN):  # equal conditions have one mask, which is kept
        condition = Compared("n", order, than)
        before = len(looked)
        assert met(edges, condition) == expected(edges, condition), (order, than)
        assert (len(looked) > before) == (abs(than) >= 2**63)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)), max_size=8
    ),
    st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.floats(-1e18, 1e18)),
)
@example([2**53 + 1, 2.0**53], 2**53 + 1)
@example([2.0**62], 2**62 - 1)
def test_any_number(tmp_path_factory: pytest.TempPathFactory, values: list[Any], than: Any) -> None:
    with filled(tmp_path_factory.mktemp("any") / "i", [*values, 0]) as index:
        for order in ORDERS:
            condition = Compared("n", order, than)
            assert met(index, condition) == expected(index, condition)
    shutil.rmtree(index.path)


def kept(index: Upkeep) -> Any:
    with index._store.reading("") as sql:
        return numbers.kept(sql, index._store.state())


def made(index: Index) -> Any:
    with index._store.reading("") as sql:
        known = item_rows.column_numbers(sql)
        lines = numbers.lines_of(
            sorted(index._store.rows.by_row(sql, range(10_000)).items()), known
        )
    return {place: numbers.packed(place, line) for place, line in lines.items()}


def test_they_follow_every_change(tmp_path: Path, looked: list[str]) -> None:
    rng = np.random.default_rng(3)
    with filled(tmp_path / "i", EDGES * 40) as index:
        for step in range(6):
            add(index, [float(each) for each in rng.integers(0, 99, 30)], f"{step} ", "other")
            ids = [item.id for item in index]
            some = rng.choice(ids, 40, replace=False).tolist()
            index.remove(some[:20])
            index.update([Item(id_, metadata={"n": int(step), "other": "x"}) for id_ in some[20:]])
            index.add(["again"], np.zeros((1, 2)), [{"n": step}], replace=True)
            with pytest.raises(RuntimeError), index.transaction():
                index.remove(["again"])
                raise RuntimeError
            if step == 3:
                assert index.compact() > 0
            assert kept(index) == made(index)
            with index.snapshot() as frozen:
                assert kept(frozen) == made(index)
        assert index.verify().sound
        for column in ("n", "other"):
            condition = Compared(column, "<=", 3)
            assert met(index, condition) == expected(index, condition)
    assert not looked


@pytest.mark.parametrize("gains", ["add", "compact", "optimize"])
def test_an_older_index_gains_them(tmp_path: Path, gains: str, looked: list[str]) -> None:
    filled(tmp_path / "i", EDGES).close()
    as_an_older_one(tmp_path / "i")
    condition = Compared("n", ">", 1)
    with Index.open(tmp_path / "i", mode="rw") as index:
        assert met(index, condition) == expected(index, condition) and looked
        index.remove(["2"])  # which does not look at all items
        assert kept(index) is None
        if gains == "add":
            add(index, [7], "new ")
        else:
            getattr(index, gains)()
        assert kept(index) == made(index) and index.verify().sound
        looked.clear()
        assert met(index, condition) == expected(index, condition) and not looked


def test_an_index_of_format_1(tmp_path: Path) -> None:
    ids = ["a", "b", "c"]
    items = [Item(id_, metadata={"n": n}) for n, id_ in enumerate(ids)]
    make_format_1(tmp_path / "i", ids, np.zeros((3, 4), np.float32), items, ["b"])
    with Index.open(tmp_path / "i", mode="rw") as index:
        assert met(index, Compared("n", ">=", 1)) == {"c"}
        index.add(["d"], np.zeros((1, 4), np.float32), [{"n": 9}])
        assert met(index, Compared("n", ">=", 1)) == {"c", "d"} and kept(index) == made(index)


def test_what_an_older_version_has_changed(tmp_path: Path, looked: list[str]) -> None:
    """It leaves the numbers alone, which are then none of this state."""
    condition = Compared("n", "<", 5)
    with filled(tmp_path / "i", [1, 2, 30]) as index, pytest.MonkeyPatch.context() as older:
        for name in ("change", "mark", "drop_old", "begin"):
            older.setattr(numbers, name, lambda *_, **__: None)
        index.update([Item("2", metadata={"n": 3}), Item("0", metadata={"n": 50})])
        assert met(index, condition) == {"1", "2"} and looked == ["n"]
        assert index.verify().sound
    with Index.open(tmp_path / "i", mode="rw") as index:
        index.remove(["1"])
        assert kept(index) is None and met(index, condition) == {"2"}
        add(index, [4], "new ")
        assert kept(index) == made(index) and met(index, condition) == {"2", "new 0"}


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE numbers SET numbers = substr(numbers, 1, 8) || x'01' || substr(numbers, 10)",
        "UPDATE numbers SET rows = x'0500' || substr(rows, 3)",
        "UPDATE numbers SET rows = 'text'",
        "DELETE FROM numbers WHERE place & 1",
        "UPDATE numbers SET place = place + 2 WHERE place & 1",
    ],
)
def test_damage_is_told_and_mended(tmp_path: Path, harm: str) -> None:
    filled(tmp_path / "i", [1, 2, 3.5, 4]).close()
    with database(tmp_path / "i") as sql:
        sql.execute(harm)
    condition = Compared("n", "<", 3)
    with Index.open(tmp_path / "i", mode="rw") as index:
        with pytest.raises(DamagedError, match="numbers of a column"):
            met(index, condition)
        add(index, [2, 2.5], "new ")  # what is damaged does not become right by that
        with pytest.raises(DamagedError, match="numbers of a column"):
            met(index, condition)
        assert "numbers that filters" in index.verify().damages[0].what
        index.repair()
        assert met(index, condition) == {"0", "1", "new 0", "new 1"} and index.verify().sound
