"""What is damaged is found, and mended as far as that can be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from damage import flip, flip_row, tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from index_data import METRICS, described, features

from vsearch_fast.errors import DamagedError, StoreError
from vsearch_fast.index import Index, Item, stored_sketches, sums
from vsearch_fast.index.verifying import Verified

DIM = 64
ROWS = 150
DATA = features(ROWS, DIM)
QUERIES = features(3, DIM, seed=1)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that every index of the tests has several."""
    monkeypatch.setattr(stored_sketches, "BLOCK_ROWS", 16)
    monkeypatch.setattr(sums, "BLOCK_ROWS", 16)
    monkeypatch.setattr(sums, "_READ_BYTES", 4 * DIM)  # a row of vectors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "index", DIM, model_id="m", segment_rows=40) as index:
        index.add([f"item {i}" for i in range(100)], DATA[:100], [described(i) for i in range(100)])
        index.remove([f"item {i}" for i in range(0, 100, 9)])
        index.add(
            [f"item {i}" for i in range(100, ROWS)],
            DATA[100:],
            [described(i) for i in range(100, ROWS)],
        )
        index.update([dataclasses.replace(described(1), metadata={"colour": "white"})])
    return tmp_path / "index"


def answers(index: Index) -> list[object]:
    """Whatever can be asked of an index, but for the order of rows."""
    found: list[object] = [
        index.search(QUERIES, 7, metric, where=where, strategy=strategy)
        for metric in METRICS
        for strategy in ("scan", "sketch")
        for where in (None, {"colour": "red"})
    ]
    items = sorted(index, key=lambda item: item.id)
    ids = [item.id for item in items]
    return [*found, items, index.features(ids).tolist(), index.values("colour"), len(index)]


def embedded(items: Sequence[Item]) -> dict[str, np.ndarray]:
    return {item.id: DATA[int(item.id.split()[1])] for item in items}


def repaired(folder: Path, embed: Callable[..., dict[str, np.ndarray]] | None = embedded) -> Index:
    with Index.open(folder, mode="rw", damaged=True) as index:
        done = index.repair(embed)
        assert not done.before.sound and done.after.sound
    return Index.open(folder)


def found_in(folder: Path) -> Verified:
    with Index.open(folder, damaged=True) as index:
        return index.verify()


def test_a_sound_index_is_found_sound_and_left_alone(folder: Path) -> None:
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with Index.open(folder, mode="rw") as index:
        seen: list[tuple[int, int]] = []
        verified = index.verify(lambda done, total: seen.append((done, total)))
        assert verified.sound and verified.checksums and verified.rows == ROWS
        assert seen[-1][0] == seen[-1][1] == verified.bytes
        assert index.repair().dropped == ()
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.parametrize("kind", ["vectors", "codes", "sketches", "facts"])
def test_a_row_that_can_be_made_again_is_as_it_was(folder: Path, kind: str) -> None:
    with Index.open(folder) as index:
        before = answers(index)
    flip_row(folder, f"{kind}-00001.npy", 3)
    [damage] = found_in(folder).damages
    assert (damage.file, damage.kind) == (f"{kind}-00001.npy", kind)
    assert damage.first is not None and damage.last is not None
    assert damage.first <= 43 <= damage.last and "item 43" in damage.ids
    with Index.open(folder) as index, pytest.raises(DamagedError, match=f"{kind}-00001.npy"):
        answers(index)
    with repaired(folder) as index:
        assert answers(index) == before


def test_what_cannot_be_embedded_is_dropped_and_the_rest_stays(folder: Path) -> None:
    flip_row(folder, "vectors-00001.npy", 3)
    with Index.open(folder, mode="rw") as index:
        done = index.repair(None)
        assert done.dropped == ("item 43",)
        assert done.after.sound and not done.embedded
        assert "item 43" not in index and "item 44" in index
        answers(index)


def test_features_that_differ_get_new_rows(folder: Path) -> None:
    flip_row(folder, "vectors-00001.npy", 3)
    with Index.open(folder, mode="rw") as index:
        item = index.get("item 43")
        done = index.repair(lambda found: {item.id: np.full(DIM, 5.0) for item in found})
        assert done.embedded == ("item 43",) and done.after.sound
        assert index.get("item 43") == item
        assert (index.features(["item 43"]) == 5).all()
        assert index.search(np.full(DIM, 5, np.float32), 2)[0][0].id == "item 43"
        answers(index)


