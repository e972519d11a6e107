"""What users hand to an `Index`, checked before anything is done with it.

Every function returns the value in the form that the index works with, or raises
ArgumentError or DTypeError; `consequence` is what the message says was not done.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..checks import Scalar, Value, array_of, check_scalar, positive
from ..errors import ArgumentError, DTypeError, DuplicateIdError
from ..kernels.reference import pack_bits
from ..words import BINARIZE, ITQ, LEAST, METRICS, ZERO
from .conditions import Among, Condition, all_of
from .filter_language import read_filter
from .items import Item, check_id, check_item
from .views import as_lines, as_rows, flat, unflat

#: A filter as it is handed to an index.
Where = Mapping[str, Scalar | Iterable[Scalar]] | str | Condition | None

_ITEMS = (
    "Pass items of the index with what is new: dataclasses.replace(index.get(id), metadata={...})"
)

#: Bytes of float32 that are checked or converted at a time.
BLOCK_BYTES = 16 << 20


def block_slices(rows: int, dim: int) -> Iterator[slice]:
    """Runs of rows that take about BLOCK_BYTES."""
    step = max(1, BLOCK_BYTES // (4 * dim))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def json_object(value: Any, name: str, consequence: str) -> dict[str, Any]:
    """A dict that JSON can hold."""
    try:
        return dict(json.loads(json.dumps(dict(value), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"JSON cannot hold `{name}` ({error})", consequence, "Pass a dict of plain values"
        ) from None


def code_rule(model: Mapping[str, Any], dim: int, consequence: str) -> tuple[str, int]:
    """How the codes of features by this model are made (a name in BINARIZE), and their bits."""
    binarize, bits = model.get("binarize", ZERO), model.get("bits", dim)
    if binarize not in BINARIZE:
        raise ArgumentError(
            f"`model` says that codes are made by the rule {binarize!r}",
            consequence,
            f"Use one of {', '.join(BINARIZE)}, or leave it out",
        )
    try:
        bits = int(bits)
    except (TypeError, ValueError):
        bits = 0
    if bits < 1 or (binarize != ITQ and bits != dim):
        raise ArgumentError(
            f"`model` says that codes have {model.get('bits')!r} bits, by the rule {binarize} of "
            f"{dim} numbers",
            consequence,
            "Leave it out where there is a bit for each number",
        )
    return binarize, bits


def refuse_features(binarize: str, name: str, consequence: str, cure: str) -> None:
    """ArgumentError where codes are made by a rule that the model's file alone knows."""
    if binarize != ZERO:
        raise ArgumentError(
            f"{name} are features without codes, and the codes of this index are made by the rule "
            f"{binarize}, which its model's file alone knows",
            consequence,
            cure,
        )


def refuse_both(value: Any, name: str, other: str, consequence: str) -> None:
    """ArgumentError where a value is given beside another that says the same."""
    if value is not None:
        raise ArgumentError(f"{name} and {other} are both given", consequence, "Pass one of them")


def distance(value: Any, metric: str, consequence: str, name: str = "max_distance") -> float:
    """A number that a distance of this metric may be, infinity included."""
    least = LEAST[metric]
    # Comparisons with NaN are false.
    if isinstance(value, bool) or not (
        isinstance(value, int | float | np.integer | np.floating) and value >= least
    ):
        raise ArgumentError(
            f"{name} is {value!r}, not a number"
            + (" of at least 0" if math.isfinite(least) else ""),
            consequence,
            'Change it, or pass None for no limit, "auto" for the index\'s own',
        )
    return float(value)


def extent(
    k: Any, metric: str, max_distance: Any, within: Any, consequence: str
) -> tuple[int | None, float | Literal["auto"] | None]:
    """How many hits (None: all) within which distance, of arguments of `Index.search`."""
    name, given = "max_distance", max_distance
    if within is not None:
        refuse_both(max_distance, "max_distance", "within", consequence)
        name, given = "within", within
    if k is not None or within is None:
        k = positive(10 if k is None else k, "k", consequence)
    if metric not in METRICS:
        raise ArgumentError(
            f"metric is {metric!r}", consequence, f"Use one of {', '.join(METRICS)}"
        )
    if given is None:
        return k, None
    if isinstance(given, str) and given == "auto":
        return k, "auto"
    return k, distance(given, metric, consequence, name)


