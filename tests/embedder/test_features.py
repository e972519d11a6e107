"""embedder.py on a tiny network: what comes out of it, of every kind of source and by boxes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from embedding_data import CPU, direct, picture, png
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_model import write_tiny_model

from vsearch_fast import images
from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import ArgumentError

ort = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install '.[cpu]'"
)


def test_attributes(embedder: Embedder) -> None:
    assert (embedder.dim, embedder.input_size, embedder.resize) == (64, 32, "nearest")
    assert len(embedder.model_id) == 64 and set(embedder.model_id) <= set("0123456789abcdef")
    assert embedder.metadata["weights"] == "random:0" and embedder.metadata["trained"] == "no"
    assert embedder.providers == CPU
    assert (embedder.batch_size, embedder.threads, embedder.skipped) == (4, 2, [])


def test_features_and_codes_equal_a_bare_session(embedder: Embedder, model: Path) -> None:
    sources = [picture(seed) for seed in range(11)]
    features, codes = direct(model, sources)
    embedded, coded = embedder.embed(sources), embedder.codes(sources)
    assert embedded.dtype == np.float32 and coded.dtype == np.uint8
    np.testing.assert_array_equal(embedded, features)
    np.testing.assert_array_equal(coded, codes)
    np.testing.assert_array_equal(coded, np.packbits(embedded > 0, axis=-1))
    assert 0.3 < (embedded > 0).mean() < 0.7


@given(batch_size=st.integers(1, 13), threads=st.integers(1, 4), count=st.integers(0, 12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_batch_size_and_threads_change_nothing(
    embedder: Embedder, model: Path, batch_size: int, threads: int, count: int
) -> None:
    sources = [picture(seed) for seed in range(count)]
    other = Embedder(model, batch_size=batch_size, threads=threads)
    np.testing.assert_array_equal(other.embed(sources), embedder.embed(sources))


def test_a_dimension_that_is_no_multiple_of_eight(tmp_path: Path) -> None:
    embedder = Embedder(write_tiny_model(tmp_path / "odd.onnx", input_size=21, dim=13))
    features, codes = embedder.embed([picture(0)] * 2), embedder.codes([picture(0)] * 2)
    assert features.shape == (2, 13) and codes.shape == (2, 2)
    np.testing.assert_array_equal(codes, np.packbits(features > 0, axis=-1))
    assert embedder.embed([]).shape == (0, 13) and embedder.codes([]).shape == (0, 2)


@pytest.mark.parametrize("resize", ["bilinear", "lanczos"])
def test_the_models_resize_rule_is_applied(tmp_path: Path, resize: str) -> None:
    model = write_tiny_model(tmp_path / "model.onnx", resize=resize)
    session = ort.InferenceSession(str(model), providers=CPU)
    pixels = images.load(picture(1), 32, resize=resize)
    expected = session.run(["features"], {"image": pixels[None]})[0]
    np.testing.assert_array_equal(Embedder(model).embed(picture(1)), expected)


@pytest.mark.parametrize("resize", ["nearest", "lanczos"])
def test_pixels_are_what_the_network_is_fed(tmp_path: Path, resize: str) -> None:
    embedder = Embedder(write_tiny_model(tmp_path / "tiny.onnx", resize=resize))
    path = tmp_path / "a.png"
    Image.effect_noise((90, 60), 80).convert("RGB").save(path)
    for box in (None, (10, 5, 70, 50)):
        pixels = embedder.pixels(path, box)
        assert pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8
        np.testing.assert_array_equal(embedder.embed([pixels]), embedder.embed(path, box))


def test_every_kind_of_source(embedder: Embedder, tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(png(3))
    expected = embedder.embed([picture(3)])
    assert expected.shape == (1, 64)
    singles: list[images.Source] = [path, str(path), png(3), Image.open(path), picture(3), tmp_path]
    for single in singles:
        np.testing.assert_array_equal(embedder.embed(single), expected)
    many: list[Iterable[images.Source]] = [
        singles[:-1],
        tuple(singles[:-1]),
        iter(singles[:-1]),
        np.stack([picture(3)] * 5),
    ]
    many += [np.array([str(path)] * 5), (source for source in singles[:-1])]
    for several in many:
        np.testing.assert_array_equal(embedder.embed(several), np.repeat(expected, 5, axis=0))


def test_a_folder_is_its_pictures_in_order(embedder: Embedder, folder: Path) -> None:
    (folder / "notes.txt").write_text("no picture")
    expected = embedder.embed([picture(number) for number in range(11)])
    np.testing.assert_array_equal(embedder.embed(folder), expected)
    np.testing.assert_array_equal(embedder.embed(str(folder)), expected)


@pytest.mark.parametrize("odd", [7, None, io.BytesIO(b"x"), np.zeros((2, 9, 9), np.uint8)])
def test_what_is_no_picture_is_refused(embedder: Embedder, odd: object) -> None:
    with pytest.raises(ArgumentError, match="Nothing was read"):
        embedder.embed(odd)  # type: ignore[arg-type]


def test_an_empty_folder_is_refused(embedder: Embedder, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="holds no picture files"):
        embedder.embed(tmp_path)


def test_boxes_cut_their_pictures(embedder: Embedder, model: Path) -> None:
    sources = [picture(seed) for seed in range(6)]
    boxes = [(0, 0, 4, 5), None, [1, 1, 5, 5], None, np.array([0.2, 1.6, 4, 4]), (-9, -9, 3, 99)]
    expected, _ = direct(model, sources, boxes)
    np.testing.assert_array_equal(embedder.embed(sources, boxes), expected)
    np.testing.assert_array_equal(embedder.embed(iter(sources), iter(boxes)), expected)
    for single in ((0, 0, 4, 5), [0, 0, 4, 5], np.array([0, 0, 4, 5]), [(0, 0, 4, 5)]):
        np.testing.assert_array_equal(embedder.embed(sources[0], single), expected[:1])
    np.testing.assert_array_equal(
        embedder.embed(sources[:2], np.array([[0, 0, 4, 5], [0, 0, 99, 99]])), expected[:2]
    )
    np.testing.assert_array_equal(embedder.embed(sources[1], [None]), expected[1:2])


@pytest.mark.parametrize("difference", [-1, 1])
@pytest.mark.parametrize("lazy", [False, True])
def test_unequal_numbers_of_boxes_are_refused(
    embedder: Embedder, lazy: bool, difference: int
) -> None:
    sources: list = [picture(0)] * 9
    boxes: list = [None] * (9 + difference)
    with pytest.raises(ArgumentError, match="boxes do not match the pictures"):
        embedder.embed(iter(sources) if lazy else sources, iter(boxes) if lazy else boxes)
    with pytest.raises(ArgumentError, match="boxes do not match the pictures"):
        embedder.embed(sources[0], [(0, 0, 2, 2), (0, 0, 2, 2)])


def test_malformed_boxes_are_refused(embedder: Embedder) -> None:
    for boxes in (7, "0,0,2,2", b"1234"):
        with pytest.raises(ArgumentError, match="Boxes of type"):
            embedder.embed([picture(0)], boxes)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="not four numbers"):
        embedder.embed([picture(0)] * 4, (0, 0, 2, 2))  # one box for four pictures


def test_real_photos(tmp_path: Path, photos: Path, model: Path, embedder: Embedder) -> None:
    files = images.find_images(photos / "images")[:200]
    expected, codes = direct(model, files)
    np.testing.assert_array_equal(embedder.embed(files), expected)
    np.testing.assert_array_equal(embedder.codes(files), codes)
    assert len(np.unique(codes, axis=0)) > 190


def test_the_tiny_model_is_reproducible(tmp_path: Path) -> None:
    write: Callable[..., Path] = write_tiny_model
    first, second = write(tmp_path / "a.onnx"), write(tmp_path / "b.onnx")
    assert first.read_bytes() == second.read_bytes()
    ids = {Embedder(write(tmp_path / "c.onnx", seed=seed)).model_id for seed in (0, 1, 2)}
    assert len(ids) == 3 and Embedder(first).model_id in ids
