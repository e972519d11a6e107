"""Nodes and actors that are lost, slow or wrong: an answer is whole, or an error, or says what it
lacks."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from index_data import SEARCHED
from on_nodes import DIM, connect, rows_with_ties, spread
from ray_nodes import Nodes, wait_for

from vsearch_fast.cluster.index import ClusterIndex
from vsearch_fast.errors import ClusterError, DamagedError, ModelMismatchError
from vsearch_fast.index import Index
from vsearch_fast.shards import ShardedIndex

#: Seconds of a search that lacks shards for certain: the others are well, have searched before, and
#: answer by then on a busy machine, too.
ILL = 10


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return tmp_path / "whole"


def expected(whole: Path, **options: Any) -> Any:
    with ShardedIndex.open(whole) as here:
        return here.search(rows_with_ties()[[0, 33, 61]], **options)


def asked(connected: ClusterIndex, **options: Any) -> Any:
    return connected.search(rows_with_ties()[[0, 33, 61]], **options)


def one_node(connected: ClusterIndex) -> bool:
    """Whether all shards are searched, and by one node."""
    nodes = {tuple(each) for each in connected.nodes.values()}
    return len(nodes) == 1 and nodes != {()}


def processes(connected: ClusterIndex) -> list[int]:
    """Of the actors."""
    groups = connected._asking.groups
    return [replica.process for group in groups for replica in group.replicas]


@pytest.fixture
def stopped() -> Iterator[list[int]]:
    """Processes that a test has stopped, and that go on after it."""
    some: list[int] = []
    yield some
    for process in some:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def test_a_node_is_killed(cluster: Nodes, whole: Path, disk: list[Path]) -> None:
    """Its shards are searched on another node that has the files; nothing is left out."""
    first, here = cluster.add()
    place = spread(whole, [here, disk[1]], ["abcd", "abcd"])
    with connect(cluster.address, place) as connected:
        assert len({tuple(nodes) for nodes in connected.nodes.values()}) == 2
        before = expected(whole, k=30)
        assert asked(connected, k=30) == before
        answers: list[Any] = []
        done = threading.Event()

        def ask() -> None:
            while not done.wait(0.05):  # and leave what begins anew some of the processors
                try:
                    answers.append(asked(connected, k=30))
                except Exception as error:
                    answers.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            cluster.kill(first)
            # A process may outlive its node by a moment, and answers meanwhile.
            wait_for(lambda: one_node(connected))
            assert asked(connected, k=30) == before
        finally:
            done.set()
            thread.join()
        assert answers
        for answer in answers:
            assert answer == before and answer.missing == ()


def test_files_that_went_with_their_node(cluster: Nodes, whole: Path, disk: list[Path]) -> None:
    """An error that names them, in time; or, where that is asked for, an answer that does."""
    first, here = cluster.add()
    place = spread(whole, [here, disk[1]], ["bc", "ad"])
    with connect(cluster.address, place) as connected:
        assert asked(connected, k=80) == expected(whole, k=80)  # what it takes is compiled by then
        gone = [group for group in connected._asking.groups if {"b", "c"} & set(group.names)]
        assert gone
        cluster.kill(first)

        def is_gone() -> bool:
            with contextlib.suppress(ClusterError):
                asked(connected, k=80, timeout=2)
            return not any(group.replicas for group in gone)

        wait_for(is_gone)
        began = time.monotonic()
        with pytest.raises(
            ClusterError, match=rf"2 of the shards gave no answer within {ILL} s: b, c"
        ):
            asked(connected, k=80, timeout=ILL)
        assert time.monotonic() - began < 3 * ILL  # and not for as long as Ray looks for a node
        found = asked(connected, k=80, timeout=ILL, allow_partial=True)
        assert set(found.missing) == {"b", "c"}
        every = expected(whole, k=80)
        rows = {f"item {row}" for row in (*range(20), *range(60, 80))}
        assert found == [[hit for hit in line if hit.id in rows] for line in every]


def test_a_process_is_killed(cluster: Nodes, whole: Path, disk: list[Path]) -> None:
    spread(whole, [], [])
    with connect(cluster.address, whole) as connected:
        before = expected(whole, k=7, metric="l1")
        for process in processes(connected):
            assert process > 0
            os.kill(process, signal.SIGKILL)
        assert asked(connected, k=7, metric="l1") == before
        assert [item.id for item in connected] == [f"item {row}" for row in range(80)]


def test_a_slow_shard(cluster: Nodes, whole: Path, stopped: list[int]) -> None:
    """It is waited for as long as was said; with replicas another one answers."""
    spread(whole, [], [])
    with connect(cluster.address, whole, replicas=2, slow=0.2) as connected:
        before = expected(whole, k=5)
        for group in connected._asking.groups:
            stopped.append(group.replicas[0].process)
            os.kill(stopped[-1], signal.SIGSTOP)
        for _ in range(3):
            assert asked(connected, k=5) == before
        for group in connected._asking.groups:
            stopped.append(group.replicas[1].process)
            os.kill(stopped[-1], signal.SIGSTOP)
        with pytest.raises(ClusterError, match=r"4 of the shards gave no answer within 2 s: a, b"):
            asked(connected, timeout=2)
        for process in stopped:
            os.kill(process, signal.SIGCONT)
        assert asked(connected, k=5) == before


def test_shards_that_are_wrong(cluster: Nodes, whole: Path, tmp_path: Path) -> None:
    spread(whole, [], [])
    with pytest.raises(ClusterError, match="No node of the cluster has an index at"):
        connect(cluster.address, tmp_path / "nothing")
    shutil.copytree(whole / "c", tmp_path / "kept")
    shutil.rmtree(whole / "c")
    with pytest.raises(ClusterError, match=r"No node of the cluster has c, a shard of 4"):
        connect(cluster.address, whole)
    Index.create(whole / "c", DIM, model_id="another").close()
    with pytest.raises(ModelMismatchError, match=r"c holds features of model another, and"):
        connect(cluster.address, whole, groups=1)
    shutil.rmtree(whole / "c")
    shutil.copytree(tmp_path / "kept", whole / "c")
    with (whole / "c" / "vectors-00000.npy").open("r+b") as file:
        file.seek(128 + 4 * DIM)
        file.write(b"\x01\x02\x03\x04")
    with (
        connect(cluster.address, whole) as connected,
        pytest.raises(DamagedError, match=r"c/vectors-00000.npy is damaged: "),
    ):
        asked(connected, k=80)
    (whole / "shards.json").write_text("{}")
    with pytest.raises(DamagedError, match=r"shards.json is damaged"):
        connect(cluster.address, whole)


@pytest.mark.full
def test_twenty_kills_at_random_moments(cluster: Nodes, whole: Path) -> None:
    """Nodes come and go while four threads search: every answer is whole."""
    dice = random.Random(7)
    here = [cluster.add(), cluster.add()]
    place = spread(whole, [disk for _, disk in here], ["abcd", "abcd"])
    own = Path(place).name
    before = {metric: expected(whole, k=30, metric=metric) for metric in SEARCHED}
    failures: list[Any] = []
    counts = [0] * 4
    done = threading.Event()
    with connect(cluster.address, place, replicas=1) as connected:

        def ask(number: int) -> None:
            own = random.Random(number)
            while not done.is_set():
                metric = own.choice(SEARCHED)
                try:
                    found = asked(connected, k=30, metric=metric)
                    if found != before[metric] or found.missing:
                        failures.append(found)
                except Exception as error:
                    failures.append(error)
                counts[number] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            for kill in range(20):
                time.sleep(dice.uniform(0, 3))
                if kill % 2:  # a process
                    for process in processes(connected)[:1]:
                        with contextlib.suppress(ProcessLookupError):  # it has gone by itself
                            os.kill(process, signal.SIGKILL)
                    continue
                node, disk = cluster.add()  # another node takes the place of one
                shutil.copytree(here[0][1] / own, disk / own, copy_function=os.link)
                here.append((node, disk))
                gone = here.pop(dice.randrange(2))
                cluster.kill(gone[0])
                assert asked(connected, k=30, metric="l2") == before["l2"]
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert not failures, failures[:3]
    assert min(counts) > 0
    print(f"{sum(counts)} searches, 20 kills")
