"""The page /rate in a real browser, with the server and the file behind it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browsers import answering, patient_context, wait_until
from PIL import Image, ImageDraw

from vsearch_fast.index import Index, Item

pytest.importorskip("uvicorn", reason="uvicorn is missing: pip install '.[serve]'")
pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

NAMES = ("vgg-secret", "trained-secret")
QUERIES = 4
BOX = (60, 60, 180, 240)  # of 240 by 300
TOTAL = 3 * QUERIES  # a comparison and, with nothing found by both, two matches


def _indexes(folder: Path) -> list[Path]:
    """Two indexes of twelve pictures, in whose random features no query has the same nearest."""
    (folder / "secret-photos").mkdir()
    paths = []
    for n in range(12):
        path = folder / "secret-photos" / f"{n}.png"
        picture = Image.new("RGB", (240, 300), ((83 * n) % 256, (41 * n) % 256, 90))
        ImageDraw.Draw(picture).text((60, 90), str(n), fill="white", font_size=110)
        picture.save(path)
        paths.append(str(path))
    made = []
    for place, name in enumerate(NAMES):
        features = np.zeros((12, 12), np.float32)
        for n in range(12):  # on a circle, and on another one in steps of five
            angle = 2 * np.pi * n * (1, 5)[place] / 12 + 0.01 * n
            features[n, :2] = np.cos(angle), np.sin(angle)
        made.append(folder / f"{name}.index")
        with Index.create(made[-1], dim=12) as index:
            ids = [f"secret-{n}" for n in range(12)]
            index.add(
                ids, features, [Item(i, path=p, box=BOX) for i, p in zip(ids, paths, strict=True)]
            )
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """``vsearch rate`` on a free port; ``new_page`` opens its pages here."""
    folder = tmp_path_factory.mktemp("rate")
    file = folder / "ratings.sqlite"
    with answering(
        folder / "log", "rate", *_indexes(folder), "--mode", "both", "--queries", str(QUERIES),
        "--results", "3", "-o", file,
    ) as url:  # fmt: skip
        yield SimpleNamespace(url=url, file=file)


def stored(server, nickname):
    """The answers that stand in the file, in order."""
    with closing(sqlite3.connect(server.file)) as sql:
        return [
            answer
            for (answer,) in sql.execute(
                "SELECT answer FROM judgements JOIN raters USING (rater)"
                " WHERE nickname = ? AND undone IS NULL ORDER BY judgement",
                (nickname,),
            )
        ]


def wait_stored(page, server, nickname, answers):
    wait_until(page, lambda: stored(server, nickname) == answers)


def at(page, number, of="of"):
    """Wait until this task is shown and can be judged: all its pictures are there."""
    expect(page.locator("#place")).to_have_text(f"{number} {of} {TOTAL}")
    expect(page.locator("#pictures")).to_have_attribute("aria-busy", "false")


def loaded_ahead(page, tasks):
    """Wait until as many tasks behind the one that is shown could be judged at once."""
    page.wait_for_function(
        "tasks => Number(document.getElementById('pictures').dataset.ahead) >= tasks", arg=tasks
    )


def still(page):
    """Wait until nothing on the page is in motion, or shows that it was pressed."""
    page.wait_for_function(
        "() => !document.querySelector('.given')"
        " && document.getAnimations().every((each) => each.playState === 'finished')"
    )


def enter(page, nickname):
    page.goto("/rate")
    page.get_by_label("Your nickname").fill(nickname)
    page.keyboard.press("Enter")
    at(page, 1)


def test_rating_by_keyboard_with_undo_and_resume(new_page, server):
    page = new_page(viewport={"width": 1280, "height": 800})
    enter(page, "ann")
    assert page.get_by_role("heading", level=1, name="Which row shows").is_visible()
    for number, key in enumerate(("ArrowLeft", "ArrowRight", "ArrowDown", "0"), 1):
        at(page, number)
        page.keyboard.press(key)
    at(page, 5)
    assert page.get_by_role("heading", level=1, name="Is this the same item?").is_visible()
    page.keyboard.press("1")
    at(page, 6)
    page.keyboard.press("2")
    at(page, 7)
    page.keyboard.press("u")
    at(page, 6)
    page.keyboard.press("Backspace")
    at(page, 5)
    wait_stored(page, server, "ann", ["left", "right", "equal", "unsure"])
    page.keyboard.press("3")
    at(page, 6)
    wait_stored(page, server, "ann", ["left", "right", "equal", "unsure", "different"])

    page.reload()  # goes on by itself
    at(page, 6)
    page.get_by_role("button", name="Stop").click()
    page.close()
    page = new_page()  # another browser, the same nickname
    page.goto("/rate")
    page.get_by_label("Your nickname").fill("ann")
    page.keyboard.press("Enter")
    at(page, 6)
    for number in range(6, TOTAL + 1):
        at(page, number)
        page.keyboard.press("?" if number == 6 else "2")
    page.get_by_role("heading", name="All done").wait_for()
    answers = ["left", "right", "equal", "unsure", "different", "unsure"]
    assert stored(server, "ann") == answers + ["similar"] * (TOTAL - 6)
    page.keyboard.press("u")  # also at the end
    at(page, TOTAL)
    wait_stored(page, server, "ann", answers + ["similar"] * (TOTAL - 7))


def test_nothing_that_a_page_gets_names_a_system_a_file_or_an_item(new_page, server):
    page = new_page()
    texts = []
    begun = []
    page.on("request", lambda r: begun.append(r.url) if "/pictures" not in r.url else None)
    page.on("response", lambda a: texts.append(a.text()) if "/pictures" not in a.url else None)
    enter(page, "blind")
    page.keyboard.press("ArrowLeft")
    at(page, 2)
    wait_until(page, lambda: any(url.endswith("/judgements") for url in begun))
    wait_until(page, lambda: len(texts) == len(begun))
    assert len(texts) > 4
    everything = "".join(texts) + page.content()
    assert "secret" not in everything and "hamming" not in everything and "l2" not in everything


def test_quick_keys_are_neither_lost_nor_doubled(new_page, server):
    page = new_page()
    enter(page, "quick")
    loaded_ahead(page, 2)
    for key in ("ArrowLeft", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    wait_stored(page, server, "quick", ["left", "equal", "right"])
    at(page, 4)
    loaded_ahead(page, 1)
    page.keyboard.down("ArrowLeft")  # held down: the system repeats it
    for _ in range(5):
        page.keyboard.down("ArrowLeft")
    page.keyboard.up("ArrowLeft")
    at(page, 5)
    wait_stored(page, server, "quick", ["left", "equal", "right", "left"])


def test_an_answer_before_the_pictures_are_there_is_not_kept_and_that_is_said(new_page, server):
    page = new_page()
    go: list[bool] = []
    held: list[Any] = []

    def hold(route):
        if go:
            route.continue_()
        else:
            held.append(route)

    page.route("**/api/rate/pictures?*", hold)
    page.goto("/rate")
    page.get_by_label("Your nickname").fill("early")
    page.keyboard.press("Enter")
    place, wait = page.locator("#place"), page.locator("#wait")
    expect(place).to_have_text(f"1 of {TOTAL}")
    expect(page.locator("#pictures img")).to_have_count(7)
    expect(wait).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(wait).to_have_text("The pictures are still loading. Answer when you see them.")
    expect(wait).to_be_in_viewport()
    expect(page.locator("#status")).to_have_text(wait.inner_text())
    go.append(True)
    for route in held:
        route.continue_()
    at(page, 1)
    expect(wait).to_be_hidden()
    page.keyboard.press("ArrowRight")
    wait_stored(page, server, "early", ["right"])


def test_a_quick_double_undo_is_two(new_page, server):
    """Keys outrun the answers of the server, here the first one by far."""
    page = new_page()
    enter(page, "hasty")
    loaded_ahead(page, 2)
    held: list[Any] = []

    def hold_the_first(route):
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/api/rate/judgements", hold_the_first)
    for key in ("ArrowLeft", "ArrowRight", "u", "u", "u"):
        page.keyboard.press(key)
    expect(page.locator("#place")).to_have_text(f"1 of {TOTAL}")
    expect(page.locator("#status")).to_have_text("There is nothing to undo.")
    assert stored(server, "hasty") == []
    page.keyboard.press("ArrowDown")
    wait_until(page, lambda: held)
    held[0].continue_()
    wait_stored(page, server, "hasty", ["equal"])
    at(page, 2)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_what_the_server_said_before_an_answer_does_not_undo_it(new_page, server):
    """An answer is given while the rater's place is being asked for, and overtakes it."""
    one, other = new_page(may_fail=(400,)), new_page(may_fail=(400,))
    enter(one, "overtaken")
    enter(other, "overtaken")
    one.keyboard.press("ArrowLeft")
    wait_stored(one, server, "overtaken", ["left"])
    loaded_ahead(other, 2)
    held: list[Any] = []

    def hold(route):
        held.append((route, route.fetch()))

    other.route("**/api/rate/next?*", hold)
    other.keyboard.press("ArrowRight")  # refused: the other window was first
    other.get_by_role("alert").wait_for()
    wait_until(other, lambda: held)
    with other.expect_response("**/api/rate/judgements"):
        other.keyboard.press("ArrowDown")
    wait_stored(other, server, "overtaken", ["left", "equal"])
    at(other, 3)
    route, answer = held[0]
    with other.expect_response("**/api/rate/next?*"):
        route.fulfill(response=answer)
    assert json.loads(answer.text())["done"] == 1
    other.evaluate("fetch('api/rate/study').then((answer) => answer.json())")  # heard after it
    other.keyboard.press("ArrowLeft")  # to the third task
    wait_stored(other, server, "overtaken", ["left", "equal", "left"])
    at(other, 4)


