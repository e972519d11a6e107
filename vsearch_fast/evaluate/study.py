"""One evaluation from records and rows to figures: what `vsearch eval` runs.

::

    records ─► sample (none trained on) ─► features of each row, cached ─► neighbours, exact
                                                  │                             │
                          rows that cannot run ───┘            measures, bootstrap ─► figures
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.records import Record
from ..embedder.providers import ProviderFallbackWarning
from ..errors import ArgumentError, DatasetError
from ..words import JUDGED, plural
from . import attributes
from .features import Extractor, Outputs, extractor, outputs
from .figures import Difference, Figure
from .neighbours import eligible_neighbours
from .protocol import DRAWS, KS, Average, Bootstrap, Same, Truth, judge
from .rows import ModelRow
from .sampling import Sample, Side, describe, draw, draw_queries, in_words

CONTROL = "Random pairs (control)"

#: Rules of eligibility, in the order of the tables. The first leads where there are groups.
OTHERS, ANY = "other groups", "any other picture"
AVERAGES: tuple[Average, ...] = ("micro", "macro")

_LIST = max(KS)


@dataclass(frozen=True, slots=True)
class Options:
    """What an evaluation depends on beside data and models.

    Attributes:
        sample: largest number of pictures.
        queries: largest number of queries among them.
        seed: of the sample, the queries and the bootstrap.
        leave_out: categories that are none ("Other").
        side: "test" keeps to the test side of `datasets.splits.split`.
        split_seed: of that split; None for the one that the models were trained with.
        columns: metadata columns whose agreement is measured; None for the usual ones.
        draws: resamples of the bootstrap.
        backend, threads, provider: as for `topk` and `Embedder`.
    """

    sample: int = 20_000
    queries: int = 1_000
    seed: int = 0
    leave_out: tuple[str, ...] = ()
    side: Side = "all"
    split_seed: int | None = None
    columns: tuple[str, ...] | None = None
    draws: int = DRAWS
    backend: str = "auto"
    threads: int | None = None
    provider: str = "auto"


@dataclass(frozen=True, slots=True)
class Scope:
    """Some categories, as gallery and as queries; ``names`` None for all."""

    title: str
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """All that was measured.

    Attributes:
        rows: of the table, in its order; `ran` and `not_run` are those that did and did not.
        neighbours: int64 ``(q, 10)`` by (row, distance), of the leading rule and all
            categories: row numbers in `sample`, -1 where there is none.
        queries: int64 ``(q,)``, their row numbers.
        measures: titles by measure.
    """

    options: Options
    sample: Sample
    queries: NDArray[np.int64]
    lead: str
    scopes: list[Scope]
    rows: list[ModelRow]
    ran: list[Extractor]
    not_run: list[ModelRow]
    figures: list[Figure]
    differences: list[Difference]
    neighbours: dict[tuple[str, str], NDArray[np.int64]]
    measures: dict[str, str]
    notes: list[str] = field(default_factory=list)

    @property
    def description(self) -> dict[str, Any]:
        """The data in figures."""
        return {**describe(self.sample), "queries": len(self.queries), "notes": self.notes}


def evaluate(
    records: Sequence[Record],
    rows: Sequence[ModelRow],
    cache: Path,
    *,
    options: Options | None = None,
    attribute_types: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = False,
) -> Study:
    """Measure every row that has a file, or is a baseline, on the same sample and queries.

    Args:
        records: the data; each record's `group` is what may not be matched with itself
            (`sampling.regrouped` takes another column).
        rows: the table's (`rows.table_rows`); those without a file are returned as not run.
        cache: folder of the features; a stopped run goes on there.
        attribute_types: DeepFashion's (`datasets.deepfashion.attribute_types`).
        say: is told what happens, a line at a time.
        progress: bars on stderr.

    Raises:
        ArgumentError: a column that no record has.
        DatasetError: nothing is left to compare, or no row can run.
        ModelError: a model file that is missing or foreign.
    """
    options = options or Options()
    check_options(options)
    attributes.check_columns(records, options.columns or ())
    ran: list[Extractor] = []
    listed: list[ModelRow] = []
    for row in rows:
        if row.file is not None or row.baseline is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("once", ProviderFallbackWarning)
                ran.append(_counted(extractor(row, options.provider, options.threads)))
            row = ran[-1].row
        listed.append(row)
    if not ran:
        raise DatasetError("no row of the table can run", "Nothing was evaluated", "Name a model")
    sample = draw(
        records, {each.row.name: each.training for each in ran}, count=options.sample,
        seed=options.seed, leave_out=options.leave_out, side=options.side,
        split_seed=options.split_seed,
    )  # fmt: skip
    for reason, count in sample.left_out.items():
        say(f"left out {count:>6,}: {reason}")
    say(f"{in_words(sample)} are compared")

    tables = [
        outputs(
            each, sample.records, cache, provider=options.provider, threads=options.threads,
            progress=progress,
        )
        for each in ran
    ]  # fmt: skip
    broken = np.zeros(len(sample.records), bool)
    for table in tables:
        # A feature that is no number for another reason is an error, told by the search.
        found = table.features
        suspects = np.flatnonzero(np.isnan(np.asarray(found[:, 0])))
        broken[suspects[np.isnan(np.asarray(found[suspects])).all(axis=1)]] = True
    if broken.any():
        say(f"left out {int(broken.sum()):>6,}: cannot be read")
        sample = sample.without(broken, "cannot be read")
        say(f"{in_words(sample)} are left to compare")
        tables = [table.of(~broken) for table in tables]
        if len(sample.records) < 2:
            raise DatasetError(
                "fewer than two pictures can be read", "Nothing was evaluated", "Check the files"
            )
    queries = draw_queries(sample, options.queries, options.seed)
    return _Measuring(options, sample, queries, listed, ran, tables, attribute_types).run(say)


def _counted(each: Extractor) -> Extractor:
    """The row with the number of its categories in its name, where the name leaves it open."""
    classes = each.training.classes
    if classes is None or "N most common" not in each.row.name:
        return each
    name = each.row.name.replace("N most common", f"{len(classes)} most common")
    return replace(each, row=replace(each.row, name=name))


class _Measuring:
    """The second half of `evaluate`: from features to figures."""

    def __init__(
        self,
        options: Options,
        sample: Sample,
        queries: NDArray[np.int64],
        rows: list[ModelRow],
        ran: list[Extractor],
        tables: list[Outputs],
        types: Mapping[str, str] | None,
    ) -> None:
        self.options, self.sample, self.queries = options, sample, queries
        self.rows, self.ran, self.tables = rows, ran, tables
        self.categories, self.groups = sample.categories, sample.groups
        alone = np.arange(len(sample.records))
        self.owners = {OTHERS: self.groups, ANY: alone} if sample.grouped else {ANY: alone}
        self.lead = next(iter(self.owners))
        title = "share of the first k of the query's category"
        self.measures = [
            attributes.Measure("P", Same(self.categories), "share", KS, False, title),
            *attributes.measures(sample.records, options.columns, types),
        ]
        self.figures: list[Figure] = []
        self.differences: list[Difference] = []

    def run(self, say: Callable[[str], None]) -> Study:
        scopes = self._scopes()
        kept: dict[tuple[str, str], NDArray[np.int64]] = {}
        for scope in scopes:
            mask, queries = None, self.queries
            if scope.names is not None:
                names = self.sample.category_names
                mask = np.isin(self.categories, [names.index(name) for name in scope.names])
                queries = queries[mask[queries]]
            if not len(queries):
                continue
            lists = self._lists(queries, mask, scope, say)
            if scope.names is None:
                kept = {line: found[self.lead] for line, found in lists.items()}
            self._measure(scope, queries, mask, lists)
        can_run = {each.row.name for each in self.ran}
        return Study(
            self.options, self.sample, self.queries, self.lead, scopes, self.rows, self.ran,
            [row for row in self.rows if row.name not in can_run], self.figures,
            self.differences, kept, {measure.name: measure.title for measure in self.measures},
            list(self.sample.notes),
        )  # fmt: skip

    def _scopes(self) -> list[Scope]:
        scopes = [Scope("all categories")]
        known = self.sample.category_names
        for each in self.ran:
            if each.training.classes is None:
                continue
            names = tuple(sorted(set(each.training.classes).intersection(known)))
            known_to = plural(len(names), "category", "categories")
            scope = Scope(f"the {known_to} that {each.row.name} knows", names)
            if names and len(names) < len(known) and all(s.names != names for s in scopes):
                scopes.append(scope)
        return scopes

    def _lists(
        self,
        queries: NDArray[np.int64],
        mask: NDArray[np.bool_] | None,
        scope: Scope,
        say: Callable[[str], None],
    ) -> dict[tuple[str, str], dict[str, NDArray[np.int64]]]:
        """Neighbours by (row, distance) and rule."""
        lists: dict[tuple[str, str], dict[str, NDArray[np.int64]]] = {}
        for each, table in zip(self.ran, self.tables, strict=True):
            say(f"searching by {each.row.name}, {scope.title}")
            for metric in JUDGED:
                rows = table.codes() if metric == "hamming" else table.features
                found = eligible_neighbours(
                    rows, queries, list(self.owners.values()), _LIST, metric=metric, mask=mask,
                    backend=self.options.backend, threads=self.options.threads,
                )  # fmt: skip
                lists[each.row.name, metric] = dict(zip(self.owners, found, strict=True))
        return lists

    def _measure(
        self,
        scope: Scope,
        queries: NDArray[np.int64],
        mask: NDArray[np.bool_] | None,
        lists: dict[tuple[str, str], dict[str, NDArray[np.int64]]],
    ) -> None:
        bootstrap = Bootstrap(
            self.groups[queries], self.categories[queries], seed=self.options.seed,
            draws=self.options.draws,
        )  # fmt: skip
        for measure in self.measures:
            for rule, owners in self.owners.items():
                if measure.own_group and rule != ANY:
                    continue
                truth = judge(
                    measure.relation, measure.kind, queries, owners,
                    [found[rule] for found in lists.values()], measure.ks, mask,
                )  # fmt: skip
                if truth.counted.any():
                    self._summarise(scope, measure, rule, truth, list(lists), bootstrap)

    def _summarise(
        self,
        scope: Scope,
        measure: attributes.Measure,
        rule: str,
        truth: Truth,
        lines: list[tuple[str, str]],
        bootstrap: Bootstrap,
    ) -> None:
        """Figures of one measure under one rule: the control's, then every line's."""
        lines = [(CONTROL, ""), *lines]
        values = np.concatenate([truth.control, *truth.gains], axis=1)
        width = len(measure.ks)
        unmatched = int(np.count_nonzero(truth.counted & ~truth.matched))
        counted = int(np.count_nonzero(truth.counted))
        leads = rule == self.lead or measure.own_group
        for average in AVERAGES:
            means = bootstrap.averages(values, truth.counted, average)
            for at, k in enumerate(measure.ks):
                for number, (row, distance) in enumerate(lines):
                    column = number * width + at
                    low, high = means.interval(column)
                    self.figures.append(
                        Figure(
                            scope.title, row, distance, measure.name, k, rule, average,
                            float(means.point[column]), low, high, counted, unmatched,
                        )
                    )  # fmt: skip
                if not leads:
                    continue
                for number, (row, distance) in enumerate(lines):
                    for before, (other, its) in enumerate(lines[:number]):
                        if its in (distance, ""):
                            value, low, high = means.difference(
                                number * width + at, before * width + at
                            )
                            self.differences.append(
                                Difference(
                                    scope.title, row, other, distance, measure.name, k, rule,
                                    average, value, low, high,
                                )
                            )  # fmt: skip


def chosen_distance(study: Study, row: str, scope: str = "all categories") -> str:
    """The distance by which a row's P@1 (micro, leading rule) is best; the first of equals."""
    best = -math.inf
    name: str = JUDGED[0]
    for figure in study.figures:
        if (
            (figure.row, figure.scope, figure.measure, figure.k) == (row, scope, "P", 1)
            and figure.rule == study.lead
            and figure.average == "micro"
            and figure.value > best
        ):
            best, name = figure.value, figure.distance
    return name


def check_options(options: Options) -> None:
    """ArgumentError for sizes that make no evaluation."""
    for name in ("sample", "queries", "draws"):
        if getattr(options, name) < 1:
            raise ArgumentError(
                f"{name} is {getattr(options, name)}", "Nothing was evaluated", "Give 1 or more"
            )
