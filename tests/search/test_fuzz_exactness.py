"""Random searches against the definition, at each level of instructions, for as long as is asked.

``VSEARCH_FUZZ_SECONDS`` is the time of each level: 3 s in an ordinary run, 200 s in the full one.
``VSEARCH_FUZZ_SEED`` begins elsewhere. What was searched is printed (``pytest -s``).
"""

from __future__ import annotations

import os
import time
from collections import Counter

import numpy as np
import pytest
from processes import in_a_process

from vsearch_fast.kernels import reference
from vsearch_fast.kernels.level import supported
from vsearch_fast.search import Sketched, topk

LEVELS = [level for level in ("amx", "avx512", "avx2", "portable") if level in supported()]


def values(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """float64 rows of some kind: smooth, sparse, whole, constant, tied, huge or tiny."""
    kind = rng.integers(8)
    made = rng.standard_normal((rows, dim))
    if kind == 1:
        made = np.maximum(made - 1, 0)  # as after a ReLU
    elif kind == 2:
        made = rng.integers(-2, 3, (rows, dim)).astype(float)
    elif kind == 3:
        made[:] = made[:1]  # all rows the same
    elif kind == 4:
        made[:, rng.random(dim) < 0.7] = rng.standard_normal()  # constant columns
    elif kind == 5:
        made = made[rng.integers(0, max(1, rows // 4), rows)]  # ties
    elif kind == 6:
        made += 1000 * rng.standard_normal()
    elif kind == 7:
        made *= 10.0 ** rng.integers(-9, 9, (rows, 1))
    return made * 10.0 ** rng.choice([0, 0, 0, -40, -20, 20, 28])


def laid_out(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """The same numbers, elsewhere in memory."""
    way = rng.integers(5)
    if way == 1:
        return np.asfortranarray(array)
    if way == 2:
        wide = np.zeros((2 * len(array), array.shape[1] + 3), array.dtype)
        wide[::2, 1:-2] = array
        return wide[::2, 1:-2]
    if way == 3:
        return array[::-1].copy()[::-1]
    if way == 4:
        return array.astype(array.dtype.newbyteorder())
    return array


def one_search(rng: np.random.Generator) -> tuple[str, ...]:
    """A random search, compared; returns what it was of."""
    metric = str(rng.choice(["l2", "l1", "hamming"]))
    dim = int(rng.choice([rng.integers(1, 70), rng.integers(70, 700), rng.integers(700, 5001)]))
    rows = int(min(rng.choice([rng.integers(0, 40), rng.integers(40, 3000)]), 1.5e6 // dim + 1))
    count = int(rng.choice([1, rng.integers(1, 12), rng.integers(12, 140)]))  # type: ignore[arg-type]
    count = max(1, min(count, int(2e7 // (dim * max(rows, 1)))))
    pool = values(rng, rows + count, dim)
    queries, database = pool[rows:], pool[:rows]
    if rows and rng.random() < 0.5:
        queries = database[rng.integers(0, rows, count)]
    kinds = ("float32", "float32", "float16", "float64")
    if metric == "hamming":
        queries, database = reference.pack_bits(queries), reference.pack_bits(database)
        kind = "uint8"
    else:
        with np.errstate(all="ignore"):
            queries = queries.astype(kinds[rng.integers(4)])
            database = database.astype(kinds[rng.integers(4)])
            for array in (queries, database):
                array[~np.isfinite(array.astype(np.float32))] = 1  # beyond the type
        kind = database.dtype.name
    mask = None if rng.random() < 0.6 else rng.random(rows) < rng.choice([0.0, 0.1, 0.5, 0.95])
    k = int(rng.choice([1, 10, rng.integers(1, 200), rows + 5]))  # type: ignore[arg-type]
    strategy = str(rng.choice(["auto", "scan", "sketch"]))
    want = reference.topk(queries, database, k, metric, mask)
    placed = laid_out(rng, database)
    searched = Sketched(placed) if metric != "hamming" and rng.random() < 0.5 else placed
    got = topk(
        laid_out(rng, queries), searched, k, metric=metric, mask=mask, strategy=strategy,  # type: ignore[call-overload]
        threads=int(rng.integers(1, 4)),
    )  # fmt: skip
    for ours, defined in zip(got, want, strict=True):
        assert ours.dtype == defined.dtype and np.array_equal(ours, defined)
    return metric, kind, strategy


def fuzz(seconds: float, seed: int) -> Counter[str]:
    """Searches until the time is over; the count of each kind."""
    counts: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            done = one_search(np.random.default_rng(seed))
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
        counts.update(["searches", *done])
        seed += 1
    return counts


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("long", [False, pytest.param(True, marks=pytest.mark.full)])
def test_random_searches_equal_the_definition(level, long):
    seconds = os.environ.get("VSEARCH_FUZZ_SECONDS") or ("200" if long else "3")
    seed = os.environ.get("VSEARCH_FUZZ_SEED", "1000000" if long else "0")
    code = f"from test_fuzz_exactness import fuzz; print(dict(fuzz({seconds}, {seed})))"
    here = os.path.dirname(__file__)
    printed = in_a_process(f"import sys; sys.path.insert(0, {here!r}); {code}", VSEARCH_SIMD=level)
    print(f"{level}: {printed}")
    assert "'searches'" in printed
