"""The pages in a real browser, through real reverse proxies, under a path and at a root."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is missing: pip install 'vsearch_fast[serve]'")
pytest.importorskip("httpx", reason="httpx is missing: pip install 'vsearch_fast[test]'")

from browsers import PATIENCE, patient_context
from proxies import (
    NAME,
    caddy,
    caddy_site,
    certificate,
    free_port,
    nginx,
    nginx_location,
    nginx_server,
)
from served import make_catalogue, png

TOKEN = "a-token-of-this-test"


@dataclass(frozen=True)
class Proxied:
    """`url` is the origin that visitors see, `path` the pages' folder, `entry` the address that
    the server printed."""

    url: str
    path: str
    entry: str


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_catalogue(tmp_path_factory.mktemp("proxied"), 12)


@contextlib.contextmanager
def _serving(index_path: Path, folder: Path, *options: str, **environment: str) -> Iterator[Any]:
    """`vsearch serve` with a study; what it says of its addresses, by the words before them."""
    command = [
        sys.executable, "-m", "vsearch_fast.cli", "serve", str(index_path), "--port", "0",
        "--model", str(index_path.parent / "tiny.onnx"), "--ratings", str(folder / "r.sqlite"),
        *options,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    assert process.stderr is not None
    try:
        said = {}
        for line in process.stderr:
            if "http" in line:
                words, _, address = line.strip().rpartition(" ")
                said[words] = address
            if line.startswith("Stop with"):
                break
        assert said, "the server did not start"
        yield said
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.fixture(
    params=[
        ("nginx", "/find/", True, "public"),
        ("nginx", "/find/", True, ""),  # nothing was said: nginx's own Host, and TLS
        ("nginx", "/", False, "public"),
        ("nginx", "/find/", True, "token"),
        ("caddy", "/find/", True, "public"),
        ("caddy", "/", False, "public"),
    ],
    ids=lambda each: f"{each[0]}{each[1]}{'https' if each[2] else 'http'}-{each[3]}",
)
def server(request: pytest.FixtureRequest, index_path: Path, tmp_path: Path) -> Iterator[Proxied]:
    kind, path, tls, said = request.param
    port = free_port()
    pair = certificate(tmp_path) if tls else None
    origin = f"{'https' if tls else 'http'}://{NAME}:{port}"
    options = ["--public-url", origin + path] if said else []
    environment = {"VSEARCH_TOKEN": TOKEN} if said == "token" else {}
    with _serving(index_path, tmp_path, *options, **environment) as addresses:
        upstream = addresses["Serving on"].partition("?")[0].rstrip("/")
        if kind == "nginx":
            proxy = nginx(tmp_path, nginx_server(port, nginx_location(upstream, path), pair), port)
        else:
            body = f"handle_path {path}* {{\nreverse_proxy {upstream}\n}}"
            proxy = caddy(tmp_path, caddy_site(port, body, pair), port)
        with proxy:
            yield Proxied(origin, path, addresses.get("Through the proxy:", origin + path))


def test_search_ratings_and_description(server: Proxied, new_page: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    page = new_page(ignore_https_errors=True, viewport={"width": 1280, "height": 860})
    folder = server.url + server.path
    page.goto(server.entry)
    assert page.url == folder  # the token, if any, is out of the address
    page.locator("#items .similar").first.click()
    expect(page.locator("#results li")).not_to_have_count(0)
    expect(page).to_have_url(re.compile(f"^{re.escape(folder)}\\?id="))
    picture = tmp_path / "query.png"
    picture.write_bytes(png(size=(1200, 1100)))
    page.locator("#file").set_input_files(picture)
    page.wait_for_url(f"{folder}?query=*")
    page.reload()
    expect(page.locator("#results li")).not_to_have_count(0)
    assert page.locator("#results img").count() > 5
    for picture_shown in ("#query-picture", "#results img >> nth=0"):
        shown = page.locator(picture_shown)
        assert shown.evaluate("i => i.decode().then(() => i.naturalWidth)")

    page.locator("#rate-link").click()
    page.wait_for_url(f"{folder}rate")
    page.locator("#nickname").fill("visitor")
    page.get_by_role("button", name="Start").click()
    answers = page.locator("#answers button")
    expect(page.locator("#place")).to_contain_text("1 of ")
    expect(page.locator("#pictures")).to_have_attribute("aria-busy", "false")
    widths = page.locator("#pictures img").evaluate_all("all => all.map(i => i.naturalWidth)")
    assert len(widths) > 1 and all(widths)
    with page.expect_response(lambda answer: answer.url == f"{folder}api/rate/judgements") as sent:
        answers.first.click()
    assert sent.value.status == 200 and sent.value.json()["done"] == 1

    page.goto(f"{folder}docs")
    page.get_by_role("button", name="get /healthz", exact=False).first.click()
    page.get_by_role("button", name="Try it out").click()
    with page.expect_response(lambda answer: answer.url.endswith("/healthz")) as tried:
        page.get_by_role("button", name="Execute").click()
    assert tried.value.url == f"{folder}healthz" and tried.value.status == 200


@pytest.mark.parametrize("server", [("nginx", "/", True, "token")], indirect=True)
def test_a_page_of_another_site_is_refused(server: Proxied, browser: Any) -> None:
    """One that nginx's own Host makes look like the server's: of the visitor's own machine."""
    context = patient_context(browser, ignore_https_errors=True)
    page = context.new_page()
    page.goto(server.entry)  # a visitor who may come
    other = "http://127.0.0.1:1/page.html"
    page.route(
        other, lambda route: route.fulfill(content_type="text/html", body="<form method=post>")
    )
    page.goto(other)
    action = f"{server.url}/api/search"
    with page.expect_response(lambda answer: answer.url == action) as answered:
        page.evaluate("a => { const [f] = document.forms; f.action = a; f.submit(); }", action)
    assert answered.value.status == 403
    context.close()
