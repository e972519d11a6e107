"""When searches go to a GPU, and what is said where none can be used."""

from __future__ import annotations

import re
import sys
import types
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from emulated import REAL_TILES, EmulatedDevice, inside

import vsearch_fast
from vsearch_fast import Resident, topk
from vsearch_fast.cli import vsearch
from vsearch_fast.errors import ArgumentError, DeviceError, MissingDependencyError
from vsearch_fast.kernels import reference
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.layout import width_of
from vsearch_fast.search import tiling
from vsearch_fast.search.gpu import devices as cuda
from vsearch_fast.search.gpu import selfcheck, trials
from vsearch_fast.search.tiling import Tiling

ROWS = np.random.default_rng(0).integers(0, 256, (200, 16), np.uint8)


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """Devices are asked for anew, and trusted anew, in each test."""
    cuda.devices.cache_clear()
    monkeypatch.setattr(selfcheck, "_distrusted", {})
    yield
    monkeypatch.undo()
    cuda.devices.cache_clear()


class CUDARuntimeError(RuntimeError):
    """As CuPy's is named."""


def fake_cupy(monkeypatch, devices=(), error=None, driver=0):
    """A CuPy with these devices (compute capabilities), or whose runtime raises this."""
    runtime = types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError)

    def count():
        if error is not None:
            raise CUDARuntimeError(error)
        return len(devices)

    def properties(number):
        major, minor = devices[number]
        return {
            "name": f"GPU {number}".encode(), "major": major, "minor": minor,
            "multiProcessorCount": 3, "sharedMemPerBlockOptin": 1 << 17,
        }  # fmt: skip

    runtime.getDeviceCount = count
    runtime.getDeviceProperties = properties
    runtime.driverGetVersion = lambda: driver
    module = types.ModuleType("cupy")
    module.cuda = types.SimpleNamespace(runtime=runtime)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(cuda, "installed", lambda: True)


def refused(kind, *words):
    with pytest.raises(kind) as caught:
        topk(ROWS[:2], ROWS, 3, metric="hamming", backend="cuda")
    for part in (caught.value.cause, caught.value.consequence, caught.value.cure):
        assert part
    for word in words:
        assert word in str(caught.value)


def test_without_cupy(monkeypatch):
    monkeypatch.setattr(cuda, "installed", lambda: False)
    refused(MissingDependencyError, "CuPy is not installed", "[gpu]")
    with pytest.raises(MissingDependencyError):
        Resident(ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the processor, and nothing to say
        got = topk(ROWS[:2], ROWS, 3, metric="hamming")
    np.testing.assert_array_equal(got[1], reference.topk(ROWS[:2], ROWS, 3, "hamming")[1])


def test_a_cupy_that_cannot_be_imported(monkeypatch):
    monkeypatch.setattr(cuda, "installed", lambda: True)
    monkeypatch.setitem(sys.modules, "cupy", None)
    refused(MissingDependencyError, "cannot be imported", "one CuPy alone")


def test_without_a_driver(monkeypatch):
    fake_cupy(monkeypatch, error="cudaErrorInsufficientDriver: too old")
    refused(DeviceError, "No NVIDIA driver was found")


def test_a_driver_that_is_too_old(monkeypatch):
    fake_cupy(monkeypatch, error="cudaErrorInsufficientDriver: too old", driver=11080)
    refused(DeviceError, "supports CUDA 11.8", "too old for the installed CuPy")


@pytest.mark.parametrize("error", [None, "cudaErrorNoDevice: no CUDA-capable device"])
def test_without_a_device(monkeypatch, error):
    fake_cupy(monkeypatch, error=error)
    refused(DeviceError, "CUDA sees no device", "CUDA_VISIBLE_DEVICES")


def test_devices_that_are_too_old(monkeypatch):
    fake_cupy(monkeypatch, devices=[(3, 5), (6, 1)])
    refused(DeviceError, "7.0 or later", "GPU 0, GPU 1")


def test_usable_devices_are_taken(monkeypatch):
    fake_cupy(monkeypatch, devices=[(6, 1), (9, 0), (8, 0)])
    found = cuda.devices()
    numbered = [(device.number, device.capability) for device in found]  # type: ignore[attr-defined]
    assert numbered == [(1, (9, 0)), (2, (8, 0))]
    assert found[0].name == "GPU 1"


# The self-check


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0), (10, 0)])
def test_every_kernel_passes_the_self_check(capability):
    device = EmulatedDevice(capability)
    assert selfcheck.check(device) == ""
    ran = set(device.launched)
    for family in sources.SCANS:
        assert set(sources.scans_for(family, capability)) <= ran
    assert set(sources.OTHERS["reduced"]) <= ran


