"""What a filter costs: masks that keep few rows or many, of every type and layout of rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels import reference
from ..search.dispatch import topk
from ..search.sketches import Sketched
from .cases import Case, width_of
from .contenders import Answer, nearest
from .data import Data
from .measure import Say, alternate, paired_ratio
from .tables import significant

ROWS = {"hamming": 1_000_000, "l1": 20_000, "l2": 20_000}
QUERIES = (1, 64)
#: Shares of the rows that a filter keeps; 1 is no filter.
SHARES = (0.0001, 0.01, 0.5)
#: Types and layouts of float rows, and what makes them of float32.
LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {
    "float32": lambda rows: rows,
    "float16": lambda rows: rows.astype(np.float16),
    "float64": lambda rows: rows.astype(np.float64),
    "byte-swapped": lambda rows: rows.astype(">f4"),
    "strided": lambda rows: np.repeat(rows, 2, axis=1)[:, ::2],
}
#: Rows that are compared with the definition itself; more of them with our scan of their copy.
_DEFINED = 500

Search = Callable[[], Answer]


def filters(
    data: Data,
    metrics: tuple[str, ...],
    *,
    dim: int,
    bits: int | None = None,
    kind: str,
    pairs: int,
    threads: int,
    quick: bool = False,
    budget: float = 10.0,
    say: Say = lambda _: None,
    peers: tuple[str, ...] = ("numpy", "faiss"),
) -> list[dict[str, Any]]:
    """Times of searches within a filter, beside the same search of all rows, and of the peers."""
    results: list[dict[str, Any]] = []
    for metric in metrics:
        rows = max(2_000, ROWS[metric] // (10 if quick else 1))
        width = width_of(metric, kind, dim, bits)
        case = Case(metric, rows, max(QUERIES), width, data=kind)  # type: ignore[arg-type]
        queries, database = data.load(case)
        layouts = {"packed bits": LAYOUTS["float32"]} if metric == "hamming" else LAYOUTS
        for name, layout in layouts.items():
            say(f"filters: {metric}, {name}, data")
            stored = layout(database)
            forms: dict[str, Any] = {"array": stored}
            if metric != "hamming":
                forms["sketched"] = Sketched(stored, threads=threads)
            for count in QUERIES if name in ("float32", "float16", "packed bits") else QUERIES[:1]:
                results += _compared(
                    case, name, forms, stored, queries[:count], pairs, threads, budget, say, peers
                )
            del stored, forms
    return results


def _compared(
    case: Case,
    name: str,
    forms: dict[str, Any],
    stored: NDArray,
    queries: NDArray,
    pairs: int,
    threads: int,
    budget: float,
    say: Say,
    peers: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Each form of one array at all shares, and none."""
    rng = np.random.default_rng(case.seed)
    masks: dict[float, NDArray[np.bool_] | None] = {1.0: None}
    for share in SHARES:
        kept = np.zeros(len(stored), bool)
        kept[rng.choice(len(stored), max(case.k, int(share * len(stored))), replace=False)] = True
        masks[share] = kept
    searches: dict[str, Search] = {}
    for form, database in forms.items():
        for share, mask in masks.items():
            searches[f"{form} {share}"] = partial(
                topk, queries, database, case.k, metric=case.metric, mask=mask, threads=threads
            )
    for share, mask in masks.items():
        if mask is not None and name in ("float32", "packed bits"):
            for peer in peers:
                search = _PEERS[peer](case, stored, queries, mask)
                if search is not None:
                    searches[f"{peer} {share}"] = search
    first, answers = {}, {}
    for key, search in searches.items():
        say(f"filters: {case.metric}, {name}, {key}")
        search()
        answers[key] = search()
        first[key] = 1e-3
    runs = alternate(searches, pairs, budget, first, say)
    results = []
    for form, database in forms.items():
        for share, mask in masks.items():
            key = f"{form} {share}"
            record: dict[str, Any] = {
                "metric": case.metric, "data": case.data, "rows": len(stored), "dim": case.dim,
                "layout": name, "form": form, "queries": len(queries), "k": case.k,
                "share": share, "kept": len(stored) if mask is None else int(mask.sum()),
                "seconds": statistics.median(runs[key].values()),
                "ratio": paired_ratio(runs[key], runs[f"{form} 1.0"]),
                "exact": _exact(case, stored, queries, mask, answers[key]),
                "strategy": topk(
                    queries, database, case.k, metric=case.metric, mask=mask, threads=threads,
                    explain=True,
                )[2].strategy,
            }  # fmt: skip
            for peer in peers:
                if other := runs.get(f"{peer} {share}"):
                    record[peer] = paired_ratio(other, runs[key])
                    wrong = answers[f"{peer} {share}"][1] != answers[key][1]
                    record[f"{peer}_other_ids"] = int(wrong.sum())
            results.append(record)
    return results


