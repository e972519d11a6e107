"""What a kill, a full disk or a read-only folder leave of an index: all that was committed.

Each test runs a writer in a process of its own, which adds batches of rows and reports every
one whose `add` returned. The rows follow from the batch's number, so that the survivor can be
compared to the bit with what it must hold.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from crash_writer import DIM, SEGMENT_ROWS, batch_of, write_batches
from processes import SUPPORT

from vsearch_fast.errors import StoreError
from vsearch_fast.index import Index, Item
from vsearch_fast.index.stored_sketches import BLOCK_ROWS

pytestmark = pytest.mark.posix


# Processes that are forked from a clean one, which has imported the slow part already.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["vsearch_fast.index"])


class Writer:
    """A process that adds batches, and what it has reported."""

    def __init__(self, folder: Path, first: int, batches: int, kill_at: int = 0) -> None:
        self._pipe, theirs = PROCESSES.Pipe(duplex=False)
        arguments = (theirs, folder, first, batches, kill_at)
        self.process = PROCESSES.Process(target=write_batches, args=arguments)
        self.process.start()
        theirs.close()

    def wait_until_open(self) -> None:
        assert self._pipe.recv() == "open"

    def reports(self) -> list[str]:
        """All that it has still to say; returns when it has ended."""
        lines = []
        with contextlib.suppress(EOFError):
            while True:
                lines.append(self._pipe.recv())
        self.process.join()
        return lines


class Expected:
    """The live rows after some batches: vectors by id, in the order of their rows."""

    def __init__(self) -> None:
        self.vectors: dict[str, np.ndarray] = {}
        self.batches: dict[str, int] = {}
        self.rows = 0

    def add(self, batch: int) -> None:
        ids, rows, _, _ = batch_of(batch)
        for id_, row in zip(ids, rows, strict=True):
            self.vectors.pop(id_, None)  # a replaced id moves to the end
            self.vectors[id_] = row
            self.batches[id_] = batch
        self.rows += len(ids)

    def remove(self, batch: int) -> None:
        for id_ in batch_of(batch)[3]:
            del self.vectors[id_]

    def matches(self, index: Index) -> bool:
        """Whether the index holds exactly this; fails where it is neither this nor empty."""
        ids = [item.id for item in index]
        if ids != list(self.vectors) or index.info()["rows"] != self.rows:
            return False
        if ids:
            stored = index.features(ids)
            assert stored.tobytes() == np.stack(list(self.vectors.values())).tobytes()
            self._check_codes(index)
            self._check_sketches(index, stored)
            last = max(self.batches[id_] for id_ in ids)
            found = index.search(np.zeros(DIM, np.float32), 999, where={"batch": last})[0]
            assert {hit.id for hit in found} == {id_ for id_ in ids if self.batches[id_] == last}
        return True

    def _check_codes(self, index: Index) -> None:
        stack = np.stack(list(self.vectors.values()))
        query = np.zeros((1, DIM), np.float32)
        hits = index.search(query, len(stack), "hamming")[0]
        assert {hit.id: hit.distance for hit in hits} == dict(
            zip(self.vectors, (stack > 0).sum(axis=1).tolist(), strict=True)
        )

    def _check_sketches(self, index: Index, stored: np.ndarray) -> None:
        for metric in ("l1", "l2"):
            scan, sketch = (
                index.search(stored[-2:] * 1.01, 5, metric, strategy=s, explain=True)
                for s in ("scan", "sketch")
            )
            assert sketch[0] == scan[0]
            block = min(BLOCK_ROWS, index.info()["segment_rows"])
            assert (sketch[1].sketched > 0) == (self.rows >= block)


def survivors(folder: Path, reported: list[str], first: int, expected: Expected) -> int:
    """Check the index after a kill: `expected` and what the writer reported since, or one more
    step of it. Returns the first batch that is not in it; `expected` is brought up to date."""
    done = [line.split() for line in reported if line.startswith(("added", "removed"))]
    batch = first
    for what, number in done:
        assert int(number) in (batch, batch - 1)
        if what == "added":
            expected.add(batch)
            batch += 1
        else:
            expected.remove(batch - 1)
    with Index.open(folder) as reader:  # a reader comes first, and may have to roll back
        whole = expected.matches(reader)
        if not whole:  # the step that was under way when the kill came is there, wholly
            if done and done[-1][0] == "added" and batch_of(batch - 1)[3]:
                expected.remove(batch - 1)
            else:
                expected.add(batch)
                batch += 1
            assert expected.matches(reader)
    return batch


def finish(folder: Path, first: int, expected: Expected) -> None:
    """Removals that the kill prevented are made up; then adding goes on."""
    with Index.open(folder, mode="rw") as index:
        assert expected.matches(index)
        left = [id_ for id_ in batch_of(first - 1)[3] if id_ in index] if first else []
        if left:
            index.remove(left)
            expected.remove(first - 1)
        rows = index.info()["rows"]
        files = {path.name for path in folder.glob("*.npy")}
        segments = range(-(-rows // SEGMENT_ROWS))
        names = {f"{kind}-{n:05d}.npy" for kind in ("vectors", "codes") for n in segments}
        # Sketches are of whole segments here, since a block is larger.
        full = range(rows // SEGMENT_ROWS)
        names |= {f"{kind}-{n:05d}.npy" for kind in ("sketches", "facts") for n in full}
        assert files == names


def kill_at_random(folder: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    expected, batch = Expected(), 0
    for _ in range(kills):
        writer = Writer(folder, batch, 1000)
        writer.wait_until_open()
        time.sleep(rng.random() ** 2 * 0.8)
        writer.process.kill()
        reported = writer.reports()
        assert writer.process.exitcode == -signal.SIGKILL
        batch = survivors(folder, reported, batch, expected)
        finish(folder, batch, expected)
    assert batch > 0


def test_killed_at_random(tmp_path: Path) -> None:
    kill_at_random(tmp_path / "index", 6, seed=1)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_many_times(tmp_path: Path, seed: int) -> None:
    kill_at_random(tmp_path / "index", 60, seed=100 + seed)


def steps_of(folder: Path) -> int:
    """How many steps the writer takes to create an index and add three batches."""
    return int(Writer(folder, 0, 3, kill_at=-1).reports()[-1].removeprefix("done "))


def kill_at_step(folder: Path, step: int) -> None:
    writer = Writer(folder, 0, 3, kill_at=step)
    reported = writer.reports()
    assert writer.process.exitcode == -signal.SIGKILL
    expected = Expected()
    if "open" not in reported:
        # Killed while it was created: there is an empty index, or it can be created again.
        try:
            Index.open(folder).close()
        except StoreError as error:
            nothing = not folder.exists() or not any(folder.iterdir())
            assert nothing or "Create it again" in str(error)
        with Index.create(folder, DIM, segment_rows=SEGMENT_ROWS, exist_ok=True) as index:
            assert len(index) == 0
    batch = survivors(folder, reported, 0, expected)
    finish(folder, batch, expected)
    writer = Writer(folder, batch, 2)
    assert survivors(folder, writer.reports(), batch, expected) == batch + 2
    assert writer.process.exitcode == 0


def test_killed_at_chosen_steps(tmp_path: Path) -> None:
    total = steps_of(tmp_path / "whole")
    assert total > 60
    for step in (1, 4, 30, *range(total // 2, total, total // 12), total):
        kill_at_step(tmp_path / str(step), step)


@pytest.mark.full
def test_killed_at_every_step(tmp_path: Path) -> None:
    for step in range(1, steps_of(tmp_path / "whole") + 1):
        kill_at_step(tmp_path / str(step), step)
        shutil.rmtree(tmp_path / str(step))


# A journal that a kill in the middle of the commit has left


def hot_journal(folder: Path, tmp_path: Path) -> None:
    """Put the folder into the state of a writer killed inside its commit: pages of the
    transaction are in the database, and the journal that undoes them stands beside it."""
    with Index.create(tmp_path / "made", DIM, segment_rows=SEGMENT_ROWS) as index:
        index.add(["kept"], np.ones((1, DIM)), [{"a": 1}])
        database = sqlite3.connect(index.path / "index.sqlite", isolation_level=None)
        with contextlib.closing(database) as sql:
            sql.execute("BEGIN IMMEDIATE")
            sql.execute("PRAGMA cache_size = 1")  # spills to the file early
            for number in range(3000):
                sql.execute("INSERT INTO columns (name) VALUES (?)", (f"{number}" * 20,))
            shutil.copytree(index.path, folder)
    assert (folder / "index.sqlite-journal").stat().st_size > 0


def test_a_reader_rolls_back_a_commit_that_was_cut(tmp_path: Path) -> None:
    hot_journal(tmp_path / "cut", tmp_path)
    with Index.open(tmp_path / "cut") as index:
        assert [item.id for item in index] == ["kept"]
        assert len(index._store.columns()) == 1
    assert not (tmp_path / "cut" / "index.sqlite-journal").exists()


# Reading while another process writes


def test_readers_work_while_another_process_writes(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    Index.create(folder, DIM, segment_rows=SEGMENT_ROWS).close()
    writer = Writer(folder, 0, 30)
    seen = []
    with Index.open(folder) as reader:
        while writer.process.is_alive():
            ids = {hit.id for hit in reader.search(np.zeros(DIM, np.float32), 9999)[0]}
            batches = {int(id_.split("/")[0]) for id_ in ids}
            last = max(batches, default=-1)
            # Whole batches only: none is missing, and of the last all rows are there or all
            # but those that it removes.
            assert batches == set(range(last + 1))
            if ids:
                names, _, _, gone = batch_of(last)
                assert set(names) - set(gone) <= ids
            seen.append(last)
        reported = writer.reports()
        assert writer.process.exitcode == 0
        assert seen == sorted(seen)
        assert len(set(seen)) > 2
        expected = Expected()
        assert survivors(folder, reported, 0, expected) == 30
        assert expected.matches(reader)


# Full disks


FILLER = """
import os, resource, signal, sys
sys.path.insert(0, sys.argv[2])
from crash_writer import batch_of
from vsearch_fast.errors import StoreError
from vsearch_fast.index import Index

