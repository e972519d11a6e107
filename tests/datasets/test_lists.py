"""Lists as people and their programs write them: forms that are read, lines that are left out."""

from __future__ import annotations

import codecs
import csv
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vsearch_fast.datasets import Record, detect, folder
from vsearch_fast.datasets.notes import Notes
from vsearch_fast.errors import ArgumentError, DatasetError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "c.jpg", "img/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def read(root: Path, content: str | bytes, name: str = "list.csv", **options):
    file = root / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder.read(root, file, **options)


def left_out(root: Path, content: str | bytes) -> tuple[list[str], list[str]]:
    """Ids that are read, and "LINE: reason" of the lines that are not."""
    notes = Notes()
    records = read(root, content, on_error="skip", notes=notes)
    return [record.id for record in records], [
        f"{place.rsplit(':', 1)[1]}: {reason}" for place, reason in notes.lines
    ]


# Lines that are wrong --------------------------------------------------------------------------

WRONG = (
    "path,id,x1,y1,x2,y2\n"
    "a.jpg,A,1.5,2.5,60.25,70\n"  # rounded
    "b.jpg,B, with a comma,,,,\n"
    "b.jpg,B,,,,\n"
    "b.jpg,B,,,,\n"  # twice
    "c.jpg,C,5,5,5,9\n"  # flat
    "nothing.jpg,D,,,,\n"
    ',"E",,,,\n'
    "http://example.org/x.jpg,F,,,,\n"
    'c.jpg,"G,,,,\n'  # a quote that is not closed
    "img/d.jpg,H,,,,\n"
)


def test_wrong_lines_are_left_out_and_told(root: Path) -> None:
    ids, reasons = left_out(root, WRONG)
    assert ids == ["A", "B", "H"]
    assert [reason.split(":")[0] for reason in reasons] == ["3", "5", "6", "7", "8", "9", "10"]
    for reason, words in zip(
        reasons,
        ["7 cells where the header has 6", "in line 4 already", "the box 5, 5, 5, 9 is not four",
         "there is no picture 'nothing.jpg'", "path is empty", "is an address", "no CSV"],
        strict=True,
    ):  # fmt: skip
        assert words in reason
    assert read(root, WRONG, on_error="skip")[0].box == (2, 2, 60, 70)


def test_all_wrong_lines_are_named_at_once(root: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        read(root, WRONG)
    cause = caught.value.cause
    assert cause.startswith("7 lines are wrong: ")
    for line in (3, 5, 6, 7, 8, 9, 10):
        assert f"{root / 'list.csv'}:{line}: " in cause
    assert "--on-error skip" in caught.value.cure
    many = "path\n" + "".join(f"none{number}\n" for number in range(25))
    with pytest.raises(DatasetError, match=r"25 lines are wrong.*:11: .*; and 15 more lines"):
        read(root, many)
    with pytest.raises(DatasetError, match="25 lines are wrong"):
        read(root, many, on_error="skip")  # nothing is left
    notes = Notes()
    read(root, "path\na.jpg\n" + many[5:], on_error="skip", notes=notes)
    assert len(notes.lines) == 25 and len(notes.told()) == 21
    assert notes.told()[-1] == "skipped 5 more lines: 25 lines in all"
    with pytest.raises(ArgumentError, match="on_error is 'maybe'"):
        read(root, many, on_error="maybe")


def test_a_wrong_line_does_not_change_a_columns_type(root: Path) -> None:
    records = read(root, "path,price\na.jpg,5\nnone.jpg,unknown\nb.jpg,7\n", on_error="skip")
    assert [record.metadata["price"] for record in records] == [5, 7]


def test_numbered_ids_are_told(root: Path) -> None:
    notes = Notes()
    records = read(root, "path,id\na.jpg,A\nb.jpg,A\nc.jpg,A\nimg/d,B\n", notes=notes)
    assert [record.id for record in records] == ["A", "A#2", "A#3", "B"]
    (remark,) = notes.told()
    assert remark.startswith("2 lines of ") and "ID#2" in remark


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["a.jpg,1", "b.jpg,2", "c,3", "img/d,4"]),
            st.text(st.sampled_from('ab,"\n\r\t\0;é'), max_size=12),
        ),
        max_size=8,
    ),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_lines_are_read_or_told(root: Path, lines: list[str], encoding: str) -> None:
    content = ("path,id\n" + "\n".join(lines) + "\nimg/d.jpg,last\n").encode(encoding)
    notes = Notes()
    try:
        records = read(root, content, on_error="skip", notes=notes)
    except DatasetError:
        # Every line was wrong, such as the last within a quote that a line before opened.
        return
    assert len(records) + len(notes.lines) >= 1
    if not any('"' in line for line in lines):
        wrong_or_read = {record.path.name for record in records}
        assert "d.jpg" in wrong_or_read


# Forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("path\tnote, or so\na.jpg\tx\n", "list.csv"),
        ("path\tnote, or, so\na.jpg\tx\n", "list.tsv"),
        ("note; a; b,path\nx,a.jpg\n", "list.csv"),
        ("sep=;\npath;a,b\na.jpg;x\n", "list.csv"),
        ('"sep=|"\r\npath|a\r\na.jpg|x\r\n', "list.csv"),
        ("SEP=\t\npath\ta\na.jpg\tx\n", "list.csv"),
        ("path,a\ra.jpg,x\r", "list.csv"),
        ("path\na.jpg", "list.csv"),
        ("path;note\r\na.jpg;x\r\n".encode("utf-16"), "list.csv"),
        (codecs.BOM_UTF16_BE + "path\tnote\na.jpg\tx\n".encode("utf-16-be"), "list.txt"),
        ("path\tnote\r\na.jpg\tx\r\n".encode("utf-16-le"), "list.csv"),
        ("path\tnote\r\na.jpg\tx\r\n".encode("utf-16-be"), "list.csv"),
        ("path,note\na.jpg,x\n".encode("utf-32"), "list.csv"),
    ],
)
def test_forms_that_are_read(root: Path, content: str | bytes, name: str) -> None:
    (record,) = read(root, content, name)
    assert record.path == root / "a.jpg"
    assert list(record.metadata.values()) in ([], ["x"])


def test_a_separator_line_counts_as_a_line(root: Path) -> None:
    assert left_out(root, "sep=;\npath;id\na.jpg;1\nnone.jpg;2\n")[1][0].startswith("4: ")


def test_a_tsv_is_a_source(root: Path) -> None:
    (root / "list.tsv").write_text("path\tid\na.jpg\tA\n")
    records, origin = detect.read(root / "list.tsv")
    assert [record.id for record in records] == ["A"] and origin.endswith("list.tsv")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"b.jpg,\xe9", "the text is not UTF-8"),
        (b"b.jpg,a\0b", "a cell holds a NUL"),
        (b"b.jpg," + b"x" * 200_000, "a cell has more than 131,072 characters"),
        (b'b.jpg,"' + b"x" * 200_000, "a cell has more than 131,072 characters"),
        (b"https://example.org/b.jpg,1", "is an address, and pictures are not fetched"),
        (b"s3://bucket/b.jpg,1", "is an address"),
        (b"x" * 300 + b".jpg,1", "there is no picture"),
    ],
)
def test_a_line_that_cannot_be_taken_costs_itself(root: Path, line: bytes, words: str) -> None:
    ids, reasons = left_out(root, b"path,id\na.jpg,A\n" + line + b"\nc.jpg,C\n")
    assert ids == ["A", "C"]
    (reason,) = reasons
    assert reason.startswith("3: ") and words in reason
    assert csv.field_size_limit() == 131_072  # the process's own, untouched


# From a cell to a picture ----------------------------------------------------------------------


@pytest.mark.parametrize("listed", ["NFC", "NFD"])
@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("ending", [".jpg", ""])
def test_normal_forms_of_names(tmp_path: Path, listed: str, stored: str, ending: str) -> None:
    name = "Größe/Café"
    file = tmp_path / normalize(stored, name + ".jpg")  # type: ignore[arg-type]
    file.parent.mkdir()
    file.touch()
    (record,) = read(tmp_path, f"path\n{normalize(listed, name)}{ending}\n")  # type: ignore[arg-type]
    assert record.path == file and record.path.is_file()


def test_other_slashes_and_addresses_of_files(root: Path) -> None:
    records = read(root, f"path\nimg\\d.jpg\n{(root / 'a.jpg').as_uri()}\n")
    assert [record.path for record in records] == [root / "img/d.jpg", root / "a.jpg"]
    (root / "odd\\name.jpg").touch()  # a name as it is comes first
    (record,) = read(root, "path\nodd\\name.jpg\n")
    assert record.path == root / "odd\\name.jpg"


def test_an_ending_that_is_left_out_must_be_plain(root: Path) -> None:
    (root / "a.png").touch()
    ids, reasons = left_out(root, "path\na\nb\n")
    assert ids == ["b.jpg"]
    assert reasons == ["2: 'a' may be a.jpg or a.png. Write the picture's ending."]
    assert read(root, "path\na.png\n")[0].path == root / "a.png"


def test_where_a_picture_is_found_does_not_depend_on_the_line_before(root: Path) -> None:
    (root / "images").mkdir()
    for name in ("only.jpg", "b.jpg"):
        (root / "images" / name).touch()
    records = read(root, "path\nonly\nb\n")
    assert [record.path for record in records] == [root / "images/only.jpg", root / "b.jpg"]


# Folders ---------------------------------------------------------------------------------------


def test_a_folder_tells_what_it_leaves_out(root: Path) -> None:
    (root / "notes.txt").touch()
    notes = Notes()
    records = folder.read(root, exclude=["img"], notes=notes)
    assert [record.id for record in records] == ["a.jpg", "b.jpg", "c.jpg"]
    assert notes.told() == ["left out: 1 .txt, 1 excluded"]
    with pytest.raises(DatasetError, match=r"no pictures \(left out: 4 excluded, 1 .txt\)|no pict"):
        folder.read(root, exclude=["*.jpg"], notes=Notes())
    (root / "list.csv").write_text("path\na.jpg\n")
    with pytest.raises(ArgumentError, match="--exclude"):
        detect.read(root, csv=root / "list.csv", exclude=["x"])


# Records made in Python ------------------------------------------------------------------------


def test_values_of_numpy_are_those_of_python() -> None:
    row: dict[str, Any] = {
        "n": np.int64(3), "x": np.float32(0.5), "new": np.bool_(True), "none": float("nan"),
        "gone": np.float64("nan"), "t": "text",
    }  # fmt: skip
    record = Record("a", Path("a"), category=np.str_("Hat"), metadata=row)
    columns = record.columns()
    assert columns == {
        "n": 3, "x": 0.5, "new": True, "none": None, "gone": None, "t": "text", "category": "Hat",
    }  # fmt: skip
    assert all(type(value).__module__ == "builtins" for value in columns.values())
