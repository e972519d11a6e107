"""A study as text for a terminal, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np

from ..version import __version__
from ..words import JUDGED, plural
from .figures import Difference, Figure
from .protocol import FEW
from .sampling import in_words
from .study import ANY, CONTROL, Study

NOT_RUN = "not run"
DISTANCES = {"l2": "L2", "l1": "L1", "hamming": "Hamming", "": "", NOT_RUN: NOT_RUN}
_VERSIONS = ("numpy", "numba", "onnxruntime", "pillow", "simplejpeg", "cupy-cuda12x")

#: Names of the measures' columns: "P@1", "item recall@10".
Column = tuple[str, int]


class Lookup:
    """Figures by what they are of."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._figures = {
            (f.scope, f.row, f.distance, f.measure, f.k, f.rule, f.average): f
            for f in study.figures
        }
        self._differences = {
            (d.scope, d.row, d.other, d.distance, d.measure, d.k, d.average): d
            for d in study.differences
        }

    def figure(
        self,
        scope: str,
        row: str,
        distance: str,
        column: Column,
        rule: str,
        average: str = "micro",
    ) -> Figure | None:
        return self._figures.get((scope, row, distance, *column, rule, average))

    def difference(
        self,
        scope: str,
        row: str,
        other: str,
        distance: str,
        column: Column = ("P", 1),
        average: str = "micro",
    ) -> Difference | None:
        return self._differences.get((scope, row, other, distance, *column, average))

    def columns(self, scope: str, rule: str, measure: str | None = None) -> list[Column]:
        """What was measured: P@k for "P", all else for None."""
        found = {
            (f.measure, f.k): None
            for f in self.study.figures
            if f.scope == scope
            and f.rule == rule
            and (f.measure == measure if measure else f.measure != "P")
        }
        return list(found)

    def lines(self) -> list[tuple[str, str]]:
        """Every line of a table: (row, distance), the control first; `NOT_RUN` as the distance
        of a row that did not run."""
        ran = {each.row.name for each in self.study.ran}
        found = [(CONTROL, "")]
        for row in self.study.rows:
            if row.name in ran:
                found += [(row.name, metric) for metric in JUDGED]
            else:
                found.append((row.name, NOT_RUN))
        return found


def number(value: float, signed: bool = False) -> str:
    """Three decimals; an en dash for what could not be measured."""
    if math.isnan(value):
        return "–"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def _with_interval(entry: Figure | Difference | None) -> str:
    if entry is None:
        return ""
    signed = isinstance(entry, Difference)
    low, high = number(entry.low, signed), number(entry.high, signed)
    return f"{number(entry.value, signed)} ({low} to {high})"


def heading(column: Column) -> str:
    """ "P@1", "item recall@10"."""
    return f"{column[0]}@{column[1]}"


def text(study: Study) -> str:
    """For a terminal, at most 100 columns: P@k, the interval of P@1, and beside it P@1 where
    the own group may be matched."""
    look = Lookup(study)
    out: list[str] = []
    width = max(24, *(len(name) for name, _ in look.lines()))
    beside = study.lead != ANY
    for scope in study.scopes:
        entry = look.figure(scope.title, CONTROL, "", ("P", 1), study.lead)
        if entry is None:
            continue
        out += ["", f"{scope.title}: {_population(study, entry)}"]
        head = f"{'':{width}} {'distance':8} {'P@1':>5} {'95%':^14} {'P@5':>5} {'P@10':>5} "
        head += f"{'macro@1':>7}"
        out.append(head + (f"  {'with own group':>14}" if beside else ""))
        for row, distance in look.lines():
            figures = [
                look.figure(scope.title, row, distance, ("P", k), study.lead) for k in (1, 5, 10)
            ]
            macro = look.figure(scope.title, row, distance, ("P", 1), study.lead, "macro")
            first = figures[0]
            if first is None or macro is None:
                out.append(f"{row:{width}} {DISTANCES[distance]}")
                continue
            interval = f"{number(first.low)}-{number(first.high)}"
            cells = [number(f.value) for f in figures if f is not None]
            line = f"{row:{width}} {DISTANCES[distance]:8} {cells[0]:>5} {interval:^14} "
            line += f"{cells[1]:>5} {cells[2]:>5} {number(macro.value):>7}"
            if beside:
                free = look.figure(scope.title, row, distance, ("P", 1), ANY)
                line += f"  {number(free.value) if free else '':>14}"
            out.append(line)
        columns = others(look, study, scope.title)
        if columns:
            out += ["", *_text_of_others(look, study, scope.title, columns, width)]
    if study.sample.left_out:
        out += ["", "Left out:"]
        out += [f"{count:>9,}: {why}" for why, count in study.sample.left_out.items()]
    for missing in study.not_run:
        out += ["", f"{missing.name}: not run, {missing.why_not}. To have it:"]
        out.append(f"  {missing.command}" if missing.command else "  (no command is known)")
    out += ["", *(f"Note: {note}" for note in _notes(study))]
    return "\n".join(out).strip("\n")


