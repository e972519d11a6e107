// What is computed from stored rows outside the scans. Loaded by
// vsearch_fast/kernels/cuda/module.py.
#include "chunks.cuh"
#include "dot.cuh"

constexpr int WARPS = BLOCK / 32;
SHAPE(refine, BLOCK, 1, WARPS, 0, 0, 2)
SHAPE(refine_dots, BLOCK, 1, WARPS, 0, 0, 2)
SHAPE(count_bits, BLOCK, 0, WARPS, 0, 0, 2)
SHAPE(bound_rows, BLOCK, 0, BLOCK, 0, 0, 2)
SHAPE(bound_dot_rows, BLOCK, 0, BLOCK, 0, 0, 2)
SHAPE(square_rows, BLOCK, 0, WARPS, 0, 0, 2)
SHAPE(arrange_queries, BLOCK, 0, BLOCK, 0, 0, 2)

template <bool HALVES>
DEVICE float number_at(const u8* row, int i) {
    return HALVES ? widen_half(((const unsigned short*)row)[i]) : ((const float*)row)[i];
}

DEVICE double sum_of_lanes(double sum) {
    for (int half = 16; half; half /= 2) {
        sum = __dadd_rn(sum, __shfl_down_sync(FULL_WARP, sum, half));
    }
    return sum;
}

// The defined distance of one query and one row by a warp: lane j adds the terms j, j + 32, ...,
// a tree adds the lanes. Every operation rounds on its own, as kernels/reference.py has it.
template <bool HALVES>
DEVICE double defined_distance(const float* query, const u8* row, int dim, bool squared) {
    double sum = 0.0;
    for (int i = threadIdx.x % 32; i < dim; i += 32) {
        double difference = __dsub_rn(widen(number_at<HALVES>(row, i)), widen(query[i]));
        sum = __dadd_rn(sum, squared ? __dmul_rn(difference, difference) : fabs(difference));
    }
    sum = sum_of_lanes(sum);
    return squared ? __dsqrt_rn(sum) : sum;
}

// Likewise the negated inner product, or, with the sum of the query's squares, the cosine distance.
// Not finite where the row is not.
template <bool HALVES>
DEVICE double defined_dot(const float* query, const u8* row, int dim, double squares, bool cosine) {
    double dot = 0.0, square = 0.0;
    for (int i = threadIdx.x % 32; i < dim; i += 32) {
        double value = widen(number_at<HALVES>(row, i));
        dot = __dadd_rn(dot, __dmul_rn(value, widen(query[i])));
        square = __dadd_rn(square, __dmul_rn(value, value));
    }
    dot = sum_of_lanes(dot), square = sum_of_lanes(square);
    squares = __dmul_rn(squares, square);
    if (!cosine || !(fabs(dot) < infinite())) return __dsub_rn(0.0, dot);
    return squares > 0.0 ? __dsub_rn(1.0, dot / __dsqrt_rn(squares)) : 1.0;
}

DEVICE bool is_between(u32 id, u32 first, u32 last) { return first <= id && id < last; }

// Whether a pair is to be computed. Equal bounds are a distance already.
DEVICE bool is_aimed_at(u64 key, u64 upper, u64 most) { return key <= most && key != upper; }

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
        bool wanted = is_between(id, first_id, last_id) && is_aimed_at(keys[at], uppers[at], limit);
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

