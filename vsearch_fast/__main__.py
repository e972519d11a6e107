"""``python -m vsearch_fast``: the `vsearch` command by the package's name, which no other has.

Debian's bioinformatics package vsearch installs a command of the same name.
"""

from __future__ import annotations

from .cli import main
from .cli import vsearch as command

__all__ = ["command", "main"]

if __name__ == "__main__":
    main()
