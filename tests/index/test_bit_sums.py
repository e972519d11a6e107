"""Index: sums of groups of the codes' bits on disk, searches by them, and what becomes of them in
every change and damage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_data import NEVER, cut_as
from damage import flip_row
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from index_changes import changed
from store_data import tampered

from vsearch_fast.errors import DamagedError
from vsearch_fast.index import Index, reducing, stored_reductions, stored_sketches
from vsearch_fast.kernels import reference
from vsearch_fast.search.cpu import summed
from vsearch_fast.search.tiling import Tiling

DIM, ROWS = 72, 230
SMALL = Tiling(
    chunk_rows=32, inline_bytes=0, summed_left=NEVER, summed_live=0.0, summed_least=0,
    summed_bytes=1, reduce_rows=1, reduced_worth=np.inf, reduced_shapes=(),
)  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Codes have sums from the first row on, and are searched by them."""
    monkeypatch.setattr(stored_sketches, "BLOCK_ROWS", 32)
    monkeypatch.setattr(summed, "_MOST", 0)
    with cut_as(SMALL):
        yield


def rows_of(count: int, seed: int = 0) -> np.ndarray:
    """Rows of few causes, so that signs go together; some codes are equal."""
    rng = np.random.default_rng(seed)
    turn = np.random.default_rng(99).standard_normal((5, DIM))
    rows = rng.standard_normal((count, 5)) @ turn + 0.3 * rng.standard_normal((count, DIM))
    rows[count // 2 :: 7] = rows[0]
    return rows.astype(np.float32)


QUERIES = rows_of(3, 77)


class Truth:
    """What an index holds, in the order in which it was added."""

    def __init__(self) -> None:
        self.rows: dict[str, np.ndarray] = {}

    def agrees(self, index: Index, seed: int) -> None:
        """Hits, filtered and not, of one query and of several, equal those of the definition."""
        ids = list(self.rows)
        if not ids:
            return
        codes = np.packbits(np.stack(list(self.rows.values())) > 0, axis=1)
        queries = np.packbits(rows_of(3, seed) > 0, axis=1)
        odd = np.array([int(id_) % 2 == 1 for id_ in ids])
        for where, mask in ((None, None), ({"odd": True}, odd)):
            if mask is not None and not mask.any():
                continue
            live = len(ids) if mask is None else int(mask.sum())
            for some, k in ((queries, 5), (queries[:1], 1), (queries[:1], live)):
                distances, found = reference.topk(some, codes, k, metric="hamming", mask=mask)
                hits, proof = index.search(some, k, "hamming", where, explain=True)
                assert [[h.distance for h in line] for line in hits] == distances.tolist()
                assert [[h.id for h in line] for line in hits] == [
                    [ids[row] for row in line] for line in found.tolist()
                ]
                assert proof.reduced + proof.scanned == len(some) * live
                facts = index.info()["reductions"].get("hamming", {"rows": 0})
                if where is None and facts["rows"] == index.info()["rows"]:
                    assert (proof.strategy, proof.scanned) == ("sums", 0)


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
    steps=st.lists(STEPS, min_size=2, max_size=7), segment_rows=st.sampled_from([16, 50, 64, 1000])
)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_mix_of_changes_equals_the_definition(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], segment_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("sums") / "index"
    truth, number = Truth(), 0
    index = Index.create(folder, DIM, segment_rows=segment_rows)
    for step, what in enumerate(["add 90", *steps]):
        index, number = changed(index, folder, truth, put, what, step, number)
        truth.agrees(index, step)
        with Index.open(folder, checksums="always") as reader:
            truth.agrees(reader, step)
        # All codes have sums, be their rows sketched or not.
        assert index.info()["reductions"]["hamming"]["rows"] == index.info()["rows"]
    assert index.verify().sound
    index.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "i", DIM, segment_rows=100) as index:
        index.add([f"{i}" for i in range(ROWS)], rows_of(ROWS))
        index.remove(["7", "120"])
    return tmp_path / "i"


def answers(index: Index) -> list[Any]:
    return [index.search(some, k, "hamming") for some in (QUERIES, QUERIES[0]) for k in (1, 9, 400)]


