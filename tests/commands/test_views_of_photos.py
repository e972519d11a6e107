"""Real photos and the package's own network: a photo of the catalogue finds itself first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
COUNT = 60


@pytest.mark.parametrize("views", ["whole", "whole,box"])
def test_every_photo_finds_itself_first(
    vsearch: Run, photos: Path, tmp_path: Path, views: str
) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    for file in sorted((photos / "images").iterdir())[:COUNT]:
        shutil.copy(file, folder)
    index = tmp_path / "photos.index"
    assert vsearch("index", folder, "-o", index, "--views", views, "--quiet")[0] == 0
    code, out, _ = vsearch("search", index, folder, "-k", 3, "--metric", "all", "--json")
    assert code == 0
    answers = json.loads(out)
    assert len(answers) == 3 * COUNT
    for answer in answers:
        assert answer["hits"][0]["path"] == answer["query"]
        assert answer["hits"][0]["distance"] == 0
        assert len({hit["id"] for hit in answer["hits"]}) == 3