if len(sys.argv) > 3:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is an error then
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
index = Index.open(sys.argv[1], mode="rw")
for batch in range(100_000):
    ids, rows, items, _ = batch_of(batch)
    try:
        index.add(ids, rows, items, replace=True)
    except StoreError as error:
        print("refused", error, flush=True)
        # Still alive, and still whole: what was there is found.
        assert len(index.search(rows[:1], 5)[0]) == 5 or batch == 0
        break
    print("added", batch, flush=True)
"""


def fill_up(folder: Path, limit: int | None = None) -> tuple[list[str], str]:
    """Add until it is refused; returns the reports and the refusal."""
    arguments = [str(folder), str(SUPPORT), *([str(limit)] if limit else [])]
    done = subprocess.run(
        [sys.executable, "-c", FILLER, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *reported, refusal = done.stdout.splitlines()
    return reported, refusal


@pytest.mark.parametrize(
    ("limit", "segment_rows", "file"),
    [(8 << 10, 128, "vectors-00000.npy"), (70 << 10, 16, "sqlite"), (200 << 10, 512, "sqlite")],
)
def test_a_file_size_limit(tmp_path: Path, limit: int, segment_rows: int, file: str) -> None:
    folder = tmp_path / "index"
    Index.create(folder, DIM, segment_rows=segment_rows).close()
    reported, refusal = fill_up(folder, limit)
    assert "None of the rows was added" in refusal and file in refusal
    assert reported or file != "sqlite"
    expected = Expected()
    with Index.open(folder) as reader:
        for line in reported:
            expected.add(int(line.split()[1]))
        assert expected.matches(reader)
    with Index.open(folder, mode="rw") as index:
        ids, vectors, items, _ = batch_of(len(reported))
        index.add(ids, vectors, items, replace=True)
        expected.add(len(reported))
        assert expected.matches(index)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here ({done.stderr.strip()})")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.parametrize("segment_rows", [SEGMENT_ROWS, 4096])
def test_a_full_disk(small_disk: Path, segment_rows: int) -> None:
    folder = small_disk / "index"
    Index.create(folder, DIM, segment_rows=segment_rows).close()
    reported, refusal = fill_up(folder)
    assert "disk is full" in refusal and "Free some space" in refusal
    assert len(reported) > 3
    expected = Expected()
    for line in reported:
        expected.add(int(line.split()[1]))
    with Index.open(folder) as reader:
        assert expected.matches(reader)
    # Creating another on the full disk fails in words, too, and leaves no index.
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    with pytest.raises(StoreError, match="The index was not created"):
        Index.create(small_disk / "other", DIM)
    filler.unlink(missing_ok=True)
    # With space again, it can be created, and adding goes on.
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    Index.create(small_disk / "other", DIM).close()
    shutil.rmtree(small_disk / "other")
    with Index.open(folder, mode="rw") as index:
        ids, vectors, items, _ = batch_of(len(reported))
        index.add(ids, vectors, items, replace=True)
        expected.add(len(reported))
        assert expected.matches(index)


# Read-only folders


READER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import numpy as np
from vsearch_fast.errors import StoreError
from vsearch_fast.index import Index
if os.getuid() == 0:
    # Imported while root could read the interpreter's folders.
    if sys.argv[3:] == ["warm"]:
        Index.open(sys.argv[1]).search(np.zeros(24, np.float32), max_distance="auto")
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
with Index.open(sys.argv[1]) as index:
    hits = index.search(np.zeros(24, np.float32), 3, where={"batch": [0]})[0]
    print("found", len(hits), flush=True)
    try:
        index.add(["x"], np.zeros((1, 24)))
    except StoreError as error:
        print("add:", error)
    threshold = index.threshold()
    far = index.search(np.full(24, 1e6), 3, max_distance="auto")
    print("threshold", threshold.measured, far, index.threshold() is threshold, flush=True)
    try:
        index.save_thresholds()
    except StoreError as error:
        print("not saved:", error)
for method, name, options in ((Index.open, "", {"mode": "rw"}), (Index.create, "/x", {"dim": 3})):
    try:
        method(sys.argv[1] + name, **options)
    except StoreError as error:
        print("refused:", error)
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that another user may enter (pytest's own are for its user alone)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.iterdir()]:
        path.chmod(0o755)
    shutil.rmtree(folder)


def as_another_user(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", READER, str(folder), str(SUPPORT), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def make_read_only(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)


def test_a_read_only_folder_can_be_searched_but_not_changed(public: Path) -> None:
    folder = public / "index"
    with Index.create(folder, DIM, segment_rows=SEGMENT_ROWS) as index:
        ids, rows, items, _ = batch_of(0)
        index.add(ids, rows, [Item(id_, metadata=m) for id_, m in zip(ids, items, strict=True)])
    make_read_only(folder)
    output = as_another_user(folder, "warm")
    assert "found 3" in output, output
    assert "add: " in output and 'mode="rw"' in output
    assert output.count("refused:") == 2
    assert "write.lock cannot be written (Permission denied)" in output
    assert "The index was not created" in output
    assert f"threshold {len(ids)} [[]] True" in output
    assert "not saved:" in output


def test_a_read_only_folder_with_half_a_commit_says_so(public: Path, tmp_path: Path) -> None:
    folder = public / "index"
    hot_journal(folder, tmp_path)
    make_read_only(folder)
    output = as_another_user(folder)
    assert "holds the rest of an interrupted write" in output, output
    assert "Open the index once as a user who may write" in output
