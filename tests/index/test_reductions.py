"""Index: its rows reduced on disk, searches of them, and what becomes of them in every change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_data import NEVER, REDUCED, cut_as
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from index_changes import changed
from store_data import tampered

from vsearch_fast.index import Index, reducing, stored_sketches
from vsearch_fast.index.finder import kinds_of
from vsearch_fast.kernels import reference
from vsearch_fast.search.tiling import Tiling

DIM = 20
SMALL = Tiling(
    chunk_rows=32, inline_bytes=0, sketch_rows=32, hopeless=NEVER, reduced_left=NEVER, **REDUCED
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Rows are reduced from the first page on; blocks of 32 rows are sketched."""
    monkeypatch.setattr(stored_sketches, "BLOCK_ROWS", 32)
    with cut_as(SMALL):
        yield


def rows_of(count: int, seed: int = 0) -> np.ndarray:
    """Rows of few directions, whose neighbours are near; few values, so that some are equal."""
    rng = np.random.default_rng(seed)
    turn = np.random.default_rng(99).integers(-2, 3, (4, DIM))
    return (rng.integers(-4, 5, (count, 4)) @ turn + rng.integers(0, 2, (count, DIM))).astype(
        np.float32
    )


class Truth:
    """What an index holds, in the order in which it was added."""

    def __init__(self) -> None:
        self.rows: dict[str, np.ndarray] = {}

    def agrees(self, index: Index, dtype: str, seed: int) -> None:
        """Hits of all metrics and strategies, filtered and not, equal those of the definition."""
        ids = list(self.rows)
        assert [item.id for item in index] == ids
        if not ids:
            return
        data = np.stack(list(self.rows.values())).astype(dtype)
        queries = rows_of(3, seed) * np.float32(1.01)
        odd = np.array([int(id_) % 2 == 1 for id_ in ids])
        for metric in ("l2", "l1"):
            for where, mask in ((None, None), ({"odd": True}, odd)):
                if mask is not None and not mask.any():
                    continue
                live = len(ids) if mask is None else int(mask.sum())
                for k in (1, 5, live):
                    distances, found = reference.topk(queries, data, k, metric=metric, mask=mask)
                    hits, proof = index.search(
                        queries, k, metric, where, strategy="sketch", explain=True
                    )
                    assert [[h.distance for h in line] for line in hits] == distances.tolist()
                    assert [[h.id for h in line] for line in hits] == [
                        [ids[row] for row in line] for line in found.tolist()
                    ]
                    assert proof.reduced + proof.sketched + proof.scanned == 3 * live
                    if where is None and not index.info()["removed"]:
                        facts = index.info()["reductions"].get(metric, {"rows": 0})
                        assert proof.reduced == 3 * facts["rows"]


def put(index: Index, truth: Truth, ids: list[str], seed: int, replace_: bool = False) -> None:
    rows = rows_of(len(ids), seed)
    index.add(ids, rows, [{"odd": int(id_) % 2 == 1} for id_ in ids], replace=replace_)
    for id_, row in zip(ids, rows, strict=True):
        truth.rows.pop(id_, None)
        truth.rows[id_] = row


STEPS = st.sampled_from(
    ["add 1", "add 40", "add 90", "remove", "replace", "compact", "optimize", "join 37",
     "join 1000", "reopen", "undone"]
)  # fmt: skip


@given(
    steps=st.lists(STEPS, min_size=2, max_size=7),
    segment_rows=st.sampled_from([16, 50, 64, 1000]),
    dtype=st.sampled_from(["float32", "float16"]),
    fine=st.booleans(),
)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_mix_of_changes_equals_the_definition(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[str],
    segment_rows: int,
    dtype: str,
    fine: bool,
) -> None:
    folder = tmp_path_factory.mktemp("reduced") / "index"
    truth, number = Truth(), 0
    cut = SMALL if fine else replace(SMALL, reduced_shapes=(("l2", 1, 4, 0), ("l1", 1, 6, 0)))
    with cut_as(cut):
        index = Index.create(folder, DIM, segment_rows=segment_rows, dtype=dtype)
        for step, what in enumerate(["add 90", *steps]):
            index, number = changed(index, folder, truth, put, what, step, number)
            truth.agrees(index, dtype, step)
            with Index.open(folder, checksums="always") as reader:
                truth.agrees(reader, dtype, step)
        assert index.verify().sound
        index.close()


