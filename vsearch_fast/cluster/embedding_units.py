"""Units of embedding: some pictures of the list, and the file that holds what became of them.

::

    list      p0 p1 p2 ...                                      in its order
    shards    [ 00000.index          ) [ 00001.index          ) runs of it
    units     [ 64 )[ 64 )[ 64 )[ 9 )  [ 64 )[ 64 )...          runs of a shard

Where a unit begins and ends follows from the list and the number of shards alone, and what is in
it from its pictures: so it is the same whoever embeds it, when, and how often. A unit has a *key*,
a hash of all that its features follow from. The file of a finished one is named by it,
``KEY.block``: a line of JSON, then features (float32) and codes (uint8) as they lie in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_64_hexdigest

from ..checks import PixelBox
from ..disk.replacing import replacing
from ..disk.writing import write_error
from ..index.items import Item

#: Pictures a unit: of 224 x 224 pixels 9.6 MB on their way to the network, a few seconds of work
#: for a processor, and whole batches of any usual size.
PICTURES = 64

_FORMAT_KEY = "vsearch_fast embedded pictures"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """What features follow from, beside the pictures.

    Attributes:
        model_id: of the network.
        provider: what is asked to run it.
        batch_size: pictures a run of it; 0: by the worker's device.
        input_size, resize, max_pixels, decoder: how pictures become pixels.
        views: rows an item, 1 or 2.
    """

    model_id: str
    provider: str
    batch_size: int
    input_size: int
    resize: str
    max_pixels: int
    decoder: str
    views: int


@dataclass(frozen=True, slots=True)
class Unit:
    """Items that are embedded together, the `number` among all of them, and the key."""

    number: int
    items: Sequence[Item]
    key: str

    def request(self) -> bytes:
        """What a worker needs to know of its pictures."""
        return json.dumps([[item.path, item.box, item.stamp] for item in self.items]).encode()


@dataclass(frozen=True, slots=True)
class Asked:
    """A picture as a worker is asked for it."""

    path: str
    box: PixelBox | None
    stamp: str | None


def asked(request: bytes) -> list[Asked]:
    """The pictures of a `Unit.request`."""
    return [
        Asked(path, None if box is None else (box[0], box[1], box[2], box[3]), stamp)
        for path, box, stamp in json.loads(request)
    ]


@dataclass(frozen=True, slots=True)
class Refused:
    """A picture of a unit that could not be read: its place there, and the three of its error."""

    position: int
    cause: str
    consequence: str
    cure: str


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What became of a unit.

    Attributes:
        read: places in the unit of the pictures that were read, in order.
        stamps: of these, with the hashes of their files.
        refused: the others.
        features: float32 (read, views, dim).
        codes: uint8 (read, views, ceil(bits / 8)).
    """

    read: list[int]
    stamps: list[str | None]
    refused: list[Refused]
    features: np.ndarray
    codes: np.ndarray


def shard_sizes(pictures: int, shards: int) -> list[int]:
    """Pictures a shard: as equal as can be, the first ones have one more."""
    return [pictures // shards + (number < pictures % shards) for number in range(shards)]


def units_of(items: Sequence[Item], recipe: Recipe, first: int = 0) -> Iterator[Unit]:
    """The units of a shard's items, numbered from `first`."""
    told = json.dumps(asdict(recipe), sort_keys=True).encode()
    for start in range(0, len(items), PICTURES):
        part = items[start : start + PICTURES]
        unit = Unit(first + start // PICTURES, part, "")
        key = hashlib.blake2b(told + unit.request(), digest_size=16).hexdigest()
        yield Unit(unit.number, part, key)


def packed(key: str, embedded: Embedded) -> bytes:
    """The file of a finished unit."""
    body = embedded.features.tobytes() + embedded.codes.tobytes()
    facts: dict[str, Any] = {
        "key": key,
        "read": embedded.read,
        "stamps": embedded.stamps,
        "refused": [asdict(each) for each in embedded.refused],
        "features": embedded.features.shape,
        "codes": embedded.codes.shape,
    }
    head = {_FORMAT_KEY: _FORMAT, "sum": _sum(facts, body), **facts}
    return json.dumps(head).encode() + b"\n" + body


def unpacked(data: bytes, key: str) -> Embedded | None:
    """What a file of a finished unit holds; None where it is not what was written for this key."""
    head, _, body = data.partition(b"\n")
    try:
        facts = json.loads(head)
        sum_, format_ = facts.pop("sum"), facts.pop(_FORMAT_KEY)
        if format_ != _FORMAT or facts["key"] != key or sum_ != _sum(facts, body):
            return None
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
    shape = tuple(facts["features"])
    cut = 4 * int(np.prod(shape))
    return Embedded(
        facts["read"],
        facts["stamps"],
        [Refused(**each) for each in facts["refused"]],
        np.frombuffer(body[:cut], np.float32).reshape(shape),
        np.frombuffer(body[cut:], np.uint8).reshape(facts["codes"]),
    )


def _sum(facts: dict[str, Any], body: bytes) -> str:
    return xxh3_64_hexdigest(json.dumps(facts, sort_keys=True).encode() + body)


class Blocks:
    """The finished units in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.block"

    def get(self, key: str) -> Embedded | None:
        """What became of the unit of this key; None where it is to be embedded (again)."""
        try:
            return unpacked(self.path(key).read_bytes(), key)
        except OSError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Keep a finished unit's file, on the disk when this returns.

        Raises:
            StoreError: it could not be written.
        """
        try:
            with replacing(self.path(key), flush=True) as path:
                path.write_bytes(data)
        except OSError as error:
            raise write_error(
                self.path(key), error, "What was embedded before is kept, the rest was not"
            ) from error

    def drop(self, keys: Sequence[str]) -> None:
        """Remove the files of units that are in a shard by now."""
        for key in keys:
            try:
                os.unlink(self.path(key))
            except FileNotFoundError:
                continue
