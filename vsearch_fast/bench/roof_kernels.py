"""Loops that do one thing as fast as the processor can, to measure its roofs by.

`read` loads memory and adds it up. The others compare 4 vectors with 4 others (fewer where
there are fewer registers) that lie in the first-level cache, one *step* at a time, with all
sums in registers; a step is what a search does to one byte of 8 signs or to one feature:

==============  =============================================  ==========================
`popcount`      exclusive or, population count, add            64-bit words
`byte_sad`      ``|u - v|``, add                               unsigned bytes (``vpsadbw``)
`byte_dot`      ``u * v``, add                                 bytes (``vpdpbusd``)
`float_fma`     ``u * v``, add                                 float32
`float_sad`     ``u - v``, absolute value, add                 float32
==============  =============================================  ==========================

They are written apart from the kernels of searches, so that a roof does not fall with a kernel
that got slower. Results mean nothing (sums wrap); they are returned so that LLVM keeps the work.
Intrinsics and kernels share this file: Numba's cache notices edits of a kernel's own file only.
"""

from __future__ import annotations

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ..kernels.cache import compiled
from ..kernels.level import supported

POPCOUNT, BYTE_SAD, BYTE_DOT, FLOAT_FMA, FLOAT_SAD = range(5)
AVX512, AVX2, PORTABLE = range(3)

#: Instructions to measure: the best that the processor has, whatever searches are told to use.
LEVEL = AVX512 if "avx512" in supported() else AVX2 if "avx2" in supported() else PORTABLE
#: Vectors on either side of a tile; 16 running sums of 512 bits fit AVX-512's 32 registers.
SIDE = 4 if LEVEL == AVX512 else 2
#: Bytes ahead of a read that memory is asked for; without it half the bandwidth stays unused
#: on some processors.
AHEAD = 2048

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_V8I64, _V16I32 = ir.VectorType(_I64, 8), ir.VectorType(_I32, 16)
_V16F32 = ir.VectorType(ir.FloatType(), 16)


