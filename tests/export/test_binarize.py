"""--binarize: rules of codes, what they learn, what they become in the graph and in an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from slim_models import write_slim_model

from vsearch_fast import Embedder, Index, datasets, topk
from vsearch_fast.cli import vsearch
from vsearch_fast.embedder.bits import tally
from vsearch_fast.errors import ArgumentError, ExportError
from vsearch_fast.evaluate.features import extractor, outputs
from vsearch_fast.evaluate.rows import ModelRow
from vsearch_fast.export import binarize, export, verify

RULES: dict[str, dict[str, Any]] = {"median": {}, "itq": {"bits": 16}}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learnt")
    for number, pixels in enumerate(verify.synthetic_pictures(40, 64)):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slim_model(tmp_path_factory.mktemp("network") / "slim.keras", units=44)


@pytest.fixture(scope="module")
def models(pictures: Path, network: Path) -> dict[str, Path]:
    """The same network by each rule; 44 features, so that a code's last byte is not full."""
    made = {
        rule: export(
            network, output=network.with_name(f"{rule}.onnx"), unit_length=True, binarize=rule,
            binarize_images=[pictures], **more,
        ).path
        for rule, more in RULES.items()
    }  # fmt: skip
    return made | {
        "zero": export(network, output=network.with_name("zero.onnx"), unit_length=True).path
    }


# Rules


def test_half_of_the_pictures_are_above_the_median() -> None:
    rows = np.random.default_rng(0).normal(3, 1, (101, 9)).astype(np.float32)
    rule = binarize.learn("median", rows)
    assert ((rule.margins(rows) > 0).sum(axis=0) == 50).all()
    assert rule.bits == 9


@pytest.mark.parametrize("shape", [(60, 200), (300, 40)])  # both Gram matrices
def test_itq_keeps_the_order_of_angles_better_than_signs(shape: tuple[int, int]) -> None:
    """On sparse data of few dimensions: neighbours by learnt bits are the true ones more often."""
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(shape[0], 6))
    rows = np.maximum(hidden @ rng.normal(size=(6, shape[1])) - 2.5, 0).astype(np.float32)
    rule = binarize.learn("itq", rows, 32)
    assert rule.projection is not None and rule.projection.shape == (shape[1], 32)
    turned = rule.projection.astype(np.float64)
    np.testing.assert_allclose(turned.T @ turned, np.eye(32), atol=1e-5)
    true = topk(rows, rows, 6, metric="l2")[1][:, 1:]

    def agreement(bits: np.ndarray) -> float:
        packed = np.packbits(bits, axis=1)
        found = topk(packed, packed, 6, metric="hamming")[1][:, 1:]
        return float(np.mean([len(set(a) & set(b)) for a, b in zip(found, true, strict=True)]))

    assert agreement(rule.margins(rows) > 0) > agreement(rows[:, :32] > 0) + 0.3
    assert 0.2 < (rule.margins(rows) > 0).mean() < 0.8


