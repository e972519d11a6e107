"""Every block of code in README and the documentation runs, page by page, in order.

A page's blocks share one folder (see `drawn`) and one namespace. A comment right before a block
says what is different about it:

    <!-- not run: WHY -->        it cannot run here; its commands and options exist all the same
    <!-- run: long -->           it runs with `make test-full` only
    <!-- server: COMMAND -->     it and the following ones talk to this server, which is started

Blocks of other languages than `python` and `sh` are no code: `text`, and what is read as data.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

import vsearch_fast
from vsearch_fast import cli
from vsearch_fast.bench.__main__ import command as bench

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NO_CODE = {"text", "json", "csv", "toml", "nginx", "caddy"}
SERVED = "http://127.0.0.1:8080"

_FENCE = re.compile(
    r"(?:^ *<!-- (?P<kind>not run|run|server): (?P<said>[^>]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)``` *$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    kind: str
    said: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def long(self) -> bool:
        return self.kind == "run" and self.said == "long"

    def commands(self) -> list[list[str]]:
        lines = self.code.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        code = re.sub(f"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start("language")) + 1
        kind, said = match["kind"] or "", (match["said"] or "").strip()
        found.append(Block(page, line, match["language"], kind, said, code))
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT).with_suffix(""))


BLOCKS = {page: blocks_of(page) for page in PAGES}
RUNNING = [
    page
    for page, blocks in BLOCKS.items()
    if any(b.language in ("python", "sh") and b.kind != "not run" for b in blocks)
]


class Server:
    """`vsearch serve ...` in a process of its own, at a free port."""

    def __init__(self, words: list[str], folder: Path) -> None:
        command = [sys.executable, "-m", "vsearch_fast.cli", *words[1:], "--port", "0"]
        self.process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            said.append(line)
            if found := re.search(r"Serving on (http://\S+?)/?$", line.strip()):
                self.address = found[1]
                break
        else:
            pytest.fail(f"the server did not start: {''.join(said)}")
        # What it says later must not fill the pipe.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def run_page(page: Path, folder: Path, *, full: bool) -> None:
    namespace: dict[str, object] = {}
    server = None
    try:
        for block in BLOCKS[page]:
            if block.kind == "not run" or block.language in NO_CODE or (block.long and not full):
                continue
            if block.kind == "server":
                server = Server(shlex.split(block.said), folder)
            if block.language == "sh":
                for words in block.commands():
                    run_command(words, block)
                continue
            code = block.code
            if server is not None:
                code = code.replace(SERVED, server.address)
            lines = "\n" * block.line  # so that a traceback names the page's line
            exec(compile(lines + code, str(page), "exec"), namespace)
    finally:
        if server is not None:
            server.stop()


def run_command(words: list[str], block: Block) -> None:
    assert words[0] == "vsearch", f"{block.place}: {words[0]} is not run: say so before the block"
    try:
        cli.main(words[1:])
    except SystemExit as ended:
        assert not ended.code, f"{block.place}: {shlex.join(words)} ended with {ended.code}"


@pytest.mark.parametrize("page", RUNNING, ids=name_of)
def test_page_runs(page, drawn, tmp_path, monkeypatch):
    if any(block.kind == "server" for block in BLOCKS[page]):
        pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")
        pytest.importorskip("httpx")
    work = tmp_path / "work"
    shutil.copytree(drawn, work)
    monkeypatch.chdir(work)
    run_page(page, work, full=False)


@pytest.mark.full
@pytest.mark.parametrize(
    "page", [page for page, blocks in BLOCKS.items() if any(b.long for b in blocks)], ids=name_of
)
def test_page_runs_in_full(page, drawn, tmp_path, monkeypatch):
    pytest.importorskip("tensorflow", reason="training needs .[export]")
    work = tmp_path / "work"
    shutil.copytree(drawn, work)
    monkeypatch.chdir(work)
    run_page(page, work, full=True)


ALL = [block for blocks in BLOCKS.values() for block in blocks]


def test_there_are_blocks():
    assert len(ALL) > 40
    for page in PAGES:  # none is missed, such as one whose fence does not close
        fences = re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(BLOCKS[page]), page


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.place)
def test_block_is_run_or_marked(block):
    assert block.language in NO_CODE | {"python", "sh"}, "say the block's language: text, if none"
    if block.language in NO_CODE:
        assert not block.kind, "this is not run in any case"
    elif block.kind == "run":
        assert block.said == "long"
    elif not block.kind and block.language == "sh":
        assert {words[0] for words in block.commands()} == {"vsearch"}


@pytest.mark.parametrize(
    "block", [b for b in ALL if b.kind in ("not run", "server") or b.long], ids=lambda b: b.place
)
def test_what_is_not_run_exists(block, drawn, monkeypatch):
    monkeypatch.chdir(drawn)  # some options look whether their file is there
    if block.kind == "server":
        check_command(shlex.split(block.said))
    elif block.language == "python":
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "vs" or node.attr in vsearch_fast.__all__
    else:
        for words in block.commands():
            check_command(words)


def check_command(words: list[str]) -> None:
    """A command line that the program, the Makefile or the project file understands."""
    program, *rest = words
    if program == "vsearch":
        with click.Context(cli.vsearch) as context:
            command = cli.vsearch.get_command(context, rest[0])
        assert command is not None, rest[0]
        command.make_context(rest[0], rest[1:])  # its options, and their values
    elif words[:3] == ["python", "-m", "vsearch_fast.bench"]:
        bench.make_context("bench", words[3:])
    elif program == "python":
        assert (ROOT / rest[0]).is_file()
    elif program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extras in re.findall(r"\[([\w,-]+)\]", " ".join(rest)):
            assert set(extras.split(",")) <= set(project["optional-dependencies"])
    else:
        # Other people's, whose options nothing here knows.
        assert program in ("git", "docker", "ray"), f"{program} is checked by nothing"
