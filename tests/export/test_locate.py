"""The file that finds boxes, as the export writes it: Keras' numbers, any shape, the right pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from slim_models import write_slim_model

from vsearch_fast.embedder import Embedder
from vsearch_fast.embedder.locate import Locator, locate_file
from vsearch_fast.errors import ArgumentError, ModelMismatchError
from vsearch_fast.export import ExportReport, export


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slim_model(tmp_path_factory.mktemp("slim") / "slim.keras")


@pytest.fixture(scope="module")
def exported(slim: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export(slim, output=tmp_path_factory.mktemp("fp32") / "fc1.onnx", locate=True)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 256, (12, 9, 3), np.uint8)
    return Image.fromarray(noise).resize((300, 400), Image.Resampling.BICUBIC)


def keras_activations(model_file: Path, picture: Image.Image) -> np.ndarray:
    """What block4_conv3 says at 320 pixels, by Keras alone, without any code of the export."""
    import keras

    model = keras.models.load_model(model_file)
    image = output = keras.Input((None, None, 3))
    for layer in model.layers[1:]:
        output = layer(output)
        if layer.name == "block4_conv3":
            break
    pixels = np.asarray(picture.resize((240, 320), Image.Resampling.BILINEAR), np.float32)
    inputs = keras.applications.vgg16.preprocess_input(pixels[None])
    return np.asarray(keras.Model(image, output)(inputs))[0]


def test_activations_are_those_of_keras(
    slim: Path, exported: ExportReport, picture: Image.Image
) -> None:
    locator = Locator(exported.path, exported.model_id, 2)
    found, expected = locator.activation(picture), keras_activations(slim, picture)
    assert found.shape == expected.shape == (40, 30, 32)
    assert np.linalg.norm(found - expected) < 5e-3 * np.linalg.norm(expected)
    assert exported.locate_error < 1e-2
    assert exported.locate_path == locate_file(exported.path)


def test_it_is_small_and_changes_nothing_else(
    slim: Path, exported: ExportReport, tmp_path: Path
) -> None:
    alone = export(slim, output=tmp_path / "alone.onnx")
    assert alone.locate_path is None
    assert list(tmp_path.iterdir()) == [alone.path]
    assert alone.model_id == exported.model_id
    assert alone.path.read_bytes() == exported.path.read_bytes()
    assert exported.locate_path is not None
    parameters = 9 * (3 * 4 + 4 * 4 + 4 * 8 + 8 * 8 + 8 * 16 + 2 * 16 * 16 + 16 * 32 + 2 * 32 * 32)
    assert exported.locate_path.stat().st_size < 2 * parameters + 10_000


def test_an_int8_model_has_one_too_and_no_others(
    slim: Path, exported: ExportReport, picture: Image.Image, tmp_path: Path
) -> None:
    from vsearch_fast.export import verify

    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, array in enumerate(verify.synthetic_pictures(24, 64)):
        Image.fromarray(array).save(folder / f"{i:02}.png")
    narrow = export(
        slim, output=tmp_path / "int8.onnx", precision="int8", calibrate=[folder], locate=True
    )
    box = Embedder(narrow.path).locate(picture)
    assert box == Embedder(exported.path).locate(picture)
    assert narrow.locate_path is not None
    assert exported.locate_path is not None
    narrow.locate_path.write_bytes(exported.locate_path.read_bytes())
    with pytest.raises(ModelMismatchError):
        Embedder(narrow.path).locate(picture)


def test_a_network_of_its_own_with_normalised_blocks(picture: Image.Image, tmp_path: Path) -> None:
    """The activation is a layer of its own behind batch normalisation, the top is pooled."""
    import keras

    image = output = keras.Input((96, 96, 3))
    for block in range(1, 6):
        output = keras.layers.Conv2D(8, 3, padding="same", name=f"block{block}_conv1")(output)
        output = keras.layers.BatchNormalization(name=f"block{block}_conv1_bn")(output)
        output = keras.layers.ReLU(name=f"block{block}_conv1_relu")(output)
        output = keras.layers.MaxPooling2D(name=f"block{block}_pool")(output)
    output = keras.layers.GlobalAveragePooling2D(name="average")(output)
    output = keras.layers.Dense(16, activation="relu", name="fc1")(output)
    model: Any = keras.Model(image, output)
    keras.utils.set_random_seed(0)
    for layer in model.layers:
        layer.set_weights(
            [np.random.default_rng(2).uniform(0.1, 0.4, w.shape) for w in layer.weights]
        )
    model.save(tmp_path / "own.keras")
    report = export(tmp_path / "own.keras", output=tmp_path / "own.onnx", locate=True)
    found = Locator(report.path, report.model_id, 2).activation(picture)
    assert found.shape == (40, 30, 8)
    assert found.min() >= 0
    assert found.max() > 0


def test_a_layer_in_front_of_it_is_refused(slim: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="block4_pool"):
        export(slim, output=tmp_path / "early.onnx", layer="block3_pool", pool="avg", locate=True)
    assert not list(tmp_path.iterdir())
