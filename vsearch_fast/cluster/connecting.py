"""Connect to an index on a cluster: find its shards, and start the actors that hold them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, StoreError, VsearchError
from ..index.store import Store
from ..shards import manifest as manifests
from ..shards.manifest import Manifest
from .asking import Asking, Patience
from .groups import Group, Plan
from .index import ClusterIndex
from .joining import join
from .placing import NOT_CONNECTED, Seen, find_list, look_everywhere, on_node, share_out
from .store import ClusterStore

TIMEOUT, SLOW, OPENING = 60.0, 5.0, 600.0


def connect(
    address: str,
    index: str | os.PathLike[str],
    *,
    replicas: int = 1,
    threads: int | None = None,
    device: str = "cpu",
    copy_to: str | None = None,
    groups: int | None = None,
    ahead: int = 0,
    timeout: float = TIMEOUT,
    slow: float = SLOW,
    opening: float = OPENING,
) -> ClusterIndex:
    """Search an index on a Ray cluster: each shard on a node that has its files.

    Args:
        address: "auto", HOST:PORT, ray://HOST:PORT, or "local" for a cluster of this machine alone.
        index: the folder of a sharded index, or of an index, as the nodes have it; $VARIABLES and
            ~ in it are each node's own.
        replicas: of each shard, on different nodes. With more than one nothing can be changed.
        threads: of a search in each actor; None for all processors of its node.
        device: "cpu", or "cuda" for actors that have a GPU each.
        copy_to: a folder on each node, to which shards are copied first, compared with their
            checksums, and searched there; what is added to the shards later is not in the copies.
        groups: actors (a replica) among which shards are shared out; None: one a node that has
            some. Where nodes have different shards there may be more.
        ahead: groups that are asked before the others, which read less by the distances found:
            less work in all, and a longer wait. 0: all at once.
        timeout: seconds in which all shards must have answered.
        slow: seconds after which another replica is asked, too.
        opening: seconds in which an actor must have opened its shards, copied ones included, and
            compiled what searches by L2 need, where its node has not done so before.

    Raises:
        MissingDependencyError: ray is not installed.
        ArgumentError: a number out of range.
        ClusterError: no cluster there, no node has the index or one of its shards, too few nodes
            for the replicas, or an actor was lost.
        ModelMismatchError, StoreError: a shard is of another model, damaged or gone.
    """
    _check(replicas, threads, device, groups, ahead)
    for name, seconds in {"timeout": timeout, "slow": slow, "opening": opening}.items():
        if not seconds > 0:
            raise ArgumentError(f"{name} is {seconds!r}", NOT_CONNECTED, "Pass seconds, above 0")
    ray = join(address, NOT_CONNECTED)
    path = os.fspath(index)
    if not path.startswith(("~", "$")):
        path = os.path.abspath(path)
    manifest = find_list(ray, path)
    seen = look_everywhere(ray, path, manifest)
    plan = Plan(path, manifest, replicas, device, copy_to, opening)
    made: list[Group] = []
    try:
        begun = []
        for share in share_out(manifest, seen, groups, anywhere=copy_to is not None):
            made.append(Group(ray, plan, share.numbers))
            begun.append(made[-1].begin(seen, share))
        for group, replicas_begun in zip(made, begun, strict=True):
            group.finish(replicas_begun)
        store = ClusterStore(
            path, manifest, Asking(ray, made), Patience(timeout, slow),
            lambda key, value: _keep(ray, seen, path, manifest, key, value),
        )  # fmt: skip
    except BaseException:
        for group, replicas_begun in zip(made, begun, strict=False):
            for replica in replicas_begun:
                group.end(replica)
            group.close()
        raise
    changeable = replicas == 1 and copy_to is None
    return ClusterIndex(address, store, device, threads, ahead, changeable)


def _check(replicas: int, threads: int | None, device: str, groups: int | None, ahead: int) -> None:
    least = {"replicas": (replicas, 1), "threads": (threads, 1), "groups": (groups, 1)}
    for name, (value, lowest) in {**least, "ahead": (ahead, 0)}.items():
        if value is not None and (isinstance(value, bool) or value < lowest):
            raise ArgumentError(
                f"{name} is {value!r}", NOT_CONNECTED, f"Pass a whole number from {lowest} on"
            )
    if device not in ("cpu", "cuda"):
        raise ArgumentError(f"device is {device!r}", NOT_CONNECTED, 'Use "cpu" or "cuda"')


def _keep(
    ray: Any, seen: Sequence[Seen], path: str, manifest: Manifest, key: str, value: str
) -> None:
    """Put a note into the list, on a node that has it."""
    task = ray.remote(kept)
    for each in look_everywhere(ray, path, None):
        if each.manifest is None:
            continue
        try:
            error = ray.get(task.options(**on_node(each.node)).remote(each.folder, key, value))
        except ray.exceptions.RayError as lost:
            raise StoreError(
                f"The note {key!r} could not be kept: {type(lost).__name__}", "Nothing was changed",
                "Do it again",
            ) from lost  # fmt: skip
        if error is not None:
            raise error
        return
    raise StoreError(f"No node has the list of {path} now", "Nothing was changed", "Do it again")


def kept(folder: str, key: str, value: str) -> VsearchError | None:
    """Put a note into the list in this node's folder, or into the index that it is; an error as a
    value."""
    place = Path(folder)
    try:
        if manifests.is_sharded(place):
            manifests.write_note(place, key, value)
            return None
        store = Store(place, writable=True, briefly=True)
        try:
            store.write_note(key, value)
        finally:
            store.close()
    except VsearchError as error:
        return error
    return None