def ids(values: Iterable[str], consequence: str) -> list[str]:
    """A list of ids, each a string that can be one."""
    if isinstance(values, str | bytes):
        raise ArgumentError(
            f"ids is the single string {values!r}", consequence, "Pass a list of ids"
        )
    return [check_id(value, consequence) for value in values]


def ordered(values: Iterable[str], consequence: str) -> Iterable[str]:
    """ArgumentError for ids without an order, of which nobody knows which row is whose."""
    if isinstance(values, set | frozenset):
        raise ArgumentError(
            f"ids is a {type(values).__name__}, which has no order",
            consequence,
            "Pass a list, in the order of the rows",
        )
    return values


def changed(values: Any, consequence: str) -> list[Item]:
    """Items to describe anew: an `Item`, or several of them."""
    if isinstance(values, Item):
        values = [values]
    if isinstance(values, Mapping | str | bytes) or not isinstance(values, Iterable):
        raise ArgumentError(f"items is a {type(values).__name__}", consequence, _ITEMS)
    found = list(values)
    for value in found:
        if not isinstance(value, Item):
            raise ArgumentError(
                f"An item is {value!r}, of type {type(value).__name__}", consequence, _ITEMS
            )
    return [check_item(item, consequence) for item in found]


def refuse_twice(names: list[str], consequence: str) -> None:
    """DuplicateIdError when a name is there twice."""
    if len(set(names)) != len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise DuplicateIdError(
            f"The id {twice!r} is named twice in one call", consequence, "Name it once"
        )


def matrix(values: npt.ArrayLike, dim: int, name: str, consequence: str) -> np.ndarray:
    """(n, dim) of float16, float32 or float64, not yet converted nor searched for NaN."""
    array = array_of(values, name, consequence)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise DTypeError(
            f"{name} are of type {array.dtype}",
            consequence,
            f"Pass float32, float16 or float64, for example {name}.astype('float32')",
        )
    if array.ndim != 2 or array.shape[1] != dim:
        raise ArgumentError(
            f"{name} have the shape {array.shape}, and the index holds {dim} numbers a row",
            consequence,
            f"Pass an array of shape (n, {dim}), made by the index's own model",
        )
    return array


def queries(
    values: npt.ArrayLike, dim: int, bits: int, binarize: str, metric: str, consequence: str
) -> np.ndarray:
    """Queries as the metric compares them: float32 (q, dim), or codes uint8 (q, ceil(bits / 8)); of
    several views (q, v, ...)."""
    array, views = flat(array_of(values, "queries", consequence))
    if array.ndim == 1:
        array = array[None]
    if metric == "hamming" and array.dtype == np.uint8:
        return unflat(codes(array, bits, "queries", consequence), views)
    if metric == "hamming":
        refuse_features(
            binarize, "queries", consequence, "Pass Embedder.codes([...]), or search by l2 or l1"
        )
    array = matrix(array, dim, "queries", consequence)
    array = float_block(array, 0, "queries", consequence)
    return unflat(pack_bits(array) if metric == "hamming" else array, views)


def added(
    features: npt.ArrayLike, given: npt.ArrayLike | None, dim: int, bits: int, views: int,
    consequence: str,
) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    """Features (n, dim) and codes (n, ceil(bits / 8)) or None, of several views (n, views, ...), as
    rows (n, views * dim) and (n, views * ceil(bits / 8)); not yet searched for NaN."""
    arrays: list[np.ndarray | None] = []
    for values, name in ((features, "features"), (given, "codes")):
        if values is None:
            arrays.append(None)
            continue
        array = array_of(values, name, consequence)
        if views > 1:
            shape = array.shape
            array, held = flat(array)
            if held != views:
                raise ArgumentError(
                    f"{name} have the shape {shape}, and the index holds {views} views an item",
                    consequence,
                    f"Pass an array of shape (n, {views}, width): the whole picture, then the box",
                )
        array = (
            matrix(array, dim, name, consequence)
            if name == "features"
            else codes(array, bits, name, consequence)
        )
        arrays.append(as_rows(array, views))
    assert arrays[0] is not None
    return arrays[0], arrays[1]


