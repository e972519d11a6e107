"""Whole picture or the item's box: which should be compared with which?

    python benchmarks/views.py photos/ --csv photos/images.csv \\
        --column path=image --column category=label --column group=sender_id

Every picture is embedded twice, as a whole and cut to its box: the data's own, else the one that is
located (`vsearch locate`), by the model or by that of ``--locate-by``. Then each is a query among
all of them, in these ways:

- query whole or box, catalogue whole or box: four combinations;
- *both*: the catalogue holds both of each picture (`vsearch index --views whole,box`), the query is
  both, and the smallest of the four distances is the item's.

Figures, by distance:

- *P@1*: the share of queries whose nearest picture is of their category, no picture of their own
  group (sender) being looked at; with a 95% interval by bootstrap over groups. Beside it the
  difference to whole with whole on the same draws: beyond chance where its interval lacks 0;
- *P@1 all*: the same, when any picture but the query itself may be found;
- *itself*: the share of pictures of the catalogue that are found first when they are uploaded
  again, and *in 12* the share that is among the twelve nearest.

Nothing here is a matter of speed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import labelled
import numpy as np
from tqdm import tqdm

from vsearch_fast import Embedder, pack_bits, topk
from vsearch_fast.datasets.records import Record
from vsearch_fast.datasets.splits import split
from vsearch_fast.embedder import embed_views
from vsearch_fast.words import Metric

WAYS: dict[str, tuple[Sequence[int], Sequence[int]]] = {
    "whole, whole": ((0,), (0,)),
    "box, whole": ((1,), (0,)),
    "whole, box": ((0,), (1,)),
    "box, box": ((1,), (1,)),
    "both, both": ((0, 1), (0, 1)),
}
_BASE = "whole, whole"
_SHOWN = 12
_BLOCK = 256  # queries whose distances to all rows are held at once
_DRAWS = 2000


@dataclass(frozen=True)
class Outcome:
    """Of one metric and way: shares from 0 to 1."""

    metric: str
    query: str
    catalogue: str
    p1: float
    low: float
    high: float
    gain: float
    """P@1 less that of whole with whole."""
    gain_low: float
    gain_high: float
    p1_all: float
    itself: float
    in_twelve: float


def main() -> None:
    """Measure, print Markdown, and write JSON where asked to."""
    options = labelled.parser(__doc__)
    options.add_argument("--model", default=None, help="default: the package's own")
    options.add_argument(
        "--locate-by", default=None, metavar="MODEL", help="boxes by this model's activations"
    )
    options.add_argument(
        "--unseen", action="store_true",
        help="only groups that vsearch train (seed 0) keeps for the test",
    )  # fmt: skip
    args = labelled.parsed(options)
    records, origin = labelled.labelled(args)
    if args.unseen:
        records = _unseen(records)
    records = labelled.limited(records, args)
    if len({record.category for record in records}) < 2:
        sys.exit(
            f"{origin} has {len(records)} pictures of less than two categories. Nothing was "
            "measured: name the column of categories (--column category=NAME)."
        )
    embedder = labelled.embedder_of(args)
    boxes = [record.box for record in records]
    if args.locate_by is not None:
        other = Embedder(args.locate_by, "cpu", threads=args.threads)
        boxes = [
            record.box or other.locate(record.path)
            for record in tqdm(records, desc="boxes", disable=None)
        ]
    features, _ = embed_views(embedder, [r.path for r in records], boxes, progress=True)
    category = np.unique([str(r.category) for r in records], return_inverse=True)[1]
    # Who has no group is one.
    known = [f"g {r.group}" if r.group else f"row {row}" for row, r in enumerate(records)]
    group = np.unique(known, return_inverse=True)[1]
    outcomes = []
    for metric in tqdm(args.metric, desc="metrics", disable=None):
        outcomes += measured(features, category, group, metric)
    facts = labelled.facts(
        args, embedder, "views.py", pictures=len(records), categories=len(set(category.tolist())),
        groups=len({record.group for record in records if record.group}),
        **{
            "own boxes": sum(record.box is not None for record in records),
            "boxes": "of the model" if args.locate_by is None else Path(args.locate_by).name,
        },
    )  # fmt: skip
    _report(facts, outcomes)
    labelled.write(args.json, facts, outcomes)


def measured(
    features: np.ndarray, category: np.ndarray, group: np.ndarray, metric: Metric
) -> list[Outcome]:
    """The outcomes of a metric, one a way.

    Args:
        features: (n, 2, dim), whole and box.
        category, group: int64 (n,).
    """
    rows = np.arange(len(features))
    right = {way: np.zeros(len(rows)) for way in WAYS}
    asked = np.zeros(len(rows), bool)
    others = {way: np.zeros(len(rows)) for way in WAYS}
    place = {way: np.zeros(len(rows), np.int64) for way in WAYS}
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        tables = {
            (q, c): _table(features[part, q], features[:, c], metric)
            for q in (0, 1)
            for c in (0, 1)
        }
        for way, (queries, catalogue) in WAYS.items():
            table = np.min([tables[q, c] for q in queries for c in catalogue], axis=0)
            own = table[np.arange(len(part)), part][:, None]
            before = (table < own) | ((table == own) & (rows < part[:, None]))
            place[way][part] = before.sum(axis=1)
            table[np.arange(len(part)), part] = np.inf
            others[way][part] = category[table.argmin(axis=1)] == category[part]
            table[group[part, None] == group] = np.inf
            asked[part] = np.isfinite(table.min(axis=1))
            right[way][part] = category[table.argmin(axis=1)] == category[part]
    outcomes = []
    for way in WAYS:
        hits, base = right[way][asked], right[_BASE][asked]
        low, high = _interval(hits, group[asked])
        gain_low, gain_high = _interval(hits - base, group[asked])
        asking, held = way.split(", ")
        outcomes.append(
            Outcome(
                metric, asking, held, float(hits.mean()), low, high,
                float((hits - base).mean()), gain_low, gain_high, float(others[way].mean()),
                float((place[way] == 0).mean()), float((place[way] < _SHOWN).mean()),
            )
        )  # fmt: skip
    return outcomes


def _table(queries: np.ndarray, rows: np.ndarray, metric: Metric) -> np.ndarray:
    """All distances, float64 (queries, rows)."""
    if metric == "hamming":
        queries, rows = pack_bits(queries), pack_bits(rows)
    distances, ids = topk(queries, rows, len(rows), metric=metric)
    table = np.empty(distances.shape)
    np.put_along_axis(table, ids, distances, axis=1)
    return table


def _unseen(records: list[Record]) -> list[Record]:
    """Pictures of groups that the package's networks were not trained on."""
    sides, _ = split(records)
    return [record for record, side in zip(records, sides, strict=True) if side == "test"]


