"""From bytes or a path to the RGB pixels that the network is fed."""

from __future__ import annotations

from .boxes import Box, pixel_box
from .decoding import RESIZE_FILTERS, Source, decode, load, reduced, upright_size
from .finding import find_images
from .looks import Look, look
from .readers import FORMATS, IMAGE_SUFFIXES
from .refusals import MAX_PIXELS

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "RESIZE_FILTERS",
    "Box",
    "Look",
    "Source",
    "decode",
    "find_images",
    "load",
    "look",
    "pixel_box",
    "reduced",
    "upright_size",
]
