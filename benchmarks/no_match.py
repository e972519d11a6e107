"""How often a photo of something that the catalogue does not have is told that it has no match.

    python benchmarks/no_match.py photos/ --model vgg16-fc1.onnx

One category after the other is held out: all pictures of the others go into an index, which
takes its thresholds (`Index.calibrate`). Then

- *false accepts* are the pictures of the category held out whose nearest picture in the index
  is within the threshold: nothing there is of their kind;
- *true accepts* are the pictures in the index whose nearest other one is within it. By the
  threshold's definition they are the quantile; *unseen* is the same with thresholds taken
  without the picture's own group (five parts of the groups in turn);
- *AUC* is the chance that a picture held in has its nearest nearer than one held out has:
  0.5 where distances tell nothing, 1 where a threshold without any error exists.

Two rules stand beside each other where pictures have groups (senders, products). *Other groups*: a
picture is never compared with one of its own group, neither when thresholds are taken nor when
it is a query; a match is another thing of its kind. *All others*: it is compared with all
pictures but itself; a match is another view of the same product, or, where a group is a sender,
also a picture of the same floor.
The share held out is over pictures, with a 95% interval by bootstrap over groups; *by category*
is the mean over categories. Nothing here says whether an accepted match is a right one.

Categories of one data set may look alike: a polo shirt held out is told for a T-shirt. With
``--foreign DATA`` the pictures of another data set, of another kind altogether, are searched for
in an index of all pictures of the first, and the share accepted is printed too.

Every threshold at the default quantile is taken by an `Index`, as users have it, and compared
with the one that follows from all distances; a difference is an error.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import labelled
import numpy as np
from tqdm import tqdm

from vsearch_fast import Index, pack_bits, topk
from vsearch_fast.datasets import detect
from vsearch_fast.datasets.records import Record
from vsearch_fast.index.thresholds import QUANTILE, SAMPLE, place, sampled
from vsearch_fast.words import Metric

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
_BLOCK = 256  # queries whose distances to all rows are held at once
_PARTS = 5
_DRAWS = 1000


@dataclass(frozen=True)
class Outcome:
    """Of one metric, rule and quantile: shares from 0 to 1."""

    metric: str
    groups: bool
    quantile: float
    false_accepts: float
    low: float
    high: float
    by_category: float
    true_accepts: float
    unseen: float
    auc: float
    categories: dict[str, tuple[int, float, float]]
    """By category: its pictures, the threshold, the share accepted."""


def main() -> None:
    """Measure, print Markdown, and write JSON where asked to."""
    options = labelled.parser(__doc__)
    options.add_argument("--model", type=Path, required=True, help="a model file of vsearch export")
    options.add_argument("--category", action="append", help="hold out this one only; repeat")
    options.add_argument(
        "--min-pictures", type=int, default=20, help="of one held out (default 20)"
    )
    options.add_argument("--foreign", type=Path, default=None, help="pictures of another kind")
    args = labelled.parsed(options)
    records, origin = labelled.labelled(args)
    records = labelled.limited(records, args)
    counts = Counter(str(record.category) for record in records)
    held = [name for name, count in counts.items() if count >= args.min_pictures]
    held = sorted(args.category or held)
    if len(counts) < 2 or not held or not set(held) <= set(counts):
        sys.exit(
            f"{origin} has the categories {dict(counts)}. Nothing was measured: name some of "
            "them (--category), or lower --min-pictures. Two are needed at least."
        )
    embedder = labelled.embedder_of(args)
    features = embedder.embed(
        [record.path for record in records], [record.box for record in records], progress=True
    )
    grouped = any(record.group for record in records)
    rules = [True, False] if grouped else [False]
    steps = tqdm(total=len(args.metric) * len(rules), desc="metrics", disable=None)
    outcomes = []
    foreign: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        indexes = _indexes(Path(folder), records, features, held)
        for metric in args.metric:
            for groups in rules:
                outcomes += _measured(records, features, indexes, metric, groups)
                steps.update()
        if args.foreign is not None:
            strangers = embedder.embed([record.path for record in detect.read(args.foreign)[0]])
            foreign = _foreign(Path(folder), records, features, strangers, args.metric, grouped)
    steps.close()
    facts = labelled.facts(
        args, embedder, "no_match.py", pictures=len(records), categories=dict(counts),
        groups=len({record.group for record in records if record.group}), **{"held out": held},
    )  # fmt: skip
    _report(facts, outcomes)
    for metric, share in foreign.items():
        print(f"{metric}: of {args.foreign} {share:.3f} accepted, quantile {QUANTILE:g}")
    facts["foreign"] = {"data": str(args.foreign or ""), "accepted": foreign}
    labelled.write(args.json, facts, outcomes)


def _indexes(
    folder: Path, records: list[Record], features: np.ndarray, held: list[str]
) -> dict[str, Path]:
    """For each category held out an index of all others, its groups in the column "group"."""
    paths = {}
    for number, name in enumerate(tqdm(held, desc="indexes", disable=None)):
        rows = [row for row, record in enumerate(records) if record.category != name]
        paths[name] = folder / str(number)
        _index(paths[name], records, features, rows).close()
    return paths


def _index(path: Path, records: list[Record], features: np.ndarray, rows: list[int]) -> Index:
    index = Index.create(path, features.shape[1])
    index.add(
        [str(row) for row in rows],
        features[rows],
        [{"group": records[row].group or f"row {row}"} for row in rows],
    )
    return index


def _foreign(
    folder: Path,
    records: list[Record],
    features: np.ndarray,
    strangers: np.ndarray,
    metrics: list[Metric],
    grouped: bool,
) -> dict[str, float]:
    """The share of `strangers`, features (n, d), that have a match in an index of all records."""
    accepted: dict[str, float] = {}
    with _index(folder / "all", records, features, list(range(len(records)))) as index:
        for metric in metrics:
            index.calibrate(metric, group="group" if grouped else None)
            hits = index.search(strangers, 1, metric, max_distance="auto")
            accepted[metric] = float(np.mean([bool(line) for line in hits]))
    return accepted


def _measured(
    records: list[Record],
    features: np.ndarray,
    indexes: dict[str, Path],
    metric: Metric,
    groups: bool,
) -> list[Outcome]:
    """The outcomes of a metric and a rule, one a quantile."""
    of = np.unique([str(record.category) for record in records], return_inverse=True)
    names, category = [str(name) for name in of[0]], of[1]
    alone = [f"row {row}" for row in range(len(records))]  # who has no group is one
    known = [record.group or name for record, name in zip(records, alone, strict=True)]
    sender = np.unique(known, return_inverse=True)[1]
    owner = sender if groups else np.arange(len(records))
    nearest = _nearest_by_category(features, metric, category, owner)
    part = np.random.default_rng(0).permutation(sender.max() + 1)[sender] % _PARTS

    held_in, held_out, rows_in, rows_out = {}, {}, {}, {}
    for name in indexes:
        own = names.index(name)
        closest = np.delete(nearest, own, axis=1).min(axis=1)  # in the index without it
        rows_in[name] = np.flatnonzero((category != own) & np.isfinite(closest))
        rows_out[name] = np.flatnonzero((category == own) & np.isfinite(closest))
        held_in[name], held_out[name] = closest[rows_in[name]], closest[rows_out[name]]
        _check(indexes[name], metric, groups, closest[category != own])

    aucs = [_auc(held_in[name], held_out[name]) for name in indexes]
    outcomes = []
    for quantile in QUANTILES:
        accepted = np.zeros(len(records))
        tested = np.zeros(len(records), bool)
        categories, inside, unseen = {}, [], []
        for name in indexes:
            limit = _quantile(held_in[name], quantile)
            hit = held_out[name] <= limit
            accepted[rows_out[name]], tested[rows_out[name]] = hit, True
            categories[name] = (len(hit), float(limit), float(hit.mean()))
            inside.append(np.mean(held_in[name] <= limit))
            parts = part[rows_in[name]]
            unseen.append(
                np.mean(
                    np.concatenate(
                        [
                            held_in[name][parts == p]
                            <= _quantile(held_in[name][parts != p], quantile)
                            for p in range(_PARTS)
                            if (parts != p).any()
                        ]
                    )
                )
            )
        weights = [len(held_out[name]) for name in indexes]
        low, high = _interval(accepted[tested], sender[tested])
        outcomes.append(
            Outcome(
                metric, groups, quantile, float(accepted[tested].mean()), low, high,
                float(np.mean([share for _, _, share in categories.values()])),
                float(np.mean(inside)), float(np.mean(unseen)),
                float(np.average(aucs, weights=weights)), categories,
            )
        )  # fmt: skip
    return outcomes


def _nearest_by_category(
    features: np.ndarray, metric: str, category: np.ndarray, owner: np.ndarray
) -> np.ndarray:
    """The distance of each row's nearest row of each category, float64 (rows, categories), its
    own owner's rows left out; infinite where there is none."""
    rows = pack_bits(features) if metric == "hamming" else features
    result = np.full((len(rows), category.max() + 1), np.inf)
    for start in range(0, len(rows), _BLOCK):
        queries = rows[start : start + _BLOCK]
        distances, ids = topk(queries, rows, len(rows), metric=metric)  # type: ignore[call-overload]
        table = np.empty(distances.shape)
        np.put_along_axis(table, ids, distances, axis=1)
        table[owner[start : start + _BLOCK, None] == owner] = np.inf
        for number in range(result.shape[1]):
            result[start : start + _BLOCK, number] = table[:, category == number].min(axis=1)
    return result


