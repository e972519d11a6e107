"""How quick the search page is in a browser: its first view, and long scrolling.

    python benchmarks/page.py                        2,000 cards of a catalogue made for it
    python benchmarks/page.py --browser /usr/bin/chromium --cards 5000

The server runs in a process of its own, over made rows and drawn pictures; the browser is a
Chromium that Playwright starts, without a graphics card. *First view*: seconds from the address to
the first cards and to the page's rest (no request is open), and bytes that came but for pictures.
*Scrolling*: by the wheel, until so many cards have gone by; frames are counted by
`requestAnimationFrame`. Memory and elements are what the browser says after a collection, before
and after.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from server_process import server

from vsearch_fast.bench.machine import command_line, environment
from vsearch_fast.index import Index
from vsearch_fast.index.items import Item
from vsearch_fast.search import available_threads

_DIM = 64
_WIDTH, _HEIGHT = 1440, 900
#: Pixels of a turn of the wheel, and turns a second.
_TURN, _TURNS = 240, 20
#: Frame times, by the page itself.
_COUNT = """
() => {
  window.frames = [];
  const count = (now) => { window.frames.push(now); requestAnimationFrame(count); };
  requestAnimationFrame(count);
}
"""


def make_index(folder: Path, rows: int) -> Path:
    """Drawn pictures with titles and prices, and made rows; the index's folder."""
    rng = np.random.default_rng(0)
    pictures = folder / "pictures"
    pictures.mkdir()
    paths = []
    for number in range(rows):
        small = rng.integers(0, 256, (5, 4, 3), np.uint8)
        paths.append(str(pictures / f"{number}.jpg"))
        Image.fromarray(small).resize((400, 500), Image.Resampling.BICUBIC).save(paths[-1])
    items = [
        Item(str(n), path=path, metadata={"title": f"Thing {n}", "price": n % 90 + 0.5})
        for n, path in enumerate(paths)
    ]
    with Index.create(folder / "made.index", _DIM) as index:
        features = rng.standard_normal((rows, _DIM), np.float32)
        index.add([str(n) for n in range(rows)], features, items)
    return folder / "made.index"


def metrics(session: Any) -> dict[str, float]:
    """The browser's own figures, after a collection."""
    session.send("HeapProfiler.collectGarbage")
    found = session.send("Performance.getMetrics")["metrics"]
    named = {each["name"]: each["value"] for each in found}
    return {"heap_mb": round(named["JSHeapUsedSize"] / 1e6, 1), "elements": int(named["Nodes"])}


def first_view(page: Any, address: str) -> dict[str, float]:
    """Open the page."""
    sizes: list[int] = []

    def came(request: Any) -> None:
        if request.resource_type != "image":
            sizes.append(request.sizes()["responseBodySize"])

    page.on("requestfinished", came)
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.locator("#items li").first.wait_for()
    cards = time.perf_counter() - began
    page.wait_for_load_state("networkidle")
    rest = time.perf_counter() - began
    page.remove_listener("requestfinished", came)
    return {"cards_s": round(cards, 2), "rest_s": round(rest, 2), "bytes": sum(sizes)}


def scrolled(page: Any, cards: int, seconds: float) -> dict[str, Any]:
    """Scroll until this many cards have gone by, or time is over."""
    page.mouse.move(_WIDTH * 0.6, _HEIGHT * 0.6)
    page.evaluate(_COUNT)
    seen, end = 0, time.perf_counter() + seconds
    while seen < cards and time.perf_counter() < end:
        for _ in range(_TURNS):
            page.mouse.wheel(0, _TURN)
            page.wait_for_timeout(1000 / _TURNS)
        seen = page.evaluate(
            "() => Math.max(...[...document.querySelectorAll('#items li')]"
            ".filter((li) => li.getBoundingClientRect().top < innerHeight)"
            ".map((li) => +li.getAttribute('aria-posinset')), 0)"
        )
    frames = np.array(page.evaluate("() => window.frames"))
    by_second = np.bincount(((frames - frames[0]) / 1000).astype(int))[:-1]
    return {
        "cards": seen,
        "seconds": round(float(frames[-1] - frames[0]) / 1000, 1),
        "frames_a_second": int(np.median(by_second)),
        "slowest_second": int(by_second.min()),
        "longest_frame_ms": round(float(np.diff(frames).max())),
        "within_20_ms": round(float((np.diff(frames) <= 20.5).mean()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    parser.add_argument("--browser", default=found, help="a Chromium (default: that of the PATH)")
    parser.add_argument("--cards", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=180, help="at most, for scrolling")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise SystemExit(
            "Playwright is not installed. Nothing was measured. pip install playwright"
        ) from None
    if asked.browser is None:
        raise SystemExit("There is no Chromium. Nothing was measured. Name one: --browser FILE")
    with TemporaryDirectory() as name, sync_playwright() as playwright:
        index = make_index(Path(name), asked.cards)
        browser = playwright.chromium.launch(
            executable_path=asked.browser, args=["--no-sandbox", "--enable-precise-memory-info"]
        )
        with server(index) as served:
            page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT})
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable")
            view = first_view(page, served.address)
            print(f"first view: {view}")
            before = metrics(session)
            scroll = scrolled(page, asked.cards, asked.seconds)
            print(f"scrolling: {scroll}")
            after = metrics(session)
            print(f"before: {before}; after: {after}")
        browser.close()
    if asked.output:
        record = {
            "command": command_line("benchmarks/page.py"),
            "machine": environment(available_threads()), "browser": browser.version,
            "first_view": view, "scrolling": scroll, "before": before, "after": after,
        }  # fmt: skip
        asked.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
