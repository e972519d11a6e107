// Hamming distances and L2 of sketches by Hopper's warpgroups in a pipeline: apart from the kernels
// that take their place where they cannot be compiled. Loaded by vsearch_fast/kernels/cuda/module.py.
#include "pipeline.cuh"

#ifdef HAS_WGMMA
PIPELINE_KERNEL(hamming_pipelined_warpgroup, HAMMING, COMMON_BITS, false)
PIPELINE_KERNEL(hamming_pipelined_warpgroup_resident, HAMMING, COMMON_BITS, true)
PIPELINE_KERNEL(l2_sketches_pipelined_warpgroup, L2_SKETCHES, UNSIGNED_BYTES, false)
#endif
