"""Structs as kernels take them and as the launcher packs them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from emulated import address

from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.arguments import REDUCED, SCAN, Record, Struct

#: Where each is defined.
DEFINED = {"common.cuh": SCAN, "reduced.cu": REDUCED}


@pytest.mark.parametrize("file", DEFINED)
def test_fields_are_those_of_the_source(file):
    struct = DEFINED[file]
    text = re.sub(r"//.*", "", (sources.FOLDER / file).read_text())
    found = re.search(rf"struct {struct.name} \{{(.*?)\n\}};", text, re.DOTALL)
    assert found
    fields = re.findall(r"^ {4}(?:const )?(\w+\*?) (\w+(?:, \w+)*);", found[1], re.MULTILINE)
    assert fields == list(struct.fields)


SMALL = Struct("Small", (("u8*", "rows"), ("int", "count"), ("double", "step"), ("u32*", "sums")))


def test_packing():
    rows = np.zeros(4, np.uint8)
    record = Record(SMALL, (rows, np.int32(-3), np.float64(0.5), None))
    packed = record.packed(address)
    assert packed.shape == (1,)
    assert packed.nbytes == 32
    assert packed["rows"] == rows.ctypes.data
    assert packed["count"] == -3
    assert packed["step"] == 0.5
    assert packed["sums"] == 0
    assert SMALL.layout.fields is not None
    assert SMALL.layout.fields["step"][1] == 16  # as C aligns it


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (0, np.zeros(4, np.int8), "Small.rows is u8*"),
        (1, 3, "Small.count is int"),
        (1, np.int64(3), "Small.count is int"),
        (2, np.float32(1), "Small.step is double"),
        (3, np.zeros(4, np.uint64), "Small.sums is u32*"),
    ],
)
def test_what_is_of_another_type_is_refused(place, value, named):
    values = [None, np.int32(1), np.float64(1), None]
    values[place] = value
    with pytest.raises(TypeError, match=re.escape(named)):
        Record(SMALL, values).packed(address)


def test_a_value_too_few_is_refused():
    with pytest.raises(ValueError, match="zip"):
        Record(SMALL, (None, np.int32(1))).packed(address)
