"""What a power cut may leave of a folder: the calls of a log, played back to a disk that keeps
for sure only what was flushed (`fsync` of a file for its bytes and length, of a folder for its
entries).

The rest may be there or not, in any order: of a write each sector, of a file its length, of a
folder each entry made, moved or removed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fault_shim import Call

#: What a folder's files are: bytes by path relative to its own; None for a folder.
Image = dict[str, bytes | None]


@dataclass
class _File:
    """A file, or a folder: what it is now, what of it is on the disk, and what lies between."""

    folder: bool = False
    now: bytearray = field(default_factory=bytearray)
    flushed: bytes = b""
    #: Since it was flushed: place and bytes of writes; the new length, with None, of truncations.
    unsure: list[tuple[int, bytes | None]] = field(default_factory=list)


@dataclass
class _Entry:
    """A change of a folder's entries: `path` becomes this file (None: goes), and with `source`
    it is moved from there."""

    path: str
    file: _File | None
    source: str | None = None


def _apply(names: dict[str, _File], entry: _Entry) -> None:
    if entry.file is None:
        names.pop(entry.path, None)
        return
    if entry.source is not None:
        names.pop(entry.source, None)
        if entry.file.folder:
            for path in [p for p in names if p.startswith(f"{entry.source}/")]:
                names[entry.path + path.removeprefix(entry.source)] = names.pop(path)
    names[entry.path] = entry.file


class Disk:
    """A folder as its writer sees it, and as the disk has it.

    Args:
        root: the folder that the log's paths are in.
        image: what it held, all flushed.
    """

    def __init__(self, root: Path, image: Image) -> None:
        self._root = str(root)
        self._names: dict[str, _File] = {}
        for path, content in image.items():
            data = content or b""
            self._names[path] = _File(content is None, bytearray(data), data)
        self._flushed = dict(self._names)
        self._unsure: list[_Entry] = []

    def _path(self, path: str) -> str:
        return os.path.relpath(path, self._root)

    def play(self, call: Call) -> None:
        """Do what a call of the log did.

        Raises:
            ValueError: a call that cannot be followed.
        """
        if call.result < 0 or not call.counted:
            if call.call == "map" and not call.path.endswith("-shm"):
                raise ValueError(f"{call.path} is written to through a shared map")
            return
        path = self._path(call.path)
        file = self._names.get(path)
        if call.call == "open":
            if file is None:
                self._enter(_Entry(path, _File()))
            elif call.length == 2:
                self._change(file, 0, None)
        elif call.call == "mkdir":
            self._enter(_Entry(path, _File(folder=True)))
        elif call.call in ("unlink", "rmdir"):
            self._enter(_Entry(path, None))
        elif call.call == "rename":
            self._enter(_Entry(self._path(call.target), file, path))
        elif call.call == "link":
            self._enter(_Entry(self._path(call.target), file))
        elif call.call == "fsync":
            self._flush(path)
        elif call.call in ("write", "truncate"):
            if file is not None:  # else it has no name any more
                self._change(
                    file, *((call.offset, call.data) if call.data else (call.length, None))
                )
        else:
            raise ValueError(f"{call.call} of {call.path}")

    def _enter(self, entry: _Entry) -> None:
        _apply(self._names, entry)
        self._unsure.append(entry)

    @staticmethod
    def _change(file: _File, place: int, data: bytes | None) -> None:
        file.unsure.append((place, data))
        _write(file.now, place, data)

    def _flush(self, path: str) -> None:
        file = self._names.get(path)
        if file is not None and not file.folder:
            file.flushed, file.unsure = bytes(file.now), []
            return
        kept = []
        for entry in self._unsure:
            if os.path.dirname(entry.path) == (path if path != "." else ""):
                _apply(self._flushed, entry)
            else:
                kept.append(entry)
        self._unsure = kept

    def image(self) -> Image:
        """What its writer sees."""
        return {
            path: None if file.folder else bytes(file.now) for path, file in self._names.items()
        }

    def cut(self, numbers: random.Random) -> Image:
        """What a power cut at this moment may leave; which, the random numbers decide."""
        names = dict(self._flushed)
        for entry in _some(self._unsure, numbers):
            _apply(names, entry)
        keep = numbers.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        sector = numbers.choice([512, 4096])
        image: Image = {}
        for path, file in sorted(names.items()):
            above = os.path.dirname(path)
            if above and above not in names:
                continue  # its folder is not there
            image[path] = None if file.folder else _torn(file, keep, sector, numbers)
        return image


def _some(entries: Sequence[_Entry], numbers: random.Random) -> list[_Entry]:
    """Those that reached the disk: none, all, the first few, or any."""
    way = numbers.randrange(4)
    if way == 0:
        return []
    if way == 1:
        return list(entries)
    if way == 2:
        return list(entries[: numbers.randint(0, len(entries))])
    return [entry for entry in entries if numbers.random() < 0.5]


def _write(content: bytearray, place: int, data: bytes | None) -> None:
    end = place + len(data or b"")
    if data is None:
        del content[place:]
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is not None:
        content[place:end] = data


def _torn(file: _File, keep: float, sector: int, numbers: random.Random) -> bytes:
    content = bytearray(file.flushed)
    for place, data in file.unsure:
        if data is None:
            if numbers.random() < keep:
                _write(content, place, None)
            continue
        at = place
        while at < place + len(data):
            end = min((at // sector + 1) * sector, place + len(data))
            if numbers.random() < keep:
                _write(content, at, data[at - place : end - place])
            at = end
    return bytes(content)


def read(place: Path) -> Image:
    """What is in a folder."""
    return {
        str(path.relative_to(place)): None if path.is_dir() else path.read_bytes()
        for path in sorted(place.rglob("*"))
    }


def write(place: Path, image: Image) -> None:
    """Make a folder of an image; it must not be there yet."""
    place.mkdir()
    for path, content in sorted(image.items()):
        if content is None:
            (place / path).mkdir()
        else:
            (place / path).write_bytes(content)
