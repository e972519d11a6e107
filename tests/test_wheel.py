"""The wheel holds what the checkout has: all code and data, as files."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: What the package's folder has and a wheel need not: nothing reads it.
LEFT_BEHIND = {"kernels/README.md", "kernels/cuda/README.md", "export/README.md"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built of a copy, so that nothing of an earlier build is in it."""
    copy = tmp_path_factory.mktemp("checkout") / "copy"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy)
    for name in ("vsearch_fast", "kernels", "export"):
        shutil.copytree(
            ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    build = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    subprocess.run(
        [*build, "--no-deps", "--wheel-dir", str(copy.parent), "."], cwd=copy, check=True
    )
    [made] = copy.parent.glob("*.whl")
    return zipfile.ZipFile(made)


def test_every_file_is_in_it(wheel: zipfile.ZipFile) -> None:
    there = {
        file.relative_to(ROOT).as_posix()
        for top in (
            ROOT / "vsearch_fast",
            ROOT / "vsearch_fast/kernels",
            ROOT / "vsearch_fast/export",
        )
        for file in top.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    held = {name for name in wheel.namelist() if name.startswith("vsearch_fast/")}
    missing = {
        name for name in there - held if name.removeprefix("vsearch_fast/") not in LEFT_BEHIND
    }
    assert not missing
    assert not held - there


def test_it_holds_no_links_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    assert not [e.filename for e in wheel.infolist() if stat.S_ISLNK(e.external_attr >> 16)]
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"vsearch_fast"}


def test_it_runs_without_the_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Every module but those that need an extra is there to be imported."""
    wheel.extractall(tmp_path / "site")
    code = (
        "import pkgutil, importlib, vsearch_fast, sys\n"
        "from pathlib import Path\n"
        "names = [m.name for m in pkgutil.walk_packages(vsearch_fast.__path__, 'vsearch_fast.')]\n"
        "names = [n for n in names if not n.endswith('__main__') and '.export' not in n]\n"
        "for name in names: importlib.import_module(name)\n"
        "assert Path(vsearch_fast.__file__).parent.parent == Path(sys.argv[1]), vsearch_fast\n"
        "print(len(names))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")], cwd=tmp_path, check=True,
        capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
    )  # fmt: skip
    assert int(run.stdout) > 200
