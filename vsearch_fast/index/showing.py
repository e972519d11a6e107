"""What a notebook shows of an `Index`."""

from __future__ import annotations

from typing import Any

from .. import notebook
from ..errors import VsearchError
from ..words import plural

#: Pictures that are shown, the first ones, and columns that are named.
_PICTURES, _COLUMNS = 6, 30


class Showing:
    """A part of `Index`."""

    def _repr_html_(self) -> str:
        index: Any = self
        name = type(self).__name__
        try:
            lines, items = _facts(index), index.page(_PICTURES)[0]
        except VsearchError as error:  # closed, or out of reach
            parts = [notebook.heading(name, str(index.path)), notebook.heading("", str(error))]
            return notebook.whole(parts, name)
        tiles = [
            notebook.Tile(item.path, item.box, notebook.file_name(item.path, item.id), item.id)
            for item in items
        ]
        parts = [notebook.heading(name, str(index.path)), notebook.table(lines)]
        return notebook.whole([*parts, notebook.row(tiles)] if tiles else parts, name)


def _facts(index: Any) -> list[tuple[str, str]]:
    state = index._store.state()
    views = f", views {' and '.join(index.views)}" if len(index.views) > 1 else ""
    items = f"{state.rows - state.removed:,}"
    if state.removed:
        items += f" (and {plural(state.removed, 'removed row')}, which vsearch compact drops)"
    lines = [("items", items), ("features", f"{index.dim:,} numbers, {index.dtype}{views}")]
    if index.bits != index.dim or index.binarize != "zero":
        lines.append(("codes", f"{index.bits:,} bits, {index.binarize}"))
    lines.append(("model", index.model_id or "not named"))
    columns = index.columns()
    more = f" and {len(columns) - _COLUMNS} more" if len(columns) > _COLUMNS else ""
    lines.append(("metadata", (", ".join(columns[:_COLUMNS]) or "none") + more))
    if hasattr(index, "shards"):
        lines.append(("shards", f"{len(index.shards):,}"))
    return lines
