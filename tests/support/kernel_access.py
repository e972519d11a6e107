"""Which arrays a kernel reads and which it writes, as it declares them: pointers to const are read.

`WRITTEN` says the same by name, once more: a test compares it with the sources, so that a pointer
that loses its const, or gains one, does not go unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.arguments import Record

#: What kernels write, by the names of their parameters; of structs, by those of their fields.
WRITTEN = {
    "begin_lists": "counts kept limits refined bad due left",
    "longest_list": "longest",
    "end_round": "counts due left",
    "lower_limits": "limits",
    "most_promising": "most",
    "drop_listed": "keys uppers ids counts",
    "keep_nearest": "keys uppers ids counts limits",
    "refine": "keys uppers done bad",
    "refine_dots": "keys uppers done bad",
    "count_bits": "sums",
    "bound_rows": "bounds",
    "bound_dot_rows": "facts",
    "square_rows": "squares sizes",
    "arrange_queries": "images",
    "Scan": "counts keys uppers ids",
    "Reduced": "left",
}

_KERNEL = re.compile(
    r"\bKERNEL void\s+(?:(?:__launch_bounds__|CLUSTERS_OF)\([^)]*\)[\s\\]*)*(\w+)\(([^)]*)\)"
)
_STRUCT = re.compile(r"\bstruct (\w+) \{\n(.*?)\n\};", re.DOTALL)
_POINTER = re.compile(r"(const )?\w+\*\s*(\w+)$")


@cache
def _text() -> str:
    files = sorted([*sources.FOLDER.glob("*.cu"), *sources.FOLDER.glob("*.cuh")])
    return "\n".join(re.sub(r"//.*", "", file.read_text()) for file in files)


def _pointers(declared: Sequence[str]) -> tuple[str | None, ...]:
    """Of each declaration the name of the array that is written through it, or None."""
    found = [_POINTER.search(" ".join(one.split())) for one in declared]
    return tuple(one[2] if one and not one[1] else None for one in found)


@cache
def kernels() -> dict[str, tuple[str | None, ...]]:
    """By kernel with parameters of its own, one by one: the array that is written, or None."""
    return {
        name: _pointers(parameters.split(","))
        for name, parameters in _KERNEL.findall(_text())
        if "ARGUMENT" not in parameters and name != "name"
    }


@cache
def structs() -> dict[str, tuple[str | None, ...]]:
    """The same of the fields of structs that kernels take."""
    return {
        name: _pointers([line for line in body.split(";") if line.strip()])
        for name, body in _STRUCT.findall(_text())
        if f"ARGUMENT({name})" in _text()
    }


def accesses(kernel: str, arguments: Sequence[Any]) -> Iterator[tuple[Any, bool]]:
    """(array, whether it is written) of a launch."""
    written = kernels().get(kernel, (None,) * len(arguments))
    for argument, name in zip(arguments, written, strict=True):
        if isinstance(argument, Record):
            fields = structs()[argument.struct.name]
            for value, field in zip(argument.values, fields, strict=False):
                if isinstance(value, np.ndarray):
                    yield value, field is not None
        elif isinstance(argument, np.ndarray):
            yield argument, name is not None
