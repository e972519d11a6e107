// How large the tiles are: constants, so that tests can compile them small (-D) and cross every
// border with small inputs. vsearch_fast/kernels/cuda/sources.py reads the numbers from here.
#pragma once

// Register tiles: threads along either side, queries and rows of a thread, bytes of a row in
// shared memory at a time.
#ifndef TILE_THREADS
#define TILE_THREADS 16
#endif
#ifndef TILE_QUERIES
#define TILE_QUERIES 8
#endif
#ifndef TILE_ROWS
#define TILE_ROWS 8
#endif
#ifndef TILE_BYTES
#define TILE_BYTES 64
#endif
#ifndef TILE_STAGES
#define TILE_STAGES 3
#endif

// Tensor cores by warps: warps along either side, matrices of 16 queries and of 8 rows of a warp.
#ifndef WARPS_QUERIES
#define WARPS_QUERIES 2
#endif
#ifndef WARPS_ROWS
#define WARPS_ROWS 4
#endif
#ifndef WARP_M
#define WARP_M 4
#endif
#ifndef WARP_N
#define WARP_N 4
#endif
#ifndef WARP_STAGES
#define WARP_STAGES 3
#endif

// Tensor cores by warpgroups: how many, matrices of 64 queries of each, rows of a product.
#ifndef WARPGROUPS
#define WARPGROUPS 2
#endif
#ifndef WARPGROUP_M
#define WARPGROUP_M 2
#endif
#ifndef WGMMA_ROWS
#define WGMMA_ROWS 128
#endif
#ifndef WARPGROUP_STAGES
#define WARPGROUP_STAGES 4
#endif

// Few queries: warps of a block, rows that a warp has under way.
#ifndef STREAM_WARPS
#define STREAM_WARPS 8
#endif
#ifndef STREAM_ROWS
#define STREAM_ROWS 4
#endif

// Reduced rows: queries that share the loads of a coarse row.
#ifndef REDUCED_QUERIES
#define REDUCED_QUERIES 4
#endif

// Selection and refinement: threads of a block.
#ifndef BLOCK
#define BLOCK 256
#endif
