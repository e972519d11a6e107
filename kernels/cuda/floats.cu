// L1 and L2 distances in float32, with a rounding bound. Loaded by
// vsearch_fast/kernels/cuda/module.py.
#include "stream.cuh"
#include "tile.cuh"

STREAM_KERNEL(l1_floats_stream_1, L1_FLOATS, 1)
STREAM_KERNEL(l1_floats_stream_2, L1_FLOATS, 2)
STREAM_KERNEL(l2_floats_stream_1, L2_FLOATS, 1)
STREAM_KERNEL(l2_floats_stream_2, L2_FLOATS, 2)
TILE_KERNEL(l1_floats_tile, L1_FLOATS, ROOMY_BLOCKS)
TILE_KERNEL(l2_floats_tile, L2_FLOATS, ROOMY_BLOCKS)
