"""8-bit sketches of float vectors, and the bounds on true distances that they prove.

A row x is sketched as bytes u with ``x_hat = lo + step * u``, and keeps the norms of what that
leaves out: e1 = |x - x_hat| summed, e2 its Euclidean norm. Rows that share (lo, step) with a
query's sketch v are compared in whole numbers, since lo cancels: the distance of the sketches
is ``step * sum |u - v|`` (L1) or ``step * sqrt(sum (u - v)**2)`` (L2), and by the triangle
inequality the true distance lies within e(q) + e(x) of it. Whatever the data and (lo, step),
the bounds hold; poor ones only leave more candidates.

Rounding. step has 24 bits, so that ``step * u`` is exact; ``x - lo`` is off by up to 2**-53 of
itself, thus of at most ``256 * step`` and the residual; the sums of d residuals by
``d * 2**-53`` of themselves. `sketch_rows` rounds e1 and e2 up by more than all of these. The
defined distance is rounded too: by at most ``(d/32 + 16) * 2**-53`` of itself (`rounding`),
which `bounds` takes off and puts on. See kernels/README.md for the proof in full.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from .cache import compiled
from .layout import E1, E2, FACTS, width_of
from .simd import _const, _intrinsic, _load

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_F64 = ir.DoubleType()
_EIGHT_F32, _EIGHT = ir.VectorType(ir.FloatType(), 8), ir.VectorType(_F64, 8)
_STEP = 8
_TO_WHOLE = 1.5 * 2.0**52  # added and taken off again: rounds to the nearest whole number


@intrinsic
def _sketch_whole(typingctx, x, count, lo, step, inverse, out, sums):
    """Sketch ``count`` float32 (a multiple of 8) at ``x`` to bytes at ``out``.

    ``sums`` is the address of four float64 that receive the sum of residuals, of their
    squares, of u and of u**2.
    """

    def codegen(context, builder, signature, args):
        x, count, lo, step, inverse, out, sums = args
        source, target = (builder.inttoptr(a, _I8.as_pointer()) for a in (x, out))

        def splat(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(_EIGHT, ir.Undefined), value, _I32(0))
            return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, 8), [0] * 8))

        def constant(value: float) -> ir.Constant:
            return ir.Constant(_EIGHT, [value] * 8)

        lows, steps, inverses = splat(lo), splat(step), splat(inverse)
        absolute = _intrinsic(builder, "fabs", _EIGHT, "v8f64")
        slots = [cgutils.alloca_once_value(builder, ir.Constant(_EIGHT, None)) for _ in range(4)]
        loop = cgutils.for_range_slice(builder, _const(0), count, _const(_STEP), intp=_I64)
        with loop as (i, _):
            values = _load(builder, source, builder.mul(i, _const(4)), _EIGHT_F32)
            shifted = builder.fsub(builder.fpext(values, _EIGHT), lows)
            scaled = builder.fmul(shifted, inverses)
            # NaN compares false and becomes 255; its residual says what it is.
            for limit, order in ((255.0, "<"), (0.0, ">")):
                inside = builder.fcmp_ordered(order, scaled, constant(limit))
                scaled = builder.select(inside, scaled, constant(limit))
            whole = builder.fsub(builder.fadd(scaled, constant(_TO_WHOLE)), constant(_TO_WHOLE))
            number = builder.fptosi(whole, ir.VectorType(_I32, 8))
            place = builder.gep(target, [i])
            eight = ir.VectorType(_I8, 8)
            builder.store(
                builder.trunc(number, eight), builder.bitcast(place, eight.as_pointer()), align=1
            )
            residual = builder.fsub(shifted, builder.fmul(steps, whole))
            terms = (
                builder.call(absolute, [residual]),
                builder.fmul(residual, residual),
                whole,
                builder.fmul(whole, whole),
            )
            for slot, term in zip(slots, terms, strict=True):
                builder.store(builder.fadd(builder.load(slot), term), slot)
        for j, slot in enumerate(slots):
            total = builder.load(slot)
            for half in (4, 2, 1):
                order = ir.Constant(ir.VectorType(_I32, 8), [(i + half) % 8 for i in range(8)])
                total = builder.fadd(total, builder.shuffle_vector(total, total, order))
            address = builder.inttoptr(builder.add(sums, _const(8 * j)), _F64.as_pointer())
            builder.store(builder.extract_element(total, _I32(0)), address)
        return _const(0)

    floats = (types.float64,) * 3
    signature = types.intp(types.intp, types.intp, *floats, types.intp, types.intp)
    return signature, codegen


@intrinsic
def _as_floats(typingctx, address):
    """The address as a pointer to float32."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.intp), codegen


