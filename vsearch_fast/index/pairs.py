"""Of which pairs an index learns what its distances say.

A label is put on the hits that somebody is shown: so it is learnt of hits, the
`SHOWN` nearest of a row of the index that takes the part of a photo, itself left out, and not of
pairs drawn at random, nearly all of which are far apart. A photo may show what the catalogue has or
what it lacks; how often, the catalogue cannot know: `absent` is taken for it (1/2). So each row is
searched for twice:

==============  ========================================  ======================================
to learn of     there: weight 1 - `absent`                not there: weight `absent`
==============  ========================================  ======================================
same item       all rows but itself                       all rows but those of its own item
similar         all rows but those of its own group       all rows but those of its own category
==============  ========================================  ======================================

Rows for the first line are those whose item has another one; for the second, those that have a
category. A *group* is what shares more than it shows, a sender or a product; where a row has none
it is its item, and where it has none either, the row. Hits whose item (or category) is not known
are left out, and so are, for *similar*, other views of the row's own item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .leaving_out import Nearest, nearest_others

#: Hits of a photo that are shown, and so learnt of.
SHOWN = 10

#: Neighbours asked for beyond those shown, where some are left out.
_SPARE = 54

#: Rows that are searched for together: 16 MiB of 4096 float32.
_BLOCK = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Hits of rows that took the part of photos.

    Attributes:
        distances: float (n,).
        outcomes: float (n,), 1 where it is so.
        weights: float (n,).
        things: int64 (n,), the photo's item or group.
        there: bool (n,), whether the photo shows what is there.
        guesses: float (n,), the share of all rows for which the outcome would be 1.
    """

    distances: np.ndarray
    outcomes: np.ndarray
    weights: np.ndarray
    things: np.ndarray
    there: np.ndarray
    guesses: np.ndarray

    def of(self, chosen: np.ndarray) -> Pairs:
        """Those that are chosen, bool (n,)."""
        return Pairs(
            self.distances[chosen], self.outcomes[chosen], self.weights[chosen],
            self.things[chosen], self.there[chosen], self.guesses[chosen],
        )  # fmt: skip


def pairs_of(
    nearest: Nearest,
    rows: np.ndarray,
    live: np.ndarray | None,
    truth: np.ndarray,
    things: np.ndarray,
    absent: float,
    *,
    there: np.ndarray | None = None,
    views: np.ndarray | None = None,
) -> Pairs:
    """The hits of some rows, each as a photo of what is there and of what is not.

    Args:
        nearest: as `nearest_others` takes it.
        rows: row numbers, int64 (m,), all live.
        live: bool (rows of the index,), or None when all live.
        truth: int64 (rows of the index,): what a hit has to share with the photo for the outcome 1;
            below 0 where that is not known.
        things: int64 (rows of the index,), whose hits they are.
        absent: weight of the second kind of photo, from 0 to below 1.
        there: owners, int64 (rows of the index,), whose rows are left out for the first kind; None:
            the row alone. For the second kind they are those of `truth`.
        views: owners, int64 (rows of the index,), whose rows are no pairs of each other.
    """
    found: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        kinds = nearest_others(nearest, part, live, [there, truth], SHOWN, spare=_SPARE)
        for kind, (distances, hits) in enumerate(kinds):
            photo = np.broadcast_to(part[:, None], hits.shape)
            counted = (hits >= 0) & (truth[hits] >= 0)
            if views is not None:
                counted &= views[hits] != views[photo]
            columns = (distances, truth[hits] == truth[photo], np.full(hits.shape, kind), photo)
            found.append(tuple(column[counted] for column in columns))
    if not found:
        none = np.empty(0)
        return Pairs(none, none, none, np.empty(0, np.int64), np.empty(0, bool), none)
    distances, outcomes, second, photo = map(np.concatenate, zip(*found, strict=True))
    weights = np.zeros(len(distances))
    for number, share in enumerate((1 - absent, absent)):
        own = second == number  # as a whole it counts its share, however many hits it has
        weights[own] = share * len(own) / max(1, own.sum())
    known = truth[truth >= 0 if live is None else live & (truth >= 0)]
    guesses = np.bincount(known)[truth[photo]] / len(known)
    every = Pairs(
        distances, outcomes.astype(np.float64), weights, things[photo], second == 0, guesses
    )
    return every.of(weights > 0)
