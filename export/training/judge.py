"""What the trained features are worth: active units, dead bits, and matches on the unseen side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...evaluate.neighbours import eligible_neighbours
from ...evaluate.protocol import WIDE, share_interval
from ...words import JUDGED, plural

#: Shares of active units between which codes tell pictures apart well.
ACTIVE = (0.2, 0.6)
#: Bits that are the same for all pictures carry nothing; above this share it is worth a warning.
CONSTANT = 0.02


class Share(NamedTuple):
    """A share of some pictures and its 95% interval, over groups."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Units:
    """Over some pictures: the mean share of units above 0, and the shares of bits that none,
    and that every picture has set."""

    pictures: int
    active: float
    never: float
    always: float

    @property
    def constant(self) -> float:
        return self.never + self.always

    def warnings(self, batch_norm: bool = False) -> list[str]:
        """What is amiss, and what may help; `batch_norm` says that this was tried already."""
        found = []
        keeps, prevents = "A lower learning rate may help", "A lower learning rate may help"
        if not batch_norm:
            keeps = "--batch-norm keeps about half of them active; so may a lower learning rate"
            prevents = "--batch-norm prevents that; so may a lower learning rate"
        if not ACTIVE[0] <= self.active <= ACTIVE[1]:
            found.append(
                f"{self.active:.1%} of the units are active, outside {ACTIVE[0]:.0%} to "
                f"{ACTIVE[1]:.0%}: Hamming distances will tell little. {keeps}"
            )
        if self.constant > CONSTANT:
            found.append(
                f"{self.constant:.1%} of the bits are the same for all pictures and carry "
                f"nothing. {prevents}"
            )
        return found


def few(found: Mapping[str, Share], pictures: int, groups: int) -> list[str]:
    """A warning where the intervals of the shares are so wide that they tell little."""
    wide = [share for share in found.values() if share.high - share.low > WIDE]
    if not wide:
        return []
    widest = max(wide, key=lambda share: share.high - share.low)
    return [
        f"P@1 is of {plural(pictures, 'picture')} in {plural(groups, 'group')} alone: "
        f"{widest.value:.3f} may as well be {widest.low:.3f} or {widest.high:.3f}. A larger val "
        "side (--shares), or vsearch eval on other pictures, tells more"
    ]


def units(features: NDArray[np.float32]) -> Units:
    """Of features (n, d), n at least 1."""
    bits = features > 0
    share = bits.mean(axis=0)
    return Units(
        len(features), float(bits.mean()), float((share == 0).mean()), float((share == 1).mean())
    )


def matches(
    features: NDArray[np.float32], labels: NDArray[np.int32], groups: NDArray[np.int32]
) -> dict[str, Share]:
    """P@1 by metric: how often the nearest picture of *another* group has the same class.

    Every picture is a query among all; one without a picture of another group is a miss.
    """
    found: dict[str, Share] = {}
    every, owners = np.arange(len(features)), groups.astype(np.int64)
    for metric in JUDGED:
        rows = np.packbits(features > 0, axis=-1) if metric == "hamming" else features
        (nearest,) = eligible_neighbours(rows, every, [owners], 1, metric=metric, backend="cpu")
        first = nearest[:, 0]
        hits = (first >= 0) & (labels[first] == labels)
        found[metric] = Share(float(hits.mean()), *share_interval(hits, owners))
    return found
