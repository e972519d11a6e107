// What is computed from stored rows outside the scans. Loaded by
// vsearch_fast/kernels/cuda/module.py.
#include "common.cuh"

constexpr int WARPS = BLOCK / 32;
SHAPE(refine, BLOCK, 1, WARPS, 0, 0, 2)
SHAPE(count_bits, BLOCK, 0, WARPS, 0, 0, 2)
SHAPE(bound_rows, BLOCK, 0, BLOCK, 0, 0, 2)

// The defined distance of one query and one row by a warp: lane j adds the terms j, j + 32, ...,
// a tree adds the lanes. Every operation rounds on its own, as kernels/reference.py has it.
template <bool HALVES>
DEVICE double defined_distance(const float* query, const u8* row, int dim, bool squared) {
    double sum = 0.0;
    for (int i = threadIdx.x % 32; i < dim; i += 32) {
        float value = HALVES ? widen_half(((const unsigned short*)row)[i]) : ((const float*)row)[i];
        double difference = __dsub_rn(widen(value), widen(query[i]));
        sum = __dadd_rn(sum, squared ? __dmul_rn(difference, difference) : fabs(difference));
    }
    for (int half = 16; half; half /= 2) {
        sum = __dadd_rn(sum, __shfl_down_sync(FULL_WARP, sum, half));
    }
    return squared ? __dsqrt_rn(sum) : sum;
}

// Compute the listed pairs of rows `first_id` to `last_id` whose lower bound is at most
// `most[query]`: both bounds become the distance. `done` counts them, and `bad` becomes the lowest
// id of a row that holds NaN or infinity. Blocks of neighbouring queries run together: what one reads, another finds in
// the cache.
KERNEL void __launch_bounds__(BLOCK, 2)
    refine(const u8* queries, i64 query_stride, const u8* rows, i64 row_stride, int halves, int dim,
           u32 first_id, u32 last_id, const u64* most, const u32* counts, u64* keys, u64* uppers,
           const u32* ids, int capacity, int squared, u32* done, u32* bad) {
    u32 query = blockIdx.x, count = counts[query];
    u64 limit = most[query];
    const float* mine = (const float*)(queries + query * query_stride);
    for (u32 i = blockIdx.y * WARPS + threadIdx.x / 32; i < count; i += gridDim.y * WARPS) {
        i64 at = (i64)query * capacity + i;
        u32 id = ids[at];
        // Equal bounds are a distance already.
        bool wanted = id >= first_id && id < last_id && keys[at] <= limit && keys[at] != uppers[at];
        if (!wanted) continue;  // all lanes alike
        const u8* row = rows + (i64)(id - first_id) * row_stride;
        double distance = halves ? defined_distance<true>(mine, row, dim, squared)
                                 : defined_distance<false>(mine, row, dim, squared);
        __syncwarp();  // all lanes have read the bounds
        if (threadIdx.x % 32 == 0) {
            keys[at] = uppers[at] = bits_of(distance);
            atomicAdd(done, 1u);
            if (!(bits_of(distance) < 0x7ff0000000000000ull)) atomicMin(bad, id);
        }
    }
}

// Set bits of each row: Hamming distances from common bits need them.
KERNEL void __launch_bounds__(BLOCK, 2)
    count_bits(const u8* rows, i64 row_stride, int width, i64 row_count, u32* sums) {
    i64 row = (i64)blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= row_count) return;  // all lanes alike
    u32 sum = 0;
    for (int at = threadIdx.x % 32 * 16; at < width; at += 512) {
        uint4 some = *(const uint4*)(rows + row * row_stride + at);
        sum += __popc(some.x) + __popc(some.y) + __popc(some.z) + __popc(some.w);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[row] = sum;
}

// Residual norms of rows in steps of their sketches, rounded up, with a margin for the roundings of
// quick tests. Once a row: float64 divisions in every lane of a scan would set its pace.
KERNEL void __launch_bounds__(BLOCK, 2)
    bound_rows(const double* errors, i64 row_count, double scale, float* bounds) {
    i64 row = (i64)blockIdx.x * BLOCK + threadIdx.x;
    if (row < row_count) bounds[row] = as_float_up(errors[row] / scale) * QUICK_MARGIN;
}