def blocks(
    rows: np.ndarray, given: np.ndarray | None, views: int, dtype: str, consequence: str
) -> Iterator[dict[str, np.ndarray]]:
    """What `added` returns as an index stores it, some rows at a time: by kind, as
    `SegmentFiles.append` takes them. Codes that were not given are made."""
    for part in block_slices(*rows.shape):
        vectors = float_block(rows[part], part.start, "features", consequence, dtype)
        if given is None:
            codes = as_rows(pack_bits(as_lines(vectors, views)), views)
        else:
            codes = np.ascontiguousarray(given[part])
        yield {"vectors": vectors, "codes": codes}


def float_block(
    rows: np.ndarray, first: int, name: str, consequence: str, dtype: str = "float32"
) -> np.ndarray:
    """The rows as C-contiguous little-endian floats, all finite; `first` is the number of the
    first. float64 is rounded to float32 before anything else."""
    with np.errstate(over="ignore"):  # becomes infinite, which is reported below
        block = np.ascontiguousarray(rows, np.dtype("<f4"))
        if dtype == "float16":
            block = block.astype("<f2")
    finite = np.isfinite(block)
    if not finite.all():
        row, column = (int(number) for number in np.argwhere(~finite)[0])
        raise ArgumentError(
            f"Row {first + row} of {name} holds {rows[row, column]} at position {column}",
            consequence,
            f"Use finite numbers in the range of {dtype}",
        )
    return block


def codes(values: npt.ArrayLike, bits: int, name: str, consequence: str) -> np.ndarray:
    """(n, ceil(bits / 8)) uint8 whose padding bits are 0, as `np.packbits` leaves them."""
    array = array_of(values, name, consequence)
    width = -(-bits // 8)
    if array.dtype != np.uint8:
        raise DTypeError(
            f"{name} are of type {array.dtype}, not uint8",
            consequence,
            "Pass packed codes: pack_bits(features)",
        )
    if array.ndim != 2 or array.shape[1] != width:
        raise ArgumentError(
            f"{name} have the shape {array.shape}, and the index holds {width} bytes a row",
            consequence,
            f"Pass an array of shape (n, {width}): pack_bits(features)",
        )
    padding = width * 8 - bits
    if padding and (array[:, -1] & ((1 << padding) - 1)).any():
        row = int(np.argmax((array[:, -1] & ((1 << padding) - 1)) != 0))
        raise ArgumentError(
            f"Row {row} of {name} has a bit set beyond the {bits} of the index",
            consequence,
            "Pass pack_bits(features), which leaves them 0",
        )
    return array


def items(
    names: Sequence[str],
    values: Sequence[Item | Mapping[str, Value]] | None,
    consequence: str,
) -> list[Item]:
    """An `Item` for each id: as given, or made of its metadata."""
    if values is None:
        return [Item(name) for name in names]
    values = list(values)
    if len(values) != len(names):
        raise ArgumentError(
            f"There are {len(names)} ids and {len(values)} items",
            consequence,
            "Pass one item an id, in the same order",
        )
    checked = []
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, Item):
            value = Item(name, metadata=value)
        elif value.id != name:
            raise ArgumentError(
                f"The item {value.id!r} stands beside the id {name!r}",
                consequence,
                "Pass ids and items in the same order",
            )
        checked.append(check_item(value, consequence))
    return checked


def where(wanted: Where, consequence: str) -> Condition | None:
    """The condition that is wanted; None when there is no filter."""
    if wanted is None or isinstance(wanted, Condition):
        return wanted
    if isinstance(wanted, str):
        return read_filter(wanted, consequence)
    if not isinstance(wanted, Mapping):
        raise ArgumentError(
            f"where is a {type(wanted).__name__}",
            consequence,
            'Pass a dict of column to value(s), or a text such as "price < 50"',
        )
    conditions = []
    for column, values in wanted.items():
        if not isinstance(column, str):
            raise ArgumentError(
                f"where names the column {column!r}", consequence, "Name columns by strings"
            )
        if isinstance(values, Iterable) and not isinstance(values, str | bytes):
            choices: list[Any] = list(values)
        else:
            choices = [values]
        plain = [check_scalar(value, f"where[{column!r}]", consequence) for value in choices]
        conditions.append(Among.of(column, plain))
    return all_of(*sorted(conditions, key=lambda condition: condition.column))
