"""A process that has loaded the package and forks one *actor* a task: cases of a few milliseconds.

What tests run in actors are functions of modules of this folder; each actor may be armed
(`fault_shim.py`) before its function begins. An actor reports by `say`, and at its end what the
function returned or raised.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

#: Seconds after which an actor that has not ended counts as hanging.
WATCHDOG = 60.0

#: In an actor: how it reports to its test.
_reports: Connection | None = None


def say(word: object) -> None:
    """Tell the test that started this actor."""
    assert _reports is not None
    _reports.send(("said", word))


@dataclass(frozen=True, slots=True)
class Ending:
    """How an actor ended.

    Attributes:
        status: its exit code, below 0 the signal that ended it; None where it hung and was killed.
        said: what it had reported.
        result: what its function returned.
        error: what it raised instead: the class's name, a StoreError's three parts, the text.
    """

    status: int | None
    said: list[Any]
    result: Any = None
    error: Raised | None = None

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception of an actor."""

    kinds: tuple[str, ...]
    text: str
    parts: tuple[str, str, str] | None
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        parts = None
        if hasattr(error, "cure"):
            parts = (error.cause, error.consequence, error.cure)  # type: ignore[attr-defined]
        kinds = tuple(kind.__name__ for kind in type(error).__mro__)
        return cls(kinds, str(error), parts, "".join(traceback.format_exception(error)))

    @property
    def worded(self) -> bool:
        """Whether it is an error of the package with cause, consequence and cure."""
        return self.parts is not None and all(self.parts)


class Actor:
    """A process at work on a task."""

    def __init__(self, stage: Stage, pid: int, reports: Connection) -> None:
        self.pid = pid
        self._stage, self._reports = stage, reports
        self._said: list[Any] = []

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def hear(self, seconds: float = WATCHDOG) -> Any:
        """Its next report; None when it ended without one, TimeoutError when it says nothing."""
        if not self._reports.poll(seconds):
            raise TimeoutError(f"actor {self.pid} says nothing")
        try:
            kind, word = self._reports.recv()
        except (EOFError, OSError):
            return None
        if kind != "said":
            self._last = word
            return None
        self._said.append(word)
        return word

    _last: tuple[Any, Raised | None] = (None, None)

    def ending(self, seconds: float = WATCHDOG) -> Ending:
        """Wait for its end; kill it when that takes longer."""
        limit = time.monotonic() + seconds
        hung = False
        while True:
            try:
                if self.hear(max(0.0, limit - time.monotonic())) is None:
                    break
            except TimeoutError:
                hung = True
                break
        if hung:
            self.signal(signal.SIGKILL)
        status = self._stage._ask("reap", self.pid)
        self._reports.close()
        result, error = self._last
        return Ending(None if hung else status, self._said, result, error)


class Stage:
    """The process that actors are forked from.

    Args:
        library: what `fault_shim.build` made, to load beneath it.
    """

    def __init__(self, library: Path | None = None) -> None:
        ours, theirs = socket.socketpair()
        support = Path(__file__).resolve().parent
        paths = [str(support), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        if library is not None:
            environment["LD_PRELOAD"] = str(library)
        self._process = subprocess.Popen(
            [sys.executable, str(support / "fault_stage.py"), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=environment,
        )
        theirs.close()
        self._socket = ours
        if not ours.recv(1):
            raise RuntimeError("the stage could not be set up: its errors are above")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()
        self._process.wait(timeout=120)

    def start(self, function: Callable[..., Any], *arguments: Any, arm: str = "") -> Actor:
        """An actor that calls the function with these arguments."""
        name = f"{function.__module__}:{function.__qualname__}"
        reader, writer = os.pipe()
        pid = self._ask("fork", (name, arguments, arm), writer)
        os.close(writer)
        return Actor(self, pid, Connection(reader, writable=False))

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        arm: str = "",
        seconds: float = WATCHDOG,
    ) -> Ending:
        """What becomes of an actor."""
        return self.start(function, *arguments, arm=arm).ending(seconds)

    def _ask(self, what: str, about: Any, *files: int) -> int:
        request = pickle.dumps((what, about))
        socket.send_fds(self._socket, [len(request).to_bytes(8, "little")], list(files))
        self._socket.sendall(request)
        return int.from_bytes(_exactly(self._socket, 8), "little", signed=True)


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = source.recv(size - len(data))
        if not more:
            raise EOFError("the stage has ended")
        data += more
    return data


# In the stage


def serve(control: socket.socket) -> None:
    """Fork actors and collect them, as asked, until the test's end of the socket is closed."""
    control.sendall(b".")
    while True:
        size, files, _, _ = socket.recv_fds(control, 8, 1)
        if not size:
            return
        what, about = pickle.loads(_exactly(control, int.from_bytes(size, "little")))
        if what == "fork":
            answer = os.fork()
            if answer == 0:
                control.close()
                act(Connection(files[0], readable=False), *about)
            os.close(files[0])
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(about, 0)[1])
        control.sendall(answer.to_bytes(8, "little", signed=True))


def act(reports: Connection, name: str, arguments: tuple[Any, ...], words: str) -> None:
    """In an actor: do the task and end."""
    _this()._reports = reports
    result, raised = None, None
    try:
        module, _, function = name.partition(":")
        task = getattr(importlib.import_module(module), function)
        if words:
            import fault_shim

            fault_shim.arm(words)
        result = task(*arguments)
    except BaseException as error:
        raised = Raised.of(error)
    with contextlib.suppress(OSError):
        reports.send(("end", (result, raised)))
    os._exit(0)


def _this() -> Any:
    """This module by the name that actors' functions import it by, not as ``__main__``."""
    return importlib.import_module("fault_stage")


if __name__ == "__main__":
    import fault_warm  # noqa: F401

    _this().serve(socket.socket(fileno=int(sys.argv[1])))
