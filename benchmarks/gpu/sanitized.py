"""All trials of a metric, for compute-sanitizer to watch: ``python sanitized.py hamming``."""

from __future__ import annotations

import sys

from vsearch_fast.search.gpu import devices
from vsearch_fast.search.gpu.trials import trials


def main(metric: str) -> int:
    """0 where all results are right, else 1."""
    wrong = []
    for device in devices.devices():
        with device.use():
            wrong += [
                name for name, right in trials(device) if name.startswith(metric) and not right()
            ]
    for name in wrong:
        print(f"{name} gave wrong results", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
