"""The hot loops and nothing else: arrays in, arrays out; no files, no images.

::

    search.topk ─┬─ hamming.hamming_scan ──── simd  ─┐
                 ├─ hamming_amx (batches) ─── amx   ─┼─ rows.next_tile: which rows
                 └─ lanes.lane_scan ───────── simd  ─┘  select: the k smallest
    reference   the NumPy definition that all of them are tested against
    cache       compiles each kernel once per user and processor
"""
