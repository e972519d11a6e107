"""Shards that are to be made: which items, in which order, and the index when all is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..embedder.bits import BitTally
from ..errors import DamagedError
from ..index.index import Index
from ..index.items import Item, metadata_text
from ..indexing.embedding import tallied
from ..indexing.plans import Plan
from ..indexing.spool import Chain
from ..shards.copying import like, unfinished
from .embedding_target import Facts, Target
from .embedding_units import Recipe, Unit, shard_sizes, units_of

_CONSEQUENCE = "The shard was not made; what was embedded is kept"

#: Items whose rows are taken over, or read, at a time.
_ROWS = 512


@dataclass(frozen=True, slots=True)
class Planned:
    """A shard that is to be made.

    Attributes:
        name: of its folder.
        taken: items that come first, each with the id of the one whose features it takes over.
        units: the others.
        key: a hash of all that it follows from.
    """

    name: str
    taken: Sequence[tuple[Item, str]]
    units: Sequence[Unit]
    key: str


def planned(
    todo: Plan, names: Iterator[str], sizes: Sequence[int], recipe: Recipe
) -> Iterator[Planned]:
    """The shards of what is new, one of each size: first what is recognised, then what is changed,
    then what is new, as one machine adds them."""
    items = Chain(todo.changed, todo.new)
    # Those whose source is replaced itself come last, as `indexing.sync.apply` adds them.
    targets = {item.id for item, _ in todo.recognised}
    taken = sorted(todo.recognised, key=lambda pair: pair[1] in targets)
    start = first = 0
    for size in sizes:
        units = list(units_of(items[start : start + size], recipe, first))
        yield Planned(next(names), taken, units, _key(taken, units))
        start, first, taken = start + size, first + len(units), []


def sizes_for(pictures: int, recognised: int, shards: int, rows: int) -> list[int]:
    """Pictures to be embedded by new shard: of a first run (`rows` 0) so many shards, later as many
    as take `rows` each."""
    if not rows:
        return shard_sizes(pictures, shards)
    if not pictures and not recognised:
        return []
    return shard_sizes(pictures, max(1, -(-pictures // rows)))


def _key(taken: Sequence[tuple[Item, str]], units: Sequence[Unit]) -> str:
    made = hashlib.blake2b(digest_size=16)
    for item, source in taken:
        told = [source, item.id, item.path, item.box, item.stamp, metadata_text(item.metadata)]
        made.update(json.dumps(told).encode())
    for unit in units:
        made.update(unit.key.encode())
        for item in unit.items:
            made.update(json.dumps([item.id, metadata_text(item.metadata)]).encode())
    return made.hexdigest()


def assemble(
    target: Target,
    shard: Planned,
    model: Index,
    words: Mapping[str, Any],
    held: Index | None,
    tally: BitTally,
) -> Facts:
    """Make a shard of finished units, whole under its name when this returns; their files go.

    Args:
        model: an index whose rows are like those to be made.
        words: what is said of their model and source.
        held: the index that features are taken over from.
        tally: hears the codes of what was embedded.

    Raises:
        DamagedError: the file of a unit is not as it was written.
        StoreError: the shard cannot be written.
    """
    refused: list[tuple[str, str, str, str, str]] = []
    with unfinished(target.folder / shard.name, _CONSEQUENCE) as place:
        with like(model, place, words) as made:
            if held is not None:
                _take_over(made, held, shard.taken)
            for unit in shard.units:
                embedded = target.blocks.get(unit.key)
                if embedded is None:
                    raise DamagedError(
                        f"{target.blocks.path(unit.key)} is damaged or gone",
                        _CONSEQUENCE,
                        "Run the same command again: these pictures are embedded anew",
                    )
                for each in embedded.refused:
                    item = unit.items[each.position]
                    error = (each.cause, each.consequence, each.cure)
                    refused.append((item.id, str(item.path), *error))
                items = [
                    replace(unit.items[position], stamp=stamp)
                    for position, stamp in zip(embedded.read, embedded.stamps, strict=True)
                ]
                if not items:
                    continue
                features, codes = embedded.features, embedded.codes
                tally.add(tallied(codes))
                if len(model.views) == 1:
                    features, codes = features[:, 0], codes[:, 0]
                made.add([item.id for item in items], features, items, codes=codes)
            facts = Facts(shard.key, len(made), refused)
        target.note(shard.name, facts)
    target.blocks.drop([unit.key for unit in shard.units])
    return facts


def _take_over(made: Index, held: Index, taken: Sequence[tuple[Item, str]]) -> None:
    for start in range(0, len(taken), _ROWS):
        part = taken[start : start + _ROWS]
        items, sources = [item for item, _ in part], [source for _, source in part]
        made.add(
            [item.id for item in items], held.features(sources), items, codes=held.codes(sources)
        )


def tally_of(index: Index, tally: BitTally) -> None:
    """Let a tally hear the codes of a shard that an earlier run made."""
    after: int | None = None
    while True:
        items, after = index.page(_ROWS, after=after)
        if items:
            tally.add(tallied(index.codes([item.id for item in items])))
        if after is None:
            return
