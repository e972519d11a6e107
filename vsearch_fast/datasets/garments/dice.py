"""Repeatable random choices, keyed by numbers instead of by call order.

Everything random about a picture comes from a `Dice` made from (seed, item,
purpose) or (seed, item, view, purpose), so that an item looks the same whether one or a
thousand are rendered, and in whichever process. Only ``Generator.random`` is used: of
NumPy's distributions it is the one whose stream follows from the bit generator alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Dice:
    """Random choices that follow from ``key`` (non-negative integers) alone."""

    def __init__(self, *key: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def uniform(self, low: float, high: float) -> float:
        """A number from [low, high)."""
        return low + (high - low) * float(self._generator.random())

    def sign(self) -> float:
        """-1 or 1."""
        return -1.0 if self._generator.random() < 0.5 else 1.0

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self._generator.random() < probability)

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._generator.random() * (high - low + 1))

    def choice(self, values: Sequence[T]) -> T:
        """One of ``values``, each as likely; name a value twice to double its chance."""
        return values[int(self._generator.random() * len(values))]

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """All of ``values`` in a random order (Fisher and Yates)."""
        mixed = list(values)
        for last in range(len(mixed) - 1, 0, -1):
            other = int(self._generator.random() * (last + 1))
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed

    def field(self, height: int, width: int) -> NDArray[np.float32]:
        """A (height, width) float32 array of numbers from [0, 1)."""
        return self._generator.random((height, width)).astype(np.float32)
