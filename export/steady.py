"""tf2onnx, steadied: of one network it makes one graph.

It walks through nodes in the order in which TensorFlow gives them, and through sets of names as it
moves and merges them. The first is by names, which are numbered through the life of a process; the
second is by their hashes, too, which each process draws anew. Of one network came two graphs, of
which one had a Reshape more.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, MutableSet
from typing import Any

from tf2onnx import tf_loader

# What tf2onnx does with a graph that it has read, and how it keeps it.
_WALKING = ("tf2onnx.graph", "tf2onnx.tfonnx", "tf2onnx.optimizer.", "tf2onnx.rewriter.",
            "tf2onnx.late_rewriters.")  # fmt: skip


class InOrder(MutableSet[Any]):
    """A set whose elements come in the order in which they were added."""

    def __init__(self, elements: Iterable[Any] = ()) -> None:
        self._elements = dict.fromkeys(elements)

    def __contains__(self, element: object) -> bool:
        return element in self._elements

    def __iter__(self) -> Iterator[Any]:
        return iter(self._elements)

    def __len__(self) -> int:
        return len(self._elements)

    def add(self, value: Any) -> None:
        self._elements[value] = None

    def discard(self, value: Any) -> None:
        self._elements.pop(value, None)

    def copy(self) -> InOrder:
        return InOrder(self)

    def update(self, *others: Iterable[Any]) -> None:
        for other in others:
            self._elements.update(dict.fromkeys(other))

    def union(self, *others: Iterable[Any]) -> InOrder:
        found = self.copy()
        found.update(*others)
        return found

    def intersection(self, *others: Iterable[Any]) -> InOrder:
        return InOrder(each for each in self if all(each in set(other) for other in others))

    def difference(self, *others: Iterable[Any]) -> InOrder:
        return InOrder(each for each in self if not any(each in set(other) for other in others))

    def issubset(self, other: Iterable[Any]) -> bool:
        return set(self) <= set(other)


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """While it is open, what tf2onnx' modules call ``set`` is `InOrder`, and it gets TensorFlow's
    nodes `producers_first`.

    A conversion beside it, in another thread, may get either: both are right.
    """
    modules = [vars(module) for name, module in sys.modules.items() if name.startswith(_WALKING)]
    optimise = tf_loader.tf_optimize

    def in_order(inputs: Any, outputs: Any, graph: Any) -> Any:
        return producers_first(optimise(inputs, outputs, graph), outputs)

    for names in modules:
        names["set"] = InOrder
    tf_loader.tf_optimize = in_order
    try:
        yield
    finally:
        tf_loader.tf_optimize = optimise
        for names in modules:
            names.pop("set", None)


def producers_first(graph: Any, outputs: Iterable[str]) -> Any:
    """A GraphDef with its nodes in an order that only the edges to ``outputs`` decide.

    What no output needs comes last, as it came.
    """
    nodes = {node.name: node for node in graph.node}
    done: dict[str, None] = {}
    seen: set[str] = set()
    stack = [(_node_of(name), False) for name in reversed(list(outputs))]
    while stack:
        name, ready = stack.pop()
        if ready:
            done[name] = None
        elif name not in seen:
            seen.add(name)
            stack.append((name, True))
            stack += [(_node_of(each), False) for each in reversed(nodes[name].input)]
    ordered = type(graph)()
    ordered.CopyFrom(graph)
    del ordered.node[:]
    ordered.node.extend(nodes[name] for name in dict.fromkeys([*done, *nodes]))
    return ordered


def _node_of(tensor: str) -> str:
    """The node that makes a tensor, or that an edge of control comes from."""
    return tensor.removeprefix("^").partition(":")[0]
