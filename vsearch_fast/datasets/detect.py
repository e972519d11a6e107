"""Reads a data set of whichever kind it is, and says in words what was read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from ..errors import ArgumentError
from . import deepfashion, folder, inshop
from .deepfashion import Partition
from .notes import Notes
from .parquet import PARQUET
from .records import Record

Layout = Literal["auto", "folder", "csv", "deepfashion"]

#: The table of a folder of drawn garments (`garments.TABLE`, not imported: it would load Pillow's
#: drawing for every reader), whose items and boxes would be lost if it were read as a folder.
GARMENTS = "garments.csv"


def read(
    source: Path,
    layout: Layout = "auto",
    *,
    csv: Path | None = None,
    columns: Mapping[str, str] | None = None,
    partition: Partition | None = None,
    missing: Literal["raise", "keep"] = "raise",
    exclude: Sequence[str] = (),
    on_error: Literal["raise", "skip"] = "raise",
    notes: Notes | None = None,
) -> tuple[list[Record], str]:
    """Records of a folder, a CSV file or a DeepFashion data set, and their *origin*.

    A folder of drawn garments is read by its table; a DeepFashion folder is whichever of the
    two benchmarks, `deepfashion` or `inshop`, its files say.

    Two reads of different lists or parts of one folder have different origins, so that an
    index made of one is not taken for an index of the other. ``columns``, ``missing``,
    ``exclude``, ``on_error`` and ``notes`` as in `folder.read`; a CSV or TSV file may be the
    source itself. A DeepFashion data set whose attribute files are both missing is read without
    attributes, which is noted. Raises ArgumentError for options that do not go together,
    DatasetError as the readers do.
    """
    if layout == "auto":
        layout = layout_of(source, csv)
        if layout == "csv" and csv is None and source.is_dir():
            csv = source / GARMENTS
    for given, wanted, option in (
        (partition, "deepfashion", "A partition is for DeepFashion data sets"),
        (columns, "csv", "Columns are named for a CSV file"),
        (csv, "csv", "A CSV file was named"),
        (exclude, "folder", "Patterns leave out files of a folder (--exclude)"),
    ):
        if given and layout != wanted:
            raise ArgumentError(
                f"{option}, and {source} is read as {layout}",
                "Nothing was read",
                "Leave it out, or name another format (and, for columns, the file: --csv)",
            )
    place = os.path.abspath(source)
    if layout == "deepfashion":
        part = f", partition {partition}" if partition else ""
        if inshop.is_inshop(source):
            return inshop.read(source, partition, on_error, notes), place + part
        attributes = deepfashion.has_attributes(source)
        if not attributes and notes is not None:
            notes.remarks.append(
                f"{source} has no list_attr_cloth.txt and no list_attr_img.txt: its pictures have "
                "no attributes"
            )
        found = deepfashion.read(
            source, partition=partition, attributes=attributes, on_error=on_error, notes=notes
        )
        return found, place + part
    if layout == "csv":
        if csv is None:
            source, csv = source.parent, source
        listed = folder.read(
            source,
            csv=csv,
            columns=columns or None,
            missing=missing,
            on_error=on_error,
            notes=notes,
        )
        return listed, f"{os.path.abspath(source)}, listed in {os.path.abspath(csv)}"
    return folder.read(source, exclude=exclude, on_error=on_error, notes=notes), place


def layout_of(source: Path, csv: Path | None = None) -> Layout:
    """What a source is read as where nobody says: folder, csv or deepfashion."""
    if csv is not None or source.suffix.lower() in (".csv", ".tsv", PARQUET):
        return "csv"
    if (source / GARMENTS).is_file():
        return "csv"
    if any((source / name).is_dir() for name in ("Anno", "Anno_coarse", "Anno_fine")):
        return "deepfashion"
    return "folder"
