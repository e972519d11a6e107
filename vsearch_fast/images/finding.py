"""Picture files found in folders, and what is left out there, by kind."""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from ..errors import ArgumentError, ImageError
from ..words import plural
from .readers import PREFIX, RAW_SUFFIXES, Kind, is_readable_suffix, kind_of

#: Folders in which programs and network drives keep copies, previews and what was deleted.
HOUSEKEEPING = frozenset(
    {"#recycle", "#snapshot", "$RECYCLE.BIN", "@Recycle", "@Recently-Snapshot", "@eaDir",
     "@tmp", "System Volume Information", "__MACOSX", "lost+found"}
)  # fmt: skip

_ENDING = re.compile(r"\.[a-z0-9_+~-]{1,12}")


class LeftOutWarning(UserWarning):
    """Pictures in a folder are of a format that is not read here."""


@dataclass
class LeftOut:
    """What a search for pictures left out.

    Attributes:
        endings: files that are no pictures, or of a format that is not read here, by their
            ending in lower case ("" for none).
        formats: of those the pictures, by format, and how each could be read.
        folders: folders that hold no pictures of the user's, by name.
        excluded: files and folders that a pattern named.
        hidden: files whose name begins with a dot.
        links: links to folders, which are not followed.
        unlisted: folders that could not be listed, and why.
        unused: patterns that named nothing.
    """

    endings: Counter[str] = field(default_factory=Counter)
    formats: Counter[tuple[str, str]] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    excluded: int = 0
    hidden: int = 0
    links: int = 0
    unlisted: list[tuple[str, str]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.endings or self.folders or self.excluded or self.hidden or self.links
            or self.unlisted or self.unused
        )  # fmt: skip

    def lines(self) -> list[str]:
        """The same in words, a line each; nothing where nothing was left out."""
        parts = [
            f"{number:,} {ending or 'without an ending'}"
            for ending, number in sorted(self.endings.items(), key=lambda pair: (-pair[1], pair[0]))
        ]
        parts += [f"{self.excluded:,} excluded"] if self.excluded else []
        parts += [f"{self.hidden:,} hidden"] if self.hidden else []
        parts += [plural(self.links, "link to a folder", "links to folders")] if self.links else []
        parts += [
            plural(number, "folder") + f" {name}" for name, number in sorted(self.folders.items())
        ]
        lines = [f"left out: {', '.join(parts)}"] if parts else []
        lines += [
            f"{plural(number, f'{name} picture')}: nothing here reads them. {cure}."
            for (name, cure), number in sorted(self.formats.items())
        ]
        lines += [f"skipped the folder {folder}: {why}" for folder, why in self.unlisted]
        lines += [f"--exclude {pattern} matches nothing" for pattern in self.unused]
        return lines

    def facts(self) -> dict[str, object]:
        """The same as plain values, for JSON."""
        return {
            "files": dict(sorted(self.endings.items())),
            "formats": {name: number for (name, _), number in sorted(self.formats.items())},
            "folders": dict(sorted(self.folders.items())),
            "excluded": self.excluded,
            "hidden": self.hidden,
            "links": self.links,
            "unlisted": [folder for folder, _ in self.unlisted],
        }


