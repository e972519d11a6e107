"""installing.py: the advice of every error works for how the package was installed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from vsearch_fast import installing

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Lets the package be installed from somewhere, in a site-packages of its own."""

    class Found:
        def __init__(self, text: str | None) -> None:
            self.text = text

        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return self.text

    def install(origin: dict | str | None) -> None:
        text = origin if isinstance(origin, str | None) else json.dumps(origin)
        monkeypatch.setattr(installing, "_distribution", lambda: Found(text))
        monkeypatch.setattr(
            installing, "__file__", str(tmp_path / "site" / "vsearch_fast" / "i.py")
        )

    return install


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "my checkout"
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    return folder


@pytest.mark.parametrize("editable", [True, False])
def test_of_a_checkout(installed, checkout: Path, editable: bool) -> None:
    installed({"url": checkout.as_uri(), "dir_info": {"editable": True} if editable else {}})
    words = shlex.split(installing.how_to_install("cpu,serve"))
    assert words == ["pip", "install", *["-e"] * editable, f"{checkout}[cpu,serve]"]


def test_of_a_wheel(installed, tmp_path: Path) -> None:
    wheel = tmp_path / "vsearch_fast-0.1.0-py3-none-any.whl"
    wheel.touch()
    installed({"url": wheel.as_uri(), "archive_info": {}})
    words = shlex.split(installing.how_to_install("gpu"))
    assert words == ["pip", "install", f"vsearch_fast[gpu] @ {wheel.as_uri()}"]


def test_of_a_repository_and_of_an_address(installed) -> None:
    vcs = {"vcs": "git", "commit_id": "abc"}
    installed({"url": "https://example.org/v.git", "vcs_info": vcs})
    assert "'vsearch_fast[cpu] @ git+https://example.org/v.git@abc'" in installing.how_to_install(
        "cpu"
    )
    installed({"url": "https://example.org/v.whl", "archive_info": {}})
    assert "'vsearch_fast[cpu] @ https://example.org/v.whl'" in installing.how_to_install("cpu")


def test_of_a_registry_that_has_it(installed) -> None:
    installed(None)
    assert installing.how_to_install("cpu") == "pip install 'vsearch_fast[cpu]'"


@pytest.mark.parametrize("kind", ["dir_info", "archive_info"])
def test_of_a_source_that_is_gone(installed, tmp_path: Path, kind: str) -> None:
    installed({"url": (tmp_path / "gone").as_uri(), kind: {}})
    assert installing.how_to_install("cpu").startswith("pip install '.[cpu]' in the folder of")


@pytest.mark.parametrize("origin", ["", "[]", "{", '{"url": 7}', '{"dir_info": 7}'])
def test_of_a_note_that_is_broken(installed, origin: str) -> None:
    installed(origin)
    assert "cpu" in installing.how_to_install("cpu")


def test_of_a_checkout_on_the_path() -> None:
    """As here: whichever is installed, the one that runs is the one to add to."""
    assert shlex.split(installing.how_to_install("cpu"))[-1] == f"{ROOT}[cpu]"


def test_no_message_names_what_nobody_registered() -> None:
    named = re.compile(r"pip install ['\"]?vsearch_fast")
    files = [*(ROOT / "vsearch_fast").rglob("*.py"), *ROOT.glob("kernels/**/*.py")]
    files += [*ROOT.glob("export/**/*.py"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md"]
    assert len(files) > 100
    found = [
        str(file.relative_to(ROOT))
        for file in files
        if file.name != "installing.py" and named.search(file.read_text(encoding="utf-8"))
    ]
    assert not found
