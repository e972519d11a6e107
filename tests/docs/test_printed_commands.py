"""Every command that the package prints exists, with its options: in errors, cures, help, pages.

And the recipes of `vsearch eval` are commands that run as they are printed.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from vsearch_fast import cli
from vsearch_fast.evaluate.rows import AND, STANDARD, table_rows
from vsearch_fast.export.__main__ import command as export_command

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*(ROOT / "vsearch_fast").rglob("*.py"), *(ROOT / "export").rglob("*.py")]
CARDS = [*(ROOT / "vsearch_fast").rglob("*.md"), *(ROOT / "vsearch_fast").rglob("*.js")]

#: A command with what follows it in the same sentence; what stands for a value is left as it is.
_COMMAND = re.compile(
    r"(?:\bvsearch|python -m vsearch_fast\.) ?([a-z]+)\b((?: (?!vsearch )[^\s`'\"),;.]+)*)"
)
_OPTION = re.compile(r"--[a-z][a-z0-9-]*")
#: Of the programs that are advised beside ours.
#: Of pip, Ray and nvidia-smi.
_OTHERS = {"--head", "--query-gpu", "--editable", "--upgrade", "--help", "--version", "--user"}


def commands() -> dict[str, click.Command]:
    group = click.Context(cli.vsearch)
    found = {name: cli.vsearch.get_command(group, name) for name in cli.COMMANDS}
    return {name: command for name, command in found.items() if command is not None}


def options_of(command: click.Command) -> set[str]:
    return {text for each in command.params for text in (*each.opts, *each.secondary_opts)}


def texts() -> Iterator[tuple[str, str]]:
    """Strings of the sources with their place, what is put into them as a space; pages whole."""
    for file in SOURCES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        inner = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
            for part in node.values
        }  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if id(node) not in inner:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", node.value
            elif isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "VALUE" for p in node.values]
                yield f"{file.relative_to(ROOT)}:{node.lineno}", "".join(map(str, parts))
    for file in CARDS:
        yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")


def test_commands_in_texts_exist_with_their_options() -> None:
    known, wrong, seen = commands(), [], 0
    modules = {"bench", "evaluate", "export"}
    for place, text in texts():
        for name, rest in _COMMAND.findall(text.replace("\\\n", " ")):
            options = set(_OPTION.findall(rest)) - _OTHERS
            if name in modules and name not in known:
                name = "eval"
            if name not in known:
                if options:  # else it is prose
                    wrong.append(f"{place}: vsearch {name}{rest}")
                continue
            seen += 1
            missing = options - options_of(known[name])
            if missing:
                wrong.append(f"{place}: vsearch {name} has no {', '.join(sorted(missing))}")
    assert not wrong
    assert seen > 60


def test_options_that_texts_name_are_some_commands() -> None:
    """A cure may name an option alone: then there is a command that has it."""
    known = set().union(*(options_of(each) for each in commands().values())) | _OTHERS
    wrong = [
        f"{place}: {option}"
        for place, text in texts()
        if ".py:" in place and "pip install" not in text
        for option in _OPTION.findall(text)
        if option not in known and not option.endswith("-")
    ]
    assert not wrong


def parsed(line: str) -> None:
    """Raises where the real parser of the command would refuse the line."""
    for step in line.split(AND):
        words = shlex.split(step)
        assert words[0] == "vsearch"
        known = commands()[words[1]]
        known.make_context(words[1], words[2:])


def test_recipes_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "my data" / "shop"
    data.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    words = shlex.join(["--data", str(data), "--column", "group=sender"])
    again = shlex.join(["vsearch", "eval", str(data), "-o", "a b"])
    lines = [row.command for row in table_rows({}, [], words, again) if row.baseline is None]
    assert len(lines) == len(STANDARD)
    for line in lines:
        parsed(line)
        assert str(data) in line and ".onnx" in line.split(AND)[-1]
        assert re.search(r"--model [a-z0-9-]+=[a-z0-9-]+\.onnx$", line)
    assert export_command.name == "export"


def test_what_eval_prints_runs_as_printed(tmp_path: Path) -> None:
    """Each line parses, and one runs: training, export, and the evaluation with the new row."""
    from vsearch_fast.datasets import garments

    folder = tmp_path / "my photos"
    garments.render_catalogue(folder, items=12, views=2, seed=2, size=(64, 80))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "vsearch_fast.cli", "eval", str(folder), "-o", "eval", "--queries",
         "5", "--quiet"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines() if "vsearch train" in line]
    lines += [line.strip() for line in done.stdout.splitlines() if "vsearch export" in line]
    assert len(set(lines)) >= len(STANDARD)
    for line in lines:
        parsed(line)
        assert "-o eval" in line or "--output eval" in line  # of a folder of the command's name
    # The longest one for real, its base and widths as small as they can be.
    (line,) = {each for each in lines if "--classes top:8" in each}
    small = "--base random:0 --width 0.0625 --input-size 32 --units 16 --epochs 1 --quiet"
    line = line.replace("--base imagenet", small)
    program = f"{shlex.quote(sys.executable)} -m vsearch_fast.cli"
    ran = subprocess.run(
        line.replace("vsearch ", f"{program} "), shell=True, cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "retrained-top" in (tmp_path / "eval" / "results.json").read_text(encoding="utf-8")
