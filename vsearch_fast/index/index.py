"""An index: items with their features on disk, and exact search among them.

::

    with Index.create("catalogue.index", dim=embedder.dim, model_id=embedder.model_id) as index:
        index.add(ids, embedder.embed(paths), [Item(i, path=p) for i, p in zip(ids, paths)])
    index = Index.open("catalogue.index")
    [hits] = index.search(embedder.embed("query.jpg"), k=10, where={"category": ["Dress", "Skirt"]})

`store.py` tells what it is on disk, `search.topk` how distances are defined.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

import numpy as np
import numpy.typing as npt

from ..checks import Progress, Value
from ..errors import ArgumentError, CompactedError, ModelMismatchError
from ..search.proof import Proof
from ..words import Metric
from . import arguments, schema
from .arrow import Exchanging
from .changes import Changes
from .duplicating import Duplicating
from .finder import Finder
from .hit_lists import Answers
from .hits import ATTEMPTS, find_hits
from .item_reading import column_number
from .items import Item, check_id
from .learning import Learning
from .listing import Listing
from .reading import Checks, checks_wanted
from .showing import Showing
from .store import Store
from .telling import Telling
from .thresholds import Thresholds
from .views import checked_views

_NOT_ADDED = "None of the rows was added"
_NOT_SEARCHED = "Nothing was searched"


class Index(Listing, Telling, Duplicating, Exchanging, Showing):
    """An index folder, opened by `Index.create` or `Index.open`.

    Many processes may search an index while one writes to it; each search sees all that was
    committed before it. One object may be used by several threads at once. After a fork, a
    child may go on searching with an index opened for reading.

    Attributes:
        dim: numbers a row.
        bits: of a code.
        binarize: the rule that codes are made by: "zero" (features > 0), or of the model.
        dtype: of the stored features, "float32" or "float16".
        views: what is held of an item: ("whole",), or ("whole", "box") where it has the features
            of the whole picture and those of a part of it.
        model_id: the model whose features it holds, "" when unknown.
        model: what was said about the model.
        decoder: what decoded the JPEG files it was made of, for `Embedder(decoder=...)`.
        path: the folder.
        device: where it is searched, "cpu" or "cuda": see `to`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.dim = store.meta.dim
        self.bits = store.meta.bits
        self.binarize = store.meta.binarize
        self.dtype = store.meta.dtype
        self.views = store.meta.views
        self.model_id = store.meta.model_id
        self.path = store.folder
        self._changes = Changes(store)
        self._finder = Finder(store)
        self._thresholds = Thresholds(store, self._finder)
        self._learning = Learning(store, self._finder)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        dim: int,
        *,
        model_id: str = "",
        model: Mapping[str, Any] | None = None,
        segment_rows: int | None = None,
        dtype: str | None = None,
        views: Sequence[str] | str | None = None,
        exist_ok: bool = False,
    ) -> Self:
        """Make an empty index in the folder `path` and open it for writing.

        Args:
            path: new, or an empty folder.
            dim: numbers a row, at least 1.
            model_id: `Embedder.model_id`; only features of the same model may meet it.
            model: more about the model, kept as JSON, such as `Embedder.description`. Its
                "binarize" and "bits" say how codes are made where they are not features > 0: they
                are then to be given.
            segment_rows: rows a segment file, which `optimize` may change; by default about
                256 MiB of float32 vectors.
            dtype: of the stored features: "float32", or "float16" for half the disk space.
                Features are rounded to it as they are added, and searches are exact for what
                is stored. None: float32, or what an index that exists has.
            views: of an item: ("whole",), or ("whole", "box") for two rows of features an item,
                of which the nearer counts. None: "whole", or what an index that exists has.
            exist_ok: open the index that is there already, when its dim, dtype, views and
                model_id are these.

        Raises:
            ArgumentError: a dim or segment_rows below 1, a model that JSON cannot hold.
            ModelMismatchError: with exist_ok, an index of another model.
            LockedError: another writer.
            StoreError: the folder holds something else, or cannot be written.
        """
        folder = Path(path)
        held = None if views is None else checked_views(views, "The index was not created")
        dim = schema.ensure(
            folder, dim, model_id, model or {}, segment_rows, dtype, held, exist_ok=exist_ok
        )
        index = cls.open(folder, mode="rw", model_id=model_id)
        try:
            schema.check_same(folder, index._store.meta, dim, dtype, held)
        except ArgumentError:
            index.close()
            raise
        return index

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        mode: Literal["r", "rw"] = "r",
        model_id: str | None = None,
        checksums: Checks | None = None,
        damaged: bool = False,
    ) -> Self:
        """Open an index; nothing is read per row.

        Args:
            path: its folder.
            mode: "r" to search, "rw" to change it too (one writer at a time).
            model_id: the model whose features will be searched for or added.
            checksums: check rows when this process "first" reads them, "always" at every search,
                or "never". None: what the environment variable VSEARCH_CHECKSUMS says, else
                "first".
            damaged: open what is damaged, too, as far as that can be: to verify and repair it.

        Raises:
            ModelMismatchError: `model_id` is given and not the index's.
            LockedError: mode "rw", and another writer has it open.
            StoreError: no index there, a damaged one, one of another format.
        """
        if mode not in ("r", "rw"):
            raise ArgumentError(
                f'mode is {mode!r}, not "r" or "rw"', "Nothing was opened", "Pass one of them"
            )
        store = Store(
            Path(path),
            writable=mode == "rw",
            checks=checks_wanted(checksums),
            whole=not damaged,
        )
        if model_id is not None and model_id != store.meta.model_id:
            store.close()
            raise ModelMismatchError(
                f"{path} holds features of model {store.meta.model_id or '(unnamed)'},"
                f" not of {model_id or '(unnamed)'}",
                "Nothing was opened, because their distances mean nothing",
                "Use the model that made the index, or index the pictures again",
            )
        return cls(store)

    def close(self) -> None:
        """Close the files, let the next writer in, and free what `to` took of GPUs."""
        self._finder.to("cpu")
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Index {str(self.path)!r}, dim {self.dim}>"

    @property
    def model(self) -> dict[str, Any]:
        return self._store.meta.model

    @property
    def decoder(self) -> str:
        return str(self.model.get("decoder", schema.UNRECORDED_DECODER))

    # Changing

    def add(
        self,
        ids: Iterable[str],
        features: npt.ArrayLike,
        items: Sequence[Item | Mapping[str, Value]] | None = None,
        *,
        codes: npt.ArrayLike | None = None,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Add rows: all of them in one transaction, or none.

        Args:
            ids: n different strings.
            features: (n, dim) float32 or float16 (widened exactly), or float64 (rounded to
                float32); finite, also when rounded to the index's dtype. Of an index of two
                views (n, 2, dim): the whole picture's, then the box's.
            items: for each row an `Item` of the same id, or a mapping of its metadata.
            codes: (n, ceil(bits / 8)) uint8, or (n, 2, ceil(bits / 8)), kept as given; by default
                `pack_bits` of the features as they are stored. Where the model makes codes by
                another rule (`binarize`) they must be given: `Embedder.both` makes both.
            replace: an id that the index holds gets a new row (and so is the last among
                equal distances) instead of raising DuplicateIdError.
            progress: called with the rows that are done and those to do while rows are reduced
                (`optimize`), which takes long where many wait for it.

        Raises:
            DTypeError, ArgumentError: names the argument, row and value.
            DuplicateIdError: an id named twice, or held already.
            StoreError: a full disk, an index opened for reading, ...; nothing is lost.
        """
        names = arguments.ids(arguments.ordered(ids, _NOT_ADDED), _NOT_ADDED)
        views = len(self.views)
        rows, bits = arguments.added(features, codes, self.dim, self.bits, views, _NOT_ADDED)
        if bits is None:
            arguments.refuse_features(
                self.binarize, "what is added", _NOT_ADDED,
                "Pass codes=... too: features, codes = Embedder.both([...])",
            )  # fmt: skip
        for array, what in ((rows, "features"), (bits, "codes")):
            if array is not None and len(array) != len(names):
                raise ArgumentError(
                    f"There are {len(names)} ids and {len(array)} rows of {what}",
                    _NOT_ADDED,
                    "Pass one id a row",
                )
        arguments.refuse_twice(names, _NOT_ADDED)
        described = arguments.items(names, items, _NOT_ADDED)
        for part in arguments.block_slices(*rows.shape):  # all, before any is written
            arguments.float_block(rows[part], part.start, "features", _NOT_ADDED, self.dtype)
        if names:
            blocks = arguments.blocks(rows, bits, views, self.dtype, _NOT_ADDED)
            self._changes.append(described, blocks, replace=replace, progress=progress)

    def update(self, items: Item | Iterable[Item]) -> None:
        """Replace path, box, metadata and stamp of the items of these ids; rows and features
        stay.

        Raises:
            ArgumentError: what is no `Item`, or one that an index cannot hold.
            UnknownIdError: an id that the index does not hold; nothing was changed.
        """
        consequence = "Nothing was changed"
        checked = arguments.changed(items, consequence)
        arguments.refuse_twice([item.id for item in checked], consequence)
        if checked:
            self._changes.update(checked)

    def describe(self, model: Mapping[str, Any]) -> None:
        """Replace what is said about the model (`model`); its id stays, as the features do.

        Raises:
            ArgumentError: something that JSON cannot hold.
        """
        self._changes.describe(arguments.json_object(model, "model", "Nothing was changed"))

    def remove(self, ids: Iterable[str]) -> None:
        """Remove the items of these ids. Their numbers stay on disk under a tombstone.

        Raises:
            UnknownIdError: an id that the index does not hold; nothing was removed.
        """
        names = list(dict.fromkeys(arguments.ids(ids, "Nothing was removed")))
        if names:
            self._changes.remove(names)

    # Searching

    @property
    def device(self) -> str:
        """Where it is searched: "cuda" after `to`."""
        return self._finder.device

    def to(self, device: str) -> Self:
        """Search on GPUs from now on (or, with "cpu", no more); returns the index itself.

        Codes and sketches are copied to all CUDA devices that the process may use, float vectors
        too where they fit; rows that are added later follow at the next search. What a device
        has no room for is sent by each search. Results are the same to the bit.

        Raises:
            ArgumentError: neither "cpu" nor "cuda".
            MissingDependencyError, DeviceError: no CuPy, no device, too old a driver, no memory.
        """
        self._finder.to(device)
        return self

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
    ) -> Answers: ...

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
    ) -> tuple[Answers, Proof]: ...

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
    ) -> Answers | tuple[Answers, Proof]:
        """The k nearest items of each query, exactly; nearest first, equal distances in the
        order in which they were added.

        Args:
            queries: features (q, dim), or (dim,) for one; for "hamming" also packed codes,
                uint8 (q, ceil(bits / 8)), and nothing else where `binarize` is not "zero". Of
                several views a query (q, v, ...): a hit's distance is the smallest between a
                view of the query and one of the item's.
            k: hits a query, at least 1; fewer come when fewer items match. None: 10, or with
                `within` all.
            metric: "l2", "l1", "cosine" or "ip" (the inner product, negated, so that the
                largest comes first), of the features, as `topk` defines them; or "hamming" (on
                the codes: the bits features > 0, or what `binarize` says).
            where: only items whose metadata has, in each of these columns, this value or one
                of these values. Values compare as JSON values: True is not 1, 1 is 1.0; None
                matches null, not a column that an item lacks. Or a text of the language of
                filters: "price < 50 and not colour = red" (`filter_language.py`).
            max_distance: only hits at this distance or nearer, for "ip" a number below 0 as a
                rule; "auto" is `threshold`, beyond which there is no match (also with `where`, it
                is that of the whole index), and is there for "l2", "l1" and "hamming".
            within: all hits at this distance or nearer, or the `k` nearest of them; "auto" as for
                `max_distance`, which is the same but for the default of `k`.
            group_by: a metadata column that names things, such as "item", of several pictures
                each: of a thing the nearest picture alone is a hit, and `k` counts things. An
                item without a value there is a thing of its own.
            threads, strategy, backend: as for `topk`; ``auto`` is the GPU after `to`.
            explain: also say how the hits were proved to be the nearest.

        Returns:
            A list of hits for each query, which is a table, too (`to_pandas`, `to_polars`,
            `to_arrow`), as is each of them; with `explain` that list and a `Proof`.

        Raises:
            ArgumentError: a wrong shape or dimension, NaN or infinity, k below 1, an unknown
                metric or column; more than a million hits within a distance.
            DTypeError: queries of a type that is not exact.
        """
        k, reach = arguments.extent(k, metric, max_distance, within, _NOT_SEARCHED)
        wanted = arguments.where(where, _NOT_SEARCHED)
        if group_by is not None:
            column_number(dict.fromkeys(self._store.known_columns(), 0), group_by, _NOT_SEARCHED)
        array = arguments.queries(
            queries, self.dim, self.bits, self.binarize, metric, _NOT_SEARCHED
        )
        limit = self._limit(reach, metric, threads, backend)
        found = find_hits(
            self._store, self._finder, array, k, metric, wanted, limit, group_by,
            threads=threads, strategy=strategy, backend=backend,
        )  # fmt: skip
        answers = Answers(found.hits)
        return (answers, found.proof) if explain else answers

    def _limit(
        self, reach: float | Literal["auto"] | None, metric: Metric, threads: int | None,
        backend: str,
    ) -> float | None:  # fmt: skip
        """The distance that hits are within; "auto" is the threshold's."""
        if reach != "auto":
            return reach
        threshold = self.threshold(metric, threads=threads, backend=backend)
        return -math.inf if threshold is None else threshold.distance

    # Reading

    def __len__(self) -> int:
        """Live items."""
        state = self._store.state()
        return state.rows - state.removed

    def __iter__(self) -> Iterator[Item]:
        """Items in the order in which they were added."""
        return self._store.iterate()

    def __contains__(self, id_: object) -> bool:
        try:
            return self._store.contains(check_id(id_, "Nothing was read"))
        except ArgumentError:
            return False

    def get(self, id_: str) -> Item:
        """The item of this id; UnknownIdError when there is none."""
        check_id(id_, "Nothing was read")
        return self._store.find([id_], "Nothing was read")[0][1]

    def features(self, ids: Iterable[str]) -> np.ndarray:
        """The stored features of these ids: float32 (n, dim), of two views (n, 2, dim), in their
        order (float16 widened).

        Raises:
            UnknownIdError: an id that the index does not hold.
        """
        return self._stored("vectors", ids).astype(np.float32, copy=False)

    def codes(self, ids: Iterable[str]) -> np.ndarray:
        """The stored codes of these ids: uint8 (n, ceil(bits / 8)), of two views (n, 2, ...), in
        their order.

        Raises:
            UnknownIdError: an id that the index does not hold.
        """
        return self._stored("codes", ids)

    def _stored(self, kind: str, ids: Iterable[str]) -> np.ndarray:
        names = arguments.ids(ids, "Nothing was read")

        def attempt() -> np.ndarray:
            found, view = self._store.find_with_view(names, (kind,), "Nothing was read")
            return self._finder.stored(view, kind, np.array([row for row, _ in found], np.int64))

        for _ in range(ATTEMPTS):
            with contextlib.suppress(CompactedError):  # between finding the rows and reading them
                return attempt()
        # Time and again: once more in one transaction, for which writers wait.
        with self._store.reading("Nothing was read"):
            return attempt()

    def info(self) -> dict[str, Any]:
        """What the index is: path, format, created, dim, dtype, views, model, model_id, rows (ever
        added), live, removed, segments, segment_rows, joined (segments that `optimize` leaves),
        bytes (on disk), columns (of metadata), boxed (items whose features are of a box, not of the
        whole picture), reductions (by metric: rows that are reduced, bytes of one, share of a
        sample that is left, and so on), thresholds and likeness (by metric, what is kept:
        attributes of `Threshold` and `Likeness`, and changes since), titles (the columns that
        `show_as` has chosen, by role)."""
        state = self._store.state()
        return {
            **self._store.facts(state),
            "thresholds": self._thresholds.facts(state),
            "likeness": self._learning.facts(state),
            "titles": self.titles.facts(),
        }
