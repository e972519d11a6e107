"""Damage done to an index on purpose."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def flip(file: Path, place: int, bit: int = 3) -> None:
    """Flip a bit of a file's byte; a place below 0 counts from the end."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


def flip_row(folder: Path, name: str, row: int) -> None:
    """Flip a bit of a row of a segment file."""
    file = folder / name
    rows = np.load(file, mmap_mode="r")
    header = file.stat().st_size - rows.nbytes
    flip(file, header + row * rows[0].nbytes + rows[0].nbytes // 2)


@contextlib.contextmanager
def tables(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database of an index that nobody has open, to change it behind its back."""
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite", isolation_level=None)) as sql:
        yield sql
