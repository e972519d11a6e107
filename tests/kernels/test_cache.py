"""Compiled kernels on disk: damaged files, folders that cannot be written, many first searches."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import event
from processes import in_a_process

from vsearch_fast.kernels import cache

SEARCH = """if True:
    import sys
    import numpy as np
    from vsearch_fast import topk
    from vsearch_fast.kernels import reference
    rows = np.random.default_rng(0).standard_normal((40, 70)).astype(np.float32)
    got, want = topk(rows, rows, 3, metric="l1"), reference.topk(rows, rows, 3, "l1")
    assert all(map(np.array_equal, got, want))
"""

#: Eight threads make the first searches of a process, of all metrics, and of a sketched database.
FIRST = """if True:
    import os, sys, threading, time
    import numpy as np
    import vsearch_fast as vs
    from vsearch_fast.kernels import reference
    rows = np.random.default_rng(0).standard_normal((40, 70)).astype(np.float32)
    codes, threads, wrong = vs.pack_bits(rows), COUNT, []
    barrier = threading.Barrier(threads)

    def search(number):
        barrier.wait()
        metric = ("l2", "hamming", "l1")[number % 3]
        x = codes if metric == "hamming" else rows
        strategy = ("auto", "sketch")[number // 3 % 2]
        try:
            got = vs.topk(x[:9], x, 4, metric=metric, strategy=strategy, threads=2)
            want = reference.topk(x[:9], x, 4, metric)
            assert all(map(np.array_equal, got, want))
        except BaseException as error:
            wrong.append(repr(error))

    every = [threading.Thread(target=search, args=[number]) for number in range(threads)]
    for each in every:
        each.start()
    REST
    for each in every:
        each.join()
    assert not wrong, wrong
"""

#: A child forked while they search: it must search as well, and not hang.
FORKING = """
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            got = vs.topk(rows[:9], rows, 4, metric="l1")
            want = reference.topk(rows[:9], rows, 4, "l1")
            os._exit(not all(map(np.array_equal, got, want)))
        children.append(child)
        time.sleep(0.3)
    until = time.monotonic() + 60
    for child in children:
        while time.monotonic() < until:
            ended, code = os.waitpid(child, os.WNOHANG)
            if ended:
                assert code == 0
                break
            time.sleep(0.02)
        else:
            for each in children:
                os.kill(each, 9)
            sys.exit("a child hangs")
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("warm")
    first(8, folder)  # nothing is compiled yet
    assert kept(folder)
    return folder


def first(threads: int, folder: Path, rest: str = "") -> None:
    code = FIRST.replace("COUNT", str(threads)).replace("    REST", rest)
    in_a_process(code, VSEARCH_CACHE_DIR=str(folder))


def kept(folder: Path) -> dict[str, int]:
    """Files and when they were made."""
    return {file.name: file.stat().st_mtime_ns for file in folder.rglob("*.kernel")}


@pytest.mark.parametrize("threads", [2, 8])
def test_first_searches_in_many_threads(threads, warm):
    before = kept(warm)
    for _ in range(5):
        first(threads, warm)
    assert kept(warm) == before  # nothing was thrown away


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forks_during_first_searches(warm):
    first(8, warm, FORKING)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def other_pickle(file: Path) -> None:
    import pickle

    file.write_bytes(pickle.dumps({"no": "kernel"}))


def hashed_nonsense(file: Path) -> None:
    """As another program, or another version of this one, might write it."""
    import pickle
    from hashlib import sha256

    content = pickle.dumps({"no": "kernel"})
    file.write_bytes(sha256(content).digest() + content)


def folder_in_its_place(file: Path) -> None:
    file.unlink()
    file.mkdir()


def unreadable(file: Path) -> None:
    file.chmod(0)


@pytest.mark.posix
@pytest.mark.parametrize(
    "damage",
    [truncate, empty, flip, other_pickle, hashed_nonsense, folder_in_its_place, unreadable],
)
def test_a_damaged_file_alone_is_made_anew(damage, warm, tmp_path):
    """What a power cut leaves of a compiled kernel must not stop every later process."""
    shutil.copytree(warm, tmp_path, dirs_exist_ok=True)
    files = sorted(tmp_path.rglob("*.kernel"))
    before = kept(tmp_path)
    damaged = next(file for file in files if "lane_scan" in file.name)
    damage(damaged)
    in_a_process(SEARCH, VSEARCH_CACHE_DIR=str(tmp_path))
    after = kept(tmp_path)
    assert after.keys() == before.keys()
    if damage is not unreadable or os.geteuid() != 0:  # root reads everything
        assert {name for name in before if after[name] != before[name]} == {damaged.name}
    in_a_process(SEARCH, VSEARCH_CACHE_DIR=str(tmp_path))
    assert kept(tmp_path) == after


@pytest.mark.full
def test_two_processes_compile_at_once(tmp_path):
    environment = os.environ | {"VSEARCH_CACHE_DIR": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", SEARCH], env=environment) for _ in range(2)]
    assert [each.wait(120) for each in both] == [0, 0]


def test_a_daemon_leaves_the_compiler_at_the_end(tmp_path, monkeypatch):
    """Between two steps of a kernel, of which nothing is kept; another thread compiles on."""
    monkeypatch.setenv("VSEARCH_CACHE_DIR", str(tmp_path))
    kernel = cache.compiled("int64(int64)")(abs_twice)
    told: list[bool] = []

    class Ending(event.Listener):
        def on_start(self, _):
            monkeypatch.setattr("vsearch_fast.threads._ended", len(told) == 3)
            told.append(threading.current_thread().daemon)

        def on_end(self, _):
            pass

    errors = []

    def compile_it():
        try:
            kernel(-3)
        except RuntimeError as error:
            errors.append(str(error))

    with event.install_listener("numba:run_pass", Ending()):
        daemon = threading.Thread(target=compile_it, daemon=True)
        daemon.start()
        daemon.join()
    assert errors == ["The interpreter ends"] and 4 <= len(told) <= 5 and not kernel.ready
    assert not kept(tmp_path)
    monkeypatch.setattr("vsearch_fast.threads._ended", True)
    assert kernel(-3) == 6 and kernel.ready  # this thread is no daemon


def test_an_exit_does_not_wait_for_a_kernel(tmp_path):
    """The main thread ends while a daemon compiles its first search."""
    code = """if True:
        import threading, time
        import numpy as np
        import vsearch_fast as vs
        from vsearch_fast.kernels import cache
        rows = np.zeros((5000, 256), np.float32)
        daemon = lambda: vs.topk(rows, rows, 3, metric="l2", strategy="sketch")
        threading.Thread(target=daemon, daemon=True).start()
        while not list(cache.folder().glob("*")):
            time.sleep(0.01)
        print(time.time(), flush=True)
    """
    began = float(in_a_process(code, VSEARCH_CACHE_DIR=str(tmp_path)))
    assert time.time() - began < 60  # a busy machine compiles slowly
    assert len(kept(tmp_path)) < 5


def test_an_exit_does_not_wait_for_a_daemons_search(tmp_path):
    code = """if True:
        import threading, time
        import numpy as np
        import vsearch_fast as vs
        rows = np.random.default_rng(0).random((20000, 256), np.float32)
        vs.topk(rows[:2], rows, 3, metric="l2", strategy="scan", threads=2)

        def search():
            while True:
                vs.topk(rows, rows, 3, metric="l2", strategy="scan", threads=2)

        threading.Thread(target=search, daemon=True).start()
        time.sleep(0.5)
        print(time.time(), flush=True)
    """
    began = float(in_a_process(code, VSEARCH_CACHE_DIR=os.environ.get("VSEARCH_CACHE_DIR", "")))
    assert time.time() - began < 5


def test_what_is_compiled_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("VSEARCH_CACHE_DIR", str(tmp_path))
    caplog.set_level(logging.INFO, "vsearch_fast.kernels")
    made = [cache.compiled("int64(int64)")(function) for function in (lambda x: x + 1, abs_twice)]
    cache.prepare(made)
    assert [made[0](2), made[1](-2)] == [3, 4]
    done = [(record.done, record.total) for record in caplog.records]
    assert done == [(0, 2), (1, 2), (2, 2)]
    assert "once" in caplog.messages[0] and str(tmp_path) in caplog.messages[-1]
    caplog.clear()
    again = cache.compiled("int64(int64)")(abs_twice)
    assert again(-3) == 6
    assert not caplog.records  # it was read


def abs_twice(x):
    return abs(x) * 2


def test_a_folder_that_cannot_be_written_is_replaced_by_a_private_one(
    tmp_path, monkeypatch, caplog
):
    occupied = tmp_path / "file"
    occupied.write_text("")
    monkeypatch.setenv("VSEARCH_CACHE_DIR", str(occupied))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = cache.folder()
    assert found is not None and found.is_relative_to(tmp_path)
    assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
    assert cache.folder() == found
    assert len(caplog.records) == 1 and str(found) in caplog.text  # said once


@pytest.mark.posix
def test_another_users_folder_is_not_taken(tmp_path, monkeypatch, caplog):
    """What lies in it is run."""
    occupied = tmp_path / "file"
    occupied.write_text("")
    monkeypatch.setenv("VSEARCH_CACHE_DIR", str(occupied))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    private = Path(tmp_path, f"vsearch_fast-{os.getuid()}")
    private.mkdir()
    private.chmod(0o777)
    assert cache.folder() is None
    assert "each process compiles" in caplog.text
    assert cache.compiled("int64(int64)")(lambda x: x + 1)(1) == 2


def test_numbas_own_settings_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("VSEARCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "elsewhere")
    assert cache.compiled("int64(int64)")(lambda x: x + 2)(1) == 3
    assert numba.config.CACHE_DIR == "elsewhere"  # type: ignore[attr-defined]
    assert not Path("elsewhere").exists()


def test_kernels_take_no_other_types(tmp_path, monkeypatch):
    monkeypatch.setenv("VSEARCH_CACHE_DIR", str(tmp_path))
    kernel = cache.compiled(numba.int64(numba.types.Array(numba.int64, 1, "C")))(lambda x: x[0])
    assert kernel(np.array([3])) == 3
    with pytest.raises(TypeError):
        kernel(np.array([3.0]))


def test_the_folder_changes_with_the_sources_and_the_processor(monkeypatch, tmp_path):
    monkeypatch.setenv("VSEARCH_CACHE_DIR", str(tmp_path / "cache"))
    sources = tmp_path / "kernels"
    sources.mkdir()
    monkeypatch.setattr(cache, "__file__", str(sources / "cache.py"))
    folders = []
    for text, cpu in (("1", "x"), ("2", "x"), ("2", "y")):
        (sources / "a.py").write_text(text)
        monkeypatch.setenv("NUMBA_CPU_NAME", cpu)
        folders.append(cache.folder())
    assert len(set(folders)) == 3
