"""Pictures and lists by address, Parquet lists, boxes and both views: without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_cluster import Here, assert_same, draw, on_a_cluster
from tiny_locate import write_tiny_locate
from tiny_model import write_tiny_model

from vsearch_fast import Index, ShardedIndex
from vsearch_fast.cluster import embedding, lists
from vsearch_fast.cluster.embedding import Source, index_pictures
from vsearch_fast.cluster.embedding_units import Asked
from vsearch_fast.cluster.places import fetched, is_address, source_of
from vsearch_fast.datasets import detect
from vsearch_fast.datasets.notes import Notes
from vsearch_fast.embedder.embedder import Embedder
from vsearch_fast.errors import ArgumentError, DatasetError, ImageError, MissingDependencyError
from vsearch_fast.indexing import sync

pa = pytest.importorskip("pyarrow")
fsspec = pytest.importorskip("fsspec")
parquet = pytest.importorskip("pyarrow.parquet")

NO_BOX = {"x1": None, "y1": None, "x2": None, "y2": None}
ROWS: list[dict[str, Any]] = [
    {"image": "lamp/00001.png", "id": "a", "price": 3, "x1": 0, "y1": 0, "x2": 20, "y2": 20},
    {"image": "chair/00003.png", "id": "b", "price": 4, **NO_BOX},
    {"image": "lamp/00002.png", "id": "a", "price": None, "x1": 5, "y1": 2, "x2": 40, "y2": 30},
    {"image": "lamp/gone.png", "id": "c", "price": 7, **NO_BOX},
]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    model = write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
    made = Embedder(model, "cpu")
    write_tiny_locate(model, made.model_id)
    return made


@pytest.fixture
def here() -> Iterator[Here]:
    with pytest.MonkeyPatch.context() as patch:
        yield Here(patch)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of ten pictures and two lists, and the folder that they are a copy of."""
    folder = draw(tmp_path / "pictures", 10)
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture")
    table = pa.Table.from_pylist(ROWS)
    parquet.write_table(table, folder / "list.parquet")
    lines = [",".join(ROWS[0])]
    lines += [",".join("" if v is None else str(v) for v in row.values()) for row in ROWS]
    (folder / "list.csv").write_text("\n".join(lines))
    if request.param == "file":
        yield folder.as_uri(), folder
        return
    system = fsspec.filesystem("memory")
    system.put(str(folder), "/bucket/pictures", recursive=True)
    try:
        yield "memory://bucket/pictures", folder
    finally:
        system.rm("/bucket", recursive=True)


def index_at(
    source: str, target: Path, embedder: Embedder, **options: Any
) -> tuple[sync.Plan, sync.Outcome]:
    records, origin = lists.read(source, on_error="skip", **options)
    return index_pictures(records, target, embedder, source=Source(origin), shards=2)


def rows_of(index: Index) -> list[Any]:
    """Ids, boxes, metadata and rows, without where the pictures are."""
    items = list(index)
    ids = [item.id for item in items]
    both = zip(index.features(ids).tolist(), index.codes(ids).tolist(), strict=True)
    return [
        (item.id, item.box, dict(item.metadata), *row)
        for item, row in zip(items, both, strict=True)
    ]


def here_alone(folder: Path, target: Path, embedder: Embedder, **options: Any) -> Index:
    records, origin = detect.read(folder, on_error="skip", **options)
    model = embedding.file_of(embedder)
    index = sync.open_index(target, embedder, model, origin, root=folder)
    sync.apply(index, embedder, sync.plan(index, records))
    return index


def test_a_folder(here: Here, store: tuple[str, Path], embedder: Embedder, tmp_path: Path) -> None:
    source, folder = store
    target = tmp_path / "many"
    todo, outcome = index_at(source, target, embedder)
    assert outcome.added == 10
    with here_alone(folder, tmp_path / "one", embedder) as one, ShardedIndex.open(target) as many:
        assert rows_of(one) == rows_of(many)
        assert many.get("lamp/00001.png").path == f"{source}/lamp/00001.png"
        assert [item.stamp for item in many] != [None] * 10
    if source.startswith("file"):  # whose files have a time of change
        todo, _ = index_at(source, target, embedder)
        assert (todo.unchanged, todo.nothing) == (10, True)
        draw(folder, 1, first=500)
        (folder / "lamp" / "00500.png").rename(folder / "lamp" / "00001.png")
        todo, outcome = index_at(source, target, embedder)
        assert (todo.unchanged, outcome.replaced) == (9, 1)


@pytest.mark.filterwarnings("ignore::vsearch_fast.embedder.ImageSkippedWarning")
@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_a_list(
    here: Here, store: tuple[str, Path], embedder: Embedder, tmp_path: Path, name: str
) -> None:
    """With boxes, metadata, an id that comes twice, and a picture that is not there."""
    source, folder = store
    columns = {"path": "image"}
    _, outcome = index_at(f"{source}/{name}", tmp_path / "many", embedder, columns=columns)
    assert [(each.name, each.reason) for each in outcome.skipped] == [
        (f"{source}/lamp/gone.png", f"{source}/lamp/gone.png does not exist")
    ]
    one = here_alone(
        folder, tmp_path / "one", embedder, csv=folder / "list.csv", columns=columns, missing="keep"
    )
    with one, ShardedIndex.open(tmp_path / "many") as many:
        assert rows_of(one) == rows_of(many)
        assert [item.id for item in many] == ["a", "b", "a#2"]
    again, origin = lists.read(source, csv=name, columns=columns)
    assert origin == f"{source}, listed in {name}"
    assert [record.address for record in again][:1] == [f"{source}/lamp/00001.png"]


