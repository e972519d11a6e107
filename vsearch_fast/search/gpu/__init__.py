"""Exact search on CUDA devices, with the same result to the bit as on the processor.

::

    topk_segments ─ backend.run ─┬─ device 0 ─ search ─┬─ resident: rows that stay there
                                 ├─ device 1 ─ ...     ├─ feed: rows that pass through
                                 └─ merged             ├─ scans: which kernel, how launched
                                                       └─ lists: the pairs that are left

The kernels are in `vsearch_fast.kernels.cuda`.
"""

from __future__ import annotations
