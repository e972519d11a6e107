"""An index that is searched on a cluster: read as an `Index` is, each shard where its files are.

::

    search ── Line: what waits goes together ── a call a group ──> actors: threads or GPU, filters
                                                    │
              the k nearest of all <── merged <── k of each group, items included

With ``ahead`` groups are asked in two rounds: the k-th distances of the first are limits of the
others, which read fewer rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn, overload

import numpy as np
import numpy.typing as npt

from ..checks import Value
from ..errors import ArgumentError, ClusterError, DuplicateIdError, StoreError
from ..index import arguments
from ..index.hits import MOST, Hit
from ..index.index import Index
from ..index.items import Item
from ..index.learning import Learning
from ..index.thresholds import Thresholds
from ..index.views import flat
from ..search.arguments import refuse_not_finite
from ..search.proof import Proof
from ..search.ranges import too_many
from ..words import Metric
from .answers import Answer, limits_of, proofs_together, together
from .asking import Asking, Patience
from .groups import Group
from .host import ROW_BITS, Asked, Part
from .line import Line
from .store import ClusterFinder, ClusterStore

_NOT_SEARCHED = "Nothing was searched"
#: Batches under way at a time, and queries of one.
_AT_ONCE, _LARGEST = 4, 256
#: Bytes of arguments from which they are put into the object store once, not sent to each group.
_SHARED_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class _Kind:
    """What searches must have in common to go together."""

    asked: Asked
    patience: Patience

    def key(self) -> tuple[Any, ...]:
        asked = self.asked
        return (
            asked.queries.shape[1:], asked.queries.dtype.str, asked.k, asked.metric, asked.where,
            asked.max_distance, asked.group_by, asked.strategy, asked.backend, asked.threads,
            self.patience,
        )  # fmt: skip


class ClusterIndex(Index):
    """The shards of an index, held by actors of a Ray cluster; made by `connect`.

    It reads as an `Index` does, with the same answers to the bit. `add` and `remove` go to the
    shard that has the items, one commit each. What concerns files (verify, compact, back up, ...)
    is done where they are.

    Attributes:
        dim, bits, binarize, dtype, views, model_id, model: as of an `Index`.
        address: of the cluster.
        shards: the shards as they are listed, in order.
        timeout: seconds in which an answer must be there.
    """

    _store: ClusterStore

    def __init__(
        self, address: str, store: ClusterStore, device: str, threads: int | None, ahead: int,
        changeable: bool,
    ) -> None:  # fmt: skip
        super().__init__(store)
        self.address, self.timeout = address, store.patience.seconds
        self.shards = [shard.path for shard in store.manifest.shards]
        self._asking: Asking = store.asking
        self._threads, self._ahead, self._changeable = threads, ahead, changeable
        self._finder = ClusterFinder(store, device)
        self._thresholds = Thresholds(store, self._finder)
        self._learning = Learning(store, self._finder)
        self._line: Line[np.ndarray, tuple[list[list[Hit]], Proof, tuple[str, ...]]] = Line(
            _AT_ONCE, _LARGEST
        )
        self._changing = threading.Lock()

    def __repr__(self) -> str:
        return (
            f"<ClusterIndex {str(self.path)!r} at {self.address}, {len(self.shards)} shards,"
            f" dim {self.dim}>"
        )

    @property
    def nodes(self) -> dict[str, list[str]]:
        """The nodes on which each shard is searched now, by the shard."""
        found: dict[str, list[str]] = {}
        for group in self._asking.groups:
            with group.held() as replicas:
                found |= {name: [replica.node for replica in replicas] for name in group.names}
        return found

    # Searching

    @overload
    def search(
        self,
        queries: npt.ArrayLike,
        k: int | None = None,
        metric: Metric = "l2",
        where: arguments.Where = None,
        max_distance: float | Literal["auto"] | None = None,
        threads: int | None = None,
        *,
        within: float | Literal["auto"] | None = None,
        group_by: str | None = None,
        strategy: str = "auto",
        backend: str = "auto",
        explain: Literal[False] = False,
        timeout: float | None = None,
        allow_partial: bool = False,
    ) -> Answer: ...

    @overload
    def search(
        self,
        queries: npt.ArrayLike,
        k: int | None = None,
        metric: Metric = "l2",
        where: arguments.Where = None,
        max_distance: float | Literal["auto"] | None = None,
        threads: int | None = None,
        *,
        within: float | Literal["auto"] | None = None,
        group_by: str | None = None,
        strategy: str = "auto",
        backend: str = "auto",
        explain: Literal[True],
        timeout: float | None = None,
        allow_partial: bool = False,
    ) -> tuple[Answer, Proof]: ...

    def search(
        self,
        queries: npt.ArrayLike,
        k: int | None = None,
        metric: Metric = "l2",
        where: arguments.Where = None,
        max_distance: float | Literal["auto"] | None = None,
        threads: int | None = None,
        *,
        within: float | Literal["auto"] | None = None,
        group_by: str | None = None,
        strategy: str = "auto",
        backend: str = "auto",
        explain: bool = False,
        timeout: float | None = None,
        allow_partial: bool = False,
    ) -> Answer | tuple[Answer, Proof]:
        """As `Index.search`; of many threads at once few searches are under way, and the others
        wait in line, then go together.

        Args:
            queries, k, metric, where, max_distance, within, group_by, strategy, backend, explain:
                as for `Index.search`.
            threads: of each actor; None: what `connect` was told.
            timeout: seconds in which all shards must have answered, from the search's turn on;
                None: what `connect` was told.
            allow_partial: where shards have not answered by then, return what the others have. The
                answer's `missing` names them.

        Raises:
            ClusterError: shards that have not answered in time.
            ArgumentError, DTypeError, StoreError: as `Index.search`.
        """
        k, reach = arguments.extent(k, metric, max_distance, within, _NOT_SEARCHED)
        wanted = arguments.where(where, _NOT_SEARCHED)
        array = arguments.queries(
            queries, self.dim, self.bits, self.binarize, metric, _NOT_SEARCHED
        )
        if array.dtype.kind == "f":  # here, so that it is nobody else's error
            refuse_not_finite(flat(array)[0])
        limit = self._limit(reach, metric, threads, backend)
        patience = replace(self._patience(timeout), partial=allow_partial)
        asked = Asked(
            array, k, metric, wanted, limit, group_by, strategy, backend, threads or self._threads
        )
        kind = _Kind(asked, patience)
        alone = explain or k is None
        hits, proof, missing = self._line.run(
            None if alone else kind.key(), array, len(array), lambda each: self._several(kind, each)
        )
        answer = Answer(hits, missing)
        return (answer, proof) if explain else answer

    def _patience(self, timeout: float | None) -> Patience:
        usual = self._store.patience
        if timeout is None:
            return usual
        if not timeout > 0:
            raise ArgumentError(f"timeout is {timeout!r}", _NOT_SEARCHED, "Pass seconds, above 0")
        return replace(usual, seconds=float(timeout), slow=min(usual.slow, timeout / 3))

    def _several(
        self, kind: _Kind, each: Sequence[np.ndarray]
    ) -> list[tuple[list[list[Hit]], Proof, tuple[str, ...]]]:
        """The answers of searches that go together."""
        queries = each[0] if len(each) == 1 else np.concatenate(each)
        hits, proof, missing = self._searched(replace(kind.asked, queries=queries), kind.patience)
        borders = np.cumsum([len(own) for own in each])[:-1].tolist()
        starts, stops = [0, *borders], [*borders, len(hits)]
        return [
            (hits[start:stop], proof, missing) for start, stop in zip(starts, stops, strict=True)
        ]

    def _searched(
        self, asked: Asked, patience: Patience
    ) -> tuple[list[list[Hit]], Proof, tuple[str, ...]]:
        patience = patience.begun()
        groups, count = self._asking.groups, len(asked.queries)
        parts: list[Part] = []
        lost: list[Group] = []
        ahead = self._ahead if asked.k is not None else 0
        for some in (groups[:ahead], groups[ahead:]):
            if not some:
                continue
            if parts and asked.k is not None:
                asked = replace(asked, limits=limits_of(parts, count, asked.k, asked.group_by))
            argument: Any = asked
            if len(some) > 1 and asked.queries.nbytes >= _SHARED_BYTES:
                argument = self._asking.put(asked)
            found, missing = self._asking.gather(
                [(group, "search", (argument,)) for group in some], patience, _NOT_SEARCHED
            )
            parts += found.values()
            lost += missing
        if not parts:
            raise self._asking.late(lost, patience.seconds, _NOT_SEARCHED)
        self._refuse_unknown_columns(asked, parts, partial=bool(lost))
        total = sum(len(line) for part in parts for line in part.hits)
        if asked.k is None and total > MOST:
            raise too_many(total, MOST, "queries", "pass k, for the nearest alone")
        names = tuple(name for group in lost for name in group.names)
        proof = proofs_together([part.proof for part in parts])
        return together(parts, count, asked.k, asked.group_by), proof, names

    def _refuse_unknown_columns(
        self, asked: Asked, parts: Sequence[Part], *, partial: bool
    ) -> None:
        """A column that was asked for and no shard has had; of a part of them nobody can say."""
        known = set().union(*(part.columns for part in parts))
        if not partial and not known.issuperset(asked.columns):
            self._store.refuse_unknown_columns(asked.columns, _NOT_SEARCHED)

    def to(self, device: str) -> NoReturn:
        """Refused: `connect` says where actors search."""
        raise ArgumentError(
            f"device is {device!r}, of actors that search already", "Nothing was moved",
            "Say it to connect(device=...)",
        )  # fmt: skip

    # Reading

    def _stored(self, kind: str, ids: Iterable[str]) -> np.ndarray:
        return self._store.stored(kind, arguments.ids(ids, "Nothing was read"))

    # Changing

    def add(  # type: ignore[override]
        self,
        ids: Iterable[str],
        features: npt.ArrayLike,
        items: Sequence[Item | Mapping[str, Value]] | None = None,
        *,
        codes: npt.ArrayLike | None = None,
        replace: bool = False,
        shard: str | int | None = None,
    ) -> None:
        """Add rows to a shard: all of them in one transaction, or none.

        Args:
            ids, features, items, codes: as for `Index.add`.
            replace: an id that this shard holds gets a new row.
            shard: as it is listed, or its number; None: the last one.

        Raises:
            DuplicateIdError: an id that the shard, or any other, holds already.
            ClusterError: the actor was lost, or copies are searched, which are not to be changed.
            ArgumentError, DTypeError, StoreError: as `Index.add`.
        """
        consequence = "None of the rows was added"
        names = arguments.ids(arguments.ordered(ids, consequence), consequence)
        number = self._numbered(shard, consequence)
        with self._changing:
            self._refuse_copies(consequence)
            for id_, (order, _) in self._store.known(names).items():
                other = order >> ROW_BITS
                if not replace or other != number:
                    raise DuplicateIdError(
                        f"{self.shards[other]} holds an item {id_!r} already", consequence,
                        "Pass replace=True to the shard that holds it, or leave the item out",
                    )  # fmt: skip
            given = None if items is None else list(items)
            self._change(
                number, "add", (names, np.asarray(features), given),
                {"codes": None if codes is None else np.asarray(codes), "replace": replace},
                consequence,
            )  # fmt: skip

    def remove(self, ids: Iterable[str]) -> None:
        """Remove the items of these ids, each from the shard that holds it: of each shard in one
        transaction.

        Raises:
            UnknownIdError: an id that no shard holds; nothing was removed.
            ClusterError: as for `add`; shards that come later keep theirs.
        """
        consequence = "Nothing was removed"
        names = list(dict.fromkeys(arguments.ids(ids, consequence)))
        with self._changing:
            self._refuse_copies(consequence)
            by_shard: dict[int, list[str]] = {}
            for id_, number in self._store.shards_of(names, consequence).items():
                by_shard.setdefault(number, []).append(id_)
            for number, own in sorted(by_shard.items()):
                self._change(number, "remove", (own,), {}, consequence)

    def _numbered(self, shard: str | int | None, consequence: str) -> int:
        if shard is None:
            return len(self.shards) - 1
        listed = [str(each) for each in self.shards]
        if isinstance(shard, int) and not isinstance(shard, bool) and 0 <= shard < len(listed):
            return shard
        if str(shard) in listed and not isinstance(shard, int):
            return listed.index(str(shard))
        raise ArgumentError(
            f"shard is {shard!r}, and there are {len(listed)}", consequence,
            f"Name one as it is listed, such as {listed[-1]!r}, or by its number from 0 on",
        )  # fmt: skip

    def _refuse_copies(self, consequence: str) -> None:
        if not self._changeable:
            raise ClusterError(
                f"Copies of {self.path} are searched here, which would differ from it if they were"
                " changed",
                consequence,
                "Connect to the files themselves: one replica, without copy_to",
            )

    def _change(
        self, number: int, name: str, given: tuple[Any, ...], options: dict[str, Any],
        consequence: str,
    ) -> None:  # fmt: skip
        """One transaction of one shard. It is sent once: where the actor is lost meanwhile, it may
        have been committed or not, and who asked is told so."""
        group = next(group for group in self._asking.groups if number in group.numbers)
        self._asking.once(
            group, "change", (number, name, given, options), self._store.patience, consequence
        )

    # What cannot be

    def _refused(self, *_: Any, **__: Any) -> NoReturn:
        raise self._store.refusal("Nothing was done")

    snapshot = verify = repair = compact = optimize = backup = _refused
    transaction = update = describe = add_checksums = _refused

    def __reduce__(self) -> NoReturn:
        raise StoreError(
            f"{self.path} is connected to by this process", "It cannot be sent to another one",
            "Connect there",
        )  # fmt: skip
