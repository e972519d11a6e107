"""Re-trains a VGG-16 on a catalogue: a new fc1 before a softmax over its categories.

::

    --data, --also -> catalogue.py   classes, groups, sides
    --base         -> network.py     convolutions and dense layers
                   -> frozen.py      the convolutions' outputs, once; or with --unfreeze
                   -> pictures.py    the pictures, decoded once
                   -> feed.py        batches that follow from (seed, epoch)
                   -> loop.py        epochs and checkpoints
                   -> judge.py       active units, dead bits, matches on the unseen side
                   -> run.py         all of it, in its order
                   -> one .keras file for `vsearch export`, a CSV and a picture of its history

The default recipe keeps the convolutions and learns the new layers by cross-entropy. On the
command line: ``vsearch train --help``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..datasets.records import Record
from ..errors import ExportError, VsearchError
from .training.recipe import Recipe
from .training.report import TrainReport, report_of
from .training.standing import CURVE, HISTORY, Replaces, digest, is_trained, option
from .weights import Source, resolve

__all__ = ["Recipe", "TrainReport", "train"]

_CONSEQUENCE = "Nothing was trained"


def train(
    data: Sequence[Record],
    recipe: Recipe,
    output: str | os.PathLike[str],
    *,
    also: Sequence[Sequence[Record]] = (),
    work: str | os.PathLike[str] | None = None,
    restart: bool = False,
    group_column: str = "group",
    like_base: Sequence[str] = (),
    progress: bool = False,
    log: Callable[[str], None] | None = None,
) -> TrainReport:
    """Train a network on `data` and save it as a ``.keras`` file.

    Args:
        data: records with categories; their group decides the side they are on.
        recipe: every choice that the weights depend on. Of a base from a file, width and batch
            normalisation of the convolutions are the file's.
        output: the ``.keras`` file. One that this recipe made of these pictures is left as it
            is; any other is refused, unless `restart` says that it may go.
        also: further data sets, to train on alone.
        work: folder for decoded pictures, the convolutions' outputs and checkpoints. By default
            one beside `output`, removed in the end; a named one is kept, so that other runs on the
            same pictures find them there.
        restart: begin anew where a checkpoint is found, which is gone on from otherwise, and
            replace `output` in the end. Stopped, such a run goes on without it.
        group_column: what the groups are, in words, for the model's record.
        like_base: fields of the recipe that are rather as `vsearch train` made the base with, where
            the base is a file that it made: "input_size", "units".

    Raises:
        ArgumentError, DatasetError, ModelError: what `data`, `recipe` or the base say; another
            model is at `output`.
        ExportError: a file that cannot be written, a download out of reach.
        MissingDependencyError: no Keras, or none of its backends.
    """
    log = log or (lambda line: None)
    target = Path(output).expanduser()
    _check_target(target)
    source = _base(recipe.base, log)
    recipe = _following(recipe, source, like_base, log)
    from .training.catalogue import gather

    catalogue = gather([data, *also], recipe)
    folder = Path(work).expanduser() if work is not None else _own_folder(target)
    asked = digest(recipe, catalogue)
    replaces = Replaces(folder, target, asked)
    # What was stopped after --restart goes on: that the old model may go was said already.
    if not restart and not replaces.said() and is_trained(target, recipe, asked):
        return report_of(target)
    from . import backend
    from .training.run import Run

    backend.prepare_keras()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"the folder {folder} cannot be made ({error.strerror})",
            _CONSEQUENCE,
            "Name another: --work",
        ) from error
    if restart:
        replaces.say()
    run = Run(
        catalogue, recipe, source, folder, target, asked, group_column, progress, log,
        shared=work is not None,
    )  # fmt: skip
    report = run.go(restart)
    replaces.forget()
    if work is None:
        _remove_work(folder)
    return report


def _own_folder(target: Path) -> Path:
    """Where a run keeps what it needs when no folder is named."""
    return target.with_name(f"{target.stem}.training")


def _remove_work(folder: Path) -> None:
    """Take away what a run keeps in its folder, and the folder if nothing else is in it."""
    for pattern in (
        "pixels-*", "outputs-*", "checkpoint.npz", "best.npz", HISTORY, CURVE, ".*.tmp"
    ):  # fmt: skip
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it holds something of the user's
        folder.rmdir()


def _base(spec: str, log: Callable[[str], None]) -> Source:
    """The base that the argument names; its errors speak of training."""
    try:
        return resolve(spec, "block5_pool", log)
    except VsearchError as error:
        cure = (error.cure or "").replace("--weights", "--base")
        raise type(error)(error.cause.replace("--weights", "--base"), _CONSEQUENCE, cure) from error


def _following(
    recipe: Recipe, source: Source, fields: Sequence[str], log: Callable[[str], None]
) -> Recipe:
    """The recipe about this base, with those fields as the base has them where it says so."""
    recipe = dataclasses.replace(recipe, base=source.label, base_sha256=source.sha256)
    theirs = source.training.get("recipe", {})
    taken: dict[str, Any] = {name: int(theirs[name]) for name in fields if name in theirs}
    for name, value in taken.items():
        log(f"--{name.replace('_', '-')} {value}, as of the base {source.label}")
    recipe = dataclasses.replace(recipe, **taken)
    for name in ("pool", "resize", "batch_norm"):
        if name in theirs and theirs[name] != getattr(recipe, name):
            log(f"the base {source.label} was made {option(name, theirs[name])}, unlike this one")
    return recipe


def _check_target(target: Path) -> None:
    if target.suffix != ".keras":
        raise ExportError(
            f"the output {target} does not end in .keras", _CONSEQUENCE, "Name it FILE.keras"
        )
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise ExportError(
            f"{target} cannot be written: "
            + ("it is a folder" if target.is_dir() else f"{target.parent} does not exist"),
            _CONSEQUENCE,
            "Name a file in a folder that is there",
        )
