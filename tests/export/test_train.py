"""`vsearch train` from end to end, on a few drawn garments: minutes, not figures."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from vsearch_fast.datasets import garments, splits
from vsearch_fast.errors import ExportError, KeptError, ModelError

FREE = [
    *("--base", "random:3", "--unfreeze", "--width", "0.0625", "--input-size", "32"),
    *("--batch-norm", "--loss", "contrastive", "--augment", "strong", "--balance", "draws"),
    *("--optimizer", "adamw", "--schedule", "cosine", "--batch-size", "16", "--units", "64"),
    *("--resize", "bilinear", "--dense", "fc1,fc2"),
]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train") / "garments"
    garments.render_catalogue(folder, items=40, views=2, seed=5, size=(64, 80))
    return folder


def vsearch(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "vsearch_fast.cli", *map(str, arguments)]


def run(*arguments: object, expected: int = 0) -> str:
    done = subprocess.run(vsearch(*arguments), capture_output=True, text=True, timeout=300)
    assert done.returncode == expected, done.stderr
    return done.stdout + done.stderr


def run_here(*arguments: object) -> str:
    """The same in this process, where TensorFlow is loaded already, without an error."""
    from vsearch_fast.cli import vsearch as group

    done = CliRunner().invoke(group, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def weights(file: Path) -> list[np.ndarray]:
    from vsearch_fast.export import backend

    backend.prepare()
    import keras

    return keras.models.load_model(file, compile=False).get_weights()


@pytest.fixture(scope="module")
def trained(catalogue: Path) -> tuple[Path, str]:
    """A network trained in one go, and what was said."""
    file = catalogue.parent / "whole.keras"
    return file, run("train", "--data", catalogue, *FREE, "--epochs", "4", "-o", file)


def test_history_curve_and_record(trained: tuple[Path, str], catalogue: Path) -> None:
    file, said = trained
    with (file.parent / "whole.history.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert all(float(row["loss"]) > 0 and float(row["val_loss"]) > 0 for row in rows)
    with Image.open(file.parent / "whole.curve.png") as curve:
        assert np.asarray(curve.convert("L")).std() > 5
    assert "of units active" in said and "P@1" in said
    assert not (file.parent / "whole.training").exists()  # gone, as the help says
    with zipfile.ZipFile(file) as archive:
        record = json.loads(archive.read("training.json"))
    records = garments.read(catalogue)
    sides, _ = splits.split(records)
    unseen = {
        splits.fingerprint(splits.group_of(each))
        for each, side in zip(records, sides, strict=True)
        if side == "test"
    }
    assert unseen and not unseen & set(record["trained_groups"])
    assert record["recipe"]["base"] == "random:3"


@pytest.mark.posix
def test_a_killed_run_goes_on_to_the_same_weights(
    trained: tuple[Path, str], catalogue: Path
) -> None:
    file = catalogue.parent / "killed.keras"
    command = vsearch("train", "--data", catalogue, *FREE, "--epochs", "4", "-o", file)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    history = catalogue.parent / "killed.training" / "history.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if history.is_file() and len(history.read_text().splitlines()) > 1:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    assert process.wait() == -signal.SIGKILL
    assert not file.exists()
    said = run("train", "--data", catalogue, *FREE, "--epochs", "4", "-o", file)
    assert "going on from the checkpoint" in said and ", after epoch " in said
    unbroken = weights(trained[0])
    for ours, theirs in zip(weights(file), unbroken, strict=True):
        assert np.array_equal(ours, theirs)
    other = run(
        *("train", "--data", catalogue, *FREE, "--epochs", "1", "--seed", "1", "-o", file),
        "--restart",
    )
    assert "going on" not in other
    assert not all(map(np.array_equal, weights(file), unbroken))


def test_a_checkpoint_of_another_recipe_or_a_damaged_one_is_refused(
    catalogue: Path, tmp_path: Path
) -> None:
    from vsearch_fast.export import backend
    from vsearch_fast.export.train import Recipe, train

    backend.prepare()
    records = garments.read(catalogue)
    recipe = Recipe(base="random:0", input_size=32, units=8, width=0.0625, epochs=1)
    work, target = tmp_path / "a.training", tmp_path / "a.keras"
    work.mkdir()
    np.savez(work / "checkpoint.npz", meta=np.array('{"digest": "other", "state": {}}'))
    said: list[str] = []
    with pytest.raises(ExportError, match="another recipe"):
        train(records, recipe, target, log=said.append)
    assert said and not any("going on" in line for line in said)
    (work / "checkpoint.npz").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(ExportError, match="cannot be read"):
        train(records, recipe, target)
    train(records, recipe, target, restart=True)
    assert target.is_file() and not work.exists()


def test_heads_on_a_frozen_base(trained: tuple[Path, str], catalogue: Path) -> None:
    """The default recipe; the file is exported and embeds pictures."""
    import vsearch_fast as vs

    base, head = trained[0], catalogue.parent / "top.keras"
    said = run_here(
        *("train", "--data", catalogue, "--base", base, "--epochs", "2"),
        *("--batch-size", "16", "--classes", "top:3", "--augment", "light"),
        *("--copies", "2", "--work", catalogue.parent / "work", "--resize", "bilinear"),
        *("-o", head),
    )
    assert "the 3 most frequent" in said and "3 classes, epoch" in said
    assert "--input-size 32, as of the base whole.keras" in said  # with its units, too, see below
    assert "base whole.keras was made with --batch-norm, unlike this one" in said
    assert "made with --resize" not in said
    assert list((catalogue.parent / "work").glob("outputs-*.npy"))  # kept, as it was named
    before, after = weights(base), weights(head)
    assert all(map(np.array_equal, before[:4], after[:4]))  # the first convolution, normalised
    model = catalogue.parent / "top.onnx"
    run_here(
        *("export", "--weights", head, "--layer", "fc1"),
        *("--verify-images", catalogue, "-o", model),
    )
    embedder = vs.Embedder(model, providers="cpu")
    training = json.loads(embedder.metadata["training"])
    assert training["classes"] == json.loads(embedder.metadata["classes"])
    assert len(training["classes"]) == 3
    assert (embedder.resize, embedder.dim, embedder.input_size) == ("bilinear", 64, 32)
    assert embedder.embed(catalogue).shape == (80, 64)


def test_cached_outputs_are_what_the_convolutions_give(catalogue: Path) -> None:
    from vsearch_fast.datasets.records import Record
    from vsearch_fast.export import backend

    backend.prepare()
    from vsearch_fast.export.training import frozen, network
    from vsearch_fast.export.training.pictures import preprocessed
    from vsearch_fast.images import load

    made = network.build(network.Shape(1 / 16, 32, False, False, ("fc1",), 8, ""), 2, seed=0)
    records = garments.read(catalogue)[:40]
    gone = catalogue.parent / "gone.jpg"
    records[20] = Record("gone", gone)
    work = catalogue.parent / "cache"
    work.mkdir()
    said: list[str] = []

    def outputs(pictures: list[Record], run: Any = made.body.predict_on_batch) -> Any:
        body = frozen.Body(run, "a", 32, made.body.outputs[0].shape[1])
        source = frozen.Pictures(pictures, 32, "bilinear")
        return frozen.outputs(body, source, work, said.append, False)

    found, failed = outputs(records)
    assert list(failed) == [20] and "gone.jpg" in failed[20]
    readable = [i for i in range(40) if i != 20]
    pixels = np.stack([load(records[i].path, 32, records[i].box, "bilinear") for i in readable])
    expected = made.body.predict(preprocessed(pixels), verbose=0)
    np.testing.assert_allclose(found[readable], expected, rtol=2e-3, atol=1e-3 * expected.max())
    assert not found[20].any()
    low = network.in_bfloat16(made).predict_on_batch(preprocessed(pixels)).astype(np.float32)
    assert low.shape == expected.shape and 0 < np.abs(low - expected).max() < 0.05 * expected.max()
    # Stopped half way, it goes on from there: what is done is not computed again.
    before = np.array(found)
    (file,) = work.glob("outputs-a-*.npy")
    rows = np.load(file, mmap_mode="r+")
    rows[:] = 7
    rows.flush()
    file.with_suffix(".json").write_text('{"done": 16, "failed": {}}')
    again, failed = outputs(records)
    assert (again[:16] == 7).all() and np.array_equal(again[16:], before[16:])
    assert list(failed) == [20]
    # Other pictures of the same data: what is there already is copied, in their order.
    others = [*garments.read(catalogue)[40:45], *records[10:30][::-1]]
    computed: list[int] = []

    def counted(batch: np.ndarray) -> np.ndarray:
        computed.append(len(batch))
        return made.body.predict_on_batch(batch)

    few, failed = outputs(others, counted)
    assert computed == [5] and list(failed) == [14] and "20 outputs" in said[-1]
    assert np.array_equal(few[5:], again[10:30][::-1]) and few[:5].any(axis=1).all()


def test_variants_follow_from_the_picture_alone(catalogue: Path) -> None:
    from vsearch_fast.export.training import frozen

    records = garments.read(catalogue)[:8]
    varied = frozen.Varied("strong", 0, 1)

    def variant(pictures: Any, number: int) -> Any:
        source = frozen.Pictures(pictures, 48, "bilinear", varied)
        return next(source.read(32, np.array([number])))

    assert np.array_equal(variant(records, 5), variant(records[5:], 0))
    assert not np.array_equal(variant(records, 5), variant(records, 4))


def test_errors_say_what_to_do(catalogue: Path, tmp_path: Path) -> None:
    from vsearch_fast.export.train import Recipe, train

    records = garments.read(catalogue)
    recipe = Recipe(base="random:0", input_size=32, units=8, width=0.0625)
    with pytest.raises(ExportError, match=r"does not end in \.keras"):
        train(records, recipe, tmp_path / "a.h5")
    with pytest.raises(ExportError, match="does not exist"):
        train(records, recipe, tmp_path / "no" / "a.keras")
    with pytest.raises(ModelError, match="Nothing was trained"):
        train(records, Recipe(base=str(tmp_path / "gone.keras")), tmp_path / "a.keras")
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ModelError, match="Nothing was trained"):
        train(records, Recipe(base=str(broken)), tmp_path / "a.keras")
    assert not list(tmp_path.glob("a.keras"))


def test_pictures_that_cannot_be_read_are_named_and_left_out(
    catalogue: Path, tmp_path: Path
) -> None:
    from vsearch_fast.datasets.records import Record
    from vsearch_fast.export.train import Recipe, train

    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    records = [*garments.read(catalogue), Record("bad", bad, category="Dress", group="g")]
    recipe = Recipe(
        base="random:0", input_size=32, units=8, width=0.0625, epochs=1, shares={"train": 1.0}
    )
    mine = tmp_path / "a.training" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("a file of the user's, in the folder of the run")
    said: list[str] = []
    report = train(records, recipe, tmp_path / "a.keras", log=said.append)
    assert "1 picture cannot be read" in said[-2]
    assert said[-1].startswith("without what cannot be read: ")
    assert "80 train, 0 val, 0 test" in said[-1]
    assert [each.name for each in mine.parent.iterdir()] == ["mine.txt"]
    assert len(report.skipped) == 1 and "bad.jpg" in report.skipped[0]
    assert report.sides == {"train": 80, "val": 0, "test": 0}
    assert report.matches == {} and report.val == {}


def test_the_command_line(catalogue: Path, tmp_path: Path) -> None:
    from vsearch_fast.cli import vsearch as group

    runner = CliRunner()
    for arguments, text in (
        (["--optimizer", "lion"], "adadelta"),
        (["--shares", "1,2"], "TRAIN,VAL,TEST"),
        (["--fold", "one"], "1/3"),
        (["--classes", "most"], "top:8"),
        (["--classes", "top:1"], "top:2 or more"),
        (["--unfreeze", "--convolutions", "bfloat16"], "is for frozen ones"),
    ):
        result = runner.invoke(
            group,
            ["train", "--data", str(catalogue), "--base", "random:0", "-o",
             str(tmp_path / "a.keras"), *arguments],
        )  # fmt: skip
        said = result.output + str(result.exception or "")
        assert result.exit_code == 2 and text in said
    help_text = runner.invoke(group, ["train", "--help"]).output
    assert "adadelta (1.0 when no rate is given)" in " ".join(help_text.split())


@pytest.mark.posix
def test_what_is_trained_is_not_replaced_unasked(catalogue: Path, tmp_path: Path) -> None:
    """Again is done already; another recipe is refused; --restart replaces, stopped or not."""
    file = tmp_path / "a.keras"
    slim = [
        *("--base", "random:0", "--width", "0.0625", "--input-size", "32", "--batch-size", "16"),
        "--quiet",
    ]

    def train(*more: str, data: Path = catalogue, expected: int = 0) -> str:
        return run("train", "--data", data, *slim, *more, "-o", file, expected=expected)

    run_here("train", "--data", catalogue, *slim, "--units", "32", "--epochs", "2", "-o", file)
    history = tmp_path / "a.history.csv"
    before = file.read_bytes(), history.read_bytes()

    said = train("--units", "32", "--epochs", "2")
    assert "is trained already" in said and "epoch 1" not in said
    said = train("--units", "16", "--epochs", "2", expected=1)
    assert "with --units 32, not with --units 16" in said and "--restart" in said
    assert "Nothing was trained, so that it is not lost" in said
    fewer = tmp_path / "fewer.csv"
    lines = (catalogue / "garments.csv").read_text().splitlines()
    fewer.write_text("\n".join(lines[:-4]))
    said = run(
        *("train", "--data", catalogue, "--csv", fewer, *slim, "--units", "32", "--epochs", "2"),
        *("-o", file),
        expected=1,
    )
    assert "of other pictures" in said
    assert (file.read_bytes(), history.read_bytes()) == before
    assert not (tmp_path / "a.training").exists()

    # Stopped while it replaces: the old pair is whole, and the same command goes on.
    process = subprocess.Popen(
        vsearch(
            *("train", "--data", catalogue, *slim, "--units", "16", "--epochs", "20"),
            *("--patience", "0", "-o", file, "--restart"),
        ),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    watched = tmp_path / "a.training" / "history.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not watched.is_file():
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert (file.read_bytes(), history.read_bytes()) == before
    resumed = run_here(
        *("train", "--data", catalogue, *slim, "--units", "16", "--epochs", "20"),
        *("--patience", "0", "-o", file),
    )
    assert "going on from the checkpoint" in resumed
    assert len(history.read_text().splitlines()) == 21 and file.read_bytes() != before[0]
    assert not (tmp_path / "a.training").exists()


def test_somebody_elses_file_is_refused(catalogue: Path, tmp_path: Path) -> None:
    from vsearch_fast.export.train import Recipe, train

    file = tmp_path / "a.keras"
    file.write_text("notes")
    recipe = Recipe(base="random:0", input_size=32, units=8, width=0.0625)
    with pytest.raises(KeptError, match="does not say how it was made"):
        train(garments.read(catalogue), recipe, file)
    assert file.read_text() == "notes"
