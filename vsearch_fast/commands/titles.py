"""Which columns lead where pictures are shown, as `--title` says: kept in the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..index.titles import Titles, over
from ..terminal.console import tell

if TYPE_CHECKING:
    from ..index.index import Index


def show_as(index: Index, titles: Titles) -> None:
    """Keep what was chosen, beside what was chosen before, and warn of columns that no item has."""
    if titles == Titles():
        return
    index.show_as(over(titles, index.titles))
    warn_of_unknown(index, titles)


def warn_of_unknown(index: Index, titles: Titles) -> None:
    """Say which of the chosen columns no item has."""
    asked = [titles.title, titles.price, titles.link, *(titles.columns or ())]
    known = set(index.columns())
    for column in asked:
        if column is not None and column not in known:
            tell(f"Warning: no picture has the column {column!r}, which --title names.")
