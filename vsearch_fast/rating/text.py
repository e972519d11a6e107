"""The report as a table to read, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..words import plural
from .report import Alpha, Figure, Pair, Report
from .study import Study

COLUMNS = (
    "measure", "system", "other", "value", "low", "high", "interval", "queries", "judgements",
    "note",
)  # fmt: skip

_EXPLAINED = (
    'Shares and rates leave out "can\'t say". [low, high] is a 95% interval over queries: a '
    "bootstrap, or Wilson's (marked w) for fewer than 10 queries and for shares of 0 and 1."
)


def table(study: Study, found: Report) -> str:
    """For a terminal: every figure with its interval and what it was taken from."""
    return "\n".join(_lines(study, found)) + "\n"


def as_csv(study: Study, found: Report) -> str:
    """A line a figure; `COLUMNS`. Empty: there is no such value, and `note` says why."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_records(study, found))
    return out.getvalue()


def as_json(study: Study, found: Report) -> str:
    """The report's attributes, systems by name, and the study's settings; null for NaN."""
    content = {
        "study": {
            "settings": asdict(study.settings),
            "systems": [asdict(system) for system in study.systems],
            "queries": len(study.queries),
        },
        **asdict(found),
    }
    for shares in content["systems"]:
        shares["system"] = study.systems[shares["system"]].name
    for pair in content["pairs"]:
        for name in ("first", "second"):
            pair[name] = study.systems[pair[name]].name
    return json.dumps(_without_nan(content), indent=1, ensure_ascii=False) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(study: Study, found: Report) -> Iterator[str]:
    people = ", ".join(f"{name} ({count})" for name, count in found.raters.items())
    yield (
        f"{found.judgements:,} judgements by {plural(len(found.raters), 'rater')}"
        f"{': ' + people if people else ''}"
    )
    if found.systems:
        depth = study.settings.judged
        what = "the first result" if depth == 1 else f"each of the first {depth} results"
        yield f"\nMatch? Is {what} the query's item? Shares of judgements"
        yield from _grid(
            ("system", "same item", "same or similar", "same category", "category P@1",
             "queries", "judged", "can't say"),
            [
                (
                    study.systems[s.system].name, _shown(s.same), _shown(s.relevant),
                    _shown(s.category), _number(s.category_p1), f"{s.relevant.queries}",
                    f"{s.relevant.judgements}", f"{s.unsure}",
                )
                for s in found.systems
            ],
        )  # fmt: skip
        yield _agreement(found.match_alpha)
    if found.category_match is not None:
        (neither, only_category), (only_people, both) = found.category_match.table
        if found.category_match.agreement.judgements:
            kappa = found.category_match.kappa
            yield (
                "People's same or similar against the same category: agreement "
                f"{_shown(found.category_match.agreement)}, Cohen's kappa "
                f"{'not defined' if kappa is None else _number(kappa)} (both {both}, people only "
                f"{only_people}, category only {only_category}, neither {neither})"
            )
        else:
            yield (
                "Agreement with the category: no judgement of pictures with a "
                f"{study.settings.category!r}"
            )
    if found.pairs:
        yield "\nWhich is better? Win rate of the first, ties as half"
        yield from _grid(
            ("first", "second", "win rate", "wins/ties/losses", "queries won/lost/even",
             "sign test p", "can't say", "identical rows", "with those as ties"),
            [
                (
                    study.systems[p.first].name, study.systems[p.second].name, _shown(p.rate),
                    f"{p.wins}/{p.ties}/{p.losses}", f"{p.won}/{p.lost}/{p.undecided}",
                    _p(p), f"{p.unsure}", f"{p.identical:.0%}", _shown(p.overall),
                )
                for p in found.pairs
            ],
        )  # fmt: skip
        yield _agreement(found.better_alpha)
    choice = found.category_choice
    if choice is not None:
        if choice.agreement.judgements:
            told = (
                f"{_shown(choice.agreement)} of {choice.agreement.judgements} choices fell on the "
                "row with more results of the query's category"
            )
        else:
            told = "no choice between rows of which one has more results of the query's category"
        yield f"Agreement with the category: {told}; in {choice.level} both had as many"
    yield f"\n{_EXPLAINED}"


def _agreement(alpha: Alpha | None) -> str:
    if alpha is None or alpha.value is None:
        return f"Agreement between raters: none to tell, {alpha.why if alpha else 'no answers'}"
    return (
        f"Agreement between raters: Krippendorff's alpha ({alpha.level}) {_number(alpha.value)}, "
        f"{alpha.raters} raters, {alpha.units} questions in common"
    )


def _p(pair: Pair) -> str:
    if pair.p is None:
        return "-"
    return f"{pair.p:.3f}" if pair.p >= 0.001 else f"{pair.p:.1e}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _shown(figure: Figure) -> str:
    if math.isnan(figure.value):
        return "-"
    mark = "w" if figure.interval == "Wilson" else ""
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]{mark}"


def _grid(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    for line in (heads, ["-" * width for width in widths], *lines):
        yield "  ".join(
            f"{text:<{width}}" for text, width in zip(line, widths, strict=True)
        ).rstrip()


def _records(study: Study, found: Report) -> Iterator[tuple[Any, ...]]:
    names = [system.name for system in study.systems]
    for s in found.systems:
        for measure, of in (
            ("same", s.same), ("same or similar", s.relevant),
            ("same category, of judgements with categories", s.category),
            ("same or similar, of judgements with categories", s.relevant_of_those),
        ):  # fmt: skip
            yield _record(measure, of, names[s.system])
        yield ("can't say", names[s.system], "", s.unsure, "", "", "", "", "", "judgements")
        yield (
            "category P@1", names[s.system], "", _cell(s.category_p1), "", "", "", "", "",
            "all queries of the study that have a category",
        )  # fmt: skip
    for p in found.pairs:
        first, second = names[p.first], names[p.second]
        yield _record("win rate", p.rate, first, second)
        yield _record("win rate, identical rows as ties", p.overall, first, second)
        for measure, value in (
            ("wins", p.wins), ("losses", p.losses), ("ties", p.ties), ("can't say", p.unsure),
            ("queries won", p.won), ("queries lost", p.lost), ("queries even", p.undecided),
            ("identical rows", p.identical),
        ):  # fmt: skip
            yield (measure, first, second, value, "", "", "", "", "", "")
        why = "no query has a majority" if p.p is None else "exact, two-sided, over queries"
        yield ("sign test p", first, second, _cell(p.p), "", "", "", p.won + p.lost, "", why)
    for mode, alpha in (("match", found.match_alpha), ("better", found.better_alpha)):
        if alpha is not None:
            note = alpha.why or f"{alpha.level}, {alpha.raters} raters, {alpha.units} questions"
            yield (f"alpha, {mode}", "", "", _cell(alpha.value), "", "", "", "", "", note)
    if found.category_match is not None:
        yield _record("agreement of same or similar with category", found.category_match.agreement)
        kappa = found.category_match.kappa
        note = "not defined" if kappa is None else ""
        yield ("kappa with category", "", "", _cell(kappa), "", "", "", "", "", note)
    if found.category_choice is not None:
        yield _record("agreement of choices with category", found.category_choice.agreement)


def _record(measure: str, of: Figure, system: str = "", other: str = "") -> tuple[Any, ...]:
    return (
        measure, system, other, _cell(of.value), _cell(of.low), _cell(of.high), of.interval,
        of.queries, of.judgements, "" if of.judgements else "no judgements",
    )  # fmt: skip


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}"
