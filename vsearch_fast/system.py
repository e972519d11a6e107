"""What operating systems do their own way: processes, signals, limits.

Windows has no fork, no limit of open files and fewer signals; macOS has no `/proc`. What asks for
any of it asks here, and is told how things stand or that nothing is known (files: `disk/files.py`).
All is decided by what Python has on a system, not by the system's name.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What stands for no limit.
UNLIMITED = 1 << 20

#: Status of a command that a signal ended: so many more than the signal's number.
_BY_SIGNAL = 128


def at_fork(
    *,
    before: Callable[[], Any] | None = None,
    after_in_parent: Callable[[], Any] | None = None,
    after_in_child: Callable[[], Any] | None = None,
) -> None:
    """Have functions called around every fork of this process, as `os.register_at_fork` does;
    nothing where there are no forks."""
    if not hasattr(os, "register_at_fork"):
        return
    given = {
        "before": before, "after_in_parent": after_in_parent, "after_in_child": after_in_child
    }  # fmt: skip
    os.register_at_fork(**{name: each for name, each in given.items() if each is not None})


def processors() -> int:
    """Processors that this process may run on; where the system does not tell, that it has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def user() -> int | None:
    """The number of this process's user; None where users have none."""
    return os.getuid() if hasattr(os, "getuid") else None


def average_load() -> float | None:
    """Processes that wanted to run in the last minute, on average; None where nobody counts."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def cache_sizes() -> list[int]:
    """Bytes of the processor's larger caches, as far as the system tells."""
    names = ("SC_LEVEL4_CACHE_SIZE", "SC_LEVEL3_CACHE_SIZE", "SC_LEVEL2_CACHE_SIZE")
    known = getattr(os, "sysconf_names", {})
    return [os.sysconf(name) for name in names if name in known]


def peak_memory() -> int | None:
    """The most bytes of memory that this process has had at once; None where nobody counts."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10  # KiB but on macOS


def may_open() -> int:
    """Files that this process may have open at once."""
    try:
        import resource
    except ImportError:
        return UNLIMITED
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return UNLIMITED if limit == resource.RLIM_INFINITY else limit


def ask_to_open(wanted: int) -> None:
    """Have the limit of open files raised to so many, or as far as this process may."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def may_still_open() -> int:
    """Files that this process may open beside those that it has, as far as it can be told."""
    limit = may_open()
    if limit >= UNLIMITED:
        return UNLIMITED
    try:
        # Those above a limit that was lowered since take nothing of it.
        return limit - sum(int(each) < limit for each in os.listdir("/dev/fd"))
    except OSError:  # none even for this look
        return 0


def stopped(process: int) -> bool:
    """Whether a process of this machine is stopped (SIGSTOP, or a debugger), as far as it can be
    told."""
    try:
        # The state follows the name, which is in brackets and may hold anything.
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"Tt"
    except (OSError, IndexError):
        return False


def c_library() -> ctypes.CDLL | None:
    """The C library's functions; None where a process has none of its own (Windows)."""
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):
        return None


def end_as_told(sig: int) -> None:
    """End this process at once, as the signal would have if nobody had asked for it. What calls
    this need not be the main thread, in which alone Python sets handlers."""
    if sig == signal.SIGINT:
        os._exit(_BY_SIGNAL + sig)  # as `terminal.console` ends
    library = c_library()
    if library is None:  # Windows: there are no such ends
        os._exit(_BY_SIGNAL + sig)
    library.signal(ctypes.c_int(sig), ctypes.c_void_p(0))
    os.kill(os.getpid(), sig)
