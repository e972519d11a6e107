"""Units of a device are compiled at the same time, ahead of their use, and it is said."""

from __future__ import annotations

import logging
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from emulated import EmulatedDevice

from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.module import CudaDevice
from vsearch_fast.search.gpu import compiling, selfcheck
from vsearch_fast.terminal.console import Compiling


@pytest.fixture
def cupy(monkeypatch):
    """A CuPy that remembers what it compiled, and compiles two modules at a time or not at all."""
    module = types.ModuleType("cupy")
    known: dict[tuple[str, tuple[str, ...]], int] = {}
    together = threading.Barrier(2)
    # Of an odd number the last comes alone.
    pairs = iter(range(len(sources.units_for((9, 0))) // 2 * 2))

    class RawModule:
        def __init__(self, code, options):
            self.key = code, options

        def compile(self):
            if self.key not in known and next(pairs, None) is not None:
                together.wait(timeout=20)  # raises where the other does not come
            known[self.key] = known.get(self.key, 0) + 1

        def get_global(self, name):
            known[self.key] += 1  # KeyError: it was not compiled ahead, with these options
            return name

    class Array:
        def __init__(self, *_):
            pass

        def get(self):
            return np.arange(6)

    runtime = types.SimpleNamespace(
        getDeviceProperties=lambda number: {
            "name": b"GPU 0", "major": 9, "minor": 0, "multiProcessorCount": 3,
            "sharedMemPerBlockOptin": 1 << 17,
        }
    )  # fmt: skip
    module.cuda = types.SimpleNamespace(  # type: ignore[attr-defined]
        runtime=runtime, Device=lambda number: nullcontext()
    )
    module.RawModule, module.ndarray = RawModule, Array  # type: ignore[attr-defined]
    module.known = known  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(compiling, "available_threads", lambda: 2)
    return module


def test_units_are_compiled_at_the_same_time_and_found_by_the_device(cupy):
    device = CudaDevice(0)
    seconds = compiling.compile_units(device)
    assert set(seconds) == set(sources.units_for((9, 0)))
    assert all(each >= 0 for each in seconds.values())
    wanted = {(sources.source(unit), sources.options((9, 0))) for unit in sources.units_for((9, 0))}
    assert cupy.known == dict.fromkeys(wanted, 2)  # compiled ahead, then loaded


def test_the_self_check_begins_with_it(cupy, monkeypatch):
    def fails(self):
        raise ValueError("nvrtc: error: invalid value for --gpu-architecture")

    monkeypatch.setattr(cupy.RawModule, "compile", fails)
    assert selfcheck.check(CudaDevice(0)).startswith("ValueError: nvrtc: error: invalid value")


class Slow(EmulatedDevice):
    """Each unit takes until the one before has been said."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def shape_of(self, kernel):
        assert self.go.wait(20)
        return super().shape_of(kernel)


def test_what_takes_long_is_said(monkeypatch, caplog, capsys):
    monkeypatch.setattr(compiling, "_PATIENCE", 0.01)
    device = Slow()
    caplog.set_level(logging.INFO, "vsearch_fast.kernels")
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(compiling.compile_units, device)
        while not caplog.records:
            assert not done.done()
        device.go.set()
        assert set(done.result()) == set(sources.units_for((9, 0)))
    total = len(sources.units_for((9, 0)))
    assert caplog.messages == [
        f"Compiling kernels for emulation of sm_90a: {number} of {total} files"
        for number in range(total + 1)
    ]
    capsys.readouterr()  # what commands that ran in this process have left to show it
    for record in caplog.records:
        Compiling().emit(record)
    shown = capsys.readouterr().err
    assert shown == f"Compiling {total} kernels, once for emulation of sm_90a ...\n"


def test_what_is_in_a_cache_is_nothing_to_speak_of(monkeypatch, caplog):
    monkeypatch.setattr(compiling, "_PATIENCE", 30)  # a machine may be busy
    compiling.compile_units(EmulatedDevice())  # the emulation's own cache is filled
    caplog.set_level(logging.INFO, "vsearch_fast.kernels")
    compiling.compile_units(EmulatedDevice())
    assert caplog.messages == []
