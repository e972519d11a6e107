"""Bytes that are not those written: told with their file and rows, or without any effect."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_data import METRICS, features
from store_data import tampered

from vsearch_fast.checks import Scalar
from vsearch_fast.errors import DamagedError, StoreError
from vsearch_fast.index import Index
from vsearch_fast.index.store import Store
from vsearch_fast.index.verifying import Verified, verify

DIM = 20
ROWS = 2600
SEGMENT = 1500


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments, sketches of a block and a segment's end, filters, removed rows, a threshold."""
    folder = tmp_path_factory.mktemp("whole") / "index"
    rows = features(ROWS, DIM)
    with Index.create(folder, DIM, segment_rows=SEGMENT, model_id="m") as index:
        ids = [f"id {row}" for row in range(ROWS)]
        metadata: list[dict[str, Scalar]] = [
            {"colour": "rgb"[row % 3], "nr": row // 100} for row in range(ROWS)
        ]
        index.add(ids[:2000], rows[:2000], metadata[:2000])
        index.add(ids[2000:], rows[2000:], metadata[2000:])
        index.remove([f"id {row}" for row in range(5, 400, 7)])
        index.calibrate("hamming", sample=50)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "index"))


QUERIES = features(3, DIM, 9)


def answers(folder: Path) -> list[Any]:
    """Everything that an index is asked for."""
    found: list[Any] = []
    with Index.open(folder) as index:
        for metric in METRICS:
            strategies = ("auto",) if metric == "hamming" else ("scan", "sketch")
            found += [index.search(QUERIES, 7, metric, strategy=name) for name in strategies]
            found.append(index.search(QUERIES, 7, metric, {"colour": ["r", "g"], "nr": range(9)}))
        found.append([(item.id, item.metadata) for item in index])
        found.append([item.id for item in index.page(50, where={"nr": 3})[0]])
        found.append(index.values("colour"))
        found.append(index.get("id 1234"))
        found.append(index.features(["id 3", "id 2599"]).tolist())
        found.append(len(index))
        found.append(index.threshold("hamming"))
        found.append(index._store.groups("colour", ROWS, "").tolist())
        found.append(index.columns())
        found.append(index.info()["thresholds"])
    return found


@pytest.fixture(scope="module")
def right(whole: Path) -> list[Any]:
    return answers(whole)


def verified(folder: Path) -> Verified:
    store = Store(folder, writable=False)
    try:
        return verify(store)
    finally:
        store.close()


def flip(file: Path, place: int, bit: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        ("vectors", 1700, "of rows 1692 to 1755 ('id 1692' and others) some are not"),
        ("vectors", 0, "of rows 0 to 63 ("),
        ("codes", 1700, "of rows 1500 to 2523 ("),
        ("codes", 1400, "of rows 1024 to 1499 ("),
        ("sketches", 1100, "of rows 1024 to 1499 ("),
        ("facts", 10, "of rows 0 to 1023 ('id 0' and others)"),
    ],
)
def test_a_flipped_row_is_named(copy: Path, kind: str, row: int, words: str) -> None:
    segment, line = divmod(row, SEGMENT)
    file = copy / f"{kind}-{segment:05d}.npy"
    array = np.load(file, mmap_mode="r")
    width = array.shape[1] * array.itemsize
    flip(file, file.stat().st_size - (SEGMENT - line) * width + 2, 6)
    with pytest.raises(DamagedError) as caught, Index.open(copy) as index:
        for strategy in ("scan", "sketch"):
            index.search(QUERIES, 7, "l2", strategy=strategy)
        index.search(QUERIES, 7, "hamming")
        index.features([f"id {row}"])
    assert f"{file} is damaged: {words}" in str(caught.value), str(caught.value)
    assert "vsearch verify" in caught.value.cure
    report = verified(copy)
    (damage,) = report.damages
    assert (damage.kind, damage.file) == (kind, file.name)
    assert damage.first is not None and damage.last is not None
    assert damage.first <= row <= damage.last
    assert set(damage.ids) <= {f"id {number}" for number in range(damage.first, damage.last + 1)}


def _damaged_or_right(folder: Path, right: list[Any], what: str) -> str:
    try:
        found = answers(folder)
    except StoreError as error:
        assert str(folder) in str(error), what
        assert error.consequence and error.cure, what
        return "told"
    for number, (one, other) in enumerate(zip(found, right, strict=True)):
        assert one == other, f"{what}: answer {number} is another one"
    return "harmless"


def test_flips_and_zeroed_sectors_of_every_row_file(copy: Path, right: list[Any]) -> None:
    chance = random.Random(1)
    told = 0
    files = sorted(copy.glob("*.npy"))
    for file in files:
        content = file.read_bytes()
        for number in range(6):
            place = chance.randrange(len(content))
            if number % 2:
                flip(file, place, chance.randrange(8))
            else:
                place -= place % 512
                file.write_bytes(content[:place] + bytes(512) + content[place + 512 :][:-1] + b"\0")
            told += _damaged_or_right(copy, right, f"{file.name} at {place}") == "told"
            file.write_bytes(content)
    assert told > len(files)


