"""All that is measured on an NVIDIA GPU, in parts: ``python benchmarks/gpu_report.py -h``.

Each call does one part, the next that is not finished or `--only`, within `--minutes`, and writes
it as JSON of its own into `--folder` after each measurement. A part that ran out of time, failed or
was cut off goes on where it was when it is called again; what failed is recorded, and not tried
again unless asked (`--again`). Each call ends with what was found and what to run next.

Parts: compile, selfcheck, sanitize (under compute-sanitizer), rates (memory and each unit), tests
(equality with the processor, to the bit), roofs (every kernel alone), kernels (exact searches of
resident rows), peers (other libraries where installed), embedding.

`--predict` needs no device: every kernel's time on known GPUs, from its machine code.

Bars are for one H200. Times are medians after a warm-up, the device idle before and after.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import click
from gpu import checks, embedding, kernels, peers, prediction, rates, tests
from gpu.base import BARS, FULL, QUICK, Bench, DeviceLost, OutOfTime, error_text, release
from gpu.records import Records

from vsearch_fast.bench.data import Data, read_features
from vsearch_fast.bench.machine import command_line
from vsearch_fast.bench.machine import environment as machine_of
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.search import available_threads
from vsearch_fast.search.gpu import devices
from vsearch_fast.terminal.console import run as run_command

_PACKAGES = (
    "cupy-cuda12x", "cupy-cuda13x", "cupy", "torch", "onnxruntime-gpu", "onnxruntime",
    "faiss-gpu-cu12", "faiss-gpu", "faiss-cpu", "cuvs-cu12", "cuvs-cu13", "certex",
    "simplejpeg", "pillow",
)  # fmt: skip
_SMI = (
    "name", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "clocks.max.mem",
    "power.limit", "temperature.gpu", "memory.total",
)  # fmt: skip


def environment(bench: Bench, found: dict[str, Any]) -> None:
    """Devices, driver, clocks and versions; no name of a person or a folder."""
    found["machine"] = machine_of(available_threads())
    found["python"] = platform.python_version()
    found["versions"] = {}
    for name in _PACKAGES:
        try:
            found["versions"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found["devices"] = [
        {
            "name": device.name,
            "capability": ".".join(map(str, device.capability)),
            "architecture": sources.architecture(device.capability),
            "processors": device.processors,
            "shared_limit": device.shared_limit,
            "free_bytes": device.free_bytes(),
        }
        for device in bench.devices
    ]
    found["nvidia_smi"] = _output(
        "nvidia-smi", f"--query-gpu={','.join(_SMI)}", "--format=csv,noheader"
    )
    here = str(Path(__file__).resolve().parent)
    found["commit"] = _output("git", "-C", here, "rev-parse", "HEAD")
    if "cupy" in sys.modules:
        runtime = sys.modules["cupy"].cuda.runtime
        found["cuda"] = {
            "driver": runtime.driverGetVersion(),
            "runtime": runtime.runtimeGetVersion(),
        }


def _output(*command: str) -> str | None:
    """What a command prints, None where it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


PARTS: dict[str, Callable[[Bench, dict[str, Any]], None]] = {
    "compile": checks.compiled,
    "selfcheck": checks.checked,
    "sanitize": checks.sanitized,
    "rates": rates.run,
    "tests": tests.run,
    "roofs": kernels.roofs,
    "kernels": kernels.kernels,
    "peers": peers.run,
    "embedding": embedding.run,
}

#: Share of a call's time after which no measurement is begun: the rest is for the last one.
_BEGINNING = 0.8


def run_part(bench: Bench, name: str) -> None:
    """Run a part, or what is left of it; its results and its state are in the record."""
    states = bench.record.setdefault("sections", {})
    found = bench.record.setdefault(name, {})
    stopped = bench.record.pop("running", None)
    before = states.get(name, {}).get("seconds", 0.0)
    states[name] = {"state": "running", "seconds": before}
    if stopped is not None:
        _mark(found, stopped)
    start = time.perf_counter()
    bench.say(f"== {name}")
    try:
        PARTS[name](bench, found)
        failed = errors_in(found)
        states[name] = {"state": "done in part", "failed": failed} if failed else {"state": "done"}
    except OutOfTime as left:
        states[name] = {"state": "unfinished", "next": str(left), "failed": errors_in(found)}
    except DeviceLost as lost:
        error = f"the device answers no more in this process, since {lost}"
        states[name] = {"state": "unfinished", "error": error, "failed": errors_in(found)}
    except Exception as error:  # the other parts are worth having
        states[name] = {"state": "failed", "error": error_text(error)}
        bench.say(f"{name} failed: {error_text(error)}")
    states[name]["seconds"] = before + time.perf_counter() - start
    bench.save()
    release()


def _mark(found: dict[str, Any], stopped: list[str]) -> None:
    """Record a measurement in which an earlier call ended, by its path in what was found."""
    *folders, name = stopped
    for folder in folders:
        found = found.setdefault(folder, {})
    found[name] = {"error": "a call ended in it: it was stopped, or took the process along"}


def errors_in(found: dict[str, Any]) -> list[str]:
    """Names of the measurements that failed."""
    names = []
    for name, part in found.items():
        if isinstance(part, dict):
            names += [name] if "error" in part else errors_in(part)
    return names


