"""A real browser, a real server over a small drawn catalogue, and pages that are watched."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
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
SECONDS_TO_START = 60


def _browser_program() -> str | None:
    named = os.environ.get("VSEARCH_BROWSER")
    if named:
        return shutil.which(named)
    return next(filter(None, map(shutil.which, BROWSERS)), None)


# Not for the session: Playwright's synchronous API leaves an event loop running in this thread,
# in which tests of other modules could not start theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Playwright's Browser; skips where there is no browser or no Playwright."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is missing: pip install '.[test]'"
    )
    program = _browser_program()
    if program is None:
        named = os.environ.get("VSEARCH_BROWSER")
        looked_for = f"VSEARCH_BROWSER is {named}" if named else f"none of {', '.join(BROWSERS)}"
        pytest.skip(f"no browser ({looked_for}): name a Chromium in VSEARCH_BROWSER")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


@dataclass
class Watch:
    """What went wrong in the pages of a test without being seen on them."""

    origin: str
    console: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def page(self, page: Any) -> None:
        """Watch this page, and every frame and worker of it, from now on."""
        page.on("console", lambda message: self._message(message))
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._request(request.url))

    def _message(self, message: Any) -> None:
        # A violation of the content security policy is reported here too, as an error.
        # That it heeds one of the headers on https and localhost alone it also tells.
        heedless = message.text.startswith("The Cross-Origin-Opener-Policy header has been ignored")
        if message.type in ("error", "warning") and not heedless:
            self.console.append(f"{message.text} ({message.location.get('url', '')})")

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("data", "blob"):
            return
        if f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.foreign.append(url)


@pytest.fixture
def new_page(browser: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """Make pages, each in a context of its own; afterwards none may have complained.

    ``new_page(may_fail=(415,), **options)`` expects answers with these statuses, which the browser
    writes to its console; the other options are those of ``Browser.new_context``.
    """
    watch = Watch(server.url)
    contexts: list[Any] = []
    expected: set[int] = set()

    def make(*, may_fail: tuple[int, ...] = (), **options: Any) -> Any:
        expected.update(may_fail)
        context = browser.new_context(base_url=server.url, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        watch.page(page)
        return page

    yield make
    for context in contexts:
        context.close()
    complaints = [
        text
        for text in watch.console
        if not any(f"responded with a status of {status}" in text for status in expected)
    ]
    assert not complaints, f"the browser's console: {complaints}"
    assert not watch.foreign, f"requests to other hosts: {watch.foreign}"


@pytest.fixture
def page(new_page: Callable[..., Any]) -> Any:
    from search_page import DESKTOP

    return new_page(viewport=DESKTOP)


@dataclass(frozen=True)
class Server:
    """A running ``vsearch serve``, and the pictures it was made from."""

    url: str
    pictures: Path
    index: Path


def _vsearch(*arguments: str | Path) -> list[str]:
    start = "import sys; from vsearch_fast.cli import main; sys.exit(main())"
    return [sys.executable, "-c", start, *map(str, arguments)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(f"{url}/healthz", timeout=5),
        ):
            return
        time.sleep(0.05)
    pytest.fail(f"the server did not start: {log.read_text(errors='replace')}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``vsearch serve`` on a free port, over 14 drawn garments in three views each."""
    folder = tmp_path_factory.mktemp("catalogue")
    pictures, index, log = folder / "garments", folder / "garments.index", folder / "server.log"
    for command in (
        _vsearch("garments", "-o", pictures, "--items", "14", "--size", "160x200"),
        _vsearch("index", pictures, "-o", index, "--quiet"),
    ):
        subprocess.run(command, check=True, capture_output=True)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _vsearch("serve", index, "--port", str(port)), stdout=output, stderr=output
        )
        try:
            _wait_until_it_answers(url, process, log)
            yield Server(url, pictures, index)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
