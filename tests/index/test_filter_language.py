"""Filters as texts: against a definition that looks at one item after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.errors import ArgumentError
from vsearch_fast.index import Index, Item
from vsearch_fast.index.conditions import Condition
from vsearch_fast.index.filter_language import LONGEST, read_filter
from vsearch_fast.shards.index import ShardedIndex

Metadata = dict[str, Any]
Test = tuple[str, Callable[[Metadata], bool]]

COLUMNS = ["price", "two words", "Größe"]
TEXTS = ["red", "Red wine", "7", "7.0", "-3", "1e2", "true", "null", "it's", "x" * 150, "x" * 151]
TEXTS += ["2026-05-01", "2026-11-30", "", "a,b (c)", "10", "NaN", '"', "\\", "ß", "and"]
VALUES: list[Any] = [*TEXTS, 7, 7.5, 10**30, -3, 0, True, False, None]
VALUES += [["red", "7"], ["x" * 150, 7, 7], [], [None], [True, None, "Red wine"]]


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def bare(text: str) -> bool:
    words = r"(?!(?:and|or|not|in|is|contains)\b)[^\s\"'()<>=!,][^\s\"()<>=!,]*"
    return re.fullmatch(rf"{words}( {words})*", text, re.IGNORECASE) is not None


def same(left: Any, right: Any) -> bool:
    """Of JSON values: true is not 1, 1 is 1.0."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def values(item: Metadata, column: str) -> list[Any]:
    """All that an item has in a column."""
    value = item.get(column, [])
    return value if isinstance(value, list) else [value]


def meanings(text: str) -> list[Any]:
    found: list[Any] = [text]
    if text.lower() in ("true", "false"):
        return [*found, text.lower() == "true"]
    try:
        value = json.loads(text)
    except ValueError:
        return found
    return [*found, value] if value is None or type(value) in (int, float) else found


def number(value: Any) -> Any:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str) or not re.fullmatch(
        r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value
    ):
        return None
    return float(value) if set(value) & set(".eE") else int(value)


@st.composite
def drawn_tests(draw: st.DrawFn) -> Test:
    column = draw(st.sampled_from(COLUMNS))
    name = quoted(column) if draw(st.booleans()) else column
    text = draw(st.sampled_from(TEXTS))
    plain = bare(text) and draw(st.booleans())
    said = text if plain else quoted(text)
    meant = meanings(text) if plain else [text]
    kind = draw(st.sampled_from(["=", "!=", "in", "not in", "contains", "null", "<", ">="]))

    def equal(item: Metadata) -> bool:
        return any(same(own, value) for own in values(item, column) for value in meant)

    def contains(item: Metadata) -> bool:
        return any(
            isinstance(value, str) and text.casefold() in value.casefold()
            for value in values(item, column)
        )

    def ordered(item: Metadata) -> bool:
        return any(before(value) for value in values(item, column))

    def before(value: Any) -> bool:
        if plain and number(text) is not None:
            found = number(value)
            return found is not None and (
                found < number(text) if kind == "<" else found >= number(text)
            )
        return isinstance(value, str) and (value < text if kind == "<" else value >= text)

    if kind in ("<", ">="):
        if plain and text in ("true", "null"):
            said = quoted(text)
            plain = False
        return f"{name} {kind} {said}", ordered
    return {
        "=": (f"{name}={said}", equal),
        "!=": (f"{name} != {said}", lambda item: not equal(item)),
        "in": (f"{name} IN ({said}, {said})", equal),
        "not in": (f"{name} not in({said})", lambda item: not equal(item)),
        "contains": (f"{name} contains {said}", contains),
        "null": (f"{name} is null", lambda item: set(values(item, column)) <= {None}),
    }[kind]


def joined(parts: st.SearchStrategy[Test]) -> st.SearchStrategy[Test]:
    return st.one_of(
        parts.map(lambda p: (f"not ({p[0]})", lambda item: not p[1](item))),
        st.tuples(parts, parts).map(
            lambda p: (f"({p[0][0]}) and ({p[1][0]})", lambda i: p[0][1](i) and p[1][1](i))
        ),
        st.tuples(parts, parts).map(
            lambda p: (f"({p[0][0]}) Or ({p[1][0]})", lambda i: p[0][1](i) or p[1][1](i))
        ),
    )


