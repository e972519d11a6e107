"""Groups of copies equal their definition, whatever the index is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sharded_data import sharded

from vsearch_fast.errors import ArgumentError, ImageError, ModelMismatchError
from vsearch_fast.index import Index, Item
from vsearch_fast.index import duplicates as module
from vsearch_fast.index.duplicates import radius_of
from vsearch_fast.kernels import reference
from vsearch_fast.shards import ShardedIndex
from vsearch_fast.words import Metric

DIM = 24
METRICS: tuple[Metric, ...] = ("cosine", "hamming", "l2", "l1", "ip")


def copied(rows, seed=0, views=0):
    """Rows of which many are others, with a little noise."""
    rng = np.random.default_rng(seed)
    shape = (rows, views, DIM) if views else (rows, DIM)
    data = rng.standard_normal(shape).astype(np.float32)
    for row in range(1, rows):
        if rng.random() < 0.6:
            noise = rng.choice([0, 0.02, 0.2]) * rng.standard_normal(shape[1:])
            data[row] = data[rng.integers(row)] + noise.astype(np.float32)
    return data


def stamp(content, size=100):
    return f"{size}:7:{content:032x}"


def described(rows, contents=()):
    known = dict(contents)
    return [
        Item(f"item {row}", f"{row}.jpg", stamp=stamp(known.get(row, 1000 + row)))
        for row in range(rows)
    ]


def distances_of(metric, data):
    """Every row's distance from every other, of several views the smallest."""
    lines = data.reshape(len(data), -1, DIM)
    if metric == "hamming":
        lines = reference.pack_bits(lines)
    flat = lines.reshape(-1, lines.shape[-1])
    each = np.stack([reference.DISTANCE[metric](line, flat) for line in flat])
    views = lines.shape[1]
    return each.reshape(len(data), views, len(data), views).min(axis=(1, 3))


def expected(every, radius, items, left=None, live=None):
    """Connected groups by the definition: rows, the best first, and kinds."""
    count = len(every)
    together = every <= radius
    for i in range(count):
        for j in range(count):
            together[i, j] |= items[i].stamp == items[j].stamp and items[i].box == items[j].box
    if left is not None:  # between two indexes
        together[:left, :left] = together[left:, left:] = False
        together |= together.T
    if live is not None:
        together &= live[:, None] & live[None]
    labels = np.arange(count)
    for _ in range(count):
        for i, j in np.argwhere(together):
            labels[i] = labels[j] = min(labels[i], labels[j])
    groups = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label).tolist()
        if len(rows) > 1:
            best = rows[0]  # as nobody looks at pictures of one size
            rest = sorted(rows[1:], key=lambda row: (every[best, row], row))
            kinds = ["file" if items[r].stamp == items[best].stamp else "near" for r in rows]
            groups.append((kinds.count("near") > 0, best, [best, *rest]))
    groups.sort()
    return [
        [(items[row].id, every[rows[0], row]) for row in rows] for _, _, rows in groups
    ]  # fmt: skip


def told(groups):
    return [[(item.id, item.distance) for item in group.items] for group in groups]


def a_radius(every, share=0.08):
    values = np.sort(every[~np.eye(len(every), dtype=bool)])
    return float(values[int(share * len(values))])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    data = copied(70)
    contents = {3: 1, 40: 1, 66: 1, 10: 2, 55: 2}
    items = described(70, contents.items())
    removed = ["item 5", "item 20", "item 66"]
    one, many = sharded(
        tmp_path_factory.mktemp("made"), data, [15, 16, 50], items=items, removed=removed
    )
    live = np.array([item.id not in removed for item in items])
    return data, items, live, one, many


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [Index, ShardedIndex])
def test_connected_groups_equal_the_definition(made, metric, kind):
    data, items, live, one, many = made
    every = distances_of(metric, data)
    radius = a_radius(every)
    if metric == "hamming":
        radius = int(radius)
    want = expected(every, radius, items, live=live)
    assert 3 < len(want) < 30
    assert any(distance > radius for group in want for _, distance in group)  # through a chain
    progress = []
    with kind.open(one if kind is Index else many) as index:
        got = index.duplicates(
            metric=metric, within=radius, progress=lambda *done: progress.append(done)
        )
    assert told(got) == want
    assert progress[-1] == (live.sum(), live.sum())
    assert [group.kind for group in got] == sorted(
        (group.kind for group in got), key=module.KINDS.index
    )
    for group in got:
        best = group.best
        assert {item.kind for item in group.items} <= {"file", "near"}
        assert not any(item.seen for item in group.items)
        assert (best.bytes, best.width, best.index) == (100, None, None)


