"""Maps that take no descriptor, and go when their last array does."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vsearch_fast.disk import mapping
from vsearch_fast.disk.mapping import map_array


def mapped(path: Path, offset: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return map_array(descriptor, offset, shape, dtype)
    finally:
        os.close(descriptor)


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "|u1", "<f8", ">f4"])
@pytest.mark.parametrize("offset", [0, 64, 128])
def test_it_is_the_files_bytes(tmp_path: Path, dtype: str, offset: int) -> None:
    rows = np.arange(60).reshape(20, 3).astype(dtype)
    file = tmp_path / "rows"
    file.write_bytes(bytes(offset) + rows.tobytes() + b"more")
    array = mapped(file, offset, (20, 3), dtype)
    assert array.dtype == np.dtype(dtype)
    assert (array == rows).all()
    assert not array.flags.writeable and not array.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.posix
def test_it_lives_as_long_as_its_parts(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_bytes(bytes(range(100)))
    before = len(os.listdir("/proc/self/fd"))
    array = mapped(file, 0, (10, 10), np.uint8)
    assert len(os.listdir("/proc/self/fd")) == before
    part = array[3:5, 2]
    del array
    gc.collect()
    assert is_mapped(file)
    file.unlink()
    assert part.tolist() == [32, 42]
    del part
    gc.collect()
    assert not is_mapped(file)


def test_a_map_sees_what_is_written_later(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_bytes(bytes(10))
    array = mapped(file, 0, (10,), np.uint8)
    with file.open("r+b") as opened:
        opened.write(b"\x07")
    assert array[0] == 7


def test_nothing_to_map(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert mapped(tmp_path / "empty", 0, (0, 4), np.float32).shape == (0, 4)


def test_the_systems_refusal(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_bytes(bytes(10))
    with pytest.raises(OSError) as caught:
        map_array(-1, 0, (10,), np.uint8)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError) as caught:
        mapped(file, 0, (1 << 60,), np.uint8)
    assert caught.value.errno == errno.ENOMEM
    assert mapping._FAILED is not None
