"""Addresses at which there is no cluster are told at once, each with what to do."""

from __future__ import annotations

import pytest

from vsearch_fast.cluster import joining
from vsearch_fast.errors import ArgumentError, ClusterError, MissingDependencyError


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_nobody_answers(address: str) -> None:
    with pytest.raises(ClusterError, match=f"No Ray cluster answers at {address}: .*local"):
        joining.join(address, "Nothing was searched")


def test_an_empty_address() -> None:
    with pytest.raises(ArgumentError, match="address of the Ray cluster is empty"):
        joining.join(" ", "Nothing was searched")


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="ray, which clusters need"):
        joining.join("local", "Nothing was searched")
