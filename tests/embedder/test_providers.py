"""What runs the network: choosing, falling back, and the buffers of a GPU, without a GPU.

`BoundRunner` runs for real on ONNX Runtime's CPU provider; the rest against `fake_ort`.
"""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_ort import CPU, CUDA, TENSORRT, FakeOrt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_model import write_tiny_model

from vsearch_fast.embedder import Embedder, ProviderFallbackWarning
from vsearch_fast.embedder import providers as providers_module
from vsearch_fast.embedder.embedder import GPU_BATCH_SIZE
from vsearch_fast.embedder.runner import BoundRunner, plain
from vsearch_fast.embedder.session import file_precision
from vsearch_fast.errors import ArgumentError, ModelError

ort = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install '.[cpu]'"
)

GPU = [TENSORRT, CUDA, CPU]  # what a GPU wheel offers on any machine


@pytest.fixture(scope="module")
def fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "fp16.onnx"
    return write_tiny_model(path, metadata={"precision": "fp16"})


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Install a FakeOrt as onnxruntime; TensorRT's library is there if the provider works."""

    def install(*arguments: Any, **options: Any) -> FakeOrt:
        fake = FakeOrt(*arguments, **options)
        monkeypatch.setitem(sys.modules, "onnxruntime", fake)
        monkeypatch.setattr(providers_module, "tensorrt_is_there", lambda: TENSORRT in fake.working)
        return fake

    monkeypatch.setenv("VSEARCH_CACHE_DIR", str(tmp_path / "cache"))
    return install


@pytest.fixture
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40, 30, 3), np.uint8) for _ in range(7)]


