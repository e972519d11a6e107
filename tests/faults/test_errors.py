"""Writing calls that fail, full disks and limits: true words, nothing lost, the next try works.

`pytest tests/faults/test_errors.py -m "full or not full" -s`
"""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fault_shim
import pytest
from fault_counts import Tally
from fault_operations import BY_NAME, OPERATIONS, perform, prepare
from fault_stage import Stage
from fault_trials import Disturbance, disturbed, read_under

pytestmark = pytest.mark.posix


NAMES = [operation.name for operation in OPERATIONS]


def attempt(
    stage: Stage, tally: Tally, name: str, place: Path, made: Path, disturbance: Disturbance
) -> None:
    """One operation under one fault."""
    folder = prepare(place, BY_NAME[name], made)
    go_on = tally.counts.total() % 4 == 0
    ended = stage.run(disturbed, name, folder, disturbance, go_on)
    if ended.result in ("done", "refused"):
        tally.add(ended.result)
    else:
        error = ended.error
        why = f"status {ended.status}" if error is None else f"{error.kinds[0]}: {error.text}"
        if (
            error is not None
            and "WrongError" not in error.kinds
            and "StoreError" not in error.kinds
        ):
            why += f"\n{error.trace}"
        tally.fail(f"{name}, {disturbance}", why)
    shutil.rmtree(place)


def count_of_calls(stage: Stage, name: str, place: Path, made: Path) -> int:
    folder = prepare(place, BY_NAME[name], made)
    log = place.with_suffix(".log")
    stage.run(perform, name, folder, arm=fault_shim.armed(place, log))
    return sum(call.counted for call in fault_shim.read_log(log))


#: One call fails or is cut short; or all from one on, that take space, as on a full disk.
WAYS = (
    *(f"error:{code}" for code in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR)),
    "short", f"full:{errno.ENOSPC}", f"full:{errno.EDQUOT}",
)  # fmt: skip


@pytest.mark.parametrize("every", [211, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", NAMES)
def test_a_call_fails(stage: Stage, made: Path, tmp_path: Path, name: str, every: int) -> None:
    calls = count_of_calls(stage, name, tmp_path / "whole", made)
    cases = [(at, way) for at in range(1, calls + 1) for way in WAYS]
    tally = Tally(f"calls of {name} that fail")
    for at, way in cases[::every]:
        attempt(stage, tally, name, tmp_path / f"{at}{way}", made, Disturbance(way, at))
    tally.settle()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    if shutil.which("mount") is None:
        pytest.skip("no mount command here")
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no file system can be mounted here ({done.stderr.strip()})")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.parametrize("step", [191, pytest.param(4, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", NAMES)
def test_a_disk_is_full(
    bare_stage: Stage, made: Path, small_disk: Path, name: str, step: int
) -> None:
    """A real one, with ever so many KiB left."""
    tally = Tally(f"full disks under {name}")
    for left in range(0, 392, step):
        attempt(
            bare_stage, tally, name, small_disk / "place", made, Disturbance("space", left << 10)
        )
    tally.settle()
    assert {"done", "refused"} <= set(tally.counts)


LIMITS = {
    "RLIMIT_NOFILE": [range(1, 24, 9), range(0, 40)],
    "RLIMIT_FSIZE": [range(0, 160_000, 50_000), range(0, 160_000, 1_777)],
    "RLIMIT_AS": [range(0, 8 << 20, 3 << 20), range(0, 32 << 20, 512 << 10)],
}


@pytest.mark.parametrize("wanted", [0, pytest.param(1, marks=pytest.mark.full)], ids=["few", "all"])
@pytest.mark.parametrize("limit", LIMITS)
def test_limits(bare_stage: Stage, made: Path, tmp_path: Path, limit: str, wanted: int) -> None:
    tally = Tally(f"{limit}")
    for value in LIMITS[limit][wanted]:
        for name in NAMES if wanted else NAMES[:4:3]:
            attempt(bare_stage, tally, name, tmp_path / "place", made, Disturbance(limit, value))
    tally.settle()
    assert limit == "RLIMIT_AS" or tally.counts["refused"] > 1


@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_AS"])
def test_reading_within_limits(bare_stage: Stage, made: Path, tmp_path: Path, limit: str) -> None:
    tally = Tally(f"reading, {limit}")
    shutil.copytree(made, tmp_path / "place" / "index")
    for value in LIMITS[limit][1][::4]:
        disturbance = Disturbance(limit, value)
        ended = bare_stage.run(read_under, tmp_path / "place" / "index", disturbance)
        if ended.result in ("done", "refused"):
            tally.add(ended.result)
        else:
            tally.fail(disturbance, ended.error.trace if ended.error else ended.status)
    tally.settle()
