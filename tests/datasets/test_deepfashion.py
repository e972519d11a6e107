"""datasets.deepfashion: its layouts and quirks, its errors by line, and writing it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vsearch_fast.datasets import Record, deepfashion, detect
from vsearch_fast.datasets.notes import Notes
from vsearch_fast.errors import ArgumentError, DatasetError

# As the data set's own files are: odd header spacing, padding, zero-padded boxes, an empty
# category, attribute names with blanks, a file name that repeats in another folder.
FILES = {
    "list_category_cloth.txt": (
        "4\ncategory_name  category_type\n"
        "Anorak         1\nSkirt                   2\nCape                    3\n"
        "Dress                   3\n"
    ),
    "list_category_img.txt": (
        "3\nimage_name category_label\n"
        "img/Sheer_Pleated-Front_Blouse/img_00000001.jpg                               1  \n"
        "img/Sheer_Pleated-Front_Blouse/img_00000002.jpg                               1  \n"
        "img/Long_Dress/img_00000001.jpg                                               4  \n"
    ),
    "list_bbox.txt": (
        "3\nimage_name  x_1  y_1  x_2  y_2\n"
        "img/Sheer_Pleated-Front_Blouse/img_00000001.jpg          072 079 232 273\n"
        "img/Sheer_Pleated-Front_Blouse/img_00000002.jpg          008 009 300 300\n"
        "img/Long_Dress/img_00000001.jpg                          000 000 001 010\n"
    ),
    "list_eval_partition.txt": (
        "3\nimage_name evaluation_status\n"
        "img/Sheer_Pleated-Front_Blouse/img_00000001.jpg          train\n"
        "img/Sheer_Pleated-Front_Blouse/img_00000002.jpg          val\n"
        "img/Long_Dress/img_00000001.jpg                          test\n"
    ),
    "list_attr_cloth.txt": (
        "3\nattribute_name attribute_type\n"
        "a-line                        3\nabstract floral print         1\nlace   2\n"
    ),
    "list_attr_img.txt": (
        "3\nimage_name  attribute_labels\n"
        "img/Sheer_Pleated-Front_Blouse/img_00000001.jpg          -1  1  1\n"
        "img/Sheer_Pleated-Front_Blouse/img_00000002.jpg          -1 -1  0\n"
        "img/Long_Dress/img_00000001.jpg                           1 -1 -1\n"
    ),
}
NAMES = [
    "img/Sheer_Pleated-Front_Blouse/img_00000001.jpg",
    "img/Sheer_Pleated-Front_Blouse/img_00000002.jpg",
    "img/Long_Dress/img_00000001.jpg",
]


def make(root: Path, anno: str = "Anno", evaluation: str = "Eval", img: str = "Img/img") -> Path:
    for name, text in FILES.items():
        place = root / (evaluation if "partition" in name else anno)
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(text.encode())
    for name in NAMES:
        path = root / img / name.removeprefix("img/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "deepfashion")


def expected(root: Path, img: str = "Img/img") -> list[Record]:
    def record(row: int, box: Any, category: str, kind: str, part: str, attributes: str) -> Record:
        name = NAMES[row]
        product = name.split("/")[1]
        path = root / img / name.removeprefix("img/")
        metadata = {"category_type": kind, "attributes": attributes}
        return Record(name, path, box, product, category, product, part, metadata)

    lace = "abstract floral print;lace"
    return [
        record(0, (72, 79, 232, 273), "Anorak", "upper body", "train", lace),
        record(1, (8, 9, 300, 300), "Anorak", "upper body", "val", ""),
        record(2, (0, 0, 1, 10), "Dress", "full body", "test", "a-line"),
    ]


@pytest.mark.parametrize("anno", ["Anno", "Anno_coarse", "."])
@pytest.mark.parametrize(("evaluation", "img"), [("Eval", "Img/img"), (None, "img")])
def test_layouts(tmp_path: Path, anno: str, evaluation: str | None, img: str) -> None:
    root = make(tmp_path / "set", anno, evaluation or anno, img)
    (root / "Anno_fine").mkdir()
    (root / "Anno_fine" / "list_bbox.txt").write_text("1\nanother format\n")
    assert deepfashion.read(root, check_files=True) == expected(root, img)
    assert deepfashion.attribute_types(root) == {
        "a-line": "shape",
        "abstract floral print": "texture",
        "lace": "fabric",
    }


def test_windows_line_ends_and_blank_lines_at_the_end(root: Path) -> None:
    for name in FILES:
        file = root / ("Eval" if "partition" in name else "Anno") / name
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n  \r\n")
    assert deepfashion.read(root) == expected(root)
    for name in FILES:
        file = root / ("Eval" if "partition" in name else "Anno") / name
        file.write_bytes(file.read_bytes().rstrip())
    assert deepfashion.read(root) == expected(root)


def test_rows_in_another_order(root: Path) -> None:
    for name in ("Anno/list_bbox.txt", "Anno/list_attr_img.txt", "Eval/list_eval_partition.txt"):
        lines = (root / name).read_text().splitlines()
        (root / name).write_text("\n".join([*lines[:2], *reversed(lines[2:])]) + "\n")
    assert deepfashion.read(root) == expected(root)


def test_parts(root: Path) -> None:
    assert [record.id for record in deepfashion.read(root, "val")] == NAMES[1:2]
    records = deepfashion.read(root, boxes=False, attributes=False)
    assert [record.box for record in records] == [None] * 3
    assert records[2].columns() == {
        "category_type": "full body",
        "item": "Long_Dress",
        "category": "Dress",
        "group": "Long_Dress",
        "partition": "test",
    }
    for name in ("list_bbox", "list_attr_cloth", "list_attr_img"):
        (root / "Anno" / f"{name}.txt").unlink()
    assert deepfashion.read(root, boxes=False, attributes=False) == records
    (root / "Eval" / "list_eval_partition.txt").unlink()
    without = deepfashion.read(root, boxes=False, attributes=False)
    assert [record.partition for record in without] == [None] * 3


@pytest.mark.parametrize("name", list(FILES))
def test_a_missing_file_says_where_it_belongs(root: Path, name: str) -> None:
    place = "Eval" if "partition" in name else "Anno"
    (root / place / name).unlink()
    with pytest.raises(DatasetError, match=f"{name} is missing") as caught:
        deepfashion.read(root, "train")
    for folder in ("Anno", "Anno_coarse", "Eval"):
        assert str(root / folder / name) in caught.value.cure
    (root / "Anno_fine").mkdir()
    with pytest.raises(DatasetError, match="Anno_fine does not replace it"):
        deepfashion.read(root, "train")


def test_missing_pictures(root: Path) -> None:
    (root / "Img" / NAMES[1]).unlink()
    assert len(deepfashion.read(root)) == 3
    assert len(deepfashion.read(root, "test", check_files=True)) == 1
    with pytest.raises(DatasetError, match=rf"{NAMES[1]} is missing"):
        deepfashion.read(root, check_files=True)
    shutil.rmtree(root / "Img" / "img" / "Long_Dress")
    with pytest.raises(DatasetError, match=rf"{NAMES[2]} is missing"):
        deepfashion.read(root, "test", check_files=True)
    shutil.rmtree(root / "Img")
    with pytest.raises(DatasetError, match=r"holds no pictures.*Img/img or .*/img"):
        deepfashion.read(root)


P = "img/Long_Dress/img_00000001.jpg"


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "words"),
    [
        ("list_category_img.txt", "3\n", "4\n", 5, "ends after 3 rows, and line 1 says 4"),
        ("list_category_img.txt", "3\n", "2\n", 5, "ends after 3 rows, and line 1 says 2"),
        ("list_category_img.txt", "3\n", "\n", 1, "the number of rows should stand here"),
        ("list_category_img.txt", "4  \n", "\n", 5, "1 word where a picture and a category"),
        ("list_category_img.txt", "4  \n", "5  \n", 5, "the category is '5', not 1 to 4"),
        ("list_category_img.txt", "4  \n", "0  \n", 5, "the category is '0'"),
        ("list_category_img.txt", "4  \n", "-1\n", 5, "the category is '-1'"),
        ("list_category_img.txt", "00002.jpg", "00001.jpg", 4, "'.*' is there twice"),
        ("list_category_img.txt", "Long_Dress", "Lo\udce9", 5, "not UTF-8"),
        ("list_category_cloth.txt", "Skirt                   2", "Skirt", 4, "a name and a type"),
        ("list_category_cloth.txt", "Skirt  ", "Cape  ", 5, "'Cape' is there twice"),
        ("list_category_cloth.txt", "Dress                   3", "Dress  4", 6, "type is '4', not"),
        ("list_bbox.txt", "000 000 001 010", "000 000 001", 5, "4 words where a picture and 4"),
        ("list_bbox.txt", "000 000 001 010", "000 000 000 010", 5, "000 000 000 010 is empty"),
        ("list_bbox.txt", "000 000 001 010", "000 000 1,5 010", 5, "is not four numbers"),
        ("list_bbox.txt", P, "img/Other/1.jpg", 5, "'img/Other/1.jpg' is not in list_category_img"),
        ("list_bbox.txt", P, NAMES[0], 5, "is there twice"),
        ("list_bbox.txt", f"{P}                          000 000 001 010\n", "", 4, "after 2 rows"),
        ("list_eval_partition.txt", "test\n", "best\n", 5, "partition is 'best', not train, val"),
        ("list_eval_partition.txt", "test\n", "\n", 5, "1 word where a picture and a partition"),
        ("list_eval_partition.txt", P, "img/x.jpg", 5, "'img/x.jpg' is not in"),
        ("list_attr_cloth.txt", "lace   2", "lace   6", 5, "type is '6', not 1 to 5"),
        ("list_attr_img.txt", " 1 -1 -1\n", " 1 -1\n", 5, "2 labels where .* has 3 attributes"),
        ("list_attr_img.txt", " 1 -1 -1\n", " 1 -1 -1 1\n", 5, "4 labels where .* has 3"),
        ("list_attr_img.txt", " 1 -1 -1\n", "\n", 5, "0 labels where .* has 3"),
        ("list_attr_img.txt", "-1 -1  0\n", "-1 -1  2\n", 4, "label is b'2', not 1, -1 or 0"),
        ("list_attr_img.txt", "-1 -1  0\n", "-1 -1 -0\n", 4, "label is b'-0'"),
        ("list_attr_img.txt", "-1 -1  0\n", "-1 -1 11\n", 4, "label is b'11'"),
        ("list_attr_img.txt", "-1 -1  0\n", "-1 11\n", 4, "label is b'11'"),
        ("list_attr_img.txt", "-1 -1  0\n", "-1-1  0\n", 4, "label is b'-1-1'"),
        ("list_attr_img.txt", "-1 -1  0\n", "-1 -1  n\n", 4, "label is b'n'"),
        ("list_attr_img.txt", "-1 -1  0\n", "-1 -1 1-\n", 4, "label is b'1-'"),
        ("list_attr_img.txt", "-1 -1  0\n", "-1 -1 --1\n", 4, "label is b'--1'"),
        ("list_attr_img.txt", "-1 -1  0\n", "-1 - 1 0\n", 4, "label is b'-'"),
        ("list_attr_img.txt", "-1 -1  0\n", "-1 -1 x\n", 4, "label is b'x'"),
        ("list_attr_img.txt", "-1  1  1\n", "-1  1 -\n", 3, "label is b'-'"),
        ("list_attr_img.txt", P, "img/x.jpg", 5, "'img/x.jpg' is not in"),
        ("list_attr_img.txt", P, NAMES[1], 5, "is there twice"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_with_its_line(
    root: Path, file: str, old: str, new: str, line: int, words: str
) -> None:
    path = root / ("Eval" if "partition" in file else "Anno") / file
    text = path.read_text()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode(errors="surrogateescape"))
    with pytest.raises(DatasetError, match=words) as caught:
        deepfashion.read(root)
    assert caught.value.cause.startswith(f"{path}:{line}: ")


def test_a_file_that_lacks_a_picture_but_has_its_count(root: Path) -> None:
    for file in ("Anno/list_bbox.txt", "Anno/list_attr_img.txt", "Eval/list_eval_partition.txt"):
        path = root / file
        whole = path.read_text()
        lines = whole.splitlines()
        path.write_text("\n".join(["2", *lines[1:4]]))
        with pytest.raises(DatasetError, match=f"{path}:1: no row names the picture '{P}'"):
            deepfashion.read(root)
        path.write_text(whole)


def test_other_errors(root: Path) -> None:
    with pytest.raises(ArgumentError, match=r"partition is 'all'.*train, val, test"):
        deepfashion.read(root, "all")  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="is not a folder"):
        deepfashion.read(root / "nothing")


def test_blocks_of_labels_give_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random labels, blocks of a few rows: equal to a plain reading."""
    rng = np.random.default_rng(0)
    count, width = 200, 37
    labels = rng.choice([-1, 0, 1], (count, width), p=[0.6, 0.2, 0.2])
    names = [f"img/P{row // 7}/{row}.jpg" for row in range(count)]
    attributes = [f"attribute {number}" for number in range(width)]

    def table(name: str, header: str, rows: list[str]) -> None:
        (root / "Anno" / name).write_text("\n".join([str(len(rows)), header, *rows, ""]))

    table("list_category_img.txt", "x y", [f"{name}   2" for name in names])
    table("list_attr_cloth.txt", "x y", [f"{name}  5" for name in attributes])
    rows = [
        f"{name}   " + " ".join(f"{label:>{rng.integers(1, 4)}}" for label in line)
        for name, line in zip(names, labels, strict=True)
    ]
    table("list_attr_img.txt", "x y", rows)
    (root / "Eval" / "list_eval_partition.txt").unlink()
    expected = [
        ";".join(attributes[number] for number in np.flatnonzero(line == 1)) for line in labels
    ]
    for block in (1, 700, 1 << 20):
        monkeypatch.setattr(deepfashion, "_BLOCK_BYTES", block)
        records = deepfashion.read(root, boxes=False)
        assert [record.metadata["attributes"] for record in records] == expected
    broken = [*rows[:150], rows[150].replace(" 1", " 7", 1), *rows[151:]]
    table("list_attr_img.txt", "x y", broken)
    for block in (1, 700, 1 << 20):
        monkeypatch.setattr(deepfashion, "_BLOCK_BYTES", block)
        with pytest.raises(DatasetError, match=r"list_attr_img\.txt:153: .*b'7'"):
            deepfashion.read(root, boxes=False)


