"""How probable something is at a distance, learnt of pairs, and whether that is known at all.

**Which curve.** Isotonic regression (`isotonic.py`) of all these pairs and two more of weight 1:
the nearest distance with the outcome no, the farthest with yes, so that nothing is certain.

**Known or not.** The things (items, or groups) are dealt to `PARTS` parts; what each part's hits
are is foretold by the curve of the others. The curve is kept where at least `FEW` things were
measured, as many hits were true, and as many were not; and where, by more than two standard errors
over things, its square error is smaller than that of the share of true hits alone, and hits of
photos of what is there are true more often than rows drawn at random. (The former alone is no
proof: of photos of what is not there rows were taken away, which makes the others farther, whatever
they show.) Else distances teach nothing there, and nothing is said.
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
    foretold, blind = _held_out(pairs, things, names)
    error, worst = (foretold - pairs.outcomes) ** 2, (blind - pairs.outcomes) ** 2
    gains = pairs.weights * (worst - error)
    nearer = np.where(pairs.there, pairs.outcomes - pairs.guesses, 0.0)
    if not (_more(gains, things) and _more(nearer, things)):
        return None, "its distances do not tell it (no better than a guess at things held out)"
    mean = {
        name: float(np.average(values, weights=pairs.weights))
        for name, values in (
            ("right", (foretold >= 0.5) == (pairs.outcomes > 0)), ("brier", error), ("blind", worst)
        )
    }  # fmt: skip
    return Chance(_curve(pairs), pairs=len(things), true=true, things=len(names), **mean), ""


def _held_out(pairs: Pairs, things: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the other parts foretell of each pair, by its distance and without it."""
    part = (mixed(names) % np.uint64(PARTS))[things]
    foretold, blind = np.full(len(things), 0.5), np.full(len(things), 0.5)
    for number in range(PARTS):
        own, others = part == number, pairs.of(part != number)
        if own.any() and len(others.things):
            foretold[own] = _curve(others).at(pairs.distances[own])
            blind[own] = np.average(others.outcomes, weights=others.weights)
    return foretold, blind


def _more(gains: np.ndarray, things: np.ndarray) -> bool:
    """Whether gains are above 0, by more than two standard errors over things."""
    sums = np.bincount(things, gains)
    return bool(sums.mean() > 2 * sums.std(ddof=1) / np.sqrt(len(sums)))


def _curve(pairs: Pairs) -> Curve:
    """The curve of pairs, at least one, and of the two that keep it from being certain."""
    ends = [pairs.distances.min(), pairs.distances.max()]
    return falling(
        np.concatenate([pairs.distances, ends]),
        np.concatenate([pairs.outcomes, [0.0, 1.0]]),
        np.concatenate([pairs.weights, [1.0, 1.0]]),
    )
