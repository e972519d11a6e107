"""A catalogue embedded by a Ray cluster into a sharded index, or such an index brought up to date.

::

    list ──► plan ──► shards, units ──► cluster ──► KEY.block ──► NNNNN.index ──► shards.json
             what is   of what is new    (pipeline)  as they come  when all its    at the end,
             new       or changed                                  units are there  with removals

What is in which shard, and in which order, follows from the list and the number of shards alone;
all items together are in the order in which one machine has them, with the same features and codes.
Workers write nothing but to the object store; files are written by the process that runs this.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..checks import positive
from ..datasets.records import Record
from ..embedder.bar import bar
from ..embedder.bits import BitTally
from ..embedder.embedder import BATCH_SIZE, Embedder, Skipped
from ..embedder.views import locates
from ..errors import ArgumentError, ClusterError, ImageError, VsearchError
from ..index import schema
from ..index.index import Index
from ..index.views import checked_views
from ..indexing import sync
from ..indexing.plans import Outcome, Plan
from ..indexing.spool import Chain
from ..shards.index import ShardedIndex
from ..shards.manifest import Likewise, Manifest
from ..words import plural
from .embedding_pipeline import Workers, finished
from .embedding_shards import Planned, assemble, planned, sizes_for, tally_of
from .embedding_target import Commit, Facts, Target, holding
from .embedding_units import PICTURES, Embedded, Recipe, Unit, unpacked
from .embedding_worker import Network
from .joining import LOCAL, join
from .places import is_address

_CONSEQUENCE = "Nothing was indexed"


@dataclass(frozen=True, slots=True)
class Source:
    """What pictures were read from: words for it (`origin`), the folder (`root`), and the list's
    own names of columns, as `indexing.sync.open_index` notes them."""

    origin: str
    root: Path | None = None
    columns: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """Who hears of a run as it goes: its plan, pictures that this run has finished, and whether a
    bar is shown."""

    plan: Callable[[Plan], None] = lambda _: None
    committed: Callable[[int], None] = lambda _: None
    progress: bool = False


def index_pictures(
    records: Iterable[Record],
    target: str | os.PathLike[str],
    embedder: Embedder,
    *,
    source: Source,
    shards: int = 1,
    address: str = LOCAL,
    workers: Workers | None = None,
    provider: str = "auto",
    dtype: str | None = None,
    views: Sequence[str] | None = None,
    keep_missing: bool = False,
    unlisted: Iterable[str] = (),
    on_error: Literal["skip", "raise"] = "skip",
    batch_size: int | None = None,
    told: Told | None = None,
) -> tuple[Plan, Outcome]:
    """Embed the pictures of a list on a Ray cluster into the sharded index at `target`, or bring it
    up to date with the list: what is new or changed goes into new shards behind the others.

    Stopped or killed at any point, it goes on where it ended when it is called again; what has been
    embedded is not embedded again.

    Args:
        records: the list, in its order.
        target: a new folder, or that of a sharded index of this model.
        embedder: the network; it is asked what it is, and embeds nothing here.
        source: what the list was read from.
        shards: of a new index; later ones take as many pictures as the largest there is.
        address: of the cluster, as for `joining.join`.
        workers: what embeds.
        provider: what runs the network of each worker.
        dtype, views: of a new index, as for `Index.create`.
        keep_missing, unlisted: as for `indexing.sync.plan`.
        on_error: a picture that cannot be read is told and left out, or ends the run.
        batch_size: pictures a run of the network, at most `PICTURES`. None: by the device.
        told: who hears of it.

    Returns:
        What was to be done, and what became of it.

    Raises:
        ArgumentError: a number that cannot be; a source that would lose pictures of the index.
        ModelMismatchError: the index is of another model, or of another decoder.
        ImageError: with ``on_error="raise"``, of the first picture that cannot be read.
        LockedError: another run writes there.
        ClusterError: no cluster answers, or it does not bring the work to an end.
        StoreError: the target holds something else, or cannot be written.
    """
    told, workers = told or Told(), workers or Workers()
    workers.check()
    shards = positive(shards, "shards", _CONSEQUENCE)
    with contextlib.ExitStack() as opened:
        place = opened.enter_context(Target(Path(target)))
        known = place.manifest()
        if known is None:
            like = before = opened.enter_context(_empty(opened, embedder, source, dtype, views))
            held, words = None, like.model
        else:
            held = opened.enter_context(_held(place.folder, embedder, dtype, views))
            before, like = held, opened.enter_context(Index.open(held.shards[0]))
            words = sync.described_anew(
                held, source.origin, file_of(embedder), root=source.root, columns=source.columns
            )
        todo = sync.plan(before, records, keep_missing=keep_missing, unlisted=unlisted)
        if keep_missing:
            words = before.model
        else:
            sync.refuse_another_source(before, todo, source.origin)
        told.plan(todo)
        recipe = _recipe(embedder, provider, batch_size, workers, len(like.views))
        made = list(planned(todo, place.names(), _sizes(todo, known, shards, source), recipe))
        run = _Run(place, embedder, recipe, workers, address, on_error, told)
        run.refuse(todo)
        facts = run.make(made, like, words, held)
        outcome = _outcome(todo, facts, run.tally)
        new = [(shard.name, each.rows) for shard, each in zip(made, facts, strict=True)]
        if held is not None:
            # Of none but pictures that cannot be read: each run would add another one.
            new = [(name, rows) for name, rows in new if rows]
        if held is None:
            commit = Commit(new, Likewise.of(like))
        else:
            commit = _changes(held, new, todo, facts, words)
            held.close()
        place.commit(commit)
    return todo, outcome


def file_of(embedder: Embedder) -> Path:
    """The file of its network."""
    return Path(embedder.description["file"])


def _empty(
    opened: contextlib.ExitStack,
    embedder: Embedder,
    source: Source,
    dtype: str | None,
    views: Sequence[str] | None,
) -> Index:
    """An index without items that is as the shards of a new one are to be."""
    folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
    return sync.open_index(
        folder / "like.index", embedder, file_of(embedder), source.origin, dtype, views=views,
        root=source.root, columns=source.columns,
    )  # fmt: skip


def _held(
    folder: Path, embedder: Embedder, dtype: str | None, views: Sequence[str] | None
) -> ShardedIndex:
    """The index that is there; raises where it cannot take these features."""
    index = ShardedIndex.open(folder, model_id=embedder.model_id)
    try:
        sync.check_decoder(index, embedder.decoder)
        wanted = None if views is None else checked_views(views, _CONSEQUENCE)
        schema.check_same(folder, index._store.meta, embedder.dim, dtype, wanted)
    except VsearchError:
        index.close()
        raise
    return index


def _recipe(
    embedder: Embedder, provider: str, batch_size: int | None, workers: Workers, views: int
) -> Recipe:
    if batch_size is None:
        batch_size = 0 if workers.gpus else BATCH_SIZE
    elif positive(batch_size, "batch_size", _CONSEQUENCE) > PICTURES:
        raise ArgumentError(
            f"batch_size is {batch_size}, and workers of a cluster are given {PICTURES} pictures "
            "at a time",
            _CONSEQUENCE,
            f"Give {PICTURES} or fewer",
        )
    if provider == "auto" and not workers.gpus:
        provider = "cpu"
    return Recipe(
        embedder.model_id, provider, batch_size, embedder.input_size, embedder.resize,
        embedder.max_pixels, embedder.decoder, views,
    )  # fmt: skip


def _sizes(todo: Plan, known: Manifest | None, shards: int, source: Source) -> list[int]:
    """Pictures by shard that is to be made."""
    count, taken = len(todo.changed) + len(todo.new), len(todo.recognised)
    if known is not None:
        rows = max(shard.rows for shard in known.shards)
        return sizes_for(count, taken, 1, max(rows, 1) if rows else max(count, 1))
    if shards > max(count, 1):
        raise ArgumentError(
            f"{source.origin} lists {plural(count, 'picture')}, and they were to fill {shards:,} "
            "shards",
            _CONSEQUENCE,
            "Ask for as many shards as pictures, or fewer",
        )
    return sizes_for(count, taken, shards, 0)


class _Run:
    """Shards made of units that are finished, and these of what the cluster embeds."""

    def __init__(
        self,
        target: Target,
        embedder: Embedder,
        recipe: Recipe,
        workers: Workers,
        address: str,
        on_error: Literal["skip", "raise"],
        told: Told,
    ) -> None:
        self.tally = BitTally(embedder.bits)
        self._target, self._embedder, self._recipe = target, embedder, recipe
        self._workers, self._address, self._told = workers, address, told
        self._raises = on_error == "raise"
        #: With "raise": what is refused, by unit and place.
        self._refused: dict[tuple[int, int], ImageError] = {}

    def refuse(self, todo: Plan) -> None:
        """Raise for what no index can name, where what cannot be read ends the run."""
        if todo.refused and self._raises:
            first = todo.refused[0]
            raise ImageError(first.reason, _CONSEQUENCE, f"Rename {first.name}")

    def make(
        self, shards: Sequence[Planned], like: Index, words: Mapping[str, Any], held: Index | None
    ) -> list[Facts]:
        """Make these shards, as far as they are not whole already; what became of each."""
        facts: dict[str, Facts] = {}
        wanted: dict[int, Planned] = {}
        missing: list[Unit] = []
        left: dict[str, int] = {}
        for shard in shards:
            whole = self._target.whole(shard.name, shard.key)
            if whole is not None:
                facts[shard.name] = whole
                self._hear_again(shard, whole)
                with Index.open(self._target.folder / shard.name) as index:
                    tally_of(index, self.tally)
                continue
            lacking = [unit for unit in shard.units if not self._is_there(unit)]
            left[shard.name] = len(lacking)
            wanted |= {unit.number: shard for unit in lacking}
            missing += lacking

        def whole_when_last(shard: Planned) -> None:
            if not left[shard.name]:
                facts[shard.name] = assemble(self._target, shard, like, words, held, self.tally)

        self._raise_first(min((unit.number for unit in missing), default=None))
        for shard in shards:
            if shard.name in left:
                whole_when_last(shard)
        for unit in self._embed(missing):
            shard = wanted[unit.number]
            left[shard.name] -= 1
            whole_when_last(shard)
        return [facts[shard.name] for shard in shards]

    def _is_there(self, unit: Unit) -> bool:
        embedded = self._target.blocks.get(unit.key)
        if embedded is None:
            return False
        self._hear(unit, embedded)
        return True

    def _embed(self, missing: Sequence[Unit]) -> Iterator[Unit]:
        """Each of these units when its file is there."""
        if not missing:
            return
        if self._address.startswith("ray://"):
            raise ArgumentError(
                f"{self._address} is the address of a client, and embedding runs on a node",
                _CONSEQUENCE,
                "Run the command on a machine of the cluster, with --ray auto",
            )
        ray = join(self._address, _CONSEQUENCE)
        network = Network.put(
            ray, file_of(self._embedder), self._recipe.model_id, locates=self._recipe.views > 1
            and locates(self._embedder),
        )  # fmt: skip
        count = sum(len(unit.items) for unit in missing)
        advance, close_bar = bar(count, shown=self._told.progress)
        done, waiting = 0, {unit.number for unit in missing}
        results = finished(ray, iter(missing), self._recipe, network, self._workers)
        try:
            for unit, block in results:
                embedded = unpacked(block, unit.key)
                if embedded is None:
                    raise ClusterError(
                        "What came back from a worker is not what it sent (checksum)",
                        "What was embedded before is kept",
                        "Run the same command again; see the logs of Ray if it happens again",
                    )
                self._refuse_unseen(unit, embedded)
                self._target.blocks.put(unit.key, block)
                self._hear(unit, embedded)
                waiting.discard(unit.number)
                self._raise_first(min(waiting, default=None) if self._refused else None)
                done += len(unit.items)
                advance(len(unit.items))
                self._told.committed(done)
                yield unit
        finally:
            results.close()
            close_bar()

    def _hear(self, unit: Unit, embedded: Embedded) -> None:
        if self._raises:
            self._refused |= {
                (unit.number, each.position): ImageError(each.cause, each.consequence, each.cure)
                for each in embedded.refused
            }

    def _hear_again(self, shard: Planned, facts: Facts) -> None:
        """What was refused of a shard that an earlier run has made."""
        if not (self._raises and facts.refused):
            return
        places = {
            item.id: (unit.number, place)
            for unit in shard.units
            for place, item in enumerate(unit.items)
        }
        self._refused |= {places[id_]: ImageError(*error) for id_, _, *error in facts.refused}

    def _raise_first(self, waiting: int | None) -> None:
        """Raise the first of what is refused, once no unit before it is waited for."""
        if self._refused:
            first = min(self._refused)
            if waiting is None or first[0] < waiting:
                raise self._refused[first]

    def _refuse_unseen(self, unit: Unit, embedded: Embedded) -> None:
        """A picture that is here, and is not where a worker looks for it, is not broken."""
        for each in embedded.refused:
            path = str(unit.items[each.position].path)
            missing = each.cause == f"{path} does not exist"
            if missing and not is_address(path) and os.path.exists(path):
                raise ClusterError(
                    f"{path} is not there on a node of the cluster, and is there on this one",
                    "What was embedded before is kept, the rest was not embedded",
                    "Mount the folder of the pictures at the same path on every node, or list them "
                    "by addresses (s3://...)",
                )


def _outcome(todo: Plan, facts: Sequence[Facts], tally: BitTally) -> Outcome:
    stale = {item.id for item in todo.changed}
    refused = [each for shard in facts for each in shard.refused]
    lost = sum(id_ in stale for id_, *_ in refused)
    positions = (
        {item.id: n for n, item in enumerate(Chain(todo.changed, todo.new))} if refused else {}
    )
    return Outcome(
        added=len(todo.new) - (len(refused) - lost),
        replaced=len(todo.changed) - lost,
        described=len(todo.described) + len(todo.moved),
        removed=len(todo.vanished) + lost,
        recognised=len(todo.recognised),
        skipped=[
            *todo.refused,
            *(Skipped(positions[id_], path, reason) for id_, path, reason, *_ in refused),
        ],
        bits=tally.warning(),
    )


def _changes(
    held: ShardedIndex,
    new: list[tuple[str, int]],
    todo: Plan,
    facts: Sequence[Facts],
    words: dict[str, Any],
) -> Commit:
    """What is to be done to the shards that are there, and the new ones behind them."""
    paths = [shard.path for shard in held._store.manifest.shards]
    gone = [*todo.vanished, *(item.id for item in todo.changed)]
    gone += [item.id for item, _ in todo.recognised if item.id in held]
    updated = {item.id: item for item in Chain(todo.described, todo.moved)}
    return Commit(
        new,
        held._store.manifest.likewise,
        holding(held.path, paths, gone),
        {
            path: [updated[id_] for id_ in ids]
            for path, ids in holding(held.path, paths, list(updated)).items()
        },
        words if words != held.model else None,
    )
