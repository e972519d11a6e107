"""A filter as the command line and the API give it."""

from __future__ import annotations

from ..checks import Scalar
from .conditions import Among, Condition, all_of
from .filter_language import values_of


def where_in_words(given: list[tuple[str, str]]) -> str:
    """The same filter in words: ``category=lamp or category=shoe, and kids=False``."""
    columns: dict[str, list[str]] = {}
    for column, text in given:
        columns.setdefault(column, []).append(f"{column}={text}")
    return ", and ".join(" or ".join(values) for values in columns.values())


def read_where(given: list[tuple[str, str]]) -> Condition | None:
    """Those with one of the values of each column. ``7`` asks for the text and for the number."""
    columns: dict[str, list[Scalar]] = {}
    for column, text in given:
        columns.setdefault(column, []).extend(values_of(text))
    return all_of(*(Among.of(column, values) for column, values in sorted(columns.items())))
