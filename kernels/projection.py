"""Products of float32 rows with directions: float32 sums of blocks, added up in float64.

A tile of 4 rows and 16 directions stays in registers while a block's numbers pass. Directions lie
in blocks of `DEEP` numbers, and these in tiles::

    float32 [blocks][directions / 16][DEEP][16]        zeros behind the last of each

A library's product would do as well for many rows, in threads of its own that wait for each other
by turning; this one is as fast on one thread, and its results for a row depend on no other rows.
Multiplications and additions are fused where the processor does so: `search.reductions` bounds what
any order and rounding of `DEEP` products may do.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from .cache import compiled
from .simd import _const, _load
from .sketch import _as_floats

#: Numbers of a block, rows and directions of a tile.
DEEP, ROWS, WIDE = 128, 4, 16

_I8, _I64 = ir.IntType(8), ir.IntType(64)
_FLOATS, _DOUBLES = ir.VectorType(ir.FloatType(), WIDE), ir.VectorType(ir.DoubleType(), WIDE)


def tiles_of(directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Directions ``(m, d)`` as `project` takes them: (blocks, tiles, DEEP, WIDE)."""
    count, dim = directions.shape
    blocks, tiles = -(-dim // DEEP), -(-count // WIDE)
    padded = np.zeros((tiles * WIDE, blocks * DEEP), np.float32)
    padded[:count, :dim] = directions
    cut = padded.reshape(tiles, WIDE, blocks, DEEP)
    return np.ascontiguousarray(cut.transpose(2, 0, 3, 1))


@intrinsic
def _tile(typingctx, rows, stride, directions, sums, sums_stride):
    """Add the products of `ROWS` rows of DEEP float32 with a tile of directions to float64 sums:
    addresses, and bytes from a row to the next."""

    def codegen(context, builder, signature, args):
        base, stride, tile, sums, sums_stride = args
        whole = _I8.as_pointer()
        row = [
            builder.inttoptr(builder.add(base, builder.mul(stride, _const(r))), whole)
            for r in range(ROWS)
        ]
        tile = builder.inttoptr(tile, whole)
        slots = [
            cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, None)) for _ in range(ROWS)
        ]
        name = f"llvm.fmuladd.v{WIDE}f32"
        fused = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * 3), name
        )
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), WIDE), [0] * WIDE)
        undefined = ir.Constant(_FLOATS, ir.Undefined)
        loop = cgutils.for_range_slice(builder, _const(0), _const(DEEP), _const(1), intp=_I64)
        with loop as (i, _):
            weights = _load(builder, tile, builder.mul(i, _const(4 * WIDE)), _FLOATS)
            for r in range(ROWS):
                value = _load(builder, row[r], builder.mul(i, _const(4)), ir.FloatType())
                one = builder.insert_element(undefined, value, ir.IntType(32)(0))
                every = builder.shuffle_vector(one, one, everywhere)
                total = builder.call(fused, [every, weights, builder.load(slots[r])])
                builder.store(total, slots[r])
        for r in range(ROWS):
            place = builder.inttoptr(
                builder.add(sums, builder.mul(sums_stride, _const(r))), _DOUBLES.as_pointer()
            )
            wide = builder.fpext(builder.load(slots[r]), _DOUBLES)
            builder.store(builder.fadd(builder.load(place, align=8), wide), place, align=8)
        return context.get_dummy_value()

    return types.void(*(types.intp,) * 5), codegen


@compiled(
    numba.void(
        numba.intp, numba.intp,  # rows: address, stride in bytes
        numba.types.Array(numba.float32, 1, "C", readonly=True),
        numba.types.Array(numba.float32, 4, "C", readonly=True),
        numba.types.Array(numba.float32, 2, "C"),
        numba.types.Array(numba.float64, 2, "C"), numba.types.Array(numba.float64, 1, "C"),
    )
)  # fmt: skip
def project(row_base, row_stride, centre, directions, centred, numbers, squares):
    """The numbers of float32 rows along directions, and the squares of the centred rows, summed.

    Args:
        row_base, row_stride: address of the rows of ``d`` numbers, bytes from one to the next.
        centre: ``(d,)``, taken off each row in float32.
        directions: `tiles_of` them.
        centred: room for `ROWS` rows of all blocks, zeros.
        numbers: ``(n, tiles * WIDE)``, n a multiple of ROWS, receives the numbers; there are
            ``len(squares)`` rows, of which numbers behind the last mean nothing.
        squares: ``(n,)`` likewise, in any order of sums.
    """
    dim, tiles = len(centre), directions.shape[1]
    base, sums = directions.ctypes.data, numbers.ctypes.data
    partial = np.zeros(WIDE)
    for first in range(0, len(numbers), ROWS):
        for r in range(ROWS):
            row = min(first + r, len(squares) - 1)
            values = numba.carray(_as_floats(row_base + row * row_stride), dim)
            room = centred[r]
            partial[:] = 0.0
            whole = dim // WIDE * WIDE
            for start in range(0, whole, WIDE):
                for j in range(WIDE):
                    value = values[start + j] - centre[start + j]
                    room[start + j] = value
                    partial[j] += np.float64(value) * np.float64(value)
            for i in range(whole, dim):
                value = values[i] - centre[i]
                room[i] = value
                partial[0] += np.float64(value) * np.float64(value)
            squares[row] = partial.sum()
            for j in range(numbers.shape[1]):
                numbers[first + r, j] = 0.0
        for block in range(len(directions)):
            for tile in range(tiles):
                _tile(
                    centred.ctypes.data + block * 4 * DEEP, centred.strides[0],
                    base + (block * tiles + tile) * 4 * DEEP * WIDE,
                    sums + (first * numbers.shape[1] + tile * WIDE) * 8, numbers.strides[0],
                )  # fmt: skip
