"""One training run: from the pictures of a catalogue to a model and its report."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...disk.replacing import replacing
from ...errors import ArgumentError, ExportError
from ...version import __version__
from ...words import plural
from ..imagenet import credited
from ..weights import Source, write_classes, write_training
from .recipe import Recipe
from .report import TrainReport
from .standing import CURVE, HISTORY, beside, digest

if TYPE_CHECKING:
    from .catalogue import Catalogue
    from .judge import Share, Units
    from .loop import Progress
    from .material import Material
    from .network import Network

_CONSEQUENCE = "Nothing was trained"

#: Pictures that active units are counted on, at most.
_JUDGED = 2000


class Run:
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
        *,
        shared: bool,
    ) -> None:
        """`shared`: other runs use the folder too."""
        self._asked, self._credit = asked, ""
        self.catalogue, self.recipe, self.source = catalogue, recipe, source
        self.folder, self.target, self.group_column = folder, target, group_column
        self.progress, self.log, self.shared = progress, log, shared
        self._test = len(catalogue.of_side("test"))

    def go(self, restart: bool) -> TrainReport:
        from . import judge
        from .feed import Feed
        from .loop import Validation, compiled, run

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
        checkpoints = self.folder / f"run-{run_digest}" if self.shared else self.folder
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
        if self.shared:  # large, and of no use to another run
            shutil.rmtree(checkpoints, ignore_errors=True)
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

    def _prepare(self, network: Network) -> list[str]:
        """Decode or convolve what is learnt from; what cannot be read leaves the catalogue.

        Pictures of the test side are not even opened.
        """
        import numpy as np

        from .catalogue import check
        from .material import Convolved, Decoded

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
        from ..vgg16 import attribution
        from . import network as networks

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

        from . import judge

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
        from . import network as networks

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
        from . import history

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
