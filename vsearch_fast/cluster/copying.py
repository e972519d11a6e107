"""Shards copied to the disk of the node that is to search them, compared with their checksums.

::

    node with the files                     node that searches
    Lender ── a backup of the shard ──┐
              sizes and checksums ────┼──> borrowed: pieces, some at a time, to a folder with
              pieces ─────────────────┘              another name; read again and compared; renamed

What is copied is one commit (`index.backing_up`), and is not changed afterwards: what is added to
the shard later is seen by whoever connects later.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from ..disk.files import flush_folder
from ..disk.writing import write_error
from ..errors import ClusterError, StoreError
from ..index.index import Index
from ..index.snapshot import State
from ..loading import package

#: Bytes of a file that are sent at a time, and pieces that are under way.
_PIECE, _AHEAD = 8 << 20, 3

_NOT_COPIED = "The shard was not copied, and is not searched there"


@dataclass(frozen=True, slots=True)
class Lent:
    """What there is to copy.

    Attributes:
        identity: of the index.
        state: in which it is.
        files: name, bytes and checksum (XXH3-128) of each.
    """

    identity: str
    state: State
    files: tuple[tuple[str, int, str], ...]


class Lender:
    """What an actor does on a node that has the files."""

    def __init__(self) -> None:
        self._held: dict[str, Path] = {}

    def call(self, name: str, *arguments: Any) -> tuple[Any, StoreError | None]:
        """As `Host.call`."""
        try:
            return getattr(self, name)(*arguments), None
        except StoreError as error:
            return None, error

    def lend(self, place: str) -> Lent:
        """Make a backup of the index in a folder, from which pieces are then read.

        It is beside the index, where files can be linked, or, where nothing may be written there,
        among the temporary ones.
        """
        folder = Path(place)
        beside = folder.parent if os.access(folder.parent, os.W_OK) else Path(tempfile.gettempdir())
        held = beside / f".{folder.name[:40]}.{secrets.token_hex(4)}.lent"
        with Index.open(folder) as index:
            index.backup(held)
            identity = index._store.meta.identity
        self._held[place] = held
        with Index.open(held) as made:
            state = made._store.state()
        files = [file for file in sorted(held.iterdir()) if file.is_file()]
        told = tuple((file.name, file.stat().st_size, checksum(file)) for file in files)
        return Lent(identity, state, told)

    def piece(self, place: str, name: str, start: int) -> bytes:
        """Some bytes of a file."""
        with (self._held[place] / name).open("rb") as file:
            file.seek(start)
            return file.read(_PIECE)

    def give_back(self, place: str) -> None:
        """Remove the backup."""
        shutil.rmtree(self._held.pop(place), ignore_errors=True)


def checksum(file: Path) -> str:
    """XXH3-128 of a file."""
    sum_ = xxhash.xxh3_128()
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            sum_.update(piece)
    return sum_.hexdigest()


def borrowed(lender: Any, place: str, target: str) -> Path:
    """The folder of a copy of a shard on this node, made where it is not there yet.

    Args:
        lender: the actor.
        place: the shard's folder on its node.
        target: the folder of copies on this one; may name variables and the home folder.

    Raises:
        StoreError: the shard cannot be read, or the copy not be written.
        ClusterError: it is not as it was sent.
    """
    folder = Path(os.path.abspath(os.path.expandvars(os.path.expanduser(target))))
    lent: Lent = _asked(lender, "lend", place)
    copy = folder / f"{Path(place).name[:40]}-{lent.identity[:16]}-{_tag(lent.state)}"
    try:
        if _is_same(copy, lent):
            return copy
        made = copy.with_name(f".{copy.name}.{secrets.token_hex(4)}.new")
        try:
            made.mkdir(parents=True)
            for name, size, sum_ in lent.files:
                _copied(lender, place, name, size, made / name)
                if checksum(made / name) != sum_:
                    raise ClusterError(
                        f"{made / name} is not as it was sent (checksum)", _NOT_COPIED,
                        "Connect again; if it stays, look at that node's disk",
                    )  # fmt: skip
            shutil.rmtree(copy, ignore_errors=True)  # one that is damaged
            with contextlib.suppress(OSError):  # another connection was first
                os.rename(made, copy)
            flush_folder(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise write_error(Path(error.filename or copy), error, _NOT_COPIED) from error
    finally:
        with contextlib.suppress(Exception):
            _asked(lender, "give_back", place)
    return copy


def _tag(state: State) -> str:
    return f"{state.generation}.{state.rows}.{state.edits}"


def _is_same(copy: Path, lent: Lent) -> bool:
    """Whether the copy is there, whole, and of this commit."""
    if not copy.is_dir():
        return False
    with contextlib.suppress(StoreError), Index.open(copy) as index:
        store = index._store
        same = store.meta.identity == lent.identity and store.state() == lent.state
        return same and index.verify().sound
    return False


def _copied(lender: Any, place: str, name: str, size: int, file: Path) -> None:
    """Write a file, of which some pieces are asked for ahead."""
    starts = deque(range(0, size, _PIECE))
    asked: deque[Any] = deque()
    with file.open("wb") as opened:
        while starts or asked:
            while starts and len(asked) < _AHEAD:
                asked.append(lender.call.remote("piece", place, name, starts.popleft()))
            opened.write(_got(asked.popleft()))
        opened.flush()
        os.fsync(opened.fileno())


def _asked(lender: Any, name: str, *arguments: Any) -> Any:
    return _got(lender.call.remote(name, *arguments))


def _got(answer: Any) -> Any:
    ray = package("ray")
    try:
        value, error = ray.get(answer)
    except ray.exceptions.RayError as lost:
        raise ClusterError(
            f"The node with the files was lost while a shard was copied: {type(lost).__name__}",
            _NOT_COPIED,
            "Connect again",
        ) from lost
    if error is not None:
        raise error
    return value