def test_codes_that_the_user_gave_are_not_derived(tmp_path: Path) -> None:
    given_codes = np.random.default_rng(2).integers(0, 256, (40, DIM // 8), np.uint8)
    with Index.create(tmp_path / "i", DIM, segment_rows=40) as index:
        index.add([f"item {i}" for i in range(40)], DATA[:40], codes=given_codes)
        kept = index.search(given_codes[20:], 5, "hamming")
    flip_row(tmp_path / "i", "codes-00000.npy", 3)
    with Index.open(tmp_path / "i", mode="rw") as index:
        done = index.repair(embedded)
        assert done.after.sound
        assert set(done.embedded) == {f"item {i}" for i in range(16)}  # the block's
        again = index.search(given_codes[20:], 5, "hamming")
        assert [hits[0] for hits in again] == [hits[0] for hits in kept]


@pytest.mark.parametrize("how", ["missing", "cut", "headless", "empty"])
@pytest.mark.parametrize("kind", ["vectors", "codes", "facts"])
def test_a_file_that_is_not_there(folder: Path, kind: str, how: str) -> None:
    with Index.open(folder) as index:
        before = answers(index)
    file = folder / f"{kind}-00001.npy"
    if how == "missing":
        file.unlink()
    elif how == "headless":
        flip(file, 3)
    else:
        file.write_bytes(file.read_bytes()[: 0 if how == "empty" else 400])
    assert not found_in(folder).sound
    with repaired(folder) as index:
        assert answers(index) == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE facets SET value = '\"blue\"' WHERE row = 10",
        "DELETE FROM facets WHERE row = 10",
        "UPDATE facet_sums SET sum = sum + 1",
        "DELETE FROM facet_sums WHERE value = '\"red\"'",
        "UPDATE tombstones SET row = 10 WHERE number = 2",
        "DELETE FROM tombstones WHERE number = 2",
        "UPDATE segments SET parameters = NULL WHERE kind = 'sketches' AND segment = 1",
        "UPDATE segments SET rows = 8 WHERE kind = 'facts' AND segment = 1",
        "UPDATE segments SET rows = 8 WHERE kind = 'codes'",
        "UPDATE checksums SET sums = x'00' WHERE kind = 'vectors' AND segment = 1 AND block = 0",
        "DELETE FROM checksums WHERE kind = 'codes' AND segment = 1",
    ],
)
def test_tables_that_follow_from_others_are_made_again(folder: Path, statement: str) -> None:
    with Index.open(folder) as index:
        before = answers(index)
    with tables(folder) as sql:
        assert sql.execute(statement).rowcount > 0
    assert not found_in(folder).sound
    with repaired(folder, None) as index:
        assert answers(index) == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE items SET metadata = '{\"colour\": \"blue\"}' WHERE id = 'item 10'",
        "UPDATE items SET metadata = '{' WHERE id = 'item 10'",
        "UPDATE items SET path = 'elsewhere.jpg' WHERE id = 'item 10'",
        "UPDATE items SET sum = 1 WHERE id = 'item 10'",
        "UPDATE items SET x1 = 'a' WHERE id = 'item 10'",
    ],
)
def test_an_item_that_is_damaged_is_never_shown_and_is_dropped(
    folder: Path, statement: str
) -> None:
    with tables(folder) as sql:
        assert sql.execute(statement).rowcount == 1
    with Index.open(folder) as index:
        for ask in (
            lambda: index.get("item 10"),
            lambda: list(index),
            lambda: index.search(DATA[10], 1),
            lambda: index.page(50),
        ):
            with pytest.raises(DamagedError, match="the item of row 10"):
                ask()
    with Index.open(folder, mode="rw") as index:
        done = index.repair(embedded)
        assert done.dropped == ("item 10",) and done.after.sound
        assert "item 10" not in index
        answers(index)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE meta SET value = '8' WHERE key = 'dim'",
        "UPDATE meta SET value = 'other' WHERE key = 'model_id'",
        "UPDATE state SET rows = rows - 1",
        "UPDATE kinds SET width = 3",
        "UPDATE columns SET name = 'coulour' WHERE name = 'colour'",
    ],
)
def test_what_nothing_else_tells_is_refused(folder: Path, statement: str) -> None:
    with tables(folder) as sql:
        assert sql.execute(statement).rowcount > 0
    with pytest.raises(DamagedError, match="are not as they were written"):
        Index.open(folder)


def test_an_index_open_for_reading_is_not_repaired(folder: Path) -> None:
    flip_row(folder, "vectors-00000.npy", 1)
    with Index.open(folder) as index, pytest.raises(StoreError, match="opened for reading"):
        index.repair()


def test_readers_go_on_beside_a_repair(folder: Path) -> None:
    flip_row(folder, "codes-00000.npy", 1)
    with Index.open(folder) as reader:
        before = reader.search(QUERIES, 7, "l2")
        repaired(folder).close()
        assert reader.search(QUERIES, 7, "l2") == before
        reader.search(QUERIES, 7, "hamming")  # of the repaired file


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damage_of_rows_is_found_and_mended(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("any") / "index"
    with Index.create(folder, DIM, segment_rows=40) as index:
        index.add([f"item {i}" for i in range(100)], DATA[:100], [described(i) for i in range(100)])
        index.remove([f"item {i}" for i in range(0, 100, 7)])
        before = answers(index)
    places = st.tuples(
        st.sampled_from(["vectors", "codes", "sketches", "facts"]),
        st.integers(0, 2),
        st.integers(0, 19),
    )
    for kind, segment, row in data.draw(st.lists(places, min_size=1, max_size=5)):
        flip_row(folder, f"{kind}-{segment:05d}.npy", row)
    if found_in(folder).sound:  # the same bit twice, or a row that is not sketched
        return
    with repaired(folder) as index:
        assert answers(index) == before
