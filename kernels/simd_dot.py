"""Micro-kernels of inner products, as LLVM vector IR: sums of signed products in the 32-lane order
of `reference.lane_sum`, and about the same in float32.

As in `simd`: arguments are addresses, strides in bytes and the address of row numbers; data need
not be aligned; no fast-math flag is set and no multiply-add is fused. The product of two float32 is
exact in float64, so that fusing would change no bit of a term; it is left out all the same, since
the lanes of `simd` are made to the same pattern.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .simd import (
    _DOUBLES,
    _F32,
    _F64,
    _FLOATS,
    _I8,
    _I32,
    _I64,
    _STEP_LANES,
    _TILE,
    _accumulate,
    _const,
    _load,
    _pointers,
    _tile_pointers,
)
from .simd_u8 import (
    _SIXTEEN_F32,
    _SIXTEEN_I32,
    PRODUCT,
    QUERIES,
    ROWS,
    _spread,
    _tile_totals,
)


def _lane_total(builder: ir.IRBuilder, four: list[Any]) -> Any:
    """The sum of 32 lanes, in four vectors of eight: j with j+16, then +8, +4, +2, +1."""
    low, second, third, high = four
    vector = builder.fadd(builder.fadd(low, third), builder.fadd(second, high))
    for width in (4, 2, 1):
        order = ir.Constant(ir.VectorType(_I32, 8), [(i + width) % 8 for i in range(8)])
        vector = builder.fadd(vector, builder.shuffle_vector(vector, vector, order))
    return builder.extract_element(vector, ir.Constant(_I32, 0))


def _emit_products(
    builder: ir.IRBuilder, pointers: list[Any], length: Any, out: Any, pairs: list[tuple[int, int]]
) -> Any:
    """Sums of products of pairs of rows (by their places in ``pointers``), stored as float64."""

    def body(at: list[Any], offset: Any, sums: list[Any]) -> list[Any]:
        advanced = list(sums)
        for lanes in range(4):
            here = builder.add(offset, _const(32 * lanes))
            values = [builder.fpext(_load(builder, p, here, _FLOATS), _DOUBLES) for p in at]
            for n, (a, b) in enumerate(pairs):
                term = builder.fmul(values[a], values[b])
                advanced[4 * n + lanes] = builder.fadd(advanced[4 * n + lanes], term)
        return advanced

    zeros = [ir.Constant(_DOUBLES, None)] * (4 * len(pairs))
    sums = _accumulate(builder, pointers, length, 4 * _STEP_LANES, zeros, body)
    for n in range(len(pairs)):
        total = _lane_total(builder, sums[4 * n : 4 * n + 4])
        address = builder.inttoptr(builder.add(out, _const(8 * n)), _F64.as_pointer())
        builder.store(total, address)
    return _const(0)


def _emit_dots(builder: ir.IRBuilder, args: Any, queries: int, rows: int, *, squares: bool) -> Any:
    """Inner products of a tile, query by query; with ``squares`` those of each row with itself
    behind them."""
    length, out = args[5:]
    pointers = _tile_pointers(builder, args, queries, rows)
    pairs = [(q, queries + x) for q in range(queries) for x in range(rows)]
    if squares:
        pairs += [(queries + x, queries + x) for x in range(rows)]
    return _emit_products(builder, pointers, length, out, pairs)


@intrinsic
def dot_f32_2x2(typingctx, qb, qs, xb, xs, numbers, length, out):
    """2 queries x 2 rows of ``length`` bytes of float32; inner products are 4 float64."""

    def codegen(context, builder, signature, args):
        return _emit_dots(builder, args, 2, 2, squares=False)

    return types.intp(*_TILE, types.intp, types.intp), codegen


@intrinsic
def dot_f32_1x4(typingctx, qb, qs, xb, xs, numbers, length, out):
    """1 query x 4 rows."""

    def codegen(context, builder, signature, args):
        return _emit_dots(builder, args, 1, 4, squares=False)

    return types.intp(*_TILE, types.intp, types.intp), codegen


@intrinsic
def dot_squares_f32_1x2(typingctx, qb, qs, xb, xs, numbers, length, out):
    """1 query x 2 rows, and then the sums of the rows' squares: 4 float64 in all."""

    def codegen(context, builder, signature, args):
        return _emit_dots(builder, args, 1, 2, squares=True)

    return types.intp(*_TILE, types.intp, types.intp), codegen


