"""Exact neighbours as an estimator of scikit-learn."""

from __future__ import annotations

from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt

from .errors import ArgumentError, MissingDependencyError
from .installing import how_to_install
from .kernels.reference import pack_bits
from .loading import package
from .search.dispatch import topk
from .search.ranges import range_search
from .search.sketches import Sketched
from .words import METRICS

try:
    package("sklearn")
    from scipy.sparse import csr_matrix
    from sklearn.base import BaseEstimator
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingDependencyError(
        "The package scikit-learn, whose estimators ExactNeighbors is one of, is not installed",
        "Nothing was searched",
        how_to_install("sklearn"),
    ) from error

_NOT_SEARCHED = "Nothing was searched"
#: scikit-learn's names.
_ALSO = {"euclidean": "l2", "manhattan": "l1", "cityblock": "l1"}

Result = np.ndarray | tuple[np.ndarray, np.ndarray]


class ExactNeighbors(BaseEstimator):
    """Unsupervised search for the nearest rows, exact to the bit (`vsearch_fast.topk`), with the
    methods of ``sklearn.neighbors.NearestNeighbors``.

    Numbers are rounded to float32. Ties are in the order of the rows.

    Args:
        n_neighbors: by default.
        radius: by default.
        metric: "l2" ("euclidean"), "l1" ("manhattan", "cityblock"), "cosine", "ip" (the inner
            product, negated), or "hamming": how many of the bits "number above 0" differ.
        n_jobs: threads; None for all processors that the process may use.

    Attributes:
        n_features_in_, n_samples_fit_: of the rows it was fitted with.
    """

    def __init__(
        self, *, n_neighbors: int = 5, radius: float = 1.0, metric: str = "l2",
        n_jobs: int | None = None,
    ) -> None:  # fmt: skip
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.metric = metric
        self.n_jobs = n_jobs

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Keep rows (n, d), and what makes searching them fast. `y` is nothing."""
        rows = validate_data(self, X, dtype=[np.float32, np.float64], order="C")
        self._metric = self._known()
        self.n_samples_fit_ = len(rows)
        rows = rows.astype(np.float32, copy=False)
        self._rows = rows
        self._database: Any = pack_bits(rows) if self._metric == "hamming" else Sketched(rows)
        return self

    def _known(self) -> str:
        name = _ALSO.get(self.metric, self.metric)
        if name not in METRICS:
            raise ArgumentError(
                f"metric is {self.metric!r}", "Nothing was fitted",
                f"Use one of {', '.join([*METRICS, *_ALSO])}",
            )  # fmt: skip
        return name

    def _queries(self, X: npt.ArrayLike | None) -> np.ndarray:
        check_is_fitted(self)
        if X is None:
            rows = self._rows
        else:
            rows = validate_data(self, X, dtype=[np.float32, np.float64], order="C", reset=False)
            rows = rows.astype(np.float32, copy=False)
        return pack_bits(rows) if self._metric == "hamming" else rows

    @property
    def _threads(self) -> int | None:
        return None if self.n_jobs is None or self.n_jobs < 1 else self.n_jobs

    def kneighbors(
        self, X: npt.ArrayLike | None = None, n_neighbors: int | None = None,
        return_distance: bool = True,
    ) -> Result:  # fmt: skip
        """The nearest rows of each query.

        Args:
            X: queries (q, d); None: the rows themselves, none of which is its own neighbour.
            n_neighbors: how many; None: as it was made.
            return_distance: whether distances come, too.

        Returns:
            Distances, float64, and row numbers, int64, each (q, n_neighbors); or these alone.
        """
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        queries = self._queries(X)
        own = X is None
        if not isinstance(k, int | np.integer) or isinstance(k, bool):
            raise TypeError(f"n_neighbors does not take {type(k)} value, enter integer value")
        if k < 1:
            raise ValueError(f"Expected n_neighbors > 0. Got {k}")
        if k > self.n_samples_fit_ - own:
            raise ValueError(
                f"Expected n_neighbors <= n_samples_fit, but n_neighbors = {k}, "
                f"n_samples_fit = {self.n_samples_fit_}, n_samples = {len(queries)}"
            )
        distances, ids = topk(
            queries, self._database, int(k) + own, metric=cast(Any, self._metric),
            threads=self._threads,
        )  # fmt: skip
        if own:
            kept = _without_self(ids)
            distances, ids = distances[kept].reshape(-1, k), ids[kept].reshape(-1, k)
        return (distances.astype(np.float64), ids) if return_distance else ids

    def radius_neighbors(
        self, X: npt.ArrayLike | None = None, radius: float | None = None,
        return_distance: bool = True, sort_results: bool = False,
    ) -> Result:  # fmt: skip
        """All rows at this distance or nearer, for each query nearest first.

        Args:
            X: as for `kneighbors`.
            radius: None: as it was made.
            sort_results: they are, in any case.

        Returns:
            Arrays of objects (q,), each an array of distances or row numbers.
        """
        offsets, distances, ids = self._within(X, radius)
        borders = offsets[1:-1]
        found = [_of_objects(np.split(array, borders)) for array in (distances, ids)]
        return (found[0], found[1]) if return_distance else found[1]

    def _within(
        self, X: npt.ArrayLike | None, radius: float | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
        queries = self._queries(X)
        offsets, distances, ids = range_search(
            queries, self._database, self.radius if radius is None else radius,
            metric=cast(Any, self._metric), threads=self._threads,
        )  # fmt: skip
        if X is None:
            owner = np.repeat(np.arange(len(queries)), np.diff(offsets))
            kept = ids != owner
            counts = np.bincount(owner[kept], minlength=len(queries))
            offsets = np.concatenate([[0], np.cumsum(counts)])
            distances, ids = distances[kept], ids[kept]
        return offsets, distances.astype(np.float64), ids

    def kneighbors_graph(
        self, X: npt.ArrayLike | None = None, n_neighbors: int | None = None,
        mode: Literal["connectivity", "distance"] = "connectivity",
    ) -> csr_matrix:  # fmt: skip
        """The nearest rows as a sparse matrix (q, n): ones, or distances."""
        distances, ids = self.kneighbors(X, n_neighbors)
        offsets = np.arange(0, ids.size + 1, ids.shape[1])
        return self._graph(offsets, distances.ravel(), ids.ravel(), mode)

    def radius_neighbors_graph(
        self, X: npt.ArrayLike | None = None, radius: float | None = None,
        mode: Literal["connectivity", "distance"] = "connectivity", sort_results: bool = False,
    ) -> csr_matrix:  # fmt: skip
        """All rows within a radius as a sparse matrix (q, n): ones, or distances."""
        return self._graph(*self._within(X, radius), mode)

    def _graph(
        self, offsets: np.ndarray, distances: np.ndarray, ids: np.ndarray, mode: str
    ) -> csr_matrix:
        if mode not in ("connectivity", "distance"):
            raise ArgumentError(
                f"mode is {mode!r}", _NOT_SEARCHED, 'Use "connectivity" or "distance"'
            )
        values = distances if mode == "distance" else np.ones(len(ids))
        return csr_matrix((values, ids, offsets), shape=(len(offsets) - 1, self.n_samples_fit_))


def _without_self(ids: np.ndarray) -> np.ndarray:
    """bool (n, k + 1): of the neighbours of each row, itself among them or behind equal ones, k."""
    own = ids == np.arange(len(ids))[:, None]
    # Rows that are equal to it may all be before it.
    own[~own.any(1), -1] = True
    return ~own


def _of_objects(parts: list[np.ndarray]) -> np.ndarray:
    found = np.empty(len(parts), object)
    found[:] = parts
    return found
