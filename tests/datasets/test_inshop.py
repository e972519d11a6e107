"""DeepFashion's in-shop benchmark: what is read, and what is refused with its line."""

from __future__ import annotations

import pytest
from PIL import Image

from vsearch_fast.datasets import detect, inshop
from vsearch_fast.errors import DatasetError
from vsearch_fast.evaluate import Options, evaluate, table_rows

ROWS = [
    ("img/WOMEN/Dresses/id_00000002/02_1_front.jpg", "id_00000002", "train", 3, 1),
    ("img/WOMEN/Dresses/id_00000002/02_2_side.jpg", "id_00000002", "train", 3, 2),
    ("img/MEN/Denim/id_00000080/01_1_front.jpg", "id_00000080", "query", 2, 1),
    ("img/MEN/Denim/id_00000080/01_3_back.jpg", "id_00000080", "gallery", 2, 3),
]


@pytest.fixture
def root(tmp_path):
    for number, (name, *_) in enumerate(ROWS):
        path = tmp_path / "Img" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 30), (60 * number, 99, 30)).save(path)
    (tmp_path / "Anno").mkdir()
    (tmp_path / "Eval").mkdir()
    write(
        tmp_path, inshop.PARTITION_FILE, [f"{n}   {item} {status}" for n, item, status, *_ in ROWS]
    )
    boxes = [f"{name} {kind} {pose} 001 002 020 025" for name, _, _, kind, pose in ROWS]
    write(tmp_path, inshop.BOX_FILE, boxes)
    return tmp_path


def write(root, name, lines, count=None):
    if name == inshop.BOX_FILE:
        folder, head = "Anno", "image_name clothes_type pose_type x_1 y_1 x_2 y_2"
    else:
        folder, head = "Eval", "image_name item_id evaluation_status"
    text = "\n".join([str(len(lines) if count is None else count), head, *lines, ""])
    (root / folder / name).write_text(text)


def test_read(root):
    records, origin = detect.read(root)
    assert origin == str(root)
    assert [record.id for record in records] == [name for name, *_ in ROWS]
    assert all(record.path.is_file() for record in records)
    third = records[2]
    assert (third.item, third.group, third.category) == ("id_00000080", "id_00000080", "MEN/Denim")
    assert third.box == (1, 2, 20, 25)
    assert [record.partition for record in records] == ["train", "train", "test", "test"]
    assert third.metadata == {
        "evaluation_status": "query", "category_type": "lower body", "pose": "front",
    }  # fmt: skip
    assert [r.id for r in inshop.read(root, "test")] == [r.id for r in records[2:]]


def test_boxes_may_be_missing(root):
    (root / "Anno" / inshop.BOX_FILE).unlink()
    record = inshop.read(root)[0]
    assert record.box is None and record.metadata == {"evaluation_status": "train"}


def test_item_recall(root, tmp_path):
    records = inshop.read(root)
    options = Options(draws=20, backend="cpu")
    study = evaluate(records, table_rows(), tmp_path / "cache", options=options)
    assert {"item recall"} < set(study.measures)
    recall = {f.value for f in study.figures if (f.measure, f.k) == ("item recall", 10)}
    assert recall == {1.0}


@pytest.mark.parametrize(
    ("file", "line", "told"),
    [
        (inshop.PARTITION_FILE, "img/a/b.jpg train", "2 words"),
        (inshop.PARTITION_FILE, "img/a/b.jpg id_1 Train", "the status is 'Train'"),
        (inshop.PARTITION_FILE, f"{ROWS[0][0]} id_1 train", "is there twice"),
        (inshop.BOX_FILE, "img/a/b.jpg 1 1 2 3 4", "6 words"),
        (inshop.BOX_FILE, "img/a/b.jpg 0 1 2 3 4 5", "not a type"),
        (inshop.BOX_FILE, "img/a/b.jpg 1 7 2 3 4 5", "not a type"),
        (inshop.BOX_FILE, "img/a/b.jpg 1 1 9 3 4 5", "is empty"),
    ],
)
def test_wrong_lines_are_named(root, file, line, told):
    folder = "Anno" if file == inshop.BOX_FILE else "Eval"
    path = root / folder / file
    lines = path.read_text().splitlines()[2:]
    write(root, file, [*lines, line])
    with pytest.raises(DatasetError, match=f"{file}:7: .*{told}"):
        inshop.read(root)


def test_row_count_and_empty_partition(root):
    with pytest.raises(DatasetError, match="lists no picture of the partition val"):
        inshop.read(root, "val")
    write(root, inshop.PARTITION_FILE, [], 0)
    with pytest.raises(DatasetError, match="lists no picture"):
        inshop.read(root)
    write(root, inshop.PARTITION_FILE, ["img/a/b.jpg id_1 train"], 2)
    with pytest.raises(DatasetError, match="ends after 1 rows"):
        inshop.read(root)
