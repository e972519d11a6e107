"""Micro-kernels: the distances of a few queries and a few rows at once, as LLVM vector IR.

Each intrinsic here emits one *tile*, Q queries x R rows, whose running sums stay in
vector registers while one loop walks the dimension. The vectors are 512 bits wide
(``<8 x double>``, ``<8 x i64>``); LLVM cuts them to what the host has, so one source
serves AVX-512, AVX2, Arm and the rest. Written as IR because LLVM does not find the
32-lane order of `reference.lane_sum` in scalar code, and must not reorder it:
no fast-math flag is set and no multiply-add is fused.

All arguments are integers: addresses of a query block and of the database's first row,
their strides in bytes, and the address of R row numbers (int64). Data need not be
aligned. Numba's on-disk cache finds only intrinsics that stand at module level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_F32, _F64 = ir.FloatType(), ir.DoubleType()
_WORDS = ir.VectorType(_I64, 8)
_FLOATS = ir.VectorType(_F32, 8)
_DOUBLES = ir.VectorType(_F64, 8)

_STEP_BYTES = 64  # one vector of packed bits
_BYTES = ir.VectorType(_I8, 16)
#: Bytes of a row whose bits are counted in bytes: 8 a step of 16, which cannot pass 255.
_BLOCK_BYTES = 256
_STEP_LANES = 32  # the lanes of reference.lane_sum: four vectors of doubles


def _intrinsic(builder: ir.IRBuilder, name: str, kind: ir.Type, suffix: str) -> ir.Function:
    """LLVM's own ``name`` on one operand (llvmlite cannot name those of vectors itself)."""
    signature = ir.FunctionType(kind, [kind])
    return cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")


def _const(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _pointers(
    builder: ir.IRBuilder, base: Any, stride: Any, numbers: list[Any]
) -> list[ir.Instruction]:
    """Byte pointers to the numbered rows."""
    return [
        builder.inttoptr(builder.add(base, builder.mul(stride, n)), _I8.as_pointer())
        for n in numbers
    ]


def _load(builder: ir.IRBuilder, pointer: Any, offset: Any, kind: ir.Type) -> ir.Instruction:
    """An unaligned load of ``kind`` at ``pointer + offset`` bytes."""
    address = builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())
    return builder.load(address, align=1)


def _padded_tail(
    builder: ir.IRBuilder, pointer: Any, start: Any, stop: Any, size: int
) -> ir.Instruction:
    """Bytes ``start`` to ``stop`` of a row, copied before zeros: a vector may then read ``size``.

    Zeros add nothing to any of the three distances, not even a sign.
    """
    buffer = cgutils.alloca_once(builder, ir.ArrayType(_I8, size))
    builder.store(ir.Constant(ir.ArrayType(_I8, size), None), buffer)
    tail = builder.bitcast(buffer, _I8.as_pointer())
    with cgutils.for_range_slice(builder, start, stop, _const(1), intp=_I64) as (i, _):
        byte = builder.load(builder.gep(pointer, [i]))
        builder.store(byte, builder.gep(tail, [builder.sub(i, start)]))
    return tail


def _accumulate(
    builder: ir.IRBuilder,
    pointers: list[Any],
    length: Any,
    step: int,
    start: list[ir.Constant],
    body: Callable[[list[Any], Any, list[Any]], list[Any]],
) -> list[Any]:
    """Run ``body`` over ``length`` bytes of all rows, ``step`` at a time, the rest padded.

    ``body(pointers, offset, sums) -> sums``; the sums live in registers.
    """
    slots = [cgutils.alloca_once_value(builder, zero) for zero in start]  # mem2reg lifts these

    def advance(rows: list[Any], offset: Any) -> None:
        sums = body(rows, offset, [builder.load(slot) for slot in slots])
        for slot, value in zip(slots, sums, strict=True):
            builder.store(value, slot)

    whole = builder.and_(length, _const(-step))
    with cgutils.for_range_slice(builder, _const(0), whole, _const(step), intp=_I64) as (i, _):
        advance(pointers, i)
    with builder.if_then(builder.icmp_signed("<", whole, length), likely=False):
        tails = [_padded_tail(builder, p, whole, length, step) for p in pointers]
        advance(tails, _const(0))
    return [builder.load(slot) for slot in slots]


def _tile_pointers(builder: ir.IRBuilder, args: Any, queries: int, rows: int) -> list[Any]:
    """Pointers to the tile's queries (consecutive), then to its rows (numbered)."""
    query_base, query_stride, row_base, row_stride, numbers = args[:5]
    listed = builder.inttoptr(numbers, _I64.as_pointer())
    row_numbers = [builder.load(builder.gep(listed, [_const(r)])) for r in range(rows)]
    return _pointers(
        builder, query_base, query_stride, [_const(q) for q in range(queries)]
    ) + _pointers(builder, row_base, row_stride, row_numbers)


