"""What a stage loads before it forks actors: the package, its compiled kernels, and the answers
that actors compare with. Leaves no thread behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import fault_operations
import fault_truth

with tempfile.TemporaryDirectory() as folder:
    fault_truth.make_base(Path(folder) / "index")
    fault_truth.check(Path(folder) / "index", [fault_truth.base()])
for states in (fault_truth.history(), *(each.states for each in fault_operations.OPERATIONS)):
    for state in states:
        fault_truth.searches(state)
        fault_truth.searches(fault_truth.next_states(state)[-1])