def quietly(*arguments: Any, **options: Any) -> Embedder:
    """An Embedder; any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Embedder(*arguments, **options)


# Choosing ----------------------------------------------------------------------------------


def test_a_cpu_wheel_is_nothing_to_warn_of(model: Path) -> None:
    choices: tuple[Any, ...] = ("auto", None, "cpu", [CPU], [(CPU, {})])
    for providers in choices:
        assert quietly(model, providers=providers).provider == CPU


def test_auto_takes_cuda_where_it_works(pretend: Any, model: Path, pictures: list) -> None:
    expected = Embedder(model).embed(pictures)
    fake = pretend(GPU, working=[CUDA])
    embedder = quietly(model)
    assert (embedder.provider, embedder.providers) == (CUDA, [CUDA, CPU])
    assert fake.events[0] == "preload" and fake.events[-1] == [CUDA, CPU]
    (session,) = fake.sessions
    assert session[0][1] == {
        "use_tf32": "0",
        "prefer_nhwc": "1",
        "cudnn_conv_algo_search": "HEURISTIC",
        "enable_cuda_graph": "0",
    }
    assert embedder.batch_size == GPU_BATCH_SIZE
    assert fake.buffers == [
        ((GPU_BATCH_SIZE, 32, 32, 3), "cuda", 0),
        ((GPU_BATCH_SIZE, 64), "cuda", 0),
        ((GPU_BATCH_SIZE, 8), "cuda", 0),
    ]
    for _ in range(2):
        np.testing.assert_array_equal(embedder.embed(pictures), expected)
        np.testing.assert_array_equal(embedder.codes(pictures), np.packbits(expected > 0, axis=1))
    assert len(fake.buffers) == 3 and len(fake.runs) == 4


@pytest.mark.parametrize("raising", [[], [CUDA]])
def test_auto_falls_back_and_says_so(
    pretend: Any, model: Path, pictures: list, raising: list[str]
) -> None:
    expected = Embedder(model).embed(pictures)
    pretend(GPU, working=[], raising=raising)
    with pytest.warns(ProviderFallbackWarning) as caught:
        embedder = Embedder(model)
    (warning,) = caught
    message = str(warning.message)
    cause = "(CUDA failure 100: no CUDA-capable device is detected)" if raising else "libcudnn.so.9"
    assert cause in message
    assert "The network runs on the CPU instead" in message
    assert "onnxruntime-gpu[cuda,cudnn]>=1.24,<1.27" in message and "cupy-cuda12x" in message
    assert warning.filename == __file__
    assert embedder.provider == CPU
    np.testing.assert_array_equal(embedder.embed(pictures), expected)


def test_the_cure_fits_the_wheel(pretend: Any, model: Path) -> None:
    pretend(GPU, working=[], cuda_version="13.0")
    with pytest.warns(ProviderFallbackWarning, match=r">=1\.28' cupy-cuda13x"):
        Embedder(model)


def test_auto_takes_tensorrt_for_other_models_than_fp32(
    pretend: Any, model: Path, fp16: Path, tmp_path: Path
) -> None:
    fake = pretend(GPU, working=GPU)
    assert quietly(model).provider == CUDA
    embedder = quietly(fp16)
    assert embedder.provider == TENSORRT
    (name, options), (_, cuda), _ = fake.sessions[-1]
    folder = str(tmp_path / "cache" / "tensorrt")
    assert name == TENSORRT and options == {
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }
    assert Path(folder).is_dir()
    assert cuda["enable_cuda_graph"] == "0"
    assert quietly(model, providers="tensorrt").provider == TENSORRT


def test_tensorrt_that_is_not_installed_is_nothing_to_warn_of(pretend: Any, fp16: Path) -> None:
    fake = pretend(GPU, working=[CUDA])
    assert quietly(fp16).provider == CUDA
    assert fake.events[-1] == [CUDA, CPU] and len(fake.sessions) == 1


def test_tensorrt_that_does_not_start_leaves_cuda(
    pretend: Any, fp16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = pretend(GPU, working=[CUDA])
    monkeypatch.setattr(providers_module, "tensorrt_is_there", lambda: True)
    assert quietly(fp16).provider == CUDA
    assert fake.sessions[-1][0][0] == CUDA


def test_a_folder_that_cannot_be_written_costs_the_cache_only(
    pretend: Any, fp16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = pretend(GPU, working=GPU)
    (tmp_path / "file").touch()
    monkeypatch.setenv("VSEARCH_CACHE_DIR", str(tmp_path / "file"))
    assert quietly(fp16).provider == TENSORRT
    assert fake.sessions[-1][0][1] == {"trt_fp16_enable": "1"}


@pytest.mark.parametrize(
    "asked", ["auto", "cuda", [CUDA], [CUDA, CPU], "tensorrt", [TENSORRT, CUDA]]
)
def test_no_graph_is_captured_unless_asked_for(
    pretend: Any, model: Path, fp16: Path, asked: Any
) -> None:
    """While one thread captures, another that allocates, a search, fails and ends the capture."""
    fake = pretend(GPU, working=GPU)
    for file in (model, fp16):
        assert quietly(file, providers=asked).provider in GPU
    cuda = [options for each in fake.sessions for name, options in each if name == CUDA]
    assert {options["enable_cuda_graph"] for options in cuda} == {"0"}


def test_a_graph_that_is_asked_for_is_used_or_an_error(pretend: Any, model: Path) -> None:
    asked = [(CUDA, {"enable_cuda_graph": "1"})]
    fake = pretend(GPU, working=[CUDA])
    assert quietly(model, providers=asked).provider == CUDA
    assert fake.sessions[-1][0][1]["enable_cuda_graph"] == "1"
    pretend(GPU, working=[CUDA], refuse_graph=True)
    with pytest.raises(ModelError, match="cannot use the graph capture"):
        Embedder(model, providers=asked)


# Asked by name -----------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["cuda", "tensorrt", [CUDA], [CUDA, CPU]])
def test_what_the_wheel_lacks_is_an_error(model: Path, asked: Any) -> None:
    with pytest.raises(ArgumentError, match=r"lacks (CUDA|Tensorrt)ExecutionProvider") as caught:
        Embedder(model, providers=asked)
    assert "pip install" in caught.value.cure and "[gpu]" in caught.value.cure


@pytest.mark.parametrize("asked", ["cuda", "tensorrt", [CUDA, CPU]])
@pytest.mark.parametrize("raising", [False, True])
def test_what_does_not_start_is_an_error(
    pretend: Any, model: Path, asked: Any, raising: bool
) -> None:
    pretend(GPU, working=[], raising=[CUDA] if raising else [])
    with pytest.raises(ModelError, match="ExecutionProvider") as caught:
        Embedder(model, providers=asked)
    error = caught.value
    assert str(model) in error.cause and error.consequence and "pip install" in error.cure
    assert ("'tensorrt-cu12<11'" in error.cure) == (asked == "tensorrt")


def test_cuda_behind_tensorrt_is_not_tensorrt(pretend: Any, model: Path) -> None:
    pretend(GPU, working=[CUDA])
    with pytest.raises(ModelError, match="could not start TensorrtExecutionProvider"):
        Embedder(model, providers="tensorrt")


def test_options_of_ones_own_come_first(pretend: Any, model: Path) -> None:
    fake = pretend(GPU, working=[CUDA])
    own = {"device_id": 3, "enable_cuda_graph": 0, "use_tf32": "1"}
    assert quietly(model, providers=[(CUDA, own), CPU]).provider == CUDA
    assert fake.sessions[-1][0][1] == {
        "device_id": 3,
        "enable_cuda_graph": 0,
        "use_tf32": "1",
        "prefer_nhwc": "1",
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    assert {buffer[1:] for buffer in fake.buffers} == {("cuda", 3)}


def test_a_provider_of_another_kind_is_run_plainly(pretend: Any, model: Path) -> None:
    fake = pretend(["OtherExecutionProvider", CPU])
    embedder = quietly(model, providers=["OtherExecutionProvider", CPU])
    assert embedder.provider == "OtherExecutionProvider" and fake.buffers == []
    assert fake.events == [["OtherExecutionProvider", CPU]]


@pytest.mark.parametrize("asked", ["gpu", "CUDA", "CUDAExecutionProvider", ""])
def test_unknown_names_are_refused(model: Path, asked: str) -> None:
    with pytest.raises(ArgumentError, match="There is no provider") as caught:
        Embedder(model, providers=asked)
    assert "auto, cpu, cuda, tensorrt" in caught.value.cure


def test_a_broken_model_is_not_the_gpus_fault(pretend: Any, tmp_path: Path) -> None:
    pretend(GPU, working=[CUDA])
    (tmp_path / "text.onnx").write_text("no model")
    with warnings.catch_warnings(), pytest.raises(ModelError, match="cannot load") as caught:
        warnings.simplefilter("error")
        Embedder(tmp_path / "text.onnx")
    assert CUDA not in caught.value.cause


def test_the_runtimes_complaints_do_not_reach_standard_output(
    pretend: Any, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(GPU, working=[])
    with pytest.warns(ProviderFallbackWarning):
        Embedder(model)
    assert capsys.readouterr().out == ""


def test_the_precision_is_read_from_the_files_end(model: Path, fp16: Path, tmp_path: Path) -> None:
    assert (file_precision(model), file_precision(fp16)) == ("fp32", "fp16")
    assert file_precision(tmp_path / "missing.onnx") == "fp32"
    assert file_precision(tmp_path) == "fp32"


# Buffers -----------------------------------------------------------------------------------


def bound(model: Path, batch_size: int) -> tuple[BoundRunner, Any]:
    """The GPU's runner on ONNX Runtime's CPU provider, and a plain one beside it."""
    session = ort.InferenceSession(str(model), providers=[CPU])
    runner = BoundRunner(
        session, ort, device="cpu", device_id=0, batch_size=batch_size, input_size=32, dim=64,
        code_bytes=8,
    )  # fmt: skip
    return runner, plain(session)


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    outputs=st.permutations(["features", "codes"]).flatmap(
        lambda names: st.sampled_from([names, names[:1]])
    ),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bound_batches_equal_plain_ones(model: Path, counts: list[int], outputs: list[str]) -> None:
    runner, reference = bound(model, 5)
    rng = np.random.default_rng(sum(counts))
    batches = [list(rng.integers(0, 256, (count, 32, 32, 3), np.uint8)) for count in counts]
    found = [runner(outputs, batch) for batch in batches]
    # Compared when all have run: no result may live in a buffer that the next one fills.
    for batch, results in zip(batches, found, strict=True):
        expected = reference(outputs, batch)
        assert [result.dtype for result in results] == [value.dtype for value in expected]
        for result, value in zip(results, expected, strict=True):
            np.testing.assert_array_equal(result, value)


def test_company_does_not_matter_in_a_bound_batch(model: Path) -> None:
    runner, _ = bound(model, 4)
    pixels = list(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8))
    (together,) = runner(["features"], pixels)
    for row, picture in enumerate(pixels):
        np.testing.assert_array_equal(runner(["features"], [picture])[0][0], together[row])


def test_a_run_that_fails_says_what_to_do(pretend: Any, model: Path, pictures: list) -> None:
    fake = pretend(GPU, working=[CUDA])
    embedder = quietly(model)
    fake.fail_runs = True
    with pytest.raises(ModelError, match=r"failed on CUDAExecutionProvider .*out of memory") as e:
        embedder.embed(pictures)
    assert "batch_size" in e.value.cure and "7 pictures" in e.value.consequence


def test_threads_share_the_buffers_in_turn(pretend: Any, model: Path) -> None:
    pretend(GPU, working=[CUDA])
    embedder = quietly(model, batch_size=3)
    rng = np.random.default_rng(1)
    sets = [[rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(8)] for _ in range(6)]
    expected = [embedder.embed(pictures) for pictures in sets]
    with ThreadPoolExecutor(6) as pool:
        for found, features in zip(pool.map(embedder.embed, sets), expected, strict=True):
            np.testing.assert_array_equal(found, features)
