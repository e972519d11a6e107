"""The search page in a real browser: every way in, the box, the distances, links, errors."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("playwright.sync_api")
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


def box_of(page: Any) -> list[int]:
    return [int(edge) for edge in asked(page)["box"][0].split(",")]


def form_of(request: Any) -> dict[str, str]:
    """The fields of a search request, other than files."""
    body = request.post_data_buffer.decode("latin-1")
    return dict(re.findall(r'name="(\w+)"\r\n\r\n(.*?)\r\n', body))


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


def give(page: Any, kind: str, file: Path, target: str = "document.body") -> None:
    """A drop or a paste of the file, as the browser would report it."""
    page.evaluate(
        f"""([kind, name, text]) => {{
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], name, {{ type: "image/jpeg" }}));
            const common = {{ bubbles: true, cancelable: true }};
            if (kind === "paste") {{
              {target}.dispatchEvent(
                new ClipboardEvent("paste", {{ ...common, clipboardData: data }}));
              return;
            }}
            for (const step of ["dragenter", "dragover", "drop"]) {{
              {target}.dispatchEvent(new DragEvent(step, {{ ...common, dataTransfer: data }}));
            }}
        }}""",
        [kind, file.name, base64.b64encode(file.read_bytes()).decode()],
    )


@pytest.fixture
def page(new_page: Callable[..., Any]) -> Any:
    return new_page(viewport=DESKTOP)


# Ways in


def test_the_catalogue_is_shown_before_a_query(page: Any) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Pictures of the catalogue")).to_be_visible()
    expect(page.locator("#items li")).to_have_count(42)
    expect(page.locator("#more")).to_be_hidden()
    expect(page.locator("#about")).to_contain_text("garments.index, 42 pictures")
    expect(page.get_by_role("link", name="API")).to_have_attribute("href", "docs")
    expect(page.locator("#matches")).to_be_hidden()


def test_notes_and_ratings_of_the_catalogue_are_shown(page: Any) -> None:
    def rated(route: Any) -> None:
        body = route.fetch().json()
        route.fulfill(json={**body, "rating": True, "note": "untrained network"})

    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    expect(page.locator("#rate-link")).to_be_hidden()
    page.route("**/api/catalogue", rated)
    page.reload()
    expect(page.locator("#about")).to_contain_text("untrained network")
    expect(page.get_by_role("link", name="Rate matches")).to_have_attribute("href", "rate")


def test_more_pictures_are_a_button_away(page: Any) -> None:
    def shorter(route: Any) -> None:
        route.continue_(url=route.request.url.replace("limit=48", "limit=30"))

    page.route("**/api/items?*", shorter)
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(30)
    page.get_by_role("button", name="More pictures").click()
    expect(page.locator("#items li")).to_have_count(42)
    expect(page.locator("#items li").nth(30).get_by_role("link")).to_be_focused()
    expect(page.locator("#status")).to_have_text("42 pictures shown")
    expect(page.locator("#more")).to_be_hidden()


def test_an_upload_is_searched_with_a_proposed_box(page: Any, server: Any) -> None:
    page.goto("/")
    with searching(page) as answer:
        page.locator("#file").set_input_files(picture(server))
    assert answer.value.json()["query"]["box_from"] == "network"
    expect(cards(page)).to_have_count(12)
    expect(page.locator("#status")).to_contain_text(re.compile(r"12 matches by L2 distance, near"))
    expect(page.locator("#query-name")).to_have_text(picture(server).name)
    expect(page.locator("#query-box")).to_contain_text("Box proposed by the network")
    expect(page.locator("#box")).to_be_visible()
    x1, y1, x2, y2 = answer.value.json()["query"]["box"]
    box, stage = page.locator("#box").bounding_box(), page.locator("#stage").bounding_box()
    scale = stage["width"] / 160
    assert box["x"] - stage["x"] == pytest.approx(x1 * scale, abs=1)
    assert box["y"] - stage["y"] == pytest.approx(y1 * scale, abs=1)
    assert box["width"] == pytest.approx((x2 - x1) * scale, abs=1)
    assert box["height"] == pytest.approx((y2 - y1) * scale, abs=1)
    assert asked(page)["query"] == [answer.value.json()["query"]["kept"]]
    expect(page.locator("#query-title")).to_be_focused()


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_file_is_dropped_or_pasted(kind: str, page: Any, server: Any) -> None:
    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    give(page, kind, picture(server, 5))
    expect(cards(page)).to_have_count(12)
    expect(page.locator("#query-name")).to_have_text(picture(server, 5).name)
    expect(page.locator("#drop-veil")).to_be_hidden()
    assert "query" in asked(page)


def test_a_photo_can_be_taken_on_touch_devices(new_page: Callable[..., Any], server: Any) -> None:
    phone = new_page(viewport=PHONE, has_touch=True, is_mobile=True)
    phone.goto("/")
    expect(phone.get_by_text("Take a photo")).to_be_visible()
    camera = phone.locator("#camera")
    assert camera.get_attribute("capture") == "environment"
    camera.set_input_files(picture(server))
    expect(cards(phone)).to_have_count(12)
    desk = new_page(viewport=DESKTOP)
    desk.goto("/")
    expect(desk.locator("#items li")).to_have_count(42)
    expect(desk.get_by_text("Take a photo")).to_be_hidden()


def test_an_upload_that_is_not_kept_stays_with_the_page(page: Any, server: Any) -> None:
    headers = {"Origin": server.url}
    form = {"id": "garment-00000"}
    body = page.request.post("/api/search", multipart=form, headers=headers).json()
    body["query"] |= {"kept": None, "id": None}
    page.route("**/api/search", lambda route: route.fulfill(json=body))
    page.goto("/")
    upload(page, picture(server))
    assert page.locator("#query-picture").get_attribute("src").startswith("blob:")
    expect(page.get_by_role("button", name="Copy link")).to_be_hidden()
    with searching(page):  # with the file again: no link could name it
        page.get_by_role("button", name="Whole picture").click()
    expect(cards(page)).to_have_count(12)
    assert urlsplit(page.url).query == ""


# The box


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
    page.mouse.click(stage["x"] + 150 * scale, stage["y"] + 20 * scale)
    assert box_of(page) == [10, 10, 70, 90]


def test_a_finger_drags_the_box(new_page: Callable[..., Any]) -> None:
    phone = new_page(viewport=PHONE, has_touch=True, is_mobile=True)
    by_item(phone, box="40,40,120,160")
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
    by_item(page, box="40,40,120,160")
    box = page.locator("#box")
    box.focus()
    with searching(page) as answer:
        for key in ("ArrowRight", "ArrowRight", "Shift+ArrowUp", "Control+ArrowLeft"):
            page.keyboard.press(key)
    # A step is a fiftieth of the side: 3 and 4 pixels here; with Ctrl it is one pixel.
    assert form_of(answer.value.request)["box"] == "45,40,125,156"
    page.wait_for_url(lambda url: "box=45%2C40%2C125%2C156" in url)
    expect(box).to_be_focused()
    expect(page.locator("#box-status")).to_have_text(
        "Box: 80 by 116 pixels, 45 from the left, 40 from the top"
    )
    assert "arrow keys" in page.locator("#box-help").inner_text()
    expect(box).to_have_attribute("aria-describedby", "box-help")


def test_whole_picture_and_proposed_box_are_buttons(page: Any) -> None:
    by_item(page, box="40,40,120,160")
    page.get_by_role("button", name="Whole picture").click()
    expect(page.locator("#query-box")).to_contain_text("The whole picture")
    assert box_of(page) == [0, 0, 160, 200]
    page.get_by_role("button", name="Propose box").click()
    expect(page.locator("#query-box")).to_contain_text("Box proposed by the network")
    assert asked(page)["box"] == ["auto"]


def test_the_answer_to_an_earlier_wish_is_dropped(page: Any) -> None:
    by_item(page)
    held: list[Any] = []

    def hold_the_first(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/api/search", hold_the_first)
    page.get_by_text("Hamming", exact=True).click()
    page.get_by_text("L1", exact=True).click()
    expect(page.locator("#summary")).to_contain_text("by L1 distance")
    assert len(held) == 1
    assert asked(page)["metric"] == ["l1"]


def test_quick_wishes_add_up(page: Any) -> None:
    by_item(page, box="40,40,120,160")
    page.locator("#box").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#k").select_option("24")  # before the box was searched, and before its answer
    page.get_by_text("Hamming", exact=True).click()
    expect(page.locator("#box-status")).to_contain_text("43 from the left")
    page.wait_for_url(lambda url: "box=43%2C40%2C123%2C160" in url)
    expect(cards(page)).to_have_count(24)
    assert (asked(page)["k"], asked(page)["metric"]) == (["24"], ["hamming"])


# Distances, amounts, filters


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


def answering(page: Any, change: Callable[[dict[str, Any]], None]) -> None:
    """Let the server answer, and change what it says."""

    def handle(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        change(body)
        route.fulfill(response=answer, body=json.dumps(body))

    page.route("**/api/search", handle)


def test_nothing_similar_is_said_and_the_nearest_are_marked(page: Any) -> None:
    def far(body: dict[str, Any]) -> None:
        result = body["results"][0]
        result["threshold"] = {"distance": 0.01, "text": "l2 0.01 (95% of 42 items)"}
        result["nothing_similar"] = True
        for match in result["matches"]:
            match["similar"] = False

    answering(page, far)
    by_item(page)
    note = page.get_by_role("status").filter(has_text="Nothing similar")
    expect(note).to_contain_text("No match is within l2 0.01 (95% of 42 items).")
    expect(page.locator("#results .badge")).to_have_text(["beyond the threshold"] * 12)
    expect(page.get_by_role("link", name=re.compile("beyond the threshold"))).to_have_count(12)


# Links and history


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


# Errors


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
    error = {"cause": "Too many searches.", "consequence": "None was made.", "cure": "Wait."}

    def busy(route: Any) -> None:
        status, wait = next(answers, (200, ""))
        if status == 200:
            route.continue_()
        else:
            route.fulfill(status=status, headers={"Retry-After": wait}, json={"error": error})

    page.route("**/api/search", busy)
    page.goto("/?id=garment-00000")
    expect(page.locator("#waiting")).to_have_text(
        "Too many searches. Trying again in 1 second (2 of 3)."
    )
    expect(cards(page)).to_have_count(12)
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
    expect(cards(page)).to_have_count(12)


def test_without_a_network_it_can_be_tried_again(browser: Any, server: Any) -> None:
    context = browser.new_context(base_url=server.url)  # its console reports the lost network
    try:
        page = context.new_page()
        by_item(page)
        before = ids(page)
        context.set_offline(True)
        page.get_by_text("L1", exact=True).click()
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("The server cannot be reached.")
        # What is on the page, and its address, still belong together.
        assert ids(page) == before
        assert "metric" not in asked(page)
        expect(page.get_by_role("radio", name="L2")).to_be_checked()
        context.set_offline(False)
        alert.get_by_role("button", name="Try again").click()
        expect(page.locator("#summary")).to_contain_text("by L1 distance")
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
    page.get_by_role("radio", name="L1").check(force=True)
    expect(cards(page).first.locator(".title")).to_have_text(evil)
    expect(page.locator("#results b, #results img[src=x]")).to_have_count(0)


# For everyone


def test_a_phone_needs_no_sideways_scrolling(new_page: Callable[..., Any], server: Any) -> None:
    page = new_page(viewport=PHONE, has_touch=True, is_mobile=True)

    def fits() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    page.goto("/")
    expect(page.locator("#items li")).to_have_count(42)
    fits()
    upload(page, picture(server))
    fits()
    page.locator("#more-filters summary").click()
    fits()
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

    tab_to(page.locator("#items a").first)
    page.keyboard.press("Enter")
    expect(page.locator("#query-title")).to_be_focused()
    expect(cards(page)).to_have_count(12)
    page.keyboard.press("Tab")
    expect(page.locator("#box")).to_be_focused()
    with searching(page):
        page.keyboard.press("Shift+ArrowLeft")
    tab_to(page.get_by_role("radio", name="L2"))
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#summary")).to_contain_text("by L1 distance")
    expect(page.get_by_role("radio", name="L1")).to_be_focused()
    # The label is drawn in place of the button: its outline is the visible focus.
    drawn = page.locator(".segment input:checked + span")
    assert drawn.evaluate("(element) => getComputedStyle(element).outlineStyle") == "solid"
    tab_to(cards(page).nth(2).get_by_role("link"))
    page.keyboard.press("Enter")
    expect(page.locator("#query-title")).to_be_focused()


@pytest.fixture(scope="module")
def axe() -> str:
    package = pytest.importorskip("axe_playwright_python", reason="axe-core is missing")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core finds; evaluated, as the page's policy lets in no foreign script."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
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
    page.locator("#more-filters summary").click()
    page.get_by_role("radio", name="All, side by side").check(force=True)
    expect(page.locator(".side")).to_have_count(3)
    yield "side by side"
    page.locator("#file").set_input_files(broken)
    expect(page.get_by_role("alert")).to_be_visible()
    yield "error"


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
