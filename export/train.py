"""Re-trains a VGG-16 on a catalogue: a new fc1 before a softmax over its categories.

::

    --data, --also -> catalogue.py   classes, groups, sides
    --base         -> network.py     convolutions and dense layers
                   -> frozen.py      the convolutions' outputs, once; or with --unfreeze
                   -> pictures.py    the pictures, decoded once
                   -> feed.py        batches that follow from (seed, epoch)
                   -> loop.py        epochs and checkpoints
                   -> judge.py       active units, dead bits, matches on the unseen side
                   -> one .keras file for `vsearch export`, a CSV and a picture of its history

The default recipe keeps the convolutions and learns the new layers by cross-entropy. On the
command line: ``vsearch train --help``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.records import Record
from ..disk.replacing import replacing
from ..errors import ArgumentError, ExportError, VsearchError
from ..version import __version__
from ..words import plural
from .imagenet import credited
from .training.recipe import Recipe
from .training.standing import CURVE, HISTORY, Replaces, beside, digest, is_trained, option
from .weights import (
    Source,
    read_classes,
    read_training,
    resolve,
    write_classes,
    write_training,
)

if TYPE_CHECKING:
    from .training.catalogue import Catalogue
    from .training.judge import Share, Units
    from .training.loop import Progress
    from .training.material import Material
    from .training.network import Network

__all__ = ["Recipe", "TrainReport", "train"]

_CONSEQUENCE = "Nothing was trained"

#: Pictures that active units are counted on, at most.
_JUDGED = 2000


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
        return _report_of(target)
    from . import backend

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
    run = _Run(catalogue, recipe, source, folder, target, asked, group_column, progress, log)
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


def _report_of(target: Path) -> TrainReport:
    """The report of a model that is there, from what it says of itself."""
    from .training.judge import Share, Units

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


class _Run:
    """One training run, from the pictures to the report."""

    def __init__(
        self,
        catalogue: Catalogue,
        recipe: Recipe,
        source: Source,
        folder: Path,
        target: Path,
        asked: str,
        group_column: str,
        progress: bool,
        log: Callable[[str], None],
    ) -> None:
        self._asked, self._credit = asked, ""
        self.catalogue, self.recipe, self.source = catalogue, recipe, source
        self.folder, self.target, self.group_column = folder, target, group_column
        self.progress, self.log = progress, log
        self._test = len(catalogue.of_side("test"))

    def go(self, restart: bool) -> TrainReport:
        from .training import judge
        from .training.feed import Feed
        from .training.loop import Validation, compiled, run

        recipe = self.recipe
        for note in self.catalogue.notes:
            self.log(note)
        self.log(self._sides_in_words())
        network = self._network()
        skipped = self._prepare(network)
        catalogue, material = self.catalogue, self.material
        val = catalogue.of_side("val")
        feed = Feed(catalogue, recipe, material.varied())
        validation = None
        if len(val):
            validation = Validation(
                lambda start, end: material.plain(val[start:end]), catalogue.labels[val]
            )
        outputs = ["predictions"]
        if recipe.loss == "contrastive":
            outputs += network.shape.dense
        model = network.whole(*outputs) if recipe.unfreeze else network.behind(*outputs)
        run_digest = digest(recipe, catalogue)
        checkpoints = self.folder / f"run-{run_digest}" if self._work_is_shared() else self.folder
        checkpoints.mkdir(exist_ok=True)
        if restart:
            for name in ("checkpoint.npz", "best.npz"):
                (checkpoints / name).unlink(missing_ok=True)
        compiled(model, recipe, len(catalogue.classes), feed.steps)
        state = run(
            model, feed, validation, recipe, checkpoints, run_digest,
            progress=self.progress, log=self.log,
            epoch_done=lambda state: self._write_history(state, checkpoints / HISTORY,
                                                         checkpoints / CURVE),
        )  # fmt: skip
        units, matches = self._judged(network, val)
        self._save(network, units, matches, state)
        # Not before: an older model keeps its own until it is replaced.
        history, curve = beside(self.target, HISTORY), beside(self.target, CURVE)
        self._write_history(state, history, curve)
        warnings = [
            f"{name}: {text}"
            for name, found in units.items()
            for text in found.warnings(recipe.batch_norm)
        ] + judge.few(matches, len(val), len(set(catalogue.groups[val].tolist())))
        best = state.history[(state.best_epoch or state.epoch) - 1]
        return TrainReport(
            path=self.target,
            history=history,
            curve=curve,
            classes=catalogue.classes,
            sides=self._sides(),
            epochs=state.epoch,
            best_epoch=state.best_epoch or state.epoch,
            units=units,
            matches=matches,
            val={name: best[name] for name in ("val_loss", "val_accuracy") if name in best},
            skipped=skipped,
            notes=catalogue.notes,
            warnings=warnings,
        )

    def _work_is_shared(self) -> bool:
        return self.folder != _own_folder(self.target)

    def _prepare(self, network: Network) -> list[str]:
        """Decode or convolve what is learnt from; what cannot be read leaves the catalogue.

        Pictures of the test side are not even opened.
        """
        import numpy as np

        from .training.catalogue import check
        from .training.material import Convolved, Decoded

        recipe, source = self.recipe, self.source
        seen = np.flatnonzero(self.catalogue.sides != "test")
        records = [self.catalogue.records[i] for i in seen]
        self.material: Material
        if recipe.unfreeze:
            self.material = Decoded(records, recipe, self.folder, self.log, self.progress)
        else:
            weights = f"{source.label} {source.sha256}"
            self.material = Convolved(
                network, weights, records, recipe, self.folder, self.log, self.progress
            )
        failed = self.material.failed
        readable = np.array([row for row in range(len(seen)) if row not in failed], np.intp)
        self.material.keep(readable)
        kept = np.zeros(len(self.catalogue), bool)
        kept[seen[readable]] = True
        self.catalogue = self.catalogue.keep(kept)
        if failed:
            told = plural(len(failed), "picture")
            self.log(f"{told} cannot be read, such as: {min(failed.items())[1]}")
            check(self.catalogue, recipe)
            self.log(f"without what cannot be read: {self._sides_in_words()}")
        return [failed[row] for row in sorted(failed)]

    def _sides(self) -> dict[str, int]:
        return {
            **{side: len(self.catalogue.of_side(side)) for side in ("train", "val")},
            "test": self._test,
        }

    def _network(self) -> Network:
        from .training import network as networks
        from .vgg16 import attribution

        recipe, base = self.recipe, None
        width: float | tuple[int, ...] = recipe.width
        body_norm = recipe.batch_norm
        if self.source.kind != "random":
            base = networks.load_base(self.source)
            self._credit = attribution(base, self.source.training)
            width, body_norm = networks.channels_and_norm(base)
            asked = networks.Shape(recipe.width)
            if recipe.width != 1 and tuple(map(asked.channels, range(1, 6))) != width:
                raise ArgumentError(
                    f"--width {recipe.width:g}, and the base {self.source.label} has "
                    f"{', '.join(map(str, width))} channels",
                    _CONSEQUENCE,
                    "Leave --width out: it is for a random base",
                )
        shape = networks.Shape(
            width, recipe.input_size, body_norm, recipe.batch_norm, recipe.dense, recipe.units,
            recipe.pool,
        )  # fmt: skip
        network = networks.build(shape, len(self.catalogue.classes), recipe.seed)
        if base is None:
            if self.source.seed != recipe.seed:
                networks.draw(network, self.source.seed or 0, networks.CONVOLUTIONS)
        else:
            taken = networks.take(network, base, dense=recipe.unfreeze)
            dense = [name for name in taken if not name.startswith("block")]
            self.log(
                f"base {self.source.label}: convolutions{' and ' if dense else ''}"
                f"{', '.join(dense)} taken, the rest drawn from seed {recipe.seed}"
            )
        network.body.trainable = recipe.unfreeze
        self._channels = [shape.channels(block) for block in range(1, 6)]
        return network

    def _judged(self, network: Network, val: Any) -> tuple[dict[str, Units], dict[str, Share]]:
        """Active units over a sample of all that was learnt from, and matches on the val side."""
        import numpy as np

        from .training import judge

        catalogue = self.catalogue
        sample = np.random.default_rng(self.recipe.seed).permutation(len(catalogue))[:_JUDGED]
        units = {name: judge.units(each) for name, each in self._features(network, sample).items()}
        if len(np.unique(catalogue.groups[val])) < 2:
            return units, {}
        features = self._features(network, val)[network.shape.dense[0]]
        return units, judge.matches(features, catalogue.labels[val], catalogue.groups[val])

    def _features(self, network: Network, chosen: Any) -> dict[str, Any]:
        """Each dense layer's output for the chosen pictures, by name."""
        import numpy as np

        names = network.shape.dense
        model = network.whole(*names) if self.recipe.unfreeze else network.behind(*names)
        parts: list[list[np.ndarray]] = []
        for start in range(0, len(chosen), 32):
            found = model.predict_on_batch(self.material.plain(chosen[start : start + 32]))
            parts.append([np.asarray(each) for each in (found if len(names) > 1 else [found])])
        return {name: np.concatenate([p[i] for p in parts]) for i, name in enumerate(names)}

    def _save(
        self, network: Network, units: dict[str, Units], matches: dict[str, Share], state: Progress
    ) -> None:
        from .training import network as networks

        network.body.trainable = True  # a frozen layer would stay so in the file
        try:
            with replacing(self.target) as temporary:
                networks.saved(network).save(temporary)
                write_classes(temporary, self.catalogue.classes)
                write_training(temporary, self._record(units, matches, state))
        except OSError as error:
            raise ExportError(
                f"{self.target} cannot be written ({error.strerror or error})",
                f"The model was not saved; its checkpoint is in {self.folder}",
                "Free some space, then give the same command again",
            ) from error

    def _record(
        self, units: dict[str, Units], matches: dict[str, Share], state: Progress
    ) -> dict[str, Any]:
        import keras

        catalogue, recipe = self.catalogue, self.recipe
        return {
            "asked": self._asked,
            "recipe": recipe.as_json(),
            "channels": self._channels,
            "pictures": self._sides(),
            "classes": "all" if recipe.classes == "all" else catalogue.classes,
            "group_column": self.group_column,
            "split_seed": recipe.split_seed,
            "shares": dict(recipe.shares),
            "trained_groups": catalogue.trained_groups(),
            "epochs": state.epoch,
            "best_epoch": state.best_epoch or state.epoch,
            "units": {name: dataclasses.asdict(found) for name, found in units.items()},
            "matches": {name: share.value for name, share in matches.items()},
            "intervals": {name: share[1:] for name, share in matches.items()},
            **({"attribution": credited(self._credit)} if self._credit else {}),
            "versions": {
                "vsearch_fast": __version__,
                "keras": keras.__version__,
                "backend": keras.config.backend(),
            },
        }

    def _write_history(self, state: Progress, file: Path, curve: Path) -> None:
        from .training import history

        history.write_csv(file, state.history)
        history.draw(curve, state.history, state.best_epoch, self.target.stem)

    def _sides_in_words(self) -> str:
        catalogue = self.catalogue
        parts = [f"{pictures:,} {side}" for side, pictures in self._sides().items()]
        handled = {
            "weights": "classes weigh inversely to the root of their frequency",
            "draws": "pictures are drawn inversely to the roots of their class' and group's sizes",
            "none": "classes weigh as often as they come",
        }[self.recipe.balance]
        import numpy as np

        counts = np.bincount(catalogue.labels[catalogue.of_side("train")])
        counts = counts[counts > 0]
        return (
            f"{len(catalogue.classes)} classes of {counts.min():,} to {counts.max():,} pictures; "
            f"{', '.join(parts)}; {handled}"
        )
