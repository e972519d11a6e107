"""What is there already where a run would write: its model, by which recipe, of which pictures."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from ...errors import ModelError
from ...terminal.keeping import RESTART, stands
from ..weights import read_training
from .catalogue import Catalogue, stamp
from .recipe import Recipe

#: Files of the history: in the folder of a run while it goes on, beside the model in the end.
HISTORY, CURVE = "history.csv", "curve.png"


def digest(recipe: Recipe, catalogue: Catalogue) -> str:
    """Stands for a recipe and the pictures, as they are now, that it is about."""
    return recipe.digest(
        stamp(catalogue.records, catalogue.sides.tolist(), catalogue.labels.tolist())
    )


class Replaces:
    """The note, in a run's folder, that its target may be replaced: `restart` was said."""

    def __init__(self, folder: Path, target: Path, asked: str) -> None:
        name = hashlib.sha256(os.fsencode(target.absolute())).hexdigest()[:16]
        self._file = folder / f"replaces-{name}-{asked}"

    def said(self) -> bool:
        return self._file.exists()

    def say(self) -> None:
        self._file.touch()

    def forget(self) -> None:
        self._file.unlink(missing_ok=True)


def is_trained(target: Path, recipe: Recipe, asked: str) -> bool:
    """Whether the model is there; ArgumentError where another one is (`terminal.keeping`)."""
    if not target.exists():
        return False
    try:
        held = read_training(target)
    except ModelError:  # somebody's own file
        held = {}
    theirs, ours = held.get("recipe", {}), json.loads(json.dumps(recipe.as_json()))
    differences = [
        f"{option(name, theirs[name])}, not {option(name, ours[name])}"
        for name in ours
        if name in theirs and theirs[name] != ours[name]
    ]
    if theirs and not differences:
        differences = ["of other pictures, or other sides or categories of them"]
    return stands(
        target, held.get("asked"), asked, consequence="Nothing was trained",
        differences=differences,
        switch=RESTART, name="--output",
    )  # fmt: skip


def beside(target: Path, ending: str) -> Path:
    return target.with_name(f"{target.stem}.{ending}")


def option(name: str, value: object) -> str:
    """A choice as one gives it to `vsearch train`."""
    option = f"--{name.replace('_', '-')}"
    if not value:
        return f"without {option}"
    return f"with {option}" if value is True else f"with {option} {value}"
