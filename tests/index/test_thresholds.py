"""Thresholds beyond which a query has no match: equal to their definition in NumPy, kept,
taken again when the index has changed, and told to whoever searches."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_model import write_tiny_model

from vsearch_fast import _no_match as no_match
from vsearch_fast import cli
from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import ArgumentError, LockedError, StoreError
from vsearch_fast.index import Index, Item, Threshold
from vsearch_fast.kernels import reference

METRICS = ("l2", "l1", "hamming")
DIM = 12


def rows_of(count: int, seed: int = 0, values: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if values:  # many equal rows and distances
        return rng.integers(-values, values, (count, DIM)).astype(np.float32)
    return rng.standard_normal((count, DIM)).astype(np.float32)


def defined(
    data: np.ndarray,
    metric: str,
    quantile: float = 0.95,
    groups: Sequence[object] | None = None,
    live: np.ndarray | None = None,
    measured: np.ndarray | None = None,
) -> float | int | None:
    """The threshold by its definition: all distances, a mask, NumPy's quantile."""
    count = len(data)
    live = np.ones(count, bool) if live is None else live
    if metric == "hamming":
        data = np.packbits(data > 0, axis=-1)
    distances, ids = reference.topk(data, data, count, metric=metric)
    table = np.empty(distances.shape)
    np.put_along_axis(table, ids, distances, axis=1)
    others = ~np.eye(count, dtype=bool) & live
    if groups is not None:
        names = [(n, None) if g is None else (g,) for n, g in enumerate(groups)]
        others &= np.array([[a != b for b in names] for a in names], bool).reshape(count, count)
    chosen = np.flatnonzero(live) if measured is None else measured
    nearest = np.where(others, table, np.inf)[chosen].min(axis=1, initial=np.inf)
    nearest = nearest[nearest < np.inf]
    if not len(nearest):
        return None
    return np.quantile(nearest, quantile, method="inverted_cdf").item()


def fill(index: Index, data: np.ndarray, groups: Sequence[object] | None = None) -> list[str]:
    ids = [f"{len(index)}-{row}" for row in range(len(data))]
    metadata: list[dict[str, Any]] = [{} for _ in ids]
    if groups is not None:
        # Rows of the group "" lack the column; those of None hold a null.
        metadata = [{} if group == "" else {"sender": group} for group in groups]
    index.add(ids, data, metadata)
    return ids


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "index", DIM, segment_rows=16) as made:
        fill(made, rows_of(60))
        yield made


# What it is


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(2, 45),
    values=st.sampled_from([0, 1, 2]),
    seed=st.integers(0, 999),
    # Binary fractions: of others NumPy and this module may round a place apart.
    quantile=st.integers(1, 16).map(lambda n: n / 16),
    groups=st.one_of(st.none(), st.integers(1, 6)),
    removed=st.floats(0, 0.6),
    dtype=st.sampled_from(["float32", "float16"]),
)
def test_it_is_the_quantile_of_the_nearest_others(
    tmp_path_factory: pytest.TempPathFactory,
    count: int, values: int, seed: int, quantile: float, groups: int | None,
    removed: float, dtype: str,
) -> None:  # fmt: skip
    data = rows_of(count, seed, values)
    rng = np.random.default_rng(seed)
    names = None
    if groups is not None:
        choice: list[object] = ["", None, "a", "b", 3, True]
        names = [choice[number] for number in rng.integers(0, groups, count)]
    with Index.create(
        tmp_path_factory.mktemp("i") / "i", DIM, segment_rows=7, dtype=dtype
    ) as index:
        ids = fill(index, data, names)
        live = rng.random(count) >= removed
        index.remove([id_ for id_, lives in zip(ids, live, strict=True) if not lives])
        own = None if names is None else [None if name == "" else name for name in names]
        stored = data.astype(dtype).astype(np.float32)
        column = None if names is None or not any(n != "" for n in names) else "sender"
        for metric in METRICS:
            wanted = defined(stored, metric, quantile, own, live)
            if wanted is None:
                with pytest.raises(ArgumentError, match="none has another"):
                    index.calibrate(metric, quantile=quantile, group=column)
                continue
            found = index.calibrate(metric, quantile=quantile, group=column)
            assert found.distance == wanted
            assert type(found.distance) is (int if metric == "hamming" else float)
            assert found.live == live.sum()
            assert found == index.threshold(metric)


