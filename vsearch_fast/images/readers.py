"""Pillow's readers, chosen by a file's first bytes, free of Pillow's process-wide settings.

Other code of the process may have set ``ImageFile.LOAD_TRUNCATED_IMAGES``, which makes half a
picture pass, the rest grey, or ``Image.MAX_IMAGE_PIXELS``. Neither may decide what a picture's
features are, and neither may be set from here, where other threads rely on it. So the readers
are sub-classes whose few functions that read those settings have globals of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any, BinaryIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from ..installing import how_to_install
from .jpeg import SIGNATURE
from .refusals import MAX_PIXELS

FORMATS = ("AVIF", "BMP", "GIF", "HEIC", "JPEG", "JPEG 2000", "PNG", "TIFF", "WebP")
"""Formats read (HEIC with pillow-heif); of a file with several pictures the first."""

IMAGE_SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2c", ".j2k", ".jfif",
     ".jif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pjp", ".pjpeg", ".png", ".tif",
     ".tiff", ".webp"}
)  # fmt: skip
"""Usual endings, in lower case, of files in these formats."""

#: Pictures of cameras, as the sensor took them: they begin as a TIFF does, and what a TIFF
#: reader finds in them is a thumbnail.
RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos",
     ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw",
     ".x3f"}
)  # fmt: skip

#: First bytes that `kind_of` wants to see.
PREFIX = 64

Opener = Callable[[BinaryIO], ImageFile.ImageFile]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is by its first bytes.

    `opener` reads its header, and is None where nothing here reads the format; `cure` then says
    what would.
    """

    name: str
    opener: Opener | None
    cure: str = ""


def kind_of(prefix: bytes) -> Kind | None:
    """The picture's kind by a file's first `PREFIX` bytes; None for what is no known picture."""
    if prefix[:4] == b"RIFF" and prefix[8:12] == b"WEBP":
        return Kind("WebP", _WebP)
    for signatures, name, opener in _OPENERS:
        if prefix.startswith(signatures):
            return Kind(name, opener) if name != "JPEG 2000" else _jpeg2000()
    if prefix[4:8] == b"ftyp":
        # A box of the major brand, its version and compatible brands (ISO/IEC 14496-12).
        brands = prefix[8 : min(int.from_bytes(prefix[:4]), PREFIX)]
        named = {brands[:4], *(brands[at : at + 4] for at in range(8, len(brands), 4))}
        if named & {b"avif", b"avis"}:
            return _avif()
        if named & _HEIF_BRANDS:
            return _heic()
    if prefix.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return Kind("JPEG XL", None, "Convert it to PNG")
    if prefix.startswith(b"8BPS"):
        return Kind("Photoshop", None, "Export it as PNG")
    return None


def is_readable_suffix(suffix: str) -> bool:
    """Whether an ending, in lower case, says that the file is of a format that is read here."""
    if suffix in (".heic", ".heif", ".hif"):
        return _heic().opener is not None
    if suffix == ".avif":
        return _avif().opener is not None
    return suffix in IMAGE_SUFFIXES


_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def _heic() -> Kind:
    opener = _heif_opener()
    cure = "" if opener else f"Install what reads it: {how_to_install('heif')}"
    return Kind("HEIC", opener, cure)


@lru_cache(maxsize=1)
def _heif_opener() -> Opener | None:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        return None

    class Heif(HeifImageFile, _Own):
        load = _apart(HeifImageFile.load, ImageFile=_OWN_IMAGE_FILE)

    return Heif


def _avif() -> Kind:
    there = features.check("avif")
    return Kind("AVIF", _Avif if there else None, "" if there else _OTHER_PILLOW.format("AVIF"))


def _jpeg2000() -> Kind:
    there = features.check("jpg_2000")
    cure = "" if there else _OTHER_PILLOW.format("JPEG 2000")
    return Kind("JPEG 2000", _Jpeg2000 if there else None, cure)


_OTHER_PILLOW = "Install a Pillow that reads {} (pip's wheels do), or convert it to PNG"


def _apart(function: Any, **names: Any) -> Any:
    """The function with some globals of its own."""
    copy = FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__,
        function.__defaults__, function.__closure__,
    )  # fmt: skip
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _own(module: ModuleType, **names: Any) -> ModuleType:
    copy = ModuleType(module.__name__)
    copy.__dict__.update(module.__dict__, **names)
    return copy


def _check_bomb(size: tuple[int, int], *, error_only: bool = False) -> None:
    """Pillow's guard with its usual limit: sizes of frames and tiles, before they are made."""
    if max(1, size[0]) * max(1, size[1]) > 2 * MAX_PIXELS:
        raise Image.DecompressionBombError(f"a part of {size[0]} x {size[1]} pixels")


_OWN_IMAGE = _own(Image, _decompression_bomb_check=_check_bomb)
_OWN_IMAGE_FILE = _own(ImageFile, LOAD_TRUNCATED_IMAGES=False)


class _Own(ImageFile.ImageFile):
    load = _apart(ImageFile.ImageFile.load, LOAD_TRUNCATED_IMAGES=False)


class Jpeg(JpegImagePlugin.JpegImageFile, _Own):
    def load_read(self, read_bytes: int) -> bytes:
        assert self.fp is not None
        return self.fp.read(read_bytes)  # Pillow's own would add an end that is not there


class Png(PngImagePlugin.PngImageFile, _Own):
    pass


class _Bmp(BmpImagePlugin.BmpImageFile, _Own):
    pass


class _Gif(GifImagePlugin.GifImageFile, _Own):
    _seek = _apart(GifImagePlugin.GifImageFile._seek, Image=_OWN_IMAGE)


class _Tiff(TiffImagePlugin.TiffImageFile, _Own):
    load_prepare = _apart(TiffImagePlugin.TiffImageFile.load_prepare, Image=_OWN_IMAGE)


class _WebP(WebPImagePlugin.WebPImageFile, _Own):
    _open = _apart(WebPImagePlugin.WebPImageFile._open, Image=_OWN_IMAGE)


class _Avif(AvifImagePlugin.AvifImageFile, _Own):
    pass


class _Jpeg2000(Jpeg2KImagePlugin.Jpeg2KImageFile, _Own):
    load = _apart(Jpeg2KImagePlugin.Jpeg2KImageFile.load, ImageFile=_own(ImageFile, ImageFile=_Own))


_OPENERS: tuple[tuple[tuple[bytes, ...], str, Opener], ...] = (
    # The readers are called directly: Image.open would try any that other code has registered.
    ((SIGNATURE,), "JPEG", Jpeg),
    ((b"\x89PNG\r\n\x1a\n",), "PNG", Png),
    ((b"GIF87a", b"GIF89a"), "GIF", _Gif),
    ((b"BM",), "BMP", _Bmp),
    ((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), "JPEG 2000", _Jpeg2000),
    (tuple(TiffImagePlugin.PREFIXES), "TIFF", _Tiff),
)
