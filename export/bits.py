"""What an export was asked about its codes, and the pictures that their rule is learnt from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..words import ZERO
from .arguments import LIMIT, check_binarize

if TYPE_CHECKING:
    import keras
    import numpy as np

    from .binarize import Rule

Pictures = Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Bits:
    """The rule that was asked for: its name, the bits of ``itq`` if they were said, and the
    pictures; none for ``zero``, which learns nothing."""

    name: str
    asked: int | None
    pictures: tuple[str, ...]

    @classmethod
    def of(
        cls, name: str, bits: int | None, own: Pictures, verify_images: Pictures, more: Pictures
    ) -> Self:
        """What these arguments of the export ask for; raises ArgumentError."""
        pictures = tuple(os.fspath(each) for each in own or verify_images or more)
        check_binarize(name, bits, pictures)
        return cls(name, bits, pictures if name != ZERO else ())

    @property
    def choices(self) -> dict[str, str | int | None]:
        """What an export's file stands for, beside what it stood for before there were rules."""
        return {} if self.name == ZERO else {"binarize": self.name, "bits": self.asked}

    def with_pictures(self, others: Pictures) -> list[str | os.PathLike[str]]:
        """All pictures that shape the file."""
        return [*others, *self.pictures]

    def named(self, there: dict[str, str]) -> str | None:
        """The rule, where a file that is there has another; None where it has the same."""
        there.setdefault("binarize", ZERO)
        return self.name if there["binarize"] != self.name else None

    def learnt(
        self, model: keras.Model, size: int, prepare: str, unit_length: bool, dim: int
    ) -> Rule:
        """The rule, learnt from Keras' features of the pictures; raises ArgumentError, ImageError.

        Pictures are loaded some at a time: thousands of them are larger than their features.
        """
        from . import verify

        def features_of(pictures: Sequence[Path]) -> np.ndarray:
            pixels = verify.load_pictures(pictures, size)
            features = verify.keras_features(model, pixels, prepare)
            return verify.of_unit_length(features) if unit_length else features

        return self.learnt_by(features_of, dim)

    def learnt_by(self, features_of: Callable[[Sequence[Path]], np.ndarray], dim: int) -> Rule:
        """The rule, learnt from what ``features_of`` some picture files gives, ``(n, dim)``."""
        import numpy as np

        from . import verify
        from .binarize import learn, zero

        if self.name == ZERO:
            return zero(dim)
        found = verify.find_pictures(self.pictures, LIMIT)
        parts = [features_of(found[start : start + 32]) for start in range(0, len(found), 32)]
        return learn(self.name, np.concatenate(parts), self.asked)

    def metadata(self, rule: Rule) -> dict[str, Any]:
        """What the file says of its rule. Format 2 keeps away what would make codes of features."""
        if rule.name == ZERO:
            return {}
        return {"format": "2", "binarize": rule.name, "bits": str(rule.bits)}
