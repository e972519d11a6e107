"""Join a Ray cluster, once a process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from ..errors import ArgumentError, ClusterError, MissingDependencyError
from ..installing import how_to_install
from ..loading import LOCK, package

#: An address that starts a cluster of this machine alone, which ends with the process.
LOCAL = "local"
_KNOCK_SECONDS = 10.0
_CLIENT_ATTEMPTS = 5


def ray_package(consequence: str) -> Any:
    """The package ray.

    Raises:
        MissingDependencyError: it is not installed, or cannot be imported.
    """
    if find_spec("ray") is None:
        raise MissingDependencyError(
            "The package ray, which clusters need, is not installed",
            consequence,
            how_to_install("ray"),
        )
    # Read when ray is imported: it would count its users at an address of its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return package("ray")
    except Exception as error:  # whatever a broken installation raises
        raise MissingDependencyError(
            f"The package ray is installed and cannot be imported: {error}",
            consequence,
            how_to_install("ray"),
        ) from error


def join(address: str, consequence: str, **options: Any) -> Any:
    """The package ray, connected to a cluster; a process that is connected stays so.

    Args:
        address: "local" (a cluster of this machine, for this process), "auto" (the one that
            ``ray start`` began on this machine), HOST:PORT, or ray://HOST:PORT (a client's).
        consequence: what is not done where there is no such cluster.
        options: for ``ray.init``, of a cluster that is started.

    Raises:
        MissingDependencyError: ray is not installed.
        ArgumentError: an address that says nothing.
        ClusterError: no cluster answers there.
    """
    if not address.strip():
        raise ArgumentError(
            "The address of the Ray cluster is empty", consequence,
            f'Say "{LOCAL}", "auto", HOST:PORT or ray://HOST:PORT',
        )  # fmt: skip
    ray = ray_package(consequence)
    try:
        _knock(address)  # also where the process is connected, perhaps to another
    except (OSError, ValueError) as error:
        raise _no_cluster(address, error, consequence) from error
    with LOCK:
        if not ray.is_initialized():
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
            if address == LOCAL:
                quiet["include_dashboard"] = False
            else:
                options = {}
            if address.startswith("ray://"):
                quiet = {}
            try:
                _begun(lambda: ray.init(address=address, **{**quiet, **options}))
            except Exception as error:  # ConnectionError, RuntimeError, ValueError, gRPC's
                raise _no_cluster(address, error, consequence) from error
    return ray


def _begun(init: Callable[[], object]) -> None:
    """Call ``ray.init``, and again where the cluster is there and could not start the process that
    serves this client: it forks amid gRPC's threads, and what is forked may die of that."""
    for attempt in range(1, _CLIENT_ATTEMPTS + 1):
        try:
            init()
            return
        except ConnectionError as error:
            if attempt == _CLIENT_ATTEMPTS or "Starting Ray client server failed" not in str(error):
                raise


def _no_cluster(address: str, error: Exception, consequence: str) -> ClusterError:
    return ClusterError(
        f"No Ray cluster answers at {address}: {_in_a_line(error)}",
        consequence,
        "Start one with `ray start --head`, and name its address, or say"
        f' "{LOCAL}" for one of this machine alone',
    )


def _knock(address: str) -> None:
    """Raise OSError where nobody listens: ray itself would wait for minutes; ValueError where the
    address names no place."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address not in (LOCAL, "auto"):
        if not (host and port.isdecimal()):
            raise ValueError("it is none of the kinds of addresses that there are")
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()


def _in_a_line(error: BaseException) -> str:
    """What an error says first; last, where that is the head of a traceback of the server's."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return (lines[-1] if lines[0].endswith(":") else lines[0]).rstrip(".")
