"""`vsearch eval --train`: one command from a data folder to the table, in miniature."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vsearch_fast.cli import main
from vsearch_fast.datasets import detect, garments, splits
from vsearch_fast.errors import ArgumentError, DatasetError, ExportError
from vsearch_fast.evaluate import recipes
from vsearch_fast.evaluate.recipes import _Steps, check_groups, training_words
from vsearch_fast.export.training.catalogue import gather
from vsearch_fast.export.training.recipe import Recipe
from vsearch_fast.models.shipped import SHIPPED


def test_the_words_name_the_same_data_and_groups(tmp_path: Path) -> None:
    columns = [("path", "image"), ("category", "label")]
    words = training_words(tmp_path, "auto", Path("a.csv"), columns, "sender", ("Other",))
    assert words == [
        "--data", tmp_path, "--csv", Path("a.csv"), "--column", "path=image", "--column",
        "category=label", "--column", "group=sender", "--leave-out", "Other",
    ]  # fmt: skip
    assert training_words(tmp_path, "auto", None, [], "sender", ()) == ["--data", tmp_path]
    words = training_words(tmp_path, "auto", None, [], None, (), ("a", "*.gif"), "skip")
    assert words[2:] == ["--exclude", "a", "--exclude", "*.gif", "--on-error", "skip"]
    check_groups(tmp_path, Path("a.csv"), columns, "sender")
    with pytest.raises(ArgumentError, match="differ"):
        check_groups(tmp_path, Path("a.csv"), [("group", "item")], "sender")
    with pytest.raises(ArgumentError, match="own groups"):
        check_groups(tmp_path, None, [], "sender")


def test_quiet_steps_say_nothing_but_why_they_fail(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = _Steps(tmp_path, lambda line: None, quiet=True)
    steps.run("garments", "-o", tmp_path / "g", "--items", 1, "--size", "64x80")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ExportError, match="vsearch garments"):
        steps.run("garments", "-o", tmp_path / "g", "--size", "small")
    assert "'small' is not WIDTHxHEIGHT" in capfd.readouterr().err


@pytest.fixture(scope="module")
def deepfashion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes") / "DeepFashion"
    garments.write_deepfashion(folder, items=40, views=2, seed=2, size=(64, 80))
    return folder


Done = subprocess.CompletedProcess[str]


@pytest.fixture
def in_processes() -> Callable[[Sequence[str]], Done]:
    """A command of the shell, whose steps are processes of their own."""
    return lambda command: subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def in_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Sequence[str]], Done]:
    """The same words in this process: TensorFlow is then started once, not for each of a dozen
    steps."""

    def called(command: Sequence[str]) -> int:
        assert command[:3] == [sys.executable, "-m", "vsearch_fast.cli"]
        with pytest.raises(SystemExit) as left:
            main(list(command[3:]))
        assert isinstance(left.value.code, int)
        return left.value.code

    def step(command: Sequence[str], **options: object) -> Done:
        assert options == {"stdout": None, "stderr": None, "check": False}
        return Done(command, called(command))

    monkeypatch.setattr(recipes, "subprocess", SimpleNamespace(run=step))

    def run(command: Sequence[str]) -> Done:
        capsys.readouterr()
        code = called(command)
        said = capsys.readouterr()
        return Done(command, code, said.out, said.err)

    return run


@pytest.mark.parametrize(
    "way", ["in_this_process", pytest.param("in_processes", marks=pytest.mark.full)]
)
def test_one_command_makes_the_whole_table(
    way: str, request: pytest.FixtureRequest, deepfashion: Path, tmp_path: Path
) -> None:
    run: Callable[[Sequence[str]], Done] = request.getfixturevalue(way)
    output = tmp_path / "results"
    command = [
        sys.executable, "-m", "vsearch_fast.cli", "eval", str(deepfashion), "-o", str(output),
        "--train", "tiny", "--queries", "20",
    ]  # fmt: skip
    done = run(command)
    assert done.returncode == 0, done.stderr
    table = (output / "table.md").read_text(encoding="utf-8")
    ran = (
        "VGG-16 block5_pool, random:0", "VGG-16 block5_pool, random:0, unit length",
        "VGG-16 re-trained, all categories", "VGG-16 re-trained, 2 most common",
        "VGG-16 re-trained by the best recipe, all categories",
        "VGG-16 re-trained by the best recipe, 2 most common",
        *(each.row for each in SHIPPED), "VGG-16 fc1, untrained", "32x32 pixels", "HSV histogram",
    )  # fmt: skip
    for row in ran:
        assert f"| {row} | Hamming |" in table
    for row in ("VGG-16 fc1 (fc6), ImageNet", "VGG-16 fc2 (fc7), ImageNet"):
        assert table.index(f"| {row} | not run |") > table.index("| HSV histogram | Hamming |")
    assert table.count("vsearch export --weights imagenet") == 2  # not run, with their commands
    train = f"vsearch train --data {deepfashion} --base random:0"
    assert train in done.stderr  # whole, to run it
    assert "outputs of them copied from another run" in done.stderr  # of the convolutions, for 2
    assert str(deepfashion.parent) not in table  # a file names no folder of this machine
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    # Only products that no head was trained on.
    records, _ = detect.read(deepfashion)
    sides, _ = splits.split(records)
    assert 0 < results["data"]["pictures"] <= len(records) - sides.count("train")
    assert (output / "accuracy.png").stat().st_size > 10_000
    (work,) = output.glob("models/*/work")
    assert {file.name.partition("-")[0] for file in work.iterdir()} == {"outputs"}
    again = run(command)
    assert again.returncode == 0 and "training:" not in again.stderr


def test_a_broken_list_is_named_before_anything_is_trained(
    deepfashion: Path, tmp_path: Path
) -> None:
    (broken,) = deepfashion.rglob("list_category_img.txt")
    text = broken.read_text(encoding="utf-8")
    try:
        broken.write_text(text.replace("img/", "img/ none ", 1), encoding="utf-8")
        with pytest.raises(DatasetError, match=r"list_category_img\.txt:3"):
            detect.read(deepfashion)
    finally:
        broken.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("img", ["Img/img", "img"])
@pytest.mark.parametrize("layout", ["Anno", "Anno_coarse"])
def test_products_are_on_one_side_in_every_layout(layout: Any, img: Any, tmp_path: Path) -> None:
    folder = tmp_path / "DeepFashion"
    garments.write_deepfashion(
        folder, items=20, views=2, seed=2, size=(64, 80), layout=layout, img=img, workers=1
    )  # fmt: skip
    records, _ = detect.read(folder)
    catalogue = gather([records], Recipe())
    by_group: dict[int, set[str]] = {}
    for group, side in zip(catalogue.groups, catalogue.sides, strict=True):
        by_group.setdefault(int(group), set()).add(str(side))
    assert len(by_group) > 10
    assert all(len(sides) == 1 for sides in by_group.values())
    assert all(record.box for record in catalogue.records)  # cut out before they are learnt
