"""`vsearch index --vectors`: what others made, indexed, followed, refused, and resumed."""

from __future__ import annotations

import csv
import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from vsearch_fast.cli import vsearch
from vsearch_fast.datasets import vectors as reading
from vsearch_fast.datasets.vectors import open_vectors
from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import DatasetError, MissingDependencyError
from vsearch_fast.index import Index
from vsearch_fast.indexing import vectors as bringing

ROWS, DIM = 23, 12
VECTORS = np.random.default_rng(4).standard_normal((ROWS, DIM)).astype(np.float32)
IDS = [f"row {i}" for i in range(ROWS)]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(vsearch, [str(each) for each in arguments])


def said(result: Result) -> str:
    """What it wrote, and the error that ended it, which `main` would write."""
    return f"{result.output}{result.exception or ''}"


def listed(file: Path, ids: list[str] = IDS, delimiter: str = ",", **columns: list[Any]) -> Path:
    with file.open("w", newline="", encoding="utf-8-sig") as opened:
        writer = csv.writer(opened, delimiter=delimiter)
        writer.writerow(["id", *columns])
        writer.writerows(zip(ids, *columns.values(), strict=True))
    return file


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An array, its list, and where the index goes."""
    np.save(tmp_path / "features.npy", VECTORS)
    listing = listed(
        tmp_path / "ids.csv", kind=["a", "b"] * 11 + ["c"], path=[f"{i}.jpg" for i in range(ROWS)]
    )
    return tmp_path / "features.npy", listing, tmp_path / "x.index"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", 5 * 4 * DIM)


def test_an_array_and_its_list(made: tuple[Path, Path, Path]) -> None:
    file, listing, path = made
    done = run("index", "--vectors", file, "--ids", listing, "-o", path)
    assert done.exit_code == 0, done.output
    assert "23 added, 0 replaced, 0 described anew, 0 removed, 0 unchanged: 23 rows" in done.output
    with Index.open(path) as index:
        np.testing.assert_array_equal(index.features(IDS), VECTORS)
        np.testing.assert_array_equal(index.codes(IDS), np.packbits(VECTORS > 0, axis=1))
        item = index.get("row 22")
        assert item.metadata == {"kind": "c"} and item.path == str(file.parent / "22.jpg")
        distances = np.linalg.norm(VECTORS - VECTORS[7], axis=1)
        assert index.search(VECTORS[7:8], 1, "l2")[0][0].id == IDS[int(distances.argmin())]


def test_the_index_follows(made: tuple[Path, Path, Path]) -> None:
    """New, other, described anew and gone rows, as a second run finds them."""
    file, listing, path = made
    line = ["index", "--vectors", file, "--ids", listing, "-o", path, "--json"]
    assert run(*line).exit_code == 0
    changed = np.concatenate([VECTORS[1:], [np.ones(DIM)]]).astype(np.float32)
    changed[4] *= 2
    np.save(file, changed)
    kinds = [*(["b", "a"] * 11), "new"]
    kinds[2], kinds[21] = "other", "c"
    listed(listing, [*IDS[1:], "row 23"], kind=kinds, path=[f"{i}.jpg" for i in range(1, ROWS + 1)])
    facts = json.loads(run(*line).stdout)
    assert {name: facts[name] for name in facts if name != "index"} == {
        "added": 1, "replaced": 1, "described": 1, "removed": 1, "unchanged": 20, "rows": 23,
    }  # fmt: skip
    with Index.open(path) as index:
        np.testing.assert_array_equal(index.features([*IDS[1:], "row 23"]), changed)
        assert index.get("row 3").metadata["kind"] == "other" and "row 0" not in index
    assert json.loads(run(*line).stdout)["unchanged"] == ROWS


def test_float16_is_compared_as_it_is_stored(made: tuple[Path, Path, Path]) -> None:
    file, listing, path = made
    np.save(file, VECTORS.astype(np.float64) + 1e-12)
    line = ["index", "--vectors", file, "--ids", listing, "-o", path, "--json"]
    assert run(*line, "--dtype", "float16").exit_code == 0
    assert json.loads(run(*line).stdout)["unchanged"] == ROWS
    with Index.open(path) as index:
        assert index.dtype == "float16"


def test_a_stopped_run_goes_on(
    made: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, listing, path = made
    block = bringing._bring_block
    seen: list[None] = []

    def stopped(*arguments: Any) -> None:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(block(*arguments))

    monkeypatch.setattr(bringing, "_bring_block", stopped)
    line = ["index", "--vectors", file, "--ids", listing, "-o", path]
    assert "Stopped after 10 rows" in run(*line).output
    with Index.open(path) as index:
        assert len(index) == 10
    monkeypatch.undo()
    assert "13 added, 0 replaced" in run(*line).output.replace("10 unchanged", "")


def parquet(file: Path, vectors: Any, **columns: Any) -> Path:
    pq.write_table(pa.table({"vector": vectors, **columns}), file, row_group_size=7)
    return file


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32(), DIM), pa.list_(pa.float64()), pa.large_list(pa.float32())]
)
def test_parquet(kind: Any, tmp_path: Path) -> None:
    file = parquet(
        tmp_path / "v.parquet", pa.array(VECTORS.tolist(), kind), number=list(range(ROWS)),
        name=[None, *("abcdefghijklmnopqrstuv")], price=np.arange(ROWS) / 4,
        sold=[True] + [False] * 22, tags=[["x"]] * ROWS,
    )  # fmt: skip
    path = tmp_path / "x.index"
    done = run("index", "--vectors", file, "-o", path, "--column", "id=number")
    assert done.exit_code == 0, done.output
    with Index.open(path) as index:
        np.testing.assert_array_equal(index.features([str(i) for i in range(ROWS)]), VECTORS)
        assert index.get("0").metadata == {"name": None, "price": 0.0, "sold": True}
        assert index.get("9").metadata == {"name": "i", "price": 2.25, "sold": False}
    again = run("index", "--vectors", file, "-o", path, "--column", "id=number")
    assert f"{ROWS} unchanged" in again.output


def test_parquet_with_a_list(tmp_path: Path) -> None:
    file = parquet(tmp_path / "v.parquet", VECTORS.tolist(), other=VECTORS.tolist())
    listing = listed(tmp_path / "ids.csv", delimiter=";")
    several = run("index", "--vectors", file, "--ids", listing, "-o", tmp_path / "x")
    assert several.exit_code == 1 and "several columns of lists: vector, other" in said(several)
    line = ["index", "--vectors", file, "--ids", listing, "-o", tmp_path / "x"]
    assert run(*line, "--column", "vector=other").exit_code == 0


def test_a_photo_is_refused_unless_the_network_is_named(
    made: tuple[Path, Path, Path], model: Path, pictures: Path, tmp_path: Path
) -> None:
    file, listing, path = made
    assert run("index", "--vectors", file, "--ids", listing, "-o", path).exit_code == 0
    photo = next(pictures.rglob("*.png"))
    for more in ([], ["--model", model]):
        refused = run("search", path, photo, *more)
        assert refused.exit_code == 1
        assert "holds vectors made elsewhere (features.npy)" in said(refused)
    files = sorted(pictures.rglob("*.png"))
    np.save(tmp_path / "own.npy", Embedder(model).embed(files))
    ids = listed(tmp_path / "own.csv", [each.stem for each in files], path=files)
    wrong = run(
        "index", "--vectors", file, "--ids", listing, "-o", tmp_path / "w", "--model", model
    )
    assert wrong.exit_code == 1 and "12 numbers a row" in said(wrong)
    line = ["index", "--vectors", tmp_path / "own.npy", "--ids", ids, "-o", tmp_path / "own.index"]
    assert run(*line, "--model", model).exit_code == 0
    found = run("search", tmp_path / "own.index", photo, "--metric", "l2", "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)[0]["hits"][0]["distance"] == 0.0


def refusals() -> list[tuple[str, Any, str]]:
    def array(value: Any) -> Any:
        return lambda file, listing: np.save(file, value)

    bad = VECTORS.copy()
    bad[13, 2] = np.nan
    return [
        ("nan", array(bad), r"row 14 \(row 13\) holds NaN"),
        ("integers", array((VECTORS * 9).astype(int)), "holds int64"),
        ("cube", array(VECTORS[None]), r"has the shape \(1, 23, 12\)"),
        ("objects", array(np.array([{}, []], object)), "is no array of numpy.save"),
        ("short", lambda file, _: file.write_bytes(file.read_bytes()[:300]), "cut short"),
        ("more", lambda _, ids: listed(ids, [*IDS, "x"]), "23 rows, and its list 24 ids"),
        ("twice", lambda _, ids: listed(ids, [*IDS[:-1], IDS[0]]), "two rows have the id 'row 0'"),
        ("no id", lambda _, ids: listed(ids, [*IDS[:-1], ""]), "row 23 has no id"),
        ("header", lambda _, ids: ids.write_text("name\na\n"), "has no column id among name"),
        ("cells", lambda _, ids: ids.write_text("id,b\na\n"), "row 1 has other cells"),
        ("none", lambda _, ids: ids.unlink(), "cannot be read"),
    ]


@pytest.mark.parametrize("name,spoil,match", refusals(), ids=[each[0] for each in refusals()])
def test_what_is_wrong_names_the_row(
    name: str, spoil: Any, match: str, made: tuple[Path, Path, Path]
) -> None:
    file, listing, path = made
    spoil(file, listing)
    with pytest.raises(DatasetError, match=match):
        vectors = open_vectors(file, listing)
        with bringing.open_for_vectors(path, vectors, file, None, None) as index:
            bringing.bring(index, vectors, file)
    refused = run("index", "--vectors", file, "--ids", listing, "-o", path)
    assert refused.exit_code == 1


def test_parquet_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = pa.array(IDS[:3])
    for name, rows, match in (
        ("ragged", [[1.0, 2.0], [1.0], [1.0, 2.0]], "row 2 has 1 numbers, not 2"),
        ("no vector", [[1.0], None, [1.0]], "row 2 has no vector"),
        ("hole", [[1.0], [1.0], [None]], "row 3 has an empty place"),
    ):
        file = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"v": pa.array(rows, pa.list_(pa.float32())), "id": ids}), file)
        with pytest.raises(DatasetError, match=match):
            list(open_vectors(file).blocks())
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(DatasetError, match="is no Parquet file"):
        open_vectors(tmp_path / "text.parquet")
    with pytest.raises(DatasetError, match="has no column key among v, id"):
        open_vectors(file, columns={"id": "key"})
    pq.write_table(pa.table({"id": ids}), tmp_path / "bare.parquet")
    with pytest.raises(DatasetError, match="no column of lists of floats"):
        open_vectors(tmp_path / "bare.parquet")
    with pytest.raises(DatasetError, match=r"does not end in \.npy or \.parquet"):
        open_vectors(tmp_path / "v.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"\[parquet\]"):
        open_vectors(file)


def test_wrong_command_lines(made: tuple[Path, Path, Path], indexed: Path, pictures: Path) -> None:
    file, listing, path = made
    line = ["index", "--vectors", file, "--ids", listing, "-o", path]
    for more, match in (
        ([pictures], "leave SOURCE out"),
        (["--views", "whole"], "leave --views out"),
        (["--csv", listing], "leave --csv out"),
        (["--column", "item=kind"], "no column of the role item"),
    ):
        refused = run(*line, *more)
        assert refused.exit_code in (1, 2) and match in said(refused), said(refused)
    assert run("index", "--ids", listing, "-o", path).exit_code == 2
    assert "SOURCE is missing" in said(run("index", "-o", path))
    assert "numbers and no ids" in said(run("index", "--vectors", file, "-o", path))
    assert not path.exists()
    other = run(*line[:-1], indexed)
    assert other.exit_code == 1 and Index.open(indexed).dim != DIM
    assert run(*line).exit_code == 0
    np.save(file.with_name("few.npy"), VECTORS[:3])
    few = listed(file.with_name("few.csv"), IDS[:3])
    forgot = ["index", "--vectors", file.with_name("few.npy"), "--ids", few, "-o", path]
    lost = run(*forgot)
    assert lost.exit_code == 1 and "lacks 20 rows of it" in said(lost)
    assert "3 described anew, 0 removed" in run(*forgot, "--keep-missing").output


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", 2**20)
    peaks = []
    for rows in (4_000, 16_000):
        np.save(tmp_path / "v.npy", np.ones((rows, 256), np.float32))
        listed(tmp_path / "i.csv", [str(i) for i in range(rows)])
        tracemalloc.start()
        total = 0
        for _, block, described in open_vectors(tmp_path / "v.npy", tmp_path / "i.csv").blocks():
            total += len(block)
            assert len(block) == len(described) <= 1024
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total == rows
    assert peaks[1] < 1.2 * peaks[0] < 8 * 2**20
