"""How the chance of an outcome falls with distance: isotonic regression by pooling.

**Definition.** Pairs (distance, outcome 0 or 1, weight) are sorted by distance, those of equal
distance taken together. The fitted chances are the non-increasing ones of least weighted square
error; equally (Robertson, Wright, Dykstra: Order Restricted Statistical Inference, 1988, 1.4.4)::

    chance[i] = min over a <= i of (max over b >= i of (weighted mean of outcomes a to b))

They are found by pooling adjacent violators (Ayer et al., 1955): a run of outcomes whose mean is
above that of the run before it is joined with it, until means fall.

Between two runs the chance is interpolated linearly; nearer than all pairs, and farther, it is that
of the first and the last run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Curve:
    """A chance that does not rise with distance.

    Attributes:
        distances: where it is given, ascending: the first and the last distance of each run.
        chances: the chance there, from 0 to 1.
    """

    distances: tuple[float, ...]
    chances: tuple[float, ...]

    def at(self, distances: np.ndarray | float) -> np.ndarray:
        """The chances at some distances, float64 of their shape."""
        return np.asarray(np.interp(distances, self.distances, self.chances))


def falling(distances: np.ndarray, outcomes: np.ndarray, weights: np.ndarray) -> Curve:
    """The curve of least weighted square error, as this module defines it.

    Args:
        distances, outcomes, weights: float (n,), n at least 1; outcomes 0 or 1, weights above 0.
            Their order makes no difference, not even by rounding.
    """
    order = np.lexsort((weights, outcomes, distances))
    places, starts = np.unique(distances[order], return_index=True)
    mass = np.add.reduceat(weights[order], starts)
    hits = np.add.reduceat((weights * outcomes)[order], starts)
    runs: list[list[float]] = []  # of each: hits, mass, first distance, last distance
    for hit, weight, place in zip(hits.tolist(), mass.tolist(), places.tolist(), strict=True):
        runs.append([hit, weight, place, place])
        while len(runs) > 1 and runs[-2][0] * runs[-1][1] <= runs[-1][0] * runs[-2][1]:
            hit, weight, _, last = runs.pop()
            runs[-1][0] += hit
            runs[-1][1] += weight
            runs[-1][3] = last
    points: list[tuple[float, float]] = []
    lowest = 1.0
    for hit, weight, first, last in runs:
        lowest = min(lowest, hit / weight)  # products and quotients may round apart
        points += [(place, lowest) for place in dict.fromkeys((first, last))]
    return Curve(tuple(place for place, _ in points), tuple(chance for _, chance in points))
