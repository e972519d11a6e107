"""Compile a kernel once per user and processor.

Numba's own cache notices edits of the decorated function's file only, not of the
micro-kernels and helpers that it inlines; so the cache folder is named by a hash of
all kernel sources and of the processor. It is set around decoration alone: the
caller's ``numba.config.CACHE_DIR`` is put back. Where nothing can be written, kernels
are compiled in each process.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding

from ..errors import ArgumentError
from ..machine import cache_root

config: Any = numba.config  # its attributes are made at run time


@cache
def _folder() -> str | None:
    """The folder of compiled kernels, made; None where it cannot be written."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    # Numba can be told to compile for another processor than the host's.
    cpu = os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name()
    digest.update(f"{cpu} {os.environ.get('NUMBA_CPU_FEATURES')} {numba.__version__}".encode())
    try:
        folder = cache_root() / f"kernels-{digest.hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    return str(folder)


def compiled(*signatures: Any) -> Callable[[Callable], Callable]:
    """Decorator: a ``nogil`` machine-code kernel with exactly these Numba signatures."""

    if config.DISABLE_JIT:
        raise ArgumentError(
            "Numba is told not to compile (NUMBA_DISABLE_JIT)",
            "The kernels cannot run: they are written for the compiler",
            "Unset NUMBA_DISABLE_JIT; vsearch_fast.kernels.reference needs no compiler",
        )

    def decorate(function: Callable) -> Callable:
        folder = _folder()
        if folder is not None:
            before = config.CACHE_DIR
            config.CACHE_DIR = folder
            try:
                return numba.njit(list(signatures), nogil=True, cache=True)(function)
            except Exception:
                # A full disk, or a file that a power cut left damaged, which would be met by
                # every process to come. What is wrong with the kernel itself shows again below.
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                config.CACHE_DIR = before
        return numba.njit(list(signatures), nogil=True)(function)

    return decorate
