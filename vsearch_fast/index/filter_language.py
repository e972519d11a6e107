"""Filters as people write them: ``price < 50 and not (colour = red or colour is null)``.

::

    TEST  := COLUMN = VALUE     COLUMN != VALUE      VALUE among the column's, or not
           | COLUMN < VALUE     <=  >  >=            numbers, or texts (dates: 2026-05-01)
           | COLUMN [not] in (VALUE, VALUE, ...)
           | COLUMN [not] contains VALUE             text in text, whatever the case
           | COLUMN is [not] null                    no value, or null
    tests are joined by `and`, `or`, `not` and brackets; `and` binds before `or`

A name or value of letters, digits and signs stands as it is, several words of it, too; one with
``( ) < > = ! , "`` in it, or such a word as `and`, in quotes: ``"black and white"``. What stands
without quotes is a text, and where it is one a number, true, false or null as well; in quotes it is
a text alone.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from ..checks import Scalar
from ..errors import ArgumentError
from ..loading import once, package
from .conditions import ORDERS, All, Among, Compared, Condition, Containing, Missing, Not, number_in
from .conditions import Any as AnyOf

#: Characters of a filter, and of its brackets and negations: parts of it call each other.
LONGEST, _DEEPEST = 4096, 100

_CURE = (
    "Write, for instance: price < 50 and not colour = red; names and values with signs or words of"
    ' the language in quotes: title = "black and white"'
)

_GRAMMAR = r"""
?start: either
?either: both (_OR both)*
?both: single (_AND single)*
?single: _NOT single -> negated
       | "(" either ")"
       | name ORDER value -> compared
       | name "=" value -> equal
       | name "!=" value -> unequal
       | name _IN "(" value ("," value)* ")" -> equal
       | name _NOT _IN "(" value ("," value)* ")" -> unequal
       | name _CONTAINS value -> containing
       | name _NOT _CONTAINS value -> lacking
       | name _IS _NULL -> missing
       | name _IS _NOT _NULL -> present
name: QUOTED | BARE
value: QUOTED | BARE
ORDER: "<=" | ">=" | "<" | ">"
_OR.2: /or\b/i
_AND.2: /and\b/i
_NOT.2: /not\b/i
_IN.2: /in\b/i
_IS.2: /is\b/i
_NULL.2: /null\b/i
_CONTAINS.2: /contains\b/i
QUOTED: /"(?:[^"\\]|\\.)*"/s | /'(?:[^'\\]|\\.)*'/s
BARE: /WORD(?:\s+WORD)*/i
%ignore /\s+/
""".replace("WORD", r"""(?!(?:and|or|not|in|is|contains)\b)[^\s"'()<>=!,][^\s"()<>=!,]*""")


def read_filter(text: str, consequence: str) -> Condition:
    """The condition that a text says.

    Raises:
        ArgumentError: it says none; names the place.
    """
    from lark.exceptions import (
        UnexpectedCharacters,
        UnexpectedEOF,
        UnexpectedInput,
        UnexpectedToken,
    )

    if len(text) > LONGEST or len(re.findall(r"\(|\bnot\b", text, re.IGNORECASE)) > _DEEPEST:
        raise ArgumentError(
            f"The filter has {len(text):,} characters, or over {_DEEPEST} brackets and negations",
            consequence,
            f"Write one of at most {LONGEST:,}",
        )
    try:
        return _condition(_parser().parse(text), consequence)
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedEOF) or (
            isinstance(error, UnexpectedToken) and error.token.type == "$END"
        )
        at = len(text) if ended else (error.pos_in_stream or 0)
        if isinstance(error, UnexpectedCharacters | UnexpectedToken) and not ended:
            what = f"cannot be read from {text[at : at + 20]!r} on, its character {at + 1}"
        else:
            what = "ends too soon" if text.strip() else "is empty"
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        raise ArgumentError(f"The filter {shown!r} {what}", consequence, _CURE) from None


@once
def _parser() -> Any:
    return package("lark").Lark(_GRAMMAR, parser="lalr", lexer="contextual")


def _condition(tree: Any, consequence: str) -> Condition:
    kind = str(tree.data)
    if kind in ("either", "both"):
        parts = tuple(_condition(part, consequence) for part in tree.children)
        return AnyOf(parts) if kind == "either" else All(parts)
    if kind == "negated":
        return Not(_condition(tree.children[0], consequence))
    column, *values = tree.children
    name = _text(column.children[0])
    if kind == "missing":
        return Missing(name)
    if kind == "present":
        return Not(Missing(name))
    if kind in ("containing", "lacking"):
        text = _text(values[0].children[0])
        return Containing(name, text) if kind == "containing" else Not(Containing(name, text))
    if kind in ("equal", "unequal"):
        among = Among.of(name, [meant for value in values for meant in _meant(value.children[0])])
        return among if kind == "equal" else Not(among)
    order, value = str(values[0]), values[1].children[0]
    assert order in ORDERS
    text = _text(value)
    number = number_in(text) if value.type == "BARE" else None
    if value.type == "BARE" and text.lower() in ("true", "false", "null"):
        raise ArgumentError(
            f"The filter compares {name} by {order} with {text}, which has no order",
            consequence,
            f"Write {name} = {text}, or the text in quotes",
        )
    return Compared(name, order, text if number is None else number)


def _text(token: Any) -> str:
    """What a name or a value says."""
    return (
        re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)
        if token.type == "QUOTED"
        else str(token)
    )


def _meant(token: Any) -> list[Scalar]:
    """The values that a text may stand for."""
    text = _text(token)
    return [text] if token.type == "QUOTED" else values_of(text)


def values_of(text: str) -> list[Scalar]:
    """The values that a text without quotes stands for: itself, and the number or the word that it
    is."""
    values: list[Scalar] = [text]
    if text.lower() in ("true", "false"):  # as it is printed, and as any CSV spells it
        values.append(text.lower() == "true")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return values
    if value is None or type(value) is int or (type(value) is float and math.isfinite(value)):
        values.append(value)
    return values
