"""The parts behind the server by themselves: batches, bounded workers, caches, thumbnails."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("fastapi", reason="the server's packages are not installed: .[serve]")

from vsearch_fast.errors import ArgumentError, ImageError
from vsearch_fast.images import decode, reduced, upright_size
from vsearch_fast.index import Index
from vsearch_fast.web.batching import Batcher
from vsearch_fast.web.faults import BusyError
from vsearch_fast.web.lru import SizedCache
from vsearch_fast.web.thumbnails import Thumbnails
from vsearch_fast.web.workers import Workers

# Batches


@given(
    count=st.integers(1, 40), largest=st.integers(1, 9), bad=st.sets(st.integers(0, 39)),
)  # fmt: skip
def test_each_request_gets_its_own_answer(count: int, largest: int, bad: set[int]) -> None:
    sizes: list[int] = []

    def work(requests: Any) -> list[Any]:
        return [ValueError(n) if n in bad else n * n for n in requests]

    async def ask() -> list[Any]:
        batcher: Batcher[int, int] = Batcher(
            work, largest=largest, waiting=100, observe=sizes.append
        )
        tasks = (batcher.submit(n) for n in range(count))
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        batcher.close()
        return answers

    for n, answer in enumerate(asyncio.run(ask())):
        assert str(answer) == str(n) if n in bad else answer == n * n
        assert isinstance(answer, ValueError) == (n in bad)
    assert sum(sizes) == count and max(sizes) <= largest


def test_what_comes_while_a_batch_runs_is_the_next_one() -> None:
    go = threading.Event()
    seen: list[list[int]] = []

    def work(requests: Any) -> list[int]:
        seen.append(list(requests))
        go.wait(60)
        return list(requests)

    async def ask() -> None:
        batcher: Batcher[int, int] = Batcher(work, largest=10, waiting=3)
        first = asyncio.create_task(batcher.submit(0))
        while not seen:
            await asyncio.sleep(0.001)
        later = [asyncio.create_task(batcher.submit(n)) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        assert len(batcher) == 3
        with pytest.raises(BusyError):
            await batcher.submit(4)
        later[1].cancel()  # its client has gone
        await asyncio.sleep(0)
        go.set()
        assert await first == 0 and await later[0] == 1 and await later[2] == 3
        batcher.close()

    asyncio.run(ask())
    assert seen == [[0], [1, 3]]


def test_who_gives_up_leaves_the_queue_though_requests_hold_arrays() -> None:
    """Arrays have no one truth of being equal: a request is told from others by itself."""
    go = threading.Event()
    seen: list[int] = []

    def work(requests: Any) -> list[int]:
        seen.append(len(requests))
        go.wait(60)
        return [int(request[0]) for request in requests]

    async def ask() -> None:
        batcher: Batcher[np.ndarray, int] = Batcher(work, largest=10, waiting=9)
        row = np.arange(4)
        first = asyncio.create_task(batcher.submit(row))
        while not seen:
            await asyncio.sleep(0.001)
        later = [asyncio.create_task(batcher.submit(row + n % 2)) for n in range(6)]
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await batcher.submit(row + 1)
        for n in (5, 1, 3):
            later[n].cancel()
        answers = await asyncio.gather(*(later[n] for n in (5, 1, 3)), return_exceptions=True)
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)
        assert len(batcher) == 3
        go.set()
        assert await first == 0 and await asyncio.gather(*(later[n] for n in (0, 2, 4))) == [0] * 3
        batcher.close()

    asyncio.run(ask())
    assert seen == [1, 3]


def test_an_error_of_a_whole_batch_reaches_all_and_ends_nothing() -> None:
    def work(requests: Any) -> list[int]:
        if 0 in requests:
            raise RuntimeError("broken")
        return list(requests)

    async def ask() -> None:
        batcher: Batcher[int, int] = Batcher(work, largest=2, waiting=9)
        answers = await asyncio.gather(
            *(batcher.submit(n) for n in (0, 1, 2)), return_exceptions=True
        )
        assert [str(answer) for answer in answers] == ["broken", "broken", "2"]
        assert await batcher.submit(5) == 5
        batcher.close()

    asyncio.run(ask())


def test_workers_are_bounded_and_free_again() -> None:
    go = threading.Event()

    async def ask() -> None:
        workers = Workers(2, 1)
        tasks = [asyncio.create_task(workers.run(go.wait, 60)) for _ in range(3)]
        await asyncio.sleep(0)  # each has begun, in its order
        with pytest.raises(BusyError):
            await workers.run(go.wait, 60)
        go.set()
        assert await asyncio.gather(*tasks) == [True] * 3
        while workers._pending:  # of what threads say to the loop as they end
            await asyncio.sleep(0.001)
        for _ in range(3):
            assert await workers.run(lambda: 7) == 7
        with pytest.raises(KeyError):
            await workers.run(dict[str, int]().__getitem__, "no")
        workers.close()

    asyncio.run(ask())


# Caches


@given(
    limit=st.integers(0, 20),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 8)), max_size=60),
)
def test_a_cache_against_its_definition(limit: int, steps: list[tuple[bool, int, int]]) -> None:
    cache: SizedCache[int, bytes] = SizedCache(limit, len)
    model: OrderedDict[int, bytes] = OrderedDict()
    for put, key, size in steps:
        if put:
            cache.put(key, bytes(size))
            model.pop(key, None)
            if size <= limit:
                model[key] = bytes(size)
                while sum(map(len, model.values())) > limit:
                    model.popitem(last=False)
        else:
            assert cache.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        assert cache.used == sum(map(len, model.values())) <= limit


# Pictures made small


def _photo(path: Path, size: tuple[int, int], orientation: int = 1) -> Path:
    image = Image.effect_noise(size, 60).convert("RGB")
    exif = image.getexif()
    exif[274] = orientation
    image.save(path, "JPEG", exif=exif)
    return path


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("size", [(300, 120), (7, 900)])
def test_small_copies_stand_upright(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    path = _photo(tmp_path / "a.jpg", size, orientation)
    whole = decode(path)
    assert upright_size(path) == whole.size
    for source in (path, path.read_bytes()):
        small = reduced(source, 100)
        expected = whole.copy()
        expected.thumbnail((100, 100), Image.Resampling.LANCZOS)
        assert small.size == expected.size
        if min(small.size) > 4:
            difference = np.asarray(small, int) - np.asarray(expected, int)
            assert abs(difference).mean() < 12  # noise, reduced in another order
    assert reduced(path, 5000).size == whole.size  # never enlarged


def test_a_thumbnail_follows_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    thumbnails = Thumbnails(10_000, 1_000_000)
    Image.new("RGB", (50, 40), "red").save(path)
    first = thumbnails.jpeg(str(path), 112)
    assert thumbnails.jpeg(str(path), 112) == first
    Image.new("RGB", (50, 40), "blue").save(path)
    os.utime(path, ns=(1, 1))
    pixel = Image.open(io.BytesIO(thumbnails.jpeg(str(path), 112))).getpixel((9, 9))
    assert isinstance(pixel, tuple) and pixel[2] > 200
    path.unlink()
    with pytest.raises(ImageError, match="no longer"):
        thumbnails.jpeg(str(path), 112)
    with pytest.raises(ImageError, match="no longer"):
        thumbnails.jpeg("a\0b", 112)


# Pages and values of an index


@given(
    kinds=st.lists(st.sampled_from("abc"), max_size=30), limit=st.integers(1, 12),
    removed=st.sets(st.integers(0, 29)), chosen=st.sampled_from([None, ["a"], ["a", "c"]]),
)  # fmt: skip
def test_pages_and_values_against_their_definition(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], limit: int, removed: set[int],
    chosen: list[str] | None,
) -> None:  # fmt: skip
    ids = [str(n) for n in range(len(kinds))]
    gone = {str(n) for n in removed} & set(ids)
    with Index.create(tmp_path_factory.mktemp("pages") / "x", 2) as index:
        index.add(["first"], np.zeros((1, 2)), [{"kind": "c"}])
        if ids:
            index.add(ids, np.zeros((len(ids), 2)), [{"kind": kind} for kind in kinds])
        index.remove(gone)
        live = [("first", "c")] + [(i, k) for i, k in zip(ids, kinds, strict=True) if i not in gone]
        wanted = [i for i, kind in live if chosen is None or kind in chosen]
        seen: list[str] = []
        after: int | None = None
        while True:
            where = None if chosen is None else {"kind": chosen}
            items, after = index.page(limit, after=after, where=where)
            assert len(items) <= limit and (items or not wanted)
            seen += [item.id for item in items]
            if after is None:
                break
            assert len(items) == limit
        assert seen == wanted
        counts: dict[Any, int] = {}
        for _, kind in live:
            counts[kind] = counts.get(kind, 0) + 1
        expected = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        assert index.values("kind") == expected
        assert index.values("kind", 1) == (expected if len(expected) == 1 else None)
        with pytest.raises(ArgumentError, match="nope"):
            index.values("nope")
