"""An ONNX encoder that others exported: read, cut to one output, and asked what it takes.

What is wrong with it is told here, before anything is written: by its declared inputs and outputs
where they say, and by running it where they do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, helper

from ..embedder.runtime import runtime
from ..errors import ArgumentError, ModelError
from .files import first_line
from .graph import MAX_BYTES

_CONSEQUENCE = "Nothing was written"

NCHW, NHWC = "nchw", "nhwc"
LAYOUTS = (NCHW, NHWC)

#: Where rows, columns and channels are in a picture, by layout.
_AXES = {NCHW: (2, 3, 1), NHWC: (1, 2, 3)}

#: Types of pictures that are taken, and as NumPy has them.
_TYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
    TensorProto.UINT8: np.uint8,
}

#: The oldest operator set whose Pad and Reshape are those that are put behind the encoder.
OLDEST_OPSET = 11


@dataclass(eq=False)
class Encoder:
    """A foreign network with one picture input and one output, its weights in memory.

    `proto` holds nothing else; `picture` and `output` are names in it. `dtype` is what the picture
    is in, `layout` where its channels are, `size` its side or None where any goes; `batch` the
    number of pictures that the file declares, None where it is open.
    """

    path: Path
    proto: onnx.ModelProto
    picture: str
    output: str
    dtype: Any
    layout: str
    size: int | None
    batch: int | None
    _session: Any = None

    def run(self, prepared: np.ndarray) -> np.ndarray:
        """The output for pictures as the encoder takes them, ``(n, ...)``, by ONNX Runtime on
        the CPU; raises what ONNX Runtime raises."""
        if self._session is None:
            self._session = runtime().InferenceSession(
                self.proto.SerializeToString(), providers=["CPUExecutionProvider"]
            )
        found: np.ndarray = self._session.run([self.output], {self.picture: prepared})[0]
        return found


def read(path: Path, output: str | None, layout: str | None, size: int | None) -> Encoder:
    """The encoder in a file, with the weights that may lie beside it.

    Raises ModelError for a file that is missing, no ONNX model, too large, too old, or one of this
    package; ArgumentError where it has not that output, or another layout or size.
    """
    proto = _structure(path)
    opset = max((each.version for each in proto.opset_import if not each.domain), default=1)
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"{path} is of operator set {opset}, and {OLDEST_OPSET} is the oldest that is taken",
            _CONSEQUENCE,
            "Export it again with a newer one (opset_version=17)",
        )
    name = _output(proto, path, output)
    _prune(proto, name)
    picture = _picture(proto, path, name)
    kind = picture.type.tensor_type.elem_type
    if kind not in _TYPES:
        raise ModelError(
            f"The input {picture.name} of {path} is of type "
            f"{TensorProto.DataType.Name(kind).lower()}",
            _CONSEQUENCE,
            "Export it with pictures in float32, float16 or uint8",
        )
    sides = [dim.dim_value or None for dim in picture.type.tensor_type.shape.dim]
    layout = _layout(path, picture.name, sides, layout)
    size = _size(path, picture.name, sides, layout, size)
    _load_weights(proto, path)
    _open_batch(proto, picture)
    return Encoder(path, proto, picture.name, name, _TYPES[kind], layout, size, sides[0])


def nodes_within(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The node, and all in the bodies of its branches and loops."""
    yield node
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            for each in body.node:
                yield from nodes_within(each)


