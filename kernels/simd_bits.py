"""Micro-kernels on packed bits beside those of `simd`: rows of a few words, and nibble planes.

`short_rows` holds several rows of a vector register at once; `planes_32x8`, `planes_below` and
`planes_add` work on rows that were taken apart into planes, one of each half of each byte (see
`planes`). Addresses are integers, as in `simd`; those of planes and tables are aligned by 64.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .simd import _const, _intrinsic
from .simd_u8 import AVX512, _call

GROUP = 128  # rows of a set of planes
#: Words a row up to which `short_rows` asks memory for what it will read so many bytes later: it
#: is done with a row before the processor has foreseen the next ones.
_SHORTEST, _AHEAD = 4, 2048

_I8, _I16 = ir.IntType(8), ir.IntType(16)
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_WORDS = ir.VectorType(_I64, 8)
_LANES = 32  # bytes of the vectors that rows are taken apart in


def _splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """A vector that holds a value in all its lanes."""
    kind = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    order = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), order)


def _place(builder: ir.IRBuilder, address: Any, offset: int, kind: ir.Type) -> ir.Value:
    return builder.inttoptr(builder.add(address, _const(offset)), kind.as_pointer())


def _read(builder: ir.IRBuilder, address: Any, offset: int, kind: ir.Type, align: int) -> ir.Value:
    return builder.load(_place(builder, address, offset, kind), align=align)


# Rows of a few words


def rows_at_once(words: int) -> int:
    """Rows that `short_rows` takes, of so many words each: a mask of them is one word."""
    return {1: 32, 2: 16}.get(words, 8)


def _run_sums(builder: ir.IRBuilder, vectors: list[Any]) -> Any:
    """One vector of eight sums: of as many consecutive words as there are vectors.

    That many is a power of two, or three times one.
    """

    def picked(a: Any, b: Any, first: int, step: int) -> Any:
        order = [(first + step * i) % 16 for i in range(8)]
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, 8), order))

    while len(vectors) % 2 == 0:
        vectors = [
            builder.add(picked(a, b, 0, 2), picked(a, b, 1, 2))
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    if len(vectors) == 1:
        return vectors[0]
    a, b, c = vectors
    total = None
    for first in range(3):
        places = [first + 3 * i for i in range(8)]
        head = ir.Constant(ir.VectorType(_I32, 8), [p if p < 16 else 0 for p in places])
        tail = ir.Constant(
            ir.VectorType(_I32, 8), [i if p < 16 else p - 8 for i, p in enumerate(places)]
        )
        part = builder.shuffle_vector(builder.shuffle_vector(a, b, head), c, tail)
        total = part if total is None else builder.add(total, part)
    return total


def _word_sums(builder: ir.IRBuilder, rows: Any, pattern: Any, words: int) -> list[Any]:
    """Distances of `rows_at_once` rows, eight a vector of 64-bit numbers."""
    count = _intrinsic(builder, "ctpop", _WORDS, "v8i64")
    queries = [_read(builder, pattern, 64 * w, _WORDS, 64) for w in range(words)]
    sums = []
    for block in range(rows_at_once(words) // 8):
        counts = []
        for w in range(words):
            x = _read(builder, rows, 64 * (block * words + w), _WORDS, 1)
            counts.append(builder.call(count, [builder.xor(x, queries[w])]))
        sums.append(_run_sums(builder, counts))
    return sums


def _picked(builder: ir.IRBuilder, a: Any, b: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(order)), order))


def _paired(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
    """Two vectors of four small 64-bit numbers as one of eight: those of a and b in turn."""
    half = ir.Constant(a.type, [32] * 4)
    return builder.bitcast(builder.or_(a, builder.shl(b, half)), ir.VectorType(_I32, 8))


def _eight_totals(builder: ir.IRBuilder, ones: list[Any]) -> Any:
    """Eight vectors, of four small 64-bit numbers each, as one of their eight sums."""
    pairs = [_paired(builder, a, b) for a, b in zip(ones[::2], ones[1::2], strict=True)]
    low, high = (
        builder.add(
            _picked(builder, a, b, [0, 1, 8, 9, 4, 5, 12, 13]),
            _picked(builder, a, b, [2, 3, 10, 11, 6, 7, 14, 15]),
        )
        for a, b in zip(pairs[::2], pairs[1::2], strict=True)
    )
    return builder.add(
        _picked(builder, low, high, [0, 1, 2, 3, 8, 9, 10, 11]),
        _picked(builder, low, high, [4, 5, 6, 7, 12, 13, 14, 15]),
    )


def counted_by_bytes(words: int) -> bool:
    """Whether rows of so many words have a way of their own with AVX2's instructions."""
    return words in (1, 2, 6) or words % 4 == 0


