"""A list merged with an index: the plan that its definition makes, in memory that does not grow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plan_oracle import planned

from vsearch_fast.datasets.records import Record
from vsearch_fast.errors import CompactedError, DamagedError, DuplicateIdError, StoreError
from vsearch_fast.index import Index
from vsearch_fast.indexing import joining, spool
from vsearch_fast.indexing.content import hashed_stamp
from vsearch_fast.indexing.sync import item_of, plan
from vsearch_fast.shards import ShardedIndex

NAMES = ["a", "b", "c", "d", "é", "日/x", "\U0001f600", "z#2"]
TIMES = (10**9, 2 * 10**9)
BOXES = [None, (0, 0, 4, 4)]

#: What may happen to a picture since it was indexed, and to its line of the list.
DEEDS = (
    *("rename", "move", "copy", "touch", "exchange", "edit", "box", "describe", "gone", "lost"),
    *("twice", "refuse", "unname"),
)
NUMBER = st.integers(0, len(NAMES) - 1)


class Shop:
    """A folder of pictures and the list of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[Record] = []
        for number, name in enumerate(NAMES):
            path = folder / f"{number}.jpg"
            # Few contents of few sizes: some pictures are the same, some only as large.
            path.write_bytes(bytes([number % 3]) * (5 + number % 2))
            os.utime(path, ns=(TIMES[0], TIMES[0]))
            self.records.append(Record(name, path, BOXES[number % 2], metadata={"n": number}))

    def index(self, place: Path, dtype: str, hashed: int) -> Index:
        index = Index.create(place, 8, dtype=dtype, segment_rows=4)
        rows = np.eye(len(NAMES), 8, dtype=np.float32)
        items = [item_of(record) for record in self.records]
        items = [
            replace(item, stamp=hashed_stamp(item)) if number < hashed else item
            for number, item in enumerate(items)
        ]
        index.add([item.id for item in items], rows, items)
        index.remove([NAMES[3]])  # its row is a hole
        return index

    def do(self, deed: str, one: int, other: int) -> None:
        records, place = self.records, {r.id: p for p, r in enumerate(self.records)}
        at, to = place.get(NAMES[one], 0), place.get(NAMES[other], 0)
        if at >= len(records):
            return
        record = records[at]
        there = record.path.exists()
        if deed == "rename" and there:  # another id, as of a folder's files
            records[at] = replace(record, id=f"new {record.id}")
        elif deed == "move" and there:
            moved = record.path.with_name(f"moved{at}{record.path.name}"[-60:])
            records[at] = replace(record, path=record.path.rename(moved))
        elif deed == "copy" and there:
            copy = record.path.with_name(f"copy{len(records)}.jpg")
            shutil.copyfile(record.path, copy)
            records.insert(to, Record(f"copy {len(records)}", copy, record.box))
        elif deed == "touch" and there:
            os.utime(record.path, ns=(TIMES[1], TIMES[1]))
        elif deed == "exchange":
            records[at], records[to] = (
                (
                    replace(record, path=records[to].path, box=records[to].box),
                    replace(records[to], path=record.path, box=record.box),
                )
                if at != to
                else (record, record)
            )
        elif deed == "edit" and there:
            record.path.write_bytes(record.path.read_bytes()[::-1] + b"!")
        elif deed == "box":
            records[at] = replace(record, box=(1, 1, 3, 3))
        elif deed == "describe":
            records[at] = replace(record, metadata={"n": True})
        elif deed == "gone":
            del records[at]
        elif deed == "lost":
            record.path.unlink(missing_ok=True)
        elif deed == "twice":
            records.insert(to, record)
        elif deed == "refuse":
            records[at] = replace(record, box=(9, 9, 1, 1))
        elif deed == "unname":
            records[at] = replace(record, id="\udcff" + record.id)


