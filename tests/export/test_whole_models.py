"""Whole models as people save them: preprocessing inside, models in models, mixed precision,
files of Keras 2."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
from slim_models import slim_model, write_slim_model

from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import ArgumentError, ModelError
from vsearch_fast.export import ExportReport, export

PIXELS = np.random.default_rng(7).integers(0, 256, (5, 64, 64, 3), np.uint8)


def prepared(pixels: np.ndarray = PIXELS) -> np.ndarray:
    import keras

    return keras.applications.vgg16.preprocess_input(pixels.astype(np.float32))


def agrees(report: ExportReport, expected: np.ndarray) -> bool:
    """Whether the file gives these features of `PIXELS`."""
    found = Embedder(report.path, "cpu").embed(PIXELS)
    expected = expected.reshape(len(expected), -1)
    return bool(np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected))


@pytest.fixture
def channels_last() -> Iterator[None]:
    import keras

    yield
    keras.config.set_image_data_format("channels_last")


def inside_models(trunk: Any) -> dict[str, Any]:
    """Models that prepare raw pixels themselves, in the ways that people do."""
    import keras
    from keras import layers

    made = {}
    raw = keras.Input((64, 64, 3))
    made["preprocess_input"] = (raw, keras.applications.vgg16.preprocess_input(raw))
    raw = keras.Input((64, 64, 3))
    made["rescaling"] = (raw, layers.Rescaling(2 / 255, offset=-1)(layers.RandomFlip()(raw)))
    raw = keras.Input((64, 64, 3))
    normal = layers.Normalization(mean=(120, 110, 100), variance=(3600, 3600, 3600))
    made["normalization"] = (raw, normal(raw))
    raw = keras.Input((64, 64, 3))
    made["arithmetic"] = (raw, raw / 127.5 - 1)
    return {name: keras.Model(image, trunk(inner)) for name, (image, inner) in made.items()}


@pytest.mark.parametrize("kind", ["preprocess_input", "rescaling", "normalization", "arithmetic"])
def test_a_model_that_prepares_its_pictures(kind: str, tmp_path: Path) -> None:
    """Refused until it is said which it is; then it is compared as it was trained."""
    model = inside_models(slim_model())[kind]
    file = tmp_path / "model.keras"
    model.save(file)
    output = tmp_path / "out.onnx"
    with pytest.raises(ModelError, match="prepares its pictures itself") as refused:
        export(file, output=output, layer="predictions")
    assert "--preprocess inside" in str(refused.value) and not output.exists()
    raw = export(file, output=output, layer="predictions", preprocess="inside")
    assert agrees(raw, model.predict(PIXELS.astype(np.float32), verbose=0))
    assert not agrees(raw, model.predict(prepared(), verbose=0))
    twice = export(file, output=output, layer="predictions", preprocess="vgg")
    assert agrees(twice, model.predict(prepared(), verbose=0))


def test_boxes_of_a_model_that_prepares_its_pictures(tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    inside_models(slim_model())["rescaling"].save(file)
    report = export(file, output=tmp_path / "a.onnx", layer="fc1", preprocess="inside", locate=True)
    assert report.locate_error < 0.01
    assert Embedder(report.path).metadata["preprocess"] == "inside"


def test_weights_were_learnt_behind_preprocess_input(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="for whole models"):
        export(
            "random:0", output=tmp_path / "a.onnx", layer="block1_conv1", pool="avg",
            input_size=32, preprocess="inside",
        )  # fmt: skip


def test_layers_of_a_model_in_a_model_are_reached(tmp_path: Path) -> None:
    import keras
    from keras import layers

    trunk = slim_model(size=None)
    trunk.name = "vgg16"
    square = keras.Sequential([keras.Input((64, 64, 3)), trunk, layers.Flatten(name="flat")])
    square.add(layers.Dense(24, activation="relu", name="mine"))
    file = tmp_path / "nested.keras"
    square.save(file)
    pooled = trunk.predict(prepared(), verbose=0)
    for layer in ("block5_pool", "vgg16/block5_pool", "vgg16"):
        assert agrees(export(file, output=tmp_path / "a.onnx", layer=layer), pooled), layer
    report = export(file, output=tmp_path / "a.onnx", layer="mine", locate=True)
    assert agrees(report, square.predict(prepared(), verbose=0))
    with pytest.raises(ArgumentError, match="vgg16/block5_pool"):
        export(file, output=tmp_path / "a.onnx", layer="fc9")


def test_mixed_precision_is_compared_in_float32(tmp_path: Path) -> None:
    import keras

    plain = slim_model()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        mixed = slim_model()
        mixed.save(tmp_path / "mixed.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    report = export(tmp_path / "mixed.keras", output=tmp_path / "a.onnx", layer="fc1")
    until = keras.Model(plain.inputs, plain.get_layer("fc1").output)
    assert agrees(report, until.predict(prepared(), verbose=0))


def test_keras_json_says_channels_first(tmp_path: Path, channels_last: None) -> None:
    import keras
    from PIL import Image

    file = write_slim_model(tmp_path / "slim.keras")
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    expected = export(file, output=tmp_path / "a.onnx", layer="block5_pool").model_id
    keras.config.set_image_data_format("channels_first")
    report = export(file, output=tmp_path / "a.onnx", layer="block5_pool", verify_images=[tmp_path])
    assert report.model_id == expected and report.figures.samples == 5


# files of Keras 2 ----------------------------------------------------------------------------


def vgg16_weights(path: Path, group: str) -> list[np.ndarray]:
    """Convolutional VGG-16 weights as Keras 2 wrote them: below `group`, a model in the model."""
    from vsearch_fast.export import backend

    backend.prepare()
    from vsearch_fast.export.vgg16 import vgg16

    model = vgg16(32, "block5_pool")
    rng = np.random.default_rng(0)
    written = []
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"vgg16", b"dense"]
        file.attrs["keras_version"] = b"2.15.0"
        for layer in model.layers:
            for weight, name in zip(layer.weights, ("kernel:0", "bias:0"), strict=False):
                values = rng.standard_normal(weight.shape).astype(np.float32) * 0.02
                file[f"{group}{layer.name}/{name}"] = values
                written.append(values)
        file["dense/dense/kernel:0"] = np.zeros((512, 3), np.float32)
        file["dense/dense/bias:0"] = np.zeros(3, np.float32)
    return written


@pytest.mark.parametrize("group", ["", "vgg16/", "model_weights/vgg16/"])
def test_weights_of_nested_models_are_found(group: str, tmp_path: Path) -> None:
    from vsearch_fast.export.vgg16 import feature_model
    from vsearch_fast.export.weights import resolve

    written = vgg16_weights(tmp_path / "w.h5", group)
    source = resolve(str(tmp_path / "w.h5"), "block5_pool", lambda line: None)
    model, _ = feature_model(source, "block5_pool", "avg", 32)
    for ours, theirs in zip(model.get_weights(), written, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_file_of_keras_2_is_called_so(tmp_path: Path) -> None:
    file = tmp_path / "old.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr("config.json", json.dumps({"class_name": "Old", "config": {}}))
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(ModelError) as refused:
        export(file, output=tmp_path / "a.onnx")
    said = str(refused.value)
    assert "saved by Keras 2.15.0" in said and "tf_keras" in said and "fetch it again" not in said
    whole = tmp_path / "old.h5"
    with h5py.File(whole, "w") as opened:
        opened.attrs["keras_version"] = "2.11.0"
        opened.attrs["model_config"] = json.dumps({"class_name": "Old", "config": {}})
    with pytest.raises(ModelError, match=r"saved by Keras 2\.11\.0"):
        export(whole, output=tmp_path / "a.onnx")


def test_the_cure_for_a_lambda_layer_is_one(tmp_path: Path) -> None:
    import keras
    from keras import layers

    image = keras.Input((64, 64, 3))
    file = tmp_path / "lambda.keras"
    keras.Model(image, slim_model()(layers.Lambda(lambda x: x - 1)(image))).save(file)
    with pytest.raises(ModelError, match="has a Lambda layer") as refused:
        export(file, output=tmp_path / "a.onnx")
    assert "safe_mode" not in str(refused.value) and "Rescaling" in str(refused.value)


# what a check can certify --------------------------------------------------------------------


def test_codes_that_tell_nothing_are_not_praised(tmp_path: Path) -> None:
    """A softmax is above 0 everywhere: all bits set, always."""
    file = write_slim_model(tmp_path / "slim.keras")
    figures = export(file, output=tmp_path / "a.onnx", layer="predictions").figures
    assert (figures.always, figures.never, figures.bits) == (5, 0, 5)
    assert figures.recall_hamming is None and figures.recall_l2 is not None
    assert any("All 5 bits are the same" in line for line in figures.warnings())


def test_figures_of_pictures_that_are_all_alike(tmp_path: Path) -> None:
    from vsearch_fast.export.verify import compare

    row = np.array([[1.0, -1.0, 2.0, -3.0]], np.float32)
    for count in (1, 2, 12):
        rows = np.repeat(row, count, axis=0)
        figures = compare(rows, rows, np.packbits(rows > 0, axis=-1))
        assert figures.recall_l2 is None and figures.recall_hamming is None
        assert figures.warnings()
    rows = np.random.default_rng(0).standard_normal((12, 64)).astype(np.float32)
    rows[3] = 0
    figures = compare(rows, rows, np.packbits(rows > 0, axis=-1))
    assert figures.recall_l2 == 1.0 and figures.k == 5
    assert "gave no feature other than 0" in figures.warnings()[-1]


# what is there already -----------------------------------------------------------------------


def test_a_file_that_is_there_is_not_exported_again_unasked(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from vsearch_fast.export.__main__ import command

    file, output = write_slim_model(tmp_path / "slim.keras"), tmp_path / "a.onnx"

    def run(*more: str) -> Any:
        return CliRunner().invoke(command, ["--weights", str(file), "-o", str(output), *more])

    assert run().exit_code == 0
    before = output.read_bytes()
    again = run()
    assert again.exit_code == 0 and "is exported already" in again.output
    assert "load TensorFlow" not in again.output
    other = run("--layer", "fc2")
    assert other.exit_code == 1 and "layer fc1, not fc2" in other.output
    assert "--overwrite" in other.output
    write_slim_model(file, seed=1)
    assert "from other weights" in run().output
    assert output.read_bytes() == before
    assert run("--overwrite").exit_code == 0 and output.read_bytes() != before
    output.write_text("notes")
    refused = run()
    assert refused.exit_code == 1 and "does not say how it was made" in refused.output
    assert output.read_text() == "notes"