def flipped_database(copy: Path, right: list[Any], seed: int, count: int) -> dict[str, int]:
    chance = random.Random(seed)
    file = copy / "index.sqlite"
    content = file.read_bytes()
    found = {"told": 0, "harmless": 0}
    for _ in range(count):
        place, bit = chance.randrange(len(content)), chance.randrange(8)
        flip(file, place, bit)
        found[_damaged_or_right(copy, right, f"index.sqlite at {place}, bit {bit}")] += 1
        file.write_bytes(content)
    return found


def test_flips_of_the_database(copy: Path, right: list[Any]) -> None:
    found = flipped_database(copy, right, seed=2, count=25)
    assert found["told"]


@pytest.mark.full
@pytest.mark.parametrize("seed", range(4))
def test_many_flips_of_the_database(copy: Path, right: list[Any], seed: int) -> None:
    assert flipped_database(copy, right, seed=100 + seed, count=300)["told"] > 30


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE items SET path = 'x' WHERE row = 1234",
        "UPDATE items SET metadata = replace(metadata, 'r', 'g') WHERE row = 3",
        "UPDATE items SET metadata = x'ff' WHERE row = 3",
        "UPDATE items SET id = 'id 99999' WHERE row = 1234",
        "UPDATE items SET row = 99999 WHERE row = 1234",
        "DELETE FROM items WHERE row = 1234",
        "UPDATE facets SET row = 5 WHERE row = 3",
        "UPDATE facets SET row = 99999 WHERE row = 3",
        "UPDATE facets SET row = 'x' WHERE row = 3",
        'UPDATE facets SET value = \'"z"\' WHERE row = 3 AND "column" = 1',
        "DELETE FROM facets WHERE row = 3",
        'UPDATE facet_sums SET rows = rows + 1 WHERE "column" = 1',
        "UPDATE facet_sums SET sum = sum + 1",
        "UPDATE facet_sums SET sum = 'x'",
        "UPDATE facet_sums SET rows = 'x'",
        "DELETE FROM facet_sums",
        "UPDATE tombstones SET row = 6 WHERE number = 1",
        "UPDATE tombstones SET row = 'x' WHERE number = 1",
        "DELETE FROM tombstones WHERE number = 1",
        "UPDATE segments SET parameters = replace(parameters, '1', '2') WHERE kind = 'sketches'",
        "UPDATE segments SET parameters = '{' WHERE kind = 'sketches'",
        "UPDATE segments SET rows = rows - 1 WHERE kind = 'sketches'",
        "UPDATE segments SET rows = 'x' WHERE kind = 'sketches'",
        "UPDATE checksums SET sums = zeroblob(length(sums))",
        "UPDATE checksums SET rows = rows - 1",
        "DELETE FROM checksums WHERE kind = 'codes'",
        "DELETE FROM segments WHERE kind = 'sketches' AND segment = 0",
        "UPDATE meta SET value = '3000' WHERE key = 'segment_rows'",
        "UPDATE meta SET value = '750' WHERE key = 'segment_rows'",
        "UPDATE meta SET value = '-1' WHERE key = 'segment_rows'",
        "UPDATE meta SET value = x'31' WHERE key = 'segment_rows'",
    ],
)
def test_every_table_is_checked(copy: Path, right: list[Any], statement: str) -> None:
    """Sealed anew, so that it is each table's own sums that tell."""
    tampered(copy, statement)
    assert _damaged_or_right(copy, right, statement) == "told"
    assert not verified_or_told(copy)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE state SET rows = rows - 1",
        "UPDATE state SET removed = removed + 1",
        "UPDATE state SET tombs = tombs + 1",
        "UPDATE state SET generation = 1",
        "UPDATE state SET rows = 'x'",
        "UPDATE meta SET value = '21' WHERE key = 'dim'",
        "UPDATE meta SET value = 'other' WHERE key = 'model_id'",
        "UPDATE meta SET value = '3000' WHERE key = 'segment_rows'",
        "UPDATE meta SET value = replace(value, '0.95', '0.96') WHERE key = 'threshold hamming'",
        "UPDATE columns SET name = 'nrx' WHERE name = 'nr'",
        "UPDATE kinds SET width = 65 WHERE name = 'sketches'",
    ],
)
def test_the_small_tables_are_sealed(copy: Path, right: list[Any], statement: str) -> None:
    tampered(copy, statement, sealed=False)
    assert _damaged_or_right(copy, right, statement) == "told"
    assert not verified_or_told(copy)


def verified_or_told(folder: Path) -> bool:
    with contextlib.suppress(DamagedError):
        return verified(folder).sound
    return False


