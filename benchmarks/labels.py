"""How often what a hit is called is right: same item, similar, not similar.

    python benchmarks/labels.py photos/ --model vgg16-fc1.onnx

Labels are learnt by an `Index`, as users have it (`vsearch calibrate`), that never holds what they
are tried on. Three kinds of photos are tried, each with its `SHOWN` nearest:

- *item there*: the things (items, else groups) are dealt to five parts; labels are learnt without a
  part, and each picture of it is searched for in the whole catalogue but for itself and, where it
  is another item's, its group: another view of its item is there, where the data set has several;
- *item not there*: the same without any picture of its item and group;
- *category not there*: one category after the other is held out; labels are learnt without it, and
  its pictures are searched for among all others. Nothing there is similar.

Where the data set has no items of several pictures, the first line is left out: a picture is never
compared with one of its own group, a sender say.

Of some hits nothing is *said*; of the others, a hit is *right* where its label is what it is.
*First right* is the same of the nearest hits alone.
*Said same, true* is the share of hits called the same item that are; and so on. *Brier* is the mean
square error of a chance and *ECE* its expected calibration error (ten bins of equal width), of the
same item and of the same or a similar one; *blind* is the Brier score of the share itself, which
nobody knows beforehand.

*Beyond* is the old rule, for comparison: the share of hits that are the same item, or similar, and
lie beyond the threshold of `vsearch search --no-match`; *within*, of those that are neither, and
lie within it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import labelled
import numpy as np
from tqdm import tqdm

from vsearch_fast import Index, Likeness, pack_bits, topk
from vsearch_fast.datasets.records import Record
from vsearch_fast.index.learning import ABSENT
from vsearch_fast.index.pairs import SHOWN
from vsearch_fast.index.thresholds import Threshold
from vsearch_fast.words import Metric

PARTS = 5
WORDS = ("same item", "similar", "not similar")
SITUATIONS = ("item there", "item not there", "category not there")
_BINS = 10
_DRAWS = 1000


@dataclass(frozen=True)
class Outcome:
    """Of one metric and situation: shares from 0 to 1, None where there is nothing to count."""

    metric: str
    situation: str
    photos: int
    hits: int
    said: float
    right: float | None
    low: float | None
    high: float | None
    first_right: float | None
    true_of: dict[str, float | None]
    """By label: how many of the hits that are called so are so."""
    called: dict[str, dict[str, float]]
    """By what a hit is: the shares called each ("" for nothing said)."""
    brier: dict[str, float | None]
    ece: dict[str, float | None]
    blind: dict[str, float | None]
    beyond: float | None
    within: float | None


@dataclass(eq=False)
class Data:
    """Pictures by number: features (n, d), and what they show, below 0 where that is not known."""

    features: np.ndarray
    item: np.ndarray
    category: np.ndarray
    group: np.ndarray

    @property
    def thing(self) -> np.ndarray:
        """The item, or else the group, or else the picture."""
        own = 2 * len(self.item) + np.arange(len(self.item))
        return np.where(
            self.item >= 0, self.item,
            np.where(self.group >= 0, len(self.item) + self.group, own),
        )  # fmt: skip


def main() -> None:
    """Measure, print Markdown, and write JSON where asked to."""
    options = labelled.parser(__doc__)
    options.add_argument("--model", required=True, help="a model file, or a name of vsearch models")
    options.add_argument(
        "--min-pictures", type=int, default=20, help="of one held out (default 20)"
    )
    options.add_argument("--absent", type=float, default=ABSENT, help="as for vsearch calibrate")
    args = labelled.parsed(options)
    records = labelled.limited(labelled.labelled(args)[0], args)
    if len({record.category for record in records}) < 2:
        sys.exit(
            "There are no two categories. Nothing was measured: give a data set that has them."
        )
    embedder = labelled.embedder_of(args)
    features = embedder.embed(
        [record.path for record in records], [record.box for record in records], progress=True
    )
    data = Data(features, *(_numbers(records, name) for name in ("item", "category", "group")))
    several = bool(np.bincount(data.item[data.item >= 0], minlength=1).max() > 1)
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for metric in args.metric:
            hits = list(_tried(Path(folder), records, data, metric, several, args))
            for situation in SITUATIONS:
                some = [each for each in hits if each["situation"] == situation]
                if some:
                    outcomes.append(_outcome(metric, situation, some))
    facts = labelled.facts(
        args, embedder, "labels.py", pictures=len(records),
        categories=dict(Counter(str(record.category) for record in records)),
        items=int((np.unique(data.item) >= 0).sum()),
        groups=int((np.unique(data.group) >= 0).sum()), absent=args.absent,
    )  # fmt: skip
    _report(facts, outcomes)
    labelled.write(args.json, facts, outcomes)


def _numbers(records: list[Record], name: str) -> np.ndarray:
    """A number for each value of a role, int64 (n,); -1 where a record has none."""
    values = [getattr(record, name) for record in records]
    known = {value: number for number, value in enumerate(dict.fromkeys(filter(None, values)))}
    return np.array([known.get(value, -1) for value in values], np.int64)


def _tried(
    folder: Path, records: list[Record], data: Data, metric: Metric, several: bool,
    args: argparse.Namespace,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The hits of each photo in each situation, and what they are called."""
    count = len(records)
    ranked = _ranked(data.features, metric)
    thing = np.unique(data.thing, return_inverse=True)[1]
    part = np.random.default_rng(0).permutation(thing.max() + 1)[thing] % PARTS
    sizes = np.bincount(data.category)
    held = np.flatnonzero(sizes >= args.min_pictures)
    steps = tqdm(total=PARTS + len(held), desc=metric, disable=None)
    for number in range(PARTS):
        known, limit = _learnt(folder, records, data, part != number, metric, args)
        for photo in np.flatnonzero(part == number).tolist():
            own_item = (data.item == data.item[photo]) & (data.item[photo] >= 0)
            own_group = (data.group == data.group[photo]) & (data.group[photo] >= 0)
            own = np.arange(count) == photo
            ways = {"item there": ~(own | (own_group & ~own_item))} if several else {}
            ways["item not there"] = ~(own | own_group | own_item)
            for situation, allowed in ways.items():
                yield _hits(ranked, data, photo, allowed, known, limit) | {"situation": situation}
        steps.update()
    for category in held:
        allowed = data.category != category
        known, limit = _learnt(folder, records, data, allowed, metric, args)
        for photo in np.flatnonzero(~allowed).tolist():
            own_group = (data.group == data.group[photo]) & (data.group[photo] >= 0)
            found = _hits(ranked, data, photo, allowed & ~own_group, known, limit)
            yield found | {"situation": "category not there"}
        steps.update()
    steps.close()


