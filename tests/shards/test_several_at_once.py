"""Searches of a sharded index while its shards are written to: each sees whole commits."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from index_data import described, features
from sharded_data import filled

from vsearch_fast.errors import StoreError
from vsearch_fast.index import Hit, Index, Item
from vsearch_fast.shards import ShardedIndex

DIM = 12


@pytest.fixture
def many(tmp_path: Path) -> Path:
    rows = features(8, DIM)
    places = [
        filled(tmp_path / str(n), rows[n : n + 4], [described(row) for row in range(n, n + 4)])
        for n in (0, 4)
    ]
    ShardedIndex.create(tmp_path / "many", places).close()
    return tmp_path / "many"


@pytest.mark.parametrize("awake", [1, 9])
def test_a_writer_beside_searches(many: Path, awake: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items go, come and are renumbered in one shard; those of the other are always there, and of
    the first always all that one commit has."""
    monkeypatch.setattr("vsearch_fast.shards.pool._may_stay_open", lambda _: awake)
    stop = threading.Event()
    rows = features(8, DIM)

    def write(place: Path) -> None:
        with Index.open(place, mode="rw") as index:
            while not stop.is_set():
                index.add(["a", "b"], rows[:2], [{"colour": "red", "nr": 0}] * 2)
                index.update([Item(name, metadata={"colour": "grey"}) for name in "ab"])
                index.remove(["a", "b"])
                index.compact()

    with ShardedIndex.open(many) as found:
        writer = threading.Thread(target=write, args=(found.shards[0],))
        writer.start()
        try:
            for _ in range(20):
                for where, always in ((None, 8), ({"colour": "red"}, 3)):
                    [hits] = found.search(rows[0], 20, where=where)
                    names = {hit.id for hit in hits}
                    assert len(hits) == len(names)
                    assert sum(name.startswith("item") for name in names) == always
                    assert len(names) - always in (0, 2)
                    if where:
                        assert all(hit.metadata["colour"] == "red" for hit in hits)
                ids = [item.id for item in found.page(20)[0]]
                assert len(ids) in (8, 10)
        finally:
            stop.set()
            writer.join()


def test_what_changes_before_every_look_is_told(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that rests cannot be held still. After three attempts that is an error, and no
    answer is of two states."""
    monkeypatch.setattr("vsearch_fast.shards.pool._may_stay_open", lambda _: 1)
    rows = features(8, DIM)
    with ShardedIndex.open(many) as found:
        store, attempts = found._store, []
        items = store.items

        def changed(*arguments: object, **options: object) -> dict[int, Item] | None:
            attempts.append(1)
            with Index.open(found.shards[1], mode="rw") as shard:
                shard.update(shard.get("item 7"))
            return items(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "items", changed)
        with pytest.raises(StoreError, match="was changed time and again while it was read"):
            found.search(rows[0], where={"colour": "red"})
        assert len(attempts) == 4
        monkeypatch.setattr(store, "items", items)
        [hits] = found.search(rows[0], where={"colour": "red"})
        assert isinstance(hits[0], Hit) and np.isfinite(hits[0].distance)
