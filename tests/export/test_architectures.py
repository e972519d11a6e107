"""The networks of ``keras.applications``: each by its name, with its own size and preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from application_models import built, drawn, features
from click.testing import CliRunner

from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import ArgumentError, ExportError, ModelError
from vsearch_fast.export import export, weights
from vsearch_fast.export.__main__ import command
from vsearch_fast.export.architectures import ARCHITECTURES, LAST, chosen, find

PIXELS = np.random.default_rng(11).integers(0, 256, (3, 64, 64, 3), np.uint8)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_names_are_those_of_keras() -> None:
    import keras

    every = {
        name for name in dir(keras.applications)
        if name[0].isupper() and callable(getattr(keras.applications, name))
    }  # fmt: skip
    assert {each.builder for each in ARCHITECTURES.values()} == every
    assert len(ARCHITECTURES) == len(every)
    assert find("ResNet50V2").name == find("resnet50_v2").name == "resnet50-v2"


def test_sizes_are_those_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras
    from keras.src.applications import imagenet_utils

    class Told(Exception):
        pass

    def told(input_shape: Any, default_size: int, **_: Any) -> None:
        raise Told(default_size)

    monkeypatch.setattr(imagenet_utils, "obtain_input_shape", told)
    for each in ARCHITECTURES.values():
        try:
            size = getattr(keras.applications, each.builder)(weights=None).inputs[0].shape[1]
            assert each.builder.startswith("MobileNetV3") and size is None
            assert each.size == 224  # as its docstring has it
        except Told as error:
            assert error.args == (each.size,), each


def test_preprocessing_is_that_of_each_network() -> None:
    from vsearch_fast.export.verify import keras_input

    for each in ARCHITECTURES.values():
        own = features(each.builder, lambda prepared, training: prepared, PIXELS)
        np.testing.assert_array_equal(keras_input(PIXELS, each.prepares), own, each.name)


@pytest.mark.parametrize(
    "name,suffix", [("mobilenet-v3-small", ".weights.h5"), ("mobilenet", ".h5")]
)
def test_a_network_from_its_weights(name: str, suffix: str, tmp_path: Path) -> None:
    """Of the network with its classifier as of that without: the features are the same."""
    known = find(name)
    whole = built(known.builder, 64, include_top=True)
    bare = built(known.builder, 64, include_top=False, pooling="avg")
    bare.set_weights(whole.get_weights()[: len(bare.weights)])
    expected = features(known.builder, bare, PIXELS)
    ids = set()
    for model in (bare, whole):
        file = tmp_path / f"{len(model.weights)}{suffix}"
        model.save_weights(file) if suffix != ".h5" else model.save(file)
        report = export(
            file, output=tmp_path / "out.onnx", architecture=known.builder, input_size=64
        )
        ids.add(report.model_id)
        embedder = Embedder(report.path, "cpu")
        assert relative(embedder.embed(PIXELS), expected) < 1e-4
        assert embedder.metadata["architecture"] == name
        assert (report.layer, report.pool, report.trained) == (LAST, "avg", True)
        assert embedder.description["layer"] == LAST
    assert len(ids) == 1


def test_other_layers_and_poolings(tmp_path: Path) -> None:
    import keras

    bare = built("MobileNet", 64, include_top=False)
    file = tmp_path / "bare.weights.h5"
    bare.save_weights(file)
    until = keras.Model(bare.inputs[0], bare.get_layer("conv_pw_6_relu").output)
    for layer, model in ((LAST, bare), ("conv_pw_6_relu", until)):
        report = export(
            file, output=tmp_path / "a.onnx", architecture="mobilenet", input_size=64,
            layer=layer, pool="max", unit_length=True,
        )  # fmt: skip
        expected = features("MobileNet", model, PIXELS).max(axis=(1, 2))
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        assert relative(Embedder(report.path, "cpu").embed(PIXELS), expected) < 1e-4
    with pytest.raises(ArgumentError, match="the layer lies behind it"):
        export(
            file, output=tmp_path / "b.onnx", architecture="mobilenet", input_size=64,
            layer="predictions",
        )  # fmt: skip
    assert chosen("vgg16", None, "")[1:] == chosen("vgg19", None, "")[1:] == ("fc1", "")
    assert chosen("resnet50", None, "max")[1:] == (LAST, "max")
    assert chosen("vgg16", LAST, "")[1:] == (LAST, "")  # which VGG-16 refuses


def test_imagenet_weights_come_by_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras builds EfficientNet otherwise for ImageNet's weights; a file of them is told so."""
    from keras.src.utils import file_utils

    from vsearch_fast.export.applications import attribution, feature_model

    trained = built("EfficientNetB0", 64, include_top=False)
    normalisation = trained.get_layer("normalization")
    means, variances = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
    normalisation.set_weights([means, variances, np.array(0)])
    file = tmp_path / "efficientnetb0_notop.weights.h5"
    trained.save_weights(file)
    asked = []

    def get_file(name: str, url: str, **options: Any) -> str:
        asked.append(url)
        return str(file)

    monkeypatch.setattr(file_utils, "get_file", get_file)
    found = []
    for spec in ("imagenet", str(file)):
        source = weights.resolve(spec, LAST, lambda _: None, "efficientnet-b0")
        model, digest = feature_model(source, LAST, "avg", 64)
        found.append(np.asarray(model(PIXELS.astype(np.float32), training=False)))
        assert len(digest) == 64
        assert attribution(source).endswith("EfficientNetB0" if spec == "imagenet" else "")
    assert asked and all(url.endswith("efficientnetb0_notop.h5") for url in asked)
    assert relative(found[1], found[0]) < 1e-5
    plain = np.asarray(trained(PIXELS.astype(np.float32), training=False)).mean(axis=(1, 2))
    assert relative(found[1], plain) > 1e-3  # without the step that Keras adds


