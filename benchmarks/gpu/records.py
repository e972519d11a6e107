"""What the calls of `gpu_report.py` have found: a JSON file a part, in one folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vsearch_fast.disk.replacing import replace_text
from vsearch_fast.errors import ArgumentError
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.device import Device

from .base import Sizes

#: States after which a part is not what comes next.
_FINISHED = ("done", "done in part", "failed")


class Records:
    """The parts in a folder, all of the same sizes, devices and kernels.

    Attributes:
        of_what: the sizes, devices and kernels, as each part has them.
    """

    def __init__(self, folder: Path, sizes: Sizes, devices: Sequence[Device]) -> None:
        self.folder = folder
        what = {
            "sizes": asdict(sizes),
            "devices": [device.name for device in devices],
            "kernels": _digest(),
        }
        self.of_what: dict[str, Any] = json.loads(json.dumps(what))

    def _file(self, part: str) -> Path:
        return self.folder / f"{part}.json"

    def of(self, part: str) -> dict[str, Any]:
        """What was found of a part, empty where nothing was.

        Raises:
            ArgumentError: the file is of other sizes, devices or kernels.
        """
        try:
            found: dict[str, Any] = json.loads(self._file(part).read_text())
        except FileNotFoundError:
            return {}
        theirs = found.get("of", {})
        other = [name for name, value in self.of_what.items() if theirs.get(name) != value]
        if other:
            raise ArgumentError(
                f"{self._file(part)} is of other {' and '.join(other)}",
                "Nothing was measured, as the figures would not belong together",
                "Give another --folder, or move that one away",
            )
        return found

    def save(self, part: str, record: dict[str, Any]) -> None:
        """Write a part whole, or leave what was there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_text(self._file(part), json.dumps(record, indent=1, default=float) + "\n")

    def state(self, part: str) -> dict[str, Any]:
        """How far a part is; ``running`` where a call was cut off."""
        state: dict[str, Any] = self.of(part).get("sections", {}).get(part, {"state": "not begun"})
        return state

    def finished(self, part: str) -> bool:
        """Whether another part comes next."""
        return self.state(part)["state"] in _FINISHED


def _digest() -> str:
    """Of all CUDA sources."""
    found = hashlib.sha256(sources.digest().encode())
    for unit in sources.UNITS:
        found.update(sources.source(unit).encode())
    return found.hexdigest()[:16]
