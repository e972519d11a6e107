"""Pages render as they are meant: every table is one, with all its rows and cells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
_SEPARATOR = re.compile(r"\|(\s*:?-+:?\s*\|)+")


def tables_of(text: str) -> list[list[int]]:
    """Of each table as it renders, the cells of its rows."""
    tables: list[list[int]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append(0)
        elif token.type in ("td_open", "th_open"):
            tables[-1][-1] += 1
    return tables


def written(text: str) -> list[int]:
    """Of each table as it is written, its lines without the separator."""
    counts: list[int] = []
    lines = re.sub(r"^( *)```.*?^ *```\s*?$", "", text, flags=re.MULTILINE | re.DOTALL).splitlines()
    for number, line in enumerate(lines):
        if _SEPARATOR.fullmatch(line.strip()):
            above = 1 if number and lines[number - 1].lstrip().startswith("|") else 0
            below = 0
            while lines[number + 1 + below : number + 2 + below] and lines[
                number + 1 + below
            ].lstrip().startswith("|"):
                below += 1
            counts.append(above + below)
    return counts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_render(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    # Within an admonition MkDocs renders what CommonMark takes for code.
    text = re.sub(r"^(\?\?\?|!!!).*\n(\n|    .*\n)*", "", text, flags=re.MULTILINE)
    tables = tables_of(text)
    assert [len(rows) for rows in tables] == written(text)
    for rows in tables:
        assert len(set(rows)) == 1  # a row with fewer cells is filled, one with more is cut
        assert rows[0] > 1


def test_the_instrument() -> None:
    good = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert tables_of(good) == [[2, 2]] and written(good) == [2]
    run_together = good + good  # no blank line: one table, with a row of dashes
    assert len(tables_of(run_together)) == 1 and len(written(run_together)) == 2
    behind_text = "text\n" + good
    assert tables_of(behind_text) == [[2, 2]]
    assert tables_of("- item\n" + good.replace("|---|---|", "|---|")) == []


def test_the_readme_renders_its_parts() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert html.count("<table>") == len(written(text)) >= 1
    assert html.count("<h2>") == len(re.findall(r"^## ", text, re.MULTILINE))
    assert "|---" not in html
    shown = re.sub(r"<pre>.*?</pre>|<code>.*?</code>", "", html, flags=re.DOTALL)
    assert "```" not in shown and "](" not in shown
