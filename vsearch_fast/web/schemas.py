"""The JSON of the API: what it answers, field by field, with examples."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .. import checks
from ..checks import PixelBox, Scalar
from .codes import CODES

#: Descriptions of answers by their status.
Answers = dict[int | str, dict[str, Any]]

_BOX = "x1, y1, x2, y2 in pixels of the upright picture"


WHERE = (
    "column=value, such as `category=Dress`, exact within the filter; the same column twice: any "
    "of them; several columns: all"
)
FILTER = (
    "A filter, for instance `price < 50 and not colour = red`: `= != < <= > >=`, `in (a, b)`, "
    "`contains`, `is null`, `and`, `or`, `not` and brackets; beside `where`, both hold"
)


class Fault(BaseModel):
    """What is wrong, what was therefore not done, and what to do; and its code, which stays as it
    is, however the texts are worded."""

    code: str = Field(examples=["unreadable_picture"])
    cause: str = Field(examples=["lamp.txt is not an image of a format that is read here"])
    consequence: str = Field(examples=["The picture was not read"])
    cure: str = Field(examples=["Convert it to one of BMP, GIF, JPEG, PNG, TIFF, WebP"])


class ErrorAnswer(BaseModel):
    """Every error of the API."""

    error: Fault


class Item(BaseModel):
    """A picture of the catalogue."""

    id: str = Field(examples=["dresses/17.jpg"])
    path: str | None = Field(
        description="Below the folder that the index was made of; null elsewhere",
        examples=["dresses/17.jpg"],
    )
    metadata: dict[str, checks.Value] = Field(examples=[{"category": "Dress"}])
    box: PixelBox | None = Field(description=f"The item in it: {_BOX}; null for the whole picture")


class Match(Item):
    """A picture that was found."""

    distance: int | float = Field(
        description="hamming: bits that differ; otherwise a number, of ip below 0 as a rule",
        examples=[0.5312],
    )
    label: Literal["same item", "similar", "not similar"] | None = Field(
        description="What it is to the query; null where the catalogue cannot tell"
    )
    probability: float | None = Field(description="That the label is right; null without one")
    group: checks.Value = Field(description="With `group_by`: what it has in that column")
    views: int | None = Field(
        description="With `group_by`: pictures within the filter of the same thing, itself "
        "included; null where that is not known"
    )


class LabelsAnswer(BaseModel):
    """What the distances of one metric can tell in this catalogue."""

    same_item: bool = Field(description="Whether it can tell the same item")
    similar: bool = Field(description="Whether it can tell what is similar, and what is not")
    text: list[str] = Field(description="How well, or why not, in words")


class Result(BaseModel):
    """The nearest pictures by one distance, exactly: nearest first."""

    metric: str = Field(examples=["l2"])
    nothing_similar: bool = Field(description='There are matches, each "not similar"')
    milliseconds: float = Field(description="For its scan, with the wait for it")
    matches: list[Match]


class QueryAnswer(BaseModel):
    """What was searched for."""

    kept: str | None = Field(
        description="Of an upload: give it as `query` to search for the same picture again"
    )
    id: str | None = Field(description="Of a picture of the catalogue")
    width: int | None = Field(description="Of the upright picture, in pixels")
    height: int | None
    box: PixelBox | None = Field(
        description=f"The part that was searched for: {_BOX}; null for all"
    )
    box_from: str | None = Field(description='"you", "network" or "catalogue"')


class Timing(BaseModel):
    """Where the time went, in milliseconds, waiting included."""

    picture: float = Field(description="Reading, decoding, finding the box")
    features: float = Field(description="The network")
    search: float = Field(description="All scans")


class SearchAnswer(BaseModel):
    """A query and, for each metric asked for, its matches."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": {
                        "kept": "5d41402abc4b2a76b9719d911017c592", "id": None, "width": 800,
                        "height": 600, "box": [40, 60, 300, 420], "box_from": "network",
                    },
                    "results": [
                        {
                            "metric": "l2",
                            "nothing_similar": False,
                            "milliseconds": 12.3,
                            "matches": [
                                {
                                    "id": "dresses/17.jpg", "path": "dresses/17.jpg",
                                    "metadata": {"category": "Dress"}, "box": None,
                                    "distance": 0.5312, "label": "same item", "probability": 0.93,
                                    "group": None, "views": None,
                                }
                            ],
                        }
                    ],
                    "milliseconds": {"picture": 8.1, "features": 20.3, "search": 12.3},
                }
            ]
        }
    )  # fmt: skip

    query: QueryAnswer
    results: list[Result]
    milliseconds: Timing


class Items(BaseModel):
    """Some pictures of the catalogue."""

    items: list[Item]
    next: str | None = Field(
        description="Give it as `after`, with the same other parameters, for the next ones; null "
        "at the end"
    )
    total: int | None = Field(
        description="Pictures of the whole list; null in a very large catalogue, with a filter"
    )