@pytest.mark.parametrize("metric", ["cosine", "hamming"])
def test_complete_groups_have_every_pair_and_are_the_same_in_shards(made, metric):
    data, items, _, one, many = made
    every = distances_of(metric, data)
    radius = int(a_radius(every)) if metric == "hamming" else a_radius(every)
    with Index.open(one) as index, ShardedIndex.open(many) as shards:
        asked = {"metric": metric, "within": radius, "linkage": "complete"}
        got = told(index.duplicates(**asked))
        assert told(shards.duplicates(**asked)) == got
        connected = told(index.duplicates(metric=metric, within=radius))
    rows = {item.id: row for row, item in enumerate(items)}
    assert got != connected
    for group in got:
        numbers = [rows[id_] for id_, _ in group]
        for i in numbers:
            for j in numbers:
                assert every[i, j] <= radius or items[i].stamp == items[j].stamp
    whole = [{id_ for id_, _ in group} for group in connected]
    assert all(any({id_ for id_, _ in group} <= names for names in whole) for group in got)
    assert not {"item 5", "item 20", "item 66"} & {id_ for group in got for id_, _ in group}


@pytest.mark.parametrize("linkage", ["connected", "complete"])
def test_two_views_count_by_the_nearer(tmp_path, linkage):
    data, items = copied(30, 1, views=2), described(30)
    every = distances_of("cosine", data)
    radius = a_radius(every, 0.05)
    with Index.create(tmp_path / "i", DIM, views="whole,box", segment_rows=8) as index:
        index.add([item.id for item in items], data, items)
        got = index.duplicates(within=radius, linkage=linkage)
    assert got
    if linkage == "connected":
        assert told(got) == expected(every, radius, items)
    for group in got if linkage == "complete" else []:
        numbers = [int(item.id.split()[1]) for item in group.items]
        assert (every[np.ix_(numbers, numbers)] <= radius).all()


@pytest.mark.parametrize("metric", METRICS)
def test_pairs_between_two_indexes_equal_the_definition(tmp_path, metric):
    data = copied(60, 2)
    items = described(60, {2: 1, 30: 1, 3: 1, 4: 2, 5: 2, 50: 3, 51: 3}.items())
    every = distances_of(metric, data)
    radius = int(a_radius(every, 0.04)) if metric == "hamming" else a_radius(every, 0.04)
    for name, part in (("one", slice(0, 25)), ("two", slice(25, 60))):
        with Index.create(tmp_path / name, DIM, segment_rows=8) as index:
            index.add([item.id for item in items[part]], data[part], items[part])
    want = expected(every, radius, items, left=25)
    with Index.open(tmp_path / "one") as one, Index.open(tmp_path / "two") as two:
        got = one.duplicates(metric=metric, within=radius, across=two)
    assert told(got) == want
    folders = {str(tmp_path / "one"), str(tmp_path / "two")}
    assert all({item.index for item in group.items} == folders for group in got)


@dataclass
class Seen:
    width: int
    height: int
    sharpness: float
    bytes: int
    file: str
    pixels: str


def test_the_best_copy_has_most_pixels_then_sharpness_then_bytes(tmp_path):
    looks = {
        "0.jpg": Seen(10, 20, 5.0, 900, "a", "a"),
        "1.jpg": Seen(20, 20, 1.0, 100, "b", "b"),
        "2.jpg": Seen(20, 20, 2.0, 100, "c", "c"),
        "3.jpg": Seen(20, 20, 2.0, 200, "d", "c"),
        "4.jpg": Seen(20, 20, 2.0, 200, "d", "c"),
    }

    def look(path, box):
        if path not in looks:
            raise ImageError(f"{path} is gone", "", "")
        return looks[path]

    data = np.ones((7, DIM), np.float32)
    items = [Item(f"item {row}", f"{row}.jpg") for row in range(6)] + [Item("item 6")]
    seen = []
    with Index.create(tmp_path / "i", DIM) as index:
        index.add([item.id for item in items], data, items)
        [group] = index.duplicates(look=look, looked=lambda *done: seen.append(done), threads=3)
    assert [item.id for item in group.items] == [f"item {row}" for row in (3, 0, 1, 2, 4, 5, 6)]
    assert [item.kind for item in group.items] == [
        "file", "near", "near", "pixels", "file", "near", "near",
    ]  # fmt: skip
    assert [item.seen for item in group.items] == [True] * 5 + [False] * 2
    assert group.kind == "near"
    assert (group.best.width, group.best.sharpness, group.best.bytes) == (20, 2.0, 200)
    assert seen == [(done, 7) for done in range(1, 8)]


