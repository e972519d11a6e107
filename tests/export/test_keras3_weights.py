"""--weights FILE.weights.h5 of Keras 3: VGG-16 alone, in another model, layer by layer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from vsearch_fast.errors import ModelError
from vsearch_fast.export import keras3, weights

PIXELS = np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def trunk() -> Any:
    """keras.applications.VGG16 for 32 pixels without its top, biases drawn too."""
    from vsearch_fast.export import backend

    backend.prepare()
    import keras

    keras.utils.set_random_seed(5)
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if layer.weights:
            layer.bias.assign(rng.standard_normal(layer.bias.shape) * 0.02)
    first = model.get_layer("block1_conv1").kernel
    first.assign(np.asarray(first) / 8)  # pixels are large
    return model


def plain(trunk: Any) -> Any:
    return trunk


def nested(trunk: Any) -> Any:
    import keras
    from keras import layers

    head = [layers.Flatten(), layers.Dropout(0.5), layers.Dense(8, "relu"), layers.Dense(3)]
    return keras.Sequential([keras.Input((32, 32, 3)), trunk, *head])


def functional(trunk: Any) -> Any:
    import keras
    from keras import layers

    image = keras.Input((32, 32, 3))
    inner = trunk(keras.applications.vgg16.preprocess_input(layers.RandomFlip()(image)))
    pooled = layers.BatchNormalization()(layers.GlobalAveragePooling2D()(inner))
    return keras.Model(image, layers.Dense(3)(pooled))


def deep(trunk: Any) -> Any:
    import keras
    from keras import layers

    inner = keras.Sequential([keras.Input((32, 32, 3)), trunk, layers.Flatten()])
    return keras.Sequential([keras.Input((32, 32, 3)), inner, layers.Dense(3)])


def flat(trunk: Any) -> Any:
    import keras
    from keras import layers

    pooled = layers.GlobalAveragePooling2D()(trunk.output)
    return keras.Model(trunk.inputs, layers.Dense(3)(pooled))


def copied(trunk: Any, **names: str) -> list[Any]:
    """The layers anew, named by Keras unless `names` says how."""
    made = []
    for layer in trunk.layers[1:]:
        config = layer.get_config()
        config["name"] = names.get(layer.name)
        made.append(type(layer).from_config(config))
    return made


def given(model: Any, trunk: Any) -> Any:
    model.set_weights(trunk.get_weights() + model.get_weights()[26:])
    return model


def unnamed(trunk: Any) -> Any:
    import keras

    return given(keras.Sequential([keras.Input((32, 32, 3)), *copied(trunk)]), trunk)


def with_top(trunk: Any) -> Any:
    import keras
    from keras import layers

    top = [layers.Flatten(), layers.Dense(4096, "relu"), layers.Dense(3, "softmax")]
    return given(keras.Sequential([keras.Input((32, 32, 3)), *copied(trunk), *top]), trunk)


def with_rescaling(trunk: Any) -> Any:
    import keras
    from keras import layers

    return keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 255), trunk])


def normalised(trunk: Any) -> Any:
    import keras
    from keras import layers

    parts = copied(trunk)
    parts.insert(1, layers.BatchNormalization())
    return keras.Sequential([keras.Input((32, 32, 3)), *parts])


def in_parts(trunk: Any) -> Any:
    import keras

    parts = copied(trunk)
    halves = [keras.Sequential(parts[:6]), keras.Sequential(parts[6:])]
    return given(keras.Sequential([keras.Input((32, 32, 3)), *halves]), trunk)


def two_swapped(trunk: Any, others: bool) -> Any:
    """Two convolutions with each other's names; the others with their own, or Keras' names."""
    import keras

    names = {each.name: each.name for each in trunk.layers} if others else {}
    names |= {"block3_conv2": "block3_conv3", "block3_conv3": "block3_conv2"}
    return keras.Sequential([keras.Input((32, 32, 3)), *copied(trunk, **names)])


def without_a_pool(trunk: Any) -> Any:
    import keras

    return keras.Sequential([keras.Input((32, 32, 3)), *copied(trunk)[:-1]])


Make = Callable[[Any], Any]


def features(source: weights.Source, layer: str) -> np.ndarray:
    """What `layer` gives of PIXELS, (3, d)."""
    from vsearch_fast.export.vgg16 import feature_model

    model, _ = feature_model(source, layer, "", 32)
    return model.predict(prepared(), verbose=0)


def prepared() -> np.ndarray:
    import keras

    return keras.applications.vgg16.preprocess_input(PIXELS.astype(np.float32))


@pytest.fixture(params=[True, False], ids=["names", "no names"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Any], Path]]:
    """Saves weights, with or without the names that newer versions add."""

    def save(model: Any) -> Path:
        file = tmp_path / "it.weights.h5"
        model.save_weights(file)
        if not request.param:
            with h5py.File(file, "a") as handle:
                handle.visititems(lambda _, entry: entry.attrs.pop("name", None) and None)
        return file

    yield save
    shutil.rmtree(tmp_path)  # 60 MB each


@pytest.mark.parametrize("make", [plain, nested, functional, deep, flat, unnamed, with_top])
def test_the_features_are_those_of_the_model(
    trunk: Any, saved: Callable[[Any], Path], make: Make
) -> None:
    model = make(trunk)
    file = saved(model)
    said: list[str] = []
    source = weights.resolve(str(file), "block5_pool", said.append)
    assert source.kind == "weights"
    expected = trunk.predict(prepared(), verbose=0).reshape(3, -1)
    np.testing.assert_allclose(features(source, "block5_pool"), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected).max() > 1e-3
    if said:
        assert "taken by their order" in said[0]
    if make is with_top:
        expected = until(model, -2)
        source = weights.resolve(str(file), "fc1", said.append)
        np.testing.assert_allclose(features(source, "fc1"), expected, rtol=1e-4, atol=1e-6)
        with pytest.raises(ModelError, match=r"which of its layers is VGG-16's fc2.*4096 x 3"):
            weights.resolve(str(file), "fc2", said.append)
    elif make is not plain and make is not unnamed:
        with pytest.raises(ModelError, match="which of its layers is VGG-16's fc1"):
            weights.resolve(str(file), "fc1", said.append)


def until(model: Any, position: int) -> np.ndarray:
    import keras

    part = keras.Model(model.inputs, model.layers[position].output)
    return part.predict(prepared(), verbose=0)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (with_rescaling, "rescaling.*that VGG-16 has not"),
        (normalised, "batch_normalization.*that VGG-16 has not"),
        (in_parts, "convolutions in several models"),
        (without_a_pool, "4 poolings"),
    ],
)
def test_what_cannot_be_told_for_sure_is_refused(
    trunk: Any, saved: Callable[[Any], Path], make: Make, why: str
) -> None:
    file = saved(make(trunk))
    with pytest.raises(ModelError, match=why) as refused:
        weights.resolve(str(file), "block5_pool", print)
    assert str(file) in str(refused.value) and "model.save('FILE.keras')" in refused.value.cure


@pytest.mark.parametrize(
    ("others", "why"),
    [(False, "by order and shape it is block3_conv2"), (True, "order of its layers do not agree")],
)
def test_names_against_the_order_are_refused(
    trunk: Any, tmp_path: Path, others: bool, why: str
) -> None:
    file = tmp_path / "it.weights.h5"
    two_swapped(trunk, others).save_weights(file)
    with pytest.raises(ModelError, match=why):
        weights.resolve(str(file), "block5_pool", print)


def test_training_starts_from_such_a_file(trunk: Any, tmp_path: Path) -> None:
    from vsearch_fast.export.train import _base
    from vsearch_fast.export.training.network import load_base

    file = tmp_path / "it.weights.h5"
    nested(trunk).save_weights(file)
    base = load_base(_base(str(file), print))
    for layer in trunk.layers[1:]:
        for ours, theirs in zip(
            base.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True
        ):
            assert np.array_equal(ours, theirs)


def test_an_optimiser_keeps_no_layers(tmp_path: Path) -> None:
    """Of a trained model's own ``model.weights.h5``; shapes alone are looked at here."""
    file = tmp_path / "it.weights.h5"
    before = 3
    with h5py.File(file, "w") as handle:
        for turn, (_, channels) in enumerate(keras3.CONVOLUTIONS):
            group = f"layers/conv2d{f'_{turn}' if turn else ''}/vars"
            handle.create_dataset(f"{group}/0", (3, 3, before, channels), "f4")
            handle.create_dataset(f"{group}/1", (channels,), "f4")
            handle.create_dataset(f"optimizer/vars/{turn}", (3, 3, before, channels), "f4")
            before = channels
    found = weights.resolve(str(file), "block5_pool", print)
    assert found.places["block5_conv3"] == "layers/conv2d_12" and not found.dense


def test_arrays_of_another_program_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.h5"
    with h5py.File(file, "w") as handle:
        for turn in range(13):
            handle.create_dataset(f"features.{turn}.weight", (64, 3, 3, 3), "f4")
    with pytest.raises(ModelError, match="laid out neither as Keras 2 nor as Keras 3"):
        weights.resolve(str(file), "block5_pool", print)