# Writing


@pytest.mark.parametrize("layout", ["Anno", "Anno_coarse"])
@pytest.mark.parametrize("img", ["Img/img", "img"])
def test_round_trip_in_place(root: Path, tmp_path: Path, layout: Any, img: Any) -> None:
    made = make(tmp_path / "made", img=img)
    records = deepfashion.read(made)
    shutil.rmtree(made / "Anno")
    shutil.rmtree(made / "Eval")
    types = deepfashion.attribute_types(root)
    deepfashion.write(records, made, layout=layout, img=img, attributes=types)
    assert deepfashion.read(made, check_files=True) == expected(made, img)
    assert deepfashion.attribute_types(made) == types
    lines = (made / layout / "list_bbox.txt").read_text().splitlines()
    assert lines[:2] == ["3", "image_name  x_1  y_1  x_2  y_2"]
    assert lines[2] == f"{NAMES[0]}  072 079 232 273"
    assert lines[4] == f"{NAMES[2]:<{len(NAMES[0])}}  000 000 001 010"
    assert (made / "Eval" / "list_eval_partition.txt").read_text().splitlines()[2].split() == [
        NAMES[0],
        "train",
    ]
    assert not list(made.rglob("*.new"))


def picture(path: Path, size: tuple[int, int] = (30, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (len(path.name), 0, 0)).save(path)
    return path


def test_pictures_from_elsewhere_are_linked_in(tmp_path: Path) -> None:
    source = picture(tmp_path / "mine" / "a.png")
    records = [
        Record("1", source, item="red shirt", category="Shirt", metadata={"attributes": "b;a"}),
        Record("2", picture(tmp_path / "other" / "a.png"), (1, 2, 3, 4), category="Hat"),
        Record("3", picture(tmp_path / "mine" / "b.png"), group="red shirt", category="Shirt"),
    ]
    root = tmp_path / "set"
    for _ in range(2):  # writing again replaces
        deepfashion.write(records, root, attributes={"c": "part"})
        found = deepfashion.read(root, check_files=True)
        assert [record.id for record in found] == [
            "img/red_shirt/a.png",
            "img/Hat/a.png",
            "img/red_shirt/b.png",
        ]
        assert [record.box for record in found] == [(0, 0, 30, 20), (1, 2, 3, 4), (0, 0, 30, 20)]
        assert [record.partition for record in found] == [None] * 3
        assert [record.metadata["attributes"] for record in found] == ["b;a", "", ""]
        assert deepfashion.attribute_types(root) == {"c": "part", "b": "style", "a": "style"}
    assert found[0].path.read_bytes() == source.read_bytes()
    assert found[0].path.stat().st_ino == source.stat().st_ino


def test_pictures_are_copied_where_links_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    source = picture(tmp_path / "a.png")
    deepfashion.write([Record("1", source, category="Hat")], tmp_path / "set", img="img")
    (found,) = deepfashion.read(tmp_path / "set")
    assert found.path.read_bytes() == source.read_bytes()
    assert found.metadata == {"category_type": "full body", "attributes": ""}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"category": None}, "'1' has the category None"),
        ({"category": " Hat"}, "'1' has the category ' Hat'"),
        ({"partition": "train"}, "'0' has the partition None"),
        ({"metadata": {"category_type": "socks"}}, "category_type 'socks'"),
        ({"metadata": {"category_type": "upper body"}}, "gives 'Hat' another category_type"),
        ({"metadata": {"attributes": "a; b"}}, "has the attribute ' b'"),
        ({"path": "nothing.png"}, "has no picture at"),
        ({"path": "a b.png"}, "would be named 'img/Hat/a b.png'"),
        ({"path": "sub/a.png"}, "would have the name 'img/Hat/a.png' of record '0'"),
        ({"path": "broken.png"}, "has no box, and its picture cannot be read"),
    ],
)
def test_what_the_format_cannot_hold(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    for name in ("a.png", "b.png", "a b.png", "sub/a.png"):
        picture(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    good = {"path": tmp_path / "b.png", "category": "Hat"}
    if "path" in change:
        change = {"path": tmp_path / change["path"]}
    records = [
        Record("0", tmp_path / "a.png", category="Hat"),
        Record("1", **{**good, **change}),
    ]
    with pytest.raises(DatasetError, match=words):
        deepfashion.write(records, tmp_path / "set")


def test_write_refuses_unknown_choices(tmp_path: Path) -> None:
    records = [Record("0", picture(tmp_path / "a.png"), category="Hat")]
    with pytest.raises(ArgumentError, match="layout is 'Annotations'"):
        deepfashion.write(records, tmp_path, layout="Annotations")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="img is 'images'"):
        deepfashion.write(records, tmp_path, img="images")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="type of attribute 'x' is 'colour'"):
        deepfashion.write(records, tmp_path, attributes={"x": "colour"})
    with pytest.raises(DatasetError, match="There are no records"):
        deepfashion.write([], tmp_path)