def _quantile(distances: np.ndarray, quantile: float) -> float:
    return np.sort(distances)[place(quantile, len(distances)) - 1]


def _check(path: Path, metric: Metric, groups: bool, closest: np.ndarray) -> None:
    """RuntimeError unless the index's own threshold, from its sample, is the distances'."""
    with Index.open(path) as index:
        found = index.calibrate(metric, group="group" if groups else None)
    measured = closest[sampled(len(closest), None, SAMPLE)]
    wanted = _quantile(measured[np.isfinite(measured)], QUANTILE)
    if found.distance != wanted:
        raise RuntimeError(f"the index says {found}, all distances say {wanted}")


def _auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """The chance that one of `inside` is below one of `outside`, equal ones counted half."""
    ordered = np.sort(inside)
    below = np.searchsorted(ordered, outside, "left")
    up_to = np.searchsorted(ordered, outside, "right")
    return float((below + up_to).mean() / (2 * len(inside)))


def _interval(accepted: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """95% of the shares accepted when groups are drawn with replacement."""
    _, group = np.unique(group, return_inverse=True)
    pictures = np.bincount(group)
    hits = np.bincount(group, accepted)
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(pictures), np.full(len(pictures), 1 / len(pictures)), _DRAWS)
    low, high = np.percentile((draws @ hits) / (draws @ pictures), [2.5, 97.5])
    return float(low), float(high)


