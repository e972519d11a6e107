"""Micro-kernels on reduced rows: 16 rows of a coarse page at once, and one pair of fine ones.

A row that is reduced to few numbers has too few bytes for sums along it: adding up a vector's
elements would cost more than the products. So coarse rows stand in pages of 16, two numbers of
all rows one behind the other (the layout of PDX: Kuffo, Krippner, Boncz, SIGMOD 2025), and a
vector's elements are rows::

    page   uint8  [numbers / 2][16 rows][2]       the sketches
           float32 [16]                           weights  step**2 * sum u**2 + residual**2   L2
           float32 [16]                           residuals                                   L2
           float32 [16]                           the error of the page's rows, in each element

A query is compared with it in the same units, finer: its numbers are int16 in 32nds of a step
for L2, whose products with bytes are exact in int32. For L1 both are bytes, and each number counts
so many steps a unit (`scales`, few enough that sums stay within 16 bits): sums of groups vary
more or less, and errors of L1 add up. Fine rows stand one behind the other, each with its
weight, residual and error as float32 behind its bytes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .layout import PAGE
from .simd import _const, _load
from .simd_u8 import AVX2, AVX512, PRODUCT, _call, _total

QUERIES = 4  # that share the loads of a page
#: Scales of L1 may add up to so much in each 16-bit sum: 257 * 255 < 2**16.
MOST = 257
#: Sums that a fine row of L1 is added up in, by turns of two bytes.
SUMS = 16
#: Parts of a step that a query of L2 is rounded to.
FINER = 32

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_F32 = ir.FloatType()
_SIXTEEN_I32, _SIXTEEN_F32 = ir.VectorType(_I32, PAGE), ir.VectorType(_F32, PAGE)
_EIGHT_I32, _SIXTEEN_I16 = ir.VectorType(_I32, 8), ir.VectorType(_I16, 16)
_BYTES = ir.VectorType(_I8, 2 * PAGE)


def page_bytes(operation: int, numbers: int) -> int:
    """Bytes of a page of rows of so many numbers, an even number."""
    return PAGE * numbers + (192 if operation == PRODUCT else 64)


def _splat(builder: ir.IRBuilder, value: ir.Value, count: int) -> ir.Value:
    one = builder.insert_element(
        ir.Constant(ir.VectorType(value.type, count), ir.Undefined), value, _I32(0)
    )
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, count), [0] * count))


def _scalar(builder: ir.IRBuilder, base: Any, offset: Any, kind: ir.Type) -> ir.Value:
    address = builder.bitcast(builder.gep(base, [offset]), kind.as_pointer())
    return builder.load(address, align=1)


def _halves(builder: ir.IRBuilder, value: ir.Value, parts: int) -> list[ir.Value]:
    """A vector's elements by turns, as so many vectors."""
    count = value.type.count // parts
    return [
        builder.shuffle_vector(
            value,
            value,
            ir.Constant(ir.VectorType(_I32, count), list(range(first, value.type.count, parts))),
        )
        for first in range(parts)
    ]


def _joined(builder: ir.IRBuilder, low: ir.Value, high: ir.Value) -> ir.Value:
    count = 2 * low.type.count
    order = ir.Constant(ir.VectorType(_I32, count), list(range(count)))
    return builder.shuffle_vector(low, high, order)


def _products(
    builder: ir.IRBuilder, level: int, page: Any, queries: list[Any], pairs: int
) -> list[ir.Value]:
    """``sum u * v`` of 16 rows as <16 x i32>, for each query."""
    split = level == AVX2
    kind = _EIGHT_I32 if split else _SIXTEEN_I32
    slots = [
        [cgutils.alloca_once_value(builder, ir.Constant(kind, None)) for _ in range(1 + split)]
        for _ in queries
    ]
    with cgutils.for_range_slice(builder, _const(0), _const(pairs), _const(1), intp=_I64) as (p, _):
        here = builder.mul(p, _const(2 * PAGE))
        there = builder.mul(p, _const(4))
        if split:
            half = ir.VectorType(_I8, PAGE)
            rows = [
                builder.zext(_load(builder, page, builder.add(here, _const(at)), half),
                             _SIXTEEN_I16)
                for at in (0, PAGE)
            ]  # fmt: skip
        else:
            rows = [_load(builder, page, here, _BYTES)]
        for query, slot in zip(queries, slots, strict=True):
            two = _scalar(builder, query, there, _I32)
            if split:
                both = builder.bitcast(_splat(builder, two, 8), _SIXTEEN_I16)
                parts = [
                    _call(builder, "llvm.x86.avx2.pmadd.wd", _EIGHT_I32, x, both) for x in rows
                ]
            elif level == AVX512:
                words = ir.VectorType(_I16, 2 * PAGE)
                both = builder.bitcast(_splat(builder, two, PAGE), words)
                wide = builder.zext(rows[0], words)
                parts = [_call(builder, "llvm.x86.avx512.pmaddw.d.512", kind, wide, both)]
            else:
                low = builder.sext(builder.trunc(two, _I16), _I32)
                high = builder.ashr(two, _I32(16))
                terms = [
                    builder.mul(builder.zext(x, kind), _splat(builder, v, PAGE))
                    for x, v in zip(_halves(builder, rows[0], 2), (low, high), strict=True)
                ]
                parts = [builder.add(*terms)]
            for place, part in zip(slot, parts, strict=True):
                builder.store(builder.add(builder.load(place), part), place)
    if split:
        return [_joined(builder, *(builder.load(place) for place in slot)) for slot in slots]
    return [builder.load(slot[0]) for slot in slots]


