"""Items of two views, whole and box: one item each, and searches equal the oracle's answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import views_oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from index_data import COLOURS, METRICS, SEARCHED

from vsearch_fast.errors import ArgumentError, DamagedError, StoreError
from vsearch_fast.index import Index, Item
from vsearch_fast.index.schema import VIEWS_FORMAT
from vsearch_fast.index.views import nearest_items, padded

DIM = 9


def made(folder: Path, rows: np.ndarray, *, segment_rows: int = 16, **options: Any) -> Index:
    index = Index.create(
        folder, rows.shape[2], views=("whole", "box"), segment_rows=segment_rows, **options
    )
    items = [Item(f"{row}", metadata={"colour": COLOURS[row % 3]}) for row in range(len(rows))]
    index.add([item.id for item in items], rows, items)
    return index


def pictures(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 2, dim)).astype(np.float32)


def answers(hits: Any) -> list[list[tuple[str, float | int]]]:
    return [[(hit.id, hit.distance) for hit in line] for line in hits]


def wanted(
    names: list[str], queries: np.ndarray, rows: np.ndarray, k: int, metric: str, live: Any = None
) -> list[list[tuple[str, float | int]]]:
    distances, found = views_oracle.nearest(queries, rows, k, metric, live)
    return [
        [(names[item], distance) for item, distance in zip(line, values, strict=True)]
        for line, values in zip(found.tolist(), distances.tolist(), strict=True)
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return lambda: tmp_path_factory.mktemp("views") / "index"


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_history_is_searched_as_the_oracle_does(folders: Any, data: st.DataObject) -> None:
    dim = data.draw(st.sampled_from([1, 3, 8, 17]))
    views = data.draw(st.sampled_from([("whole",), ("whole", "box")]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    # Few values, so that there are ties within an item, between items, and whole duplicates.
    spread = data.draw(st.sampled_from([1, 2, 1000]))

    coin = st.booleans()

    def drawn(count: int, width: int) -> np.ndarray:
        return rng.integers(-spread, spread + 1, (count, width, dim)).astype(np.float32)

    with Index.create(folders(), dim, views=views, segment_rows=4) as index:
        names: list[str] = []
        colours: list[str] = []
        rows: np.ndarray = np.empty((0, len(views), dim), np.float32)
        alive = np.empty(0, bool)
        for _ in range(data.draw(st.integers(1, 5))):
            fresh = [
                f"{data.draw(st.integers(0, 30))}" for _ in range(data.draw(st.integers(0, 7)))
            ]
            fresh = list(dict.fromkeys(fresh))
            values = drawn(len(fresh), len(views))
            items = [Item(name, metadata={"colour": COLOURS[int(name) % 3]}) for name in fresh]
            index.add(fresh, values if len(views) > 1 else values[:, 0], items, replace=True)
            for name in fresh:
                alive[[n for n, held in enumerate(names) if held == name]] = False
            names += fresh
            colours += [str(item.metadata["colour"]) for item in items]
            rows, alive = (
                np.concatenate([rows, values]),
                np.append(alive, np.ones(len(fresh), bool)),
            )
            living = [n for n, lives in enumerate(alive) if lives]
            removing, changing = data.draw(coin), data.draw(coin)
            if living and removing:
                gone = data.draw(st.sampled_from(living))
                index.remove([names[gone]])
                alive[gone] = False
            living = [n for n, lives in enumerate(alive) if lives]
            if living and changing:
                changed = data.draw(st.sampled_from(living))
                colours[changed] = data.draw(st.sampled_from(COLOURS))
                item = index.get(names[changed])
                index.update(replace(item, metadata={"colour": colours[changed]}))
            if data.draw(coin):
                index.compact()
        assert len(index) == alive.sum() == len(list(index))
        k = data.draw(st.sampled_from([1, 2, 5, 100]))
        asked = data.draw(st.sampled_from([1, 2, 3]))
        queries = drawn(3, asked)
        for metric in METRICS:
            for strategy in ("scan", "sketch"):
                hits = index.search(queries, k, metric, strategy=strategy)
                assert answers(hits) == wanted(names, queries, rows, k, metric, alive)
        where = {"colour": ["red", "blue"]}
        if set(where["colour"]) & {c for c, lives in zip(colours, alive, strict=True) if lives}:
            live = alive & np.isin(colours, where["colour"])
            hits = index.search(queries, k, "l1", where)
            assert answers(hits) == wanted(names, queries, rows, k, "l1", live)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 3), st.sampled_from([1, 2]), st.integers(1, 6),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_merging_the_nearest_lines_gives_the_nearest_items(
    count: int, asked: int, views: int, k: int, seed: int
) -> None:
    """Against the smallest of all distances; of k times views lines alone."""
    rng = np.random.default_rng(seed)
    items = int(rng.integers(1, 9))
    table = rng.integers(0, 4, (count * asked, items * views)).astype(np.float64)
    near = np.argsort(table, axis=1, kind="stable")[:, : k * views]
    distances, rows = nearest_items(np.take_along_axis(table, near, 1), near, asked, views, k)
    best = table.reshape(count, asked, items, views).min(axis=(1, 3))
    order = np.argsort(best, axis=1, kind="stable")[:, :k]
    assert np.array_equal(rows, order)
    assert np.array_equal(distances, np.take_along_axis(best, order, 1))


@pytest.mark.parametrize("metric", SEARCHED)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_sketched_blocks_of_two_views(tmp_path: Path, metric: Any, dtype: str) -> None:
    """More than a block of 1024 items, and a second segment."""
    rows = np.abs(pictures(2300, dim=70)).astype(dtype).astype(np.float32)
    rows[5] = rows[1500]
    queries = np.concatenate([pictures(3, seed=1, dim=70), rows[[5, 2299]]])
    index = made(tmp_path / "index", rows, segment_rows=1100, dtype=dtype)
    names = [str(row) for row in range(len(rows))]
    index.remove(["7", "2000"])
    live = np.ones(len(rows), bool)
    live[[7, 2000]] = False
    for strategy in ("scan", "sketch", "auto"):
        hits, proof = index.search(queries, 20, metric, strategy=strategy, explain=True)
        assert answers(hits) == wanted(names, queries, rows, 20, metric, live)
        assert proof.rows == 2 * live.sum() and proof.queries == 2 * len(queries)
    single = index.search(queries[:, 0], 20, metric)
    assert answers(single) == wanted(names, queries[:, :1], rows, 20, metric, live)
    assert index.verify().sound
    index.close()
    with Index.open(tmp_path / "index", checksums="always") as index:
        assert answers(index.search(queries[:, 0], 20, metric)) == answers(single)


def test_an_item_of_two_rows_is_one_item(tmp_path: Path) -> None:
    rows = pictures(10)
    rows[3, 1], rows[4] = rows[3, 0], rows[2]
    with made(tmp_path / "index", rows) as index:
        assert index.views == ("whole", "box") and index.info()["views"] == "whole,box"
        assert len(index) == index.info()["live"] == index.info()["rows"] == 10
        assert index.info()["format"] == VIEWS_FORMAT
        assert [item.id for item in index] == [str(row) for row in range(10)]
        first, after = index.page(4)
        assert len(first) == 4 and len(index.page(100, after=after)[0]) == 6
        assert index.values("colour") == [("red", 4), ("blue", 3), ("green", 3)]
        assert np.array_equal(index.features(["4", "1"]), rows[[4, 1]])
        assert index.codes(["4", "1"]).shape == (2, 2, 2)
        assert np.array_equal(index.codes(["3"])[0], np.packbits(rows[3] > 0, axis=-1))
        [hits] = index.search(rows[3:4], 100)
        assert len(hits) == 10 and hits[0].id == "3" and hits[0].distance == 0
        # As near as the other: the first that was added comes first.
        assert [hit.id for hit in index.search(rows[2, 1], 2)[0]] == ["2", "4"]
        threshold = index.calibrate("l2", quantile=1.0)
        far = [float(index.search(rows[r : r + 1], 2)[0][1].distance) for r in range(10)]
        assert threshold.measured == 10 and threshold.distance == max(far)
        index.remove(["2"])
        assert len(index) == 9 and "2" not in index
        index.compact()
        assert index.search(rows[2, 0], 1)[0][0].id == "4"
        with index.snapshot() as frozen:
            assert np.array_equal(frozen.features(["9"]), rows[[9]])
        assert index.backup(tmp_path / "copy").sound
    with Index.open(tmp_path / "copy") as index:
        assert np.array_equal(index.features(["9"])[0], rows[9])


def test_codes_that_were_given(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 255, (4, 2, 2), np.uint8) & 0x80
    with Index.create(tmp_path / "index", DIM, views="whole,box") as index:
        index.add(list("abcd"), pictures(4), codes=codes)
        assert np.array_equal(index.codes(["c", "a"]), codes[[2, 0]])
        assert index.search(codes[2:3], 1, "hamming")[0][0].distance == 0


@pytest.mark.parametrize("kind", ["vectors", "codes", "sketches", "facts"])
def test_damage_of_either_view_is_found_and_repaired(tmp_path: Path, kind: str) -> None:
    rows = np.abs(pictures(1100))
    made(tmp_path / "index", rows, segment_rows=1024).close()
    file = tmp_path / "index" / f"{kind}-00000.npy"
    with open(file, "r+b") as damaged:
        damaged.seek(file.stat().st_size - 1)  # of the last item's second view
        byte = damaged.read(1)
        damaged.seek(-1, 1)
        damaged.write(bytes([byte[0] ^ 1]))
    with Index.open(tmp_path / "index", mode="rw") as index:
        found = index.verify()
        assert {damage.kind for damage in found.damages} == {kind}
        assert "1023" in found.damages[0].ids
        if kind == "vectors":
            with pytest.raises(DamagedError, match="row"):
                index.search(rows[1023, 1], 1, strategy="scan")
        done = index.repair(lambda items: {item.id: rows[int(item.id)] for item in items})
        assert done.after.sound and not done.dropped and len(index) == 1100
        assert np.array_equal(index.features(["1023"])[0], rows[1023])
        assert answers(index.search(rows[1023:1024], 1)) == [[("1023", 0.0)]]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="views is 'box'"):
        Index.create(tmp_path / "none", DIM, views="box")
    with made(tmp_path / "two", pictures(3)) as index:
        with pytest.raises(ArgumentError, match="holds 2 views an item"):
            index.add(["x"], pictures(1)[:, 0])
        with pytest.raises(ArgumentError, match="holds 2 views an item"):
            index.add(["x"], pictures(1), codes=np.zeros((1, 2), np.uint8))
        with pytest.raises(ArgumentError, match="2 ids and 1 rows"):
            index.add(["x", "y"], pictures(1))
        broken = pictures(2)
        broken[1, 1, 0] = np.nan
        with pytest.raises(ArgumentError, match="Row 1 of features"):
            index.add(["x", "y"], broken)
        assert len(index) == 3
    with pytest.raises(ArgumentError, match="of each item the views whole,box, not whole"):
        Index.create(tmp_path / "two", DIM, views="whole", exist_ok=True)
    Index.create(tmp_path / "two", DIM, exist_ok=True).close()
    with Index.create(tmp_path / "one", DIM) as index:
        assert index.info()["format"] < VIEWS_FORMAT
        with pytest.raises(ArgumentError, match="shape"):
            index.add(["x"], pictures(1))
    with pytest.raises(StoreError):
        Index.create(tmp_path / "two", DIM, views="whole,box")


def test_an_addition_is_both_views_or_nothing(tmp_path: Path) -> None:
    rows = pictures(6)
    with made(tmp_path / "index", rows[:3]) as index:
        with pytest.raises(KeyError), index.transaction():
            index.add(["3", "0"], rows[3:5], replace=True)
            index.remove(["1"])
            raise KeyError
        assert len(index) == 3 and np.array_equal(index.features(["0", "1"]), rows[:2])
        index.add(["3", "0"], rows[3:5], replace=True)
        assert len(index) == 4 and np.array_equal(index.features(["0"])[0], rows[4])
        assert index.info()["removed"] == 1 and index.verify().sound
        assert answers(index.search(rows[:1], 4)) == wanted(
            ["1", "2", "3", "0"], rows[:1], rows[1:5], 4, "l2"
        )


def test_queries_of_more_and_fewer_views_beside_each_other(tmp_path: Path) -> None:
    rows = pictures(8)
    assert padded([rows[0, 0], rows[1, :1]]).shape == (2, DIM)
    queries = [rows[0, 0], rows[1]]
    with made(tmp_path / "index", rows) as index:
        together = answers(index.search(padded(queries), 8))
        assert together == [answers(index.search(q[None], 8))[0] for q in queries]
