"""One self-contained HTML page (or one picture) of queries and their matches."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from ..checks import PixelBox
from ..disk.replacing import replacing
from ..errors import ImageError, VsearchError
from ..words import distance_text
from .picture import thumbnail
from .result import Result, caption


def _data_uri(path: str | None, box: PixelBox | None) -> str | None:
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


def write_page(
    file: Path, results: Iterable[Result], *, title: str, facts: Sequence[tuple[str, str]] = ()
) -> None:
    """Write the page; results of one query that follow each other are shown together.

    The page is rendered a query at a time, so that memory does not grow with the queries.
    """
    write_template(file, "matches.html", results=results, title=title, facts=facts)


def write_template(file: Path, name: str, **values: Any) -> None:
    """Write a page of this template, piece by piece."""
    environment = Environment(
        loader=PackageLoader("vsearch_fast.results"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["distance"] = distance_text
    environment.filters["caption"] = caption
    environment.globals["data_uri"] = _data_uri
    environment.globals["file_name"] = os.path.basename
    template = environment.get_template(name)
    try:
        with (
            replacing(file) as partial,
            partial.open("w", encoding="utf-8", errors="backslashreplace") as out,
        ):
            out.writelines(template.generate(**values))
    except OSError as error:
        raise VsearchError(
            f"the page {file} cannot be written ({error.strerror or error})",
            "A page of that name is as it was",
            "Check its folder and the space on its disk",
        ) from error
