"""The batches of an epoch: which pictures, in which order, in which variant.

All of it follows from (seed, epoch), so that a run that was stopped goes on as if it had not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...machine import available_threads
from ...threads import run_ahead
from .augment import STRENGTHS, vary
from .catalogue import Catalogue
from .losses import keys
from .pictures import Rows, preprocessed
from .recipe import Recipe

# What a generator is for, so that no two draw the same numbers.
_ORDER, _VARIANT, _COPY = 1, 2, 3


class Batch(NamedTuple):
    """`inputs` of the model, `told` (b, 3) as `losses.keys`, and a weight a picture (b,)."""

    inputs: NDArray[np.float32]
    told: NDArray[np.int32]
    weights: NDArray[np.float32]


class Inputs(Protocol):
    """Gives the model's inputs for some pictures."""

    def __call__(self, chosen: NDArray[np.intp], epoch: int) -> NDArray[np.float32]: ...


class Pixels:
    """Inputs from decoded pictures: a variant of each, new in every epoch."""

    def __init__(self, pixels: Rows, recipe: Recipe) -> None:
        self.pixels, self.recipe = pixels, recipe

    def __call__(self, chosen: NDArray[np.intp], epoch: int) -> NDArray[np.float32]:
        size, strength = self.recipe.input_size, STRENGTHS.get(self.recipe.augment)
        if strength is None:
            return preprocessed(self.pixels[chosen])
        # A picture may come twice in an epoch: its place in the batch tells the two apart.
        return preprocessed(
            np.stack(
                [
                    vary(
                        self.pixels[i], size, strength,
                        np.random.default_rng([self.recipe.seed, _VARIANT, epoch, int(i), place]),
                    )
                    for place, i in enumerate(chosen)
                ]
            )
        )  # fmt: skip


class Outputs:
    """Inputs from the frozen convolutions' outputs: one of a picture's copies."""

    def __init__(self, copies: Sequence[Rows], recipe: Recipe) -> None:
        self.copies, self.recipe = copies, recipe

    def __call__(self, chosen: NDArray[np.intp], epoch: int) -> NDArray[np.float32]:
        if len(self.copies) == 1:
            return self.copies[0][chosen].astype(np.float32)
        rng = np.random.default_rng([self.recipe.seed, _COPY, epoch, int(chosen[0])])
        which = rng.integers(0, len(self.copies), len(chosen))
        return np.stack(
            [self.copies[copy][i] for copy, i in zip(which, chosen, strict=True)]
        ).astype(np.float32)


class Feed:
    """The train side's batches, epoch by epoch."""

    def __init__(self, catalogue: Catalogue, recipe: Recipe, inputs: Inputs) -> None:
        self.recipe, self.inputs = recipe, inputs
        self.train = catalogue.of_side("train")
        self.told = keys(catalogue.labels, catalogue.groups, catalogue.items)
        self.source = catalogue.source
        self.weights = class_weights(catalogue, recipe)
        self.partners = _partners(catalogue, self.train) if recipe.loss == "contrastive" else {}
        pictures = len(self.order(0))
        self.size = min(recipe.batch_size, pictures)
        self.steps = pictures // self.size

    def order(self, epoch: int) -> NDArray[np.intp]:
        """The pictures of an epoch, before they are cut into batches.

        With balance "draws" pictures are drawn, with replacement over the epoch, inversely to
        the square roots of their class' and their group's numbers of pictures; otherwise each
        comes once. For the contrastive loss another picture of its item follows each that has
        one, so that it finds a match in its batch.
        """
        rng = np.random.default_rng([self.recipe.seed, _ORDER, epoch])
        main = self.train[self.source[self.train] == 0]
        also = self.train[self.source[self.train] > 0]
        if self.recipe.balance != "draws":
            units = [self._with_partner(i, rng) for i in rng.permutation(self.train)]
            return _joined(units)
        units = [self._with_partner(i, rng) for i in self._draw(main, len(main), rng)]
        share = self.recipe.also_share
        if len(also) and share > 0:
            wanted = round(sum(map(len, units)) * share / (1 - share))
            more = [self._with_partner(i, rng) for i in self._draw(also, wanted, rng)]
            ends = np.cumsum([len(unit) for unit in more])
            units += more[: int(np.searchsorted(ends, wanted)) + 1]
        return _joined([units[i] for i in rng.permutation(len(units))])

    def _draw(
        self, pictures: NDArray[np.intp], count: int, rng: np.random.Generator
    ) -> NDArray[np.intp]:
        classes, groups = self.told[pictures, 0], self.told[pictures, 1]
        share = 1 / np.sqrt(
            np.bincount(classes)[classes] * np.bincount(groups)[groups].astype(np.float64)
        )
        return rng.choice(pictures, count, p=share / share.sum())

    def _with_partner(self, picture: int, rng: np.random.Generator) -> list[int]:
        partners = self.partners.get(int(picture))
        if partners is None:
            return [int(picture)]
        return [int(picture), int(partners[rng.integers(len(partners))])]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, made ahead in threads.

        Each epoch has as many, all full: what is left over is left out, and an order that is
        shorter than another epoch's (items come with another of their pictures) begins anew.
        """
        order, size = np.resize(self.order(epoch), self.steps * self.size), self.size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        return run_ahead(partial(self._batch, epoch), batches, threads=available_threads(), depth=3)

    def _batch(self, epoch: int, chosen: NDArray[np.intp]) -> Batch:
        return Batch(self.inputs(chosen, epoch), self.told[chosen], self.weights[chosen])


def class_weights(catalogue: Catalogue, recipe: Recipe) -> NDArray[np.float32]:
    """A weight a picture, for the cross-entropy: 1, or with balance "weights" inverse to the
    square root of its class' frequency on the train side, with mean 1 over that side.

    The square root lies between counting every picture and counting every class the same: a
    class of a dozen pictures does not weigh as much as one of hundreds.
    """
    if recipe.balance != "weights":
        return np.ones(len(catalogue), np.float32)
    train = catalogue.of_side("train")
    counts = np.bincount(catalogue.labels[train], minlength=len(catalogue.classes))
    weights = 1 / np.sqrt(np.maximum(counts, 1)[catalogue.labels])
    return (weights / weights[train].mean()).astype(np.float32)


def _partners(catalogue: Catalogue, train: NDArray[np.intp]) -> dict[int, NDArray[np.intp]]:
    """For each train picture of an item with several of them, the others."""
    by_item: dict[int, list[int]] = {}
    for picture in train:
        if catalogue.items[picture] >= 0:
            by_item.setdefault(int(catalogue.items[picture]), []).append(int(picture))
    return {
        picture: np.array([other for other in pictures if other != picture], np.intp)
        for pictures in by_item.values()
        if len(pictures) > 1
        for picture in pictures
    }


def _joined(units: list[list[int]]) -> NDArray[np.intp]:
    return np.array([picture for unit in units for picture in unit], np.intp)
