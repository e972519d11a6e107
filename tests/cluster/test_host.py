"""What an actor does, without a cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from on_nodes import DIM, spread

SEARCHED = """
import sys
from pathlib import Path
import numpy as np
from vsearch_fast.cluster.host import Asked, Host
from vsearch_fast.cluster.placing import located
from vsearch_fast.shards import manifest
folder, dim = sys.argv[1:]
host = Host(folder, located(manifest.read(Path(folder)), folder), [0, 1, 2, 3], None, "")
opened, error = host.call("open", "cpu")
assert error is None
before = set(sys.modules)
queries = np.zeros((1, int(dim)), np.float32)
part, error = host.call(
    "search", Asked(queries, 3, "l2", None, None, None, "auto", "auto", None)
)
assert error is None and len(part.hits[0]) == 3
assert "numba" in before
for name in sorted(set(sys.modules) - before):
    if name.startswith(("numba", "llvmlite", "vsearch_fast.kernels")):
        print(name)
"""


def test_what_has_opened_has_loaded_what_it_searches_by(tmp_path: Path) -> None:
    """To load Numba and kernels, or to compile them, may take longer than an answer is waited
    for."""
    whole = tmp_path / "whole"
    spread(whole, [], [])
    told = subprocess.run(
        [sys.executable, "-c", SEARCHED, str(whole), str(DIM)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert told.stdout == ""
