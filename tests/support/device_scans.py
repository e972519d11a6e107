"""The scans of all devices: what tests of kernels go through."""

from __future__ import annotations

import pytest
from emulated import machine_code

from vsearch_fast.kernels.cuda import sources

#: A device of each set of kernels.
CAPABILITIES = [(7, 5), (8, 0), (9, 0), (10, 0)]

#: Each scan of each of them: (capability, kernel).
SCANS = [
    (capability, name)
    for capability in CAPABILITIES
    for family in sources.SCANS
    for name in sources.scans_for(family, capability)
]

_FIRST = {
    (name, machine_code(sources.unit_of(name), capability)): (capability, name)
    for capability, name in reversed(SCANS)
}

#: The same as parameters: of devices that run the very same code of a scan, only the first is
#: asked, and the others in the long matrices.
UNLIKE = [
    pytest.param(
        each,
        marks=[] if each in _FIRST.values() else [pytest.mark.full],
        id=f"{sources.architecture(each[0])}-{each[1]}",
    )
    for each in SCANS
]
