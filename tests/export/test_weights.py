"""--weights: seeded networks and weights files; and verify.py."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from imagenet_data import write_small
from onnx import numpy_helper
from slim_models import write_slim_model

from vsearch_fast.errors import ArgumentError, ExportError, ModelError
from vsearch_fast.export import backend, export, weights, write_classes


def initializers(path: Path) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("layer", ["fc1", "fc2", "flatten"])
def test_dense_layers_of_imagenet_need_224(layer: str) -> None:
    from vsearch_fast.export import vgg16

    source = weights.Source(
        "imagenet", "legacy-weights", dense=((25088, 4096), (4096, 4096), (4096, 1000))
    )
    with pytest.raises(ArgumentError, match=r"--input-size 256 .*imagenet.*224 fits.*block5_pool"):
        vgg16.feature_model(source, layer, "", 256)


# Seeded networks


def test_a_seeded_network_is_the_same_everywhere(tmp_path: Path) -> None:
    options: dict[str, Any] = {"layer": "block1_conv2", "pool": "avg", "input_size": 32}
    lines: list[str] = []
    first = export("random:7", output=tmp_path / "7.onnx", log=lines.append, **options)
    other = export("random:8", output=tmp_path / "8.onnx", **options)
    assert any(line.startswith("UNTRAINED NETWORK: random:7") for line in lines)
    assert not first.trained
    assert first.weights_sha256 != other.weights_sha256
    # The numbers are NumPy's: each layer's own generator, He-normal.
    kernel = np.random.default_rng([7, 1]).standard_normal((3, 3, 64, 64), dtype=np.float32)
    kernel *= np.float32((2 / (3 * 3 * 64)) ** 0.5)
    np.testing.assert_array_equal(
        initializers(first.path)["block1_conv2/kernel"], kernel.transpose(3, 2, 0, 1)
    )


def test_a_seeded_network_neither_dies_nor_explodes(tmp_path: Path) -> None:
    from vsearch_fast.export import verify

    report = export("random:0", layer="fc2", input_size=32, output=tmp_path / "random.onnx")
    session = ort.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"image": verify.synthetic_pictures(8, 32)})
    assert 0.2 < (features > 0).mean() < 0.8
    assert 0.01 < features.std() < 100


def test_weights_do_not_depend_on_where_the_network_is_cut(tmp_path: Path) -> None:
    paths = [
        export(
            "random:3", layer=layer, pool="avg", input_size=32, output=tmp_path / f"{layer}.onnx"
        ).path
        for layer in ("block2_conv1", "block2_conv2")
    ]
    short, long = (initializers(path) for path in paths)
    np.testing.assert_array_equal(short["block2_conv1/kernel"], long["block2_conv1/kernel"])


# Weights files of the whole VGG-16


@pytest.fixture(scope="module")
def keras_vgg16() -> Any:
    """keras.applications.VGG16 for 32 pixels and 7 classes, with Keras' initial weights."""
    backend.prepare()
    import keras

    keras.utils.set_random_seed(1)
    model = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=7)
    first = model.get_layer("block1_conv1").kernel
    first.assign(np.asarray(first) / 8)  # pixels are large
    return model


def test_network_is_that_of_keras(keras_vgg16: Any) -> None:
    from vsearch_fast.export import vgg16

    ours = vgg16.vgg16(32, classes=7)
    assert tuple(layer.name for layer in ours.layers[1:]) == weights.LAYERS
    for mine, theirs in zip(ours.layers[1:], keras_vgg16.layers[1:], strict=True):
        a, b = mine.get_config(), theirs.get_config()
        a.pop("kernel_initializer", None), b.pop("kernel_initializer", None)
        assert (type(mine), a) == (type(theirs), b)


@pytest.mark.parametrize("suffix", [".weights.h5", ".legacy.h5"])
def test_weights_files_of_both_kinds(keras_vgg16: Any, tmp_path: Path, suffix: str) -> None:
    import keras

    file = tmp_path / f"vgg16{suffix}"
    if suffix == ".weights.h5":
        keras_vgg16.save_weights(file)
    else:
        import h5py  # type: ignore[import-untyped]

        legacy = importlib.import_module("keras.src.legacy.saving.legacy_h5_format")
        with h5py.File(file, "w") as handle:
            legacy.save_weights_to_hdf5_group(handle, keras_vgg16)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    inputs = keras.applications.vgg16.preprocess_input(pixels.astype(np.float32))
    for layer, size in (("fc1", None), ("block5_pool", 32)):
        report = export(file, layer=layer, input_size=size, output=tmp_path / "model.onnx")
        assert (report.input_size, report.weights) == (32, file.name)
        until = keras.Model(keras_vgg16.inputs[0], keras_vgg16.get_layer(layer).output)
        expected = np.asarray(until(inputs)).reshape(3, -1)
        session = ort.InferenceSession(report.path, providers=["CPUExecutionProvider"])
        (features,) = session.run(["features"], {"image": pixels})
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_dense_weights_fit_one_size_only(keras_vgg16: Any, tmp_path: Path) -> None:
    file = tmp_path / "vgg16.weights.h5"
    keras_vgg16.save_weights(file)
    with pytest.raises(ArgumentError, match=r"fc1 takes 512 numbers.*32 fits"):
        export(file, input_size=64, output=tmp_path / "model.onnx")
    report = export(
        file, layer="block3_pool", pool="avg", input_size=64, output=tmp_path / "model.onnx"
    )
    assert (report.input_size, report.dim) == (64, 256)  # convolutions take any size


