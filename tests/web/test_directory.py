"""A directory answers comparisons as the index does: value by value, however large."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from vsearch_fast.index.conditions import ORDERS, Compared
from vsearch_fast.index.items import Item
from vsearch_fast.web.directory import Directory

WHOLE = st.integers(-3, 3) | st.integers(2**53 - 2, 2**53 + 2) | st.just(10**400)
NUMBERS = WHOLE | st.floats(-3, 3) | st.just(1e300)
VALUES = NUMBERS | WHOLE.map(str) | st.sampled_from([True, None, "x", "1.5", "-0", "nan", "inf"])


@given(st.lists(VALUES | st.lists(VALUES, max_size=3), max_size=8), NUMBERS)
@example([2**53 + 1], 2**53)
@example([10**400, "x"], 1)
def test_numbers_are_compared_exactly(values, than):
    items = [Item(str(row), metadata={"n": value}) for row, value in enumerate(values)]
    directory = Directory(items)
    for order in ORDERS:
        condition = Compared("n", order, than)
        expected = [
            any(map(condition.accepts, value if isinstance(value, list) else [value]))
            for value in values
        ]
        assert condition.rows(directory).tolist() == expected
    assert not Compared("other", "<", 1).rows(directory).any()
