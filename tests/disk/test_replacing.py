"""A file that is written beside its place is whole or as it was, and nothing else is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vsearch_fast.disk.replacing import link_or_copy, replace_text, replacing, unfinished


def test_the_file_is_there_at_the_end_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with replacing(target) as path:
        path.write_text("new")
        assert target.read_text() == "old"
        assert path.parent == tmp_path and path.name.startswith(".") and path.suffix == ".csv"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(type(error)), replacing(target) as path:
        path.write_text("half of the ne")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_block_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "table.csv"):
        pass
    assert os.listdir(tmp_path) == []


def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    with replacing(target) as first, replacing(target) as second:
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the outer one ends last
    assert os.listdir(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("stem", ["n" * 251, "ü" * 125])
def test_a_name_as_long_as_a_disk_allows(tmp_path: Path, stem: str) -> None:
    target = tmp_path / f"{stem}.csv"
    replace_text(target, "whole")
    assert target.read_text() == "whole"


def test_flushed_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    flush, rename = os.fsync, os.replace

    def noted_flush(file: int) -> None:
        done.append("flush")
        flush(file)

    def noted_rename(*names: Path) -> None:
        done.append("rename")
        rename(*names)

    monkeypatch.setattr(os, "fsync", noted_flush)
    monkeypatch.setattr(os, "replace", noted_rename)
    replace_text(tmp_path / "a", "text", flush=True)
    assert done == ["flush", "rename"]
    replace_text(tmp_path / "b", "text")
    assert done == ["flush", "rename", "rename"]


def test_text_that_is_no_text(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(UnicodeEncodeError):
        replace_text(target, "\udcff")
    assert os.listdir(tmp_path) == []
    replace_text(target, "\udcff", errors="backslashreplace")
    assert target.read_text() == r"\udcff"


def test_an_unfinished_file_may_be_moved_away(tmp_path: Path) -> None:
    with unfinished(tmp_path / "model.onnx") as path:
        path.write_text("whole")
        os.replace(path, tmp_path / "model.onnx")
    with unfinished(tmp_path / "model.onnx") as path:
        path.write_text("half")
    assert os.listdir(tmp_path) == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "whole"


@pytest.mark.posix
def test_a_killed_process_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from vsearch_fast.disk.replacing import replacing\n"
        "with replacing(Path(sys.argv[1])) as path:\n"
        "    path.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, target]).returncode == -9
    assert target.read_text() == "old"


def test_links_and_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "a.jpg", tmp_path / "b.jpg"
    source.write_text("photo")
    target.write_text("old")
    link_or_copy(source, target)
    assert target.samefile(source)
    link_or_copy(source, target)  # another name of the same file
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", "b.jpg"]

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(source, target)
    assert not target.samefile(source) and target.read_text() == "photo"
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", "b.jpg"]