def _differences(
    builder: ir.IRBuilder, level: int, page: Any, queries: list[Any], pairs: int, scales: Any
) -> list[ir.Value]:
    """``sum scale * |u - v|`` of 16 rows as <16 x i32>, for each query."""
    zero = ir.Constant(_SIXTEEN_I16, None)
    slots = [cgutils.alloca_once_value(builder, zero) for _ in queries]
    with cgutils.for_range_slice(builder, _const(0), _const(pairs), _const(1), intp=_I64) as (p, _):
        rows = _load(builder, page, builder.mul(p, _const(2 * PAGE)), _BYTES)
        scale = _scalar(builder, scales, builder.mul(p, _const(2)), _I16)
        scale = builder.bitcast(_splat(builder, scale, PAGE), _BYTES)
        for query, slot in zip(queries, slots, strict=True):
            two = _scalar(builder, query, builder.mul(p, _const(2)), _I16)
            both = builder.bitcast(_splat(builder, two, PAGE), _BYTES)
            part = _scaled(builder, level, rows, both, scale)
            builder.store(builder.add(builder.load(slot), part), slot)
    return [builder.zext(builder.load(slot), _SIXTEEN_I32) for slot in slots]


def _scaled(
    builder: ir.IRBuilder, level: int, x: ir.Value, v: ir.Value, scale: ir.Value
) -> ir.Value:
    """``scale * |x - v|`` of 32 bytes, two by two, as <16 x i16>: scales up to 64."""
    high = _call(builder, "llvm.umax.v32i8", _BYTES, x, v)
    low = _call(builder, "llvm.umin.v32i8", _BYTES, x, v)
    apart = builder.sub(high, low)
    if level in (AVX512, AVX2):  # two products of at most 255 * 64: nothing saturates
        return _call(builder, "llvm.x86.avx2.pmadd.ub.sw", _SIXTEEN_I16, apart, scale)
    terms = [
        builder.mul(builder.zext(a, _SIXTEEN_I16), builder.zext(s, _SIXTEEN_I16))
        for a, s in zip(_halves(builder, apart, 2), _halves(builder, scale, 2), strict=True)
    ]
    return builder.add(*terms)


def _whole(builder: ir.IRBuilder, address: Any) -> Any:
    return builder.inttoptr(address, _I8.as_pointer())


def _emit_page(builder: ir.IRBuilder, literals: tuple[int, ...], args: Any) -> ir.Value:
    operation, level, pairs, queries, values = literals
    page, query_base, query_stride, weights, residuals, reaches, scale, slack, out = args
    page = _whole(builder, page)
    at = [
        _whole(builder, builder.add(query_base, builder.mul(query_stride, _const(q))))
        for q in range(queries)
    ]
    if operation == PRODUCT:
        sums = _products(builder, level, page, at, pairs)
    else:
        sums = _differences(builder, level, page, at, pairs, _whole(builder, residuals))
    facts = 2 * PAGE * pairs
    if operation == PRODUCT:
        row_weights, row_residuals, errors = (
            _load(builder, page, _const(facts + 64 * i), _SIXTEEN_F32) for i in range(3)
        )
    else:
        errors = _load(builder, page, _const(facts), _SIXTEEN_F32)
    scales, slacks = _splat(builder, scale, PAGE), _splat(builder, slack, PAGE)
    passed = _I64(0)
    for q, total in enumerate(sums):

        def of_query(base: Any, q: int = q) -> Any:
            return _splat(builder, _scalar(builder, _whole(builder, base), _const(4 * q), _F32),
                          PAGE)  # fmt: skip

        near = builder.fmul(builder.sitofp(total, _SIXTEEN_F32), scales)
        reach = builder.fadd(of_query(reaches), errors)
        if operation == PRODUCT:
            across = builder.fmul(of_query(residuals), row_residuals)
            twice = builder.fadd(builder.fadd(near, near), builder.fadd(across, across))
            both = builder.fadd(of_query(weights), row_weights)
            near = builder.fsub(builder.fmul(both, slacks), twice)
            reach = builder.fmul(reach, reach)
        if values:
            place = builder.gep(_whole(builder, out), [_const(64 * q)])
            builder.store(near, builder.bitcast(place, _SIXTEEN_F32.as_pointer()), align=4)
        # NaN, of rows that nothing is known of, passes.
        inside = builder.fcmp_unordered("<=", near, reach)
        bits = builder.zext(builder.bitcast(inside, _I16), _I64)
        passed = builder.or_(passed, builder.shl(bits, _I64(PAGE * q)))
    return passed


