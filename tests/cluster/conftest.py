"""A Ray cluster of two nodes on this machine, of the tests of this folder; each has a disk of its
own, which the variable VSEARCH_TEST_DISK names there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import Nodes


# Not of the session: other tests of the process would find Ray's threads and hundreds of its files.
@pytest.fixture(scope="package")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="ray is not installed: .[ray]")
    made = Nodes(tmp_path_factory.mktemp("disks"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def cluster(nodes: Nodes) -> Iterator[Nodes]:
    """The two nodes; what a test adds is gone after it."""
    yield nodes
    nodes.tidy()


@pytest.fixture(scope="module")
def address(nodes: Nodes) -> str:
    return nodes.address


@pytest.fixture
def disk(nodes: Nodes) -> list[Path]:
    """The folders of the two nodes' disks."""
    return list(nodes.disks[:2])


def pytest_configure(config: Any) -> None:
    """Ray's own processes warn of what is theirs."""
    config.addinivalue_line("filterwarnings", "ignore::ResourceWarning:ray.*")
