"""The search page in a real browser: phones, the keyboard alone, axe-core, colour schemes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect
from search_page import (
    DESKTOP,
    PHONE,
    by_item,
    cards,
    open_figures,
    opened,
    picture,
    searching,
    similar,
    upload,
)


def test_a_phone_needs_no_sideways_scrolling(new_page: Callable[..., Any], server: Any) -> None:
    page = new_page(viewport=PHONE, has_touch=True, is_mobile=True)

    def fits() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    fits()
    upload(page, picture(server))
    fits()
    opened(page.locator("#filters"))
    fits()
    cards(page).first.locator(".open").click()
    expect(page.locator("#detail")).to_be_visible()
    fits()
    page.get_by_role("button", name="Close").click()
    open_figures(page)
    page.get_by_role("radio", name="All, side by side").check(force=True)
    expect(page.locator(".side")).to_have_count(3)
    fits()


def test_the_keyboard_alone_is_enough(page: Any) -> None:
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the search")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()

    def tab_to(target: Any, most: int = 20) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if target.evaluate("(element) => element === document.activeElement"):
                return
        pytest.fail(f"{most} tabs do not reach {target}")

    tab_to(similar(page.locator("#items li").first), 80)
    page.keyboard.press("Enter")
    expect(page.locator("#query-title")).to_be_focused()
    expect(cards(page).nth(11)).to_be_attached()
    page.keyboard.press("Tab")
    expect(page.locator("#box")).to_be_focused()
    with searching(page):
        page.keyboard.press("Shift+ArrowLeft")
    tab_to(page.locator("#figures > summary"), 80)
    page.keyboard.press("Enter")
    tab_to(page.get_by_role("radio", name="L2"))
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#measured")).to_contain_text("L1: nearest")
    expect(page.get_by_role("radio", name="L1")).to_be_focused()
    # The label is drawn in place of the button: its outline is the visible focus.
    drawn = page.locator(".segment input:checked + span")
    assert drawn.evaluate("(element) => getComputedStyle(element).outlineStyle") == "solid"
    tab_to(similar(cards(page).nth(2)))
    page.keyboard.press("Enter")
    expect(page.locator("#query-title")).to_be_focused()


@pytest.fixture(scope="module")
def axe() -> str:
    package = pytest.importorskip("axe_playwright_python", reason="axe-core is missing")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core finds; evaluated, as the page's policy lets in no foreign script."""
    page.evaluate(axe)
    found = page.evaluate(
        "axe.run(document, { resultTypes: ['violations'],"
        " rules: { 'label-content-name-mismatch': { enabled: true } } })"
    )
    return [
        f"{violation['id']}: {node['html'][:160]} {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def states(page: Any, broken: Path) -> Iterator[str]:
    """Bring the page into each of its states."""
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    yield "empty"
    by_item(page)
    yield "results"
    cards(page).first.locator(".open").click()
    expect(page.locator("#detail")).to_be_visible()
    yield "details"
    page.get_by_role("button", name="Close").click()
    opened(page.locator("#filters"))
    cards(page).first.locator(".pick input").check()
    open_figures(page)
    page.get_by_role("radio", name="All, side by side").check(force=True)
    expect(page.locator(".side")).to_have_count(3)
    yield "side by side"
    page.locator("#file").set_input_files(broken)
    expect(page.get_by_role("alert")).to_be_visible()
    yield "error"
    page.goto("/?view=duplicates")
    expect(page.get_by_role("button", name="Look for copies")).to_be_enabled()
    yield "duplicates"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_axe_finds_nothing(
    scheme: Any, size: str, new_page: Callable[..., Any], axe: str, tmp_path: Path
) -> None:
    phone = size == "phone"
    page = new_page(
        may_fail=(400, 415),
        viewport=PHONE if phone else DESKTOP,
        has_touch=phone,
        is_mobile=phone,
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    found = {}
    for state in states(page, broken):
        page.evaluate("document.activeElement.blur()")
        found[state] = violations(page, axe)
    assert not any(found.values()), json.dumps(found, indent=1)


def test_the_page_follows_the_colour_scheme(new_page: Callable[..., Any]) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page = new_page(color_scheme=scheme)
        page.goto("/")
        expect(page.locator("#items li")).to_have_count(42)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]
