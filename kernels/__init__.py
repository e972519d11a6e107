"""The hot loops and nothing else: arrays in, arrays out; no files, no images.

::

    search.topk ─┬─ cpu/scan ──── hamming, hamming_amx (batches), lanes, dots ─── simd, amx
                 └─ cpu/cascade ─ sketch, sketch_scan, pairs, refine ──────────── simd_u8, simd
                                  or, for products, sketch_dot, refine_dot ────── simd_dot
    rows        which rows a tile looks at
    select      the k smallest
    level       which instructions may be used
    layout      what a sketched row is made of
    memory      arrays on cache lines
    cache       compiles each kernel once per user and processor
    reference   the NumPy definition that all of them are tested against

README.md beside this file has the formulas, the bounds with their proof, and what was tried.
"""
