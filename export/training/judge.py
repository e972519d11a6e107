"""What the trained features are worth: active units, dead bits, and matches on the unseen side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...evaluate.neighbours import eligible_neighbours
from ...words import METRICS

#: Shares of active units between which codes tell pictures apart well.
ACTIVE = (0.2, 0.6)
#: Bits that are the same for all pictures carry nothing; above this share it is worth a warning.
CONSTANT = 0.02


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


def units(features: NDArray[np.float32]) -> Units:
    """Of features (n, d), n at least 1."""
    bits = features > 0
    share = bits.mean(axis=0)
    return Units(
        len(features), float(bits.mean()), float((share == 0).mean()), float((share == 1).mean())
    )


def matches(
    features: NDArray[np.float32], labels: NDArray[np.int32], groups: NDArray[np.int32]
) -> dict[str, float]:
    """P@1 by metric: how often the nearest picture of *another* group has the same class.

    Every picture is a query among all; one without a picture of another group is a miss.
    """
    found: dict[str, float] = {}
    every, owners = np.arange(len(features)), groups.astype(np.int64)
    for metric in METRICS:
        rows = np.packbits(features > 0, axis=-1) if metric == "hamming" else features
        (nearest,) = eligible_neighbours(rows, every, [owners], 1, metric=metric, backend="cpu")
        first = nearest[:, 0]
        found[metric] = float(((first >= 0) & (labels[first] == labels)).mean())
    return found
