// L1 and L2 distances of rows that are reduced to few numbers, before their sketches: the level of
// kernels/reduced_scan.py, whose bytes and proof these are. Loaded by
// vsearch_fast/kernels/cuda/module.py.
#include "decide.cuh"

// Reduced queries and rows, as `arguments.py` has them for the launcher. Coarse rows stand in pages of 16, two numbers of all rows one behind
// the other, and behind them float32 facts of the 16: weights and residuals (L2), errors. Fine rows
// stand one behind the other, each with its weight, residual and error.
struct Reduced {
    const u8* coarse_queries;  // rows of so many bytes: int16 numbers (L2), or bytes (L1)
    i64 coarse_stride;
    const float* coarse_weights;  // of L1: null
    const float* coarse_residuals;
    const double* coarse_errors;
    const u8* coarse_scales;  // L1: a byte a number; L2: null
    double coarse_scale;
    const u8* pages;
    int coarse_numbers;  // even
    const u8* fine_queries;
    i64 fine_stride;
    const float* fine_weights;
    const float* fine_residuals;
    const double* fine_errors;
    const u8* fine_scales;
    double fine_scale;
    const u8* fine_rows;
    int fine_numbers;  // a multiple of 16; 0: there are no fine rows
    int fine_size;     // bytes of a fine row
    i64 start;         // number of the first row that is reduced
    double growth;     // how limits of rounded distances become those of true ones
    double slack;      // factors a little below and above 1, for the roundings of both tests
    double reach;
    u64* left;         // pairs that coarse and that fine numbers leave (select.cu)
};

constexpr int PAGE = 16;

template <Kind KIND>
struct Reduction {
    static constexpr bool SQUARED = KIND == L2_SKETCHES;

    // Two numbers of a row and of a query: products, or differences by their scales. Exact.
    static DEVICE u32 coarse(u32 row, const u8* query, const u8* scales, int pair, u32 sum) {
        if (SQUARED) return product2(((const u32*)query)[pair], row, sum);
        u32 there = ((const unsigned short*)query)[pair];
        return product4(apart4(there, row), ((const unsigned short*)scales)[pair], sum);
    }

    // A lane's part of a fine row's sum, four numbers at a time.
    static DEVICE u32 fine(const Reduced& reduced, const u8* query, const u8* row) {
        u32 sum = 0;
        for (int four = threadIdx.x % 32; four < reduced.fine_numbers / 4; four += 32) {
            u32 bytes = ((const u32*)row)[four];
            if (SQUARED) {
                sum = product2(((const u32*)query)[2 * four], bytes, sum);
                sum = product2(((const u32*)query)[2 * four + 1], bytes >> 16, sum);
            } else {
                u32 apart = apart4(((const u32*)query)[four], bytes);
                sum = product4(apart, ((const u32*)reduced.fine_scales)[four], sum);
            }
        }
        return sum;
    }

    // Whether fine numbers leave a pair. By a warp, all lanes of which find the same.
    static DEVICE bool fine_leaves(const Reduced& reduced, int query, i64 number, double limit) {
        const u8* row = reduced.fine_rows + number * reduced.fine_size;
        const float* facts = (const float*)(row + reduced.fine_numbers);
        u32 sum = warp_sum(fine(reduced, reduced.fine_queries + query * reduced.fine_stride, row));
        double near = __dmul_rn(reduced.fine_scale, SQUARED ? (double)(int)sum : (double)sum);
        double reach = __dadd_rn(__dmul_rn(limit, reduced.growth), reduced.fine_errors[query]);
        reach = __dmul_rn(__dadd_rn(reach, widen(facts[2])), reduced.reach);
        if (SQUARED) {
            double across = __dmul_rn(widen(reduced.fine_residuals[query]), widen(facts[1]));
            double both = __dadd_rn(widen(facts[0]), widen(reduced.fine_weights[query]));
            near = __dsub_rn(__dmul_rn(both, reduced.slack),
                             __dmul_rn(2.0, __dadd_rn(near, across)));
            reach = __dmul_rn(reach, reach);
        }
        return !(near > reach);  // NaN stays
    }
};

// Bound pairs by their sketches, by a warp each, as `stream_rows` does.
template <Kind KIND>
DEVICE void bound_pair(const Scan& scan, int query, i64 position) {
    typedef Decide<KIND> Rule;
    typedef Terms<KIND> Term;
    i64 row = scan.row_at(position);
    const u8* mine = scan.queries + query * scan.query_stride;
    const u8* there = scan.rows + row * scan.row_stride;
    typename Term::Value value = 0;
    for (int at = threadIdx.x % 32 * 16; at < scan.width; at += 512) {
        value = Term::add(*(const uint4*)(mine + at), *(const uint4*)(there + at), value);
    }
    value = Term::sum_of_warp(value);
    typename Rule::Query asked = Rule::query(scan, query);
    typename Rule::Row facts = Rule::row(scan, row);
    value = Term::distance(asked, facts, value);
    if (threadIdx.x % 32 == 0 && Rule::keeps(asked, facts, value)) {
        Rule::list(scan, query, position, value);
    }
}

