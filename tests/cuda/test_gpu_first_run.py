"""The first run on a device, rehearsed: the GPU report's own command on an emulated one.

Every part is a call; each writes its own JSON, goes on where it was, and ends with what comes next.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark_scripts import BENCHMARKS, importable
from click.testing import CliRunner
from contract_data import DEVICE_METRICS, FLOAT_METRICS
from emulated import EmulatedDevice

from vsearch_fast.errors import ArgumentError
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.search.gpu import trials


@pytest.fixture(scope="module")
def report():
    """The report, imported as a script would."""
    with importable():
        import gpu_report
    return gpu_report


class Rates:
    """In place of the kernels of rates.cu, whose instructions the emulation lacks."""

    def __init__(self, fails: str | None = None) -> None:
        self.started: list[str] = []
        self.fails = fails

    def __call__(self, device):
        def launch(kernel, blocks, threads, shared, arguments):
            if kernel == self.fails:
                raise RuntimeError("CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure")
            self.started.append(kernel)
            out, turns = arguments
            assert out.size >= blocks * threads
            assert turns > 0

        return launch


@pytest.fixture
def call(report, with_devices, monkeypatch, tmp_path):
    """Calls the command with options, tiny sizes and no time to lose; gives its output."""
    base = sys.modules["gpu.base"]
    monkeypatch.setattr(sys.modules["gpu.rates"], "launcher", Rates())
    for module in ("gpu.kernels", "gpu.rates"):
        monkeypatch.setattr(sys.modules[module], "QUEUED_S", 0)
    monkeypatch.setattr(trials, "_LONG", {})  # tried elsewhere, and slow on the emulation
    tiny = replace(
        base.FULL, dim=48, k=3, repeats=1, copy_bytes=1 << 14, code_rows=24, float_rows=20,
        queries=dict.fromkeys(DEVICE_METRICS, 5), stream_rows=60,
        batch_rows={"hamming": 60, "l1": 40, "l2": 40, "cosine": 40},
        peer_rows=dict.fromkeys(DEVICE_METRICS, 40),
        versus=((50, 40, "relu"), (60, 16, "clusters")), versus_batches=(1, 4),
        test_rows=40, test_dims={"hamming": (24,)} | dict.fromkeys(FLOAT_METRICS, (24,)),
        test_queries=(3,), test_ks=(9,),
    )  # fmt: skip
    monkeypatch.setattr(report, "FULL", tiny)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return Call(report, with_devices, tmp_path)


class Call:
    """Calls the report's command, on one device unless another is given."""

    def __init__(self, report, with_devices, place: Path) -> None:
        self.report, self.with_devices = report, with_devices
        self.folder, self.bin = place / "found", place / "bin"
        self.device = EmulatedDevice()

    def __call__(self, *options, device=None):
        self.with_devices(device or self.device)
        done = CliRunner().invoke(self.report.command, [*options, "--folder", str(self.folder)])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done


def found(call, part):
    return json.loads((call.folder / f"{part}.json").read_text())


def sanitizer(call, says="========= ERROR SUMMARY: 0 errors", status=0):
    call.bin.mkdir(exist_ok=True)
    file = call.bin / "compute-sanitizer"
    file.write_text(f'#!/bin/sh\necho "$@"\necho "{says}"\nexit {status}\n')
    file.chmod(0o755)


def test_all_of_it(call, report):
    """From the first call to the last, each as the one before it said."""
    sanitizer(call)
    said = []
    for part in report.PARTS:
        done = call()  # the next part that is not finished
        assert f"== {part}" in done.stderr
        record = found(call, part)
        assert record["sections"][part]["state"] == "done", record["sections"]
        assert record["environment"]["devices"][0]["architecture"] == "sm_90a"
        said.append(done.stdout.strip().splitlines()[-1])
    parts = list(report.PARTS)
    for part, line in zip(parts[1:], said[:-1], strict=True):
        command = f"python benchmarks/gpu_report.py --folder {call.folder} --only {part}"
        assert line == f"Next: {command}"
    assert said[-1] == f"All parts are finished: {call.folder}"
    assert sorted(file.stem for file in call.folder.iterdir()) == sorted(parts)

    units = found(call, "compile")["compile"]
    assert set(sources.UNITS) < set(units)
    assert units["refine"]["refine"]["threads"] % 32 == 0
    tried = next(iter(found(call, "selfcheck")["selfcheck"].values()))
    names = {name for family in sources.SCANS for name in sources.scans_for(family, (9, 0))}
    products = {name for name in names if name.startswith("dot_")}  # each by both metrics
    by_both = {f"{name}, {metric}" for name in products for metric in sources.PRODUCTS}
    assert (names - products) | by_both <= set(tried)
    assert all(each["right"] for each in tried.values())
    under = found(call, "sanitize")["sanitize"]
    assert len(under) == 9
    assert "--tool racecheck" in under["racecheck l2"]["said"]
    assert "sanitized.py l2" in under["racecheck l2"]["said"]
    rates = found(call, "rates")["rates"]
    assert rates["memory"]["copy"] > 0
    assert set(rates) == {"memory", *sys.modules["gpu.rates"].RATES}
    assert set(found(call, "roofs")["roofs"]["kernels"]) == names
    bars = call().stdout
    assert "5e+11" in bars
    assert bars.count("not measured") == 11  # of PyTorch, certex and the network


