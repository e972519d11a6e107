"""The search page in a real browser: distances, amounts, filters, links and history."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect
from search_page import (
    DESKTOP,
    answering,
    by_item,
    cards,
    expect_asked,
    ids,
    open_figures,
    picture,
    similar,
    upload,
)


def test_each_distance_and_all_side_by_side(page: Any) -> None:
    by_item(page)
    open_figures(page)
    for name, value in (("Hamming", "hamming"), ("L1", "l1")):
        page.get_by_role("radio", name=name).check(force=True)
        expect(page.locator("#measured")).to_contain_text(f"{name}: nearest")
        expect_asked(page, metric=[value])
    page.get_by_role("radio", name="All, side by side").check(force=True)
    expect(page.locator(".side")).to_have_count(3)
    expect(page.locator(".side h3")).to_have_text(["Hamming", "L1", "L2"])
    for side in page.locator(".side").all():
        expect(side.locator("li")).to_have_count(24)
    expect_asked(page, metric=["all"])
    page.locator("#k").select_option("12")
    for side in page.locator(".side").all():
        expect(side.locator("li")).to_have_count(12)
    expect_asked(page, k=["12"])


def test_a_link_may_ask_for_several_values_and_other_amounts(page: Any) -> None:
    by_item(page, k="5", where="category=Dress&where=category=Jeans")
    expect(cards(page)).to_have_count(5)
    expect(page.locator("#k")).to_have_value("5")
    expect(page.locator("#chips .chip")).to_have_text(
        ["Remove the filter category: Dress", "Remove the filter category: Jeans"]
    )
    assert set(cards(page).locator(".title").all_inner_texts()) == {"Dress", "Jeans"}


def test_matches_are_called_in_words_with_figures_under_details(page: Any) -> None:
    words = [("same item", 0.97), ("similar", 0.8), (None, None), ("not similar", 0.996)]

    def called(body: dict[str, Any]) -> None:
        for match, (label, probability) in zip(body["results"][0]["matches"], words, strict=False):
            match.update(label=label, probability=probability)

    answering(page, called)
    by_item(page)
    expect(page.locator("#results .label").first).to_have_text("Same item")
    assert page.locator("#results .label").all_inner_texts()[:3] == [
        "Same item", "Similar", "Not similar",
    ]  # fmt: skip
    figures = page.locator("#results .distance")
    expect(figures.first).to_be_hidden()
    open_figures(page)
    expect(figures.first).to_have_text(re.compile(r"^0\.\d+ · 97%$"))
    expect(figures.nth(3)).to_have_text(re.compile("· over 99%$"))
    assert page.locator("#results img").evaluate_all(
        "images => images.every(image => getComputedStyle(image).opacity === '1')"
    )
    expect(page.locator("#note")).to_be_empty()


def test_nothing_similar_is_said(page: Any) -> None:
    def far(body: dict[str, Any]) -> None:
        body["results"][0]["nothing_similar"] = True
        for match in body["results"][0]["matches"]:
            match.update(label="not similar", probability=0.9)

    answering(page, far)
    by_item(page)
    note = page.get_by_role("status").filter(has_text="Nothing similar")
    expect(note).to_contain_text("None of the matches is likely to be of the query's kind.")
    expect(page.locator("#results .label").first).to_have_text("Not similar")


def test_back_restores_the_search_before(page: Any) -> None:
    by_item(page)
    first = ids(page)
    similar(cards(page).nth(1)).click()
    expect(page.locator("#query-name")).to_contain_text(first[1])
    expect_asked(page, id=[first[1]])
    assert first[1] not in ids(page)[:12]
    page.go_back()
    expect(page.locator("#query-name")).to_contain_text("garment-00000")
    expect(page.locator("#query-name")).not_to_contain_text(first[1])
    assert ids(page)[:12] == first[:12]
    page.go_forward()
    expect(page.locator("#query-name")).to_contain_text(first[1])
    page.get_by_role("link", name="Visual item search").click()
    expect(page.locator("#items li")).to_have_count(42)
    page.go_back()
    expect(page.locator("#query-name")).to_contain_text(first[1])


def test_a_shared_link_gives_the_same_matches_elsewhere(
    new_page: Callable[..., Any], server: Any
) -> None:
    page = new_page(viewport=DESKTOP, permissions=["clipboard-read", "clipboard-write"])
    page.goto("/")
    upload(page, picture(server, 7))
    open_figures(page)
    page.get_by_role("radio", name="L1").check(force=True)
    expect(page.locator("#measured")).to_contain_text("L1: nearest")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    found = ids(page)
    page.reload()
    expect(cards(page).nth(11)).to_be_attached()
    assert ids(page)[:12] == found[:12]
    expect(page.locator("#query-name")).to_have_text(picture(server, 7).name)
    other = new_page(viewport=DESKTOP)
    other.goto(link)
    expect(cards(other).nth(11)).to_be_attached()
    assert ids(other)[:12] == found[:12]
    expect(other.locator("#measured")).to_contain_text("L1: nearest")
    expect(other.locator("#query-picture")).to_have_js_property("complete", True)


def test_a_modified_click_is_left_to_the_browser(page: Any) -> None:
    by_item(page)
    with page.context.expect_page() as opened:
        similar(cards(page).first).click(modifiers=["Control"])
    expect(cards(opened.value)).not_to_have_count(0)
    expect_asked(page, id=["garment-00000"])
