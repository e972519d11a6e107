"""Searches an index in a process of its own: ``disk_search.py INDEX QUERIES [GROUP]``, and prints
seconds, bytes read and answers as JSON. QUERIES is a .npy file, GROUP
the `cgroup.procs` that it enters first."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

ROUNDS = 2


def bytes_read() -> int:
    """That this process had from the disk."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def main(folder: str, queries: str) -> dict[str, Any]:
    """Each query alone, in two rounds: the first reads much from the disk."""
    import numpy as np

    from vsearch_fast.index import Index

    result: dict[str, Any] = {"metrics": {}, "answers": {}}
    with Index.open(folder) as index:
        for metric in ("l2", "hamming"):
            seconds: list[list[float]] = []
            read: list[list[int]] = []
            answers: list[Any] = []
            for _ in range(ROUNDS):
                seconds.append([])
                read.append([])
                answers.append([])
                for query in np.load(queries):
                    before, began = bytes_read(), time.perf_counter()
                    [hits] = index.search(query, 10, metric)
                    seconds[-1].append(time.perf_counter() - began)
                    read[-1].append(bytes_read() - before)
                    answers[-1].append([(hit.id, hit.distance) for hit in hits])
            assert answers[0] == answers[1]
            result["metrics"][metric] = {"seconds": seconds, "read": read}
            result["answers"][metric] = answers[0]
    return result


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[3]:
        # Before anything large is read.
        Path(sys.argv[3]).write_text(str(os.getpid()), encoding="ascii")
    print(json.dumps(main(sys.argv[1], sys.argv[2])))
