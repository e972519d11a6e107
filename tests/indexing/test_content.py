"""Pictures that an index knows by their bytes, where they are now, and columns by either name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_model import write_tiny_model

from vsearch_fast.datasets.records import Record
from vsearch_fast.embedder import Embedder
from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Index
from vsearch_fast.indexing import sync
from vsearch_fast.indexing.columns import column_named
from vsearch_fast.indexing.photos import Photos


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder(write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        # Uncompressed: all of one size, so that nothing but their bytes tells them apart.
        pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.bmp")
        os.utime(folder / f"{number}.bmp", (1e9, 1e9))
    return folder


class Run:
    """Brings one index up to date, and counts the pictures that go through the network."""

    def __init__(self, path: Path, embedder: Embedder, dtype: str) -> None:
        self.path, self.embedder, self.dtype, self.embedded = path, embedder, dtype, 0

    def __call__(self, folder: Path, records: list[Record] | None = None, **options) -> sync.Plan:
        from vsearch_fast.datasets import folder as reader

        if records is None:
            records = reader.read(folder)
        model = Path(self.embedder.description["file"])
        with sync.open_index(self.path, self.embedder, model, "here", self.dtype) as index:
            todo = sync.plan(index, records, **options)
            outcome = sync.apply(index, self.embedder, todo)
            self.embedded = outcome.added + outcome.replaced
            self.check(index, records)
        return todo

    def check(self, index: Index, records: list[Record]) -> None:
        """Whatever was saved, the features are those of the files as they are."""
        for record in records:
            expected = self.embedder.embed([record.path], [record.box])[0]
            stored = expected.astype(np.dtype(self.dtype)).astype(np.float32)
            np.testing.assert_array_equal(index.features([record.id])[0], stored)
            assert index.get(record.id).path == str(record.path)


@pytest.fixture
def run(tmp_path: Path, embedder: Embedder) -> Run:
    return Run(tmp_path / "i", embedder, "float32")


def test_a_renamed_picture_and_folder_are_not_embedded_again(run: Run, pictures: Path) -> None:
    run(pictures)
    assert run.embedded == 6
    (pictures / "0.bmp").rename(pictures / "renamed.bmp")
    todo = run(pictures)
    assert [source for _, source in todo.recognised] == ["0.bmp"]
    assert todo.vanished == ["0.bmp"] and run.embedded == 0
    moved = pictures / "sub"
    moved.mkdir()
    for file in [*pictures.glob("*.bmp")]:
        file.rename(moved / file.name)
    assert len(run(pictures).recognised) == 6 and run.embedded == 0
    assert run(pictures).nothing
    with Index.open(run.path) as index:
        assert len(index) == 6


def test_copies_and_touched_pictures(run: Run, pictures: Path) -> None:
    run(pictures)
    shutil.copy(pictures / "3.bmp", pictures / "copy.bmp")  # another time of change
    os.utime(pictures / "1.bmp")
    todo = run(pictures)
    assert run.embedded == 0
    assert [(item.id, source) for item, source in todo.recognised] == [("copy.bmp", "3.bmp")]
    assert [item.id for item in todo.moved] == ["1.bmp"]
    assert run(pictures).nothing


def test_moved_with_other_metadata_and_one_of_two_alike(run: Run, pictures: Path) -> None:
    """What is told of a picture changes with its place; of two of the same bytes one moves."""
    shutil.copy(pictures / "3.bmp", pictures / "twin.bmp")

    def records(**places: str) -> list[Record]:
        return [
            Record(name, pictures / place, metadata={"place": place, "tags": [name, place]})
            for name, place in places.items()
        ]

    run(pictures, records(three="3.bmp", twin="twin.bmp", four="4.bmp"))
    (pictures / "shelf").mkdir()
    for name in ("twin.bmp", "4.bmp"):
        (pictures / name).rename(pictures / "shelf" / name)
    now = records(three="3.bmp", twin="shelf/twin.bmp", other="shelf/4.bmp")
    todo = run(pictures, now)
    assert run.embedded == 0 and todo.vanished == ["four"]
    assert [(item.id, source) for item, source in todo.recognised] == [("other", "four")]
    with Index.open(run.path) as index:
        assert {item.id: item.metadata for item in index} == {
            record.id: record.metadata for record in now
        }
    assert run(pictures, now).nothing


def test_names_that_are_exchanged(run: Run, pictures: Path) -> None:
    run(pictures)
    names = [pictures / f"{number}.bmp" for number in range(6)]
    for number, file in enumerate(names):
        os.utime(file, (1e9, 1e9 + number))
    run(pictures)
    for file in names:
        file.rename(file.with_suffix(".tmp"))
    for file, other in zip(names, names[1:] + names[:1], strict=True):
        other.with_suffix(".tmp").rename(file)
    todo = run(pictures)
    assert len(todo.recognised) == 6 and run.embedded == 0


def test_what_differs_is_embedded(run: Run, pictures: Path) -> None:
    """Equal in name, size and time, but not in bytes; equal in bytes, but of another box."""
    run(pictures)
    data = bytearray((pictures / "0.bmp").read_bytes())
    data[-1] ^= 255
    (pictures / "0.bmp").unlink()
    (pictures / "new.bmp").write_bytes(data)
    os.utime(pictures / "new.bmp", (1e9, 1e9))
    assert not run(pictures).recognised and run.embedded == 1
    records = [Record(f"{number}.bmp", pictures / f"{number}.bmp") for number in range(1, 6)]
    cut = Record("cut", pictures / "2.bmp", (0, 0, 9, 9))
    assert not run(pictures, [*records, cut]).recognised and run.embedded == 1
    again = Record("again", pictures / "2.bmp", (0, 0, 9, 9))
    assert len(run(pictures, [*records, cut, again]).recognised) == 1


def test_indexes_without_hashes_and_of_float16(
    pictures: Path, tmp_path: Path, embedder: Embedder
) -> None:
    old = Run(tmp_path / "old", embedder, "float32")
    old(pictures)
    with Index.open(old.path, mode="rw") as index:  # as an older version left it
        from dataclasses import replace

        index.update(
            [replace(item, stamp=":".join(str(item.stamp).split(":")[:2])) for item in index]
        )
    assert old(pictures).nothing
    (pictures / "0.bmp").rename(pictures / "renamed.bmp")
    assert not old(pictures).recognised and old.embedded == 1
    half = Run(tmp_path / "half", embedder, "float16")
    half(pictures)
    (pictures / "1.bmp").rename(pictures / "again.bmp")
    assert not half(pictures).recognised and half.embedded == 1  # its code bits must be the same


def test_a_file_that_changes_meanwhile_is_not_hashed(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Embedder.stream

    def changing(self: Embedder, *arguments: Any, **options: Any) -> Any:
        for batch in stream(self, *arguments, **options):
            os.utime(pictures / "2.bmp")  # while its features wait to be committed
            yield batch

    monkeypatch.setattr(Embedder, "stream", changing)
    run(pictures)
    with Index.open(run.path) as index:
        assert [item.id for item in index if str(item.stamp).count(":") == 1] == ["2.bmp"]


def test_pictures_below_a_folder_that_cannot_be_listed_stay(run: Run, pictures: Path) -> None:
    (pictures / "locked").mkdir()
    (pictures / "5.bmp").rename(pictures / "locked" / "5.bmp")
    (pictures / "4.bmp").rename(pictures / "lockedness.bmp")
    run(pictures)
    shown = [Record(f"{n}.bmp", pictures / f"{n}.bmp") for n in range(4)]
    todo = run(pictures, shown, unlisted=[str(pictures / "locked")])
    assert todo.vanished == ["lockedness.bmp"]
    assert run(pictures, shown).vanished == ["locked/5.bmp"]


# Where pictures are now ------------------------------------------------------------------------


def index_of(tmp_path: Path, embedder: Embedder, **notes: object) -> Index:
    return Index.create(tmp_path / "p", embedder.dim, model=notes)


def test_photos_at_another_mount(tmp_path: Path, embedder: Embedder) -> None:
    now = tmp_path / "now"
    now.mkdir()
    with index_of(tmp_path, embedder, root="/mnt/a/shop") as index:
        here = Photos(index)
        assert here("/mnt/a/shop/x/1.jpg") == "/mnt/a/shop/x/1.jpg"
        assert here("x/1.jpg") == "/mnt/a/shop/x/1.jpg" and here(None) is None
        there = Photos(index, now)
        assert there("/mnt/a/shop/x/1.jpg") == str(now / "x/1.jpg")
        assert there("x/1.jpg") == str(now / "x/1.jpg")
        for outside in ("/mnt/a/shopping/1.jpg", "/other/1.jpg"):
            assert there(outside) == outside
        with pytest.raises(ArgumentError, match="is not a folder"):
            Photos(index, tmp_path / "nowhere")


@pytest.mark.parametrize(
    "source", ["/mnt/a", "/mnt/a, listed in /mnt/a/list.csv", "/mnt/a, partition val"]
)
def test_photos_of_an_index_of_an_older_version(
    source: str, tmp_path: Path, embedder: Embedder
) -> None:
    with index_of(tmp_path, embedder, source=source) as index:
        assert Photos(index, tmp_path)("/mnt/a/1.jpg") == str(tmp_path / "1.jpg")


def test_photos_of_an_index_that_does_not_say(tmp_path: Path, embedder: Embedder) -> None:
    with index_of(tmp_path, embedder) as index:
        assert Photos(index)("1.jpg") == "1.jpg"
        assert Photos(index, tmp_path)("x/1.jpg") == str(tmp_path / "x/1.jpg")
        assert Photos(index, tmp_path)("/mnt/a/1.jpg") == "/mnt/a/1.jpg"


# Columns by either name ------------------------------------------------------------------------


def test_columns_by_the_lists_own_names(tmp_path: Path, embedder: Embedder) -> None:
    columns = {"group": "sender_id", "category": "label"}
    with index_of(tmp_path, embedder, columns=columns) as index:
        index.add(["a"], np.zeros((1, embedder.dim), np.float32), [{"group": "g", "price": 1}])
        assert column_named(index, "sender_id") == "group" == column_named(index, "group")
        assert column_named(index, "price") == "price"
        assert column_named(index, "unknown") == "unknown"
        # The list's own column of that name comes first.
        index.add(["b"], np.ones((1, embedder.dim), np.float32), [{"sender_id": "x"}])
        assert column_named(index, "sender_id") == "sender_id"


def test_an_index_keeps_what_an_older_version_reads(run: Run, pictures: Path) -> None:
    run(pictures)
    with Index.open(run.path) as index:
        assert json.dumps(dict(index.model))  # plain values beside those it knew
        assert all(str(item.path).startswith(str(pictures)) for item in index)
