"""What was learnt is kept, and learnt again when the index has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from likeness_data import DIM, catalogue
from store_data import tampered

from vsearch_fast.errors import LockedError, StoreError
from vsearch_fast.index import Index
from vsearch_fast.index.changes import Changes
from vsearch_fast.index.likeness import from_text, to_text


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    data, metadata = catalogue(40, 3, 4)
    with Index.create(tmp_path / "i", DIM, segment_rows=50) as made:
        made.add([str(row) for row in range(120)], data, metadata)
        yield made


def test_it_is_stored_as_it_is(index: Index) -> None:
    made = index.learn(absent=0.25)
    assert from_text(to_text(made)) == made
    with Index.open(index.path) as reader:
        assert reader.likeness() == made
        facts = reader.info()["likeness"]
        assert json.loads(json.dumps(facts))["l2"]["same"]["pairs"] == made.same.pairs  # type: ignore[union-attr]
        assert facts["l2"]["changes"] == 0


def test_it_is_learnt_again_when_a_tenth_has_changed(index: Index) -> None:
    first = index.learn(absent=0.25, sample=90)
    index.remove([str(row) for row in range(12)])
    assert index.likeness() == first
    index.compact()
    assert index.likeness() is not None
    assert index.info()["likeness"]["l2"]["changes"] == 12
    index.remove(["12"])
    again = index.likeness()
    assert again is not None
    assert (again.live, again.absent, again.sample) == (107, 0.25, 90)


def test_it_is_learnt_again_when_a_missing_column_has_come(tmp_path: Path) -> None:
    data, metadata = catalogue(40, 3, 4)
    with Index.create(tmp_path / "i", DIM) as index:
        index.add([str(row) for row in range(120)], data)
        first = index.likeness()
        assert first is not None and first.missing == ("item", "category", "group")
        assert index.likeness() == first
        items = [
            type(item)(item.id, metadata=line)
            for item, line in zip(list(index), metadata, strict=True)
        ]
        index.update(items)
        again = index.likeness()
        assert again is not None and again.same is not None and again.missing == ("group",)


@pytest.mark.parametrize("text", ["{}", "[1]", "nonsense", '{"version": 99}', '{"version": 1}'])
def test_what_another_version_has_stored_is_learnt_again(index: Index, text: str) -> None:
    first = index.learn()
    index.close()
    tampered(index.path, f"UPDATE meta SET value = '{text}' WHERE key = 'likeness l2'")
    with Index.open(index.path) as reader:
        assert reader.info()["likeness"] == {}
        assert reader.likeness() == first


def test_a_reader_keeps_it_to_itself_until_it_can_be_saved(index: Index) -> None:
    with Index.open(index.path) as reader:
        own = reader.likeness("l1")
        with pytest.raises(LockedError):
            reader.save_learnt()
        index.close()
        assert reader.save_learnt() == 1
        assert reader.save_learnt() == 0
    with Index.open(index.path) as other:
        assert other.info()["likeness"].keys() == {"l1"}
        assert other.likeness("l1") == own


def test_a_full_disk_is_no_reason_not_to_know(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("The disk is full")

    monkeypatch.setattr(Changes, "write_note", full)
    with pytest.raises(StoreError, match="full"):
        index.learn()
    known = index.likeness()
    assert known is not None and known.same is not None
    monkeypatch.undo()
    assert index.save_learnt() == 1


def test_an_empty_index_knows_nothing(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", DIM) as index:
        assert index.likeness() is None
        found = index.learn()
        assert (found.same, found.similar) == (None, None)