def test_what_the_network_loses_is_sent_again_and_stored_once(browser, server):
    context = patient_context(browser, base_url=server.url)
    page = context.new_page()
    enter(page, "lossy")
    fate = iter(["lost before", "lost after", "through"])

    def handle(route):
        kind = next(fate, "through")
        if kind == "through":
            route.continue_()
            return
        if kind == "lost after":  # stored, and the page never hears of it
            route.fetch()
        route.abort()

    page.route("**/api/rate/judgements", handle)
    page.keyboard.press("ArrowLeft")
    page.get_by_text("kept in this browser and sent again").wait_for()
    at(page, 2)
    page.keyboard.press("ArrowRight")
    wait_stored(page, server, "lossy", ["left", "right"])
    page.get_by_text("kept in this browser and sent again").wait_for(state="hidden")

    page.unroute("**/api/rate/judgements")
    page.route("**/api/rate/judgements", lambda route: route.abort())
    at(page, 3)
    page.keyboard.press("ArrowDown")
    page.get_by_text("One answer is kept").wait_for()
    page.unroute("**/api/rate/judgements")
    page.reload()  # what was not sent outlives the page
    wait_stored(page, server, "lossy", ["left", "right", "equal"])
    at(page, 4)
    context.close()


def test_errors_tell_cause_and_cure(new_page, server):
    page = new_page(may_fail=(400,))
    page.goto("/rate")
    page.get_by_label("Your nickname").fill("   ")
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "Choose 1 to 40" in alert.inner_text()