@pytest.mark.parametrize("metric", METRICS)
def test_members_of_large_groups_find_the_nearest_of_another(
    tmp_path: Path, metric: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their own group fills the first neighbours, so that they are searched for again."""
    monkeypatch.setattr(no_match, "_BLOCK", 25)
    data = rows_of(80, 3)
    data[:30] = data[0] + 0.001 * data[:30]
    groups = ["crowd"] * 30 + ["pair"] * 2 + [str(n) for n in range(48)]
    with Index.create(tmp_path / "i", DIM) as index:
        fill(index, data, groups)
        found = index.calibrate(metric, group="sender", quantile=0.3)
        assert found.distance == defined(data, metric, 0.3, groups)
        assert found.measured == 80
        assert index.calibrate(metric).distance == defined(data, metric)
        assert "of another sender" in str(found)


def test_copies_are_each_others_nearest(tmp_path: Path) -> None:
    data = np.repeat(rows_of(3), [1, 2, 4], axis=0)
    with Index.create(tmp_path / "i", DIM) as index:
        fill(index, data)
        assert index.calibrate(quantile=6 / 7).distance == 0.0
        assert index.calibrate().distance == defined(data, "l2") > 0


@given(
    rows=st.integers(0, 300),
    count=st.one_of(st.none(), st.integers(1, 300)),
    gone=st.sets(st.integers(0, 299)),
)
def test_a_sample_is_always_the_same(rows: int, count: int | None, gone: set[int]) -> None:
    live = np.array([row not in gone for row in range(rows)], bool)
    order = sorted(np.flatnonzero(live), key=lambda row: int(no_match.mixed(np.array([row]))[0]))
    wanted = sorted(order[:count])
    assert no_match.sampled(rows, live, count).tolist() == wanted
    if live.all():
        assert no_match.sampled(rows, None, count).tolist() == wanted


def test_a_sample_of_many_rows_is_drawn_in_blocks() -> None:
    rows = (1 << 21) + 7
    every = np.arange(rows)
    wanted = np.sort(np.argsort(no_match.mixed(every))[:50])
    assert np.array_equal(no_match.sampled(rows, None, 50), wanted)
    assert len(np.unique(no_match.mixed(every))) == rows
    # The numbers are fixed for ever: SplitMix64's first from the seed 0.
    assert no_match.mixed(np.array([0])).tolist() == [0xE220A8397B1DCDAF]


def test_a_sample_is_measured_among_all(index: Index) -> None:
    data = rows_of(60)
    found = index.calibrate(sample=20)
    assert (found.measured, found.sample, found.live) == (20, 20, 60)
    assert found.distance == defined(data, "l2", measured=no_match.sampled(60, None, 20))
    assert index.calibrate(sample=None).distance == defined(data, "l2")


def test_the_place_of_a_quantile() -> None:
    assert [no_match.place(0.95, n) for n in (1, 19, 20, 21, 100)] == [1, 19, 19, 20, 95]
    assert no_match.place(0.07, 100) == 7  # 0.07 * 100 is above 7 in binary
    assert no_match.place(1.0, 5) == 5
    for count in range(1, 400):
        wanted = np.quantile(np.arange(1, count + 1), 0.95, method="inverted_cdf")
        assert no_match.place(0.95, count) == wanted


# Searching


@pytest.mark.parametrize("metric", METRICS)
def test_auto_leaves_out_what_is_farther(index: Index, metric: Any) -> None:
    queries = np.concatenate([rows_of(4), rows_of(3, 9), 50 * rows_of(2, 8) + 50])
    hits = index.search(queries, 60, metric, max_distance="auto")
    threshold = index.threshold(metric)
    assert threshold is not None
    assert hits == index.search(queries, 60, metric, max_distance=threshold.distance)
    assert all(hits[:4])
    if metric != "hamming":
        assert hits[-2:] == [[], []]
    filtered, proof = index.search(
        queries, 5, metric, where={}, max_distance="auto", backend="cpu", explain=True
    )
    assert filtered == [line[:5] for line in hits]
    assert proof.queries == 9


def test_a_filter_does_not_change_it(tmp_path: Path) -> None:
    data = rows_of(40)
    with Index.create(tmp_path / "i", DIM) as index:
        fill(index, data, ["a", "b"] * 20)
        limit = defined(data, "l2")
        [hits] = index.search(data[0], 40, where={"sender": "b"}, max_distance="auto")
        assert hits == index.search(data[0], 40, where={"sender": "b"}, max_distance=limit)[0]


def test_few_rows(tmp_path: Path) -> None:
    query = np.ones(DIM, np.float32)
    with Index.create(tmp_path / "i", DIM) as index:
        assert index.threshold() is None
        assert index.search(query, max_distance="auto") == [[]]
        with pytest.raises(ArgumentError, match="holds 0 items"):
            index.calibrate()
        index.add(["a"], query[None])
        with pytest.raises(ArgumentError, match=r"holds 1 item:.*Add items, or name a distance"):
            index.search(query, max_distance="auto")
        index.add(["b"], query[None])
        assert [hit.id for hit in index.search(query, max_distance="auto")[0]] == ["a", "b"]
        found = index.threshold()
        assert found is not None and (found.distance, found.measured) == (0.0, 2)
        assert index.search(2 * query, max_distance="auto") == [[]]
        index.remove(["a", "b"])
        assert index.threshold() is None
        assert index.search(query, max_distance="auto") == [[]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"metric": "cosine"}, "metric is 'cosine'"),
        ({"quantile": 0}, "quantile is 0"),
        ({"quantile": 1.5}, "quantile is 1.5"),
        ({"quantile": math.nan}, "quantile is nan"),
        ({"quantile": True}, "quantile is True"),
        ({"sample": 0}, "sample is 0"),
        ({"sample": 2.5}, "sample is 2.5"),
        ({"group": "sender"}, "no metadata column 'sender'"),
    ],
)
def test_calibrate_refuses(index: Index, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        index.calibrate(**arguments)
    assert index.info()["thresholds"] == {}


def test_one_group_is_too_few(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", DIM) as index:
        fill(index, rows_of(30), ["me"] * 30)
        with pytest.raises(ArgumentError, match=r"30 items, all of one sender.*leave the group"):
            index.calibrate(group="sender")


def test_wrong_queries_cost_no_calibration(index: Index) -> None:
    with pytest.raises(ArgumentError, match="the shape"):
        index.search(np.ones((1, DIM + 1), np.float32), max_distance="auto")
    with pytest.raises(ArgumentError, match='"auto" for the index'):
        index.search(np.ones(DIM, np.float32), max_distance="Auto")  # type: ignore[call-overload]
    assert index.info()["thresholds"] == {}


# Keeping


def test_it_is_stored_as_it_is(index: Index) -> None:
    made = {metric: index.calibrate(metric, quantile=0.9) for metric in METRICS}
    state = index._store.state()
    with Index.open(index.path) as reader:
        assert {metric: reader.threshold(metric) for metric in METRICS} == made
        facts = reader.info()["thresholds"]
        assert json.loads(json.dumps(facts)) == facts
        assert facts["l1"]["distance"] == made["l1"].distance
        assert facts["l1"]["changes"] == 0
    assert index._store.state() == state  # masks of the rows stay as they are
    index.describe({"layer": "fc1"})
    assert index.threshold("l1") == made["l1"]


def test_it_is_taken_again_when_a_tenth_has_changed(index: Index) -> None:
    first = index.calibrate(quantile=0.5, sample=40)
    index.remove(["0-0", "0-1", "0-2"])
    index.add([f"n{row}" for row in range(3)], 9 * rows_of(3, 5))
    assert index.threshold() == first
    assert index.info()["thresholds"]["l2"]["changes"] == 6
    index.add(["one more"], 9 * rows_of(1, 6))
    again = index.threshold()
    assert again is not None and again != first
    assert (again.quantile, again.sample, again.live, again.rows) == (0.5, 40, 61, 64)
    assert again == index.calibrate(quantile=0.5, sample=40)
    with Index.open(index.path) as reader:
        assert reader.threshold() == again


def test_one_opened_for_reading_keeps_it_to_itself(index: Index) -> None:
    with Index.open(index.path) as reader, Index.open(index.path) as other:
        own = reader.calibrate(quantile=0.5)
        assert reader.threshold() == own
        assert reader.info()["thresholds"]["l2"]["quantile"] == 0.5
        assert other.info()["thresholds"] == {}
        with pytest.raises(LockedError):
            reader.save_thresholds()
        stored = index.calibrate(quantile=0.7)  # the last word
        assert reader.threshold() == other.threshold() == stored
        assert reader.save_thresholds() == 0
        index.close()
        own = reader.calibrate("l1")
        assert reader.save_thresholds() == 1
        assert reader.save_thresholds() == 0
        assert other.info()["thresholds"]["l1"]["distance"] == own.distance
    with Index.open(index.path, mode="rw") as writer:  # the lock was let go
        assert writer.threshold("l1") == own


def test_a_failed_write_loses_neither_search_nor_the_old_one(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(key: str, value: str) -> None:
        raise StoreError("The disk is full")

    first = index.calibrate()
    index.remove([f"0-{row}" for row in range(20)])
    monkeypatch.setattr(index._store, "write_note", full)
    with pytest.raises(StoreError, match="full"):
        index.calibrate()
    index.search(rows_of(1), max_distance="auto")
    again = index.threshold()
    assert again is not None and again.live == 40
    with Index.open(index.path) as reader:
        assert reader.info()["thresholds"]["l2"]["distance"] == first.distance
    monkeypatch.undo()
    assert index.save_thresholds() == 1
    with Index.open(index.path) as reader:
        assert reader.threshold() == again


def test_an_unfinished_transaction_leaves_the_old_one(index: Index) -> None:
    first = index.calibrate()
    with pytest.raises(KeyboardInterrupt), index._store.transaction("", write=True) as sql:
        sql.execute("UPDATE meta SET value = '{}' WHERE key = 'threshold l2'")
        raise KeyboardInterrupt
    assert index.threshold() == first


@pytest.mark.parametrize("text", ["{}", "[1]", "nonsense", '{"metric": "l1", "distance": 1}'])
def test_a_threshold_of_another_make_is_taken_again(index: Index, text: str) -> None:
    """Also: an index of before, or of another version, opens as ever."""
    first = index.calibrate()
    index.close()
    with sqlite3.connect(index.path / "index.sqlite") as sql:
        assert sql.execute("SELECT COUNT(*) FROM meta WHERE key LIKE 'threshold%'").fetchone() == (
            1,
        )
        sql.execute("UPDATE meta SET value = ? WHERE key = 'threshold l2'", (text,))
        sql.execute("INSERT INTO meta VALUES ('of a later version', '1')")
    sql.close()
    with Index.open(index.path) as reader:
        assert reader.info()["thresholds"] == {}
        assert reader.threshold() == first


def test_threads_take_it_once(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    real = no_match.sampled
    started = threading.Barrier(8)

    def counted(*arguments: Any) -> np.ndarray:
        taken.append(1)
        return real(*arguments)

    monkeypatch.setattr(no_match, "sampled", counted)

    def search() -> Threshold | None:
        started.wait()
        index.search(rows_of(1), max_distance="auto", threads=1)
        return index.threshold()

    with ThreadPoolExecutor(8) as pool:
        assert len({task.result() for task in [pool.submit(search) for _ in range(8)]}) == 1
    assert taken == [1]


def test_rows_removed_meanwhile_do_no_harm(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threshold is that of the moment at which its making began."""
    wanted = defined(rows_of(60), "l2")
    real = no_match.sampled

    def meddling(*arguments: Any) -> np.ndarray:
        chosen = real(*arguments)
        index.remove([f"0-{row}" for row in range(50)])
        index.add(["late"], rows_of(1))
        return chosen

    monkeypatch.setattr(no_match, "sampled", meddling)
    with Index.open(index.path) as reader:
        found = reader.calibrate()
    assert (found.distance, found.live) == (wanted, 60)


def test_groups_follow_updates(tmp_path: Path) -> None:
    data = rows_of(20)
    with Index.create(tmp_path / "i", DIM) as index:
        ids = fill(index, data, ["a"] * 20)
        groups = [str(row % 3) for row in range(20)]
        index.update([Item(i, metadata={"sender": g}) for i, g in zip(ids, groups, strict=True)])
        assert index.calibrate(group="sender").distance == defined(data, "l2", groups=groups)


# The command line


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture
def vsearch(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command in this process: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return run


@pytest.fixture
def photos_index(tmp_path: Path, model: Path) -> Path:
    """Twelve pictures of noise, each beside another that is almost it; one that is like none."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = []
    for number in range(12):
        pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
        for copy in "ab":
            names.append(f"{number:02}{copy}.png")
            Image.fromarray(pixels ^ rng.integers(0, 8, pixels.shape, np.uint8)).save(
                folder / names[-1]
            )
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / "stranger.png")
    embedder = Embedder(model)
    with Index.create(
        tmp_path / "i", embedder.dim, model_id=embedder.model_id, model=embedder.description
    ) as index:
        files = [str(folder / name) for name in names]
        items = [
            Item(name, path=file, metadata={"copy": name[2], "item": name[:2]})
            for name, file in zip(names, files, strict=True)
        ]
        index.add(names, embedder.embed(files), items)
    return tmp_path / "i"


def test_search_says_no_match(vsearch: Any, photos_index: Path, tmp_path: Path) -> None:
    known, stranger = tmp_path / "pictures" / "03a.png", tmp_path / "stranger.png"
    page = tmp_path / "page.html"
    arguments = ["search", photos_index, known, stranger, "--no-match", "--metric", "all"]
    assert "none taken yet" in vsearch("info", photos_index)[1]
    code, text, err = vsearch(*arguments, "--html", page)
    assert code == 0
    assert "are kept there" in err
    with Index.open(photos_index) as index:
        kept = {metric: index.info()["thresholds"][metric] for metric in METRICS}
        words = {metric: str(index.threshold(metric)) for metric in METRICS}
    assert text.count("03a.png") == 2 * 3
    for metric in METRICS:
        assert f"no match: nothing within {words[metric]}" in text
        assert f"match within  {words[metric]}" in vsearch("info", photos_index)[1]
    html = page.read_text()
    assert html.count("No match: nothing within") == 3
    assert html.count("<dt>match within</dt>") == 3

    code, out, err = vsearch(*arguments, "--json")
    assert "are kept there" not in err
    results = json.loads(out)
    assert [result["match"] for result in results] == [True] * 3 + [False] * 3
    assert [result["hits"] for result in results[3:]] == [[]] * 3
    for result in results:
        wanted = dict(kept[result["metric"]])
        del wanted["changes"]
        assert result["threshold"] == wanted
        limit = wanted["distance"]
        assert all(hit["distance"] <= limit for hit in result["hits"])

    _, out, _ = vsearch(*arguments, "--csv")
    table = list(csv.DictReader(io.StringIO(out)))
    assert {row["match"] for row in table if row["query"] == str(known)} == {"match"}
    lost = [row for row in table if row["query"] == str(stranger)]
    assert [(row["metric"], row["rank"], row["id"], row["match"]) for row in lost] == [
        (metric, "", "", "no match") for metric in METRICS
    ]
    assert [float(row["threshold"]) for row in lost] == [kept[m]["distance"] for m in METRICS]

    same = vsearch("search", photos_index, stranger, "--max-distance", "auto", "--where", "copy=a")
    assert "no match: nothing within l2" in same[1]
    plain = vsearch("search", photos_index, stranger, "--max-distance", "0", "--json")
    assert json.loads(plain[1])[0].keys() == {"query", "box", "metric", "hits"}


def test_calibrate(vsearch: Any, photos_index: Path) -> None:
    code, out, _ = vsearch("calibrate", photos_index, "--group", "item", "--quantile", "0.5")
    assert code == 0
    assert out.count("50% of 24 items have their nearest of another item within it") == 3
    code, out, _ = vsearch("calibrate", photos_index, "--metric", "l1", "--sample", "7", "--json")
    assert code == 0
    [made] = json.loads(out)
    assert (made["metric"], made["measured"], made["group"]) == ("l1", 7, None)
    with Index.open(photos_index, mode="rw") as index:
        assert index.info()["thresholds"]["l1"]["sample"] == 7
        assert index.info()["thresholds"]["l2"]["group"] == "item"
        index.remove(["00a.png"])
    assert "; 1 added or removed since" in vsearch("info", photos_index)[1]
    assert vsearch("calibrate", photos_index, "--sample", "all")[0] == 0


def test_a_search_beside_a_writer_goes_by_its_own(
    vsearch: Any, photos_index: Path, tmp_path: Path
) -> None:
    arguments = ["search", photos_index, tmp_path / "stranger.png", "--no-match"]
    with Index.open(photos_index, mode="rw"):
        code, out, err = vsearch(*arguments)
    assert code == 0
    assert "no match: nothing within l2" in out
    assert "for this search alone" in err and "being written to" in err
    assert "none taken yet" in vsearch("info", photos_index)[1]


def test_an_empty_index_has_no_match(vsearch: Any, tmp_path: Path, model: Path) -> None:
    Image.new("RGB", (40, 40), "teal").save(tmp_path / "a.png")
    embedder = Embedder(model)
    Index.create(tmp_path / "i", embedder.dim, model_id=embedder.model_id).close()
    arguments = ["search", tmp_path / "i", tmp_path / "a.png", "--model", model, "--no-match"]
    assert "no match: the index is empty" in vsearch(*arguments)[1]
    [result] = json.loads(vsearch(*arguments, "--json")[1])
    assert (result["match"], result["threshold"]) == (False, None)
    code, out, err = vsearch("calibrate", tmp_path / "i")
    assert (code, out) == (1, "")
    assert "holds 0 items" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "{index}", "x.png", "--no-match", "--max-distance", "1"], "exclude"),
        (
            ["search", "{index}", "x.png", "--max-distance", "far"],
            "'far' is neither a distance from 0 on nor auto",
        ),
        (
            ["search", "{index}", "x.png", "--max-distance", "-1"],
            "'-1' is neither a distance from 0 on nor auto",
        ),
        (["calibrate", "{index}", "--sample", "0"], "--sample"),
        (["calibrate", "{index}", "--quantile", "0"], "--quantile"),
    ],
)
def test_wrong_command_lines(
    vsearch: Any, tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, out, err = vsearch(*(part.format(index=tmp_path) for part in arguments))
    assert (code, out) == (2, "")
    assert words in err


# The benchmark of false accepts


def test_false_accepts_are_what_they_are_defined_as(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(2)
    lines = ["path,category,group"]
    categories = [str(number) for number in rng.choice(["hat", "shoe", "sock"], 40)]
    groups = [str(number) for number in rng.integers(0, 9, 40)]
    for number, (category, group) in enumerate(zip(categories, groups, strict=True)):
        low = 40 * (category == "hat")
        pixels = rng.integers(low, 200 + low, (8, 8, 3), np.uint8).repeat(5, 0).repeat(5, 1)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{category},{group}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "no_match.py"
    found = importlib.util.spec_from_file_location("benchmark_of_no_match", script)
    assert found is not None and found.loader is not None
    benchmark = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, found.name, benchmark)
    found.loader.exec_module(benchmark)
    arguments = [str(tmp_path), "--csv", "list.csv", "--model", str(model), "--min-pictures", "2"]
    arguments += ["--metric", "l1", "--json", str(tmp_path / "figures.json")]
    monkeypatch.setattr(sys, "argv", ["no_match.py", *arguments, "--foreign", str(tmp_path)])
    benchmark.main()
    assert "| other groups | l1 | 0.95 |" in capsys.readouterr().out

    rows = Embedder(model).embed([tmp_path / f"{number}.png" for number in range(40)])
    rows = rows.astype(np.float64)
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["facts"]["foreign"]["accepted"].keys() == {"l1"}
    for outcome in written["outcomes"]:
        hits = []
        for held in ("hat", "shoe", "sock"):

            def nearest(row: int, held: str = held, by_group: bool = outcome["groups"]) -> float:
                return min(
                    np.abs(rows[row] - rows[other]).sum()
                    for other in range(40)
                    if categories[other] != held and other != row
                    and not (by_group and groups[other] == groups[row])
                )  # fmt: skip

            within = [nearest(row) for row in range(40) if categories[row] != held]
            limit = np.quantile(within, outcome["quantile"], method="inverted_cdf")
            own = [
                nearest(row) <= limit * (1 + 1e-9) for row in range(40) if categories[row] == held
            ]
            assert outcome["categories"][held][2] == pytest.approx(np.mean(own))
            hits += own
        assert outcome["false_accepts"] == pytest.approx(np.mean(hits))
        assert outcome["low"] <= outcome["false_accepts"] <= outcome["high"]
    assert len(written["outcomes"]) == 2 * 5
