"""What the portable micro-kernels become on 64-bit Arm: vector instructions of the right kind.

LLVM compiles for Arm wherever these tests run; `test_arm_emulated` runs the result.
"""

from __future__ import annotations

import re
from functools import cache

import pytest
from arm_code import Code, counted, disassembled, optimised
from arm_kernels import KERNELS, LEFT_OUT, MODULES

#: The least that 64-bit Arm has, and one with products of bytes by fours (``udot``).
PROCESSORS = ("generic", "neoverse-n1")
NAMES = [kernel.name for kernel in KERNELS]

FUSED = {"fmla", "fmls", "fmadd", "fmsub", "fnmadd", "fnmsub"}

#: For each kind of kernel: what the hot loop must do. Names of which one each must be there.
EXPECTED = {
    "hamming": [{"eor"}, {"cnt"}, {"add"}],
    "short_rows": [{"eor"}, {"cnt"}, {"uaddlp", "uadalp", "udot"}],
    "popcount": [{"cnt"}, {"uadalp"}],
    "l1": [{"fcvtl"}, {"fabd"}, {"fadd"}],
    "l2": [{"fcvtl"}, {"fsub"}, {"fmul"}, {"fadd"}],
    "near_l1": [{"fabd"}, {"fadd"}],
    "near_l2": [{"fsub"}, {"fmul"}, {"fadd"}],
    "dot": [{"fcvtl"}, {"fmul"}, {"fadd"}],
    "squares": [{"fcvtl"}, {"fmul"}, {"fadd"}],
    "near_dot": [{"fmul"}, {"fadd"}],
    "tile_absolute": [{"uabd", "uabal"}, {"uaddw", "uadalp", "uabal", "udot"}],
    "tile_product": [{"umull", "umlal", "udot"}, {"uaddw", "uadalp", "umlal", "udot"}],
    "groups_below": [{"uabd"}, {"uaddl", "uadalp", "uaddw", "udot"}, {"addv", "uaddlv"}],
    "groups_rest": [{"uabd"}, {"uaddl", "uadalp", "uaddw", "udot"}, {"addv", "uaddlv"}],
    "add_bytes": [{"add"}],
    "coarse_absolute": [{"uabd"}, {"umlal"}],
    "coarse_product": [{"smlal", "mla"}],
    "fine_product": [{"smlal", "smull"}],
    "fine_differences": [{"uabd"}, {"umlal", "umull"}],
    "project_tile": [{"fmla"}],
    "sketch_whole": [{"fcvtl"}, {"fmul"}, {"fcvtzs", "xtn", "uzp1"}, {"fadd"}],
}
ALIASES = {
    **{
        f"{name}_{operation}": f"tile_{operation}"
        for name in ("bounded_tile", "row_sums", "stream", "pair_sum")
        for operation in ("absolute", "product")
    },
    "product_tile": "tile_product",
}  # fmt: skip


def kind_of(name: str) -> str:
    """The entry of `EXPECTED` that a kernel falls under."""
    name = ALIASES.get(name, name)
    return max((kind for kind in EXPECTED if name.startswith(kind)), key=len)


@cache
def code_of(cpu: str) -> dict[str, Code]:
    module = optimised(KERNELS, cpu)
    text = str(module)
    assert "llvm.x86" not in text
    assert not {"fast", "contract", "reassoc"} & {word for line in text.splitlines()
                                                  for word in line.split()}  # fmt: skip
    return disassembled(module, cpu)


def test_no_micro_kernel_is_forgotten():
    found = {
        name
        for module in MODULES
        for name, value in vars(module).items()
        if type(value).__name__ == "_Intrinsic" and value._defn.__module__ == module.__name__
    }
    listed = {kernel.intrinsic._name for kernel in KERNELS}
    assert found - LEFT_OUT == listed


@pytest.mark.parametrize("cpu", PROCESSORS)
def test_nothing_is_asked_of_another_processor_or_library(cpu):
    for name, code in code_of(cpu).items():
        called = {i.operands for i in code.instructions if i.name in ("bl", "blr", "b")
                  and not i.operands.startswith(".L")}  # fmt: skip
        # The bytes behind a row's last whole vector may be copied, and cleared behind.
        assert called <= {"memcpy", "memset"}, name


@pytest.mark.parametrize("cpu", PROCESSORS)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "float_at"])
def test_hot_loops_are_of_vectors(name, cpu):
    code = code_of(cpu)[name]
    hot = code.hot
    have = counted([i for i in hot if i.is_vector])
    for one_of in EXPECTED[kind_of(name)]:
        assert any(have[option] for option in one_of), (one_of, have)
    moved = sum(i.is_lane_of_memory for i in hot)
    arithmetic = [i for i in hot if i.is_vector and not re.match(r"(ld|st|mov|dup)", i.name)]
    if code.loops and hot is not code.instructions:
        assert not moved
        assert not [i for i in hot if i.name in ("bl", "ldrb", "strb", "fmov")]
    # Scalars count and address; none of them works on the numbers.
    assert not [i for i in hot if re.match(r"[ds]\d+, [ds]\d+, [ds]\d+$", i.operands)
                and i.name not in ("fadd", "faddp")]  # fmt: skip
    # The rest loads, and moves what has no register left.
    assert 3 * len(arithmetic) >= len(hot) or len(hot) < 8, counted(hot)


@pytest.mark.parametrize("cpu", PROCESSORS)
def test_defined_sums_are_never_fused(cpu):
    """Each term is rounded by itself, as the definition and the bounds of float32 tiles say."""
    for name, code in code_of(cpu).items():
        fused = FUSED & set(counted(code.instructions))
        assert bool(fused) == (name == "project_tile"), name


@pytest.mark.parametrize("cpu", PROCESSORS)
def test_bits_are_counted_without_leaving_registers(cpu):
    """Eight pairs of 16 bytes: three instructions a pair, a load a row, and what makes a loop."""
    for shape, rows in (("4x2", 6), ("1x8", 9)):
        for words in (0, 8):
            hot = code_of(cpu)[f"hamming_{shape}_{words}"].hot
            have = counted(hot)
            assert have["eor"] == have["cnt"] == 8
            assert not any("[sp" in i.operands for i in hot)
            assert len(hot) <= 3 * 8 + rows + 8
