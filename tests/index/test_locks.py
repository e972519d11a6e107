"""The index on disk: one writer, and forked children."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from store_data import fill

from vsearch_fast.disk import lock as lock_module
from vsearch_fast.disk.lock import WriteLock, owner_of
from vsearch_fast.errors import LockedError, StoreError
from vsearch_fast.index.store import Store


def test_a_second_writer_is_refused_and_named(store: Store) -> None:
    with pytest.raises(LockedError, match=f"this process \\({os.getpid()}\\)"):
        Store(store.folder, writable=True)
    code = "import sys; from pathlib import Path; from vsearch_fast.index.store import Store\n"
    code += "Store(Path(sys.argv[1]), writable=True)"
    other = subprocess.run(
        [sys.executable, "-c", code, str(store.folder)], capture_output=True, text=True, check=False
    )
    assert (
        f"LockedError: {store.folder} is being written to by process {os.getpid()}" in other.stderr
    )
    store.close()
    Store(store.folder, writable=True).close()


def test_a_writer_that_is_forgotten_unlocks(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path)
    with pytest.raises(LockedError):
        WriteLock(tmp_path)
    lock.release()
    lock.release()
    second: WriteLock | None = WriteLock(tmp_path)
    assert second is not None
    with pytest.warns(ResourceWarning):
        second = None
    WriteLock(tmp_path).release()


def test_writers_wait_for_one_that_writes_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = WriteLock(tmp_path, briefly=True)
    assert owner_of(tmp_path) == os.getpid()
    releasing = threading.Timer(0.2, held.release)
    releasing.start()
    began = time.monotonic()
    WriteLock(tmp_path).release()
    assert time.monotonic() - began >= 0.15
    releasing.join()
    monkeypatch.setattr(lock_module, "_PATIENCE", 0.05)
    held = WriteLock(tmp_path, briefly=True)
    with pytest.raises(LockedError):
        WriteLock(tmp_path)
    held.release()
    # What the file says of an earlier lock is over with it.
    longer = WriteLock(tmp_path)
    monkeypatch.setattr(lock_module, "_PATIENCE", 60.0)
    with pytest.raises(LockedError):
        WriteLock(tmp_path)
    longer.release()


@pytest.mark.posix
def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """The writer is killed while a child that it forked lives on."""
    code = textwrap.dedent(
        """
        import os, sys, time
        from pathlib import Path
        from vsearch_fast.disk.lock import WriteLock
        lock = WriteLock(Path(sys.argv[1]))
        if os.fork() == 0:
            print("child", flush=True)
            time.sleep(60)
        os.waitpid(-1, 0)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as writer:
        try:
            assert writer.stdout is not None and writer.stdout.readline() == "child\n"
            with pytest.raises(LockedError, match=str(writer.pid)):
                WriteLock(tmp_path)
            writer.kill()
            writer.wait()
            WriteLock(tmp_path).release()
        finally:
            os.killpg(writer.pid, 9)


# Forks


def _read_in_child(store: Store, answers: multiprocessing.Queue) -> None:
    try:
        answers.put((store.state().rows, store.find(["id2"], "")[0][0]))
    except StoreError as error:
        answers.put(str(error))


def test_a_child_reads_on_and_refuses_to_write(store: Store) -> None:
    fill(store, 0, 5)
    reader = Store(store.folder, writable=False)
    reader.state()
    fork = multiprocessing.get_context("fork")
    results = []
    for opened in (reader, store):
        answers = fork.Queue()
        child = fork.Process(target=_read_in_child, args=(opened, answers))
        child.start()
        results.append(answers.get(timeout=300))
        child.join()
        assert child.exitcode == 0
    assert results[0] == (5, 2)
    assert "before this process was forked" in results[1]
    fill(store, 5, 5)
    assert reader.state().rows == 10
    reader.close()
