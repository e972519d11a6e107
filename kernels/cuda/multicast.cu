// Hamming distances and L2 of sketches by pairs of blocks in a pipeline, which get each half of their
// queries from the other: apart from the kernels that take their place where they cannot be compiled.
// Loaded by vsearch_fast/kernels/cuda/module.py.
#include "pipeline.cuh"

#ifdef HAS_WGMMA
MULTICAST_KERNEL(hamming_multicast_warpgroup, HAMMING, COMMON_BITS)
MULTICAST_KERNEL(l2_sketches_multicast_warpgroup, L2_SKETCHES, UNSIGNED_BYTES)
#endif
