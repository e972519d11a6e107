"""How long all pairs of near rows take to find, by the package and by others.

Of **features**, all pairs within a cosine distance of each other:

- `self_join`, of an array (it makes its sketches meanwhile);
- `Index.duplicates`, of an index on disk that has them: groups; no picture is looked at;
- FAISS' `range_search` of all rows among all (`IndexFlatIP`, rows of length 1), which finds every
  pair twice and every row itself: both are left out of its pairs;
- imagededup's `CNN.find_duplicates` of encodings, where imagededup is installed and its matrix of
  all similarities fits the memory; above 10,000 rows it rounds them to float16.

Rows are the features of photos, and, where there are more rows than photos, each photo's again with
half of those of another one, drawn; or clusters, without photos. Every hundredth is a copy of
another one, with noise of 0.2%.

Of **hashes** of 64 bits, drawn, every hundredth a copy of another one with up to 6 bits turned: all
pairs that differ in 10 bits at most, which is imagededup's default, by `self_join`, FAISS
(`IndexBinaryFlat`) and imagededup's `PHash.find_duplicates`.

Ways take turns. Beside the seconds that pass stand those that processors work for a way, which
other programs disturb less.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from vsearch_fast import Index, self_join
from vsearch_fast.bench.cases import Case
from vsearch_fast.bench.data import Data
from vsearch_fast.bench.machine import available_memory
from vsearch_fast.system import average_load

#: Cosine distance of the pairs of features.
RADIUS = 0.02
#: Bits that two hashes of a pair differ in at most.
BITS = 10

_MIXED, _COPY_NOISE, _COPIES, _TURNED = 0.5, 0.002, 100, 6

#: Finds pairs, and says how many.
Way = Callable[[], int]
_LEFT_OUT: tuple[Way | None, str] = None, "it was left out (--no-imagededup)"


def rows_to_join(count: int, dim: int, features: NDArray | None) -> NDArray[np.float32]:
    """float32 (count, dim), of length 1: every hundredth is nearly another one."""
    rng = np.random.default_rng(1)
    if features is None:
        case = Case("cosine", rows=count, queries=1, dim=dim, data="clusters")
        rows = Data().load(case)[1]
    else:
        rows = np.ascontiguousarray(features[np.arange(count) % len(features)], np.float32)
        for start in range(len(features), count, 2048):
            part = rows[start : start + 2048]
            part += _MIXED * features[rng.integers(0, len(features), len(part))]
    size = float(np.sqrt(np.mean(np.square(rows[:1000]))))
    copies = np.arange(_COPIES - 1, count, _COPIES)
    noise = _COPY_NOISE * size * rng.standard_normal((len(copies), rows.shape[1]), np.float32)
    rows[copies] = rows[copies - _COPIES // 2] + noise
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def hashes_to_join(count: int) -> NDArray[np.uint8]:
    """uint8 (count, 8): every hundredth differs in up to `_TURNED` bits from another one."""
    rng = np.random.default_rng(2)
    hashes = rng.integers(0, 256, (count, 8), np.uint8)
    copies = np.arange(_COPIES - 1, count, _COPIES)
    turned = np.zeros((len(copies), 64), np.uint8)
    for _ in range(_TURNED):
        turned[np.arange(len(copies)), rng.integers(0, 64, len(copies))] = 1
    hashes[copies] = hashes[copies - _COPIES // 2] ^ np.packbits(turned, axis=1)
    return hashes


def _pairs(found: dict[Any, list[Any]]) -> int:
    """Of an answer of imagededup, which lists each pair twice."""
    return sum(map(len, found.values())) // 2


def _imagededup_of_features(rows: NDArray[np.float32]) -> tuple[Way | None, str]:
    """imagededup's way; or None, and why it is not taken."""
    try:
        import torch
        from imagededup.methods import CNN
        from imagededup.utils import CustomModel
    except ImportError:
        return None, "imagededup is not installed (pip install imagededup)"
    # Parts of the matrix, float16, stand beside the whole that is made of them.
    needed, free = 2 * 2 * len(rows) ** 2, available_memory()
    if len(rows) > 10_000 and needed > 0.9 * free:
        return None, (
            f"its matrix of all similarities takes {needed / 2**30:.0f} GiB of memory while it is "
            f"made, and {free / 2**30:.0f} are free"
        )
    own = CustomModel(name="given", model=torch.nn.Identity(), transform=np.asarray)
    finder = CNN(verbose=False, model_config=own)
    encodings = {str(number): row for number, row in enumerate(rows)}

    def find() -> int:
        with contextlib.redirect_stderr(io.StringIO()):  # its bars
            return _pairs(
                finder.find_duplicates(
                    encoding_map=encodings, min_similarity_threshold=1 - RADIUS, num_sim_workers=0
                )
            )

    return find, ""


