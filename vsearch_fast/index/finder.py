"""The nearest rows of an opened index: its segments, sketches and tombstones given to `topk`,
and the copies of them that stay on GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import ArgumentError
from ..search.dispatch import topk_segments
from ..search.proof import Proof
from .snapshot import Snapshot
from .store import Store

if TYPE_CHECKING:
    from ..search.gpu.resident_rows import ResidentRows


def kind_of(metric: str) -> str:
    """The kind of segments that a metric compares."""
    return "codes" if metric == "hamming" else "vectors"


class Finder:
    """Searches a store's rows, by number; what they are is no matter here."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._residents: dict[str, ResidentRows] = {}  # by kind of segments

    @property
    def device(self) -> str:
        """ "cuda" where rows stay on GPUs, else "cpu"."""
        return "cuda" if self._residents else "cpu"

    def to(self, device: str) -> None:
        """Keep rows on all CUDA devices, or, with "cpu", no more: as `Index.to` says."""
        if device not in ("cpu", "cuda"):
            raise ArgumentError(f"device is {device!r}", "Nothing was moved", 'Use "cpu" or "cuda"')
        self._residents = {}
        if device == "cpu":
            return
        from ..search.gpu.devices import devices, failures_named
        from ..search.gpu.resident_rows import ResidentRows

        meta = self._store.meta
        snapshot, _ = self._store.snapshot(None)
        residents = {
            "codes": ResidentRows(devices(), "codes", -(-meta.dim // 8), False, False),
            "vectors": ResidentRows(
                devices(), "floats", meta.dim, meta.dtype == "float16", keep_vectors=True
            ),
        }
        with failures_named():
            for kind, resident in residents.items():
                segments = self._store.files.map(kind, snapshot.state.rows)
                sketches = self._store.sketches(snapshot) if kind == "vectors" else None
                resident.extend(segments, sketches or [None] * len(segments))
        self._residents = residents

    def stored(self, kind: str, rows: np.ndarray) -> np.ndarray:
        """Rows of a kind of segments by number, int64 (n,), copied: (n, width) as stored."""
        row_kind = self._store.files.kinds[kind]
        out = np.empty((len(rows), row_kind.width), row_kind.dtype)
        if len(rows):
            segments = self._store.files.map(kind, int(rows.max()) + 1)
            place, line = np.divmod(rows, self._store.meta.segment_rows)
            for segment in np.unique(place):
                of = place == segment
                out[of] = segments[segment][line[of]]
        return out

    def nearest(
        self,
        snapshot: Snapshot,
        mask: np.ndarray | None,
        queries: np.ndarray,
        k: int,
        metric: str,
        *,
        threads: int | None = None,
        strategy: str = "auto",
        backend: str = "auto",
    ) -> tuple[np.ndarray, np.ndarray, Proof]:
        """Distances and row numbers, each (q, min(k, rows that live)), as `topk` defines them.

        Args:
            snapshot: the rows that there are.
            mask: bool (rows,), the rows that live; None for all.
            queries: (q, dim) float32 or float16, for hamming codes, uint8 (q, ceil(dim / 8)).
            k, metric, threads, strategy, backend: as for `topk`; ``auto`` is the GPU after `to`.
        """
        kind = kind_of(metric)
        segments = self._store.files.map(kind, snapshot.state.rows)
        sketches = None if metric == "hamming" else self._store.sketches(snapshot)
        if not segments:
            segments, sketches = [np.empty((0, queries.shape[1]), queries.dtype)], None
        masks = None
        if mask is not None:
            borders = np.cumsum([len(segment) for segment in segments])[:-1]
            # None where every row is live, so that nothing is tested row by row.
            masks = [None if part.all() else part for part in np.split(mask, borders)]
        resident = None if backend == "cpu" else self._residents.get(kind)
        if resident is not None:  # what was added since
            resident.extend(segments, sketches or [None] * len(segments))
        return topk_segments(
            queries, segments, k, metric=metric, masks=masks, sketches=sketches,
            resident=resident, backend=backend, strategy=strategy, threads=threads,
        )  # fmt: skip
