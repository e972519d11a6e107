"""What only some operating systems have is named in few files, which know what to do without."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import pytest
from windows import MMAP_NAMES, MODULES, OS_NAMES, SIGNALS

ROOT = Path(__file__).resolve().parents[1]

#: Files whose job it is.
KEEPERS = {
    "vsearch_fast/system.py",
    "vsearch_fast/disk/files.py",
    "vsearch_fast/disk/folder.py",
    "vsearch_fast/disk/mapping.py",
}
NAMES = {"os": OS_NAMES, "signal": SIGNALS, "mmap": MMAP_NAMES}
FOLDERS = {"dir_fd", "src_dir_fd", "dst_dir_fd"}
#: Of a file's status, what Windows' has not.
STATUS = {"st_blocks", "st_blksize"}


def sources() -> list[Path]:
    tops = ("vsearch_fast", "kernels", "export", "benchmarks")
    return sorted(file for top in tops for file in (ROOT / top).rglob("*.py"))


def found(code: str) -> Iterator[str]:
    """What a module names that Windows has not."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if node.module in MODULES:
                yield str(node.module)
            known = NAMES.get(str(node.module), frozenset())
            yield from (f"{node.module}.{each.name}" for each in node.names if each.name in known)
        elif isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.attr in NAMES.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
            elif node.attr in STATUS:
                yield node.attr
        elif isinstance(node, ast.Call):
            yield from (str(each.arg) for each in node.keywords if each.arg in FOLDERS)
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            first = node.args[0] if node.args else None
            if called == "CDLL" and isinstance(first, ast.Constant) and first.value is None:
                yield "CDLL(None)"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import fcntl", "fcntl"),
        ("def f():\n    from resource import getrlimit", "resource"),
        ("from os import fork", "os.fork"),
        ("import os\nos.pread(1, 2, 3)", "os.pread"),
        ("import os\nread = os.pread", "os.pread"),
        ("import signal\nsignal.signal(signal.SIGHUP, f)", "signal.SIGHUP"),
        ("import os\nos.unlink(name, dir_fd=3)", "dir_fd"),
        ("import ctypes\nctypes.CDLL(None, use_errno=True)", "CDLL(None)"),
        ("x = found.st_blocks * 512", "st_blocks"),
    ],
)
def test_what_it_finds(code: str, name: str) -> None:
    assert list(found(code)) == [name]


@pytest.mark.parametrize("code", ["import os, signal\nos.open(a, os.O_RDWR); signal.SIGINT"])
def test_what_it_lets_pass(code: str) -> None:
    assert not list(found(code))


def test_no_other_file_names_it() -> None:
    named = {
        file.relative_to(ROOT).as_posix(): sorted(set(found(file.read_text(encoding="utf-8"))))
        for file in sources()
    }
    assert set(named) >= KEEPERS
    assert not {file: names for file, names in named.items() if names and file not in KEEPERS}
    assert all(named[file] for file in KEEPERS)


def test_names_of_files_are_such_as_windows_takes() -> None:
    """Of the repository's own: a checkout there has all of them."""
    ports = {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
    reserved = {"con", "prn", "aux", "nul"} | ports
    for top in ("vsearch_fast", "kernels", "export", "benchmarks", "tests", "docs"):
        names = [file.relative_to(ROOT).as_posix() for file in (ROOT / top).rglob("*")]
        names = [name for name in names if "__pycache__" not in name]
        assert len({name.lower() for name in names}) == len(names)
        for name in names:
            parts = PureWindowsPath(name).parts
            assert "/".join(parts) == name, name
            assert not set(name) & set('<>:"|?*\\'), name
            for part in parts:
                assert part.split(".")[0].lower() not in reserved and part[-1] not in ". ", name