@pytest.mark.posix
def test_a_picture_already_in_place_under_another_name_is_kept(tmp_path):
    """A link to the data set's folder: source and target are one file."""
    root = tmp_path / "root"
    picture = root / "img" / "Dress" / "a.jpg"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(picture)
    content = picture.read_bytes()
    (tmp_path / "link").symlink_to(root)
    record = Record(
        "a", tmp_path / "link" / "img" / "Dress" / "a.jpg", item="Dress", category="Dress"
    )
    deepfashion.write([record], root, img="img")
    assert picture.read_bytes() == content
    assert [r.path for r in deepfashion.read(root)] == [picture]


def test_without_files_of_attributes(root: Path) -> None:
    notes = Notes()
    for name in ("list_attr_cloth.txt", "list_attr_img.txt"):
        (root / "Anno" / name).unlink()
        if name == "list_attr_cloth.txt":
            with pytest.raises(DatasetError, match="list_attr_cloth"):  # one alone: incomplete
                detect.read(root)
    records, _ = detect.read(root, notes=notes)
    assert len(records) == 3 and all("attributes" not in each.metadata for each in records)
    assert "no attributes" in notes.told()[0]


def test_boxes_are_rounded(root: Path) -> None:
    path = root / "Anno" / "list_bbox.txt"
    text = path.read_text()
    path.write_text(text.replace("000 000 001 010", "0.4 0.6 1.4 9.5", 1))
    assert deepfashion.read(root)[2].box == (0, 1, 1, 10)
