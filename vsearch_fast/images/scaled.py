"""A JPEG decoded at a half, a quarter or an eighth of its size: what ``+reduced`` means.

libjpeg then computes smaller blocks of the picture straight from its frequencies. The reduction is
the largest of 8, 4, 2 that leaves the part that is looked at, the box or the whole, at least twice
the size that the network wants, each way; what is left of the way there is the resize rule's.
Smaller pictures, and what is no JPEG, are read as ever, to the same bits.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFile

from .boxes import Box, pixel_box
from .files import read_picture
from .readers import Jpeg
from .refusals import MAX_PIXELS
from .rgb import SWAPPING, TRANSPOSE, orientation, to_rgb

#: How many times the network's size is left, each way.
_SPARE = 2


def reduction(width: int, height: int, size: int) -> int:
    """By what a part of this size, pixels, is divided for squares of ``size``: 8, 4, 2 or 1."""
    room = min(width, height) // (_SPARE * size)
    return next((each for each in (8, 4, 2) if each <= room), 1)


def load_reduced(
    data: bytes,
    size: int,
    box: Box | None,
    filter_: Image.Resampling,
    name: str,
    max_pixels: int,
    *,
    srgb: bool,
) -> np.ndarray | None:
    """uint8 (size, size, 3) of a JPEG's bytes; None where it is not reduced, or its header or box
    is wrong: then it is read, or refused, as ever.

    ``max_pixels`` limits what is decoded; `MAX_PIXELS` the whole picture, as for every one.
    """
    try:
        header = Jpeg(io.BytesIO(data))
        width, height = header.size
        turned = TRANSPOSE.get(orientation(header)) in SWAPPING
        upright = (height, width) if turned else (width, height)
        whole = (0, 0, *upright)
        x1, y1, x2, y2 = whole if box is None else pixel_box(box, upright, "")
    except Exception:  # of a broken header, or a box that cannot be cut
        return None
    by = reduction(x2 - x1, y2 - y1, size)
    if by == 1:
        return None
    limit = MAX_PIXELS if width * height <= max_pixels * by * by else max_pixels

    def smaller(opened: ImageFile.ImageFile) -> Image.Image:
        opened.draft(None, (opened.size[0] // by, opened.size[1] // by))
        return to_rgb(opened, srgb)

    image = read_picture(data, name, limit, smaller)
    part = (x1 / by, y1 / by, min(x2 / by, image.width), min(y2 / by, image.height))
    return np.array(image.resize((size, size), filter_, part))
