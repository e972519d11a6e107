"""How bits are made of features: the rule of ``codes``.

``zero`` is the article's: a bit is a feature above 0. Of features that are nearly all 0 such bits
say little: of VGG-16's block5_pool a tenth are set. ``median`` puts each feature's threshold where
it halves given pictures. ``itq`` takes the signs of a projection, onto the principal components of
given pictures, turned so that the signs lose least: Y. Gong, S. Lazebnik, *Iterative Quantization:
A Procrustean Approach to Learning Binary Codes*, CVPR 2011.

What a rule has learnt is a part of the exported graph, so that the network gives its codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..words import ITQ, MEDIAN, ZERO, plural
from .arguments import BITS, MOST_BITS

_TURNS = 50

_CONSEQUENCE = "Nothing was exported"


@dataclass(frozen=True, eq=False)
class Rule:
    """How the code of features float32 ``(n, d)`` is made: bits are
    ``features @ projection > thresholds``, without a projection ``features > thresholds``.

    ``projection`` is float32 ``(d, bits)`` or None, ``thresholds`` float32 ``(bits,)``.
    """

    name: str
    thresholds: NDArray[np.float32]
    projection: NDArray[np.float32] | None = None

    @property
    def bits(self) -> int:
        return len(self.thresholds)

    def margins(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """How far each bit is from changing: ``(n, bits)``, above 0 where it is set."""
        rows = features.astype(np.float64)
        if self.projection is not None:
            rows = rows @ self.projection.astype(np.float64)
        found: NDArray[np.float64] = rows - self.thresholds.astype(np.float64)
        return found

    def slack(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """By how much float32 arithmetic, in any order, may move the margins: ``(n, 1)``.

        0 without a projection: comparing is exact. Otherwise a bound for the columns of unit
        length that projections have.
        """
        if self.projection is None:
            return np.zeros((len(features), 1))
        rows, width = features.astype(np.float64), features.shape[1]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        spread = np.linalg.norm(self.projection.astype(np.float64), axis=0).max(initial=0.0)
        return (width**0.5 * lengths * spread + np.abs(self.thresholds).max(initial=0.0)) * 2.0**-22

    @property
    def in_words(self) -> str:
        return {
            ZERO: "np.packbits(features > 0)",
            MEDIAN: "np.packbits(features > the median of each)",
            ITQ: f"np.packbits(features @ projection > thresholds), {self.bits:,} bits",
        }[self.name]


def zero(dim: int) -> Rule:
    """Bits are features above 0."""
    return Rule(ZERO, np.zeros(dim, np.float32))


def learn(name: str, features: NDArray[np.float32], bits: int | None = None) -> Rule:
    """The rule of this name, from the features ``(n, d)`` of the pictures it is learnt from.

    Raises ArgumentError where they are too few for as many bits.
    """
    count, dim = features.shape
    if name == ZERO:
        return zero(dim)
    if count < 2:
        raise ArgumentError(
            f"--binarize {name} has {plural(count, 'picture')} to learn from",
            _CONSEQUENCE,
            "Name more with --binarize-images; some hundred are good",
        )
    if name == MEDIAN:
        # Half of the pictures are above it; of a feature that is mostly 0 those that are not 0.
        return Rule(MEDIAN, np.median(features, axis=0).astype(np.float32))
    most = min(dim, count - 1, MOST_BITS) // 8 * 8
    wanted = min(BITS, most) if bits is None else bits
    if not 8 <= wanted <= most:
        raise ArgumentError(
            f"--binarize itq of {plural(count, 'picture')} with {dim:,} features has {most} bits "
            f"at most{'' if bits is None else f', not {bits}'}",
            _CONSEQUENCE,
            "Name more pictures with --binarize-images, or ask for fewer --bits",
        )
    return _itq(features, wanted)


def _itq(features: NDArray[np.float32], bits: int) -> Rule:
    """Principal components by the smaller of the two Gram matrices, then Gong and Lazebnik's
    alternation between signs and rotation, from a seeded one."""
    rows = features.astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    if len(rows) <= rows.shape[1]:
        _, vectors = np.linalg.eigh(rows @ rows.T)
        axes = rows.T @ vectors[:, ::-1][:, :bits]
        lengths = np.linalg.norm(axes, axis=0)
        axes /= np.where(lengths > 0, lengths, 1.0)
    else:
        _, vectors = np.linalg.eigh(rows.T @ rows)
        axes = vectors[:, ::-1][:, :bits]
    seen = rows @ axes
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((bits, bits)))[0]
    for _ in range(_TURNS):
        signs = np.where(seen @ turn > 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(signs.T @ seen)
        turn = (left @ right).T
    projection = (axes @ turn).astype(np.float32)
    thresholds = (mean @ projection.astype(np.float64)).astype(np.float32)
    return Rule(ITQ, thresholds, projection)