@intrinsic(prefer_literal=True)
def coarse_page(
    typingctx, operation, level, pairs, queries, values,
    page, qb, qs, weights, residuals, reaches, scale, slack, out,
):  # fmt: skip
    """Which of 16 reduced rows lie within reach of each query: a mask, bit 16 * query + row.

    Args:
        operation, level: of `simd_u8`; ``pairs`` of numbers a row, ``queries`` up to 4, and
            whether to store ``values``: all constants.
        page: address of the page.
        qb, qs: address of the first query and bytes from one to the next.
        weights, residuals, reaches: addresses of a float32 a query (PRODUCT). For ABSOLUTE
            reaches as well, and in place of the residuals a byte a number, its scale.
        scale: float32, of a whole sum: step**2 / FINER, or step.
        slack: float32 a little below 1, for the weights' rounding (PRODUCT).
        out: address of 16 float32 a query: squared distances (PRODUCT), or distances.
    """
    literals = tuple(
        value.literal_value for value in (operation, level, pairs, queries, values)
    )  # fmt: skip

    def codegen(context, builder, signature, args):
        return _emit_page(builder, literals, args[5:])

    signature = types.int64(
        operation, level, pairs, queries, values, *(types.intp,) * 6,
        types.float32, types.float32, types.intp,
    )  # fmt: skip
    return signature, codegen


@intrinsic(prefer_literal=True)
def fine_product(typingctx, level, query, row, length):
    """``sum u * v`` over ``length`` bytes ``u`` and as many int16 ``v``; length is a multiple of
    16."""
    here = level.literal_value

    def codegen(context, builder, signature, args):
        query, row = _whole(builder, args[1]), _whole(builder, args[2])
        kind = _EIGHT_I32 if here != 2 else _SIXTEEN_I32
        slot = cgutils.alloca_once_value(builder, ir.Constant(kind, None))
        loop = cgutils.for_range_slice(builder, _const(0), args[3], _const(16), intp=_I64)
        with loop as (i, _):
            x = builder.zext(_load(builder, row, i, ir.VectorType(_I8, 16)), _SIXTEEN_I16)
            v = _load(builder, query, builder.mul(i, _const(2)), _SIXTEEN_I16)
            if here != 2:
                part = _call(builder, "llvm.x86.avx2.pmadd.wd", kind, x, v)
            else:
                part = builder.mul(builder.zext(x, kind), builder.sext(v, kind))
            builder.store(builder.add(builder.load(slot), part), slot)
        return builder.sext(_total(builder, builder.load(slot)), _I64)

    return types.intp(level, types.intp, types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def fine_differences(typingctx, level, query, row, scales, length):
    """``sum scale * |u - v|`` over ``length`` bytes, a multiple of 32."""
    here = level.literal_value

    def codegen(context, builder, signature, args):
        query, row, scales = (_whole(builder, args[i]) for i in (1, 2, 3))
        slot = cgutils.alloca_once_value(builder, ir.Constant(_SIXTEEN_I16, None))
        loop = cgutils.for_range_slice(builder, _const(0), args[4], _const(32), intp=_I64)
        with loop as (i, _):
            x, v, scale = (_load(builder, p, i, _BYTES) for p in (row, query, scales))
            part = _scaled(builder, here, x, v, scale)
            builder.store(builder.add(builder.load(slot), part), slot)
        total = builder.zext(builder.load(slot), _SIXTEEN_I32)
        return builder.sext(_total(builder, total), _I64)

    return types.intp(level, *(types.intp,) * 4), codegen


@intrinsic
def float_at(typingctx, address):
    """The float32 at an address, as float64."""

    def codegen(context, builder, signature, args):
        value = _scalar(builder, _whole(builder, args[0]), _const(0), _F32)
        return builder.fpext(value, ir.DoubleType())

    return types.float64(types.intp), codegen