@settings(max_examples=60, deadline=None)
@given(
    deeds=st.lists(st.tuples(st.sampled_from(DEEDS), NUMBER, NUMBER), max_size=8),
     dtype=st.sampled_from(["float32", "float16"]), hashed=st.integers(0, len(NAMES)),
    keep=st.booleans(), unlisted=st.booleans(), page=st.integers(1, 3),
)  # fmt: skip
@example([("exchange", 0, 1), ("rename", 2, 0)], "float32", 8, False, False, 1)
@example([("refuse", 0, 0), ("twice", 1, 5), ("twice", 4, 0)], "float32", 8, False, False, 2)
@example([("unname", 1, 0), ("copy", 1, 0), ("copy", 2, 0)], "float32", 8, False, False, 2)
def test_plans_are_those_of_the_definition(
    deeds: list[tuple[str, int, int]], dtype: str, hashed: int, keep: bool, unlisted: bool,
    page: int,
) -> None:  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "PAGE", page)
        patch.setattr(joining, "PAGE", page)
        (Path(folder) / "pictures").mkdir()
        shop = Shop(Path(folder) / "pictures")
        apart = [str(shop.folder)] if unlisted else []
        with shop.index(Path(folder) / "index", dtype, hashed) as index:
            for deed in deeds:
                if shop.records:
                    shop.do(*deed)
            try:
                expected = planned(index, shop.records, keep_missing=keep, unlisted=apart)
            except DuplicateIdError as error:
                with pytest.raises(DuplicateIdError) as caught:
                    plan(index, iter(shop.records), keep_missing=keep, unlisted=apart)
                told = f"two pictures have the id {error.cause}, one of them {error.consequence}"
                assert caught.value.cause == told
                return
            todo = plan(index, iter(shop.records), keep_missing=keep, unlisted=apart)
            for kind in ("new", "changed", "described", "moved", "vanished"):
                assert list(getattr(todo, kind)) == expected[kind], kind
            assert [skipped.position for skipped in todo.refused] == expected["refused"]
            assert todo.unchanged == expected["unchanged"]
            # Those whose source is given another's features itself are told apart.
            targets = {item.id for item, _ in expected["recognised"]}
            for part, crossed in ((todo.plain, False), (todo.crossed, True)):
                wanted = [
                    pair for pair in expected["recognised"] if (pair[1] in targets) == crossed
                ]
                assert list(part) == wanted
            assert len(todo.recognised) == len(expected["recognised"])
            assert todo.nothing == (not any(expected[k] for k in KINDS))


KINDS = ("new", "changed", "described", "moved", "recognised", "vanished")


def test_parts_are_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "PAGE", 3)
    held = spool.Spool("CREATE TABLE t (n INTEGER PRIMARY KEY, v TEXT)")
    held.write("INSERT INTO t VALUES (?, ?)", ((n, f"v{n}") for n in range(8)))
    query = "SELECT v FROM t WHERE n >= ? AND n < ? ORDER BY n"
    part, values = spool.Part(held, query, 8, lambda line: line[0]), [f"v{n}" for n in range(8)]
    more = ["w"]
    chain = part + more
    mapped = spool.Mapped(chain, str.upper)
    upper = [value.upper() for value in [*values, "w"]]
    for made, expected in ((part, values), (chain, [*values, "w"]), (mapped, upper)):
        assert list(made) == expected and len(made) == len(expected)
        for index in (0, 3, -1, slice(2, 5), slice(None), slice(6, 1, -2), slice(9, 20)):
            assert made[index] == expected[index]
        with pytest.raises(IndexError):
            made[len(expected)]
    assert part == values and part != values[1:] and part != [*values[1:], "v0"] and part != 3
    assert repr(part) == "<8: 'v0', 'v1', 'v2', ...>"


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    held = spool.Spool("CREATE TABLE t (v BLOB)")
    held.run("PRAGMA max_page_count = 40")
    monkeypatch.setenv("TMPDIR", "/somewhere")
    with pytest.raises(StoreError, match="The disk is full at /somewhere"):
        held.write("INSERT INTO t VALUES (?)", ((bytes(4096),) for _ in range(99)))


# Items in the order of their ids ---------------------------------------------------------------


def test_items_by_id(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"{chr(int(code))}{n}" for n, code in enumerate(rng.integers(32, 0xD7FF, 300))]
    names += [f"\U0001f600{n}" for n in range(5)] + ["\ue000", "\uffff"]
    places = [tmp_path / f"{n}" for n in range(3)]
    for number, place in enumerate(places):
        with Index.create(place, 8, segment_rows=64) as index:
            own = names[number::3]
            index.add(own, rng.random((len(own), 8), np.float32), [{"n": n} for n in own])
            index.remove(own[5:9])
            assert [item.id for item in index.by_id()] == sorted(own[:5] + own[9:])
            assert list(index._store.by_id(7)) == sorted(index, key=lambda item: item.id)
    with ShardedIndex.create(tmp_path / "all", places) as many:
        assert list(many.by_id()) == sorted(many, key=lambda item: item.id)
    with Index.open(places[0], mode="rw") as index:
        reading = index._store.by_id(2)
        next(reading)
        index.remove([names[0]])
        with pytest.raises(CompactedError, match="was changed while"):
            list(reading)


