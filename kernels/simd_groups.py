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


def _apart(builder: ir.IRBuilder, x: Any, q: Any) -> Any:
    """Absolute differences of bytes."""
    high, low = (_call(builder, f"llvm.u{which}.v32i8", x.type, x, q) for which in ("max", "min"))
    return builder.sub(high, low)


def _sums_of_eights(builder: ir.IRBuilder, pairs: list[tuple[Any, Any]]) -> Any:
    """Absolute differences of bytes, added up in four 64-bit numbers, with AVX2."""
    four = ir.VectorType(_I64, 4)
    total = None
    for x, q in pairs:
        part = _call(builder, "llvm.x86.avx2.psad.bw", four, x, q)
        total = part if total is None else builder.add(total, part)
    return total


def _sum(builder: ir.IRBuilder, pairs: list[tuple[Any, Any]]) -> Any:
    """Absolute differences of bytes, added up: in 16 bits, which 257 vectors cannot pass, and
    across the register once. Arm has an instruction for either; SSE2 adds up bytes at once."""
    wide = ir.VectorType(_I16, VECTOR)
    total = None
    for x, q in pairs:
        part = builder.zext(_apart(builder, x, q), wide)
        total = part if total is None else builder.add(total, part)
    numbers = builder.zext(total, ir.VectorType(_I32, VECTOR))
    return _call(builder, f"llvm.vector.reduce.add.v{VECTOR}i32", _I32, numbers)


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
        pairs = [
            [(_read(builder, rows, VECTOR * (count * row + v), kind, 1), queries[v])
             for v in range(count)]
            for row in range(ROWS)
        ]  # fmt: skip
        if known == PORTABLE:
            totals: Any = ir.Constant(ir.VectorType(_I32, ROWS), ir.Undefined)
            for row in range(ROWS):
                totals = builder.insert_element(totals, _sum(builder, pairs[row]), _I32(row))
        else:
            totals = _eight_totals(builder, [_sums_of_eights(builder, of) for of in pairs])
        limits = _splat(builder, builder.trunc(limit, _I32), ROWS)
        below = builder.icmp_signed("<", totals, limits)
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
