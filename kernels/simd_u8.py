"""Micro-kernels on 8-bit sketches: sums over two rows of unsigned bytes, as LLVM vector IR.

Two sums, named by the constants:

``ABSOLUTE``   sum of ``|u - v|``; L1 of sketches.

``PRODUCT``    sum of ``u * v``, of which ``sum (u - v)**2 = sum u**2 + sum v**2 - 2 sum u v``
               makes L2 of sketches. At the level AVX-512 one operand of ``vpdpbusd`` is
               signed: the query's bytes are handed over as ``v - 128`` (`signed_queries`), and
               the missing ``128 * sum u`` is part of the row's constant.

Each is exact in int32 up to 33,024 bytes: sums of |u - v| reach 8.4 million, and those of
products, which may pass 2**31 for unsigned ones, are exact modulo 2**32, as is the identity
above, whose result stays below. ``vpmaddubsw``, which saturates, is not used.

`tile` takes 4 queries x 4 rows, in registers 4 x 4 (AVX-512), 4 x 2 (AVX2) or 2 x 2 at a
time; `row_sums` 4 queries and one row; `stream` and `pair_sum` one of each, which memory
bounds. Rows are padded to 64 bytes (`PADDING`), so that there is no tail.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .layout import PADDING
from .simd import _const, _load, _tile_pointers

ABSOLUTE, PRODUCT = 0, 1
AVX512, AVX2, PORTABLE = 0, 1, 2  # numbers of levels, since compiled kernels close over ints

QUERIES, ROWS = 4, 4  # of a tile

#: Queries x rows whose sums are in registers at once.
_REGISTERS = {AVX512: (4, 4), AVX2: (4, 2), PORTABLE: (2, 2)}
#: Bytes ahead of the row that `stream` reads which it asks memory for.
_AHEAD = 2048

_I8, _I16 = ir.IntType(8), ir.IntType(16)
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_F32 = ir.FloatType()
_SIXTEEN_I32, _SIXTEEN_F32 = ir.VectorType(_I32, 16), ir.VectorType(_F32, 16)


def number_of(level: str) -> int:
    """The number of a level's name (`level.LEVELS`)."""
    return {"amx": AVX512, "avx512": AVX512, "avx2": AVX2, "portable": PORTABLE}[level]


