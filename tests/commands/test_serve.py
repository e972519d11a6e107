"""`vsearch serve` as a process: its address, its end, and what it says when it cannot start."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import make_catalogue

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_catalogue(tmp_path_factory.mktemp("commanded"), 6)


def command(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    own = {name: value for name, value in os.environ.items() if name != "VSEARCH_TOKEN"}
    return subprocess.Popen(
        [sys.executable, "-m", "vsearch_fast.cli", "serve", *map(str, arguments)],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own | environment,
    )  # fmt: skip


def address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        match = re.match(r"Serving on (\S+)", line)
        if match:
            return match[1]
    raise AssertionError(said)


@pytest.fixture
def serve(index_path: Path) -> Iterator[Any]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path, **environment: str) -> tuple[subprocess.Popen[str], str]:
        model = index_path.parent / "tiny.onnx"
        options = (index_path, "--model", model, "--port", "0", *arguments)
        started.append(command(*options, **environment))
        return started[-1], address(started[-1])

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("ending", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_it_serves_until_it_is_ended(serve: Any, ending: signal.Signals, code: int) -> None:
    process, url = serve()
    assert httpx.get(url).status_code == 200
    assert httpx.get(f"{url}api/catalogue").json()["pictures"] == 6
    assert not httpx.get(f"{url}api/catalogue").json()["rating"]
    process.send_signal(ending)
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err and not out
    assert process.returncode == code


def test_others_need_the_token(serve: Any) -> None:
    _, url = serve("--host", "0.0.0.0")
    token = re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=(\S{32,})", url)
    assert token
    base = url.partition("?")[0]
    assert httpx.get(f"{base}api/catalogue").status_code == 401
    with httpx.Client(follow_redirects=True) as browser:
        assert browser.get(url).status_code == 200
        assert browser.get(f"{base}api/catalogue").status_code == 200
    _, own = serve("--host", "0.0.0.0", VSEARCH_TOKEN="A-token-of-my-own")
    assert own.endswith("?token=A-token-of-my-own")


@pytest.mark.posix
def test_ratings_beside_the_search(serve: Any, tmp_path: Path) -> None:
    file = tmp_path / "ratings.sqlite"
    for _ in range(2):  # made, then gone on with
        process, url = serve("--ratings", file)
        assert httpx.get(f"{url}api/catalogue").json()["rating"]
        assert httpx.get(f"{url}rate").status_code == 200
        study = httpx.get(f"{url}api/rate/study").json()
        assert study["systems_count"] == 3
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)


def refused(*arguments: str | Path, **environment: str) -> str:
    process = command(*arguments, **environment)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1 and "Traceback" not in err
    return err


def test_what_keeps_it_from_starting(index_path: Path, tmp_path: Path) -> None:
    assert "no_such.index" in refused(tmp_path / "no_such.index", "--port", "0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "--port" in refused(index_path, "--port", port)
    assert "VSEARCH_TOKEN" in refused(index_path, "--port", "0", VSEARCH_TOKEN="short")
    said = refused(index_path, "--port", "0", "--host", "no.such.host.invalid")
    assert "no.such.host.invalid" in said
