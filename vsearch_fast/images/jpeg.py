"""Which library turns a JPEG's bytes into pixels: one for an index and all its queries.

Decoders round differently, and a pixel that differs by one can flip a code bit. So what an
index was made with is recorded by name, and its queries are decoded by the same:

- ``libjpeg-turbo``: Pillow's own copy, or simplejpeg's where that is installed, which is
  faster on larger pictures (it needs no second copy of them). Both give the same pixels, bit
  for bit, with the accurate DCT and smooth chroma upsampling that Pillow asks for
  (``tests/images/test_jpeg.py``); so they go by one name. simplejpeg takes whole, usual pictures
  only: for anything else `Decoder.pixels` is None and Pillow decides, as it does alone.
- ``nvimgcodec``: nvJPEG on an NVIDIA GPU, with other rounding. Chosen by name only: an index
  made with it asks for a GPU in every search.
- ``libjpeg``: a Pillow that its packager built with another libjpeg.

What else becomes of pictures is said behind the name, and recorded with it:

- ``+srgb``: colours are turned to sRGB by the profile in the file (`colours.py`), of any format.
- ``+reduced``: large JPEGs are read at a half, a quarter or an eighth of their size (`scaled.py`).
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from PIL import Image, features

from ..checks import PixelBox
from ..errors import ArgumentError, MissingDependencyError
from ..installing import how_to_install
from .jpeg_end import has_end

AUTO = "auto"
LIBJPEG_TURBO = "libjpeg-turbo"
NVIMGCODEC = "nvimgcodec"
LIBJPEG = "libjpeg"

SRGB, REDUCED = "srgb", "reduced"

#: What may stand behind a decoder's name, in this order.
ADDITIONS = (SRGB, REDUCED)

CHOICES = (
    AUTO,
    LIBJPEG_TURBO,
    f"{LIBJPEG_TURBO}+{SRGB}",
    f"{LIBJPEG_TURBO}+{REDUCED}",
    f"{LIBJPEG_TURBO}+{SRGB}+{REDUCED}",
    NVIMGCODEC,
)
"""What can be asked for; an index may also record `LIBJPEG`."""

Pixels = Callable[[bytes], np.ndarray | None]

_NOT_CHOSEN = "No picture can be decoded"

SIGNATURE = b"\xff\xd8\xff"
"""The first bytes of every JPEG file."""

# Larger files are read piece by piece, by Pillow.
_LARGEST_IN_MEMORY = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Decoder:
    """A JPEG decoder.

    `name` is what an index records; `version` says in words what is behind it. `pixels`
    takes a JPEG file's bytes and gives uint8 (h, w, 3) RGB, as stored (no EXIF rotation), or
    None for a file that it does not take; it is safe to call from several threads. Where
    `pixels` is itself None, Pillow does all. `srgb`: colours are turned by the pictures' profiles;
    `reduced`: large JPEGs are read smaller.
    """

    name: str
    version: str
    pixels: Pixels | None
    srgb: bool = False
    reduced: bool = False


def find_decoder(name: str = AUTO) -> Decoder:
    """The decoder of this name; "auto" is libjpeg-turbo, "auto+srgb" that with `ADDITIONS`.

    Raises ArgumentError for an unknown name and MissingDependencyError where it is not
    installed, or finds no GPU.
    """
    name, *more = name.split("+")
    if more:
        return _with(find_decoder(name), more)
    if name == NVIMGCODEC:
        return _nvimgcodec()
    turbo = features.check_feature("libjpeg_turbo")
    if name == AUTO:
        name = LIBJPEG_TURBO if turbo or _simplejpeg() is not None else LIBJPEG
    if name == LIBJPEG_TURBO:
        return _libjpeg_turbo(bool(turbo))
    if name == LIBJPEG:
        if turbo:
            raise MissingDependencyError(
                "Pillow decodes JPEG with libjpeg-turbo here, not with another libjpeg",
                _NOT_CHOSEN,
                f"Choose {LIBJPEG_TURBO}, or install a Pillow that was built with libjpeg",
            )
        return Decoder(LIBJPEG, _pillow(), None)
    raise ArgumentError(
        f"There is no JPEG decoder {name!r}", _NOT_CHOSEN, f"Choose one of {', '.join(CHOICES)}"
    )


def _with(decoder: Decoder, more: list[str]) -> Decoder:
    """The decoder with what was said behind its name."""
    if not set(more) <= set(ADDITIONS) or decoder.name == NVIMGCODEC:
        raise ArgumentError(
            f"There is no JPEG decoder {'+'.join([decoder.name, *more])!r}",
            _NOT_CHOSEN,
            f"Choose one of {', '.join(CHOICES)}",
        )
    said = [each for each in ADDITIONS if each in more]
    version = decoder.version
    if SRGB in said:
        if not features.check("littlecms2"):
            raise MissingDependencyError(
                "Pillow is built without LittleCMS here, which turns colours by their profiles",
                _NOT_CHOSEN,
                f"Install another Pillow (pip's wheels have it), or choose {decoder.name}",
            )
        version += f", LittleCMS {features.version('littlecms2')}"
    return replace(
        decoder, name="+".join([decoder.name, *said]), version=version,
        srgb=SRGB in said, reduced=REDUCED in said,
    )  # fmt: skip


def jpeg_bytes(source: object) -> bytes | None:
    """The bytes of a regular JPEG file or of one given as bytes; None for anything else."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source) if bytes(source[:3]) == SIGNATURE else None
    if not isinstance(source, (str, os.PathLike)):
        return None
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_IN_MEMORY:
            return None
        with open(source, "rb") as file:
            return file.read() if file.peek(3)[:3] == SIGNATURE else None
    except (OSError, ValueError):
        return None


