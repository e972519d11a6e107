"""The portable micro-kernels as code for 64-bit Arm: compiled here, read, and run in emulation.

LLVM, which Numba brings, compiles for Arm on any machine. Each intrinsic of the kernels becomes a
function ``int64 name(const int64 *arguments, int64 *results)``, free of Numba's runtime, so that a
C compiler for Arm can link them with `arm_driver.c` and ``qemu-aarch64`` run them.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import types
from numba.core.registry import cpu_target

TRIPLE = "aarch64-unknown-linux-gnu"
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"

_I64 = ir.IntType(64)
_DRIVER = Path(__file__).with_name("arm_driver.c")


@dataclass(frozen=True)
class MicroKernel:
    """An intrinsic with its constants, and the Numba types of its other arguments."""

    name: str
    intrinsic: Any
    constants: tuple[int, ...]
    arguments: tuple[Any, ...]


def missing_tools() -> list[str]:
    """What running needs and this machine lacks."""
    return [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]


@cache
def _target() -> binding.Target:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding.Target.from_triple(TRIPLE)


def machine(cpu: str) -> binding.TargetMachine:
    """LLVM's back end for a processor, with Numba's own options."""
    return _target().create_target_machine(cpu=cpu, opt=3, reloc="pic", codemodel="default")


def _widened(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    if isinstance(value.type, ir.DoubleType):
        return builder.bitcast(value, _I64)
    return builder.zext(value, _I64) if value.type.width < 64 else value


def _emit(module: ir.Module, kernel: MicroKernel) -> None:
    context = cpu_target.target_context
    constants = [types.literal(value) for value in kernel.constants]
    signature, codegen = kernel.intrinsic._defn(
        cpu_target.typing_context, *constants, *kernel.arguments
    )
    pointer = _I64.as_pointer()
    function = ir.Function(module, ir.FunctionType(_I64, [pointer, pointer]), kernel.name)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    given, results = function.args
    values: list[ir.Value] = [ir.Constant(_I64, value) for value in kernel.constants]
    for i, kind in enumerate(kernel.arguments):
        value = builder.load(builder.gep(given, [ir.Constant(_I64, i)]))
        if kind == types.float32:
            value = builder.bitcast(builder.trunc(value, ir.IntType(32)), ir.FloatType())
        elif kind == types.float64:
            value = builder.bitcast(value, ir.DoubleType())
        values.append(value)
    result = codegen(context, builder, signature, values)
    returned = signature.return_type
    parts = []
    if isinstance(returned, types.UniTuple):
        parts = [builder.extract_value(result, i) for i in range(returned.count)]
    elif returned != types.none:
        parts = [result]
    for i, part in enumerate(parts):
        builder.store(_widened(builder, part), builder.gep(results, [ir.Constant(_I64, i)]))
    builder.ret(ir.Constant(_I64, len(parts)))


def optimised(kernels: Sequence[MicroKernel], cpu: str) -> binding.ModuleRef:
    """A module of the kernels, as Numba would optimise it on such a processor."""
    back = machine(cpu)
    module = ir.Module("micro_kernels")
    module.triple, module.data_layout = TRIPLE, str(back.target_data)
    for kernel in kernels:
        _emit(module, kernel)
    return through_passes(str(module), cpu)


def through_passes(text: str, cpu: str) -> binding.ModuleRef:
    """LLVM's IR for Arm, with the passes that Numba lets run."""
    parsed = binding.parse_assembly(text)
    parsed.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    passes = binding.create_pass_builder(machine(cpu), options)
    passes.getModulePassManager().run(parsed, passes)
    return parsed


# Reading machine code


@dataclass(frozen=True)
class Instruction:
    """A line of assembly."""

    name: str
    operands: str

    @property
    def is_vector(self) -> bool:
        """Whether it works on a whole vector register, or loads or stores one or two."""
        if re.search(r"\bv\d+\.\d+[bhsd]\b", self.operands):
            return True
        return self.name in ("ldr", "str", "ldp", "stp", "ldur", "stur") and (
            re.match(r"q\d+", self.operands) is not None
        )

    @property
    def is_lane_of_memory(self) -> bool:
        """Whether it moves one lane between a vector and memory, or a general register."""
        moved = re.search(r"\bv\d+\.[bhsd]\[\d+\]", self.operands) is not None
        return moved and self.name in ("ins", "mov", "umov", "smov", "ld1", "st1")


@dataclass(frozen=True)
class Code:
    """A function's instructions, and those of each of its innermost loops."""

    instructions: tuple[Instruction, ...]
    loops: tuple[tuple[Instruction, ...], ...]

    @property
    def hot(self) -> tuple[Instruction, ...]:
        """The innermost loop of most vector instructions; all of it where nothing loops."""

        def weight(loop: tuple[Instruction, ...]) -> int:
            return sum(i.is_vector for i in loop)

        best = max(self.loops, key=weight, default=())
        return best if weight(best) > 2 else self.instructions


def counted(instructions: Sequence[Instruction]) -> Counter[str]:
    """How often each instruction stands there."""
    return Counter(i.name for i in instructions)