def test_a_phone_without_keys(new_page, server):
    page = new_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    enter(page, "phone")
    for number in range(1, 6):
        at(page, number)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert not page.locator("#answers kbd").first.is_visible()
        page.locator("#answers button").first.tap()
    at(page, 6)
    page.get_by_role("button", name="Undo").tap()
    at(page, 5)
    wait_stored(page, server, "phone", ["left"] * 4)


def test_the_item_is_outlined_in_its_picture(new_page, server):
    page = new_page(viewport={"width": 1000, "height": 900})
    enter(page, "outlined")

    def is_outlined(frame):
        around, outline = frame.bounding_box(), frame.locator(".region").bounding_box()
        scale = min((around["width"] - 2) / 240, (around["height"] - 2) / 300)
        middle = outline["x"] + outline["width"] / 2
        return (
            abs(outline["width"] - 120 * scale) < 2
            and abs(outline["height"] - 180 * scale) < 2
            and abs(middle - (around["x"] + around["width"] / 2)) < 2
        )

    for size in (1000, 400):
        page.set_viewport_size({"width": size, "height": 900})
        expect(page.locator(".frame")).to_have_count(7)
        wait_until(page, lambda: all(map(is_outlined, page.locator(".frame").all())))  # soon


def test_another_window_that_answered_first_is_told(new_page, server):
    one, other = new_page(may_fail=(400,)), new_page(may_fail=(400,))
    enter(one, "twice")
    enter(other, "twice")
    one.keyboard.press("ArrowLeft")
    at(one, 2)
    wait_stored(one, server, "twice", ["left"])
    other.keyboard.press("ArrowRight")
    other.get_by_role("alert").wait_for()
    assert "answered 'left' before" in other.get_by_role("alert").inner_text()
    at(other, 2)  # and it goes on where the other is
    other.keyboard.press("ArrowDown")
    wait_stored(other, server, "twice", ["left", "equal"])


