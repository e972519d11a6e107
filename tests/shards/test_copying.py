"""An index cut into shards, and indexes merged into one: the same items, rows and answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from damage import flip_row
from index_data import SEARCHED, described, features
from sharded_data import filled

from vsearch_fast.errors import (
    ArgumentError,
    DamagedError,
    DuplicateIdError,
    ModelMismatchError,
    StoreError,
)
from vsearch_fast.index import Index, Item
from vsearch_fast.shards import ShardedIndex, copying
from vsearch_fast.shards.merging import merge
from vsearch_fast.shards.opening import open_index
from vsearch_fast.shards.splitting import split

DIM = 12
ROWS = 25
REMOVED = ["item 0", "item 11", "item 24"]


@pytest.fixture
def one(tmp_path: Path) -> Path:
    rows = features(ROWS, DIM)
    rows[15:20] = rows[3:8]
    return filled(tmp_path / "one", rows, [described(row) for row in range(ROWS)], REMOVED)


def same(first: Path, second: Path) -> None:
    """Both hold the same items, rows and answers."""
    with open_index(first) as a, open_index(second) as b:
        assert list(a) == list(b)
        ids = [item.id for item in a]
        assert np.array_equal(a.features(ids), b.features(ids))
        assert np.array_equal(a.codes(ids), b.codes(ids))
        assert (a.model, a.model_id, a.dtype, a.views) == (b.model, b.model_id, b.dtype, b.views)
        queries = features(4, DIM * len(a.views), 8).reshape(4 * len(a.views), DIM)
        for metric in SEARCHED:
            if a.binarize == "zero":
                assert a.search(queries, ROWS, metric) == b.search(queries, ROWS, metric)


def left_beside(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("into", [1, 3, 22])
def test_there_and_back(
    one: Path, tmp_path: Path, into: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_BLOCK_ROWS", 4)
    done: list[tuple[int, int]] = []
    sizes = split(one, into, tmp_path / "many", lambda *progress: done.append(progress))
    assert (len(sizes), sum(sizes), max(sizes) - min(sizes) <= 1) == (into, 22, True)
    assert done[-1] == (22, 22)
    same(one, tmp_path / "many")
    with ShardedIndex.open(tmp_path / "many") as many:
        assert [len(Index.open(shard)) for shard in many.shards] == sizes
        assert many.info()["rows"] == 22
    done.clear()
    assert merge([tmp_path / "many"], tmp_path / "back", lambda *told: done.append(told)) == 22
    assert done[-1] == (22, 22)
    same(one, tmp_path / "back")
    split(tmp_path / "many", 2, tmp_path / "other")
    same(one, tmp_path / "other")
    assert left_beside(tmp_path) == []


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "float16"},
        {"views": "whole,box", "model": {"layer": "fc1", "file": "m.onnx"}},
        {"model": {"binarize": "itq", "bits": 20}},
    ],
)
def test_what_rows_are_like_is_kept(tmp_path: Path, options: dict[str, object]) -> None:
    views = 2 if "views" in options else 1
    rows = features(10 * views, DIM).reshape(10, views, DIM)
    codes = np.random.default_rng(0).integers(0, 256, (10, 3), np.uint8) & np.uint8(0xF0)
    own = "binarize" in options.get("model", {})  # type: ignore[operator]
    with Index.create(tmp_path / "one", DIM, model_id="m", **options) as index:  # type: ignore[arg-type]
        items = [described(row) for row in range(10)]
        index.add(
            [item.id for item in items], rows if views == 2 else rows[:, 0], items,
            codes=codes if own else None,
        )  # fmt: skip
        if own:
            index.describe({"layer": "fc1"})  # what it once said of codes is not lost
    split(tmp_path / "one", 3, tmp_path / "many")
    merge([tmp_path / "many"], tmp_path / "back")
    with Index.open(tmp_path / "one") as a, Index.open(tmp_path / "back") as b:
        assert (a.binarize, a.bits, a.views, a.dtype) == (b.binarize, b.bits, b.views, b.dtype)
        ids = [item.id for item in a]
        assert np.array_equal(a.codes(ids), b.codes(ids))
        assert np.array_equal(a.features(ids), b.features(ids))
        assert list(a) == list(b)


def test_what_was_learnt_is_kept(one: Path, tmp_path: Path) -> None:
    with Index.open(one, mode="rw") as index:
        limit = index.calibrate("l1", quantile=0.5, sample=7, group="colour")
        index.learn("l2", item="colour")
        known = index.likeness("l2")
    split(one, 2, tmp_path / "many")
    merge([tmp_path / "many"], tmp_path / "back")
    merge([tmp_path / "many", filled(tmp_path / "more", features(1, DIM), [Item("x")])],
          tmp_path / "all")  # fmt: skip
    for place in (tmp_path / "many", tmp_path / "back", tmp_path / "all"):
        with open_index(place) as found:
            told = found.info()
            assert told["thresholds"]["l1"]["changes"] == (place.name == "all")
            own = found.threshold("l1")
            assert own is not None
            assert (own.distance, own.quantile, own.group) == (limit.distance, 0.5, "colour")
            again = found.likeness("l2", learn=False)
            assert again is not None and known is not None
            assert (again.same, again.similar, again.item) == (known.same, known.similar, "colour")


def test_merged_in_order(tmp_path: Path) -> None:
    rows = np.repeat(features(1, DIM), 9, axis=0)
    items = [described(row) for row in range(9)]
    places = [filled(tmp_path / str(n), rows[n : n + 3], items[n : n + 3]) for n in (6, 0, 3)]
    assert merge(places, tmp_path / "all") == 9
    with Index.open(tmp_path / "all") as found:
        order = [f"item {row}" for row in (6, 7, 8, 0, 1, 2, 3, 4, 5)]
        assert [hit.id for hit in found.search(rows[0])[0]] == order


def test_pictures_of_two_folders(tmp_path: Path) -> None:
    """Paths are what they meant, wherever the folder that they are below is noted."""
    for name, paths in (("a", ["x.jpg", "/b/y.jpg"]), ("b", ["x.jpg", None])):
        with Index.create(tmp_path / name, DIM, model={"root": f"/{name}", "layer": "l"}) as index:
            ids = [f"{name}{i}" for i in range(2)]
            items = [Item(i, path) for i, path in zip(ids, paths, strict=True)]
            index.add(ids, features(2, DIM), items)
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    with Index.open(tmp_path / "all") as found:
        assert [item.path for item in found] == ["/a/x.jpg", "/b/y.jpg", "/b/x.jpg", None]
        assert found.model == {"layer": "l"}


def test_what_cannot_be_merged(one: Path, tmp_path: Path) -> None:
    rows = features(2, DIM)
    twice = filled(tmp_path / "twice", rows, [described(50), described(7)])
    with pytest.raises(DuplicateIdError, match=r"'item 7' is in .*one and in .*twice"):
        merge([one, twice], tmp_path / "all")
    ShardedIndex.create(tmp_path / "list", [one, twice]).close()
    with pytest.raises(DuplicateIdError, match="'item 7' is in"):
        merge([tmp_path / "list"], tmp_path / "all")
    Index.create(tmp_path / "other", DIM, model_id="other").close()
    with pytest.raises(ModelMismatchError, match=r"of model other, and .* those of m"):
        merge([one, tmp_path / "other"], tmp_path / "all")
    Index.create(tmp_path / "short", DIM - 1, model_id="m").close()
    with pytest.raises(ArgumentError, match=r"has dim 11, and .* 12"):
        merge([one, tmp_path / "short"], tmp_path / "all")
    decoder = {"decoder": "nvimgcodec"}
    Index.create(tmp_path / "decoded", DIM, model_id="m", model=decoder).close()
    with pytest.raises(ModelMismatchError, match="were decoded by nvimgcodec"):
        merge([one, tmp_path / "decoded"], tmp_path / "all")
    with pytest.raises(ArgumentError, match="No index is named"):
        merge([], tmp_path / "all")
    with pytest.raises(StoreError, match="is there already"):
        merge([one], twice)
    with pytest.raises(ArgumentError, match="holds 22 items, and was to become 23 shards"):
        split(one, 23, tmp_path / "all")
    assert not (tmp_path / "all").exists()
    assert left_beside(tmp_path) == []


def test_damage_is_not_copied(one: Path, tmp_path: Path) -> None:
    flip_row(one, "vectors-00001.npy", 5)
    for make in (lambda: split(one, 2, tmp_path / "all"), lambda: merge([one], tmp_path / "all")):
        with pytest.raises(DamagedError, match="not as they were written"):
            make()
    assert not (tmp_path / "all").exists()
    assert left_beside(tmp_path) == []


_KILLED = """
import sys, time
from pathlib import Path
from vsearch_fast.shards import copying, merging, splitting
copying._BLOCK_ROWS = 1
def slow(done, total):
    print(done, flush=True)
    time.sleep(600 if done == int(sys.argv[4]) else 0)
one, target = map(Path, sys.argv[2:4])
if sys.argv[1] == "split":
    splitting.split(one, 3, target, slow)
else:
    merging.merge([one], target, slow)
"""


@pytest.mark.posix
@pytest.mark.parametrize("what", ["split", "merge"])
@pytest.mark.parametrize("after", [1, 22])
def test_a_process_that_is_killed_leaves_nothing(
    one: Path, tmp_path: Path, what: str, after: int
) -> None:
    target = tmp_path / "made"
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, what, str(one), str(target), str(after)],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while int(process.stdout.readline()) < after:
            pass
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert not target.exists()
    with pytest.raises(StoreError, match="does not exist"):
        open_index(target)
    split(one, 2, target)  # what was left is in nobody's way
    same(one, target)
