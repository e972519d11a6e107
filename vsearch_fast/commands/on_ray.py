"""What commands that search on a Ray cluster share."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import ModelMismatchError
from ..index.index import Index
from ..shards.opening import open_index

option = click.option(
    "--ray",
    "ray_address",
    metavar="ADDRESS",
    help="Search on this Ray cluster, each shard of INDEX on a node that has its files: auto, "
    "HOST:PORT, ray://HOST:PORT, or local.",
)


def opened(
    index_path: Path,
    address: str | None,
    *,
    model_id: str | None = None,
    threads: int | None = None,
    backend: str = "auto",
) -> Index:
    """The index in a folder, or, with an address, connected to on a cluster, whose nodes have the
    folder.

    Raises:
        ModelMismatchError: it holds features of another model than `model_id`.
        StoreError, ClusterError: as `open_index` and `connect`.
    """
    if address is None:
        return open_index(index_path, model_id=model_id)
    from ..cluster.connecting import connect

    device = "cuda" if backend == "cuda" else "cpu"
    index = connect(address, index_path, threads=threads, device=device)
    try:
        if model_id is not None:
            refuse_another(index_path, index, model_id)
    except ModelMismatchError:
        index.close()
        raise
    return index


def refuse_another(index_path: Path, index: Index, model_id: str) -> None:
    """Raise unless an index that is open holds features of this model.

    Raises:
        ModelMismatchError: it does not.
    """
    if index.model_id != model_id:
        raise ModelMismatchError(
            f"{index_path} holds features of model {index.model_id or '(unnamed)'},"
            f" not of {model_id or '(unnamed)'}",
            "Nothing was opened, because their distances mean nothing",
            "Use the model that made the index, or index the pictures again",
        )
