"""The search page in a real browser: what goes wrong, and what must stay text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
from browsers import patient_context, wait_until
from playwright.sync_api import expect
from search_page import (
    DESKTOP,
    answering,
    by_item,
    cards,
    expect_asked,
    ids,
    is_search,
    open_figures,
    picture,
    upload,
)


def test_a_broken_upload_is_named(new_page: Callable[..., Any], tmp_path: Path) -> None:
    page = new_page(viewport=DESKTOP, may_fail=(400, 415))
    broken = tmp_path / "torn photo.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    page.locator("#file").set_input_files(broken)
    alert = page.get_by_role("alert")
    expect(alert).to_be_visible()
    expect(alert.get_by_role("heading")).to_have_text("“torn photo.jpg” was not searched")
    expect(alert.locator("p")).to_have_count(3)
    expect(alert).to_be_focused()
    expect(page.locator("body")).not_to_have_class("busy")
    with page.expect_file_chooser():
        alert.get_by_role("button", name="Choose another picture").click()
    expect(alert).to_be_hidden()
    expect(page.locator("#items li")).to_have_count(42)


def test_too_many_bytes_are_not_sent(page: Any, server: Any) -> None:
    def small(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        body["limits"]["upload_bytes"] = 100
        route.fulfill(response=answer, body=json.dumps(body))

    page.route("**/api/catalogue", small)
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    page.locator("#file").set_input_files(picture(server))
    expect(page.get_by_role("alert")).to_contain_text("takes at most 100")


def test_a_kept_picture_that_is_gone_is_said(new_page: Callable[..., Any]) -> None:
    page = new_page(viewport=DESKTOP, may_fail=(404,))
    with page.expect_response(is_search) as answer:
        page.goto(f"/?query={'0' * 32}&box=auto")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(answer.value.json()["error"]["cause"])
    expect(alert.get_by_role("button", name="Choose another picture")).to_be_visible()
    expect(page.locator("#items li")).to_have_count(42)


def test_a_busy_server_is_asked_again(new_page: Callable[..., Any]) -> None:
    page = new_page(viewport=DESKTOP, may_fail=(429, 503))
    answers = iter([(503, "0"), (429, "1")])
    held: list[Any] = []
    error = {"cause": "Too many searches.", "consequence": "None was made.", "cure": "Wait."}

    def busy(route: Any) -> None:
        status, wait = next(answers, (200, ""))
        if status == 200:
            held.append(route)  # what is said of the attempt before stands as long
        else:
            route.fulfill(status=status, headers={"Retry-After": wait}, json={"error": error})

    page.route("**/api/search", busy)
    page.goto("/?id=garment-00000")
    expect(page.locator("#waiting")).to_have_text(
        "Too many searches. Trying again in 1 second (2 of 3)."
    )
    wait_until(page, lambda: held)
    held[0].continue_()
    expect(cards(page).nth(11)).to_be_attached()
    expect(page.locator("#waiting")).to_have_count(0)


def test_a_server_that_stays_busy_is_reported(new_page: Callable[..., Any]) -> None:
    page = new_page(viewport=DESKTOP, may_fail=(503,))
    error = {"cause": "All are busy.", "consequence": "None was made.", "cure": "Wait."}
    refused = []

    def busy(route: Any) -> None:
        refused.append(route)
        route.fulfill(status=503, headers={"Retry-After": "0"}, json={"error": error})

    page.route("**/api/search", busy)
    page.goto("/?id=garment-00000")
    expect(page.get_by_role("alert")).to_contain_text("All are busy.")
    assert len(refused) == 4
    page.unroute("**/api/search")
    page.get_by_role("button", name="Try again").click()
    expect(cards(page).nth(11)).to_be_attached()


def test_without_a_network_it_can_be_tried_again(browser: Any, server: Any) -> None:
    context = patient_context(browser, base_url=server.url)  # its console reports the lost network
    try:
        page = context.new_page()
        by_item(page)
        before = ids(page)[:24]  # more may come by themselves
        context.set_offline(True)
        open_figures(page)
        page.get_by_text("L1", exact=True).click()
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("The server cannot be reached.")
        # What is on the page, and its address, still belong together.
        assert ids(page)[:24] == before
        expect_asked(page, metric=[])
        expect(page.get_by_role("radio", name="L2")).to_be_checked()
        context.set_offline(False)
        alert.get_by_role("button", name="Try again").click()
        expect(page.locator("#measured")).to_contain_text("L1: nearest")
        expect(alert).to_be_hidden()
    finally:
        context.close()


def test_a_thumbnail_that_is_gone_leaves_its_place(new_page: Callable[..., Any]) -> None:
    page = new_page(viewport=DESKTOP, may_fail=(404,))
    page.route("**/api/thumbnails?*size=224", lambda route: route.fulfill(status=404))
    by_item(page)
    expect(page.locator("#results .frame.broken").first).to_have_text("No picture")
    frame = page.locator("#results .frame").first.bounding_box()
    assert frame["width"] == pytest.approx(frame["height"], abs=1)


def test_markup_in_names_and_metadata_stays_text(page: Any, server: Any, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"

    def write(body: dict[str, Any]) -> None:
        body["results"][0]["matches"][0]["metadata"] = {"category": evil, "note": evil + "!"}

    named = tmp_path / "<b>bold.jpg"
    named.write_bytes(picture(server).read_bytes())
    page.goto("/")
    upload(page, named)
    expect(page.locator("#query-name")).to_have_text("<b>bold.jpg")
    answering(page, write)
    open_figures(page)
    page.get_by_role("radio", name="L1").check(force=True)
    expect(cards(page).first.locator(".title")).to_have_text(evil)
    expect(page.locator("#results b, #results img[src=x]")).to_have_count(0)
