"""The sums of rows, of removed rows and of facets, whatever the order in which they came."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_data import DIM, block
from xxhash import xxh3_64_intdigest

from vsearch_fast.errors import DamagedError
from vsearch_fast.index import sealing, sums
from vsearch_fast.index.changes import Changes
from vsearch_fast.index.items import Item, facet
from vsearch_fast.index.schema import create
from vsearch_fast.index.segments import Kind
from vsearch_fast.index.store import Store
from vsearch_fast.index.verifying import verify

KINDS = {
    name: Kind(name, dtype, width)
    for name, dtype, width in (
        ("vectors", "<f4", 300), ("vectors16", "<f2", 40), ("codes", "|u1", 3), ("facts", "<f8", 4)
    )
}  # fmt: skip


def defined(rows: np.ndarray, kind: Kind, segment_rows: int) -> dict[tuple[int, int], list[int]]:
    """The sums by segment and block, as `sums.py` says them."""
    granule = sums.granule_rows(kind)
    found: dict[tuple[int, int], list[int]] = {}
    for segment in range(-(-len(rows) // segment_rows)):
        held = rows[segment * segment_rows : (segment + 1) * segment_rows]
        for number in range(-(-len(held) // sums.BLOCK_ROWS)):
            part = held[number * sums.BLOCK_ROWS : (number + 1) * sums.BLOCK_ROWS]
            found[segment, number] = [
                xxh3_64_intdigest(part[first : first + granule].tobytes())
                for first in range(0, len(part), granule)
            ]
    return found


def test_granules() -> None:
    assert sums.granule_rows(Kind("vectors", "<f4", 4096)) == 1
    assert sums.granule_rows(Kind("vectors", "<f4", 2048)) == 1
    assert sums.granule_rows(Kind("vectors", "<f4", 64)) == 32
    assert sums.granule_rows(Kind("vectors", "<f4", 63)) == 32
    assert sums.granule_rows(Kind("vectors", "<f2", 1)) == 1024
    assert sums.granule_rows(Kind("vectors", "<f4", 2**31)) == 1
    assert sums.granule_rows(Kind("codes", "|u1", 512)) == sums.BLOCK_ROWS


@given(
    name=st.sampled_from(sorted(KINDS)),
    segment_rows=st.sampled_from([1, 5, 8, 100, 1000, 1024, 1030, 2048, 3000]),
    splits=st.lists(st.integers(0, 1300), max_size=6),
    resumed=st.integers(0, 5),
)
@settings(max_examples=120)
def test_running_sums_are_those_of_the_definition(
    name: str, segment_rows: int, splits: list[int], resumed: int
) -> None:
    """Fed in any parts, and going on after any of them as the next addition does."""
    kind = KINDS[name]
    total = sum(splits)
    rows = np.random.default_rng(total).integers(0, 99, (total, kind.width)).astype(kind.dtype)
    granule = sums.granule_rows(kind)
    stored: dict[tuple[int, int], list[int]] = {}

    def began_at(row: int) -> sums.RunningSums:
        offset = row % segment_rows
        within = offset % sums.BLOCK_ROWS
        kept = stored.get((row // segment_rows, offset // sums.BLOCK_ROWS), [])
        head = rows[row - within % granule : row]
        whole = np.array(kept[: within // granule], np.uint64)
        return sums.RunningSums(kind, segment_rows, row, whole, head)

    row = 0
    running = began_at(0)
    for number, count in enumerate(splits):
        running.feed(rows[row : row + count])
        row += count
        if number >= resumed:
            for segment, at, held, values in running.lines():
                stored[segment, at] = values.tolist()
                assert held == min(
                    sums.BLOCK_ROWS,
                    segment_rows - at * sums.BLOCK_ROWS,
                    row - segment * segment_rows - at * sums.BLOCK_ROWS,
                )
            running = began_at(row)
    for segment, at, _, values in running.lines():
        stored[segment, at] = values.tolist()
    assert stored == defined(rows, kind, segment_rows)


def test_lines_of_sums_are_summed_themselves() -> None:
    kind = KINDS["codes"]
    sql = sqlite3.connect(":memory:", isolation_level=None)
    sql.execute(sums.TABLE)
    values = np.array([1, 2**64 - 1], np.uint64)
    sums.write(sql, "codes", [(0, 0, 1024, values), (0, 1, 7, values[:1])])
    found = sums.read(sql, Path("f"), kind, 0, [0, 1])
    assert found[0][0] == 1024 and found[0][1].tolist() == values.tolist()
    assert found[1][0] == 7
    for statement in (
        "UPDATE checksums SET rows = 1023 WHERE block = 0",
        "UPDATE checksums SET sums = zeroblob(16) WHERE block = 0",
        "UPDATE checksums SET sums = 'text' WHERE block = 0",
        "UPDATE checksums SET sums = NULL WHERE block = 0",
        "UPDATE checksums SET rows = 'x' WHERE block = 0",
        "UPDATE checksums SET sum = sum + 1 WHERE block = 0",
        "DELETE FROM checksums WHERE block = 0",
        "UPDATE checksums SET block = 3 WHERE block = 0",
    ):
        sql.execute("BEGIN")
        try:
            sql.execute(statement)
            with pytest.raises(DamagedError, match="checksums of block 0 of codes segment 0"):
                sums.read(sql, Path("f"), kind, 0, [0])
        except sqlite3.IntegrityError:
            assert "NULL" in statement
        sql.execute("ROLLBACK")
    sql.close()


def test_sums_of_lines_tell_values_and_places_apart() -> None:
    lines: list[tuple[object, ...]] = [
        (1, None), (None, 1), (1, ""), ("", 1), (1,), ("1\0=", None), (1, 0), (10,), (-1,), ("é",)
    ]  # fmt: skip
    found = {sums.line_sum(*line) for line in lines}
    assert len(found) == len(lines)
    assert all(-(2**63) <= value < 2**63 for value in found)


@given(st.lists(st.integers(0, 2**40), unique=True), st.randoms())
def test_removed_rows_are_summed_in_any_order(rows: list[int], random: Any) -> None:
    whole = sealing.tombs(np.array(rows, np.int64))
    shuffled = list(rows)
    random.shuffle(shuffled)
    middle = random.randint(0, len(rows))
    parts = [np.array(part, np.int64) for part in (shuffled[:middle], shuffled[middle:])]
    assert sealing.tombs(parts[0]) ^ sealing.tombs(parts[1]) == whole
    assert (whole == 0) == (not rows)


VALUES = [None, True, 1, "a", "b", 2.5]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "replace", "remove", "update"]),
        st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True),
        st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(VALUES)),
    ),
    max_size=12,
)


@given(steps=STEPS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sums_of_facets_and_removed_rows_follow_every_change(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("sums") / "index"
    create(folder, DIM, "", {}, 8)
    store = Store(folder, writable=True)
    changes = Changes(store)
    live: dict[str, tuple[int, dict[str, Any]]] = {}
    rows, gone = 0, []
    for what, numbers, metadata in steps:
        ids = [str(number) for number in numbers]
        if what in ("add", "replace"):
            if what == "add":
                ids = [id_ for id_ in ids if id_ not in live]
            items = [Item(id_, metadata=metadata) for id_ in ids]
            if not items:
                continue
            changes.append(items, [block(rows, len(ids))], replace=what == "replace")
            gone += [live.pop(id_)[0] for id_ in ids if id_ in live]
            live |= {id_: (rows + i, metadata) for i, id_ in enumerate(ids)}
            rows += len(ids)
            continue
        ids = [id_ for id_ in ids if id_ in live]
        if not ids:
            continue
        if what == "remove":
            changes.remove(ids)
            gone += [live.pop(id_)[0] for id_ in ids]
        else:
            changes.update([Item(id_, metadata=metadata) for id_ in ids])
            live |= {id_: (live[id_][0], metadata) for id_ in ids}
    facets: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, metadata in live.values():
        for column, value in metadata.items():
            facets[column, facet(value)].append(row)
    with store.reading("") as sql:
        state = sealing.read_state(sql)
        names = dict(sql.execute("SELECT number, name FROM columns"))
        held = {
            (names[column], value): (count, total)
            for column, value, count, total in sql.execute("SELECT * FROM facet_sums")
        }
    assert (state.rows, state.removed) == (rows, len(gone))
    assert state.tombs == sealing.tombs(np.array(gone, np.int64))
    assert held == {
        key: (len(of), sealing.tombs(np.array(of, np.int64))) for key, of in facets.items()
    }
    assert verify(store).sound
    store.close()