def _word_distances(
    builder: ir.IRBuilder, pointers: list[Any], length: Any, queries: int, words: int
) -> Any:
    """Eight Hamming distances, query by query, as <8 x i32>: bits are counted by words.

    ``words`` is the length in vectors of 64 bytes where it is known: the loop is then unrolled,
    and rows are read one after the other, as memory likes best.
    """
    rows = len(pointers) - queries
    count = _intrinsic(builder, "ctpop", _WORDS, "v8i64")
    zero = ir.Constant(_WORDS, None)

    def differing(q: Any, x: Any) -> Any:
        return builder.call(count, [builder.xor(q, x)])

    def body(at: list[Any], offset: Any, sums: list[Any]) -> list[Any]:
        values = [_load(builder, p, offset, _WORDS) for p in at]
        pairs = [(q, x) for q in values[:queries] for x in values[queries:]]
        return [builder.add(s, differing(q, x)) for s, (q, x) in zip(sums, pairs, strict=True)]

    if words:
        sums = [zero] * 8
        offsets = [_const(_STEP_BYTES * w) for w in range(words)]
        held = [[_load(builder, p, o, _WORDS) for o in offsets] for p in pointers[:queries]]
        for r, pointer in enumerate(pointers[queries:]):
            for w, offset in enumerate(offsets):
                x = _load(builder, pointer, offset, _WORDS)
                for q in range(queries):
                    pair = q * rows + r
                    sums[pair] = builder.add(sums[pair], differing(held[q][w], x))
    else:
        sums = _accumulate(builder, pointers, length, _STEP_BYTES, [zero] * 8, body)

    # Eight vectors of eight words become one vector of eight sums: adding even and odd
    # words of a pair of vectors halves both, three times.
    def pick(first: int) -> ir.Constant:
        return ir.Constant(ir.VectorType(_I32, 8), list(range(first, 16, 2)))

    while len(sums) > 1:
        sums = [
            builder.add(
                builder.shuffle_vector(a, b, pick(0)), builder.shuffle_vector(a, b, pick(1))
            )
            for a, b in zip(sums[::2], sums[1::2], strict=True)
        ]
    return builder.trunc(sums[0], ir.VectorType(_I32, 8))


def _byte_distances(builder: ir.IRBuilder, pointers: list[Any], length: Any, queries: int) -> Any:
    """`_word_distances` for vectors of 128 bits, of which bits are counted by bytes at best.

    Eight sums of bytes fit in registers, where those of words would take half a dozen instructions
    more for 16 bytes; they are added up across the register once a block.
    """
    count = _intrinsic(builder, "ctpop", _BYTES, "v16i8")
    wide = ir.VectorType(ir.IntType(16), 16)
    kind = ir.FunctionType(wide.element, [wide])
    across = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.add.v16i16")

    def body(at: list[Any], offset: Any, sums: list[Any]) -> list[Any]:
        values = [_load(builder, p, offset, _BYTES) for p in at]
        pairs = [(q, x) for q in values[:queries] for x in values[queries:]]
        return [
            builder.add(s, builder.call(count, [builder.xor(q, x)]))
            for s, (q, x) in zip(sums, pairs, strict=True)
        ]

    totals = [cgutils.alloca_once_value(builder, ir.Constant(_I32, 0)) for _ in range(8)]
    loop = cgutils.for_range_slice(builder, _const(0), length, _const(_BLOCK_BYTES), intp=_I64)
    with loop as (start, _):
        rest = builder.sub(length, start)
        last = builder.icmp_signed("<", rest, _const(_BLOCK_BYTES))
        here = builder.select(last, rest, _const(_BLOCK_BYTES))
        at = [builder.gep(p, [start]) for p in pointers]
        zeros = [ir.Constant(_BYTES, None)] * 8
        sums = _accumulate(builder, at, here, _BYTES.count, zeros, body)
        for slot, vector in zip(totals, sums, strict=True):
            part = builder.zext(builder.call(across, [builder.zext(vector, wide)]), _I32)
            builder.store(builder.add(builder.load(slot), part), slot)
    distances: Any = ir.Constant(ir.VectorType(_I32, 8), ir.Undefined)
    for pair, slot in enumerate(totals):
        distances = builder.insert_element(distances, builder.load(slot), ir.Constant(_I32, pair))
    return distances


