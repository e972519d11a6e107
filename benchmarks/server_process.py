"""A server of the search page in a process of its own, as ``vsearch serve`` runs it, for the
benchmarks that ask it over HTTP.

    python benchmarks/server_process.py INDEX own|none
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vsearch_fast import Embedder, Index


@dataclass(frozen=True)
class Served:
    """A running server: its address, its process, and the seconds from start to address."""

    address: str
    pid: int
    start: float

    def resident(self) -> float:
        """MB that the process has in memory (Linux)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1000
        raise SystemExit("The process does not say what it takes.")


@contextmanager
def server(index_path: Path, *, own_model: bool = False) -> Iterator[Served]:
    """The server of an index, ended after the block. Rows that are made have no network: without
    `own_model` the package's own stands in for it, and is not asked."""
    command = [sys.executable, __file__, str(index_path), "own" if own_model else "none"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip().rstrip("/")
            if not address:
                raise SystemExit("The server did not start; see above.")
            yield Served(address, process.pid, time.perf_counter() - began)
        finally:
            process.terminate()


def _serve(index_path: str, model: str) -> None:
    """The server's process: says its address in a line, then serves until it is ended."""
    from vsearch_fast.indexing.recorded import model_file
    from vsearch_fast.web.app import create_app
    from vsearch_fast.web.catalogue import Catalogue
    from vsearch_fast.web.server import bound, run
    from vsearch_fast.web.settings import Settings

    path = Path(index_path)
    embedder = Embedder() if model == "none" else Embedder(model_file(path))
    sock = bound("127.0.0.1", 0)
    settings = Settings()
    with Index.open(path) as index:
        app = create_app(Catalogue(path, index, embedder, settings), settings)
        run(app, sock, token=None, say=lambda text: print(text.split()[2], flush=True))


if __name__ == "__main__":
    _serve(*sys.argv[1:])
