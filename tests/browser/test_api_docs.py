"""*Try it out* of the API's description works as it stands: nothing is filled in that fails."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("playwright", reason="Playwright is not installed")

from search_page import picture


def tried(page: Any, method: str, path: str, *, file: Any = None) -> int:
    """The status of an operation that is executed with what is filled in, and with this file."""
    page.goto("/docs")
    operation = page.locator(
        ".opblock", has=page.locator(f".opblock-summary-path[data-path='{path}']")
    ).and_(page.locator(f".opblock-{method}"))
    operation.locator("button.opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    if file is not None:
        operation.locator("input[type=file]").set_input_files(file)
    with page.expect_response(lambda answer: answer.url.partition("?")[0].endswith(path)) as answer:
        operation.get_by_role("button", name="Execute").click()
    return answer.value.status


def test_a_picture_is_searched_for(page: Any, server: Any) -> None:
    assert tried(page, "post", "/api/search", file=picture(server)) == 200


@pytest.mark.parametrize("path", ["/healthz", "/api/catalogue", "/api/items", "/api/duplicates"])
def test_what_needs_nothing_is_answered(path: str, page: Any) -> None:
    assert tried(page, "get", path) == 200
