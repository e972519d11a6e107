"""The folder of an evaluation: table, figures, picture and contact sheets."""

from __future__ import annotations

from pathlib import Path

from ..disk.replacing import replace_text, replacing
from ..errors import VsearchError
from . import picture, report, sheets
from .study import Study

#: Folder of the features inside of an output folder.
CACHE = "features"


def write(study: Study, folder: Path, command: str) -> list[Path]:
    """Write `table.md`, `table.csv`, `results.json`, `accuracy.png` and `sheets/*.jpg`.

    A file of an earlier run is replaced when the new one is whole.

    Raises:
        MissingDependencyError: without Matplotlib.
        VsearchError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = [
            _text(folder / "table.md", report.markdown(study, command)),
            _text(folder / "table.csv", report.as_csv(study)),
            _text(folder / "results.json", report.as_json(study, command)),
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
