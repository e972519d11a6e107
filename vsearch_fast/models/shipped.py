"""The networks that come with the package: one table, by name.

Another network is a file, a card and an entry here; `DEFAULT` says which one is taken where none is
named.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Shipped:
    """A network that comes with the package.

    Attributes:
        name: by which it is asked for.
        file, card: their names in this folder.
        title: what it is, in words.
        row: its name in the table of `vsearch eval`.
        knows: what it was trained on, in words.
        licence: of the weights, and what it asks.
        pictures_per_second: of one processor core that does nothing else (processor time, resizing
            included), as `vsearch models --measure` takes it.
        measured_on: the processor.
        boxes_by: the name of the network whose file finds boxes for this one; "" for its own.
    """

    name: str
    file: str
    card: str
    title: str
    row: str
    knows: str
    licence: str
    pictures_per_second: float
    measured_on: str
    boxes_by: str = ""

    @property
    def path(self) -> Path:
        """The model file."""
        return _FOLDER / self.file

    @property
    def bytes(self) -> int:
        """Of the model file and, where there is one, of what finds boxes beside it."""
        boxes = self.path.with_suffix(".locate.onnx")
        return sum(each.stat().st_size for each in (self.path, boxes) if each.is_file())

    @property
    def model_id(self) -> str:
        """Its ``Embedder.model_id``, by which an index knows it wherever the package is installed.

        Found among the file's bytes: a network need not be loaded to be recognised.
        """
        found = re.search(rb"vsearch_fast\.model_id\x12@([0-9a-f]{64})", self.path.read_bytes())
        assert found is not None
        return found[1].decode()


SHIPPED = (
    Shipped(
        name="anything",
        file="vgg16-anything.onnx",
        card="CARD-anything.md",
        title="VGG-16 of ImageNet at full width, with a head for items",
        row="VGG-16 of this package, for anything",
        knows="ImageNet's thousand things; photos of clothing; drawn garments' patterns, colours",
        licence="CC BY 4.0, changed: VGG-16's ImageNet weights by Simonyan and Zisserman (Oxford)",
        pictures_per_second=19.0,
        measured_on="Intel Xeon with AMX",
        boxes_by="slim-clothing",
    ),
    Shipped(
        name="slim-clothing",
        file="slim-vgg16-clothing.onnx",
        card="CARD.md",
        title="slim VGG-16 fc1, trained on clothing",
        row="Slim VGG-16 fc1 of this package",
        knows="clothing: photos of single pieces, and drawn garments",
        licence="MIT, like the package; the photos it learnt from are CC0 1.0",
        pictures_per_second=430.0,
        measured_on="Intel Xeon with AMX",
    ),
)

#: The network that ``Embedder()`` and commands take where none is named.
DEFAULT = "anything"

#: By name.
NETWORKS = {each.name: each for each in SHIPPED}


def finds_boxes_for(model: Path) -> tuple[Path, str] | None:
    """Which network's file finds the boxes of a shipped network that has none of its own.

    The path and `Shipped.model_id` of that network; None where `model` has to have its own file.
    """
    for each in SHIPPED:
        if each.boxes_by and each.path == model:
            other = NETWORKS[each.boxes_by]
            return other.path, other.model_id
    return None


def default_model() -> Path:
    """The model file that ``Embedder()`` and commands take where none is named."""
    return NETWORKS[DEFAULT].path


def default_model_id() -> str:
    """Its ``Embedder.model_id`` (see `Shipped.model_id`)."""
    return NETWORKS[DEFAULT].model_id


def model_path(model: str | os.PathLike[str]) -> Path:
    """The file that is meant: of the network of this name, or the path itself.

    A text that is the name of a shipped network is that network, whatever lies in the current
    folder; a file of that name is meant by ``./NAME``, or by a `Path`.
    """
    if isinstance(model, str) and model in NETWORKS:
        return NETWORKS[model].path
    return Path(model)


def with_model_id(model_id: str) -> Shipped | None:
    """The shipped network with this id, if there is one."""
    return next((each for each in SHIPPED if each.model_id == model_id), None)
