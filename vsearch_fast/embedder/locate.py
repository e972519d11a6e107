"""Where the item is in a picture: a box from the network's own activations, without training.

::

    picture ─► upright RGB ─► long side 320 ─► convolutions ─► F, c channels a cell of 8 pixels
            ─► w = mean of F in the middle - mean of F along the border      a weight a channel
            ─► A = F · w ─► A > Otsu's threshold ─► largest 8-connected component ─► its box

The frame is that of Selective Convolutional Descriptor Aggregation (SCDA; X.-S. Wei et al.,
*Selective Convolutional Descriptor Aggregation for Fine-Grained Image Retrieval*, IEEE
Transactions on Image Processing 26(6), 2017, https://arxiv.org/abs/1604.04994), which adds up
all channels alike and keeps the cells above the mean. What differs is that a channel counts as
it tells the middle of this very picture from its border, where photos of one item show what it
lies on (the prior of Y. Wei et al., *Geodesic Saliency Using Background Priors*, 2012): a
carpet wakes as many channels as a shirt. And the threshold is the one that splits the cells
best in two (N. Otsu, *A Threshold Selection Method from Gray-Level Histograms*, 1979).

Measured by intersection over union with the true boxes of 150 rendered garments (median; share
at 0.5 or more), with a VGG-16 of a quarter of the width that was trained on other garments:

================  =========  ===========  ================
layer's output    long side  SCDA         weighted, Otsu
================  =========  ===========  ================
block4_conv3      224        0.790; 99%   0.896; 100%
block4_conv3      320        0.821; 97%   0.911; 99%
block4_conv3      448        0.854; 97%   0.922; 100%
block5_conv3      320        0.752; 91%   0.873; 99%
block5_pool       320        0.635; 69%   0.821; 100%
================  =========  ===========  ================

On the same pictures the centred box with half of their area has 0.69, and an untrained network
of that width 0.848 and 0.889 (block4_conv3, 320 pixels). ``vsearch locate --measure`` measures
a model on any data with boxes.

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

from ..checks import PixelBox
from ..errors import ModelError, ModelMismatchError
from ..images.decoding import RESIZE_FILTERS
from ..models.shipped import finds_boxes_for
from .session import PREFIX, open_session

#: The version of such a file that this package reads.
_FORMAT = "1"

OUTPUT = "activation"
"""The output of a file that finds boxes: float32 (n, rows, columns, channels)."""

# Cells of the short side at least: a strip of ten pixels is stretched to so many.
_FEWEST_CELLS = 4

# Shares of the height and width: the middle begins so far from each side, the border ends so.
_MIDDLE, _BORDER = 0.25, 0.05


def locate_file(model: Path) -> Path:
    """Where the file lies that finds boxes for `model`: NAME.locate.onnx beside NAME.onnx.

    A network of the package may have its boxes found by another one (`models.finds_boxes_for`).
    """
    other = finds_boxes_for(model)
    model = model if other is None else other[0]
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
        self._opened_by = (model, model_id, threads)
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
        other = finds_boxes_for(model)
        if metadata["belongs_to"] != (model_id if other is None else other[1]):
            raise ModelMismatchError(
                f"{path} was made of the model {metadata['belongs_to'][:12]}…, and {model} is "
                f"{model_id[:12]}…",
                "The item's box cannot be found",
                "Export the model again with vsearch export --locate, which writes both",
            )
        self.stride = int(metadata["stride"])
        self.long_side = int(metadata["long_side"])
        self.resize = metadata["resize"]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what opens it again."""
        return Locator, self._opened_by

    def activation(self, image: Image.Image) -> NDArray[np.float32]:
        """The layer's output for an RGB picture, float32 (rows, columns, channels)."""
        pixels = np.asarray(
            image.resize(self._size(image.size), RESIZE_FILTERS[self.resize]), np.uint8
        )
        (found,) = self._session.run([OUTPUT], {"image": pixels[None]})
        return np.asarray(found[0], np.float32)

    def box(self, image: Image.Image) -> PixelBox:
        """The item's box in an upright RGB picture (`images.decode`), in its pixels.

        At least one pixel each way; the whole picture where no cell stands out.
        """
        return box_of(weighted(self.activation(image)), image.size)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height for the network: whole cells, the picture's shape as far as can be."""
        scale = self.long_side / max(size)
        width, height = (
            self.stride * max(_FEWEST_CELLS, round(side * scale / self.stride)) for side in size
        )
        return width, height


def weighted(activation: NDArray[np.floating]) -> NDArray[np.float64]:
    """How much each cell is like the middle and unlike the border, (rows, columns).

    `activation` (rows, columns, channels); a channel's weight is its mean over the middle half
    of the rows and columns less its mean over a strip of a twentieth (at least one cell) along
    the four sides.
    """
    cells = np.asarray(activation, np.float64)
    rows, columns = cells.shape[:2]

    def inner(share: float) -> NDArray[np.bool_]:
        """All cells but those within a share of the height and width of the nearest side."""
        mask = np.zeros((rows, columns), np.bool_)
        down, across = (max(1, round(share * side)) for side in mask.shape)
        mask[down : rows - down, across : columns - across] = True
        return mask

    return cells @ (cells[inner(_MIDDLE)].mean(axis=0) - cells[~inner(_BORDER)].mean(axis=0))


def threshold(values: NDArray[np.float64]) -> float:
    """Otsu's threshold: above it and up to it, the two sides' means are as far apart as can be.

    The largest of n0 · n1 · (mean1 - mean0)² over all cuts of the sorted values, of any shape;
    where all are equal, their value.
    """
    ranked = np.sort(values, axis=None)
    if ranked[0] == ranked[-1]:
        return float(ranked[0])
    below = np.arange(1, len(ranked))
    above = len(ranked) - below
    sums = np.cumsum(ranked)[:-1]
    apart = (ranked.sum() - sums) / above - sums / below
    # A cut between equal values is none.
    spread = np.where(ranked[1:] > ranked[:-1], below * above * apart**2, -1)
    return float(ranked[spread.argmax()])


def box_of(activation: NDArray[np.floating], size: tuple[int, int]) -> PixelBox:
    """The box of what stands out in `activation` (rows, columns), for a picture of `size`.

    `size` is (width, height) in pixels, which the cells divide evenly. Cells touched count
    whole: the box's edges are rounded outwards. The whole picture where no value stands out.
    """
    values = np.asarray(activation, np.float64)
    mask = largest_component(values > threshold(values))
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
    elif metadata.get("format") != _FORMAT:
        problem = f"has format {metadata.get('format')}, and this version reads {_FORMAT}"
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
