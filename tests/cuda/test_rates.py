"""The kernels that time single units compile, and hold what they are to time."""

from __future__ import annotations

import re

import nvrtc
import pytest
from benchmark_scripts import importable

from vsearch_fast.kernels.cuda import sources

#: PTX of one operation, and how often a turn has it: eight chains, or eight products.
OPERATIONS = {
    "rate_popc": r"\bpopc\.b32", "rate_vabsdiff4": r"\bvabsdiff4\.", "rate_dp4a": r"\bdp4a\.",
    "rate_fma": r"\bfma\.rn\.(?:ftz\.)?f32", "rate_dadd": r"\badd\.rn\.f64",
    "rate_mma_b1": r"\bmma\.sync\S*b1\.b1", "rate_mma_u8": r"\bmma\.sync\S*u8\.u8",
    "rate_wgmma_b1": r"\bwgmma\.mma_async\S*b1\.b1",
    "rate_wgmma_u8": r"\bwgmma\.mma_async\S*u8\.u8",
}  # fmt: skip


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)], ids=sources.architecture)
def test_every_rate_has_its_operations(capability):
    with importable():
        from gpu import rates
    try:
        known = nvrtc.capabilities()
    except nvrtc.Missing as missing:
        pytest.skip(str(missing))
    if capability not in known:
        pytest.skip(f"the compiler does not know {sources.architecture(capability)}")
    made = nvrtc.compile_source(
        rates.SOURCE.read_text(), "rates.cu", (*sources.options(capability), "-ftz=true")
    )
    _, *parts = re.split(r"\.entry\s+(\w+)", made.ptx)
    code = dict(zip(parts[::2], parts[1::2], strict=True))
    features = sources.features_of(capability)
    wanted = {name for name, (needs, _, _) in rates.RATES.items() if needs in (None, *features)}
    assert set(code) == wanted
    for name in wanted:
        assert len(re.findall(OPERATIONS[name], code[name])) >= rates._CHAINS, name
