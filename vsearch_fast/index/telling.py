"""What an `Index` offers to tell a match from none: its thresholds."""

from __future__ import annotations

from ..words import Metric
from .thresholds import QUANTILE, SAMPLE, Threshold, Thresholds


class Telling:
    """A part of `Index`."""

    _thresholds: Thresholds

    def calibrate(
        self,
        metric: Metric = "l2",
        *,
        quantile: float = QUANTILE,
        sample: int | None = SAMPLE,
        group: str | None = None,
        threads: int | None = None,
        backend: str = "auto",
    ) -> Threshold:
        """Take the distance beyond which a query has no match from the items themselves, and
        keep it for `search(..., max_distance="auto")`.

        It is the `quantile` of the distances at which items have their nearest other item:
        `thresholds.py` defines it. Kept in the index; of one opened for reading, in this object
        (see `save_thresholds`). It costs a search of `sample` queries.

        Args:
            metric: it is kept for this one.
            quantile: above 0, at most 1; the higher, the more matches, and the more false ones.
            sample: items measured, always the same; None for all.
            group: a metadata column: items with the same value in it are never each other's
                nearest. None where a match is another view of the same thing; the product
                (or sender) where it is another thing of its kind, and queries come from others.
            threads, backend: as for `search`.

        Raises:
            ArgumentError: no two items (of two groups), an unknown metric or column, a sample
                or quantile out of range.
            StoreError: it could not be stored.
        """
        return self._thresholds.calibrate(
            metric, quantile, sample, group, threads=threads, backend=backend
        )

    def threshold(
        self, metric: Metric = "l2", *, threads: int | None = None, backend: str = "auto"
    ) -> Threshold | None:
        """What max_distance="auto" means: the threshold that `calibrate` has kept. Where there is
        none yet it is taken with the defaults, and where over a tenth of the items have come or
        gone since, again as it was. None of an empty index, in which nothing matches.

        Raises:
            ArgumentError: a single item, or an unknown metric.
        """
        return self._thresholds.current(metric, threads=threads, backend=backend)

    def save_thresholds(self) -> int:
        """Store what this object, opened for reading, has calibrated: for a moment it is the
        index's writer. Returns how many there were.

        Raises:
            LockedError: another writer.
            StoreError: the folder cannot be written.
        """
        return self._thresholds.save()