ITEMS = st.lists(
    st.dictionaries(st.sampled_from(COLUMNS), st.sampled_from(VALUES)), min_size=1, max_size=12
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    count = iter(range(10**6))
    return lambda: tmp_path_factory.mktemp(f"of{next(count)}")


@settings(max_examples=40, deadline=None)
@given(
    ITEMS,
    ITEMS,
    st.lists(st.recursive(drawn_tests(), joined, max_leaves=5), min_size=5, max_size=5),
)
def test_filters_are_as_defined(
    places: Callable[[], Path], first: list[Metadata], second: list[Metadata], wanted: list[Test]
) -> None:
    """In one index, some of whose items are gone, and in two shards."""
    place = places()
    held: list[tuple[str, Metadata]] = []
    shards = []
    for number_, lines in enumerate((first, second)):
        with Index.create(place / f"{number_}.index", 2) as index:
            # Every column is known, to a shard at least.
            everything = [*lines, dict.fromkeys(COLUMNS, "gone")]
            names = [f"{number_} {n}" for n in range(len(everything))]
            index.add(names, np.zeros((len(names), 2), np.float32), everything)
            index.remove(names[-1:])
            shards.append(index.path)
            held += zip(names, lines, strict=False)
            if number_ == 0:
                for text, test in wanted:
                    met = {name for name, item in held if test(item)}
                    assert {item.id for item in index.page(99, where=text)[0]} == met, text
                    hits = index.search(np.zeros(2), 99, where=text)[0]
                    assert {hit.id for hit in hits} == met, text
    with ShardedIndex.create(place / "both", shards) as both:
        for text, test in wanted:
            ordered = [name for name, item in held if test(item)]
            assert [item.id for item in both.page(99, where=text)[0]] == ordered, text
            assert [hit.id for hit in both.search(np.zeros(2), 99, where=text)[0]] == ordered, text


def test_and_binds_before_or_and_not_before_both() -> None:
    def read(text: str) -> Condition:
        return read_filter(text, "")

    assert read("a=1 or b=2 and not c=3 or d=4") == read("(a=1) or ((b=2) and (not (c=3))) or d=4")
    assert read("a=1 and b=2 or c=3") != read("a=1 and (b=2 or c=3)")
    assert read("not a is null") == read("a is not null") == read("NOT\n(a IS NULL)")
    assert read("the and_ = x") == read('"the and_" = x')


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("price <", "ends too soon"),
        ("price", "ends too soon"),
        ("(price < 3", "ends too soon"),
        ("price < 3)", "from '\\)' on, its character 10"),
        ("price < 3 and and", "from 'and' on, its character 15"),
        ("title = black and white", "ends too soon"),
        ("price = 1, 2", "from ', 2' on, its character 10"),
        ("price << 3", "from '< 3' on"),
        ("price like x", "ends too soon"),
        ("'price' 'x'", "cannot be read"),
        ('a = "open', "cannot be read"),
        ("price < true", "which has no order"),
        ("a = 1" + " or a = 1" * 500, "has 4,505 characters"),
        ("(" * 101 + "a = 1" + ")" * 101, "over 100 brackets"),
        ("\0", "ends too soon"),
    ],
)
def test_what_is_no_filter_is_told(text: str, what: str) -> None:
    with pytest.raises(ArgumentError, match=what) as caught:
        read_filter(text, "Nothing was searched")
    assert caught.value.consequence == "Nothing was searched"


def test_deep_filters_are_read() -> None:
    assert read_filter("not " * 99 + "a = 1", "").columns() == {"a"}
    assert len("a = 1" + " or a = 1" * 400) < LONGEST
    assert read_filter("a = 1" + " or a = 1" * 400, "").columns() == {"a"}


def test_unknown_columns_are_named(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", 2) as index:
        index.add(["a"], np.zeros((1, 2), np.float32), [{"colour": "red"}])
        for text in ("colur = red", "colour = red or colur is null", "not colur contains x"):
            with pytest.raises(ArgumentError, match="no metadata column 'colur'") as caught:
                index.search(np.zeros(2), where=text)
            assert caught.value.cure == "Its columns are: 'colour'"
    ShardedIndex.create(tmp_path / "both", [tmp_path / "index"]).close()
    with (
        ShardedIndex.open(tmp_path / "both") as both,
        pytest.raises(ArgumentError, match="no metadata column 'colur'"),
    ):
        both.page(3, where="colour = red or colur = 3")


def test_a_column_of_many_values(tmp_path: Path) -> None:
    """More than are asked for one by one; null among them, and rows without any."""
    count = 12_000
    with Index.create(tmp_path / "index", 1) as index:
        items = [{"n": n if n % 3 else None} for n in range(count)]
        index.add([str(n) for n in range(count)], np.zeros((count, 1), np.float32), items)
        index.add(["without"], np.zeros((1, 1), np.float32))

        def met(text: str) -> set[str]:
            return {item.id for item in index.page(count + 1, where=text)[0]}

        numbers = {str(n) for n in range(count) if n % 3}
        assert met("n >= 0") == numbers
        assert met("n < 11 or n = null") == {str(n) for n in range(count) if n < 11 or not n % 3}
        assert met("n is null") == {str(n) for n in range(0, count, 3)} | {"without"}
        assert met("n >= 0 and n != 7") == numbers - {"7"}
        index.update([Item("7", metadata={"n": "7"})])
        assert met("n = '7'") == {"7"}
