"""What a distance in float32 proves of the defined one.

With u = 2**-24 and the sum of n = d/64 + 9 additions: each difference is rounded once (where it
would be subnormal it is exact), each square once more (by 2**-150 where it is subnormal), so the
sum is off by at most ``(n + 3) * u`` of itself, terms of u**2 aside, and by d * 2**-150. `rounding`
allows for ``(n + 7) * u``, more than doubles it in the second order, and d * 2**-125. A sum that
overflows bounds nothing.
"""

from __future__ import annotations

import numpy as np

from .cache import within


@within
def rounding(dim):
    """(share of a sum, what is lost besides, share of the defined distance) for ``dim`` numbers."""
    unit = (dim / 64 + 16) * 2.0**-24
    return unit * (1.0 + 2.0 * unit), dim * 2.0**-125, (dim / 32 + 16) * 2.0**-52


@within
def enclosed(near, unit, lost, gamma, squared):
    """Lower and upper bound of the defined distance, of a finite sum in float32."""
    lower, upper = near * (1.0 - unit) - lost, near * (1.0 + unit) + lost
    if squared:
        lower, upper = np.sqrt(max(lower, 0.0)), np.sqrt(upper)
    return lower * (1.0 - gamma), upper * (1.0 + gamma)
