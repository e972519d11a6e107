"""A folder that is held: whatever becomes of its name, its files are the same folder's."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ReplacedError
from . import files


class Folder:
    """An opened folder, whose files are reached through its descriptor and not by its name.

    A symbolic link that is turned elsewhere, or another folder that is moved to this one's place,
    so cannot mix the files of two. Where a system opens no folders (Windows) its files are reached
    by name, and before each use it is looked whether that is the same folder's yet.

    Args:
        path: as it was named; errors say it.

    Attributes:
        path: absolute, links followed.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        self._at_rest: tuple[int, int] | None = None
        self.path = Path(os.path.realpath(path))
        if files.HOLDS_FOLDERS:
            self._descriptor = files.open_folder(self.path)
        else:
            self._at_rest = _numbers(os.stat(self.path))

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """A descriptor of the file of this name; OSError says its path."""
        try:
            return files.open_in(self._held, self._named(name), flags, mode)
        except OSError as error:
            raise files.about(error, self.path / name) from error

    def stat(self, name: str) -> os.stat_result:
        return os.stat(self._named(name), dir_fd=self._held)

    def names(self) -> list[str]:
        held = self._held
        return sorted(os.listdir(self.path if held is None else held))

    def unlink(self, name: str) -> None:
        os.unlink(self._named(name), dir_fd=self._held)

    def link(self, name: str, target: str) -> None:
        """Give the file of this name another one in the folder."""
        held = self._held
        os.link(self._named(name), self._named(target), src_dir_fd=held, dst_dir_fd=held)

    def rename(self, name: str, target: str) -> None:
        held = self._held
        os.replace(self._named(name), self._named(target), src_dir_fd=held, dst_dir_fd=held)

    def sync(self) -> None:
        """Flush the folder's own entries, so that a new file survives a power cut."""
        held = self._held
        if held is not None:
            os.fsync(held)

    def identity(self, name: str) -> tuple[int, int]:
        """Device and inode of the file of this name."""
        found = self.stat(name)
        return found.st_dev, found.st_ino

    def check(self, name: str, identity: tuple[int, int], consequence: str) -> None:
        """ReplacedError unless the file is this one, by its path too (as SQLite names it)."""
        try:
            found = os.stat(self.path / name)
        except OSError:
            raise ReplacedError(
                f"{self.path / name} was removed since it was opened",
                consequence,
                "Open the index again, once it is back",
            ) from None
        if (found.st_dev, found.st_ino) != identity:
            raise ReplacedError(
                f"{self.path / name} was replaced since it was opened",
                consequence,
                "Open the index again",
            )

    def _named(self, name: str) -> str:
        """What reaches a file: its name by the descriptor, or its path without one."""
        return name if files.HOLDS_FOLDERS else str(self.path / name)

    @property
    def _held(self) -> int | None:
        if not files.HOLDS_FOLDERS:
            if _numbers(os.stat(self.path)) != self._at_rest:
                raise self._replaced()
            return None
        if self._at_rest is not None:
            descriptor = files.open_folder(self.path)
            if _numbers(os.fstat(descriptor)) != self._at_rest:
                os.close(descriptor)
                raise self._replaced()
            self._descriptor, self._at_rest = descriptor, None
        return self._descriptor

    def _replaced(self) -> ReplacedError:
        return ReplacedError(
            f"{self.path} was replaced since it was opened",
            "Nothing was read",
            "Open the index again",
        )

    def rest(self) -> None:
        """Give the descriptor back until the next use, which finds the folder by its name, and
        refuses another one. One thread at a time may use or rest what rests now and then."""
        if self._descriptor >= 0:
            self._at_rest = _numbers(os.fstat(self._descriptor))
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def close(self) -> None:
        """Does nothing when done already."""
        self._at_rest = None
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def _numbers(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
