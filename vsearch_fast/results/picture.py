"""Hits as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ..checks import PixelBox
from ..images.decoding import decode
from ..words import distance_text
from .result import Result

THUMBNAIL = 224  # pixels of the long side
_BOX = (224, 72, 48)
_SAME = (30, 150, 80)


def thumbnail(path: str | os.PathLike[str], box: PixelBox | None) -> Image.Image:
    """A small upright copy with the box drawn in; raises ImageError."""
    image = decode(path)
    scale = THUMBNAIL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.LANCZOS)
    if box is not None:
        x1, y1, x2, y2 = (edge * scale for edge in box)
        edges = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
        ImageDraw.Draw(small).rectangle(edges, outline=_BOX, width=2)
    return small


def write_picture(file: Path, results: Sequence[Result], *, hits: int = 5) -> None:
    """One JPEG with a row a result: the query at the left, its hits with their distances.

    Hits that are known to show the query's item are framed in green.
    """
    tile, gap, caption, margin = 190, 12, 26, 92
    width = margin + (1 + hits) * (tile + gap) + 3 * gap
    height = len(results) * (tile + caption + gap) + gap
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for row, result in enumerate(results):
        top = gap + row * (tile + caption + gap)
        draw.text((gap, top + tile // 2), result.metric, fill="black", font=font, anchor="lm")
        cells = [(result.query, result.box, "query", False)] + [
            (hit.path, None, distance_text(hit.distance), result.shows_same(hit))
            for hit in result.hits[:hits]
        ]
        for column, (path, box, text, same) in enumerate(cells):
            left = margin + column * (tile + gap) + (2 * gap if column else 0)
            if path is not None:
                small = thumbnail(path, box)
                small.thumbnail((tile, tile), Image.Resampling.LANCZOS)
                x, y = left + (tile - small.width) // 2, top + (tile - small.height) // 2
                sheet.paste(small, (x, y))
                if same:
                    edges = (x - 3, y - 3, x + small.width + 2, y + small.height + 2)
                    draw.rectangle(edges, outline=_SAME, width=4)
            middle = (left + tile // 2, top + tile + caption // 2)
            draw.text(middle, text, fill="#444444", font=font, anchor="mm")
    sheet.save(file, "JPEG", quality=88)
