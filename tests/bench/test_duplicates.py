"""The benchmark of duplicates, against its definitions."""

from __future__ import annotations

import io
import json
import sys
import types

import numpy as np
import pytest
from benchmark_scripts import importable
from click.testing import CliRunner
from PIL import Image
from tiny_model import write_tiny_model

from vsearch_fast.kernels import reference


@pytest.fixture
def script():
    """`benchmarks/duplicates.py`."""
    with importable():
        sys.modules.pop("duplicates", None)
        import duplicates

        yield duplicates
    sys.modules.pop("duplicates", None)


def picture(seed, size=(80, 60)):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("metric", ["cosine", "hamming"])
def test_recall_and_precision_are_what_they_are_defined_as(script, metric):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 64)).astype(np.float32)
    rows[30:] = rows[:10] + 0.05 * rng.standard_normal((10, 64)).astype(np.float32)
    chosen = np.arange(5, 20)
    noisy = {
        kind: rows[chosen] + noise * rng.standard_normal((15, 64)).astype(np.float32)
        for kind, noise in (("near", 0.05), ("far", 0.8))
    }
    thresholds: tuple[float, ...] = (0.02, 0.3, 0.9)
    compared: np.ndarray = rows
    copied: dict[str, np.ndarray] = dict(noisy)
    if metric == "hamming":
        compared, thresholds = reference.pack_bits(rows), (3, 12, 27)
        copied = {kind: reference.pack_bits(each) for kind, each in noisy.items()}
    got = script.figures(compared, copied, chosen, metric, thresholds)
    assert [each["threshold"] for each in got] == list(thresholds)
    for outcome, threshold in zip(got, thresholds, strict=True):
        pairs = [
            (i, j)
            for i in range(40)
            for j in range(i)
            if reference.DISTANCE[metric](compared[i], compared[[j]])[0] <= threshold
        ]
        assert outcome["photos"] == len(pairs)
        for kind, copies in copied.items():
            right = wrong = 0
            for copy, own in zip(copies, chosen, strict=True):
                near = np.flatnonzero(reference.DISTANCE[metric](copy, compared) <= threshold)
                right += own in near
                wrong += len(near) - (own in near)
            found = right + wrong
            assert outcome["kinds"][kind] == {
                "recall": right / 15,
                "precision": right / found if found else None,
            }
    assert 0 < got[1]["kinds"]["near"]["precision"] < 1


def test_the_perceptual_hash_is_a_cosine_transform(script):
    image = picture(1)
    grey = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS).convert("L"), float)
    places = np.arange(32)
    waves = np.cos(np.pi * np.outer(np.arange(8), 2 * places + 1) / 64)  # DCT-II, lowest eight
    low = (waves @ grey @ waves.T).ravel()
    assert script.phash(image).tolist() == np.packbits(low >= np.median(low[1:])).tolist()


def test_the_perceptual_hash_is_imagededups(script):
    hashing = pytest.importorskip("imagededup.methods", reason="imagededup is not installed")
    for seed in range(20):
        image = picture(seed)
        theirs = bytes.fromhex(hashing.PHash().encode_image(image_array=np.asarray(image)))
        assert script.phash(image).tobytes() == theirs


def test_copies_are_pictures_of_their_kind(script):
    image = picture(2)
    sizes = {}
    for kind, make in script.MADE.items():
        data = make(image, np.random.default_rng(0))
        copy = Image.open(io.BytesIO(data))
        sizes[kind] = copy.size
        assert copy.format == "JPEG"
        assert data == make(image, np.random.default_rng(0))
    assert sizes.pop("resized") == (40, 30)
    assert sizes.pop("cropped") == (72, 54)
    assert set(sizes.values()) == {(80, 60)}
    mirrored = Image.open(io.BytesIO(script.MADE["mirrored"](image, np.random.default_rng(0))))
    error = np.asarray(mirrored).astype(int)[:, ::-1] - np.asarray(image)
    assert np.abs(error).mean() < 4


def test_every_hundredth_row_is_a_copy(script):
    rows = script.rows_to_join(600, 32, None)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for copy in range(99, 600, 100):
        assert reference.cosine(rows[copy], rows[[copy - 50]])[0] < 0.001


def test_every_hundredth_hash_is_a_copy(script):
    hashes = script.hashes_to_join(600)
    for copy in range(99, 600, 100):
        assert 0 < reference.hamming(hashes[copy], hashes[[copy - 50]])[0] <= 6


def test_what_the_memory_does_not_hold_is_told(script, monkeypatch):
    """imagededup's matrix of all similarities, before it is made."""
    import duplicate_times

    stand_in = types.SimpleNamespace(CNN=None, CustomModel=None)
    for name in ("torch", "imagededup", "imagededup.methods", "imagededup.utils"):
        monkeypatch.setitem(sys.modules, name, stand_in)
    monkeypatch.setattr(duplicate_times, "available_memory", lambda: 4 << 30)
    way, why = duplicate_times._imagededup_of_features(np.empty((100_000, 2), np.float32))
    assert way is None
    assert "takes 37 GiB of memory while it is made, and 4 are free" in why


def test_a_record(script, tmp_path):
    pytest.importorskip("faiss", reason="the peer is not installed: .[bench]")
    pytest.importorskip("scipy", reason="the perceptual hash needs it: .[bench]")
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(12):
        picture(seed).save(folder / f"{seed:02}.png")
    model = write_tiny_model(tmp_path / "tiny.onnx")
    arguments = [str(folder), "--model", str(model), "--copies", "4", "--rows", "300", "--runs"]
    arguments += ["1", "--keep", str(tmp_path / "kept.npz"), "--json", str(tmp_path / "r.json")]
    records = []
    for _ in range(2):  # the second time from what was kept
        ended = CliRunner().invoke(script.main, arguments, catch_exceptions=False)
        assert ended.exit_code == 0
        records.append(json.loads((tmp_path / "r.json").read_text()))
    first, second = records
    assert first["truth"]["measures"] == second["truth"]["measures"]
    assert (first["truth"]["photos"], first["truth"]["copied"]) == (12, 4)
    assert set(first["truth"]["measures"]) == {"cosine", "hamming", "phash"}
    hashes = first["hash_time"]
    assert hashes["pairs"]["self_join"] == hashes["pairs"]["faiss"] >= 3
    found = first["time"]
    for each in (found, hashes):
        assert "imagededup" in each["seconds"] or "imagededup" in each["not_run"]
    assert found["pairs"]["self_join"] == found["pairs"]["faiss"] >= 3
    assert len(found["work"]["faiss"]) == len(found["seconds"]["index"]) == 1
    assert 0 < found["pairs"]["index"] <= found["pairs"]["self_join"]


def test_without_photos_it_says_why(script, tmp_path):
    ended = CliRunner().invoke(script.main, [str(tmp_path / "nowhere"), "--rows", "0"])
    assert ended.exit_code == 0
    assert "Truth is not measured: nowhere is not there." in ended.output