def test_a_download_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.utils import file_utils

    def get_file(name: str, url: str, **options: Any) -> str:
        raise Exception(f"URL fetch failure on {url}: None -- no route to host")

    monkeypatch.setattr(file_utils, "get_file", get_file)
    with pytest.raises(ExportError, match=r"mobilenet_1_0_224_tf_no_top\.h5.*no route") as refused:
        export(output=tmp_path / "a.onnx", architecture="mobilenet")
    assert "random:0" in refused.value.cure and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments,error,match",
    [
        ({"architecture": "resnet51"}, ArgumentError, "no architecture resnet51"),
        ({"architecture": "mobilenet", "weights": "random:x"}, ArgumentError, "name a seed"),
        ({"architecture": "mobilenet", "weights": "WHOLE"}, ArgumentError, "is a whole model"),
        ({"architecture": "mobilenet", "weights": "OTHER"}, ModelError, "holds 2 arrays"),
        ({"architecture": "mobilenet", "weights": "TEXT"}, ModelError, "neither a .keras nor"),
        (
            {"architecture": "mobilenet", "weights": "random:0", "preprocess": "torch"},
            ArgumentError, "weights of mobilenet",
        ),
        (
            {"architecture": "inception-v3", "weights": "random:0", "input_size": 32},
            ArgumentError, "does not fit inception-v3",
        ),
        (
            {"architecture": "mobilenet", "weights": "random:0", "layer": "fc1"},
            ArgumentError, "no layer fc1",
        ),
        ({"weights": "random:0", "layer": LAST}, ArgumentError, "VGG-16 has no layer last"),
    ],
)  # fmt: skip
def test_refusals(
    arguments: dict[str, Any], error: type[Exception], match: str, tmp_path: Path
) -> None:
    from vsearch_fast.export import backend

    backend.prepare()
    import keras

    small = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(2, 3)])
    small.save(tmp_path / "whole.keras")
    small.save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "text.h5").write_text("no weights at all")
    files = {"WHOLE": "whole.keras", "OTHER": "other.weights.h5", "TEXT": "text.h5"}
    if arguments.get("weights") in files:
        arguments = {**arguments, "weights": tmp_path / files[arguments["weights"]]}
    with pytest.raises(error, match=match):
        export(output=tmp_path / "a.onnx", **{"input_size": 64, **arguments})
    assert not (tmp_path / "a.onnx").exists()


