"""Docstrings as Markdown: they are written to be read in a terminal, too.

A line `::` before a drawing goes; "`name`   what it is" becomes an item of a list; a table of
reStructuredText becomes one of Markdown; and sections that are underlined, as NumPy has them, are
written as Google has them, like all others.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_TERM = re.compile(r"^((?:`[^`]+`,? ?)+?) {2,}(\S.*)$")
_UNDERLINED = re.compile(r"^(Parameters|Attributes|Raises|Returns)\n-{3,}\n", re.MULTILINE)
_RULE = re.compile(r"^={3,}(?: +={3,})+$")


class Docstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """The same text; what is no Markdown in it, turned into some."""
    out: list[str] = []
    text = re.sub(r":(?:class|func|meth|mod):`~?\.?([^`]+)`", r"`\1`", text)
    lines = _one_style(text).splitlines()
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


def _one_style(text: str) -> str:
    """Sections "Parameters", a rule, "name : what it is" as "Args:", "    name: what it is"."""
    before, *sections = _UNDERLINED.split(text)
    parts = [before]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        body, *after = re.split(r"\n\n(?=\S)", body, maxsplit=1)
        body = re.sub(r"^(\w+) : ", r"\1: ", body, flags=re.MULTILINE)
        if title == "Raises":  # names, and what is said of all of them
            body = re.sub(r"\A(.*)\n\s*", r"\1: ", f"{body}\n").rstrip()
        lines = "\n".join(f"    {line}" if line else "" for line in body.splitlines())
        parts.append(
            "\n".join([f"{'Args' if title == 'Parameters' else title}:", lines, "", *after])
        )
    return "".join(parts)


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
