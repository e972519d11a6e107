"""The list of faults that tests must notice is of these sources, and what is said of it is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mutations import MUTATIONS
from run_mutations import RECORD, mutated, outcome

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("one", MUTATIONS, ids=lambda one: f"{Path(one.file).name}: {one.breaks}")
def test_each_text_is_there_once_and_each_test_exists(one):
    assert mutated(ROOT, one) != (ROOT / one.file).read_text(encoding="utf-8")
    assert one.tests
    for test in one.tests:
        file, _, name = test.partition("::")
        defined = re.findall(r"^def (test_\w+)\(", (ROOT / file).read_text(encoding="utf-8"), re.M)
        assert not name or name.partition("[")[0] in defined


def test_they_are_of_kernels_and_launcher_and_differ():
    assert len({(one.file, one.new, one.old) for one in MUTATIONS}) == len(MUTATIONS)
    files = {one.file for one in MUTATIONS}
    assert {Path(file).suffix for file in files} == {".cu", ".cuh", ".py"}
    assert len(MUTATIONS) >= 30


def test_the_kernels_page_says_how_many_are_noticed():
    page = (ROOT / "kernels" / "cuda" / "README.md").read_text(encoding="utf-8")
    said = re.search(r"Of (\d+) faults\s+of one line,\s+(\d+) were tried and (\d+) noticed", page)
    assert said
    record = json.loads(RECORD.read_text())
    known = [record[one.key][0] for one in MUTATIONS if one.key in record]
    assert set(known) <= {"caught", "survived"}
    assert list(map(int, said.groups())) == [len(MUTATIONS), len(known), known.count("caught")]
    assert not set(record) - {one.key for one in MUTATIONS}


def test_what_came_of_a_run(tmp_path):
    """By exit status: a failure, none, nothing to run, an endless one."""
    (tmp_path / "test_it.py").write_text(
        "import time\ndef test_fails(): assert 0\ndef test_passes(): pass\n"
        "def test_hangs(): time.sleep(60)\n"
    )
    assert outcome(tmp_path, ["test_it.py::test_fails"], 300) == (
        "caught", "test_fails",
    )  # fmt: skip
    assert outcome(tmp_path, ["test_it.py::test_passes"], 300)[0] == "survived"
    assert outcome(tmp_path, ["test_it.py::test_none"], 300)[0] == "not run"
    assert outcome(tmp_path, ["test_it.py::test_hangs"], 2) == ("caught", "nothing ends")


def test_a_text_that_is_not_there_once_is_refused(tmp_path):
    one = MUTATIONS[0]
    file = tmp_path / one.file
    file.parent.mkdir(parents=True)
    for text in ("", 2 * one.old):
        file.write_text(text)
        with pytest.raises(ValueError, match="times, not once"):
            mutated(tmp_path, one)
