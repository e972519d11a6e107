"""Pictures by path or by address: ``s3://bucket/a.jpg``, ``gs://...``, ``memory://...``.

An address is read by pyarrow's file systems (file, s3, gs, abfs, hdfs), any other by fsspec's of
its scheme, with the credentials that these find in the environment.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from ..errors import MissingDependencyError
from ..images.refusals import refusal
from ..index.items import Item
from ..indexing.content import hashed_stamp
from .embedding_units import Asked

_HASH_BYTES = 16


def is_address(path: str) -> bool:
    """Whether it says a scheme, as a path on this machine does not."""
    scheme, colon, _ = path.partition("://")
    return bool(colon) and scheme.replace("+", "").replace("-", "").isalnum()


@lru_cache(64)
def _file_system(start: str) -> Any:
    """pyarrow's file system of ``SCHEME://HOST``; fsspec's where pyarrow has none."""
    from pyarrow import ArrowInvalid, fs

    try:
        return fs.FileSystem.from_uri(start + "/")[0]
    except (ArrowInvalid, NotImplementedError):
        import fsspec

        scheme = start.partition("://")[0]
        try:
            return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
        except (ValueError, ImportError) as error:
            raise MissingDependencyError(
                f"Nothing here reads addresses of {scheme}:// ({error})",
                "No picture was read there",
                "Install the package of fsspec for it on every node",
            ) from error


def opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and the file's name there."""
    scheme, _, rest = address.partition("://")
    host, slash, name = rest.partition("/")
    if scheme == "file":
        return _file_system("file://"), slash + name
    if scheme == "memory":
        return _file_system("memory://"), rest
    # A bucket is the first part of a name.
    return _file_system(f"{scheme}://{host}"), f"{host}/{name}"


def fetched(address: str) -> bytes:
    """The bytes of the picture at an address; ImageError in the words of one on a disk."""
    system, name = opened(address)
    try:
        with system.open_input_stream(name) as file:
            data: bytes = file.read()
        return data
    except FileNotFoundError as error:
        raise refusal(f"{address} does not exist", "Check the path") from error
    except OSError as error:
        raise refusal(
            f"{address} cannot be opened ({' '.join(str(error).split())})",
            "Check the path and its permissions",
        ) from error


def source_of(picture: Asked) -> tuple[str | bytes, str | None]:
    """What `images.load` takes for a picture, and its stamp with the hash of its file.

    A file on a disk is hashed when it was read: `stamp_when_read`.

    Raises:
        ImageError: an address at which nothing can be read.
    """
    if not is_address(picture.path):
        return picture.path, picture.stamp
    data = fetched(picture.path)
    digest = hashlib.blake2b(data, digest_size=_HASH_BYTES).hexdigest()
    stamp = picture.stamp or f"{len(data)}:"
    return data, f"{stamp}:{digest}" if stamp.count(":") == 1 else stamp


def stamp_when_read(picture: Asked, stamp: str | None) -> str | None:
    """The stamp of a picture whose file was read: of one on a disk with its hash, where the file
    is still what the stamp says."""
    if is_address(picture.path):
        return stamp
    return hashed_stamp(Item("-", picture.path, stamp=picture.stamp))
