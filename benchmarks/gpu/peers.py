"""Part ``peers`` of the GPU report: other libraries' exact search on the same data and GPU.

A peer has the database on the device beforehand, in its own form; what it makes of it is not
timed. Its time runs, as ours, from queries on the host to the answer there. Memory of scores
bounds the blocks of rows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch_fast.bench.cases import Case
from vsearch_fast.search import topk

from .base import BARS, FULL, Bench, case_of, release, require_trust
from .kernels import resident_of

Answer = tuple[NDArray, NDArray]
Search = Callable[[NDArray], Answer]

#: Rows that are scored, and sent, at a time; queries of a product.
_BLOCK_ROWS = 65_536
_BLOCK_QUERIES = 1024
#: Where PyTorch works; tests may say "cpu".
TORCH_DEVICE = "cuda"


class Absent(Exception):
    """A peer that is not installed, or not for GPUs."""


def run(bench: Bench, found: dict[str, Any]) -> None:
    """Every metric: ours and each peer in turn; then L2 by batches."""
    require_trust(bench)
    for metric in ("hamming", "l2", "l1", "cosine", "ip"):
        _one_metric(bench, found, metric)
        release()  # of a database that nothing holds any more
    for rows, dim, kind in bench.sizes.versus:
        _by_batches(bench, found, rows, dim, kind)
        release()


def _one_metric(bench: Bench, found: dict[str, Any], metric: str) -> None:
    case = case_of(bench, metric, bench.sizes.peer_rows[metric], bench.sizes.queries[metric])
    keys = {name: f"{name} {metric}" for name, (metrics, _) in PEERS.items() if metric in metrics}
    if all(key in found for key in keys.values()):
        return
    queries, database = bench.data.load(case)
    ours = _ours(database, case)
    for name, key in keys.items():
        work = partial(compared, case, queries, database, ours, PEERS[name][1], bench.sizes.repeats)
        bench.attempt(found, key, work)
        # Where most distances are others, a time is no peer's.
        if name == "PyTorch" and found[key].get("same_distances", 0) > 0.99:
            whole = case.rows >= FULL.peer_rows[metric] and case.dim == FULL.dim
            bench.bar(f"torch_{metric}", found[key]["ratio"], whole)
            bench.save()


def _by_batches(bench: Bench, found: dict[str, Any], rows: int, dim: int, kind: str) -> None:
    sizes = bench.sizes
    case = Case("l2", rows, max(sizes.versus_batches), dim, min(sizes.k, rows), kind)
    keys = {
        name: f"{name} l2 {rows} x {dim}" for name, (metrics, _) in PEERS.items() if "l2" in metrics
    }
    if all(key in found for key in keys.values()):
        return
    queries, database = bench.data.load(case)
    ours = _ours(database, case)
    for name, key in keys.items():
        work = partial(
            by_batches, case, sizes.versus_batches, queries, database, ours, PEERS[name][1],
            sizes.repeats,
        )  # fmt: skip
        bench.attempt(found, key, work)
        for batch in sizes.versus_batches if name == "certex" else ():
            result, bar = found[key].get(str(batch), {}), f"certex_{dim}_{batch}"
            if bar in BARS and result.get("same_distances", 0) > 0.99:
                bench.bar(bar, result["ratio"], (rows, dim, kind) in FULL.versus)
        bench.save()


def _ours(database: NDArray, case: Case) -> Search:
    there = resident_of(database)

    def search(queries: NDArray) -> Answer:
        return topk(queries, there, case.k, metric=case.metric, backend="cuda")

    return search


def compared(
    case: Case,
    queries: NDArray,
    database: NDArray,
    ours: Search,
    make: Callable[[NDArray, Case], Search],
    repeats: int,
) -> dict[str, Any]:
    """`in_turn` with a peer that is made of the database, or why it is absent."""
    try:
        theirs = make(database, case)
    except Absent as absent:
        return {"absent": str(absent)}
    return in_turn(case, queries, ours, theirs, repeats)


def by_batches(
    case: Case,
    batches: Sequence[int],
    queries: NDArray,
    database: NDArray,
    ours: Search,
    make: Callable[[NDArray, Case], Search],
    repeats: int,
) -> dict[str, Any]:
    """`in_turn` of the first so many queries, by their number; the peer is made once."""
    try:
        theirs = make(database, case)
    except Absent as absent:
        return {"absent": str(absent)}
    return {
        str(batch): in_turn(replace(case, queries=batch), queries[:batch], ours, theirs, repeats)
        for batch in batches
    }


def in_turn(
    case: Case, queries: NDArray, ours: Search, theirs: Search, repeats: int
) -> dict[str, Any]:
    """Runs in turn, every second round in reverse; times in seconds.

    Returns:
        ``ratio``: the median over rounds of the peer's time by ours. ``same_distances``: the
        share of its distances that are ours (to 1 in 1,000 of L1 and L2).
    """
    answers = [ours(queries), theirs(queries)]  # also the warm-up
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            start = time.perf_counter()
            (ours, theirs)[which](queries)
            times[which].append(time.perf_counter() - start)
    near = np.isclose(answers[1][0], answers[0][0], rtol=0 if case.metric == "hamming" else 1e-3)
    return {
        **case.as_dict(),
        "ours_s": statistics.median(times[0]),
        "theirs_s": statistics.median(times[1]),
        "times_s": times,
        "ratio": statistics.median(b / a for a, b in zip(*times, strict=True)),
        "same_distances": float(near.mean()),
        "same_ids": float((answers[0][1] == answers[1][1]).mean()),
    }


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise Absent(f"{name} cannot be imported: {error}") from error


def _cut(rows: NDArray) -> Iterator[tuple[int, NDArray]]:
    for start in range(0, len(rows), _BLOCK_ROWS):
        yield start, rows[start : start + _BLOCK_ROWS]


# PyTorch


def _torch() -> Any:
    torch = _module("torch")
    if TORCH_DEVICE == "cuda" and not torch.cuda.is_available():
        raise Absent("PyTorch sees no CUDA device")
    torch.backends.cuda.matmul.allow_tf32 = False
    # Sums of 4096 terms of +-1 are even and so exact in fp16; partial sums must not be rounded.
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    return torch


def _torch_search(
    torch: Any,
    database: NDArray,
    k: int,
    prepare: Callable[[Any], Any],
    scores: Callable[[Any, Any], Any],
    distances: Callable[[Any, Any], Any],
    largest: bool = False,
) -> Search:
    """Scores by blocks, the k least (or largest) of each, and of these the k least.

    ``distances`` makes what is left of scores distances, given the queries as prepared.
    """
    blocks = [
        (start, prepare(torch.from_numpy(rows).to(TORCH_DEVICE))) for start, rows in _cut(database)
    ]

    def search(queries: NDArray) -> Answer:
        parts = [_some(queries[start : start + _BLOCK_QUERIES])
                 for start in range(0, len(queries), _BLOCK_QUERIES)]  # fmt: skip
        return np.concatenate([d for d, _ in parts]), np.concatenate([i for _, i in parts])

    def _some(queries: NDArray) -> Answer:
        some = prepare(torch.from_numpy(queries).to(TORCH_DEVICE))
        values, ids = [], []
        for start, block in blocks:
            best = scores(some, block).topk(min(k, _length(block)), largest=largest)
            values.append(best.values)
            ids.append(best.indices + start)
        best = torch.cat(values, 1).topk(k, largest=largest)
        return (
            distances(some, best.values).cpu().numpy(),
            torch.cat(ids, 1).gather(1, best.indices).cpu().numpy(),
        )

    return search


def _length(block: Any) -> int:
    return len(block[0] if isinstance(block, tuple) else block)


def _torch_hamming(database: NDArray, case: Case) -> Search:
    """The product of signs in fp16, which tensor cores compute: d - 2 x the distance."""
    torch = _torch()

    def signs(codes: Any) -> Any:
        shifts = torch.arange(7, -1, -1, device=codes.device, dtype=torch.uint8)
        bits = (codes[:, :, None] >> shifts) & 1
        return bits.reshape(len(codes), -1).half() * 2 - 1

    bits = database.shape[1] * 8  # padding bits are equal everywhere
    return _torch_search(
        torch, database, case.k, signs,
        lambda q, rows: q @ rows.T,
        lambda q, scores: (bits - scores.float()) / 2,
        largest=True,
    )  # fmt: skip


def _torch_l1(database: NDArray, case: Case) -> Search:
    torch = _torch()
    return _torch_search(
        torch, database, case.k, lambda rows: rows,
        lambda q, rows: torch.cdist(q, rows, p=1.0),
        lambda q, scores: scores,
    )  # fmt: skip


def _torch_l2(database: NDArray, case: Case) -> Search:
    """fp32 without TF32: |x|^2 - 2 q x, and |q|^2 for the few that are left."""
    torch = _torch()

    def with_norms(rows: Any) -> Any:
        return rows, (rows * rows).sum(1)

    def scores(q: Any, rows: Any) -> Any:
        return torch.addmm(rows[1][None], q[0], rows[0].T, alpha=-2)

    return _torch_search(
        torch, database, case.k, with_norms, scores,
        lambda q, found: (found + q[1][:, None]).clamp(min=0).sqrt(),
    )  # fmt: skip


def _torch_peer(database: NDArray, case: Case) -> Search:
    make = {"hamming": _torch_hamming, "l1": _torch_l1, "l2": _torch_l2}[case.metric]
    return make(database, case)


# FAISS, cuVS, certex


def _faiss(database: NDArray, case: Case) -> Search:
    faiss = _module("faiss")
    if not hasattr(faiss, "StandardGpuResources"):
        raise Absent("this FAISS is built without GPUs")
    resources = faiss.StandardGpuResources()
    if case.metric == "hamming":
        index = faiss.GpuIndexBinaryFlat(resources, database.shape[1] * 8)
    else:
        metric = faiss.METRIC_L1 if case.metric == "l1" else faiss.METRIC_L2
        index = faiss.GpuIndexFlat(resources, database.shape[1], metric)
    for _, rows in _cut(database):
        index.add(rows)

    def search(queries: NDArray) -> Answer:
        distances, ids = index.search(queries, case.k)
        return np.sqrt(np.maximum(distances, 0)) if case.metric == "l2" else distances, ids

    search.keeps = resources  # type: ignore[attr-defined]  # for as long as the index lives
    return search


def _cuvs(database: NDArray, case: Case) -> Search:
    brute_force = _module("cuvs.neighbors.brute_force")
    cupy = _module("cupy")
    rows = cupy.empty(database.shape, np.float32)
    for start, some in _cut(database):
        rows[start : start + len(some)].set(some)
    index = brute_force.build(rows, metric="l1" if case.metric == "l1" else "euclidean")

    def search(queries: NDArray) -> Answer:
        distances, ids = brute_force.search(index, cupy.asarray(queries), case.k)
        return cupy.asnumpy(cupy.asarray(distances)), cupy.asnumpy(cupy.asarray(ids))

    search.keeps = rows  # type: ignore[attr-defined]  # the index refers to them
    return search


def _certex(database: NDArray, case: Case) -> Search:
    """By certified exclusion, arXiv 2610.21325. As version 0.1.0 documents `certex.Index`, it gives
    squared distances, ascending; or cosines or inner products, descending. float32 arrays of NumPy
    in, of NumPy out."""
    certex = _module("certex")
    index = certex.Index(dim=database.shape[1], metric=case.metric)
    for _, rows in _cut(database):
        index.add(rows)

    def search(queries: NDArray) -> Answer:
        found, ids = index.search(queries, k=case.k)
        found = np.asarray(found)
        if case.metric == "l2":
            return np.sqrt(np.maximum(found, 0)), np.asarray(ids)
        return (1 - found if case.metric == "cosine" else -found), np.asarray(ids)

    return search


PEERS: dict[str, tuple[tuple[str, ...], Callable[[NDArray, Case], Search]]] = {
    "PyTorch": (("hamming", "l1", "l2"), _torch_peer),
    "FAISS": (("hamming", "l1", "l2"), _faiss),
    "cuVS": (("l1", "l2"), _cuvs),
    "certex": (("l2", "cosine", "ip"), _certex),
}
