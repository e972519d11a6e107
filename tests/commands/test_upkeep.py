"""`vsearch verify`, `backup` and `compact`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import flip_row, tables
from old_index import make_format_1

from vsearch_fast.index import Index, Item


def test_a_sound_index(vsearch: Any, indexed: Path) -> None:
    code, out, _ = vsearch("verify", indexed)
    assert code == 0 and "is as it was written (12 rows" in out
    code, out, _ = vsearch("verify", indexed, "--json")
    found = json.loads(out)
    assert code == 0 and found["sound"] and found["damages"] == [] and found["rows"] == 12
    code, out, _ = vsearch("verify", indexed, "--repair")
    assert code == 0 and "0 restored, 0 embedded again, 0 dropped" in out


def test_damage_is_told_and_its_pictures_embedded_again(
    vsearch: Any, indexed: Path, model: Path
) -> None:
    with Index.open(indexed) as index:
        before = index.features([item.id for item in index])
        name = list(index)[3].id
    flip_row(indexed, "vectors-00000.npy", 3)
    code, out, _ = vsearch("verify", indexed)
    assert code == 1
    assert "vectors-00000.npy, row" in out and "--repair mends it" in out and "lamp/01.png" in out
    code, out, _ = vsearch("verify", indexed, "--json")
    assert code == 1
    [damage] = json.loads(out)["damages"]
    assert name in damage["ids"] and damage["kind"] == "vectors"
    code, out, _ = vsearch("verify", indexed, "--repair", "--model", model, "--quiet")
    assert code == 0 and "restored" in out and "0 dropped" in out
    assert vsearch("verify", indexed)[0] == 0
    with Index.open(indexed) as index:
        assert (index.features([item.id for item in index]) == before).all()


@pytest.mark.parametrize("how", ["--drop", "gone"])
def test_what_cannot_be_embedded_is_dropped_and_named(
    vsearch: Any, indexed: Path, model: Path, how: str
) -> None:
    with Index.open(indexed) as index:
        items = list(index)
    flip_row(indexed, "vectors-00000.npy", 0)
    arguments = ["verify", indexed, "--repair", "--model", model, "--quiet"]
    if how == "gone":
        for item in items:
            Path(str(item.path)).unlink()
    else:
        arguments.append(how)
    code, out, _ = vsearch(*arguments)
    assert code == 0 and f"dropped: {items[0].id}" in out
    assert vsearch("verify", indexed)[0] == 0


def test_pictures_that_were_moved_are_found(
    vsearch: Any, indexed: Path, pictures: Path, model: Path, tmp_path: Path
) -> None:
    pictures.rename(tmp_path / "elsewhere")
    flip_row(indexed, "vectors-00000.npy", 0)
    code, out, _ = vsearch(
        "verify", indexed, "--repair", "--model", model, "--photos", tmp_path / "elsewhere"
    )
    assert code == 0 and "0 dropped" in out


def test_what_is_beyond_repair_is_said(vsearch: Any, indexed: Path) -> None:
    with tables(indexed) as sql:
        sql.execute("UPDATE meta SET value = '9' WHERE key = 'dim'")
    for arguments in (["verify"], ["verify", "--repair"], ["info"]):
        code, out, err = vsearch(arguments[0], indexed, *arguments[1:])
        assert code == 1 and not out
        assert "are not as they were written" in err and "backup" in err
    assert "Traceback" not in err


def test_an_index_without_checksums_gets_them(vsearch: Any, tmp_path: Path) -> None:
    rows = np.eye(4, 16, dtype=np.float32)
    ids = ["a", "b", "c", "d"]
    make_format_1(tmp_path / "old", ids, rows, [Item(id_) for id_ in ids], ["b"])
    code, out, err = vsearch("verify", tmp_path / "old")
    assert code == 0 and "has no checksums" in err and "--add" in err
    code, out, err = vsearch("verify", tmp_path / "old", "--add")
    assert code == 0 and "has checksums now" in err and "as it was written" in out
    assert "has no checksums" not in vsearch("verify", tmp_path / "old")[2]


def test_a_backup(vsearch: Any, indexed: Path, tmp_path: Path) -> None:
    code, out, _ = vsearch("backup", indexed, tmp_path / "copy")
    assert code == 0 and "holds 12 rows" in out and "is verified" in out
    assert vsearch("verify", tmp_path / "copy")[0] == 0
    code, _, err = vsearch("backup", indexed, tmp_path / "copy")
    assert code == 1 and "is there already" in err
    code, out, _ = vsearch("backup", indexed, tmp_path / "whole", "--copy", "--json")
    assert code == 0 and json.loads(out)["path"] == str(tmp_path / "whole")
    code, _, err = vsearch("backup", tmp_path / "nothing", tmp_path / "x")
    assert code == 1 and "does not exist" in err


def test_compacting(vsearch: Any, indexed: Path) -> None:
    assert "0 removed rows dropped, 12 left" in vsearch("compact", indexed)[1]
    with Index.open(indexed, mode="rw") as index:
        index.remove([item.id for item in list(index)[:5]])
        kept = [item.id for item in index]
    code, out, _ = vsearch("compact", indexed, "--json")
    found = json.loads(out)
    assert code == 0 and (found["dropped"], found["rows"]) == (5, 7)
    with Index.open(indexed) as index:
        assert [item.id for item in index] == kept
