"""Products of rows with directions: within the bound of their rounding, whatever the shapes."""

from __future__ import annotations

import numpy as np
import pytest

from vsearch_fast.kernels import projection


def projected(
    rows: np.ndarray, centre: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    tiles = projection.tiles_of(directions)
    padded = -(-len(rows) // projection.ROWS) * projection.ROWS
    numbers = np.full((padded, tiles.shape[1] * projection.WIDE), np.nan)
    squares = np.full(len(rows), np.nan)
    room = np.zeros((projection.ROWS, len(tiles) * projection.DEEP), np.float32)
    projection.project(
        rows.ctypes.data, rows.strides[0], centre, tiles, room, numbers, squares
    )  # fmt: skip
    return numbers[: len(rows), : len(directions)], squares


@pytest.mark.parametrize("dim", [1, 15, 16, 127, 128, 130, 300, 4096])
@pytest.mark.parametrize("count", [1, 3, 4, 9])
@pytest.mark.parametrize("wide", [1, 16, 40])
def test_products_are_within_the_bound_of_rounding(dim: int, count: int, wide: int) -> None:
    rng = np.random.default_rng(dim + count + wide)
    rows = (rng.standard_normal((count, 2 * dim + 1)) * 10).astype(np.float32)[:, :dim]
    centre = rng.standard_normal(dim).astype(np.float32)
    directions = rng.standard_normal((wide, dim)).astype(np.float32)
    numbers, squares = projected(rows, centre, directions)
    centred = (rows - centre).astype(np.float64)
    exact = centred @ directions.astype(np.float64).T
    sizes = np.abs(centred) @ np.abs(directions).astype(np.float64).T
    unit = projection.DEEP * 2.0**-24
    assert (np.abs(numbers - exact) <= sizes * unit / (1 - unit) + 1e-300).all()
    np.testing.assert_allclose(squares, (centred * centred).sum(axis=1), rtol=1e-13)


def test_whole_numbers_are_exact_and_rows_apart() -> None:
    """Of small whole numbers no sum is rounded; a row's numbers are the same among others."""
    rng = np.random.default_rng(0)
    rows = rng.integers(-9, 10, (10, 700)).astype(np.float32)
    centre = rng.integers(-9, 10, 700).astype(np.float32)
    directions = rng.integers(-9, 10, (33, 700)).astype(np.float32)
    numbers, squares = projected(rows, centre, directions)
    assert (numbers == (rows - centre) @ directions.T.astype(np.float64)).all()
    assert (squares == ((rows - centre) ** 2).sum(axis=1, dtype=np.float64)).all()
    noise = rng.standard_normal((10, 700)).astype(np.float32)
    together = projected(noise, centre, directions)[0]
    for row in range(10):
        alone = projected(noise[row : row + 1], centre, directions)[0]
        assert (alone == together[row : row + 1]).all()


def test_squares_beyond_float32() -> None:
    rows = np.full((2, 50), 1e30, np.float32)
    numbers, squares = projected(rows, np.zeros(50, np.float32), np.eye(3, 50, dtype=np.float32))
    wide = float(rows[0, 0])
    assert (numbers == wide).all()
    np.testing.assert_allclose(squares, 50 * wide * wide, rtol=1e-13)
