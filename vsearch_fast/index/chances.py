"""How probable something is at a distance, learnt of pairs, and whether that is known at all.

**Which curve.** Isotonic regression (`isotonic.py`) of all these pairs and two more of weight 1:
the nearest distance with the outcome no, the farthest with yes, so that nothing is certain.

**Known or not.** The things (items, or groups) are dealt to `PARTS` parts; what each part's hits
are is foretold by the curve of the others. The curve is kept where at least `FEW` things were
measured, as many hits were true, and as many were not; and where its square error is smaller than
that of the share of true hits alone, by more than two standard errors over things. Else distances
teach nothing there, and nothing is said.
"""

from __future__ import annotations

import numpy as np

from .isotonic import Curve, falling
from .likeness import Chance
from .mixing import mixed
from .pairs import Pairs

#: Things, true hits and false ones of which at least so many make a curve.
FEW = 20

PARTS = 5


def chance_of(pairs: Pairs, what: str) -> tuple[Chance | None, str]:
    """What pairs teach, or why they teach nothing.

    Args:
        what: the things in words.
    """
    true = int(pairs.outcomes.sum())
    names, things = np.unique(pairs.things, return_inverse=True)
    if len(names) < FEW or min(true, len(things) - true) < FEW:
        return None, (
            f"too few to know ({what}: {len(names):,}; hits that are: {true:,}, that are not: "
            f"{len(things) - true:,}; {FEW} of each are needed)"
        )
    part = (mixed(names) % np.uint64(PARTS))[things]
    foretold, blind = np.empty(len(things)), np.empty(len(things))
    for number in range(PARTS):
        own, others = part == number, part != number
        if own.any():
            distances, outcomes, weights = (
                each[others] for each in (pairs.distances, pairs.outcomes, pairs.weights)
            )
            foretold[own] = _curve(distances, outcomes, weights).at(pairs.distances[own])
            blind[own] = np.average(outcomes, weights=weights) if others.any() else 0.5
    error, worst = (foretold - pairs.outcomes) ** 2, (blind - pairs.outcomes) ** 2
    gains = np.bincount(things, pairs.weights * (worst - error))
    if gains.mean() <= 2 * gains.std(ddof=1) / np.sqrt(len(gains)):
        return None, "its distances do not tell it (no better than a guess at things held out)"
    mean = {
        name: float(np.average(values, weights=pairs.weights))
        for name, values in (
            ("right", (foretold >= 0.5) == (pairs.outcomes > 0)), ("brier", error), ("blind", worst)
        )
    }  # fmt: skip
    curve = _curve(pairs.distances, pairs.outcomes, pairs.weights)
    return Chance(curve, pairs=len(things), true=true, things=len(names), **mean), ""


def _curve(distances: np.ndarray, outcomes: np.ndarray, weights: np.ndarray) -> Curve:
    """The curve of pairs and the two that keep it from being certain."""
    ends = [distances.min(initial=np.inf), distances.max(initial=-np.inf)]
    if not len(distances):
        ends = [0.0, 0.0]
    return falling(
        np.concatenate([distances, ends]),
        np.concatenate([outcomes, [0.0, 1.0]]),
        np.concatenate([weights, [1.0, 1.0]]),
    )
