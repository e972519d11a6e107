"""Forks beside threads that read and a writer: each child's one answer is right, or refused in
words, and none hangs.

`pytest tests/faults/test_forks.py -m "full or not full" -s`
"""

from __future__ import annotations

from pathlib import Path

import fault_beside
import pytest
from fault_counts import Tally
from fault_stage import Stage

pytestmark = pytest.mark.posix


@pytest.mark.parametrize("forks", [25, pytest.param(2500, marks=pytest.mark.full)])
@pytest.mark.parametrize("writer", ["process", "thread"])
def test_forks(bare_stage: Stage, tmp_path: Path, writer: str, forks: int) -> None:
    folder = tmp_path / "index"
    bare_stage.run(fault_beside.make, folder)
    tally = Tally(f"forks beside a writer ({writer})")
    other = bare_stage.start(fault_beside.keep_committing, folder) if writer == "process" else None
    if other is not None:
        assert other.hear() == "open"
    ended = bare_stage.run(fault_beside.fork_beside_threads, folder, writer, forks, seconds=550)
    if other is not None:
        other.signal(9)
        other.ending()
    for number, told in enumerate(ended.said):
        if told == "parent: right":
            continue
        if told == "right" or told.startswith("refused "):
            tally.add(told.split()[0])
        else:
            tally.fail(f"fork {number}", told)
    if ended.result != "done":
        tally.fail("parent", ended.error or f"status {ended.status}")
    for text in sorted(
        {told.replace(str(folder), "...") for told in ended.said if "refused" in told}
    ):
        print(text)
    tally.settle(forks)
    assert tally.counts["right"], tally.line