// A lane compares a row with a few queries by coarse numbers; what these leave, the whole warp
// looks at, pair by pair.
template <Kind KIND>
DEVICE void reduced_scan(const Scan& scan, const Reduced& reduced) {
    typedef Reduction<KIND> Rule;
    constexpr bool SQUARED = Rule::SQUARED;
    int lane = threadIdx.x % 32, first_query = blockIdx.x * REDUCED_QUERIES;
    i64 warp = (i64)blockIdx.y * STREAM_WARPS + threadIdx.x / 32;
    i64 page_size = PAGE * (i64)reduced.coarse_numbers + PAGE * (SQUARED ? 12 : 4);
    float scale = (float)reduced.coarse_scale, slack = (float)reduced.slack;

    // Offsets, since pointers take twice the registers.
    const u8* queries = reduced.coarse_queries + first_query * reduced.coarse_stride;
    int offsets[REDUCED_QUERIES];
    float reaches[REDUCED_QUERIES];
#pragma unroll
    for (int q = 0; q < REDUCED_QUERIES; q++) {
        // Queries beyond the last are the first once more; nothing is asked of their sums.
        int other = first_query + q < scan.query_count ? q : 0, query = first_query + other;
        offsets[q] = other * (int)reduced.coarse_stride;
        double limit = __dmul_rn(double_of(scan.limits[query]), reduced.growth);
        limit = __dadd_rn(limit, reduced.coarse_errors[query]);
        reaches[q] = as_float_up(__dmul_rn(limit, reduced.reach));
    }
    u32 left_coarse = 0, left_fine = 0;
    for (i64 start = scan.first + warp * 32; start < scan.last;
         start += (i64)gridDim.y * STREAM_WARPS * 32) {
        // Rows beyond the last are the last once more, and none of them stays.
        bool real = start + lane < scan.last;
        i64 number = scan.row_at(real ? start + lane : scan.last - 1) - reduced.start;
        const u8* page = reduced.pages + number / PAGE * page_size;
        int place = (int)(number % PAGE);
        u32 sums[REDUCED_QUERIES] = {};
        for (int pair = 0; pair < reduced.coarse_numbers / 2; pair++) {
            u32 row = *(const unsigned short*)(page + 2 * PAGE * pair + 2 * place);
#pragma unroll
            for (int q = 0; q < REDUCED_QUERIES; q++) {
                sums[q] = Rule::coarse(row, queries + offsets[q], reduced.coarse_scales, pair, sums[q]);
            }
        }
        const float* facts = (const float*)(page + PAGE * reduced.coarse_numbers) + place;
        float error = facts[SQUARED ? 2 * PAGE : 0];
#pragma unroll
        for (int q = 0; q < REDUCED_QUERIES; q++) {
            int query = first_query + q;
            if (query >= scan.query_count) break;  // all lanes alike
            float near = (SQUARED ? (float)(int)sums[q] : (float)sums[q]) * scale;
            float reach = reaches[q] + error;
            if (SQUARED) {
                float across = reduced.coarse_residuals[query] * facts[PAGE];
                float twice = (near + near) + (across + across);
                near = (reduced.coarse_weights[query] + facts[0]) * slack - twice;
                reach *= reach;
            }
            u32 stay = __ballot_sync(FULL_WARP, real && !(near > reach));  // NaN stays
            left_coarse += __popc(stay);
            double limit = double_of(scan.limits[query]);
            while (stay) {
                i64 position = start + __ffs(stay) - 1;
                stay &= stay - 1;
                if (reduced.fine_numbers &&
                    !Rule::fine_leaves(reduced, query, scan.row_at(position) - reduced.start, limit)) {
                    continue;
                }
                left_fine++;
                bound_pair<KIND>(scan, query, position);
            }
        }
    }
    if (lane == 0 && left_coarse) {
        atomicAdd(&reduced.left[0], (u64)left_coarse);
        atomicAdd(&reduced.left[1], (u64)left_fine);
    }
}

#define REDUCED_KERNEL(name, KIND)                                                       \
    SHAPE(name, STREAM_WARPS * 32, REDUCED_QUERIES, STREAM_WARPS * 32, 0, 0, 1)          \
    KERNEL void __launch_bounds__(STREAM_WARPS * 32, 1) name(ARGUMENT(Scan) scan,        \
                                                             ARGUMENT(Reduced) reduced) { \
        if (scan.is_due()) reduced_scan<KIND>(scan, reduced);                            \
    }

REDUCED_KERNEL(l1_reduced, L1_SKETCHES)
REDUCED_KERNEL(l2_reduced, L2_SKETCHES)
