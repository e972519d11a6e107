"""A graph in the form that only what it computes decides: the model id is a hash of it.

Keras numbers layers through the life of a process, and what TensorFlow and tf2onnx do with a
graph goes by its names: they sort by them, and walk through sets of them. Which operand of an
addition comes first, and which of two equal nodes is left, would otherwise depend on what the
process has made before.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import onnx

# Of two operands, either may come first: the result is the same bits.
_COMMUTATIVE = frozenset({"Add", "And", "Equal", "Max", "Mean", "Min", "Mul", "Or", "Sum", "Xor"})


def settle(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    named: tuple[str, ...],
    outputs: Iterable[str],
) -> list[onnx.NodeProto]:
    """The ``nodes``, producers first, without doubles, each with operands in a settled order.

    Constants whose names begin with one of ``named`` are told apart by name, all others by value.
    ``outputs`` keep their names. Changes the nodes that it returns.
    """
    kept = set(outputs)
    keys: dict[str, bytes] = {}
    first: dict[bytes, onnx.NodeProto] = {}
    merged: dict[str, str] = {}
    settled: list[onnx.NodeProto] = []

    def key(name: str) -> bytes:
        if name not in keys:
            value = constants.get(name)
            if value is None or name.startswith(named):
                keys[name] = _digest(b"name", name.encode())
            else:
                shape = f"{value.dtype.str} {value.shape}".encode()
                keys[name] = _digest(b"value", shape, np.ascontiguousarray(value).tobytes())
        return keys[name]

    for node in nodes:
        names = [merged.get(name, name) for name in node.input]
        if node.op_type in _COMMUTATIVE and len(names) == 2:
            names.sort(key=lambda name: (name in constants, key(name)))
        node.input[:] = names
        attributes = sorted(node.attribute, key=lambda each: each.name)
        own = _digest(
            f"{node.domain} {node.op_type} {len(node.output)}".encode(),
            *(each.SerializeToString(deterministic=True) for each in attributes),
            *(key(name) for name in names),
        )
        keys |= {name: _digest(own, b"%d" % i) for i, name in enumerate(node.output)}
        same = first.setdefault(own, node)
        if same is not node and kept.isdisjoint(node.output):
            merged |= dict(zip(node.output, same.output, strict=True))
        else:
            settled.append(node)
    return settled


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.digest()


def renumbered(names: dict[str, str]) -> dict[str, str]:
    """Keras' own names of layers, counted from the first layer of the model.

    ``names`` tells the class of each layer by its name: ``{"conv2d_94": "Conv2D"}`` gives
    ``{"conv2d_94": "conv2d"}``, as in a process that has made no layer before. Names that were
    chosen stay as they are, and so do all of a class where one was chosen that would be taken.
    """
    numbers: dict[str, dict[str, int]] = defaultdict(dict)
    for name, kind in names.items():
        stem = _snake_case(kind)
        match = re.fullmatch(rf"{re.escape(stem)}(?:_(\d+))?", name)
        if match:
            numbers[stem][name] = int(match[1] or 0)
    return {
        name: f"{stem}_{place}" if place else stem
        for stem, found in numbers.items()
        for place, name in enumerate(sorted(found, key=found.__getitem__))
    }


def _snake_case(name: str) -> str:
    """``Conv2D`` as ``conv2d``: ``keras.src.utils.naming.to_snake_case``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
