"""What a stage loads before it forks actors: the package, its compiled kernels, and the answers
that actors compare with. Leaves no thread behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import fault_operations
import fault_truth

from vsearch_fast.search import tiling

# Rows are reduced from the first page on, and whether that pays or not: the base index, which tests
# make, gains them with its next addition.
tiling.TILING = tiling.Tiling(
    reduce_rows=1, reduced_worth=float("inf"), reduced_tile=1, seed_rows=1,
    reduced_chunk=1, regroupings=0, reduced_shapes=(("l2", 1, 4, 16), ("l1", 1, 6, 64)),
)  # fmt: skip

with tempfile.TemporaryDirectory() as folder:
    fault_truth.make_base(Path(folder) / "index")
    fault_truth.check(Path(folder) / "index", [fault_truth.base()])
for states in (fault_truth.history(), *(each.states for each in fault_operations.OPERATIONS)):
    for state in states:
        fault_truth.searches(state)
        fault_truth.searches(fault_truth.next_states(state)[-1])
