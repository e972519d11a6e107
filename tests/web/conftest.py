"""A served catalogue; what serves it is imported where the server's packages are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from served import make_catalogue

    return make_catalogue(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def served(index_path: Path) -> Iterator[tuple[Any, Any]]:
    from served import serving, wait_for

    with serving(index_path) as pair:
        wait_for(lambda: len(pair[1].facts.likeness) == 3)
        yield pair


@pytest.fixture(scope="module")
def client(served: tuple[Any, Any]) -> Any:
    return served[0]


@pytest.fixture(scope="module")
def catalogue(served: tuple[Any, Any]) -> Any:
    return served[1]