def test_what_is_stored_and_told(folder: Path) -> None:
    with Index.open(folder) as index:
        facts = index.info()["reductions"]
        assert list(facts) == ["hamming"]
        facts = facts["hamming"]
        assert (facts["rows"], facts["groups"], facts["bytes"]) == (ROWS, 32, 32)
        assert (facts["ids"], facts["pays"], facts["learnt"]) == ([1], True, ROWS)
        assert 0 <= facts["left"][1] <= facts["left"][0] <= 1
        codes = index._store.view(None, ("codes",), "", "hamming")
        parts = codes.reading.summed()
        again = index._store.view(None, ("codes",), "", "hamming").reading.summed()
        assert parts is not None and again is not None
        assert all(a is b for a, b in zip(parts, again, strict=True))
        for part, segment in zip(parts, codes.reading.arrays("codes"), strict=True):
            [run] = part
            np.testing.assert_array_equal(run.sums, run.groups.sums(segment))
        assert index._store.view(None, ("codes",), "").reading.summed() is None
        hits, proof = index.search(QUERIES, 5, "hamming", strategy="scan", explain=True)
        assert proof.reduced == 0 and hits == index.search(QUERIES, 5, "hamming")
        assert len(index.search(QUERIES[:1], within=DIM, metric="hamming")[0]) == ROWS - 2


def test_where_it_would_not_pay(tmp_path: Path) -> None:
    """Nothing is stored; it is tried again when there are four times as many rows."""
    with Index.create(tmp_path / "i", DIM, segment_rows=1000) as index:
        with cut_as(replace(SMALL, reduced_worth=0.0)):
            index.add([f"{i}" for i in range(40)], rows_of(40))
            facts = index.info()["reductions"]["hamming"]
            assert (facts["rows"], facts["pays"]) == (0, False)
            assert index.search(QUERIES, 3, "hamming", explain=True)[1].strategy == "scan"
        index.add([f"{i}" for i in range(40, 159)], rows_of(119))
        assert index.info()["reductions"]["hamming"]["rows"] == 0
        index.add(["159"], rows_of(1))
        assert index.info()["reductions"]["hamming"]["rows"] == 160
        with cut_as(replace(SMALL, reduced_worth=0.0)):
            assert [(o.pays, o.reduced, o.before) for o in index.optimize()] == [(False, 0, 160)]
        assert not list((tmp_path / "i").glob("*bitsums*"))
        assert index.verify().sound


def test_what_has_grown_is_summed_by_other_groups(tmp_path: Path) -> None:
    truth = Truth()
    with Index.create(tmp_path / "i", DIM, segment_rows=100) as index:
        for start in range(0, 640, 64):
            put(index, truth, [f"{start + i}" for i in range(64)], start)
        assert index.info()["reductions"]["hamming"]["ids"] == [1, 2]
        truth.agrees(index, 5)
        index.optimize()
        assert index.info()["reductions"]["hamming"]["ids"] == [3]
        truth.agrees(index, 5)
        names = {path.name.split("-")[0] for path in (tmp_path / "i").glob("*.npy")}
        assert "bitsumsb" in names and "bitsums" not in names


