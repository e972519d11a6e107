"""Micro-kernels on sums of groups of bits: which of eight rows a bound leaves."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .simd import _const
from .simd_bits import _eight_totals, _place, _read, _splat
from .simd_u8 import PORTABLE, _call

ROWS = 8  # that `groups_below` takes
VECTOR = 32  # sums of a row are a multiple of so many bytes

_I8, _I16 = ir.IntType(8), ir.IntType(16)
_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _differences(builder: ir.IRBuilder, level: int, x: Any, q: Any) -> Any:
    """Absolute differences of bytes, added up in four 64-bit numbers."""
    kind, four = x.type, ir.VectorType(_I64, 4)
    if level != PORTABLE:
        return _call(builder, "llvm.x86.avx2.psad.bw", four, x, q)
    high = _call(builder, "llvm.umax.v32i8", kind, x, q)
    apart = builder.sub(high, _call(builder, "llvm.umin.v32i8", kind, x, q))
    wide = builder.zext(apart, ir.VectorType(_I16, VECTOR))
    # The bytes of each of four 64-bit numbers, in halves.
    for width in (16, 8, 4):
        parts = [
            ir.Constant(ir.VectorType(_I32, width), [2 * i + side for i in range(width)])
            for side in range(2)
        ]
        even, odd = (builder.shuffle_vector(wide, wide, part) for part in parts)
        wide = builder.add(even, odd)
    return builder.zext(wide, four)


@intrinsic(prefer_literal=True)
def groups_below(typingctx, level, vectors, rows, query, limit):
    """A mask of those of eight rows of sums, one behind the other, whose differences from the
    query's add up to less than a limit. Two constants: the level, and how many `VECTOR` a row has.
    """
    known, count = level.literal_value, vectors.literal_value

    def codegen(context, builder, signature, args):
        _, _, rows, query, limit = args
        kind = ir.VectorType(_I8, VECTOR)
        queries = [_read(builder, query, VECTOR * v, kind, VECTOR) for v in range(count)]
        ones = []
        for row in range(ROWS):
            total = None
            for v in range(count):
                x = _read(builder, rows, VECTOR * (count * row + v), kind, 1)
                part = _differences(builder, known, x, queries[v])
                total = part if total is None else builder.add(total, part)
            ones.append(total)
        limits = _splat(builder, builder.trunc(limit, _I32), 8)
        below = builder.icmp_signed("<", _eight_totals(builder, ones), limits)
        return builder.zext(builder.bitcast(below, _I8), _I64)

    return types.intp(level, vectors, types.intp, types.intp, types.int64), codegen


@intrinsic
def add_bytes(typingctx, to, row, count):
    """Add ``count`` times `VECTOR` bytes to as many others, modulo 256; both begin on 32 bytes."""

    def codegen(context, builder, signature, args):
        to, row, count = args
        kind = ir.VectorType(_I8, VECTOR)
        with cgutils.for_range_slice(builder, _const(0), count, _const(1), intp=_I64) as (i, _):
            at = builder.mul(i, _const(VECTOR))
            place = _place(builder, builder.add(to, at), 0, kind)
            total = builder.add(
                builder.load(place, align=VECTOR),
                _read(builder, builder.add(row, at), 0, kind, VECTOR),
            )
            builder.store(total, place, align=VECTOR)
        return _const(0)

    return types.intp(types.intp, types.intp, types.intp), codegen


@intrinsic
def copy_row(typingctx, to, row, length):
    """Copy ``length`` bytes from one address to another."""

    def codegen(context, builder, signature, args):
        to, row, length = args
        with cgutils.for_range_slice(builder, _const(0), length, _const(1), intp=_I64) as (i, _):
            value = _read(builder, builder.add(row, i), 0, _I8, 1)
            builder.store(value, _place(builder, builder.add(to, i), 0, _I8), align=1)
        return _const(0)

    return types.intp(types.intp, types.intp, types.intp), codegen
