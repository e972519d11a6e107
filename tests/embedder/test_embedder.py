"""embedder.py on a tiny network: order, laziness, skipping, shutting down, refusals."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_model import write_tiny_model

from vsearch_fast import images
from vsearch_fast._pipeline import run_ahead
from vsearch_fast.embedder import Batch, Embedder, ImageSkippedWarning
from vsearch_fast.errors import ArgumentError, ImageError, MissingDependencyError, ModelError

ort = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install 'vsearch_fast[cpu]'"
)

CPU = ["CPUExecutionProvider"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def embedder(model: Path) -> Embedder:
    return Embedder(model, batch_size=4, threads=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven PNG pictures of different sizes, two of them in a sub-folder."""
    root = tmp_path / "pictures"
    (root / "more").mkdir(parents=True)
    for number in range(11):
        where = root / "more" if number > 8 else root
        Image.fromarray(picture(number)).save(where / f"{number:02}.png")
    return root


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*rng.integers(5, 60, 2), 3)).astype(np.uint8)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(seed)).save(file, "PNG")
    return file.getvalue()


def direct(model: Path, sources: list, boxes: list | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Features and codes by a session of its own, one picture at a time."""
    session = ort.InferenceSession(str(model), providers=CPU)
    pixels = [
        images.load(source, 32, None if boxes is None else boxes[i])
        for i, source in enumerate(sources)
    ]
    runs = [session.run(["features", "codes"], {"image": array[None]}) for array in pixels]
    return np.concatenate([run[0] for run in runs]), np.concatenate([run[1] for run in runs])


def ahead_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "vsearch-ahead" in thread.name]


# What comes out ----------------------------------------------------------------------------


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
    singles = [path, str(path), png(3), Image.open(path), picture(3), tmp_path]
    for single in singles:
        np.testing.assert_array_equal(embedder.embed(single), expected)
    many = [singles[:-1], tuple(singles[:-1]), iter(singles[:-1]), np.stack([picture(3)] * 5)]
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


# Boxes -------------------------------------------------------------------------------------


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


# Pictures that cannot be read --------------------------------------------------------------


def broken(folder: Path) -> list[Path]:
    """Three files of the folder that are no pictures; first, in the middle, and last."""
    (folder / "00.png").write_bytes(b"")
    (folder / "05.png").write_bytes(png(5)[:60])
    (folder / "zz.jpg").write_text("no picture")
    return [folder / "00.png", folder / "05.png", folder / "zz.jpg"]


def test_a_broken_picture_raises_by_name(embedder: Embedder, folder: Path) -> None:
    names = broken(folder)
    with pytest.raises(ImageError, match=r"00\.png is empty"):
        embedder.embed(folder)
    with pytest.raises(ImageError, match="Picture 1 is empty"):
        embedder.embed([png(0), b""])
    with pytest.raises(ImageError, match=r"The box 5, 5, 2, 2 of Picture 0 is empty"):
        embedder.embed(picture(0), (5, 5, 2, 2))
    with pytest.raises(ImageError, match="is a folder"):
        embedder.embed([names[1].parent, names[1].parent])
    assert ahead_threads() == []


@pytest.mark.parametrize("kind", ["embed", "codes"])
def test_broken_pictures_are_skipped_and_told(embedder: Embedder, folder: Path, kind: str) -> None:
    names = broken(folder)
    call = getattr(embedder, kind)
    files = images.find_images(folder)
    good = call([file for file in files if file not in names])
    for source in (folder, iter(files)):
        with pytest.warns(ImageSkippedWarning) as caught:
            rows = call(source, on_error="skip")
        np.testing.assert_array_equal(rows, good)
        assert [Path(skip.name) for skip in embedder.skipped] == names
        assert [files[skip.position] for skip in embedder.skipped] == names
        messages = [str(warning.message) for warning in caught]
        for name, skip, message in zip(names, embedder.skipped, messages, strict=True):
            assert skip.reason in message and str(name) in message
        assert {warning.filename for warning in caught} == {__file__}
    call([picture(0)])
    assert embedder.skipped == []


def test_nothing_but_broken_pictures(embedder: Embedder) -> None:
    with pytest.warns(ImageSkippedWarning):
        assert embedder.embed([b"x"] * 9, on_error="skip").shape == (0, 64)
    assert len(embedder.skipped) == 9
    with pytest.warns(ImageSkippedWarning):
        batches = list(embedder.stream([b"x"] * 9, on_error="skip"))
    assert [len(batch.skipped) for batch in batches] == [9]
    assert batches[0].features.shape == (0, 64) and batches[0].codes.shape == (0, 8)


@pytest.mark.parametrize("call", ["embed", "codes", "stream"])
def test_an_unknown_on_error_is_refused_at_once(embedder: Embedder, call: str) -> None:
    with pytest.raises(ArgumentError, match="on_error is 'ignore'"):
        getattr(embedder, call)([], on_error="ignore")


# Streams -----------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=30))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_picture_is_in_exactly_one_batch(embedder: Embedder, good: list[bool]) -> None:
    pixels = picture(0)
    sources = [pixels if fine else b"" for fine in good]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageSkippedWarning)
        batches = list(embedder.stream(iter(sources), on_error="skip"))
    kept = [int(position) for batch in batches for position in batch.positions]
    skipped = [skip.position for batch in batches for skip in batch.skipped]
    assert kept == [position for position, fine in enumerate(good) if fine]
    assert skipped == [position for position, fine in enumerate(good) if not fine]
    for batch in batches:
        assert isinstance(batch, Batch) and batch.positions.dtype == np.int64
        assert batch.features.shape == (len(batch.positions), 64)
        np.testing.assert_array_equal(batch.codes, np.packbits(batch.features > 0, axis=-1))
    assert all(len(batch.positions) == 4 for batch in batches[:-1])


def test_a_stream_is_lazy_and_bounded(embedder: Embedder) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield pixels

    pixels = picture(0)
    stream = embedder.stream(endless())
    assert taken == 0
    for count, _ in enumerate(stream, start=1):
        # Two batches ahead, and the picture whose arrival let the last result go.
        assert taken <= 4 * count + 2 * 4 + 1
        if count == 25:
            break
    assert len(ahead_threads()) == 2
    stream.close()
    assert ahead_threads() == []


def test_the_iterable_is_advanced_in_the_callers_thread(embedder: Embedder) -> None:
    seen = set()

    def sources() -> Iterator[np.ndarray]:
        for seed in range(9):
            seen.add(threading.current_thread())
            yield picture(seed)

    embedder.embed(sources())
    assert seen == {threading.current_thread()}


def test_an_error_in_the_iterable_reaches_the_caller(embedder: Embedder) -> None:
    def sources() -> Iterator[np.ndarray]:
        yield picture(0)
        raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        embedder.embed(sources())
    assert ahead_threads() == []


@pytest.mark.parametrize(("count", "words"), [(5, "more than the 4"), (3, "fewer than the 4")])
def test_a_wrong_len_is_told(embedder: Embedder, count: int, words: str) -> None:
    class Wrong(list):
        def __len__(self) -> int:
            return 4

    with pytest.raises(ArgumentError, match=words):
        embedder.embed(Wrong([picture(0)] * count))


def test_progress_shows_rate_and_time_left(
    embedder: Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [picture(seed) for seed in range(9)]
    embedder.embed(sources, progress=True)
    shown = capsys.readouterr().err
    assert "9/9" in shown and "images/s" in shown and "<" in shown  # elapsed<left
    list(embedder.stream(iter(sources), progress=True, total=9))
    assert "9/9" in capsys.readouterr().err
    embedder.embed(iter(sources), progress=True)
    assert "9 images" in capsys.readouterr().err
    embedder.embed(sources)
    assert capsys.readouterr() == ("", "")


def test_many_threads_may_embed_at_once(embedder: Embedder) -> None:
    sources = [picture(seed) for seed in range(9)]
    expected = embedder.embed(sources)
    results: list[np.ndarray] = []
    callers = [
        threading.Thread(target=lambda: results.append(embedder.embed(sources))) for _ in range(6)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 6
    for result in results:
        np.testing.assert_array_equal(result, expected)


# Shutting down -----------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "exception", "exhaustion", "step"])
def test_run_ahead_leaves_no_thread(end: str) -> None:
    started = []

    def step(item: int) -> int:
        started.append(item)
        time.sleep(0.02)
        if end == "step" and item == 3:
            raise LookupError(item)
        return item

    def items() -> Iterator[int]:
        for item in range(40 if end == "exhaustion" else 10**6):
            if end == "exception" and item == 30:
                raise LookupError(item)
            yield item

    results = run_ahead(step, items(), threads=3, depth=20)
    begun = time.perf_counter()
    if end == "close":
        assert next(results) == 0
        results.close()
    elif end == "exhaustion":
        assert list(results) == list(range(40))
    else:
        with pytest.raises(LookupError):
            list(results)
    assert ahead_threads() == []
    if end != "exhaustion":
        assert len(started) < 20  # what was queued and not begun is dropped
        assert time.perf_counter() - begun < 5


def test_ctrl_c_ends_a_run_at_once(model: Path) -> None:
    code = """
import itertools, sys, threading
import numpy as np
from vsearch_fast.embedder import Embedder

embedder = Embedder(sys.argv[1], batch_size=8, threads=2)
picture = np.zeros((900, 900, 3), np.uint8)
print("running", flush=True)
try:
    for batch in embedder.stream(itertools.repeat(picture)):
        pass
except KeyboardInterrupt:
    print([thread.name for thread in threading.enumerate()], flush=True)
    raise
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    interrupted = time.perf_counter()
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()  # of an endless run nothing may be left
    assert time.perf_counter() - interrupted < 5
    assert out == "['MainThread']\n"
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in err


# Models ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"format": None}, "was not exported by vsearch_fast"),
        ({"model_id": None}, "was not exported by vsearch_fast"),
        ({"format": "2"}, "model format 2, and this version reads 1"),
        ({"input_size": "x"}, "whole numbers"),
        ({"dim": None}, "whole numbers"),
        ({"input_size": "33"}, "inputs"),
        ({"dim": "72"}, "outputs"),
        ({"resize": "cubic"}, "resize rule 'cubic'"),
    ],
)
def test_foreign_models_are_refused(
    tmp_path: Path, overrides: dict[str, str | None], words: str
) -> None:
    path = write_tiny_model(tmp_path / "model.onnx", metadata=overrides)
    with pytest.raises(ModelError, match=words) as caught:
        Embedder(path)
    assert str(path) in caught.value.cause and caught.value.cure and caught.value.consequence


