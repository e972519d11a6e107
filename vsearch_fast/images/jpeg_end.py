"""JPEG files without their end marker: whole ones are told from those that were cut off.

Cameras that lose power, and programs that write in haste, leave the two bytes FF D9 away. All
pixels are there, and viewers show them; a file that was cut off in the middle ends the same way.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

END = b"\xff\xd9"

# In entropy-coded data 00 stands for a true FF, D0 to D7 are restarts, and FF fills.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")

#: Continuations of a scan. What is missing of it would be decoded from them, each time to
#: something else; behind a scan that is complete a decoder passes over them. Each has its
#: complement beside it: of few bits that are missing, one of the two has all others.
_RANDOM = np.random.default_rng(0).integers(1, 255, (3, 4096), np.uint8)
_FILLERS = tuple(bytes(row) for row in np.concatenate([_RANDOM, 255 - _RANDOM]))


@dataclass
class _Frame:
    """What the headers say, as far as it tells how long the scans must be."""

    width: int = 0
    height: int = 0
    progressive: bool = False
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    interval: int = 0
    sent: dict[tuple[int, int], int] = field(default_factory=dict)
    """By component and coefficient: the lowest bit that a scan has brought."""

    def units(self, components: bytes) -> int:
        """How many units (MCUs) a scan of these components has."""
        widest = max(h for h, _ in self.sampling.values())
        highest = max(v for _, v in self.sampling.values())
        if len(components) > 1:
            return -(-self.width // (8 * widest)) * -(-self.height // (8 * highest))
        h, v = self.sampling[components[0]]
        columns, rows = -(-self.width * h // widest), -(-self.height * v // highest)
        return -(-columns // 8) * -(-rows // 8)

    def begin(self, scan: bytes) -> bytes:
        """Note what a scan's header announces; the numbers of its components."""
        count = scan[0]
        components = scan[1 : 1 + 2 * count : 2]
        first, last, bits = scan[1 + 2 * count :][:3]
        if not self.progressive:
            first, last, bits = 0, 63, 0
        for component in components:
            self.sent.update({(component, at): bits & 15 for at in range(first, last + 1)})
        return components

    def is_complete(self) -> bool:
        """Whether some scan has brought every coefficient to its last bit."""
        return all(
            self.sent.get((component, at)) == 0 for component in self.sampling for at in range(64)
        )


def has_end(data: bytes) -> bool:
    """Whether the end marker follows the last scan, or the file is none that is known here."""
    if data.endswith(END):
        return True
    try:
        return _walk(data)[0]
    except (IndexError, KeyError, ValueError, struct.error):
        return True


def completed(data: bytes, pixels: Callable[[bytes], np.ndarray]) -> bytes | None:
    """The file with its end marker, where nothing else of it is missing; else None.

    `pixels` decodes a file that has one. Trailing zeros are not taken for data: they are what a
    download that was not finished leaves.
    """
    try:
        ended, complete = _walk(data)
    except (IndexError, KeyError, ValueError, struct.error):
        return None
    if ended or not complete:
        return None
    core = data.rstrip(b"\0")
    if len(core) == len(data) - 1:
        core = data  # a scan's last byte may be one
    core = core.rstrip(b"\xff")  # half a marker, or fill before one
    whole = pixels(core + END)
    if all(np.array_equal(pixels(core + filler + END), whole) for filler in _FILLERS):
        return core + END
    return None


def _walk(data: bytes) -> tuple[bool, bool]:
    """Whether the end marker is there; whether all scans are, the last one up to its length."""
    frame, at = _Frame(), 2
    while True:
        while data[at + 1] == 0xFF:  # fill
            at += 1
        marker = data[at + 1]
        if data[at] != 0xFF:
            raise ValueError("no marker")
        if marker == 0xD9:
            return True, True
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker in (0xC0, 0xC1, 0xC2):
            _, frame.height, frame.width, count = struct.unpack_from(">BHHB", body)
            frame.progressive = marker == 0xC2
            frame.sampling = {
                body[i]: (body[i + 1] >> 4, body[i + 1] & 15) for i in range(6, 6 + 3 * count, 3)
            }
        elif marker == 0xDD:
            (frame.interval,) = struct.unpack(">H", body)
        elif marker == 0xDA:
            components = frame.begin(body)
            found = _MARKER.search(data, at)
            if found is None:
                restarts = len(_RESTART.findall(data, at))
                units = frame.units(components)
                wanted = -(-units // frame.interval) - 1 if frame.interval else 0
                return False, frame.is_complete() and restarts == wanted
            at = found.start()