def _emit_hamming(
    builder: ir.IRBuilder, args: Any, queries: int, rows: int, words: int, by_bytes: bool
) -> Any:
    """Eight Hamming distances, query by query, stored as int32; a mask of those below limits."""
    assert queries * rows == 8
    length, limits, out = args[5:]
    pointers = _tile_pointers(builder, args, queries, rows)
    if by_bytes:
        length = _const(_STEP_BYTES * words) if words else length
        distances = _byte_distances(builder, pointers, length, queries)
    else:
        distances = _word_distances(builder, pointers, length, queries, words)
    narrow = distances.type
    builder.store(distances, builder.inttoptr(out, narrow.as_pointer()), align=4)
    limit = builder.load(builder.inttoptr(limits, narrow.as_pointer()), align=4)
    below = builder.icmp_signed("<", distances, limit)
    return builder.zext(builder.bitcast(below, _I8), _I64)


def _emit_lanes(builder: ir.IRBuilder, args: Any, queries: int, rows: int, *, squared: bool) -> Any:
    """Distances of float32 rows in the 32-lane order, query by query, stored as float64."""
    length, out = args[5:]
    pointers = _tile_pointers(builder, args, queries, rows)
    absolute = _intrinsic(builder, "fabs", _DOUBLES, "v8f64")
    pairs = queries * rows

    def body(at: list[Any], offset: Any, sums: list[Any]) -> list[Any]:
        # `offset` counts bytes: 32 float32 lanes are four vectors of 32 bytes.
        advanced = list(sums)
        for lanes in range(4):
            here = builder.add(offset, _const(32 * lanes))
            values = [builder.fpext(_load(builder, p, here, _FLOATS), _DOUBLES) for p in at]
            difference = [builder.fsub(x, q) for q in values[:queries] for x in values[queries:]]
            for pair, delta in enumerate(difference):
                term = builder.fmul(delta, delta) if squared else builder.call(absolute, [delta])
                slot = pair * 4 + lanes
                advanced[slot] = builder.fadd(advanced[slot], term)
        return advanced

    zero = ir.Constant(_DOUBLES, None)
    sums = _accumulate(builder, pointers, length, 4 * _STEP_LANES, [zero] * (pairs * 4), body)
    root = _intrinsic(builder, "sqrt", _F64, "f64")
    for pair in range(pairs):
        low, second, third, high = sums[pair * 4 : pair * 4 + 4]
        vector = builder.fadd(builder.fadd(low, third), builder.fadd(second, high))  # +16, then +8
        for width in (4, 2, 1):
            order = ir.Constant(ir.VectorType(_I32, 8), [(i + width) % 8 for i in range(8)])
            vector = builder.fadd(vector, builder.shuffle_vector(vector, vector, order))
        total = builder.extract_element(vector, ir.Constant(_I32, 0))
        if squared:
            total = builder.call(root, [total])
        builder.store(
            total, builder.inttoptr(builder.add(out, _const(8 * pair)), _F64.as_pointer())
        )
    return _const(0)


_TILE = (types.intp,) * 5  # query base, query stride, row base, row stride, row numbers


