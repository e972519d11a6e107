"""What the nodes do: pictures to pixels on any processor, pixels to features in actors.

Both take one unit a row, and both are functions of the unit alone, so that one that is lost is
done again with the same result.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_128_hexdigest

from ..disk.replacing import replacing
from ..embedder.embedder import Embedder
from ..embedder.locate import Locator, locate_file
from ..embedder.providers import CPU
from ..errors import ImageError, ModelError, ModelMismatchError, VsearchError
from ..images.decoding import decode, load
from ..images.jpeg import find_decoder
from ..models.shipped import with_model_id
from ..system import user
from .device_batch import batch_for_device
from .embedding_units import Asked, Embedded, Recipe, Refused, asked, packed
from .places import source_of, stamp_when_read

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Network:
    """The network as nodes get it: its files' bytes lie in the object store, once a node.

    Attributes:
        model_id: of the network.
        name: a hash of its file.
        files: references to the bytes by the suffix of a file: ".onnx", ".locate.onnx".
    """

    model_id: str
    name: str
    files: Mapping[str, Any]

    @classmethod
    def put(cls, ray: Any, model: Path, model_id: str, *, locates: bool) -> Network:
        """Put the network's file into the object store, and the one that finds boxes."""
        suffixes = {".onnx": model}
        if locates:
            suffixes[".locate.onnx"] = locate_file(model)
        held = {end: file.read_bytes() for end, file in suffixes.items()}
        name = xxh3_128_hexdigest(b"".join(held.values()))
        return cls(model_id, name, {end: ray.put(data) for end, data in held.items()})

    def on_this_node(self) -> Path:
        """The model's file on this node: the package's own of this id, or one in the folder for
        temporary files that all workers of the node share."""
        shipped = with_model_id(self.model_id)
        if shipped is not None and shipped.path.is_file():
            return shipped.path
        folder = Path(tempfile.gettempdir(), f"vsearch-models-{user()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        if user() not in (None, folder.stat().st_uid):
            folder = Path(tempfile.mkdtemp(prefix="vsearch-models-"))
        for end, held in self.files.items():
            file, data = folder / f"{self.name}{end}", _got(held)
            if not file.is_file() or file.stat().st_size != len(data):
                with replacing(file) as path:
                    path.write_bytes(data)
        return folder / f"{self.name}.onnx"


def _got(held: Any) -> bytes:
    """Bytes that are here, or in the object store."""
    if isinstance(held, bytes):
        return held
    import ray

    data: bytes = ray.get(held)
    return data


@lru_cache(2)
def _locator(model: Path, model_id: str) -> Locator:
    return Locator(model, model_id, 1)


def pixels_of(picture: Asked, recipe: Recipe, network: Network) -> tuple[np.ndarray, str | None]:
    """What the network is fed of a picture, uint8 (views, S, S, 3), and its stamp with its hash.

    The whole of it or its box; of two views the whole, then the box, which is located where none
    is given.

    Raises:
        ImageError: in the words in which `Embedder` refuses it.
    """
    source, stamp = source_of(picture)
    boxes = [picture.box]
    if recipe.views > 1:
        boxes = [None, picture.box]
        if picture.box is None:
            locator = _locator(network.on_this_node(), recipe.model_id)
            try:
                image = decode(source, name=picture.path, max_pixels=recipe.max_pixels)
                boxes[1] = locator.box(image)
            except ImageError:
                pass  # told when its pixels are read
    decoder = find_decoder(recipe.decoder)
    views = [
        load(
            source, recipe.input_size, box, recipe.resize, name=picture.path,
            max_pixels=recipe.max_pixels, decoder=decoder,
        )
        for box in boxes
    ]  # fmt: skip
    return np.stack(views), stamp_when_read(picture, stamp)


def decoded(row: Row, recipe: Recipe, network: Network) -> Row:
    """A unit's pixels, of the pictures that can be read, and what is known of the others."""
    read: list[int] = []
    stamps: list[str | None] = []
    refused: list[Refused] = []
    pixels: list[np.ndarray] = []
    told: dict[str, Any] = {"key": row["key"]}
    error: VsearchError | None = None
    try:
        for position, picture in enumerate(asked(row["request"])):
            try:
                views, stamp = pixels_of(picture, recipe, network)
            except ImageError as broken:
                refused.append(Refused(position, broken.cause, broken.consequence, broken.cure))
                continue
            read.append(position)
            stamps.append(stamp)
            pixels.append(views)
    except VsearchError as found:
        error = found
    told |= {"read": read, "stamps": stamps, "refused": [asdict(each) for each in refused]}
    joined = np.concatenate(pixels).tobytes() if pixels and error is None else b""
    failed = b"" if error is None else pickle.dumps(error)
    return {"unit": row["unit"], "told": json.dumps(told), "pixels": joined, "error": failed}


class EmbeddingWorker:
    """An actor that holds a session of the network, and embeds units.

    What goes wrong with the network is told with the first unit: an actor that could not be made
    would say no more than that.
    """

    def __init__(self, recipe: Recipe, network: Network, threads: int) -> None:
        self._recipe = recipe
        self._error: VsearchError | None = None
        try:
            self._embedder = self._opened(recipe, network, threads)
        except VsearchError as error:
            self._error = error

    def _opened(self, recipe: Recipe, network: Network, threads: int) -> Embedder:
        model = network.on_this_node()
        batch = recipe.batch_size or None
        if batch is None and os.environ.get("CUDA_VISIBLE_DEVICES") and recipe.provider != "cpu":
            batch = batch_for_device(recipe.input_size, model.stat().st_size)
        embedder = Embedder(
            model, recipe.provider, batch, threads, max_pixels=recipe.max_pixels,
            decoder=recipe.decoder,
        )  # fmt: skip
        if embedder.model_id != recipe.model_id:
            raise ModelMismatchError(
                f"{model} holds the model {embedder.model_id[:12]}…, not {recipe.model_id[:12]}…",
                "Nothing was embedded there",
                "Remove the file: it is made anew",
            )
        if os.environ.get("CUDA_VISIBLE_DEVICES") and recipe.provider != "cpu":
            self._refuse_processors(embedder)
        return embedder

    def _refuse_processors(self, embedder: Embedder) -> None:
        if embedder.provider == CPU:
            raise ModelError(
                f"A worker on {platform.node()} was given a GPU, and ONNX Runtime runs the network "
                "on processors there",
                "Nothing was embedded there",
                "Install ONNX Runtime for GPUs on every node, or leave --worker-gpus out",
            )

    def __call__(self, rows: Mapping[str, Any]) -> Row:
        """Some units, each column a sequence: the files of what became of them."""
        made: Row = {"unit": [], "block": [], "error": []}
        for unit, told, pixels, failed in zip(
            rows["unit"], rows["told"], rows["pixels"], rows["error"], strict=True
        ):
            block, error = b"", bytes(failed)
            if self._error is not None:
                error = pickle.dumps(self._error)
            if not error:
                try:
                    block = self._embedded(json.loads(told), pixels)
                except VsearchError as found:
                    error = pickle.dumps(found)
            made["unit"].append(int(unit))
            made["block"].append(block)
            made["error"].append(error)
        return made

    def _embedded(self, told: Mapping[str, Any], pixels: bytes) -> bytes:
        size, views = self._recipe.input_size, self._recipe.views
        images = np.frombuffer(pixels, np.uint8).reshape(-1, size, size, 3)
        features, codes = self._embedder.both(images)
        return packed(
            told["key"],
            Embedded(
                told["read"],
                told["stamps"],
                [Refused(**each) for each in told["refused"]],
                features.reshape(-1, views, features.shape[-1]),
                codes.reshape(-1, views, codes.shape[-1]),
            ),
        )
