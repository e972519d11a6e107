"""Pictures that an export calibrates on and verifies with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


#: Pictures of a folder that are used at most, evenly spaced.
CALIBRATION_LIMIT = 48
VERIFY_LIMIT = 36
#: Pictures that the export draws itself to verify with.
SYNTHETIC = 12


def sample_pictures(
    size: int,
    precision: str,
    calibrate: Sequence[str | os.PathLike[str]],
    verify_images: Sequence[str | os.PathLike[str]],
) -> tuple[np.ndarray, np.ndarray, str]:
    """Pictures to calibrate on, pictures to verify with, and where the latter are from."""
    from . import verify

    calibration: list[Path] = []
    held_out: list[Path] = []
    if precision == "int8":
        spare = 0 if verify_images else VERIFY_LIMIT
        both = verify.find_pictures(
            [os.fspath(path) for path in calibrate], CALIBRATION_LIMIT + spare
        )
        if verify_images:
            calibration = both
        elif len(both) < 2 * SYNTHETIC:
            calibration = held_out = both
        else:
            share = VERIFY_LIMIT / (CALIBRATION_LIMIT + VERIFY_LIMIT)
            back = [int((i + 1) * share) > int(i * share) for i in range(len(both))]
            held_out = [path for path, kept in zip(both, back, strict=True) if kept]
            calibration = [path for path, kept in zip(both, back, strict=True) if not kept]
    pixels = verify.load_pictures(calibration, size)
    if verify_images:
        found = verify.find_pictures([os.fspath(path) for path in verify_images], VERIFY_LIMIT)
        samples = verify.load_pictures(found, size)
        return pixels, samples, "the pictures named by --verify-images"
    if held_out:
        origin = (
            "the pictures calibrated on (too few to keep some back)"
            if held_out is calibration
            else "pictures of --calibrate that were kept back"
        )
        return pixels, verify.load_pictures(held_out, size), origin
    drawn = verify.synthetic_pictures(SYNTHETIC, size)
    return pixels, drawn, "drawn pictures (smooth noise, hard edges, grain), no photos"
