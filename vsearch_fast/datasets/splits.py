"""Train, validation and test sides of a data set, no group on two of them.

Pictures of one sender share a floor, those of one product a model and a light: a network that
has seen the one knows the other. So a side is given to a *group*, never to a picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from ..errors import ArgumentError, DatasetError
from .records import Record

SIDES = ("train", "val", "test")

#: Of the groups, not of the pictures: groups differ in size.
SHARES: Mapping[str, float] = {"train": 0.65, "val": 0.1, "test": 0.25}

_CONSEQUENCE = "The data set was not split"


def group_of(record: Record) -> str:
    """The group that a picture is split by: its own, else its item, else itself."""
    return record.group or record.item or record.id


def fingerprint(group: str) -> str:
    """16 hexadecimal digits that stand for a group in a model's file, without naming it."""
    return hashlib.sha256(group.encode()).hexdigest()[:16]


def hashed(text: str) -> int:
    """A number below 2**64 that only the text decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def split(
    records: Sequence[Record], *, shares: Mapping[str, float] = SHARES, seed: int = 0
) -> tuple[list[str], str]:
    """The side of each record, "train", "val" or "test", and in words how it came to be.

    Where every record has a `partition` and no group is in two, that is its side. Otherwise a
    group's side follows from a hash of the seed and the group's name alone: pictures that are
    added later move no others. `shares` are of the groups, must sum to 1, and may leave out a
    side. (DeepFashion's own partitions tear products apart, so they are not used.)

    Raises ArgumentError for shares that are none; DatasetError where only some records have a
    partition, or one has an unknown name.
    """
    if (
        not set(shares) <= set(SIDES)
        or min(shares.values(), default=-1.0) < 0
        or abs(sum(shares.values()) - 1) > 1e-9
    ):
        raise ArgumentError(
            f"the shares {dict(shares)} are no shares",
            _CONSEQUENCE,
            f"Give shares of {', '.join(SIDES)} that sum to 1",
        )
    how = f"drawn by group (seed {seed})"
    if any(record.partition is not None for record in records):
        torn = _torn(records)
        if torn is None:
            return [str(record.partition) for record in records], "the data set's own partitions"
        how += f"; the data set's own partitions tear groups apart, such as {torn!r}"
    sides = {group: _drawn(group, shares, seed) for group in {group_of(each) for each in records}}
    return [sides[group_of(record)] for record in records], how


def _torn(records: Sequence[Record]) -> str | None:
    """A group that the given partitions put on two sides, if there is one."""
    sides: dict[str, str] = {}
    torn = None
    for record in records:
        if record.partition not in SIDES:
            raise DatasetError(
                f"{record.path} is in the partition {record.partition!r}, others are in one",
                _CONSEQUENCE,
                f"Give every picture one of {', '.join(SIDES)}, or none at all",
            )
        if sides.setdefault(group_of(record), record.partition) != record.partition:
            torn = torn or group_of(record)
    return torn


def _drawn(group: str, shares: Mapping[str, float], seed: int) -> str:
    place = hashed(f"{seed}:{group}") / 2**64
    below = 0.0
    for side in SIDES:
        below += shares.get(side, 0.0)
        if place < below:
            return side
    return max(shares, key=lambda side: shares[side])  # the sum fell short of 1 by rounding
