"""Of one network comes one graph, whatever the process has made before, and in any process."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from vsearch_fast.export import canonical
from vsearch_fast.export import graph as graphs

# A graph as steps: what each does, and to which two of the values before it.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["Add", "Mul", "Sub", "Max", "Relu"]),
        st.integers(0, 99), st.integers(0, 99), st.booleans(),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


def made(steps: list[tuple[str, int, int, bool]], seed: int) -> onnx.ModelProto:
    """The finished graph of the steps, as another seed names, orders and doubles its nodes."""
    chance = random.Random(seed)
    names = [f"t{number}" for number in chance.sample(range(1000), 99)]
    constants = {names.pop(): np.array(number, np.float32) for number in (2, 3)}
    image = names.pop()
    nodes = [helper.make_node("Cast", ["image"], [image], to=TensorProto.FLOAT)]
    values = [[image], *([name] for name in constants)]
    for kind, first, second, _ in steps:
        one, other = values[first % len(values)], values[second % len(values)]
        outputs = []
        for _ in range(chance.choice([1, 1, 2])):
            operands = [chance.choice(one), chance.choice(other)][: 1 if kind == "Relu" else 2]
            if kind != "Sub":
                chance.shuffle(operands)
            outputs.append(names.pop())
            nodes.append(helper.make_node(kind, operands, [outputs[-1]]))
        values.append(outputs)
    nodes.append(helper.make_node("Identity", [chance.choice(values[-1])], ["features"]))
    chance.shuffle(nodes)
    graph = graphs.Graph(nodes, constants, "features", 4, 1)
    return graphs.finish(
        graph, [helper.make_tensor_value_info("features", TensorProto.FLOAT, None)]
    )


def expected(steps: list[tuple[str, int, int, bool]], image: np.ndarray) -> np.ndarray:
    operations: dict[str, Any] = {
        "Add": np.add, "Mul": np.multiply, "Sub": np.subtract, "Max": np.maximum,
        "Relu": lambda one, _: np.maximum(one, np.float32(0)),
    }  # fmt: skip
    values: list[Any] = [image.astype(np.float32), np.float32(2), np.float32(3)]
    for kind, first, second, _ in steps:
        values.append(operations[kind](values[first % len(values)], values[second % len(values)]))
    return np.asarray(values[-1])


@settings(max_examples=100)
@given(STEPS, st.integers(0, 2**32))
def test_a_graph_is_decided_by_what_it_computes(steps, seed):
    """By no name, and neither by the order of its nodes, of operands, nor by doubles."""
    one, other = made(steps, 0), made(steps, seed)
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
    image = np.random.default_rng(0).integers(0, 4, (1, 4, 4, 3), np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):
        [found] = ReferenceEvaluator(other).run(None, {"image": image})
        np.testing.assert_array_equal(found, expected(steps, image))


def test_weights_of_equal_numbers_stay_two():
    """The names of weights are a part of the file; what else is equal is one."""
    values = {"a/bias": np.ones(3, np.float32), "b/bias": np.ones(3, np.float32)}
    nodes = [
        helper.make_node("Add", ["image", "a/bias"], ["x"]),
        helper.make_node("Add", ["image", "b/bias"], ["y"]),
        helper.make_node("Sub", ["x", "y"], ["features"]),
    ]
    assert len(canonical.settle(nodes, values, ("a/bias", "b/bias"), ["features"])) == 3
    assert len(canonical.settle(nodes, values, (), ["features"])) == 2


def test_an_output_keeps_its_name():
    nodes = [
        helper.make_node("Relu", ["image"], ["x"]),
        helper.make_node("Relu", ["image"], ["features"]),
        helper.make_node("Sub", ["x", "features"], ["codes"]),
    ]
    outputs = ["features", "codes"]
    left = canonical.settle(nodes, {}, (), outputs)
    assert {name for node in left for name in node.output} == {"x", *outputs}


# Names, as Keras numbers them


def test_names_are_counted_from_the_first_layer():
    names = {
        "conv2d_94": "Conv2D", "conv2d_100": "Conv2D", "conv2d_95": "Conv2D", "stem": "Conv2D",
        "batch_normalization_7": "BatchNormalization", "conv2d_3": "Dense",
    }  # fmt: skip
    assert canonical.renumbered(names) == {
        "conv2d_94": "conv2d", "conv2d_95": "conv2d_1", "conv2d_100": "conv2d_2",
        "batch_normalization_7": "batch_normalization",
    }  # fmt: skip


def test_classes_are_written_as_keras_writes_them():
    from vsearch_fast.export import backend

    backend.prepare()
    import keras
    from keras.src.utils.naming import to_snake_case

    for name in dir(keras.layers):
        assert canonical._snake_case(name) == to_snake_case(name)


# What tf2onnx walks through

NAMES = st.lists(st.text("abc", max_size=2), max_size=8)


@given(NAMES, NAMES)
def test_sets_in_order_are_sets(one, other):
    from vsearch_fast.export.steady import InOrder

    kept, plain = InOrder(one), set(one)
    assert list(kept) == list(dict.fromkeys(one))
    assert set(kept & InOrder(other)) == set(kept.intersection(other)) == plain & set(other)
    assert set(kept | InOrder(other)) == set(kept.union(other)) == plain | set(other)
    assert set(kept - InOrder(other)) == set(kept.difference(other)) == plain - set(other)
    assert kept.issubset(other) == plain.issubset(other)
    assert (kept == plain) and len(kept) == len(plain) and all(each in kept for each in one)
    copy = kept.copy()
    copy.update(other)
    for each in other:
        copy.discard(each)
    assert set(copy) == plain - set(other) and set(kept) == plain
    for each in other:
        kept.add(each)
    assert list(kept) == list(dict.fromkeys(one + other))


@pytest.mark.parametrize("seed", range(3))
def test_nodes_of_tensorflow_come_producers_first(seed):
    from vsearch_fast.export import backend

    backend.prepare()
    from tensorflow.core.framework import graph_pb2

    from vsearch_fast.export.steady import producers_first

    edges = {
        "a": [], "b": ["a"], "c": ["a:1", "^b"], "d": ["c", "b"], "w": [], "e": ["d:0", "w"],
        "unused": ["e"],
    }  # fmt: skip
    graph = graph_pb2.GraphDef()
    names = list(edges)
    random.Random(seed).shuffle(names)
    for name in names:
        graph.node.add(name=name, op="Any").input.extend(edges[name])
    found = [node.name for node in producers_first(graph, ["e:0"]).node]
    assert found == ["a", "b", "c", "d", "w", "e", "unused"]


@pytest.mark.parametrize("repetitions", [3, pytest.param(40, marks=pytest.mark.full)])
def test_one_graph_whatever_was_made_before(repetitions, tmp_path: Path) -> None:
    """Layers, TensorFlow's nodes and tf2onnx' own are numbered through the life of a process."""
    from slim_models import branched_model
    from tf2onnx import utils

    from vsearch_fast.export import onnx as conversion

    chance = random.Random(1)
    found = set()
    for i in range(repetitions):
        model = branched_model(before=chance.choice([5, 8, 9, 95, 98]) if i else 0)
        utils.INTERNAL_NAME = chance.choice([0, 1, 60, 90, 700, 950, 9000, 9800])
        graph = conversion.convert(model)
        graphs.add_preprocessing(graph, "tf")
        graphs.add_codes(graph)
        found.add(graphs.finish(graph).SerializeToString(deterministic=True))
    assert len(found) == 1
    names = {each.name for each in onnx.ModelProto.FromString(found.pop()).graph.initializer}
    assert {"conv2d/kernel", "conv2d_1/kernel", "dense/kernel"} <= names
