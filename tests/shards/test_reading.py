"""What a sharded index tells of its items beside searches, and what it refuses."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from index_data import described, features
from sharded_data import sharded

from vsearch_fast.errors import (
    ArgumentError,
    CompactedError,
    ModelMismatchError,
    ReplacedError,
    StoreError,
    UnknownIdError,
)
from vsearch_fast.index import Index
from vsearch_fast.shards import ShardedIndex
from vsearch_fast.shards.store import _MARK_BITS

DIM = 12
ROWS = 30


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """One index, and a sharded one of an empty shard and three others; some are removed."""
    removed = ["item 0", "item 9", "item 29"]
    return sharded(tmp_path, features(ROWS, DIM), [10, 10, 13], removed=removed)


def test_items_are_those_of_one_index(both: tuple[Path, Path]) -> None:
    with Index.open(both[0]) as one, ShardedIndex.open(both[1]) as many:
        assert len(many) == len(one) == 27
        assert list(many) == list(one)
        names = [item.id for item in one][::-1]
        assert [many.get(name) for name in names] == [one.get(name) for name in names]
        assert np.array_equal(many.features(names), one.features(names))
        assert np.array_equal(many.codes(names), one.codes(names))
        for name in ("item 9", "", "other"):
            assert (name in many) is False
        assert "item 12" in many
        with pytest.raises(UnknownIdError, match="holds no item 'item 9'"):
            many.features(["item 3", "item 9"])
        assert many.columns() == one.columns()
        for column in ("colour", "new", "nr"):
            assert many.values(column) == one.values(column)
            assert many.values(column, 4) == one.values(column, 4)
        assert many.boxed() == one.boxed()
        with pytest.raises(ArgumentError, match="no metadata column 'size'"):
            many.values("size")


def test_a_place_of_another_catalogue(both: tuple[Path, Path], tmp_path: Path) -> None:
    single, folder = both
    with Index.open(single) as one, ShardedIndex.open(folder) as many:
        _, place = one.page(1)
        _, own = many.page(1)
        shards = [str(shard) for shard in many.shards]
        with ShardedIndex.create(tmp_path / "other", shards[::-1]) as other:
            for after in (place, other.page(1)[1]):
                with pytest.raises(CompactedError, match="another catalogue"):
                    many.page(1, after=after)
            with pytest.raises(CompactedError):
                one.page(1, after=own)
        assert many.page(1, after=own)[0] == one.page(1, after=place)[0]


@pytest.mark.parametrize("limit", [1, 4, 9, 10, 27, 50])
@pytest.mark.parametrize("where", [None, {"colour": ["red", "green"]}])
def test_pages(both: tuple[Path, Path], limit: int, where: dict[str, list[str]] | None) -> None:
    with Index.open(both[0]) as one, ShardedIndex.open(both[1]) as many:
        expected = one.page(100, where=where)[0]
        found, after = [], None
        while True:
            items, after = many.page(limit, after=after, where=where)
            assert len(items) == limit or after is None
            found += items
            if after is None:
                break
        assert found == expected
        with pytest.raises(ArgumentError, match="no metadata column 'size'"):
            many.page(limit, where={"size": 1})
        with pytest.raises(CompactedError, match="fewer shards"):
            many.page(limit, after=99 << _MARK_BITS | many._store._mark())


def test_info(both: tuple[Path, Path]) -> None:
    with Index.open(both[0]) as one, ShardedIndex.open(both[1]) as many:
        told, alike = many.info(), one.info()
        own = {"path", "format", "created", "segments", "joined", "bytes", "shards", "reductions"}
        assert {name: told[name] for name in alike if name not in own} == {
            name: value for name, value in alike.items() if name not in own
        }
        assert (told["path"], told["shards"]) == (str(both[1]), 4)
        assert repr(many) == f"<ShardedIndex {str(both[1])!r}, 4 shards, dim {DIM}>"
        assert len(many.shards) == 4


def test_what_is_committed_in_a_shard_is_seen(both: tuple[Path, Path]) -> None:
    rows = features(3, DIM, 5)
    with ShardedIndex.open(both[1]) as many:
        assert many.search(rows[0], 1)[0][0].id != "new 0"
        with Index.open(many.shards[0], mode="rw") as shard:
            shard.add(["new 0"], rows[:1])
        with Index.open(many.shards[3], mode="rw") as shard:
            shard.add(["new 1"], rows[:1])
            shard.remove(["item 28"])
        hits = many.search(rows[0], 2)[0]
        assert [hit.id for hit in hits] == ["new 0", "new 1"]  # in the order of the shards
        with Index.open(many.shards[3], mode="rw") as shard:
            shard.compact()
        assert many.search(rows[0], 2)[0] == hits
        assert (len(many), "item 28" in many) == (28, False)


def test_segments_of_shards_are_joined(both: tuple[Path, Path]) -> None:
    """One shard's, and another's to another size, beside who has all of them open."""
    rows = features(3, DIM, 5)

    def answers(many: Index) -> list[object]:
        found: list[object] = [many.search(rows, 9, metric) for metric in ("l2", "l1", "hamming")]
        found += [many.search(rows, 5, where={"colour": "red"}), list(many), many.page(9)[0]]
        return [*found, many.features(["item 3", "item 28"]).tolist()]

    with ShardedIndex.open(both[1]) as many, many.snapshot() as held:
        right, before = answers(many), many.info()["segments"]
        for shard, segment_rows in ((0, 3), (3, 1000), (0, 64)):
            with Index.open(many.shards[shard], mode="rw") as one:
                one.optimize(segment_rows=segment_rows)
            assert answers(many) == answers(held) == right and many.verify().sound
        assert many.info()["segments"] < before
        with many.snapshot() as fresh:
            assert answers(fresh) == right


def test_a_snapshot_stays_as_it_is(both: tuple[Path, Path]) -> None:
    rows = features(2, DIM)
    with ShardedIndex.open(both[1]) as many, many.snapshot() as held:
        before, items = held.search(rows), list(held)
        many.threshold("l1")
        assert many.save_thresholds() == 1
        assert held.info()["thresholds"] == {}
        with Index.open(many.shards[0], mode="rw") as shard:
            shard.remove(["item 1"])
            shard.compact()
        assert (held.search(rows), list(held)) == (before, items)
        assert many.search(rows) != before


def test_it_can_be_sent_to_another_process(both: tuple[Path, Path]) -> None:
    with ShardedIndex.open(both[1]) as many, pickle.loads(pickle.dumps(many)) as other:
        assert isinstance(other, ShardedIndex)
        assert list(other) == list(many)


def test_it_is_not_changed_through_the_whole(both: tuple[Path, Path], tmp_path: Path) -> None:
    with ShardedIndex.open(both[1]) as many:
        for change in (
            lambda: many.add(["a"], features(1, DIM)), lambda: many.remove(["item 1"]),
            lambda: many.update(described(1)), lambda: many.describe({}), many.compact,
            many.optimize, many.repair, lambda: many.backup(tmp_path / "copy"),
        ):  # fmt: skip
            with pytest.raises(StoreError, match="is a sharded index") as told:
                change()
            assert "shard" in told.value.cure
    with pytest.raises(ArgumentError, match="Open the shard"):
        ShardedIndex.open(both[1], mode="rw")
    with pytest.raises(StoreError, match="is a sharded index"):
        Index.open(both[1])


def test_a_closed_one_is_refused(both: tuple[Path, Path]) -> None:
    many = ShardedIndex.open(both[1])
    many.close()
    with pytest.raises(StoreError, match="was closed"):
        many.search(features(1, DIM))


def test_another_model_is_refused(both: tuple[Path, Path]) -> None:
    with ShardedIndex.open(both[1], model_id="m") as many:
        assert many.model_id == "m"
    with pytest.raises(ModelMismatchError, match="of model m, not of other"):
        ShardedIndex.open(both[1], model_id="other")


def test_a_shard_that_is_replaced_while_it_is_open(both: tuple[Path, Path]) -> None:
    with ShardedIndex.open(both[1]) as many:
        many.search(features(1, DIM))
        place = many.shards[2]
        place.rename(place.with_name("old"))
        Index.create(place, DIM, model_id="m").close()
        with pytest.raises(ReplacedError, match="was replaced since it was opened"):
            many.search(features(1, DIM))
