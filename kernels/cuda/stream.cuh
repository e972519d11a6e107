// Few queries: each warp takes whole rows, 16 bytes a lane and load, so that memory alone sets the
// pace. Queries of up to 512 bytes (4096 bits) stay in registers, longer ones in shared memory.
#pragma once
#include "decide.cuh"

constexpr int LANE_BYTES = 16, WARP_BYTES = 32 * LANE_BYTES;

template <Kind KIND, int QUERIES, bool SHORT>
DEVICE void stream_rows(const Scan& scan, const u8* queries) {
    typedef Decide<KIND> Rule;
    typedef Terms<KIND> Term;
    int lane = threadIdx.x % 32;
    i64 warp = (i64)blockIdx.x * STREAM_WARPS + threadIdx.x / 32;
    i64 step = (i64)gridDim.x * STREAM_WARPS * STREAM_ROWS;

    typename Rule::Query facts[QUERIES];
    uint4 held[QUERIES];
    const uint4 zero = {0, 0, 0, 0};
#pragma unroll
    for (int q = 0; q < QUERIES; q++) {
        facts[q] = Rule::query(scan, q < scan.query_count ? q : 0);
        bool wanted = SHORT && lane * LANE_BYTES < scan.width;
        held[q] = wanted ? *(const uint4*)(queries + (i64)q * scan.width + lane * LANE_BYTES) : zero;
    }
    for (i64 start = scan.first + warp * STREAM_ROWS; start < scan.last; start += step) {
        typename Term::Value values[QUERIES][STREAM_ROWS] = {};
        const u8* rows[STREAM_ROWS];
#pragma unroll
        for (int r = 0; r < STREAM_ROWS; r++) {
            // Rows beyond the last are the last once more; their values go nowhere.
            i64 position = start + r < scan.last ? start + r : scan.last - 1;
            rows[r] = scan.rows + scan.row_at(position) * scan.row_stride;
        }
        for (int at = lane * LANE_BYTES; at < scan.width; at += WARP_BYTES) {
            uint4 loaded[STREAM_ROWS];
#pragma unroll
            for (int r = 0; r < STREAM_ROWS; r++) loaded[r] = load_once((const uint4*)(rows[r] + at));
#pragma unroll
            for (int q = 0; q < QUERIES; q++) {
                uint4 query = SHORT ? held[q] : *(const uint4*)(queries + (i64)q * scan.width + at);
#pragma unroll
                for (int r = 0; r < STREAM_ROWS; r++) {
                    values[q][r] = Term::add(query, loaded[r], values[q][r]);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < STREAM_ROWS; r++) {
            i64 position = start + r < scan.last ? start + r : scan.last - 1;
            typename Rule::Row row_facts = Rule::row(scan, scan.row_at(position));
#pragma unroll
            for (int q = 0; q < QUERIES; q++) {
                typename Term::Value value = Term::sum_of_warp(values[q][r]);
                value = Term::distance(facts[q], row_facts, value);
                if (lane == 0 && q < scan.query_count && start + r < scan.last &&
                    Rule::keeps(facts[q], row_facts, value)) {
                    Rule::list(scan, q, position, value);
                }
            }
        }
    }
}

template <Kind KIND, int QUERIES>
DEVICE void stream_scan(const Scan& scan) {
    u8* queries = shared_memory();  // QUERIES * width bytes
    for (int at = threadIdx.x * LANE_BYTES; at < QUERIES * scan.width; at += blockDim.x * LANE_BYTES) {
        int query = at / scan.width;
        const u8* from = scan.queries + query * scan.query_stride + at % scan.width;
        *(uint4*)(queries + at) = query < scan.query_count ? *(const uint4*)from : uint4{0, 0, 0, 0};
    }
    __syncthreads();
    if (scan.width <= WARP_BYTES) {
        stream_rows<KIND, QUERIES, true>(scan, queries);
    } else {
        stream_rows<KIND, QUERIES, false>(scan, queries);
    }
}

#define STREAM_KERNEL(name, KIND, QUERIES)                                                   \
    SHAPE(name, STREAM_WARPS * 32, QUERIES, STREAM_WARPS * STREAM_ROWS, 0, QUERIES, 2)       \
    KERNEL void __launch_bounds__(STREAM_WARPS * 32, 2) name(ARGUMENT(Scan) scan) {          \
        if (scan.is_due()) stream_scan<KIND, QUERIES>(scan);                                 \
    }
