"""Hits as text for people, as JSON and as CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..checks import Value
from ..index.likeness import Label
from ..words import distance_text
from .result import Result, value_text

if TYPE_CHECKING:
    from ..embedder.embedder import Skipped


_BOX = ("x1", "y1", "x2", "y2")


def shown(text: str) -> str:
    """Text for a terminal: what would move its cursor, or is no text, escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def skipped_text(skipped: Skipped) -> str:
    """Which picture was left out, and why."""
    name, reason = shown(skipped.name), shown(skipped.reason)
    return f"skipped {reason}" if name in reason else f"skipped {name}: {reason}"


def as_text(results: Sequence[Result]) -> str:
    """A line a hit: rank, distance, id, label where there is one, metadata."""
    blocks = []
    for result in results:
        lines = [f"{shown(result.query)}  ({result.metric}){_within(result)}"]
        if not result.hits:
            lines.append(f"  {shown(result.nothing)}")
        for rank, hit in enumerate(result.hits, 1):
            there = {name: value for name, value in hit.metadata.items() if value is not None}
            known = "  ".join(f"{name}={value_text(value)}" for name, value in there.items())
            label = result.label(hit)
            called = "" if label is None else f"{label}  "
            line = (
                f"{rank:4}  {distance_text(hit.distance):>10}  {shown(hit.id)}  "
                f"{called}{shown(known)}"
            )
            lines.append(line.rstrip())
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _cell(value: Value) -> Value:
    return value_text(value) if isinstance(value, list | tuple) else value


def _within(result: Result) -> str:
    """The part of the photo that was searched for, where it was not the whole."""
    return "" if result.box is None else f"  box {','.join(map(str, result.box))}"


def as_json(results: Sequence[Result], skipped: Sequence[Skipped] = ()) -> str:
    """A list with one object a query and metric; distances in full precision. Where hits had to
    be matches, it says whether there are any, and the threshold (null of an empty index). Photos
    that were skipped follow, with an `error` and no hits."""
    records: list[dict[str, object]] = [
        {
            "query": result.query,
            "box": result.box,
            "metric": result.metric,
            **_verdict(result),
            "hits": [
                {
                    "id": hit.id,
                    "distance": hit.distance,
                    **label_fields(result.label(hit)),
                    "path": hit.path,
                    "box": hit.box,
                    "metadata": dict(hit.metadata),
                }
                for hit in result.hits
            ],
        }
        for result in results
    ]
    records += [{"query": each.name, "error": each.reason, "hits": []} for each in skipped]
    return json.dumps(records, indent=1, ensure_ascii=False)


def label_fields(label: Label | None) -> dict[str, str | float | None]:
    """A label as programs get it; nulls where nothing can be said."""
    if label is None:
        return {"label": None, "probability": None}
    return {"label": label.words, "probability": round(label.probability, 4)}


def _verdict(result: Result) -> dict[str, object]:
    if not result.only_matches:
        return {}
    limit = result.threshold
    return {"match": bool(result.hits), "threshold": None if limit is None else asdict(limit)}


def as_csv(results: Sequence[Result], columns: Sequence[str] | None = None) -> str:
    """A line a hit under a header; metadata columns follow the fixed ones, as `metadata.NAME`.

    ``columns`` are those of the index, so that the header does not depend on what was found; by
    default those that the hits have. Cells are as they are stored: nothing is done against
    spreadsheets that take a cell beginning with ``=`` for a formula, as that would change data
    for programs, which this is for.

    Where hits had to be matches, these are followed by a column `match` ("match" or "no match")
    and one of the threshold, and a query without a match has a line without a rank.
    """
    judged = any(result.only_matches for result in results)
    if columns is None:
        columns = list(dict.fromkeys(n for r in results for hit in r.hits for n in hit.metadata))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fixed: list[object] = [
        "query", "metric", "rank", "id", "distance", "label", "probability", "path", *_BOX
    ]  # fmt: skip
    verdict: list[object] = ["match", "threshold"] if judged else []
    writer.writerow([*fixed, *verdict, *(f"metadata.{name}" for name in columns)])
    for result in results:
        if judged:
            limit = "" if result.threshold is None else repr(result.threshold.distance)
            verdict = ["match" if result.hits else "no match", limit]
        if judged and not result.hits:
            blank = [""] * (len(fixed) - 2)
            writer.writerow([result.query, result.metric, *blank, *verdict, *[""] * len(columns)])
        for rank, hit in enumerate(result.hits, 1):
            fixed = [result.query, result.metric, rank, hit.id, repr(hit.distance)]
            fixed += [*label_fields(result.label(hit)).values(), hit.path]
            fixed += hit.box or ("",) * 4
            writer.writerow(
                [*fixed, *verdict, *(_cell(hit.metadata.get(name)) for name in columns)]
            )
    return out.getvalue()
