// Threads that hand each other what they have stored, by the barriers that it takes, or with one
// mistake: tests/cuda/test_watched.py.
#include "common.cuh"

enum Mistake {
    NONE,
    NO_BARRIER_BEFORE_LOADS,
    NO_BARRIER_BEFORE_THE_NEXT_STORE,
    HALF_OF_THE_BLOCK_MEETS,
    A_SHUFFLE_FOR_A_BARRIER,
    ATOMIC_AND_LOADED,
    ATOMIC_AND_STORED,
    A_COPY_IS_NOT_WAITED_FOR,
    A_COPY_OF_ANOTHER,
    A_COPY_TOO_EARLY,
    NO_BARRIER_BETWEEN_ARRAYS,
    BLOCKS_SHARE_A_WORD,
    TWO_LANES_STORE_THE_SAME,
};

struct PlainShared {
    uint4 copied[64];
    u32 values[64];
    u32 of_warps[2];
    u32 sum;
};
SHAPE(plain, 64, 0, 0, sizeof(PlainShared), 0, 1)

// `found`: of each block 64 numbers, and behind all of them one.
KERNEL void plain(const u32* given, int mistake, u32* between, u32* found) {
    PlainShared& shared = *(PlainShared*)shared_memory();
    u32 thread = threadIdx.x, total = 0;
    between += blockIdx.x * 64, found += blockIdx.x * 64;
    for (u32 turn = 0; turn < 3; turn++) {
        copy16(&shared.copied[thread], given + 4 * (thread + turn), true);
        copies_end();
        shared.values[thread] = given[thread] + turn;
        if (thread == 0) shared.sum = 0;
        between[thread] = turn;
        if (mistake != A_COPY_IS_NOT_WAITED_FOR) copies_wait<0>();
        u32 other = 63 - thread;
        if (mistake == A_COPY_OF_ANOTHER) total += shared.copied[other].x;
        if (mistake == HALF_OF_THE_BLOCK_MEETS) {
            some_meet<32>(1 + thread / 32);
        } else if (mistake != NO_BARRIER_BEFORE_LOADS) {
            __syncthreads();
        }
        total += shared.values[other];
        if (mistake != NO_BARRIER_BEFORE_LOADS && mistake != HALF_OF_THE_BLOCK_MEETS) {
            atomicAdd(&shared.sum, shared.copied[other].y + between[other]);
        }
        if (mistake == ATOMIC_AND_LOADED) total += shared.sum;
        if (mistake == ATOMIC_AND_STORED && thread == 1) shared.sum = 0;
        // Of a warp: its first lane stores, the others load.
        if (thread % 32 == 0) shared.of_warps[thread / 32] = total;
        if (mistake == TWO_LANES_STORE_THE_SAME && thread % 32 < 2) shared.of_warps[thread / 32] = 7;
        if (mistake == A_SHUFFLE_FOR_A_BARRIER) {
            total += __shfl_xor_sync(FULL_WARP, total, 1);
        } else {
            __syncwarp();
        }
        total += shared.of_warps[thread / 32];
        if (mistake == A_COPY_TOO_EARLY) {
            copy16(&shared.copied[thread], given, true);
            copies_end();
            copies_wait<0>();
        }
        if (mistake == NO_BARRIER_BETWEEN_ARRAYS) between[thread] = 0;
        if (mistake != NO_BARRIER_BEFORE_THE_NEXT_STORE) __syncthreads();
        total += shared.sum;
        __syncthreads();
    }
    found[thread] = total;
    if (thread == 0 && mistake == BLOCKS_SHARE_A_WORD) found[64 * (gridDim.x - blockIdx.x)] = 1;
}