// `refine` for inner products and cosines, whose keys are signed.
KERNEL void __launch_bounds__(BLOCK, 2)
    refine_dots(const u8* queries, i64 query_stride, const u8* rows, i64 row_stride, int halves,
                int dim, u32 first_id, u32 last_id, const u64* most, const u32* counts, u64* keys,
                u64* uppers, const u32* ids, int capacity, const double* squares, int cosine,
                u32* done, u32* bad) {
    u32 query = blockIdx.x, count = counts[query];
    u64 limit = most[query];
    double square = squares[query];
    const float* mine = (const float*)(queries + query * query_stride);
    for (u32 i = blockIdx.y * WARPS + threadIdx.x / 32; i < count; i += gridDim.y * WARPS) {
        i64 at = (i64)query * capacity + i;
        u32 id = ids[at];
        bool wanted = is_between(id, first_id, last_id) && is_aimed_at(keys[at], uppers[at], limit);
        if (!wanted) continue;  // all lanes alike
        const u8* row = rows + (i64)(id - first_id) * row_stride;
        double distance = halves ? defined_dot<true>(mine, row, dim, square, cosine)
                                 : defined_dot<false>(mine, row, dim, square, cosine);
        __syncwarp();  // all lanes have read the bounds
        if (threadIdx.x % 32 == 0) {
            keys[at] = uppers[at] = signed_key(distance);
            atomicAdd(done, 1u);
            if (!(fabs(distance) < infinite())) atomicMin(bad, id);
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

// What quick tests of products must know of sketched rows (dot.cuh), by their residual norms, sums
// and sums of squares.
KERNEL void __launch_bounds__(BLOCK, 2)
    bound_dot_rows(const double* errors, const u32* totals, const u32* squares, i64 row_count,
                   double lo, double scale, int numbers, float* facts) {
    i64 row = (i64)blockIdx.x * BLOCK + threadIdx.x;
    if (row >= row_count) return;
    double total = (double)totals[row], error = errors[row] / scale, ratio = lo / scale;
    DotSize sketched(total, (double)squares[row], ratio, (double)numbers);
    double first = __dmul_rn(ratio, total);
    first = __dadd_rn(first, __dmul_rn(DOT_SLACK, fabs(first)));
    double by_ip = __dsqrt_rn(__dadd_rn(sketched.square, sketched.off));
    double square = __dsub_rn(sketched.square, __dmul_rn(error, error));
    bool clear = square > __dmul_rn(DOT_CLEAR, sketched.off);
    double by_cosine = __dsqrt_rn(square);
    bool held = fabs(first) < DOT_FAR * DOT_FAR && error < DOT_FAR;
    float* mine = facts + row * DOT_FACTS;
    mine[DOT_FIRST] = held ? (float)first : 0.0f;
    mine[DOT_ROW_ERROR] = held ? (float)error : 0.0f;
    mine[DOT_IP_SIZE] = held && by_ip < DOT_FAR ? (float)by_ip : unknown();
    mine[DOT_COSINE_SIZE] = held && clear && by_cosine < DOT_FAR ? (float)by_cosine : unknown();
}

// Sums of the squares of float32 rows as they are defined, and the rows' sizes for quick tests: NaN
// where sums of products in float32 have no bound.
KERNEL void __launch_bounds__(BLOCK, 2)
    square_rows(const u8* rows, i64 row_stride, int dim, i64 row_count, double* squares,
                float* sizes) {
    i64 row = (i64)blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= row_count) return;  // all lanes alike
    double square = 0.0;
    for (int i = threadIdx.x % 32; i < dim; i += 32) {
        double value = widen(number_at<false>(rows + row * row_stride, i));
        square = __dadd_rn(square, __dmul_rn(value, value));
    }
    square = sum_of_lanes(square);
    if (threadIdx.x % 32 == 0) {
        squares[row] = square;
        sizes[row] = dot_is_clear(square) ? (float)__dsqrt_rn(square) : unknown();
    }
}

// Queries as images of what shared memory holds (chunks.cuh): tiles of `lines` queries, of each its
// chunks one after the other. A thread a piece; what lies beyond a query's end, or the last query, is
// zeros.
KERNEL void __launch_bounds__(BLOCK, 2)
    arrange_queries(const u8* queries, i64 query_stride, int query_count, int width, int lines,
                    u8* images) {
    int chunks = (width + CHUNK - 1) / CHUNK, a_chunk = lines * PIECES;
    i64 tiles = (query_count + lines - 1) / lines;
    i64 number = (i64)blockIdx.x * BLOCK + threadIdx.x;
    if (number >= tiles * chunks * a_chunk) return;
    int line = number % a_chunk / PIECES, piece = number % PIECES;
    int chunk = number / a_chunk % chunks, tile = (int)(number / a_chunk / chunks);
    int query = tile * lines + line, at = chunk * CHUNK + piece * 16;
    bool there = query < query_count && at < width;
    const uint4* from = (const uint4*)(queries + query * query_stride + at);
    uint4 some = there ? *from : make_uint4(0, 0, 0, 0);
    *(uint4*)(images + image_of(tile, chunk, chunks, lines) + swizzled(line, piece)) = some;
}