def _exact(
    case: Case,
    stored: NDArray,
    queries: NDArray,
    mask: NDArray[np.bool_] | None,
    answer: Answer,
) -> bool:
    """Whether an answer is that of the kept rows alone, to the bit: by the definition where they
    are few, else by a scan of their copy, and the first query by the definition at their ids."""
    ids = np.arange(len(stored)) if mask is None else np.flatnonzero(mask)
    if len(ids) <= _DEFINED:
        want = reference.topk(queries, stored, case.k, case.metric, mask)
        return all(a.tobytes() == b.tobytes() for a, b in zip(answer, want, strict=True))
    kept = stored[ids]
    kept = kept if case.metric == "hamming" else np.ascontiguousarray(kept, np.float32)
    found = topk(queries, kept, case.k, metric=case.metric, strategy="scan")
    one = reference.topk(queries[:1], stored[answer[1][0]], case.k, case.metric)[0]
    return (
        answer[0].tobytes() == found[0].tobytes()
        and answer[1].tobytes() == ids[found[1]].tobytes()
        and one.tobytes() == answer[0][:1].tobytes()
    )


def _numpy(case: Case, stored: NDArray, queries: NDArray, mask: NDArray[np.bool_]) -> Search | None:
    """The kept rows gathered, and all distances of them, as it is commonly written."""
    if case.metric != "l2" and len(queries) * mask.sum() > 2_000_000:
        return None

    def search() -> Answer:
        ids = np.flatnonzero(mask)
        rows = stored[ids]
        if case.metric == "l2":
            squares = np.einsum("ij,ij->i", rows, rows) - 2 * (queries @ rows.T)
            distances = squares + np.einsum("ij,ij->i", queries, queries)[:, None]
            distances = np.sqrt(np.maximum(distances, 0))
        elif case.metric == "l1":
            distances = np.stack([np.abs(rows - query).sum(axis=1) for query in queries])
        else:
            distances = np.stack([reference.hamming(query, rows) for query in queries])
        found, places = nearest(distances, case.k)
        return found, ids[places]

    return search


def _faiss(case: Case, stored: NDArray, queries: NDArray, mask: NDArray[np.bool_]) -> Search | None:
    """A flat index with a selector; None where it has none for the metric, or is not installed."""
    if case.metric != "l2":  # neither IndexBinaryFlat nor METRIC_L1 of IndexFlat takes one
        return None
    try:
        faiss: Any = import_module("faiss")
    except ImportError:
        return None
    index = faiss.IndexFlat(stored.shape[1], faiss.METRIC_L2)
    index.add(stored)
    bits = np.packbits(mask, bitorder="little")
    selector = faiss.IDSelectorBitmap(bits)
    parameters = faiss.SearchParameters(sel=selector)

    def search() -> Answer:
        distances, ids = index.search(queries, case.k, params=parameters)
        return np.sqrt(np.maximum(distances, 0)), ids

    return search


_PEERS: dict[str, Callable[..., Search | None]] = {"numpy": _numpy, "faiss": _faiss}


def filters_table(results: list[dict[str, Any]]) -> str:
    """Times within a filter, and the peers' as multiples of ours."""
    lines = [
        "| metric | rows | queries | kept | ms | strategy | to no filter | NumPy | FAISS | exact |",
        "|---|---|--:|--:|--:|---|--:|--:|--:|---|",
    ]
    for r in results:
        others = [f"{significant(r[peer])} x" if peer in r else "" for peer in _PEERS]
        kept = "all" if r["share"] == 1 else f"{r['share']:.4g} ({r['kept']:,})"
        form = f"{r['layout']}, sketched" if r["form"] == "sketched" else r["layout"]
        lines.append(
            f"| {r['metric']} | {form} | {r['queries']} | {kept} "
            f"| {significant(r['seconds'] * 1e3)} | {r['strategy']} | {r['ratio']:.2f} x "
            f"| {' | '.join(others)} | {'yes' if r['exact'] else '**no**'} |"
        )
    return "\n".join(lines)
