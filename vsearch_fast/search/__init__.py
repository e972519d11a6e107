"""Exact top-k search: `topk` and what it works with.

::

    topk ─ one array ─┐                           ┌─ cpu/scan: every distance from stored rows
                      ├─ dispatch.topk_segments ──┼─ cpu/cascade: sketches bound, stored rows decide
    Index ─ segments ─┘   (arguments, tiling)     │    (L1, L2; one pool: `threads`)
                                                  ├─ cpu/summed: sums of groups of bits bound
                                                  └─ gpu/: the same two on CUDA devices

`range_search` (all rows within a radius) goes the same ways with limits that never fall
(cpu/within, gpu/ranging); so does `self_join` (all pairs within one) on the processor.

The result is defined by `vsearch_fast.kernels.reference` and equal to it to the bit, whatever
the backend, the strategy, the threads, the batches and the layout of the arrays.
"""

from __future__ import annotations

from ..kernels.reference import pack_bits
from ..machine import available_threads
from ..words import METRICS, Metric
from .dispatch import topk, topk_segments
from .joins import self_join, self_join_blocks
from .proof import Proof
from .ranges import range_search
from .resident import Resident
from .sketches import Sketched

__all__ = [
    "METRICS",
    "Metric",
    "Proof",
    "Resident",
    "Sketched",
    "available_threads",
    "pack_bits",
    "range_search",
    "self_join",
    "self_join_blocks",
    "topk",
    "topk_segments",
]
