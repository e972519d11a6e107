"""What `vsearch index --ray` prints, and what it refuses, without a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedding_cluster import Here, draw
from tiny_model import write_tiny_model


@pytest.fixture
def here() -> Iterator[Here]:
    with pytest.MonkeyPatch.context() as patch:
        yield Here(patch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.onnx")


RAY = ("--ray", "auto", "--shards", 2)


def test_it_says_what_one_machine_says(
    here: Here, model: Path, tmp_path: Path, vsearch: Any
) -> None:
    folder = draw(tmp_path / "pictures", 20)
    (folder / "chair" / "00003.png").write_bytes(b"broken")
    (folder / "notes.txt").write_text("no picture")
    one, many = tmp_path / "one", tmp_path / "many"
    common = ("index", folder, "--model", model, "-o")
    code, out, err = vsearch(*common, one, "--json", "--quiet")
    code_of_many, out_of_many, err_of_many = vsearch(*common, many, "--json", "--quiet", *RAY)
    assert (code, code_of_many) == (0, 0)
    assert json.loads(out_of_many) == json.loads(out) | {"index": str(many)}
    # But for what runs the network here, and the name of the index.
    lines = [line.replace(str(one), str(many)) for line in err.splitlines()]
    assert [line for line in lines if not line.startswith("Network on")] == err_of_many.splitlines()
    for path in (one, many):
        options = RAY if path == many else ()
        code, out, err = vsearch(*common, path, *options)
        assert code == 0
        assert out.startswith("0 added, 0 replaced")
        assert f"1 skipped: 19 pictures in {path}" in out


def test_no_picture_can_be_read(here: Here, model: Path, tmp_path: Path, vsearch: Any) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"broken")
    many = tmp_path / "many"
    code, _, err = vsearch("index", folder, "-o", many, "--model", model, "--ray", "auto")
    assert code == 1
    assert "Error: no picture could be read" in err
    code, _, err = vsearch(
        "index", folder, "-o", tmp_path / "two", "--model", model, "--ray", "auto",
        "--on-error", "raise",
    )  # fmt: skip
    assert code == 1
    assert "a.png is not an image" in err


def test_interrupted(here: Here, model: Path, tmp_path: Path, vsearch: Any) -> None:
    folder, many = draw(tmp_path / "pictures", 80), tmp_path / "many"
    here.stop_after = 1
    code, _, err = vsearch("index", folder, "-o", many, "--model", model, *RAY)
    assert code == 130
    assert f"Stopped after 40 pictures of this run, which {many} holds" in err
    here.stop_after = None
    code, _, _ = vsearch("index", folder, "-o", many, "--model", model, *RAY)
    assert code == 0
    assert len(here.embedded) == 80


def test_what_does_not_go_together(here: Here, model: Path, tmp_path: Path, vsearch: Any) -> None:
    folder, many = draw(tmp_path / "pictures", 4), tmp_path / "many"
    code, _, err = vsearch("index", folder, "-o", many, "--model", model, "--shards", 2)
    assert code == 2
    assert "name it with --ray" in err
    code, _, err = vsearch("index", "s3://a/b", "-o", many, "--model", model)
    assert code == 1
    assert "s3://a/b is an address" in err
    assert vsearch("index", folder, "-o", many, "--model", model, *RAY)[0] == 0
    code, _, err = vsearch("index", folder, "-o", many, "--model", model)
    assert code == 1
    assert "which a cluster brings up to date" in err