@intrinsic(prefer_literal=True)
def hamming_u8_4x2(typingctx, words, by_bytes, qb, qs, xb, xs, numbers, length, limits, out):
    """4 queries x 2 rows of ``length`` packed bytes; limits and distances are 8 int32.

    Returns a mask of the distances below their limits. Two constants: ``words``, the length in
    vectors of 64 bytes, or 0 for any length, and whether bits are counted ``by_bytes``
    (`level.counts_by_bytes`).
    """
    known, bytewise = words.literal_value, bool(by_bytes.literal_value)

    def codegen(context, builder, signature, args):
        return _emit_hamming(builder, args[2:], 4, 2, known, bytewise)

    return types.intp(words, by_bytes, *_TILE, types.intp, types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def hamming_u8_1x8(typingctx, words, by_bytes, qb, qs, xb, xs, numbers, length, limits, out):
    """1 query x 8 rows: for one query the rows stream from memory, each read once."""
    known, bytewise = words.literal_value, bool(by_bytes.literal_value)

    def codegen(context, builder, signature, args):
        return _emit_hamming(builder, args[2:], 1, 8, known, bytewise)

    return types.intp(words, by_bytes, *_TILE, types.intp, types.intp, types.intp), codegen


@intrinsic
def l1_f32_2x2(typingctx, qb, qs, xb, xs, numbers, length, out):
    """2 queries x 2 rows of ``length`` bytes of float32; distances are 4 float64."""

    def codegen(context, builder, signature, args):
        return _emit_lanes(builder, args, 2, 2, squared=False)

    return types.intp(*_TILE, types.intp, types.intp), codegen


@intrinsic
def l1_f32_1x4(typingctx, qb, qs, xb, xs, numbers, length, out):
    """1 query x 4 rows."""

    def codegen(context, builder, signature, args):
        return _emit_lanes(builder, args, 1, 4, squared=False)

    return types.intp(*_TILE, types.intp, types.intp), codegen


@intrinsic
def l2_f32_2x2(typingctx, qb, qs, xb, xs, numbers, length, out):
    """2 queries x 2 rows, the root taken."""

    def codegen(context, builder, signature, args):
        return _emit_lanes(builder, args, 2, 2, squared=True)

    return types.intp(*_TILE, types.intp, types.intp), codegen


@intrinsic
def l2_f32_1x4(typingctx, qb, qs, xb, xs, numbers, length, out):
    """1 query x 4 rows, the root taken."""

    def codegen(context, builder, signature, args):
        return _emit_lanes(builder, args, 1, 4, squared=True)

    return types.intp(*_TILE, types.intp, types.intp), codegen


@intrinsic
def l1_f32_1x1(typingctx, qb, qs, xb, xs, numbers, length, out):
    """1 query x 1 row."""

    def codegen(context, builder, signature, args):
        return _emit_lanes(builder, args, 1, 1, squared=False)

    return types.intp(*_TILE, types.intp, types.intp), codegen


@intrinsic
def l2_f32_1x1(typingctx, qb, qs, xb, xs, numbers, length, out):
    """1 query x 1 row, the root taken."""

    def codegen(context, builder, signature, args):
        return _emit_lanes(builder, args, 1, 1, squared=True)

    return types.intp(*_TILE, types.intp, types.intp), codegen


def _emit_near(builder: ir.IRBuilder, args: Any, *, squared: bool) -> Any:
    """Sum of absolute or squared differences of two float32 rows, in float32."""
    pointers = [builder.inttoptr(address, _I8.as_pointer()) for address in args[:2]]
    kind = ir.VectorType(_F32, 16)
    absolute = _intrinsic(builder, "fabs", kind, "v16f32")

    def body(at: list[Any], offset: Any, sums: list[Any]) -> list[Any]:
        advanced = []
        for part, total in enumerate(sums):
            here = builder.add(offset, _const(64 * part))
            q, x = (_load(builder, p, here, kind) for p in at)
            difference = builder.fsub(x, q)
            term = (
                builder.fmul(difference, difference)
                if squared
                else builder.call(absolute, [difference])
            )
            advanced.append(builder.fadd(total, term))
        return advanced

    zeros = [ir.Constant(kind, None)] * 4
    a, b, c, d = _accumulate(builder, pointers, args[2], 256, zeros, body)
    total = builder.fadd(builder.fadd(a, b), builder.fadd(c, d))
    for width in (8, 4, 2, 1):
        order = ir.Constant(ir.VectorType(_I32, 16), [(i + width) % 16 for i in range(16)])
        total = builder.fadd(total, builder.shuffle_vector(total, total, order))
    return builder.fpext(builder.extract_element(total, ir.Constant(_I32, 0)), _F64)


@intrinsic
def near_l1_f32(typingctx, query, row, length):
    """About the sum of ``|x - q|`` over ``length`` bytes of float32, added in float32 in 64 lanes
    and a tree."""

    def codegen(context, builder, signature, args):
        return _emit_near(builder, args, squared=False)

    return types.float64(types.intp, types.intp, types.intp), codegen


@intrinsic
def near_l2_f32(typingctx, query, row, length):
    """About the sum of ``(x - q)**2``, likewise; no root."""

    def codegen(context, builder, signature, args):
        return _emit_near(builder, args, squared=True)

    return types.float64(types.intp, types.intp, types.intp), codegen


@intrinsic
def popcount_u8(typingctx, row, length):
    """Set bits of ``length`` bytes at the address ``row``."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], _I8.as_pointer())
        count = _intrinsic(builder, "ctpop", _WORDS, "v8i64")

        def body(at: list[Any], offset: Any, sums: list[Any]) -> list[Any]:
            bits = builder.call(count, [_load(builder, at[0], offset, _WORDS)])
            return [builder.add(sums[0], bits)]

        zero = ir.Constant(_WORDS, None)
        (sums,) = _accumulate(builder, [pointer], args[1], _STEP_BYTES, [zero], body)
        for width in (4, 2, 1):
            order = ir.Constant(ir.VectorType(_I32, 8), [(i + width) % 8 for i in range(8)])
            sums = builder.add(sums, builder.shuffle_vector(sums, sums, order))
        return builder.extract_element(sums, ir.Constant(_I32, 0))

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def count_trailing_zeros(typingctx, mask):
    """Number of the lowest set bit of a mask that is not zero."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.intp(types.intp), codegen