def others(look: Lookup, study: Study, scope: str) -> list[tuple[Column, str]]:
    """Columns beyond P with the rule that they are told under."""
    leading = [(column, study.lead) for column in look.columns(scope, study.lead)]
    items = [(c, ANY) for c in look.columns(scope, ANY) if (c, study.lead) not in leading]
    return items + leading


def _text_of_others(
    look: Lookup, study: Study, scope: str, columns: Sequence[tuple[Column, str]], width: int
) -> list[str]:
    heads = [heading(column) for column, _ in columns]
    out = [f"{'':{width}} {'distance':8} " + "  ".join(heads)]
    for row, distance in look.lines():
        cells = []
        for (column, rule), head in zip(columns, heads, strict=True):
            entry = look.figure(scope, row, distance, column, rule)
            cells.append(f"{number(entry.value) if entry else '':>{len(head)}}")
        out.append(f"{row:{width}} {DISTANCES[distance]:8} {'  '.join(cells)}".rstrip())
    return out


def _population(study: Study, entry: Figure) -> str:
    told = plural(entry.queries, "query", "queries")
    if entry.unmatched:
        told += f", {entry.unmatched:,} without an eligible match (misses)"
    if study.lead != ANY:
        told += "; matches of a query's own group are forbidden"
    return told


def _notes(study: Study) -> list[str]:
    notes = [f"{each.row.name}: {each.row.note}" for each in study.ran if each.row.note]
    notes += [
        f"{each.row.name}: UNTRAINED weights ({each.facts['weights']})"
        for each in study.ran
        if each.facts.get("trained") == "no"
    ]
    groups = len(np.unique(study.sample.groups[study.queries]))
    if groups < FEW:
        notes.append(
            f"the queries are of {plural(groups, 'group')} alone, over which a bootstrap's "
            "intervals are too narrow: more pictures, of more groups, may give quite other figures"
        )
    return notes + study.notes


def markdown(study: Study, command: str) -> str:
    """The whole table: P@k micro and macro with intervals, then all else that was measured,
    then paired differences."""
    look = Lookup(study)
    out = ["# Accuracy", "", *_preamble(study), ""]
    for scope in study.scopes:
        control = look.figure(scope.title, CONTROL, "", ("P", 1), study.lead)
        if control is None:
            continue
        title = scope.title[0].upper() + scope.title[1:]
        out += [f"## {title}", "", f"{_population(study, control)}.".capitalize(), ""]
        if scope.names:
            out += [f"The categories: {', '.join(scope.names)}.", ""]
        if study.lead != ANY:
            out += ["### Own group forbidden", ""]
        out += _precision_table(look, study, scope.title, study.lead)
        if study.lead != ANY:
            out += ["", "### Own group allowed", "", "Inflated: pictures of one group share more "
                    "than the item. The query itself is left out.", ""]  # fmt: skip
            out += _precision_table(look, study, scope.title, ANY)
        columns = others(look, study, scope.title)
        if columns:
            out += ["", "### Items and attributes", "", *_other_titles(study, columns), ""]
            out += _table(
                ["model", "distance", *(heading(column) for column, _ in columns)],
                [
                    [
                        row,
                        DISTANCES[distance],
                        *(
                            _with_interval(look.figure(scope.title, row, distance, column, rule))
                            for column, rule in columns
                        ),
                    ]
                    for row, distance in look.lines()
                ],
            )
        out += ["", "### Paired differences in P@1", "",
                "The first less the second, by the same distance (micro).", ""]  # fmt: skip
        out += _difference_table(look, scope.title)
        out.append("")
    if study.not_run:
        out += ["## Not run", ""]
        out += [f"- {row.name}: {row.why_not}. `{row.command}`" for row in study.not_run]
        out.append("")
    if notes := _notes(study):
        out += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    return "\n".join([*out, "## Command", "", "```", command, "```", ""])


