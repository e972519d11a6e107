"""Tile instructions of x86 (AMX, int8), as Numba intrinsics, and whether they can be used.

A tile register holds 16 rows of 64 bytes. ``tdpbssd`` adds to a 16 x 16 tile of int32 the
products of 16 rows of 64 signed bytes with 16 columns of as many: 16,384 multiply-adds, one
such instruction every 16 cycles, eight times what a core's vector units do.

Linux gives the registers to a process that asks (``arch_prctl``). Nothing of this module may
be compiled where `available` is false: LLVM ends the process on an instruction that its
target lacks.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ..system import c_library
from .level import simd_level

_I1, _I8, _I16 = ir.IntType(1), ir.IntType(8), ir.IntType(16)
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_BYTES = _I8.as_pointer()
_VOID = ir.VoidType()

TILE_ROWS = 16
TILE_BYTES = 64

_SYS_ARCH_PRCTL = 158
_ARCH_REQ_XCOMP_PERM = 0x1023
_XFEATURE_XTILEDATA = 18


@cache
def available() -> bool:
    """Whether this process may compile and run AMX int8 code; asks the kernel for the registers."""
    if simd_level() != "amx":
        return False
    libc = c_library()
    asked = _SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA
    return libc is not None and libc.syscall(*asked) == 0


def configuration() -> NDArray[np.uint8]:
    """The 64 bytes that `configure` loads: palette 1, all eight tiles 16 rows of 64 bytes."""
    config = np.zeros(64, np.uint8)
    config[0] = 1
    config[16:32].view(np.uint16)[:] = TILE_BYTES
    config[48:56] = TILE_ROWS
    return config


def _tile(builder: ir.IRBuilder, name: str, *args: ir.Value) -> None:
    """Emit the tile instruction ``name``; tile numbers are i8 constants."""
    kind = ir.FunctionType(_VOID, [argument.type for argument in args])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), args)


def _at(builder: ir.IRBuilder, address: ir.Value, offset: ir.Value | None = None) -> ir.Value:
    if offset is not None:
        address = builder.add(address, offset)
    return builder.inttoptr(address, _BYTES)


@intrinsic
def configure(typingctx, address):
    """Load the tile configuration at ``address``: this thread may now use tiles."""

    def codegen(context, builder, signature, args):
        _tile(builder, "ldtilecfg", _at(builder, args[0]))
        return _I64(0)

    return types.intp(types.intp), codegen


@intrinsic
def release(typingctx):
    """Give the tiles back, so that the system need not save them at every switch."""

    def codegen(context, builder, signature, args):
        _tile(builder, "tilerelease")
        return _I64(0)

    return types.intp(), codegen


@intrinsic
def dot_i8_32x32(typingctx, rows, row_stride, columns, column_stride, steps, sums, fresh):
    """Dot products of 32 rows and 32 columns over ``64 * steps`` signed bytes.

    ``rows`` is the address of two blocks, ``row_stride`` bytes apart, each of consecutive
    tiles (16 rows of 64 bytes). ``columns`` likewise; within its tiles four bytes of a column
    lie side by side: line r holds bytes 4r to 4r + 3 of columns 0 to 15. ``sums`` is the
    address of four 16 x 16 int32 tiles, rows 0-15 with columns 0-15, then columns 16-31, then
    the same for rows 16-31; set if ``fresh``, else added to.
    """

    def codegen(context, builder, signature, args):
        rows, row_stride, columns, column_stride, steps, sums, fresh = args
        line = _I64(TILE_BYTES)
        size = TILE_ROWS * TILE_BYTES
        with builder.if_else(builder.icmp_signed("!=", fresh, _I64(0))) as (clear, go_on):
            with clear:
                for t in range(4):
                    _tile(builder, "tilezero", _I8(t))
            with go_on:
                for t in range(4):
                    _tile(builder, "tileloadd64", _I8(t), _at(builder, sums, _I64(t * size)), line)
        second_rows = builder.add(rows, row_stride)
        second_columns = builder.add(columns, column_stride)
        with cgutils.for_range_slice(builder, _I64(0), steps, _I64(1), intp=_I64) as (i, _):
            offset = builder.mul(i, _I64(size))
            for tile, base in ((4, rows), (6, columns), (7, second_columns), (5, second_rows)):
                _tile(builder, "tileloadd64", _I8(tile), _at(builder, base, offset), line)
            for t, (a, b) in enumerate(((4, 6), (4, 7), (5, 6), (5, 7))):
                _tile(builder, "tdpbssd", _I8(t), _I8(a), _I8(b))
        for t in range(4):
            _tile(builder, "tilestored64", _I8(t), _at(builder, sums, _I64(t * size)), line)
        return _I64(0)

    return types.intp(*(types.intp,) * 7), codegen


@intrinsic
def expand_bits_16(typingctx, base, stride, numbers, words, out):
    """Bits of 16 numbered rows as bytes, -1 for a set bit, in consecutive tiles at ``out``.

    ``base`` and ``stride`` locate the packed rows, ``numbers`` is the address of 16 row
    numbers, ``words`` counts 64-bit words. Bit i of a little-endian word becomes byte i.
    """

    def codegen(context, builder, signature, args):
        base, stride, numbers, words, out = args
        listed = builder.inttoptr(numbers, _I64.as_pointer())
        rows = []
        for r in range(TILE_ROWS):
            number = builder.load(builder.gep(listed, [_I64(r)]))
            rows.append(builder.add(base, builder.mul(stride, number)))
        bits, signs = ir.VectorType(_I1, 64), ir.VectorType(_I8, 64)
        with cgutils.for_range_slice(builder, _I64(0), words, _I64(1), intp=_I64) as (w, _):
            for r, row in enumerate(rows):
                source = builder.inttoptr(
                    builder.add(row, builder.mul(w, _I64(8))), _I64.as_pointer()
                )
                word = builder.load(source, align=1)
                target = builder.add(out, builder.mul(w, _I64(TILE_ROWS * TILE_BYTES)))
                target = builder.add(target, _I64(r * TILE_BYTES))
                builder.store(
                    builder.sext(builder.bitcast(word, bits), signs),
                    builder.inttoptr(target, signs.as_pointer()),
                    align=1,
                )
        return _I64(0)

    return types.intp(*(types.intp,) * 5), codegen


@intrinsic
def below_i32_16(typingctx, sums, row_count, counts, limits, out):
    """Sixteen Hamming distances ``row_count + counts - 2 * sums``, stored at ``out``.

    All are int32 and ``sums``, ``counts``, ``limits`` and ``out`` addresses of sixteen.
    Returns a mask: bit i is set where distance i is below its limit.
    """

    def codegen(context, builder, signature, args):
        sums, row_count, counts, limits, out = args
        kind = ir.VectorType(_I32, 16)

        def load(address: ir.Value) -> ir.Value:
            return builder.load(builder.inttoptr(address, kind.as_pointer()), align=4)

        both = builder.insert_element(
            ir.Constant(kind, ir.Undefined), builder.trunc(row_count, _I32), _I32(0)
        )
        both = builder.shuffle_vector(both, both, ir.Constant(kind, [0] * 16))
        both = builder.add(both, load(counts))
        twice = builder.shl(load(sums), ir.Constant(kind, [1] * 16))
        distances = builder.sub(both, twice)
        builder.store(distances, builder.inttoptr(out, kind.as_pointer()), align=4)
        below = builder.icmp_signed("<", distances, load(limits))
        return builder.zext(builder.bitcast(below, _I16), _I64)

    return types.intp(*(types.intp,) * 5), codegen
