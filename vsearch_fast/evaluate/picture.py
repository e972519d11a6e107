"""The table as a picture: bars with intervals, grouped by model, a panel for each question."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

from ..errors import MissingDependencyError
from ..words import JUDGED
from .report import DISTANCES, NOT_RUN, Column, Lookup, heading, others
from .study import ANY, CONTROL, Study

#: Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLOURS = {"l1": "#D55E00", "l2": "#009E73", "hamming": "#0072B2"}
_INK, _PALE = "#222222", "#8a8a8a"
_BAR = 0.26
#: What a measure's title says of the first k, for k = 1.
_OF_ONE = {
    "share of the first k": "nearest matches",
    "is among the first k": "is the nearest match",
    "with the first k": "with the nearest match",
}
#: Characters of a model's name in a line.
_NAME = 26


def check() -> None:
    """MissingDependencyError without Matplotlib, told before hours of work."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "Matplotlib is not installed",
            "Nothing was evaluated: its picture could not be drawn",
            "pip install matplotlib",
        ) from None


def draw(study: Study, file: Path) -> None:
    """P@1 in every scope, and item recall@1 and the attributes where they were measured.

    Raises MissingDependencyError without Matplotlib.
    """
    check()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    look = Lookup(study)
    panels = _panels(look, study)
    places, height = _places(study)
    down = math.ceil(len(panels) / 3)
    across = math.ceil(len(panels) / down)
    size = (3.4 + 4.1 * across, down * (0.9 + 0.72 * height) + 1.1)
    figure = Canvas(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for place in range(down * across):
        axes = grid[place // across][place % across]
        if place >= len(panels):
            axes.set_visible(False)
            continue
        scope, column, rule, title = panels[place]
        _panel(axes, look, places, scope, column, rule)
        axes.set_title("\n".join(textwrap.wrap(title, 46)), fontsize=10, color=_INK, loc="left")
        if place % across == 0:
            labels = ["\n".join(textwrap.wrap(name, _NAME)) for name in places]
            axes.set_yticks(list(places.values()), labels)
            axes.set_ylim(height - 0.45, -0.55)
    handles = [grid[0][0].barh([0], [0], color=_COLOURS[m], label=DISTANCES[m]) for m in JUDGED]
    handles.append(
        grid[0][0].plot([], [], color=_INK, linestyle="--", linewidth=1, label="random pairs")[0]
    )
    if study.lead != ANY:
        handles.append(
            grid[0][0].plot(
                [], [], "D", markerfacecolor="white", markeredgecolor=_INK, markersize=4.5,
                linestyle="none", label="own group allowed",
            )[0]
        )  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9.5
    )
    told = f"{len(study.queries):,} queries among {len(study.sample.records):,} pictures"
    if study.lead != ANY:
        told += "; bars: a query never matches its own group"
    told += "; whiskers: 95% intervals"
    figure.suptitle(
        "\n".join(textwrap.wrap(f"How often the nearest picture is a right one: {told}",
                                round(13 * size[0]))),
        fontsize=10.5, color=_INK, x=0.01, ha="left",
    )  # fmt: skip
    figure.savefig(file, dpi=130)


def _panels(look: Lookup, study: Study) -> list[tuple[str, Column, str, str]]:
    """(scope, column, rule, title) of each panel."""
    panels = []
    for scope in study.scopes:
        if look.figure(scope.title, CONTROL, "", ("P", 1), study.lead) is None:
            continue
        panels.append((scope.title, ("P", 1), study.lead, f"P@1, {scope.title}"))
    whole = study.scopes[0].title
    for column, rule in others(look, study, whole):
        if column[1] == 1:
            title = study.measures[column[0]]
            for of_k, of_one in _OF_ONE.items():
                title = title.replace(of_k, of_one)
            title = f"{heading(column)}: {title}"
            if rule == ANY and study.lead != ANY:
                title += ", own group allowed"
            panels.append((whole, column, rule, title))
    return panels


def _places(study: Study) -> tuple[dict[str, float], float]:
    """Where each row stands on the vertical axis, and the axis' length."""
    ran = {each.row.name for each in study.ran}
    places: dict[str, float] = {}
    at = 0.0
    for row in sorted(study.rows, key=lambda row: row.name not in ran):
        # A row that did not run has no bars, takes less of it, and stands below those that did.
        step = 1.0 if row.name in ran else 0.55
        places[row.name] = at + step / 2 - 0.5
        at += step
    return places, at


def _panel(
    axes: Any, look: Lookup, places: dict[str, float], scope: str, column: Column, rule: str
) -> None:
    entries = {
        line: entry
        for line in look.lines()
        if line[1] in JUDGED and (entry := look.figure(scope, *line, column, rule)) is not None
    }
    free = {
        line: entry
        for line in entries
        if rule != ANY and (entry := look.figure(scope, *line, column, ANY)) is not None
    }
    every = [max(e.value, e.high) for e in entries.values()] + [e.value for e in free.values()]
    reach = min(1.05, max(0.05, 1.06 * max((v for v in every if v == v), default=1.0)))
    for (name, metric), entry in entries.items():
        if math.isnan(entry.value):
            continue
        at = places[name] + (JUDGED.index(metric) - 1) * _BAR
        errors = [[max(0, entry.value - entry.low)], [max(0, entry.high - entry.value)]]
        axes.barh(
            at, entry.value, height=_BAR * 0.9, color=_COLOURS[metric],
            xerr=errors, error_kw={"ecolor": _INK, "elinewidth": 1, "capsize": 2},
        )  # fmt: skip
        if (name, metric) in free:
            axes.plot(
                free[name, metric].value, at, "D", markerfacecolor="white",
                markeredgecolor=_INK, markersize=4.5, zorder=4,
            )  # fmt: skip
        # Left of the bars, where nothing else is drawn.
        axes.annotate(
            f"{entry.value:.3f}", (0, at), xytext=(-4, 0), textcoords="offset points",
            ha="right", va="center", fontsize=8.5, color=_COLOURS[metric], weight="bold",
        )  # fmt: skip
    for name, distance in look.lines():
        if distance == NOT_RUN:
            axes.annotate(
                "not run", (0, places[name]), xytext=(6, 0), textcoords="offset points",
                va="center", fontsize=9, color=_PALE, style="italic",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}, zorder=5,
            )  # fmt: skip
    control = look.figure(scope, CONTROL, "", column, rule)
    if control is not None:
        axes.axvline(control.value, color=_INK, linestyle="--", linewidth=1, zorder=3)
    axes.axvline(0, color=_PALE, linewidth=0.8)
    axes.set_xlim(-0.13 * reach, reach)
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= reach])
    axes.xaxis.grid(True, color="#ececec", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_PALE)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.tick_params(axis="y", length=0)
