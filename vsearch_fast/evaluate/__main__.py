"""``python -m vsearch_fast.evaluate``."""

from .._console import run
from .command import command

if __name__ == "__main__":
    run(command, "python -m vsearch_fast.evaluate")
