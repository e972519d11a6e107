"""Compile a kernel when it is first called, once per user and processor.

What was compiled is kept in a folder of the user that is named by a hash of all kernel sources
(Numba's own cache notices edits of the decorated function's file only, not of the helpers that it
inlines) and of the processor. Each kernel is one file, which begins with a hash of the rest: a
file that a power cut or a failing disk left damaged is compiled anew, and no other is touched.

Where the user's folder cannot be written, a private one beside the system's temporary files
takes its place; where that cannot be, kernels are compiled in each process.

The log ``vsearch_fast.kernels`` tells at level INFO what is compiled, and where it is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache, update_wrapper
from pathlib import Path
from threading import get_ident
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from llvmlite.binding import ffi
from numba.core import event
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from ..errors import ArgumentError
from ..loading import LOCK, held_over_forks, once
from ..machine import cache_root
from ..system import user
from ..threads import refuse_at_end

config: Any = numba.config  # its attributes are made at run time
log = logging.getLogger("vsearch_fast.kernels")

# LLVM's functions share a lock, which any thread may hold at a fork: who asks for the processor's
# name, or drops a compiled module. A child would wait for it for ever.
if (_llvm_lock := getattr(ffi.lib, "_lock", None)) is not None:
    held_over_forks(_llvm_lock)

_ENDING = ".kernel"
_HASH = hashlib.sha256
_HASH_BYTES = 32


def _name() -> str:
    """What the folder of compiled kernels is called."""
    digest = _HASH()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    # Numba can be told to compile for another processor than the host's.
    cpu = os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES") or sorted(
        name for name, there in binding.get_host_cpu_features().items() if there
    )
    versions = sys.implementation.cache_tag, numba.__version__, llvmlite.__version__
    digest.update(f"{cpu} {features} {versions}".encode())
    return f"kernels-{digest.hexdigest()[:16]}"


def _writable(folder: Path) -> Path:
    """The folder, made. OSError: nothing can be written there."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder


def _private() -> Path:
    """This user's own folder beside the system's temporary files.

    OSError: it cannot be made, or is another's: what lies in it is run.
    """
    own = user()
    folder = Path(tempfile.gettempdir(), f"vsearch_fast-{'user' if own is None else own}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or (
        own is not None and (found.st_uid != own or found.st_mode & 0o077)
    ):
        raise PermissionError(f"{folder} is not this user's alone")
    return folder


def folder() -> Path | None:
    """The folder of compiled kernels, made; None where nothing can be written."""
    name = _name()
    try:
        root = cache_root()
    except RuntimeError:  # there is no home folder
        root = None
    return _folder(root, name)


@once
def _folder(root: Path | None, name: str) -> Path | None:
    reason: object = "there is no home folder"
    if root is not None:
        try:
            return _writable(root / name)
        except OSError as error:
            reason = error
    try:
        found = _writable(_private() / name)
    except OSError:
        log.warning("Compiled kernels cannot be kept (%s): each process compiles its own", reason)
        return None
    log.warning("Compiled kernels are kept in %s (%s)", found, reason)
    return found


_numba: Any = numba  # whose stubs know not all of its options

#: Decorator of what kernels alone call: nothing is compiled for callers in Python or C. Pass it
#: int64 (``np.int64(0)``): for an int32, or a constant, all of it would be compiled once more.
within: Any = _numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)


class Kernel:
    """A ``nogil`` function in machine code, which is compiled or read when it is first called.

    Attributes:
        name: of the function.
    """

    def __init__(self, function: Callable, signatures: tuple[Any, ...]) -> None:
        update_wrapper(self, function)
        self.name = function.__name__
        self._function, self._signatures = function, signatures
        self._machine: Callable | None = None

    def __call__(self, *arguments: Any) -> Any:
        machine = self._machine
        if machine is None:
            prepare([self])
            machine = self._machine
            assert machine is not None
        return machine(*arguments)

    @property
    def ready(self) -> bool:
        """Whether it can be called at once."""
        return self._machine is not None

    def load(self, compiling: bool = True) -> bool:
        """Make it ready; if not `compiling`, only from its file. Returns whether it is."""
        with LOCK:
            if self._machine is None:
                dispatcher: Any = _numba.njit(nogil=True, no_cfunc_wrapper=True)(self._function)
                files = dispatcher._cache = _Files(self._function)
                for signature in self._signatures:
                    kept = files.load_overload(signature, dispatcher.targetctx)
                    if kept is None and not compiling:
                        return False
                    with _left_at_the_end():
                        dispatcher.compile(signature)
                dispatcher.disable_compile()
                self._machine = dispatcher
        return True