def _preamble(study: Study) -> list[str]:
    sample = study.sample
    groups = len(set(sample.groups.tolist()))
    told = in_words(sample)
    if sample.grouped:
        told += f" and {plural(groups, 'group')}"
    queries = plural(len(study.queries), "query", "queries")
    lines = [f"{told}; {queries}, the same for every row."]
    if sample.left_out:
        reasons = "; ".join(f"{count:,}: {why}" for why, count in sample.left_out.items())
        lines.append(f"Left out: {reasons}.")
    lines.append(
        "P@k is the share of the query's category among the k nearest eligible pictures; micro "
        "is the mean over queries, macro over categories. Brackets hold 95% intervals by a "
        f"bootstrap over groups ({study.options.draws:,} draws, seed {study.options.seed}). The "
        "control is exact: what pairs drawn at random from the same pictures would give."
    )
    return lines


def _other_titles(study: Study, columns: Sequence[tuple[Column, str]]) -> list[str]:
    names = dict.fromkeys((column[0], rule) for column, rule in columns)
    return [
        f"- {name}: {study.measures[name]}"
        + ("; own group allowed" if rule == ANY and study.lead != ANY else "")
        for name, rule in names
    ]


def _precision_table(look: Lookup, study: Study, scope: str, rule: str) -> list[str]:
    columns = look.columns(scope, rule, "P")
    head = ["model", "distance", *map(heading, columns)]
    head += [f"macro {heading(column)}" for column in columns]
    body = [
        [
            row,
            DISTANCES[distance],
            *(
                _with_interval(look.figure(scope, row, distance, column, rule, average))
                for average in ("micro", "macro")
                for column in columns
            ),
        ]
        for row, distance in look.lines()
    ]
    return _table(head, body)


def _table(head: list[str], body: list[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        "|" + "---|" * 2 + "--:|" * (len(head) - 2),
        *map(_table_line, body),
    ]


def _table_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _difference_table(look: Lookup, scope: str) -> list[str]:
    names = list(dict.fromkeys(row for row, distance in look.lines() if distance != NOT_RUN))
    out = [
        _table_line(["model", "less", *map(DISTANCES.__getitem__, JUDGED)]),
        "|---|---" + "|--:" * len(JUDGED) + "|",
    ]
    for place, row in enumerate(names):
        for other in names[:place]:
            cells = [_with_interval(look.difference(scope, row, other, m)) for m in JUDGED]
            out.append(_table_line([row, other, *cells]))
    return out


def as_csv(study: Study) -> str:
    """Every figure, one a line; then a line for each row that was not run."""
    names = [each.name for each in dataclasses.fields(Figure)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, "not_run"])
    for figure in study.figures:
        writer.writerow([*(_plain(getattr(figure, name)) for name in names), ""])
    for row in study.not_run:
        cells = {"row": row.name, "scope": study.scopes[0].title}
        writer.writerow([*(cells.get(name, "") for name in names), row.command or row.why_not])
    return out.getvalue()


def as_json(study: Study, command: str, asked: str = "") -> str:
    """All of it, with what it depends on."""
    versions = {"vsearch_fast": __version__, "python": platform.python_version()}
    for name in _VERSIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    record: dict[str, Any] = {
        "asked": asked,
        "command": command,
        "versions": versions,
        "options": dataclasses.asdict(study.options),
        "data": study.description,
        "leading_rule": study.lead,
        "scopes": [dataclasses.asdict(scope) for scope in study.scopes],
        "measures": study.measures,
        "models": [
            {
                "name": each.row.name,
                "note": each.row.note,
                **each.facts,
                "training": {
                    **{k: v for k, v in each.training.entry.items() if k != "trained_groups"},
                    "trained_groups": len(each.training.groups),
                }
                if each.training.entry
                else None,
            }
            for each in study.ran
        ],
        "not_run": [
            {"name": row.name, "why": row.why_not, "command": row.command, "note": row.note}
            for row in study.not_run
        ],
        "figures": [_record(figure) for figure in study.figures],
        "differences": [_record(difference) for difference in study.differences],
    }
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    """Floats as the shortest text that gives them back; nothing for NaN."""
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 6)
    return value


def _record(entry: Any) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in dataclasses.asdict(entry).items()
    }
