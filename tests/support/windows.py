"""What Python lacks on Windows, and what Windows refuses, brought to a POSIX system.

`become_windows()` takes away functions, constants and modules that Windows' Python has not, for
the rest of the process, and has files behave as there: nobody removes, moves or replaces what is
open or mapped, no folder is opened, a flush needs the right to write, a rename takes nobody's
place. It runs in a process of its own, after third parties' packages were imported (they know
Windows; what they have asked of this system they keep), and before `vsearch_fast` is.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import fcntl
import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

_OS = """
    chown chroot confstr copy_file_range ctermid eventfd fchdir fchmod fchown fdatasync fork forkpty
    fpathconf fstatvfs get_blocking getegid geteuid getgid getgroups getloadavg getpgid getpgrp
    getpriority getresuid getsid getuid killpg lchown lockf major makedev memfd_create minor mkfifo
    mknod nice openpty pathconf pipe2 posix_fadvise posix_fallocate posix_spawn pread preadv
    pwrite pwritev register_at_fork sched_getaffinity sched_setaffinity sched_yield sendfile
    setgid setpgid setpriority setsid setuid splice statvfs sync sysconf sysconf_names tcgetpgrp
    ttyname uname unshare wait wait3 wait4 waitid WNOHANG WIFSIGNALED WTERMSIG
    O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_NOATIME O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC
    O_TMPFILE POSIX_FADV_DONTNEED POSIX_FADV_SEQUENTIAL POSIX_FADV_RANDOM POSIX_FADV_WILLNEED
"""
_SIGNALS = """
    SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2
    SIGXCPU SIGXFSZ alarm pause pthread_kill pthread_sigmask setitimer sigwait
"""
_MODULES = "fcntl grp posix pty pwd resource syslog termios tty"
_MMAP = """
    MAP_ANONYMOUS MAP_PRIVATE MAP_SHARED PROT_EXEC PROT_READ PROT_WRITE
    MADV_DONTNEED MADV_RANDOM MADV_SEQUENTIAL MADV_WILLNEED
"""

#: What these modules have not on Windows, by their documentation, as far as anybody asks for it.
OS_NAMES, SIGNALS, MMAP_NAMES = (frozenset(names.split()) for names in (_OS, _SIGNALS, _MMAP))
#: Modules that are not there.
MODULES = frozenset(_MODULES.split())


class InUse(PermissionError):
    """What Windows says of a file that somebody has open."""

    winerror = 32

    def __init__(self, path: Any) -> None:
        super().__init__(errno.EACCES, "it is being used by another process", str(path))


def open_files() -> Iterator[tuple[int, int]]:
    """Device and inode of all that this process has open or mapped."""
    for name in os.listdir("/proc/self/fd"):
        try:
            found = os.stat(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own
            continue
        if stat.S_ISREG(found.st_mode):
            yield found.st_dev, found.st_ino
    with builtins.open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            parts = line.split(None, 5)
            if len(parts) == 6 and parts[5].startswith("/"):
                major, minor = (int(part, 16) for part in parts[3].split(":"))
                # Of overlaid file systems the number of the device differs: the inode tells.
                yield (major << 8) | minor, int(parts[4])


def refuse_open(path: Any) -> None:
    """InUse for a file that is open or mapped, or a folder with one in it."""
    try:
        found = os.lstat(path)
    except OSError:
        return
    inodes = {inode for _, inode in open_files()}
    if stat.S_ISREG(found.st_mode) and found.st_ino in inodes:
        raise InUse(path)
    if stat.S_ISDIR(found.st_mode):
        for parent, _, names in os.walk(path):
            for name in names:
                refuse_open(os.path.join(parent, name))


def become_windows() -> None:
    """For the rest of this process."""
    real = {name: getattr(os, name) for name in ("open", "fsync", "unlink", "rename", "replace")}
    writes = (os.O_WRONLY, os.O_RDWR)

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        _refuse(dir_fd)
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        number: int = real["open"](path, flags | cloexec, mode)
        return number

    def flushed(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE not in writes:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real["fsync"](descriptor)

    def removed(path: Any, *, dir_fd: int | None = None) -> None:
        _refuse(dir_fd)
        # What Python's own module does on POSIX it does otherwise on Windows.
        if sys._getframe(1).f_globals.get("__name__") != "tempfile":
            refuse_open(path)
        real["unlink"](path)

    def mover(name: str) -> Callable[..., None]:
        def moved(
            source: Any, target: Any, *, src_dir_fd: Any = None, dst_dir_fd: Any = None
        ) -> None:
            _refuse(src_dir_fd, dst_dir_fd)
            if os.path.lexists(target) and (name == "rename" or os.path.isdir(target)):
                raise FileExistsError(errno.EEXIST, "File exists", str(target))
            refuse_open(source)
            refuse_open(target)
            real[name](source, target)

        return moved

    cloexec = os.O_CLOEXEC
    library = ctypes.CDLL

    def loaded(name: Any, *arguments: Any, **options: Any) -> Any:
        if name is None:
            raise TypeError("bad argument type for built-in operation")
        return library(name, *arguments, **options)

    import mmap

    for module, names in ((os, OS_NAMES), (signal, SIGNALS), (mmap, MMAP_NAMES)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for module_name in MODULES:
        sys.modules[module_name] = None  # type: ignore[assignment]  # importing it fails
    sys.builtin_module_names = (*sys.builtin_module_names, "msvcrt")
    os.supports_dir_fd.clear()
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]
    ctypes.CDLL = loaded  # type: ignore[assignment, misc]
    os.open, os.fsync = opened, flushed  # type: ignore[assignment]
    os.unlink = os.remove = removed
    os.rename, os.replace = mover("rename"), mover("replace")


def _refuse(*descriptors: int | None) -> None:
    if any(each is not None for each in descriptors):
        raise NotImplementedError("dir_fd unavailable on this platform")
