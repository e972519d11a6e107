"""`vsearch warm`: kernels compiled ahead of the first search."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SEARCH = """
import logging, numpy as np
logging.basicConfig(level=logging.INFO, format="%(name)s")
from vsearch_fast import pack_bits, topk
codes = pack_bits(np.eye(64, 64, dtype=np.float32))
topk(codes, codes, 3, metric="hamming")
"""


def _python(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"VSEARCH_CACHE_DIR": str(cache)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )


def test_a_search_after_it_compiles_nothing(tmp_path: Path) -> None:
    arguments = ["-m", "vsearch_fast.cli", "warm", "--metric", "hamming", "--dim", "64"]
    done = _python(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "ready" in done.stderr and str(tmp_path) in done.stdout
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.kernel")}
    assert before
    searched = _python(tmp_path, "-c", _SEARCH)
    assert searched.returncode == 0 and "vsearch_fast.kernels" not in searched.stderr
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.kernel")} == before
    assert _python(tmp_path, *arguments).returncode == 0


def test_a_first_search_says_what_it_compiles(tmp_path: Path) -> None:
    searched = _python(tmp_path, "-c", _SEARCH)
    assert searched.returncode == 0 and "vsearch_fast.kernels" in searched.stderr


@pytest.mark.posix
@pytest.mark.parametrize("what", ["file", "missing"])
def test_nowhere_to_keep_them_is_an_error(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "cache"
    if what == "file":
        folder.write_text("")
    else:
        folder = Path("/proc/nothing")
    done = _python(folder, "-m", "vsearch_fast.cli", "warm", "--metric", "hamming", "--dim", "64")
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert "VSEARCH_CACHE_DIR" in done.stderr
    else:  # a private folder took its place
        assert "tmp" in done.stdout or "tmp" in done.stderr
