"""What people come for, from beginning to end, in Chromium and Firefox, on three screens.

Find this shirt from a photo and open its product page; find the dresses under a price that look
like this one, and export them; find the copies in the catalogue, and list them for removal.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
from browsers import Server, launched, serving, vsearch
from PIL import Image, ImageEnhance
from playwright.sync_api import expect
from search_page import cards, expect_within, opened, similar

SCREENS = {"phone": (390, 844), "tablet": (1024, 768), "desk": (1440, 900)}
COPIES = 10


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def browser(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Any]:
    with launched(request.param, tmp_path_factory.mktemp("browser")) as started:
        yield started


@dataclass(frozen=True)
class Shop(Server):
    """A catalogue with titles, prices and product pages, and some pictures twice."""

    rows: list[dict[str, str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    pictures, index, table = folder / "shop", folder / "shop.index", folder / "shop" / "shop.csv"
    command = vsearch("garments", "-o", pictures, "--items", "20", "--size", "160x200")
    subprocess.run(command, check=True, capture_output=True)
    with (pictures / "garments.csv").open(newline="") as drawn:
        rows = list(csv.DictReader(drawn))
    (pictures / "garments.csv").unlink()
    for number, row in enumerate(rows):
        item = int(row["group"].rpartition("-")[2])
        row["id"] = f"{row['group']}-{number % 3}"
        row["title"] = f"{row['colour']} {row['category']} no. {item}"
        row["price"] = f"{15 + 7 * item}.90"
        row["link"] = f"https://shop.example/{row['group']}"
    for row in rows[:COPIES]:  # the same file under another name
        path = row["path"].replace(".jpg", "-again.jpg")
        shutil.copy(pictures / row["path"], pictures / path)
        rows.append({**row, "path": path, "id": f"{row['id']}-again"})
    with table.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    command = vsearch("index", pictures, "--csv", table, "-o", index, "--quiet")
    subprocess.run(command, check=True, capture_output=True)
    with serving(index, folder / "log") as url:
        yield Shop(url, pictures, index, rows)


@pytest.fixture(params=SCREENS)
def screen(request: pytest.FixtureRequest, new_page: Callable[..., Any]) -> Any:
    width, height = SCREENS[request.param]
    return new_page(viewport={"width": width, "height": height}, accept_downloads=True)


def exported(page: Any) -> list[dict[str, str]]:
    """The table of the answer; that it is saved, too, Chromium alone tells."""
    button = page.get_by_role("button", name="Export as CSV")
    table = b""
    with page.expect_response("**/api/export") as answer:
        if page.context.browser.browser_type.name == "chromium":
            with page.expect_download() as download:
                button.click()
            assert download.value.suggested_filename == "items.csv"
            table = Path(download.value.path()).read_bytes()
        else:
            button.click()
    table = table or answer.value.body()
    return list(csv.DictReader(io.StringIO(table.decode("utf-8-sig"))))


def test_this_shirt_from_a_photo(screen: Any, server: Shop, tmp_path: Path) -> None:
    """Three actions: the photo, its match, the product page."""
    shirt = next(row for row in server.rows[30:] if row["id"].endswith("-1"))
    photo = tmp_path / "IMG_0001.jpg"
    with Image.open(server.pictures / shirt["path"]) as original:
        grown = original.resize((1200, 1500))
        ImageEnhance.Brightness(grown).enhance(1.15).save(photo, quality=80)
    screen.goto("/")
    screen.locator("#file").set_input_files(photo)
    match = cards(screen).filter(has_text=shirt["title"]).first
    expect(match).to_be_visible()
    # Its picture and its title are seen without scrolling.
    expect_within(match.locator(".title"), screen.viewport_size["height"])
    assert screen.evaluate("scrollY") == 0
    match.locator(".open").click()
    detail = screen.locator("#detail")
    expect(detail.get_by_role("heading", name=shirt["title"])).to_be_visible()
    product = detail.get_by_role("link", name="Open its page")
    expect(product).to_have_attribute("href", shirt["link"])
    expect(product).to_have_attribute("rel", "noopener noreferrer")
    expect_within(product, screen.viewport_size["height"])


def test_dresses_under_a_price_that_look_like_this_one(screen: Any, server: Shop) -> None:
    chosen = [row for row in server.rows if float(row["price"]) <= 80]
    category = chosen[0]["category"]
    dresses = {row["id"]: row for row in chosen if row["category"] == category}
    colour = next(iter(dresses.values()))["colour"]
    wanted = {id for id, row in dresses.items() if row["colour"] == colour}
    screen.goto("/")
    similar(screen.locator("#items li").filter(has_text=min(wanted)).first).click()
    expect(cards(screen)).not_to_have_count(0)
    opened(screen.locator("#filters"))

    def tick(column: str, value: str) -> None:
        group = screen.locator(f'[data-column="{column}"]')
        opened(group)
        within = group.get_by_role("searchbox")
        if within.count():
            within.fill(value)
        group.locator(f'input[type=checkbox][value="{value}"]').check()
        expect(screen.locator("#chips")).to_contain_text(f"{column}: {value}")

    tick("category", category)
    screen.get_by_label("price to").fill("80")
    screen.get_by_label("price to").press("Enter")
    expect(screen.locator("#chips")).to_contain_text("price: up to 80")
    tick("colour", colour)
    expect(cards(screen)).to_have_count(len(wanted) - 1)  # but for what is searched by
    cards(screen).first.locator(".pick input").check()
    screen.get_by_role("button", name="Select all shown").click()
    rows = exported(screen)
    assert len(rows) == len(wanted) - 1
    assert {row["id"] for row in rows} < wanted
    assert all(float(row["price"]) <= 80 and row["category"] == category for row in rows)
    assert all(row["title"] and row["link"] for row in rows)


def test_ten_duplicates_are_listed(screen: Any, server: Shop) -> None:
    screen.goto("/")
    screen.get_by_role("link", name="Duplicates").click()
    screen.get_by_role("button", name="Look for copies").click()
    expect(screen.locator("#duplicates-summary")).to_contain_text("copies in")
    groups = screen.locator(".copies").filter(has_text="The same file")
    expect(groups).to_have_count(COPIES)
    expect(groups.first.locator(".label").first).to_have_text("Best copy")
    for group in groups.all():
        group.get_by_role("button", name="Select the").click()
    rows = exported(screen)
    twice = {row["id"].removesuffix("-again") for row in server.rows[-COPIES:]}
    assert {row["id"].removesuffix("-again") for row in rows} >= twice
    assert len(rows) < len(server.rows) - len(twice) + 1
