"""Wrong rows of DeepFashion's files: named at once, or left out with their pictures and listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsearch_fast.datasets import deepfashion, detect, inshop
from vsearch_fast.datasets.notes import Notes
from vsearch_fast.errors import ArgumentError, DatasetError

NAMES = [f"img/P{number // 2}/{number}.jpg" for number in range(8)]
ROWS = {
    "list_category_img.txt": [f"{name}  1" for name in NAMES],
    "list_bbox.txt": [f"{name}  001 002 020 025" for name in NAMES],
    "list_eval_partition.txt": [f"{name}  train" for name in NAMES],
    "list_attr_img.txt": [f"{name}  1 -1  0" for name in NAMES],
}
WRONG = {
    "list_category_img.txt": "9",
    "list_bbox.txt": "001 002 001 025",
    "list_eval_partition.txt": "trein",
    "list_attr_img.txt": "1 -1 x",
}


def table(root: Path, name: str, rows: list[str], count: int | None = None) -> None:
    place = root / "Anno" / name
    place.parent.mkdir(exist_ok=True)
    text = "\n".join([str(len(rows) if count is None else count), "a b", *rows, ""])
    place.write_bytes(text.encode(errors="surrogateescape"))


def given(root: Path, **changed: list[str]) -> Path:
    table(root, "list_category_cloth.txt", ["Anorak  1", "Skirt  2"])
    table(root, "list_attr_cloth.txt", ["lace  2", "a-line  3", "floral print  1"])
    for name, rows in ROWS.items():
        table(root, name, changed.get(name.removesuffix(".txt"), rows))
    (root / "img").mkdir(exist_ok=True)
    return root


def ids(root: Path, notes: Notes) -> list[str]:
    records, _ = detect.read(root, on_error="skip", notes=notes)
    return [record.id for record in records]


@pytest.mark.parametrize("file", list(ROWS))
def test_a_wrong_row_costs_its_picture(tmp_path: Path, file: str) -> None:
    rows = list(ROWS[file])
    rows[3] = f"{NAMES[3]}  {WRONG[file]}"
    root = given(tmp_path, **{file.removesuffix(".txt"): rows})
    notes = Notes()
    assert ids(root, notes) == NAMES[:3] + NAMES[4:]
    ((place, reason),) = notes.lines
    assert place == f"{root / 'Anno' / file}:6" and WRONG[file].split()[-1] in reason
    assert notes.told() == [f"skipped {place}: {reason}"]


@pytest.mark.parametrize("file", list(ROWS))
@pytest.mark.parametrize("row", ["", "\udcff\udcfe 1", "img/unknown.jpg"])
def test_a_row_that_names_no_picture(tmp_path: Path, file: str, row: str) -> None:
    """Whatever is wrong with it: the picture whose row it was is left out, and no other."""
    rows = list(ROWS[file])
    rows[3] = row + rows[3].removeprefix(NAMES[3]) if row else f"{NAMES[0]} {WRONG[file]}"
    root = given(tmp_path, **{file.removesuffix(".txt"): rows})
    notes = Notes()
    left = set(ids(root, notes))
    gone = {NAMES[3], "img/unknown.jpg"} | ({NAMES[0]} if not row else set())
    assert left == set(NAMES) - gone
    # The list itself may name any picture; then no other file has a row for it.
    place = f"{root / 'Anno' / file}:6"
    if file == "list_category_img.txt" and row == "img/unknown.jpg":
        place = f"{root / 'Anno' / 'list_bbox.txt'}:1"
    assert place in dict(notes.lines)


def test_all_wrong_rows_are_named_at_once(tmp_path: Path) -> None:
    changed = {}
    for number, (file, rows) in enumerate(ROWS.items()):
        changed[file.removesuffix(".txt")] = [
            f"{name}  {WRONG[file]}" if at == number else row
            for at, (name, row) in enumerate(zip(NAMES, rows, strict=True))
        ]
    root = given(tmp_path, **changed)
    with pytest.raises(DatasetError, match="4 lines are wrong") as refused:
        deepfashion.read(root)
    for number, file in enumerate(ROWS):
        assert f"{root / 'Anno' / file}:{number + 3}: " in refused.value.cause
    assert "--on-error skip" in refused.value.cure
    notes = Notes()
    assert ids(root, notes) == NAMES[4:] and len(notes.lines) == 4


def test_a_twin_row_is_passed_over(tmp_path: Path) -> None:
    root = given(tmp_path, list_bbox=[*ROWS["list_bbox.txt"], f"{NAMES[2]}  1 2 3 4"])
    notes = Notes()
    records, _ = detect.read(root, on_error="skip", notes=notes)
    assert [record.id for record in records] == NAMES
    assert records[2].box == (1, 2, 20, 25)
    assert [place for place, _ in notes.lines] == [f"{root / 'Anno' / 'list_bbox.txt'}:11"]


def test_files_that_are_wrong_as_a_whole_are_refused(tmp_path: Path) -> None:
    root = given(tmp_path)
    table(root, "list_bbox.txt", ROWS["list_bbox.txt"], 9)
    with pytest.raises(DatasetError, match="ends after 8 rows, and line 1 says 9") as refused:
        detect.read(root, on_error="skip")
    assert "--on-error" not in refused.value.cure
    given(root, list_category_img=[f"{name}  7" for name in NAMES])
    with pytest.raises(DatasetError, match="8 lines are wrong") as refused:
        detect.read(root, on_error="skip")
    assert "--on-error" not in refused.value.cure
    given(root)
    table(root, "list_category_cloth.txt", ["Anorak  1", "Skirt  8"])
    with pytest.raises(DatasetError, match=r"list_category_cloth\.txt:4: the type is '8'"):
        detect.read(root, on_error="skip")
    with pytest.raises(ArgumentError, match="on_error is 'no'"):
        deepfashion.read(root, on_error="no")  # type: ignore[arg-type]


def test_in_shop(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    rows = [f"{name}  id_{number // 2}  query" for number, name in enumerate(NAMES)]
    rows[1] = f"{NAMES[1]}  id_0  questioned"
    table(tmp_path, inshop.PARTITION_FILE, rows)
    file = tmp_path / "Anno" / inshop.PARTITION_FILE
    file.write_text(file.read_text().replace("a b", "image_name item_id evaluation_status"))
    boxes = [f"{name} 1 1 001 002 020 025" for name in NAMES]
    boxes[4] = f"{NAMES[4]} 1 1 001 002"
    table(tmp_path, inshop.BOX_FILE, boxes)
    with pytest.raises(DatasetError, match="2 lines are wrong"):
        detect.read(tmp_path)
    notes = Notes()
    assert ids(tmp_path, notes) == [NAMES[0], *NAMES[2:4], *NAMES[5:]]
    assert sorted(place.rsplit(":")[-1] for place, _ in notes.lines) == ["4", "7"]
