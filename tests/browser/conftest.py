"""A real browser, a real server over a small drawn catalogue, and pages that are watched."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsers import PATIENCE, Server, launched, patient_context, serving, vsearch


# Not for the session: Playwright's synchronous API leaves an event loop running in this thread,
# in which tests of other modules could not start theirs.
@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Playwright's Browser, a Chromium; modules for others have a fixture of this name."""
    with launched("chromium", tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="session", autouse=True)
def patient() -> None:
    """`expect` waits as long as pages do."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    api.expect.set_options(timeout=1000 * PATIENCE)


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
        context = patient_context(browser, base_url=server.url, **options)
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


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``vsearch serve`` on a free port, over 14 drawn garments in three views each."""
    folder = tmp_path_factory.mktemp("catalogue")
    pictures, index, log = folder / "garments", folder / "garments.index", folder / "server.log"
    for command in (
        vsearch("garments", "-o", pictures, "--items", "14", "--size", "160x200"),
        vsearch("index", pictures, "-o", index, "--quiet"),
    ):
        subprocess.run(command, check=True, capture_output=True)
    with serving(index, log) as url:
        yield Server(url, pictures, index)
