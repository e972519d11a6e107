"""The search page in a real browser: what is on it, and ways to search."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}


def picture(server: Any, number: int = 0) -> Path:
    return sorted(server.pictures.glob("*/*.jpg"))[number]


def cards(page: Any) -> Any:
    return page.locator("#results li")


def ids(page: Any) -> list[str]:
    return list(cards(page).evaluate_all("all => all.map((each) => each.dataset.id)"))


def asked(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def expect_asked(page: Any, **values: list[str]) -> None:
    """Wait until the address asks for these values; for none of a name of []."""
    page.wait_for_function(
        """wanted => {
            const asked = new URLSearchParams(location.search);
            return Object.entries(wanted).every(
              ([name, values]) => JSON.stringify(asked.getAll(name)) === JSON.stringify(values));
        }""",
        arg=values,
    )


def expect_within(locator: Any, height: float) -> None:
    """Wait until it ends above this line of the screen, as it does once the page is laid out."""
    expect(locator).to_be_visible()
    locator.page.wait_for_function(
        "([element, height]) => element.getBoundingClientRect().bottom <= height",
        arg=[locator.element_handle(), height],
    )


def is_search(answer: Any) -> bool:
    return answer.url.endswith("/api/search")


def searching(page: Any) -> Any:
    return page.expect_response(is_search)


def by_item(page: Any, **settings: str) -> None:
    """Open the search by the catalogue's first item."""
    link = "&".join(f"{name}={value}" for name, value in settings.items())
    page.goto(f"/?id=garment-00000{'&' if link else ''}{link}")
    expect(cards(page)).not_to_have_count(0)


def upload(page: Any, file: Path) -> None:
    page.locator("#file").set_input_files(file)
    expect(cards(page)).not_to_have_count(0)


def opened(details: Any) -> None:
    """Open what can be opened, unless it is."""
    if details.get_attribute("open") is None:
        details.locator("> summary").click()
    expect(details).to_have_attribute("open", "")


def open_figures(page: Any) -> None:
    """Open the panel of distances and figures."""
    opened(page.locator("#figures"))


def similar(card: Any) -> Any:
    """The link of a card that searches by it."""
    return card.locator(".similar")


def answering(page: Any, change: Callable[[dict[str, Any]], None]) -> None:
    """Let the server answer, and change what it says."""

    def handle(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        change(body)
        route.fulfill(response=answer, body=json.dumps(body))

    page.route("**/api/search", handle)
