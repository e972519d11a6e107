"""Part ``tests`` of the GPU report: devices give the processor's answers, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch_fast import Resident, Sketched
from vsearch_fast.search import topk
from vsearch_fast.words import METRICS

from .base import FULL, Bench, require_trust

#: Mismatching combinations that are named in the record; all are counted.
_NAMED = 20


def run(bench: Bench, found: dict[str, Any]) -> None:
    """All combinations of a search."""
    require_trust(bench)
    total, failed = 0, False
    for metric in METRICS:
        for dim in bench.sizes.test_dims[metric]:
            key = f"equality {metric} {dim}"
            bench.attempt(found, key, partial(equality, bench, metric, dim))
            failed |= "error" in found[key]
            total += found[key].get("mismatches", 0)
    if not failed:  # what could not be compared is not equal
        bench.bar("equality", total, bench.sizes.test_rows >= FULL.test_rows)


def equality(bench: Bench, metric: str, dim: int) -> dict[str, Any]:
    """Searches of a metric, and how many of their results differ from the processor's."""
    sizes = bench.sizes
    rows, queries = _problem(metric, sizes.test_rows, dim, max(sizes.test_queries))
    largest = min(max(sizes.test_ks), len(rows))
    searches = compared = mismatches = 0
    named: list[str] = []
    forms = list(_forms(metric, rows))
    for (array, holders), (mask_name, mask) in product(forms, _masks(len(rows))):
        # The k nearest are the first of more nearest: the processor searches once a mask.
        expected = topk(queries, array, largest, metric=metric, mask=mask, backend="cpu")  # type: ignore[call-overload]
        for (holder, database), strategy, count, k in product(
            holders.items(), ("auto", "sketch", "scan"), sizes.test_queries, sizes.test_ks
        ):
            got = topk(  # type: ignore[call-overload]
                queries[:count], database, k, metric=metric, mask=mask, backend="cuda",
                strategy=strategy,
            )  # fmt: skip
            wrong = differing(got, tuple(part[:count, :k] for part in expected))
            searches += 1
            compared += got[1].size
            mismatches += wrong
            if wrong and len(named) < _NAMED:
                named.append(
                    f"{holder}, {strategy}, {mask_name}, {count} queries, k = {k}: {wrong}"
                )
    return {
        "rows": len(rows), "dim": dim, "searches": searches, "results": compared,
        "mismatches": mismatches, "where": named,
    }  # fmt: skip


def differing(got: tuple[NDArray, ...], expected: tuple[NDArray, ...]) -> int:
    """Results (distance and id) that differ in the id or in any bit of the distance."""
    if got[1].shape != expected[1].shape:
        return max(got[1].size, expected[1].size)
    bits = [np.ascontiguousarray(part).view(np.uint8) for part in (got[0], expected[0])]
    size = got[0].dtype.itemsize
    if got[0].dtype != expected[0].dtype:
        return got[1].size
    same = (bits[0] == bits[1]).reshape(*got[0].shape, size).all(axis=-1)
    return int((~same | (got[1] != expected[1])).sum())


def _problem(metric: str, rows: int, dim: int, queries: int) -> tuple[NDArray, NDArray]:
    """(rows, queries): noise with ties, rows of zeros and subnormal numbers; half are ReLU's."""
    rng = np.random.default_rng(5)
    if metric == "hamming":
        codes = rng.integers(0, 256, (rows + queries, -(-dim // 8)), np.uint8)
        codes[7::50] = codes[3]
        return codes[:rows], codes[rows:]
    floats = rng.standard_normal((rows + queries, dim), np.float32)
    np.maximum(floats[::2], 0, out=floats[::2])
    floats[7::50] = floats[3]
    floats[11::50] *= np.float32(1e-40)  # subnormal
    floats[12::50] *= np.float32(1e-20)  # with squares that are
    floats[13::50] *= np.float32(1e-6)  # subnormal as float16
    floats[14::50] = 0
    return floats[:rows], floats[rows:]


def _masks(rows: int) -> Iterator[tuple[str, NDArray[np.bool_] | None]]:
    rng = np.random.default_rng(6)
    yield "no mask", None
    yield "half", rng.random(rows) < 0.5
    few = np.zeros(rows, np.bool_)
    few[rng.integers(0, rows, max(1, rows // 100))] = True
    yield "one in 100", few


def _forms(metric: str, rows: NDArray) -> Iterator[tuple[NDArray, dict[str, Any]]]:
    """(rows, what `topk` takes for them by name), of float32 and of float16."""
    if metric == "hamming":
        yield rows, {"array": rows, "Resident": Resident(rows)}
        return
    yield (
        rows,
        {
            "array": rows,
            "Sketched": Sketched(rows),
            "Resident": Resident(rows),
            "Resident of Sketched": Resident(Sketched(rows)),
            "Resident without vectors": Resident(rows, vectors=False),
        },
    )
    halves = rows.astype(np.float16)
    yield halves, {"float16": halves, "Resident of float16": Resident(halves)}