def _report(facts: dict[str, object], outcomes: list[Outcome]) -> None:
    print(
        f"{facts['pictures']} pictures, {len(facts['categories'])} categories, "  # type: ignore[arg-type]
        f"{facts['groups']} groups; model {facts['model']} ({facts['weights']}, {facts['dim']} "
        f"features); {os.cpu_count()} CPUs\n"
    )
    print(
        "| compared with | distance | quantile | false accepts (95% interval) | by category "
        "| true accepts | unseen | AUC |\n|---|---|---|---|---|---|---|---|"
    )
    for o in outcomes:
        rule = "other groups" if o.groups else "all others"
        print(
            f"| {rule} | {o.metric} | {o.quantile:g} | {o.false_accepts:.3f} "
            f"({o.low:.3f} to {o.high:.3f}) | {o.by_category:.3f} | {o.true_accepts:.3f} "
            f"| {o.unseen:.3f} | {o.auc:.3f} |"
        )
    shown = [o for o in outcomes if o.quantile == QUANTILE and o.groups == outcomes[0].groups]
    print(f"\nFalse accepts by category held out, quantile {QUANTILE:g}:\n")
    print("| category | pictures | " + " | ".join(o.metric for o in shown) + " |")
    print("|---|---|" + "---|" * len(shown))
    for name, (pictures, _, _) in shown[0].categories.items():
        shares = " | ".join(f"{o.categories[name][2]:.3f}" for o in shown)
        print(f"| {name} | {pictures} | {shares} |")


if __name__ == "__main__":
    main()
