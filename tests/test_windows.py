"""A catalogue's day where Python lacks what it lacks on Windows, and files behave as there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_model import write_tiny_model

SUPPORT = Path(__file__).resolve().parent / "support"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="what is open is read from Linux's /proc"
)


def in_windows(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    folders = [str(SUPPORT), str(SUPPORT.parents[1]), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(folders)
    return subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", *arguments],
        capture_output=True, encoding="cp1252",
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "cp1252"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    work = tmp_path_factory.mktemp("windows")
    model = write_tiny_model(work / "tiny.onnx")
    done = in_windows([str(SUPPORT / "windows_day.py"), str(work), str(model)])
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads((work / "found.json").read_text(encoding="utf-8"))
    return {**told, "out": done.stdout}


def test_every_module_is_imported(found: dict[str, Any]) -> None:
    assert found["modules"] > 200


def test_the_day(found: dict[str, Any]) -> None:
    ids = [id_ for id_, _ in found["index"]]
    chairs = [f"chairs/{number} \u88d9\u5b50.png" for number in range(5)]
    assert ids == [*chairs, "lamps/new.png", "moved.png"]
    assert found["index"] == found["merged"] == found["backup"]
    assert found["first"] == found["asked"]


def test_a_console_that_cannot_print_a_name_shows_it_escaped(found: dict[str, Any]) -> None:
    assert r"chairs/0 \u88d9\u5b50.png" in found["out"]


def test_one_writer_is_told_of_another_though_its_lock_hides_its_file(
    found: dict[str, Any],
) -> None:
    assert "is being written to by this process" in found["second"]
    assert {"write.lock", "write.owner", "index.sqlite"} <= set(found["files"])


def test_a_reader_keeps_a_compaction_from_removing_what_it_has_mapped(
    found: dict[str, Any],
) -> None:
    """So that both generations lie there until the next writer comes when nobody reads."""
    assert found["meanwhile"] == ["vectors-00000.npy", "vectors-1-00000.npy"]
    vectors = [name for name in found["files"] if name.startswith("vectors-")]
    assert vectors == ["vectors-1-00000.npy"]


REFUSALS = """
import os, sys, numpy, windows
from pathlib import Path
folder = Path(sys.argv[1])
windows.become_windows()
(folder / "a").write_bytes(b"1234")
(folder / "b").write_bytes(b"1234")
def refused(call, error):
    try:
        call()
    except error:
        return
    raise AssertionError(call)
with open(folder / "a", "rb"):
    refused(lambda: os.replace(folder / "b", folder / "a"), PermissionError)
    refused(lambda: (folder / "a").unlink(), PermissionError)
    refused(lambda: folder.rename(folder.with_name("other")), PermissionError)
mapped = numpy.memmap(folder / "a", mode="r")
refused(lambda: os.remove(folder / "a"), PermissionError)
del mapped
refused(lambda: os.rename(folder / "b", folder / "a"), FileExistsError)
refused(lambda: os.open(folder, os.O_RDONLY), PermissionError)
refused(lambda: os.pread, AttributeError)
refused(lambda: __import__("fcntl"), ImportError)
descriptor = os.open(folder / "a", os.O_RDONLY)
refused(lambda: os.fsync(descriptor), OSError)
os.close(descriptor)
os.replace(folder / "b", folder / "a")
os.remove(folder / "a")
"""


def test_what_the_simulation_refuses(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    done = in_windows(["-c", REFUSALS, str(folder)])
    assert done.returncode == 0, done.stderr
