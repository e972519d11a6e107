"""Contact sheets: queries with their matches, as many right as wrong, for each model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..datasets.records import Record
from ..errors import ImageError
from ..images.decoding import decode
from .report import DISTANCES
from .rows import slug
from .study import ANY, Study, chosen_distance

_TILE, _GAP, _CAPTION, _LEFT, _TOP = 150, 10, 22, 16, 76
_RIGHT, _WRONG, _INK, _QUIET = (30, 150, 80), (200, 60, 40), (34, 34, 34), (110, 110, 110)
#: Queries of each kind, and matches of each.
ROWS, MATCHES = 6, 6


def write(study: Study, folder: Path) -> list[Path]:
    """One JPEG a model that ran, by its best distance, of the leading rule.

    Queries are drawn by the seed from those whose nearest match is right, and from those
    where it is wrong; they are examples, and not in proportion: the title says how many there
    are of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    categories = study.sample.categories
    files = []
    for each in study.ran:
        distance = chosen_distance(study, each.row.name)
        lists = study.neighbours[each.row.name, distance]
        first = lists[:, 0]
        right = (first >= 0) & (categories[np.maximum(first, 0)] == categories[study.queries])
        title = f"{each.row.name}, {DISTANCES[distance]}"
        told = f"{int(right.sum()):,} of {len(right):,} nearest matches are of the query's category"
        if study.lead != ANY:
            told += "; its own group is left out"
        rng = np.random.default_rng([study.options.seed, 2])
        chosen = [_some(np.flatnonzero(right), rng), _some(np.flatnonzero(~right), rng)]
        file = folder / f"{slug(each.row.name)}.jpg"
        _sheet(study, lists, chosen, title, told).save(file, "JPEG", quality=88)
        files.append(file)
    return files


def _some(places: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(rng.permutation(places)[:ROWS])


def _sheet(
    study: Study,
    lists: NDArray[np.int64],
    chosen: list[NDArray[np.int64]],
    title: str,
    told: str,
) -> Image.Image:
    """Two halves beside each other, queries whose first match is right, and wrong."""
    rows = max(1, *(len(part) for part in chosen))
    step = _TILE + _GAP
    half = (1 + MATCHES) * step + 3 * _GAP
    width = 2 * half + 2 * _LEFT + 2 * _GAP
    sheet = Image.new("RGB", (width, _TOP + rows * (_TILE + _CAPTION + _GAP) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(20), ImageFont.load_default(14)
    draw.text((_LEFT, 10), title, fill=_INK, font=large)
    draw.text((_LEFT + draw.textlength(title, large) + 16, 15), told, fill=_QUIET, font=small)
    heads = ("queries whose nearest match is right", "queries whose nearest match is wrong")
    for side, (part, head) in enumerate(zip(chosen, heads, strict=True)):
        left = _LEFT + side * (half + 2 * _GAP)
        draw.text((left, 46), head, fill=_INK, font=ImageFont.load_default(16))
        if not len(part):
            draw.text((left, _TOP + 10), "there is none", fill=_QUIET, font=small)
        for line, place in enumerate(part):
            query = study.sample.records[study.queries[place]]
            top = _TOP + line * (_TILE + _CAPTION + _GAP)
            _tile(sheet, query, left, top, _INK, f"query: {query.category}", small)
            for column, row in enumerate(lists[place, :MATCHES]):
                if row < 0:
                    continue
                match = study.sample.records[row]
                colour = _RIGHT if match.category == query.category else _WRONG
                at = left + (1 + column) * step + 2 * _GAP
                _tile(sheet, match, at, top, colour, str(match.category), small)
    return sheet


def _tile(
    sheet: Image.Image,
    record: Record,
    left: int,
    top: int,
    colour: tuple[int, int, int],
    caption: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """A picture's box, as the model saw it, in a frame, with its caption below."""
    draw = ImageDraw.Draw(sheet)
    try:
        picture = decode(record.path, record.box)
        picture.thumbnail((_TILE - 8, _TILE - 8), Image.Resampling.LANCZOS)
        x, y = left + (_TILE - picture.width) // 2, top + (_TILE - picture.height) // 2
        sheet.paste(picture, (x, y))
        frame = (x - 4, y - 4, x + picture.width + 3, y + picture.height + 3)
        draw.rectangle(frame, outline=colour, width=4)
    except ImageError:  # it was there when its features were made
        draw.rectangle((left, top, left + _TILE, top + _TILE), outline=colour, width=4)
    while draw.textlength(caption, font) > _TILE and len(caption) > 4:
        caption = caption[:-2].rstrip("…") + "…"
    middle = (left + _TILE // 2, top + _TILE + _CAPTION // 2 + 1)
    draw.text(middle, caption, fill=colour, font=font, anchor="mm")
