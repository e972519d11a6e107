"""ICC profiles written out byte by byte (ICC.1:2001-04), and what they mean in NumPy."""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image

#: Columns of red, green and blue in XYZ under D50: of Display P3, and of sRGB.
P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657],
               [-0.00105, 0.04189, 0.78407]])  # fmt: skip
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061],
                 [0.01392, 0.09708, 0.71410]])  # fmt: skip
D50 = (0.9642, 1.0, 0.8249)

#: The gamma as a profile holds it, in 256ths.
GAMMA = 563 / 256


def profile(space: str = "RGB ", name: str = "wide colours") -> bytes:
    """A display's profile: Display P3's primaries with a gamma, or grey with the gamma alone."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(GAMMA * 256))
    tags = {b"desc": _description(name), b"cprt": b"text" + bytes(4) + b"none\0",
            b"wtpt": _xyz(D50)}  # fmt: skip
    if space == "GRAY":
        tags[b"kTRC"] = curve
    else:
        for letter, column in zip(b"rgb", P3.T, strict=True):
            tags[bytes([letter]) + b"XYZ"] = _xyz(column)
            tags[bytes([letter]) + b"TRC"] = curve
    offset = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for signature, content in tags.items():
        content += bytes(-len(content) % 4)
        table += signature + struct.pack(">II", offset + len(body), len(content))
        body += content
    header = struct.pack(">I", 128 + len(table) + len(body)) + b"none"
    header += struct.pack(">I", 0x02400000) + b"mntr" + space.encode() + b"XYZ "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += b"".join(struct.pack(">i", round(each * 65536)) for each in D50)
    return header + bytes(128 - len(header)) + table + body


def in_srgb(pixels: np.ndarray, space: str = "RGB ") -> np.ndarray:
    """What colours of `profile`, uint8 ``(h, w, 3)`` or grey ``(h, w)``, are in sRGB, 0 to 255."""
    linear = (pixels / 255.0) ** GAMMA
    if space == "GRAY":
        linear = np.repeat(linear[..., None], 3, axis=2)
    else:
        linear = linear @ (np.linalg.inv(SRGB) @ P3).T
    linear = np.clip(linear, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    found: np.ndarray = 255 * encoded
    return found


def coloured(width: int, height: int) -> Image.Image:
    """Smooth patches of strong colours, which another profile makes others."""
    rng = np.random.default_rng(9)
    patches = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    return patches.resize((width, height), Image.Resampling.BICUBIC)


def _xyz(values: object) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(v * 65536)) for v in values)  # type: ignore[attr-defined]


def _description(name: str) -> bytes:
    text = name.encode() + b"\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