def find_images(
    folder: str | os.PathLike[str],
    *,
    exclude: Sequence[str] = (),
    on_error: Literal["raise", "skip"] = "raise",
    left_out: LeftOut | None = None,
) -> list[Path]:
    """All picture files under `folder`, at any depth, sorted by path.

    A picture file is one whose name ends in one of `IMAGE_SUFFIXES`, in any case, and any other
    whose first bytes are a picture's (``photo``, ``photo.jpg?v=2``). A link that leads nowhere,
    or a pipe, with such an ending is listed too, so that whoever reads it reports it. Left out
    are files and folders whose name begins with a dot, the folders that systems and network
    drives keep for themselves (`HOUSEKEEPING`), links to folders, and pictures of a format that
    is not read here, whatever their ending.

    Args:
        exclude: patterns of shells (``*.gif``, ``drafts``): of names, of files and folders at
            any depth; with a slash (``2019/*``) of paths relative to `folder`.
        on_error: a folder that cannot be listed is an ImageError ("raise"), or is noted in
            `left_out` ("skip").
        left_out: told what is left out. Without, pictures of a format that is not read here
            are a `LeftOutWarning`.

    Raises:
        ArgumentError: `folder` is not a folder.
        ImageError: it, or by "raise" a folder in it, cannot be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise ArgumentError(
            f"{folder} {problem}", "No pictures were looked for", "Give a folder of pictures"
        )
    found = _Search(folder, exclude, on_error, LeftOut() if left_out is None else left_out)
    pictures = sorted(found.pictures())
    if left_out is None and found.left_out.formats:
        lines = found.left_out.lines()
        warnings.warn(f"{folder}: {' '.join(lines)}", LeftOutWarning, stacklevel=2)
    return pictures


class _Search:
    def __init__(
        self, top: Path, exclude: Sequence[str], on_error: Literal["raise", "skip"], notes: LeftOut
    ) -> None:
        self.top, self.exclude, self.on_error, self.left_out = top, exclude, on_error, notes
        self.used: set[str] = set()

    def pictures(self) -> Iterator[Path]:
        for parent, folders, files in os.walk(self.top, onerror=self.refuse):
            folders[:] = [name for name in folders if self.enters(parent, name)]
            for name in files:
                if self.is_picture(parent, name):
                    yield Path(parent, name)
        self.left_out.unused += [each for each in self.exclude if each not in self.used]

    def refuse(self, error: OSError) -> None:
        where = str(error.filename)
        if self.on_error == "skip" and Path(where) != self.top:
            self.left_out.unlisted.append((where, f"it cannot be listed ({error.strerror})"))
            return
        raise ImageError(
            f"{where} cannot be listed ({error.strerror})",
            "No list of pictures was made, as it would lack some",
            "Make it readable, move it away, or leave it out: --exclude, or --on-error skip",
        ) from error

    def is_excluded(self, parent: str, name: str) -> bool:
        if not self.exclude:
            return False
        whole = Path(parent, name).relative_to(self.top).as_posix()
        matching = [
            each
            for each in self.exclude
            if fnmatchcase(whole if "/" in each.rstrip("/") else name, each.rstrip("/"))
        ]
        self.used.update(matching)
        self.left_out.excluded += bool(matching)
        return bool(matching)

    def enters(self, parent: str, name: str) -> bool:
        if self.is_excluded(parent, name):
            return False
        if name in HOUSEKEEPING or name.startswith("."):
            self.left_out.folders[name] += 1
            return False
        if os.path.islink(os.path.join(parent, name)):
            self.left_out.links += 1
            return False
        return True

    def is_picture(self, parent: str, name: str) -> bool:
        if self.is_excluded(parent, name):
            return False
        if name.startswith("."):
            self.left_out.hidden += 1
            return False
        suffix = os.path.splitext(name)[1].lower()
        if is_readable_suffix(suffix):
            return True
        kind = None
        if suffix not in RAW_SUFFIXES:
            kind = _kind_of_file(os.path.join(parent, name))
            if kind is not None and kind.opener is not None:
                return True
        self.left_out.endings[suffix if _ENDING.fullmatch(suffix) else ""] += 1
        if kind is not None:
            self.left_out.formats[kind.name, kind.cure] += 1
        return False


def _kind_of_file(path: str) -> Kind | None:
    """What a file of any name is; None for what is no picture, no file, or cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for a writer
            return None
        with open(path, "rb") as file:
            prefix = file.read(PREFIX)
    except OSError:
        return None
    if prefix.startswith(b"BM") and not _is_bmp(prefix):
        return None  # two letters, with which texts begin as well
    return kind_of(prefix)


def _is_bmp(prefix: bytes) -> bool:
    """Whether the rest of a file that begins with BM is a bitmap's header."""
    return prefix[6:10] == bytes(4) and prefix[14:18] in {
        size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124)
    }
