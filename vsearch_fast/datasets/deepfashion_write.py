"""Writes any records in the on-disk format that `deepfashion.py` describes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL import Image

from ..checks import PixelBox
from ..disk.replacing import link_or_copy, replace_text
from ..errors import ArgumentError, DatasetError
from .deepfashion_types import ATTRIBUTE_TYPES, CATEGORY_TYPES, PARTITIONS
from .records import Record

_CONSEQUENCE = "The data set was not written"


def write(
    records: Iterable[Record],
    root: str | os.PathLike[str],
    *,
    layout: Literal["Anno", "Anno_coarse"] = "Anno",
    img: Literal["Img/img", "img"] = "Img/img",
    attributes: Mapping[str, str] | None = None,
) -> None:
    """Write the annotation files for these records, and bring their pictures to their place.

    A picture that lies below `root`/`img` already stays; another becomes a hard link, or
    where that cannot be a copy, at `root`/`img`/ITEM/NAME (ITEM: the record's item, or its
    group, or its category; blanks in it become underscores).

    A record needs a category. Its box is written, or the whole picture where it has none. Its
    category's type is `metadata["category_type"]`, "full body" by default; its attributes are
    `metadata["attributes"]`, names joined by ";". What the format has no place for is lost:
    ids, and all other metadata.

    Args:
        records: at least one; every one or none with a partition.
        root: is made where it does not exist.
        layout: folder of the annotation files; the partition goes to `Eval`.
        img: folder of the pictures.
        attributes: type ("texture", "fabric", "shape", "part", "style") by name, in the order
            to list them in; those of records that are not in it follow as "style".

    Raises:
        ArgumentError: another layout, img or type.
        DatasetError: a record that the format cannot hold; names it.
    """
    known = dict(attributes or {})
    _check_choice("layout", layout, ("Anno", "Anno_coarse"))
    _check_choice("img", img, ("Img/img", "img"))
    for name, kind in known.items():
        _check_choice(f"the type of attribute {name!r}", kind, ATTRIBUTE_TYPES)
    listed = list(records)
    if not listed:
        raise DatasetError("There are no records", _CONSEQUENCE, "Pass at least one")
    partitions = _partitions(listed)
    categories = _categories(listed)
    positives = [_attributes_of(record, known) for record in listed]
    folder = Path(root)
    names = _place_pictures(listed, folder / img)

    numbers = {name: number for number, name in enumerate(categories, 1)}
    width = max(map(len, names)) + 2
    padded = [name.ljust(width) for name in names]
    anno, evaluation = folder / layout, folder / "Eval"
    _write(
        anno / "list_category_cloth.txt",
        "category_name  category_type",
        (f"{name.ljust(20)} {kind}" for name, kind in categories.items()),
    )
    _write(
        anno / "list_category_img.txt",
        "image_name  category_label",
        (
            f"{name}{numbers[record.category or '']:<2}"
            for name, record in zip(padded, listed, strict=True)
        ),
    )
    _write(
        anno / "list_bbox.txt",
        "image_name  x_1  y_1  x_2  y_2",
        (
            name + " ".join(f"{value:03d}" for value in record.box or _whole(record))
            for name, record in zip(padded, listed, strict=True)
        ),
    )
    if partitions:
        _write(
            evaluation / "list_eval_partition.txt",
            "image_name  evaluation_status",
            (name + part for name, part in zip(padded, partitions, strict=True)),
        )
    _write(
        anno / "list_attr_cloth.txt",
        "attribute_name  attribute_type",
        (f"{name.ljust(30)} {ATTRIBUTE_TYPES.index(kind) + 1}" for name, kind in known.items()),
    )
    _write(
        anno / "list_attr_img.txt",
        "image_name  attribute_labels",
        (
            name + " ".join(" 1" if attribute in positive else "-1" for attribute in known)
            for name, positive in zip(padded, positives, strict=True)
        ),
    )


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ArgumentError(
            f"{name} is {value!r}", _CONSEQUENCE, f"Pass one of {', '.join(choices)}"
        )


def _refuse(record: Record, problem: str, cure: str) -> DatasetError:
    return DatasetError(f"Record {record.id!r} {problem}", _CONSEQUENCE, cure)


def _partitions(records: Sequence[Record]) -> list[str]:
    found = [record.partition for record in records]
    if not any(found):
        return []
    for record in records:
        if record.partition not in PARTITIONS:
            raise _refuse(
                record,
                f"has the partition {record.partition!r}",
                f"Give every record one of {', '.join(PARTITIONS)}, or none to all",
            )
    return [part for part in found if part is not None]


def _categories(records: Sequence[Record]) -> dict[str, int]:
    """The type's number of every category, sorted by name."""
    types: dict[str, int] = {}
    for record in records:
        name = record.category
        if not name or name != " ".join(name.split()):
            raise _refuse(
                record, f"has the category {name!r}", "Give it one, without blanks at its ends"
            )
        kind = record.metadata.get("category_type", CATEGORY_TYPES[2])
        if kind not in CATEGORY_TYPES:
            raise _refuse(
                record,
                f"has the category_type {kind!r}",
                f"Use one of {', '.join(CATEGORY_TYPES)}, or leave it out",
            )
        number = CATEGORY_TYPES.index(str(kind)) + 1
        if types.setdefault(name, number) != number:
            raise _refuse(
                record, f"gives {name!r} another category_type", "Give each category one type"
            )
    return dict(sorted(types.items()))


