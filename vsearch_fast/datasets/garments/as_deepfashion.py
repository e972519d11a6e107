"""The catalogue in DeepFashion's on-disk format, for testing what reads that format."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ...disk.replacing import link_or_copy
from ...errors import DatasetError
from .. import deepfashion
from ..records import Record
from .catalogue import SIZE, render_catalogue
from .cloth.colours import COLOURS
from .cloth.fabric import FABRICS
from .cloth.patterns import PATTERNS

LOWER = frozenset({"Skirt", "Trousers", "Jeans", "Shorts"})
WHOLE = frozenset({"Dress", "Jumpsuit", "Coat"})


def write_deepfashion(
    root: str | os.PathLike[str],
    items: int = 100,
    views: int = 3,
    seed: int = 0,
    size: tuple[int, int] = SIZE,
    *,
    layout: Literal["Anno", "Anno_coarse"] = "Anno",
    img: Literal["Img/img", "img"] = "Img/img",
    progress: bool = False,
    workers: int | None = None,
) -> list[Record]:
    """Render a catalogue and lay it out as DeepFashion's category and attribute benchmark.

    The catalogue itself is rendered to ``root/garments`` (and reused from there); its
    pictures are linked, or copied where that is impossible, to
    ``IMG/Navy_Tartan_Shirt_00042/img_00000001.jpg`` and so on, one folder an item.
    Attributes are the pattern (type texture), the fabric (type fabric) and the colours
    (type style). Of ten items seven are for training, one for validation, two for test.

    Args:
        root: the folder; made if absent.
        items, views, seed, size, progress, workers: as for `render_catalogue`.
        layout, img: as for ``datasets.deepfashion.write``.

    Returns:
        The records written, as ``datasets.deepfashion.read(root)`` gives them back.

    Raises:
        As `render_catalogue` and ``datasets.deepfashion.write``; DatasetError when a
        picture cannot be put into its place.
    """
    folder = Path(root)
    made = render_catalogue(
        folder / "garments", items, views, seed, size, progress=progress, workers=workers
    )
    records = []
    for place, record in enumerate(made):
        number, view = divmod(place, views)
        product = _product(record, number)
        path = folder / img / product / f"img_{view + 1:08d}.jpg"
        _link(record.path, path)
        records.append(
            replace(
                record,
                path=path,
                item=product,
                group=product,
                partition=partition(number),
                metadata={
                    "category_type": body(str(record.category)),
                    "attributes": ";".join(_attributes(record)),
                },
            )
        )
    types = dict.fromkeys(PATTERNS, "texture")
    types |= {f"{name} cloth": "fabric" for name in FABRICS}
    types |= dict.fromkeys(COLOURS, "style")
    deepfashion.write(records, folder, layout=layout, img=img, attributes=types)
    return deepfashion.read(folder)


def partition(number: int) -> str:
    """Where item ``number`` belongs: train, val or test, 7 : 1 : 2, whatever the category."""
    place = (number * 7 + number // 17) % 10
    return "train" if place < 7 else "val" if place == 7 else "test"


def body(category: str) -> str:
    """DeepFashion's type of a category: upper body, lower body or full body."""
    if category in LOWER:
        return "lower body"
    return "full body" if category in WHOLE else "upper body"


def _product(record: Record, number: int) -> str:
    words = f"{record.metadata['colour']} {record.metadata['pattern']} {record.category}"
    return "_".join(re.split(r"[^A-Za-z0-9]+", words.title())) + f"_{number:05d}"


def _attributes(record: Record) -> list[str]:
    # A fabric is told from a pattern of the same name ("herringbone", "rib").
    return [
        str(record.metadata["pattern"]),
        f"{record.metadata['fabric']} cloth",
        *str(record.metadata["colours"]).split(", "),
    ]


def _link(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``; a copy where no link can be made."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(source, target)
    except OSError as error:
        raise DatasetError(
            f"{target} cannot be written ({error.strerror})",
            "The data set was not written",
            "Free some space or choose another folder, and run the same call again",
        ) from error