def test_an_index_of_ids_that_is_damaged_is_told(tmp_path: Path) -> None:
    import sqlite3

    with Index.create(tmp_path / "i", 8) as index:
        index.add(["a", "b", "c"], np.eye(3, 8, dtype=np.float32))
    sql = sqlite3.connect(tmp_path / "i" / "index.sqlite")
    [(page,)] = sql.execute("SELECT rootpage FROM sqlite_master WHERE name LIKE '%auto%items%'")
    [(size,)] = sql.execute("PRAGMA page_size")
    sql.close()
    file = tmp_path / "i" / "index.sqlite"
    data = bytearray(file.read_bytes())
    start = (page - 1) * size
    assert int.from_bytes(data[start + 3 : start + 5], "big") == 3  # entries of a leaf
    data[start + 3 : start + 5] = (2).to_bytes(2, "big")
    file.write_bytes(data)
    with Index.open(tmp_path / "i") as index, pytest.raises(DamagedError, match="index of ids"):
        list(index.by_id())


# Memory ----------------------------------------------------------------------------------------

MEASURE = """
import resource, sys
import numpy as np
from pathlib import Path
from vsearch_fast.datasets.records import Record
from vsearch_fast.index import Index, Item
from vsearch_fast.indexing import sync

rows, folder = int(sys.argv[1]), sys.argv[2]
sync.stamp_of = lambda path: f"{len(path)}:7"  # no files: records need not exist

def name(n):
    return f"pictures of things/{n % 97}/{n:09}.jpg"

def record(n):
    changed = n % 10 == 0
    return Record(name(n), Path("/photos", name(n)), (0, 0, 9, 9) if changed else None,
                  category=f"{n % 50}", metadata={"price": n % 7 if n % 11 else -1})

def shown(n):
    return Item(name(n), "/photos/" + name(n), None, {"price": n % 7, "category": f"{n % 50}"},
                f"{len('/photos/' + name(n))}:7:{n:032x}")

with Index.create(folder, 8, segment_rows=1 << 16) as index:
    for start in range(0, rows, 10_000):
        items = [shown(n) for n in range(start, start + 10_000)]
        index.add([item.id for item in items], np.ones((10_000, 8), np.float32), items)

with Index.open(folder) as index:
    sync.plan(index, map(record, range(100)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # A tenth is new, and a tenth has vanished.
    todo = sync.plan(index, map(record, range(rows // 10, rows + rows // 10)))
    counts = [len(part) for part in (todo.new, todo.changed, todo.described, todo.vanished)]
    assert sum(1 for _ in todo.new) == counts[0]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown, *counts, todo.unchanged)
"""


def measured(rows: int, folder: Path) -> Iterator[int]:
    """KiB that planning for so many items has grown the process by; then counts of the plan."""
    command = [sys.executable, "-c", MEASURE, str(rows), str(folder)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return map(int, told.split())


def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    grown = {}
    for rows in (20_000, 100_000):
        grown[rows], new, changed, described, vanished, unchanged = measured(
            rows, tmp_path / str(rows)
        )
        assert new == vanished == rows // 10
        assert changed + described + unchanged == rows - rows // 10 and changed == rows * 9 // 100
    # In a dict an item takes about 1 KiB: that would be 80 MB more.
    assert grown[100_000] - grown[20_000] < 12 << 10


def test_a_chain_is_as_the_sum_of_its_parts() -> None:
    for first in range(4):
        one, two = list(range(first)), list(range(10, 15))
        chain, whole = spool.Chain(one, two), one + two
        assert list(chain) == whole and len(chain) == len(whole)
        for start in range(-7, 10):
            for stop in range(-7, 10):
                assert chain[start:stop] == whole[start:stop]
                assert chain[start:stop:-2] == whole[start:stop:-2]
        assert [chain[n] for n in range(-len(whole), len(whole))] == whole * 2