def test_identical_files_need_no_distance_and_boxes_tell_items_apart(tmp_path):
    data = np.eye(DIM, dtype=np.float32)[:5]
    items = [
        Item("a", stamp=stamp(1)), Item("b", stamp=stamp(1)),
        Item("box", box=(0, 0, 5, 5), stamp=stamp(1)), Item("other", stamp=stamp(2, 101)),
        Item("mine", stamp="a mark of mine"),
    ]  # fmt: skip
    with Index.create(tmp_path / "i", DIM) as index:
        index.add([item.id for item in items], data, items)
        for linkage in ("connected", "complete"):
            [group] = index.duplicates(within=0.0, linkage=linkage)
            assert group.kind == "file"
            assert [(item.id, item.distance) for item in group.items] == [("a", 0.0), ("b", 1.0)]


def test_an_empty_index_has_no_groups(tmp_path):
    with Index.create(tmp_path / "i", DIM) as index:
        for metric in METRICS:
            assert index.duplicates(metric=metric, within=1.0) == []
        with Index.create(tmp_path / "j", DIM) as other:
            assert index.duplicates(across=other) == []


def test_only_items_of_a_filter(tmp_path):
    data = np.ones((6, DIM), np.float32)
    items = [Item(f"{row}", metadata={"odd": row % 2}) for row in range(6)]
    with Index.create(tmp_path / "i", DIM) as index:
        index.add([item.id for item in items], data, items)
        [group] = index.duplicates(where={"odd": 1})
        assert [item.id for item in group.items] == ["1", "3", "5"]
        with pytest.raises(ArgumentError, match="no metadata column 'even'"):
            index.duplicates(where={"even": 1})


@pytest.mark.parametrize(
    ("metric", "similar", "bits", "want"),
    [
        ("cosine", 0.75, 64, 0.25),
        ("cosine", 1, 64, 0.0),
        ("hamming", 0.9, 10, 1.0),  # 10 * (1 - 0.9) is below 1
        ("hamming", 0.99, 4096, 40.0),
        ("hamming", 1.0, 64, 0.0),
        ("hamming", 0.0, 64, 64.0),
    ],
)
def test_a_similarity_is_a_distance(metric, similar, bits, want):
    assert radius_of(metric, similar, bits, "") == want
    if metric == "hamming":
        shares = (bits - np.arange(bits + 1)) / bits
        assert want == np.flatnonzero(shares >= similar).max()


def test_what_is_refused(tmp_path, monkeypatch):
    with (
        Index.create(tmp_path / "i", DIM, model_id="a") as index,
        Index.create(tmp_path / "j", DIM, model_id="b") as other,
    ):
        index.add(["a", "b", "c"], np.ones((3, DIM), np.float32))
        refused: list[tuple[dict[str, Any], str]] = [
            ({"metric": "angle"}, "metric is 'angle'"),
            ({"linkage": "single"}, "linkage is 'single'"),
            ({"within": 1, "similar": 1}, "similar and within are both given"),
            ({"within": -1}, "within is -1"),
            ({"similar": 1.5}, "similar is 1.5, not a number from 0 to 1"),
            ({"similar": "high"}, "similar is 'high'"),
            ({"metric": "l2"}, "no distance is named, and l2 has no similarity"),
            ({"metric": "l2", "similar": 0.9}, "l2 has no similarity"),
            ({"across": index}, "to be compared with itself"),
            ({"across": "j"}, "across is a str"),
            ({"across": other, "linkage": "complete"}, "complete linkage of two indexes"),
        ]
        for asked, words in refused:
            with pytest.raises(ArgumentError, match=words):
                index.duplicates(**asked)
        with pytest.raises(ModelMismatchError, match="features of model b"):
            index.duplicates(across=other)
        monkeypatch.setattr(module, "PAIRS", 2)
        with pytest.raises(ArgumentError, match="over 2 pairs lie within"):
            index.duplicates(linkage="complete")
        monkeypatch.setattr(module, "MOST", 2)
        with pytest.raises(ArgumentError, match="3 items are in groups, and the limit is 2"):
            index.duplicates()