@intrinsic
def dot_squares_f32_1x1(typingctx, qb, qs, xb, xs, numbers, length, out):
    """1 query x 1 row, and then the sum of the row's squares."""

    def codegen(context, builder, signature, args):
        return _emit_dots(builder, args, 1, 1, squares=True)

    return types.intp(*_TILE, types.intp, types.intp), codegen


@intrinsic
def squares_f32_4(typingctx, xb, xs, numbers, length, out):
    """The sums of the squares of 4 numbered rows."""

    def codegen(context, builder, signature, args):
        base, stride, listed, length, out = args
        listed = builder.inttoptr(listed, _I64.as_pointer())
        numbers = [builder.load(builder.gep(listed, [_const(r)])) for r in range(4)]
        pointers = _pointers(builder, base, stride, numbers)
        return _emit_products(builder, pointers, length, out, [(r, r) for r in range(4)])

    return types.intp(*(types.intp,) * 5), codegen


@intrinsic
def near_dot_squares_f32(typingctx, query, row, length):
    """About the inner product of two rows, and the sum of the second one's squares, over ``length``
    bytes of float32, each added in float32 in 64 lanes and a tree."""
    result = types.UniTuple(types.float64, 2)

    def codegen(context, builder, signature, args):
        pointers = [builder.inttoptr(address, _I8.as_pointer()) for address in args[:2]]
        kind = ir.VectorType(_F32, 16)

        def body(at: list[Any], offset: Any, sums: list[Any]) -> list[Any]:
            dots, squares = [], []
            for part in range(4):
                here = builder.add(offset, _const(64 * part))
                q, x = (_load(builder, p, here, kind) for p in at)
                dots.append(builder.fadd(sums[part], builder.fmul(q, x)))
                squares.append(builder.fadd(sums[4 + part], builder.fmul(x, x)))
            return dots + squares

        zeros = [ir.Constant(kind, None)] * 8
        sums = _accumulate(builder, pointers, args[2], 256, zeros, body)
        totals = []
        for a, b, c, d in (sums[:4], sums[4:]):
            total = builder.fadd(builder.fadd(a, b), builder.fadd(c, d))
            for width in (8, 4, 2, 1):
                order = ir.Constant(ir.VectorType(_I32, 16), [(i + width) % 16 for i in range(16)])
                total = builder.fadd(total, builder.shuffle_vector(total, total, order))
            one = builder.extract_element(total, ir.Constant(_I32, 0))
            totals.append(builder.fpext(one, _F64))
        return context.make_tuple(builder, signature.return_type, totals)

    return result(types.intp, types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def product_tile(typingctx, level, qb, qs, xb, xs, numbers, length, xc, qt, qtn, xt, xtn, out):
    """Products of sketches of 4 queries x 4 numbered rows, and which pass a threshold.

    ``xc`` is the address of 4 int32 that make rows' sums whole (what signed queries leave out).
    ``qt`` is that of 4 float32 a, and ``qtn`` and twice ``qtn`` bytes behind them of 4 b and 4 c;
    ``xt`` and ``xtn`` likewise for rows. A product S passes unless, in float32,
    ``S + a_q + a_x + b_q * b_x + c_q * c_x`` is below 0: what is not a number passes. Products are
    stored at ``out`` as 16 int32; returns a mask, bit 4 * query + row.
    """
    number = level.literal_value

    def codegen(context, builder, signature, args):
        length, xc, qt, qtn, xt, xtn, out = args[6:]
        pointers = _tile_pointers(builder, args[1:6], QUERIES, ROWS)
        totals = _tile_totals(builder, PRODUCT, number, pointers, length)
        totals = builder.add(totals, _spread(builder, xc, _I32, False))
        builder.store(totals, builder.inttoptr(out, _SIXTEEN_I32.as_pointer()), align=4)

        def terms(base: Any, step: Any, by_query: bool) -> list[Any]:
            addresses = [builder.add(base, builder.mul(step, _const(n))) for n in range(3)]
            return [_spread(builder, address, _F32, by_query) for address in addresses]

        (a, b, c), (d, e, f) = terms(qt, qtn, True), terms(xt, xtn, False)
        whole = builder.sitofp(totals, _SIXTEEN_F32)
        sums = builder.fadd(builder.fadd(whole, a), d)
        sums = builder.fadd(builder.fadd(sums, builder.fmul(b, e)), builder.fmul(c, f))
        passed = builder.fcmp_unordered(">=", sums, ir.Constant(_SIXTEEN_F32, [0.0] * 16))
        return builder.zext(builder.bitcast(passed, ir.IntType(16)), _I64)

    return types.intp(level, *_TILE, *(types.intp,) * 7), codegen