def test_keys_can_be_switched_off(new_page, server):
    page = new_page()
    enter(page, "keyless")
    page.get_by_label("Answer with keys").uncheck()
    page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="Equally good").click()
    at(page, 2)
    wait_stored(page, server, "keyless", ["equal"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(browser, server, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # axe is injected as an inline script, which the page's policy rightly forbids.
    context = patient_context(browser, base_url=server.url, bypass_csp=True, color_scheme=scheme)
    page = context.new_page()

    def check(state):
        still(page)
        found = axe.run(page)
        assert not found.response["violations"], f"{state}: {found.generate_report()}"

    page.goto("/rate")
    page.get_by_label("Your nickname").wait_for()
    check("welcome")
    nickname = f"axe {scheme}"
    enter(page, nickname)
    check("better")
    for number in range(1, TOTAL + 1):
        at(page, number)
        if number == QUERIES + 1:
            check("match")
        page.keyboard.press("0")
    page.get_by_role("heading", name="All done").wait_for()
    check("done")
    context.close()


def test_rows_stay_rows_with_ranks_and_pictures_can_be_enlarged(new_page, server):
    page = new_page(viewport={"width": 1440, "height": 900})
    enter(page, "wide")
    for side in ("left", "right"):
        frames = page.locator(f".row.{side} .frame").all()
        boxes = [frame.bounding_box() for frame in frames]
        assert len(boxes) == 3 and len({box["y"] for box in boxes}) == 1
        assert all(box["width"] > 200 for box in boxes)
    ranks = "item => getComputedStyle(item, '::after').content"
    assert page.locator(".row.left li").first.evaluate(ranks) == "counter(rank)"
    page.get_by_role("button", name="Row A, result 2 of 3: enlarge").click()
    zoomed = page.get_by_role("dialog")
    zoomed.wait_for()
    page.keyboard.press("ArrowLeft")  # answers nothing from behind it
    assert page.locator("#place").inner_text() == f"1 of {TOTAL}"  # an answer shows at once
    page.keyboard.press("Escape")
    zoomed.wait_for(state="detached")
    page.keyboard.press("ArrowLeft")
    wait_stored(page, server, "wide", ["left"])


def test_in_german(new_page, server):
    page = new_page(locale="de-DE", viewport={"width": 360, "height": 740})
    page.goto("/rate")
    page.get_by_label("Ihr Spitzname").fill("gerda")
    page.keyboard.press("Enter")
    at(page, 1, "von")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("#question").inner_text() in (
        "Ist das derselbe Gegenstand?", "Welche Reihe zeigt die besseren Treffer?",
    )  # fmt: skip
    page.keyboard.press("0")
    wait_stored(page, server, "gerda", ["unsure"])
    page.keyboard.press("u")
    page.keyboard.press("u")
    # Said in the next frame: see say() of static/dom.js.
    expect(page.locator("#status")).to_have_text("Es gibt nichts zurückzunehmen.")
    wait_stored(page, server, "gerda", [])
