"""Which pictures are compared: never one that a row's model was trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..datasets.records import Record, check_left_out
from ..datasets.splits import SHARES, fingerprint, group_of, split
from ..errors import ArgumentError, DatasetError
from ..words import plural
from .attributes import codes
from .rows import Training

Side = Literal["all", "test"]

_CONSEQUENCE = "Nothing was evaluated"


@dataclass(frozen=True, slots=True)
class Sample:
    """The gallery, from which queries are drawn.

    Attributes:
        records: the pictures, in the data set's order.
        left_out: how many of the data set are not among them, by reason, in the order in
            which they were left out.
        notes: what a reader of the figures must know.
    """

    records: list[Record]
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def groups(self) -> NDArray[np.int64]:
        """``(n,)``: the group of each picture, its item or itself where it has none."""
        return codes([group_of(record) for record in self.records])

    @property
    def categories(self) -> NDArray[np.int64]:
        """``(n,)``: numbers of the categories in the order of their names."""
        names = self.category_names
        place = {name: number for number, name in enumerate(names)}
        return np.array([place[str(record.category)] for record in self.records], np.int64)

    @property
    def category_names(self) -> list[str]:
        return sorted({str(record.category) for record in self.records})

    @property
    def grouped(self) -> bool:
        """Whether any two pictures share a group."""
        return len(set(self.groups.tolist())) < len(self.records)

    def without(self, rows: NDArray[np.bool_], reason: str) -> Sample:
        """The sample less those rows, and where they went."""
        if not rows.any():
            return self
        kept = [record for record, gone in zip(self.records, rows, strict=True) if not gone]
        return replace(
            self, records=kept, left_out={**self.left_out, reason: int(np.count_nonzero(rows))}
        )


def regrouped(records: Sequence[Record], column: str) -> list[Record]:
    """The records with another column, a field's or of the metadata, as their group.

    Raises ArgumentError for a column that no record has.
    """
    groups = [record.columns().get(column) for record in records]
    if all(group is None or group == "" for group in groups):
        there = sorted({name for record in records for name in record.columns()})
        raise ArgumentError(
            f"no picture has a column {column!r} to group by",
            _CONSEQUENCE,
            f"The columns are {', '.join(there) or 'none'}",
        )
    return [
        replace(record, group=None if group in (None, "") else str(group))
        for record, group in zip(records, groups, strict=True)
    ]


def draw(
    records: Sequence[Record],
    trainings: Mapping[str, Training],
    *,
    count: int,
    seed: int,
    leave_out: Sequence[str] = (),
    side: Side = "all",
    split_seed: int | None = None,
) -> Sample:
    """A seeded sample of at most ``count`` pictures that no model was trained on.

    Left out, in this order: pictures without a category; of the categories ``leave_out``; of
    groups that a model of ``trainings`` (by row name) was trained on; not on the test side,
    where that is asked for (the split is that of the models, which must agree; ``split_seed``
    if none of them was trained on this data); and what is too many.

    Raises:
        ArgumentError: a category in ``leave_out`` that there is not, or models that were split
            from their test side in different ways.
        DatasetError: no two pictures are left; says what took them.
    """
    check_left_out(leave_out, records, _CONSEQUENCE)
    sample = Sample(list(records))
    sample = _less(sample, [record.category is None for record in sample.records], "no category")
    named = ", ".join(leave_out)
    sample = _less(
        sample, [record.category in leave_out for record in sample.records], f"category {named}"
    )
    prints = {fingerprint(group_of(record)) for record in records}
    here = {name: each for name, each in trainings.items() if each.groups & prints}
    for name, training in here.items():
        sample = _less(
            sample,
            [fingerprint(group_of(record)) in training.groups for record in sample.records],
            f"{name} was trained on their group",
        )
    for name, training in trainings.items():
        if training.groups and name not in here:
            sample.notes.append(
                f"None of the {len(training.groups):,} groups that {name} was trained on is in "
                "this data. If it was trained on these pictures under another group column, its "
                "figures are of pictures that it knows."
            )
    if side == "test":
        seed_of_split, shares = _split_of(here, split_seed)
        sides, how = split(records, shares=shares, seed=seed_of_split)
        side_of = {record.id: its for record, its in zip(records, sides, strict=True)}
        sample = _less(
            sample,
            [side_of[record.id] != "test" for record in sample.records],
            f"not on the test side, {how}",
        )
    if len(sample.records) < 2:
        reasons = "; ".join(f"{number:,}: {why}" for why, number in sample.left_out.items())
        raise DatasetError(
            f"{len(sample.records)} of {len(records):,} pictures are left to compare ({reasons})",
            _CONSEQUENCE,
            "Give other data, models that were trained on a part of it, or leave out less",
        )
    if len(sample.records) > count:
        rng = np.random.default_rng([seed, 0])
        chosen = np.zeros(len(sample.records), bool)
        chosen[rng.choice(len(chosen), count, replace=False)] = True
        sample = sample.without(~chosen, f"beyond the sample of {count:,}")
    return sample


def _split_of(
    trainings: Mapping[str, Training], split_seed: int | None
) -> tuple[int, Mapping[str, float]]:
    """Seed and shares of the split that these models were trained with.

    Of the shares the test side's alone must agree: what is trained on and what is chosen by share
    the rest.
    """
    splits = {
        name: (int(each.entry["split_seed"]), dict(each.entry.get("shares", SHARES)))
        for name, each in trainings.items()
        if "split_seed" in each.entry
    }
    if split_seed is not None:
        splits["--split-seed"] = (split_seed, next((s for _, s in splits.values()), dict(SHARES)))
    if not splits:
        return 0, SHARES
    (first, chosen), *others = splits.items()
    for name, other in others:
        if _test_side(other) != _test_side(chosen):
            raise ArgumentError(
                f"the test side of {first} is another than that of {name}: seed and shares are "
                f"{chosen} and {other}",
                _CONSEQUENCE,
                "Compare models that were trained on one split, or use --side all, which leaves "
                "out the groups that any of them was trained on",
            )
    return chosen


def _test_side(split: tuple[int, Mapping[str, float]]) -> tuple[int, float]:
    """What fixes the test side: the last of the sides, by the order in which they are drawn."""
    seed, shares = split
    return seed, round(1 - sum(shares.get(side, 0.0) for side in ("train", "val")), 9)


def draw_queries(sample: Sample, count: int, seed: int) -> NDArray[np.int64]:
    """Row numbers of at most ``count`` queries, ascending; the same for every model."""
    rows = len(sample.records)
    if rows <= count:
        return np.arange(rows)
    return np.sort(np.random.default_rng([seed, 1]).choice(rows, count, replace=False))


def in_words(sample: Sample) -> str:
    """How many pictures of how many categories."""
    pictures = plural(len(sample.records), "picture")
    return f"{pictures} of {plural(len(sample.category_names), 'category', 'categories')}"


def describe(sample: Sample) -> dict[str, object]:
    """The sample in figures, for the results."""
    counts = Counter(str(record.category) for record in sample.records)
    return {
        "pictures": len(sample.records),
        "groups": len(set(sample.groups.tolist())) if sample.grouped else 0,
        "categories": dict(counts.most_common()),
        "left_out": sample.left_out,
    }


def _less(sample: Sample, gone: list[bool], reason: str) -> Sample:
    return sample.without(np.array(gone, bool), reason)