def _interval(values: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """95% of the means when groups are drawn with replacement."""
    _, group = np.unique(group, return_inverse=True)
    pictures, sums = np.bincount(group), np.bincount(group, values)
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(pictures), np.full(len(pictures), 1 / len(pictures)), _DRAWS)
    low, high = np.percentile((draws @ sums) / (draws @ pictures), [2.5, 97.5])
    return float(low), float(high)


def _report(facts: dict[str, object], outcomes: list[Outcome]) -> None:
    print(
        f"{facts['pictures']} pictures by {facts['groups']} groups, {facts['categories']} "
        f"categories; {facts['model']} ({facts['dim']} features); own group forbidden in P@1\n"
    )
    print("| metric | query | catalogue | P@1 (95%) | to whole, whole | P@1 all | itself | in 12 |")
    print("|---|---|---|---|---|---|---|---|")
    for o in outcomes:
        gain = f"{o.gain:+.3f} ({o.gain_low:+.3f} to {o.gain_high:+.3f})"
        print(
            f"| {o.metric} | {o.query} | {o.catalogue} | {o.p1:.3f} ({o.low:.3f} to {o.high:.3f})"
            f" | {gain} | {o.p1_all:.3f} | {o.itself:.3f} | {o.in_twelve:.3f} |"
        )


if __name__ == "__main__":
    main()