def test_files_that_are_no_models_are_refused(tmp_path: Path, model: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:-3000])
    for name, words in {
        "missing.onnx": "does not exist",
        ".": "is a folder",
        "text.onnx": "cannot load",
        "empty.onnx": "cannot load|not exported",
        "cut.onnx": "cannot load",
    }.items():
        with pytest.raises(ModelError, match=words) as caught:
            Embedder(tmp_path / name)
        assert str(tmp_path / name) in caught.value.cause and "vsearch export" in caught.value.cure


def test_a_missing_runtime_names_its_extra(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'vsearch_fast\[cpu\]'"):
        Embedder(model)


def test_providers(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Embedder(model, providers=CPU).providers == CPU
    assert Embedder(model, providers=[(CPU[0], {})]).providers == CPU
    with pytest.raises(ArgumentError, match="lacks NoSuchExecutionProvider"):
        Embedder(model, providers=["NoSuchExecutionProvider", *CPU])
    with pytest.raises(ArgumentError, match="no execution provider"):
        Embedder(model, providers=[])

    # A provider whose library does not load: ONNX Runtime offers it, and then goes without.
    bare = ort.InferenceSession

    def fallen_back(path: str, options: object, providers: list, **more: object) -> object:
        return bare(path, options, providers=CPU, **more)

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", *CPU])
    monkeypatch.setattr(ort, "InferenceSession", fallen_back)
    with pytest.raises(ModelError, match="could not start CUDAExecutionProvider"):
        Embedder(model, providers=["CUDAExecutionProvider", *CPU])


@pytest.mark.parametrize("name", ["batch_size", "threads", "max_pixels"])
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_sizes_below_one_are_refused(model: Path, name: str, value: int) -> None:
    with pytest.raises(ArgumentError, match=f"{name} is {value}"):
        Embedder(model, **{name: value})


def test_max_pixels_reaches_the_decoder(model: Path) -> None:
    embedder = Embedder(model, max_pixels=99)
    assert embedder.embed(np.zeros((9, 11), np.uint8)).shape == (1, 64)
    with pytest.raises(ImageError, match="limit of 99"):
        embedder.embed(np.zeros((10, 10), np.uint8))


def test_importing_the_module_loads_no_runtime() -> None:
    code = (
        "import sys, vsearch_fast.embedder\n"
        "heavy = {'onnxruntime', 'numba', 'tensorflow', 'keras', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Real photos -------------------------------------------------------------------------------


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
