"""How full the object stores of a Ray cluster become, seen by a process beside it.

``python store_watch.py ADDRESS`` prints, when its standard input ends, the most bytes that all
stores held together at one time, and the bytes that were put on disks for lack of room.
"""

from __future__ import annotations

import select
import sys

from ray._private.internal_api import get_memory_info_reply, get_state_from_address


def main(address: str) -> None:
    """Look twice a second."""
    state = get_state_from_address(address)
    most = spilled = 0
    while True:
        stats = get_memory_info_reply(state).store_stats
        most = max(most, stats.object_store_bytes_used)
        spilled = max(spilled, stats.spilled_bytes_total)
        if select.select([sys.stdin], [], [], 0.5)[0]:
            break
    print(most, spilled, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
