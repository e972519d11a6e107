// Hamming distances of packed codes. Loaded by vsearch_fast/kernels/cuda/module.py.
#include "stream.cuh"
#include "tensor.cuh"
#include "tile.cuh"

STREAM_KERNEL(hamming_stream_1, HAMMING, 1)
STREAM_KERNEL(hamming_stream_2, HAMMING, 2)
STREAM_KERNEL(hamming_stream_4, HAMMING, 4)
STREAM_KERNEL(hamming_stream_8, HAMMING, 8)
TILE_KERNEL(hamming_tile, HAMMING, ROOMY_BLOCKS)
#ifdef HAS_MMA_BITS
WARP_KERNEL(hamming_warp, HAMMING, COMMON_BITS)
#endif
#ifdef HAS_WGMMA
WARPGROUP_KERNEL(hamming_warpgroup, HAMMING, COMMON_BITS, false)
WARPGROUP_KERNEL(hamming_warpgroup_resident, HAMMING, COMMON_BITS, true)
#endif
