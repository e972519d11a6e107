"""The parts of a training run: sides, order, losses, folding, each against its definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.datasets import splits
from vsearch_fast.datasets.records import Record
from vsearch_fast.errors import ArgumentError, DatasetError
from vsearch_fast.export.training.catalogue import gather
from vsearch_fast.export.training.recipe import Recipe

LABELS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12)), min_size=1, max_size=60)


def records_of(labels: list[tuple[str, int]], **more: Any) -> list[Record]:
    return [
        Record(f"r{i}", Path(f"r{i}.jpg"), category=label, group=f"g{group}", **more)
        for i, (label, group) in enumerate(labels)
    ]


@given(LABELS, st.integers(0, 5))
def test_no_group_is_on_two_sides(labels: list[tuple[str, int]], seed: int) -> None:
    records = records_of(labels)
    sides, _ = splits.split(records, seed=seed)
    by_group: dict[str | None, set[str]] = {}
    for record, side in zip(records, sides, strict=True):
        by_group.setdefault(record.group, set()).add(side)
    assert all(len(found) == 1 for found in by_group.values())
    # What is added later moves nothing.
    more, _ = splits.split([*records, Record("new", Path("new.jpg"), group="another")], seed=seed)
    assert more[: len(sides)] == sides


def test_shares_are_of_the_groups() -> None:
    records = records_of([("a", group) for group in range(4000)])
    sides, how = splits.split(records, shares={"train": 0.5, "val": 0.2, "test": 0.3}, seed=3)
    share = {side: sides.count(side) / 4000 for side in splits.SIDES}
    assert share == pytest.approx({"train": 0.5, "val": 0.2, "test": 0.3}, abs=0.03)
    assert how == "drawn by group (seed 3)"
    assert splits.split(records, seed=1)[0] != splits.split(records, seed=2)[0]


def test_given_partitions_are_used_unless_they_tear_groups_apart() -> None:
    apart = [
        Record("1", Path("1.jpg"), group="g", partition="train"),
        Record("2", Path("2.jpg"), group="h", partition="test"),
    ]
    assert splits.split(apart) == (["train", "test"], "the data set's own partitions")
    torn = [*apart, Record("3", Path("3.jpg"), group="g", partition="test")]
    sides, how = splits.split(torn)
    assert sides[0] == sides[2] and "'g'" in how
    with pytest.raises(DatasetError, match=r"4\.jpg"):
        splits.split([*apart, Record("4", Path("4.jpg"), group="k")])
    for shares in ({"train": 0.5}, {"train": 1.5, "test": -0.5}, {"learn": 1.0}):
        with pytest.raises(ArgumentError, match="no shares"):
            splits.split(apart, shares=shares)


@given(LABELS)
@settings(max_examples=40)
def test_top_classes_come_from_train_labels_alone(labels: list[tuple[str, int]]) -> None:
    records = records_of(labels)
    sides, _ = splits.split(records)
    counts: dict[str, int] = {}
    for record, side in zip(records, sides, strict=True):
        if side == "train":
            counts[str(record.category)] = counts.get(str(record.category), 0) + 1
    if len(counts) < 2:
        with pytest.raises(DatasetError):
            gather([records], Recipe(classes="top:2"))
        return
    catalogue = gather([records], Recipe(classes="top:2"))
    expected = sorted(sorted(counts), key=lambda name: -counts[name])[:2]
    assert catalogue.classes == sorted(expected)
    assert {record.category for record in catalogue.records} <= set(expected)


def test_what_is_on_no_train_picture_is_no_class() -> None:
    records = [
        *(Record(f"t{i}", Path(f"t{i}.jpg"), category="ab"[i % 2], group=f"t{i}", partition="train")
          for i in range(6)),
        Record("v", Path("v.jpg"), category="c", group="v", partition="val"),
        Record("w", Path("w.jpg"), category="a", group="w", partition="val"),
    ]  # fmt: skip
    catalogue = gather([records], Recipe())
    assert catalogue.classes == ["a", "b"]
    assert [catalogue.records[i].id for i in catalogue.of_side("val")] == ["w"]
    assert any("not learnt" in note for note in catalogue.notes)


def test_a_category_to_leave_out_must_be_there() -> None:
    with pytest.raises(ArgumentError, match=r"'Othr'.*The categories are a, b"):
        gather([records_of([("a", 1), ("b", 2)])], Recipe(leave_out=("Othr",)))


def test_further_data_is_trained_on_and_never_measured_on() -> None:
    main = records_of([("a", i) for i in range(20)] + [("b", i) for i in range(20)])
    more = records_of([("a", i) for i in range(10)] + [("c", i) for i in range(10)])
    catalogue = gather([main, more], Recipe())
    assert set(catalogue.sides[catalogue.source == 1]) == {"train"}
    assert catalogue.classes == ["a", "b", "c"]
    # Groups of one name in two data sets are two groups.
    assert not set(catalogue.groups[catalogue.source == 0]) & set(
        catalogue.groups[catalogue.source == 1]
    )


def test_folds_part_train_and_val_and_leave_test_alone() -> None:
    records = records_of([("ab"[i % 2], i) for i in range(200)])
    whole = gather([records], Recipe())
    seen: list[int] = []
    for number in (1, 2, 3):
        catalogue = gather([records], Recipe(fold=(number, 3)))
        assert (catalogue.sides == "test").tolist() == (whole.sides == "test").tolist()
        seen += catalogue.of_side("val").tolist()
    assert sorted(seen) == np.flatnonzero(whole.sides != "test").tolist()


@pytest.mark.parametrize(
    "choice",
    [
        {"optimizer": "lion"}, {"optimizer": "adamw:fast"}, {"optimizer": "sgd:0"}, {"loss": "mse"},
        {"augment": "much"}, {"epochs": 0}, {"dense": ()}, {"dense": ("fc1", "fc1")},
        {"fold": (4, 3)}, {"classes": "top:1"}, {"classes": "most"},
    ],
)  # fmt: skip
def test_a_recipe_refuses_what_it_does_not_know(choice: dict) -> None:
    with pytest.raises(ArgumentError, match="Nothing was trained"):
        Recipe(**choice)


def test_adadelta_has_the_rate_of_its_paper() -> None:
    assert Recipe().rate() == ("adadelta", 1.0)
    assert Recipe(optimizer="adadelta:0.5").rate() == ("adadelta", 0.5)


# With Keras


@pytest.fixture(scope="module", autouse=True)
def keras_is_ready() -> None:
    from vsearch_fast.export import backend

    backend.prepare()


def contrastive(features: np.ndarray, told: np.ndarray, temperature: float) -> float:
    """The definition, a picture at a time."""
    unit = features / np.sqrt((features**2).sum(axis=1, keepdims=True) + 1e-12)
    losses = []
    for i in range(len(unit)):
        positives, others = [], []
        for j in range(len(unit)):
            if i == j:
                continue
            same_class, same_group = told[i][0] == told[j][0], told[i][1] == told[j][1]
            if told[i][2] >= 0:
                matches, counted = told[i][2] == told[j][2], True
            else:
                matches = same_class and not same_group
                counted = not (same_class and same_group)
            if counted:
                others.append(unit[i] @ unit[j] / temperature)
            if matches:
                positives.append(unit[i] @ unit[j] / temperature)
        if positives:
            total = np.log(np.exp(others).sum())
            losses.append(np.mean([total - each for each in positives]))
    return float(np.mean(losses)) if losses else 0.0


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_contrastive_loss_is_its_definition(n: int, seed: int) -> None:
    from vsearch_fast.export.training.losses import Contrastive, keys

    rng = np.random.default_rng(seed)
    features = np.maximum(rng.standard_normal((n, 5)), 0).astype(np.float32)
    items = np.where(rng.random(n) < 0.5, rng.integers(0, 3, n), -1)
    told = keys(rng.integers(0, 3, n), rng.integers(0, 3, n), items)
    each = np.asarray(Contrastive(0.5).call(told, features))
    expected = contrastive(features, told, 0.5)
    assert each.mean() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    # A number, not a row of them: some backends would sum it, others refuse it.
    whole = np.asarray(Contrastive(0.5)(told, features))
    assert whole.shape == () and whole == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("pool", ["", "avg"])
def test_folding_changes_no_feature(pool: str) -> None:
    import keras

    from vsearch_fast.export.fold import fold
    from vsearch_fast.export.training import network

    shape = network.Shape(1 / 16, 64, True, True, ("fc1", "fc2"), 40, pool)
    made = network.build(shape, 3, seed=1)
    rng = np.random.default_rng(0)
    for layer in made.layers().values():
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            layer.set_weights(
                [rng.uniform(0.5, 2, n), rng.normal(0, 0.3, n), rng.normal(0, 5, n),
                 rng.uniform(1, 40, n)]
            )  # fmt: skip
    pictures = rng.normal(0, 60, (4, 64, 64, 3)).astype(np.float32)
    expected = made.whole("fc1", "fc2", "predictions").predict(pictures, verbose=0)
    folded = fold(network.saved(made))
    assert not any(isinstance(each, keras.layers.BatchNormalization) for each in folded.layers)
    for name, values in zip(("fc1", "fc2", "predictions"), expected, strict=True):
        cut = keras.Model(folded.inputs, folded.get_layer(name).output)
        found = cut.predict(pictures, verbose=0)
        np.testing.assert_allclose(found, values, rtol=1e-3, atol=1e-4 * np.abs(values).max())


def test_other_networks_are_not_folded() -> None:
    import keras

    from vsearch_fast.export.fold import fold

    image = keras.Input((32, 32, 3))
    layer = keras.layers.Conv2D(4, 3, name="a")(image)
    layer = keras.layers.BatchNormalization(name="a_bn")(layer)
    without_relu = keras.Model(image, keras.layers.Conv2D(4, 3, name="b")(layer))
    assert fold(without_relu) is without_relu
    layer = keras.layers.ReLU(name="a_relu")(layer)
    branched = keras.Model(image, keras.layers.Add()([layer, layer]))
    assert fold(branched) is branched
    residual = keras.Model(
        image, keras.layers.Concatenate()([layer, keras.layers.MaxPooling2D(3, 1)(image)])
    )
    assert fold(residual) is residual


@pytest.mark.parametrize("width", [0.1, 0.3, 1 / 16])
def test_a_network_of_any_width_is_a_base(width: float) -> None:
    from vsearch_fast.export.training import network

    first = network.build(network.Shape(width, 32, True, True, ("fc1",), 8, "avg"), 2, seed=0)
    channels, normalised = network.channels_and_norm(network.saved(first))
    assert normalised
    second = network.build(network.Shape(channels, 32, True, True, ("fc1",), 8, "avg"), 2, seed=1)
    taken = network.take(second, network.saved(first), dense=True)
    assert "block5_conv3" in taken and "fc1" in taken
    for name in taken:
        for a, b in zip(
            first.layers()[name].get_weights(), second.layers()[name].get_weights(), strict=True
        ):
            assert np.array_equal(a, b)


def test_weights_follow_from_seed_and_layer() -> None:
    from vsearch_fast.export.training import network

    shape = network.Shape(1 / 16, 32, False, False, ("fc1",), 16, "")
    first, again = (network.build(shape, 3, seed=5) for _ in range(2))
    other = network.build(shape, 3, seed=6)
    for name, layer in first.layers().items():
        kernel = np.asarray(layer.kernel)
        assert np.array_equal(kernel, np.asarray(again.layers()[name].kernel))
        assert not np.array_equal(kernel, np.asarray(other.layers()[name].kernel))
    # He-normal: the second moment is 2 / fan-in.
    kernel = np.asarray(first.layers()["block3_conv2"].kernel)
    assert (kernel**2).mean() == pytest.approx(2 / np.prod(kernel.shape[:-1]), rel=0.1)


def feed_of(labels: list[tuple[str, int]], items: list[str | None], **choices):
    from vsearch_fast.export.training.feed import Feed, Pixels

    records = [
        Record(f"r{i}", Path(f"r{i}.jpg"), category=label, group=f"g{group}", item=item)
        for i, ((label, group), item) in enumerate(zip(labels, items, strict=True))
    ]
    recipe = Recipe(shares={"train": 1.0}, batch_size=4, input_size=32, **choices)
    catalogue = gather([records], recipe)
    pixels = np.random.default_rng(0).integers(0, 256, (len(records), 40, 40, 3), np.uint8)
    return Feed(catalogue, recipe, Pixels(pixels, recipe)), catalogue


def test_each_epoch_follows_from_seed_and_number() -> None:
    labels = [("ab"[i % 2], i) for i in range(30)]
    for choices in ({}, {"augment": "strong", "balance": "draws"}):
        feed, _ = feed_of(labels, [None] * 30, **choices)
        one, again, other = (list(feed.epoch(number)) for number in (3, 3, 4))
        for a, b in zip(one, again, strict=True):
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        assert not np.array_equal(one[0].told, other[0].told)
    plain, _ = feed_of(labels, [None] * 30)
    assert sorted(plain.order(0)) == list(range(30))


def test_an_item_meets_another_view_of_it_in_its_batch() -> None:
    labels = [("ab"[i % 2], i // 2) for i in range(40)]
    items: list[str | None] = [f"item{i // 2}" if i < 20 else None for i in range(40)]
    labels = [("a" if i < 20 else "ab"[i % 2], i // 2) for i in range(40)]
    feed, catalogue = feed_of(labels, items, loss="contrastive", balance="draws")
    order = feed.order(0)
    position = 0
    met = 0
    while position < len(order):
        item = catalogue.items[order[position]]
        if item >= 0:
            assert order[position + 1] != order[position]
            assert catalogue.items[order[position + 1]] == item
            met += 1
        position += 2 if item >= 0 else 1
    assert met


def test_every_epoch_has_as_many_full_batches() -> None:
    """Orders differ in length where only some pictures bring another of their item along."""
    labels = [("ab"[i % 2], i // 2) for i in range(40)]
    items: list[str | None] = [f"item{i // 2}" if i < 20 else None for i in range(40)]
    feed, _ = feed_of(labels, items, loss="contrastive", balance="draws")
    lengths = {len(feed.order(epoch)) for epoch in range(20)}
    assert len(lengths) > 1
    for epoch in range(20):
        assert [len(batch.told) for batch in feed.epoch(epoch)] == [4] * feed.steps


@given(st.integers(2, 30), st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_matches_are_their_definition(n: int, groups: int, seed: int) -> None:
    from vsearch_fast.export.training.judge import matches

    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (n, 9)).astype(np.float32)
    labels, group = rng.integers(0, 3, n).astype(np.int32), rng.integers(0, groups, n)
    found = matches(features, labels, group.astype(np.int32))
    hits = 0
    for i in range(n):
        others = [(np.abs(features[i] - features[j]).sum(), j) for j in range(n)
                  if group[j] != group[i]]  # fmt: skip
        hits += bool(others) and labels[min(others)[1]] == labels[i]
    assert found["l1"].value == pytest.approx(hits / n)
    assert all(0 <= share.low <= share.value <= share.high <= 1 for share in found.values())


def test_rare_classes_weigh_more_and_the_mean_weight_is_one() -> None:
    labels = [("a", i) for i in range(90)] + [("b", 100 + i) for i in range(10)]
    feed, _ = feed_of(labels, [None] * 100)
    weights = feed.weights
    assert weights.mean() == pytest.approx(1)
    assert weights[99] / weights[0] == pytest.approx(3)  # the root of 90 / 10
    drawn, _ = feed_of(labels, [None] * 100, balance="draws")
    many = np.concatenate([drawn.order(epoch) for epoch in range(60)])
    assert np.mean(many >= 90) == pytest.approx(10**0.5 / (90**0.5 + 10**0.5), abs=0.03)


def test_a_variant_is_the_same_for_the_same_numbers_and_keeps_to_a_byte() -> None:
    from vsearch_fast.export.training.augment import STRENGTHS, vary

    rng = np.random.default_rng
    picture = rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    for strength in STRENGTHS.values():
        variants = [vary(picture, 40, strength, rng([seed])) for seed in (1, 1, 2)]
        assert variants[0].shape == (40, 40, 3) and variants[0].dtype == np.uint8
        assert np.array_equal(variants[0], variants[1])
        assert not np.array_equal(variants[0], variants[2])


def test_units_are_counted() -> None:
    from vsearch_fast.export.training.judge import units

    features = np.array([[0, 1, 1, 0], [0, 2, 0, 3]], np.float32)
    found = units(features)
    assert (found.active, found.never, found.always) == (0.5, 0.25, 0.25)
    assert [text.split(" of ")[0] for text in found.warnings()] == ["50.0%"]
    dead = units(np.zeros((3, 8), np.float32))
    assert len(dead.warnings()) == 2
    assert all("--batch-norm" in text for text in dead.warnings())
    assert not any("--batch-norm" in text for text in dead.warnings(batch_norm=True))


def test_matches_of_the_own_group_do_not_count() -> None:
    from vsearch_fast.export.training.judge import matches

    features = np.array([[1, 0], [1.1, 0], [0, 1], [0.9, 0.1]], np.float32)
    labels, groups = np.array([0, 1, 1, 0], np.int32), np.array([0, 0, 1, 2], np.int32)
    # By L1: 0 -> 3 (0, hit); 1 -> 3 (0, miss); 2 -> 3 (miss); 3 -> 0 (hit).
    assert matches(features, labels, groups)["l1"].value == 0.5


def test_a_share_of_few_pictures_is_called_so() -> None:
    from vsearch_fast.export.training.judge import few, matches

    rng = np.random.default_rng(0)
    labels = np.zeros(2000, np.int32)
    features = rng.standard_normal((2000, 4)).astype(np.float32)
    one = matches(features[:15], labels[:15], np.arange(15, dtype=np.int32) // 2)
    (said,) = few(one, 15, 8)
    # Eight hits of eight groups: Wilson's interval ends at 8 / (8 + 1.96^2).
    assert "P@1 is of 15 pictures in 8 groups alone: 1.000 may as well be 0.676 or 1.000" in said
    many = matches(features, labels, np.arange(2000, dtype=np.int32) // 2)
    assert few(many, 2000, 1000) == []
