"""Units follow from the list alone, and their files are what was written or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch_fast.cluster.device_batch import LARGEST, batch_for, batch_for_device
from vsearch_fast.cluster.embedding_pipeline import Workers
from vsearch_fast.cluster.embedding_units import (
    PICTURES,
    Blocks,
    Embedded,
    Recipe,
    Refused,
    asked,
    packed,
    shard_sizes,
    units_of,
    unpacked,
)
from vsearch_fast.errors import ArgumentError, ClusterError
from vsearch_fast.index.items import Item

RECIPE = Recipe("m", "cpu", 8, 32, "nearest", 1000, "libjpeg-turbo", 1)


def items(count: int) -> list[Item]:
    return [Item(f"i{n}", f"/p/{n}.png", stamp=f"{n}:1") for n in range(count)]


@given(pictures=st.integers(0, 400), shards=st.integers(1, 9))
def test_shards_are_runs_of_equal_size(pictures: int, shards: int) -> None:
    sizes = shard_sizes(pictures, shards)
    assert (sum(sizes), len(sizes)) == (pictures, shards)
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@given(count=st.integers(0, 300), first=st.integers(0, 9))
def test_units_hold_every_item_once_and_in_order(count: int, first: int) -> None:
    units = list(units_of(items(count), RECIPE, first))
    assert [item for unit in units for item in unit.items] == items(count)
    assert [unit.number for unit in units] == list(range(first, first + len(units)))
    assert all(len(unit.items) == PICTURES for unit in units[:-1])
    assert len({unit.key for unit in units}) == len(units)


def test_a_key_follows_from_what_features_follow_from() -> None:
    [unit] = units_of(items(3), RECIPE)
    described = [
        Item(f"x{n}", each.path, None, {"a": 1}, each.stamp) for n, each in enumerate(items(3))
    ]
    assert next(units_of(described, RECIPE)).key == unit.key
    for other in (
        [Item("i0", "/p/0.png", stamp="9:1"), *items(3)[1:]],
        [Item("i0", "/p/0.png", (0, 0, 1, 1), stamp="0:1"), *items(3)[1:]],
        items(3)[::-1],
        items(2),
    ):
        assert next(units_of(other, RECIPE)).key != unit.key
    changed = Recipe("m", "cpu", 4, 32, "nearest", 1000, "libjpeg-turbo", 1)
    assert next(units_of(items(3), changed)).key != unit.key


def test_a_request_says_path_box_and_stamp() -> None:
    [unit] = units_of([Item("a", "/ä", (1, 2, 3, 4), {"x": 1}, "5:6"), Item("b", "/b")], RECIPE)
    first, second = asked(unit.request())
    assert (first.path, first.box, first.stamp) == ("/ä", (1, 2, 3, 4), "5:6")
    assert (second.path, second.box, second.stamp) == ("/b", None, None)


def embedded(views: int = 2) -> Embedded:
    rng = np.random.default_rng(views)
    return Embedded(
        [0, 2],
        ["1:2:ab", None],
        [Refused(1, "broken", "left out", "fetch it")],
        rng.normal(size=(2, views, 9)).astype(np.float32),
        rng.integers(0, 256, (2, views, 2)).astype(np.uint8),
    )


@pytest.mark.parametrize("views", [1, 2])
def test_a_file_holds_what_was_embedded(views: int) -> None:
    held = unpacked(packed("k", embedded(views)), "k")
    assert held is not None
    np.testing.assert_array_equal(held.features, embedded(views).features)
    np.testing.assert_array_equal(held.codes, embedded(views).codes)
    assert (held.read, held.stamps, held.refused) == (
        embedded().read, embedded().stamps, embedded().refused,
    )  # fmt: skip


def test_a_unit_without_a_picture() -> None:
    none = Embedded(
        [], [], [Refused(0, "a", "b", "c")], np.empty((0, 1, 9), np.float32),
        np.empty((0, 1, 2), np.uint8),
    )  # fmt: skip
    held = unpacked(packed("k", none), "k")
    assert held is not None
    assert held.features.shape == (0, 1, 9)
    assert held.refused == none.refused


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_bit_that_is_flipped_is_found(place: int, bit: int) -> None:
    data = bytearray(packed("k", embedded()))
    data[place % len(data)] ^= 1 << bit
    assert unpacked(bytes(data), "k") is None


def test_a_file_of_another_unit_or_cut_off_is_none(tmp_path: Path) -> None:
    blocks, data = Blocks(tmp_path), packed("k", embedded())
    assert blocks.get("k") is None
    blocks.put("k", data)
    assert blocks.get("k") is not None
    assert unpacked(data, "other") is None
    for end in range(0, len(data), 7):
        blocks.path("k").write_bytes(data[:end])
        assert blocks.get("k") is None
    blocks.drop(["k", "k"])
    assert not list(tmp_path.iterdir())


def test_a_batch_fits_the_memory() -> None:
    sizes = [batch_for(gib << 30, 224, 1 << 29) for gib in (0, 1, 2, 4, 8, 16, 80)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (1, LARGEST)
    for memory in (1 << 30, 3 << 30, 5 << 30):
        size = batch_for(memory, 224)
        # Two layers of 64 channels of float32, twice: what a picture takes at most.
        assert size * 1024 * 224 * 224 <= memory // 2
        assert size & (size - 1) == 0
        assert size == LARGEST or 2 * size * 1024 * 224 * 224 > memory // 2
    assert batch_for(4 << 30, 448) < batch_for(4 << 30, 224)


def test_the_batch_of_this_machines_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert batch_for_device(224, 0) == 32  # as an Embedder takes by itself
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 2048\n")
    tool.chmod(0o755)
    assert batch_for_device(224, 0) == batch_for(2 << 30, 224) == 16


def test_workers_that_fit() -> None:
    eight = {"CPU": 8.0, "GPU": 2.0}
    assert Workers().most(eight) == 8
    assert Workers(3).most(eight) == 3
    assert Workers(cpus=3).most(eight) == 2
    assert Workers(gpus=0.5).most(eight) == 4
    with pytest.raises(ClusterError, match="8 processors and 2 GPUs, and a worker takes 9"):
        Workers(cpus=9).most(eight)
    with pytest.raises(ClusterError, match="0 GPUs"):
        Workers(gpus=1).most({"CPU": 8.0})
    for wrong in (Workers(0), Workers(cpus=0), Workers(gpus=-1), Workers(cpus=float("nan"))):
        with pytest.raises(ArgumentError, match="Workers have"):
            wrong.check()
    decoding, working = Workers(cpus=1).resources()
    assert decoding["num_cpus"] + working["num_cpus"] == 1  # there is always room to decode