class Wrong(EmulatedDevice):
    """A device on which one kernel does nothing."""

    def __init__(self, kernel: str) -> None:
        super().__init__()
        self.kernel = kernel

    def launch(self, kernel, *arguments):
        if kernel != self.kernel:
            super().launch(kernel, *arguments)


def test_the_self_check_tries_what_is_large_on_a_device(monkeypatch):
    """Of every scan: more queries than a tile has, several chunks of a row, and successive tiles
    whose stages come round again in the ring. By the tiles of a device, not the small ones."""
    real = EmulatedDevice(tiles=REAL_TILES)
    device = EmulatedDevice()
    tried = []

    def note(there, asked, family, kernel, reduction=None):
        if isinstance(there, trials.OneBlockHigh):
            tried.append((kernel, family, len(asked.queries), asked.rows))
        return asked.answer

    monkeypatch.setattr(trials, "_resident", note)
    assert selfcheck.check(device) == ""
    widths: dict[str, set[int]] = {}
    for kernel, family, queries, rows in tried:
        shape = real.shape_of(kernel)
        size = rows.shape[1]
        width = size if family == "hamming" else 4 * size if "floats" in family else width_of(size)
        widths.setdefault(kernel, set()).add(width)
        assert queries > shape.queries, kernel
        chunk, stages = (64, 3) if kernel.endswith("tile") else (128, 4)
        stages += kernel == "hamming_pipelined_warpgroup_resident"
        assert width >= 4 * chunk
        tiles = (len(rows) - 30) // shape.rows  # behind the first round's rows
        assert tiles >= 2
        if "stream" not in kernel:
            assert queries > 256
            # Of a pipeline, the ring goes on from one tile of queries to the next.
            turns = tiles * (-(-queries // shape.queries) if kernel in sources.SIMPLER else 1)
            assert -(-width // chunk) * turns > 2 * stages - 1
    names = {name for family in sources.SCANS for name in sources.scans_for(family, (9, 0))}
    assert set(widths) == names
    for structure in ("", "pipelined_"):
        assert widths[f"hamming_{structure}warpgroup"] == {512, 1040}
        assert widths[f"hamming_{structure}warpgroup_resident"] == {512}


def test_one_block_takes_all_tiles_of_rows():
    launches = []

    class Noting(EmulatedDevice):
        def launch(self, kernel, grid, *others):
            launches.append((kernel, grid))

    low = trials.OneBlockHigh(Noting())
    for kernel in (
        "hamming_multicast_warpgroup",
        "hamming_pipelined_warpgroup",
        "hamming_warpgroup",
        "l1_floats_tile",
        "l2_sketches_stream_4",
        "refine",
    ):
        low.launch(kernel, (5, 7), 32, 0, ())
    assert dict(launches) == {
        "hamming_multicast_warpgroup": (2, 1), "hamming_pipelined_warpgroup": (1, 1),
        "hamming_warpgroup": (5, 1),
        "l1_floats_tile": (5, 1), "l2_sketches_stream_4": (1, 1), "refine": (5, 7),
    }  # fmt: skip


@pytest.mark.parametrize("kernel", ["hamming_warpgroup_resident", "l2_sketches_warpgroup"])
def test_what_is_wrong_for_many_queries_alone_is_noticed(monkeypatch, kernel):
    class Forgetful(EmulatedDevice):
        def launch(self, name, grid, *others):
            if name != kernel or grid[0] < 3:
                super().launch(name, grid, *others)

    family = kernel.rsplit("_warpgroup", 1)[0]
    alone = types.SimpleNamespace(**vars(sources) | {"scans_for": lambda *_: (kernel,)})
    monkeypatch.setattr(trials, "sources", alone)
    monkeypatch.setattr(
        trials, "_families", lambda metric: [family] if family.startswith(metric) else []
    )
    monkeypatch.setattr(trials, "_SHORT", {})
    assert selfcheck.check(EmulatedDevice()) == ""
    assert re.fullmatch(rf"{kernel}, rows of \d+ gave wrong results", selfcheck.check(Forgetful()))


def test_the_self_check_makes_the_stream_of_transfers():
    """Which is made when it is first used: by two searches at a time there could be two."""

    class Sending(EmulatedDevice):
        sent = 0

        def send(self, *arguments):
            self.sent += 1
            return super().send(*arguments)

    device = Sending()
    problem = trials._Asked.made("hamming", 80, 9)
    assert problem.right(trials._passing(device, problem))
    assert device.sent == trials._PARTS > 2  # memory of a part before is used again


#: Fast kernels that do nothing, that a device refuses, or that cannot be compiled.
MULTICAST, PIPELINED = "hamming_multicast_warpgroup", "hamming_pipelined_warpgroup"


class Refusing(EmulatedDevice):
    def launch(self, kernel, *arguments):
        if kernel in (MULTICAST, PIPELINED):
            raise RuntimeError("CUDA_ERROR_LAUNCH_FAILED")
        super().launch(kernel, *arguments)


class Uncompiled(EmulatedDevice):
    def __init__(self, *structures: str) -> None:
        super().__init__()
        self.structures = structures

    def shape_of(self, kernel):
        if any(structure in kernel for structure in self.structures):
            raise RuntimeError("NVRTC_ERROR_COMPILATION")
        return super().shape_of(kernel)


MULTICASTS = [kernel for kernel in sources.SIMPLER if "multicast" in kernel]


@pytest.mark.parametrize(
    ("device", "why", "lost", "serves"),
    [
        (Wrong(MULTICAST), "it gave wrong results", [MULTICAST], PIPELINED),
        (Refusing(), "CUDA_ERROR_LAUNCH_FAILED", [MULTICAST, PIPELINED], "hamming_warpgroup"),
        (Uncompiled("multicast"), "NVRTC_ERROR_COMPILATION", MULTICASTS, PIPELINED),
        (
            Uncompiled("multicast", "pipelined"), "NVRTC_ERROR_COMPILATION",
            [*sources.SIMPLER], "hamming_warpgroup",
        ),
    ],
    ids=["wrong", "refused", "one uncompiled", "two uncompiled"],
)  # fmt: skip
def test_a_fast_kernel_gives_way_to_the_next_simpler(monkeypatch, device, why, lost, serves):
    """On the device, with the right result; said once, by the kernel's name."""
    monkeypatch.setattr(trials, "_SHORT", {"hamming": 80})
    monkeypatch.setattr(trials, "_LONG", {"hamming": (528,)})
    monkeypatch.setattr(cuda, "devices", lambda: (device,))
    rows = np.random.default_rng(0).integers(0, 256, (300, 600), np.uint8)

    def found():
        device.launched.clear()
        *got, proof = topk(rows[:70], rows, 3, metric="hamming", backend="cuda", explain=True)
        assert proof.simd.startswith("cuda")
        want = reference.topk(rows[:70], rows, 3, "hamming")
        assert all(np.array_equal(*both) for both in zip(got, want, strict=True))
        return set(device.launched)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found()
    assert device.avoided == set(lost)
    assert len(told) == len(lost)
    messages = sorted(str(each.message) for each in told)
    for one, kernel in zip(messages, sorted(lost), strict=True):
        assert f"the kernel {kernel} is not used: " in one and why in one
        assert f"{sources.SIMPLER[kernel]} searches in its place" in one
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ran = found()
    assert serves in ran and not ran & set(lost)


@pytest.mark.parametrize(
    "kernel",
    ["hamming_tile", "l2_floats_tile", "l1_reduced", "keep_nearest", "bound_dots"],
)
def test_a_device_that_is_wrong_is_not_used(monkeypatch, kernel):
    """A warning once, and the right result from the processor, every time."""
    wrong = Wrong(kernel)
    monkeypatch.setattr(cuda, "devices", lambda: (wrong,))
    with pytest.warns(RuntimeWarning, match=r"failed the self-check: .*Searches of this process"):
        *got, proof = topk(ROWS[:2], ROWS, 3, metric="hamming", backend="cuda", explain=True)
    assert not proof.simd.startswith("cuda")
    np.testing.assert_array_equal(got[1], reference.topk(ROWS[:2], ROWS, 3, "hamming")[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        topk(ROWS[:2], ROWS, 3, metric="hamming", backend="cuda")


def test_fused_or_flushed_arithmetic_is_noticed(monkeypatch):
    """Distances that are off by a unit in the last place, as a fused multiply-add makes them."""

    class Fused(EmulatedDevice):
        def launch(self, kernel, grid, threads, shared, arguments):
            super().launch(kernel, grid, threads, shared, arguments)
            if kernel == "refine":
                keys, uppers = map(inside, arguments[10:12])
                exact = (keys == uppers) & (keys > 0) & (keys < np.uint64(0x7FF << 52))
                keys[exact] += np.uint64(1)
                uppers[exact] = keys[exact]

    assert "gave wrong results" in selfcheck.check(Fused())


def test_an_error_of_the_device_is_no_trust():
    class Broken(EmulatedDevice):
        def launch(self, *arguments):
            raise RuntimeError("no kernel image is available")

    assert selfcheck.check(Broken()) == "RuntimeError: no kernel image is available"


# Choosing


def test_auto_weighs_the_transfer(with_devices, monkeypatch):
    [device] = with_devices(EmulatedDevice())
    monkeypatch.setattr(cuda, "installed", lambda: True)
    codes = np.zeros((100, 16), np.uint8)
    assert topk(codes[:70], codes, 2, metric="hamming", explain=True)[2].simd[:4] != "cuda"
    monkeypatch.setattr(tiling, "TILING", Tiling(device_worth_bytes=1000))
    assert topk(codes[:70], codes, 2, metric="hamming", explain=True)[2].simd[:4] == "cuda"
    assert topk(codes[:9], codes, 2, metric="hamming", explain=True)[2].simd[:4] != "cuda"
    cpu = topk(codes[:70], codes, 2, metric="hamming", backend="cpu", explain=True)[2]
    assert cpu.simd[:4] != "cuda"
    there = Resident(codes)
    for how, where in (("auto", True), ("cuda", True), ("cpu", False)):
        proof = topk(codes[:1], there, 2, metric="hamming", backend=how, explain=True)[2]  # type: ignore[call-overload]
        assert (proof.simd[:4] == "cuda") == where
    monkeypatch.setattr(cuda, "installed", lambda: False)
    assert topk(codes[:70], codes, 2, metric="hamming", explain=True)[2].simd[:4] != "cuda"
    assert device.launched


class OutOfMemoryError(Exception):
    """As CuPy's is named."""


def test_out_of_memory(with_devices):
    class Full(EmulatedDevice):
        def empty(self, shape, dtype):
            if len(shape) == 2 and shape[1] > 1000:  # the lists
                raise OutOfMemoryError("Out of memory allocating 1,000 bytes")
            return super().empty(shape, dtype)

    with_devices(Full())
    refused(DeviceError, "GPU's memory is full", "fewer queries")
    there = Resident(ROWS)
    with pytest.warns(RuntimeWarning, match=r"memory is full.*This search used the processor"):
        got = topk(ROWS[:2], there, 3, metric="hamming")
    np.testing.assert_array_equal(got[1], reference.topk(ROWS[:2], ROWS, 3, "hamming")[1])


def test_what_no_device_can_search(with_devices):
    with_devices(EmulatedDevice())
    floats = np.zeros((3, 66_001), np.float32)
    with pytest.raises(DeviceError, match=r"^A GPU cannot search sketches of 66,001 numbers"):
        topk(floats, floats, 1, metric="l1", backend="cuda", strategy="sketch")
    for strategy in ("scan", "auto"):
        got = topk(floats[:1], floats, 2, metric="l2", backend="cuda", strategy=strategy)
        assert got[1].tolist() == [[0, 1]]
    with pytest.raises(ArgumentError, match="rows of 66,001 numbers"):
        Resident(floats)
    with pytest.raises(DeviceError, match="rows of no numbers"):
        topk(floats[:, :0], floats[:, :0], 1, metric="l1", backend="cuda")


def test_lists_of_few_queries_at_a_time_when_memory_is_short(with_devices):
    with_devices(EmulatedDevice(memory=2_000_000))
    got = topk(ROWS[:9], ROWS, 3, metric="hamming", backend="cuda")
    np.testing.assert_array_equal(got[1], reference.topk(ROWS[:9], ROWS, 3, "hamming")[1])


def test_resident_says_what_it_is(with_devices):
    with_devices(EmulatedDevice())
    there = Resident(ROWS)
    assert len(there) == 200
    assert there.shape == (200, 16)
    assert repr(there).startswith("<Resident 200 x 16, 0 MB on a GPU")
    assert vsearch_fast.Resident is Resident


# `vsearch gpu`


def test_the_command_without_a_gpu(monkeypatch):
    monkeypatch.setattr(cuda, "installed", lambda: False)
    done = CliRunner().invoke(vsearch, ["gpu"])
    assert isinstance(done.exception, MissingDependencyError)


def test_the_command_with_devices(with_devices, monkeypatch):
    monkeypatch.setattr(trials, "_LONG", {})  # tried above, and slow on the emulation
    with_devices(EmulatedDevice())
    done = CliRunner().invoke(vsearch, ["gpu"])
    assert done.exit_code == 0, done.output
    assert "emulation of sm_90a: sm_90a, 3 processors, 1.1 GB free" in done.output
    assert "self-check: every kernel equals the definition" in done.output
    with_devices(Wrong("hamming_tile"))
    done = CliRunner().invoke(vsearch, ["gpu"])
    assert isinstance(done.exception, DeviceError)
    assert "hamming_tile gave wrong results" in done.output
