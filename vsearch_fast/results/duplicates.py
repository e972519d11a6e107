"""Groups of copies, and what an index has of new pictures: as text, JSON, CSV and a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..index.duplicates import Arrival, Duplicate, DuplicateGroup, Kind, described
from ..words import distance_text, plural
from .page import write_template
from .text import shown

if TYPE_CHECKING:
    from ..embedder.embedder import Skipped

#: What groups of a kind are called, and a copy beside the best one.
GROUPS: dict[Kind, str] = {
    "file": "identical files",
    "pixels": "identical pixels",
    "near": "near-duplicates",
}
COPIES: dict[Kind, str] = {"file": "same file", "pixels": "same pixels", "near": "near"}

#: Groups that a page shows: each takes some 30 kB.
PAGE_GROUPS = 1000

_FIELDS = ("width", "height", "sharpness", "bytes")
_BOX = ("x1", "y1", "x2", "y2")

Skips = Sequence["Skipped"]


def seen_text(copy: Duplicate) -> str:
    """Size, sharpness and bytes, as far as they are known."""
    parts = []
    if copy.width is not None:
        parts += [f"{copy.width}x{copy.height}", f"sharpness {copy.sharpness:.4g}"]
    if copy.bytes is not None:
        parts.append(f"{copy.bytes:,} bytes")
    return ", ".join(parts)


def _lines(copies: Sequence[Duplicate], first: str) -> list[str]:
    """A line a copy; ``first`` is what the first one is called instead of its kind."""
    lines = []
    for number, copy in enumerate(copies):
        called = first if number == 0 and first else COPIES[copy.kind]
        index = "" if copy.index is None else f"  [{shown(copy.index)}]"
        about = seen_text(copy)
        lines.append(
            f"  {called:11}  {distance_text(copy.distance):>10}  {shown(copy.id)}{index}"
            + (f"  ({about})" if about else "")
        )
    return lines


def groups_text(groups: Sequence[DuplicateGroup]) -> str:
    """A block a group, the best copy first, and the counts."""
    blocks = []
    for number, group in enumerate(groups, 1):
        head = f"{number}  {GROUPS[group.kind]}  ({plural(len(group.items), 'picture')})"
        blocks.append("\n".join([head, *_lines(group.items, "best")]))
    blocks.append(described(groups))
    return "\n\n".join(blocks)


def _copy_fields(copy: Duplicate) -> dict[str, object]:
    fields: dict[str, object] = {"id": copy.id, "path": copy.path}
    if copy.index is not None:
        fields["index"] = copy.index
    fields |= {"distance": copy.distance, "kind": copy.kind, "box": copy.box}
    return fields | {name: getattr(copy, name) for name in _FIELDS}


def groups_json(groups: Sequence[DuplicateGroup]) -> str:
    """``{"groups": [{"kind", "items": [{"id", "path", "distance", ...}]}]}``, best first."""
    listed = [
        {"kind": group.kind, "items": [_copy_fields(copy) for copy in group.items]}
        for group in groups
    ]
    return json.dumps({"groups": listed}, indent=1, ensure_ascii=False)


def _row(copy: Duplicate) -> list[object]:
    return [
        copy.id, repr(copy.distance), copy.kind, copy.path,
        *(getattr(copy, name) for name in _FIELDS), *(copy.box or ("",) * 4),
    ]  # fmt: skip


_COLUMNS = ["id", "distance", "kind", "path", *_FIELDS, *_BOX]


def groups_csv(groups: Sequence[DuplicateGroup]) -> str:
    """A line a picture: its group, the group's kind, and its rank there, 1 being the best."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["group", "group_kind", "rank", *_COLUMNS, "index"])
    for number, group in enumerate(groups, 1):
        for rank, copy in enumerate(group.items, 1):
            writer.writerow([number, group.kind, rank, *_row(copy), copy.index])
    return out.getvalue()


def arrivals_text(arrivals: Sequence[Arrival]) -> str:
    """A block for each new picture that is there, a line for each that is not, and the counts."""
    blocks, fresh = [], []
    for arrival in arrivals:
        if arrival.there is None:
            fresh.append(f"{shown(arrival.path)}  not there")
            continue
        head = f"{shown(arrival.path)}  is there: {COPIES[arrival.there.kind]}"
        blocks.append("\n".join([head, *_lines(arrival.there.items, "")]))
    if fresh:
        blocks.append("\n".join(fresh))
    there = len(arrivals) - len(fresh)
    blocks.append(f"{there:,} of {plural(len(arrivals), 'new picture')} there")
    return "\n\n".join(blocks)


def arrivals_json(arrivals: Sequence[Arrival], skipped: Skips = ()) -> str:
    """``groups`` as `groups_json`, each with the ``new`` picture's path, and the same nearest
    first; ``not_there``, paths; ``skipped``, with an ``error``."""
    told = {
        "groups": [
            {
                "kind": arrival.there.kind,
                "new": arrival.path,
                **{f"new_{name}": getattr(arrival.look, name) for name in _FIELDS},
                "items": [_copy_fields(copy) for copy in arrival.there.items],
            }
            for arrival in arrivals
            if arrival.there is not None
        ],
        "not_there": [arrival.path for arrival in arrivals if arrival.there is None],
        "skipped": [{"path": each.name, "error": each.reason} for each in skipped],
    }
    return json.dumps(told, indent=1, ensure_ascii=False)


def arrivals_csv(arrivals: Sequence[Arrival]) -> str:
    """A line for each picture that a new one is there as; one without a rank where it is not."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["new", "rank", *_COLUMNS])
    for arrival in arrivals:
        if arrival.there is None:
            writer.writerow([arrival.path, *[""] * (1 + len(_COLUMNS))])
            continue
        for rank, copy in enumerate(arrival.there.items, 1):
            writer.writerow([arrival.path, rank, *_row(copy)])
    return out.getvalue()


def write_groups(
    file: Path,
    groups: Sequence[DuplicateGroup],
    *,
    facts: Sequence[tuple[str, str]] = (),
    most: int = PAGE_GROUPS,
) -> None:
    """The page of groups, the first ``most`` of them."""
    sections = (
        {"title": f"{number}. {GROUPS[group.kind]}", "new": None, "group": group}
        for number, group in enumerate(islice(groups, most), 1)
    )
    _write(file, "Duplicates", sections, len(groups), most, described(groups), facts)


def write_arrivals(
    file: Path,
    arrivals: Sequence[Arrival],
    *,
    facts: Sequence[tuple[str, str]] = (),
    most: int = PAGE_GROUPS,
) -> None:
    """The page of new pictures that are there, the first ``most`` of them."""
    there = [arrival for arrival in arrivals if arrival.there is not None]
    sections = (
        {"title": "", "new": arrival.path, "group": arrival.there} for arrival in there[:most]
    )
    told = f"{len(there):,} of {plural(len(arrivals), 'new picture')} there"
    _write(file, "New pictures that are there", sections, len(there), most, told, facts)


def _write(
    file: Path,
    title: str,
    sections: object,
    count: int,
    most: int,
    told: str,
    facts: Sequence[tuple[str, str]],
) -> None:
    left = max(0, count - most)
    rest = f"{plural(left, 'more is', 'more are')} not on this page: --json and --csv have all."
    write_template(
        file, "duplicates.html", title=title, sections=sections, told=told, facts=facts,
        rest=rest if left else "", kinds=COPIES, about=seen_text,
    )  # fmt: skip
