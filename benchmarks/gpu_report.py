"""All that is measured on an NVIDIA GPU, as one JSON: ``python benchmarks/gpu_report.py -h``.

Sections: environment, tests (equality with the processor, to the bit), roofs (memory, and every
kernel alone), kernels (exact searches of resident rows), peers (PyTorch, FAISS and cuVS where
installed), embedding. A section that fails is recorded with its error and the others go on; the
file is written after each measurement, so that a run that is cut off leaves what it has found.

Bars are for one H200. Times are medians after a warm-up, the device idle before and after.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click
from gpu import embedding, kernels, peers, tests
from gpu.base import BARS, FULL, QUICK, Bench, error_text, release

from vsearch_fast.bench.data import Data, read_features
from vsearch_fast.bench.machine import command_line
from vsearch_fast.bench.machine import environment as machine_of
from vsearch_fast.disk.replacing import replace_text
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.search import available_threads
from vsearch_fast.search.gpu import devices
from vsearch_fast.terminal.console import run as run_command

_PACKAGES = (
    "cupy-cuda12x", "cupy-cuda13x", "cupy", "torch", "onnxruntime-gpu", "onnxruntime",
    "faiss-gpu-cu12", "faiss-gpu", "faiss-cpu", "cuvs-cu12", "cuvs-cu13", "simplejpeg", "pillow",
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


SECTIONS: dict[str, Callable[[Bench, dict[str, Any]], None]] = {
    "environment": environment,
    "tests": tests.run,
    "roofs": kernels.roofs,
    "kernels": kernels.kernels,
    "peers": peers.run,
    "embedding": embedding.run,
}


def run_sections(bench: Bench, names: Sequence[str]) -> None:
    """Run sections in order; each has its results and its state in the record."""
    states = bench.record.setdefault("sections", {})
    for name in names:
        found = bench.record.setdefault(name, {})
        states[name] = {"state": "running"}
        bench.save()
        start = time.perf_counter()
        bench.say(f"== {name}")
        try:
            SECTIONS[name](bench, found)
            states[name] = {"state": "done"}
            failed = errors_in(found)
            if failed:
                states[name] = {"state": "done in part", "failed": failed}
        except Exception as error:  # the report of the other sections is worth having
            states[name] = {"state": "failed", "error": error_text(error)}
            bench.say(f"{name} failed: {error_text(error)}")
        states[name]["seconds"] = time.perf_counter() - start
        bench.save()
        release()


def errors_in(found: dict[str, Any]) -> list[str]:
    """Names of the measurements that failed."""
    names = []
    for name, part in found.items():
        if isinstance(part, dict):
            names += [name] if "error" in part else errors_in(part)
    return names


def save(record: dict[str, Any], file: Path) -> None:
    """Write the record whole, or leave what was there."""
    replace_text(file, json.dumps(record, indent=1, default=float) + "\n")


def table(record: dict[str, Any]) -> str:
    """Every bar with what was measured, as text, and what failed."""
    measured = record.get("bars", {})
    lines = [f"{'':58} {'bar':>9} {'measured':>9}  met"]
    for key, bar in BARS.items():
        found = measured.get(key)
        figure, met = "-", "not measured"
        if found is not None:
            figure = f"{found['measured']:.3g}"
            met = "yes" if found["met"] else "no"
            if not found["full_size"]:
                met += " (not the case of the bar)"
        lines.append(f"{bar.what[:58]:58} {bar.value:9.3g} {figure:>9}  {met}, {bar.unit}")
    for name, state in record.get("sections", {}).items():
        if state["state"] != "done":
            lines.append(f"{name}: {state['state']}: {state.get('error', state.get('failed', ''))}")
    return "\n".join(lines)


@click.command(
    help=__doc__, context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]}
)
@click.option("--only", type=click.Choice(tuple(SECTIONS)), multiple=True,
              help="Run this section (and environment); repeat for several.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Small cases, three runs of each.")
@click.option("--rows", type=click.IntRange(min=1), help="At most so many rows a database.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path),
              default="gpu-report.json", show_default=True)  # fmt: skip
@click.option("--features", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A .npy file of features: searches run on these too.")  # fmt: skip
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A model file of vsearch export, for embedding.")  # fmt: skip
@click.option("--pictures", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A folder of JPEG files, for embedding.")  # fmt: skip
def command(
    only: tuple[str, ...],
    quick: bool,
    rows: int | None,
    json_file: Path,
    features: Path | None,
    model: Path | None,
    pictures: Path | None,
) -> None:
    sizes = QUICK if quick else FULL
    if rows is not None:
        sizes = sizes.at_most(rows)
    data = Data()
    kinds: tuple[str, ...] = ("relu",)
    if features is not None:
        data, kinds = Data(read_features(features)), ("relu", "features")
    record: dict[str, Any] = {"command": command_line("benchmarks/gpu_report.py")}
    bench = Bench(
        devices.devices(), sizes, record, data, kinds, model, pictures,
        say=lambda text: click.echo(text, err=True), save=lambda: save(record, json_file),
    )  # fmt: skip
    record["sizes"] = sizes.__dict__
    wanted = only or tuple(SECTIONS)
    run_sections(bench, [n for n in SECTIONS if n in wanted or n == "environment"])
    click.echo(table(record))


if __name__ == "__main__":
    run_command(command, "python benchmarks/gpu_report.py")
