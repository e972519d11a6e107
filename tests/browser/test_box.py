"""The search page in a real browser: the box, by mouse, finger and keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
from browsers import wait_until
from playwright.sync_api import expect
from search_page import (
    PHONE,
    by_item,
    cards,
    expect_asked,
    is_search,
    open_figures,
    searching,
)


def form_of(request: Any) -> dict[str, str]:
    """The fields of a search request, other than files."""
    body = request.post_data_buffer.decode("latin-1")
    return dict(re.findall(r'name="(\w+)"\r\n\r\n(.*?)\r\n', body))


def drag(page: Any, start: tuple[float, float], by: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0] / 2, start[1] + by[1] / 2)
    page.mouse.move(start[0] + by[0], start[1] + by[1])
    page.mouse.up()


def middle(box: dict[str, float]) -> tuple[float, float]:
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_mouse_moves_and_resizes_the_box(page: Any) -> None:
    by_item(page, box="40,40,120,160")
    scale = page.locator("#stage").bounding_box()["width"] / 160
    with searching(page) as answer:
        drag(page, middle(page.locator("#box").bounding_box()), (20 * scale, -10 * scale))
    assert form_of(answer.value.request)["box"] == "60,30,140,150"
    page.wait_for_url(lambda url: "box=60%2C30%2C140%2C150" in url)
    expect(page.locator("#query-box")).to_contain_text("Box set by you, 80 × 120")
    with searching(page) as answer:
        corner = page.locator('.handle[data-edges="nw"]').bounding_box()
        drag(page, middle(corner), (10 * scale, 20 * scale))
    page.wait_for_url(lambda url: "box=70%2C50%2C140%2C150" in url)
    # Beyond the picture's rim the box ends at it.
    with searching(page):
        drag(page, middle(page.locator('.handle[data-edges="e"]').bounding_box()), (900, 0))
    page.wait_for_url(lambda url: "box=70%2C50%2C160%2C150" in url)


def test_the_mouse_draws_a_new_box_outside_the_old_one(page: Any) -> None:
    by_item(page, box="100,120,150,190")
    stage = page.locator("#stage").bounding_box()
    scale = stage["width"] / 160
    with searching(page):
        drag(page, (stage["x"] + 10 * scale, stage["y"] + 10 * scale), (60 * scale, 80 * scale))
    page.wait_for_url(lambda url: "box=10%2C10%2C70%2C90" in url)
    # A click draws nothing, and searches nothing.
    searches: list[str] = []
    page.on("request", lambda request: searches.append(request.url) if is_search(request) else None)
    page.mouse.click(stage["x"] + 150 * scale, stage["y"] + 20 * scale)
    with searching(page):
        page.get_by_role("button", name="Whole picture").click()
    expect_asked(page, box=["0,0,160,200"])
    assert len(searches) == 1


def test_a_finger_drags_the_box(new_page: Callable[..., Any]) -> None:
    phone = new_page(viewport=PHONE, has_touch=True, is_mobile=True)
    by_item(phone, box="40,40,120,160")
    phone.get_by_role("button", name="Choose the part").click()
    scale = phone.locator("#stage").bounding_box()["width"] / 160
    x, y = middle(phone.locator("#box").bounding_box())
    fingers = phone.context.new_cdp_session(phone)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        where = [{"x": px, "y": py} for px, py in points]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

    with searching(phone) as answer:
        touch("touchStart", (x, y))
        touch("touchMove", (x - 10 * scale, y + 10 * scale))
        touch("touchMove", (x - 20 * scale, y + 20 * scale))
        touch("touchEnd")
    edges = [int(edge) for edge in form_of(answer.value.request)["box"].split(",")]
    assert edges == pytest.approx([20, 60, 100, 180], abs=1)
    assert phone.evaluate("scrollY") == 0


def test_the_keyboard_moves_and_resizes_the_box(page: Any) -> None:
    page.clock.install()
    by_item(page, box="40,40,120,160")
    box = page.locator("#box")
    box.focus()
    # The run of keys ends where none follows for a while: of the page's time, which stands still.
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowUp", "Control+ArrowLeft"):
        page.keyboard.press(key)
    with searching(page) as answer:
        page.clock.resume()
    # A step is a fiftieth of the side: 3 and 4 pixels here; with Ctrl it is one pixel.
    assert form_of(answer.value.request)["box"] == "45,40,125,156"
    page.wait_for_url(lambda url: "box=45%2C40%2C125%2C156" in url)
    expect(box).to_be_focused()
    expect(page.locator("#box-status")).to_have_text(
        "Box: 80 by 116 pixels, 45 from the left, 40 from the top"
    )
    expect(page.locator("#box-help")).to_contain_text("arrow keys")
    expect(box).to_have_attribute("aria-describedby", "box-help")


def test_whole_picture_and_proposed_box_are_buttons(page: Any) -> None:
    by_item(page, box="40,40,120,160")
    page.get_by_role("button", name="Whole picture").click()
    expect(page.locator("#query-box")).to_contain_text("The whole picture")
    expect_asked(page, box=["0,0,160,200"])
    page.get_by_role("button", name="Find the item").click()
    expect(page.locator("#query-box")).to_contain_text("The item that was found")
    expect_asked(page, box=["auto"])


def test_the_answer_to_an_earlier_wish_is_dropped(page: Any) -> None:
    by_item(page)
    held: list[Any] = []

    def hold_the_first(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/api/search", hold_the_first)
    open_figures(page)
    page.get_by_text("Hamming", exact=True).click()
    wait_until(page, lambda: held)
    page.get_by_text("L1", exact=True).click()
    expect(page.locator("#measured")).to_contain_text("L1: nearest")
    expect_asked(page, metric=["l1"])


def test_quick_wishes_add_up(page: Any) -> None:
    by_item(page, box="40,40,120,160")
    open_figures(page)
    page.locator("#box").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#k").select_option("12")  # before the box was searched, and before its answer
    page.get_by_text("Hamming", exact=True).click()
    expect(page.locator("#box-status")).to_contain_text("43 from the left")
    page.wait_for_url(lambda url: "box=43%2C40%2C123%2C160" in url)
    expect(cards(page).nth(11)).to_be_attached()
    expect_asked(page, k=["12"], metric=["hamming"])
