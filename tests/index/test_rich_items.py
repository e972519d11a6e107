"""Items with all that they can have (several views, boxes, lists, and things that they are pictures
of) through verify, backup, compact, optimize and repair."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import flip_row, tables

from vsearch_fast.errors import DamagedError, StoreError
from vsearch_fast.index import Index, Item, stored_sketches, sums

DIM = 64
ROWS = 90
TAGS = ["red", "gingham", "belted", "blue"]
DATA = np.random.default_rng(0).integers(-2, 3, (ROWS + 1, 2, DIM)).astype(np.float32)
QUERIES = DATA[[4, 50]] + np.float32(0.25)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that every index of the tests has several."""
    monkeypatch.setattr(stored_sketches, "BLOCK_ROWS", 16)
    monkeypatch.setattr(sums, "BLOCK_ROWS", 16)
    monkeypatch.setattr(sums, "_READ_BYTES", 2 * 4 * DIM)  # a row of vectors


def described(row: int) -> Item:
    return Item(
        f"picture {row}",
        path=f"{row // 3}/{row}.jpg",
        box=(row, 0, row + 9, 20) if row % 2 == 0 else None,
        metadata={
            "item": f"thing {row // 3}",
            "tags": [TAGS[row % 4], "common", row % 3, TAGS[row % 3]],
            "sizes": [30 + row % 5, 36.5, f"{row % 7}"],
            "none": [],
        },
        stamp=f"{row}:1",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some were removed, one was replaced and one described anew."""
    with Index.create(tmp_path / "i", DIM, views="whole,box", segment_rows=40) as index:
        items = [described(row) for row in range(ROWS)]
        index.add([item.id for item in items], DATA[:ROWS], items)
        index.remove([f"picture {row}" for row in range(0, ROWS, 9)])
        index.add(["picture 7"], DATA[7:8], [described(7)], replace=True)
        index.update([dataclasses.replace(described(8), metadata={"tags": ["new", "common"]})])
    return tmp_path / "i"


def answers(index: Index) -> list[Any]:
    wheres: list[Any] = [
        None, {"tags": ["red", 1]}, 'sizes < 32 and not tags = "blue"', 'tags contains "omm"',
        "none is null",
    ]  # fmt: skip
    found: list[Any] = [
        index.search(QUERIES, 7, metric, where, group_by=group)
        for metric in ("l2", "hamming")
        for group in (None, "item")
        for where in wheres
    ]
    found += [index.search(QUERIES[:, 0], 5, "l1", strategy="sketch"), list(index), len(index)]
    found += [sorted(index.values(name) or [], key=repr) for name in ("tags", "sizes", "item")]
    ids = [item.id for item in index]
    found += [[item.id for item in index.page(99, where=where)[0]] for where in wheres]
    return [*found, index.features(ids).tolist(), index.codes(ids).tolist()]


def embedded(items: Sequence[Item]) -> dict[str, np.ndarray]:
    return {item.id: DATA[int(item.id.split()[1])] for item in items}


def test_what_is_asked_gets_the_same_answer_of_all(folder: Path, tmp_path: Path) -> None:
    with Index.open(folder, mode="rw") as index, Index.open(folder) as reader:
        right = answers(index)
        assert index.get("picture 10") == described(10) and index.verify().sound
        index.backup(tmp_path / "copy")
        with Index.open(tmp_path / "copy", checksums="always") as copy:
            assert answers(copy) == right and copy.verify().sound
        with index.snapshot() as held:
            for change in (
                index.compact, lambda: index.optimize(segment_rows=16), index.optimize,
                index.compact,
            ):  # fmt: skip
                change()
                assert answers(index) == answers(reader) == answers(held) == right
                assert index.verify().sound
        assert index.repair().before.sound and answers(reader) == right
    with Index.open(tmp_path / "copy", mode="rw") as copy:
        copy.optimize(segment_rows=100)
        assert answers(copy) == right and copy.verify().sound


@pytest.mark.parametrize(
    "change",
    [
        """metadata = replace(metadata, '"common"', '"connom"')""",
        """metadata = replace(metadata, ',1,', ',"1",')""",
        """metadata = replace(metadata, ',1,', ',true,')""",
        """metadata = replace(metadata, '[30,', '[30.0,')""",
        """metadata = replace(metadata, '"common",', '')""",
        """metadata = replace(metadata, '"none":[]', '"none":[[]]')""",
        """metadata = replace(metadata, '"none":[]', '"none":null')""",
        """metadata = replace(metadata, 'thing 3', 'thing 4')""",
        "x1 = x1 + 1",
        "y2 = NULL",
        "x1 = NULL, y1 = NULL, x2 = NULL, y2 = NULL",
    ],
)
def test_damage_of_an_item_is_noticed_and_takes_that_item_alone(
    folder: Path, tmp_path: Path, change: str
) -> None:
    shutil.copytree(folder, tmp_path / "control")
    with Index.open(tmp_path / "control", mode="rw") as control:
        control.remove(["picture 10"])
        left = answers(control)
    with tables(folder) as sql:
        [(before,)] = sql.execute("SELECT metadata FROM items WHERE id = 'picture 10'").fetchall()
        sql.execute(f"UPDATE items SET {change} WHERE id = 'picture 10'")
        [(after,)] = sql.execute("SELECT metadata FROM items WHERE id = 'picture 10'").fetchall()
        assert before != after or change[0] in "xy"
    with Index.open(folder) as index:
        for ask in (
            lambda: index.get("picture 10"),
            lambda: index.search(DATA[10:11], 3, group_by="item"),
            lambda: index.search(DATA[10:11], 3, where={"tags": "belted"}),
            lambda: list(index),
        ):
            with pytest.raises(DamagedError, match="the item of row 10"):
                ask()
        [damage] = index.verify().damages
        assert "row 10" in damage.what and damage.file == "index.sqlite"
        with pytest.raises(DamagedError, match="as damaged"):
            index.backup(tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
    with Index.open(folder, mode="rw") as index:
        with pytest.raises(DamagedError, match="the item of row 10"):
            index.compact()
        done = index.repair(embedded)
        assert done.dropped == ("picture 10",) and done.after.sound
        assert answers(index) == left
        index.compact()
        assert answers(index) == left and index.verify().sound


@pytest.mark.parametrize(
    "statement",
    [
        """DELETE FROM facets WHERE row = 10 AND value = '"common"'""",
        """UPDATE facets SET value = '"gone"' WHERE row = 10 AND value = '"common"'""",
        """INSERT INTO facets SELECT "column", value, 12 FROM facets WHERE row = 10
           AND value = '"belted"'""",
        """UPDATE facet_sums SET rows = rows - 1 WHERE value = '"common"'""",
        """DELETE FROM facet_sums WHERE value = '"gingham"'""",
        "UPDATE numbers SET numbers = zeroblob(length(numbers))",
        "DELETE FROM numbers WHERE place = (SELECT max(place) FROM numbers)",
    ],
)
def test_what_filters_of_lists_are_answered_from_is_made_again(
    folder: Path, statement: str
) -> None:
    with Index.open(folder) as index:
        right = answers(index)
    with tables(folder) as sql:
        assert sql.execute(statement).rowcount > 0
    shutil.copytree(folder, folder.with_name("compacted"))
    with Index.open(folder) as index:
        assert [damage.file for damage in index.verify().damages][:1] == ["index.sqlite"]
        with pytest.raises(DamagedError):
            answers(index)
    with Index.open(folder, mode="rw") as index:
        done = index.repair()
        assert done.dropped == () and done.after.sound
        assert answers(index) == right
    with Index.open(folder.with_name("compacted"), mode="rw") as index:
        index.compact()  # which makes them of the items, too
        assert answers(index) == right and index.verify().sound


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("kind", ["vectors", "codes", "sketches", "facts"])
def test_damaged_rows_of_two_views_are_mended(folder: Path, kind: str, joined: bool) -> None:
    """Also of another generation, with other segments."""
    with Index.open(folder, mode="rw") as index:
        right = answers(index)
        if joined:
            index.optimize(segment_rows=64)
    name = f"{kind}-1-00000.npy" if joined else f"{kind}-00000.npy"
    flip_row(folder, name, 13)
    with Index.open(folder) as index:
        damaged = index.verify().damages
        assert {(damage.file, damage.kind) for damage in damaged} == {(name, kind)}
        with pytest.raises(StoreError, match=name):
            index.backup(folder.with_name("copy"))
        with contextlib.suppress(DamagedError):
            assert answers(index) == right
    with Index.open(folder, mode="rw") as index:
        if kind in ("vectors", "codes"):
            with pytest.raises(DamagedError, match=name):
                index.optimize(segment_rows=100)
        done = index.repair(embedded)
        assert done.after.sound and done.dropped == ()
        assert answers(index) == right
        index.optimize(segment_rows=100)
        assert answers(index) == right and index.verify().sound
