"""Exact search on CUDA devices, with the same result to the bit as on the processor.

::

    dispatch ─ request.wanted ─┬─ devices: which there are
                               ├─ selfcheck, trials: whether they are right; compiling, simpler
                 backend.run_search ─┬─ device 0 ─ rounds ─┬─ resident_rows: rows that stay there
                                     ├─ device 1 ─ ...     ├─ passing, feed: rows that pass through
                        .run_ranges  └─ merged   ranging   ├─ reducing: their reductions
                                                           ├─ scans, reduced: which kernel, how
                                                           ├─ products: what these need besides
                                                           └─ lists: the pairs that are left

The kernels are in `vsearch_fast.kernels.cuda`.
"""

from __future__ import annotations
