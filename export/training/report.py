"""What a training run has come to, as it is told, and as a model tells it of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..weights import read_classes, read_training
from .standing import CURVE, HISTORY, beside

if TYPE_CHECKING:
    from .judge import Share, Units


@dataclass(frozen=True)
class TrainReport:
    """What was trained.

    Attributes:
        path: the ``.keras`` file; ``history`` and ``curve`` lie beside it.
        classes: names of the classes.
        sides: pictures trained on, used to choose the epoch, and never seen.
        epochs: how many were run; ``best_epoch`` is the one whose weights the file has.
        units: by dense layer, active and constant units (`training.judge.Units`).
        matches: P@1 by metric on the val side by ``fc1``, own group forbidden, with its 95%
            interval (one that says none has the share alone); empty without a val side.
        val: loss and accuracy of the best epoch on the val side; empty without one.
        skipped: pictures that could not be read, and why.
        notes, warnings: in words.
        already: the file was there, trained by this recipe on these pictures; nothing was done,
            and the rest is what the file says of itself (not `val` and `skipped`).
    """

    path: Path
    history: Path
    curve: Path
    classes: list[str]
    sides: dict[str, int]
    epochs: int
    best_epoch: int
    units: dict[str, Units]
    matches: dict[str, Share]
    val: dict[str, float]
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    already: bool = False


def report_of(target: Path) -> TrainReport:
    """The report of a model that is there, from what it says of itself."""
    from .judge import Share, Units

    record = read_training(target)
    return TrainReport(
        path=target,
        history=beside(target, HISTORY),
        curve=beside(target, CURVE),
        classes=read_classes(target),
        sides=record["pictures"],
        epochs=record["epochs"],
        best_epoch=record["best_epoch"],
        units={name: Units(**found) for name, found in record["units"].items()},
        matches={
            name: Share(share, *record.get("intervals", {}).get(name, (share, share)))
            for name, share in record["matches"].items()
        },
        val={},
        already=True,
    )
