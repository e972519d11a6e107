"""The writing calls of a process, seen and disturbed: `fault_shim.c`, compiled, and its log.

A process that was started with the library in LD_PRELOAD (`FaultStage`) is *armed* with a text
such as "root=/folder;log=/file;at=7;do=half": of its writing calls beneath the folder the seventh
ends the process with half of its bytes written. `fault_shim.c` tells what else there is.
"""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("fault_shim.c")

#: As `struct record` in fault_shim.c.
_RECORD = struct.Struct("=16s5q2IQ")


class NoCompilerError(Exception):
    """There is no C compiler, or it cannot make a library to preload."""


def build(folder: Path) -> Path:
    """The library, compiled into this folder."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise NoCompilerError("no C compiler (gcc or cc)")
    library = folder / "fault_shim.so"
    flags = ["-shared", "-fPIC", "-O1", "-U_FORTIFY_SOURCE", "-ldl", "-lpthread"]
    done = subprocess.run(
        [compiler, str(SOURCE), "-o", str(library), *flags], capture_output=True, text=True
    )
    if done.returncode:
        raise NoCompilerError(f"{compiler} cannot compile the shim: {done.stderr[:500]}")
    return library


def armed(root: Path, log: Path | None = None, at: int = 0, do: str = "") -> str:
    """The text that arms the shim."""
    parts = [f"root={root.resolve()}"]
    if log is not None:
        parts.append(f"log={log}")
    if at:
        parts += [f"at={at}", f"do={do}"]
    return ";".join(parts)


def arm(words: str) -> None:
    """Arm the shim beneath this very process; without words, disarm it."""
    library = ctypes.CDLL(None)
    if words:
        library.fault_arm(words.encode())
    else:
        library.fault_disarm()


def mark(text: str) -> None:
    """A line of one's own in the log, where the shim is beneath this process."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).fault_mark(text.encode())


@dataclass(frozen=True, slots=True)
class Call:
    """A call in the log, or a `mark` of the process's own.

    Attributes:
        call: open, write, fsync, truncate, unlink, rename, exchange, link, mkdir, rmdir, map, mark.
        result: what it returned.
        error: errno, where that is below 0.
        inode: of the open file, where the call has one.
        offset: of a write.
        length: bytes asked for; of a truncate the size; of an open 1 for a new file, 2 for one
            cut to nothing, 3 for one as it was.
        path, target: whole, or a mark's text.
        data: what was written.
    """

    call: str
    result: int
    error: int
    inode: int
    offset: int
    length: int
    path: str
    target: str
    data: bytes

    @property
    def counted(self) -> bool:
        """Whether `at` counts it."""
        return self.call not in ("mark", "map")


def read_log(log: Path) -> list[Call]:
    """The calls of a log, in order; one that a kill cut short is left out."""
    content = memoryview(log.read_bytes())
    calls = []
    place = 0
    while place + _RECORD.size <= len(content):
        name, result, error, inode, offset, length, *sizes = _RECORD.unpack_from(content, place)
        parts = []
        place += _RECORD.size
        for size in sizes:
            parts.append(bytes(content[place : place + size]))
            place += size
        if place > len(content):
            break
        call, path, target = (text.rstrip(b"\0").decode() for text in (name, *parts[:2]))
        calls.append(Call(call, result, error, inode, offset, length, path, target, parts[2]))
    return calls
