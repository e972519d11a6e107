"""The network on a real GPU; skipped where ONNX Runtime finds none."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import VsearchError

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture(scope="module", params=["cuda", "tensorrt"])
def gpu(request: pytest.FixtureRequest, model: Path) -> Embedder:
    try:
        return Embedder(model, request.param, batch_size=8)
    except VsearchError as error:
        pytest.skip(f"no {request.param} here: {error.cause}")


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(21)]


def test_features_are_those_of_the_cpu(
    gpu: Embedder, model: Path, pictures: list[np.ndarray]
) -> None:
    cpu = Embedder(model, "cpu")
    features, codes = gpu.embed(pictures), gpu.codes(pictures)
    np.testing.assert_allclose(features, cpu.embed(pictures), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(codes, np.packbits(features > 0, axis=-1))
    assert np.bitwise_count(codes ^ cpu.codes(pictures)).sum() <= codes.size * 8 * 0.01


def test_company_changes_no_bit(gpu: Embedder, pictures: list[np.ndarray]) -> None:
    together = gpu.embed(pictures)
    for _ in range(3):  # the first run chooses algorithms, later ones keep them
        np.testing.assert_array_equal(gpu.embed(pictures), together)
    for number in (0, 7, 8, 20):
        np.testing.assert_array_equal(gpu.embed(pictures[number])[0], together[number])


def test_auto_takes_it_without_a_word(gpu: Embedder, model: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Embedder(model).provider == "CUDAExecutionProvider"  # fp32: not TensorRT
