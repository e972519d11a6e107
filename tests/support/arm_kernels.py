"""All micro-kernels of the level portable, as `arm_code` compiles them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from arm_code import MicroKernel
from numba.core import types

from vsearch_fast.kernels import (
    coarse,
    projection,
    simd,
    simd_bits,
    simd_dot,
    simd_groups,
    simd_u8,
    sketch,
)
from vsearch_fast.kernels.simd_u8 import ABSOLUTE, PORTABLE, PRODUCT

#: Modules all of whose intrinsics are listed here, but for those that no kernel uses on Arm.
MODULES: tuple[ModuleType, ...] = (
    coarse, projection, simd, simd_bits, simd_dot, simd_groups, simd_u8, sketch,
)  # fmt: skip
#: Masks of eight and their look-up; look-ups of nibbles, which replace a count of bits where there
#: is none (`planes.available`); moves of memory without arithmetic; a pointer.
LEFT_OUT = {
    "list_rows", "set_bytes", "planes_32x8", "planes_below", "planes_add", "below_u8_64",
    "below_u16_64", "padded_words", "copy_words", "copy_row", "prefetch", "count_trailing_zeros",
    "_as_floats",
}  # fmt: skip

COARSE_PAIRS, COARSE_QUERIES = 16, 4
SHORT_WORDS = (1, 2, 3, 4, 6, 8, 12, 16)


def _of(
    name: str, intrinsic: Any, count: int, constants: tuple[int, ...] = (), kinds: Any = None
) -> MicroKernel:
    return MicroKernel(name, intrinsic, constants, kinds or (types.intp,) * count)


def _coarse(name: str, operation: int, values: int) -> MicroKernel:
    constants = operation, PORTABLE, COARSE_PAIRS, COARSE_QUERIES, values
    kinds = (*(types.intp,) * 6, types.float32, types.float32, types.intp)
    return MicroKernel(name, coarse.coarse_page, constants, kinds)


KERNELS = (
    *(
        _of(f"hamming_{shape}_{words}", getattr(simd, f"hamming_u8_{shape}"), 8, (words, 1))
        for shape in ("4x2", "1x8")
        for words in (0, 1, 8)
    ),
    *(_of(f"{m}_{s}", getattr(simd, f"{m}_f32_{s}"), 7)
      for m in ("l1", "l2") for s in ("2x2", "1x4", "1x1")),
    _of("near_l1", simd.near_l1_f32, 3),
    _of("near_l2", simd.near_l2_f32, 3),
    _of("popcount", simd.popcount_u8, 2),
    _of("dot_2x2", simd_dot.dot_f32_2x2, 7),
    _of("dot_1x4", simd_dot.dot_f32_1x4, 7),
    _of("dot_squares_1x2", simd_dot.dot_squares_f32_1x2, 7),
    _of("dot_squares_1x1", simd_dot.dot_squares_f32_1x1, 7),
    _of("squares_4", simd_dot.squares_f32_4, 5),
    _of("near_dot_squares", simd_dot.near_dot_squares_f32, 3),
    _of("product_tile", simd_dot.product_tile, 12, (PORTABLE,)),
    *(
        _of(f"{name}_{suffix}", getattr(simd_u8, name), count, (operation, PORTABLE))
        for suffix, operation in (("absolute", ABSOLUTE), ("product", PRODUCT))
        for name, count in (
            ("tile", 7), ("bounded_tile", 11), ("row_sums", 6), ("stream", 3), ("pair_sum", 3),
        )
    ),
    _of("groups_below", simd_groups.groups_below, 3, (PORTABLE,)),
    *(_of(f"groups_rest_{half}", simd_groups.groups_rest, 5, (PORTABLE, half)) for half in (0, 1)),
    _of("add_bytes", simd_groups.add_bytes, 3),
    *(_of(f"short_rows_{w}", simd_bits.short_rows, 4, (w, 0)) for w in SHORT_WORDS),
    _coarse("coarse_absolute", ABSOLUTE, 1),
    _coarse("coarse_product", PRODUCT, 1),
    _of("fine_product", coarse.fine_product, 3, (PORTABLE,)),
    _of("fine_differences", coarse.fine_differences, 4, (PORTABLE,)),
    _of("float_at", coarse.float_at, 1),
    _of("project_tile", projection._tile, 5),
    _of("sketch_whole", sketch._sketch_whole, 7, kinds=(
        types.intp, types.intp, types.float64, types.float64, types.float64, types.intp, types.intp,
    )),
)  # fmt: skip
