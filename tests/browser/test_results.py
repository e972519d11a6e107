"""The search page in a real browser: distances, amounts, filters, links and history."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect
from search_page import DESKTOP, answering, asked, by_item, cards, ids, picture, upload


def test_each_distance_and_all_side_by_side(page: Any) -> None:
    by_item(page)
    for name, value in (("Hamming", "hamming"), ("L1", "l1")):
        page.get_by_role("radio", name=name).check(force=True)
        expect(page.locator("#summary")).to_contain_text(f"12 matches by {name} distance")
        assert asked(page)["metric"] == [value]
    page.get_by_role("radio", name="All, side by side").check(force=True)
    expect(page.locator(".side")).to_have_count(3)
    expect(page.locator(".side h3")).to_have_text(["Hamming", "L1", "L2"])
    for side in page.locator(".side").all():
        expect(side.locator("li")).to_have_count(12)
    assert asked(page)["metric"] == ["all"]
    page.locator("#k").select_option("24")
    for side in page.locator(".side").all():
        expect(side.locator("li")).to_have_count(24)
    assert asked(page)["k"] == ["24"]


def test_a_filter_leaves_only_its_category(page: Any) -> None:
    page.goto("/")
    category = page.get_by_label("Category")
    expect(category.locator("option")).to_have_count(15)
    category.select_option("category=Dress")
    expect(page.locator("#items li")).to_have_count(3)
    expect(page.locator("#items .title")).to_have_text(["Dress"] * 3)
    page.locator("#items a").first.click()
    expect(cards(page)).to_have_count(2)
    expect(cards(page).locator(".title")).to_have_text(["Dress"] * 2)
    expect(page.locator("#summary")).to_contain_text("among 3 pictures")
    category.select_option("category=Jeans")
    expect(cards(page).locator(".title")).to_have_text(["Jeans"] * 3)
    assert asked(page)["where"] == ["category=Jeans"]
    category.select_option("")
    expect(cards(page)).to_have_count(12)


def test_a_link_may_ask_for_several_values_and_other_amounts(page: Any) -> None:
    by_item(page, k="5", where="category=Dress&where=category=Jeans")
    expect(cards(page)).to_have_count(5)
    expect(page.locator("#k")).to_have_value("5")
    assert page.locator("#filter-category option:checked").inner_text() == "Dress or Jeans"
    assert set(cards(page).locator(".title").all_inner_texts()) == {"Dress", "Jeans"}


def test_matches_are_called_in_words_and_none_is_dimmed(page: Any) -> None:
    words = [("same item", 0.97), ("similar", 0.8), (None, None), ("not similar", 0.996)]

    def called(body: dict[str, Any]) -> None:
        for match, (label, probability) in zip(body["results"][0]["matches"], words, strict=False):
            match.update(label=label, probability=probability)

    answering(page, called)
    by_item(page)
    expect(page.locator("#results .label")).to_have_text(
        ["same item · 97%", "similar · 80%", "not similar · over 99%"]
    )
    expect(page.get_by_role("link", name=re.compile("same item · 97%"))).to_have_count(1)
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
    expect(page.locator("#results .label")).to_have_text(["not similar · 90%"] * 12)


def test_back_restores_the_search_before(page: Any) -> None:
    by_item(page)
    first = ids(page)
    cards(page).nth(1).get_by_role("link").click()
    expect(page.locator("#query-name")).to_contain_text(first[1])
    assert asked(page)["id"] == [first[1]]
    assert first[1] not in ids(page)
    page.go_back()
    expect(page.locator("#query-name")).to_contain_text("garment-00000")
    expect(page.locator("#query-name")).not_to_contain_text(first[1])
    assert ids(page) == first
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
    page.get_by_role("radio", name="L1").check(force=True)
    expect(page.locator("#summary")).to_contain_text("by L1 distance")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    found = ids(page)
    page.reload()
    expect(cards(page)).to_have_count(12)
    assert ids(page) == found
    expect(page.locator("#query-name")).to_have_text(picture(server, 7).name)
    other = new_page(viewport=DESKTOP)
    other.goto(link)
    expect(cards(other)).to_have_count(12)
    assert ids(other) == found
    expect(other.locator("#summary")).to_contain_text("by L1 distance")
    expect(other.locator("#query-picture")).to_have_js_property("complete", True)


def test_a_modified_click_is_left_to_the_browser(page: Any) -> None:
    by_item(page)
    with page.context.expect_page() as opened:
        cards(page).first.get_by_role("link").click(modifiers=["Control"])
    expect(cards(opened.value)).to_have_count(12)
    assert asked(page)["id"] == ["garment-00000"]