def test_older_versions_and_this_one_by_turns(tmp_path: Path, monkeypatch: Any) -> None:
    """One that knows nothing of sums makes an index, adds and compacts; then this one goes on."""
    truth = Truth()
    with monkeypatch.context() as patch:
        patch.setattr(reducing, "plans", lambda *of, **more: [])
        with Index.create(tmp_path / "i", DIM, segment_rows=100) as index:
            put(index, truth, [f"{i}" for i in range(150)], 1)
            assert index.info()["reductions"] == {}
    with Index.open(tmp_path / "i", mode="rw") as index, Index.open(tmp_path / "i") as reader:
        put(index, truth, ["150"], 2)
        assert index.info()["reductions"]["hamming"]["rows"] == 151
        truth.agrees(reader, 3)
    with monkeypatch.context() as patch:
        patch.setattr(reducing, "plans", lambda *of, **more: [])
        with Index.open(tmp_path / "i", mode="rw") as index:
            put(index, truth, [f"{i}" for i in range(151, 280)], 2)
            assert index.info()["reductions"]["hamming"]["rows"] == 151
            truth.agrees(index, 3)
            index.remove(["5"])
            del truth.rows["5"]
            index.compact()
            truth.agrees(index, 3)
    with Index.open(tmp_path / "i", mode="rw") as index:
        put(index, truth, [f"{i}" for i in range(300, 310)], 4)
        assert index.info()["reductions"]["hamming"]["rows"] == 289
        truth.agrees(index, 3)
        assert index.verify().sound


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "sums": (lambda f: flip_row(f, "bitsums-00001.npy", 40), r"bitsums-00001.npy is damaged"),
    "missing": (lambda f: (f / "bitsums-00002.npy").unlink(), r"bitsums-00002.npy is missing"),
    "cut": (
        lambda f: os.truncate(f / "bitsums-00001.npy", 500),
        r"bitsums-00001.npy has 500 bytes",
    ),
    "codes": (lambda f: flip_row(f, "codes-00001.npy", 40), r"codes-00001.npy is damaged"),
    "data": (
        lambda f: tampered(f, "UPDATE reductions SET data = zeroblob(900)"),
        r"index.sqlite is damaged \(reduction 1: checksum\)",
    ),
    "gone": (
        lambda f: tampered(f, "DELETE FROM reductions"),
        r"index.sqlite is damaged \(reduction 1: it is missing\)",
    ),
    "runs": (
        lambda f: tampered(f, "UPDATE segments SET rows = 99 WHERE kind = 'bitsums'"),
        r"index.sqlite is damaged \(what is said of bitsums segment 0: checksum\)",
    ),
    "checksums": (
        lambda f: tampered(f, "UPDATE checksums SET sums = zeroblob(8) WHERE kind = 'bitsums'"),
        r"index.sqlite is damaged \(the checksums of block 0 of bitsums segment",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_named_and_mended(folder: Path, name: str) -> None:
    with Index.open(folder) as index:
        right = answers(index)
    damage, words = DAMAGES[name]
    damage(folder)
    with pytest.raises(DamagedError, match=words), Index.open(folder) as index:
        answers(index)
    with Index.open(folder, damaged=True) as index:
        assert not index.verify().sound
    with Index.open(folder, mode="rw", damaged=True) as index:
        done = index.repair()
        assert (done.before.sound, done.after.sound) == (False, True)
        assert (done.embedded, done.dropped) == ((), ())
    with Index.open(folder, mode="rw") as index:
        assert answers(index) == right
        assert index.info()["reductions"]["hamming"]["rows"] == ROWS
        index.add([f"{i}" for i in range(ROWS, ROWS + 70)], rows_of(70, 4))
        assert index.verify().sound
        assert index.info()["reductions"]["hamming"]["rows"] == ROWS + 70


def test_sums_of_codes_that_were_derived_are_made_anew(folder: Path) -> None:
    """Codes that a user gave for some rows are lost with their checksums: what is derived in their
    place has other sums."""
    flip_row(folder, "codes-00000.npy", 3)
    tampered(folder, "UPDATE checksums SET sums = zeroblob(8) WHERE kind = 'codes'")
    with Index.open(folder, mode="rw", damaged=True) as index:
        index.repair()
        parts = index._store.view(None, ("codes",), "", "hamming").reading
        made = parts.summed()
        assert made is not None
        for part, segment in zip(made, parts.arrays("codes"), strict=True):
            np.testing.assert_array_equal(part[0].sums, part[0].groups.sums(segment))
        assert index.verify().sound


def test_readers_go_on_while_it_is_optimised(folder: Path, tmp_path: Path) -> None:
    with (
        Index.open(folder, mode="rw") as index,
        Index.open(folder) as reader,
        reader.snapshot() as held,
    ):
        right = answers(reader)
        for _ in range(2):
            assert [made.metric for made in index.optimize()] == ["hamming"]
            assert answers(reader) == answers(index) == answers(held) == right
        index.backup(tmp_path / "copy")
        index.compact()
        assert answers(reader) == right
    with Index.open(tmp_path / "copy") as copy:
        assert answers(copy) == right
        assert copy.info()["reductions"]["hamming"]["rows"] == ROWS


def test_sums_of_another_layout_are_left_alone(folder: Path, monkeypatch: Any) -> None:
    with Index.open(folder) as index:
        right = answers(index)
    other = replace(stored_reductions.WAYS["hamming"], layout=99)
    monkeypatch.setitem(stored_reductions.WAYS, "hamming", other)
    with Index.open(folder, mode="rw") as index:
        assert answers(index) == right
        assert index.search(QUERIES, 9, "hamming", explain=True)[1].reduced == 0
        assert index.verify().sound
        index.add(["new"], rows_of(1))
        assert [made.reduced for made in index.optimize()] == [ROWS + 1]


def test_views(tmp_path: Path) -> None:
    rows = rows_of(240, 3).reshape(120, 2, DIM)
    with Index.create(tmp_path / "i", DIM, segment_rows=50, views="whole,box") as index:
        index.add([f"{i}" for i in range(120)], rows)
        assert index.info()["reductions"]["hamming"]["rows"] == 240
        hits, proof = index.search(QUERIES, 9, "hamming", explain=True)
        assert proof.reduced == 3 * 240
        codes = np.packbits(rows.reshape(-1, DIM) > 0, axis=1)
        distances, found = reference.topk(
            np.packbits(QUERIES > 0, axis=1), codes, 240, metric="hamming"
        )
        for line, near, at in zip(hits, distances, found // 2, strict=True):
            first = dict(zip(at[::-1].tolist(), near[::-1].tolist(), strict=True))
            best = sorted((d, i) for i, d in first.items())[:9]
            assert [(hit.distance, int(hit.id)) for hit in line] == best