def test_legacy_weights_without_a_layer_are_refused(tmp_path: Path) -> None:
    import h5py

    file = write_small(tmp_path / "renamed.h5")
    with h5py.File(file, "a") as handle:
        handle.move("block1_conv1", "first")
    with pytest.raises(ModelError, match=r"no weights for the layers block1_conv1 of VGG-16"):
        export(file, layer="block1_conv1", input_size=32, output=tmp_path / "model.onnx")


def test_class_names_need_a_keras_file(tmp_path: Path) -> None:
    file = tmp_path / "not.keras"
    file.write_bytes(b"text")
    with pytest.raises(ModelError, match="no zip archive"):
        write_classes(file, ["a"])


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1, 2]"])
def test_wrong_class_names_are_refused(tmp_path: Path, content: str) -> None:
    import zipfile

    file = write_slim_model(tmp_path / "slim.keras")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("classes.json", content)
    with pytest.raises(ModelError, match=r"its classes\.json is no"):
        export(file, output=tmp_path / "model.onnx")


# The verdict


@pytest.fixture
def reference() -> np.ndarray:
    return np.maximum(np.random.default_rng(0).standard_normal((12, 64)), 0).astype(np.float32)


def compare(reference: np.ndarray, features: np.ndarray) -> Any:
    from vsearch_fast.export import verify

    return verify.compare(reference, features, np.packbits(features > 0, axis=-1))


def test_figures_of_equal_features(reference: np.ndarray) -> None:
    figures = compare(reference, reference)
    assert (figures.relative_error, figures.bits_different) == (0.0, 0.0)
    assert (figures.recall_l2, figures.recall_hamming) == (1.0, 1.0)
    assert figures.cosine == pytest.approx(1.0)


def test_figures_are_those_of_the_worst_picture(reference: np.ndarray) -> None:
    features = reference.copy()
    features[3] *= 1.5
    figures = compare(reference, features)
    assert figures.relative_error == pytest.approx(0.5)
    assert figures.cosine == pytest.approx(1.0)
    features[5] = -reference[5]
    figures = compare(reference, features)
    assert figures.cosine == pytest.approx(-1.0)
    assert figures.bits_different == (reference[5] > 0).sum() / reference.size


def test_recall_counts_neighbours_in_common() -> None:
    rows = np.arange(13, dtype=np.float32)[:, None]
    figures = compare(rows + 1, rows[::-1] + 1)
    assert figures.recall_l2 == 1.0  # mirrored: the same neighbours
    swapped = rows.copy()
    swapped[[0, 12]] = swapped[[12, 0]]
    assert compare(rows, swapped).recall_l2 == pytest.approx(62 / 78)  # six each of thirteen


@pytest.mark.parametrize(
    ("precision", "change", "passes"),
    [
        ("fp32", 0.9e-4, True),
        ("fp32", 1.1e-4, False),
        ("fp16", 0.04, True),
        ("fp16", 0.06, False),
        ("int8", 0.15, True),
        ("int8", 0.30, False),
    ],
)
def test_bars(reference: np.ndarray, precision: str, change: float, passes: bool) -> None:
    """A change of relative size e, at right angles and without new bits: cosine 1 - e²/2."""
    from vsearch_fast.export import verify

    noise = np.random.default_rng(1).standard_normal(reference.shape) * (reference > 0)
    noise -= (
        (noise * reference).sum(1, keepdims=True) / (reference**2).sum(1, keepdims=True) * reference
    )
    noise *= np.linalg.norm(reference, axis=1, keepdims=True) / np.linalg.norm(
        noise, axis=1, keepdims=True
    )
    figures = compare(reference, (reference + change * noise).astype(np.float32))
    if passes:
        verify.judge(figures, precision)
    else:
        with pytest.raises(ExportError, match="disagrees with Keras"):
            verify.judge(figures, precision)


def test_int8_bits_bar(reference: np.ndarray) -> None:
    from vsearch_fast.export import verify

    features = reference.copy()
    zeros = np.argwhere(reference == 0)
    for share, passes in ((0.029, True), (0.032, False)):
        rows = zeros[: int(share * reference.size)]
        features[tuple(rows.T)] = 1e-6
        figures = compare(reference, features)
        if passes:
            verify.judge(figures, "int8")
        else:
            with pytest.raises(ExportError, match=r"3\.\d\d% of the bits differ, at most 3%"):
                verify.judge(figures, "int8")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_have_to_be_finite(reference: np.ndarray, value: float) -> None:
    features = reference.copy()
    features[2, 7] = value
    with pytest.raises(ExportError, match="infinite or not a number"):
        compare(reference, features)


def test_features_have_to_be_of_the_same_shape(reference: np.ndarray) -> None:
    with pytest.raises(ExportError, match=r"features are float32 of shape \(12, 63\)"):
        compare(reference, reference[:, :63])


# The real size


@pytest.mark.posix
@pytest.mark.full
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_full_vgg16_in_time_and_memory(photos: Path, tmp_path: Path, precision: str) -> None:
    program = (
        "import json, resource, sys\n"
        "from vsearch_fast.export import export\n"
        "report = export('random:0', output=sys.argv[1], precision=sys.argv[2],\n"
        "                calibrate=sys.argv[3:4] if sys.argv[2] == 'int8' else ())\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(json.dumps([report.seconds['total'], peak * 1024, report.dim, report.file_size]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "full.onnx", precision, photos / "images"],
        capture_output=True,
        text=True,
        check=True,
    )
    import json

    seconds, peak, dim, size = json.loads(done.stdout)
    assert dim == 4096
    assert size > 200e6
    assert peak < 4.5 * 2**30
    assert seconds < 60
