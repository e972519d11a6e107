"""A writer killed at every writing call of its own: all that was committed is there, all of it.

`pytest tests/faults/test_kills.py -m "full or not full" -s`
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import fault_shim
import fault_truth
import pytest
from fault_counts import Tally
from fault_operations import BY_NAME, OPERATIONS, judge, perform, prepare
from fault_shim import Call
from fault_stage import Stage
from fault_writer import keep_writing, state_after
from processes import SUPPORT

pytestmark = pytest.mark.posix


NAMES = [operation.name for operation in OPERATIONS]


def calls_of(stage: Stage, name: str, tmp_path: Path, made: Path) -> list[Call]:
    """The writing calls of an operation that nothing disturbs."""
    folder = prepare(tmp_path / "whole", BY_NAME[name], made)
    log = tmp_path / "whole.log"
    ended = stage.run(perform, name, folder, arm=fault_shim.armed(folder.parent, log))
    assert ended.said == ["done"], ended
    return [call for call in fault_shim.read_log(log) if call.counted]


def kill(stage: Stage, name: str, place: Path, made: Path, at: int, do: str) -> str:
    """Kill the operation at this call; "before" or "after", whichever is left, or what is wrong."""
    folder = prepare(place, BY_NAME[name], made)
    ended = stage.run(
        perform, name, folder, arm=fault_shim.armed(place, place.with_suffix(".log"), at, do)
    )
    if not ended.killed:
        return f"was not killed: {ended}"
    judged = stage.run(judge, name, folder, ended.said == ["done"])
    if judged.error is not None or judged.status:
        return f"status {judged.status}, {judged.error and judged.error.trace}"
    shutil.rmtree(place)
    return str(judged.result)


@pytest.mark.parametrize("every", [37, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_every_call(
    stage: Stage, made: Path, tmp_path: Path, name: str, every: int
) -> None:
    calls = calls_of(stage, name, tmp_path, made)
    cases = [(at, "before") for at in range(1, len(calls) + 1)]
    cases += [(at, "half") for at, call in enumerate(calls, 1) if len(call.data) > 1]
    cases.append((len(calls), "after"))
    tally = Tally(f"kills of {name}")
    for at, do in cases[::every]:
        outcome = kill(stage, name, tmp_path / f"{at}{do}", made, at, do)
        if outcome in ("before", "after", "same"):
            tally.add(f"left the state {outcome}")
        else:
            tally.fail(f"{name} killed {do} call {at} ({calls[at - 1].call})", outcome)
    tally.settle()
    if every == 1 and name not in ("compact", "backup", "optimize", "join"):
        assert {"left the state before", "left the state after"} <= set(tally.counts)


@pytest.mark.parametrize("kills", [6, pytest.param(1000, marks=pytest.mark.full)])
def test_killed_at_random_moments(bare_stage: Stage, tmp_path: Path, kills: int) -> None:
    """One index lives through all of them."""
    folder = tmp_path / "index"
    numbers = random.Random(kills)
    tally = Tally("kills at random moments")
    step = 0
    for number in range(kills):
        writer = bare_stage.start(keep_writing, folder, step)
        assert writer.hear() == "open"
        time.sleep(numbers.random() * 0.15)
        writer.signal(9)
        ended = writer.ending()
        assert ended.killed, ended
        known = max([step, *(word for word in ended.said if isinstance(word, int))])
        states = [state_after(known), state_after(known + 1)]
        judged = bare_stage.run(fault_truth.check, folder, states)
        if judged.error is not None or judged.status:
            tally.fail(f"kill {number}, {known} commits known", judged)
            break
        step = known + states.index(judged.result)
        tally.add("right after the kill")
    print(f"{step:,} commits")
    tally.settle()


SYSTEM_CALLS = (
    "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,ftruncate,truncate,"
    "rename,renameat,renameat2,unlink,unlinkat,link,linkat,mkdir,mkdirat,rmdir,fallocate,"
    "copy_file_range,sendfile"
)


@pytest.mark.parametrize("name", ["create", "add", "replace", *NAMES[8:]])
def test_the_shim_sees_every_call(library: Path, made: Path, tmp_path: Path, name: str) -> None:
    """As many calls as the kernel was given."""
    if shutil.which("strace") is None:
        pytest.skip("no strace")
    folder = prepare(tmp_path / "place", BY_NAME[name], made)
    log, trace = tmp_path / "log", tmp_path / "trace"
    code = f"""if True:
        import sys
        sys.path.insert(0, {str(SUPPORT)!r})
        from pathlib import Path
        import fault_operations, fault_shim, fault_stage
        fault_operations.say = print
        fault_shim.arm({fault_shim.armed(folder.parent, log)!r})
        fault_operations.perform({name!r}, Path({str(folder)!r}))
        fault_shim.arm("")
    """
    done = subprocess.run(
        ["strace", "-f", "-y", "-qq", "-o", str(trace), "-e", f"trace={SYSTEM_CALLS}",
         "-E", f"LD_PRELOAD={library}", sys.executable, "-c", code],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    beneath = [line for line in trace.read_text().splitlines() if str(folder.parent) in line]
    opens = re.compile(r"\b(?:open|openat|creat)\(")
    traced = [line for line in beneath if not opens.search(line) or "O_CREAT" in line]
    calls = [call for call in fault_shim.read_log(log) if call.counted]
    assert len(traced) == len(calls) > 10