def _blocks(lines: list[str]) -> tuple[list[list[Instruction]], list[set[int]]]:
    """Basic blocks of a function, and which may follow each."""
    blocks: list[list[Instruction]] = [[]]
    labels: dict[str, int] = {}
    for line in lines:
        label = re.match(r"(\.L\w+):", line)
        if label:
            blocks.append([])
            labels[label[1]] = len(blocks) - 1
            continue
        found = re.match(r"\t([a-z][\w.]*)\s*(.*?)\s*(//.*)?$", line)
        if found:
            blocks[-1].append(Instruction(found[1], found[2]))
            if found[1].startswith(("b.", "cb", "tb")):
                blocks.append([])
    follow: list[set[int]] = []
    for number, block in enumerate(blocks):
        last = block[-1] if block else Instruction("nop", "")
        target = labels.get(last.operands.split()[-1]) if last.operands else None
        after = set() if target is None else {target}
        if last.name not in ("b", "br", "ret") and number + 1 < len(blocks):
            after.add(number + 1)
        follow.append(after)
    return blocks, follow


def _loops(follow: list[set[int]]) -> list[set[int]]:
    """The blocks of each innermost loop: what leads to a branch back without passing its target."""
    before: list[set[int]] = [{a for a, to in enumerate(follow) if b in to}
                              for b in range(len(follow))]  # fmt: skip
    found: dict[int, set[int]] = {}
    for tail, after in enumerate(follow):
        for head in (h for h in after if h <= tail):
            inside, reached = {head}, [tail]
            while reached:
                block = reached.pop()
                if block not in inside:
                    inside.add(block)
                    reached.extend(before[block])
            if head == 0 or 0 not in inside:
                found.setdefault(head, set()).update(inside)
    return [
        inside
        for head, inside in found.items()
        if not any(other != head and other in inside for other in found)
    ]


def _code(lines: list[str]) -> Code:
    blocks, follow = _blocks(lines)
    loops = tuple(
        tuple(i for number in sorted(inside) for i in blocks[number]) for inside in _loops(follow)
    )
    return Code(tuple(i for block in blocks for i in block), loops)


def disassembled(module: binding.ModuleRef, cpu: str) -> dict[str, Code]:
    """The code of each function of a module."""
    functions: dict[str, list[str]] = {}
    name = None
    for line in machine(cpu).emit_assembly(module).splitlines():
        begins = re.match(r"\t\.type\t(\S+),@function", line)
        if begins:
            name = begins[1]
            functions[name] = []
        elif line.startswith(".Lfunc_end"):
            name = None
        elif name is not None:
            functions[name].append(line)
    return {name: _code(lines) for name, lines in functions.items()}


# Running it


class Emulated:
    """A process that runs the kernels in emulation, one call after the other."""

    def __init__(self, folder: Path, kernels: Sequence[MicroKernel], cpu: str) -> None:
        (folder / "kernels.o").write_bytes(machine(cpu).emit_object(optimised(kernels, cpu)))
        (folder / "kernels.inc").write_text("".join(f"KERNEL({k.name})\n" for k in kernels))
        command = [
            COMPILER, "-O2", "-static", "-Wall", "-Werror", f"-I{folder}",
            str(_DRIVER), str(folder / "kernels.o"), "-o", str(folder / "driver"),
        ]  # fmt: skip
        subprocess.run(command, check=True)
        self._numbers = {kernel.name: i for i, kernel in enumerate(kernels)}
        self._process = subprocess.Popen(
            [EMULATOR, str(folder / "driver")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def call(self, name: str, *arguments: int | np.float32 | np.float64 | np.ndarray) -> list[int]:
        """Call a kernel. An array stands for its address, and holds afterwards what the kernel
        left there. Returns the 64 bits of each result."""
        values, image = [], bytearray()
        placed: list[tuple[np.ndarray, int]] = []
        flags = 0
        for i, argument in enumerate(arguments):
            if isinstance(argument, np.ndarray):
                assert argument.flags.c_contiguous
                image += bytes(-len(image) % 64)
                placed.append((argument, len(image)))
                values.append(len(image))
                flags |= 1 << i
                image += argument.tobytes()
            elif isinstance(argument, np.floating):
                values.append(int.from_bytes(argument.tobytes(), "little", signed=True))
            else:
                values.append(argument)
        head = struct.pack(f"<4q{len(values)}q", self._numbers[name], len(values), flags,
                           len(image), *values)  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(head + image)
        self._process.stdin.flush()
        (count,) = struct.unpack("<q", self._read(8))
        results = list(struct.unpack("<4q", self._read(32)))[:count]
        left = self._read(len(image))
        for array, at in placed:
            array.reshape(-1).view(np.uint8)[:] = np.frombuffer(left, np.uint8)[
                at : at + array.nbytes
            ]
        return results

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        found = self._process.stdout.read(size)
        assert len(found) == size, f"the emulated process ended: {self._process.poll()}"
        return found


def as_double(bits: int) -> float:
    """The float64 of these bits, that a kernel returned."""
    return struct.unpack("<d", struct.pack("<q", bits))[0]
