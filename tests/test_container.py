"""Dockerfile and compose.yaml name files, targets, extras and commands that there are.

They cannot be built here: what is compared is what they say.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from vsearch_fast.cli import vsearch

yaml: Any = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def parsed(words: list[str]) -> dict[str, Any]:
    """The options of a command line of `vsearch`, which click must take."""
    group = click.Context(vsearch)
    command = vsearch.get_command(group, words[0])
    assert command is not None
    return command.make_context(words[0], words[1:], resilient_parsing=False).params


def test_what_is_copied_is_there_and_not_ignored() -> None:
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
    sources = [source for line in lines for source in line.split()[:-1]]
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {project["readme"], "pyproject.toml", "vsearch_fast", "kernels", "export", "LICENSE"}
    assert needed <= set(sources)
    for extras in re.findall(r'"/source\[(.+)\]"', DOCKERFILE):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_commands_are_taken() -> None:
    [default] = re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)
    served = parsed(json.loads(default))
    assert served["host"] == "0.0.0.0" and served["port"] == 8080
    indexed = parsed(COMPOSE["services"]["index"]["command"])
    assert indexed["index_path"] == Path(json.loads(default)[1])
    volumes = COMPOSE["services"]["page"]["volumes"]
    assert any(f":{indexed['source']}:" in volume for volume in volumes)


def test_targets_and_the_port() -> None:
    targets = re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert targets[-1] == "cpu", "what is built where no target is named"
    for service in COMPOSE["services"].values():
        assert service["build"]["target"] == "${TARGET:-cpu}"
        # For this machine alone, unless somebody decides otherwise.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert {"cpu", "cuda"} <= set(targets)
    assert DOCKERFILE.count("USER vsearch") == 2, "no target runs as root"
