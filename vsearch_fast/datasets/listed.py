"""From a cell of a list to the picture it means."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Protocol
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

from ..images.readers import IMAGE_SUFFIXES
from .tables import BadLineError

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


class Finder(Protocol):
    """Says where a listed picture is."""

    def find(self, cell: str) -> Path:
        """The path that a cell means; BadLineError where it means none."""

    def relative(self, path: Path) -> str:
        """That path as an id."""


class PictureFinder:
    """Finds listed pictures in some folders, in their order.

    A name is that of a file as it is written; else with ``/`` for ``\\``; else in any
    normal form of Unicode, as macOS (NFD) and others (NFC) write the same letters; without its
    ending, where one picture alone has the rest of the name.
    """

    def __init__(self, bases: list[Path], root: Path, keep_missing: bool) -> None:
        self.root = root
        self.keep_missing = keep_missing
        self._bases = list(dict.fromkeys(bases))
        self._last = (self._bases[0], "")
        self._names: dict[str, dict[str, str]] = {}
        self._stems: dict[str, dict[str, list[str]]] = {}

    def find(self, cell: str) -> Path:
        """The picture's path; BadLineError where there is none, or more than one may be meant.

        With ``keep_missing`` a picture that is not there has the path where it would be.
        """
        if not cell:
            raise BadLineError("the picture's path is empty", "Name a picture")
        if _ADDRESS.match(cell):
            if not cell.startswith("file://"):
                raise BadLineError(
                    f"{cell!r} is an address, and pictures are not fetched",
                    "Download it, and name the file",
                )
            cell = unquote(urlsplit(cell).path)
        names = [cell, cell.replace("\\", "/")] if "\\" in cell else [cell]
        for name in names:
            for base in self._bases:
                path = self._file(base, name)
                if path is not None:
                    whole = Path(name).suffix.lower() in IMAGE_SUFFIXES
                    self._last = base, "" if whole else path.suffix
                    return path
        if self.keep_missing:
            base, ending = self._last
            whole = Path(names[-1]).suffix.lower() in IMAGE_SUFFIXES
            return base / (names[-1] + ("" if whole else ending))
        looked = ", ".join(map(str, self._bases))
        raise BadLineError(
            f"there is no picture {cell!r}", f"Put it into one of these folders: {looked}"
        )

    def relative(self, path: Path) -> str:
        """The path as an id: relative to the root where it lies in it."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.as_posix()

    def _file(self, base: Path, name: str) -> Path | None:
        path = os.path.join(base, name)
        if os.path.isfile(path):  # False also for a NUL, and for a name that is too long
            return base / name
        folder = self._folder(base, name)
        if folder is None:
            return None
        last = normalize("NFC", os.path.basename(name))
        if not last:
            return None
        found = self._listing(folder).get(last)
        if found is None and os.path.splitext(last)[1].lower() not in IMAGE_SUFFIXES:
            choices = self._stems[folder].get(last, [])
            if len(choices) > 1:
                raise BadLineError(
                    f"{name!r} may be {' or '.join(choices)}", "Write the picture's ending"
                )
            found = choices[0] if choices else None
        if found is None or not os.path.isfile(os.path.join(folder, found)):
            return None
        return Path(folder, found)

    def _folder(self, base: Path, name: str) -> str | None:
        """The folder that a name leads to, by whatever normal form its folders are written in."""
        folder = os.path.join(base, os.path.dirname(name))
        if os.path.isdir(folder):
            return folder
        if os.path.isabs(name):
            return None
        folder = str(base)
        for part in filter(None, os.path.dirname(name).split("/")):
            found = self._listing(folder).get(normalize("NFC", part))
            if found is None:
                return None
            folder = os.path.join(folder, found)
        return folder

    def _listing(self, folder: str) -> dict[str, str]:
        """Its files and folders by their name in NFC; read once."""
        if folder not in self._names:
            try:
                names = sorted(os.listdir(folder))
            except (OSError, ValueError):
                names = []
            stems = defaultdict(list)
            for name in names:
                stem, ending = os.path.splitext(name)
                if ending.lower() in IMAGE_SUFFIXES:
                    stems[normalize("NFC", stem)].append(name)
            self._names[folder] = {normalize("NFC", name): name for name in names}
            self._stems[folder] = stems
        return self._names[folder]
