"""ImageNet's weights: where they are looked for, which file is taken, the download, the licence."""

from __future__ import annotations

import hashlib
import http.server
import importlib
import json
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from imagenet_data import write_like, write_small
from onnx import numpy_helper

from vsearch_fast import Embedder, Index
from vsearch_fast.datasets import garments
from vsearch_fast.errors import ExportError, ModelError
from vsearch_fast.export import backend, export, imagenet, weights

NOTOP = imagenet.FILES[False][0]
TOP = imagenet.FILES[True][0]

CREDIT = "VGG-16 ImageNet weights, Simonyan and Zisserman 2014, CC BY 4.0"


def quiet(_: str) -> None:
    """A log that nobody reads."""


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty KERAS_HOME, and no other place named."""
    home = tmp_path / "keras-home"
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.delenv(imagenet.VARIABLE, raising=False)
    return home


@pytest.fixture(scope="module")
def fake_imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("imagenet") / NOTOP)


@pytest.fixture
def trusted(fake_imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The fake file's MD5, taken for the true one."""
    md5 = hashlib.md5(fake_imagenet.read_bytes()).hexdigest()
    monkeypatch.setitem(imagenet.FILES, False, (NOTOP, md5))
    return md5


@pytest.fixture
def server(fake_imagenet: Path) -> Iterator[str]:
    """A web server with the fake file; its URL."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    handler = partial(Handler, directory=str(fake_imagenet.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_files_are_those_of_keras() -> None:
    backend.prepare()
    source = importlib.import_module("keras.src.applications.vgg16")
    assert source.WEIGHTS_PATH == imagenet.URL + TOP
    assert source.WEIGHTS_PATH_NO_TOP == imagenet.URL + NOTOP
    assert source.__file__ is not None
    text = Path(source.__file__).read_text()
    for _, md5 in imagenet.FILES.values():
        assert md5 in text


def test_no_network_says_where_keras_looks(
    keras_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:  # bound, not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(imagenet, "URL", f"http://127.0.0.1:{closed.getsockname()[1]}/")
        start = time.perf_counter()
        with pytest.raises(ExportError, match="cannot be downloaded") as caught:
            export(output=tmp_path / "model.onnx")
    assert time.perf_counter() - start < 10
    assert str(keras_home / "models" / TOP) in caught.value.cure
    assert "--weights FILE.keras" in caught.value.cure and "random:0" in caught.value.cure
    assert not (tmp_path / "model.onnx").exists()
    with pytest.raises(ExportError) as caught:
        export(layer="block5_pool", pool="avg", output=tmp_path / "model.onnx")
    assert str(keras_home / "models" / NOTOP) in caught.value.cure  # the small file is enough


def test_a_network_that_does_not_answer_is_given_up(
    keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert imagenet.PROBE_SECONDS < 10
    monkeypatch.setattr(imagenet, "PROBE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(imagenet, "URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        start = time.perf_counter()
        with pytest.raises(ExportError, match=r"timed out|no answer within"):
            weights.resolve("imagenet", "fc1", quiet)
        assert time.perf_counter() - start < 50


def test_a_resolver_that_hangs_is_given_up(
    keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(*_: object, **__: object) -> None:
        released.wait(60)
        raise OSError("too late")

    monkeypatch.setattr(imagenet, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.perf_counter()
    with pytest.raises(ExportError, match="no answer within"):
        weights.resolve("imagenet", "fc1", quiet)
    assert time.perf_counter() - start < 50  # and not for as long as it hangs
    released.set()


def test_weights_are_downloaded_once_and_cached(
    keras_home: Path,
    server: str,
    trusted: str,
    fake_imagenet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(imagenet, "URL", server)
    lines: list[str] = []
    options: dict[str, Any] = {"layer": "block1_conv1", "pool": "max", "input_size": 32}
    first = export(output=tmp_path / "first.onnx", log=lines.append, **options)
    assert any("asking http://127.0.0.1" in line for line in lines)
    assert (keras_home / "models" / NOTOP).read_bytes() == fake_imagenet.read_bytes()
    assert (first.trained, first.weights) == (True, "imagenet")
    assert first.weights_sha256 == hashlib.sha256(fake_imagenet.read_bytes()).hexdigest()
    lines.clear()
    monkeypatch.setattr(imagenet, "URL", "http://cached.invalid/")  # would not be found
    second = export(output=tmp_path / "second.onnx", log=lines.append, **options)
    assert not any("asking" in line for line in lines)
    assert second.model_id == first.model_id
    constants = {
        each.name: numpy_helper.to_array(each) for each in onnx.load(second.path).graph.initializer
    }
    kernel = constants["block1_conv1/kernel"]
    expected = np.random.default_rng(11).standard_normal((3, 3, 3, 64)).astype(np.float32) / 500
    np.testing.assert_array_equal(kernel, expected.transpose(3, 2, 0, 1))


def test_a_damaged_download_is_fetched_again(
    keras_home: Path, server: str, trusted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet, "URL", server)
    cached = keras_home / "models" / NOTOP
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half of it")
    found = weights.resolve("imagenet", "block1_conv1", quiet)
    assert found.path == cached
    assert hashlib.md5(cached.read_bytes()).hexdigest() == trusted
    cached.write_bytes(b"half of it")
    monkeypatch.setattr(imagenet, "URL", "http://127.0.0.1:9/")
    with pytest.raises(ExportError, match="the file there is damaged"):
        weights.resolve("imagenet", "block1_conv1", quiet)


def test_a_download_that_is_not_the_file_is_refused(
    keras_home: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet, "URL", server)  # has the fake file, whose MD5 is wrong
    with pytest.raises(ExportError, match="Incomplete or corrupted file"):
        weights.resolve("imagenet", "block1_conv1", quiet)
    with pytest.raises(ExportError, match="the server answers 404"):
        weights.resolve("imagenet", "fc1", quiet)


# Files of other writers, with the same numbers


@pytest.fixture
def like(keras_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of the right shapes, whose numbers are taken for the true ones; the
    download is out of reach."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setattr(imagenet, "CONVOLUTIONS_SHA256", write_like(folder / NOTOP))
    monkeypatch.setattr(imagenet, "URL", "http://127.0.0.1:9/")
    return folder


def in_kerass_place(keras_home: Path, file: Path) -> Path:
    place = keras_home / "models" / NOTOP
    place.parent.mkdir(parents=True)
    file.rename(place)
    return place


def test_another_writers_file_is_taken_where_keras_looks(keras_home: Path, like: Path) -> None:
    place = in_kerass_place(keras_home, like / NOTOP)
    lines: list[str] = []
    for layer in ("block1_conv1", "block5_pool", "flatten"):
        source = weights.resolve("imagenet", layer, lines.append)
        assert (source.path, source.label) == (place, "imagenet")
        assert source.sha256 == hashlib.sha256(place.read_bytes()).hexdigest()
    assert lines == [f"ImageNet weights: {place}"] * 3


@pytest.mark.parametrize("named", ["folder", "file"])
def test_the_variable_names_a_folder_or_a_file(
    like: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = like / NOTOP
    if named == "file":
        place = place.rename(like / "under another name.h5")
    monkeypatch.setenv(imagenet.VARIABLE, str(like if named == "folder" else place))
    assert weights.resolve("imagenet", "block5_pool", quiet).path == place
    assert weights.usual_layer("imagenet") == weights.usual_layer(str(place)) == "block5_pool"


def test_the_large_file_serves_every_layer(
    keras_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / TOP
    monkeypatch.setattr(imagenet, "CONVOLUTIONS_SHA256", write_like(file, dense=True))
    monkeypatch.setenv(imagenet.VARIABLE, str(tmp_path))
    for layer in ("block3_conv1", "fc1", "predictions"):
        assert weights.resolve("imagenet", layer, quiet).path == file
    assert weights.usual_layer("imagenet") == "fc1"


def test_keras_place_goes_before_the_variable(
    keras_home: Path, like: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = in_kerass_place(keras_home, like / NOTOP)
    monkeypatch.setenv(imagenet.VARIABLE, str(like / "gone"))
    assert weights.resolve("imagenet", "block1_conv1", quiet).path == place


@pytest.mark.parametrize("layer", ["block1_conv1", "block4_conv2", "block5_conv3"])
def test_one_other_number_is_another_network(
    keras_home: Path, like: Path, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_like(like / NOTOP, changed=layer)
    monkeypatch.setenv(imagenet.VARIABLE, str(like / NOTOP))
    with pytest.raises(ModelError, match=r"does not hold .*first numbers are right and others"):
        weights.resolve("imagenet", "block5_pool", quiet)
    monkeypatch.delenv(imagenet.VARIABLE)
    in_kerass_place(keras_home, like / NOTOP)
    with pytest.raises(ExportError, match="the file there is damaged: its first numbers"):
        weights.resolve("imagenet", "block5_pool", quiet)


def test_a_variable_that_names_nothing_of_use_is_told(
    keras_home: Path, fake_imagenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.h5"
    text.write_text("no weights")
    for named, why in (
        (tmp_path / "gone", "which does not exist"),
        (text, "it is no HDF5 file, or cut short"),
        (fake_imagenet, "the numbers of block1_conv1 are others"),
    ):
        monkeypatch.setenv(imagenet.VARIABLE, str(named))
        with pytest.raises(ModelError, match=why) as caught:
            weights.resolve("imagenet", "block5_pool", quiet)
        assert str(named) in caught.value.cause and imagenet.VARIABLE in caught.value.cause


@pytest.mark.parametrize("have", [True, False])
def test_without_the_dense_weights_it_says_what_works(
    like: Path, keras_home: Path, have: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if have:
        monkeypatch.setenv(imagenet.VARIABLE, str(like / NOTOP))
    for layer in weights.DENSE_LAYERS:
        with pytest.raises(ExportError) as caught:
            weights.resolve("imagenet", layer, quiet)
        said = str(caught.value)
        assert f"{layer} lies behind dense weights" in said
        assert str(keras_home / "models" / TOP) in said
        for cure in ("--layer block5_pool --unit-length", "vsearch train --base imagenet"):
            assert cure in said
        assert (f"{like / NOTOP} (it has no dense layer fc1)" in said) is have
        assert (f"which {like / NOTOP} holds" in said) is have
        assert (f"which need {NOTOP} alone" in said) is not have


def test_a_named_file_without_dense_layers_says_so_too(like: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"fc2 lies behind them.*--layer block5_pool"):
        export(like / NOTOP, layer="fc2", output=tmp_path / "model.onnx")


def test_origin_and_licence_go_into_the_file_and_the_index(
    like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsearch_fast.cli import vsearch

    monkeypatch.setenv(imagenet.VARIABLE, str(like))
    options: dict[str, Any] = {"layer": "block1_pool", "pool": "avg", "input_size": 32}
    for name, spec in (("named", "imagenet"), ("given", like / NOTOP)):
        embedder = Embedder(export(spec, output=tmp_path / f"{name}.onnx", **options).path)
        said = embedder.metadata["attribution"]
        assert said.startswith(CREDIT) and "block1_pool" in said and "ONNX" in said
    with Index.create(
        tmp_path / "an.index", 64, model_id=embedder.model_id, model=embedder.description
    ):
        pass
    result = CliRunner().invoke(vsearch, ["info", str(tmp_path / "an.index")])
    assert said in result.output
    other = export("random:0", output=tmp_path / "other.onnx", **options)
    assert "attribution" not in Embedder(other.path).metadata


# The true weights, where they are


@pytest.fixture
def true_weights(imagenet_weights: Path, keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with them is named by the variable, and there is no network."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("somebody asked for a network")

    monkeypatch.setenv(imagenet.VARIABLE, str(imagenet_weights))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return imagenet_weights / NOTOP


def test_features_of_the_last_pooling_are_keras_own(true_weights: Path, tmp_path: Path) -> None:
    from vsearch_fast.export import verify

    backend.prepare()
    import keras

    report = export(layer="block5_pool", unit_length=True, output=tmp_path / "pool5.onnx")
    assert (report.dim, report.input_size, report.trained) == (25088, 224, True)
    assert report.weights_sha256 == hashlib.sha256(true_weights.read_bytes()).hexdigest()
    pixels = verify.synthetic_pictures(3, 224)
    model = keras.applications.VGG16(weights=str(true_weights), include_top=False)
    inputs = keras.applications.vgg16.preprocess_input(pixels.astype(np.float32))
    expected = np.asarray(model(inputs)).reshape(3, -1)
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    session = ort.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"image": pixels})
    apart = np.linalg.norm(features - expected, axis=1)
    assert (apart <= verify.FP32_RELATIVE_ERROR).all()
    assert Embedder(report.path).metadata["attribution"].startswith(CREDIT)


def test_a_head_is_learnt_on_the_true_convolutions(true_weights: Path, tmp_path: Path) -> None:
    from vsearch_fast.cli import vsearch

    garments.render_catalogue(tmp_path / "garments", items=20, views=2, seed=5, size=(64, 80))
    file = tmp_path / "head.keras"
    words = [
        *("train", "--data", str(tmp_path / "garments"), "--base", "imagenet", "--units", "16"),
        *("--input-size", "32", "--epochs", "1", "--quiet", "-o", str(file)),
    ]
    result = CliRunner().invoke(vsearch, words)
    assert result.exit_code == 0, result.output
    with zipfile.ZipFile(file) as archive:
        record = json.loads(archive.read("training.json"))
    assert record["attribution"] == f"{CREDIT}; trained further by vsearch train"
    assert record["recipe"]["base"] == "imagenet"
    digest = hashlib.sha256(true_weights.read_bytes()).hexdigest()
    assert record["recipe"]["base_sha256"] == digest
    metadata = Embedder(export(file, output=tmp_path / "head.onnx").path).metadata
    assert metadata["attribution"].startswith(record["attribution"])


def test_the_true_numbers_are_known_whoever_wrote_them(true_weights: Path) -> None:
    assert imagenet.why_not(true_weights, dense=False) == ""
    assert imagenet.why_not(true_weights, dense=True) == "it has no dense layer fc1"
