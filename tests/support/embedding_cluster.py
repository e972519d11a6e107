"""What tests of embedding on a cluster share: pictures, two indexes compared, a stand-in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_images import random_image

from vsearch_fast import Index
from vsearch_fast.cluster import embedding
from vsearch_fast.cluster.embedding import Source, index_pictures
from vsearch_fast.cluster.embedding_pipeline import Workers
from vsearch_fast.cluster.embedding_units import Recipe, Unit
from vsearch_fast.cluster.embedding_worker import EmbeddingWorker, Network, decoded
from vsearch_fast.datasets import detect
from vsearch_fast.embedder.embedder import Embedder
from vsearch_fast.indexing import sync
from vsearch_fast.shards.opening import open_index


def draw(folder: Path, count: int, *, first: int = 0) -> Path:
    """Pictures of noise, in two categories."""
    for number in range(first, first + count):
        place = folder / ("lamp" if number % 3 else "chair")
        place.mkdir(parents=True, exist_ok=True)
        random_image("RGB", 40, 30, number).save(place / f"{number:05d}.png")
    return folder


def on_one_machine(folder: Path, target: Path, embedder: Embedder) -> sync.Outcome:
    """The index that one machine makes of a folder, or brings up to date with it."""
    records, origin = detect.read(folder)
    model = embedding.file_of(embedder)
    with sync.open_index(target, embedder, model, origin, root=folder) as index:
        todo = sync.plan(index, records)
        sync.adopt(index, todo, origin, model, root=folder)
        return sync.apply(index, embedder, todo)


def on_a_cluster(folder: Path, target: Path, embedder: Embedder, **options: Any) -> sync.Outcome:
    """The same by `index_pictures`."""
    records, origin = detect.read(folder)
    options.setdefault("shards", 3)
    return index_pictures(
        records, target, embedder, source=Source(origin, folder), **options
    )[1]  # fmt: skip


def assert_same(one: Path, other: Path) -> None:
    """Items in their order, with stamps and all, features and codes to the bit."""
    with open_index(one) as first, open_index(other) as second:
        assert list(first) == list(second)
        ids = [item.id for item in first]
        bits = first.features(ids).view(np.uint32)
        np.testing.assert_array_equal(bits, second.features(ids).view(np.uint32))
        np.testing.assert_array_equal(first.codes(ids), second.codes(ids))
        assert first.model == second.model


def assert_shards(target: Path, names: list[str]) -> None:
    """What lies in the folder: these shards, each of them complete, the list, and nothing else."""
    assert sorted(os.listdir(target)) == sorted([*names, "shards.json", "write.lock"])
    for name in names:
        with Index.open(target / name) as shard:
            assert shard.verify().sound


class Here:
    """A stand-in for a cluster: does what workers do, in this process, and counts.

    Attributes:
        embedded: pictures that were put through the network, by id.
        stop_after: units after which it raises KeyboardInterrupt; None: never.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.embedded: list[str] = []
        self.stop_after: int | None = None
        self.backwards = False
        patch.setattr(embedding, "join", lambda *_: self)
        patch.setattr(embedding, "finished", self.finished)

    def put(self, data: bytes) -> bytes:
        return data

    def finished(
        self, ray: Any, units: Iterator[Unit], recipe: Recipe, network: Network, workers: Workers
    ) -> Generator[tuple[Unit, bytes]]:
        worker = EmbeddingWorker(recipe, network, workers.threads)
        order = list(units)
        for number, unit in enumerate(reversed(order) if self.backwards else order):
            if number == self.stop_after:
                raise KeyboardInterrupt
            row = {"unit": unit.number, "key": unit.key, "request": unit.request()}
            pixels = decoded(row, recipe, network)
            made = worker({name: [value] for name, value in pixels.items()})
            assert not made["error"][0]
            self.embedded += [item.id for item in unit.items]
            yield unit, made["block"][0]


def workers_of(cluster: Any, title: str = "EmbeddingWorker") -> list[int]:
    """Ids of processes of a cluster's workers whose title holds a word; a node's own agents, which
    it does not outlive, are none."""
    parents = {
        each.process.pid
        for node in cluster.list_all_nodes()
        for each in node.all_processes.get("raylet", [])
    }
    found = []
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError, ValueError):
            told = (place / "stat").read_text()
            parent = int(told.rpartition(")")[2].split()[1])
            said = (place / "cmdline").read_text()
            if parent in parents and title in said and "Agent" not in said:
                found.append(int(place.name))
    return found
