"""Links lead to files, and what the pages say of the code is so.

`make docs` checks more, with MkDocs: every reference of a page, every heading that is linked to.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path

import click
import pytest

from vsearch_fast import errors

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "vsearch_fast"
LINKED = [
    path
    for path in (
        ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md",
        *sorted(DOCS.rglob("*.md")),
    )
    if path.exists()
]  # fmt: skip


def prose(path: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(
        r"^ *```.*?^ *``` *$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )


def headings(path: Path) -> set[str]:
    """Anchors of a page's headings, as MkDocs and GitHub name them."""
    found = set()
    for title in re.findall(r"^#+ +(.*)$", prose(path), re.MULTILINE):
        text = re.sub(r"[^\w\- ]", "", title.strip().lower())
        found.add(re.sub(r"[ -]+", "-", text).strip("-"))
    return found


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^()\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists() and path.is_relative_to(ROOT), target
        # The page of commands has its headings when it is built.
        if anchor and path.suffix == ".md" and path != DOCS / "commands.md":
            assert anchor in headings(path), target


def test_anchors_of_commands_are_commands():
    from vsearch_fast import cli

    known = {f"vsearch-{name}" for name in cli.vsearch.list_commands(click.Context(cli.vsearch))}
    for page in LINKED:
        for anchor in re.findall(r"commands\.md#([\w-]+)", prose(page)):
            assert anchor in known, (page, anchor)


def folders(root: Path) -> set[str]:
    """Packages below a folder, links followed."""
    found = set()
    for path in root.iterdir():
        if path.is_dir() and any(path.glob("*.py")):
            found |= {path.name} | {f"{path.name}/{below}" for below in folders(path)}
    return found


def test_the_tree_names_every_package_and_every_file_beside_them():
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    tree = re.search(r"```text\n(vsearch_fast/ .*?)```", page, re.DOTALL)
    assert tree is not None
    named: set[str] = set()
    files: set[str] = set()
    path: list[str] = []
    for line in tree[1].splitlines():
        if match := re.match(r"    (\w+\.py) +\S", line):
            files.add(match[1])
            continue
        match = re.match(r"( *)([\w-]+)/ +\S", line)
        assert match is not None, line
        path = [*path[: len(match[1]) // 4], match[2]]
        named.add("/".join(path[1:]))
    assert named - {""} == folders(PACKAGE)
    assert files == {file.name for file in PACKAGE.glob("*.py")} - {"__init__.py"}


def test_every_error_is_told():
    page = (DOCS / "faq.md").read_text(encoding="utf-8")
    names = {
        name for name, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, errors.VsearchError)
    }  # fmt: skip
    assert names
    for name in names:
        assert f"| `{name}` |" in page, name


def templates() -> set[str]:
    """Every string of the code, with … for what is put into it."""
    found = set()
    for folder in ("vsearch_fast", "kernels", "export"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                    found.add("".join(map(str, parts)))
    return found


def test_messages_of_the_faq_are_the_program_s():
    page = (DOCS / "faq.md").read_text(encoding="utf-8")
    messages = re.findall(r"^#### `(.+)`$", page, re.MULTILINE)
    assert len(messages) > 30
    known = templates()
    assert [message for message in messages if message not in known] == []


def test_claims_of_speed_are_the_records():
    """What README and the benchmark page claim against FAISS, on features of photos."""
    record = json.loads((ROOT / "benchmarks/results/cpu-2core-zen5.json").read_text())
    ratios = {
        (r["metric"], r["queries"]): r["ratio"]
        for r in record["results"]
        if r["data"] == "features" and r["contender"] == "FAISS" and r["queries"] > 1
    }
    pages = [ROOT / "README.md", DOCS / "benchmarks.md"]
    for (metric, queries), ratio in ratios.items():
        name = {"hamming": "Hamming", "l1": "L1", "l2": "L2"}[metric]
        for page in pages:
            text = " ".join(page.read_text(encoding="utf-8").split())
            claim = re.search(rf"{name}[^.*]{{1,9}}{queries} queries[^*]*\*\*([\d.]+) times", text)
            assert claim is not None, (page.name, name)
            digits = len(claim[1].partition(".")[2])
            # 3.25 is what the record's 3.25 rounds to, and so is 3.2 or 3.3 of 3.249 or 3.251.
            assert abs(float(claim[1]) - ratio) <= 0.5001 * 10**-digits, (page.name, name, ratio)


def test_claims_of_accuracy_are_the_records():
    """P@1 of the package's network, in README, as the table has it."""
    import csv

    with (ROOT / "benchmarks/results/accuracy-photos.csv").open(encoding="utf-8") as file:
        figures = {
            (line["row"], line["distance"]): float(line["value"] or "nan")
            for line in csv.DictReader(file)
            if (line["scope"], line["measure"], line["k"], line["rule"], line["average"])
            == ("all categories", "P", "1", "other groups", "micro")
        }
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for row, distance in (
        ("VGG-16 of this package, for anything", "l2"),
        ("VGG-16 re-trained by the best recipe, all categories", "l2"),
        ("VGG-16 re-trained, all categories", "l2"),
        ("Slim VGG-16 fc1 of this package", "l2"),
        ("32x32 pixels", "l2"),
        ("Random pairs (control)", ""),
    ):
        assert f"{figures[row, distance]:.2f}" in readme, row
