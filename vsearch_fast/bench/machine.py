"""The machine and the software, for the record of a result; names nobody and no path."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from .roofs import last_level_cache

_PACKAGES = (
    "vsearch_fast", "numpy", "numba", "llvmlite", "scipy", "scikit-learn", "faiss-cpu",
    "usearch", "numkong", "pynear", "imagededup", "torch", "threadpoolctl",
)  # fmt: skip
#: Variables that change how libraries compute. Those that hold folders are not recorded.
_VARIABLES = ("BLIS_", "GOMP_", "KMP_", "MKL_", "NUMBA_", "OMP_", "OPENBLAS_", "VSEARCH_SIMD")


def processor() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def available_memory() -> int:
    """Bytes that can be had without swapping; a guess of 8 GiB where the system is silent."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text("utf-8", "replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 8 << 30


def blas() -> list[dict[str, Any]]:
    """Each BLAS in the process: whose, its version, kernels and threads (by threadpoolctl)."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    found = []
    for pool in threadpool_info():
        if pool["user_api"] != "blas":
            continue
        places = [part for part in Path(pool["filepath"]).parts if part.endswith(".libs")]
        found.append(
            {
                "of": places[-1].removesuffix(".libs") if places else Path(pool["filepath"]).name,
                "library": f"{pool['internal_api']} {pool['version']}",
                "kernels": pool.get("architecture") or "",
                "threads": pool["num_threads"],
            }
        )
    return found


def environment(threads: int) -> dict[str, Any]:
    """All that a result depends on, as far as it is known."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    from ..kernels.level import simd_level

    return {
        "cpu": processor(),
        "instructions": simd_level(),
        "cores": os.cpu_count(),
        "threads": threads,
        "last_level_cache_mib": last_level_cache() / 2**20,
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "blas": blas(),
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(_VARIABLES) and "/" not in value
        },
    }


def command_line(program: str = "-m vsearch_fast.bench") -> str:
    """The command that was given, without folders; `program` is what Python was to run."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return f"python {program} {shlex.join(words)}".rstrip()


def warnings(machine: dict[str, Any]) -> list[str]:
    """What in the environment would make the comparison unfair, cause, consequence and cure."""
    said = [
        f"Warning: {name} is set ({machine['variables'][name]}). OpenBLAS, and so NumPy, may be "
        f"slower here than it can be. For its own choice run: env -u {name} ..."
        for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
        if machine["variables"].get(name)
    ]
    if not machine["blas"]:
        said.append(
            "Warning: threadpoolctl is not installed. Threads of NumPy's and SciPy's BLAS are "
            "neither known nor held to the number of the others. pip install threadpoolctl"
        )
    return said
