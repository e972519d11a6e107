"""Docstrings as Markdown: they are written to be read in a terminal, too.

A line `::` before a drawing goes; "`name`   what it is" becomes an item of a list; and a table of
reStructuredText becomes one of Markdown.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_TERM = re.compile(r"^((?:`[^`]+`,? ?)+?) {2,}(\S.*)$")
_RULE = re.compile(r"^={3,}(?: +={3,})+$")


class Docstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """The same text; what is no Markdown in it, turned into some."""
    out: list[str] = []
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if line.strip() == "::":
            continue
        if _RULE.match(line.strip()):
            end = next(
                (n for n in range(len(lines) - 1, number, -1) if _RULE.match(lines[n].strip())),
                number,
            )
            out += _table(line.strip(), [row.strip() for row in lines[number:end]])
            number = end + 1
            continue
        term = _TERM.match(line)
        if term is None:
            out.append(re.sub(r"(\w)::$", r"\1:", line))
            continue
        if out and out[-1].strip() and not out[-1].startswith(("- ", "  ")):
            out.append("")
        words = [term[2]]
        while number < len(lines) and lines[number].startswith("  "):
            words.append(lines[number].strip())
            number += 1
        out.append(f"- {term[1].strip()}: {' '.join(words)}")
    return "\n".join(out)


def _table(rule: str, rows: list[str]) -> list[str]:
    """Lines between two rules; one whose first cell is blank goes on with the line before."""
    starts = [match.start() for match in re.finditer("=+", rule)]
    ends = [*starts[1:], None]
    cells: list[list[str]] = []
    head = None
    for row in rows:
        if _RULE.match(row):
            head = cells.pop(0) if len(cells) == 1 else None
            continue
        found = [row[a:b].strip().replace("|", "\\|") for a, b in zip(starts, ends, strict=True)]
        if cells and not found[0]:
            cells[-1] = [f"{a} {b}".strip() for a, b in zip(cells[-1], found, strict=True)]
        else:
            cells.append(found)
    head = head or [""] * len(starts)
    table = [head, ["---"] * len(starts), *cells]
    return ["", *("| " + " | ".join(row) + " |" for row in table), ""]