def sample_nearest(pixels: np.ndarray, box: PixelBox, size: int) -> np.ndarray:
    """What Pillow's nearest rule makes of a box: uint8 (size, size, 3) of (h, w, 3).

    Only the pixels that stay are touched; a PIL image of a large picture would be a second
    copy of it. `box` is x1, y1, x2, y2 inside the picture.
    """
    x1, y1, x2, y2 = box
    height, width, _ = pixels.shape
    columns = (x1 + _nearest(x2 - x1, size))[:, None] * 3 + np.arange(3)
    rows = pixels.reshape(height, width * 3).take(y1 + _nearest(y2 - y1, size), axis=0)
    return rows.take(columns.ravel(), axis=1).reshape(size, size, 3)


@lru_cache(maxsize=1024)
def _nearest(length: int, size: int) -> np.ndarray:
    """Which of `length` pixels Pillow's nearest rule takes for each of `size`; asked of it."""
    ramp = Image.fromarray(np.arange(length, dtype=np.int32)[None])
    taken = np.asarray(ramp.resize((size, 1), Image.Resampling.NEAREST))[0].astype(np.intp)
    taken.flags.writeable = False  # many threads share it
    return taken


def _libjpeg_turbo(in_pillow: bool) -> Decoder:
    simplejpeg = _simplejpeg()
    if simplejpeg is None:
        if not in_pillow:
            raise MissingDependencyError(
                "Pillow is built with another libjpeg here, and simplejpeg is not installed",
                _NOT_CHOSEN,
                f"Install it with {how_to_install('jpeg')}",
            )
        return Decoder(LIBJPEG_TURBO, _pillow(), None)

    def pixels(data: bytes) -> np.ndarray | None:
        try:
            # Strict: what is damaged is left to Pillow, which has always decided over it.
            found: np.ndarray = simplejpeg.decode_jpeg(
                data, "RGB", fastdct=False, fastupsample=False, strict=True
            )
        except Exception:
            return None
        return found

    return Decoder(LIBJPEG_TURBO, f"simplejpeg {simplejpeg.__version__}, {_pillow()}", pixels)


def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def _pillow() -> str:
    library = features.version_feature("libjpeg_turbo")
    library = f"libjpeg-turbo {library}" if library else f"libjpeg {features.version('jpg')}"
    return f"Pillow {Image.__version__} with {library}"


def _nvimgcodec() -> Decoder:
    extra = "'nvidia-nvimgcodec-cu12[nvjpeg]' (CUDA 12) or 'nvidia-nvimgcodec-cu13[nvjpeg]'"
    try:
        from nvidia import nvimgcodec
    except ImportError as error:
        raise MissingDependencyError(
            f"The JPEG decoder {NVIMGCODEC} is not installed",
            _NOT_CHOSEN,
            f"Install it with pip install {extra}, or choose {LIBJPEG_TURBO}",
        ) from error
    pixels = _by_nvimgcodec(nvimgcodec)
    trial = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(trial, "JPEG")
    if pixels(trial.getvalue()) is None:
        raise MissingDependencyError(
            f"The JPEG decoder {NVIMGCODEC} is installed and decodes nothing: it finds no NVIDIA "
            "GPU, or no nvJPEG",
            _NOT_CHOSEN,
            f"See its message above; with a GPU, pip install {extra}; without one, choose "
            f"{LIBJPEG_TURBO}",
        )
    return Decoder(NVIMGCODEC, f"nvImageCodec {_version_of(nvimgcodec)}", pixels)


def _by_nvimgcodec(nvimgcodec: Any) -> Pixels:
    """Decode on the GPU; one decoder a thread, since it does not say that it may be shared."""
    own = threading.local()
    parameters = nvimgcodec.DecodeParams(
        # Turned by the caller, as with any other decoder.
        apply_exif_orientation=False,
        color_spec=nvimgcodec.ColorSpec.SRGB,
        allow_any_depth=False,
    )

    def pixels(data: bytes) -> np.ndarray | None:
        if not has_end(data):
            return None  # Pillow decides whether it is whole
        try:
            if not hasattr(own, "decoder"):
                own.decoder = nvimgcodec.Decoder(
                    max_num_cpu_threads=1,
                    # Smooth chroma, as libjpeg-turbo has it: the difference is then rounding.
                    options=":fancy_upsampling=1",
                )
            image = own.decoder.decode(nvimgcodec.CodeStream(data), params=parameters)
            image = None if image is None else image.cpu()
            return None if image is None else np.array(image)
        except Exception:  # its errors have no common base
            return None

    return pixels


def _version_of(module: Any) -> str:
    for package in ("nvidia-nvimgcodec-cu12", "nvidia-nvimgcodec-cu13"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return str(getattr(module, "__version__", "unknown"))