def test_a_note_of_a_later_commit_is_checked_too(copy: Path) -> None:
    with Index.open(copy) as reader:
        reader.search(QUERIES, 1)
        with Index.open(copy, mode="rw") as writer:
            writer.calibrate("l1", sample=50)
        assert reader.threshold("l1") is not None
        tampered(
            copy,
            "UPDATE meta SET value = replace(value, '\"distance\": ', '\"distance\": 1')"
            " WHERE key = 'threshold l1'",
            sealed=False,
        )
        with pytest.raises(DamagedError, match="meta, state, kinds or columns"):
            reader.threshold("l1")


@pytest.mark.parametrize("kind", ["vectors", "codes"])
def test_nothing_is_added_to_damaged_rows(copy: Path, kind: str) -> None:
    """The sums of an unfinished granule are made anew: not over what is damaged."""
    file = copy / f"{kind}-00001.npy"
    array = np.load(file, mmap_mode="r")
    width = array.shape[1] * array.itemsize
    flip(file, file.stat().st_size - (SEGMENT - (ROWS - 1 - SEGMENT)) * width)
    with (
        Index.open(copy, mode="rw") as index,
        pytest.raises(DamagedError, match=f"{kind}-00001.npy is damaged: of rows .* Nothing was"),
    ):
        index.add(["late"], features(1, DIM))
    assert not verified(copy).sound


def test_what_is_sketched_is_checked_first(copy: Path) -> None:
    """Rows 2524 to 2599 are not sketched yet: the block's other rows are read when it is full."""
    file = copy / "vectors-00001.npy"
    flip(file, file.stat().st_size - (SEGMENT - 1100) * DIM * 4 + 1)  # row 2600: nobody's
    with Index.open(copy, mode="rw") as index:
        index.add(["a"], features(1, DIM))
    flip(file, file.stat().st_size - (SEGMENT - 1030) * DIM * 4 + 1)
    with (
        Index.open(copy, mode="rw") as index,
        pytest.raises(DamagedError, match=r"vectors-00001.npy is damaged: of rows 2524 to"),
    ):
        index.add([f"late {row}" for row in range(500)], features(500, DIM))


def test_an_index_of_ids_that_lies(copy: Path) -> None:
    """Pages of another time: an id that is there and cannot be found is not unknown."""
    with contextlib.closing(sqlite3.connect(copy / "index.sqlite")) as sql:
        sql.execute("UPDATE items SET id = 'x' WHERE row = 1")
        sql.commit()
    content = (copy / "index.sqlite").read_bytes()
    with contextlib.closing(sqlite3.connect(copy / "index.sqlite")) as sql:
        sql.execute("UPDATE items SET id = 'id 1' WHERE row = 1")
        sql.commit()
    after = (copy / "index.sqlite").read_bytes()
    # Pages of the id's index as they were with the other id, the rest as it is.
    pages = [p for p in range(0, len(after), 4096) if content[p : p + 4096] != after[p : p + 4096]]
    told = 0
    for page in pages:
        mixed = after[:page] + content[page : page + 4096] + after[page + 4096 :]
        (copy / "index.sqlite").write_bytes(mixed)
        try:
            with Index.open(copy, mode="rw") as index:
                assert index.get("id 1").id == "id 1"
        except StoreError as error:
            assert "Nothing" in str(error) or "not opened" in str(error)
            told += 1
    assert told


def test_a_replacement_removes_no_other_item(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the table's index of ids names the row of another one."""
    with Index.open(copy, mode="rw") as index:
        monkeypatch.setattr("vsearch_fast.index.item_rows.present", lambda *_: {"id 1": 2})
        with pytest.raises(DamagedError, match="index of ids names other rows"):
            index.add(["id 1"], features(1, DIM), replace=True)
        monkeypatch.undo()
        assert "id 1" in index and "id 2" in index
    assert verified(copy).sound


def test_checksums_may_be_asked_for_at_every_search(copy: Path) -> None:
    file = copy / "codes-00000.npy"
    first = Store(copy, writable=False)
    always = Store(copy, writable=False, checks="always")
    never = Store(copy, writable=False, checks="never")
    from vsearch_fast.index.finder import Finder

    codes = np.packbits(QUERIES > 0, axis=-1)

    def search(store: Store) -> np.ndarray:
        view = store.view(None, ("codes",), "Nothing was searched")
        return Finder(store).nearest(view, view.mask, codes, 3, "hamming")[0]

    before = [search(store).tolist() for store in (first, always, never)]
    with file.open("r+b") as opened:  # the same file, which stays mapped
        opened.seek(300)
        byte = opened.read(1)[0]
        opened.seek(300)
        opened.write(bytes([byte ^ 1]))
    with pytest.raises(DamagedError, match=r"codes-00000.npy is damaged: of rows 0 to 1023"):
        search(always)
    assert search(first).shape == search(never).shape == np.shape(before[0])
    for store in (first, always, never):
        store.close()
