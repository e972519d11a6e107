"""DeepFashion, In-shop Clothes Retrieval benchmark (Liu et al., CVPR 2016): its files.

52,712 pictures of 7,982 items, several views each, asked for as the rest of DeepFashion
(`deepfashion.py`): the set to measure item recall on. Every file has its number of rows in
line 1, column names in line 2:

=========================  ==========================================================
`list_eval_partition.txt`  picture, item ("id_00000002"), "train", "query" or "gallery"
`list_bbox_inshop.txt`     picture, clothes type (1 upper body, 2 lower body, 3 full body), pose
                           (1 front, 2 side, 3 back, 4 zoom out, 5 zoom in, 6 alone), x1 y1 x2 y2
=========================  ==========================================================

They lie in `Eval/` and `Anno/`; the pictures, called `img/WOMEN/Dresses/ITEM/NAME.jpg`, in
`Img/img/` or `img/`.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from ..checks import PixelBox, Scalar
from ..errors import DatasetError
from .deepfashion import Partition, _find, _picture_folder
from .deepfashion_rows import OnError, Rows, words_of, wrong
from .deepfashion_types import CATEGORY_TYPES
from .notes import Notes
from .records import Record

PARTITION_FILE, BOX_FILE = "list_eval_partition.txt", "list_bbox_inshop.txt"
POSES = ("front", "side", "back", "zoom out", "zoom in", "alone")
STATUSES = ("train", "query", "gallery")


def is_inshop(root: str | os.PathLike[str]) -> bool:
    """Whether a folder of DeepFashion is this benchmark: its partition file names items."""
    try:
        file = _find(Path(root), PARTITION_FILE)
        with file.open("rb") as lines:
            lines.readline()
            return b"item_id" in lines.readline()
    except (DatasetError, OSError):
        return False


def read(
    root: str | os.PathLike[str],
    partition: Partition | None = None,
    on_error: OnError = "raise",
    notes: Notes | None = None,
) -> list[Record]:
    """The pictures of the data set, in the order of `list_eval_partition.txt`.

    A record's id is the picture's name in the files; item and group are the item's id; the
    category is the folders above it ("WOMEN/Dresses"); the partition "train", or "test" for
    queries and gallery, which `metadata["evaluation_status"]` tells apart. Where there are
    boxes, `metadata` also has `category_type` and `pose` in words. ``on_error`` and ``notes`` as
    in `deepfashion.read`.

    Raises:
        DatasetError: a file is missing, or wrong (names the lines); no picture of ``partition``.
    """
    folder = Path(root)
    file = _find(folder, PARTITION_FILE)
    rows = Rows(on_error)
    boxes = _read_boxes(folder, rows)
    pictures = _picture_folder(folder)
    records: list[Record] = []
    seen: set[str] = set()
    for line, content in rows.of(file):
        with rows.at(file, line, content):
            words = words_of(content, 3, "a picture, item and status")
            name, item, status = words
            if status not in STATUSES:
                wrong(f"the status is {status!r}, not {', '.join(STATUSES)}")
            if name in seen:
                rows.note(file, line, f"{name!r} is there twice")
                continue
            seen.add(name)
            side = "train" if status == "train" else "test"
            if name in rows.lost or (partition is not None and side != partition):
                continue
            box, facts = boxes.get(name, (None, {}))
            above = [part for part in PurePosixPath(name).parts[:-1] if part not in ("img", item)]
            metadata: dict[str, Scalar] = {"evaluation_status": status, **facts}
            category = "/".join(above) or None
            records.append(Record(name, pictures / name, box, item, category, item, side, metadata))
    rows.finish(notes, len(records))
    if not records:
        raise DatasetError(
            f"{file} lists no picture" + (f" of the partition {partition}" if partition else ""),
            "The data set was not read",
            "This benchmark has the partitions train and test",
        )
    return records


def _read_boxes(folder: Path, rows: Rows) -> dict[str, tuple[PixelBox, dict[str, Scalar]]]:
    """Box, type and pose by picture; nothing where the file is not there."""
    try:
        file = _find(folder, BOX_FILE)
    except DatasetError:
        return {}
    found: dict[str, tuple[PixelBox, dict[str, Scalar]]] = {}
    for line, content in rows.of(file):
        with rows.at(file, line, content):
            words = words_of(content, 7, "a picture and 6 numbers")
            try:
                kind, pose = map(int, words[1:3])
                x1, y1, x2, y2 = (round(float(word)) for word in words[3:])
                facts: dict[str, Scalar] = {
                    "category_type": CATEGORY_TYPES[range(1, 4).index(kind)],
                    "pose": POSES[range(1, 7).index(pose)],
                }
            except (ValueError, OverflowError):
                wrong(f"{' '.join(words[1:])} is not a type, a pose and a box")
            if x1 >= x2 or y1 >= y2:
                wrong(f"the box {' '.join(words[3:])} is empty")
            found[words[0]] = (x1, y1, x2, y2), facts
    return found
