"""The search page in a real browser: details, filters, selection, uploads, languages, budget."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("playwright.sync_api")
from browsers import wait_until
from PIL import Image
from playwright.sync_api import expect
from search_page import (
    DESKTOP,
    by_item,
    cards,
    expect_asked,
    expect_within,
    ids,
    opened,
    picture,
    searching,
    similar,
)

STATIC = Path(__file__).parents[2] / "vsearch_fast" / "web" / "static"


@pytest.mark.parametrize("screen", [(390, 844), (1024, 768), (1440, 900), (720, 450)])
def test_the_first_match_is_on_the_first_screen(
    screen: tuple[int, int], new_page: Callable[..., Any]
) -> None:
    """The last one is a desk's at 200%."""
    width, height = screen
    page = new_page(viewport={"width": width, "height": height})
    by_item(page)
    expect_within(cards(page).first.locator(".frame"), height)
    expect_within(page.locator("#filters > summary"), height)


def test_details_and_the_ways_on(page: Any) -> None:
    by_item(page)
    first, second = ids(page)[:2]
    cards(page).first.locator(".open").click()
    detail = page.locator("#detail")
    expect(detail.locator(".pair img")).to_have_count(2)  # beside the query
    expect(detail.locator("dd").first).to_have_text(first)
    expect_asked(page, show=[first])
    expect(page.get_by_role("button", name="Previous")).to_be_disabled()
    page.get_by_role("button", name="Next").click()
    expect(detail.locator("dd").first).to_have_text(second)
    with page.expect_download() as download:
        detail.get_by_role("link", name="Download the picture").click()
    assert download.value.suggested_filename.endswith(".jpg")
    page.go_back()  # one step, however many items were looked at
    expect(detail).to_be_hidden()
    expect_asked(page, show=[])
    expect(cards(page).nth(1).locator(".open")).to_be_focused()
    page.go_forward()
    expect(detail.locator("dd").first).to_have_text(second)
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()


def test_names_of_fields_are_shown_and_no_value_is_hidden(page: Any, server: Any) -> None:
    with (server.pictures / "garments.csv").open(newline="") as table:
        row = next(csv.DictReader(table))
    page.goto("/")
    fields = page.locator("#items li").first.locator(".fields")
    for column in ("pattern", "fabric", "colour", "background"):
        expect(fields).to_contain_text(f"{column} {row[column]}")


def test_back_finds_its_place_again(page: Any) -> None:
    page.goto("/")
    link = similar(page.locator("#items li").nth(30))
    link.click()
    expect(cards(page)).not_to_have_count(0)
    page.go_back()
    expect(page.locator("#items li").nth(30).locator(".open")).to_be_focused()
    page.wait_for_function("scrollY > 0")


def test_filters_become_chips_and_counts_follow(page: Any) -> None:
    page.goto("/")
    category = page.locator('[data-column="category"]')
    expect(category.get_by_role("checkbox")).not_to_have_count(0)
    category.get_by_role("searchbox").fill("dress")
    expect(category.get_by_role("checkbox")).to_have_count(1)
    category.get_by_role("checkbox").check()
    expect(page.locator("#items .title")).to_have_text(["Dress"] * 3)
    expect(page.locator("#total")).to_have_text("3 pictures")
    pattern = page.locator('[data-column="pattern"]')
    opened(pattern)
    expect(pattern.locator(".count")).to_have_text(["3"])  # of dresses alone
    category.get_by_role("searchbox").fill("jeans")
    category.get_by_role("checkbox", name="Jeans").check()
    expect(page.locator("#items li")).to_have_count(6)
    page.get_by_role("button", name="Remove the filter category: Dress").click()
    expect(page.locator("#items .title")).to_have_text(["Jeans"] * 3)
    expect_asked(page, where=["category=Jeans"])


def test_words_orders_and_what_is_not_there(page: Any) -> None:
    page.goto("/")
    page.get_by_role("searchbox", name="Words or an id").fill("garment-00004")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#items li")).to_have_count(3)
    page.locator("#text").fill("zeppelin")
    page.keyboard.press("Enter")
    empty = page.locator("#no-items")
    expect(empty).to_contain_text("Nothing here is called “zeppelin”.")
    empty.get_by_role("button", name="Clear all").click()
    expect(page.locator("#items li")).to_have_count(42)
    page.locator("#sort").select_option("-category")
    expect(page.locator("#items .title").first).not_to_have_text("Blazer")
    expect(page.locator("#items .title")).to_have_count(42)
    titles = page.locator("#items .title").all_inner_texts()
    assert titles == sorted(titles, key=str.casefold, reverse=True)


