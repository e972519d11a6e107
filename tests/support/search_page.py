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
    return [card.get_attribute("data-id") for card in cards(page).all()]


def asked(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


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


def open_figures(page: Any) -> None:
    """Open the panel of distances and figures."""
    if page.locator("#figures").get_attribute("open") is None:
        page.locator("#figures summary").click()


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
