"""The picture of a record: what was measured, and what follows for more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .model import CPU, GPU, METRICS, checked, fitted, predicted, projected

#: Okabe and Ito's palette, as in the other plots.
COLOURS = {"l2": "#009E73", "hamming": "#0072B2"}
NAMES = {"l2": "L2", "hamming": "Hamming"}
INK, PALE = "#222222", "#8a8a8a"


def _clean(axes: Any, title: str, across: str, up: str) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK, which="both", labelsize=9)
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel(across, fontsize=9)
    axes.set_ylabel(up, fontsize=9)


def draw(record: dict[str, Any], file: Path) -> None:
    """Three parts: shards on these cores, the model against what was measured, nodes by items."""
    figure = Figure(figsize=(13, 4.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    _shards(left, record["shards"])
    _model(middle, record)
    _nodes(right, record)
    figure.savefig(file, dpi=130)


def _shards(axes: Any, found: dict[str, Any]) -> None:
    counts = [1, 2, 4, 8]
    for metric, seconds in found["metrics"].items():
        colour = COLOURS[metric]
        rates = [found["queries"] / seconds[f"{count} processes"] for count in counts]
        axes.plot(counts, rates, "o-", color=colour, label=f"{NAMES[metric]}, a process a shard")
        whole = found["queries"] / seconds["all threads"]
        axes.axhline(whole, color=colour, linestyle=":", linewidth=1.2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_ylim(0)
    axes.legend(fontsize=8, frameon=False)
    _clean(
        axes, f"Shards on {found['cores']} cores (dotted: one process, as many threads)",
        "shards", "queries a second",
    )  # fmt: skip


def _model(axes: Any, record: dict[str, Any]) -> None:
    searches = record["costs"]["searches"]
    for metric in METRICS:
        costs = fitted(searches, metric)
        for each in searches:
            told = 1e3 * predicted(costs, each["rows"], each["shards"], each["queries"])
            measured = 1e3 * each["seconds"][metric]
            face = COLOURS[metric] if each["held_out"] else "white"
            axes.plot(measured, told, "o", color=COLOURS[metric], markerfacecolor=face)
    axes.set_xscale("log")
    axes.set_yscale("log")
    times = [1e3 * each["seconds"][metric] for each in searches for metric in METRICS]
    low, high = min(times) / 1.5, max(times) * 1.5
    axes.plot([low, high], [low, high], color=INK, linewidth=1)
    for factor in (0.75, 1.25):
        axes.plot(
            [low, high], [low * factor, high * factor], color=PALE, linewidth=0.8, linestyle=":"
        )
    worst = max(abs(each["error"]) for each in checked(record))
    _clean(
        axes, f"The model (filled: not fitted to; off by {worst:.0%} at most)",
        "measured, ms", "predicted, ms",
    )  # fmt: skip


def _nodes(axes: Any, record: dict[str, Any]) -> None:
    rows = projected(record)
    for metric in METRICS:
        for node, style in ((CPU, "o-"), (GPU, "s--")):
            each = [r for r in rows if r["metric"] == metric and r["node"] == node.name]
            label = f"{NAMES[metric]}, {node.name}" + ("" if node.measured else " (not measured)")
            axes.plot(
                [r["items"] for r in each], [r["nodes"] for r in each], style,
                color=COLOURS[metric], label=label, markersize=5,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(top=20 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    _clean(axes, "Projected: nodes that a search needs", "items", "nodes")
