"""Where the item is in a picture: a box from the network's own activations, without training.

::

    picture ─► upright RGB ─► long side L ─► convolutions ─► A, a number a cell
            ─► A > mean(A) ─► largest 8-connected component ─► its box, in the picture's pixels

The recipe is that of Selective Convolutional Descriptor Aggregation (X.-S. Wei et al.,
*Selective Convolutional Descriptor Aggregation for Fine-Grained Image Retrieval*, IEEE
Transactions on Image Processing 26(6), 2017, https://arxiv.org/abs/1604.04994): the cells
where the channels of a convolutional layer add up to more than their mean over the picture
are the item's, as far as they hang together.

The convolutions are in a file beside the model, NAME.locate.onnx, which ``vsearch export
--locate`` writes. They always run on the CPU: a picture's box is then the same on every
machine with a GPU and without, and a GPU would compile its kernels anew for every shape.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ._session import FORMAT, PREFIX, open_session
from .errors import ModelError, ModelMismatchError
from .images import RESIZE_FILTERS

PixelBox = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels of the upright picture; x2 and y2 are outside the box."""

OUTPUT = "activation"
"""The output of a file that finds boxes: float32 (n, rows, columns)."""

# Cells of the short side at least: a strip of ten pixels is stretched to so many.
_FEWEST_CELLS = 4


def long_side(input_size: int) -> int:
    """Pixels of the long side at which a network made for `input_size` finds boxes best."""
    return 320


def locate_file(model: Path) -> Path:
    """Where the file lies that finds boxes for `model`: NAME.locate.onnx beside NAME.onnx."""
    name = model.name.removesuffix(".onnx")
    return model.with_name(f"{name}.locate.onnx")


class Locator:
    """Finds the item's box, with the file that lies beside a model.

    `model` is the model's path and `model_id` its id; `threads` those of the network.

    Raises ModelError where the file is missing, broken or none of the export's, and
    ModelMismatchError where it was made of another model; MissingDependencyError without ONNX
    Runtime.
    """

    def __init__(self, model: Path, model_id: str, threads: int) -> None:
        path = locate_file(model)
        if not path.is_file():
            raise ModelError(
                f"{model} has no file beside it that finds boxes ({path.name})",
                "The item's box cannot be found",
                "Export the model again with vsearch export --locate, which writes both and "
                "changes no feature; or give the box yourself",
            )
        self._session = open_session(path, "cpu", threads)
        metadata = _read_metadata(self._session, path)
        if metadata["belongs_to"] != model_id:
            raise ModelMismatchError(
                f"{path} was made of the model {metadata['belongs_to'][:12]}…, and {model} is "
                f"{model_id[:12]}…",
                "The item's box cannot be found",
                "Export the model again with vsearch export --locate, which writes both",
            )
        self.stride = int(metadata["stride"])
        self.long_side = int(metadata["long_side"])
        self.resize = metadata["resize"]

    def activation(self, image: Image.Image) -> NDArray[np.float32]:
        """What the cells of an RGB picture say, float32 (rows, columns)."""
        pixels = np.asarray(
            image.resize(self._size(image.size), RESIZE_FILTERS[self.resize]), np.uint8
        )
        (found,) = self._session.run([OUTPUT], {"image": pixels[None]})
        return np.asarray(found[0], np.float32)

    def box(self, image: Image.Image) -> PixelBox:
        """The item's box in an upright RGB picture (`images.decode`), in its pixels.

        At least one pixel each way; the whole picture where no cell stands out, as in a
        picture of one colour.
        """
        return box_of(self.activation(image), image.size)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height for the network: whole cells, the picture's shape as far as can be."""
        scale = self.long_side / max(size)
        width, height = (
            self.stride * max(_FEWEST_CELLS, round(side * scale / self.stride)) for side in size
        )
        return width, height


def box_of(activation: NDArray[np.float32], size: tuple[int, int]) -> PixelBox:
    """The box of what stands out in `activation` (rows, columns), for a picture of `size`.

    `size` is (width, height) in pixels, which the cells divide evenly. Cells touched count
    whole: the box's edges are rounded outwards.
    """
    # In float64, or the mean of equal numbers may come out below each of them.
    values = np.asarray(activation, np.float64)
    mask = largest_component(values > values.mean())
    if not mask.any():
        return 0, 0, *size
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    (height, width), (x, y) = mask.shape, size
    return (
        int(columns[0]) * x // width,
        int(rows[0]) * y // height,
        -(-(int(columns[-1]) + 1) * x // width),
        -(-(int(rows[-1]) + 1) * y // height),
    )


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The 8-connected component of most cells in `mask` (rows, columns); the first of equals.

    Empty for an empty mask. A walk cell by cell: a grid has some 1,600 of them.
    """
    rows, columns = mask.shape
    waiting = mask.copy()
    best: list[tuple[int, int]] = []
    for start in zip(*map(np.ndarray.tolist, mask.nonzero()), strict=True):
        if not waiting[start]:
            continue
        waiting[start] = False
        found, ahead = [start], deque([start])
        while ahead:
            row, column = ahead.popleft()
            for i in range(max(row - 1, 0), min(row + 2, rows)):
                for j in range(max(column - 1, 0), min(column + 2, columns)):
                    if waiting[i, j]:
                        waiting[i, j] = False
                        found.append((i, j))
                        ahead.append((i, j))
        if len(found) > len(best):
            best = found
    component = np.zeros(mask.shape, np.bool_)
    if best:
        component[tuple(np.array(best).T)] = True
    return component


def _read_metadata(session: Any, path: Path) -> dict[str, str]:
    """The export's entries, checked; raises ModelError."""
    found = session.get_modelmeta().custom_metadata_map
    metadata = {
        name.removeprefix(PREFIX): value for name, value in found.items() if name.startswith(PREFIX)
    }
    problem = ""
    if not metadata.get("belongs_to"):
        problem = "is no file of the export that finds boxes"
    elif metadata.get("format") != FORMAT:
        problem = f"has format {metadata.get('format')}, and this version reads {FORMAT}"
    elif metadata.get("resize") not in RESIZE_FILTERS:
        problem = f"asks for the unknown resize rule {metadata.get('resize')!r}"
    elif not all(metadata.get(name, "").isdecimal() for name in ("stride", "long_side")):
        problem = "does not say its stride and long_side as whole numbers"
    elif [end.name for end in session.get_outputs()] != [OUTPUT]:
        problem = f"has not the one output {OUTPUT}"
    if problem:
        raise ModelError(
            f"{path} {problem}",
            "The item's box cannot be found",
            "Export the model again with vsearch export --locate",
        )
    return metadata
