"""What an `Index` offers to tell a match from none: what its distances say, and its thresholds."""

from __future__ import annotations

from ..words import Metric
from . import learning
from .learning import Learning
from .likeness import Likeness
from .thresholds import QUANTILE, SAMPLE, Threshold, Thresholds


class Telling:
    """A part of `Index`."""

    _thresholds: Thresholds
    _learning: Learning

    def learn(
        self,
        metric: Metric = "l2",
        *,
        item: str = learning.ITEM,
        category: str = learning.CATEGORY,
        group: str | None = learning.GROUP,
        absent: float = learning.ABSENT,
        sample: int | None = learning.SAMPLE,
        threads: int | None = None,
        backend: str = "auto",
    ) -> Likeness:
        """Learn of the items themselves how probable it is, by distance, that a hit shows the same
        item as a photo, or a similar one, and keep it for `likeness`.

        `learning.py` says how. Kept in the index; of one opened for reading, in this object (see
        `save_learnt`). It costs four searches of `sample` queries at most.

        Args:
            metric: it is learnt and kept for this one.
            item: the metadata column whose values tell items apart. Items of several pictures
                teach what is the same.
            category: the column of their kinds, which teach what is similar.
            group: a column of senders or products: pictures of one of them do not teach each other
                what is similar. None, or a column that is not there: each item for itself.
            absent: share of photos, from 0 to below 1, that are taken to show what the index does
                not have; the higher, the rarer are "same item" and "similar".
            sample: rows that take the part of photos, always the same; None for all.
            threads, backend: as for `search`.

        Raises:
            ArgumentError: an unknown metric, a column that is not there and was asked for, a share
                or sample out of range.
            StoreError: it could not be stored.
        """
        return self._learning.learn(
            metric, item=item, category=category, group=group, absent=absent, sample=sample,
            threads=threads, backend=backend,
        )  # fmt: skip

    def likeness(
        self,
        metric: Metric = "l2",
        *,
        learn: bool = True,
        threads: int | None = None,
        backend: str = "auto",
    ) -> Likeness | None:
        """What the distances of this index say: ``index.likeness("l2").label(hit.distance)``.

        Where nothing has been learnt it is learnt with the defaults, and where over a tenth of the
        items have come or gone since, again as it was. None of an empty index, and without `learn`
        of one where it would have to be learnt.

        Raises:
            ArgumentError: an unknown metric.
        """
        if not learn:
            return self._learning.kept(metric)
        return self._learning.current(metric, threads=threads, backend=backend)

    def save_learnt(self) -> int:
        """Store what this object, opened for reading, has learnt: for a moment it is the index's
        writer. Returns how many metrics it was.

        Raises:
            LockedError: another writer.
            StoreError: the folder cannot be written.
        """
        return self._learning.save()

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
