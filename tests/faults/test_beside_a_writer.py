"""Readers beside a writer that works, that is frozen, and copies made under it.

`pytest tests/faults/test_beside_a_writer.py -m "full or not full" -s`
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import fault_beside
import fault_disk
import fault_shim
import pytest
from fault_counts import Tally
from fault_cuts import judge_copies, perform_all
from fault_disk import Disk, Image
from fault_operations import BY_NAME, OPERATIONS, judge, perform, prepare
from fault_stage import Actor, Stage

pytestmark = pytest.mark.posix


#: Seconds within which readers answer, whatever the writer does.
PATIENCE = 2.0


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.full)])
def test_sixteen_threads_beside_a_writer(bare_stage: Stage, tmp_path: Path, seconds: int) -> None:
    """Every answer is that of the commit that it claims to be of."""
    folder = tmp_path / "index"
    bare_stage.run(fault_beside.make, folder)
    writer = bare_stage.start(fault_beside.keep_committing, folder, seconds)
    assert writer.hear() == "open"
    ended = bare_stage.run(fault_beside.ask_in_threads, folder, 16, seconds, seconds=seconds + 60)
    commits = writer.ending().said[-1]
    tally = Tally(f"answers to 16 threads beside a writer, {seconds} s, {commits} commits")
    right, marks, errors = ended.result or (0, 0, [ended])
    tally.counts["right"] = right
    for error in errors:
        tally.fail("thread", error)
    print(f"\n{marks} commits seen")
    tally.settle(16)
    assert marks > 2


# A frozen writer


def stopped(actor: Actor) -> bool:
    """Wait until the actor is stopped; False when it ends instead."""
    for _ in range(4000):
        state = Path(f"/proc/{actor.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if state in "TZ":
            return state == "T"
        time.sleep(0.005)
    raise TimeoutError("the writer neither stops nor ends")


FROZEN = [o.name for o in OPERATIONS if o.change is not None and not o.copy]


@pytest.mark.parametrize("every", [53, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_writer(stage: Stage, made: Path, tmp_path: Path, name: str, every: int) -> None:
    """Readers, opened before or anew, answer at once or say who is in their way; when the writer
    thaws, it goes on."""
    folder = prepare(tmp_path / "whole", BY_NAME[name], made)
    log = tmp_path / "log"
    stage.run(perform, name, folder, arm=fault_shim.armed(folder.parent, log))
    calls = sum(call.counted for call in fault_shim.read_log(log))
    tally, slowest = Tally(f"readers beside a frozen {name}"), 0.0
    for at in range(min(every, calls) // 2 + 1, calls + 1, every):
        place = tmp_path / str(at)
        folder = prepare(place, BY_NAME[name], made)
        go = tmp_path / f"go {at}"
        readers = [
            stage.start(fault_beside.read_when_told, folder, go, opened) for opened in (True, False)
        ]
        assert all(reader.hear() == "open" for reader in readers)
        writer = stage.start(perform, name, folder, arm=fault_shim.armed(place, None, at, "stop"))
        assert stopped(writer), f"{name} has no call {at}"
        go.touch()
        for reader, which in zip(readers, ("opened before", "opened anew"), strict=True):
            case = f"frozen at call {at} of {calls}, reader {which}"
            ended = reader.ending(PATIENCE)
            if ended.status is None:
                tally.fail(case, f"no answer in {PATIENCE} s")
            elif ended.error is not None:
                if ended.error.worded and f"rocess {writer.pid} " in ended.error.text:
                    tally.add("refused, naming the writer")
                else:
                    tally.fail(case, ended.error.text)
            else:
                slowest = max(slowest, ended.result)
                tally.add("answered")
        writer.signal(signal.SIGCONT)
        if writer.ending().said != ["done"] or stage.run(judge, name, folder, True).error:
            tally.fail(f"thawed at call {at}", "it did not go on")
        shutil.rmtree(place)
    print(f"\nslowest answer: {slowest:.3f} s")
    tally.settle()


# Copies, file by file


CHANGES = ["add", "replace", "update", "remove"]


def copies(place: Path, start: Image, log: Path, count: int) -> list[tuple[str, Image]]:
    """What copying file by file gives when each file is read at some moment of the log."""
    disk = Disk(place, start)
    moments = [disk.image()]
    for call in fault_shim.read_log(log):
        disk.play(call)
        moments.append(disk.image())
    numbers = random.Random(count)
    made = []
    for number in range(count):
        begin = numbers.randrange(len(moments))
        names = sorted(moments[begin], key=lambda _: numbers.random())
        names.sort(key=lambda name: moments[begin][name] is not None)  # folders first
        end = numbers.choice([begin + 1, begin + 10, begin + 60, len(moments)])
        at = sorted(numbers.randrange(begin, min(end, len(moments))) for _ in names)
        image = {
            name: moments[moment][name]
            for name, moment in zip(names, at, strict=True)
            if name in moments[moment]
        }
        made.append((f"copy {number}, read at calls {at} in the order {names}", image))
    return made


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.full)])
def test_a_copy_made_under_a_writer(stage: Stage, made: Path, tmp_path: Path, count: int) -> None:
    """Is one of the states that were committed, or is refused; of a database that was read in the
    midst of a commit some items may be of before and some of after, which `verify` finds."""
    place, log = tmp_path / "place", tmp_path / "log"
    folder = prepare(place, BY_NAME["add"], made)
    start = fault_disk.read(place)
    ended = stage.run(perform_all, CHANGES, folder, arm=fault_shim.armed(place, log))
    assert ended.said == ["done"] * len(CHANGES), ended
    tally = Tally("copies made under a writer")
    images = copies(place, start, log, count)
    for first in range(0, count, 50):
        ended = stage.run(
            judge_copies, CHANGES, tmp_path / f"copy{first}", images[first : first + 50]
        )
        for case, outcome in ended.said:
            if outcome in ("right", "refused", "found by verify"):
                tally.add(outcome)
            else:
                tally.fail(case.split(",")[0], f"{outcome}; {case}")
        if ended.error is not None or ended.status:
            tally.fail(f"copy {first + len(ended.said)}", ended)
    tally.settle(count)
    assert tally.counts["right"] > count / 50
    assert tally.counts["found by verify"] <= max(1, count / 50)


@pytest.mark.parametrize("count", [6, pytest.param(100, marks=pytest.mark.full)])
def test_a_real_copy_made_under_a_writer(bare_stage: Stage, tmp_path: Path, count: int) -> None:
    folder = tmp_path / "index"
    bare_stage.run(fault_beside.make, folder)
    writer = bare_stage.start(fault_beside.keep_committing, folder)
    assert writer.hear() == "open"
    numbers = random.Random(count)
    tally = Tally("real copies made under a writer")
    for number in range(count):
        copy = tmp_path / f"copy {number}"
        copy.mkdir()
        names = sorted((path.name for path in folder.iterdir()), key=lambda _: numbers.random())
        for name in names:
            time.sleep(numbers.choice([0, 0.002, 0.02]))
            if (folder / name).exists():
                try:
                    shutil.copyfile(folder / name, copy / name)
                except FileNotFoundError:
                    continue  # a journal that has gone
        ended = bare_stage.run(fault_beside.ask_copy, copy)
        if ended.result in ("right", "refused"):
            tally.add(ended.result)
        else:
            tally.fail(f"files in the order {names}", ended.error and ended.error.text)
        shutil.rmtree(copy)
    writer.signal(signal.SIGKILL)
    writer.ending()
    tally.settle(count)
