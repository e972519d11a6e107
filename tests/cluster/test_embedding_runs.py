"""Runs, stops and changes, without a cluster: what the process does that writes the shards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedding_cluster import (
    Here,
    assert_same,
    assert_shards,
    draw,
    on_a_cluster,
    on_one_machine,
)
from tiny_model import write_tiny_model

from vsearch_fast import Index, ShardedIndex
from vsearch_fast.cluster import embedding, embedding_target, embedding_units
from vsearch_fast.cluster.embedding import Told
from vsearch_fast.cluster.embedding_pipeline import Workers
from vsearch_fast.embedder.embedder import Embedder
from vsearch_fast.errors import (
    ArgumentError,
    ClusterError,
    ImageError,
    LockedError,
    ModelMismatchError,
    StoreError,
)

COUNT = 60

#: Pictures a unit, so that a shard of 20 has three.
UNIT = 8
THREE = ["00000.index", "00001.index", "00002.index"]


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_units, "PICTURES", UNIT)


@pytest.fixture
def here() -> Iterator[Here]:
    with pytest.MonkeyPatch.context() as patch:
        yield Here(patch)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder(write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx"), "cpu")


@pytest.fixture
def photos_drawn(tmp_path: Path) -> Path:
    return draw(tmp_path / "pictures", COUNT)


@pytest.mark.filterwarnings("ignore::vsearch_fast.embedder.ImageSkippedWarning")
@pytest.mark.parametrize("backwards", [False, True])
def test_as_on_one_machine(
    here: Here, embedder: Embedder, photos_drawn: Path, tmp_path: Path, backwards: bool
) -> None:
    """Whatever the order in which units are finished; broken pictures included."""
    here.backwards = backwards
    broken = sorted(photos_drawn.rglob("*.png"))[3:COUNT:15]
    for number, path in enumerate(broken):
        path.write_bytes(b"" if number % 2 else path.read_bytes()[:200])
    (photos_drawn / "gone.png").symlink_to("nowhere")
    alone = on_one_machine(photos_drawn, tmp_path / "one", embedder)
    made = on_a_cluster(photos_drawn, tmp_path / "many", embedder)
    assert made == alone
    assert len(made.skipped) == 5
    assert_same(tmp_path / "one", tmp_path / "many")
    assert_shards(tmp_path / "many", THREE)
    with ShardedIndex.open(tmp_path / "many") as index:
        sizes = [len(Index.open(shard)) for shard in index.shards]
    assert sum(sizes) == COUNT - 4
    assert len(here.embedded) == COUNT + 1


@pytest.mark.parametrize("units", [0, 1, 3, 8])
def test_what_was_stopped_goes_on(
    here: Here, embedder: Embedder, photos_drawn: Path, tmp_path: Path, units: int
) -> None:
    """Nothing that was finished is embedded again, wherever it was stopped."""
    target = tmp_path / "many"
    counts: list[int] = []
    here.stop_after = units
    with pytest.raises(KeyboardInterrupt):
        on_a_cluster(photos_drawn, target, embedder, told=Told(committed=counts.append))
    assert not (target / "shards.json").exists()
    done = list(here.embedded)
    assert counts == ([] if not units else [*counts[:-1], len(done)])
    here.stop_after = None
    on_a_cluster(photos_drawn, target, embedder)
    assert sorted(here.embedded) == sorted(set(here.embedded))
    assert len(here.embedded) == COUNT
    on_one_machine(photos_drawn, tmp_path / "one", embedder)
    assert_same(tmp_path / "one", target)
    assert_shards(target, THREE)


def test_a_damaged_unit_is_embedded_again(
    here: Here, embedder: Embedder, photos_drawn: Path, tmp_path: Path
) -> None:
    target = tmp_path / "many"
    here.stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        on_a_cluster(photos_drawn, target, embedder)
    [block] = (target / "unfinished").glob("*.block")
    data = bytearray(block.read_bytes())
    data[-1] ^= 1
    block.write_bytes(data)
    here.stop_after = None
    on_a_cluster(photos_drawn, target, embedder)
    assert len(here.embedded) == COUNT + UNIT
    on_one_machine(photos_drawn, tmp_path / "one", embedder)
    assert_same(tmp_path / "one", target)


def test_fewer_shards_than_at_first(
    here: Here, embedder: Embedder, photos_drawn: Path, tmp_path: Path
) -> None:
    """Shards that a run had made which was asked for more of them are gone."""
    target = tmp_path / "many"
    here.stop_after, here.backwards = 3, True
    with pytest.raises(KeyboardInterrupt):
        on_a_cluster(photos_drawn, target, embedder)
    assert (target / "00002.index").is_dir()
    here.stop_after = None
    on_a_cluster(photos_drawn, target, embedder, shards=2)
    on_one_machine(photos_drawn, tmp_path / "one", embedder)
    assert_same(tmp_path / "one", target)
    assert_shards(target, THREE[:2])


def test_another_list_meanwhile(
    here: Here, embedder: Embedder, photos_drawn: Path, tmp_path: Path
) -> None:
    """A shard that was whole for the list of then is made anew; units that are as they were
    are not embedded again."""
    target = tmp_path / "many"
    here.stop_after = 3  # the first shard is whole, the second begun
    with pytest.raises(KeyboardInterrupt):
        on_a_cluster(photos_drawn, target, embedder)
    assert (target / "00000.index").is_dir()
    next(photos_drawn.glob("chair/*.png")).unlink()
    here.stop_after = None
    on_a_cluster(photos_drawn, target, embedder)
    on_one_machine(photos_drawn, tmp_path / "one", embedder)
    assert_same(tmp_path / "one", target)
    assert_shards(target, THREE)


@pytest.mark.filterwarnings("ignore::vsearch_fast.embedder.ImageSkippedWarning")
def test_brought_up_to_date(
    here: Here, embedder: Embedder, photos_drawn: Path, tmp_path: Path
) -> None:
    """New, changed, vanished, renamed, touched and broken pictures, as on one machine."""
    one, many = tmp_path / "one", tmp_path / "many"
    on_one_machine(photos_drawn, one, embedder)
    on_a_cluster(photos_drawn, many, embedder)
    here.embedded.clear()
    assert on_a_cluster(photos_drawn, many, embedder).added == 0  # nothing to do
    assert here.embedded == []
    assert_shards(many, THREE)

    names = sorted(photos_drawn.rglob("*.png"))
    names[0].unlink()
    names[1].rename(names[1].with_name("renamed.png"))
    names[2].write_bytes(names[45].read_bytes())  # another's picture under its name
    names[3].write_bytes(
        draw(tmp_path / "more", 1, first=900).joinpath("chair/00900.png").read_bytes()
    )
    names[4].write_bytes(b"broken now")
    os.utime(names[5], (1, 1))
    first, second = names[6].read_bytes(), names[7].read_bytes()  # two names are exchanged
    names[6].write_bytes(second)
    names[7].write_bytes(first)
    draw(photos_drawn, 30, first=COUNT)
    alone = on_one_machine(photos_drawn, one, embedder)
    made = on_a_cluster(photos_drawn, many, embedder)
    assert made == alone
    assert (made.added, made.replaced, made.recognised, made.removed) == (30, 1, 4, 3)
    assert len(here.embedded) == 32
    assert_same(one, many)
    assert_shards(many, [*THREE, "00003.index", "00004.index"])

    here.embedded.clear()
    assert on_a_cluster(photos_drawn, many, embedder) == on_one_machine(photos_drawn, one, embedder)
    assert len(here.embedded) == 1  # the broken one may have been mended
    assert_shards(many, [*THREE, "00003.index", "00004.index"])
    assert_same(one, many)


@pytest.mark.parametrize("change", range(4))
def test_stopped_while_it_commits(
    here: Here,
    embedder: Embedder,
    photos_drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: int,
) -> None:
    """What has begun to be committed is committed by the next run, which embeds nothing."""
    one, many = tmp_path / "one", tmp_path / "many"
    on_one_machine(photos_drawn, one, embedder)
    on_a_cluster(photos_drawn, many, embedder)
    names = sorted(photos_drawn.rglob("*.png"))
    for place in (0, 30, 59):  # one of each shard
        names[place].unlink()
    draw(photos_drawn, 10, first=COUNT)
    real, left = embedding_target.Target._change, [change]

    def killed(self: embedding_target.Target, path: str, commit: embedding_target.Commit) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(self, path, commit)

    if change < 3:
        monkeypatch.setattr(embedding_target.Target, "_change", killed)
    else:
        monkeypatch.setattr(embedding_target.manifests, "write", lambda *_: 1 // 0)
    with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
        on_a_cluster(photos_drawn, many, embedder)
    monkeypatch.undo()
    here.embedded.clear()
    on_a_cluster(photos_drawn, many, embedder)
    assert here.embedded == []
    on_one_machine(photos_drawn, one, embedder)
    assert_same(one, many)
    assert_shards(many, [*THREE, "00003.index"])


def test_the_first_broken_picture_ends_the_run(
    here: Here, embedder: Embedder, photos_drawn: Path, tmp_path: Path
) -> None:
    names = sorted(photos_drawn.rglob("*.png"))
    for place in (21, 25, 55):
        names[place].write_bytes(b"no picture")
    here.backwards = True
    for _ in range(2):  # the second time from what is kept
        with pytest.raises(ImageError, match=names[21].name):
            on_a_cluster(photos_drawn, tmp_path / "many", embedder, on_error="raise")
    assert not (tmp_path / "many" / "shards.json").exists()


def test_two_runs_at_once(
    here: Here, embedder: Embedder, photos_drawn: Path, tmp_path: Path
) -> None:
    refused = []

    def second(_: int) -> None:
        with pytest.raises(LockedError, match="is being written to by this process"):
            on_a_cluster(photos_drawn, tmp_path / "many", embedder)
        refused.append(1)

    on_a_cluster(photos_drawn, tmp_path / "many", embedder, told=Told(committed=second))
    assert refused
    on_one_machine(photos_drawn, tmp_path / "one", embedder)
    assert_same(tmp_path / "one", tmp_path / "many")


def test_a_node_that_does_not_see_the_pictures(
    here: Here,
    embedder: Embedder,
    photos_drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are not taken for broken."""
    real = here.finished

    def elsewhere(*arguments: Any) -> Iterator[Any]:
        moved = photos_drawn.rename(tmp_path / "elsewhere")
        for finished in real(*arguments):
            moved.rename(photos_drawn)
            yield finished

    monkeypatch.setattr(embedding, "finished", elsewhere)
    with pytest.raises(ClusterError, match="is not there on a node of the cluster"):
        on_a_cluster(photos_drawn, tmp_path / "many", embedder)
    monkeypatch.setattr(embedding, "finished", real)
    on_a_cluster(photos_drawn, tmp_path / "many", embedder)
    assert_shards(tmp_path / "many", THREE)


