"""The list of shards: what is refused, and how it changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from damage import flip_row
from index_data import described, features
from sharded_data import filled, sharded

from vsearch_fast.disk.lock import WriteLock
from vsearch_fast.errors import (
    ArgumentError,
    DamagedError,
    LockedError,
    ModelMismatchError,
    StoreError,
)
from vsearch_fast.index import Index
from vsearch_fast.shards import ShardedIndex
from vsearch_fast.shards.opening import open_index

DIM = 12


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return sharded(tmp_path, features(9, DIM), [3, 6])[1]


def shard_of(folder: Path, number: int) -> Path:
    told = json.loads((folder / "shards.json").read_text())
    return folder / told["shards"][number]["path"]


def test_a_folder_is_opened_as_what_it_is(many: Path) -> None:
    for path, kind in ((many, ShardedIndex), (shard_of(many, 0), Index)):
        with open_index(path, model_id="m") as found:
            assert type(found) is kind


def test_a_missing_shard_is_told(many: Path) -> None:
    shutil.rmtree(shard_of(many, 1))
    with pytest.raises(StoreError, match=r"a shard of .* is not there") as told:
        ShardedIndex.open(many)
    assert str(shard_of(many, 1)) in told.value.cause
    assert "its 3 items" in told.value.consequence


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"model_id": "other"}, ModelMismatchError, "of model other, and .* those of m"),
        ({"dim": 13}, ArgumentError, "has dim 13, and .* 12"),
        ({"dtype": "float16"}, ArgumentError, "has dtype float16, and .* float32"),
        ({"views": "whole,box"}, ArgumentError, "has views whole,box, and .* whole"),
        ({"model": {"binarize": "itq", "bits": 8}}, ArgumentError, "has bits 8, and .* 12"),
    ],
)
def test_a_shard_of_another_kind_is_refused(
    many: Path, options: dict[str, object], error: type[Exception], what: str
) -> None:
    place = shard_of(many, 2)
    shutil.rmtree(place)
    given = {"dim": DIM, "model_id": "m", **options}
    Index.create(place, **given).close()  # type: ignore[arg-type]
    with ShardedIndex.open(many) as found, pytest.raises(error, match=what):
        found.search(features(1, DIM))
    with pytest.raises(error, match=what):
        ShardedIndex.create(many, [shard_of(many, 0), place])


def test_damage_in_a_shard_is_no_answer(many: Path) -> None:
    flip_row(shard_of(many, 1), "vectors-00000.npy", 1)
    with ShardedIndex.open(many) as found:
        with pytest.raises(DamagedError, match="not as they were written"):
            found.search(features(1, DIM))
        sound = [verified.sound for verified in found.verify_each()]
        assert sound == [True, False, True]
        whole = found.verify()
        assert (whole.sound, whole.rows, whole.path) == (False, 9, str(many))
        place = shard_of(many, 1).name
        assert {damage.file for damage in whole.damages} == {f"{place}/vectors-00000.npy"}


def test_the_same_index_twice_is_refused(many: Path) -> None:
    shutil.rmtree(shard_of(many, 2))
    shutil.copytree(shard_of(many, 0), shard_of(many, 2))
    with ShardedIndex.open(many) as found, pytest.raises(StoreError, match="are the same index"):
        len(found)
    with pytest.raises(ArgumentError, match="is named twice"):
        ShardedIndex.create(many, [shard_of(many, 0)] * 2)
    with pytest.raises(ArgumentError, match="No shard is named"):
        ShardedIndex.create(many, [])


def test_an_id_in_two_shards_is_found_by_verify(many: Path) -> None:
    with Index.open(shard_of(many, 2), mode="rw") as index:
        index.add(["item 1"], features(1, DIM))
    with ShardedIndex.open(many) as found:
        done = []
        verified = found.verify_each(lambda *progress: done.append(progress))
        assert done == [(1, 3), (2, 3), (3, 3)]
        assert [each.sound for each in verified] == [True, True, False]
        [damage] = verified[2].damages
        assert damage.ids == ("item 1",)
        assert str(shard_of(many, 0)) in damage.what


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is damaged"),
        ("{}", "is no list of shards"),
        ("[1]", "is no list of shards"),
        ('{"vsearch_fast sharded index": 2}', "has format 2; this version reads format 1"),
        ('{"vsearch_fast sharded index": 1, "sum": ""}', "checksum"),
    ],
)
def test_a_list_that_is_none(many: Path, text: str, what: str) -> None:
    (many / "shards.json").write_text(text)
    with pytest.raises(StoreError, match=what) as told:
        ShardedIndex.open(many)
    assert str(many / "shards.json") in told.value.cause
    assert told.value.cure


def test_any_change_of_the_list_is_found(many: Path) -> None:
    file = many / "shards.json"
    text = file.read_text()
    for old, new in (('"rows": 3', '"rows": 4'), ("float32", "float16"), ('"m"', '"n"')):
        file.write_text(text.replace(old, new))
        with pytest.raises(DamagedError, match="checksum"):
            ShardedIndex.open(many)
    file.write_bytes(b"\xff" + text.encode())
    with pytest.raises(DamagedError, match="cannot be read"):
        ShardedIndex.open(many)
    file.unlink()
    with pytest.raises(StoreError, match=r"has no shards\.json"):
        ShardedIndex.open(many)


def test_shards_that_are_added_come_last(many: Path, tmp_path: Path) -> None:
    rows = features(9, DIM)
    with ShardedIndex.open(many) as found:
        before = found.search(rows, 9)
    items = [described(row) for row in range(20, 29)]
    elsewhere = filled(tmp_path / "elsewhere", rows, items)
    ShardedIndex.extend(many, [elsewhere])
    with ShardedIndex.open(many) as found:
        assert found.shards[-1] == elsewhere
        for query, old in enumerate(before):
            hits = found.search(rows[query], 18)[0]
            assert [hit for hit in hits if int(hit.id.split()[1]) < 20] == old
            assert [hits[0].distance, hits[1].distance] == [0, 0]
            assert [hits[0].id, hits[1].id] == [f"item {query}", f"item {query + 20}"]
    with pytest.raises(ArgumentError, match="is named twice"):
        ShardedIndex.extend(many, [elsewhere])


def test_a_moved_folder_is_the_same(many: Path) -> None:
    there = many.rename(many.with_name("there"))
    with ShardedIndex.open(there) as found:
        assert len(found) == 9


def test_two_writers_of_the_list(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch_fast.disk.lock._PATIENCE", 0.1)
    lock = WriteLock(many, "")
    try:
        with ShardedIndex.open(many) as found:
            found.threshold()
            with pytest.raises(LockedError):
                found.save_thresholds()
            with pytest.raises(LockedError):
                ShardedIndex.extend(many, [])
    finally:
        lock.release()
    with ShardedIndex.open(many) as found, ShardedIndex.open(many) as other:
        assert found.info()["thresholds"] == {}
        own = found.threshold()
        assert found.save_thresholds() == 1
        assert other.info()["thresholds"]["l2"]["distance"] == np.float64(own.distance)  # type: ignore[union-attr]
