"""The history of a run, as CSV and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ...disk.replacing import replace_text, replacing

_FIRST = ("epoch", "seconds", "loss", "val_loss", "val_accuracy")


def write_csv(file: Path, history: Sequence[dict[str, float]]) -> None:
    """A line an epoch; columns that only some losses have come last."""
    more = sorted({name for row in history for name in row} - set(_FIRST))
    columns = [name for name in _FIRST if any(name in row for row in history)] + more
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in history:
        writer.writerow(
            [f"{row[name]:g}" if name == "epoch" else f"{row[name]:.6g}" if name in row else ""
             for name in columns]
        )  # fmt: skip
    replace_text(file, text.getvalue(), flush=True)


def draw(file: Path, history: Sequence[dict[str, float]], best_epoch: int, title: str) -> None:
    """The curves of loss and accuracy by epoch, as PNG; nothing without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        return
    accuracy = [row["val_accuracy"] for row in history if "val_accuracy" in row]
    figure = Figure(figsize=(9 if accuracy else 5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if accuracy else 1, squeeze=False)[0]
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) < 40 else ""
    for name, label in (
        ("loss", "train, in all"),
        ("crossentropy", "train, cross-entropy"),
        ("val_loss", "val, cross-entropy"),
    ):
        if name in history[0]:
            axes[0].plot(epochs, [row[name] for row in history], label=label, marker=marker, ms=3)
    if accuracy:
        axes[1].plot(epochs, accuracy, color="C1", marker=marker, ms=3)
        axes[1].set_ylabel("val accuracy")
        axes[1].set_ylim(0, max(accuracy) * 1.1 or 1)
    axes[0].set_ylabel("loss")
    for each in axes:
        each.set_xlabel("epoch")
        each.xaxis.set_major_locator(MaxNLocator(integer=True))
        each.grid(alpha=0.3)
        if best_epoch:
            each.axvline(best_epoch, color="grey", ls=":", lw=1, label="kept")
    axes[0].legend()
    figure.suptitle(title)
    with replacing(file) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
