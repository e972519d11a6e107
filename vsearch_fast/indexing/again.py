"""Items of an index embedded again, whose features were lost."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ..embedder.embedder import Embedder, ImageSkippedWarning
from ..errors import ModelMismatchError
from ..index.index import Index
from ..index.items import Item
from ..index.repairing import Embed, Row
from .embedding import embedded
from .photos import Photos


def embed_again(embedder: Embedder, index: Index, photos: Photos, *, progress: bool) -> Embed:
    """What `Index.repair` takes: features and codes of items whose pictures can be read.

    Args:
        photos: where they are.

    Raises:
        ModelMismatchError: the embedder's model is not the one of the index.
    """
    if embedder.model_id != index.model_id:
        raise ModelMismatchError(
            f"{index.path} holds features of model {index.model_id}, not of {embedder.model_id}",
            "Nothing was repaired",
            "Name the model that made it: --model FILE",
        )

    def embed(items: Sequence[Item]) -> dict[str, Row]:
        readable = [item for item in items if item.path is not None]
        found: dict[str, Row] = {}
        with warnings.catch_warnings():
            # What cannot be read is listed as dropped.
            warnings.simplefilter("ignore", ImageSkippedWarning)
            for batch in embedded(
                index, embedder, readable, on_error="skip", progress=progress,
                where=lambda path: str(photos(path)),
            ):  # fmt: skip
                for position, *both in zip(
                    batch.positions, batch.features, batch.codes, strict=True
                ):
                    found[readable[position].id] = (both[0], both[1])
        return found

    return embed
