"""The search page in a real browser: the catalogue, uploads, and every other way in."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("playwright.sync_api")
from browsers import wait_until
from playwright.sync_api import expect
from search_page import DESKTOP, PHONE, asked, cards, expect_asked, picture, searching, upload


def give(page: Any, kind: str, file: Path, target: str = "document.body") -> None:
    """A drop or a paste of the file, as the browser would report it."""
    page.evaluate(
        f"""([kind, name, text]) => {{
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], name, {{ type: "image/jpeg" }}));
            const common = {{ bubbles: true, cancelable: true }};
            if (kind === "paste") {{
              {target}.dispatchEvent(
                new ClipboardEvent("paste", {{ ...common, clipboardData: data }}));
              return;
            }}
            for (const step of ["dragenter", "dragover", "drop"]) {{
              {target}.dispatchEvent(new DragEvent(step, {{ ...common, dataTransfer: data }}));
            }}
        }}""",
        [kind, file.name, base64.b64encode(file.read_bytes()).decode()],
    )


def test_the_catalogue_is_shown_before_a_query(page: Any) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Pictures of the catalogue")).to_be_visible()
    expect(page.locator("#items li")).to_have_count(42)
    expect(page.locator("#items .more")).to_be_hidden()
    expect(page.locator("#about")).to_contain_text("garments.index, 42 pictures")
    expect(page.get_by_role("link", name="API")).to_have_attribute("href", "docs")
    expect(page.locator("#matches")).to_be_hidden()


@pytest.mark.parametrize("kind", ["file", "drop", "words"])
def test_what_is_given_before_the_page_is_ready_waits_for_it(
    kind: str, page: Any, server: Any
) -> None:
    held: list[Any] = []
    page.route("**/api/catalogue", lambda route: held.append(route))
    page.goto("/")
    wait_until(page, lambda: held)
    if kind == "file":
        page.locator("#file").set_input_files(picture(server, 5))
    elif kind == "drop":
        give(page, kind, picture(server, 5))
    else:
        page.locator("#text").fill("garment-00004")
        page.keyboard.press("Enter")
    held[0].continue_()
    if kind == "words":
        expect(page.locator("#items li")).to_have_count(3)
        expect_asked(page, text=["garment-00004"])
    else:
        expect(cards(page).nth(11)).to_be_attached()
        expect(page.locator("#query-name")).to_have_text(picture(server, 5).name)


def test_notes_and_ratings_of_the_catalogue_are_shown(page: Any) -> None:
    def rated(route: Any) -> None:
        body = route.fetch().json()
        route.fulfill(json={**body, "rating": True, "note": "untrained network"})

    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    expect(page.locator("#rate-link")).to_be_hidden()
    page.route("**/api/catalogue", rated)
    page.reload()
    expect(page.locator("#about")).to_contain_text("untrained network")
    expect(page.get_by_role("link", name="Rate matches")).to_have_attribute("href", "rate")


def test_more_pictures_come_as_the_page_is_scrolled(page: Any) -> None:
    def shorter(route: Any) -> None:
        route.continue_(url=route.request.url.replace("limit=48", "limit=10"))

    page.route("**/api/items?*", shorter)
    page.set_viewport_size({"width": 400, "height": 500})
    page.goto("/")
    expect(page.locator("#items li").first).to_be_visible()
    assert page.locator("#items li").count() < 42
    more = page.locator("#items .more")
    wait_until(page, more.is_hidden, lambda: page.keyboard.press("End"))
    last = page.locator("#items li").last
    expect(last).to_have_attribute("aria-posinset", "42")
    expect(last).to_have_attribute("aria-setsize", "42")


def test_an_upload_is_compared_whole_as_the_catalogue_was_made(page: Any, server: Any) -> None:

    def of_whole_pictures(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "boxed": False})

    page.route("**/api/catalogue", of_whole_pictures)
    page.goto("/")
    expect(page.locator("#items li").first).to_be_visible()  # it knows the catalogue
    with searching(page) as answer:
        page.locator("#file").set_input_files(picture(server))
    query = answer.value.json()["query"]
    assert query["box"] is None and query["box_from"] is None
    expect(page.locator("#query-box")).to_contain_text("The whole picture")
    page.get_by_role("button", name="Find the item").click()
    expect(page.locator("#query-box")).to_contain_text("The item that was found")


def test_in_a_catalogue_of_boxes_a_box_is_proposed(page: Any, server: Any) -> None:
    page.goto("/")
    with searching(page) as answer:
        page.locator("#file").set_input_files(picture(server))
    assert answer.value.json()["query"]["box_from"] == "network"
    expect(cards(page).nth(11)).to_be_attached()
    expect(page.locator("#status")).to_contain_text(re.compile(r"24 matches among 42 pictures"))
    expect(page.locator("#query-name")).to_have_text(picture(server).name)
    expect(page.locator("#query-box")).to_contain_text("The item that was found")
    expect(page.locator("#box")).to_be_visible()
    x1, y1, x2, y2 = answer.value.json()["query"]["box"]
    box, stage = page.locator("#box").bounding_box(), page.locator("#stage").bounding_box()
    scale = stage["width"] / 160
    assert box["x"] - stage["x"] == pytest.approx(x1 * scale, abs=1)
    assert box["y"] - stage["y"] == pytest.approx(y1 * scale, abs=1)
    assert box["width"] == pytest.approx((x2 - x1) * scale, abs=1)
    assert box["height"] == pytest.approx((y2 - y1) * scale, abs=1)
    expect_asked(page, query=[answer.value.json()["query"]["kept"]])
    expect(page.locator("#query-title")).to_be_focused()


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_file_is_dropped_or_pasted(kind: str, page: Any, server: Any) -> None:
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    give(page, kind, picture(server, 5))
    expect(cards(page).nth(11)).to_be_attached()
    expect(page.locator("#query-name")).to_have_text(picture(server, 5).name)
    expect(page.locator("#drop-veil")).to_be_hidden()
    assert "query" in asked(page)


def test_a_photo_can_be_taken_on_touch_devices(new_page: Callable[..., Any], server: Any) -> None:
    phone = new_page(viewport=PHONE, has_touch=True, is_mobile=True)
    phone.goto("/")
    expect(phone.get_by_text("Take a photo")).to_be_visible()
    camera = phone.locator("#camera")
    assert camera.get_attribute("capture") == "environment"
    camera.set_input_files(picture(server))
    expect(cards(phone).nth(11)).to_be_attached()
    desk = new_page(viewport=DESKTOP)
    desk.goto("/")
    expect(desk.locator("#items li")).to_have_count(42)
    expect(desk.get_by_text("Take a photo")).to_be_hidden()


def test_an_upload_that_is_not_kept_stays_with_the_page(page: Any, server: Any) -> None:
    headers = {"Origin": server.url}
    form = {"id": "garment-00000"}
    body = page.request.post("/api/search", multipart=form, headers=headers).json()
    body["query"] |= {"kept": None, "id": None}
    page.route("**/api/search", lambda route: route.fulfill(json=body))
    page.goto("/")
    upload(page, picture(server))
    assert page.locator("#query-picture").get_attribute("src").startswith("blob:")
    expect(page.get_by_role("button", name="Copy link")).to_be_hidden()
    with searching(page):  # with the file again: no link could name it
        page.get_by_role("button", name="Whole picture").click()
    expect(cards(page).nth(11)).to_be_attached()
    assert urlsplit(page.url).query == ""
