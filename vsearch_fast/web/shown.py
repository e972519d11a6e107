"""Items, hits and errors as the API words them."""

from __future__ import annotations

from typing import Any

from ..index.duplicates import Duplicate
from ..index.hits import Hit
from ..index.items import Item
from . import schemas
from .catalogue import Catalogue
from .faults import RequestError
from .service import Searched


def item(catalogue: Catalogue, item: Item | Hit | Duplicate) -> dict[str, Any]:
    """The fields of `schemas.Item`: nothing of the server's folders."""
    return {
        "id": item.id, "path": catalogue.shown_path(item.path), "metadata": dict(item.metadata),
        "box": item.box,
    }  # fmt: skip


def result(catalogue: Catalogue, searched: Searched, group_by: str | None) -> schemas.Result:
    """What was found by one metric."""
    known = searched.likeness
    matches = []
    for place, hit in enumerate(searched.hits):
        label = None if known is None else known.label(hit.distance)
        match = schemas.Match(
            **item(catalogue, hit), distance=hit.distance,
            label=None if label is None else label.words,
            probability=None if label is None else round(label.probability, 4),
            group=None if group_by is None else hit.metadata.get(group_by),
            views=None if searched.views is None else searched.views[place],
        )  # fmt: skip
        matches.append(match)
    return schemas.Result(
        metric=searched.metric,
        nothing_similar=bool(matches) and all(m.label == "not similar" for m in matches),
        milliseconds=round(searched.seconds * 1000, 2),
        matches=matches,
    )


def no_such_page() -> RequestError:
    """For addresses that lead nowhere."""
    return RequestError(
        "not_found", "There is nothing at this address", "Nothing was done",
        "The API is described at /docs",
    )  # fmt: skip
