"""What an actor answers of shards whose segments are joined beside it, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from on_nodes import rows_with_ties, spread

from vsearch_fast.cluster.host import Asked, Host
from vsearch_fast.index import Index
from vsearch_fast.shards import manifest


def test_an_actor_goes_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    spread(whole, [], [])
    host = Host(str(whole), manifest.read(whole), range(4), None, "")
    host.open("cpu")
    rows = rows_with_ties()[[0, 33, 64]]

    def answers() -> list[Any]:
        found: list[Any] = []
        for metric in ("l2", "l1", "hamming"):
            queries = np.packbits(rows > 0, axis=-1) if metric == "hamming" else rows
            asked = Asked(queries, 30, metric, None, None, None, "auto", "auto", 1)
            part, error = host.call("search", asked)
            assert error is None
            found += [part.hits, [orders.tolist() for orders in part.orders]]
        return found

    right = answers()
    for place, segment_rows in (("b", 3), ("a", 1000), ("b", 64)):
        with Index.open(whole / place, mode="rw") as shard:
            shard.optimize(segment_rows=segment_rows)
        assert answers() == right
    told = {number: facts["segment_rows"] for number, facts in host.facts().items()}
    assert told == {0: 1000, 1: 64, 2: 8, 3: 8}
