"""`vsearch serve` as a process under hard conditions: ended amid work, and few descriptors."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import make_catalogue, png

pytestmark = pytest.mark.posix


pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

#: Seconds in which a process that is told to end has ended, whatever it is at: 3, and what a busy
#: machine adds.
QUICK = 15
START = """import sys, time; from vsearch_fast.cli import main
def stuck(*arguments):
    print("stuck", file=sys.stderr, flush=True)
    time.sleep(60)
"""
MAIN = "sys.exit(main(sys.argv[1:]))"
#: Code that a thread cannot be called back from, in place of a part of a search.
STUCK = {
    "a search": "from vsearch_fast.web.catalogue import Catalogue\nCatalogue._scan = stuck\n",
    "the network": "from vsearch_fast.web.catalogue import Catalogue\nCatalogue.embed = stuck\n",
    "a picture": "from vsearch_fast.web.catalogue import Catalogue\n"
    "Catalogue.query_of_upload = stuck\n",
}


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_catalogue(tmp_path_factory.mktemp("ended"), 6)


@contextlib.contextmanager
def served(
    index_path: Path, patch: str = "", *options: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The process, and the lines that it has said so far."""
    command = [
        sys.executable, "-c", START + patch + MAIN, "serve", str(index_path), "--port", "0",
        "--model", str(index_path.parent / "tiny.onnx"), *options,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    said: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        yield process, said
    finally:
        process.kill()
        process.wait()
        reader.join(10)


def wait_for_words(said: list[str], pattern: str, seconds: float = 60) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = re.search(pattern, "".join(said))
        if found:
            return found[found.lastindex or 0]
        time.sleep(0.02)
    raise AssertionError("".join(said))


def ends(process: subprocess.Popen[str], ending: signal.Signals) -> None:
    began = time.monotonic()
    process.send_signal(ending)
    code = process.wait(30)
    assert time.monotonic() - began < QUICK
    assert code == (130 if ending == signal.SIGINT else -ending)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("work", STUCK)
def test_it_ends_amid(index_path: Path, work: str, ending: signal.Signals) -> None:
    with served(index_path, STUCK[work]) as (process, said):
        url = wait_for_words(said, r"Serving on (\S+)")

        answers: list[httpx.Response] = []

        def ask() -> None:
            picture = {"image": ("a.png", png())}
            answers.append(httpx.post(f"{url}api/search", files=picture, timeout=300))

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        wait_for_words(said, "stuck")
        time.sleep(0.5)  # for the others to be sent
        ends(process, ending)
        for asker in askers:
            asker.join()
        assert [answer.status_code for answer in answers] == [503] * 3
        assert "is being ended" in answers[0].json()["error"]["cause"]
        assert "Traceback" not in "".join(said)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_amid_a_compilation(
    index_path: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    with served(index_path, VSEARCH_CACHE_DIR=str(tmp_path)) as (process, said):
        wait_for_words(said, "Making the first searches")
        time.sleep(1.5)
        assert process.poll() is None and "Serving on" not in "".join(said)
        ends(process, ending)


def test_idle_connections_beyond_the_descriptors(index_path: Path) -> None:
    """200 of them at 64 descriptors: told 503, and served again once they have gone."""

    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
    few += "import vsearch_fast.web.server as s; s._HEADER_SECONDS = 3\n"
    with served(index_path, few) as (process, said):
        url = httpx.URL(wait_for_words(said, r"Serving on (\S+)"))
        assert httpx.post(f"{url}api/search", data={"id": "001.png"}).status_code == 200
        idle = []
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    idle.append(socket.create_connection((url.host, url.port or 0), timeout=300))
            statuses = []
            for _ in range(20):
                with contextlib.suppress(httpx.TransportError):
                    answer = httpx.post(f"{url}api/search", data={"id": "001.png"}, timeout=300)
                    statuses.append(answer.status_code)
                    assert answer.status_code == 200 or answer.json()["error"]["cure"]
            assert statuses and set(statuses) <= {200, 503}
            assert process.poll() is None
            end = time.monotonic() + 20  # the silent are closed by and by
            while httpx.get(f"{url}healthz", timeout=300).status_code != 200:
                assert time.monotonic() < end
                time.sleep(0.2)
            upload = {"image": ("a.png", png(size=(1500, 1500)))}
            assert httpx.post(f"{url}api/search", files=upload).status_code == 200
        finally:
            for connection in idle:
                connection.close()
        assert "Traceback" not in "".join(said), "".join(said)
        ends(process, signal.SIGTERM)


def test_the_limit_of_descriptors_is_raised_where_it_may_be(index_path: Path) -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 200:
        pytest.skip(f"this process may have {hard} descriptors")
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (80, 200))\n"
    with served(index_path, few) as (process, said):
        wait_for_words(said, r"Serving on (\S+)")
        limits: Any = Path(f"/proc/{process.pid}/limits")
        if limits.exists():
            assert re.search(r"Max open files +200 +200", limits.read_text())
