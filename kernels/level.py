"""Which vector instructions the kernels may use: the host's best, or what ``VSEARCH_SIMD`` says.

============  ===================================================================
``amx``       tile instructions for batches of Hamming queries (`amx`); else as avx512
``avx512``    512-bit byte instructions: ``vpsadbw``, ``vpdpbusd`` (AVX-512 BW and VNNI)
``avx2``      256-bit ``vpsadbw`` and ``vpmaddwd``
``portable``  plain vector IR, which LLVM turns into what the processor has (Arm included)
============  ===================================================================

The level chooses among the micro-kernels that need instructions by name. All others are
written as vector IR of 512 bits, which LLVM cuts to fit; no level changes a result.
"""

from __future__ import annotations

import os
import platform
import sys
from functools import cache

from llvmlite import binding

from ..errors import ArgumentError

LEVELS = ("amx", "avx512", "avx2", "portable")

_NEEDED = {
    "amx": ("amx-tile", "amx-int8", "avx512bw", "avx512vnni", "avx2"),
    "avx512": ("avx512bw", "avx512vnni", "avx2"),
    "avx2": ("avx2",),
    "portable": (),
}


def supported() -> tuple[str, ...]:
    """The levels that this process may compile for, best first.

    Portable alone where Numba is told to compile for another processor than this one: LLVM
    ends the process on an instruction that its target lacks.
    """
    if os.environ.get("NUMBA_CPU_NAME") or os.environ.get("NUMBA_CPU_FEATURES"):
        return ("portable",)
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ("portable",)
    features = binding.get_host_cpu_features()
    return tuple(
        level
        for level in LEVELS
        if all(features.get(name) for name in _NEEDED[level])
        and (level != "amx" or sys.platform == "linux")
    )


@cache
def simd_level() -> str:
    """The level in force in this process: `VSEARCH_SIMD`, else the best supported one.

    Raises:
        ArgumentError: an unknown level, or one that this processor does not have.
    """
    levels = supported()
    wanted = os.environ.get("VSEARCH_SIMD")
    if not wanted:
        return levels[0]
    if wanted not in levels:
        known = wanted in LEVELS
        raise ArgumentError(
            f"VSEARCH_SIMD is {wanted!r}, which "
            + ("this processor does not have" if known else "is no level of instructions"),
            "Nothing was searched",
            f"Set it to one of {', '.join(levels)}, or not at all",
        )
    return wanted


def counts_in_vectors() -> bool:
    """Whether the bits of vectors are counted by one instruction: not at the level AVX2, nor on
    those processors with AVX-512 that lack it (Skylake, Cascade Lake)."""
    if simd_level() == "portable":
        return platform.machine().lower() not in ("x86_64", "amd64")
    features = binding.get_host_cpu_features()
    return simd_level() != "avx2" and bool(features.get("avx512vpopcntdq"))


def counts_by_bytes() -> bool:
    """Whether differing bits are best added up as bytes, in vectors of 128 bits: on Arm, and on x86
    with nothing wider than SSE. Wider vectors are as fast by words, which take fewer loads."""
    return supported() == ("portable",)
