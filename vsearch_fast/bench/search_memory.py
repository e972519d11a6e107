"""Anonymous memory of one search of an opened index; run by `footprint` in a new process.

    python -m vsearch_fast.bench.search_memory FOLDER METRIC QUERIES K

Prints JSON: megabytes before the search and at most during it. Anonymous memory is what the
system cannot drop: memory-mapped rows are not in it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import cast

import numpy as np

from ..index.index import Index
from ..search.dispatch import topk
from ..words import JUDGED, Metric


def anonymous() -> float:
    """Megabytes of anonymous memory of this process (``RssAnon``)."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024 / 1e6
    raise OSError("the system tells no RssAnon")


class Peak:
    """Samples `anonymous` in a thread of its own, as often as the interpreter lets it."""

    def __enter__(self) -> Peak:
        self.most, self.samples = anonymous(), 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._stop.is_set():
            self.most = max(self.most, anonymous())
            self.samples += 1
            time.sleep(0.0002)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def main(folder: str, metric: Metric, queries: int, k: int) -> None:
    rng = np.random.default_rng(1)
    # The compiler and the kernels are loaded before: they are the same for any index.
    small = np.maximum(rng.standard_normal((4096, 256), np.float32), 0)
    for each in JUDGED:
        rows = np.packbits(small > 0, axis=1) if each == "hamming" else small
        for few in (1, queries):
            topk(rows[:few], rows, k, metric=each)
    with Index.open(folder) as index:
        asked = np.maximum(rng.standard_normal((queries, index.dim), np.float32), 0)
        before = anonymous()
        with Peak() as peak:
            start = time.perf_counter()
            _, proof = index.search(asked, k=k, metric=metric, explain=True)
            seconds = time.perf_counter() - start
        print(
            json.dumps(
                {
                    "before_mb": before,
                    "peak_mb": peak.most,
                    "samples": peak.samples,
                    "seconds": seconds,
                    "strategy": proof.strategy,
                }
            )
        )


if __name__ == "__main__":
    main(sys.argv[1], cast(Metric, sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
