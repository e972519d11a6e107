"""What the network is fed: pixels for free convolutions, outputs of frozen ones.

Both know which pictures could not be read (`failed`), give a picture as it is (`plain`, what
validation and judging see) and give the inputs of training (`varied`), new in every epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...datasets.records import Record
from . import frozen, pictures
from .catalogue import stamp
from .feed import Inputs, Outputs, Pixels
from .network import Network, in_bfloat16
from .pictures import Log, Selected, preprocessed
from .recipe import Recipe

#: Pictures are decoded this much larger than the network takes them, where crops are cut out.
_CROP_ROOM = 1.5


class Material(Protocol):
    """Pictures by number, after `keep` among those that are kept."""

    failed: dict[int, str]

    def keep(self, rows: NDArray[np.intp]) -> None: ...

    def plain(self, chosen: NDArray[np.intp]) -> NDArray[np.float32]: ...

    def varied(self) -> Inputs: ...


class Decoded:
    """Pixels on disk, uint8: every epoch varies and convolves them anew."""

    def __init__(
        self, records: Sequence[Record], recipe: Recipe, folder: Path, log: Log, progress: bool
    ) -> None:
        self._recipe = recipe
        size, resize = recipe.input_size, recipe.resize
        self._plain, self.failed = pictures.decoded(records, size, resize, folder, log, progress)
        self._large = self._plain
        if recipe.augment != "none":
            self._large, _ = pictures.decoded(records, room(recipe), resize, folder, log, progress)
        self._rows = np.arange(len(records))

    def keep(self, rows: NDArray[np.intp]) -> None:
        self._rows = rows

    def plain(self, chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        return preprocessed(self._plain[self._rows[chosen]])

    def varied(self) -> Inputs:
        return Pixels(Selected(self._large, self._rows), self._recipe)


class Convolved:
    """The frozen convolutions' outputs on disk, float16, of each picture and its copies."""

    def __init__(
        self,
        network: Network,
        weights: str,
        records: Sequence[Record],
        recipe: Recipe,
        folder: Path,
        log: Log,
        progress: bool,
    ) -> None:
        """`weights` stands for those of the convolutions."""
        self._recipe = recipe
        shape = network.shape
        low = recipe.convolutions == "bfloat16"
        run = (in_bfloat16(network) if low else network.body).predict_on_batch
        width = network.body.outputs[0].shape[1]

        def outputs(source: frozen.Pictures, *more: object) -> tuple[NDArray[np.float16], Any]:
            name = stamp(
                [], weights, shape.width, shape.input_size, shape.body_norm, shape.pool,
                recipe.resize, recipe.convolutions, *more,
            )  # fmt: skip
            body = frozen.Body(run, name, recipe.input_size, width)
            return frozen.outputs(body, source, folder, log, progress)

        copies = recipe.copies if recipe.augment != "none" else 0
        if copies:
            size = len(records) * width * 2
            log(
                f"{1 + copies} files for {copies} varied copies: {(1 + copies) * size / 1e9:.2f} GB"
            )
        source = frozen.Pictures(records, recipe.input_size, recipe.resize)
        self._plain, self.failed = outputs(source)
        self._copies = [self._plain]
        if copies:
            self._copies = []
            for copy in range(copies):
                varied = frozen.Varied(recipe.augment, recipe.seed, copy)
                source = frozen.Pictures(records, room(recipe), recipe.resize, varied)
                self._copies.append(outputs(source, recipe.augment, recipe.seed, copy)[0])
        self._rows = np.arange(len(records))

    def keep(self, rows: NDArray[np.intp]) -> None:
        self._rows = rows

    def plain(self, chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        return self._plain[self._rows[chosen]].astype(np.float32)

    def varied(self) -> Inputs:
        return Outputs([Selected(copy, self._rows) for copy in self._copies], self._recipe)


def room(recipe: Recipe) -> int:
    """The side of decoded pictures that crops are cut out of, pixels."""
    return round(recipe.input_size * _CROP_ROOM)
