"""The workflows for other systems are such as a runner takes, and name what there is.

They do not run here: what is compared is what they say.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml: Any = pytest.importorskip("yaml")
jsonschema: Any = pytest.importorskip("jsonschema")

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

_TEXTS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_STEP = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "if": {"type": "string"},
        "run": {"type": "string"},
        "uses": {"type": "string", "pattern": r"^[\w-]+/[\w-]+@v\d+$"},
        "with": _TEXTS,
        "env": _TEXTS,
    },
    "oneOf": [{"required": ["run"]}, {"required": ["uses"]}],
}
_JOB = {
    "type": "object",
    "additionalProperties": False,
    "required": ["runs-on", "steps", "timeout-minutes"],
    "properties": {
        "name": {"type": "string"},
        "runs-on": {"type": "string"},
        "timeout-minutes": {"type": "integer", "minimum": 1, "maximum": 360},
        "strategy": {
            "type": "object",
            "additionalProperties": False,
            "required": ["matrix"],
            "properties": {
                "fail-fast": {"type": "boolean"},
                "matrix": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
        "defaults": {"type": "object"},
        "steps": {"type": "array", "minItems": 1, "items": _STEP},
    },
}
#: What GitHub's own schema asks of a workflow, as far as these go.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "on", "jobs"],
    "properties": {
        "name": {"type": "string"},
        "on": {"type": "object"},
        "permissions": {"type": "object", "additionalProperties": {"enum": ["read", "write"]}},
        "concurrency": {"type": "object"},
        "jobs": {"type": "object", "minProperties": 1, "additionalProperties": _JOB},
    },
}


def read(file: Path) -> dict[str, Any]:
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in found.items()}  # YAML 1.1's "on"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_is_a_workflow(file: Path) -> None:
    jsonschema.validate(read(file), SCHEMA)


def test_every_system_and_version() -> None:
    matrix = read(ROOT / ".github/workflows/tests.yml")["jobs"]["test"]["strategy"]["matrix"]
    pairs = set(itertools.product(matrix["os"], matrix["python"]))
    systems = [f"{name}-latest" for name in ("ubuntu", "macos", "windows")]
    assert pairs == set(itertools.product(systems, ["3.11", "3.12", "3.13", "3.14"]))
    told = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: 3." in line}
    assert told == set(matrix["python"])
    assert PROJECT["requires-python"] == f">={matrix['python'][0]}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_names_what_there_is(file: Path, vsearch: Any) -> None:
    text = file.read_text(encoding="utf-8")
    for line in re.findall(r"\.\[([\w,-]+)\]", text):
        assert set(line.split(",")) <= set(PROJECT["optional-dependencies"])
    for target in re.findall(r"run: make (\w+)", text):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for name in re.findall(r'/vsearch" (\w+)', text):
        assert vsearch(name, "--help")[0] == 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_its_scripts_are_such_as_the_shell_reads(file: Path) -> None:
    for job in read(file)["jobs"].values():
        for step in job["steps"]:
            if "run" in step:
                script = re.sub(r"\$\{\{.*?\}\}", "value", step["run"])
                subprocess.run(["bash", "-n"], input=script, text=True, check=True)
