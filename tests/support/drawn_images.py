"""Pictures of noise in every format and mode, some of which Pillow does not write."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

MODES_OF_FORMAT = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "P", "RGB", "LA", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "RGBA", "I;16"),
    "GIF": ("L", "P"),
}
OPTIONS_OF_FORMAT: dict[str, tuple[dict, ...]] = {
    "JPEG": ({}, {"progressive": True, "quality": 95, "subsampling": 0}),
    "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}),
    "WEBP": ({}, {"lossless": True}),
}
CASES = [
    (picture_format, mode, options)
    for picture_format, modes in MODES_OF_FORMAT.items()
    for mode in modes
    for options in OPTIONS_OF_FORMAT.get(picture_format, ({},))
]
OPAQUE_CASES = [case for case in CASES if case[1] not in ("LA", "RGBA", "I;16")]


def random_pixels(width: int, height: int, channels: int, seed: int) -> np.ndarray:
    """Noise on a gradient: every pixel differs from its neighbours, and it still compresses."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    smooth = 128 + 100 * np.sin(x / 9 + seed) * np.cos(y / 7)
    noise = rng.integers(-27, 28, (height, width, channels))
    return np.clip(smooth[:, :, None] + noise, 0, 255).astype(np.uint8)


def random_image(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    if mode == "I;16":
        rng = np.random.default_rng(seed)
        return Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
    if mode in ("1", "P"):
        rgb = Image.fromarray(random_pixels(width, height, 3, seed))
        return rgb.convert("1") if mode == "1" else rgb.quantize(64)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = random_pixels(width, height, channels, seed)
    return Image.merge(mode, [Image.fromarray(pixels[:, :, i]) for i in range(channels)])


def encode(image: Image.Image, picture_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, picture_format, **options)
    return file.getvalue()


def write_png(rows: np.ndarray, depth: int, colour: int, transparent: bytes = b"") -> bytes:
    """A PNG of any depth, for those that Pillow does not write; rows are its raw bytes."""
    width = rows.shape[1] * 8 // (depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour])
    chunks = [(b"IHDR", struct.pack(">2I5B", width, rows.shape[0], depth, colour, 0, 0, 0))]
    chunks += [(b"tRNS", transparent)] if transparent else []
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))]
    chunks += [(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def bomb(width: int, height: int) -> bytes:
    """A black-and-white PNG of any size whose pixels are never written out in memory."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + -(-width // 8))
    data = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    head = write_png(np.zeros((1, 1), np.uint8), 1, 0)
    ihdr = b"IHDR" + struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0)
    idat = b"IDAT" + data
    return (
        head[:12]
        + ihdr
        + struct.pack(">I", zlib.crc32(ihdr))
        + struct.pack(">I", len(data))
        + idat
        + struct.pack(">I", zlib.crc32(idat))
        + head[-12:]
    )


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha[:, :, None].astype(float) / 255
    return np.floor(colour * weight + 255 * (1 - weight) + 0.5).astype(np.uint8)
