"""A whole catalogue on disk: pictures, the table about them, and reading it back."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from ...disk.replacing import replacing
from ...errors import ArgumentError, DatasetError
from ...system import processors
from .. import folder as folder_reader
from ..records import Record
from .design import design
from .scene import GarmentInfo, photograph
from .workers import spread

TABLE = "garments.csv"
PLAN = ".garments-plan"  # what pictures depend on, so that two catalogues are not mixed
COLUMNS = (
    "path",
    "id",
    "category",
    "group",
    "pattern",
    "fabric",
    "colour",
    "colours",
    "background",
    "x1",
    "y1",
    "x2",
    "y2",
)
METADATA = ("pattern", "fabric", "colour", "colours", "background")
SIZE = (240, 300)
QUALITY = 92  # of the JPEGs, which keep full colour resolution
RENDERER = 1  # raised when the same seed no longer gives the same pixels

SAVE_EVERY = 5.0  # seconds of work that a killed run may lose


Key = tuple[int, int]  # item number, view


def render(
    item: int, view: int = 0, seed: int = 0, size: tuple[int, int] = SIZE
) -> tuple[NDArray[np.uint8], GarmentInfo]:
    """One picture, in memory.

    Args:
        item: the item's number in the catalogue, from 0.
        view: which photograph of it, from 0.
        seed: of the catalogue. The same item, view, seed and size give the same pixels,
            however many others are rendered.
        size: (width, height) in pixels, each at least 64.

    Returns:
        The picture, RGB uint8 (height, width, 3), and its `GarmentInfo`.

    Raises:
        ArgumentError: a negative number or a size below 64 pixels.
    """
    _check(seed, size, item=item, view=view)
    return photograph(design(seed, item), view, size, item_id(item))


def item_id(number: int) -> str:
    """The id of item ``number``: "garment-00042"."""
    return f"garment-{number:05d}"


def render_catalogue(
    root: str | os.PathLike[str],
    items: int = 100,
    views: int = 3,
    seed: int = 0,
    size: tuple[int, int] = SIZE,
    *,
    progress: bool = False,
    workers: int | None = None,
) -> list[Record]:
    """Render ``items`` garments in ``views`` photographs each into a folder.

    Pictures are JPEGs in one sub-folder a category; ``garments.csv`` (which
    ``datasets.folder.read`` reads) holds for each its path, the item's id, category,
    pattern, fabric, main colour, all colours (joined by ", "), background and true box.

    Every file is written under another name first and then renamed, and the table is
    brought up to date every few seconds: after an interruption the same call goes on
    where it stopped, a deleted picture is rendered again to the same bytes, and what is
    complete is returned as it is. A larger catalogue grows from a smaller one.

    Args:
        root: the folder; made if absent.
        items, views: how many garments, and photographs of each.
        seed: of the catalogue; see `render`.
        size: (width, height) of the pictures in pixels.
        progress: show a bar on stderr.
        workers: processes to render with; by default one a CPU, or this one alone for
            fewer than 32 pictures. The result does not depend on it.

    Returns:
        A `Record` a picture, in the order of items and views; ``item`` is the item's
        id, ``group`` names the seed too, its own id is ITEM, ITEM#2, ITEM#3 for the views.

    Raises:
        ArgumentError: a negative seed, no items or views, a size below 64 pixels.
        DatasetError: the folder holds a catalogue of another seed or size, or a table
            that is none.
    """
    _check(seed, size, items=items - 1, views=views - 1)
    folder = Path(root)
    known = _resumable(folder, seed, size)
    wanted = [(number, view) for number in range(items) for view in range(views)]
    rows = {key: row for key, row in known.items() if _is_whole(folder / row["path"])}
    missing = [key for key in wanted if key not in rows]
    if missing:
        write_file(folder / PLAN, _plan(seed, size).encode())
        jobs = [(number, view, seed, size) for number, view in missing]
        if workers is None:
            workers = processors() if len(jobs) >= 32 else 1
        saved = time.monotonic()
        # On a terminal it moves; a log needs no line a picture.
        interval = 0.1 if sys.stderr.isatty() else 30
        shown = progress and bool(jobs)
        bar = tqdm(
            total=len(jobs),
            unit=" pictures",
            desc="garments",
            disable=not shown,
            mininterval=interval,
        )
        try:
            for key, row, picture in spread(_picture, jobs, workers):
                write_file(folder / row["path"], picture)
                rows[key] = row
                bar.update()
                if time.monotonic() - saved > SAVE_EVERY:
                    write_file(folder / TABLE, _table(rows))
                    saved = time.monotonic()
        finally:
            bar.close()
            write_file(folder / TABLE, _table(rows))
    return [_record(folder, rows[key], key[1]) for key in wanted]


def read(root: str | os.PathLike[str]) -> list[Record]:
    """The records of a catalogue that `render_catalogue` wrote: what
    ``datasets.folder.read(root, csv="garments.csv")`` returns.

    Raises DatasetError when the folder has no table, or one that is not such a table, or
    when a picture is gone.
    """
    folder = Path(root)
    if not (folder / TABLE).is_file():
        raise DatasetError(
            f"{folder / TABLE} does not exist",
            "No garments were read",
            "Render them first: datasets.garments.render_catalogue(root)",
        )
    return folder_reader.read(folder, csv=TABLE)


def _check(seed: int, size: tuple[int, int], **numbers: int) -> None:
    for name, value in {"seed": seed, **numbers}.items():
        if value < 0:
            raise ArgumentError(
                f"{name} is too small",
                "Nothing was rendered",
                "Give items and views of at least 1 and other numbers of at least 0",
            )
    if min(size) < 64:
        raise ArgumentError(
            f"Pictures of {size[0]} x {size[1]} pixels are too small for a garment",
            "Nothing was rendered",
            "Give a size of at least 64 pixels each way",
        )


def _plan(seed: int, size: tuple[int, int]) -> str:
    return f"seed {seed}, size {size[0]} x {size[1]}, renderer {RENDERER}"


def _resumable(folder: Path, seed: int, size: tuple[int, int]) -> dict[Key, dict[str, str]]:
    """What an earlier call finished; empty for a new folder."""
    plan = folder / PLAN
    if not plan.is_file():
        return {}
    found = plan.read_text()
    if found != _plan(seed, size):
        raise DatasetError(
            f"{folder} holds a catalogue of {found}, not of {_plan(seed, size)}",
            "Nothing was rendered",
            "Choose an empty folder, or the seed and size of that one",
        )
    return _rows(folder) if (folder / TABLE).is_file() else {}


def _picture(
    number: int, view: int, seed: int, size: tuple[int, int]
) -> tuple[Key, dict[str, str], bytes]:
    """(item, view), the row of the table and the JPEG file of one picture."""
    pixels, info = render(number, view, seed, size)
    path = f"{info.category}/{info.item}_{view}.jpg"
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    x1, y1, x2, y2 = map(str, info.box)
    values = (
        path,
        info.item,
        info.category,
        _group(info.item, seed),
        info.pattern,
        info.fabric,
        info.colours[0],
        ", ".join(info.colours),
        info.background,
        x1,
        y1,
        x2,
        y2,
    )
    return (number, view), dict(zip(COLUMNS, values, strict=True)), buffer.getvalue()


def _group(item: str, seed: int) -> str:
    """Another garment of the same number in another catalogue is not of its group."""
    return item if seed == 0 else f"{item} of seed {seed}"


def write_file(path: Path, data: bytes) -> None:
    """The whole file or none: written beside its place, then renamed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written ({error.strerror})",
            "What was finished before is kept",
            "Free some space or choose another folder, and run the same call again",
        ) from error


def _is_whole(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _table(rows: dict[Key, dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[key] for key in sorted(rows))
    return text.getvalue().encode()


def _rows(folder: Path) -> dict[Key, dict[str, str]]:
    """The table by item number and view, which the name of the picture tells."""
    path = folder / TABLE
    rows: dict[Key, dict[str, str]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        try:
            for row in reader:
                item, _, view = Path(row["path"]).stem.rpartition("_")
                for edge in ("x1", "y1", "x2", "y2"):
                    int(row[edge])
                rows[int(item.rpartition("-")[2]), int(view)] = row
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{path}, line {reader.line_num}: not a row of a garment catalogue ({error})",
                "Nothing was rendered",
                "Delete the table and render the catalogue again",
            ) from error
    return rows


def _record(folder: Path, row: dict[str, str], view: int) -> Record:
    """The record that ``datasets.folder`` makes of a row of the whole table."""
    return Record(
        id=row["id"] if view == 0 else f"{row['id']}#{view + 1}",
        path=folder / row["path"],
        box=(int(row["x1"]), int(row["y1"]), int(row["x2"]), int(row["y2"])),
        item=row["id"],
        category=row["category"],
        group=row["group"],
        metadata={name: row[name] for name in METADATA},
    )
