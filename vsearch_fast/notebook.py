"""What a notebook shows of hits, an index or a proof: HTML that stands by itself.

It has no script, no style sheet and fetches nothing: notebooks take these out of what they do not
trust. Pictures are inside it, small ones of bounded size. Colours are those of the notebook, light
or dark. Every text is escaped, and in a class that keeps formulas out of it: notebooks read ``$``
in HTML as TeX.
"""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .checks import PixelBox
from .errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

#: Pixels of a picture's long side, and bytes of its JPEG, at most.
SIDE, MOST_BYTES = 160, 16 << 10
#: Characters of a text that are shown.
_LONGEST = 60
_QUALITIES = (85, 60, 30, 10)
_BOX = (224, 72, 48)

_FAINT = "color-mix(in srgb, currentColor 30%, transparent)"
_SECOND = "opacity:.75;font-size:.9em"


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture with what stands below it.

    Attributes:
        path: of the picture; None where there is none.
        box: the part of it that is meant.
        alt: what those who do not see it are told.
        head: the first line.
        lines: the others.
    """

    path: str | None
    box: PixelBox | None
    alt: str
    head: str
    lines: Sequence[str] = ()


def text(value: object, longest: int = _LONGEST) -> str:
    """A value as HTML: nothing in it is markup, or changes the direction of what follows."""
    plain = str(value)
    if len(plain) > longest:
        plain = plain[: longest - 1] + "…"
    # No file or socket takes half a surrogate pair; control characters are no HTML.
    plain = plain.encode("utf-8", "backslashreplace").decode()
    plain = "".join(each if each.isprintable() else _named(each) for each in plain)
    return html.escape(plain, quote=True)


def _named(character: str) -> str:
    return " " if character in "\t\n\r" else f"\\u{ord(character):04x}"


def whole(parts: Sequence[str], label: str) -> str:
    """Parts of HTML as one output; `label` is what it is called by those who hear it."""
    return (
        f'<div class="tex2jax_ignore mathjax_ignore" role="group" aria-label="{text(label)}"'
        f' style="max-width:100%">{"".join(parts)}</div>'
    )


def heading(title: str, more: str = "") -> str:
    """A line above what follows."""
    rest = f' <span style="{_SECOND}">{text(more, 200)}</span>' if more else ""
    return f'<p style="margin:.6em 0 .3em"><strong>{text(title, 200)}</strong>{rest}</p>'


def table(lines: Sequence[Sequence[object]], heads: Sequence[str] = ()) -> str:
    """A table whose first column names its lines; numbers at the right."""
    cell = f"padding:.15em .8em .15em 0;border:0;border-bottom:1px solid {_FAINT}"
    parts = ['<table style="border-collapse:collapse;margin:.3em 0">']
    if heads:
        each = (
            f'<th scope="col" style="text-align:left;{cell}">{text(head)}</th>' for head in heads
        )
        parts.append(f"<thead><tr>{''.join(each)}</tr></thead>")
    parts.append("<tbody>")
    for first, *others in lines:
        cells = "".join(
            f'<td style="text-align:{"right" if heads else "left"};{cell}">{text(other, 300)}</td>'
            for other in others
        )
        name = f'<th scope="row" style="text-align:left;font-weight:normal;{cell}">{text(first)}'
        parts.append(f"<tr>{name}</th>{cells}</tr>")
    return "".join([*parts, "</tbody></table>"])


def row(tiles: Sequence[Tile]) -> str:
    """Pictures beside each other, in as many lines as they need."""
    parts = [
        '<ol role="list" style="display:flex;flex-wrap:wrap;gap:12px;list-style:none;margin:0;'
        'padding:0">'
    ]
    for tile in tiles:
        lines = "".join(f'<br><bdi style="{_SECOND}">{text(line)}</bdi>' for line in tile.lines)
        parts.append(
            f'<li style="width:{SIDE}px;margin:0"><figure style="margin:0">{_picture(tile)}'
            '<figcaption style="overflow-wrap:anywhere;line-height:1.35">'
            f"<bdi>{text(tile.head)}</bdi>{lines}</figcaption></figure></li>"
        )
    return "".join([*parts, "</ol>"])


def _picture(tile: Tile) -> str:
    frame = f"width:{SIDE}px;height:{SIDE}px;margin:0 0 .3em"
    alt = text(tile.alt, 200)
    if tile.path is None:
        told, why = "no picture", ""
    else:
        try:
            data = base64.b64encode(_jpeg(tile.path, tile.box)).decode("ascii")
            return (
                f'<img src="data:image/jpeg;base64,{data}" alt="{alt}"'
                f' style="{frame};object-fit:contain;display:block">'
            )
        except ImageError as error:
            gone = isinstance(error.__cause__, FileNotFoundError)
            told, why = "picture is missing" if gone else "picture cannot be read", error.cause
    return (
        f'<div role="img" aria-label="{alt}: {told}" title="{text(why, 300)}"'
        f' style="{frame};box-sizing:border-box;border:1px dashed {_FAINT};display:flex;'
        f'align-items:center;justify-content:center;{_SECOND}">{told}</div>'
    )


def _jpeg(path: str, box: PixelBox | None) -> bytes:
    """A small JPEG, the box drawn in; ImageError where the picture cannot be read."""
    from .images.decoding import reduced, upright_size

    small = reduced(path, SIDE)
    if box is not None:
        _draw(small, box, upright_size(path))
    for quality in _QUALITIES:
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality)
        if file.tell() <= MOST_BYTES:
            break
    return file.getvalue()


def _draw(small: Image.Image, box: PixelBox, size: tuple[int, int]) -> None:
    from PIL import ImageDraw

    edges = [
        min(max(edge * short / long, 0), short - 1)
        for edge, short, long in zip(box, small.size * 2, size * 2, strict=True)
    ]
    ImageDraw.Draw(small).rectangle(edges, outline=_BOX, width=2)


def file_name(path: str | None, otherwise: str) -> str:
    """The last part of a path, which people know a picture by."""
    return os.path.basename(path) or path if path else otherwise