def view_of(index: Index, metric: str) -> Any:
    return index._store.view(None, kinds_of(metric), "", metric)


def test_what_is_reduced(tmp_path: Path) -> None:
    """Pages of sketched blocks, of segments whose last page is short; views hand over the same
    objects for as long as nothing changes."""
    with Index.create(tmp_path / "i", DIM, segment_rows=90) as index:
        index.add([f"{i}" for i in range(31)], rows_of(31))
        assert index.info()["reductions"] == {}
        index.add([f"{i}" for i in range(31, 200)], rows_of(169, 1))
        facts = index.info()["reductions"]
        # 90 rows have 5 pages, and of the last segment's 20 none are sketched.
        assert facts["l2"]["rows"] == facts["l1"]["rows"] == 80 + 80
        assert (facts["l2"]["bytes"], facts["l2"]["ids"], facts["l2"]["pays"]) == (48, [1], True)
        assert 0 < facts["l2"]["left"][1] <= facts["l2"]["left"][0] <= 1
        for metric in ("l2", "l1"):
            sketches = view_of(index, metric).reading.sketched()
            assert all(a is b for a, b in zip(
                sketches, view_of(index, metric).reading.sketched(), strict=True
            ))  # fmt: skip
            [one, two, none] = [sketch.reduced[metric] for sketch in sketches]
            assert [(r.start, len(r)) for r in [*one, *two]] == [(0, 80), (0, 80)]
            assert none == [] and one[0].reduction is two[0].reduction
            stored = np.load(tmp_path / "i" / "vectors-00001.npy")[:80]
            for part in (slice(0, 32), slice(32, 64), slice(64, 80)):
                coarse, fine = reducing.reduced(one[0].reduction, stored[part])
                assert (two[0].coarse[part] == coarse).all() and (two[0].fine[part] == fine).all()
        index.remove(["3"])
        again = view_of(index, "l1").reading.sketched()
        assert again[0].reduced["l1"][0].reduction is one[0].reduction
    names = {path.name.split("-")[0] for path in (tmp_path / "i").glob("*.npy")}
    assert names >= {"coarse", "fine", "sumscoarse", "sumsfine"}


