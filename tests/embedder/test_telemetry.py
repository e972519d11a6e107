"""Nothing is collected for others: ONNX Runtime's telemetry is off, and no door leads past that."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import write_tiny_model

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

ROOT = Path(__file__).resolve().parents[2]

EMBED = """
import sys, numpy, vsearch_fast
embedder = vsearch_fast.Embedder(sys.argv[1], "cpu")
assert embedder.embed(numpy.zeros((1, 32, 32, 3), numpy.uint8)).shape == (1, 64)
"""


def run_at_home(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Python in a process whose home, and whose caches below it, are this folder."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "ORT_")) and name != "CI"
    }
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, text=True, timeout=300, cwd=home.parent,
        env={**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def files_of(folder: Path) -> list[str]:
    return [str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()]


def test_an_embedder_leaves_no_file_in_an_empty_home(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    home = tmp_path / "home"
    home.mkdir()
    done = run_at_home(home, "-c", EMBED, str(model))
    assert (done.returncode, done.stderr) == (0, "")
    assert files_of(home) == []


def test_a_home_that_cannot_be_written_is_no_news(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    home = tmp_path / "home"
    home.write_text("no folder, so that nothing can be made in it, not by root either")
    done = run_at_home(home, "-c", EMBED, str(model))
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_keep_to_the_folders_that_are_named(tmp_path: Path) -> None:
    """Of a whole line of commands the home gets kernels in the package's own cache, no more."""
    model = write_tiny_model(tmp_path / "tiny.onnx")
    home = tmp_path / "home"
    home.mkdir()
    cache = tmp_path / "cache"
    for words in (
        ["garments", "-o", "g", "--items", "2", "--views", "1", "--size", "64x80"],
        ["index", "g", "-o", "g.index", "--model", str(model), "--quiet"],
        ["info", "g.index"],
    ):
        done = run_at_home(home, "-m", "vsearch_fast.cli", *words, VSEARCH_CACHE_DIR=str(cache))
        assert done.returncode == 0, done.stderr
    assert files_of(home) == []


def test_what_the_user_has_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    from vsearch_fast.embedder.runtime import SWITCH, without_telemetry

    monkeypatch.setenv(SWITCH, "0")
    without_telemetry()
    assert os.environ[SWITCH] == "0"
    monkeypatch.delenv(SWITCH)
    without_telemetry()
    assert os.environ[SWITCH] == "1"


def test_there_is_one_door() -> None:
    """No file but the door imports ONNX Runtime or a part of it, benchmarks included."""
    found = set()
    for top in ("vsearch_fast", "kernels", "export", "benchmarks"):
        for file in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                elif (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in ("package", "import_module")
                ):
                    names = [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
                if any(name.split(".")[0] == "onnxruntime" for name in names):
                    found.add(str(file.relative_to(ROOT)))
    assert found == {"vsearch_fast/embedder/runtime.py"}