def test_a_kernel_that_fails_does_not_stop_the_others(call, monkeypatch):
    monkeypatch.setattr(sys.modules["gpu.rates"], "launcher", Rates("rate_mma_b1"))
    done = call("--only", "rates")
    record = found(call, "rates")
    assert record["sections"]["rates"]["failed"] == ["rate_mma_b1"]
    assert "LAUNCH_FAILED" in record["rates"]["rate_mma_b1"]["error"]
    assert record["rates"]["rate_wgmma_u8"]["per_s"] > 0
    assert "rates: done in part: rate_mma_b1" in done.stdout
    # It is not tried again, unless asked.
    monkeypatch.setattr(sys.modules["gpu.rates"], "launcher", Rates())
    call("--only", "rates")
    assert "error" in found(call, "rates")["rates"]["rate_mma_b1"]
    call("--only", "rates", "--again")
    assert found(call, "rates")["sections"]["rates"]["state"] == "done"


def test_a_part_goes_on_where_it_was(call, monkeypatch):
    rates = sys.modules["gpu.rates"]
    right, measured = rates.rate, []

    def slow(bench, kernel):
        measured.append(kernel)
        if kernel == "rate_dp4a":
            bench.deadline = time.monotonic() - 1  # no time is left
        return right(bench, kernel)

    monkeypatch.setattr(rates, "rate", slow)
    done = call("--only", "rates")
    state = found(call, "rates")["sections"]["rates"]
    assert (state["state"], state["next"]) == ("unfinished", "rate_fma")
    command = f"python benchmarks/gpu_report.py --folder {call.folder} --only compile"
    assert done.stdout.splitlines()[-1] == f"Next: {command}"
    first = measured.copy()
    call("--only", "rates")
    assert found(call, "rates")["sections"]["rates"]["state"] == "done"
    assert len(measured) == len(set(measured)) == len(rates.RATES)
    assert measured[: len(first)] == first


def test_what_ended_a_call_is_named_and_passed_over(call):
    """A process that was killed, by its time or by a kernel, leaves what it was doing."""
    call("--only", "roofs")
    record = found(call, "roofs")
    name = "hamming_tile"
    del record["roofs"]["kernels"][name]
    record |= {"running": ["kernels", name]}
    record["sections"]["roofs"] = {"state": "running", "seconds": 400}
    (call.folder / "roofs.json").write_text(json.dumps(record))
    done = call("--only", "compile")
    assert "roofs: running" in done.stdout
    call("--only", "roofs")
    record = found(call, "roofs")
    assert "a call ended in it" in record["roofs"]["kernels"][name]["error"]
    assert record["sections"]["roofs"]["failed"] == [name]
    assert record["sections"]["roofs"]["seconds"] > 400
    assert "running" not in record


def test_a_device_that_answers_no_more_ends_the_call_alone(call, monkeypatch):
    """After an illegal address every call of the process fails: the next one goes on."""

    class Lost(EmulatedDevice):
        lost = False

        def mark(self):
            if self.lost:
                raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

        def launch(self, kernel, *others):
            if kernel == "hamming_stream_4":
                self.lost = True
            if self.lost:
                raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")
            super().launch(kernel, *others)

    call("--only", "roofs", device=Lost())
    record = found(call, "roofs")
    state = record["sections"]["roofs"]
    assert state["state"] == "unfinished"
    assert "hamming_stream_4" in state["error"]
    assert "hamming_stream_2" not in record["roofs"]["kernels"]
    done = call("--only", "roofs")  # another process, whose device works
    record = found(call, "roofs")
    assert record["sections"]["roofs"]["failed"] == ["hamming_stream_4"]
    assert record["roofs"]["kernels"]["hamming_stream_2"]["pairs_per_s"] > 0
    assert "roofs: done in part: hamming_stream_4" in done.stdout


def test_what_the_sanitizer_says_is_kept(call):
    sanitizer(call, "Invalid __shared__ read of size 16 bytes", 7)
    call("--only", "sanitize")
    record = found(call, "sanitize")
    assert len(record["sections"]["sanitize"]["failed"]) == 9
    assert "Invalid __shared__ read" in record["sanitize"]["memcheck hamming"]["error"]


def test_without_a_sanitizer(call, monkeypatch):
    monkeypatch.setenv("PATH", str(call.bin))
    call("--only", "sanitize")
    assert "no compute-sanitizer" in found(call, "sanitize")["sanitize"]["skipped"]


def test_figures_of_other_sizes_or_kernels_are_not_mixed(call, report, monkeypatch):
    call("--only", "rates")
    with pytest.raises(ArgumentError, match="of other sizes"):
        call("--only", "rates", "--rows", "7")
    monkeypatch.setattr(sources, "digest", lambda: "changed")
    with pytest.raises(ArgumentError, match="of other kernels") as caught:
        call()
    assert "--folder" in caught.value.cure


def test_again_is_of_one_part(report):
    done = CliRunner().invoke(report.command, ["--again"])
    assert done.exit_code == 2
    assert "--again needs --only" in done.output


def test_time_that_is_over_ends_the_process(report):
    """Whatever it waits for: the one thing that is left is to stop."""
    import subprocess

    code = (
        f"import sys, time; sys.path.insert(0, {str(BENCHMARKS)!r}); import gpu_report;"
        "import click; gpu_report._stop_after(0.001, click.echo); time.sleep(60)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 3
    assert "The time of this call is over" in done.stdout