def test_what_is_refused(
    here: Here, embedder: Embedder, photos_drawn: Path, tmp_path: Path
) -> None:
    target = tmp_path / "many"
    with pytest.raises(ArgumentError, match="were to fill 61 shards"):
        on_a_cluster(photos_drawn, target, embedder, shards=61)
    with pytest.raises(ArgumentError, match="given 64 pictures at a time"):
        on_a_cluster(photos_drawn, target, embedder, batch_size=65)
    with pytest.raises(ArgumentError, match="Workers have cpus 0"):
        on_a_cluster(photos_drawn, target, embedder, workers=Workers(cpus=0))
    with pytest.raises(ArgumentError, match="address of a client"):
        on_a_cluster(photos_drawn, target, embedder, address="ray://here:1")
    on_a_cluster(photos_drawn, target, embedder)
    other = Embedder(write_tiny_model(tmp_path / "other.onnx", seed=1), "cpu")
    with pytest.raises(ModelMismatchError, match="holds features of model"):
        on_a_cluster(photos_drawn, target, other)
    with pytest.raises(ArgumentError, match="the views whole, not whole,box"):
        on_a_cluster(photos_drawn, target, embedder, views=["whole", "box"])
    elsewhere = draw(tmp_path / "elsewhere", 3)
    with pytest.raises(ArgumentError, match="was made from"):
        on_a_cluster(elsewhere, target, embedder)
    assert_shards(target, THREE)
    on_one_machine(photos_drawn, tmp_path / "one", embedder)
    with pytest.raises(StoreError, match="holds an index of one part"):
        on_a_cluster(photos_drawn, tmp_path / "one", embedder)
    with pytest.raises(StoreError, match="holds other files"):
        on_a_cluster(photos_drawn, photos_drawn, embedder)
    shutil.rmtree(target)
    foreign = target / "00001.index"
    Index.create(foreign, 3).close()
    (target / "unfinished").mkdir()
    with pytest.raises(StoreError, match="none of this index's shards"):
        on_a_cluster(photos_drawn, target, embedder)
    assert foreign.is_dir()