def test_a_parquet_list_on_a_disk(store: tuple[str, Path]) -> None:
    """It is read as a CSV of the same cells is."""
    _, folder = store
    options: dict[str, Any] = {"columns": {"path": "image"}, "missing": "keep"}
    from_csv, _ = detect.read(folder / "list.csv", **options)
    from_parquet, _ = detect.read(folder / "list.parquet", **options)
    assert from_csv == from_parquet
    assert from_parquet[0].metadata == {"price": 3}


def test_what_no_cell_holds(tmp_path: Path) -> None:
    rows = [
        {"path": "a.png", "tags": ["x"], "flag": True, "share": 0.5},
        {"path": "b.png", "tags": None, "flag": False, "share": float("nan")},
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "list.parquet")
    notes = Notes()
    options: dict[str, Any] = {"missing": "keep", "on_error": "skip", "notes": notes}
    [record], _ = detect.read(tmp_path / "list.parquet", **options)
    assert notes.lines[0][0] == f"{tmp_path / 'list.parquet'}:1"
    assert "'tags' holds list values" in notes.lines[0][1]
    assert record.metadata == {"tags": None, "flag": False, "share": None}
    with pytest.raises(DatasetError, match=r"list\.parquet:1: the column 'tags'"):
        detect.read(tmp_path / "list.parquet", missing="keep")
    (tmp_path / "list.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DatasetError, match=r"list\.parquet cannot be read"):
        detect.read(tmp_path / "list.parquet")


def test_left_out_of_a_folder(store: tuple[str, Path]) -> None:
    source, _ = store
    notes = Notes()
    records, _ = lists.read(source, exclude=["chair", "*2.png"], notes=notes)
    assert [record.id for record in records] == [
        f"lamp/{n:05d}.png" for n in (1, 4, 5, 7, 8)
    ]  # fmt: skip
    assert [record.category for record in records] == ["lamp"] * 5
    facts = notes.facts()
    assert (facts["hidden"], facts["excluded"]) == (1, 5)
    assert facts["files"] == {".csv": 1, ".parquet": 1, ".txt": 1}


def test_addresses_that_are_wrong(store: tuple[str, Path]) -> None:
    source, folder = store
    with pytest.raises(DatasetError, match=r"cannot be listed|holds no pictures"):
        lists.read(f"{source}/nowhere")
    with pytest.raises(DatasetError, match="cannot be read"):
        lists.read(f"{source}/nowhere.csv")
    with pytest.raises(ArgumentError, match="names a role 'way'"):
        lists.read(f"{source}/list.csv", columns={"way": "image"})
    with pytest.raises(ArgumentError, match="is read as folder"):
        lists.read(source, columns={"path": "image"})
    with pytest.raises(ArgumentError, match="is read by a list"):
        lists.read(f"{source}/list.csv", exclude=["x"])
    with pytest.raises(ImageError, match=r"gone\.png does not exist"):
        fetched(f"{source}/gone.png")
    with pytest.raises(MissingDependencyError, match="Nothing here reads addresses of nonsense://"):
        source_of(Asked("nonsense://a/b.png", None, None))
    assert not is_address(str(folder))
    assert not is_address("C:/a//b.png")


@pytest.mark.parametrize("cell", ["/a.png", "../a.png", "s3://other/a.png", ""])
def test_cells_that_lead_elsewhere(tmp_path: Path, cell: str) -> None:
    (tmp_path / "list.csv").write_text(f"path,id\n{cell},x\n")
    with pytest.raises(DatasetError, match=f"is not below {tmp_path.as_uri()}"):
        lists.read(f"{tmp_path.as_uri()}/list.csv")


@pytest.mark.filterwarnings("ignore::vsearch_fast.embedder.ImageSkippedWarning")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_both_views(here: Here, embedder: Embedder, tmp_path: Path, dtype: str) -> None:
    """The whole picture and the located item, as on one machine."""
    folder = draw(tmp_path / "pictures", 20)
    (folder / "lamp" / "00001.png").write_bytes(b"broken")
    records, origin = detect.read(folder)
    model, views = embedding.file_of(embedder), ["whole", "box"]
    with sync.open_index(
        tmp_path / "one", embedder, model, origin, dtype, views=views, root=folder
    ) as one:
        alone = sync.apply(one, embedder, sync.plan(one, records))
    made = on_a_cluster(folder, tmp_path / "many", embedder, views=views, dtype=dtype)
    assert made == alone
    assert_same(tmp_path / "one", tmp_path / "many")
    with ShardedIndex.open(tmp_path / "many") as many:
        assert many.features([next(iter(many)).id]).shape == (1, 2, 64)
        assert np.dtype(many.dtype) == np.dtype(dtype)
