"""Epochs, with a checkpoint after each: a run that was stopped goes on to the same weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray
from tqdm import tqdm

from ...disk.replacing import replacing
from ...errors import ExportError
from .feed import Feed
from .losses import CLASS, Contrastive
from .network import OUTPUT
from .recipe import Recipe

#: The share of all steps over which a cosine schedule's learning rate rises first.
WARM_UP = 0.05


@dataclass(eq=False)
class Validation:
    """Pictures that no step sees: the model's inputs (n, ...) and their classes (n,)."""

    inputs: Callable[[int, int], NDArray[np.float32]]
    labels: NDArray[np.int32]
    batch: int = 64

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class Progress:
    """What a run has come to: goes into the checkpoint with the weights."""

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_loss: float | None = None
    best_epoch: int = 0
    stopped_early: bool = False


def compiled(model: keras.Model, recipe: Recipe, classes: int, steps: int) -> keras.Model:
    """`model`, whose first output is the softmax and whose others are features, ready to train."""
    losses: list[Any] = [CrossEntropy(classes, recipe.label_smoothing)]
    weights = [1.0]
    features = len(model.outputs) - 1
    for _ in range(features):
        losses.append(Contrastive(recipe.temperature))
        weights.append(recipe.contrast / features)
    model.compile(
        optimizer=_optimizer(recipe, steps),
        loss=losses if features else losses[0],
        loss_weights=weights if features else None,
        # On TensorFlow slower on CPUs, as measured; JAX without it runs each operation alone.
        jit_compile=keras.config.backend() == "jax",
    )
    return model


@keras.saving.register_keras_serializable(package="vsearch_fast")
class CrossEntropy(keras.losses.Loss):
    """Sparse categorical cross-entropy, with labels smoothed over all classes if asked for.

    C. Szegedy et al., *Rethinking the Inception Architecture*, 2015,
    https://arxiv.org/abs/1512.00567. Takes what `losses.keys` makes.
    """

    def __init__(self, classes: int, smoothing: float = 0.0, name: str = "crossentropy") -> None:
        super().__init__(name=name)
        self.classes, self.smoothing = classes, smoothing

    def get_config(self) -> dict[str, Any]:
        return {"classes": self.classes, "smoothing": self.smoothing, "name": self.name}

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels = ops.cast(y_true[:, CLASS], "int32")
        if not self.smoothing:
            return keras.losses.sparse_categorical_crossentropy(labels, y_pred)
        wanted = ops.one_hot(labels, self.classes)
        return keras.losses.categorical_crossentropy(wanted, y_pred, label_smoothing=self.smoothing)


def _optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    name, rate = recipe.rate()
    schedule: Any = rate
    if recipe.schedule == "cosine":
        total = steps * recipe.epochs
        rising = max(1, round(total * WARM_UP))
        schedule = keras.optimizers.schedules.CosineDecay(
            rate * 1e-3, max(1, total - rising), alpha=1e-3, warmup_target=rate,
            warmup_steps=rising,
        )  # fmt: skip
    decay = recipe.weight_decay or None
    if name == "adadelta":
        made = keras.optimizers.Adadelta(schedule, weight_decay=decay)
    elif name == "sgd":
        made = keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=decay)
    elif name == "adam":
        made = keras.optimizers.Adam(schedule, weight_decay=decay)
    else:
        made = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay)
    if recipe.weight_decay:
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def run(
    model: keras.Model,
    feed: Feed,
    validation: Validation | None,
    recipe: Recipe,
    folder: Path,
    digest: str,
    *,
    progress: bool,
    epoch_done: Callable[[Progress], None],
    log: Callable[[str], None] = lambda line: None,
) -> Progress:
    """Train the compiled `model`, from its checkpoint in `folder` if there is one.

    With a validation side the weights of the epoch with its lowest loss are those that the
    model has in the end, and training stops when `recipe.patience` epochs have not lowered it
    (0: never). Raises ExportError for a checkpoint of another recipe or other pictures.
    """
    checkpoint, best = folder / "checkpoint.npz", folder / "best.npz"
    model.optimizer.build(model.trainable_variables)
    state = _restored(model, checkpoint, digest)
    if state.epoch:
        log(f"going on from the checkpoint in {folder}, after epoch {state.epoch}")
    shown = tqdm(
        total=recipe.epochs * feed.steps, initial=state.epoch * feed.steps, desc="training",
        unit=" batches", disable=not progress, mininterval=0.5,
    )  # fmt: skip
    with shown:
        while state.epoch < recipe.epochs and not state.stopped_early:
            row = _epoch(model, feed, state.epoch, shown)
            if validation is not None:
                row |= evaluated(model, validation, recipe.label_smoothing)
                if state.best_loss is None or row["val_loss"] < state.best_loss:
                    state.best_loss, state.best_epoch = row["val_loss"], state.epoch + 1
                    _save(best, _model_variables(model))
            state.epoch += 1
            state.history.append(row)
            waited = state.epoch - state.best_epoch
            state.stopped_early = (
                validation is not None and 0 < recipe.patience <= waited < recipe.epochs
            )
            _save(checkpoint, _all_variables(model), digest, state)
            shown.set_postfix({k: f"{row[k]:.3f}" for k in ("loss", "val_loss") if k in row})
            epoch_done(state)
    if validation is not None and state.best_epoch:
        try:
            _load(best, _model_variables(model))
        except Exception as error:  # as in `_restored`
            raise _damaged(best, error) from error
    return state


