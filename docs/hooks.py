"""What MkDocs does beside its own: pictures and tables of the benchmarks, pages from elsewhere.

A page may say, on a line of its own:

    <!-- include: ../CHANGELOG.md -->     the text of a file of the repository, its title left out
    <!-- commands -->                     every command with its options, from --help
    <!-- table: speed features -->        a table of benchmarks/results (generated_tables.py)

Links lead to files where they lie in the repository, so that pages can be read there too. Here
`benchmarks/plots` and `benchmarks/results` become parts of the site, files that a page includes
lead to that page, and of links to other files of the repository the text stays. A link to a file
that does not exist ends the build, as does a table that was not recognised and anything that a
page would load from elsewhere.
"""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path, PurePosixPath
from typing import Any

from generated_commands import commands_page
from generated_tables import table
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

#: Folders of the repository that the site has, too.
_SHOWN = ("benchmarks/plots", "benchmarks/results")

#: Where the site tells what these files are.
_TOLD = {
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
    "benchmarks/README.md": "benchmark-method.md",
    "kernels/README.md": "kernels.md",
    "kernels/cuda/README.md": "cuda.md",
    "kernels/reference.py": "api/reference.md",
    "vsearch_fast/kernels/reference.py": "api/reference.md",
    "vsearch_fast/models/CARD-anything.md": "network-card-anything.md",
    "vsearch_fast/models/CARD.md": "network-card.md",
}

_DIRECTIVE = re.compile(r"^( *)<!-- (include|commands|table)(?:: *([^>]*?))? -->$", re.MULTILINE)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_BLOCK = re.compile(r"(^```.*?^``` *$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    for folder in _SHOWN:
        for path in sorted((ROOT / folder).iterdir()):
            if path.is_file() and not path.name.startswith("."):
                files.append(
                    File.generated(config, f"{folder}/{path.name}", abs_src_path=str(path))
                )
    icon = str(ROOT / "vsearch_fast/web/static/icon.svg")
    files.append(File.generated(config, "icon.svg", abs_src_path=icon))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    here = page.file.src_uri

    def directive(match: re.Match[str]) -> str:
        indent, kind, argument = match[1], match[2], (match[3] or "").strip()
        if kind == "commands":
            return commands_page()
        if kind == "table":
            return textwrap.indent(table(argument), indent)
        path = _inside(PurePosixPath("docs", here).parent, argument, here)
        text = (ROOT / path).read_text(encoding="utf-8")
        return _linked(_as_github_reads(re.sub(r"\A# .*\n", "", text)), path, here)

    # The page's own links first: an included file's lead from where that file lies.
    return _DIRECTIVE.sub(directive, _linked(markdown, f"docs/{here}", here))


def _as_github_reads(text: str) -> str:
    """A list may follow a paragraph without a blank line, and 2**-53 is a power, not bold."""
    parts = _BLOCK.split(text)
    for n in range(0, len(parts), 2):
        lines: list[str] = []
        prose = re.split(r"(`[^`]+`)", parts[n])
        prose[::2] = [re.sub(r"(?<=\w)\*\*(?=-?\d)", r"\\*\\*", text) for text in prose[::2]]
        for line in "".join(prose).split("\n"):
            before = lines[-1] if lines else ""
            item = re.match(r"(-|\d+\.) ", line)
            if item and re.match(r"\S", before) and not re.match(r"(-|\d+\.) ", before):
                lines.append("")
            lines.append(line)
        parts[n] = "\n".join(lines)
    return "".join(parts)


def _inside(folder: PurePosixPath, target: str, page: str) -> str:
    """A path relative to the repository, of a target relative to a folder of it."""
    path = os.path.normpath(folder / target).replace(os.sep, "/")
    if path.startswith("..") or not (ROOT / path).exists():
        raise PluginError(f"{page}: {target} leads to nothing ({path})")
    return path


def _linked(text: str, source: str, page: str) -> str:
    """The text of a file of the repository with links as the site has them."""
    folder = PurePosixPath(source).parent
    above = PurePosixPath(page).parent

    def relative(target: str) -> str:
        return os.path.relpath(target, above).replace(os.sep, "/")

    def link(match: re.Match[str]) -> str:
        picture, words, whole = match.groups()
        target, _, anchor = whole.partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = _inside(folder, target, page)
        anchor = f"#{anchor}" if anchor else ""
        told = _TOLD.get(path)
        if told is not None:
            return f"[{words}]({relative(told)}{anchor})"
        if path.startswith("docs/"):
            return f"{picture}[{words}]({relative(path.removeprefix('docs/'))}{anchor})"
        if path.startswith(_SHOWN) and (ROOT / path).is_file():
            return f"{picture}[{words}]({relative(path)})"
        return words

    # Blocks of code stay as they are.
    parts = _BLOCK.split(text)
    return "".join(part if n % 2 else _LINK.sub(link, part) for n, part in enumerate(parts))


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    outside = re.sub(r"<pre.*?</pre>|<code.*?</code>", "", html, flags=re.DOTALL)
    if re.search(r"^\s*(<p>)?\|.*\|", outside, re.MULTILINE):
        raise PluginError(f"{page.file.src_uri}: a table was not recognised as one")
    return html


def on_post_build(config: Any) -> None:
    loads = re.compile(
        r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^"'>\s]+"""
        r"""|<link\b[^>]*\brel=["']?(?:stylesheet|preconnect|icon)[^>]*"""
        r"""\bhref=["']?(?:https?:)?//[^"'>\s]+"""
    )
    for path in Path(config.site_dir).rglob("*.html"):
        found = loads.search(path.read_text(encoding="utf-8"))
        if found:
            raise PluginError(f"{path.name} would load from elsewhere: {found[0]}")
