"""What an index learns of its distances is what is defined, from the pairs that are defined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from likeness_data import DIM, catalogue, falling_defined, pairs_defined

from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Index, Item, chances
from vsearch_fast.index.pairs import Pairs

METRICS = ("l2", "l1", "hamming")


def filled(path: Path, data: np.ndarray, metadata: list[dict[str, str]], **options: Any) -> Index:
    index = Index.create(path, data.shape[1], segment_rows=50, **options)
    index.add([str(row) for row in range(len(data))], data, metadata)
    return index


def weighted(pairs: list[tuple[float, bool, int, int]], absent: float) -> tuple[np.ndarray, ...]:
    """Distances, outcomes and weights, with the two pairs that keep the curve from certainty."""
    columns = [np.array(column, float) for column in zip(*pairs, strict=True)]
    distances, outcomes, kind = columns[:3]
    weights = np.where(kind == 1, absent, 1 - absent)
    for number in (0, 1):
        weights[kind == number] *= len(kind) / max(1, (kind == number).sum())
    kept = weights > 0
    distances, outcomes, weights = distances[kept], outcomes[kept], weights[kept]
    return (
        np.append(distances, [distances.min(), distances.max()]),
        np.append(outcomes, [0.0, 1.0]),
        np.append(weights, [1.0, 1.0]),
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    metric=st.sampled_from(METRICS),
    seed=st.integers(0, 99),
    absent=st.sampled_from([0.0, 0.25, 0.5]),
    kinds=st.integers(2, 6),
    grouped=st.booleans(),
)
def test_curves_are_those_of_the_pairs_by_definition(
    tmp_path_factory: pytest.TempPathFactory,
    metric: Any, seed: int, absent: float, kinds: int, grouped: bool,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    data, metadata = catalogue(40, 3, kinds, seed)
    for line in metadata:  # not all is known of all
        if rng.random() < 0.1:
            del line["item"]
        if rng.random() < 0.1:
            del line["category"]
        if grouped and rng.random() < 0.8:
            line["group"] = f"sender {rng.integers(30)}"
    live = rng.random(len(data)) < 0.9
    with filled(tmp_path_factory.mktemp("i") / "i", data, metadata) as index:
        index.remove([str(row) for row in np.flatnonzero(~live)])
        found = index.learn(metric, absent=absent, sample=None)
    items, kind, group = ([line.get(n) for line in metadata] for n in ("item", "category", "group"))
    several = [
        row
        for row, item in enumerate(items)
        if live[row] and item is not None
        and sum(live[other] and items[other] == item for other in range(len(data))) > 1
    ]  # fmt: skip
    owners: list[object] = [
        ("group", g) if g is not None else ("item", i) if i is not None else ("row", row)
        for row, (g, i) in enumerate(zip(group, items, strict=True))
    ]
    wanted = {
        "same": pairs_defined(data, metric, items, several, live),
        "similar": pairs_defined(
            data, metric, kind,
            [row for row in np.flatnonzero(live).tolist() if kind[row] is not None], live,
            there=owners, views=list(items),
        ),
    }  # fmt: skip
    for name, pairs in wanted.items():
        chance = getattr(found, name)
        if chance is None:
            assert getattr(found, f"why_{name}")
            continue
        distances, outcomes, weights = weighted(pairs, absent)
        assert (chance.pairs, chance.true) == (len(distances) - 2, outcomes.sum() - 1)
        places, chances_there = falling_defined(distances, outcomes, weights)
        np.testing.assert_allclose(chance.curve.at(places), chances_there, atol=1e-9)
        assert min(chance.curve.chances) > 0 and max(chance.curve.chances) < 1


@pytest.mark.parametrize("metric", ["l2", "l1"])  # of 12 bits' distances little can be learnt
def test_labels_are_right_for_what_the_catalogue_has_and_lacks(tmp_path: Path, metric: Any) -> None:
    """Views of indexed items, other items of indexed kinds, and things of no kind there."""
    data, metadata = catalogue(80, 4, 8, spread=0.1)
    shown = np.arange(len(data)) % 4 > 0
    photos, lines = data[~shown], [m for m, s in zip(metadata, shown, strict=True) if not s]
    rest = [m for m, s in zip(metadata, shown, strict=True) if s]
    with filled(tmp_path / "i", data[shown], rest) as index:
        found = index.learn(metric)
        assert found.same is not None and found.similar is not None
        assert found == index.likeness(metric)
        right = []
        for hits, photo in zip(index.search(photos, 6, metric), lines, strict=True):
            for hit in hits:
                truth = "not similar"
                if hit.metadata["category"] == photo["category"]:
                    truth = "similar"
                if hit.metadata["item"] == photo["item"]:
                    truth = "same item"
                label = found.label(hit.distance)
                if label is None:
                    continue
                assert 0.5 <= label.probability < 1
                right.append(label.words == truth)
        assert len(right) > 0.8 * 6 * len(photos)
        assert np.mean(right) > 0.9
        strangers = 3 * np.random.default_rng(9).standard_normal((20, DIM))
        called = [
            str(found.label(hit.distance)).partition(" (")[0]
            for hits in index.search(strangers, 3, metric) for hit in hits
        ]  # fmt: skip
        assert called.count("same item") + called.count("similar") < 0.1 * len(called)


def test_the_order_of_rows_makes_no_difference(tmp_path: Path) -> None:
    data, metadata = catalogue(40, 3, 4, 5)
    order = np.random.default_rng(1).permutation(len(data))
    with filled(tmp_path / "a", data, metadata) as one:
        first = one.learn(sample=None)
    with filled(tmp_path / "b", data[order], [metadata[row] for row in order]) as other:
        second = other.learn(sample=None)
    for name in ("same", "similar"):
        a, b = getattr(first, name), getattr(second, name)
        assert (a.curve, a.pairs, a.true, a.things) == (b.curve, b.pairs, b.true, b.things)


def test_what_cannot_be_known_is_not_said(tmp_path: Path) -> None:
    data, metadata = catalogue(40, 3, 4)
    with filled(tmp_path / "bare", data, [{} for _ in data]) as index:
        found = index.learn()
        assert (found.same, found.similar, found.label(0.0)) == (None, None, None)
        assert found.why_same == "there is no column 'item'"
        assert found.missing == ("item", "category", "group")
        assert "l2 similar: not told: there is no column 'category'" in found.lines()
    with filled(tmp_path / "few", data[:30], metadata[:30]) as index:
        assert index.learn().why_same.startswith("too few to know (items of several views: 10;")
    single = [{"item": str(row), "category": line["category"]} for row, line in enumerate(metadata)]
    with filled(tmp_path / "single", data, single) as index:
        found = index.learn()
        assert found.same is None and found.similar is not None
        assert "items of several views: 0" in found.why_same
        assert {str(found.label(d)).partition(" (")[0] for d in (0.0, 99.0)} == {
            "similar", "not similar",
        }  # fmt: skip
    views = [{"item": line["item"]} for line in metadata]
    with filled(tmp_path / "views", data, views) as index:
        found = index.learn()
        assert str(found.label(0.0)).startswith("same item")
        assert found.label(99.0) is None  # similar or not: nobody knows
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((300, DIM)).astype(np.float32)
    kinds = [{"category": str(rng.integers(2))} for _ in noise]
    with filled(tmp_path / "noise", noise, kinds) as index:
        found = index.learn()
        assert found.similar is None and "no better than a guess" in found.why_similar


def test_groups_do_not_teach_each_other(tmp_path: Path) -> None:
    """Pictures of a sender lie together, whatever they show: that is no likeness."""
    rng = np.random.default_rng(3)
    senders = rng.integers(0, 40, 240)
    data = 5 * rng.standard_normal((40, DIM))[senders] + 0.1 * rng.standard_normal((240, DIM))
    metadata = [
        {"sender": str(sender), "category": f"kind {sender % 5}"} for sender in senders.tolist()
    ]
    with filled(tmp_path / "i", data, metadata) as index:
        fooled = index.learn()
        assert fooled.similar is not None and fooled.similar.curve.at(0.5) > 0.9
        honest = index.learn(group="sender")
        assert honest.similar is None or honest.similar.curve.at(0.5) < 0.6
        assert index.likeness() == honest


def test_items_may_have_another_column(tmp_path: Path) -> None:
    data, metadata = catalogue(40, 3, 4)
    lines = [{"product": m["item"], "kind": m["category"]} for m in metadata]
    with filled(tmp_path / "i", data, lines) as index:
        assert index.learn().same is None
        found = index.learn(item="product", category="kind", sample=60)
        assert found.same is not None and found.similar is not None
        assert index.likeness() == found
        for bad in ({"item": "brand"}, {"group": "brand"}, {"category": "brand"}):
            with pytest.raises(ArgumentError, match="no metadata column 'brand'"):
                index.learn(**bad)  # type: ignore[arg-type]
        for share in (1.0, -0.1, True, "half"):
            with pytest.raises(ArgumentError, match="not a number from 0 to below 1"):
                index.learn(absent=share)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="metric is 'cosine'"):
            index.learn("cosine")
        index.update([Item("0", metadata={"item": "a"})])
        assert index.learn().missing == ("category", "group")


@given(
    st.lists(st.tuples(st.floats(0, 9), st.booleans(), st.integers(0, 30)), max_size=120),
)
@settings(deadline=None)
def test_a_chance_is_sound_or_absent(lines: list[tuple[float, bool, int]]) -> None:
    columns = [np.array([line[n] for line in lines], float) for n in range(3)]
    pairs = Pairs(
        columns[0], columns[1], np.ones(len(lines)), columns[2].astype(np.int64),
        np.ones(len(lines), bool), np.full(len(lines), 0.1),
    )  # fmt: skip
    chance, why = chances.chance_of(pairs, "things")
    assert (chance is None) == bool(why)
    if chance is not None:
        assert chance.things >= chances.FEW
        assert chance.brier < chance.blind
        assert 0 <= chance.right <= 1