def table(records: Records) -> str:
    """Every bar with what was measured, as text, and what failed."""
    measured: dict[str, Any] = {}
    lines = [f"{'':58} {'bar':>9} {'measured':>9}  met"]
    for name in PARTS:
        measured |= records.of(name).get("bars", {})
    for key, bar in BARS.items():
        found = measured.get(key)
        figure, met = "-", "not measured"
        if found is not None:
            figure = f"{found['measured']:.3g}"
            met = "yes" if found["met"] else "no"
            if not found["full_size"]:
                met += " (not the case of the bar)"
        lines.append(f"{bar.what[:58]:58} {bar.value:9.3g} {figure:>9}  {met}, {bar.unit}")
    for name in PARTS:
        state = records.state(name)
        if state["state"] not in ("done", "not begun"):
            why = state.get("error", "") or ", ".join(state.get("failed", ()))
            lines.append(f"{name}: {state['state']}{': ' if why else ''}{why}")
    return "\n".join(lines)


def next_part(records: Records) -> str | None:
    """The first part that was not begun or is not finished; None when all are."""
    return next((name for name in PARTS if not records.finished(name)), None)


def what_next(records: Records, command: str) -> str:
    """The last line of a call."""
    name = next_part(records)
    if name is None:
        return f"All parts are finished: {records.folder}"
    going_on = "" if records.state(name)["state"] == "not begun" else " (goes on where it was)"
    return f"Next: {command} --only {name}{going_on}"


def _command(options: dict[str, Any]) -> str:
    """The command with these options, but for those that are as they would be without."""
    words = ["python", "benchmarks/gpu_report.py"]
    usual = {parameter.opts[0]: parameter.default for parameter in command.params}
    for name, value in options.items():
        if value is True:
            words.append(name)
        elif value not in (None, False) and str(value) != str(usual[name]):
            words += [name, str(value)]
    return shlex.join(words)


def _stop_after(minutes: float, say: Callable[[str], Any]) -> threading.Timer:
    """End the process when its time is over, whatever it waits for: a kernel can run for ever."""

    def stop() -> None:
        say("The time of this call is over: what was being measured is given up")
        os._exit(3)

    timer = threading.Timer(minutes * 60, stop)
    timer.daemon = True
    timer.start()
    return timer


@click.command(
    help=__doc__, context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]}
)
@click.option("--only", type=click.Choice(tuple(PARTS)), help="Run this part.")
@click.option("--again", is_flag=True, help="Measure the part anew, whatever was found before.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=8.0,
              show_default=True, help="Of a call.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Small cases, three runs of each.")
@click.option("--rows", type=click.IntRange(min=1), help="At most so many rows a database.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default="gpu-report",
              show_default=True, help="Where the parts are written.")  # fmt: skip
@click.option("--features", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A .npy file of features: searches run on these too.")  # fmt: skip
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A model file of vsearch export, for embedding.")  # fmt: skip
@click.option("--pictures", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A folder of JPEG files, for embedding.")  # fmt: skip
@click.option("--predict", is_flag=True,
              help="Print how fast every kernel should be on known GPUs.")  # fmt: skip
@click.option("--json", "predicted", type=click.Path(dir_okay=False, path_type=Path),
              help="Where predictions are written, too.")  # fmt: skip
def command(
    only: str | None,
    again: bool,
    minutes: float,
    quick: bool,
    rows: int | None,
    folder: Path,
    features: Path | None,
    model: Path | None,
    pictures: Path | None,
    predict: bool,
    predicted: Path | None,
) -> None:
    if again and only is None:
        raise click.UsageError("--again needs --only: which part is to be measured anew?")

    def say(text: str) -> None:
        click.echo(text, err=True)

    if predicted is not None and not predict:
        raise click.UsageError("--json needs --predict: parts are written into --folder")
    if predict:
        found = prediction.made(say)
        if predicted is not None:
            written = {
                "command": command_line("benchmarks/gpu_report.py"),
                "sources": sources.digest(),
                "nvrtc": ".".join(map(str, prediction.compiler_version())),
                "predictions": [one.record() for one in found],
            }
            predicted.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
        click.echo(prediction.report(found))
        return
    start = time.monotonic()
    sizes = QUICK if quick else FULL
    if rows is not None:
        sizes = sizes.at_most(rows)
    same = _command({"--quick": quick, "--rows": rows, "--folder": folder, "--minutes": minutes,
                     "--features": features, "--model": model, "--pictures": pictures})  # fmt: skip
    some = devices.devices()
    records = Records(folder, sizes, some)
    name = only or next_part(records)
    if name is None:
        click.echo(table(records))
        click.echo(what_next(records, same))
        return
    record = {} if again else records.of(name)
    record |= {"of": records.of_what}
    record["command"] = command_line("benchmarks/gpu_report.py")
    data = Data() if features is None else Data(read_features(features))
    bench = Bench(
        some, sizes, record, data, ("relu",) if features is None else ("relu", "features"),
        model, pictures, deadline=start + _BEGINNING * minutes * 60, other=records.of,
        say=say, save=lambda: records.save(name, record),
    )  # fmt: skip
    timer = _stop_after(minutes, say)
    environment(bench, record.setdefault("environment", {}))
    run_part(bench, name)
    timer.cancel()
    click.echo(table(records))
    click.echo(what_next(records, same))


if __name__ == "__main__":
    run_command(command, "python benchmarks/gpu_report.py")