def _const(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    kind = ir.FunctionType(result, [argument.type for argument in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _load(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _types(operation: int, level: int) -> tuple[ir.VectorType, ir.VectorType]:
    """Type that one step loads, and type of its running sums."""
    if operation == POPCOUNT:
        return _V8I64, _V8I64
    if operation in (FLOAT_FMA, FLOAT_SAD):
        return _V16F32, _V16F32
    if level == AVX512:
        return ir.VectorType(_I8, 64), _V8I64 if operation == BYTE_SAD else _V16I32
    if level == AVX2 and operation == BYTE_SAD:
        return ir.VectorType(_I8, 32), ir.VectorType(_I64, 4)
    if level == AVX2:
        return ir.VectorType(_I8, 16), ir.VectorType(_I32, 8)
    return ir.VectorType(_I8, 16), _V16I32


def _added(
    builder: ir.IRBuilder, operation: int, level: int, total: ir.Value, u: ir.Value, v: ir.Value
) -> ir.Value:
    kind = total.type
    if operation == POPCOUNT:
        return builder.add(total, _call(builder, "llvm.ctpop.v8i64", kind, builder.xor(u, v)))
    if operation == FLOAT_SAD:
        return builder.fadd(total, _call(builder, "llvm.fabs.v16f32", kind, builder.fsub(u, v)))
    if operation == FLOAT_FMA:
        if level == PORTABLE:  # llvm.fma would call a function where there is no instruction
            return builder.fadd(total, builder.fmul(u, v))
        return _call(builder, "llvm.fma.v16f32", kind, u, v, total)
    if operation == BYTE_DOT and level == AVX512:
        words = (builder.bitcast(x, _V16I32) for x in (u, v))
        return _call(builder, "llvm.x86.avx512.vpdpbusd.512", kind, total, *words)
    if operation == BYTE_DOT:
        wide = ir.VectorType(_I16, 16)
        u, v = builder.zext(u, wide), builder.zext(v, wide)
        if level == AVX2:
            return builder.add(total, _call(builder, "llvm.x86.avx2.pmadd.wd", kind, u, v))
        return builder.add(total, builder.zext(builder.mul(u, v), kind))
    if level == AVX512:
        return builder.add(total, _call(builder, "llvm.x86.avx512.psad.bw.512", kind, u, v))
    if level == AVX2:
        return builder.add(total, _call(builder, "llvm.x86.avx2.psad.bw", kind, u, v))
    high = _call(builder, "llvm.umax.v16i8", u.type, u, v)
    low = _call(builder, "llvm.umin.v16i8", u.type, u, v)
    return builder.add(total, builder.zext(builder.sub(high, low), kind))


def _digest(builder: ir.IRBuilder, slots: list[ir.Value]) -> ir.Value:
    """One word that depends on all running sums."""
    vector = builder.load(slots[0])
    floats = isinstance(vector.type.element, ir.FloatType)
    for slot in slots[1:]:
        add = builder.fadd if floats else builder.add
        vector = add(vector, builder.load(slot))
    bits = vector.type.count * (32 if floats else vector.type.element.width)
    vector = builder.bitcast(vector, ir.VectorType(_I64, bits // 64))
    total = builder.extract_element(vector, ir.Constant(_I32, 0))
    for i in range(1, bits // 64):
        total = builder.add(total, builder.extract_element(vector, ir.Constant(_I32, i)))
    return total


@intrinsic(prefer_literal=True)
def _tile(typingctx, operation, level, side, address, length, repeats):
    """Compare ``side`` with ``side`` vectors of ``length`` bytes, one behind the other."""
    numbers = operation.literal_value, level.literal_value
    width = side.literal_value

    def codegen(context, builder, signature, args):
        base, size, times = args[3:]
        loaded, summed = _types(*numbers)
        step = loaded.count * (4 if loaded == _V16F32 else loaded.element.width // 8)
        zero = ir.Constant(summed, None)
        slots = [cgutils.alloca_once_value(builder, zero) for _ in range(width * width)]
        with cgutils.for_range(builder, times, intp=_I64):
            loop = cgutils.for_range_slice(builder, _const(0), size, _const(step), intp=_I64)
            with loop as (i, _):
                vectors = [
                    _load(
                        builder,
                        builder.add(builder.add(base, builder.mul(size, _const(n))), i),
                        loaded,
                    )
                    for n in range(2 * width)
                ]
                for n, slot in enumerate(slots):
                    u, v = vectors[n // width], vectors[width + n % width]
                    total = builder.load(slot)
                    builder.store(_added(builder, *numbers, total, u, v), slot)
        return _digest(builder, slots)

    return types.int64(operation, level, side, *(types.int64,) * 3), codegen


@intrinsic(prefer_literal=True)
def _read(typingctx, ahead, address, size):
    """Load ``size`` bytes, a multiple of 512, from an address on."""
    far = ahead.literal_value

    def codegen(context, builder, signature, args):
        base, length = args[1:]
        slots = [cgutils.alloca_once_value(builder, ir.Constant(_V8I64, None)) for _ in range(8)]
        loop = cgutils.for_range_slice(builder, _const(0), length, _const(512), intp=_I64)
        with loop as (i, _):
            here = builder.add(base, i)
            for n, slot in enumerate(slots):
                at = builder.add(here, _const(64 * n))
                target = builder.inttoptr(builder.add(at, _const(far)), _I8.as_pointer())
                flags = (ir.Constant(_I32, v) for v in (0, 3, 1))  # to read, keep, data
                _call(builder, "llvm.prefetch.p0", ir.VoidType(), target, *flags)
                total = builder.add(builder.load(slot), _load(builder, at, _V8I64))
                builder.store(total, slot)
        return _digest(builder, slots)

    return types.int64(ahead, types.int64, types.int64), codegen


_SIGNATURE = numba.int64(numba.int64, numba.int64, numba.int64)


@compiled(numba.int64(numba.int64, numba.int64))
def read(address, size):
    """Load ``size`` bytes, a multiple of 512."""
    return _read(AHEAD, address, size)


@compiled(_SIGNATURE)
def popcount(address, length, repeats):
    return _tile(POPCOUNT, LEVEL, SIDE, address, length, repeats)


@compiled(_SIGNATURE)
def byte_sad(address, length, repeats):
    return _tile(BYTE_SAD, LEVEL, SIDE, address, length, repeats)


@compiled(_SIGNATURE)
def byte_dot(address, length, repeats):
    return _tile(BYTE_DOT, LEVEL, SIDE, address, length, repeats)


@compiled(_SIGNATURE)
def float_fma(address, length, repeats):
    return _tile(FLOAT_FMA, LEVEL, SIDE, address, length, repeats)


@compiled(_SIGNATURE)
def float_sad(address, length, repeats):
    return _tile(FLOAT_SAD, LEVEL, SIDE, address, length, repeats)
