"""The hash by which files of the same bytes are known."""

from __future__ import annotations

import hashlib
import os

_HASH_BYTES = 16


def file_hash(path: str | os.PathLike[str]) -> str:
    """BLAKE2 of a file's bytes, 32 hexadecimal digits; OSError where it cannot be read."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_HASH_BYTES))
    return digest.hexdigest()
