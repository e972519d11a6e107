"""datasets.folder: folders of categories, CSV files in the forms that people have, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vsearch_fast.datasets import Record, folder
from vsearch_fast.errors import ArgumentError, DatasetError

PICTURES = ["shirts/b.jpg", "shirts/a.PNG", "hats/deep/er/c.webp", "top.jpg"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in [*PICTURES, "shirts/notes.txt", ".hidden/x.jpg", "images/d.jpeg", "images/e.JPG"]:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "set"


def write(root: Path, text: str | bytes, name: str = "list.csv") -> Path:
    path = root / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_sub_folder_is_a_category(root: Path) -> None:
    records = folder.read(root)
    assert [(record.id, record.category) for record in records] == [
        ("hats/deep/er/c.webp", "hats"),
        ("images/d.jpeg", "images"),
        ("images/e.JPG", "images"),
        ("shirts/a.PNG", "shirts"),
        ("shirts/b.jpg", "shirts"),
        ("top.jpg", None),
    ]
    assert all(record.path == root / record.id for record in records)
    assert records[0].columns() == {"category": "hats"}
    assert folder.read(root / "shirts")[0] == Record("a.PNG", root / "shirts" / "a.PNG")


def test_csv_with_everything(root: Path) -> None:
    csv = write(
        root,
        "path,id,category,group,partition,x1,y1,x2,y2,colour,price\n"
        "shirts/b.jpg,S1,Shirt,ann,train,1,2,30,40,red,5\n"
        "shirts/a.PNG,S1,Shirt,ann,train,,,,,,7\n"
        "d,H1,,,,0.0,-1,3,4,blue,\n",
    )
    first, second, third = folder.read(root, csv)
    assert first == Record(
        "S1",
        root / "shirts/b.jpg",
        (1, 2, 30, 40),
        "S1",
        "Shirt",
        "ann",
        "train",
        {"colour": "red", "price": 5},
    )
    assert (second.id, second.item, second.box) == ("S1#2", "S1", None)
    assert second.metadata == {"colour": None, "price": 7}
    assert third.path == root / "images/d.jpeg" and third.box == (0, -1, 3, 4)
    assert (third.category, third.group, third.partition) == (None, None, None)
    assert third.columns() == {"colour": "blue", "price": None, "item": "H1"}


def test_without_ids_the_path_is_the_id(root: Path, tmp_path: Path) -> None:
    write(root, "path,x1,y1,x2,y2\ntop.jpg,0,0,5,5\ntop.jpg,5,5,9,9\nd,,,,\n")
    records = folder.read(root, "list.csv")  # found in the root
    assert [record.id for record in records] == ["top.jpg", "top.jpg#2", "images/d.jpeg"]
    assert [record.item for record in records] == [None] * 3
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "near.jpg").touch()
    csv = write(elsewhere, f"path\nnear\ntop\n{root / 'shirts/b.jpg'}\n")
    records = folder.read(root, csv)
    assert [record.path for record in records] == [
        elsewhere / "near.jpg",
        root / "top.jpg",
        root / "shirts/b.jpg",
    ]
    near = (elsewhere / "near.jpg").as_posix()
    assert [record.id for record in records] == [near, "top.jpg", "shirts/b.jpg"]


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbfpath;note\r\ntop.jpg;"a; b"\r\n',
        b"path\tnote\ntop.jpg\ta; b\n",
        b"path|note\n\n  top.jpg | a; b \n\n",
        b'"path","note"\n"top.jpg","a; b"',
        b'"note, or so","path"\n"a; b",top.jpg\n',
    ],
)
def test_forms_of_csv(root: Path, content: bytes) -> None:
    (record,) = folder.read(root, write(root, content))
    assert record.path == root / "top.jpg"
    assert list(record.metadata.values()) == ["a; b"]


def test_quoted_cells_may_hold_quotes_and_lines(root: Path) -> None:
    csv = write(root, 'path,note\ntop.jpg,"say ""x""\nand more"\nnothing.jpg,\n')
    with pytest.raises(DatasetError, match=r"list\.csv:4: there is no picture 'nothing\.jpg'"):
        folder.read(root, csv)
    csv = write(root, 'path,note\ntop.jpg,"say ""x""\nand more"\n')
    assert folder.read(root, csv)[0].metadata == {"note": 'say "x"\nand more'}


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2", "0"], [1, -2, 0]),
        (["1", "", "3"], [1, None, 3]),
        (["1", "2.5", "1e3"], [1.0, 2.5, 1000.0]),
        (["1", "2", "x"], ["1", "2", "x"]),
        (["007", "1", "2"], ["007", "1", "2"]),
        (["0.5", "0", "-.5e-1"], [0.5, 0.0, -0.05]),
        (["True", "false", ""], [True, False, None]),
        (["True", "false", "1"], ["True", "false", "1"]),
        (["", "", ""], [None, None, None]),
        (["nan", "1", "2"], ["nan", "1", "2"]),
        (["1e999", "1", "2"], ["1e999", "1", "2"]),
        (["1_0", "1", "2"], ["1_0", "1", "2"]),
    ],
)
def test_a_columns_type_is_that_of_all_its_cells(
    root: Path, cells: list[str], values: list[Any]
) -> None:
    lines = [f"{path},{cell}" for path, cell in zip(PICTURES, cells, strict=False)]
    records = folder.read(root, write(root, "path,v\n" + "\n".join(lines)))
    found = [record.metadata["v"] for record in records]
    assert found == values and list(map(type, found)) == list(map(type, values))


def test_the_real_photos(photos: Path) -> None:
    columns = {"path": "image", "category": "label", "group": "sender_id"}
    records = folder.read(photos, photos / "images.csv", columns)
    assert len(records) > 3000
    assert len({record.id for record in records}) == len(records)
    first = records[0]
    assert first.path.suffix == ".jpg" and first.id == f"images/{first.path.name}"
    assert (first.category, first.group, first.item) == ("Hoodie", "48", None)
    assert first.metadata == {"kids": False}
    assert first.columns() == {"kids": False, "category": "Hoodie", "group": "48"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,id\ntop.jpg,1\n", r":1: there is no column 'path'.*one of: 'image', 'id'"),
        ("path\nmissing.jpg\n", r":2: there is no picture 'missing\.jpg'.*images"),
        ("path\nmissing\n", r":2: there is no picture 'missing'"),
        ("path\nshirts\n", r":2: there is no picture 'shirts'"),
        ("path,id\n,1\n", r":2: the picture's path is empty"),
        ("path,id\ntop.jpg,\n", r":2: the id is empty"),
        ("path,a\ntop.jpg,1\nd,2\ntop.jpg,3\n", r":4: 'top.jpg' is in line 2 already"),
        ("path,id\ntop.jpg,A\nd,A\nshirts/b.jpg,A#2\n", r":4: the id 'A#2' is what line 3"),
        ("path,a,a\ntop.jpg,1,2\n", r":1: the column 'a' is there twice"),
        ("path,a\ntop.jpg,1,2\n", r":2: 3 cells where the header has 2.*','"),
        ("path,x1,y1,x2\ntop.jpg,1,2,3\n", r":1: the box has no y2"),
        ("path,x1,y1,x2,y2\ntop.jpg,1,2,1,4\n", r":2: the box 1, 2, 1, 4 is not four numbers"),
        ("path,x1,y1,x2,y2\ntop.jpg,1,2,,4\n", r":2: the box 1, 2, , 4 is not"),
        ("path,x1,y1,x2,y2\ntop.jpg,1,2,inf,4\n", r":2: the box"),
        ("path,x1,y1,x2,y2\ntop.jpg,1,2,x,4\n", r":2: the box"),
        ("", r":1: the file is empty"),
        ("\n\n", r":1: the file is empty"),
        ("path,id\n", r":1: no line follows the header"),
        ('path,id\ntop.jpg,"A\n', r":2: no CSV can be read here.*quotes"),
        (b"path,id\ntop.jpg,1\nd,\xe9\n", r":3: the text is not UTF-8"),
        ("path,id\n".encode("utf-16"), r":1: no line follows the header"),
    ],
)
def test_a_wrong_csv_is_named_with_its_line(root: Path, text: str | bytes, words: str) -> None:
    csv = write(root, text)
    with pytest.raises(DatasetError, match=words) as caught:
        folder.read(root, csv)
    assert str(csv) in caught.value.cause
    assert caught.value.consequence == "The data set was not read" and caught.value.cure


def test_other_errors(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        folder.read(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="is not a folder"):
        folder.read(root / "top.jpg")
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    (tmp_path / "empty" / "sub" / "a.txt").touch()
    with pytest.raises(DatasetError, match=r"holds no pictures.*JPEG"):
        folder.read(tmp_path / "empty")
    with pytest.raises(DatasetError, match=r"none\.csv cannot be read \(No such file"):
        folder.read(root, "none.csv")
    csv = write(root, "path,id\ntop.jpg,1\n")
    with pytest.raises(DatasetError, match=":1: there is no column 'label'"):
        folder.read(root, csv, {"category": "label"})
    with pytest.raises(ArgumentError, match=r"role 'colour'.*path, id, item, category"):
        folder.read(root, csv, {"colour": "id"})
    with pytest.raises(ArgumentError, match="without a csv"):
        folder.read(root, columns={"path": "id"})


def test_a_missing_picture_keeps_its_place_when_asked(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    table = tmp_path / "list.csv"
    table.write_text("path,id\na,1\ngone,2\nb,3\n")
    records = folder.read(tmp_path, table, missing="keep")
    assert [record.id for record in records] == ["1", "2", "3"]
    assert [record.path.name for record in records] == ["a.jpg", "gone.jpg", "b.jpg"]
    with pytest.raises(ArgumentError, match="missing is 'perhaps'"):
        folder.read(tmp_path, table, missing="perhaps")  # type: ignore[arg-type]


def test_a_table_written_with_its_row_numbers(tmp_path):
    """pandas' to_csv puts a column without a name first."""
    (tmp_path / "a.jpg").touch()
    (tmp_path / "list.csv").write_text(",path,price\n0,a,3\n")
    (record,) = folder.read(tmp_path, "list.csv")
    assert record.columns() == {"price": 3}
    (tmp_path / "list.csv").write_text("path,pr\0ice\na,3\n")
    with pytest.raises(DatasetError, match=r"list\.csv:1: .*NUL"):
        folder.read(tmp_path, "list.csv")


def test_a_box_beyond_all_pictures_is_refused(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "list.csv").write_text("path,x1,y1,x2,y2\na,0,0,1e30,10\n")
    with pytest.raises(DatasetError, match=r"list\.csv:2: the box"):
        folder.read(tmp_path, "list.csv")


def test_items_beside_ids_and_shared_pictures(tmp_path):
    """Two products may share a photo; an item column says what is one thing."""
    (tmp_path / "a.jpg").touch()
    (tmp_path / "list.csv").write_text("path,id,item\na,1,dress\na,2,belt\n")
    records = folder.read(tmp_path, "list.csv")
    assert [(r.id, r.item) for r in records] == [("1", "dress"), ("2", "belt")]
    (tmp_path / "list.csv").write_text("path,id\na,1\na,1\n")
    with pytest.raises(DatasetError, match=r"list\.csv:3: 'a' is in line 2 already"):
        folder.read(tmp_path, "list.csv")