def _epoch(model: keras.Model, feed: Feed, number: int, shown: tqdm) -> dict[str, float]:
    start = time.perf_counter()
    sums: dict[str, float] = {}
    several = len(model.outputs) > 1
    for inputs, told, weights in feed.epoch(number):
        rest = [np.ones_like(weights)] * (len(model.outputs) - 1)
        model.reset_metrics()  # results are then this batch's, on every backend
        results = model.train_on_batch(
            inputs,
            [told] * len(model.outputs) if several else told,
            sample_weight=[weights, *rest] if several else weights,
            return_dict=True,
        )
        if not np.isfinite(results["loss"]):
            raise ExportError(
                f"the loss is {results['loss']} in epoch {number + 1}",
                "Training stopped; the checkpoint of the epoch before is kept",
                "Train again with a lower learning rate, such as --optimizer adadelta:0.1, and "
                "another --output",
            )
        for name, value in results.items():
            sums[name] = sums.get(name, 0.0) + float(value) / feed.steps
        shown.update()
    return {
        "epoch": float(number + 1),
        "seconds": time.perf_counter() - start,
        **{_column(name): value for name, value in sums.items()},
    }


def _column(metric: str) -> str:
    """Keras' name of a loss, as the history calls it: crossentropy, contrast_fc1."""
    output = metric.removesuffix("_loss").removesuffix(OUTPUT)
    if output == metric:
        return metric
    return "crossentropy" if output == "predictions" else f"contrast_{output}"


def evaluated(model: keras.Model, validation: Validation, smoothing: float) -> dict[str, float]:
    """Cross-entropy, smoothed as in training, and share of right first classes."""
    loss, right = 0.0, 0
    for start in range(0, len(validation), validation.batch):
        labels = validation.labels[start : start + validation.batch]
        found = model.predict_on_batch(validation.inputs(start, start + len(labels)))
        p = np.asarray(found[0] if isinstance(found, (list, tuple)) else found, np.float64)
        log_p = np.log(np.maximum(p, 1e-7))
        own = log_p[np.arange(len(labels)), labels]
        loss -= float(((1 - smoothing) * own + smoothing * log_p.mean(axis=1)).sum())
        right += int((p.argmax(axis=1) == labels).sum())
    return {"val_loss": loss / len(validation), "val_accuracy": right / len(validation)}


# Checkpoints: arrays in the order of the model's variables, whatever the backend.


def _model_variables(model: keras.Model) -> list[keras.Variable]:
    return list(model.variables)


def _all_variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


def _save(
    file: Path, variables: list[keras.Variable], digest: str = "", state: Progress | None = None
) -> None:
    """Write the variables whole or not at all, and flushed to the disk."""
    arrays = {f"v{i:04d}": ops.convert_to_numpy(each) for i, each in enumerate(variables)}
    text = json.dumps({"digest": digest, "state": vars(state) if state else None})
    try:
        with replacing(file, flush=True) as temporary, temporary.open("wb") as opened:
            np.savez(opened, meta=np.array(text), **arrays)
    except OSError as error:
        raise ExportError(
            f"the checkpoint cannot be written to {file.parent} ({error.strerror or error})",
            "Training stopped; an earlier checkpoint is as it was",
            "Free some space there, then give the same command to go on",
        ) from error


def _load(file: Path, variables: list[keras.Variable]) -> None:
    with np.load(file) as stored:
        for i, variable in enumerate(variables):
            variable.assign(stored[f"v{i:04d}"])


def _restored(model: keras.Model, checkpoint: Path, digest: str) -> Progress:
    if not checkpoint.is_file():
        return Progress()
    try:
        with np.load(checkpoint) as stored:
            found = json.loads(str(stored["meta"]))
        if found["digest"] == digest:
            _load(checkpoint, _all_variables(model))
            return Progress(**found["state"])
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
        raise _damaged(checkpoint, error) from error
    raise ExportError(
        f"{checkpoint.parent} holds a run of another recipe or of other pictures",
        "Nothing was trained",
        "Name another --output, or pass --restart to begin anew",
    )


def _damaged(file: Path, error: Exception) -> ExportError:
    return ExportError(
        f"the checkpoint {file} cannot be read ({error})",
        "Nothing was trained",
        "Pass --restart to begin anew",
    )