def test_it_is_the_same_rule_each_time() -> None:
    rows = np.random.default_rng(2).random((50, 24), np.float32)
    first, second = (binarize.learn("itq", rows, 16) for _ in range(2))
    assert first.projection is not None and second.projection is not None
    np.testing.assert_array_equal(first.projection, second.projection)
    np.testing.assert_array_equal(first.thresholds, second.thresholds)


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"binarize": "mean"}, "--binarize mean is unknown"),
        ({"binarize": "median"}, "learnt from pictures, and none are named"),
        ({"binarize": "zero", "bits": 16}, "--bits is for --binarize itq"),
        ({"binarize": "itq", "bits": 12, "binarize_images": ["x"]}, "no multiple of 8"),
        ({"binarize": "itq", "bits": 8192, "binarize_images": ["x"]}, "no multiple of 8"),
    ],
)
def test_what_does_not_go_together_is_told(
    choices: dict[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=told):
        export("random:0", output=tmp_path / "m.onnx", **choices)  # type: ignore[arg-type]


def test_too_few_pictures_for_the_bits_are_told() -> None:
    rows = np.random.default_rng(3).random((30, 99), np.float32)
    with pytest.raises(ArgumentError, match="30 pictures with 99 features has 24 bits at most, no"):
        binarize.learn("itq", rows, 64)
    assert binarize.learn("itq", rows).bits == 24
    with pytest.raises(ArgumentError, match="1 picture to learn from"):
        binarize.learn("median", rows[:1])


# The file


@pytest.mark.parametrize("rule", RULES)
def test_features_are_the_same_and_codes_follow_the_rule(
    rule: str, models: dict[str, Path], pictures: Path
) -> None:
    embedder, plain = Embedder(models[rule], "cpu"), Embedder(models["zero"], "cpu")
    assert (embedder.binarize, embedder.bits) == (rule, {"median": 44, "itq": 16}[rule])
    assert (plain.binarize, plain.bits) == ("zero", 44)
    assert embedder.metadata["format"] == "2" and plain.metadata["format"] == "1"
    assert embedder.model_id != plain.model_id
    found, made = embedder.both(pictures)
    np.testing.assert_array_equal(found, plain.embed(pictures))
    np.testing.assert_array_equal(made, embedder.codes(pictures))
    learnt = binarize.learn(rule, found, 16 if rule == "itq" else None)
    bits = np.unpackbits(made, axis=1)[:, : embedder.bits].astype(bool)
    if rule == "median":
        assert (bits == (learnt.margins(found) > 0)).mean() > 0.99  # ONNX's last bits, not Keras'
    assert tally(made, embedder.bits).constant <= tally(plain.codes(pictures), 44).constant
    assert {name: embedder.description[name] for name in ("binarize", "bits")} == {
        "binarize": rule, "bits": str(embedder.bits),
    }  # fmt: skip
    assert "binarize" not in plain.description


def test_codes_that_are_not_by_the_rule_are_refused() -> None:
    rows = np.random.default_rng(5).random((30, 24), np.float32)
    for name in ("zero", "median", "itq"):
        rule = binarize.learn(name, rows)
        made = np.packbits(rule.margins(rows) > 0, axis=1)
        verify.compare(rows, rows, made, rule)
        made[3, 1] ^= 8
        with pytest.raises(ExportError, match=r"codes are not np\.packbits"):
            verify.compare(rows, rows, made, rule)


def test_the_same_command_leaves_the_file_and_another_rule_is_named(
    models: dict[str, Path], network: Path, pictures: Path
) -> None:
    words = ["export", "--weights", str(network), "--unit-length", "-o", str(models["median"])]
    own = [*words, "--binarize", "median", "--binarize-images", str(pictures)]
    again = CliRunner().invoke(vsearch, own)
    assert again.exit_code == 0 and "is exported already" in again.output, again.output
    other = CliRunner().invoke(vsearch, words)
    assert other.exit_code == 1 and "binarize median, not zero" in other.output
    before = CliRunner().invoke(vsearch, [*own[:-4], *own[-4:-3], "itq", *own[-2:]])
    assert "binarize median, not itq" in before.output


def test_other_precisions_and_layers(network: Path, pictures: Path, tmp_path: Path) -> None:
    for precision, more in (("int8", {"calibrate": [pictures]}), ("fp16", {})):
        report = export(
            network, output=tmp_path / f"{precision}.onnx", layer="block5_pool", bits=24,
            precision=precision, half_weights=precision == "int8", binarize="itq",
            binarize_images=[pictures], **more,  # type: ignore[arg-type]
        )  # fmt: skip
        assert report.figures.bits == 24 and "24 bits" in report.codes
        assert Embedder(report.path, "cpu").codes(pictures).shape == (40, 3)


# An index


def indexed(pictures: Path, model: Path, folder: Path) -> Path:
    """An index of the pictures by this model, made by the command."""
    made = folder / "an.index"
    words = ["index", str(pictures), "-o", str(made), "--model", str(model), "--quiet"]
    assert CliRunner().invoke(vsearch, words).exit_code == 0
    return made


@pytest.mark.parametrize("rule", ["zero", *RULES])
def test_an_index_compares_the_models_codes(
    rule: str, models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = indexed(pictures, models[rule], tmp_path)
    embedder = Embedder(models[rule], "cpu")
    asked, made = embedder.both(pictures)
    order = topk(made, made, 3, metric="hamming")
    with Index.open(folder) as index:
        names = [item.id for item in index]
        assert (index.binarize, index.bits) == (rule, embedder.bits)
        np.testing.assert_array_equal(index.codes(names), made)
        for hits, distances, rows in zip(index.search(made, 3, "hamming"), *order, strict=True):
            assert [(hit.id, hit.distance) for hit in hits] == [
                (names[row], distance) for row, distance in zip(rows, distances, strict=True)
            ]
        if rule == "zero":
            assert index.search(asked, 3, "hamming") == index.search(made, 3, "hamming")
        else:
            with pytest.raises(ArgumentError, match=rf"made by the rule {rule}.*Embedder.codes"):
                index.search(asked, 3, "hamming")
        assert index.threshold("hamming") is not None
    found = CliRunner().invoke(
        vsearch, ["search", str(folder), str(pictures / "07.png"), "--metric", "all", "-k", "1"]
    )
    assert found.exit_code == 0 and found.output.count("07.png") >= 3, found.output


@pytest.mark.parametrize("rule", RULES)
def test_rows_without_codes_are_refused_and_codes_travel(
    rule: str, models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    embedder = Embedder(models[rule], "cpu")
    asked, made = embedder.both(pictures)
    index = Index.create(
        tmp_path / "an.index", 44, model_id=embedder.model_id, model=embedder.description
    )
    with index:
        with pytest.raises(ArgumentError, match=rf"made by the rule {rule}.*Embedder.both"):
            index.add(["a"], asked[:1])
        with pytest.raises(ArgumentError, match="bytes a row"):
            index.add(["a"], asked[:1], codes=np.zeros((1, 99), np.uint8))
        index.add(["a", "b"], asked[:2], codes=made[:2])
        index.describe({"anything": 1})  # the rule stays what it is
    with Index.open(tmp_path / "an.index") as index:
        assert (index.binarize, index.bits) == (rule, embedder.bits)
        np.testing.assert_array_equal(index.codes(["b", "a"]), made[1::-1])


@pytest.mark.parametrize("rule", RULES)
def test_damaged_codes_are_embedded_again(
    rule: str, models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = indexed(pictures, models[rule], tmp_path)
    before = Embedder(models[rule], "cpu").codes(pictures)
    file = folder / "codes-00000.npy"
    content = bytearray(file.read_bytes())
    content[128 + 3] ^= 1
    file.write_bytes(content)
    done = CliRunner().invoke(vsearch, ["verify", str(folder), "--repair", "--quiet"])
    assert done.exit_code == 0, done.output
    with Index.open(folder) as index:
        np.testing.assert_array_equal(index.codes(sorted(item.id for item in index)), before)


def test_a_rule_that_an_index_does_not_know_is_told(tmp_path: Path) -> None:
    for model, told in (
        ({"binarize": "mean"}, "the rule 'mean'"),
        ({"binarize": "itq", "bits": "many"}, "'many' bits"),
        ({"binarize": "median", "bits": 7}, "7 bits, by the rule median of 8 numbers"),
    ):
        with pytest.raises(ArgumentError, match=told):
            Index.create(tmp_path / "an.index", 8, model=model)


@pytest.mark.parametrize("rule", ["zero", *RULES])
def test_an_evaluation_takes_the_models_codes(
    rule: str,
    models: dict[str, Path],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, asked = Embedder.stream, []

    def counted(self: Embedder, images: Any, *more: Any, **options: Any) -> Any:
        asked.append(len(images))
        return stream(self, images, *more, **options)

    monkeypatch.setattr(Embedder, "stream", counted)
    records = datasets.folder.read(pictures)
    source = extractor(ModelRow(rule, models[rule]), "cpu")
    found = outputs(source, records, tmp_path, provider="cpu").codes()
    assert asked == [len(records)]  # once, for features and codes
    expected = Embedder(models[rule], "cpu").codes([record.path for record in records])
    np.testing.assert_array_equal(found, expected)
    assert len(list(tmp_path.glob("*.npy"))) == 1 + (rule != "zero")
    assert source.facts.get("binarize", "zero") == rule