@compiled(
    numba.int64(
        numba.intp, numba.intp, numba.intp,  # rows: address, stride in bytes, numbers a row
        numba.float64, numba.float64,  # lo, step
        numba.types.Array(numba.uint8, 2, "C"), numba.types.Array(numba.float64, 2, "C"),
    )
)  # fmt: skip
def sketch_rows(row_base, row_stride, dim, lo, step, sketches, facts):
    """Sketch float32 rows: bytes into ``sketches`` ``(n, width_of(dim))``, and their `facts`
    ``(n, 4)``: e1 and e2 rounded up, sums of u and u**2.

    ``lo`` and ``step`` are float64, ``step`` positive and of at most 24 significant bits.
    Returns -1, or the first row that holds NaN or infinity; such rows have facts that are not
    finite.
    """
    first_bad = -1
    sums = np.empty(4)
    rest = np.empty(8, np.float32)
    rest_bytes = np.empty(8, np.uint8)
    sums_at, rest_at, bytes_at = sums.ctypes.data, rest.ctypes.data, rest_bytes.ctypes.data
    inverse = 1.0 / step
    whole = dim // 8 * 8
    relative = 1.0 + (dim + 16) * 2.0**-52
    slack = 2.0**-52 * 256.0 * step
    for row in range(len(sketches)):
        source = row_base + row * row_stride
        out = sketches[row].ctypes.data
        for i in range(dim, sketches.shape[1]):
            sketches[row, i] = 0
        _sketch_whole(source, whole, lo, step, inverse, out, sums_at)
        e1, e2, total, squares = sums[0], sums[1], sums[2], sums[3]
        if whole < dim:
            values = numba.carray(_as_floats(source + 4 * whole), dim - whole)
            for i in range(8):
                rest[i] = values[i] if i < dim - whole else np.float32(lo)
            _sketch_whole(rest_at, 8, lo, step, inverse, bytes_at, sums_at)
            # Each number for itself: the padding has a residual where lo is no float32.
            for i in range(dim - whole):
                u = float(rest_bytes[i])
                residual = (float(rest[i]) - lo) - step * u
                e1 += abs(residual)
                e2 += residual * residual
                total += u
                squares += u * u
                sketches[row, whole + i] = rest_bytes[i]
        e2 = np.sqrt(e2)
        facts[row, 0] = (e1 * relative + slack * dim) * (1.0 + 2.0**-50)
        facts[row, 1] = (e2 * relative + slack * np.sqrt(float(dim))) * (1.0 + 2.0**-50)
        facts[row, 2] = total
        facts[row, 3] = squares
        if first_bad < 0 and not e2 < np.inf:
            first_bad = row
    return first_bad


@numba.njit(inline="always")
def bounds(sketched, errors, gamma):
    """(lower, upper) bounds on the defined distance; lower is at least 0.

    ``sketched`` is the distance of the sketches (off by at most 2**-52 of itself), ``errors``
    e(q) + e(x), ``gamma`` of `rounding`. Errors that are not finite exclude nothing: lower is 0.

    Each of the few roundings here is at most 2**-53 of its result, which the factors of
    ``1 +- 2**-50`` more than cover: nothing comes near the numbers that are too small for that
    (a residual of float32 numbers is zero or above 1e-60).
    """
    lower = sketched * (1.0 - 2.0**-50) - errors * (1.0 + 2.0**-50)
    upper = (sketched + errors) * (1.0 + 2.0**-49 + 2.0 * gamma)
    if lower > 0.0:
        return lower * (1.0 - 2.0**-50 - 2.0 * gamma), upper
    return 0.0, upper


#: Shares of the numbers that are clipped on either side, of which `choose` takes the best.
_CLIPPED = (0.0, 2e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
_KEPT = 0.9  # of a sample's rows: the few that clip hardest are candidates anyway


def _rounded_step(step: float) -> float:
    """Up to 24 significant bits, so that whole multiples up to 255 are exact in float64."""
    mantissa, exponent = np.frexp(step)
    return float(np.ldexp(np.ceil(mantissa * 2.0**24), exponent - 24))


def residual(sample: NDArray[np.float32], lo: float, step: float) -> float:
    """Mean size of a number's residual under (lo, step), in all but the worst rows.

    The largest of those counts, not their average: rows of large residuals are the candidates.
    """
    sketches = np.empty((len(sample), width_of(sample.shape[1])), np.uint8)
    facts = np.empty((len(sample), FACTS))
    base = sample.__array_interface__["data"][0]
    sketch_rows(base, sample.strides[0], sample.shape[1], lo, step, sketches, facts)
    dim = max(1, sample.shape[1])
    sizes = np.sort(facts[:, E1] / dim + facts[:, E2] / np.sqrt(dim))
    return float(sizes[int(_KEPT * (len(sizes) - 1))])


def choose(sample: NDArray[np.float32]) -> tuple[float, float]:
    """(lo, step) for rows like these, C-contiguous ``(n, d)``: the least residuals.

    Candidates, not clipping, are what counts: of ranges that clip a share of the numbers on
    both sides the one with the smallest residual norms is taken. A ReLU's many zeros are the
    low end of every range, and so have no residual at all.
    """
    finite = np.isfinite(sample).all(axis=1)
    sample = sample[finite] if not finite.all() else sample
    if sample.size == 0:
        return 0.0, 1.0
    last = sample.size - 1
    cuts = [int(share * last) for share in _CLIPPED]
    values = np.partition(sample, [*cuts, *(last - cut for cut in cuts)], axis=None)
    best = None
    tried = set()
    for cut in cuts:
        lo, high = float(values[cut]), float(values[last - cut])
        if (lo, high) in tried:
            continue
        tried.add((lo, high))
        step = _rounded_step((high - lo) / 255) if high > lo else 1.0
        found = residual(sample, lo, step), lo, step
        if best is None or found < best:
            best = found
    assert best is not None
    return best[1], best[2]
