"""What is to be done to an index, as a comparison with its data set has found it (`joining.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..embedder.embedder import Skipped
from ..index.items import Item
from .spool import Chain


@dataclass
class Plan:
    """What differs between an index and a data set.

    The sequences are on the disk, all but `refused`: a plan takes no more memory for many pictures
    than for few. Each has the order of the list, `vanished` that of the ids.
    """

    new: Sequence[Item] = ()
    changed: Sequence[Item] = ()
    """Another file, or another box: to be read again."""
    described: Sequence[Item] = ()
    """The same picture with other metadata: its features stay."""
    moved: Sequence[Item] = ()
    """The same picture under another path, the old one being gone, or with another time of
    change: its features stay."""
    plain: Sequence[tuple[Item, str]] = ()
    """A picture whose bytes are those of the item of this id: it takes over its features."""
    crossed: Sequence[tuple[Item, str]] = ()
    """Likewise, of an item that takes over another's itself: names that were exchanged."""
    refused: list[Skipped] = field(default_factory=list)
    """Pictures that an index cannot name, such as a file name that is no text."""
    vanished: Sequence[str] = ()
    unchanged: int = 0

    @property
    def recognised(self) -> Sequence[tuple[Item, str]]:
        """Pictures that take over features, and from which ids."""
        return Chain(self.plain, self.crossed)

    @property
    def nothing(self) -> bool:
        """Whether the index is as the data set is, as far as it can be."""
        return not (
            self.new or self.changed or self.described or self.moved or self.recognised
            or self.vanished
        )  # fmt: skip


@dataclass
class Outcome:
    """What a run did; ``skipped`` are pictures that could not be read, and ``bits`` says where the
    codes of those that were tell little ("" where they do)."""

    added: int = 0
    replaced: int = 0
    described: int = 0
    removed: int = 0
    recognised: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    bits: str = ""