class Value(BaseModel):
    """A value of a metadata column."""

    value: Scalar
    count: int = Field(description="Pictures that have it")


class Column(BaseModel):
    """A metadata column, to filter by."""

    name: str = Field(examples=["category"])
    kind: Literal["text", "number", "list"] = Field(
        description="number: each value is one, or a text that is; list: items have several values"
    )
    distinct: int | None = Field(description="Different values; null where they are very many")
    values: list[Value] = Field(
        description="All of them, the most common first, where they are few enough to choose from; "
        "else none: /api/values searches them"
    )
    min: float | None = Field(description="Of a column of numbers")
    max: float | None


class ValuesAnswer(BaseModel):
    """Values of a column."""

    column: str = Field(examples=["category"])
    kind: Literal["text", "number", "list"]
    values: list[Value] = Field(
        description="The most common first. The counts are of pictures that meet all filters but "
        "those of this column itself"
    )
    distinct: int = Field(description="How many values there are in all")
    min: float | None = Field(description="Of a column of numbers, under the other filters")
    max: float | None


class TitlesAnswer(BaseModel):
    """Which columns lead where pictures are shown: as was chosen, or as their names say."""

    title: str | None = Field(examples=["name"])
    price: str | None = Field(examples=["price"])
    link: str | None = Field(examples=["url"])
    columns: list[str] = Field(description="The others, in the order to show them in")


class Copy(Item):
    """A picture of a group of copies."""

    distance: int | float = Field(description="From the best copy of the group")
    kind: Literal["file", "pixels", "near"] = Field(
        description="What it is to the best copy: the same bytes, the same pixels, or nearly"
    )
    width: int | None = Field(description="Of the picture; null where it is gone")
    height: int | None
    bytes: int | None


class DuplicateGroup(BaseModel):
    """Pictures that are copies of one another, the best one first."""

    kind: Literal["file", "pixels", "near"]
    items: list[Copy]


class DuplicatesAnswer(BaseModel):
    """The last search for copies."""

    state: Literal["none", "running", "done", "failed"]
    done: int = Field(description="While it runs: rows compared, then pictures looked at")
    total: int = Field(description="Of so many")
    error: str = Field(description="Why it failed")
    changed: bool = Field(description="Whether the catalogue was changed since")
    groups: list[DuplicateGroup]
    groups_in_all: int
    copies: int = Field(description="Pictures that are copies of a better one")


class Limits(BaseModel):
    """What a request may ask for."""

    upload_bytes: int
    pixels: int
    k: int
    offset: int


class CatalogueAnswer(BaseModel):
    """What is served."""

    name: str = Field(examples=["photos.index"])
    pictures: int
    metrics: list[str]
    default_metric: str
    locates: bool = Field(description='Whether it can propose a box: box "auto"')
    boxed: bool = Field(
        description="Whether most items are parts of their pictures, each its box: then a query "
        "compares best as a part, too, and else as a whole picture"
    )
    views: list[str] = Field(
        description='What is held of an item: ["whole"], or ["whole", "box"] where a query is '
        "compared as a whole and as the part that shows the item, too, and the nearer counts"
    )
    columns: list[Column]
    titles: TitlesAnswer
    labels: dict[str, LabelsAnswer] = Field(description="By metric, once they are learnt")
    limits: Limits
    rating: bool = Field(description="Whether /rate asks for people's judgement")
    note: str


class Alive(BaseModel):
    """The process answers."""

    status: str = Field(examples=["ok"])


class Health(BaseModel):
    """Searches and ratings are answered."""

    status: str = Field(examples=["ok"])
    pictures: int


#: What every route can answer with.
_COMMON = (
    "bad_request", "bad_argument", "unauthorised", "wrong_host", "foreign_page", "too_slow",
    "too_large", "unknown_field", "invalid_field", "timeout", "ending", "full",
    "index_unavailable", "unavailable",
)  # fmt: skip


def errors(*codes: str) -> Answers:
    """The errors that every route can answer with, and those of `codes`, for OpenAPI: by status,
    with an example of each code."""
    found: Answers = {}
    for code, each in CODES.items():
        if code not in (*_COMMON, *codes):
            continue
        content: dict[str, Any] = {"application/json": {"examples": {}}}
        answer = found.setdefault(
            each.status, {"model": ErrorAnswer, "description": "", "content": content}
        )
        answer["description"] += f"`{code}`: {each.meaning}. "
        told = {
            "code": code, "cause": each.example, "consequence": "Nothing was done",
            "cure": "What to do, in words",
        }  # fmt: skip
        answer["content"]["application/json"]["examples"][code] = {
            "summary": each.meaning, "value": {"error": told},
        }  # fmt: skip
    return dict(sorted(found.items()))
