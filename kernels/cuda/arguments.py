"""Structs that kernels take by value, packed for them.

Fields are written as in the sources (a test compares both): a pointer takes an array of its type
or None, anything else a NumPy scalar of exactly its type. A wrong one is a TypeError here, where on
a device it would be a wrong address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES: dict[str, type[np.generic]] = {
    "u8": np.uint8, "u32": np.uint32, "u64": np.uint64, "int": np.int32, "i64": np.int64,
    "float": np.float32, "double": np.float64,
}  # fmt: skip


@dataclass(frozen=True)
class Struct:
    """A struct of the sources.

    Attributes:
        name: in the sources.
        fields: (type, name) in order, as there; a pointer's type ends with ``*``.
    """

    name: str
    fields: tuple[tuple[str, str], ...]

    @cached_property
    def layout(self) -> np.dtype:
        """How it lies in memory: as C aligns it."""
        members = [
            (name, np.uint64 if kind.endswith("*") else _TYPES[kind]) for kind, name in self.fields
        ]
        return np.dtype(members, align=True)


@dataclass(frozen=True)
class Record:
    """Values of a struct's fields, in their order."""

    struct: Struct
    values: Sequence[Any]

    def packed(self, address: Callable[[Any], int]) -> NDArray[np.void]:
        """An array of one element, which is what CuPy passes by value.

        Args:
            address: of an array of the device.

        Raises:
            TypeError: a value is not of its field's type.
        """
        packed = np.zeros(1, self.struct.layout)
        for (kind, name), value in zip(self.struct.fields, self.values, strict=True):
            wanted = _TYPES[kind.removesuffix("*")]
            if not kind.endswith("*"):
                if type(value) is not wanted:
                    raise TypeError(f"{self.struct.name}.{name} is {kind}, not {type(value)}")
                packed[name] = value
            elif value is not None:
                if value.dtype != wanted:
                    raise TypeError(f"{self.struct.name}.{name} is {kind}, not {value.dtype}")
                packed[name] = address(value)
        return packed


def _struct(name: str, fields: str) -> Struct:
    members = (field.rsplit(" ", 1) for field in fields.split(";"))
    return Struct(name, tuple((kind, field) for kind, field in members))


#: What every scan takes (common.cuh).
SCAN = _struct(
    "Scan",
    "u32* due;u32 round;"
    "u8* queries;i64 query_stride;int query_count;double* query_errors;u32* query_sums;"
    "u8* rows;i64 row_stride;double* row_errors;float* row_bounds;u32* row_sums;u32* live;"
    "i64 first;i64 last;u32 base;int width;double scale;double gamma;double lost;"
    "u64* limits;u32* counts;u64* keys;u64* uppers;u32* ids;int capacity;"
    "u32* row_totals;double lo;int numbers;int cosine;u8* query_images",
)

#: Reduced queries and rows (reduced.cu).
REDUCED = _struct(
    "Reduced",
    "u8* coarse_queries;i64 coarse_stride;float* coarse_weights;float* coarse_residuals;"
    "double* coarse_errors;u8* coarse_scales;double coarse_scale;u8* pages;int coarse_numbers;"
    "u8* fine_queries;i64 fine_stride;float* fine_weights;float* fine_residuals;"
    "double* fine_errors;u8* fine_scales;double fine_scale;u8* fine_rows;int fine_numbers;"
    "int fine_size;i64 start;double growth;double slack;double reach;u64* left",
)
