"""Python code that a test runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

#: Where these modules lie, which such code may import.
SUPPORT = Path(__file__).resolve().parent


def in_a_process(code: str, **environment: str) -> str:
    """What Python code prints in a process of its own."""
    paths = [str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
