"""The exported file: its contract, its agreement with Keras, what it holds and what not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper
from slim_models import branched_model, fill, slim_model, write_slim_model

from vsearch_fast.errors import ArgumentError, ExportError, ImageError
from vsearch_fast.export import ExportReport, export, write_classes


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slim model's .keras file: 64 pixels, fc1 and fc2 of 40 units."""
    return write_slim_model(tmp_path_factory.mktemp("slim") / "slim.keras")


@pytest.fixture(scope="module")
def exported(slim: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """The slim model exported at fc1, fp32."""
    return export(slim, output=tmp_path_factory.mktemp("fp32") / "fc1.onnx")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Pictures that the export has not verified with."""
    return np.random.default_rng(5).integers(0, 256, (7, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of forty pictures to calibrate on."""
    from PIL import Image

    from vsearch_fast.export import verify

    folder = tmp_path_factory.mktemp("pictures")
    for i, array in enumerate(verify.synthetic_pictures(40, 48)):
        Image.fromarray(array).save(folder / f"{i:02}.png")
    return folder


def keras_features(model_file: Path, layer: str, pixels: np.ndarray) -> np.ndarray:
    """The layer's output by Keras alone, without any code of the export."""
    import keras

    model = keras.models.load_model(model_file)
    until = keras.Model(model.inputs, model.get_layer(layer).output)
    inputs = keras.applications.vgg16.preprocess_input(pixels.astype(np.float32))
    return np.asarray(until.predict(inputs, verbose=0))


def run(path: Path, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    features, codes = session.run(["features", "codes"], {"image": pixels})
    return features, codes


def metadata(path: Path) -> dict[str, str]:
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    prefix = "vsearch_fast."
    assert all(key.startswith(prefix) for key in entries)
    return {key.removeprefix(prefix): value for key, value in entries.items()}


def test_inputs_and_outputs_are_as_the_contract_says(exported: ExportReport) -> None:
    session = ort.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    described = {each.name: (each.type, each.shape) for each in session.get_inputs()}
    assert described == {"image": ("tensor(uint8)", ["n", 64, 64, 3])}
    described = {each.name: (each.type, each.shape) for each in session.get_outputs()}
    assert described == {
        "features": ("tensor(float)", ["n", 40]),
        "codes": ("tensor(uint8)", ["n", 5]),
    }
    onnx.checker.check_model(str(exported.path), full_check=True)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_features_are_those_of_keras_at_any_batch_size(
    slim: Path, exported: ExportReport, pixels: np.ndarray, count: int
) -> None:
    expected = keras_features(slim, "fc1", pixels)
    features, codes = run(exported.path, pixels[:count])
    assert features.dtype == np.float32
    assert 0.1 < (expected > 0).mean() < 0.9  # the comparison would say nothing otherwise
    np.testing.assert_allclose(features, expected[:count], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(codes, np.packbits(features > 0, axis=-1))


def test_metadata_says_what_the_file_is(slim: Path, exported: ExportReport) -> None:
    import hashlib

    entries = metadata(exported.path)
    versions = json.loads(entries.pop("exporter"))
    assert len(entries.pop("asked")) == 64
    assert {"vsearch_fast", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime"} <= set(
        versions
    )
    assert entries == {
        "format": "1",
        "model_id": exported.model_id,
        "layer": "fc1",
        "pool": "",
        "weights": "slim.keras",
        "weights_sha256": hashlib.sha256(slim.read_bytes()).hexdigest(),
        "classes": "[]",
        "precision": "fp32",
        "input_size": "64",
        "resize": "nearest",
        "dim": "40",
        "trained": "yes",
    }


def test_model_id_is_the_hash_of_the_graph_without_metadata(exported: ExportReport) -> None:
    import hashlib

    proto = onnx.load(exported.path)
    del proto.metadata_props[:]
    body = proto.SerializeToString(deterministic=True)
    assert exported.model_id == hashlib.sha256(body).hexdigest()


def test_report_holds_the_figures(exported: ExportReport) -> None:
    figures = exported.figures
    assert figures.samples == 12
    assert figures.relative_error <= 1e-4
    assert figures.cosine > 0.999999
    assert figures.recall_l2 == figures.recall_hamming == 1.0
    assert exported.file_size == exported.path.stat().st_size
    assert list(exported.seconds)[-1] == "total"
    assert exported.pictures.startswith("drawn pictures")


def test_same_weights_give_the_same_model_id_in_any_process(
    slim: Path, exported: ExportReport, tmp_path: Path
) -> None:
    branched = tmp_path / "branched.keras"
    branched_model(before=9).save(branched)
    options: dict[str, Any] = {"layer": "end", "preprocess": "tf"}
    ids = [
        export(slim, output=tmp_path / "again.onnx").model_id,
        export(branched, output=tmp_path / "again.onnx", **options).model_id,
    ]
    assert ids[0] == exported.model_id
    program = (
        "import sys; from vsearch_fast.export import export; "
        "print(export(sys.argv[1], output=sys.argv[3]).model_id, "
        "export(sys.argv[2], output=sys.argv[3], layer='end', preprocess='tf').model_id)"
    )
    other = subprocess.run(
        [sys.executable, "-c", program, slim, branched, tmp_path / "other.onnx"],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.split() == ids


def test_another_layer_or_weights_give_another_model_id(
    slim: Path, exported: ExportReport, tmp_path: Path
) -> None:
    fc2 = export(slim, layer="fc2", output=tmp_path / "fc2.onnx")
    other = export(
        write_slim_model(tmp_path / "other.keras", seed=1), output=tmp_path / "other.onnx"
    )
    assert len({exported.model_id, fc2.model_id, other.model_id}) == 3


def test_layers_behind_the_chosen_one_are_left_out(
    slim: Path, exported: ExportReport, tmp_path: Path
) -> None:
    names = {each.name for each in onnx.load(exported.path).graph.initializer}
    assert {"block1_conv1/kernel", "block5_conv3/bias", "fc1/kernel"} <= names
    assert not any(name.startswith(("fc2", "predictions")) for name in names)
    fc2 = export(slim, layer="fc2", output=tmp_path / "fc2.onnx")
    assert "fc2/kernel" in {each.name for each in onnx.load(fc2.path).graph.initializer}


def test_graph_has_no_needless_nodes(exported: ExportReport) -> None:
    proto = onnx.load(exported.path)
    count: dict[str, int] = {}
    for node in proto.graph.node:
        count[node.op_type] = count.get(node.op_type, 0) + 1
    assert count == {
        "Transpose": 2,  # into channels first at the input, back for Keras' flatten
        "Gather": 1,
        "Cast": 3,
        "Sub": 1,
        "Conv": 13,
        "Relu": 14,
        "MaxPool": 5,
        "Reshape": 2,
        "MatMul": 2,
        "Add": 1,
        "Greater": 1,
    }
    constants = {each.name for each in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Conv":
            assert set(node.input[1:]) <= constants  # its kernel is stored as ONNX wants it


@pytest.mark.parametrize("layer", ["block2_conv1", "block5_pool"])
@pytest.mark.parametrize("pool", ["", "avg", "max"])
def test_convolutional_layers_are_flattened_or_pooled(
    slim: Path, pixels: np.ndarray, tmp_path: Path, layer: str, pool: str
) -> None:
    report = export(slim, layer=layer, pool=pool, output=tmp_path / "conv.onnx")
    maps = keras_features(slim, layer, pixels)
    expected = {
        "": lambda: maps.reshape(len(maps), -1),
        "avg": lambda: maps.mean(axis=(1, 2)),
        "max": lambda: maps.max(axis=(1, 2)),
    }[pool]()
    features, codes = run(report.path, pixels)
    assert report.dim == expected.shape[1]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(codes, np.packbits(features > 0, axis=-1))
    assert metadata(report.path)["pool"] == pool


@pytest.mark.parametrize("units", [1, 7, 9, 63])
def test_codes_of_any_width_are_filled_up_with_zeros(
    tmp_path: Path, pixels: np.ndarray, units: int
) -> None:
    file = write_slim_model(tmp_path / "odd.keras", units=units, seed=3)
    features, codes = run(export(file, output=tmp_path / "odd.onnx").path, pixels)
    assert codes.shape == (7, -(-units // 8))
    np.testing.assert_array_equal(codes, np.packbits(features > 0, axis=-1))


def test_input_size_can_be_changed_before_the_dense_layers(slim: Path, tmp_path: Path) -> None:
    report = export(
        slim, layer="block5_pool", pool="avg", input_size=96, output=tmp_path / "large.onnx"
    )
    assert report.input_size == 96
    pixels = np.zeros((1, 96, 96, 3), np.uint8)
    assert run(report.path, pixels)[0].shape == (1, 32)


def test_a_model_of_open_size_takes_the_size_asked_for_or_224(tmp_path: Path) -> None:
    file = write_slim_model(tmp_path / "open.keras", size=None)
    options: dict[str, Any] = {"layer": "block5_pool", "pool": "max"}
    small = export(file, input_size=64, output=tmp_path / "64.onnx", **options)
    usual = export(file, output=tmp_path / "224.onnx", **options)
    assert (small.input_size, usual.input_size) == (64, 224)


def test_other_layers_of_vgg_like_models_convert(tmp_path: Path, pixels: np.ndarray) -> None:
    from vsearch_fast.export import backend

    backend.prepare()
    import keras

    base = slim_model(size=None)
    model = keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            base,
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(24, name="embedding"),
        ]
    )
    file = tmp_path / "sequential.keras"
    rng = np.random.default_rng(2)
    norm = model.layers[1]
    norm.set_weights([rng.uniform(0.5, 1.5, each.shape) for each in norm.get_weights()])
    model.save(file)
    report = export(file, layer="embedding", output=tmp_path / "sequential.onnx")
    np.testing.assert_allclose(
        run(report.path, pixels)[0], keras_features(file, "embedding", pixels), rtol=1e-4, atol=1e-5
    )


def test_class_names_travel_with_the_model(slim: Path, tmp_path: Path) -> None:
    file = tmp_path / "named.keras"
    file.write_bytes(slim.read_bytes())
    write_classes(file, ["coat", "shoe", "été"])
    report = export(file, output=tmp_path / "named.onnx")
    assert json.loads(metadata(report.path)["classes"]) == ["coat", "shoe", "été"]
    assert report.classes == 3


def test_fp16_keeps_types_and_halves_the_file(
    slim: Path, exported: ExportReport, pixels: np.ndarray, tmp_path: Path
) -> None:
    report = export(slim, precision="fp16", output=tmp_path / "half.onnx")
    features, codes = run(report.path, pixels)
    assert features.dtype == np.float32
    assert report.figures.cosine >= 0.999
    np.testing.assert_array_equal(codes, np.packbits(features > 0, axis=-1))
    np.testing.assert_allclose(features, run(exported.path, pixels)[0], rtol=0.02, atol=0.02)
    proto = onnx.load(report.path)
    types = {each.name: each.data_type for each in proto.graph.initializer}
    assert types["fc1/kernel"] == types["block1_conv1/kernel"] == TensorProto.FLOAT16
    # Pixels minus mean is computed in float32: float16 would round the mean.
    sub = next(node for node in proto.graph.node if node.op_type == "Sub")
    assert types[sub.input[1]] == TensorProto.FLOAT
    assert report.file_size < 0.7 * exported.file_size


def test_fp16_refuses_weights_that_float16_cannot_hold(tmp_path: Path) -> None:
    model = slim_model()
    kernel = model.get_layer("fc1").kernel
    kernel.assign(np.asarray(kernel) * 1e6)
    model.save(tmp_path / "large.keras")
    with pytest.raises(ExportError, match=r"fc1/kernel has values beyond 65504.*--precision fp32"):
        export(tmp_path / "large.keras", precision="fp16", output=tmp_path / "large.onnx")
    assert [each.name for each in tmp_path.iterdir()] == ["large.keras"]


@pytest.fixture(scope="module")
def int8(slim: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """The slim model at fc2, int8."""
    return export(
        slim,
        layer="fc2",
        precision="int8",
        calibrate=[pictures],
        output=tmp_path_factory.mktemp("int8") / "fc2.onnx",
    )


def test_int8_meets_its_bars_and_keeps_types(int8: ExportReport, pixels: np.ndarray) -> None:
    assert int8.figures.cosine >= 0.98
    assert int8.figures.bits_different <= 0.03
    assert int8.figures.recall_l2 is not None and int8.figures.recall_hamming is not None
    assert int8.calibrated_on + int8.figures.samples == 40  # verified with others
    features, codes = run(int8.path, pixels)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(codes, np.packbits(features > 0, axis=-1))


def test_int8_quantises_all_but_the_last_layer(int8: ExportReport) -> None:
    proto = onnx.load(int8.path)
    types = {each.name: each.data_type for each in proto.graph.initializer}
    assert types["fc2/kernel"] == types["fc2/bias"] == TensorProto.FLOAT
    quantised = [name for name, kind in types.items() if kind == TensorProto.INT8]
    assert sum("conv" in name and name.endswith("kernel_quantized") for name in quantised) == 13
    assert "fc1/kernel_quantized" in quantised
    scale = next(
        each for each in proto.graph.initializer if each.name == "block3_conv1/kernel_scale"
    )
    assert numpy_helper.to_array(scale).shape == (16,)  # one a channel
    # Behind the last dense layer nothing is rounded: a small positive stays a set bit.
    producer = {name: node for node in proto.graph.node for name in node.output}
    assert producer["features"].op_type == "Relu"
    behind = [node.op_type for node in proto.graph.node[-8:]]
    assert "QuantizeLinear" not in behind and "DequantizeLinear" not in behind


def test_int8_needs_two_layers_with_weights(slim: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="nothing to quantise"):
        export(
            slim,
            layer="block1_conv1",
            pool="avg",
            precision="int8",
            calibrate=[pictures],
            output=tmp_path / "one.onnx",
        )
    assert not any(tmp_path.iterdir())


def test_int8_of_real_photos_meets_its_bars(photos: Path, tmp_path: Path) -> None:
    file = write_slim_model(tmp_path / "slim.keras", units=256)
    report = export(
        file, precision="int8", calibrate=[photos / "images"], output=tmp_path / "photos.onnx"
    )
    assert report.calibrated_on == 48 and report.figures.samples == 36
    assert report.figures.cosine >= 0.98
    assert report.figures.bits_different <= 0.03


def test_pictures_named_to_verify_with_are_used(slim: Path, pictures: Path, tmp_path: Path) -> None:
    named = [pictures / "03.png", pictures / "11.png"]
    report = export(slim, verify_images=named, output=tmp_path / "named.onnx")
    assert report.figures.samples == 2
    assert report.figures.recall_l2 is None
    assert report.pictures == "the pictures named by --verify-images"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no file or folder"), (b"", "cannot be read"), (b"text", "cannot be read")],
)
def test_a_picture_that_cannot_be_read_is_named(
    slim: Path, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    picture = tmp_path / "picture.jpg"
    if content is not None:
        picture.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        export(slim, verify_images=[picture], output=tmp_path / "never.onnx")
    assert str(picture) in caught.value.cause
    assert not (tmp_path / "never.onnx").exists()


def test_a_folder_without_pictures_is_named(slim: Path, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    with pytest.raises(ImageError, match=r"no pictures in .*none"):
        export(slim, precision="int8", calibrate=[folder], output=tmp_path / "never.onnx")


def test_a_dead_network_is_refused(tmp_path: Path) -> None:
    model = slim_model()
    fill(model, 0)
    dense = model.get_layer("fc1")
    dense.kernel.assign(np.zeros(dense.kernel.shape))
    dense.bias.assign(-np.ones(dense.bias.shape))
    model.save(tmp_path / "dead.keras")
    with pytest.raises(ExportError, match="features of all sample pictures are zero"):
        export(tmp_path / "dead.keras", output=tmp_path / "dead.onnx")


def test_drawn_pictures_are_the_same_every_time() -> None:
    from vsearch_fast.export import verify

    first, second = (verify.synthetic_pictures(4, 32) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.std() > 30
    assert len(np.unique(first.reshape(4, -1), axis=0)) == 4
