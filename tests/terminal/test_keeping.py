"""The rule of what is replaced, and the commands that keep it (train and export have their own)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vsearch_fast.errors import KeptError
from vsearch_fast.terminal.keeping import stands


def test_the_rule(tmp_path: Path) -> None:
    file = tmp_path / "made"
    assert not stands(file, None, "a", consequence="Nothing was made")
    file.write_text("")
    assert stands(file, "a", "a", consequence="Nothing was made")
    with pytest.raises(KeptError) as refused:
        stands(file, "a", "b", consequence="Nothing was made", differences=["of 3, not 4", "red"])
    assert str(refused.value) == (
        f"{file} is there already and was made otherwise (of 3, not 4; red). Nothing was made, so "
        "that it is not lost. Name another file with -o, or pass --overwrite to replace this one."
    )
    with pytest.raises(KeptError, match="does not say how"):
        stands(file, None, "b", consequence="Nothing was made")


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_record_of_a_benchmark_is_kept(option: str, vsearch, tmp_path: Path) -> None:
    file = tmp_path / "bars.png"
    file.write_text("measured on another day")
    code, _, err = vsearch("bench", "--quick", option, file)
    assert code == 1 and "holds what an earlier run measured" in err
    assert f"another file with {option}" in err and "--overwrite" in err
    assert file.read_text() == "measured on another day"


def test_results_of_another_evaluation_are_kept(vsearch, tmp_path: Path) -> None:
    from vsearch_fast.evaluate.output import asked_of, check_place
    from vsearch_fast.evaluate.study import Options

    (tmp_path / "data").mkdir()
    one = asked_of(tmp_path / "data", [], Options())
    # What changes no figure, and a path written otherwise, are the same evaluation.
    same = asked_of(tmp_path / "data" / ".." / "data", [], Options(threads=1, backend="cpu"))
    assert one == same
    for other in (
        asked_of(tmp_path, [], Options()),
        asked_of(tmp_path / "data", ["--column", "group=sender"], Options()),
        asked_of(tmp_path / "data", [], Options(queries=7)),
    ):
        assert other != one
    check_place(tmp_path / "results", one)
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({"asked": one}))
    check_place(folder, one)
    with pytest.raises(KeptError, match="on other data or of another protocol"):
        check_place(folder, "other")
    (folder / "results.json").write_text("notes of mine")
    with pytest.raises(KeptError, match="does not say how it was made"):
        check_place(folder, one)


def test_a_sheet_is_not_drawn_over_a_photo(vsearch, tmp_path: Path) -> None:
    from PIL import Image

    photo = tmp_path / "shirt.jpg"
    Image.new("RGB", (60, 40), "red").save(photo)
    before = photo.read_bytes()
    code, _, err = vsearch("locate", photo, "--sheet", photo)
    assert code == 1 and "is one of the photos" in err
    assert photo.read_bytes() == before
