"""How the CUDA sources compile for real devices: no GPU is needed, only NVIDIA's compiler.

NVRTC compiles, as CuPy has it do, or nvcc where there is no NVRTC; cuobjdump shows the machine
code. All come from the package registry, by the extra `test`. Where one is missing these tests are
skipped, but not where the environment variable `CI` is set: there they fail.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import nvrtc
import pytest

from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.arguments import REDUCED, SCAN

#: Every compiler must know these: A100, L4 and the RTX 40 series, H100 and H200, B200.
REQUIRED = [(8, 0), (8, 9), (9, 0), (10, 0)]
#: T4 and the RTX 50 series, where the compiler knows them; by `make test-full` only.
OPTIONAL = [(7, 5), (12, 0)]
CAPABILITIES = REQUIRED + OPTIONAL

Target = tuple[str, tuple[int, int]]
#: The slowest come first, so that no thread is left with them at the end.
TARGETS: list[Target] = sorted(
    [(unit, capability) for capability in CAPABILITIES for unit in sources.units_for(capability)],
    key=lambda target: (target[0] != "sketches", target[1] != (9, 0)),
)
#: CuPy adds the first by itself. The second changes no code: it makes the log tell of spills.
ADDED = ("-ftz=true", "--ptxas-options=-v")


def missing(what: str) -> NoReturn:
    """A tool is not there."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI must not skip this check")
    pytest.skip(what)


def tool(name: str) -> str | None:
    """The path of a tool of CUDA, of its package or of the system."""
    packaged = nvrtc.package_files(f"*/bin/{name}")
    return str(packaged[0]) if packaged else shutil.which(name)


def compile_by_nvcc(target: Target, nvcc: str, folder: Path) -> nvrtc.Compiled:
    unit, capability = target
    command = [nvcc, *sources.options(capability), *ADDED, str(sources.FOLDER / f"{unit}.cu")]
    made, logs = {}, []
    for kind in ("cubin", "ptx"):
        output = folder / f"{unit}_{sources.architecture(capability)}.{kind}.made"
        ran = subprocess.run(
            [*command, f"-{kind}", "-o", output], capture_output=True, text=True, check=False
        )
        if ran.returncode:
            raise nvrtc.CompileError(ran.stdout + ran.stderr)
        logs.append(ran.stdout + ran.stderr)
        made[kind] = output.read_bytes()
    return nvrtc.Compiled(logs[0], made["ptx"].decode(), made["cubin"])


