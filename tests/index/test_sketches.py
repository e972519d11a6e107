"""Index: its sketches on disk, explained searches, and float16 vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from store_data import tampered

from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Index, stored_sketches
from vsearch_fast.index.finder import kinds_of
from vsearch_fast.kernels import reference
from vsearch_fast.search import sketches

DIM = 20


def test_growing_by_blocks_sketches_what_is_complete(tmp_path: Path, monkeypatch) -> None:
    """Blocks of 8 rows in segments of 20: whole ones, a short one at each segment's end."""
    monkeypatch.setattr(stored_sketches, "BLOCK_ROWS", 8)
    rng = np.random.default_rng(3)
    rows = np.maximum(rng.standard_normal((70, DIM)), 0).astype(np.float32)
    rows[30:] *= 50  # the first parameters do not serve these
    queries = rows[[3, 40]] * np.float32(1.01)
    done = 0
    with Index.create(tmp_path / "i", DIM, segment_rows=20) as index:
        for count in (1, 6, 1, 0, 5, 20, 3, 17, 17):
            index.add([f"{i}" for i in range(done, done + count)], rows[done : done + count])
            done += count
            segment, offset = divmod(done, 20)
            covered = segment * 20 + offset // 8 * 8
            for metric in ("l1", "l2"):
                hits, proof = index.search(queries, 7, metric, strategy="sketch", explain=True)
                assert hits == index.search(queries, 7, metric, strategy="scan")
                assert proof.sketched == 2 * covered
                assert proof.scanned == 2 * (done - covered)
        runs = {
            (r.lo, r.step)
            for c in index._store.view(None, kinds_of("l2"), "").snapshot.covered
            for r in c.runs
        }
        assert len(runs) > 1
    with Index.open(tmp_path / "i") as index:
        made = index._store.view(None, kinds_of("l2"), "").reading.sketched()
        assert made is not None
        [sketch, *_] = made
        for first, after in zip(sketch.runs, [*sketch.runs[1:], None], strict=True):
            part = slice(first.start, after.start if after else len(sketch))
            data, facts = sketch.bytes[part].copy(), sketch.facts[part].copy()
            assert sketches.sketch_block(rows[part], first.lo, first.step, data, facts)
            assert (data == sketch.bytes[part]).all() and (facts == sketch.facts[part]).all()


def test_an_index_from_before_there_were_sketches_gets_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((50, DIM)).astype(np.float32)
    with Index.create(tmp_path / "i", DIM, segment_rows=20) as index:
        index.add([f"{i}" for i in range(45)], rows[:45])
    tampered(
        tmp_path / "i",
        "DELETE FROM kinds WHERE name IN ('sketches', 'facts')",
        "DELETE FROM segments WHERE kind IN ('sketches', 'facts')",
        "DELETE FROM checksums WHERE kind IN ('sketches', 'facts')",
    )
    for path in [*(tmp_path / "i").glob("sketches-*"), *(tmp_path / "i").glob("facts-*")]:
        path.unlink()
    with Index.open(tmp_path / "i") as index:
        hits, proof = index.search(rows[:2], 5, strategy="sketch", explain=True)
        assert proof.strategy == "scan"
    with Index.open(tmp_path / "i", mode="rw") as index:
        index.add([f"{i}" for i in range(45, 50)], rows[45:])
        again, proof = index.search(rows[:2], 5, strategy="sketch", explain=True)
        assert proof.sketched == 2 * 40
        assert [h.id for h in again[0]][:1] == [h.id for h in hits[0]][:1] == ["0"]


def test_explained_searches(tmp_path: Path) -> None:
    rows = np.random.default_rng(6).standard_normal((30, DIM)).astype(np.float32)
    with Index.create(tmp_path / "i", DIM, segment_rows=16) as index:
        empty, proof = index.search(rows[:2], 3, explain=True)
        assert (empty, proof.rows, proof.bytes_read) == ([[], []], 0, 0)
        index.add([f"{i}" for i in range(30)], rows, [{"odd": i % 2 == 1} for i in range(30)])
        index.remove(["3"])
        for metric in ("hamming", "l1", "l2"):
            for where, live in (({"odd": True}, 14), (None, 29)):
                hits, proof = index.search(rows[:2], 3, metric, where, explain=True)
                assert hits == index.search(rows[:2], 3, metric, where)
                assert (proof.metric, proof.queries, proof.rows) == (metric, 2, live)
                assert proof.scanned + proof.sketched == 2 * live
                assert proof.bytes_read > 0
        hits, proof = index.search(rows[:1], 3, where={"odd": "no such"}, explain=True)
        assert (hits, proof.rows, proof.bytes_read) == ([[]], 0, 0)


@pytest.mark.parametrize("strategy", ["scan", "sketch"])
def test_float16_is_exact_for_what_is_stored(tmp_path: Path, strategy: str) -> None:
    rng = np.random.default_rng(5)
    rows = np.maximum(rng.standard_normal((60, DIM)), 0).astype(np.float32)
    rows[7, 0] = 1e-9  # a positive number that float16 rounds to zero
    queries = rng.standard_normal((3, DIM)).astype(np.float32)
    with Index.create(tmp_path / "i", DIM, segment_rows=16, dtype="float16") as index:
        index.add([f"{i}" for i in range(60)], rows)
        stored = rows.astype(np.float16)
        assert index.features(["7"]).tolist() == stored[7:8].astype(np.float32).tolist()
        for metric in ("l1", "l2"):
            hits = index.search(queries, 5, metric, strategy=strategy)
            distances, ids = reference.topk(queries, stored, 5, metric)
            assert [[hit.distance for hit in line] for line in hits] == distances.tolist()
            assert [[int(hit.id) for hit in line] for line in hits] == ids.tolist()
        zeros = np.zeros((1, DIM), np.float32)
        bits = {int(h.id): h.distance for h in index.search(zeros, 60, "hamming")[0]}
        assert bits[7] == (stored[7] > 0).sum()  # codes, too, are of what is stored
        with pytest.raises(ArgumentError, match="in the range of float16"):
            index.add(["big"], np.full((1, DIM), 70000, np.float32))
        size = index.info()
    assert size["dtype"] == "float16"
    with Index.create(tmp_path / "i", DIM, exist_ok=True) as index:
        assert index.dtype == "float16"
    with pytest.raises(ArgumentError, match="not 20 float32"):
        Index.create(tmp_path / "i", DIM, dtype="float32", exist_ok=True)
    with pytest.raises(ArgumentError, match="dtype is 'int8'"):
        Index.create(tmp_path / "j", DIM, dtype="int8")
