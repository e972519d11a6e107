"""Folders of pictures: what is one by its content, and that nothing is left out without a word."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drawn_images import encode, random_image

from vsearch_fast import images
from vsearch_fast.errors import ArgumentError, ImageError
from vsearch_fast.images import readers
from vsearch_fast.images.finding import LeftOut, LeftOutWarning
from vsearch_fast.images.pairs import pair

PICTURE = random_image("RGB", 40, 30)


@pytest.fixture
def heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
    """A HEIC file's bytes."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="pip install '.[heif]'")
    readers._heif_opener.cache_clear()
    yield bytes(_heic_of(pillow_heif))
    readers._heif_opener.cache_clear()


def _heic_of(pillow_heif) -> bytes:
    import io

    file = io.BytesIO()
    pillow_heif.from_pillow(PICTURE).save(file, quality=-1)
    return file.getvalue()


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    readers._heif_opener.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    yield
    monkeypatch.undo()
    readers._heif_opener.cache_clear()


def looked(folder: Path, **options) -> tuple[list[str], LeftOut]:
    left_out = LeftOut()
    found = images.find_images(folder, left_out=left_out, **options)
    return [path.relative_to(folder).as_posix() for path in found], left_out


def test_pictures_are_known_by_content(tmp_path: Path) -> None:
    for name, kind in {
        "no-ending": "JPEG", "a.jpg?v=2": "JPEG", "b.jpg_large": "JPEG", "c.pjpeg": "JPEG",
        "d.dat": "PNG", "e.jp2": "JPEG2000", "f.JPX": "JPEG2000", "g.avif": "AVIF", "h": "AVIF",
        "i.bin": "WEBP", "j.tmp": "GIF", "k.1": "BMP", "l.img": "TIFF", "m.j2k": "JPEG2000",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(encode(PICTURE, kind))
    found, left_out = looked(tmp_path)
    assert found == sorted(os.listdir(tmp_path)) and not left_out
    for name in found:
        assert images.decode(tmp_path / name).size == PICTURE.size
    lossless = images.decode(tmp_path / "d.dat")
    np.testing.assert_array_equal(np.asarray(lossless), np.asarray(PICTURE))


@pytest.mark.posix
def test_what_is_no_picture_is_counted_by_its_ending(tmp_path: Path) -> None:
    for name, content in {
        "list.csv": b"path\n", "a.txt": b"BMW is a car, not a bitmap", "b.TXT": b"", "README": b"x",
        "Thumbs.db": b"\xd0\xcf", "clip.mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        "raw.NEF": b"II*\0\x08\0\0\0", "new.jxl": b"\xff\x0a\0", "odd.a long ending": b"?",
        "layers.psd": b"8BPS\0\1", ".DS_Store": b"", "._a.jpg": b"\0\5\x16\7",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "true.jpg").write_bytes(encode(PICTURE, "JPEG"))
    found, left_out = looked(tmp_path)
    assert found == ["true.jpg"]
    endings = {".txt": 2, ".csv": 1, ".db": 1, ".mp4": 1, ".nef": 1, ".jxl": 1, ".psd": 1, "": 5}
    assert left_out.endings == endings
    assert (left_out.hidden, left_out.links) == (2, 1)
    first, *cures = left_out.lines()
    assert first.startswith("left out: 5 without an ending, 2 .txt, 1 .csv, ")
    assert first.endswith("2 hidden, 1 link to a folder")
    assert cures == [
        "1 JPEG XL picture: nothing here reads them. Convert it to PNG.",
        "1 Photoshop picture: nothing here reads them. Export it as PNG.",
    ]
    assert left_out.facts()["files"] == endings


def test_folders_of_systems_and_drives_are_left_out(tmp_path: Path) -> None:
    for name in (
        "@eaDir/a.jpg/thumb.jpg", "x/@eaDir/b.jpg", "#recycle/c.jpg", "__MACOSX/x/d.jpg",
        ".git/e.jpg", "lost+found/f.jpg", "$RECYCLE.BIN/g.jpg", "x/h.jpg",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encode(PICTURE, "JPEG"))
    found, left_out = looked(tmp_path)
    assert found == ["x/h.jpg"]
    assert left_out.folders["@eaDir"] == 2 and len(left_out.folders) == 6
    assert "2 folders @eaDir" in left_out.lines()[0]
    # One that is named is meant.
    assert looked(tmp_path / "@eaDir")[0] == ["a.jpg/thumb.jpg"]


def test_patterns_leave_out(tmp_path: Path) -> None:
    for name in ("a.jpg", "a-small.jpg", "drafts/b.jpg", "x/drafts/c.jpg", "x/d.jpg", "2019/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    patterns = ["*-small.*", "drafts", "2019/*", "*.gif"]
    found, left_out = looked(tmp_path, exclude=patterns)
    assert found == ["a.jpg", "x/d.jpg"]
    assert left_out.excluded == 4 and left_out.unused == ["*.gif"]
    assert left_out.lines()[-1] == "--exclude *.gif matches nothing"
    assert looked(tmp_path, exclude=["drafts/"])[0] == [
        "2019/e.jpg",
        "a-small.jpg",
        "a.jpg",
        "x/d.jpg",
    ]


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.jpg").touch()
    scandir = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(ImageError, match="locked cannot be listed"):
        looked(tmp_path)
    found, left_out = looked(tmp_path, on_error="skip")
    assert found == ["a.jpg"]
    assert left_out.lines() == [
        f"skipped the folder {tmp_path / 'locked'}: it cannot be listed (Permission denied)"
    ]
    assert looked(tmp_path, exclude=["locked"])[0] == ["a.jpg"]
    with pytest.raises(ImageError, match="locked cannot be listed"):
        looked(tmp_path / "locked", on_error="skip")  # of which nothing at all is known


# HEIC ------------------------------------------------------------------------------------------


def test_heic_is_read_where_its_reader_is(heif: bytes, tmp_path: Path) -> None:
    for name in ("a.heic", "b", "c.jpg"):
        (tmp_path / name).write_bytes(heif)
    found, left_out = looked(tmp_path)
    assert found == ["a.heic", "b", "c.jpg"] and not left_out
    shown = np.asarray(images.decode(tmp_path / "a.heic"))
    assert np.abs(shown.astype(int) - np.asarray(PICTURE)).mean() < 12  # noise, compressed
    for cut in range(40, len(heif), len(heif) // 9):
        with pytest.raises(ImageError):
            images.decode(heif[:cut])


def test_heic_says_what_reads_it(heif: bytes, without_heif: None, tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIC", "c"):
        (tmp_path / name).write_bytes(heif)
    (tmp_path / "d.jpg").write_bytes(heif)  # as telephones name it: its reader will say so
    found, left_out = looked(tmp_path)
    assert found == ["d.jpg"]
    assert left_out.lines()[0] == "left out: 2 .heic, 1 without an ending"
    assert left_out.lines()[1].startswith("3 HEIC pictures: nothing here reads them. Install what")
    assert "[heif]" in left_out.lines()[1]
    with pytest.raises(ImageError, match="is a HEIC picture") as caught:
        images.decode(tmp_path / "d.jpg")
    assert "[heif]" in caught.value.cure
    with pytest.warns(LeftOutWarning, match=r"2 \.heic"):
        assert pair(tmp_path).total == 1


def test_no_warning_of_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "a.png").write_bytes(encode(PICTURE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pair(tmp_path).total == 1


def test_a_set_of_pictures_has_no_order(tmp_path: Path) -> None:
    for pictures in ({tmp_path / "a", tmp_path / "b"}, frozenset(["a"])):
        with pytest.raises(ArgumentError, match="no order") as caught:
            pair(pictures)
        assert "sorted" in caught.value.cure
