"""--verify-on: the exported file on another provider, and what is said where there is none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fake_ort import CPU, CUDA, TENSORRT, FakeOrt
from slim_models import write_slim_model
from tiny_model import write_tiny_model

from vsearch_fast.errors import ArgumentError, ExportError
from vsearch_fast.export import export, on_provider
from vsearch_fast.export.__main__ import command


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slim_model(tmp_path_factory.mktemp("slim") / "slim.keras")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_cpu_agrees_with_itself(slim: Path, tmp_path: Path, precision: str) -> None:
    report = export(slim, output=tmp_path / "m.onnx", precision=precision, verify_on="cpu")
    assert report.on_provider == on_provider.ProviderFigures(CPU, 12, 12 * 40, 0, 0.0, 0.0)
    assert "verify on cpu" in report.seconds


def test_without_it_there_are_no_figures(slim: Path, tmp_path: Path) -> None:
    assert export(slim, output=tmp_path / "m.onnx").on_provider is None


def test_the_command_prints_the_bits(slim: Path, tmp_path: Path) -> None:
    arguments = ["--weights", str(slim), "-o", str(tmp_path / "m.onnx"), "--verify-on", "cpu"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "on CPU           0 of 480 code bits differ from the CPU's (0.0000%)" in result.stdout
    assert "relative error 0.0e+00 (worst of 12 pictures)" in result.stdout


def test_differences_are_counted(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)
    from vsearch_fast.embedder import Embedder

    embedder = Embedder(model)
    features, codes = embedder.embed(list(pixels)), embedder.codes(list(pixels))
    other_codes = codes.copy()
    other_codes[2] ^= np.uint8(0b101)
    other = features.copy()
    other[4, 7] += 0.5
    figures = on_provider.compare(model, pixels, other, other_codes, "cpu")
    assert (figures.pictures, figures.bits) == (9, 9 * 64)
    assert figures.bits_different == 2 * codes.shape[1]
    assert figures.largest_difference == pytest.approx(0.5)
    assert figures.relative_error == pytest.approx(0.5 / np.linalg.norm(other[4]), rel=1e-5)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_no_gpu_is_said_before_the_work(slim: Path, tmp_path: Path, provider: str) -> None:
    arguments = ["--weights", str(slim), "-o", str(tmp_path / "m.onnx"), "--verify-on", provider]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1 and "build the network" not in result.output
    assert f"--verify-on {provider} cannot be done here" in result.output
    assert "ExecutionProvider" in result.output and "Nothing was exported" in result.output
    assert "pip install" in result.output and "[gpu]" in result.output
    assert not (tmp_path / "m.onnx").exists()


def test_a_gpu_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "onnxruntime", FakeOrt([TENSORRT, CUDA, CPU], working=[], raising=[CUDA])
    )
    with pytest.raises(ExportError, match="no CUDA-capable device") as caught:
        on_provider.require("cuda")
    assert caught.value.consequence == "Nothing was exported"
    assert "cupy-cuda12x" in caught.value.cure and "leave --verify-on cuda out" in caught.value.cure


def test_a_gpu_runs_the_pictures_through_its_buffers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeOrt([TENSORRT, CUDA, CPU], working=[CUDA])
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    on_provider.require("cuda")
    model = write_tiny_model(tmp_path / "tiny.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    zero: Any = np.zeros
    figures = on_provider.compare(
        model, pixels, zero((40, 64), np.float32), zero((40, 8), np.uint8), "cuda"
    )
    assert figures.provider == CUDA and figures.bits_different > 0
    assert figures.relative_error == np.inf and len(fake.runs) == 2


def test_unknown_providers_are_refused(slim: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"--verify-on gpu is unknown.*cpu, cuda, tensorrt"):
        export(slim, output=tmp_path / "m.onnx", verify_on="gpu")
