"""The CUDA sources: which file defines what, and how they are compiled for a device.

CuPy compiles them (`module`); tests compile them for devices that are not there, and for the
processor by an emulation of `primitives.cuh`.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

#: Compiled on their own. `kernels_of` finds what each of them defines.
UNITS = (
    "hamming", "sketches", "floats", "dots", "reduced", "select", "refine", "pipelined",
    "multicast",
)  # fmt: skip

#: Oldest devices that are supported: 64-bit integer atomics aside, sm_70 lacks nothing.
OLDEST = (7, 0)


def features_of(capability: tuple[int, int]) -> tuple[str, ...]:
    """What the instruction set of a compute capability has, as the sources name it.

    Hopper's warpgroup products exist in code for exactly sm_90a. From sm_100 on, products of
    bits are emulated, and population counts are faster.
    """
    features = []
    if capability >= (8, 0):
        features.append("HAS_MMA_BYTES")
        if capability < (10, 0):
            features.append("HAS_MMA_BITS")
    if capability == (9, 0):
        features.append("HAS_WGMMA")
    return tuple(features)


def architecture(capability: tuple[int, int]) -> str:
    """The compiler's name of a device: ``sm_80``, ``sm_90a``."""
    major, minor = capability
    return f"sm_{major}{minor}" + ("a" if capability == (9, 0) else "")


def options(capability: tuple[int, int]) -> tuple[str, ...]:
    """What NVRTC is told.

    No multiply-add is fused but where a kernel says so: the definition of L2 rounds twice.
    CuPy's cache of compiled code knows the options and the file itself, not what it includes.
    """
    return (
        "-std=c++17",
        f"-I{FOLDER}",
        "--fmad=false",
        f"-arch={architecture(capability)}",
        *(f"-D{feature}" for feature in features_of(capability)),
        f"-DSOURCES={digest()}",
    )


@cache
def source(unit: str) -> str:
    """The text of a unit."""
    return (FOLDER / f"{unit}.cu").read_text()


@cache
def digest() -> str:
    """Of all that units may include."""
    found = hashlib.sha256()
    for header in sorted(FOLDER.glob("*.cuh")):
        found.update(header.read_bytes())
    return found.hexdigest()[:16]


#: Kernels of a unit that scan, from many queries to few, by what they need.
SCANS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "hamming": (
        ("hamming_pipelined_warpgroup_resident", "HAS_WGMMA"),
        ("hamming_multicast_warpgroup", "HAS_WGMMA"),
        ("hamming_pipelined_warpgroup", "HAS_WGMMA"),
        ("hamming_warpgroup_resident", "HAS_WGMMA"),
        ("hamming_warpgroup", "HAS_WGMMA"),
        ("hamming_warp", "HAS_MMA_BITS"),
        ("hamming_tile", None),
        ("hamming_stream_8", None),
        ("hamming_stream_4", None),
        ("hamming_stream_2", None),
        ("hamming_stream_1", None),
    ),
    "l1_sketches": (
        ("l1_sketches_tile", None),
        ("l1_sketches_stream_4", None),
        ("l1_sketches_stream_2", None),
        ("l1_sketches_stream_1", None),
    ),
    "l2_sketches": (
        ("l2_sketches_multicast_warpgroup", "HAS_WGMMA"),
        ("l2_sketches_pipelined_warpgroup", "HAS_WGMMA"),
        ("l2_sketches_warpgroup", "HAS_WGMMA"),
        ("l2_sketches_warp", "HAS_MMA_BYTES"),
        ("l2_sketches_tile", None),
        ("l2_sketches_stream_4", None),
        ("l2_sketches_stream_2", None),
        ("l2_sketches_stream_1", None),
    ),
    "l1_floats": (
        ("l1_floats_tile", None),
        ("l1_floats_stream_2", None),
        ("l1_floats_stream_1", None),
    ),
    "l2_floats": (
        ("l2_floats_tile", None),
        ("l2_floats_stream_2", None),
        ("l2_floats_stream_1", None),
    ),
    "dot_sketches": (
        ("dot_sketches_warpgroup", "HAS_WGMMA"),
        ("dot_sketches_warp", "HAS_MMA_BYTES"),
        ("dot_sketches_tile", None),
        ("dot_sketches_stream_4", None),
        ("dot_sketches_stream_2", None),
        ("dot_sketches_stream_1", None),
    ),
    "dot_floats": (
        ("dot_floats_tile", None),
        ("dot_floats_stream_2", None),
        ("dot_floats_stream_1", None),
    ),
}

#: Kernels that are fast by a structure of which much can be wrong, and those of the same work that
#: take their place on a device where they are (`search/gpu/selfcheck.py`): so on, to a simple one.
SIMPLER = {
    "hamming_multicast_warpgroup": "hamming_pipelined_warpgroup",
    "l2_sketches_multicast_warpgroup": "l2_sketches_pipelined_warpgroup",
    "hamming_pipelined_warpgroup_resident": "hamming_warpgroup_resident",
    "hamming_pipelined_warpgroup": "hamming_warpgroup",
    "l2_sketches_pipelined_warpgroup": "l2_sketches_warpgroup",
}

#: Metrics that are made of inner products: one family of scans serves both.
PRODUCTS = ("cosine", "ip")


def family_of(metric: str, kind: str = "") -> str:
    """The family that scans for a metric: of ``sketches`` or ``floats``, but for Hamming."""
    if metric == "hamming":
        return metric
    return f"{'dot' if metric in PRODUCTS else metric}_{kind}"


#: The other kernels, by unit.
OTHERS = {
    "select": (
        "begin_lists",
        "longest_list",
        "end_round",
        "lower_limits",
        "most_promising",
        "drop_listed",
        "keep_nearest",
    ),
    "refine": (
        "refine",
        "refine_dots",
        "count_bits",
        "bound_rows",
        "bound_dot_rows",
        "square_rows",
        "arrange_queries",
    ),
    "reduced": ("l1_reduced", "l2_reduced"),
    "dots": ("bound_dots",),
}


def unit_of(kernel: str) -> str:
    """The unit that defines a kernel."""
    for unit, names in OTHERS.items():
        if kernel in names:
            return unit
    if kernel in SIMPLER:
        return "multicast" if "multicast" in kernel else "pipelined"
    family = next(family for family in SCANS if kernel.startswith(family))
    # l1_sketches: sketches
    return "dots" if family.startswith("dot") else family.split("_")[-1]


def scans_for(family: str, capability: tuple[int, int]) -> tuple[str, ...]:
    """The scans of a family that a device has, from many queries to few."""
    features = features_of(capability)
    return tuple(name for name, needs in SCANS[family] if needs is None or needs in features)


def units_for(capability: tuple[int, int]) -> tuple[str, ...]:
    """The units that define kernels for a device."""
    return tuple(unit for unit in UNITS if kernels_of(unit, capability))


def kernels_of(unit: str, capability: tuple[int, int]) -> tuple[str, ...]:
    """All kernels that a unit defines for a device."""
    names = [name for family in SCANS for name in scans_for(family, capability)]
    return tuple(name for name in names if unit_of(name) == unit) + OTHERS.get(unit, ())
