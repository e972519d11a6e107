"""`vsearch optimize`, and what `vsearch info` tells of reduced rows."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_data import NEVER, REDUCED, cut_as
from old_index import make_format_1

from vsearch_fast.index import Index, Item
from vsearch_fast.search.tiling import Tiling

SMALL = Tiling(hopeless=NEVER, reduced_left=NEVER, **REDUCED)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index that was made before there were reductions."""
    rows = np.random.default_rng(0).integers(-3, 4, (130, 20)).astype(np.float32)
    with Index.create(tmp_path / "i", 20, segment_rows=64) as index:
        index.add([f"{i}" for i in range(130)], rows)
    return tmp_path / "i"


def test_it_tells_what_it_did(vsearch: Any, folder: Path) -> None:
    assert "reduced" not in vsearch("info", folder)[1]
    with cut_as(SMALL):
        code, out, _ = vsearch("optimize", folder, "--quiet")
        assert code == 0
        assert "L2: 128 of 130 rows reduced to 48 bytes each (a sketch has 20)" in out
        assert "L1: 128 of 130 rows reduced to" in out and "remain to be compared" in out
        code, out, _ = vsearch("optimize", folder, "--json")
        l2, l1 = json.loads(out)["metrics"]
        assert code == 0 and (l2["metric"], l1["metric"]) == ("l2", "l1")
        assert (l2["before"], l2["reduced"], l2["pays"]) == (128, 128, True)
    out = vsearch("info", folder)[1]
    assert "reduced       l2: 128 rows, 4 and 16 numbers, 48 bytes a row; of a sample" in out
    assert json.loads(vsearch("info", folder, "--json")[1])["reductions"]["l1"]["rows"] == 128


def test_where_it_does_not_pay(vsearch: Any, folder: Path) -> None:
    with cut_as(SMALL):
        vsearch("optimize", folder, "--quiet")
    with cut_as(replace(SMALL, reduced_worth=0.0)):
        out = vsearch("optimize", folder, "--quiet")[1]
    assert "L2: it would not pay, because" in out and "the 128 reduced rows are gone" in out
    out = vsearch("info", folder)[1]
    assert "l2: would not pay (" in out and "of the rows would remain)" in out


def test_short_rows_and_few(vsearch: Any, folder: Path) -> None:
    code, out, _ = vsearch("optimize", folder)
    assert code == 0 and out == (
        "Nothing to do: rows of 20 numbers, 130 of them, are too short or too few to be reduced\n"
    )
    code, _, err = vsearch("optimize", folder.with_name("nothing"))
    assert code == 1 and "does not exist" in err


def test_an_index_of_an_older_format(vsearch: Any, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    rows = np.random.default_rng(0).integers(-3, 4, (130, 20)).astype(np.float32)
    ids = [f"{number}" for number in range(130)]
    make_format_1(folder, ids, rows, [Item(name) for name in ids], ["3", "100"])
    with Index.open(folder) as index:
        before = index.search(np.ones((1, 20), np.float32), 5)
    code, out, _ = vsearch("optimize", folder)
    assert code == 0 and out.startswith("Its format was 1, and is this version's now")
    assert json.loads(vsearch("optimize", folder, "--json")[1])["upgraded"] is False
    assert vsearch("verify", folder)[0] == 0
    with Index.open(folder) as index:
        assert index.search(np.ones((1, 20), np.float32), 5) == before


@pytest.mark.parametrize(
    ("needs", "told"),
    [("9.1", "Upgrade vsearch_fast to version 9.1 or later."), ("<b>", "Upgrade vsearch_fast.")],
)
def test_a_later_format_says_which_version_it_needs(
    vsearch: Any, folder: Path, needs: str, told: str
) -> None:
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as sql:
        sql.execute("UPDATE meta SET value = ? WHERE key = 'needs'", (needs,))
        sql.execute("PRAGMA user_version = 9")
        sql.commit()
    code, _, err = vsearch("optimize", folder)
    assert code == 1 and "has index format 9" in err and told in err


def test_codes(vsearch: Any, folder: Path) -> None:
    """Their sums are told of beside the rows that are reduced."""
    with cut_as(replace(SMALL, summed_bytes=1, reduced_shapes=())):
        code, out, _ = vsearch("optimize", folder, "--quiet")
        assert code == 0
        assert "Hamming: 130 of 130 rows reduced to 32 bytes each (a code has 3); " in out
        assert out.endswith(" of a sample's rows remain to be read whole\n")
    out = vsearch("info", folder)[1]
    assert "reduced       hamming: 130 rows, 32 sums of bits, 32 bytes a row; of a sample" in out


def test_small_segments_are_joined(vsearch: Any, tmp_path: Path) -> None:
    folder = tmp_path / "i"
    rows = np.random.default_rng(0).integers(-3, 4, (130, 20)).astype(np.float32)
    with Index.create(folder, 20, segment_rows=16) as index:
        index.add([f"{i}" for i in range(130)], rows)
        index.remove(["3", "99"])
        right = index.search(rows[:2], 9)
    told = "segments      9, small ones: vsearch optimize would leave 1\nsegment_rows  16\n"
    assert told in vsearch("info", folder)[1]
    assert json.loads(vsearch("info", folder, "--json")[1])["joined"] == 1
    code, out, _ = vsearch("optimize", folder, "--quiet", "--segment-rows", "50")
    assert code == 0 and out == (
        "Segments: 9 of 16 rows were rewritten as 3 of 50; 2 removed rows dropped\n"
    )
    assert "segments      3\nsegment_rows  50\n" in vsearch("info", folder)[1]
    out = vsearch("optimize", folder, "--quiet")[1]
    assert out.startswith("Nothing to do: rows of 20 numbers, 128 of them")  # no more than four
    vsearch("optimize", folder, "--quiet", "--segment-rows", "16")
    code, out, _ = vsearch("optimize", folder, "--json")
    assert code == 0 and json.loads(out) == {
        "path": str(folder), "upgraded": False, "metrics": [], "segments": 1,
        "segment_rows": (256 << 20) // 80, "segments_before": 8, "dropped": 0,
    }  # fmt: skip
    assert vsearch("verify", folder)[0] == 0
    with Index.open(folder) as index:
        assert index.search(rows[:2], 9) == right
    assert vsearch("optimize", folder, "--segment-rows", "0")[0] == 2