def _byte_sums(builder: ir.IRBuilder, rows: Any, pattern: Any, words: int) -> list[Any]:
    """Distances of `rows_at_once` rows, eight a vector of 32-bit numbers, with AVX2.

    Counts of a row are added as bytes as far as they meet; ``vpsadbw`` adds up 8 of these, and
    the upper half of the 64 bits that it leaves is free for another row's.
    """
    kind, four = ir.VectorType(_I8, 32), ir.VectorType(_I64, 4)
    count = _intrinsic(builder, "ctpop", kind, "v32i8")

    def differing(at: int) -> Any:
        """Differing bits of each of 32 bytes; the query stands there eight times."""
        x = _read(builder, rows, at, kind, 1)
        query = _read(builder, pattern, at % (64 * words), kind, 32)
        return builder.call(count, [builder.xor(x, query)])

    def added(parts: list[Any]) -> Any:
        total = parts[0]
        for part in parts[1:]:
            total = builder.add(total, part)
        return _call(builder, "llvm.x86.avx2.psad.bw", four, total, ir.Constant(kind, None))

    def picked(a: Any, b: Any, order: list[int]) -> Any:
        return _picked(builder, a, b, order)

    def paired(a: Any, b: Any) -> Any:
        return _paired(builder, a, b)

    def two_rows(at: int) -> Any:
        """Two rows of 48 bytes: the middle 32 bytes hold the end of one, the start of the other."""
        first, middle, last = (differing(at + 32 * v) for v in range(3))
        outer = picked(first, last, [*range(16), *range(48, 64)])
        inner = picked(first, last, [*range(16, 32), *range(32, 48)])
        return added([outer, inner, middle])

    sums = []
    for block in range(rows_at_once(words) // 8):
        start = 64 * words * block
        if words == 1:
            both = paired(added([differing(start)]), added([differing(start + 32)]))
            sums.append(picked(both, both, [0, 2, 4, 6, 1, 3, 5, 7]))
            continue
        if words in (2, 6):
            if words == 2:
                twos = [added([differing(start + 32 * v)]) for v in range(4)]
            else:
                twos = [two_rows(start + 96 * v) for v in range(4)]
            a, b = paired(twos[0], twos[1]), paired(twos[2], twos[3])
            mixed = builder.add(
                picked(a, b, [0, 1, 8, 9, 4, 5, 12, 13]),
                picked(a, b, [2, 3, 10, 11, 6, 7, 14, 15]),
            )
            sums.append(picked(mixed, mixed, [0, 4, 1, 5, 2, 6, 3, 7]))
            continue
        ones = [
            added([differing(start + 8 * words * row + 32 * v) for v in range(words // 4)])
            for row in range(8)
        ]
        sums.append(_eight_totals(builder, ones))
    return sums


def _emit_short(builder: ir.IRBuilder, args: Any, words: int, by_bytes: bool) -> Any:
    rows, pattern, limit, out = args
    if words <= _SHORTEST:
        for line in range(rows_at_once(words) * words // 8):
            place = _place(builder, rows, _AHEAD + 64 * line, _I8)
            flags = (ir.Constant(_I32, value) for value in (0, 3, 1))  # read, keep, data
            _call(builder, "llvm.prefetch.p0", ir.VoidType(), place, *flags)
    narrow = ir.VectorType(_I32, 8)
    if by_bytes:
        sums = _byte_sums(builder, rows, pattern, words)
        limits = _splat(builder, builder.trunc(limit, _I32), 8)
    else:
        sums = _word_sums(builder, rows, pattern, words)
        limits = _splat(builder, limit, 8)
    mask = _const(0)
    for block, total in enumerate(sums):
        below = builder.bitcast(builder.icmp_signed("<", total, limits), _I8)
        mask = builder.or_(mask, builder.shl(builder.zext(below, _I64), _const(8 * block)))
    with builder.if_then(builder.icmp_signed("!=", mask, _const(0)), likely=False):
        for block, total in enumerate(sums):
            if not by_bytes:
                total = builder.trunc(total, narrow)
            builder.store(total, _place(builder, out, 32 * block, narrow), align=4)
    return mask


@intrinsic(prefer_literal=True)
def short_rows(typingctx, words, by_bytes, rows, pattern, limit, out):
    """`rows_at_once` rows, one behind the other, of ``words`` 64-bit words each.

    ``pattern`` is the address of a query eight times in a row. Returns a mask of the distances
    below ``limit``; only if there are some are all of them stored, as int32. Two constants:
    ``words``, and whether AVX2 counts ``by_bytes`` (`counted_by_bytes`).
    """
    known, bytewise = words.literal_value, bool(by_bytes.literal_value)

    def codegen(context, builder, signature, args):
        return _emit_short(builder, args[2:], known, bytewise)

    return types.intp(words, by_bytes, types.intp, types.intp, types.int64, types.intp), codegen


@intrinsic
def copy_words(typingctx, to, source, count):
    """Copy ``count`` words of 8 bytes from one address to another."""

    def codegen(context, builder, signature, args):
        to, source, count = args
        with cgutils.for_range_slice(builder, _const(0), count, _const(1), intp=_I64) as (i, _):
            at = builder.mul(i, _const(8))
            word = _read(builder, builder.add(source, at), 0, _I64, 1)
            builder.store(word, _place(builder, builder.add(to, at), 0, _I64), align=1)
        return _const(0)

    return types.intp(types.intp, types.intp, types.intp), codegen


# Nibble planes


def _interleaved(builder: ir.IRBuilder, a: Any, b: Any, size: int, half: int) -> Any:
    """Units of ``size`` bytes of a and b in turn, from the lower or upper half of each 16 bytes."""
    order = [
        32 * side + 16 * lane + 8 * half + size * unit + byte
        for lane in range(2)
        for unit in range(8 // size)
        for side in range(2)
        for byte in range(size)
    ]
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, _LANES), order))


@intrinsic
def planes_32x8(typingctx, base, stride, numbers, out):
    """Take 8 bytes of 32 numbered rows apart: 16 planes, each `GROUP` bytes behind the last.

    Plane 2 b holds the lower halves of the rows' bytes b, in the order of the numbers, plane
    2 b + 1 the upper ones.
    """

    def codegen(context, builder, signature, args):
        base, stride, numbers, out = args
        kind = ir.VectorType(_I8, _LANES)
        listed = builder.inttoptr(numbers, _I64.as_pointer())

        def row(number: int) -> Any:
            at = builder.load(builder.gep(listed, [_const(number)]))
            pointer = builder.add(base, builder.mul(stride, at))
            return _read(builder, pointer, 0, _I64, 1)

        vectors = []
        for i in range(8):
            four: Any = ir.Constant(ir.VectorType(_I64, 4), ir.Undefined)
            for lane, number in enumerate((i, i + 8, i + 16, i + 24)):
                four = builder.insert_element(four, row(number), ir.Constant(_I32, lane))
            vectors.append(builder.bitcast(four, kind))
        # Rows i and i + 8 share 16 bytes: what is made of lower halves stays with rows 0 to 7.
        halves = []
        for half in range(2):
            level = vectors
            level = [_interleaved(builder, level[i], level[i + 1], 1, half) for i in (0, 2, 4, 6)]
            level = [
                _interleaved(builder, level[i], level[i + 1], 2, h) for h in (0, 1) for i in (0, 2)
            ]
            halves.append(
                [
                    _interleaved(builder, level[i], level[i + 1], 4, h)
                    for i in (0, 2)
                    for h in (0, 1)
                ]
            )
        mask = ir.Constant(kind, [15] * _LANES)
        four_bits = ir.Constant(kind, [4] * _LANES)
        for pair, (low, high) in enumerate(zip(*halves, strict=True)):
            for half in range(2):
                plane = _interleaved(builder, low, high, 8, half)
                at = GROUP * 2 * (2 * pair + half)
                for nibble, value in enumerate(
                    (builder.and_(plane, mask), builder.lshr(plane, four_bits))
                ):
                    builder.store(value, _place(builder, out, at + GROUP * nibble, kind), align=32)
        return _const(0)

    return types.intp(types.intp, types.intp, types.intp, types.intp), codegen


def queries_at_once(level: int) -> int:
    """Queries of a register tile: with all rows of a group that is eight running sums."""
    return 4 if level == AVX512 else 2


def _looked_up(builder: ir.IRBuilder, level: int, table: Any, plane: Any) -> Any:
    name = "llvm.x86.avx512.pshuf.b.512" if level == AVX512 else "llvm.x86.avx2.pshuf.b"
    return _call(builder, name, table.type, table, plane)


def _emit_sums(
    builder: ir.IRBuilder, level: int, planes: Any, count: Any, at: Any, stride: Any, tables: Any
) -> list[list[Any]]:
    """Sums in bytes over ``count`` planes, for each query one vector after the other of a group.

    A query is the offset of a table for each plane: which of them counts the bits that differ.
    """
    width = 64 if level == AVX512 else 32
    kind = ir.VectorType(_I8, width)
    queries, parts = queries_at_once(level), GROUP // width
    slots = [
        [cgutils.alloca_once_value(builder, ir.Constant(kind, None)) for _ in range(parts)]
        for _ in range(queries)
    ]
    offsets = [builder.add(at, builder.mul(stride, _const(q))) for q in range(queries)]
    with cgutils.for_range_slice(builder, _const(0), count, _const(1), intp=_I64) as (i, _):
        plane_at = builder.add(planes, builder.mul(i, _const(GROUP)))
        plane = [_read(builder, plane_at, width * p, kind, width) for p in range(parts)]
        for q in range(queries):
            place = builder.add(offsets[q], builder.mul(i, _const(2)))
            offset = builder.zext(_read(builder, place, 0, _I16, 2), _I64)
            table = _read(builder, builder.add(tables, offset), 0, kind, width)
            for p in range(parts):
                found = _looked_up(builder, level, table, plane[p])
                builder.store(builder.add(builder.load(slots[q][p]), found), slots[q][p])
    return [[builder.load(slot) for slot in row] for row in slots]


@intrinsic(prefer_literal=True)
def planes_below(typingctx, level, planes, count, at, stride, tables, limits, out):
    """Distances of `queries_at_once` queries and `GROUP` rows of up to 63 planes.

    ``limits`` is the address of a byte for each query. Returns 0 where none is below its own;
    else distances are stored, a byte each, query by query.
    """
    known = level.literal_value

    def codegen(context, builder, signature, args):
        _, planes, count, at, stride, tables, limits, out = args
        sums = _emit_sums(builder, known, planes, count, at, stride, tables)
        any_below = None
        for q, row in enumerate(sums):
            width = row[0].type.count
            limit = _splat(builder, _read(builder, limits, q, _I8, 1), width)
            for total in row:
                below = builder.icmp_unsigned("<", total, limit)
                any_below = below if any_below is None else builder.or_(any_below, below)
        assert any_below is not None
        mask = builder.bitcast(any_below, ir.IntType(any_below.type.count))
        found = builder.icmp_unsigned("!=", mask, ir.Constant(mask.type, 0))
        with builder.if_then(found, likely=False):
            for q, row in enumerate(sums):
                for p, total in enumerate(row):
                    place = GROUP * q + total.type.count * p
                    builder.store(total, _place(builder, out, place, total.type), align=32)
        return builder.zext(found, _I64)

    words = (types.intp,) * 7
    return types.intp(level, *words), codegen


@intrinsic(prefer_literal=True)
def planes_add(typingctx, level, planes, count, at, stride, tables, first, out):
    """Add the distances of up to 63 planes to sums of 16 bits, `GROUP` of them for each query.

    The sums begin with these planes where ``first`` is not 0.
    """
    known = level.literal_value

    def codegen(context, builder, signature, args):
        _, planes, count, at, stride, tables, first, out = args
        sums = _emit_sums(builder, known, planes, count, at, stride, tables)
        begins = builder.icmp_signed("!=", first, _const(0))
        for q, row in enumerate(sums):
            for p, total in enumerate(row):
                kind = ir.VectorType(_I16, total.type.count)
                place = _place(builder, out, 2 * (GROUP * q + total.type.count * p), kind)
                before = builder.select(
                    begins, ir.Constant(kind, None), builder.load(place, align=32)
                )
                builder.store(builder.add(before, builder.zext(total, kind)), place, align=32)
        return _const(0)

    words = (types.intp,) * 7
    return types.intp(level, *words), codegen


def _emit_below(builder: ir.IRBuilder, sums: Any, limit: Any, kind: ir.IntType) -> Any:
    vector = ir.VectorType(kind, 64)
    limits = _splat(builder, builder.trunc(limit, kind), 64)
    values = builder.load(builder.inttoptr(sums, vector.as_pointer()), align=32)
    return builder.bitcast(builder.icmp_unsigned("<", values, limits), _I64)


@intrinsic
def below_u8_64(typingctx, sums, limit):
    """A mask of those of 64 bytes that are below a limit of 0 to 255."""

    def codegen(context, builder, signature, args):
        return _emit_below(builder, args[0], args[1], _I8)

    return types.int64(types.intp, types.int64), codegen


@intrinsic
def below_u16_64(typingctx, sums, limit):
    """A mask of those of 64 unsigned numbers of 16 bits that are below a limit of their type."""

    def codegen(context, builder, signature, args):
        return _emit_below(builder, args[0], args[1], _I16)

    return types.int64(types.intp, types.int64), codegen


@intrinsic
def padded_words(typingctx, base, stride, numbers, size, out):
    """Copy ``size`` bytes, fewer than 8, of 32 numbered rows to words of 8, zeros behind them."""

    def codegen(context, builder, signature, args):
        base, stride, numbers, size, out = args
        with cgutils.for_range_slice(builder, _const(0), _const(32), _const(1), intp=_I64) as (
            r,
            _,
        ):
            listed = builder.inttoptr(numbers, _I64.as_pointer())
            number = builder.load(builder.gep(listed, [r]))
            row = builder.inttoptr(builder.add(base, builder.mul(stride, number)), _I8.as_pointer())
            word = builder.inttoptr(builder.add(out, builder.mul(r, _const(8))), _I64.as_pointer())
            builder.store(_const(0), word)
            place = builder.bitcast(word, _I8.as_pointer())
            with cgutils.for_range_slice(builder, _const(0), size, _const(1), intp=_I64) as (i, _):
                builder.store(builder.load(builder.gep(row, [i])), builder.gep(place, [i]))
        return _const(0)

    return types.intp(*(types.intp,) * 5), codegen