def _attributes_of(record: Record, known: dict[str, str]) -> set[str]:
    """The names of the record's attributes; new ones are added to `known`."""
    joined = record.metadata.get("attributes") or ""
    names = [name for name in str(joined).split(";") if name]
    for name in names:
        if name != " ".join(name.split()):
            raise _refuse(
                record, f"has the attribute {name!r}", "Use single blanks inside of names only"
            )
        known.setdefault(name, ATTRIBUTE_TYPES[4])
    return set(names)


def _place_pictures(records: Sequence[Record], folder: Path) -> list[str]:
    """Bring every picture below `folder`; returns their names in the files ("img/...")."""
    names: dict[str, Record] = {}
    moves = []
    for record in records:
        path = Path(os.path.abspath(record.path))
        if not path.is_file():
            raise _refuse(record, f"has no picture at {record.path}", "Make or correct it")
        base = Path(os.path.abspath(folder))
        if path.is_relative_to(base):
            inside = PurePosixPath(path.relative_to(base).as_posix())
        else:
            product = record.item or record.group or record.category or ""
            inside = PurePosixPath("_".join(product.split()).replace("/", "-"), path.name)
            moves.append((path, base / inside))
        name = str("img" / inside)
        if len(name.split()) != 1 or len(inside.parts) < 2:
            raise _refuse(
                record,
                f"would be named {name!r}",
                "Names need a folder and no blanks: rename the picture",
            )
        if name in names:
            raise _refuse(
                record,
                f"would have the name {name!r} of record {names[name].id!r}",
                "The format holds one box a picture, and names pictures by item and file name",
            )
        names[name] = record
    for source, target in moves:
        _place(source, target)
    return list(names)


def _place(source: Path, target: Path) -> None:
    """Link or copy a picture to its place, which may be where it is, under another name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and os.path.samefile(source, target):
        return
    link_or_copy(source, target)


def _whole(record: Record) -> PixelBox:
    try:
        with Image.open(record.path) as picture:
            return (0, 0, *picture.size)
    except OSError as error:
        raise _refuse(
            record, f"has no box, and its picture cannot be read ({error})", "Give it a box"
        ) from error


def _write(file: Path, header: str, rows: Iterable[str]) -> None:
    lines = list(rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_text(file, "\n".join([str(len(lines)), header, *lines, ""]))
