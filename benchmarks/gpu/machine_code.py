"""Kernels as machine code: their instructions by loop, registers and shared memory.

NVIDIA's compiler and disassembler are those of the tests (the extra ``test``), or CUDA's.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vsearch_fast.errors import MissingDependencyError
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.device import Shape

# The binding of NVRTC that tests have: one is enough.
sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "support"))
import nvrtc

#: Where a pair is listed: what leads to this alone, and all behind it, is left out.
_LISTING = re.compile(r"^(ATOMG|ATOM)\b")
_LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(.*?);", re.MULTILINE)
_TARGET = re.compile(r"\b(?:BRA|CALL)\b.*?(0x[0-9a-f]+)")


@dataclass(frozen=True)
class Instruction:
    """One line: where it is, its name with what follows it, and where it may go on."""

    address: int
    name: str  # "LDS.128"
    conditional: bool
    target: int | None  # of a branch
    calls: int | None  # of a call
    ends: bool  # EXIT, RET


@dataclass(frozen=True)
class Loop:
    """A loop from its first address to its backward branch: instructions by name."""

    start: int
    stop: int
    names: Counter[str]

    def has(self, other: Loop) -> bool:
        return self is not other and self.start <= other.start and other.stop <= self.stop


@dataclass(frozen=True)
class Code:
    """A kernel's machine code, and how it is launched."""

    registers: int
    shape: Shape
    instructions: tuple[Instruction, ...]
    loops: tuple[Loop, ...]


@cache
def codes(unit: str, capability: tuple[int, int]) -> dict[str, Code]:
    """The kernels of a unit, compiled for a device that need not be there.

    Raises:
        MissingDependencyError: there is no compiler or no disassembler.
    """
    tool = _tool("cuobjdump"), _tool("nvdisasm")
    try:
        made = nvrtc.compile_source(
            sources.source(unit), f"{unit}.cu", (*sources.options(capability), "-ftz=true")
        )
    except nvrtc.Missing as error:
        raise _missing("NVRTC, CUDA's compiler in a library,") from error
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernels.cubin"
        file.write_bytes(made.cubin)
        usage, text = (_said(tool, what, file) for what in ("-res-usage", "-sass"))
    registers = dict(re.findall(r"Function (\S+):\s+REG:(\d+)", usage))
    _, *parts = re.split(r"^\s*Function : (\S+)$", text, flags=re.MULTILINE)
    return {
        name: code_of(int(registers[name]), _shape(made.ptx, name), body)
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def _tool(name: str) -> str:
    packaged = nvrtc.package_files(f"*/bin/{name}")
    found = str(packaged[0]) if packaged else shutil.which(name)
    if found is None:
        raise _missing(name)
    return found


def _missing(what: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"{what} is not there",
        "Nothing was predicted, as kernels could not be turned into machine code",
        "pip install nvidia-cuda-nvrtc nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm",
    )


def _said(tool: tuple[str, str], what: str, file: Path) -> str:
    cuobjdump, nvdisasm = tool  # the first calls the second, which it looks for on the path
    path = os.pathsep.join((str(Path(nvdisasm).parent), os.environ.get("PATH", "")))
    return subprocess.run(
        [cuobjdump, what, str(file)], env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def _shape(ptx: str, kernel: str) -> Shape:
    """The constant that `SHAPE` of the sources defines."""
    found = re.search(rf"\b{kernel}_shape\[(\d+)\] = \{{([^}}]*)\}}", ptx)
    assert found, kernel
    numbers = bytes(map(int, found[2].split(",")))
    return Shape(*struct.unpack("<7i", numbers.ljust(28, b"\0")))


def code_of(registers: int, shape: Shape, text: str) -> Code:
    """Machine code as the disassembler writes it."""
    instructions = tuple(_instruction(int(a, 16), line) for a, line in _LINE.findall(text))
    often = _often(instructions)
    # A loop may have several branches back (`continue`): the last one ends it.
    ends: dict[int, int] = {}
    for each in instructions:
        if each.target is not None and each.target < each.address:
            ends[each.target] = max(each.address, ends.get(each.target, 0))
    loops = tuple(
        Loop(start, stop, _names(often, start, stop)) for start, stop in sorted(ends.items())
    )
    return Code(registers, shape, often, loops)


def _names(instructions: tuple[Instruction, ...], start: int, stop: int) -> Counter[str]:
    return Counter(each.name for each in instructions if start <= each.address <= stop)


def _instruction(address: int, line: str) -> Instruction:
    words = line.split()
    conditional = words[0].startswith("@")
    name = words[1] if conditional else words[0]
    kind = name.split(".")[0]
    found = _TARGET.search(line)
    where = int(found[1], 16) if found else None
    # BRA.DIV is for warps whose threads have parted, which those of the kernels have not.
    target = where if kind == "BRA" and not name.startswith("BRA.DIV") else None
    calls = where if kind == "CALL" else None
    return Instruction(address, name, conditional, target, calls, kind in ("EXIT", "RET"))


def _often(instructions: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
    """Without what is done for a listed pair only: straight runs of instructions with an atomic
    addition in them, or a call of what has one, and those that are reached through these alone."""
    called = _called(instructions)
    listing = {a for a in called if _lists(instructions, a)}
    jumps = {a for a in called if not _function(instructions, a)}
    starts = {instructions[0].address} if instructions else set()
    for number, each in enumerate(instructions):
        if each.target is not None:
            starts.add(each.target)
        if each.calls in jumps:
            starts.add(each.calls)
        ended = each.target is not None or each.ends or each.calls in jumps
        if ended and number + 1 < len(instructions):
            starts.add(instructions[number + 1].address)
    runs: list[list[Instruction]] = []
    for each in instructions:
        if each.address in starts:
            runs.append([])
        runs[-1].append(each)
    place = {run[0].address: number for number, run in enumerate(runs)}

    def after(number: int) -> list[int]:
        last = runs[number][-1]
        to = last.calls if last.calls in jumps else last.target
        following = [place[to]] if to is not None else []
        goes_on = last.conditional or (last.target is None and not last.ends)
        return following + ([number + 1] if goes_on and number + 1 < len(runs) else [])

    rare = {
        number
        for number, run in enumerate(runs)
        if any(_LISTING.match(each.name) or each.calls in listing for each in run)
    }
    reached, left = set[int](), [0] if runs and 0 not in rare else []
    while left:
        number = left.pop()
        if number not in reached:
            reached.add(number)
            left += [n for n in after(number) if n not in rare]
    # What leads to a listed pair and nowhere else.
    changed = True
    while changed:
        dead = {n for n in reached if after(n) and all(other not in reached for other in after(n))}
        reached -= dead
        changed = bool(dead)
    return tuple(each for number in sorted(reached) for each in runs[number])


def _called(instructions: tuple[Instruction, ...]) -> set[int]:
    return {each.calls for each in instructions if each.calls is not None}


def _function(instructions: tuple[Instruction, ...], start: int) -> list[Instruction]:
    """A function that begins there, up to its return; empty where a call is but a jump within the
    kernel (as it is written for warps that wait for each other), which ends by EXIT."""
    found = []
    for each in instructions:
        if each.address >= start:
            found.append(each)
            if each.ends:
                return found if each.name.startswith("RET") else []
    return []


def _lists(instructions: tuple[Instruction, ...], start: int) -> bool:
    """Whether a function that begins there lists pairs."""
    return any(_LISTING.match(each.name) for each in _function(instructions, start))
