"""A model of speed: what each scan should take on known GPUs, from its machine code.

Of each kernel the loop that computes pairs is found, and the loops around it. Their instructions,
times how often they run for a tile, keep the pipes of a processor busy; the busiest one, the issue
of instructions, the second-level cache or the memory sets the pace. A kernel of which one block
fills a processor does not test pairs while it multiplies: there the two add up, but in a pipeline,
whose warpgroups do each their own.

Of reduced rows and of refinement the innermost loop alone counts, and the memory: rows that coarse
numbers exclude, pairs whose rows come from memory.

Beside it stands the roof: the pace if the unit that the kernel is made of, or the memory, were
all. Left out: latencies that too few warps do not hide, bank conflicts, power, pairs that are
listed, and the warps that copy for others in a pipeline. A measurement far below its prediction
says that one of these, or a rate of `machines`, is not as assumed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from vsearch_fast.errors import MissingDependencyError
from vsearch_fast.kernels import layout
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.machine import available_threads

from .machine_code import Code, codes, nvrtc
from .machines import MACHINES, Machine, machine_named

_DIM = 4096
#: Bytes of a chunk in shared memory, of tiles and of tensor cores (tiles.cuh, tensor.cuh).
_TILE_CHUNK, _TENSOR_CHUNK = 64, 128
#: Bytes that a warp reads of a row at a time; 16-byte pieces of a tile's chunk.
_WARP_BYTES, _PIECE = 512, 16
#: Share of the data sheet's bandwidth that reading reaches (assumed; ``rates`` measures it).
_READING = 0.92
#: Instructions that a processor issues a cycle [G], of a warp each.
_ISSUE = 4
_WARP = 32

#: Pipe of an instruction by the beginning of its name, first that fits; the others are of ``alu``.
_PIPES = (
    (("BMMA", "IMMA"), "mma"), (("BGMMA", "IGMMA"), "wgmma"),
    (("POPC", "FLO", "I2F", "F2I", "F2F", "I2I", "BREV"), "convert"), (("MUFU",), "special"),
    (("VABSDIFF4",), "vabsdiff4"), (("IDP",), "dp4a"), (("IMAD",), "imad"),
    (("FADD", "FMUL", "FFMA"), "fma"), (("DADD", "DMUL", "DFMA", "DSETP"), "double"),
    (("LDSM", "LDS", "STS", "LDGSTS"), "shared"), (("LDG", "STG", "LD.", "ST."), "memory"),
    (("SHFL", "REDUX"), "shuffle"),
    (("BRA", "BSSY", "BSYNC", "EXIT", "NOP", "BAR", "U", "R2UR", "S2", "WARPSYNC", "LDGDEPBAR",
      "DEPBAR", "LDC", "VOTE", "P2R", "CALL", "RET"), "other"),
)  # fmt: skip
#: The instruction that a kernel is made of.
_KEYS = {"hamming": ("POPC",), "l1_sketches": ("VABSDIFF4",), "l2_sketches": ("IDP",),
         "l1_floats": ("FADD",), "l2_floats": ("FFMA",), "dot_sketches": ("IDP",),
         "dot_floats": ("FFMA",)}  # fmt: skip
_PRODUCTS = ("BMMA", "IMMA", "BGMMA", "IGMMA")


@dataclass(frozen=True)
class Prediction:
    """A kernel on a machine.

    Attributes:
        pairs_per_s: predicted.
        roof: pairs/s, by its own unit or the memory alone; `limit` is what sets the pace.
        blocks: that a processor has at a time.
        row_bytes: of the rows it is predicted for.
        queries: that rows are read for at a time.
        ms: of a million rows with so many queries.
    """

    kernel: str
    machine: str
    row_bytes: int
    queries: int
    registers: int
    blocks: int
    pairs_per_s: float
    roof: float
    limit: str

    @property
    def ms(self) -> float:
        return 1e3 * self.queries * 1e6 / self.pairs_per_s

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "ms": self.ms}


def predict(kernel: str, family: str, machine: Machine, code: Code, width: int) -> Prediction:
    """A scan of rows of so many bytes."""
    shape = code.shape
    warps, stream = _warps(kernel, shape.threads), "stream" in kernel
    blocks = blocks_of(machine, code, shape.shared_bytes(width))
    pairs = shape.queries * shape.rows
    hot, rest = _work(kernel, family, code, width)
    if sum(hot.values()) == 0:
        raise ValueError(f"{kernel}: no loop of its machine code computes pairs")
    key = _keys_of(kernel, family)
    busy, idle = (_cycles(some, machine, warps, kernel) for some in (hot, rest))
    rows_bytes = shape.rows * width
    read = rows_bytes / (_READING * machine.bandwidth / machine.processors / machine.hertz)
    if stream:
        busy["memory bandwidth"] = read
    else:
        # Queries of a cluster come once, to all its blocks.
        passed = 0 if kernel.endswith("resident") else shape.queries * width / shape.cluster
        busy["second-level cache"] = (rows_bytes + passed) / machine.rates["l2_bytes"]
    if blocks == 1 and not stream and kernel not in sources.SIMPLER:
        limit, cycles = _largest(busy)
        cycles += _largest(idle)[1]
    else:
        limit, cycles = _largest({n: busy.get(n, 0) + idle.get(n, 0) for n in {*busy, *idle}})
    alone = Counter({name: n for name, n in hot.items() if name.startswith(key)})
    roof = _largest(_cycles(alone, machine, warps, kernel, issue=False))[1]
    if stream:
        roof = max(roof, read * _READING)
    per_second = machine.processors * machine.hertz * pairs
    return Prediction(
        kernel, machine.name, width, shape.queries, code.registers, blocks, per_second / cycles,
        per_second / roof, limit,
    )  # fmt: skip


@dataclass(frozen=True)
class _Loop:
    """The innermost loop of a kernel that is no scan.

    Attributes:
        key: the instruction that it is made of; `has`, `lacks` tell it from others with that.
        a_lane: so many of these a lane needs for its warp's share of a tile.
        row_bytes: read of a row, or pair, from memory.
    """

    key: str
    a_lane: int
    row_bytes: int
    has: str = ""
    lacks: str = "-"


#: 64 and 32 coarse numbers, two at a time, of a row and four queries; 4096 numbers of a pair, a
#: difference and its addition each.
_OTHERS = {
    "l1_reduced": _Loop("VABSDIFF4", 64 // 2 * 4, 68, has="LDG.E.U16"),
    "l2_reduced": _Loop("IDP", 32 // 2 * 4, 44, has="LDG.E.U16"),
    "refine": _Loop("DADD", 2 * _DIM // _WARP, 4 * _DIM, has="DMUL", lacks="LDG.E.U16"),
    "count_bits": _Loop("POPC", _DIM // 8 // 4 // _WARP, _DIM // 8),
}


def predict_other(kernel: str, machine: Machine, code: Code) -> Prediction:
    """A kernel that is no scan: of `count_bits`, rows count as pairs."""
    one, shape = _OTHERS[kernel], code.shape
    found = [
        (sum(n for name, n in loop.names.items() if name.startswith(one.key)), loop)
        for loop in code.loops
        if not any(loop.has(other) for other in code.loops)
        and any(name.startswith(one.has) for name in loop.names)
        and not any(name.startswith(one.lacks) for name in loop.names)
    ]
    count, hot = max(found, key=lambda pair: pair[0], default=(0, None))
    if not count or hot is None:
        raise ValueError(f"{kernel}: no loop of its machine code computes pairs")
    names = Counter({name: round(n * one.a_lane / count) for name, n in hot.names.items()})
    warps = shape.threads // _WARP
    busy = _cycles(names, machine, warps, kernel)
    a_cycle = _READING * machine.bandwidth / machine.processors / machine.hertz
    busy["memory bandwidth"] = read = shape.rows * one.row_bytes / a_cycle
    limit, cycles = _largest(busy)
    alone = Counter({name: n for name, n in names.items() if name.startswith(one.key)})
    roof = _largest(_cycles(alone, machine, warps, kernel, issue=False))[1]
    queries = max(1, shape.queries)
    per_second = machine.processors * machine.hertz * queries * shape.rows
    return Prediction(
        kernel, machine.name, one.row_bytes, queries, code.registers,
        blocks_of(machine, code, shape.shared), per_second / cycles,
        per_second / max(roof, read * _READING), limit,
    )  # fmt: skip


def blocks_of(machine: Machine, code: Code, shared: int) -> int:
    """Blocks that a processor has at a time: by registers, shared memory and threads. At least
    one, as what does not fit is not launched."""
    warps = code.shape.threads // _WARP
    registers = -(-code.registers // 8) * 8 * code.shape.threads
    by_shared = machine.shared // (shared + 1024)  # a block's own kilobyte
    return max(
        1, min(machine.blocks, machine.warps // warps, machine.registers // registers, by_shared)
    )


def _warps(kernel: str, threads: int) -> int:
    """Of a block, that compute pairs."""
    return threads // _WARP - (4 if kernel in sources.SIMPLER else 0)


def _keys_of(kernel: str, family: str) -> tuple[str, ...]:
    return _PRODUCTS if "warp" in kernel else _KEYS[family]


def _work(kernel: str, family: str, code: Code, width: int) -> tuple[Counter[str], Counter[str]]:
    """Instructions of a warp for a tile: those of the loop that computes pairs, and the others."""
    shape, keys = code.shape, _keys_of(kernel, family)

    def count(names: Counter[str]) -> int:
        return sum(n for name, n in names.items() if name.startswith(keys))

    loops = [loop for loop in code.loops if count(loop.names)]
    inner = [a for a in loops if not any(a.has(b) and count(b.names) for b in loops)]
    if "stream" in kernel:
        # Of the two, short rows are compared with queries in registers.
        short = width <= _WARP_BYTES
        held = [a for a in inner if any(n.startswith("LDS") for n in a.names) != short]
        inner = held or inner
    if not inner:
        return Counter(), Counter()
    hot = max(inner, key=lambda loop: count(loop.names))
    around = sorted((a for a in code.loops if a.has(hot)), key=lambda loop: loop.stop - loop.start)
    total = _key_count(kernel, family, shape.queries, shape.rows, shape.threads, width)
    rest: Counter[str] = Counter()
    inside = hot.names
    for loop in around[: 2 if kernel.endswith("tile") else 1]:
        # A tile's chunks are a loop of their own around their pieces.
        chunks = kernel.endswith("tile") and loop is around[0] and len(around) > 1
        times = -(-width // _TILE_CHUNK) if chunks else 1
        for name, n in (loop.names - inside).items():
            rest[name] += n * times
        inside = loop.names
    trips = total / count(hot.names)
    return Counter({name: round(n * trips) for name, n in hot.names.items()}), rest


def _key_count(
    kernel: str, family: str, queries: int, rows: int, threads: int, width: int
) -> float:
    """Instructions of the kernel's kind that a warp needs for a tile."""
    warps = _warps(kernel, threads)
    if "warpgroup" in kernel:  # 64 queries and all rows, 32 bytes, by the four warps together
        return -(-width // _TENSOR_CHUNK) * 4 * queries / 64 / (warps / 4)
    if kernel.endswith("warp"):  # 16 queries, 8 rows, 32 bytes
        return -(-width // _TENSOR_CHUNK) * 4 * (queries / 16) * (rows / 8) / warps
    words = width / 4 * (2 if family == "l1_floats" else 1)  # a difference, and its addition
    if "stream" in kernel:
        # Lanes beyond a row's end take part: a warp reads 512 bytes at a time.
        words = -(-width // _WARP_BYTES) * _WARP_BYTES / 4 * words / (width / 4)
    return words * queries * rows / threads


def _cycles(
    names: Counter[str], machine: Machine, warps: int, kernel: str, issue: bool = True
) -> dict[str, float]:
    """Cycles of a processor by pipe, for all warps of a block."""
    rates = machine.rates
    busy: defaultdict[str, float] = defaultdict(float)
    for name, n in names.items():
        pipe = pipe_of(name)
        if pipe in ("mma", "wgmma"):
            unit = f"{pipe}_{'b1' if name.startswith('B') else 'u8'}"
            # A warpgroup's product is one for four warps.
            busy["tensor cores"] += n * warps / (4 if pipe == "wgmma" else 1) / rates[unit]
        elif pipe == "shared":
            busy["shared memory"] += n * warps * _shared_bytes(name) / rates["shared_bytes"]
        elif pipe == "memory":
            busy["memory instructions"] += n * warps * _WARP / rates["memory_instructions"]
        elif pipe in ("alu", "imad"):
            busy["integers"] += n * warps * _WARP / 64 / (2 if machine.rates["fma"] == 128 else 1)
        elif pipe != "other":
            rate = rates["popc" if pipe == "convert" else pipe]
            busy[pipe] += n * warps * _WARP / rate
    if issue:
        busy["issue"] = sum(names.values()) * warps / _ISSUE
    return dict(busy)


def pipe_of(name: str) -> str:
    """The pipe of an instruction."""
    return next((pipe for starts, pipe in _PIPES if name.startswith(starts)), "alu")


def _shared_bytes(name: str) -> int:
    """That a warp moves by an instruction; LDSM's four matrices are 512."""
    if name.startswith(("LDSM", "LDGSTS")) or ".128" in name:
        return 512
    return 256 if ".64" in name else 128


def _largest(busy: dict[str, float]) -> tuple[str, float]:
    return max(busy.items(), key=lambda item: item[1], default=("nothing", 0.0))


def width_of(family: str, kernel: str) -> int:
    """Bytes of the rows that a kernel is predicted for: of 4096 numbers or bits, and where the
    resident kernel takes those, of more than it can keep."""
    if family == "hamming":
        return 1040 if kernel.endswith("_warpgroup") else _DIM // 8
    return layout.width_of(_DIM) if family.endswith("sketches") else 4 * _DIM


def predictions(
    machine: Machine, families: tuple[str, ...] = tuple(sources.SCANS)
) -> Iterator[Prediction]:
    """Every scan of these families on a machine."""
    for family in families:
        for kernel in sources.scans_for(family, machine.capability):
            code = codes(sources.unit_of(kernel), machine.capability)[kernel]
            yield predict(kernel, family, machine, code, width_of(family, kernel))


def all_predictions(machine: Machine) -> list[Prediction]:
    """Every scan on a machine, and what goes before and behind them."""
    others = (
        predict_other(kernel, machine, codes(sources.unit_of(kernel), machine.capability)[kernel])
        for kernel in _OTHERS
    )
    return [*predictions(machine), *others]


def beside(device: str, family: str, kernel: str, width: int, measured: float) -> dict[str, Any]:
    """What was predicted of a scan that was measured, in pairs/s; of a device that is not known,
    or where there is no compiler, why nothing was."""
    machine = machine_named(device)
    if machine is None:
        return {"not_predicted": f"{device} is not in machines.py"}
    try:
        code = codes(sources.unit_of(kernel), machine.capability)[kernel]
    except MissingDependencyError as missing:
        return {"not_predicted": str(missing)}
    one = predict(kernel, family, machine, code, width)
    return {
        "predicted_pairs_per_s": one.pairs_per_s,
        "predicted_limit": one.limit,
        "roof_pairs_per_s": one.roof,
        "measured_by_predicted": measured / one.pairs_per_s,
    }


def made(
    say: Callable[[str], object], machines: tuple[Machine, ...] = MACHINES
) -> list[Prediction]:
    """Of all kernels on all machines."""
    needed = sorted(
        {
            (unit, m.capability)
            for m in machines
            for unit in sources.units_for(m.capability)
            if unit != "select"
        }
    )
    say(f"Compiling {len(needed)} files for {len(machines)} GPUs; this takes minutes")
    with ThreadPoolExecutor(available_threads()) as pool:
        list(pool.map(lambda target: codes(*target), needed))
    return [one for machine in machines for one in all_predictions(machine)]


def compiler_version() -> tuple[int, int]:
    """Of CUDA's compiler, by which the predictions were made."""
    return nvrtc.version()


def report(found: list[Prediction], machines: tuple[Machine, ...] = MACHINES) -> str:
    """A table of them, as text."""
    lines = [
        "Predicted from machine code, not measured; pairs a second, and ms of a million rows by",
        "the queries that they are read for at a time.",
        "",
    ]
    for machine in machines:
        lines += [
            f"{machine.name}: {machine.processors} processors at {machine.hertz / 1e9:.2f} GHz,"
            f" {machine.bandwidth / 1e12:.2f} TB/s",
            f"{'kernel':28} {'bytes':>6} {'regs':>5} {'blocks':>6} {'queries':>7} {'ms':>8}"
            f" {'predicted':>10} {'roof':>9} {'share':>6}  limit",
        ]
        for one in found:
            if one.machine == machine.name:
                lines.append(
                    f"{one.kernel:28} {one.row_bytes:6} {one.registers:5} {one.blocks:6}"
                    f" {one.queries:7} {one.ms:8.3g} {one.pairs_per_s:10.3g} {one.roof:9.3g}"
                    f" {one.pairs_per_s / one.roof:6.0%}  {one.limit}"
                )
        lines.append("")
    return "\n".join(lines)


def table(record: dict[str, Any]) -> str:
    """A record of predictions as a Markdown table: pairs/s and share of the roof by kernel."""
    names = list(dict.fromkeys(one["machine"] for one in record["predictions"]))
    by_kernel: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for one in record["predictions"]:
        cell = f"{one['pairs_per_s']:.2g} ({one['pairs_per_s'] / one['roof']:.0%}, {one['limit']})"
        by_kernel[one["kernel"]][one["machine"]] = cell
    lines = ["kernel | " + " | ".join(names), "---" + "|---" * len(names)]
    for kernel, cells in by_kernel.items():
        lines.append(f"`{kernel}` | " + " | ".join(cells.get(name, "") for name in names))
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)
