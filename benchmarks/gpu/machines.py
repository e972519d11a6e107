"""Known GPUs, as the model of speed takes them: what each unit of a processor does in a cycle.

Sources: [G] CUDA C++ Programming Guide, "Throughput of native arithmetic instructions" (results a
cycle and multiprocessor) and "Technical specifications per compute capability"; [H] NVIDIA H100
architecture white paper and H200 data sheet; [A] A100 white paper; [L] L4 data sheet; [R] Ada white
paper (RTX 4090). What is marked "assumed" is in none of them: the part ``rates`` of the report
measures it, and puts it beside these.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Results of 32-bit instructions a cycle and processor that all devices here have alike [G].
_COMMON = {
    "popc": 16.0,
    "logic": 64.0,  # LOP3, shifts, selections, comparisons, integer addition: see `alu`
    "dp4a": 64.0,
    "vabsdiff4": 64.0,  # assumed: the guide lists it for compute capability 3 alone
    "convert": 16.0,
    "special": 16.0,  # MUFU
    "shuffle": 32.0,
    "shared_bytes": 128.0,  # of shared memory
    "memory_instructions": 16.0,  # threads whose address is taken: 32 take two cycles (assumed)
}


@dataclass(frozen=True)
class Machine:
    """A GPU.

    Attributes:
        name: as reports show it; `pattern` is part of what the driver calls it.
        capability: compute capability.
        processors, hertz: multiprocessors, and the boost clock of the data sheet.
        bandwidth: of memory, bytes/s.
        warps, registers, shared, blocks: of a processor, at most [G].
        rates: of its units, a cycle and processor: results of threads, or products of
            warps (``mma_*``) and warpgroups (``wgmma_*``).
    """

    name: str
    pattern: str
    capability: tuple[int, int]
    processors: int
    hertz: float
    bandwidth: float
    warps: int
    shared: int
    blocks: int
    own: dict[str, float]
    registers: int = 65536
    rates: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", {**_COMMON, **self.own})

    def per_second(self, unit: str) -> float:
        """Operations of a unit, all processors together."""
        return self.rates[unit] * self.processors * self.hertz


def _products(macs: float) -> dict[str, float]:
    """Products of 16 x 8 pairs by 32 bytes a cycle, from multiply-adds of bytes.

    Products of bits are data-sheet figures of A100 alone, eight times those of bytes: 32 bytes of
    bits are as fast as 32 of numbers. Of Hopper and Ada that is assumed.
    """
    each = macs / (16 * 8 * 32)
    return {"mma_b1": each, "mma_u8": each}


# Hopper: 1,979 dense TOPS of int8 at 1.83 GHz and 132 processors are 4,096 multiply-adds [H];
# m64n128k32 is 262,144 of them, 64 cycles. mma.sync reaches about half of that (assumed: the rate
# is not published; measurements of "Dissecting the NVIDIA Hopper Architecture", arXiv 2402.13499,
# give 62%).
_HOPPER = {
    "fma": 128.0, "double": 64.0, **_products(2560),
    "wgmma_b1": 1 / 64, "wgmma_u8": 1 / 64,
    "l2_bytes": 48.0,  # from the second-level cache; 64 nominal, 48 measured (arXiv 2402.13499)
}  # fmt: skip
# A100: 624 TOPS of int8 and 4,992 of bits at 1.41 GHz and 108 processors [A].
_AMPERE = {"fma": 64.0, "double": 32.0, **_products(2048), "l2_bytes": 48.0}
# Ada: 242 dense TOPS of int8 (L4, 58 processors), 661 (RTX 4090, 128 processors) [L, R].
_ADA = {"fma": 128.0, "double": 2.0, **_products(1024), "l2_bytes": 32.0}

MACHINES = (
    Machine("H100", "H100", (9, 0), 132, 1.83e9, 3.35e12, 64, 228 << 10, 32, _HOPPER),
    Machine("H200", "H200", (9, 0), 132, 1.98e9, 4.8e12, 64, 228 << 10, 32, _HOPPER),
    Machine("A100", "A100", (8, 0), 108, 1.41e9, 2.04e12, 64, 164 << 10, 32, _AMPERE),
    Machine("L4", "L4", (8, 9), 58, 2.04e9, 0.3e12, 48, 100 << 10, 24, _ADA),
    Machine("RTX 4090", "4090", (8, 9), 128, 2.52e9, 1.008e12, 48, 100 << 10, 24, _ADA),
)


def machine_named(name: str) -> Machine | None:
    """The machine of a device's name; None for one that is not known."""
    words = name.replace("-", " ").split()
    return next((machine for machine in MACHINES if machine.pattern in words), None)