def test_where_it_would_not_pay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and tried again when there are four times as many rows."""
    learnt: list[int] = []
    draft = reducing.learning.drafted

    def drafted(sample: np.ndarray, metric: str) -> Any:
        learnt.append(len(sample))
        return draft(sample, metric)

    monkeypatch.setattr(reducing.learning, "drafted", drafted)
    with Index.create(tmp_path / "i", DIM, segment_rows=1000) as index:
        with cut_as(replace(SMALL, reduced_worth=0.0)):
            index.add([f"{i}" for i in range(40)], rows_of(40))
            facts = index.info()["reductions"]
            assert {m: (f["rows"], f["pays"]) for m, f in facts.items()} == {
                "l2": (0, False), "l1": (0, False),
            }  # fmt: skip
            index.add([f"{i}" for i in range(40, 127)], rows_of(87))
        assert (learnt, index.info()["reductions"]["l2"]["rows"]) == ([40, 40], 0)
        index.add(["127"], rows_of(1))
        assert (learnt, index.info()["reductions"]["l2"]["rows"]) == ([40, 40, 128, 128], 128)
        with cut_as(replace(SMALL, reduced_worth=0.0)):
            assert [(o.pays, o.reduced, o.before) for o in index.optimize()] == [
                (False, 0, 128), (False, 0, 128),
            ]  # fmt: skip
        assert not list((tmp_path / "i").glob("*coarse*"))
        assert index.verify().sound


def test_what_has_grown_is_reduced_by_another(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", DIM, segment_rows=100) as index:
        for start in range(0, 640, 64):
            index.add([f"{start + i}" for i in range(64)], rows_of(64, start))
        assert index.info()["reductions"]["l2"]["ids"] == [1, 3]
        runs = [part.runs for part in index._store._snapshot.reduced["l2"].parts]
        assert len({run.id for part in runs for run in part}) == 2
        made = index.optimize()
        assert [(o.metric, o.rows, o.pays) for o in made] == [("l2", 640, True), ("l1", 640, True)]
        assert len(index.info()["reductions"]["l2"]["ids"]) == 1
        names = {path.name.split("-")[0] for path in (tmp_path / "i").glob("*.npy")}
        assert {"coarseb", "fineb", "sumscoarseb"} <= names and "coarse" not in names


def test_an_older_index_gains_them_with_its_next_addition(tmp_path: Path) -> None:
    truth, done = Truth(), []
    with (
        cut_as(replace(SMALL, reduced_shapes=())),
        Index.create(tmp_path / "i", DIM, segment_rows=100) as index,
    ):
        put(index, truth, [f"{i}" for i in range(230)], 1)
        assert index.info()["reductions"] == {}
    with Index.open(tmp_path / "i", mode="rw") as index, Index.open(tmp_path / "i") as reader:
        truth.agrees(reader, "float32", 5)
        index.add(["230"], rows_of(1, 7), [{"odd": False}], progress=lambda *of: done.append(of))
        truth.rows["230"] = rows_of(1, 7)[0]
        assert index.info()["reductions"]["l1"]["rows"] == 96 + 96
        assert done[-1] == (200, 200)
        truth.agrees(reader, "float32", 5)


def test_a_version_that_knows_nothing_of_them(tmp_path: Path, monkeypatch: Any) -> None:
    """It adds and compacts; then this one goes on."""
    truth = Truth()
    with Index.create(tmp_path / "i", DIM, segment_rows=100) as index:
        put(index, truth, [f"{i}" for i in range(150)], 1)
    with monkeypatch.context() as patch:
        patch.setattr(reducing, "plans", lambda *of, **more: [])
        with Index.open(tmp_path / "i", mode="rw") as index:
            put(index, truth, [f"{i}" for i in range(150, 300)], 2)
            truth.agrees(index, "float32", 3)
            index.remove(["5"])
            del truth.rows["5"]
            index.compact()
            truth.agrees(index, "float32", 3)
    with Index.open(tmp_path / "i", mode="rw") as index:
        put(index, truth, [f"{i}" for i in range(300, 310)], 4)
        assert index.info()["reductions"]["l2"]["rows"] == 96 * 3
        truth.agrees(index, "float32", 3)
        assert index.verify().sound


def test_codes_alone_and_indexes_without_sketches(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", DIM) as index:
        index.add([f"{i}" for i in range(20)], rows_of(20))
    tampered(
        tmp_path / "i",
        "UPDATE kinds SET width = 1 WHERE name = 'sketches'",
    )
    with Index.open(tmp_path / "i", mode="rw") as index:
        index.add([f"{i}" for i in range(20, 99)], rows_of(79))
        assert index.info()["reductions"] == {} == {m.metric: m for m in index.optimize()}


def test_views(tmp_path: Path) -> None:
    rows = rows_of(240, 3).reshape(120, 2, DIM)
    with Index.create(tmp_path / "i", DIM, segment_rows=50, views="whole,box") as index:
        index.add([f"{i}" for i in range(120)], rows)
        facts = index.info()["reductions"]
        assert facts["l2"]["rows"] == 96 + 96
        queries = rows_of(2, 8)
        for metric in ("l2", "l1"):
            hits, proof = index.search(queries, 9, metric, strategy="sketch", explain=True)
            assert proof.reduced == 2 * (96 + 96)
            flat = rows.reshape(-1, DIM)
            distances, found = reference.topk(queries, flat, 240, metric=metric)
            for line, near, at in zip(hits, distances, found // 2, strict=True):
                first = dict(zip(at[::-1].tolist(), near[::-1].tolist(), strict=True))
                best = sorted((d, i) for i, d in first.items())[:9]
                assert [(hit.distance, int(hit.id)) for hit in line] == best
        index.optimize()
        assert index.search(queries, 9, "l1", strategy="sketch") == hits
        assert index.verify().sound
