"""`vsearch shard` and `merge`, and the commands that take a sharded index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from damage import flip_row

from vsearch_fast.index import Index
from vsearch_fast.shards import ShardedIndex


@pytest.fixture
def many(vsearch: Any, indexed: Path) -> Path:
    folder = indexed.with_name("pictures.shards")
    code, out, _ = vsearch("shard", indexed, "--into", 3, "-o", folder, "--quiet")
    assert code == 0
    assert f"{folder} holds the 12 pictures of {indexed} in 3 shards." in out
    return folder


def test_matches_are_the_same(vsearch: Any, indexed: Path, many: Path, pictures: Path) -> None:
    asked: list[list[Any]] = [
        ["--metric", "all", "-k", 5], ["--where", "category=lamp"], ["--no-match"],
        ["--within", 900, "-k", 3],
    ]  # fmt: skip
    for options in asked:
        one = vsearch("search", indexed, pictures, "--json", *options)
        code, out, _ = vsearch("search", many, pictures, "--json", *options)
        assert (code, json.loads(out)) == (0, json.loads(one[1]))
    _, out, err = vsearch("search", many, pictures / "lamp", "--explain")
    assert "Proof: l2 by" in err and "12 rows" in err


def test_info_and_verify(vsearch: Any, many: Path, pictures: Path) -> None:
    vsearch("search", many, pictures, "--no-match")  # which takes a threshold, and keeps it
    code, out, _ = vsearch("info", many)
    assert code == 0
    told = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (told["shards"], told["live"]) == ("3", "12")
    assert "match within  l2" in out
    code, out, _ = vsearch("verify", many)
    assert (code, out.count("is as it was written (4 rows")) == (0, 3)
    with ShardedIndex.open(many) as found:
        second = found.shards[1]
    flip_row(second, "vectors-00000.npy", 2)
    code, out, _ = vsearch("verify", many, "--json")
    verified = json.loads(out)
    assert (code, verified["sound"]) == (1, False)
    assert [shard["sound"] for shard in verified["shards"]] == [True, False, True]
    code, out, _ = vsearch("verify", many)
    assert code == 1 and f"{second} is damaged" in out
    code, _, err = vsearch("verify", many, "--repair")
    assert code == 1 and "whose shards are mended one by one" in err
    code, _, err = vsearch("search", many, next(pictures.rglob("*.png")))
    assert code == 1 and str(second) in err
    assert vsearch("verify", second, "--repair", "--quiet")[0] == 0
    assert vsearch("verify", many)[0] == 0


def test_merged_again(vsearch: Any, indexed: Path, many: Path, tmp_path: Path) -> None:
    code, out, _ = vsearch("merge", many, "-o", tmp_path / "back.index", "--json")
    assert (code, json.loads(out)["pictures"]) == (0, 12)
    with Index.open(indexed) as one, Index.open(tmp_path / "back.index") as back:
        assert list(one) == list(back)
        assert one.model == back.model
    code, out, _ = vsearch("shard", indexed, "--into", 2, "-o", tmp_path / "two", "--json")
    assert (code, json.loads(out)["shards"]) == (0, [6, 6])
    code, _, err = vsearch("merge", indexed, many, "-o", tmp_path / "all.index")
    assert code == 1 and "is in" in err and not (tmp_path / "all.index").exists()


@pytest.mark.parametrize("words", [["compact"], ["optimize"], ["backup", "copy.index"]])
def test_commands_that_want_one_index_say_so(vsearch: Any, many: Path, words: list[str]) -> None:
    code, _, err = vsearch(words[0], many, *words[1:])
    assert code == 1
    assert "is a sharded index" in err and "vsearch merge makes one index" in err


def test_calibrated_as_one_index(vsearch: Any, indexed: Path, many: Path) -> None:
    """And what is learnt of all shards is kept in their list."""
    options = ["--quantile", 0.5, "--group", "category", "--json"]
    one, whole = (vsearch("calibrate", path, *options) for path in (indexed, many))
    assert whole[0] == 0 and json.loads(whole[1]) == json.loads(one[1])
    with Index.open(indexed) as index, ShardedIndex.open(many) as found:
        for metric in ("l2", "l1", "hamming"):
            kept = found.threshold(metric)
            assert kept == index.threshold(metric) and kept is not None and kept.quantile == 0.5
            assert found.likeness(metric, learn=False) is not None
    assert "threshold l2" in (many / "shards.json").read_text()


def test_a_study_of_a_sharded_index_is_that_of_one(
    indexed: Path, many: Path, tmp_path: Path
) -> None:
    from vsearch_fast.rating.study import Settings, make

    settings = Settings("match", 4, 3, 3, None, "category", 0)
    one, other = (make([path], ["l2"], settings) for path in (indexed, many))
    assert other.queries == one.queries
    assert [system.name for system in other.systems] == ["pictures.shards l2"]


def test_pictures_are_not_added_to_the_whole(
    vsearch: Any, many: Path, pictures: Path, model: Path
) -> None:
    code, _, err = vsearch("index", pictures, "-o", many, "--model", model, "--quiet")
    assert code == 1
    assert "is a sharded index, which a cluster brings up to date" in err and "--ray local" in err