def signed_queries(operation: int, level: int) -> bool:
    """Whether queries are handed over as signed bytes, 128 less."""
    return operation == PRODUCT and level == AVX512


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    kind = ir.FunctionType(result, [argument.type for argument in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _step(operation: int, level: int) -> tuple[int, ir.VectorType]:
    """Bytes that one step takes, and the type that holds its running sums."""
    if level == AVX512 and operation == ABSOLUTE:
        return 64, ir.VectorType(_I64, 8)
    if level == AVX512 and operation == PRODUCT:
        return 64, _SIXTEEN_I32
    if level == AVX2 and operation == ABSOLUTE:
        return 32, ir.VectorType(_I64, 4)
    if level == AVX2 and operation == PRODUCT:
        return 32, ir.VectorType(_I32, 8)
    return 16, _SIXTEEN_I32


def _prepared(
    builder: ir.IRBuilder, operation: int, level: int, value: ir.Value
) -> tuple[ir.Value, ...]:
    """A loaded vector as `_added` takes it: widened once, for all the pairs that it meets.

    Sums of products do not mind an order: AVX2 widens even bytes and odd ones by a mask and a
    shift, which more of a processor's units can do than what widens bytes in their order.
    """
    if operation == PRODUCT and level == AVX2:
        kind = ir.VectorType(_I16, 16)
        words = builder.bitcast(value, kind)
        even = builder.and_(words, ir.Constant(kind, [255] * 16))
        return even, builder.lshr(words, ir.Constant(kind, [8] * 16))
    if operation == PRODUCT and level == PORTABLE:
        return (builder.zext(value, ir.VectorType(_I16, 16)),)
    return (value,)


def _added(
    builder: ir.IRBuilder, operation: int, level: int, total: ir.Value,
    row: tuple[ir.Value, ...], query: tuple[ir.Value, ...],
) -> ir.Value:  # fmt: skip
    """``total`` and the sum over one step of a row's and a query's bytes."""
    for x, q in zip(row, query, strict=True):
        total = _part_added(builder, operation, level, total, x, q)
    return total


def _part_added(
    builder: ir.IRBuilder, operation: int, level: int, total: ir.Value, x: ir.Value, q: ir.Value
) -> ir.Value:
    """The same of one vector of each, as `_prepared` made it."""
    kind = total.type
    if operation == ABSOLUTE and level == AVX512:
        part = _call(builder, "llvm.x86.avx512.psad.bw.512", kind, x, q)
    elif operation == ABSOLUTE and level == AVX2:
        part = _call(builder, "llvm.x86.avx2.psad.bw", kind, x, q)
    elif operation == PRODUCT and level == AVX512:
        words = (builder.bitcast(v, _SIXTEEN_I32) for v in (x, q))
        return _call(builder, "llvm.x86.avx512.vpdpbusd.512", kind, total, *words)
    elif operation == PRODUCT and level == AVX2:
        part = _call(builder, "llvm.x86.avx2.pmadd.wd", kind, x, q)
    elif operation == PRODUCT:
        part = builder.zext(builder.mul(x, q), kind)  # 255 * 255 < 2**16
    else:
        high = _call(builder, "llvm.umax.v16i8", x.type, x, q)
        part = builder.sub(high, _call(builder, "llvm.umin.v16i8", x.type, x, q))
        part = builder.zext(part, kind)
    return builder.add(total, part)


def _sums(
    builder: ir.IRBuilder,
    operation: int,
    level: int,
    queries: list[Any],
    rows: list[Any],
    length: Any,
    unroll: int = 1,
    ahead: int = 0,
) -> list[ir.Value]:
    """Running sums (vectors) of all pairs, query by query, over ``length`` bytes."""
    size, kind = _step(operation, level)
    loaded = ir.VectorType(_I8, size)
    zero = ir.Constant(kind, None)
    slots = [
        [cgutils.alloca_once_value(builder, zero) for _ in range(unroll)]
        for _ in range(len(queries) * len(rows))
    ]  # mem2reg lifts these into registers
    loop = cgutils.for_range_slice(builder, _const(0), length, _const(size * unroll), intp=_I64)
    with loop as (i, _):
        for u in range(unroll):
            offset = builder.add(i, _const(size * u))
            if ahead and (u * size) % 64 == 0:
                for pointer in rows:
                    target = builder.gep(pointer, [builder.add(offset, _const(ahead))])
                    void = ir.VoidType()
                    flags = (ir.Constant(_I32, v) for v in (0, 3, 1))  # read, keep, data
                    _call(builder, "llvm.prefetch.p0", void, target, *flags)
            a = [_prepared(builder, operation, level, _load(builder, p, offset, loaded))
                 for p in queries]  # fmt: skip
            for r, pointer in enumerate(rows):
                x = _prepared(builder, operation, level, _load(builder, pointer, offset, loaded))
                for q in range(len(queries)):
                    slot = slots[q * len(rows) + r][u]
                    total = _added(builder, operation, level, builder.load(slot), x, a[q])
                    builder.store(total, slot)
    totals = []
    for parts in slots:
        total = builder.load(parts[0])
        for slot in parts[1:]:
            total = builder.add(total, builder.load(slot))
        totals.append(total)
    return totals


def _total(builder: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    """The sum of a vector's elements as i32."""
    kind = vector.type
    name = f"llvm.vector.reduce.add.v{kind.count}i{kind.element.width}"
    total = _call(builder, name, kind.element, vector)
    return total if kind.element.width == 32 else builder.trunc(total, _I32)


def _sixteen_totals(builder: ir.IRBuilder, vectors: list[ir.Value]) -> ir.Value:
    """Sixteen vectors of 64 bytes to one of their sums: adding even and odd halves four times."""
    vectors = [builder.bitcast(v, _SIXTEEN_I32) for v in vectors]
    even, odd = (ir.Constant(_SIXTEEN_I32, list(range(first, 32, 2))) for first in (0, 1))
    while len(vectors) > 1:
        vectors = [
            builder.add(builder.shuffle_vector(a, b, even), builder.shuffle_vector(a, b, odd))
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    return vectors[0]


def _tile_totals(
    builder: ir.IRBuilder, operation: int, level: int, pointers: list[Any], length: Any
) -> ir.Value:
    """The sums of a tile as <16 x i32>, element 4 * query + row."""
    queries, rows = pointers[:QUERIES], pointers[QUERIES:]
    if level == AVX512:
        return _sixteen_totals(builder, _sums(builder, operation, level, queries, rows, length))
    totals = ir.Constant(_SIXTEEN_I32, ir.Undefined)
    some_queries, some_rows = _REGISTERS[level]
    for q in range(0, QUERIES, some_queries):
        for r in range(0, ROWS, some_rows):
            part = _sums(
                builder, operation, level,
                queries[q : q + some_queries], rows[r : r + some_rows], length,
            )  # fmt: skip
            for i, vector in enumerate(part):
                a, b = divmod(i, some_rows)
                place = ir.Constant(_I32, ROWS * (q + a) + r + b)
                totals = builder.insert_element(totals, _total(builder, vector), place)
    return totals


def _spread(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type, by_query: bool) -> ir.Value:
    """Four values at an address, one a query or one a row, as a tile's sixteen elements."""
    four = ir.VectorType(kind, 4)
    values = builder.load(builder.inttoptr(address, four.as_pointer()), align=4)
    order = [i // ROWS if by_query else i % ROWS for i in range(16)]
    return builder.shuffle_vector(values, values, ir.Constant(_SIXTEEN_I32, order))


_TILE = (types.intp,) * 5  # query base, query stride, row base, row stride, row numbers


@intrinsic(prefer_literal=True)
def tile(typingctx, operation, level, qb, qs, xb, xs, numbers, length, out):
    """The sums of 4 queries x 4 numbered rows over ``length`` bytes, stored as 16 int32."""
    literals = operation.literal_value, level.literal_value

    def codegen(context, builder, signature, args):
        pointers = _tile_pointers(builder, args[2:7], QUERIES, ROWS)
        totals = _tile_totals(builder, *literals, pointers, args[7])
        builder.store(totals, builder.inttoptr(args[8], _SIXTEEN_I32.as_pointer()), align=4)
        return _const(0)

    return types.intp(operation, level, *_TILE, types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def bounded_tile(typingctx, operation, level, qb, qs, xb, xs, numbers, length, qc, xc, qt, xt, out):
    """Sketch distances of 4 queries x 4 numbered rows, and which of them pass a threshold.

    ``qc`` and ``xc`` are addresses of 4 int32, the constants of queries and rows: the distance
    is their sum less twice the product (PRODUCT), or the sum alone (ABSOLUTE). It passes if,
    as float32, it is at most ``qt + xt`` (addresses of 4 float32), squared for PRODUCT; against
    NaN it does not pass. Distances are stored at ``out`` as 16 int32; returns a mask, bit
    4 * query + row.
    """
    literals = operation.literal_value, level.literal_value

    def codegen(context, builder, signature, args):
        length, qc, xc, qt, xt, out = args[7:]
        pointers = _tile_pointers(builder, args[2:7], QUERIES, ROWS)
        totals = _tile_totals(builder, *literals, pointers, length)
        if literals[0] == PRODUCT:
            constants = builder.add(
                _spread(builder, qc, _I32, True), _spread(builder, xc, _I32, False)
            )
            totals = builder.sub(constants, builder.add(totals, totals))
        builder.store(totals, builder.inttoptr(out, _SIXTEEN_I32.as_pointer()), align=4)
        threshold = builder.fadd(
            _spread(builder, qt, _F32, True), _spread(builder, xt, _F32, False)
        )
        if literals[0] == PRODUCT:
            threshold = builder.fmul(threshold, threshold)
        passed = builder.fcmp_ordered("<=", builder.sitofp(totals, _SIXTEEN_F32), threshold)
        return builder.zext(builder.bitcast(passed, _I16), _I64)

    return types.intp(operation, level, *_TILE, *(types.intp,) * 6), codegen


def _one_pair(ahead: int) -> Any:
    """Code of the sum of one query and one row, with memory asked for what lies so far ahead."""

    def codegen(context, builder, signature, args):
        literals = tuple(kind.literal_value for kind in signature.args[:2])
        pointers = [builder.inttoptr(address, _I8.as_pointer()) for address in args[2:4]]
        size, _ = _step(*literals)
        unroll = PADDING // size
        (vector,) = _sums(builder, *literals, pointers[:1], pointers[1:], args[4], unroll, ahead)
        return builder.sext(_total(builder, vector), _I64)

    return codegen


@intrinsic(prefer_literal=True)
def stream(typingctx, operation, level, query, row, length):
    """The sum of one query and one row, at their addresses, over ``length`` bytes; rows are read
    one behind the other."""
    return types.intp(operation, level, types.intp, types.intp, types.intp), _one_pair(_AHEAD)


@intrinsic(prefer_literal=True)
def pair_sum(typingctx, operation, level, query, row, length):
    """`stream` of a row by itself, that is in a cache or on its way (`prefetch`)."""
    return types.intp(operation, level, types.intp, types.intp, types.intp), _one_pair(0)


@intrinsic(prefer_literal=True)
def row_sums(typingctx, operation, level, qb, qs, numbers, row, length, out):
    """The sums of 4 numbered queries (addresses of the first, bytes from one to the next, address
    of 4 int64) and one row over ``length`` bytes, stored as 4 int32: the row is loaded and widened
    once."""
    literals = operation.literal_value, level.literal_value

    def codegen(context, builder, signature, args):
        base, stride, numbers, row, length, out = args[2:]
        held = builder.inttoptr(numbers, _I64.as_pointer())
        queries = []
        for i in range(QUERIES):
            number = builder.load(builder.gep(held, [_const(i)]))
            address = builder.add(base, builder.mul(number, stride))
            queries.append(builder.inttoptr(address, _I8.as_pointer()))
        pointer = builder.inttoptr(row, _I8.as_pointer())
        place = builder.inttoptr(out, _I32.as_pointer())
        parts = _sums(builder, *literals, queries, [pointer], length)
        for i, vector in enumerate(parts):
            builder.store(_total(builder, vector), builder.gep(place, [_const(i)]))
        return _const(0)

    return types.intp(operation, level, *(types.intp,) * 6), codegen


@intrinsic
def prefetch(typingctx, address, length):
    """Ask memory for ``length`` bytes at an address, which will be needed soon."""

    def codegen(context, builder, signature, args):
        start = builder.inttoptr(args[0], _I8.as_pointer())
        loop = cgutils.for_range_slice(builder, _const(0), args[1], _const(64), intp=_I64)
        with loop as (i, _):
            how = (ir.Constant(_I32, v) for v in (0, 3, 1))  # read, keep, data
            _call(builder, "llvm.prefetch.p0", ir.VoidType(), builder.gep(start, [i]), *how)
        return _const(0)

    return types.intp(types.intp, types.intp), codegen
