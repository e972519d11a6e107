"""What a call through Ray costs: an actor that answers as a shard does."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np

from .merging import median
from .rows import Say

_CALLS = 100


class Shard:
    """An actor that answers at once."""

    def answer(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(queries), k)), np.zeros((len(queries), k), np.int64)


def measure(say: Say) -> dict[str, Any]:
    """The section; says why where Ray is not there."""
    try:
        import ray
    except ImportError:
        return {"why_not": "Ray is not installed"}
    say("ray: starts")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR, object_store_memory=256 << 20,
    )  # fmt: skip
    try:
        shards: list[Any] = [ray.remote(num_cpus=0)(Shard).remote() for _ in range(2)]
        result: dict[str, Any] = {"version": ray.__version__, "calls": []}
        for queries in (1, 64):
            for k in (10, 1000):
                say(f"ray: {queries} queries, k = {k}")
                asked = np.zeros((queries, 4096), np.float32)

                def call(asked: Any = asked, k: int = k) -> None:
                    ray.get(shards[0].answer.remote(asked, k))

                def both(asked: Any = asked, k: int = k) -> None:
                    held = ray.put(asked)
                    ray.get([shard.answer.remote(held, k) for shard in shards])

                call()
                result["calls"].append(
                    {
                        "queries": queries, "k": k, "sent": asked.nbytes, "back": queries * k * 16,
                        "one": median(call, _CALLS), "two": median(both, _CALLS),
                    }
                )  # fmt: skip
        asked = np.zeros((1, 4096), np.float32)

        def pipelined() -> None:
            ray.get([shards[n % 2].answer.remote(asked, 10) for n in range(200)])

        result["calls_a_second"] = 200 / median(pipelined, 5)
        return result
    finally:
        ray.shutdown()