def test_a_large_photo_is_seen_made_small_and_can_be_cancelled(page: Any, tmp_path: Path) -> None:
    photo = tmp_path / "IMG_0042.png"
    Image.effect_noise((960, 1800), 80).convert("RGB").save(photo)
    assert photo.stat().st_size > 1_000_000
    page.route("**/api/search", lambda route: None)  # never answered
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    with page.expect_request("**/api/search") as sent:
        page.locator("#file").set_input_files(photo)
    expect(page.locator("#query-picture")).to_have_attribute("src", re.compile("^blob:"))
    expect(page.locator("#query-name")).to_have_text(photo.name)
    cancel = page.get_by_role("button", name="Cancel")
    expect(cancel).to_be_visible()
    body = sent.value.post_data_buffer
    assert b"image/jpeg" in body and len(body) < photo.stat().st_size
    cancel.click()
    expect(page.locator("#items li").first).to_be_visible()
    expect(page.locator("#query")).to_be_hidden()
    expect_asked(page, query=[])


def test_of_several_files_the_others_are_a_click_away(page: Any, server: Any) -> None:
    from base64 import b64encode

    files = [picture(server, number) for number in (0, 7)]
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    page.evaluate(
        """(files) => {
            const data = new DataTransfer();
            for (const [name, text] of files) {
              const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
              data.items.add(new File([bytes], name, { type: "image/jpeg" }));
            }
            const options = { bubbles: true, cancelable: true, dataTransfer: data };
            document.body.dispatchEvent(new DragEvent("drop", options));
        }""",
        [(file.name, b64encode(file.read_bytes()).decode()) for file in files],
    )
    expect(page.locator("#query-name")).to_have_text(files[0].name)
    expect(page.locator("#more-files")).to_contain_text("2 pictures came")
    with searching(page):
        page.get_by_role("button", name=files[1].name).click()
    expect(page.locator("#query-name")).to_have_text(files[1].name)


def pasted(page: Any, text: str) -> None:
    page.evaluate(
        """(text) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", text);
            document.body.dispatchEvent(
              new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData }));
        }""",
        text,
    )


def test_an_address_in_place_of_a_picture_is_answered(new_page: Callable[..., Any]) -> None:
    page = new_page(may_fail=(400,))
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    pasted(page, "https://shop.example/shirt.jpg")
    expect(page.get_by_role("alert")).to_contain_text("cannot fetch pictures from other sites")


def test_the_address_of_a_picture_of_the_catalogue_is_searched_by(page: Any, server: Any) -> None:
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    id_ = page.request.get("/api/items?limit=1").json()["items"][0]["id"]
    pasted(page, f"{server.url}/api/items/{quote(id_, safe='')}/picture")
    expect(page).to_have_url(re.compile(rf"[?&]id={re.escape(quote(id_, safe=''))}"))
    expect(page.locator("#results li").first).to_be_visible()


def test_searches_are_remembered_here_until_they_are_forgotten(page: Any) -> None:
    by_item(page)
    page.locator("#home").click()
    recent = page.locator("#recent-list a")
    expect(recent).to_have_count(1)
    recent.click()
    expect(cards(page)).not_to_have_count(0)
    page.go_back()
    page.get_by_role("button", name="Forget them").click()
    expect(page.locator("#recent")).to_be_hidden()
    page.reload()
    expect(page.locator("#items li")).to_have_count(42)
    expect(page.locator("#recent")).to_be_hidden()


def test_without_storage_the_page_works(page: Any) -> None:
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused'); } })"
    )
    by_item(page)
    page.locator("#language").select_option("de")
    expect(page.locator("#matches-title")).to_have_text("Treffer")
    expect_asked(page, lang=["de"])


