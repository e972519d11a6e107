"""The report as a picture: a bar a system, a point a pair, each with its interval."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

from ..errors import MissingDependencyError
from ..installing import how_to_install
from ..words import plural
from .report import Figure, Report
from .study import Study

#: Okabe and Ito's palette, which colour-blind readers can tell apart.
_SAME, _SIMILAR, _CATEGORY, _PAIR = "#0072B2", "#56B4E9", "#E69F00", "#009E73"
_INK, _PALE = "#222222", "#8a8a8a"
_BAR = 0.25
#: Characters of a system's name in a line.
_NAME = 28


def draw(study: Study, found: Report, file: Path) -> None:
    """Write a PNG.

    Raises:
        MissingDependencyError: without Matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise MissingDependencyError(
            "Matplotlib is not installed",
            "The chart was not drawn",
            f"Install it with {how_to_install('serve')}",
        ) from None
    panels = [
        (len(items), height, show)
        for items, height, show in ((found.systems, 0.85, _shares), (found.pairs, 0.55, _wins))
        if items
    ]
    rows = [height * count + 1.3 for count, height, _ in panels]
    canvas = Canvas(
        figsize=(8.6, sum(rows) + 0.7),
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12),
        facecolor="white",
    )
    FigureCanvasAgg(canvas)
    grid = canvas.subplots(len(panels), 1, squeeze=False, height_ratios=rows)
    for axes, (_, _, show) in zip(grid[:, 0], panels, strict=True):
        show(axes, study, found)
        _dress(axes)
    people = plural(len(found.raters), "rater")
    canvas.suptitle(
        f"{found.judgements:,} judgements by {people}; "
        "lines are 95% intervals over queries",
        fontsize=10, color=_INK, x=0.02, ha="left",
    )  # fmt: skip
    canvas.savefig(file, format="png", dpi=150)


def _shares(axes: Any, study: Study, found: Report) -> None:
    bars = (
        ("people: same item", _SAME, [s.same for s in found.systems]),
        ("people: same or similar", _SIMILAR, [s.relevant for s in found.systems]),
        ("automatic: same category", _CATEGORY, [s.category for s in found.systems]),
    )
    for place, (label, colour, figures) in enumerate(bars):
        known = [(at, f) for at, f in enumerate(figures) if not math.isnan(f.value)]
        axes.barh(
            [at + (place - 1) * _BAR for at, _ in known], [f.value for _, f in known],
            height=0.88 * _BAR, color=colour, label=label, xerr=_errors([f for _, f in known]),
            error_kw={"ecolor": _INK, "elinewidth": 1.1, "capsize": 2.5},
        )  # fmt: skip
        for at, each in known:
            axes.annotate(
                f"{each.value:.2f}", (1.02, at + (place - 1) * _BAR), va="center", fontsize=8.5,
                color=_INK,
            )  # fmt: skip
    axes.set_yticks(
        range(len(found.systems)),
        [_wrapped(f"{study.systems[s.system].name}\n{s.relevant.queries} queries")
         for s in found.systems],
    )  # fmt: skip
    axes.set_ylim(len(found.systems) - 0.45, -0.55)
    axes.set_title("Match? Share of judgements", loc="left", fontsize=11, color=_INK, pad=26)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, frameon=False, fontsize=9,
        borderaxespad=0.2, handlelength=1.2, columnspacing=1.4,
    )  # fmt: skip


def _wins(axes: Any, study: Study, found: Report) -> None:
    axes.axvline(0.5, color=_PALE, linewidth=1, linestyle="--", zorder=1)
    for at, pair in enumerate(found.pairs):
        if math.isnan(pair.rate.value):
            axes.annotate("no judgement", (0.5, at), ha="center", va="center", color=_PALE)
            continue
        axes.errorbar(
            pair.rate.value, at, xerr=_errors([pair.rate]), fmt="o", markersize=8, color=_PAIR,
            ecolor=_INK, elinewidth=1.1, capsize=3, zorder=3,
        )  # fmt: skip
        p = "" if pair.p is None else f"\np = {pair.p:.2g}"
        axes.annotate(
            f"{pair.rate.value:.2f}{p}", (1.02, at), va="center", fontsize=8.5, color=_INK
        )
    axes.set_yticks(
        range(len(found.pairs)),
        [_wrapped(f"{study.systems[p.first].name}\nagainst {study.systems[p.second].name}")
         for p in found.pairs],
    )  # fmt: skip
    axes.set_ylim(len(found.pairs) - 0.4, -0.6)
    axes.set_title(
        "Which is better? Win rate of the first, ties as half; p of the sign test", loc="left",
        fontsize=11, color=_INK,
    )  # fmt: skip


def _errors(figures: list[Figure]) -> list[list[float]]:
    return [
        [max(0.0, f.value - f.low) for f in figures],
        [max(0.0, f.high - f.value) for f in figures],
    ]


def _wrapped(text: str) -> str:
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, _NAME))


def _dress(axes: Any) -> None:
    axes.set_xlim(0, 1.1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.grid(True, color="#ececec", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_PALE)
    axes.spines["bottom"].set_bounds(0, 1)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.tick_params(axis="y", length=0)
