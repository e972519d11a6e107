"""The picture of a run: a roofline, and who needs how many times our time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ArgumentError, MissingDependencyError
from .roofs import Roofs

#: Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLOURS = {
    "hamming": "#0072B2", "l1": "#D55E00", "l2": "#009E73", "cosine": "#CC79A7", "ip": "#E69F00",
}  # fmt: skip
_NAMES = {
    "hamming": "Hamming", "l1": "L1", "l2": "L2", "cosine": "cosine", "ip": "inner product",
}  # fmt: skip
#: Of the other contenders, each its own.
_MARKERS = "s^vD<>phXP*d"
_INK, _PALE = "#222222", "#8a8a8a"
#: (field of Roofs, label) of the horizontal roofs that are drawn.
_ROOFS = (
    ("byte_dot", "byte multiply-add"),
    ("byte_sad", "byte absolute difference"),
    ("popcount", "population count"),
    ("float_fma", "float32 multiply-add"),
    ("float_sad", "float32 absolute difference"),
)


def plot(record: dict[str, Any], file: Path) -> None:
    """Draw the measured cases of a record (``Session.record``, or the same read from the file that
    ``--json`` wrote), into a file, whose extension chooses the format.

    Of several kinds of data the last is drawn (features, where there are any): the table has all.

    Raises:
        ArgumentError: not a record of measured cases.
        MissingDependencyError: without Matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "Matplotlib is not installed", "The plot was not drawn", "pip install matplotlib"
        ) from None
    try:
        results, machine = record["results"], record["machine"]
        roofs = Roofs(**record["roofs"])
        title = (
            f"{machine['cpu']}, {roofs.threads} threads, {machine['instructions']}; "
            f"{record['dim']} dimensions, k = {results[0]['k']}"
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ArgumentError(
            f"The record holds no measured cases with roofs ({error!r})",
            "The plot was not drawn",
            "Give a file that --json wrote with the part bars",
        ) from error
    timed = [r for r in results if not r["why_not"] and r["data"] == results[-1]["data"]]
    groups = list(dict.fromkeys(_group(r) for r in timed))
    bars = sum(1 for r in timed if not r["ours"])
    height = max(5.0, 1.3 + 0.24 * bars + 0.42 * len(groups))
    figure = Figure(figsize=(13, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    _roofline(left, timed, roofs)
    _bars(right, timed, groups)
    figure.suptitle(title, fontsize=11, color=_INK, x=0.01, ha="left")
    figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


def _group(r: dict[str, Any]) -> tuple[Any, ...]:
    return r["metric"], r["data"], r["rows"], r["queries"]


def _clean(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_PALE)
    axes.tick_params(colors=_INK, which="both", labelsize=9)


def _roofline(axes: Any, timed: list[dict[str, Any]], roofs: Roofs) -> None:
    """Steps a second over steps a byte read, both logarithmic."""
    read = roofs.read / 1e9
    heights = {name: getattr(roofs, name) / 1e9 for name, _ in _ROOFS}
    where = [r["steps"] / r["bytes"] for r in timed] or [1.0]
    low, high = min(0.12, min(where) / 2), max(4000.0, max(where) * 3)
    top = max(heights.values())
    axes.plot([low, top / read], [low * read, top], color=_INK, linewidth=1.4)
    axes.annotate(
        f"memory, {read:.0f} GB/s", (low * 1.3, low * 1.3 * read), rotation=0,
        xytext=(9, -3), textcoords="offset points", fontsize=8.5, color=_INK, va="center",
    )  # fmt: skip
    last = None
    for name, label in sorted(_ROOFS, key=lambda pair: -heights[pair[0]]):
        level = heights[name]
        axes.plot(
            [level / read, high], [level, level], color=_PALE if "float" in name else _INK,
            linewidth=1.0, linestyle="--" if "float" in name else "-",
        )  # fmt: skip
        # Roofs that are close share their place: the lower one's label goes below its line.
        below = last is not None and level > 0.75 * last
        axes.annotate(
            f"{label}, {level:,.0f}", (high, level), xytext=(0, -2.5 if below else 2),
            textcoords="offset points", ha="right", va="top" if below else "bottom",
            fontsize=8.5, color=_PALE if "float" in name else _INK,
        )  # fmt: skip
        last = level
    others = dict.fromkeys(r["contender"] for r in timed if not r["ours"])
    markers = {name: _MARKERS[at % len(_MARKERS)] for at, name in enumerate(others)}
    for r in timed:
        x, y = r["steps"] / r["bytes"], r["steps"] / r["seconds"] / 1e9
        colour = _COLOURS[r["metric"]]
        axes.plot(
            x, y, marker="o" if r["ours"] else markers[r["contender"]],
            markersize=9 if r["ours"] else 5.5,
            markerfacecolor=colour if r["ours"] else "white", markeredgecolor=colour,
            linestyle="none", zorder=3 if r["ours"] else 2,
        )  # fmt: skip
    shown = [metric for metric in _COLOURS if any(r["metric"] == metric for r in timed)]
    handles = [
        axes.plot([], [], "o", color=_COLOURS[m], label=f"vsearch_fast, {_NAMES[m]}")[0]
        for m in shown
    ]
    handles += [
        axes.plot(
            [], [], marker, markerfacecolor="white", markeredgecolor=_PALE, markersize=5.5,
            label=name,
        )[0]
        for name, marker in markers.items()
    ]  # fmt: skip
    axes.legend(handles=handles, loc="lower right", frameon=False, fontsize=8.5)
    axes.set(xscale="log", yscale="log", xlim=(low, high))
    axes.set_ylim(min([low * read, *(r["steps"] / r["seconds"] / 1e9 for r in timed)]) / 2, top * 2)
    axes.set_xlabel("steps a byte read from memory", color=_INK)
    axes.set_ylabel("billion steps a second", color=_INK)
    axes.set_title(
        "Roofline (a step: one feature, or eight signs, of a pair)", fontsize=10, color=_INK,
        loc="left",
    )  # fmt: skip
    axes.grid(True, which="major", color="#ececec", linewidth=0.8)
    axes.set_axisbelow(True)
    _clean(axes)


def _bars(axes: Any, timed: list[dict[str, Any]], groups: list[tuple[Any, ...]]) -> None:
    """Time of each other contender as a multiple of ours, logarithmic."""
    position, ticks, labels = 0.0, [], []
    longest = max([r["ratio"] for r in timed], default=1.0)
    shortest = min([r["ratio"] for r in timed], default=1.0)
    low = min(0.7, shortest / 1.3)
    kinds = {r["data"] for r in timed}
    for group in groups:
        metric, data, rows, queries = group
        ours = next(r for r in timed if _group(r) == group and r["ours"])
        text = f"{_NAMES[metric]}, {rows:,} rows, {queries} quer{'y' if queries == 1 else 'ies'}"
        if len(kinds) > 1:
            text += f", {data}"
        axes.annotate(
            f"{text}: {_time(ours['seconds'])}", (low, position), fontsize=9, va="center",
            color=_COLOURS[metric], weight="bold", xytext=(3, 0), textcoords="offset points",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5}, zorder=4,
        )  # fmt: skip
        position += 1
        others = [r for r in timed if _group(r) == group and not r["ours"]]
        for r in sorted(others, key=lambda r: r["ratio"]):
            axes.barh(
                position, r["ratio"] - low, left=low, height=0.72, color=_COLOURS[metric],
                alpha=0.85,
            )  # fmt: skip
            wrong = f", {r['wrong']:,} of {r['of']:,} wrong" if r["wrong"] else ""
            axes.annotate(
                f"{r['ratio']:,.1f} x{wrong}" if r["ratio"] < 10 else f"{r['ratio']:,.0f} x{wrong}",
                (r["ratio"], position), fontsize=8.5, va="center", color=_INK,
                xytext=(4, 0), textcoords="offset points",
            )  # fmt: skip
            ticks.append(position)
            labels.append(r["contender"])
            position += 1
        position += 0.45
    axes.axvline(1, color=_INK, linewidth=1)
    axes.set(xscale="log", xlim=(low, longest * 6), ylim=(position - 0.2, -0.8))
    axes.set_yticks(ticks, labels)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel("time, as a multiple of vsearch_fast's", color=_INK)
    axes.set_title("Same data, same threads (beside each case: our time)", fontsize=10,
                   color=_INK, loc="left")  # fmt: skip
    _clean(axes)
    axes.tick_params(axis="y", length=0)


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:,.0f} ms"
