"""What an export was asked for, as one line that the file keeps: is a file that is there this one?

Read without ONNX Runtime and without the half gigabyte before it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
from collections.abc import Sequence
from pathlib import Path

from .weights import Source

#: Choices that a refusal names, beside that of the weights.
_NAMED = ("weights", "layer", "pool", "precision", "input_size", "resize", "preprocess", "binarize")

# A map entry of the metadata whose value is shorter than 128 bytes: name, tag, length, value.
_ENTRY = re.compile(rb"vsearch_fast\.([a-z_0-9]+)\x12([\x00-\x7f])", re.DOTALL)


def asked(
    source: Source, calibrate: Sequence[str | os.PathLike[str]], **choices: str | bool | int | None
) -> str:
    """Stands for weights, pictures to calibrate on and all `choices` that shape the file."""
    facts = [source.label, source.sha256, choices, [_stamp(Path(each)) for each in calibrate]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def held(file: Path) -> dict[str, str]:
    """The short entries of a file's metadata, by name; empty where it has none."""
    try:
        with (
            file.open("rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            found = {}
            # The metadata are behind the weights, and `asked` is the first of them.
            for match in _ENTRY.finditer(content, max(0, content.rfind(b"vsearch_fast.asked\x12"))):
                value = content[match.end() : match.end() + match[2][0]]
                found[match[1].decode()] = value.decode(errors="replace")
            return found
    except (OSError, ValueError):  # ValueError: it is empty
        return {}


def differences(there: dict[str, str], **choices: str | int | None) -> list[str]:
    """In words, of what a file says and what is asked for; choices that are None are open."""
    found = [
        f"{name.replace('_', ' ')} {there[name] or 'none'}, not {choices[name] or 'none'}"
        for name in _NAMED
        if name in there and choices.get(name) is not None and there[name] != str(choices[name])
    ]
    return found or (["from other weights, pictures or choices"] if there.get("asked") else [])


def _stamp(path: Path) -> list[str]:
    """The files at a path as they are now."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    stats = [(each, each.stat()) for each in files if each.exists()]
    return [f"{each.absolute()} {stat.st_size} {stat.st_mtime_ns}" for each, stat in stats]
