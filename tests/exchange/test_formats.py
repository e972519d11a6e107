"""Files of other programs: what these programs make of ours, and ours of theirs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vsearch_fast import optional
from vsearch_fast.errors import ArgumentError, DatasetError, MissingDependencyError, StoreError
from vsearch_fast.exchange import formats
from vsearch_fast.index import Index, Item

DIM, ROWS = 6, 11


@pytest.fixture
def index(tmp_path: Path) -> Any:
    rows = np.random.default_rng(5).standard_normal((ROWS, DIM)).astype(np.float32)
    with Index.create(tmp_path / "index", DIM, model_id="m") as made:
        names = [f"n{n}" for n in range(ROWS)]
        items = [
            Item(name, f"/p/{name}", (1, 2, 3, 4), {"tags": ["a", "b"], "price": n + 0.5})
            for n, name in enumerate(names)
        ]
        made.add(names, rows, items)
        made.remove(["n3"])
        yield made


def convert(vsearch: Any, *words: object) -> tuple[int, str, str]:
    found: tuple[int, str, str] = vsearch("convert", *words, "--quiet")
    return found


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".feather", ".lance"])
def test_tables_hold_everything(vsearch: Any, index: Index, tmp_path: Path, ending: str) -> None:
    if ending == ".lance":
        pytest.importorskip("lance")
    file, again = tmp_path / f"out{ending}", tmp_path / "again"
    code, out, err = convert(vsearch, index.path, file)
    assert (code, out) == (0, f"{file} holds the 10 rows of {index.path}.\n"), err
    code, out, _ = convert(vsearch, file, again, "--json")
    assert (code, json.loads(out)) == (0, {"path": str(again), "rows": 10})
    with Index.open(again) as back:
        assert list(back) == list(index) and back.model_id == "m"
        ids = [item.id for item in index]
        assert np.array_equal(back.features(ids), index.features(ids))
        assert np.array_equal(back.codes(ids), index.codes(ids))


def test_vectors_of_numpy_have_their_list_beside_them(
    vsearch: Any, index: Index, tmp_path: Path
) -> None:
    file = tmp_path / "out.npy"
    assert convert(vsearch, index.path, file)[0] == 0
    ids = [item.id for item in index]
    assert np.array_equal(np.load(file), index.features(ids))
    assert np.load(file, mmap_mode="r").shape == (10, DIM)
    with (tmp_path / "out.csv").open(newline="") as listing:
        rows = list(csv.DictReader(listing))
    assert [row["id"] for row in rows] == ids
    assert rows[0]["tags"] == "a; b" and rows[0]["x2"] == "3" and rows[4]["price"] == "5.5"


def test_faiss_there_and_back(vsearch: Any, index: Index, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    file = tmp_path / "out.faiss"
    assert convert(vsearch, index.path, file)[0] == 0
    held = faiss.read_index(str(file))
    ids = [item.id for item in index]
    queries = index.features(ids[:3])
    _, places = held.search(queries, 2)
    hits = index.search(queries, 2)
    assert [[ids[place] for place in line] for line in places] == [
        [hit.id for hit in line] for line in hits
    ]
    assert convert(vsearch, file, tmp_path / "again")[0] == 0
    with Index.open(tmp_path / "again") as back:
        assert [item.id for item in back] == ids
        assert np.array_equal(back.features(ids), index.features(ids))
    (tmp_path / "out.csv").write_text("id\nonly\n")
    code, _, err = convert(vsearch, file, tmp_path / "third")
    assert code == 1 and "has 10 vectors, and" in err and not (tmp_path / "third").exists()
    mapped = faiss.IndexIDMap2(faiss.IndexFlatIP(DIM))
    mapped.add_with_ids(queries, np.array([70, 50, 60]))
    faiss.write_index(mapped, str(tmp_path / "mapped.faiss"))
    assert convert(vsearch, tmp_path / "mapped.faiss", tmp_path / "numbers")[0] == 0
    with Index.open(tmp_path / "numbers") as back:
        assert [item.id for item in back] == ["70", "50", "60"]
        assert np.array_equal(back.features(["50"])[0], queries[1])


def test_a_parquet_of_somebody_else(vsearch: Any, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"name": ["a", "b"], "embedding": [[1.0, 2.0], [3.0, 4.0]], "image": [{"b": b"x"}] * 2}
    )
    frame.to_parquet(tmp_path / "theirs.parquet")
    code, _, err = convert(
        vsearch, tmp_path / "theirs.parquet", tmp_path / "i", "--id", "name", "--dtype", "float16"
    )
    assert code == 0 and "left out: image" in err
    with Index.open(tmp_path / "i") as made:
        assert made.dtype == "float16" and made.features(["b"]).tolist() == [[3.0, 4.0]]


def test_wrong_files_are_told_and_nothing_is_left(
    vsearch: Any, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    before = set(tmp_path.iterdir())
    for source, target, what in (
        (index.path, tmp_path / "out.xyz", "has none of the endings of files that can be written"),
        (tmp_path / "gone.parquet", tmp_path / "t", "gone.parquet does not exist"),
        (tmp_path / "bad.parquet", tmp_path / "t", "bad.parquet is no file of its ending's kind"),
        (tmp_path / "x.npy", tmp_path / "t", "vsearch index --vectors takes .npy"),
    ):
        code, _, err = convert(vsearch, source, target)
        assert code == 1 and what in err
    with pytest.raises(DatasetError, match="does not exist"):
        formats.read(tmp_path / "gone.arrow")
    with pytest.raises(ArgumentError, match="endings of files that can be read"):
        formats.read(tmp_path / "gone")
    assert set(tmp_path.iterdir()) == before
    assert convert(vsearch, index.path, tmp_path / "out.parquet")[0] == 0
    code, _, err = convert(vsearch, tmp_path / "out.parquet", index.path)
    assert code == 1 and "is there already" in err

    def broken(batch: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "_vectors", broken)
    before = set(tmp_path.iterdir())
    with pytest.raises(StoreError, match="The disk is full"):
        formats.write(index.to_arrow(), tmp_path / "half.npy")
    assert set(tmp_path.iterdir()) == before


def test_what_is_missing_is_named(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    reader = index.to_arrow()
    monkeypatch.setattr(optional, "package", missing)
    for ending, name in ((".parquet", "pyarrow"), (".lance", "pylance"), (".faiss", "faiss-cpu")):
        with pytest.raises(MissingDependencyError, match=f"The package {name}, which this kind"):
            formats.write(reader, tmp_path / f"out{ending}")
    (tmp_path / "out.lance").mkdir()
    monkeypatch.undo()
    with pytest.raises(StoreError, match=r"out\.lance is there already"):
        formats.write(index.to_arrow(), tmp_path / "out.lance")
