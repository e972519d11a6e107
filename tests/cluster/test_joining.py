"""Addresses at which there is no cluster are told at once, each with what to do."""

from __future__ import annotations

from types import SimpleNamespace

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


DIED = """Initialization failure from server:
Traceback (most recent call last):
RuntimeError: Starting Ray client server failed. See ray_client_server_23000.err for detailed logs.
"""


@pytest.mark.parametrize(
    ("error", "failures", "tried"),
    [
        (ConnectionAbortedError(DIED), 4, 5),
        (ConnectionAbortedError(DIED), 5, 5),
        (ConnectionError("ray client connection timeout"), 1, 1),
    ],
)
def test_the_process_that_serves_a_client_dies(
    monkeypatch: pytest.MonkeyPatch, error: Exception, failures: int, tried: int
) -> None:
    left, calls = [error] * failures, []

    def init(**options: object) -> None:
        calls.append(options)
        if left:
            raise left.pop()

    ray = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setattr(joining, "ray_package", lambda consequence: ray)
    monkeypatch.setattr(joining, "_knock", lambda address: None)
    if failures < tried:
        assert joining.join("ray://there:1", "Nothing was searched") is ray
    else:
        last = str(error).strip().splitlines()[-1].rstrip(".")
        with pytest.raises(ClusterError, match=f"answers at ray://there:1: {last}"):
            joining.join("ray://there:1", "Nothing was searched")
    assert calls == [{"address": "ray://there:1"}] * tried
