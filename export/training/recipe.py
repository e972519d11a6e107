"""All choices of a training run in one value, which its checkpoint and its model carry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...datasets.splits import SHARES
from ...errors import ArgumentError

LOSSES = ("crossentropy", "contrastive")
AUGMENT = ("none", "light", "strong")
BALANCE = ("weights", "draws", "none")
SCHEDULES = ("constant", "cosine")
CONVOLUTIONS = ("float32", "bfloat16")

#: Learning rate of an optimiser that is named without one. Adadelta's is 1.0, the one that its
#: paper is about; Keras 3's own default of 0.001 hardly moves the weights.
RATES = {"adadelta": 1.0, "adamw": 1e-3, "adam": 1e-3, "sgd": 1e-2}

_CONSEQUENCE = "Nothing was trained"

# Raised when the same recipe no longer gives the same weights, so that no run goes on from a
# checkpoint of other rules.
_RULES = 3


@dataclass(frozen=True)
class Recipe:
    """Every choice that the trained weights depend on; `vsearch train --help` says what each is."""

    base: str = "imagenet"
    base_sha256: str = ""
    classes: str = "all"
    leave_out: tuple[str, ...] = ()
    epochs: int = 20
    batch_size: int = 64
    optimizer: str = "adadelta"
    schedule: str = "constant"
    weight_decay: float = 0.0
    loss: str = "crossentropy"
    label_smoothing: float = 0.0
    temperature: float = 0.1
    contrast: float = 1.0
    batch_norm: bool = False
    augment: str = "none"
    copies: int = 4
    unfreeze: bool = False
    convolutions: str = "float32"
    width: float = 1.0
    input_size: int = 224
    units: int = 4096
    dense: tuple[str, ...] = ("fc1",)
    pool: str = ""
    resize: str = "nearest"
    balance: str = "weights"
    also_share: float = 1 / 3
    patience: int = 5
    seed: int = 0
    split_seed: int = 0
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    fold: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("loss", LOSSES), ("augment", AUGMENT), ("balance", BALANCE), ("schedule", SCHEDULES),
            ("pool", ("", "avg")), ("convolutions", CONVOLUTIONS),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise ArgumentError(
                    f"--{name} {getattr(self, name)} is unknown",
                    _CONSEQUENCE,
                    f"Choose one of: {', '.join(each for each in allowed if each)}",
                )
        for name in ("epochs", "batch_size", "copies", "units"):
            if getattr(self, name) < 1:
                raise ArgumentError(
                    f"--{name.replace('_', '-')} {getattr(self, name)} is too small",
                    _CONSEQUENCE,
                    "Give at least 1",
                )
        if self.unfreeze and self.convolutions != "float32":
            raise ArgumentError(
                f"--convolutions {self.convolutions} is for frozen ones",
                _CONSEQUENCE,
                "Leave it out, or --unfreeze",
            )
        if not self.dense or len(set(self.dense)) < len(self.dense) or "predictions" in self.dense:
            raise ArgumentError(
                f"--dense {','.join(self.dense)} names no layers",
                _CONSEQUENCE,
                "Write fc1, or fc1,fc2",
            )
        if self.fold is not None and not 1 <= self.fold[0] <= self.fold[1]:
            raise ArgumentError(
                f"--fold {self.fold[0]}/{self.fold[1]} is none", _CONSEQUENCE, "Write 1/3"
            )
        self.rate()
        self.top()

    def top(self) -> int | None:
        """How many of the most common classes are learnt; None for all."""
        if self.classes == "all":
            return None
        text = self.classes.removeprefix("top:")
        if text == self.classes or not text.isdigit():
            raise ArgumentError(
                f"--classes {self.classes} is not understood", _CONSEQUENCE, "Write all, or top:8"
            )
        if int(text) < 2:
            raise ArgumentError(
                f"--classes {self.classes} leaves nothing to tell apart",
                _CONSEQUENCE,
                "Write all, or top:2 or more",
            )
        return int(text)

    def rate(self) -> tuple[str, float]:
        """The optimiser's name and its learning rate."""
        name, _, text = self.optimizer.partition(":")
        try:
            rate = float(text) if text else RATES[name]
            if name in RATES and 0 < rate < float("inf"):
                return name, rate
        except (KeyError, ValueError):
            pass  # said below
        raise ArgumentError(
            f"--optimizer {self.optimizer} is not understood",
            _CONSEQUENCE,
            f"Write one of {', '.join(RATES)}, if you like with a learning rate: adamw:0.001",
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def digest(self, *more: str) -> str:
        """Stands for the recipe, and `more` that a run depends on: 16 hexadecimal digits."""
        text = json.dumps([_RULES, self.as_json(), *more], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
