"""What operating systems do their own way with files, behind one interface.

Linux has all of it. macOS shares no blocks by ioctl and reserves no room. Windows reads and writes
at a place only by going there first, flushes what is open for writing alone and no folders, and
neither removes nor replaces what somebody has open. All is decided by what Python has on a system,
not by the system's name.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

from ..system import c_library

#: Added to every `os.open`: a child that is started does not inherit, and bytes are not text.
_ALWAYS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0) | getattr(os, "O_BINARY", 0)

#: Whether a folder can be opened, and its files reached by it.
HOLDS_FOLDERS = hasattr(os, "O_DIRECTORY") and os.open in os.supports_dir_fd

#: Whether a lock keeps everybody else from reading the file (Windows), beside other locks.
LOCKS_HIDE = "msvcrt" in sys.builtin_module_names

#: Windows' errors of what another program, or this one, has open, locked or mapped.
_IN_USE = (32, 33, 1224)

#: ioctl that makes one file share another's blocks (linux/fs.h).
_FICLONE = 0x40049409

#: Of sync_file_range: begin to write what is in memory alone (linux/fs.h).
_BEGIN = 2

#: Windows' request that a file take room for what was written of it alone (winioctl.h).
_SET_SPARSE = 0x000900C4


def open_file(path: str | os.PathLike[str], flags: int, mode: int = 0o666) -> int:
    """A descriptor for bytes, which started processes do not inherit."""
    return os.open(path, flags | _ALWAYS, mode)


def open_in(folder: int | None, name: str, flags: int, mode: int = 0o666) -> int:
    """The same of a file in a folder that is held; without one, `name` is a path."""
    return os.open(name, flags | _ALWAYS, mode, dir_fd=folder)


def open_folder(path: Path) -> int:
    """A descriptor of a folder, where `HOLDS_FOLDERS`."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _ALWAYS)


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Bytes from a place on, fewer at the file's end.

    Where the system can only go there and read, two threads must not use one descriptor.
    """
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, length)


def write_at(descriptor: int, data: memoryview | bytes, offset: int) -> int:
    """Write at a place; returns how many bytes were written. As `read_at` of threads."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.write(descriptor, data)


def lengthen(descriptor: int, length: int) -> None:
    """Give a file its length; what is not written is a hole, where the file system has them."""
    if sys.platform == "win32":
        _make_sparse(descriptor)
    os.ftruncate(descriptor, length)


def reserve(descriptor: int, length: int) -> None:
    """Have room for so many bytes, so that none lacks later; nothing where that cannot be had."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, max(1, length))


def room_of(found: os.stat_result) -> int:
    """Bytes that a file takes on the disk; its length where the system does not tell."""
    return found.st_blocks * 512 if hasattr(found, "st_blocks") else found.st_size


def flush_file(path: Path) -> None:
    """Have what a file holds on the disk."""
    # Windows flushes what may be written to alone; elsewhere reading is enough, and is allowed.
    flags = os.O_RDONLY if HOLDS_FOLDERS else os.O_RDWR
    _flush(open_file(path, flags))


def flush_folder(path: Path) -> None:
    """Have a folder's entries on the disk, where they are not with the files themselves."""
    if HOLDS_FOLDERS:
        _flush(open_folder(path))


def _flush(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_folder(place: Path, target: Path) -> None:
    """Give a folder a name that nobody has, or an empty folder alone."""
    if not HOLDS_FOLDERS:  # POSIX's rename does it over an empty one; Windows' refuses
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()
    os.rename(place, target)


def share_blocks(source: int, target: int) -> bool:
    """Make a new file one with the same bytes, which takes no room until either is written to;
    False where the file system, or the system, cannot."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    os.fsync(target)
    return True


def begin_writing(descriptor: int, offset: int, length: int) -> None:
    """Have the system begin to write these bytes of a file, so that a flush to come is short.

    No more than a hint: what is flushed is on the disk, and what is not may be.
    """
    if _sync_file_range is not None and length:
        _sync_file_range(descriptor, offset, length, _BEGIN)


def forget_cached(descriptor: int) -> bool:
    """Have the system keep nothing of a file in memory; False where it cannot be told to."""
    if not hasattr(os, "posix_fadvise"):
        return False
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def about(error: OSError, path: Path) -> OSError:
    """The same error, which names a file."""
    return OSError(error.errno, error.strerror, str(path), getattr(error, "winerror", None))


def in_use(error: OSError) -> bool:
    """Whether a file could not be changed because some program has it open (Windows)."""
    return getattr(error, "winerror", None) in _IN_USE


def _found_sync_file_range():  # type: ignore[no-untyped-def]
    try:
        found = c_library().sync_file_range  # type: ignore[union-attr]
    except AttributeError:  # no Linux
        return None
    found.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return found


_sync_file_range = _found_sync_file_range()


def _make_sparse(descriptor: int) -> None:
    """Ask Windows for holes; a file system without them gives the file all its room."""
    if sys.platform == "win32":
        import msvcrt

        returned = ctypes.c_ulong()
        ctypes.windll.kernel32.DeviceIoControl(
            ctypes.c_void_p(msvcrt.get_osfhandle(descriptor)), _SET_SPARSE,
            None, 0, None, 0, ctypes.byref(returned), None,
        )  # fmt: skip
