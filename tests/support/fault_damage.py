"""Files of an index damaged, and whether the index notices."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fault_truth
from fault_stage import say
from fault_truth import Content, WrongError

from vsearch_fast.errors import StoreError
from vsearch_fast.index import Index

_SECTOR, _PAGE = 512, 4096


@dataclass(frozen=True)
class Sources:
    """An index, and where foreign bytes come from.

    Attributes:
        made: the index that is damaged, in the state `fault_truth.base()`.
        older: the same folder some commits ago, and `older_state` what it held.
        other: another index of the same shape, of other features.
    """

    made: Path
    older: Path
    older_state: Content
    other: Path


Damage = Callable[[random.Random, bytes], bytes]


def _flip_bit(numbers: random.Random, content: bytes) -> bytes:
    place = numbers.randrange(len(content))
    return _put(content, place, bytes([content[place] ^ 1 << numbers.randrange(8)]))


def _change_byte(numbers: random.Random, content: bytes) -> bytes:
    place = numbers.randrange(len(content))
    return _put(content, place, bytes([content[place] ^ numbers.randint(1, 255)]))


def _put(content: bytes, place: int, part: bytes) -> bytes:
    return (content[:place] + part + content[place + len(part) :])[: len(content)]


def _blank(size: int, noise: bool) -> Damage:
    def damage(numbers: random.Random, content: bytes) -> bytes:
        place = numbers.randrange(-(-len(content) // size)) * size
        return _put(content, place, numbers.randbytes(size) if noise else bytes(size))

    return damage


def _cut(numbers: random.Random, content: bytes) -> bytes:
    return content[: numbers.choice([0, numbers.randrange(len(content)), len(content) - 1])]


def _cut_to_sectors(numbers: random.Random, content: bytes) -> bytes:
    return content[: numbers.randrange(-(-len(content) // _SECTOR)) * _SECTOR]


def _longer(numbers: random.Random, content: bytes) -> bytes:
    return content + numbers.randbytes(numbers.choice([1, _SECTOR, _PAGE]))


#: What is done to the bytes of one file.
BYTES: dict[str, Damage] = {
    "a bit flipped": _flip_bit,
    "a byte changed": _change_byte,
    "a sector zeroed": _blank(_SECTOR, noise=False),
    "a page zeroed": _blank(_PAGE, noise=False),
    "a sector of noise": _blank(_SECTOR, noise=True),
    "cut": _cut,
    "cut to sectors": _cut_to_sectors,
    "longer": _longer,
}

#: What is put in the place of a file.
SWAPS = (
    "its older version", "another index's", "another segment's", "nothing",
    "a sector of its older version", "a sector of another index's",
)  # fmt: skip


def damage(numbers: random.Random, folder: Path, sources: Sources) -> tuple[str, str]:
    """Damage one file of the index; returns its name and what was done."""
    files = sorted(path for path in folder.iterdir() if path.stat().st_size)
    kinds = sorted({path.name.split("-")[0] for path in files})
    kind = numbers.choice(kinds)
    path = numbers.choice([path for path in files if path.name.split("-")[0] == kind])
    how = numbers.choice([*BYTES, *SWAPS])
    content = path.read_bytes()
    if how in BYTES:
        path.write_bytes(BYTES[how](numbers, content))
        return path.name, how
    if how == "nothing":
        path.unlink()
        return path.name, how
    source = path
    if how == "another segment's":
        source = numbers.choice([other for other in files if other.name.split("-")[0] == kind])
    elif "older" in how:
        source = sources.older / path.name
    else:
        source = sources.other / path.name
    there = source.read_bytes() if source.exists() else b""
    if "sector" in how:
        place = numbers.randrange(-(-len(content) // _SECTOR)) * _SECTOR
        path.write_bytes(_put(content, place, there[place : place + _SECTOR]))
    elif source.exists():
        path.write_bytes(there)
    else:
        path.unlink()
    return path.name, how


def judge_damage(place: Path, sources: Sources, seeds: range) -> None:
    """In an actor: says for each seed what was done, and what became of it:

    "detected"  a StoreError in full words, before any wrong answer
    "harmless"  everything was answered right, and (every third) written to and right again
    "older"     the database alone was put back to an older one, whose answers were all given right
    or what was answered wrong.
    """
    for seed in seeds:
        numbers = random.Random(seed)
        folder = place / str(seed)
        shutil.copytree(sources.made, folder)
        say((seed, None, damage(numbers, folder, sources)))
        try:
            verdict, why = _judge(folder, sources, seed)
        except Exception as error:
            verdict, why = "wrong", f"{type(error).__name__}: {error}"
        say((seed, verdict, why))
        shutil.rmtree(folder)


def _judge(folder: Path, sources: Sources, seed: int) -> tuple[str, str]:
    try:
        found = fault_truth.check(folder, [fault_truth.base(), sources.older_state])
        if seed % 3 == 0:
            fault_truth.go_on(folder, found)
    except StoreError as error:
        if not (error.cause and error.consequence and error.cure):
            raise WrongError(f"not worded: {error!r}") from error
        if _called_sound(folder):
            raise WrongError(f"verify calls it sound, and yet: {error}") from error
        return "detected", str(error)
    return ("harmless" if found == fault_truth.base() else "older"), ""


def _called_sound(folder: Path) -> bool:
    """Whether `Index.verify` finds nothing in an index that has refused to answer."""
    if not hasattr(Index, "verify"):
        return False
    try:
        with Index.open(folder) as index:
            return bool(index.verify().sound)
    except StoreError:
        return False
