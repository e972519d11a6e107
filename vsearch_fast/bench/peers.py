"""Other libraries' exact search, each used as its documentation advises, where installed.

Every peer gets the database beforehand (what it builds of it is not timed) and as many threads
as all others; `load` sets them. Each returns plain distances, nearest first.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cases import Case
from .contenders import (
    DEFINITION,
    MATRIX_PRODUCT,
    PRODUCT,
    Answer,
    Contender,
    Search,
    merged,
    nearest,
    unit_rows,
)

#: Rows a task of those peers that give distances alone: 256 queries' distances to them stay
#: in the cache until the smallest are chosen. Of 2,048 to 150,000 the fastest with NumKong
#: (two cores with AVX-512), by four times over one half of the database for each thread.
_BLOCK = 4096

#: What OpenBLAS calls the kernels that it falls back to on a processor it does not know.
_OLD = ("Barcelona", "Prescott", "Core2", "Nehalem", "Generic", "generic")


def _faiss_hamming(database: NDArray, case: Case, threads: int) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexBinaryFlat(8 * database.shape[1])
    index.add(database)
    return lambda queries: index.search(queries, case.k)


def _faiss_flat(database: NDArray, case: Case, threads: int) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    if case.metric == "l1":
        index = faiss.IndexFlat(database.shape[1], faiss.METRIC_L1)
    else:
        index = faiss.IndexFlatL2(database.shape[1])
    index.add(database)

    def search(queries: NDArray) -> Answer:
        distances, ids = index.search(queries, case.k)
        return distances if case.metric == "l1" else np.sqrt(np.maximum(distances, 0)), ids

    return search


def _faiss_product(database: NDArray, case: Case, threads: int) -> Search:
    """Of the cosine its documentation says: inner products of rows of length 1."""
    import faiss

    faiss.omp_set_num_threads(threads)
    cosine = case.metric == "cosine"
    index = faiss.IndexFlatIP(database.shape[1])
    index.add(unit_rows(database) if cosine else database)

    def search(queries: NDArray) -> Answer:
        products, ids = index.search(unit_rows(queries) if cosine else queries, case.k)
        return np.float32(cosine) - products, ids

    return search


def _usearch(database: NDArray, case: Case, threads: int) -> Search:
    from usearch.index import MetricKind, search

    # No dtype: USearch then takes uint8 rows of Hamming for packed bits. With dtype="u8" it
    # counts differing bytes.
    metric = {
        "hamming": MetricKind.Hamming, "l2": MetricKind.L2sq, "cosine": MetricKind.Cos,
        "ip": MetricKind.IP,
    }[case.metric]  # fmt: skip

    def answer(queries: NDArray) -> Answer:
        found = search(database, queries, case.k, metric, exact=True, threads=threads)
        distances = np.asarray(found.distances).reshape(len(queries), -1)
        ids = np.asarray(found.keys).reshape(len(queries), -1).astype(np.int64)
        if case.metric == "l2":
            distances = np.sqrt(distances)
        elif case.metric == "ip":  # it gives 1 less the product
            distances = distances - 1
        return distances, ids

    return answer


def _in_blocks(
    blocks: Sequence[tuple[int, Any]],
    distances: Callable[[NDArray, Any], NDArray],
    case: Case,
    threads: int,
) -> Search:
    """Search by a function that gives all distances to a block of rows."""
    pool = ThreadPoolExecutor(threads)

    def search(queries: NDArray) -> Answer:
        def best(block: tuple[int, Any]) -> Answer:
            return nearest(distances(queries, block[1]), case.k, block[0])

        return merged(list(pool.map(best, blocks)), case.k)

    return search


def _cut(database: NDArray, threads: int) -> Iterator[tuple[int, NDArray]]:
    rows = max(1, min(_BLOCK, -(-len(database) // threads)))
    for start in range(0, len(database), rows):
        yield start, database[start : start + rows]


def _numkong(database: NDArray, case: Case, threads: int) -> Search:
    import numkong

    pack = numkong.hammings_pack if case.metric == "hamming" else numkong.dots_pack
    compare = {
        "hamming": numkong.hammings_packed, "l2": numkong.euclideans_packed,
        "cosine": numkong.angulars_packed, "ip": numkong.dots_packed,
    }[case.metric]  # fmt: skip
    sign = -1 if case.metric == "ip" else 1
    blocks = [(start, pack(rows)) for start, rows in _cut(database, threads)]
    return _in_blocks(blocks, lambda q, rows: np.asarray(compare(q, rows)) * sign, case, threads)


def _scikit_learn(database: NDArray, case: Case, threads: int) -> Search:
    from sklearn.neighbors import NearestNeighbors

    metric = {"l1": "manhattan", "l2": "euclidean", "cosine": "cosine"}[case.metric]
    model = NearestNeighbors(
        n_neighbors=min(case.k, len(database)), algorithm="brute", metric=metric, n_jobs=threads
    ).fit(database)
    return lambda queries: model.kneighbors(queries)


def _scipy(database: NDArray, case: Case, threads: int) -> Search:
    from scipy.spatial.distance import cdist

    metric = {"l1": "cityblock", "l2": "euclidean", "cosine": "cosine"}[case.metric]
    blocks = list(_cut(database, threads))
    return _in_blocks(blocks, lambda q, rows: cdist(q, rows, metric), case, threads)


def _pynear(database: NDArray, case: Case, threads: int) -> Search:
    import pynear

    tree = {
        "hamming": pynear.VPTreeBinaryIndexN, "l1": pynear.VPTreeL1Index,
        "l2": pynear.VPTreeL2Index,
    }[case.metric]()  # fmt: skip
    tree.set(database)
    k = min(case.k, len(database))

    def answer(queries: NDArray) -> Answer:
        ids, distances = tree.searchKNN_arrays(queries, k)
        return distances, ids

    return answer


PEERS = (
    Contender("FAISS", "faiss", ("hamming",), _faiss_hamming, "faiss", "faiss-cpu"),
    Contender("FAISS", "faiss", ("l1", "l2"), _faiss_flat, "faiss", "faiss-cpu"),
    Contender("FAISS", "faiss", ("cosine", "ip"), _faiss_product, "faiss", "faiss-cpu"),
    Contender(
        "USearch", "usearch", ("hamming", "l2", "cosine", "ip"), _usearch, "usearch", "usearch"
    ),
    Contender(
        "NumKong", "numkong", ("hamming", "l2", "cosine", "ip"), _numkong, "numkong", "numkong"
    ),
    Contender(
        "scikit-learn", "scikit-learn", ("l1", "l2", "cosine"), _scikit_learn, "sklearn",
        "scikit-learn",
    ),
    Contender(
        "SciPy cdist", "scipy", ("l1", "l2", "cosine"), _scipy, "scipy", "scipy",
        fits=lambda case: case.pairs <= 120_000, limit="120,000 pairs",
    ),
    # A vantage-point tree: exact, and it prunes by the triangle inequality. Half a minute to
    # build of 100,000 rows of 4096 numbers.
    Contender(
        "PyNear VP-tree", "pynear", ("hamming", "l1", "l2"), _pynear, "pynear", "pynear",
        fits=lambda case: case.rows * case.dim <= 410e6, limit="410 million numbers",
    ),
)  # fmt: skip
KEYS = tuple(dict.fromkeys(["numpy", *(peer.key for peer in PEERS)]))


def choose(keys: Sequence[str]) -> tuple[Contender, ...]:
    """The contenders beside ours that these ``--peers`` name."""
    everyone = (DEFINITION, MATRIX_PRODUCT, PRODUCT, *PEERS)
    return tuple(contender for contender in everyone if contender.key in keys)


def faiss_kernels(name: str = "auto") -> str:
    """What to tell FAISS's OpenBLAS: ``name``, or by ``auto`` its best where it knows no better.

    FAISS's wheels carry an OpenBLAS of their own, which takes processors newer than itself for
    ones twenty years old. "" leaves the choice to it. Asks in a process of its own, as a loaded
    library cannot be told.
    """
    if name != "auto":
        return "" if name == "own" else name
    if os.environ.get("OPENBLAS_CORETYPE"):
        return ""  # the user has chosen
    code = (
        "import faiss, threadpoolctl as t; print(*[i.get('architecture') for i in "
        "t.threadpool_info() if 'faiss' in i['filepath'] and i['user_api'] == 'blas'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode or done.stdout.strip() not in _OLD:
        return ""
    from ..kernels.level import supported

    return "SkylakeX" if "avx512" in supported() else "Haswell" if "avx2" in supported() else ""


@contextlib.contextmanager
def load(contenders: Sequence[Contender], threads: int, faiss_blas: str) -> Iterator[None]:
    """Import the contenders' libraries and hold them to so many threads meanwhile."""
    modules = dict.fromkeys(c.module for c in contenders if c.module and c.installed)
    if "faiss" in modules:
        kernels = faiss_kernels(faiss_blas)
        before = os.environ.get("OPENBLAS_CORETYPE")
        try:
            if kernels:
                os.environ["OPENBLAS_CORETYPE"] = kernels
            with contextlib.suppress(Exception):
                import_module("faiss")
        finally:
            if kernels:
                os.environ.pop("OPENBLAS_CORETYPE")
                if before is not None:
                    os.environ["OPENBLAS_CORETYPE"] = before
    for module in modules:
        with contextlib.suppress(Exception):  # a broken one is told of when its turn comes
            import_module("sklearn.neighbors" if module == "sklearn" else module)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(limits=threads):
        yield
