"""NVRTC, CUDA's compiler in a library, by ctypes: it compiles for devices that are not there."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path


class Missing(RuntimeError):
    """There is no NVRTC."""


class CompileError(RuntimeError):
    """NVRTC refused a source; the message holds its log."""


@dataclass(frozen=True)
class Compiled:
    """What came of a source."""

    log: str
    ptx: str
    cubin: bytes


def package_files(pattern: str) -> list[Path]:
    """Files of NVIDIA's packages, by a pattern below their common folder, newest CUDA first."""
    spec = importlib.util.find_spec("nvidia")
    folders = (spec.submodule_search_locations if spec else None) or ()
    return sorted((file for folder in folders for file in Path(folder).glob(pattern)), reverse=True)


@cache
def library() -> ctypes.CDLL:
    """NVRTC, of its package or of the system."""
    # Not libnvrtc-builtins.so, which NVRTC itself loads from beside it.
    for name in [*map(str, package_files("*/lib/libnvrtc.so*")), "libnvrtc.so.13"]:
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        found.nvrtcGetErrorString.restype = ctypes.c_char_p
        return found
    raise Missing("no NVRTC: install the package nvidia-cuda-nvrtc")


def _check(status: int, doing: str) -> None:
    if status:
        reason = library().nvrtcGetErrorString(status).decode()
        raise RuntimeError(f"NVRTC failed to {doing}: {reason}")


def version() -> tuple[int, int]:
    """Of CUDA."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "tell its own version")
    return major.value, minor.value


def capabilities() -> set[tuple[int, int]]:
    """Compute capabilities that NVRTC knows."""
    count = ctypes.c_int()
    _check(library().nvrtcGetNumSupportedArchs(ctypes.byref(count)), "count its devices")
    known = (ctypes.c_int * count.value)()
    _check(library().nvrtcGetSupportedArchs(known), "list its devices")
    return {divmod(number, 10) for number in known}


def _output(program: ctypes.c_void_p, what: str) -> bytes:
    """One of the program's outputs, whose two functions are named alike."""
    size = ctypes.c_size_t()
    ask = getattr(library(), f"nvrtcGet{what}Size")
    _check(ask(program, ctypes.byref(size)), f"tell the size of its {what}")
    held = ctypes.create_string_buffer(max(size.value, 1))
    _check(getattr(library(), f"nvrtcGet{what}")(program, held), f"give its {what}")
    return held.raw[: size.value]


def compile_source(source: str, name: str, options: Sequence[str]) -> Compiled:
    """Compile for the real device that `options` name. Threads may do so at the same time."""
    program = ctypes.c_void_p()
    status = library().nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), name.encode(), 0, None, None
    )
    _check(status, f"take {name}")
    try:
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = library().nvrtcCompileProgram(program, len(options), given)
        log = _output(program, "ProgramLog").rstrip(b"\0").decode(errors="replace").strip()
        if status:
            reason = library().nvrtcGetErrorString(status).decode()
            raise CompileError(f"{name} with {' '.join(options)}: {reason}\n{log}")
        ptx = _output(program, "PTX").rstrip(b"\0").decode()
        return Compiled(log, ptx, _output(program, "CUBIN"))
    finally:
        library().nvrtcDestroyProgram(ctypes.byref(program))
