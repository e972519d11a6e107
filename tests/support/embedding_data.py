"""Drawn pictures, and what a bare session of ONNX Runtime makes of them."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from vsearch_fast import images

CPU = ["CPUExecutionProvider"]


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*rng.integers(5, 60, 2), 3)).astype(np.uint8)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(seed)).save(file, "PNG")
    return file.getvalue()


def direct(model: Path, sources: list, boxes: list | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Features and codes by a session of its own, one picture at a time."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(model), providers=CPU)
    pixels = [
        images.load(source, 32, None if boxes is None else boxes[i])
        for i, source in enumerate(sources)
    ]
    runs = [session.run(["features", "codes"], {"image": array[None]}) for array in pixels]
    return np.concatenate([run[0] for run in runs]), np.concatenate([run[1] for run in runs])


def ahead_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "vsearch-ahead" in thread.name]
