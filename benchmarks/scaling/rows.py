"""Rows and indexes that the sections measure, made by rules that know no chance but their seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vsearch_fast.checks import Scalar
from vsearch_fast.index import Index

Say = Callable[[str], None]

#: Directions that matter, as few as in features of photos.
_FACTORS = 40

#: Rows that are drawn together.
_RUN = 1024


class Rows:
    """Rows like features: few directions that matter, noise, and zeros where a ReLU leaves them.

    Row n is the same however many there are.
    """

    def __init__(self, dim: int) -> None:
        rng = np.random.default_rng(1)
        self.dim = dim
        self._turn = rng.standard_normal((_FACTORS, dim), np.float32)
        self._noise = rng.standard_normal((4096, dim), np.float32)

    def block(self, start: int, count: int) -> np.ndarray:
        """float32 (count, dim): rows start, start + 1, ..."""
        first, last = start // _RUN, -(-(start + count) // _RUN)
        drawn = [self._run(run) for run in range(first, last)]
        rows = np.concatenate(drawn) if len(drawn) > 1 else drawn[0]
        return rows[start - first * _RUN :][:count]

    def _run(self, run: int) -> np.ndarray:
        rng = np.random.default_rng([2, run])
        rows = rng.standard_normal((_RUN, _FACTORS), np.float32) @ self._turn
        # The same noise again and again, to other factors: to draw all of it would take longest.
        rows += self._noise[rng.integers(0, len(self._noise), _RUN)]
        return np.maximum(rows, 0, out=rows)

    def queries(self, count: int) -> np.ndarray:
        """float32 (count, dim): of the same kind, none of them a row."""
        return self.block(1 << 40, count)


def grow(
    folder: Path, rows: int, dim: int, *, dtype: str = "float16", step: int = 8192,
    first: int = 0, say: Say = lambda _: None, segment_rows: int | None = None,
) -> None:  # fmt: skip
    """Have an index of so many rows in a folder, going on with one that has fewer. Its rows are
    those from `first` on, each an item of three columns."""
    made = Rows(dim)
    with Index.create(
        folder, dim, dtype=dtype, model_id="scale", exist_ok=True, segment_rows=segment_rows
    ) as index:
        for start in range(len(index), rows, step):
            count = min(step, rows - start)
            numbers = range(first + start, first + start + count)
            items: list[dict[str, Scalar]] = [
                {"kind": f"{n % 1000}", "price": n % 17, "new": n % 2 == 0} for n in numbers
            ]
            index.add([f"{n:010}" for n in numbers], made.block(first + start, count), items)
            if start // step % 16 == 0:
                say(f"{folder.name}: {start + count:,} of {rows:,} rows")
