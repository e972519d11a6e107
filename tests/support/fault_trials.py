"""In actors: an operation under a fault that its process survives, and what is right then."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fault_shim
import fault_truth
from fault_operations import BY_NAME, copy_of, judge
from fault_truth import Content

from vsearch_fast.errors import StoreError
from vsearch_fast.index import Index

#: What an error says where nothing of the call came about.
_NOTHING = re.compile(
    r"[Nn]othing was|None of the|[Nn]o threshold was|was not (opened|created|changed|made|written)"
)

#: What no error says of an index that is whole.
_DAMAGE = re.compile(r"damaged|Restore|cut short|missing", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A fault that a process lives on with.

    Attributes:
        kind: the shim's `do`, the name of a limit in `resource`, or "space".
        value: the number of the call; the limit (of files: how many more than are open, of
            memory: more than is taken); bytes that are left on the folder's file system.
    """

    kind: str
    value: int

    @contextlib.contextmanager
    def on(self, root: Path) -> Iterator[None]:
        if self.kind == "space":
            with _filled(root.with_name("filler"), self.value):
                yield
            return
        if not self.kind.startswith("RLIMIT"):
            fault_shim.arm(fault_shim.armed(root, at=self.value, do=self.kind))
            try:
                yield
            finally:
                fault_shim.arm("")
            return
        limit = getattr(resource, self.kind)
        soft, hard = resource.getrlimit(limit)
        value = self.value
        if self.kind == "RLIMIT_NOFILE":
            value += max(map(int, os.listdir("/proc/self/fd")))
        if self.kind == "RLIMIT_AS":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            value += pages * resource.getpagesize()
        resource.setrlimit(limit, (value, hard))
        try:
            yield
        finally:
            resource.setrlimit(limit, (soft, hard))


@contextlib.contextmanager
def _filled(file: Path, left: int) -> Iterator[None]:
    """With a file that leaves so many bytes of its disk."""
    state = os.statvfs(file.parent)
    with file.open("wb") as open_file:
        os.posix_fallocate(open_file.fileno(), 0, state.f_bavail * state.f_frsize - left)
    try:
        yield
    finally:
        file.unlink()


def disturbed(name: str, folder: Path, disturbance: Disturbance, go_on: bool) -> str:
    """The operation on the index in this folder under a fault. Returns how it ended, when all was
    right: "done" in spite of it, or "refused" in true words, with nothing lost, and done by the
    next try. With `go_on` it is written to afterwards.

    Raises:
        WrongError: an answer, a state or words that are not true.
    """
    operation = BY_NAME[name]
    error: BaseException | None = None
    index: Index | None = None
    with disturbance.on(folder.parent):
        try:
            if operation.change is None:
                index = fault_truth.create(folder)
            else:
                index = Index.open(folder, mode="rw")
                operation.change(index)
        except (StoreError, MemoryError) as raised:
            error = raised
    if index is not None:
        if error is not None:  # one that has refused goes on answering, and truly
            _check_truth(error, operation.states, fault_truth.check_open(index, operation.states))
        index.close()
    if error is None:
        judge(name, folder, True, go_on=go_on)
        return "done"
    _check_words(error)
    if operation.change is not None:
        state = fault_truth.check(folder, operation.states)
        _check_truth(error, operation.states, state)
        if operation.copy:
            shutil.rmtree(copy_of(folder), ignore_errors=True)
        if state == operation.states[0]:
            with Index.open(folder, mode="rw") as index:
                operation.change(index)
        judge(name, folder, True, go_on=go_on)
        return "refused"
    judge(name, folder, False)
    return "refused"


def _check_words(error: BaseException) -> None:
    if isinstance(error, MemoryError):
        return
    assert isinstance(error, StoreError)
    if not (error.cause and error.consequence and error.cure):
        raise fault_truth.WrongError(f"not worded: {error!r}")
    if _DAMAGE.search(f"{error.cause} {error.cure}"):
        raise fault_truth.WrongError(f"the index is whole, and it is said: {error}")


def _check_truth(error: BaseException, states: list[Content], state: Content) -> None:
    """An error says that nothing was done exactly where nothing was."""
    if isinstance(error, MemoryError) or states[0] == states[1]:
        return
    nothing = bool(_NOTHING.search(getattr(error, "consequence", "")))
    if nothing and state != states[0]:
        raise fault_truth.WrongError(f"it was done, and it is said: {error}")
    if not nothing and state == states[0]:
        raise fault_truth.WrongError(f"nothing was done, and it is not said: {error}")


def read_under(folder: Path, disturbance: Disturbance) -> str:
    """Reading alone, likewise."""
    state = [fault_truth.base()]
    try:
        with disturbance.on(folder.parent):
            fault_truth.check(folder, state)
    except (StoreError, MemoryError) as error:
        _check_words(error)
        fault_truth.check(folder, state)
        return "refused"
    return "done"
