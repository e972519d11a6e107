"""What is done to an index while faults are injected: by name, with the states it may leave.

A new call of `Index` that writes is one more line of `OPERATIONS`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fault_truth
from fault_shim import mark
from fault_stage import say
from fault_truth import Content, Row, ids, put

from vsearch_fast.errors import StoreError
from vsearch_fast.index import Index

#: `Any`, for what an older `Index` has not.
Change = Callable[[Any], Any]


@dataclass(frozen=True)
class Operation:
    """One committing call.

    Attributes:
        name: of the operation.
        change: the call, of an index opened for writing; None for `create`.
        after: the state that it leaves, from the one before; None where it stays the same.
        copy: it makes a second index, at `copy_of` of the first.
    """

    name: str
    change: Change | None
    after: Callable[[Content], Content] | None = None
    copy: bool = False

    @property
    def states(self) -> list[Content]:
        """Before and after."""
        before = fault_truth.base()
        return [before, before if self.after is None else self.after(before)]


def copy_of(folder: Path) -> Path:
    """Where `backup` puts the copy of an index: beside it, and also beneath the shim's root."""
    return folder.with_name("copy")


def _fresh(start: int, stop: int) -> list[Row]:
    return [Row(id_, 3) for id_ in ids(start, stop)]


def _other(step: int) -> list[Row]:
    return [Row(row.id, 4, 4) for row in fault_truth.base().rows[5:120:step]]


_FEW = _fresh(1000, 1005)
_GONE = [row.id for row in fault_truth.base().rows[4:130:9]]
_MARKED = [row.id for row in fault_truth.base().rows[1:110:6]]


def _update(index: Index) -> None:
    rows = [row for row in fault_truth.base().marked(_MARKED, 5).rows if row.id in set(_MARKED)]
    index.update([row.item() for row in rows])


def _thresholds(content: Content) -> Content:
    return Content(content.rows, frozenset(["l2"]), content.note)


def _all_at_once(index: Any) -> None:
    with index.transaction():
        index.remove(_GONE)
        put(index, _fresh(1000, 1080))
        index.update([row.item() for row in _marked_in_transaction()])


def _marked_in_transaction() -> list[Row]:
    content = fault_truth.base().removed(_GONE).marked(_MARKED, 5)
    return [row for row in content.rows if row.mark == 5]


def _after_all(content: Content) -> Content:
    fresh = content.removed(_GONE).added(_fresh(1000, 1080))
    return fresh.marked([row.id for row in _marked_in_transaction()], 5)


OPERATIONS: list[Operation] = [
    Operation("add", lambda i: put(i, _fresh(1000, 1080)), lambda c: c.added(_fresh(1000, 1080))),
    Operation("add few", lambda i: put(i, _FEW), lambda c: c.added(_FEW)),
    Operation("replace", lambda i: put(i, _other(5), replace=True), lambda c: c.added(_other(5))),
    Operation("remove", lambda i: i.remove(_GONE), lambda c: c.removed(_GONE)),
    Operation("update", _update, lambda c: c.marked(_MARKED, 5)),
    Operation("calibrate", lambda i: i.calibrate("l2", threads=1), _thresholds),
    Operation(
        "describe",
        lambda i: i.describe({**fault_truth.MODEL, "note": "y"}),
        lambda c: Content(c.rows, c.thresholds, "y"),
    ),
    Operation("create", None),
]  # fmt: skip
if hasattr(Index, "compact"):
    OPERATIONS.append(Operation("compact", lambda i: i.compact()))
if hasattr(Index, "transaction"):
    OPERATIONS.append(Operation("transaction", _all_at_once, _after_all))
if hasattr(Index, "backup"):
    OPERATIONS.append(Operation("backup", lambda i: i.backup(copy_of(i.path)), copy=True))
if hasattr(Index, "optimize"):
    OPERATIONS.append(Operation("optimize", lambda i: i.optimize()))
    OPERATIONS.append(Operation("join", lambda i: i.optimize(segment_rows=4096)))

BY_NAME = {operation.name: operation for operation in OPERATIONS}


def prepare(place: Path, operation: Operation, made: Path) -> Path:
    """A new folder `place` with what the operation begins with, from the base index `made`;
    returns the index's own folder in it."""
    place.mkdir()
    folder = place / "index"
    if operation.change is not None:
        shutil.copytree(made, folder)
    return folder


def perform(name: str, folder: Path) -> None:
    """In an actor: the operation on the index in this folder; says what has returned."""
    operation = BY_NAME[name]
    if operation.change is None:
        fault_truth.create(folder)
        done()
        return
    with Index.open(folder, mode="rw") as index:
        operation.change(index)
        done()


def done() -> None:
    """Tell, and note in the shim's log, that an operation has returned."""
    say("done")
    mark("done")


def judge(name: str, folder: Path, done: bool, *, go_on: bool = True) -> str:
    """In an actor: what a fault has left is one of the states that it may leave, and can be
    written to. Returns which: "before", "after", "same" where they are equal.

    Args:
        done: the operation had returned, so that nothing but its end is right.
        go_on: write to it as well.
    """
    operation = BY_NAME[name]
    if operation.change is None:
        return _judge_new(folder, done)
    states = operation.states
    if operation.copy:
        _judge_copy(folder, states[0], done)
    return judge_states(folder, states[1:] if done else states, go_on=go_on)


def judge_states(folder: Path, states: list[Content], *, go_on: bool) -> str:
    """The index is in one of these states, the last of which is the end."""
    found = fault_truth.check(folder, states)
    if go_on:
        fault_truth.go_on(folder, found)
    return (
        "same" if len(set(states)) < len(states) else "after" if found == states[-1] else "before"
    )


def _judge_new(folder: Path, done: bool) -> str:
    empty = Content()
    state = "after"
    try:
        fault_truth.check(folder, [empty])
    except StoreError as error:
        nothing = not folder.exists() or not any(folder.iterdir())
        if done or not (nothing or "Create it again" in error.cure):
            raise
        state = "before"
    fault_truth.create(folder).close()
    fault_truth.go_on(folder, fault_truth.check(folder, [empty]))
    return state


def _judge_copy(folder: Path, content: Content, done: bool) -> None:
    copy = copy_of(folder)
    try:
        fault_truth.check(copy, [content])
    except StoreError:
        if done:
            raise
    else:
        fault_truth.go_on(copy, content)
    again = copy.with_name("copy again")
    with Index.open(folder) as opened:
        index: Any = opened
        index.backup(again)
    fault_truth.check(again, [content])
