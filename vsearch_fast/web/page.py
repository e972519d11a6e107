"""One self-contained HTML page (or one picture) of queries and their matches."""

from __future__ import annotations

import base64
import contextlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader
from PIL import Image, ImageDraw, ImageFont

from ..errors import ImageError, VsearchError
from ..images import decode
from ..index import Hit, Threshold

THUMBNAIL = 224  # pixels of the long side
_BOX = (224, 72, 48)
_SAME = (30, 150, 80)


@dataclass(frozen=True)
class Result:
    """The hits of one query by one metric.

    ``box`` is the part of the photo searched for; ``item``, where it is known what the photo
    shows, marks the hits with the same metadata column ``item``. With ``only_matches`` hits
    beyond the index's ``threshold`` were left out (None: the index is empty, nothing matches).
    ``max_distance`` is a distance that was asked for, and ``where`` a filter, in words.
    """

    query: str
    metric: str
    hits: Sequence[Hit]
    box: tuple[int, int, int, int] | None = None
    item: str | None = None
    only_matches: bool = False
    threshold: Threshold | None = None
    max_distance: float | None = None
    where: str = ""

    @property
    def nothing(self) -> str:
        """What to say where there are no hits."""
        among = f" among the pictures with {self.where}" if self.where else ""
        if self.only_matches:
            if self.threshold is None:
                return "no match: the index is empty"
            return f"no match: nothing within {self.threshold}{among}"
        if self.max_distance is not None:
            return f"nothing within the distance {self.max_distance:g}{among}"
        return f"no picture has {self.where}" if self.where else "the index is empty"

    def shows_same(self, hit: Hit) -> bool:
        """Whether the hit is known to be the very thing that the query shows."""
        return self.item is not None and hit.metadata.get("item") == self.item


def thumbnail(path: str | os.PathLike[str], box: tuple[int, int, int, int] | None) -> Image.Image:
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


def _data_uri(path: str | None, box: tuple[int, int, int, int] | None) -> str | None:
    """The thumbnail inside the page; None where the picture is gone or broken."""
    if path is None:
        return None
    try:
        small = thumbnail(path, box)
    except ImageError:
        return None
    file = io.BytesIO()
    small.save(file, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def distance_text(distance: float) -> str:
    """Bits as they are, sums with five significant digits."""
    return str(distance) if isinstance(distance, int) else f"{distance:.5g}"


def caption(metadata: Mapping[str, object]) -> list[tuple[str, object]]:
    """Metadata as a tile tells it: nothing empty, no group that only repeats the item."""
    return [
        (name, value)
        for name, value in metadata.items()
        if value not in (None, "") and not (name == "group" and value == metadata.get("item"))
    ]


def write_page(
    file: Path, results: Iterable[Result], *, title: str, facts: Sequence[tuple[str, str]] = ()
) -> None:
    """Write the page; results of one query that follow each other are shown together.

    The page is rendered a query at a time, so that memory does not grow with the queries.
    """
    environment = Environment(
        loader=PackageLoader("vsearch_fast.web"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["distance"] = distance_text
    environment.filters["caption"] = caption
    environment.globals["data_uri"] = _data_uri
    environment.globals["file_name"] = os.path.basename
    template = environment.get_template("matches.html")
    partial = file.with_name(f".{file.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors="backslashreplace") as out:
            out.writelines(template.generate(results=results, title=title, facts=facts))
        os.replace(partial, file)
    except OSError as error:
        raise VsearchError(
            f"the page {file} cannot be written ({error.strerror or error})",
            "A page of that name is as it was",
            "Check its folder and the space on its disk",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


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