@dataclass
class Built:
    """A unit compiled for a device, and what the tools tell of it."""

    unit: str
    capability: tuple[int, int]
    compiled: nvrtc.Compiled
    folder: Path
    seconds: float  # of the processor, that NVRTC took; next to nothing by nvcc, a process apart

    @property
    def kernels(self) -> tuple[str, ...]:
        return sources.kernels_of(self.unit, self.capability)

    def dump(self, what: str) -> str:
        """What cuobjdump says of the machine code."""
        cuobjdump, nvdisasm = tool("cuobjdump"), tool("nvdisasm")
        if cuobjdump is None:
            missing("no cuobjdump: install the package nvidia-cuda-cuobjdump")
        # It only calls the disassembler, which it looks for on the path.
        if nvdisasm is None:
            missing("no nvdisasm: install the package nvidia-cuda-nvdisasm")
        cubin = self.folder / f"{self.unit}_{sources.architecture(self.capability)}.cubin"
        cubin.write_bytes(self.compiled.cubin)
        path = os.pathsep.join([str(Path(nvdisasm).parent), os.environ.get("PATH", "")])
        ran = subprocess.run(
            [cuobjdump, what, cubin],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    @cached_property
    def resources(self) -> dict[str, dict[str, int]]:
        """By function: registers, bytes of stack and of local memory, and the like."""
        found = re.findall(r"Function (\S+):\s+(REG:.*)", self.dump("-res-usage"))
        return {
            name: {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", line)}
            for name, line in found
        }

    @cached_property
    def instructions(self) -> dict[str, list[str]]:
        """By function: its machine code, an instruction a line."""
        _, *parts = re.split(r"^\s*Function : (\S+)$", self.dump("-sass"), flags=re.MULTILINE)
        # An instruction stands between its address and its encoding.
        return {
            name: re.findall(r"^\s*/\*[0-9a-f]+\*/\s+(.*?);", code, flags=re.MULTILINE)
            for name, code in zip(parts[::2], parts[1::2], strict=True)
        }

    def count(self, kernel: str, instruction: str) -> int:
        """How many instructions of a kernel match a pattern."""
        return sum(bool(re.search(instruction, line)) for line in self.instructions[kernel])


def compiler() -> tuple[set[tuple[int, int]], Callable[[Target, Path], nvrtc.Compiled]]:
    """The devices that the compiler knows, and what compiles for one."""
    try:
        known = nvrtc.capabilities()
    except nvrtc.Missing as no_nvrtc:
        nvcc = shutil.which("nvcc")
        if nvcc is None:
            missing(f"{no_nvrtc}; nor is there nvcc")
        listed = subprocess.run(
            [nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True
        )
        known = {divmod(int(number), 10) for number in re.findall(r"sm_(\d+)\b", listed.stdout)}
        return known, lambda target, folder: compile_by_nvcc(target, nvcc, folder)
    return known, lambda target, folder: nvrtc.compile_source(
        sources.source(target[0]), f"{target[0]}.cu", (*sources.options(target[1]), *ADDED)
    )


@pytest.fixture(scope="session")
def builds(request, tmp_path_factory) -> Iterator[dict[Target, Future[Built]]]:
    """Each target that a selected test asks for, compiled once, in two threads."""
    known, compiles = compiler()
    folder = tmp_path_factory.mktemp("cuda")

    def build(target: Target) -> Built:
        start = time.thread_time()
        compiled = compiles(target, folder)
        return Built(*target, compiled, folder, time.thread_time() - start)

    asked = {
        item.callspec.params["built"]
        for item in request.session.items
        if hasattr(item, "callspec") and "built" in item.callspec.params
    }
    with ThreadPoolExecutor(2) as pool:
        yield {
            target: pool.submit(build, target)
            for target in TARGETS
            if target in asked and target[1] in known
        }
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def built(builds, request) -> Built:
    capability = request.param[1]
    if request.param not in builds:
        reason = f"the compiler does not know {sources.architecture(capability)}"
        missing(reason) if capability in REQUIRED else pytest.skip(reason)
    return builds[request.param].result()


def for_targets(wanted: Callable[[str, tuple[int, int]], bool] = lambda *_: True):
    """Parametrize a test by the targets that are wanted."""
    targets = [target for target in TARGETS if wanted(*target)]
    parameters = [
        pytest.param(
            (unit, capability),
            id=f"{unit}-{sources.architecture(capability)}",
            marks=[pytest.mark.full] if capability in OPTIONAL else [],
        )
        for unit, capability in targets
    ]
    return pytest.mark.parametrize("built", parameters, indirect=True)


@for_targets()
def test_compiles_without_a_warning(built):
    """Such as that products of a warpgroup wait for each other, which the compiler only tells."""
    troubles = [
        line
        for line in built.compiled.log.splitlines()
        if re.search(r"warning|error|injected|serializ|performance loss|w?gmma", line, re.I)
    ]
    assert not troubles, built.compiled.log
    assert built.compiled.cubin.startswith(b"\x7fELF")


@for_targets()
def test_all_kernels_are_there_and_no_others(built):
    assert sorted(built.resources) == sorted(built.kernels)
    entries = re.findall(r"\.entry\s+(\w+)", built.compiled.ptx)
    assert sorted(entries) == sorted(built.kernels)


@for_targets()
def test_nothing_spills_to_local_memory(built):
    told = re.findall(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads",
        built.compiled.log,
    )
    assert len(told) >= len(built.kernels), built.compiled.log
    assert set(told) == {("0", "0", "0")}, built.compiled.log
    for name, used in built.resources.items():
        assert (used["STACK"], used["LOCAL"]) == (0, 0), (name, used)


@for_targets()
def test_registers_suffice_for_a_block(built):
    """A block that asks for more than a processor's 65,536 registers cannot be launched; and as
    many blocks have room as the launcher counts on."""
    entries = re.split(r"\.entry\s+(\w+)", built.compiled.ptx)[1:]
    for name, code in zip(entries[::2], entries[1::2], strict=True):
        # A kernel without a bound is launched with 256 threads, as those of BLOCK are.
        bound = re.search(r"\.maxntid (\d+)", code)
        threads = int(bound[1]) if bound else 256
        blocks = re.search(r"\.minnctapersm (\d+)", code)
        registers = -(-built.resources[name]["REG"] // 8) * 8  # they are given out by eights
        asked = registers * threads * (int(blocks[1]) if blocks else 1)
        assert asked <= 65536, (name, registers, threads)


@for_targets()
def test_tiles_leave_registers_for_a_second_block(built):
    # They would spill on sm_100.
    roomy = ("hamming_tile", "l1_floats_tile", "l2_floats_tile", "dot_floats_tile")
    for name in built.kernels:
        if name.endswith(("_tile", "_warp")):
            alone = built.capability >= (10, 0) and name in roomy
            assert built.resources[name]["REG"] <= (255 if alone else 128), name


@for_targets()
def test_a_struct_is_passed_as_it_is_packed(built):
    """Its size is that of the launcher's layout, and nothing copies it (no stack, see above)."""
    sizes = dict(re.findall(r"\.param \.align 8 \.b8 (\w+)\[(\d+)\]", built.compiled.ptx))
    for name in built.kernels:
        structs = []
        if built.unit in (
            "hamming",
            "sketches",
            "floats",
            "dots",
            "reduced",
            "pipelined",
            "multicast",
        ):
            structs = [SCAN, REDUCED] if built.unit == "reduced" else [SCAN]
        for number, struct in enumerate(structs):
            assert int(sizes[f"{name}_param_{number}"]) == struct.layout.itemsize, name


#: KiB of a kernel's machine code, at most, by how its name goes on. What is seldom needed lies in
#: functions that are called: a tile's tests must stay in the instruction cache.
CODE = {"_warpgroup": 56, "_warp": 56, "_tile": 56, "_stream": 68, "_reduced": 72, "": 32}


@for_targets()
def test_code_is_small(built):
    for name, instructions in built.instructions.items():
        kind = next(kind for kind in CODE if kind in name)
        assert len(instructions) * 16 <= CODE[kind] << 10, (name, len(instructions))


@for_targets()
def test_a_unit_compiles_fast(built):
    """A device's first search waits for it. Seconds of the processor, with room for slow ones."""
    assert built.seconds <= 20, built.seconds


@pytest.mark.parametrize("built", [("hamming", (9, 0))], indirect=True)
def test_no_device_waits_long_for_its_kernels(builds, built):
    """All units of the device that has the most, as far as the tests that run need them."""
    units = (builds.get((unit, built.capability)) for unit in sources.UNITS)
    assert sum(unit.result().seconds for unit in units if unit) <= 40


@for_targets()
def test_float64_is_neither_flushed_nor_fused(built):
    """CuPy asks that subnormal numbers be flushed, which must not reach a float64."""
    assert not re.findall(r"\bcvt\.(?:\w+\.)*ftz\.f64\S*", built.compiled.ptx)
    assert not re.findall(r"\bfma\.\w+\.f64\b", built.compiled.ptx)


@for_targets(lambda unit, _: unit in ("sketches", "dots", "pipelined", "multicast"))
def test_rows_cost_no_division(built):
    """Of float64, which many devices do at a sixty-fourth of the pace: only queries cost some."""
    entries = re.split(r"\.entry\s+(\w+)", built.compiled.ptx)[1:]
    for name, code in zip(entries[::2], entries[1::2], strict=True):
        # A stream has code for short rows and for long ones, each for a query that is there or not.
        queries = 4 * int(name.rsplit("_", 1)[1]) if "stream" in name else 1
        if name == "bound_dots":  # of the few pairs that are listed
            continue
        body = code.split("\n}", 1)[0]
        assert len(re.findall(r"\bdiv\.rn\.f64\b", body)) <= queries, name


@for_targets(lambda unit, _: unit == "refine")
def test_distances_are_computed_in_float64(built):
    for instruction in ("cvt.f64.f32", "sub.rn.f64", "add.rn.f64", "mul.rn.f64", "sqrt.rn.f64"):
        assert re.search(rf"\b{re.escape(instruction)}\b", built.compiled.ptx), instruction


#: Units that have warpgroup products, of bits or of bytes.
WARPGROUPS = ("hamming", "sketches", "dots")


def has(feature: str) -> Callable[[tuple[int, int]], bool]:
    return lambda capability: feature in sources.features_of(capability)


@for_targets(
    lambda unit, of: unit in (*WARPGROUPS, "pipelined", "multicast") and has("HAS_WGMMA")(of)
)
def test_warpgroup_products(built):
    """Of bits, of bytes; and all of a step are under way at once."""
    kernels = [name for name in built.kernels if "_warpgroup" in name]
    assert kernels
    for name in kernels:
        product = r"\bBGMMA\b.*AND\.POPC" if "hamming" in name else r"\bIGMMA\b.*U8\.U8"
        assert built.count(name, product) > 1, name
        # The last product of a step closes the group. The compiler, where it does not trust the
        # registers, lets each close one of its own.
        assert built.count(name, rf"{product}.*\bgsb0\b") == 1, name


@for_targets(lambda unit, of: unit in WARPGROUPS and has("HAS_WGMMA")(of))
def test_products_come_before_the_copies_of_their_step(built):
    """Tensor cores idle while what comes before is issued: that is little, and loads nothing."""
    for name in built.kernels:
        if "_warpgroup" not in name:
            continue
        code = built.instructions[name]
        waits = [i for i, line in enumerate(code) if re.search(r"\bDEPBAR\.LE SB0", line)]
        assert waits, name
        step = code[waits[-1] :]
        product = next(i for i, line in enumerate(step) if re.search(r"\b[BI]GMMA\b", line))
        copy = next(i for i, line in enumerate(step) if re.search(r"\bLDGSTS\b", line))
        assert product < copy, name
        assert product <= 80, (name, product)
        # "@!PT": never, which the compiler pads with.
        before = [line for line in step[:product] if not line.startswith("@!PT")]
        loads = [line for line in before if re.search(r"\b(LDG|LDS|LDL|ST\w)\b", line)]
        assert not loads, (name, loads)


@for_targets(lambda unit, _: unit in ("pipelined", "multicast"))
def test_warpgroups_of_a_pipeline_have_each_their_own_work(built):
    """One copies and has few registers; the others wait for mbarriers alone, multiply and test."""
    for name in built.kernels:
        code = built.instructions[name]

        def place(pattern: str, code: list[str] = code) -> list[int]:
            return [i for i, line in enumerate(code) if re.search(pattern, line)]

        [taken], [given] = place(r"\bUSETMAXREG\.TRY_ALLOC"), place(r"\bUSETMAXREG\.DEALLOC")
        # The code of those that copy is behind that of those that multiply.
        assert taken < min(place(r"GMMA\b")) < max(place(r"GMMA\b")) < given, name
        assert min(place(r"\bLDGSTS\b")) > given, name
        assert place(r"\bARRIVES\.LDGSTSBAR")[0] > given, name
        # Beside the launch: at the begin of a stretch, where queries are exchanged.
        assert len(place(r"\bBAR\.SYNC")) <= 4, name
        assert max(i for i in place(r"\bBAR\.SYNC") if i < given) < min(place(r"GMMA\b")), name
        # From the last wait before them, products are not far.
        wait = max(i for i in place(r"\bSYNCS\.PHASECHK") if i < min(place(r"GMMA\b")))
        assert min(place(r"GMMA\b")) - wait <= 80, name
        # What is counted on: registers of 384 threads, given anew by `setmaxnreg`.
        numbers = [int(n) for n in re.findall(r"\bR(\d+)\b", "\n".join(code[taken:given]))]
        assert 128 < max(numbers) < 216, name
        copying = code[given : place(r"\bLDGSTS\b")[-1]]
        assert max(map(int, re.findall(r"\bR(\d+)\b", "\n".join(copying)))) < 64, name


@for_targets(lambda unit, _: unit == "multicast")
def test_blocks_of_a_cluster_copy_for_each_other(built):
    """In bulk, by one instruction for all; and meet at the beginning and at the end alone."""
    for name in built.kernels:
        code = built.instructions[name]
        assert built.count(name, r"\bUBLKCP\.S\.G\.MULTICAST") == 1, name
        assert built.count(name, r"\bUCGABAR_ARV") == built.count(name, r"\bUCGABAR_WAIT") == 2
        given = next(i for i, line in enumerate(code) if "USETMAXREG.DEALLOC" in line)
        copies = [i for i, line in enumerate(code) if re.search(r"\bLDGSTS\b", line)]
        bulk = next(i for i, line in enumerate(code) if "UBLKCP" in line)
        # Behind the wait for the stage, before the rows: 1,024 pieces by 128 threads, nothing else.
        assert given < bulk < copies[0], name
        assert len(copies) == 8, name
        # Arrivals at both blocks' barriers, of consumers: `.RED`, of which nothing comes back.
        arrivals = [i for i, line in enumerate(code) if "SYNCS.ARRIVE.TRANS64.RED" in line]
        assert len([i for i in arrivals if i < given]) == 2, name
        assert re.search(rf"\.entry {name}\b[^{{]*\.reqnctapercluster 2", built.compiled.ptx), name
        # A release to the cluster, or an acquisition, would wait for the device's memory, or forget
        # what the first-level cache holds, at each stage.
        waits = [i for i, line in enumerate(code) if "CCTL.IVALL" in line]
        assert len(waits) == 2, name
        assert all("UCGABAR_WAIT" in code[i - 1] for i in waits), name


@for_targets()
def test_no_fence_is_of_the_whole_device(built):
    """A step that waits for the device's memory takes as long as many steps."""
    for name, code in built.instructions.items():
        fences = {line for line in code if "MEMBAR" in line or "FENCE" in line}
        assert not [line for line in fences if not re.search(r"\.CTA\b|\.ASYNC\.S\b", line)], name


@for_targets(lambda unit, of: unit == "hamming" and has("HAS_MMA_BITS")(of))
def test_warp_products_of_bits(built):
    assert built.count("hamming_warp", r"\bBMMA\b.*AND\.POPC")


@for_targets(lambda unit, of: unit in ("sketches", "dots") and has("HAS_MMA_BYTES")(of))
def test_warp_products_of_bytes(built):
    kernel = {"sketches": "l2_sketches_warp", "dots": "dot_sketches_warp"}[built.unit]
    assert built.count(kernel, r"\bIMMA\b.*U8\.U8")


# The instruction set of sm_120 lacks it: the compiler emulates.
@for_targets(lambda unit, of: unit == "sketches" and of < (12, 0))
def test_absolute_differences_of_bytes(built):
    for name in built.kernels:
        if name.startswith("l1_sketches"):
            assert built.count(name, r"\bVABSDIFF4\b"), name


def test_options_follow_every_header(tmp_path, monkeypatch):
    """CuPy's cache knows the options, not what a unit includes."""
    for capability in CAPABILITIES:
        assert f"-DSOURCES={sources.digest()}" in sources.options(capability)
    headers = sorted(sources.FOLDER.glob("*.cuh"))
    included = {
        name
        for file in (*headers, *sources.FOLDER.glob("*.cu"))
        for name in re.findall(r'^#include "(.*)"', file.read_text(), re.MULTILINE)
    }
    assert included - {"emulation.h"} == {header.name for header in headers}

    digest = sources.digest.__wrapped__  # without its cache
    seen = {digest()}
    for header in headers:
        shutil.copy(header, tmp_path)
    monkeypatch.setattr(sources, "FOLDER", tmp_path)
    assert seen == {digest()}
    for header in headers:
        with (tmp_path / header.name).open("a") as file:
            file.write("// changed\n")
        seen.add(digest())
    assert len(seen) == len(headers) + 1
