"""What is learnt from: pictures with classes, groups and items, split into sides."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...datasets.records import Record, check_left_out
from ...datasets.splits import fingerprint, group_of, hashed, split
from ...errors import DatasetError
from ...words import plural
from .recipe import Recipe

_CONSEQUENCE = "Nothing was trained"


@dataclass(eq=False)
class Catalogue:
    """Pictures of one or several data sets, an entry of each array a picture.

    `records`; `classes`, the names, sorted; `labels` int32, into them; `groups` int32, equal
    for pictures of one group; `items` int32, equal for the pictures of one item and -1 where an
    item has one picture; `source` int32, which data set; `sides`, "train", "val" or "test".
    `notes` say in words what was chosen and left out.
    """

    records: list[Record]
    classes: list[str]
    labels: NDArray[np.int32]
    groups: NDArray[np.int32]
    items: NDArray[np.int32]
    source: NDArray[np.int32]
    sides: NDArray[np.str_]
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    def of_side(self, side: str) -> NDArray[np.intp]:
        return np.flatnonzero(self.sides == side)

    def trained_groups(self) -> list[str]:
        """Fingerprints of the groups that are trained on or chosen by (train and val)."""
        seen = np.flatnonzero(self.sides != "test")
        return sorted({fingerprint(group_of(self.records[i])) for i in seen})

    def keep(self, kept: NDArray[np.bool_]) -> Catalogue:
        """The catalogue of the pictures where `kept` is true."""
        return Catalogue(
            [record for record, stays in zip(self.records, kept, strict=True) if stays],
            self.classes,
            self.labels[kept],
            self.groups[kept],
            self.items[kept],
            self.source[kept],
            self.sides[kept],
            self.notes,
        )


def stamp(records: Sequence[Record], *more: object) -> str:
    """Stands for these pictures as they are now, and `more`: 16 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps([str(each) for each in more]).encode())
    for record in records:
        try:
            status = os.stat(record.path)
            state = f"{status.st_size}:{status.st_mtime_ns}"
        except OSError:
            state = "gone"
        digest.update(f"{record.path}\0{record.box}\0{state}\n".encode())
    return digest.hexdigest()[:16]


def gather(data: Sequence[Sequence[Record]], recipe: Recipe) -> Catalogue:
    """The catalogue of these data sets' records; the first is the main one.

    Pictures without a category, and of categories that the recipe leaves out, are left out.
    `recipe.classes` "top:N" keeps the N most frequent categories of the main data set's train
    side. Groups of different data sets are different, categories of one name are one. Further
    data sets are for training alone: they have no validation or test side.

    Raises ArgumentError and DatasetError, where fewer than two categories or no picture to
    train on remain, too.
    """
    check_left_out(recipe.leave_out, [record for each in data for record in each], _CONSEQUENCE)
    notes: list[str] = []
    records: list[Record] = []
    sides: list[str] = []
    source: list[int] = []
    for number, each in enumerate(data):
        usable = [r for r in each if r.category and r.category not in recipe.leave_out]
        if len(usable) < len(each):
            notes.append(
                f"{plural(len(each) - len(usable), 'picture')} without a category to learn"
            )
        if number == 0:
            found, how = split(usable, shares=recipe.shares, seed=recipe.split_seed)
            notes.append(f"sides {how}")
            found = _folded(usable, found, recipe)
        else:
            found = ["train"] * len(usable)
        records += usable
        sides += found
        source += [number] * len(usable)
    main = [
        str(record.category)
        for record, side, number in zip(records, sides, source, strict=True)
        if side == "train" and number == 0
    ]
    chosen = _chosen(recipe.top(), main)
    if chosen is not None:
        notes.append(f"classes: the {len(chosen)} most frequent of the train side")
    else:
        # What is on no train picture cannot be learnt, nor chosen by.
        chosen = sorted(
            {str(r.category) for r, s in zip(records, sides, strict=True) if s == "train"}
        )
    kept = [i for i, record in enumerate(records) if record.category in chosen]
    if len(kept) < len(records):
        notes.append(
            f"{plural(len(records) - len(kept), 'picture')} of categories that are not learnt"
        )
    catalogue = _numbered([records[i] for i in kept], [source[i] for i in kept])
    catalogue.sides = np.array([sides[i] for i in kept], dtype="<U5")
    catalogue.notes = notes
    check(catalogue, recipe)
    return catalogue


def _folded(records: Sequence[Record], sides: list[str], recipe: Recipe) -> list[str]:
    """The sides with val replaced by one of N folds of train and val, for cross-validation."""
    if recipe.fold is None:
        return sides
    number, count = recipe.fold

    def fold(record: Record) -> str:
        place = hashed(f"{recipe.split_seed}:fold:{group_of(record)}")
        return "val" if place % count == number - 1 else "train"

    return [
        side if side == "test" else fold(record)
        for record, side in zip(records, sides, strict=True)
    ]


def _chosen(top: int | None, of_train: list[str]) -> list[str] | None:
    if top is None:
        return None
    counts = Counter(of_train)
    # Equal counts by name, so that the choice does not hang on the pictures' order.
    return sorted(counts, key=lambda name: (-counts[name], name))[:top]


def _numbered(records: list[Record], source: list[int]) -> Catalogue:
    classes = sorted({str(record.category) for record in records})
    class_of = {name: number for number, name in enumerate(classes)}
    groups: dict[tuple[int, str], int] = {}
    items: dict[tuple[int, str], int] = {}
    views = Counter(
        (number, record.item) for number, record in zip(source, records, strict=True) if record.item
    )
    group_numbers, item_numbers = [], []
    for number, record in zip(source, records, strict=True):
        group_numbers.append(groups.setdefault((number, group_of(record)), len(groups)))
        several = record.item is not None and views[number, record.item] > 1
        item_numbers.append(
            items.setdefault((number, str(record.item)), len(items)) if several else -1
        )
    return Catalogue(
        records,
        classes,
        np.array([class_of[str(record.category)] for record in records], np.int32),
        np.array(group_numbers, np.int32),
        np.array(item_numbers, np.int32),
        np.array(source, np.int32),
        np.array([], dtype="<U5"),
    )


def check(catalogue: Catalogue, recipe: Recipe) -> None:
    """Raises DatasetError for a catalogue from which nothing can be learnt."""
    train = catalogue.of_side("train")
    if len(train) == 0:
        raise DatasetError(
            "no picture is left to train on",
            _CONSEQUENCE,
            "Give pictures with categories (--column category=NAME), several groups, and a train "
            "share above 0",
        )
    present = set(catalogue.labels[train].tolist())
    if len(present) < 2:
        raise DatasetError(
            f"the train side has the one category {catalogue.classes[min(present)]!r}",
            _CONSEQUENCE,
            "Give pictures of at least two categories, in several groups",
        )
    if recipe.fold is not None and not len(catalogue.of_side("val")):
        raise DatasetError(
            f"fold {recipe.fold[0]} of {recipe.fold[1]} is empty",
            _CONSEQUENCE,
            "Use fewer folds: each needs groups of its own",
        )
