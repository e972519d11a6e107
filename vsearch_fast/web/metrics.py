"""Counts and durations of a server, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LATE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """One server's own registry: two servers of a process do not mix their counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "vsearch_requests", "Requests by route, method and status.",
            ["route", "method", "status"], registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "vsearch_request_seconds", "From the first byte read to the answer sent.",
            ["route"], buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._batches = Histogram(
            "vsearch_batch_size", "Queries done together, by stage.",
            ["stage"], buckets=_SIZES, registry=self._registry,
        )  # fmt: skip
        self._stage = Histogram(
            "vsearch_stage_seconds", "Time of a search in each stage, waiting included.",
            ["stage"], buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip

        self._late = Histogram(
            "vsearch_loop_late_seconds", "How late the event loop woke, of ten times a second.",
            buckets=_LATE, registry=self._registry,
        )  # fmt: skip

    def late(self, seconds: float) -> None:
        """Note how late the event loop was: long where something has blocked it."""
        self._late.observe(seconds)

    def request(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request, by its route: addresses are the clients' and have no end."""
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, stage: str) -> Callable[[int], None]:
        """Counts batches of a stage by their size."""
        return self._batches.labels(stage).observe

    def stage(self, stage: str, seconds: float) -> None:
        """Note the time of a stage."""
        self._stage.labels(stage).observe(seconds)

    def gauge(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """A number that is read whenever it is asked for."""
        Gauge(name, help_, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)
