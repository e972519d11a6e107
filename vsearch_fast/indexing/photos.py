"""Where an index's pictures are now: its data may lie at another mount, or have been moved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import ArgumentError
from ..index.hits import Hit
from ..index.index import Index


class Photos:
    """Finds pictures by the paths that an index keeps.

    An index keeps a picture's whole path, as it was when it was indexed, and beside it, since
    it was made or last brought up to date by `vsearch index`, the folder that it follows.
    ``root``, if given, is where that folder is now.
    """

    def __init__(self, index: Index, root: str | os.PathLike[str] | None = None) -> None:
        self._then = followed(index)
        self._now = None if root is None else Path(os.path.abspath(root))
        if self._now is not None and not self._now.is_dir():
            raise ArgumentError(
                f"{root} is not a folder",
                "No picture was looked for",
                "Name the folder where the pictures of the index are now",
            )

    def __call__(self, path: str | None) -> str | None:
        """Where the picture of a stored path is now; a path outside the folder as it is.

        A path that is not whole, as programs may keep it, is one below the folder; in an index
        that follows none, below ``root``, or else below the working folder.
        """
        if path is None:
            return None
        if self._then is None:
            return path if self._now is None else os.path.join(self._now, path)
        whole = os.path.join(self._then, path)
        if self._now is None:
            return whole
        below = os.path.relpath(whole, self._then)
        if below == os.pardir or below.startswith(os.pardir + os.sep):
            return whole
        return str(self._now / below)

    def below(self, path: str | None) -> str | None:
        """The same path as one below the folder that the index follows, which says nothing of the
        machine; None where it is not below it."""
        if path is None or "://" in path:
            return None
        if self._then is None:
            inside = os.path.normpath(path)
        else:
            inside = os.path.relpath(os.path.join(self._then, path), self._then)
        out = os.path.isabs(inside) or inside.split(os.sep)[0] == os.pardir
        return None if out else inside

    def of(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits with the paths where their pictures are now."""
        return [hit if hit.path is None else replace(hit, path=self(hit.path)) for hit in hits]


def followed(index: Index) -> str | None:
    """The folder that an index was made of; None where it does not say.

    Indexes of older versions say it within their source's words.
    """
    root = index.model.get("root")
    if root is None:
        source = index.model.get("source") or ""
        root = source.split(", listed in ")[0].split(", partition ")[0]
    return root if isinstance(root, str) and os.path.isabs(root) else None
