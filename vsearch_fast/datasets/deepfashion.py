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
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, NoReturn

import numpy as np

from ..checks import PixelBox, Scalar
from ..errors import ArgumentError, DatasetError
from ..words import plural
from .deepfashion_types import ATTRIBUTE_TYPES, CATEGORY_TYPES, PARTITIONS
from .deepfashion_write import write
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

    Raises:
        DatasetError: a file is missing (says where it was looked for), or wrong (names the
            line): its row count, a short row, a label out of range, a picture that is not in
            `list_category_img.txt` or is there twice.
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
    categories = _named_types(_find(folder, "list_category_cloth.txt"), CATEGORY_TYPES)
    names, labels = _read_categories(_find(folder, "list_category_img.txt"), len(categories))
    rows = {name: row for row, name in enumerate(names)}
    box_of = _read_boxes(folder, rows) if boxes else [None] * len(names)
    partition_of = _read_partitions(folder, rows, required=partition is not None)
    attributes_of = _read_attributes(folder, rows) if attributes else None
    pictures = _picture_folder(folder)

    kinds = list(categories.items())
    records = []
    for row, name in enumerate(names):
        if partition is not None and partition_of[row] != partition:
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


def _wrong(file: Path, line: int, problem: str, cure: str = "Get the file again") -> NoReturn:
    raise DatasetError(f"{file}:{line}: {problem}", _CONSEQUENCE, cure)


def _open_rows(file: Path) -> Iterator[tuple[int, bytes]]:
    """Each row after the two header lines, with its line number; ends by checking the count."""
    with file.open("rb") as lines:
        first = lines.readline()
        try:
            count = int(first)
        except ValueError:
            _wrong(file, 1, f"the number of rows should stand here, not {first[:40]!r}")
        lines.readline()
        found = 0
        number = 2
        for number, line in enumerate(lines, 3):
            if line.strip():
                found += 1
                yield number, line
    if found != count:
        _wrong(file, number, f"the file ends after {found} rows, and line 1 says {count}")


