"""Rows that hurt bounds of inner products, on the processor as on devices."""

from __future__ import annotations

from typing import Any

import numpy as np


def turned(
    rng: np.random.Generator, sketches: np.ndarray, lo: float, step: float, towards: np.ndarray,
    reach: float,
) -> np.ndarray:  # fmt: skip
    """Rows of these sketches (n, d) that are off in the direction that hurts: ``towards`` (d,),
    away from it, or square to the row, as far as the sketch stays the same."""
    hats = lo + step * sketches
    size = np.linalg.norm(towards)
    along = towards / size if size else towards
    directions = np.tile(along, (len(hats), 1))
    for i, hat in enumerate(hats):
        square = hat @ hat
        if i % 3 and square:  # in the plane of both, square to the row: the largest turn
            directions[i] -= (along @ hat) / square * hat
        if i % 3 == 2:
            directions[i] -= 0.2 * hat / max(np.sqrt(square), 1e-300)
    directions *= rng.choice([-1, 1], (len(hats), 1))
    most = np.abs(directions).max(axis=1, keepdims=True)
    return hats + 0.499 * step * reach * directions / np.where(most, most, 1)


def residuals_that_hurt(
    seed: int, dim: int, largest: int, lo: float, step: float, off: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """(query (1, d), rows (12, d)) float32 whose residuals add up: ``off`` of the rows, and of the
    query, as a share of what a sketch allows. Residuals of random data nearly cancel."""
    rng = np.random.default_rng(seed)
    u = rng.integers(0, largest + 1, (12, dim)).astype(float)
    v = rng.integers(0, largest + 1, (1, dim)).astype(float)
    if seed % 2:
        u[::2] = v  # sketches alike, or opposite as far as they can be
        u[1::4] = largest - v
    towards = lo + step * u.mean(axis=0)
    query = turned(rng, v, lo, step, towards, off[1]) if off[1] else lo + step * v
    rows = turned(rng, u, lo, step, query[0], off[0]) if off[0] else lo + step * u
    return query.astype(np.float32), rows.astype(np.float32)


def sums_that_cancel(seed: int, dim: int, half: float) -> Any:
    """(rows (12, d), lo, step): numbers 255 times smaller than lo, and no residual at all: what is
    left is rounding, of sums of 48 bits and d of them; and rows of zeros, whose sketches are zeros
    but for that."""
    rng = np.random.default_rng(seed)
    lo, step = -half, 65793.0
    near = int(half // step)
    rows = lo + step * rng.integers(near - 1, near + 3, (12, dim))
    rows[3] = rows[4] = 0  # of a half that is 127 steps
    rows[5] = rows[0] * 3
    return rows.astype(np.float32), lo, step
