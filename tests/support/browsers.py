"""Real browsers, and real servers for them."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import firefox_bidi
import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FIREFOXES = ("firefox-esr", "firefox")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP shop.example 127.0.0.1",  # where a test's proxy is
]
#: Seconds after which something has hung: a page, a server that starts and compiles its kernels
#: anew. A busy machine takes many of them; what has ended, or tells its error, is not waited for.
PATIENCE = 120


def _program(variable: str, names: Sequence[str]) -> str | None:
    named = os.environ.get(variable)
    return next(filter(None, map(shutil.which, [named] if named else names)), None)


@contextlib.contextmanager
def launched(kind: str, folder: Path) -> Iterator[Any]:
    """Playwright's Browser of this kind; skips where there is none, or no Playwright.

    Firefox is Debian's own; `folder` gets the program that stands before it
    (tests/support/firefox_bidi.py).
    """
    api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is missing: pip install '.[test]'"
    )
    chromium = kind == "chromium"
    variable, names = ("VSEARCH_BROWSER", BROWSERS) if chromium else ("VSEARCH_FIREFOX", FIREFOXES)
    program = _program(variable, names)
    if program is None:
        looked_for = os.environ.get(variable) or ", ".join(names)
        pytest.skip(f"no {kind} (looked for {looked_for}): name one in {variable}")
    with api.sync_playwright() as playwright:
        if chromium:
            started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        else:
            pytest.importorskip("websockets", reason="websockets is missing: pip install '.[test]'")
            stand_in = folder / "firefox"
            command = shlex.join([sys.executable, firefox_bidi.__file__])
            stand_in.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            stand_in.chmod(0o755)
            started = playwright.firefox.launch(
                channel="moz-firefox",
                executable_path=stand_in,
                env={**os.environ, "VSEARCH_FIREFOX": program},
            )
        yield started
        started.close()


def patient_context(browser: Any, **options: Any) -> Any:
    """A context of the browser whose pages wait as long as `expect` does."""
    context = browser.new_context(**options)
    context.set_default_timeout(1000 * PATIENCE)
    return context


@dataclass(frozen=True)
class Server:
    """A running ``vsearch serve``, and the pictures it was made from."""

    url: str
    pictures: Path
    index: Path


def vsearch(*arguments: str | Path) -> list[str]:
    start = "import sys; from vsearch_fast.cli import main; sys.exit(main())"
    return [sys.executable, "-c", start, *map(str, arguments)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        # Of OSError are refusals, statuses that are errors, and an answer that is not there yet.
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{url}/healthz", timeout=5),
        ):
            return
        time.sleep(0.05)
    pytest.fail(f"the server did not start: {log.read_text(errors='replace')}")


@contextlib.contextmanager
def answering(log: Path, *arguments: str | Path) -> Iterator[str]:
    """A command of ``vsearch`` that serves, on a free port: its address."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            vsearch(*arguments, "--port", str(port)), stdout=output, stderr=output
        )
        try:
            _wait_until_it_answers(url, process, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def serving(index: Path, log: Path) -> Iterator[str]:
    """``vsearch serve`` of an index on a free port: its address."""
    with answering(log, "serve", index) as url:
        yield url


def wait_until(
    page: Any, condition: Callable[[], object], step: Callable[[], Any] = lambda: None
) -> None:
    """Wait until a condition outside of the page holds, taking a `step` before each look.

    Of what is on the page Playwright's `expect` waits; `time.sleep` would hold back its events.
    """
    end = time.monotonic() + PATIENCE
    while True:
        step()
        if condition():
            return
        assert time.monotonic() < end, "it did not come about"
        page.wait_for_timeout(30)