def _text(file: Path, line: int, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        _wrong(file, line, "the text is not UTF-8")


def _named_types(file: Path, types: tuple[str, ...]) -> dict[str, str]:
    """Type by name. The name is all but the last word: it may hold blanks."""
    found: dict[str, str] = {}
    for line, content in _open_rows(file):
        words = _text(file, line, content).rsplit(None, 1)
        if len(words) != 2:
            _wrong(file, line, "a name and a type should stand here")
        name, number = words[0].strip(), words[1]
        if not number.isdecimal() or not 1 <= int(number) <= len(types):
            _wrong(file, line, f"the type is {number!r}, not 1 to {len(types)}")
        if name in found:
            _wrong(file, line, f"{name!r} is there twice")
        found[name] = types[int(number) - 1]
    return found


def _read_categories(file: Path, categories: int) -> tuple[list[str], list[int]]:
    names: dict[str, int] = {}
    for line, content in _open_rows(file):
        words = _text(file, line, content).split()
        if len(words) != 2:
            _wrong(
                file,
                line,
                f"{plural(len(words), 'word')} where a picture and a category should stand",
            )
        name, label = words
        if not label.isdecimal() or not 1 <= int(label) <= categories:
            _wrong(file, line, f"the category is {label!r}, not 1 to {categories}")
        if name in names:
            _wrong(file, line, f"{name!r} is there twice")
        names[name] = int(label)
    return list(names), list(names.values())


class _Pictures:
    """Checks that a file names every picture of `list_category_img.txt` once."""

    def __init__(self, file: Path, rows: Mapping[str, int]) -> None:
        self.file = file
        self._rows = rows
        self._seen = bytearray(len(rows))

    def row(self, line: int, name: str) -> int:
        """The picture's row in `list_category_img.txt`."""
        row = self._rows.get(name)
        if row is None:
            _wrong(self.file, line, f"the picture {name!r} is not in list_category_img.txt")
        if self._seen[row]:
            _wrong(self.file, line, f"{name!r} is there twice")
        self._seen[row] = 1
        return row

    def check_complete(self) -> None:
        row = self._seen.find(0)
        if row >= 0:
            name = next(name for name, number in self._rows.items() if number == row)
            _wrong(self.file, 1, f"no row names the picture {name!r}")


def _read_boxes(folder: Path, rows: Mapping[str, int]) -> list[PixelBox | None]:
    file = _find(folder, "list_bbox.txt", ", or read with boxes=False (vsearch: --format folder)")
    pictures = _Pictures(file, rows)
    boxes: list[PixelBox | None] = [None] * len(rows)
    for line, content in _open_rows(file):
        words = _text(file, line, content).split()
        if len(words) != 5:
            _wrong(
                file,
                line,
                f"{plural(len(words), 'word')} where a picture and 4 numbers should stand",
            )
        try:
            x1, y1, x2, y2 = (round(float(word)) for word in words[1:])
        except (ValueError, OverflowError):
            _wrong(file, line, f"the box {' '.join(words[1:])} is not four numbers")
        if x1 >= x2 or y1 >= y2:
            _wrong(file, line, f"the box {' '.join(words[1:])} is empty")
        boxes[pictures.row(line, words[0])] = x1, y1, x2, y2
    pictures.check_complete()
    return boxes


def _read_partitions(folder: Path, rows: Mapping[str, int], required: bool) -> list[str | None]:
    try:
        file = _find(folder, "list_eval_partition.txt", ", or read with partition=None")
    except DatasetError:
        if required:
            raise
        return [None] * len(rows)
    pictures = _Pictures(file, rows)
    partitions: list[str | None] = [None] * len(rows)
    for line, content in _open_rows(file):
        words = _text(file, line, content).split()
        if len(words) != 2:
            _wrong(
                file,
                line,
                f"{plural(len(words), 'word')} where a picture and a partition should stand",
            )
        if words[1] not in PARTITIONS:
            _wrong(file, line, f"the partition is {words[1]!r}, not {', '.join(PARTITIONS)}")
        partitions[pictures.row(line, words[0])] = sys.intern(words[1])
    pictures.check_complete()
    return partitions


def _read_attributes(folder: Path, rows: Mapping[str, int]) -> list[str]:
    """The joined names of each picture's attributes."""
    hint = ", or read with attributes=False"
    catalogue = _find(folder, "list_attr_cloth.txt", hint)
    names = list(_named_types(catalogue, ATTRIBUTE_TYPES))
    file = _find(folder, "list_attr_img.txt", hint)
    pictures = _Pictures(file, rows)
    joined: dict[tuple[int, ...], str] = {(): ""}
    attributes = [""] * len(rows)
    block: list[tuple[int, bytes]] = []
    size = 0

    def parse() -> None:
        for (line, content), positive in zip(
            block, _positives(file, block, len(names)), strict=True
        ):
            row = pictures.row(line, _text(file, line, content.split(None, 1)[0]))
            key = tuple(positive)
            if key not in joined:
                joined[key] = ";".join(names[number] for number in key)
            attributes[row] = joined[key]

    for line, content in _open_rows(file):
        block.append((line, content))
        size += len(content)
        if size > _BLOCK_BYTES:
            parse()
            block, size = [], 0
    if block:
        parse()
    pictures.check_complete()
    return attributes


def _positives(file: Path, block: list[tuple[int, bytes]], count: int) -> list[list[int]]:
    """For each row the numbers of the labels that are 1.

    The full file has 289 million labels, too many for a Python loop: each becomes one
    character, so that many rows are a matrix. A row that is anything else is told by its line.
    """
    rows = [b"".join(content.split(None, 1)[1:]).rstrip() for _, content in block]
    text = b"\n".join([*rows, b""])
    plain = text.replace(b"-1", b" n").translate(None, b" \t\r\v\f")
    values = np.frombuffer(text, np.uint8)
    digit = values >= ord("0")
    label = digit | (values == ord("-"))
    touching = digit[:-1] & label[1:]  # no blank between two labels
    cells = np.frombuffer(plain, np.uint8)
    good = len(cells) == len(rows) * (count + 1) and not touching.any() and b"n" not in text
    if good:
        matrix = cells.reshape(len(rows), count + 1)
        labels = matrix[:, :-1]
        ones = labels == ord("1")
        good = bool((matrix[:, -1] == ord("\n")).all())
        good = good and bool((ones | (labels == ord("n")) | (labels == ord("0"))).all())
    if not good:
        for line, content in block:
            _check_labels(file, line, content, count)
    row_of, number_of = np.nonzero(ones)
    split = np.searchsorted(row_of, np.arange(1, len(rows)))
    return [part.tolist() for part in np.split(number_of, split)]


def _check_labels(file: Path, line: int, content: bytes, count: int) -> None:
    words = content.split()[1:]
    for word in words:
        if word not in (b"1", b"-1", b"0"):
            _wrong(file, line, f"an attribute's label is {word!r}, not 1, -1 or 0")
    if len(words) != count:
        _wrong(
            file,
            line,
            f"{plural(len(words), 'label')} where list_attr_cloth.txt has {count} attributes",
        )
