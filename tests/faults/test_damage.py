"""Every file of an index flipped, zeroed, cut and swapped: noticed, or without effect.

`pytest tests/faults/test_damage.py -m "full or not full" -s`
"""

from __future__ import annotations

from pathlib import Path

import fault_truth
import pytest
from fault_counts import Tally
from fault_damage import Sources, judge_damage
from fault_stage import Stage

pytestmark = pytest.mark.posix


@pytest.fixture(scope="module")
def sources(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    place = tmp_path_factory.mktemp("sources")
    # An index's own history has the same beginning; another's has other features throughout.
    fault_truth.make_base(place / "other", seed=50)
    older = fault_truth.history()[fault_truth.OLDER]
    return Sources(made, made.with_name("older"), older, place / "other")


@pytest.mark.parametrize(
    "seeds", [range(120), pytest.param(range(1000, 3000), marks=pytest.mark.full)], ids=len
)
def test_damage_is_noticed(
    bare_stage: Stage, sources: Sources, tmp_path: Path, seeds: range
) -> None:
    tally = Tally("files damaged")
    by_file: dict[str, Tally] = {}
    first = seeds.start
    while first < seeds.stop:
        ended = bare_stage.run(
            judge_damage, tmp_path, sources, range(first, min(first + 50, seeds.stop))
        )
        done: tuple[str, str] = ("", "")
        for seed, verdict, what in ended.said:
            first = seed + 1
            if verdict is None:
                done = what
                continue
            name, how = done
            file = by_file.setdefault(name.split("-")[0].split(".")[0], Tally(f"  {name}"))
            for each in (tally, file):
                if verdict == "wrong" or (verdict == "older" and name != "index.sqlite"):
                    each.fail(f"seed {seed}, {name}, {how}", what)
                else:
                    each.add(verdict)
        if ended.status or ended.error is not None:  # SIGBUS, for one
            tally.fail(f"seed {first - 1}, {done}", f"status {ended.status}, {ended.error}")
    for file in by_file.values():
        print(file.line)
    tally.settle(len(seeds))
    assert tally.counts["detected"] > len(seeds) / 4