def test_the_browsers_language_and_a_switch(new_page: Callable[..., Any]) -> None:
    page = new_page(viewport=DESKTOP, locale="de-AT")
    page.goto("/")
    expect(page.locator("#catalogue-title")).to_have_text("Bilder des Katalogs")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    page.locator("#language").select_option("en")
    expect(page.locator("#catalogue-title")).to_have_text("Pictures of the catalogue")
    page.reload()
    expect(page.locator("#catalogue-title")).to_have_text("Pictures of the catalogue")


def test_both_languages_have_all_words_and_no_others_stand_elsewhere(page: Any) -> None:
    page.goto("/")
    messages = page.evaluate("import('/static/messages.js').then((all) => all.MESSAGES)")
    english, german = messages["en"], messages["de"]
    # Errors of the server it words in English itself.
    assert {key for key in german if not key.startswith("error.")} == set(english)
    holes = re.compile(r"\{\w+\}")
    for key, text in english.items():
        assert set(holes.findall(text)) == set(holes.findall(german[key])), key
        assert text.count("|") == german[key].count("|"), key
    for page_name in ("index.html", "rate.html"):
        page_text = (STATIC / page_name).read_text("utf-8")
        body = re.sub(r"<(noscript|option|kbd).*?</\1>", "", page_text, flags=re.S)
        body = body[body.index("<body") :]
        [unscripted] = re.findall(r"<noscript>.*?</noscript>", page_text, flags=re.S)
        assert re.findall(r'<p class="plain" lang="(\w+)">[A-Z]', unscripted) == ["en", "de"]
        assert not re.findall(r">\s*[A-Za-z][^<]*<", body), page_name
        for key in re.findall(r"data-t[\w-]*=\"([\w.]+)\"", body):
            assert key in english, (page_name, key)
    names = {file.name for file in STATIC.glob("*.js")} - {"docs.js", "messages.js"}
    assert {"main.js", "rate.js", "rate-pictures.js"} < names
    for name in names:
        code = re.sub(r"//.*", "", (STATIC / name).read_text("utf-8"))
        for key in re.findall(r"\bt\(\"([\w.]+)\"", code):
            assert key in english, (name, key)
        # Words have a capital and a space.
        assert not re.findall(r"[\"'`][A-Z][a-z]+ [a-z][^\"'`]*[\"'`]", code), name


def test_the_first_view_is_small_and_soon_there(page: Any) -> None:
    begun: list[Any] = []

    def begin(request: Any) -> None:
        if "/api/thumbnails" not in request.url:
            begun.append(request)

    page.on("request", begin)
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    # Each waits until its request is through, and may be joined by another meanwhile.
    sizes: dict[str, int] = {}
    for request in begun:
        sizes[request.url] = request.sizes()["responseBodySize"]
    assert len(sizes) > 20
    assert sum(sizes.values()) < 100_000, json.dumps(sizes, indent=1)


def test_a_long_list_keeps_few_cards(page: Any) -> None:
    """960 pictures are scrolled through; the page holds those that are near."""

    def many(route: Any) -> None:
        after = re.search(r"after=(\d+)", route.request.url)
        first = int(after[1]) if after else 0
        items = [
            {"id": f"picture-{n}", "path": None, "metadata": {"n": n}, "box": None}
            for n in range(first, first + 48)
        ]
        following = first + 48 if first + 48 < 960 else None
        route.fulfill(json={"items": items, "next": following and str(following), "total": 960})

    page.route("**/api/items?*", many)
    page.route("**/api/thumbnails?*", lambda route: route.fulfill(body=b"", status=204))
    page.goto("/")
    expect(page.locator("#items li").first).to_be_visible()
    seen: list[int] = []

    def scroll() -> None:
        page.mouse.wheel(0, 3000)
        seen.append(page.locator("#items li").count())

    last = page.locator('#items li[aria-posinset="960"]')
    wait_until(page, lambda: last.count(), scroll)
    assert max(seen) < 500
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator('#items li[aria-posinset="1"]')).to_be_visible()
    expect(page.locator('#items li[aria-posinset="960"]')).to_have_count(0)


@pytest.mark.parametrize("address", ["/", "/docs"])
def test_without_scripts_both_languages_are_there(
    address: str, new_page: Callable[..., Any]
) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(address)
    for language, words in (("en", "JavaScript"), ("de", "braucht JavaScript")):
        told = page.locator(f"noscript > p[lang={language}]")
        expect(told).to_be_visible()
        expect(told).to_contain_text(words)
