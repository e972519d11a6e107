"""Micro-kernels on sums of groups of bits: which of eight rows a bound leaves."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .layout import SUMS
from .simd import _const, _intrinsic
from .simd_bits import _eight_totals, _place, _read, _splat
from .simd_u8 import PORTABLE, _call

ROWS = 8  # that a call takes

_I8, _I16 = ir.IntType(8), ir.IntType(16)
_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _apart(builder: ir.IRBuilder, x: Any, q: Any) -> Any:
    """Absolute differences of bytes."""
    high, low = (_call(builder, f"llvm.u{which}.v32i8", x.type, x, q) for which in ("max", "min"))
    return builder.sub(high, low)


def _sum(builder: ir.IRBuilder, numbers: Any) -> Any:
    """Bytes added up, across the register once: Arm has an instruction for it, SSE2 adds up bytes
    at once."""
    wide = builder.zext(builder.zext(numbers, ir.VectorType(_I16, SUMS)), ir.VectorType(_I32, SUMS))
    return _call(builder, f"llvm.vector.reduce.add.v{SUMS}i32", _I32, wide)


def _eight_bounds(
    builder: ir.IRBuilder, level: int, places: list[Any], query: Any, half: int
) -> Any:
    """Sums of the differences of eight rows of sums from a query's; of the second half of both
    alone, if so."""
    kind, four = ir.VectorType(_I8, SUMS), ir.VectorType(_I64, 4)
    sums = _read(builder, query, 0, kind, SUMS)
    rows = [_read(builder, place, 0, kind, 1) for place in places]
    if level == PORTABLE:
        second = ir.Constant(kind, [0] * (SUMS // 2) + [255] * (SUMS // 2))
        totals: Any = ir.Constant(ir.VectorType(_I32, ROWS), ir.Undefined)
        for place, row in enumerate(rows):
            apart = _apart(builder, row, sums)
            if half:
                apart = builder.and_(apart, second)
            totals = builder.insert_element(totals, _sum(builder, apart), _I32(place))
        return totals
    ones = [_call(builder, "llvm.x86.avx2.psad.bw", four, row, sums) for row in rows]
    if half:
        kept = ir.Constant(four, [0, 0, -1, -1])
        ones = [builder.and_(part, kept) for part in ones]
    return _eight_totals(builder, ones)


@intrinsic(prefer_literal=True)
def groups_below(typingctx, level, rows, query, limit):
    """A mask of those of eight rows of sums, one behind the other, whose differences from the
    query's add up to less than a limit. The level is a constant."""
    known = level.literal_value

    def codegen(context, builder, signature, args):
        _, rows, query, limit = args
        places = [builder.add(rows, _const(SUMS * row)) for row in range(ROWS)]
        bounds = _eight_bounds(builder, known, places, query, 0)
        limits = _splat(builder, builder.trunc(limit, _I32), ROWS)
        below = builder.icmp_signed("<", bounds, limits)
        return builder.zext(builder.bitcast(below, _I8), _I64)

    return types.intp(level, types.intp, types.intp, types.int64), codegen


@intrinsic(prefer_literal=True)
def groups_rest(typingctx, level, half, base, numbers, query, limits, out):
    """What remains of eight limits, int32, when the differences of eight numbered rows of sums from
    the query's are taken off: of all sums, or, with the constant ``half``, of the second half."""
    known, part = level.literal_value, half.literal_value

    def codegen(context, builder, signature, args):
        _, _, base, numbers, query, limits, out = args
        listed = builder.inttoptr(numbers, _I64.as_pointer())
        places = [
            builder.add(
                base, builder.mul(builder.load(builder.gep(listed, [_const(row)])), _const(SUMS))
            )
            for row in range(ROWS)
        ]
        bounds = _eight_bounds(builder, known, places, query, part)
        kind = ir.VectorType(_I32, ROWS).as_pointer()
        held = builder.load(builder.inttoptr(limits, kind), align=4)
        builder.store(builder.sub(held, bounds), builder.inttoptr(out, kind), align=4)
        return _const(0)

    return types.intp(level, half, *(types.intp,) * 5), codegen


#: For each mask of eight the places of its bits, ascending, and zeros behind them.
_PLACES = [([j for j in range(8) if mask >> j & 1] + [0] * 8)[:8] for mask in range(256)]


@intrinsic
def list_rows(typingctx, mask, first, out):
    """Write ``first`` plus the place of each bit of a mask of eight, ascending, to ``out``, int64,
    which has room for eight; returns how many there are."""

    def codegen(context, builder, signature, args):
        mask, first, out = args
        eight = ir.VectorType(_I8, 8)
        table = cgutils.global_constant(
            builder,
            "places_of_bits",
            ir.Constant(ir.ArrayType(eight, 256), [ir.Constant(eight, line) for line in _PLACES]),
        )
        line = builder.load(builder.gep(table, [_const(0), mask]), align=8)
        wide = ir.VectorType(_I64, 8)
        numbers = builder.add(builder.zext(line, wide), _splat(builder, first, 8))
        builder.store(numbers, builder.inttoptr(out, wide.as_pointer()), align=8)
        return builder.call(_intrinsic(builder, "ctpop", _I64, "i64"), [mask])

    return types.int64(types.int64, types.int64, types.intp), codegen


@intrinsic
def set_bytes(typingctx, address):
    """A mask of those of eight bytes that are not 0."""

    def codegen(context, builder, signature, args):
        kind = ir.VectorType(_I8, 8)
        value = _read(builder, args[0], 0, kind, 1)
        some = builder.icmp_unsigned("!=", value, ir.Constant(kind, None))
        return builder.zext(builder.bitcast(some, _I8), _I64)

    return types.int64(types.intp), codegen


@intrinsic
def add_bytes(typingctx, to, row, count):
    """Add ``count`` times `SUMS` bytes to as many others, modulo 256; both begin on 32 bytes."""

    def codegen(context, builder, signature, args):
        to, row, count = args
        kind = ir.VectorType(_I8, SUMS)
        with cgutils.for_range_slice(builder, _const(0), count, _const(1), intp=_I64) as (i, _):
            at = builder.mul(i, _const(SUMS))
            place = _place(builder, builder.add(to, at), 0, kind)
            total = builder.add(
                builder.load(place, align=SUMS),
                _read(builder, builder.add(row, at), 0, kind, SUMS),
            )
            builder.store(total, place, align=SUMS)
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