def _structure(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise ModelError(
            f"There is no file {path}" if not path.is_dir() else f"{path} is a folder",
            _CONSEQUENCE,
            "Name the encoder's ONNX file",
        )
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's errors have no common base with onnx's
        raise ModelError(
            f"{path} is no ONNX model, or damaged ({first_line(error)})",
            _CONSEQUENCE,
            "Name an encoder's .onnx file; if it was downloaded or copied, fetch it again",
        ) from error
    if not proto.graph.node:
        raise ModelError(f"{path} is no ONNX model", _CONSEQUENCE, "Name an encoder's .onnx file")
    if any(each.key.startswith("vsearch_fast.") for each in proto.metadata_props):
        raise ModelError(
            f"{path} is a model file of this package already",
            _CONSEQUENCE,
            "Use it as it is: --model FILE",
        )
    return proto


def _output(proto: onnx.ModelProto, path: Path, asked: str | None) -> str:
    named = {each.name: _shape(each) for each in proto.graph.output}
    offered = ", ".join(f"{name} {shape}" for name, shape in named.items())
    if asked is None and len(named) == 1:
        return next(iter(named))
    if asked is None:
        raise ArgumentError(
            f"{path} has {len(named)} outputs: {offered}",
            _CONSEQUENCE,
            "Name the one with the features: --output NAME",
        )
    if asked not in named:
        raise ArgumentError(
            f"{path} has no output {asked}", _CONSEQUENCE, f"Choose one of: {offered}"
        )
    return asked


def _shape(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return f"({', '.join(str(dim.dim_value or dim.dim_param or '?') for dim in dims)})"


def _prune(proto: onnx.ModelProto, output: str) -> None:
    """Leave what this output needs: of CLIP the half that sees."""
    needed, kept = {output}, []
    for node in reversed(proto.graph.node):  # producers stand before consumers
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(name for each in nodes_within(node) for name in each.input if name)
            # What a branch gives back may be a tensor from outside.
            needed.update(
                each.name
                for inner in nodes_within(node)
                for attribute in inner.attribute
                for body in (attribute.g, *attribute.graphs)
                for each in body.output
            )
    graph = proto.graph
    for field, values in (
        (graph.node, kept[::-1]),
        (graph.output, [each for each in graph.output if each.name == output]),
        (graph.initializer, [each for each in graph.initializer if each.name in needed]),
        (graph.input, [each for each in graph.input if each.name in needed]),
    ):
        chosen = list(values)
        del field[:]
        field.extend(chosen)
    del graph.value_info[:]  # shapes for the batch of then


def _picture(proto: onnx.ModelProto, path: Path, output: str) -> onnx.ValueInfoProto:
    """The one input that is a picture; old files list their weights among the inputs."""
    weights = {each.name for each in proto.graph.initializer}
    inputs = [each for each in proto.graph.input if each.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    if not inputs:
        raise ArgumentError(
            f"The output {output} of {path} follows from no input",
            _CONSEQUENCE,
            "Name another one: --output NAME",
        )
    if len(inputs) > 1:
        named = ", ".join(f"{each.name} {_shape(each)}" for each in inputs)
        raise ArgumentError(
            f"The output {output} of {path} needs {len(inputs)} inputs: {named}",
            _CONSEQUENCE,
            "Name an output that follows from pictures alone (of CLIP image_embeds), or export the "
            "encoder of pictures alone",
        )
    found = proto.graph.input[0]
    if len(found.type.tensor_type.shape.dim) != 4:
        raise ArgumentError(
            f"The input {found.name} of {path} has the shape {_shape(found)}, and pictures have "
            "four sides: batch, rows, columns, channels",
            _CONSEQUENCE,
            "Export it with its shape, or name an output that follows from pictures: --output NAME",
        )
    return found


def _layout(path: Path, name: str, sides: Sequence[int | None], asked: str | None) -> str:
    """Where the channels are, as the file declares it or as it was asked for."""
    may_be = [each for each in LAYOUTS if sides[_AXES[each][2]] == 3] or [
        each for each in LAYOUTS if sides[_AXES[each][2]] is None
    ]
    if not may_be:
        raise ArgumentError(
            f"The input {name} of {path} has the shape {tuple(sides)}, in which no 3 channels are",
            _CONSEQUENCE,
            "Give an encoder of RGB pictures",
        )
    if asked is None and len(may_be) > 1:
        raise ArgumentError(
            f"The input {name} of {path} does not say where its channels are",
            _CONSEQUENCE,
            "Say it: --layout nchw (PyTorch) or --layout nhwc (TensorFlow)",
        )
    if asked is not None and asked not in may_be:
        raise ArgumentError(
            f"The input {name} of {path} has the shape {tuple(sides)}, which is not {asked}",
            _CONSEQUENCE,
            f"Say --layout {may_be[0]}",
        )
    return asked or may_be[0]


def _size(
    path: Path, name: str, sides: Sequence[int | None], layout: str, asked: int | None
) -> int | None:
    rows, columns = (sides[axis] for axis in _AXES[layout][:2])
    if rows and columns and rows != columns:
        raise ArgumentError(
            f"The input {name} of {path} takes pictures of {rows} x {columns}, and those of a "
            "model file are square",
            _CONSEQUENCE,
            "Export it for square pictures",
        )
    own = rows or columns
    if own and asked and own != asked:
        raise ArgumentError(
            f"The input {name} of {path} takes pictures of {own} pixels, not of {asked}",
            _CONSEQUENCE,
            f"Say --size {own}, or leave it out",
        )
    if not own and not asked:
        raise ArgumentError(
            f"The input {name} of {path} takes pictures of any size",
            _CONSEQUENCE,
            "Say which it was trained with, such as --size 224",
        )
    return asked or own


def _load_weights(proto: onnx.ModelProto, path: Path) -> None:
    """Weights from the files beside it; refused where one file could not hold them all."""
    apart = [
        each for each in proto.graph.initializer if external_data_helper.uses_external_data(each)
    ]
    size = proto.ByteSize()
    for tensor in apart:
        size += _bytes_of(tensor)
    if size > MAX_BYTES:
        raise ModelError(
            f"The weights of {path} are {size / 2**30:.1f} GiB, and a model file holds less than 2",
            _CONSEQUENCE,
            "Convert it to 16 bits first (onnxconverter-common's float16, or export it so), or "
            "take a smaller encoder",
        )
    if not apart:
        return
    try:
        external_data_helper.load_external_data_for_model(proto, str(path.parent))
    except Exception as error:  # of files that are missing, short, or outside of the folder
        raise ModelError(
            f"The weights of {path} lie in files of their own, which cannot be read "
            f"({first_line(error)})",
            _CONSEQUENCE,
            "Put them where they were written, beside the .onnx file",
        ) from error


def _bytes_of(tensor: onnx.TensorProto) -> int:
    known = {each.key: each.value for each in tensor.external_data}
    if "length" in known:
        return int(known["length"])
    try:
        width = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    except KeyError:
        width = 4
    return int(np.prod(tensor.dims)) * width


def _open_batch(proto: onnx.ModelProto, picture: onnx.ValueInfoProto) -> None:
    """Any number of pictures; whether its nodes go along with it is tried."""
    shape = picture.type.tensor_type.shape
    shape.dim[0].dim_param = "n"
    kind = proto.graph.output[0].type.tensor_type.elem_type
    name = proto.graph.output[0].name
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info(name, kind, None))
