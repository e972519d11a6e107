"""A power cut at any moment: what had returned is there, what was under way is there or not.

The log of the writing calls is played back to a disk that forgets, in any order, what was not
flushed (`support/fault_disk.py`).

`pytest tests/faults/test_power_cuts.py -m "full or not full" -s`
"""

from __future__ import annotations

import random
from pathlib import Path

import fault_disk
import fault_shim
import pytest
from fault_counts import Tally
from fault_cuts import judge_images, perform_all
from fault_disk import Disk, Image
from fault_operations import BY_NAME, OPERATIONS, prepare
from fault_shim import Call
from fault_stage import Stage

pytestmark = pytest.mark.posix


NAMES = [operation.name for operation in OPERATIONS]


#: Some operations on one open index, as well.
SEVERAL = ["add", "replace", "update"]


def played(stage: Stage, made: Path, tmp_path: Path, names: list[str]) -> tuple[list[Call], Image]:
    """The log of these operations, and what the folder held before."""
    place, log = tmp_path / "place", tmp_path / "log"
    folder = prepare(place, BY_NAME[names[0]], made)
    start = fault_disk.read(place)
    ended = stage.run(perform_all, names, folder, arm=fault_shim.armed(place, log))
    assert ended.said == ["done"] * len(names), ended
    calls = fault_shim.read_log(log)
    # The log tells all: played back it gives what the folder holds.
    whole = Disk(place, start)
    for call in calls:
        whole.play(call)
    assert whole.image() == fault_disk.read(place)
    return calls, start


def cuts(place: Path, start: Image, calls: list[Call], states: int) -> list[tuple[str, int, Image]]:
    """So many images, spread over the log: name, how many operations had returned, what is left."""
    numbers = random.Random(states)
    images = []
    each = -(-states // len(calls))
    chosen = sorted(numbers.sample(range(len(calls)), -(-states // each)))
    disk, done = Disk(place, start), 0
    for at, call in enumerate(calls):
        disk.play(call)
        done += call.call == "mark"
        if at in chosen:
            name = f"cut after call {at} ({call.call} {Path(call.path).name})"
            images += [(f"{name}, {n}", done, disk.cut(numbers)) for n in range(each)]
    return images


def judged(
    stage: Stage, names: list[str], tmp_path: Path, images: list[tuple[str, int, Image]]
) -> Tally:
    tally = Tally(f"power cuts of {', '.join(names)}")
    for first in range(0, len(images), 50):
        part = images[first : first + 50]
        ended = stage.run(judge_images, names, tmp_path / f"cut{first}", part, seconds=600)
        for case, outcome in ended.said:
            if outcome in ("before", "after", "same"):
                tally.add(f"left the state {outcome}")
            else:
                tally.fail(case, outcome)
        if ended.error is not None or ended.status or len(ended.said) < len(part):
            tally.fail(f"after {ended.said[-1:]}", ended)
    return tally


@pytest.mark.parametrize("states", [4, pytest.param(250, marks=pytest.mark.full)])
@pytest.mark.parametrize("names", [*([name] for name in NAMES), SEVERAL], ids="-".join)
def test_power_cuts(
    stage: Stage, made: Path, tmp_path: Path, names: list[str], states: int
) -> None:
    calls, start = played(stage, made, tmp_path, names)
    images = cuts(tmp_path / "place", start, calls, states)
    judged(stage, names, tmp_path, images).settle(states)


def test_a_disk_that_never_flushes_is_found_out(stage: Stage, made: Path, tmp_path: Path) -> None:
    """The cuts above are hard enough: without the flushes of an addition they do harm."""
    calls, start = played(stage, made, tmp_path, ["add"])
    careless = [call for call in calls if call.call != "fsync"]
    images = cuts(tmp_path / "place", start, careless, 40)
    assert judged(stage, ["add"], tmp_path, images).failures
