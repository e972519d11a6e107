// How tensor cores' kernels have rows and queries in shared memory: chunks of 128 bytes, one a line,
// whose 16-byte pieces are swizzled as wgmma's 128-byte mode has it.
#pragma once
#include "common.cuh"

constexpr int CHUNK = 128;  // bytes of a row that are in shared memory at a time
constexpr int PIECES = CHUNK / 16, STEPS = CHUNK / 32;

// Where a piece of a row lies: eight rows keep the same piece in eight groups of banks.
DEVICE int swizzled(int row, int piece) { return row * CHUNK + ((piece ^ (row & 7)) << 4); }

// Where the image of a chunk of a tile of queries begins: as it lies in shared memory, so that a copy
// in bulk, which swizzles nothing, serves. Images of a tile's chunks follow each other (refine.cu).
DEVICE i64 image_of(int tile, int chunk, int chunks, int lines) {
    return ((i64)tile * chunks + chunk) * lines * CHUNK;
}
