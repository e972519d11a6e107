"""The folder of an evaluation: table, figures, picture and contact sheets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from ..disk.replacing import replace_text, replacing
from ..errors import VsearchError
from ..terminal.keeping import stands
from . import picture, report, sheets
from .study import Options, Study

#: Folder of the features inside of an output folder.
CACHE = "features"
#: All figures, and what they depend on.
RESULTS = "results.json"


def asked_of(data: Path, words: Sequence[object], options: Options) -> str:
    """Stands for what is evaluated and how: the data, `words` about it, the protocol.

    Not for the rows: a table gains and loses models, whose features are kept, and not for what
    changes no figure.
    """
    protocol = dataclasses.asdict(options)
    for name in ("backend", "threads", "provider"):
        del protocol[name]
    facts = [os.fspath(data.resolve()), [str(word) for word in words], protocol]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def check_place(folder: Path, asked: str) -> None:
    """ArgumentError where the results of another evaluation are in the folder."""
    file = folder / RESULTS
    try:
        held = json.loads(file.read_text(encoding="utf-8")).get("asked")
    except (OSError, ValueError, AttributeError):
        held = None
    stands(
        file, held, asked, consequence="Nothing was evaluated",
        said="holds results on other data or of another protocol" if held else "",
    )  # fmt: skip


def write(study: Study, folder: Path, command: str, asked: str = "") -> list[Path]:
    """Write `table.md`, `table.csv`, `results.json`, `accuracy.png` and `sheets/*.jpg`.

    A file of an earlier run is replaced when the new one is whole; `check_place` says whether
    that is of the same evaluation (`asked`, which the results keep).

    Raises:
        MissingDependencyError: without Matplotlib.
        VsearchError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = [
            _text(folder / "table.md", report.markdown(study, command)),
            _text(folder / "table.csv", report.as_csv(study)),
            _text(folder / RESULTS, report.as_json(study, command, asked)),
        ]
        with replacing(folder / "accuracy.png") as unfinished:
            picture.draw(study, unfinished)
        return [*files, folder / "accuracy.png", *sheets.write(study, folder / "sheets")]
    except OSError as error:
        raise VsearchError(
            f"{error.filename or folder} cannot be written ({error.strerror or error})",
            "The results were not all written; features that were computed are kept",
            "Check the folder and the space on its disk, and run the same command again",
        ) from error


def _text(file: Path, content: str) -> Path:
    replace_text(file, content, errors="backslashreplace")
    return file
