"""Rows of few numbers that are never farther apart than the rows they stand for.

L2. For directions P with orthonormal rows, ``|q - x|**2 >= |P q - P x|**2 + (r(q) - r(x))**2``
with the residuals ``r(x)**2 = |x|**2 - |P x|**2``. Any vector may be taken off all rows first.

L1. For numbers in disjoint groups, each with a sign, ``|q - x|_1 >= sum over groups
|sum of signed (q_i - x_i)|``.

What is here adds up signed groups; `projection` multiplies with directions. `search.reductions`
says how directions and groups are found, and kernels/README.md proves what rounding may do.
"""

from __future__ import annotations

import numba

from .cache import compiled
from .sketch import _as_floats

_F64, _I32, _I64 = numba.float64, numba.int32, numba.int64


@compiled(
    numba.void(
        numba.intp, numba.intp,  # rows: address, stride in bytes
        numba.types.Array(_I32, 1, "C", readonly=True),
        numba.types.Array(_F64, 1, "C", readonly=True),
        numba.types.Array(_F64, 2, "C"), numba.types.Array(_F64, 1, "C"),
    )
)  # fmt: skip
def group_sums(row_base, row_stride, groups, signs, sums, sizes):
    """Sums of signed numbers by group, of float32 rows.

    ``groups`` int32 and ``signs`` float64 (1 or -1), ``(d,)``, say where each number goes.
    ``sums`` ``(n, groups)`` receives the sums, each added up in order, and ``sizes`` ``(n,)``
    the sums of absolute numbers.
    """
    dim = len(groups)
    for row in range(len(sums)):
        values = numba.carray(_as_floats(row_base + row * row_stride), dim)
        for group in range(sums.shape[1]):
            sums[row, group] = 0.0
        size = 0.0
        for i in range(dim):
            value = float(values[i])
            sums[row, groups[i]] += signs[i] * value
            size += abs(value)
        sizes[row] = size
