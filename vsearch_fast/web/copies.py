"""Duplicates of the catalogue: looked for once at a time, in a thread, and kept until asked anew.

The search compares every pair of items exactly, which takes minutes of a large catalogue: so it is
a job that is started, tells how far it is, and whose groups are then read page by page. Nothing of
the catalogue is changed: what to keep and what not is told as a table.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from ..checks import PixelBox
from ..errors import VsearchError
from ..images.looks import look
from ..index.duplicates import Duplicate, DuplicateGroup, Look
from ..index.duplicating import copies_within
from ..index.index import Index
from ..indexing.photos import Photos
from ..words import Metric
from .current import Current
from .exporting import cell, safe
from .faults import RequestError, code_of
from .settings import Settings

State = Literal["none", "running", "done", "failed"]

_NOT_COMPARED = "Nothing was compared"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of the last search: its groups, best copy first, once it is done.

    Attributes:
        done, total: rows compared, or then pictures looked at, and those there are.
        changed: whether the catalogue has been changed since.
        error: why it failed.
    """

    state: State
    groups: tuple[DuplicateGroup, ...] = ()
    done: int = 0
    total: int = 0
    changed: bool = False
    error: str = ""

    def extra(self) -> int:
        """Pictures that are copies of a better one."""
        return sum(len(group.items) - 1 for group in self.groups)


class Copies:
    """The duplicates of what is served; safe to use from several threads."""

    def __init__(
        self, current: Current, photos: Photos, settings: Settings, threads: int | None
    ) -> None:
        self._current, self._photos = current, photos
        self._settings, self._threads = settings, threads
        self._lock = threading.Lock()
        self._outcome = Outcome("none")
        self._mark: Hashable = None
        self._progress = (0, 0)

    def outcome(self) -> Outcome:
        """As it is now."""
        found = self._outcome
        if found.state == "running":
            done, total = self._progress
            return Outcome("running", done=done, total=total)
        if found.state == "done":
            changed = self._current.on(lambda opened: opened.index.mark()) != self._mark
            return Outcome("done", found.groups, changed=changed)
        return found

    def start(self, metric: Metric, within: float | None) -> None:
        """Begin to look for them.

        Raises:
            RequestError: a search is going on; too many items; an index that is elsewhere.
            ArgumentError: a distance that is none.
        """

        def check(index: Index) -> None:
            copies_within(metric, within, None, index.bits)
            most = self._settings.compared_items
            if len(index) > most:
                raise RequestError(
                    "too_many_items",
                    f"The catalogue holds {len(index):,} pictures, and copies are looked for among "
                    f"{most:,} at most here",
                    _NOT_COMPARED, "Use vsearch duplicates, where the index is",
                )  # fmt: skip
            if getattr(index, "address", None) is not None:
                raise RequestError(
                    "bad_argument", "The catalogue is searched on a cluster", _NOT_COMPARED,
                    "Use vsearch duplicates, where the index is",
                )  # fmt: skip

        self._current.on(lambda opened: check(opened.index))
        with self._lock:
            if self._outcome.state == "running":
                raise RequestError(
                    "busy_job", "Duplicates are looked for already", "No other search was begun",
                    "Wait until it is done: GET /api/duplicates",
                )  # fmt: skip
            self._outcome, self._progress = Outcome("running"), (0, 0)
        threading.Thread(target=self._run, args=(metric, within), daemon=True).start()

    def _run(self, metric: Metric, within: float | None) -> None:
        def progress(done: int, total: int) -> None:
            self._progress = done, total

        def seen(path: str, box: PixelBox | None) -> Look:
            return look(str(self._photos(path)), box, max_pixels=self._settings.max_pixels)

        try:
            with self._current.use() as opened:
                mark = opened.index.mark()
                groups = opened.index.duplicates(
                    metric=metric, within=within, look=seen, threads=self._threads,
                    progress=progress, looked=progress,
                )  # fmt: skip
            self._mark = mark
            self._outcome = Outcome("done", tuple(groups))
        except VsearchError as error:
            # What is not the client's to mend may name the server's folders.
            known = error.cause if code_of(error) == "bad_argument" else ""
            self._outcome = Outcome(
                "failed", error=known or "The index or a picture cannot be read"
            )
        except Exception:
            self._outcome = Outcome("failed", error="The search for duplicates was broken off")


def table(groups: tuple[DuplicateGroup, ...]) -> bytes:
    """CSV, a line a picture: the number and kind of its group, "keep" for the best copy and
    "remove" for the others, its id, distance from the best, size and bytes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["group", "kind", "action", "id", "distance", "width", "height", "bytes"])
    for number, group in enumerate(groups, 1):
        for place, copy in enumerate(group.items):
            writer.writerow([number, group.kind, "remove" if place else "keep", *_fields(copy)])
    return out.getvalue().encode("utf-8-sig", "replace")


def _fields(copy: Duplicate) -> list[str]:
    numbers = (copy.distance, copy.width, copy.height, copy.bytes)
    return [safe(copy.id), *map(cell, numbers)]
