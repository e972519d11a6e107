"""DeepFashion, Category and Attribute Prediction benchmark (Liu et al., CVPR 2016): its files.

289,222 pictures in 46 used categories with 1,000 attributes, for non-commercial research, to be
asked for at https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html. Every file has its number
of rows in line 1, column names in line 2, then rows padded with blanks:

=========================  ==========================================================
`list_category_cloth.txt`  category name, type: 1 upper body, 2 lower body, 3 full body
`list_category_img.txt`    picture, category: 1 is the first of the list
`list_bbox.txt`            picture, x1 y1 x2 y2 in pixels, zero-padded
`list_eval_partition.txt`  picture, "train", "val" or "test"
`list_attr_cloth.txt`      attribute name (may hold blanks), type: 1 texture, 2 fabric,
                           3 shape, 4 part, 5 style
`list_attr_img.txt`        picture, one label an attribute: 1 yes, -1 no, 0 unknown
=========================  ==========================================================

They lie in `Anno/` or `Anno_coarse/`, the partition often in `Eval/`; the pictures, called
`img/PRODUCT/NAME.jpg`, in `Img/img/` or `img/`. `Anno_fine/` describes a part of the pictures in
another way and is not read. Some categories of the list have no picture.

`read` gives records, `write` makes these files of any records.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from ..checks import PixelBox, Scalar
from ..errors import ArgumentError, DatasetError
from ..words import plural
from .deepfashion_rows import OnError, Pictures, Rows, text, words_of, wrong
from .deepfashion_types import ATTRIBUTE_TYPES, CATEGORY_TYPES, PARTITIONS
from .deepfashion_write import write
from .notes import Notes
from .records import Record

__all__ = [
    "ATTRIBUTE_TYPES", "CATEGORY_TYPES", "attribute_types", "attributes_by_type", "read", "write",
]  # fmt: skip

Partition = Literal["train", "val", "test"]

#: Where an annotation file is looked for, in this order.
_PLACES = ("Anno", "Anno_coarse", "Eval", ".")

_CONSEQUENCE = "The data set was not read"

#: Bytes of `list_attr_img.txt` (0.9 GB in full) that are parsed at a time.
_BLOCK_BYTES = 512 << 10


def read(
    root: str | os.PathLike[str],
    partition: Partition | None = None,
    boxes: bool = True,
    attributes: bool = True,
    check_files: bool = False,
    on_error: OnError = "raise",
    notes: Notes | None = None,
) -> list[Record]:
    """The pictures of the data set, in the order of `list_category_img.txt`.

    A record's id is the picture's name in the files ("img/PRODUCT/NAME.jpg"), its item and
    group are PRODUCT (pictures of one product come from one shop's page), its metadata:
    `category_type` ("upper body", ...) and, with `attributes`, `attributes`: the names of
    those labelled 1, joined by ";" (types by name: `attribute_types`).

    Args:
        root: the folder that holds `Anno` (or `Anno_coarse`) and `Img` (or `img`).
        partition: only this one. None reads all, and does without the file.
        boxes: read the boxes; without, a record's box is None, the whole picture.
        attributes: read the attributes.
        check_files: raise when a picture is missing on disk.
        on_error: rows that are wrong are an error that names them ("raise"), or their pictures are
            left out ("skip").
        notes: told which rows were wrong.

    Raises:
        DatasetError: a file is missing (says where it was looked for), or wrong (names the
            lines): its row count, a wrong list of categories or attributes; by "raise" also a short
            row, a label out of range, a picture that is not in `list_category_img.txt` or is there
            twice, all at once; by "skip" when no picture is whole.
    """
    if partition not in (None, *PARTITIONS):
        raise ArgumentError(
            f"partition is {partition!r}", _CONSEQUENCE, f"Pass one of {', '.join(PARTITIONS)}"
        )
    folder = Path(root)
    if not folder.is_dir():
        raise DatasetError(
            f"{folder} is not a folder", _CONSEQUENCE, "Name the one that holds Anno and Img"
        )
    rows = Rows(on_error)
    categories = _named_types(_find(folder, "list_category_cloth.txt"), CATEGORY_TYPES)
    names, labels = _read_categories(_find(folder, "list_category_img.txt"), rows, len(categories))
    numbers = {name: row for row, name in enumerate(names)}
    box_of = _read_boxes(folder, rows, numbers) if boxes else [None] * len(names)
    partition_of = _read_partitions(folder, rows, numbers, required=partition is not None)
    attributes_of = _read_attributes(folder, rows, numbers) if attributes else None
    rows.finish(notes, sum(name not in rows.lost for name in names))
    pictures = _picture_folder(folder)

    kinds = list(categories.items())
    records = []
    for row, name in enumerate(names):
        if name in rows.lost or (partition is not None and partition_of[row] != partition):
            continue
        category, kind = kinds[labels[row] - 1]
        metadata: dict[str, Scalar] = {"category_type": kind}
        if attributes_of is not None:
            metadata["attributes"] = attributes_of[row]
        product = _product(name)
        records.append(
            Record(
                name,
                pictures / name,
                box_of[row],
                product,
                category,
                product,
                partition_of[row],
                metadata,
            )
        )
    if check_files:
        _check_files(records)
    return records


def has_attributes(root: str | os.PathLike[str]) -> bool:
    """Whether the data set has a file of attributes; one alone is an incomplete data set."""
    names = ("list_attr_cloth.txt", "list_attr_img.txt")
    return any((Path(root) / place / name).is_file() for place in _PLACES for name in names)


def attribute_types(root: str | os.PathLike[str]) -> dict[str, str]:
    """The type ("texture", "fabric", ...) of every attribute by name, in the data set's order.

    Raises:
        DatasetError: as `read` does.
    """
    return _named_types(_find(Path(root), "list_attr_cloth.txt"), ATTRIBUTE_TYPES)


def attributes_by_type(record: Record, types: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """The names of a record's positive attributes, by their type ("texture", "fabric", ...).

    Every type is there, empty where nothing is known of it; ``types`` as `attribute_types`
    gives them. Names that have no type in it are left out.
    """
    found: dict[str, set[str]] = {kind: set() for kind in ATTRIBUTE_TYPES}
    for name in str(record.metadata.get("attributes") or "").split(";"):
        if name in types:
            found[types[name]].add(name)
    return {kind: frozenset(names) for kind, names in found.items()}


def _find(folder: Path, name: str, hint: str = "") -> Path:
    """The annotation file of this name."""
    for place in _PLACES:
        file = folder / place / name
        if file.is_file():
            return file
    looked = ", ".join(str(folder / place / name) for place in _PLACES)
    cure = f"Put it into one of these places: {looked}"
    if (folder / "Anno_fine").is_dir():
        cure += " (Anno_fine does not replace it)"
    raise DatasetError(f"{name} is missing", _CONSEQUENCE, cure + hint)


def _picture_folder(folder: Path) -> Path:
    """The folder that the pictures' names ("img/...") are relative to."""
    for base in (folder / "Img", folder):
        if (base / "img").is_dir():
            return base
    raise DatasetError(
        f"{folder} holds no pictures",
        _CONSEQUENCE,
        f"Unpack them to {folder / 'Img' / 'img'} or {folder / 'img'}",
    )


def _product(name: str) -> str:
    """The folders between "img/" and the picture's file."""
    middle = PurePosixPath(name).parts[:-1]
    return "/".join(middle[1:] if middle[:1] == ("img",) else middle)


def _check_files(records: list[Record]) -> None:
    there: dict[Path, set[str]] = {}  # one listing a folder, not one look-up a picture
    for record in records:
        parent = record.path.parent
        if parent not in there:
            there[parent] = set(os.listdir(parent)) if parent.is_dir() else set()
        if record.path.name not in there[parent]:
            raise DatasetError(
                f"The picture {record.path} is missing", _CONSEQUENCE, "Unpack it, or all again"
            )


def _named_types(file: Path, types: tuple[str, ...]) -> dict[str, str]:
    """Type by name. The name is all but the last word: it may hold blanks.

    Other files count its rows, so that none of them can be left out.
    """
    found: dict[str, str] = {}
    rows = Rows()
    for line, content in rows.of(file):
        with rows.at(file, line, content):
            words = text(content).rsplit(None, 1)
            if len(words) != 2:
                wrong("a name and a type should stand here")
            name, number = words[0].strip(), words[1]
            if not number.isdecimal() or not 1 <= int(number) <= len(types):
                wrong(f"the type is {number!r}, not 1 to {len(types)}")
            if name in found:
                wrong(f"{name!r} is there twice")
            found[name] = types[int(number) - 1]
    rows.finish(None, left=0)
    return found


def _read_categories(file: Path, rows: Rows, categories: int) -> tuple[list[str], list[int]]:
    names: dict[str, int] = {}
    for line, content in rows.of(file):
        with rows.at(file, line, content):
            words = words_of(content, 2, "a picture and a category")
            name, label = words
            if not label.isdecimal() or not 1 <= int(label) <= categories:
                wrong(f"the category is {label!r}, not 1 to {categories}")
            if name in names:
                rows.note(file, line, f"{name!r} is there twice")
            else:
                names[name] = int(label)
    return list(names), list(names.values())


def _read_boxes(folder: Path, rows: Rows, numbers: Mapping[str, int]) -> list[PixelBox | None]:
    file = _find(folder, "list_bbox.txt", ", or read with boxes=False (vsearch: --format folder)")
    pictures = Pictures(file, rows, numbers)
    boxes: list[PixelBox | None] = [None] * len(numbers)
    for line, content in rows.of(file):
        with rows.at(file, line, content):
            words = words_of(content, 5, "a picture and 4 numbers")
            try:
                x1, y1, x2, y2 = (round(float(word)) for word in words[1:])
            except (ValueError, OverflowError):
                wrong(f"the box {' '.join(words[1:])} is not four numbers")
            if x1 >= x2 or y1 >= y2:
                wrong(f"the box {' '.join(words[1:])} is empty")
            row = pictures.row(line, words[0])
            if row is not None:
                boxes[row] = x1, y1, x2, y2
    pictures.check_complete()
    return boxes


def _read_partitions(
    folder: Path, rows: Rows, numbers: Mapping[str, int], required: bool
) -> list[str | None]:
    try:
        file = _find(folder, "list_eval_partition.txt", ", or read with partition=None")
    except DatasetError:
        if required:
            raise
        return [None] * len(numbers)
    pictures = Pictures(file, rows, numbers)
    partitions: list[str | None] = [None] * len(numbers)
    for line, content in rows.of(file):
        with rows.at(file, line, content):
            words = words_of(content, 2, "a picture and a partition")
            if words[1] not in PARTITIONS:
                wrong(f"the partition is {words[1]!r}, not {', '.join(PARTITIONS)}")
            row = pictures.row(line, words[0])
            if row is not None:
                partitions[row] = sys.intern(words[1])
    pictures.check_complete()
    return partitions


def _read_attributes(folder: Path, rows: Rows, numbers: Mapping[str, int]) -> list[str]:
    """The joined names of each picture's attributes."""
    hint = ", or read with attributes=False"
    catalogue = _find(folder, "list_attr_cloth.txt", hint)
    names = list(_named_types(catalogue, ATTRIBUTE_TYPES))
    file = _find(folder, "list_attr_img.txt", hint)
    pictures = Pictures(file, rows, numbers)
    joined: dict[tuple[int, ...], str] = {(): ""}
    attributes = [""] * len(numbers)
    block: list[tuple[int, bytes]] = []
    size = 0

    def parse() -> None:
        for (line, content), positive in _positives(file, rows, block, len(names)):
            with rows.at(file, line, content):
                row = pictures.row(line, text(content.split(None, 1)[0]))
                key = tuple(positive)
                if key not in joined:
                    joined[key] = ";".join(names[number] for number in key)
                if row is not None:
                    attributes[row] = joined[key]

    for line, content in rows.of(file):
        block.append((line, content))
        size += len(content)
        if size > _BLOCK_BYTES:
            parse()
            block, size = [], 0
    if block:
        parse()
    pictures.check_complete()
    return attributes


def _positives(
    file: Path, rows: Rows, block: list[tuple[int, bytes]], count: int
) -> list[tuple[tuple[int, bytes], list[int]]]:
    """Each row that is whole, with the numbers of the labels that are 1.

    The full file has 289 million labels, too many for a Python loop: each becomes one
    character, so that many rows are a matrix. Where a row is anything else, all are looked at.
    """
    found = _ones(block, count)
    if found is None:
        whole = []
        for line, content in block:
            with rows.at(file, line, content):
                _check_labels(content, count)
                whole.append((line, content))
        block, found = whole, _ones(whole, count) if whole else []
    return list(zip(block, found or [], strict=True))


def _ones(block: list[tuple[int, bytes]], count: int) -> list[list[int]] | None:
    """For each row the numbers of the labels that are 1; None where a row is wrong."""
    labels_of = [b"".join(content.split(None, 1)[1:]).rstrip() for _, content in block]
    joined = b"\n".join([*labels_of, b""])
    plain = joined.replace(b"-1", b" n").translate(None, b" \t\r\v\f")
    values = np.frombuffer(joined, np.uint8)
    digit = values >= ord("0")
    label = digit | (values == ord("-"))
    touching = digit[:-1] & label[1:]  # no blank between two labels
    cells = np.frombuffer(plain, np.uint8)
    if len(cells) != len(block) * (count + 1) or touching.any() or b"n" in joined:
        return None
    matrix = cells.reshape(len(block), count + 1)
    labels = matrix[:, :-1]
    ones = labels == ord("1")
    if not (matrix[:, -1] == ord("\n")).all():
        return None
    if not (ones | (labels == ord("n")) | (labels == ord("0"))).all():
        return None
    row_of, number_of = np.nonzero(ones)
    split = np.searchsorted(row_of, np.arange(1, len(block)))
    return [part.tolist() for part in np.split(number_of, split)]


def _check_labels(content: bytes, count: int) -> None:
    words = content.split()[1:]
    for word in words:
        if word not in (b"1", b"-1", b"0"):
            wrong(f"an attribute's label is {word!r}, not 1, -1 or 0")
    if len(words) != count:
        wrong(f"{plural(len(words), 'label')} where list_attr_cloth.txt has {count} attributes")
