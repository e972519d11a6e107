"""A folder that is held by its descriptor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vsearch_fast.disk.folder import Folder
from vsearch_fast.errors import ReplacedError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("old")
    (tmp_path / "link").symlink_to("real")
    return tmp_path / "link"


def read(held: Folder, name: str) -> str:
    with open(held.open(name, os.O_RDONLY)) as file:
        return file.read()


@pytest.mark.posix
def test_files_stay_the_same_folders(folder: Path) -> None:
    held = Folder(folder)
    assert held.path == folder.resolve()
    other = folder.with_name("other")
    other.mkdir()
    (other / "a").write_text("new")
    folder.unlink()
    folder.symlink_to("other")
    held.path.rename(folder.with_name("away"))
    other.rename(held.path)
    assert read(held, "a") == "old"
    assert held.names() == ["a"]
    descriptor = held.open("b", os.O_WRONLY | os.O_CREAT)
    os.close(descriptor)
    held.link("b", "c")
    held.rename("c", "d")
    held.unlink("b")
    held.sync()
    assert sorted(os.listdir(folder.with_name("away"))) == ["a", "d"]
    assert os.listdir(held.path) == ["a"]
    held.close()


def test_what_is_wrong_is_said_by_its_path(folder: Path) -> None:
    held = Folder(folder)
    with pytest.raises(FileNotFoundError) as caught:
        held.open("none", os.O_RDONLY)
    assert caught.value.filename == str(held.path / "none")
    with pytest.raises(FileNotFoundError):
        held.stat("none")
    held.close()
    held.close()
    with pytest.raises(NotADirectoryError):
        Folder(folder / "a")
    with pytest.raises(FileNotFoundError):
        Folder(folder / "none")


def test_a_file_that_is_another_by_now(folder: Path) -> None:
    held = Folder(folder)
    identity = held.identity("a")
    held.check("a", identity, "Nothing was done")
    (held.path / "new").write_text("new")
    os.replace(held.path / "new", held.path / "a")
    with pytest.raises(ReplacedError, match=r"a was replaced since it was opened\. Nothing was do"):
        held.check("a", identity, "Nothing was done")
    (held.path / "a").unlink()
    with pytest.raises(ReplacedError, match="a was removed since it was opened"):
        held.check("a", identity, "Nothing was done")


@pytest.mark.posix
def test_descriptors_are_given_back(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        Folder(folder)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.posix
def test_one_that_rests_is_opened_again_by_its_name(folder: Path) -> None:
    held = Folder(folder)
    names, before = held.names(), len(os.listdir("/proc/self/fd"))
    held.rest()
    held.rest()
    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert held.names() == names
    assert len(os.listdir("/proc/self/fd")) == before
    held.rest()
    held.path.rename(held.path.with_name("elsewhere"))
    held.path.mkdir()
    with pytest.raises(ReplacedError, match="was replaced since it was opened"):
        held.names()
    held.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        held.stat("a")
