"""The file that an export writes: beside its place first, and errors that name it."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..disk.replacing import unfinished
from ..errors import ExportError


@contextlib.contextmanager
def temporary_beside(target: Path) -> Iterator[Path]:
    """An empty file in the target's folder, gone afterwards unless it was moved away.

    Made before anything else, so that a wrong folder is known before the work.
    """
    if target.is_dir():
        raise ExportError(
            f"The output {target} is a folder", "Nothing was exported", "Name a file in it"
        )
    with unfinished(target) as temporary:
        with writing(target):
            temporary.touch(exist_ok=False)
        yield temporary


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn the system's errors of writing into ExportErrors about ``target``."""
    try:
        yield
    except OSError as error:
        raise _not_written(target, error) from error


def _not_written(target: Path, error: OSError) -> ExportError:
    folder = target.parent
    cures = {
        errno.ENOENT: f"Create the folder first: mkdir -p {folder}",
        errno.ENOTDIR: f"{folder} is not a folder; choose another --output",
        errno.EACCES: "Choose another --output, or get the right to write there",
        errno.EROFS: "Choose an --output on a disk that can be written",
        errno.ENOSPC: "Free some space (the full VGG-16 takes 0.5 GiB), or choose an --output "
        "on another disk",
        errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or choose an --output on "
        "another disk",
    }
    cures[errno.EDQUOT] = cures[errno.ENOSPC]
    cures[errno.EPERM] = cures[errno.EACCES]
    # ONNX Runtime's quantiser keeps files in the system's folder for temporary ones.
    system = tempfile.gettempdir()
    if str(error.filename or "").startswith(system) and not str(folder).startswith(system):
        cures[errno.ENOSPC] = f"Free some space in {system}, or set TMPDIR to a folder with more"
    return ExportError(
        f"The model cannot be written to {target} ({error.strerror or error})",
        "Nothing was written, and an older file of that name is as it was",
        cures.get(error.errno or 0, "Check the disk and the path"),
    )
