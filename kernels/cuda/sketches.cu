// L1 and L2 distances of 8-bit sketches. Loaded by vsearch_fast/kernels/cuda/module.py.
#include "stream.cuh"
#include "tensor.cuh"
#include "tile.cuh"

STREAM_KERNEL(l1_sketches_stream_1, L1_SKETCHES, 1)
STREAM_KERNEL(l1_sketches_stream_2, L1_SKETCHES, 2)
STREAM_KERNEL(l1_sketches_stream_4, L1_SKETCHES, 4)
STREAM_KERNEL(l2_sketches_stream_1, L2_SKETCHES, 1)
STREAM_KERNEL(l2_sketches_stream_2, L2_SKETCHES, 2)
STREAM_KERNEL(l2_sketches_stream_4, L2_SKETCHES, 4)
TILE_KERNEL(l1_sketches_tile, L1_SKETCHES, TILE_BLOCKS)
TILE_KERNEL(l2_sketches_tile, L2_SKETCHES, TILE_BLOCKS)
#ifdef HAS_MMA_BYTES
WARP_KERNEL(l2_sketches_warp, L2_SKETCHES, UNSIGNED_BYTES)
#endif
#ifdef HAS_WGMMA
WARPGROUP_KERNEL(l2_sketches_warpgroup, L2_SKETCHES, UNSIGNED_BYTES, false)
#endif