def test_the_command(tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    line = ["--architecture", "mobilenet-v3-small", "--weights", "random:3", "--input-size", "64"]
    done = CliRunner().invoke(command, [*line, "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert "576 features from last, avg pooled" in done.output
    again = CliRunner().invoke(command, [*line, "-o", str(output)])
    assert "is exported already" in again.output
    other = CliRunner().invoke(command, [*line[:3], "random:4", *line[4:], "-o", str(output)])
    assert other.exit_code == 1 and "random:3" in other.output
    wrong = CliRunner().invoke(command, ["--architecture", "lenet", "-o", str(output)])
    assert wrong.exit_code == 2 and "efficientnetv2-b0" in wrong.output


@pytest.mark.parametrize("prepare", ["tf", "torch"])
def test_whole_models_behind_another_preprocessing(prepare: str, tmp_path: Path) -> None:
    import keras
    from slim_models import slim_model

    model = slim_model()
    model.save(tmp_path / "m.keras")
    report = export(
        tmp_path / "m.keras", output=tmp_path / "m.onnx", layer="predictions", preprocess=prepare
    )
    module = {"tf": keras.applications.mobilenet, "torch": keras.applications.densenet}[prepare]
    expected = np.asarray(model(module.preprocess_input(PIXELS.astype(np.float32))))
    assert relative(Embedder(report.path, "cpu").embed(PIXELS), expected) < 1e-4


def grouped(image: Any) -> Any:
    from keras import layers

    output = layers.Conv2D(8, 3, strides=2, activation="gelu")(image)
    output = layers.Conv2D(12, 3, groups=4, padding="same", dilation_rate=2)(output)
    output = layers.Conv2D(24, 5, groups=12, padding="same", use_bias=False)(output)
    return layers.GlobalAveragePooling2D(name="pooled")(layers.Activation("gelu")(output))


def whole(tmp_path: Path, body: Callable[[Any], Any]) -> tuple[Any, Path]:
    from vsearch_fast.export import backend

    backend.prepare()
    import keras

    image = keras.Input((64, 64, 3))
    model = drawn(keras.Model(image, body(image)), 5)
    model.save(tmp_path / "own.keras")
    return model, tmp_path / "own.keras"


def test_what_tf2onnx_does_not_know_is_put_otherwise(tmp_path: Path) -> None:
    model, file = whole(tmp_path, grouped)
    report = export(file, output=tmp_path / "a.onnx", layer="pooled", preprocess="tf")
    expected = features("MobileNet", model, PIXELS)
    assert relative(Embedder(report.path, "cpu").embed(PIXELS), expected) < 1e-5


def test_what_onnx_does_not_have_is_named(tmp_path: Path) -> None:
    import keras

    def strange(image: Any) -> Any:
        output = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(image))
        return keras.layers.Dense(4, name="end")(keras.ops.erfinv(0.5 * keras.ops.tanh(output)))

    _, file = whole(tmp_path, strange)
    with pytest.raises(ExportError, match=r"does not know TensorFlow's Erfinv \(1 times\)"):
        export(file, output=tmp_path / "a.onnx", layer="end", preprocess="inside")
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"vgg16"}))
def test_every_network(name: str, tmp_path: Path) -> None:
    """At a small size, which has all layers; its weights through a file."""
    known, size = find(name), 96
    top = known.layer != LAST
    options: dict[str, Any] = {} if top else {"pooling": "avg"}
    model = built(known.builder, size, include_top=top, **options)
    file = tmp_path / "drawn.weights.h5"
    model.save_weights(file)
    pixels = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), np.uint8)
    if top:
        import keras

        model = keras.Model(model.inputs[0], model.get_layer(known.layer).output)
    expected = features(known.builder, model, pixels)
    del model
    report = export(file, output=tmp_path / "a.onnx", architecture=name, input_size=size)
    error = relative(Embedder(report.path, "cpu").embed(pixels), expected)
    print(f"\n{name}: {report.dim} features, relative error {error:.1e}")
    assert error < 1e-4