def _ranked(features: np.ndarray, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    """All pictures by distance from each: distances and numbers, (n, n)."""
    rows = pack_bits(features) if metric == "hamming" else features
    distances, ids = topk(rows, rows, len(rows), metric=metric)
    return distances, ids


def _learnt(
    folder: Path, records: list[Record], data: Data, chosen: np.ndarray, metric: Metric,
    args: argparse.Namespace,
) -> tuple[Likeness, Threshold]:  # fmt: skip
    """What an index of the chosen pictures learns: labels, and the threshold of the old rule."""
    numbers = np.flatnonzero(chosen)
    path = folder / f"{len(list(folder.iterdir()))}"
    with Index.create(path, data.features.shape[1]) as index:
        roles = ("item", "category", "group")
        index.add(
            [str(number) for number in numbers],
            data.features[numbers],
            [
                {role: getattr(records[number], role) for role in roles
                 if getattr(records[number], role) is not None}
                for number in numbers
            ],
        )  # fmt: skip
        return index.learn(metric, absent=args.absent), index.calibrate(metric)


def _hits(
    ranked: tuple[np.ndarray, np.ndarray], data: Data, photo: int, allowed: np.ndarray,
    known: Likeness, limit: Threshold,
) -> dict[str, Any]:  # fmt: skip
    distances, ids = (each[photo] for each in ranked)
    shown = np.flatnonzero(allowed[ids])[:SHOWN]
    found, near = ids[shown], distances[shown]
    same = (data.item[found] == data.item[photo]) & (data.item[photo] >= 0)
    kind = data.category[found] == data.category[photo]
    labels = [known.label(distance) for distance in near.tolist()]
    return {
        "thing": int(data.thing[photo]),
        "true": np.where(same, 0, np.where(kind, 1, 2)),
        "called": np.array([3 if label is None else WORDS.index(label.words) for label in labels]),
        "chances": np.array(
            [
                [np.nan if chance is None else chance for chance in known.chances(distance)]
                for distance in near.tolist()
            ]
        ).reshape(-1, 2),
        "within": near <= limit.distance,
    }


def _outcome(metric: str, situation: str, hits: list[dict[str, Any]]) -> Outcome:
    true, called, within, chances = (
        np.concatenate([each[name] for each in hits])
        for name in ("true", "called", "within", "chances")
    )
    thing = np.concatenate([np.full(len(each["true"]), each["thing"]) for each in hits])
    right, said = called == true, called < len(WORDS)
    first = [
        each["called"][0] == each["true"][0]
        for each in hits
        if len(each["true"]) and each["called"][0] < len(WORDS)
    ]
    scores: dict[str, dict[str, float | None]] = {"brier": {}, "ece": {}, "blind": {}}
    for column, (name, so) in enumerate((("same", true == 0), ("similar", true <= 1))):
        known = np.isfinite(chances[:, column])
        told, outcome = chances[known, column], so[known].astype(float)
        empty = not len(told)
        scores["brier"][name] = None if empty else float(((told - outcome) ** 2).mean())
        scores["ece"][name] = None if empty else _ece(told, outcome)
        scores["blind"][name] = None if empty else float(outcome.var())
    low, high = _interval(right[said], thing[said]) if said.any() else (None, None)
    return Outcome(
        metric, situation, len(hits), len(true), float(said.mean()), _share(right, said),
        low, high, float(np.mean(first)) if first else None,
        {word: _share(right, called == n) for n, word in enumerate(WORDS)},
        {
            word: {
                other: float((called[true == n] == m).mean())
                for m, other in enumerate((*WORDS, ""))
            }
            for n, word in enumerate(WORDS) if (true == n).any()
        },
        scores["brier"], scores["ece"], scores["blind"],
        _share(~within, true <= 1), _share(within, true == 2),
    )  # fmt: skip


def _share(what: np.ndarray, among: np.ndarray) -> float | None:
    return float(what[among].mean()) if among.any() else None


def _ece(told: np.ndarray, outcome: np.ndarray) -> float:
    bins = np.minimum((told * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, told - outcome, _BINS)
    return float(np.abs(gaps).sum() / len(told))


def _interval(right: np.ndarray, thing: np.ndarray) -> tuple[float, float]:
    """95% of the shares when things are drawn with replacement."""
    thing = np.unique(thing, return_inverse=True)[1]
    hits, counts = np.bincount(thing, right), np.bincount(thing)
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), _DRAWS)
    low, high = np.percentile((draws @ hits) / (draws @ counts), [2.5, 97.5])
    return float(low), float(high)


def _report(facts: dict[str, Any], outcomes: list[Outcome]) -> None:
    print(
        f"{facts['pictures']} pictures, {len(facts['categories'])} categories, "
        f"{facts['items']} items, {facts['groups']} groups; model {facts['model']} "
        f"({facts['weights']}, {facts['dim']} features); {SHOWN} hits a photo; "
        f"{os.cpu_count()} CPUs\n"
    )
    print(
        "| photos | distance | said | right (95% interval) | first right | said same, true "
        "| said similar, true | said not similar, true | Brier same (blind) "
        "| Brier similar (blind) | ECE same | ECE similar | beyond | within |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for o in outcomes:
        cells = [
            o.situation, o.metric, _shown(o.said),
            f"{_shown(o.right)} ({_shown(o.low)} to {_shown(o.high)})", _shown(o.first_right),
            *(_shown(o.true_of[word]) for word in WORDS),
            *(
                f"{_shown(o.brier[name])} ({_shown(o.blind[name])})"
                for name in ("same", "similar")
            ),
            *(_shown(o.ece[name]) for name in ("same", "similar")),
            _shown(o.beyond), _shown(o.within),
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
