"""The process that faults are tried in, and the index that they begin with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fault_shim
import fault_truth
import pytest
from fault_stage import Stage

# What tries the faults is POSIX's own: a shim of the C library, signals, limits.
if not hasattr(os, "fork"):
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones take minutes each, on a busy machine more."""
    for item in items:
        if item.get_closest_marker("full") and item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim beneath libc's writing calls; skips where it cannot be compiled."""
    try:
        return fault_shim.build(tmp_path_factory.mktemp("shim"))
    except fault_shim.NoCompilerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def stage(library: Path) -> Iterator[Stage]:
    """With the shim beneath it."""
    with Stage(library) as opened:
        yield opened


@pytest.fixture(scope="session")
def bare_stage() -> Iterator[Stage]:
    """Without: for faults that need no shim, and no compiler."""
    with Stage() as opened:
        yield opened


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index that most faults begin with, never changed; `older` beside it is what it was."""
    folder = tmp_path_factory.mktemp("made")
    fault_truth.make_base(folder / "index", older=folder / "older")
    return folder / "index"
