"""Where the shards are: each node is asked what it sees, and shards are shared out among them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ClusterError, StoreError, VsearchError
from ..index.index import Index
from ..index.kept import KINDS
from ..index.schema import DATABASE_NAME
from ..shards import manifest as manifests
from ..shards.manifest import Likewise, Listed, Manifest
from ..shards.pool import place_of
from ..words import JUDGED

#: Of a node that does not say what it has: seconds until it is left out.
_LOOK_SECONDS = 60.0

NOT_CONNECTED = "Nothing was connected"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one node sees of an index.

    Attributes:
        node: its id.
        folder: of the index there.
        manifest: the list, or one of the one index that it is; None where none is there.
        error: why what is there cannot be read.
        there: of each shard, whether it is there; empty without a list.
    """

    node: str
    folder: str
    manifest: Manifest | None
    error: VsearchError | None
    there: tuple[bool, ...]


def look(node: str, path: str, manifest: Manifest | None) -> Seen:
    """What this node sees; `manifest`, where another one's is known, stands for its own."""
    folder = Path(os.path.abspath(os.path.expandvars(os.path.expanduser(path))))
    error: VsearchError | None = None
    if manifest is None:
        try:
            manifest = _listed(folder)
        except VsearchError as found:
            error = found
    places = () if manifest is None else places_of(str(folder), manifest)
    there = tuple(os.path.isfile(os.path.join(place, DATABASE_NAME)) for place in places)
    return Seen(node, str(folder), manifest, error, there)


def _listed(folder: Path) -> Manifest | None:
    if manifests.is_sharded(folder):
        return manifests.read(folder)
    if not (folder / DATABASE_NAME).is_file():
        return None
    with Index.open(folder) as index:
        listed = (Listed(os.curdir, len(index)),)
        keys = [f"{kind} {metric}" for kind in KINDS for metric in JUDGED]
        notes = {key: index._store.note(key) for key in keys}
        known = {key: text for key, text in notes.items() if text is not None}
        return Manifest(index._store.meta.created, Likewise.of(index), listed, known)


def places_of(folder: str, manifest: Manifest) -> tuple[str, ...]:
    """The folders of the shards, where the list is in this one."""
    return tuple(str(place_of(Path(folder), shard.path)) for shard in manifest.shards)


def located(manifest: Manifest, folder: str) -> Manifest:
    """The list with whole paths."""
    places = places_of(folder, manifest)
    shards = tuple(
        replace(shard, path=place) for shard, place in zip(manifest.shards, places, strict=True)
    )
    return replace(manifest, shards=shards)


def alive(ray: Any) -> list[str]:
    """The ids of the nodes that are there, in a fixed order."""
    return sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])


def on_node(node: str) -> dict[str, Any]:
    """Options of what is to run on one node and no other; it takes no share of its processors,
    since what searches uses all of them for a moment."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def look_everywhere(ray: Any, path: str, manifest: Manifest | None) -> list[Seen]:
    """What each node sees; a node that is lost meanwhile is left out."""
    task = ray.remote(look)
    asked = [
        task.options(max_retries=0, **on_node(node)).remote(node, path, manifest)
        for node in alive(ray)
    ]
    end = time.monotonic() + _LOOK_SECONDS
    seen = []
    for answer in asked:
        try:
            seen.append(ray.get(answer, timeout=max(0.0, end - time.monotonic())))
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError:
            continue
    return seen


def find_list(ray: Any, path: str) -> Manifest:
    """The list of the index at a path, which some node must have, and no two differently.

    Raises:
        ClusterError: no node has it, or two have different ones.
        StoreError: it cannot be read.
    """
    seen = look_everywhere(ray, path, None)
    found = [each for each in seen if each.manifest is not None]
    if not found:
        for each in seen:
            if each.error is not None:
                raise each.error
        raise ClusterError(
            f"No node of the cluster has an index at {path}", NOT_CONNECTED,
            "Name a folder by its whole path, as the nodes have it; $VARIABLES may stand in it",
        )  # fmt: skip
    first = found[0]
    assert first.manifest is not None
    for each in found[1:]:
        assert each.manifest is not None
        if each.manifest.shards != first.manifest.shards:
            raise ClusterError(
                f"Two nodes have different lists of shards at {path}:"
                f" {len(first.manifest.shards)} shards and {len(each.manifest.shards)}, or others",
                NOT_CONNECTED,
                "Copy one list to all nodes that have one, or leave it on one",
            )
    return first.manifest


@dataclass(frozen=True, slots=True)
class Share:
    """Shards that go together.

    Attributes:
        numbers: which of the list, ascending.
        nodes: that have all of them, the one that is to search them first.
    """

    numbers: tuple[int, ...]
    nodes: tuple[str, ...]


def share_out(
    manifest: Manifest, seen: Sequence[Seen], groups: int | None, anywhere: bool
) -> list[Share]:
    """Cut the shards into groups, each for a node that has its files; runs of about equal rows.

    Args:
        manifest: the list.
        seen: by the nodes.
        groups: how many are wanted; None: one a node. More come about where nodes have different
            shards.
        anywhere: files are copied, so that any node may have any shard.

    Raises:
        ClusterError: no node has a shard.
    """
    nodes = [each.node for each in seen if anywhere or any(each.there)]
    total = sum(shard.rows for shard in manifest.shards) or 1
    wanted = min(groups or len(nodes) or 1, len(manifest.shards))
    taken: dict[tuple[Any, ...], list[int]] = {}
    before = 0
    for number, shard in enumerate(manifest.shards):
        holders = tuple(each.node for each in seen if each.there[number])
        if not holders:
            raise ClusterError(
                f"No node of the cluster has {shard.path}, a shard of {len(manifest.shards)}",
                f"{NOT_CONNECTED}, because answers would lack its {shard.rows:,} items",
                "Move it back or restore it from a backup; list the shards anew where they have"
                " moved (ShardedIndex.create)",
            )
        # The slot in which the middle of its rows lies; those of empty shards follow the others.
        slot = min(wanted - 1, (2 * before + shard.rows) * wanted // (2 * total))
        before += shard.rows
        may = nodes if anywhere else holders
        first = nodes[slot * len(nodes) // wanted]
        first = first if first in may else min(may, key=_load_of(taken, manifest))
        taken.setdefault((slot, first, tuple(may)), []).append(number)
    return [
        Share(tuple(numbers), (first, *(node for node in may if node != first)))
        for (_, first, may), numbers in taken.items()
    ]


def _load_of(taken: dict[tuple[Any, ...], list[int]], manifest: Manifest) -> Callable[[str], int]:
    def load(node: str) -> int:
        """Rows that a node has been given."""
        return sum(
            manifest.shards[number].rows + 1
            for (_, first, _may), numbers in taken.items()
            if first == node
            for number in numbers
        )

    return load


def still_there(ray: Any, path: str, manifest: Manifest, numbers: Sequence[int]) -> list[Seen]:
    """The nodes that have all of these shards now.

    Raises:
        StoreError: none has.
    """
    found = [
        each
        for each in look_everywhere(ray, path, manifest)
        if all(each.there[number] for number in numbers)
    ]
    if not found:
        names = ", ".join(manifest.shards[number].path for number in numbers[:5])
        raise StoreError(
            f"No node that is left has {names}", "It is not searched",
            "Bring the node back, or copy its files to another one, to the same path",
        )  # fmt: skip
    return found
