"""A small catalogue with its network, and a real server over it in a thread."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from tiny_locate import write_tiny_locate
from tiny_model import write_tiny_model

from vsearch_fast.embedder import Embedder, embed_views
from vsearch_fast.index import Index, Item
from vsearch_fast.search import Metric
from vsearch_fast.shards.opening import open_index
from vsearch_fast.web.app import create_app
from vsearch_fast.web.catalogue import Catalogue
from vsearch_fast.web.server import _Announcing, bound, configured
from vsearch_fast.web.settings import Settings

CATEGORIES = ("Dress", "Lamp", "Shoe")
METRICS: tuple[Metric, ...] = ("l2", "l1", "hamming")

#: Seconds after which something has hung. A busy machine that compiles every kernel anew takes more
#: than half a minute to begin; what fails says so at once, and is not waited for.
PATIENCE = 300


def make_catalogue(
    folder: Path, count: int = 30, *, views: tuple[str, ...] = ("whole",), **metadata: str
) -> Path:
    """An index of `count` coloured pictures in folder/pictures, made with a tiny model, which says
    this of itself."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    rng = np.random.default_rng(7)
    model = write_tiny_model(folder / "tiny.onnx", metadata=metadata)
    embedder = Embedder(model)
    write_tiny_locate(model, embedder.model_id)
    paths = []
    for number in range(count):
        pixels = rng.integers(0, 256, (6, 5, 3), np.uint8)
        path = pictures / f"{number:03}.png"
        Image.fromarray(pixels).resize((100, 120), Image.Resampling.BICUBIC).save(path)
        paths.append(path)
    items = [
        Item(
            path.name,
            str(path),
            (10, 20, 60, 90) if number % 5 == 4 else None,
            {"category": CATEGORIES[number % 3], "price": number, "new": number % 2 == 0},
        )
        for number, path in enumerate(paths)
    ]
    index_path = folder / "tiny.index"
    with Index.create(
        index_path, embedder.dim, model_id=embedder.model_id, model=embedder.description,
        views=views,
    ) as index:  # fmt: skip
        boxes = [i.box for i in items]
        if len(views) > 1:
            features, codes = embed_views(embedder, paths, boxes)
        else:
            features, codes = embedder.both(paths, boxes)
        index.add([i.id for i in items], features, items, codes=codes)
    return index_path


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """The address of `app`, served by uvicorn from a thread."""
    sock = bound("127.0.0.1", 0)
    server = _Announcing(configured(app))
    started = threading.Event()
    server.announce = started.set
    thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
    thread.start()
    wait_for(lambda: started.is_set() or not thread.is_alive())
    assert started.is_set(), "the server ended before it had begun"
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


@contextlib.contextmanager
def serving(
    index_path: Path, opened: Callable[[], Index] | None = None, **settings: Any
) -> Iterator[tuple[httpx.Client, Catalogue]]:
    """A client of a running server over the index, and what it serves; the index is what `opened`
    gives, where that is no folder of this machine."""
    chosen = replace(Settings(), **settings)
    embedder = Embedder(index_path.parent / "tiny.onnx")
    elsewhere: dict[str, Any] = {}
    if opened is not None:
        elsewhere = {"reopen": opened, "identity": lambda path: (0,)}
    with open_index(index_path) if opened is None else opened() as index:
        catalogue = Catalogue(index_path, index, embedder, chosen, **elsewhere)
        with (
            contextlib.closing(catalogue),
            running(create_app(catalogue, chosen)) as address,
            httpx.Client(base_url=address, timeout=PATIENCE) as client,
        ):
            yield client, catalogue


def wait_for(condition: Any) -> None:
    """Wait until it holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def png(seed: int = 1, size: tuple[int, int] = (90, 70)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def search(client: httpx.Client, image: bytes | None = None, **data: Any) -> dict[str, Any]:
    answer = client.post(
        "/api/search", data=data, files=None if image is None else {"image": ("a.png", image)}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int, *words: str) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["cause"] and error["consequence"] and error["cure"]
    for word in words:
        assert word in json.dumps(error)
    return error