def _imagededup_of_hashes(hashes: NDArray[np.uint8]) -> tuple[Way | None, str]:
    """imagededup's way; or None, and why it is not taken."""
    try:
        from imagededup.methods import PHash
    except ImportError:
        return None, "imagededup is not installed (pip install imagededup)"
    finder = PHash(verbose=False)
    encodings = {str(number): row.tobytes().hex() for number, row in enumerate(hashes)}

    def find() -> int:
        return _pairs(finder.find_duplicates(encoding_map=encodings, max_distance_threshold=BITS))

    return find, ""


def _work() -> float:
    """Seconds that processors have worked for this process and those that it has waited for."""
    return sum(os.times()[:4])


def _taking_turns(ways: dict[str, Way], runs: int) -> dict[str, Any]:
    """By way: seconds and seconds of work of each run, and the pairs (of `index`: groups)."""
    found: dict[str, Any] = {"seconds": {}, "work": {}, "pairs": {}, "load": []}
    for _ in range(runs):
        found["load"].append(average_load())
        for name, way in ways.items():
            gc.collect()
            began, worked = time.perf_counter(), _work()
            pairs = way()
            seconds, work = time.perf_counter() - began, _work() - worked
            found["seconds"].setdefault(name, []).append(seconds)
            found["work"].setdefault(name, []).append(work)
            found["pairs"][name] = pairs
            click.echo(f"{name:10} {seconds:8.2f} s  {work:8.2f} s  {pairs:,}", err=True)
    return found


def _with_imagededup(
    ways: dict[str, Way], runs: int, found: tuple[Way | None, str]
) -> dict[str, Any]:
    way, why_not = found
    if way is not None:
        return _taking_turns(ways | {"imagededup": way}, runs)
    return _taking_turns(ways, runs) | {"not_run": {"imagededup": why_not}}


def feature_times(
    rows: NDArray[np.float32], runs: int, threads: int, *, imagededup: bool = True
) -> dict[str, Any]:
    """The times of all ways for these features, float32 (rows, dim), of length 1."""
    import faiss

    faiss.omp_set_num_threads(threads)
    peer = faiss.IndexFlatIP(rows.shape[1])
    peer.add(rows)
    self_join(rows[:1000], RADIUS, metric="cosine", threads=threads)  # compiles

    def by_faiss() -> int:
        limits, _, _ = peer.range_search(rows, 1 - RADIUS)
        return (int(limits[-1]) - len(rows)) // 2

    def by_join() -> int:
        return len(self_join(rows, RADIUS, metric="cosine", threads=threads)[0])

    with tempfile.TemporaryDirectory() as place:
        with Index.create(Path(place) / "index", rows.shape[1]) as index:
            for start in range(0, len(rows), 4096):
                part = rows[start : start + 4096]
                index.add([str(start + number) for number in range(len(part))], part)
        with Index.open(Path(place) / "index") as index:

            def by_index() -> int:
                return len(index.duplicates(within=RADIUS, threads=threads))

            index.search(rows[:1])  # checks what is on the disk
            ways = {"self_join": by_join, "index": by_index, "faiss": by_faiss}
            return _with_imagededup(
                ways, runs, _imagededup_of_features(rows) if imagededup else _LEFT_OUT
            )


def hash_times(
    hashes: NDArray[np.uint8], runs: int, threads: int, *, imagededup: bool = True
) -> dict[str, Any]:
    """The times of all ways for these hashes, uint8 (rows, 8)."""
    import faiss

    faiss.omp_set_num_threads(threads)
    peer = faiss.IndexBinaryFlat(8 * hashes.shape[1])
    peer.add(hashes)
    self_join(hashes[:1000], BITS, metric="hamming", threads=threads)  # compiles

    def by_faiss() -> int:
        limits, _, _ = peer.range_search(hashes, BITS + 1)  # nearer than
        return (int(limits[-1]) - len(hashes)) // 2

    def by_join() -> int:
        return len(self_join(hashes, BITS, metric="hamming", threads=threads)[0])

    ways = {"self_join": by_join, "faiss": by_faiss}
    return _with_imagededup(ways, runs, _imagededup_of_hashes(hashes) if imagededup else _LEFT_OUT)
