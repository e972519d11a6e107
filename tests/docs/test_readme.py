"""The README is true: its Python runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import click
import numpy as np
import pytest
from PIL import Image
from readme import ROOT, TEXT, blocks
from tiny_model import write_tiny_model

from vsearch_fast import cli


def test_python_runs(tmp_path, monkeypatch, capsys):
    code = blocks("python")[0]
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / "vgg16-fc1.onnx")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name in ("photos/1.jpg", "photos/2.jpg", "query.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(name)
    data = rng.random((20, 8)).astype(np.float32)
    exec(code, {"queries": data[:2], "database": data})
    first, second, proof = capsys.readouterr().out.splitlines()
    assert "photos/" in first and "photos/" in second
    assert proof.startswith("l2 by ")


def test_the_http_client_runs(tmp_path):
    pytest.importorskip("httpx")
    pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")
    from served import make_catalogue, serving

    (code,) = (block for block in blocks("python") if "import httpx" in block)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    with serving(make_catalogue(tmp_path)) as (client, catalogue):
        lamp = catalogue.index.get("007.png").path
        assert lamp is not None
        shutil.copy(lamp, tmp_path / "lamp.jpg")
        address = str(client.base_url).rstrip("/")
        code = code.replace("http://127.0.0.1:8080", address).replace("=lamp", "=Lamp")
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = ran.stdout.splitlines()
    assert len(lines) == 5 and all("'category': 'Lamp'" in line for line in lines)


def commands():
    for block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "vsearch":
                yield words


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_commands_exist(words):
    """Every command and option of the README is one of the program's."""
    with click.Context(cli.vsearch) as context:
        command = cli.vsearch.get_command(context, words[1])
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words[2:] if re.match(r"--?[a-z]", word)} <= known


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z-]+)", TEXT, re.MULTILINE):
        assert f"\n{target}:" in makefile


def test_local_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
