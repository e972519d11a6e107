"""The hot loops and nothing else: arrays in, arrays out; no files, no images.

::

    search.topk ── hamming.hamming_scan ─┐                      ┌─ simd   distances of a tile
                └─ lanes.lane_scan ──────┼─ rows.next_tile ─────┤
                                         └─ select.push         └─ select the k smallest
    reference   the NumPy definition that all of them are tested against
    cache       compiles each kernel once per user and processor
"""