def compiled(*signatures: Any) -> Callable[[Callable], Kernel]:
    """Decorator: a `Kernel` with exactly these Numba signatures."""

    if config.DISABLE_JIT:
        raise ArgumentError(
            "Numba is told not to compile (NUMBA_DISABLE_JIT)",
            "The kernels cannot run: they are written for the compiler",
            "Unset NUMBA_DISABLE_JIT; vsearch_fast.kernels.reference needs no compiler",
        )
    return lambda function: Kernel(function, signatures)


class _Steps(event.Listener):
    """Is told of each step of the compiler, and ends it within where the interpreter ends."""

    def __init__(self) -> None:
        self._thread = get_ident()

    def on_start(self, event: Any) -> None:
        # Others may compile what is theirs meanwhile.
        if get_ident() == self._thread:
            refuse_at_end()

    def on_end(self, event: Any) -> None:
        """The next step will tell."""


@contextlib.contextmanager
def _left_at_the_end() -> Iterator[None]:
    """Compile something so that the end of the process waits for a step alone (0.5 s at most, of
    2 to 4 s for a kernel): `refuse_at_end` is asked between them."""
    steps = _Steps()
    with (
        event.install_listener("numba:run_pass", steps),
        event.install_listener("numba:llvm_lock", steps),
    ):
        yield


def prepare(kernels: Iterable[Kernel]) -> None:
    """Make kernels ready, and tell the log of those that must be compiled.

    Each is compiled under the lock by itself, so that a fork waits for one alone.
    """
    missing = [kernel for kernel in kernels if not kernel.ready and not kernel.load(False)]
    for number, kernel in enumerate(missing):
        refuse_at_end()
        if kernel.ready:  # another thread was here before
            continue
        # For whoever shows progress: how many of how many.
        log.info(
            "Compiling kernels, once for this processor: %s", kernel.name,
            extra={"done": number, "total": len(missing)},
        )  # fmt: skip
        start = time.perf_counter()
        kernel.load()
        log.debug("%s took %.1f s", kernel.name, time.perf_counter() - start)
    if missing:
        log.info(
            "Compiled kernels are kept in %s", folder() or "no file",
            extra={"done": len(missing), "total": len(missing)},
        )  # fmt: skip


@cache
def _source(file: str) -> bytes:
    try:
        return _HASH(Path(file).read_bytes()).digest()
    except OSError:
        return b""  # typed in


class _Files(NullCache):
    """What Numba asks for a function that was compiled, and hands one that it has compiled.

    Numba's own cache keeps an index, which a damaged file breaks, and knows no damage within one.
    """

    def __init__(self, function: Callable) -> None:
        self._function, self._folder = function, folder()
        self._found: dict[Path, Any] = {}

    def _file(self, signature: Any) -> Path | None:
        if self._folder is None:
            return None
        function: Any = self._function
        known = [
            cell.cell_contents
            for cell in function.__closure__ or ()
            if isinstance(cell.cell_contents, int | str)
        ]
        of = function.__module__, function.__qualname__, str(signature), known
        digest = _HASH(repr(of).encode() + function.__code__.co_code)
        digest.update(_source(function.__code__.co_filename))
        name = "".join(c if c.isalnum() else "_" for c in function.__name__)
        return Path(self._folder, f"{name}-{digest.hexdigest()[:16]}{_ENDING}")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function; None where there is none, or its file is damaged."""
        target_context.refresh()
        file = self._file(sig)
        if file is None:
            return None
        if file not in self._found:
            self._found[file] = _read(file, target_context)
        return self._found[file]

    def save_overload(self, sig: Any, cres: Any) -> None:
        file = self._file(sig)
        # Addresses that another process need not have.
        if file is None or cres.library.has_dynamic_globals:
            return
        content = dumps(cres._reduce())
        with contextlib.suppress(OSError):  # a full disk: the next process compiles again
            if file.is_dir():
                file.rmdir()
            handle, part = tempfile.mkstemp(dir=file.parent)
            try:
                with os.fdopen(handle, "wb") as out:
                    out.write(_HASH(content).digest() + content)
                os.replace(part, file)
            except BaseException:
                os.unlink(part)
                raise


def _read(file: Path, target_context: Any) -> Any:
    try:
        content = file.read_bytes()
    except OSError:  # there is none, or none that can be read; it is replaced
        return None
    if _HASH(content[_HASH_BYTES:]).digest() != content[:_HASH_BYTES]:
        with contextlib.suppress(OSError):
            file.unlink()
        return None
    try:
        return CompileResult._rebuild(target_context, *pickle.loads(content[_HASH_BYTES:]))
    except Exception as error:  # whatever strange content makes of it: compiled anew, and replaced
        log.debug("%s cannot be read: %r", file, error)
        return None
