// Many queries on tensor cores: common bits (Hamming) or products of bytes (L2), by warps
// (mma.sync, sm_80 on) or by warpgroups (wgmma, sm_90a).
//
// Both read shared memory as rows of 128 bytes whose 16-byte pieces are swizzled, and both take
// 32 bytes of each side a step, so that packed codes and sketches need no rearrangement.
#pragma once
#include "decide.cuh"

constexpr int CHUNK = 128;  // bytes of a row that are in shared memory at a time
constexpr int PIECES = CHUNK / 16, STEPS = CHUNK / 32;

// Where a piece of a row lies: eight rows keep the same piece in eight groups of banks.
DEVICE int swizzled(int row, int piece) { return row * CHUNK + ((piece ^ (row & 7)) << 4); }

template <int LINES, int THREADS>
DEVICE void copy_queries(const Scan& scan, u8* target, int first_query, int chunk) {
    for (int i = threadIdx.x; i < LINES * PIECES; i += THREADS) {
        int line = i / PIECES, piece = i % PIECES, byte = chunk * CHUNK + piece * 16;
        bool wanted = byte < scan.width && first_query + line < scan.query_count;
        const u8* from = scan.queries;
        if (wanted) from += (first_query + line) * scan.query_stride + byte;
        copy16(target + swizzled(line, piece), from, wanted);
    }
}

template <int LINES, int THREADS>
DEVICE void copy_rows(const Scan& scan, u8* target, i64 tile, int chunk) {
    for (int i = threadIdx.x; i < LINES * PIECES; i += THREADS) {
        int line = i / PIECES, piece = i % PIECES, byte = chunk * CHUNK + piece * 16;
        bool wanted = byte < scan.width && tile + line < scan.last;
        const u8* from = scan.rows;
        if (wanted) from += scan.row_at(tile + line) * scan.row_stride + byte;
        copy16(target + swizzled(line, piece), from, wanted);
    }
}

template <class Rule>
DEVICE void test_pair(const Scan& scan, const typename Rule::Query& query_facts,
                      const typename Rule::Row& row_facts, int query, i64 position, u32 product) {
    u32 distance = distance_of(query_facts, row_facts, product);
    if (query < scan.query_count && position < scan.last &&
        Rule::keeps(query_facts, row_facts, distance)) {
        Rule::list(scan, query, scan.row_at(position), distance);
    }
}

// By warps. ------------------------------------------------------------------------------------

constexpr int WARP_BLOCK = 32 * WARPS_QUERIES * WARPS_ROWS;
constexpr int WARP_SIDE_QUERIES = WARPS_QUERIES * WARP_M * 16;
constexpr int WARP_SIDE_ROWS = WARPS_ROWS * WARP_N * 8;
constexpr int WARP_STAGE = (WARP_SIDE_QUERIES + WARP_SIDE_ROWS) * CHUNK;

template <Kind KIND>
struct WarpShared {
    u8 stages[WARP_STAGES * WARP_STAGE];
    typename Decide<KIND>::Query queries[WARP_SIDE_QUERIES];
    typename Decide<KIND>::Row rows[WARP_SIDE_ROWS];
};

template <Kind KIND, Product PRODUCT>
DEVICE void warp_scan(const Scan& scan) {
    typedef Decide<KIND> Rule;
    WarpShared<KIND>& shared = *(WarpShared<KIND>*)shared_memory();
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int my_queries = warp / WARPS_ROWS * WARP_M * 16, my_rows = warp % WARPS_ROWS * WARP_N * 8;
    int first_query = blockIdx.x * WARP_SIDE_QUERIES;
    int chunks = (scan.width + CHUNK - 1) / CHUNK;
    for (int i = threadIdx.x; i < WARP_SIDE_QUERIES; i += WARP_BLOCK) {
        if (first_query + i < scan.query_count) shared.queries[i] = Rule::query(scan, first_query + i);
    }
    for (i64 tile = scan.first + (i64)blockIdx.y * WARP_SIDE_ROWS; tile < scan.last;
         tile += (i64)gridDim.y * WARP_SIDE_ROWS) {
        __syncthreads();  // the tile before may still be read
        for (int i = threadIdx.x; i < WARP_SIDE_ROWS; i += WARP_BLOCK) {
            if (tile + i < scan.last) shared.rows[i] = Rule::row(scan, scan.row_at(tile + i));
        }
        auto copy = [&](int chunk) {
            u8* stage = shared.stages + chunk % WARP_STAGES * WARP_STAGE;
            copy_queries<WARP_SIDE_QUERIES, WARP_BLOCK>(scan, stage, first_query, chunk);
            copy_rows<WARP_SIDE_ROWS, WARP_BLOCK>(scan, stage + WARP_SIDE_QUERIES * CHUNK, tile, chunk);
        };
        for (int chunk = 0; chunk < WARP_STAGES - 1; chunk++) {
            if (chunk < chunks) copy(chunk);
            copies_end();
        }
        u32 sums[WARP_M][WARP_N][4] = {};
        for (int chunk = 0; chunk < chunks; chunk++) {
            copies_wait<WARP_STAGES - 2>();
            __syncthreads();  // this stage is there for all; the one before has been used by all
            if (chunk + WARP_STAGES - 1 < chunks) copy(chunk + WARP_STAGES - 1);
            copies_end();
            const u8* queries = shared.stages + chunk % WARP_STAGES * WARP_STAGE;
            const u8* rows = queries + WARP_SIDE_QUERIES * CHUNK;
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                // Lanes 0-7 point to the rows of the first 8 x 16-byte matrix, and so on.
                int matrix = lane / 8;
                u32 b[WARP_N / 2][4];  // of two matrices of eight rows, each in two pieces
#pragma unroll
                for (int n = 0; n < WARP_N / 2; n++) {
                    int row = my_rows + (2 * n + matrix / 2) * 8 + lane % 8;
                    load_matrices(b[n], rows + swizzled(row, 2 * step + matrix % 2));
                }
#pragma unroll
                for (int m = 0; m < WARP_M; m++) {
                    int query = my_queries + m * 16 + matrix % 2 * 8 + lane % 8;
                    u32 a[4];
                    load_matrices(a, queries + swizzled(query, 2 * step + matrix / 2));
#pragma unroll
                    for (int n = 0; n < WARP_N; n++) {
                        warp_product<PRODUCT>(sums[m][n], a, b[n / 2][n % 2 * 2],
                                              b[n / 2][n % 2 * 2 + 1]);
                    }
                }
            }
        }
#pragma unroll
        for (int m = 0; m < WARP_M; m++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int query = my_queries + m * 16 + lane / 4 + 8 * half;
                typename Rule::Query query_facts = shared.queries[query];
#pragma unroll
                for (int n = 0; n < WARP_N; n++) {
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        int row = my_rows + n * 8 + lane % 4 * 2 + i;
                        test_pair<Rule>(scan, query_facts, shared.rows[row], first_query + query,
                                        tile + row, sums[m][n][2 * half + i]);
                    }
                }
            }
        }
    }
}

#define WARP_KERNEL(name, KIND, PRODUCT)                                                     \
    SHAPE(name, WARP_BLOCK, WARP_SIDE_QUERIES, WARP_SIDE_ROWS, sizeof(WarpShared<KIND>), 0)  \
    KERNEL void __launch_bounds__(WARP_BLOCK) name(SCAN_PARAMETERS) {                        \
        warp_scan<KIND, PRODUCT>(SCAN_ARGUMENTS);                                            \
    }

// By warpgroups. -------------------------------------------------------------------------------
#ifdef HAS_WGMMA

constexpr int WARPGROUP_BLOCK = 128 * WARPGROUPS;
constexpr int WARPGROUP_SIDE_QUERIES = WARPGROUPS * WARPGROUP_M * 64;
constexpr int WARPGROUP_QUERY_CHUNK = WARPGROUP_SIDE_QUERIES * CHUNK;
constexpr int WARPGROUP_ROW_CHUNK = WGMMA_ROWS * CHUNK;
constexpr int RESIDENT_CHUNKS = 4;  // 4096 bits

// RESIDENT: the block's queries are short enough to stay in shared memory while rows pass.
template <Kind KIND, bool RESIDENT>
struct WarpgroupShared {
    static constexpr int STAGE = WARPGROUP_ROW_CHUNK + (RESIDENT ? 0 : WARPGROUP_QUERY_CHUNK);
    u8 stages[WARPGROUP_STAGES * STAGE];
    u8 resident[RESIDENT ? RESIDENT_CHUNKS * WARPGROUP_QUERY_CHUNK : 16];
    typename Decide<KIND>::Query queries[WARPGROUP_SIDE_QUERIES];
    typename Decide<KIND>::Row rows[WGMMA_ROWS];
};

template <Kind KIND, Product PRODUCT, bool RESIDENT>
DEVICE void warpgroup_scan(const Scan& scan) {
    typedef Decide<KIND> Rule;
    typedef WarpgroupShared<KIND, RESIDENT> Shared;
    Shared& shared = *(Shared*)shared_memory();
    // One product may be under way while the next begins; its stage cannot be filled yet.
    constexpr int AHEAD = WARPGROUP_STAGES - 2;
    int lane = threadIdx.x % 32, warp = threadIdx.x % 128 / 32;
    int my_queries = threadIdx.x / 128 * WARPGROUP_M * 64;
    int first_query = blockIdx.x * WARPGROUP_SIDE_QUERIES;
    int chunks = (scan.width + CHUNK - 1) / CHUNK;
    i64 tiles = (scan.last - scan.first + WGMMA_ROWS - 1) / WGMMA_ROWS;
    i64 turns = blockIdx.y < tiles ? (tiles - blockIdx.y - 1) / gridDim.y + 1 : 0;
    i64 steps = turns * chunks;  // tiles follow each other without a pause
    auto tile_of = [&](i64 turn) { return scan.first + (blockIdx.y + turn * gridDim.y) * WGMMA_ROWS; };
    auto copy = [&](i64 step) {
        if (step < steps) {
            u8* stage = shared.stages + step % WARPGROUP_STAGES * Shared::STAGE;
            int chunk = step % chunks;
            copy_rows<WGMMA_ROWS, WARPGROUP_BLOCK>(scan, stage, tile_of(step / chunks), chunk);
            if (!RESIDENT) {
                copy_queries<WARPGROUP_SIDE_QUERIES, WARPGROUP_BLOCK>(
                    scan, stage + WARPGROUP_ROW_CHUNK, first_query, chunk);
            }
        }
        copies_end();
    };
    if (RESIDENT) {
        for (int chunk = 0; chunk < chunks; chunk++) {
            copy_queries<WARPGROUP_SIDE_QUERIES, WARPGROUP_BLOCK>(
                scan, shared.resident + chunk * WARPGROUP_QUERY_CHUNK, first_query, chunk);
        }  // of the first group of copies
    }
    for (int step = 0; step < AHEAD; step++) copy(step);
    for (int i = threadIdx.x; i < WARPGROUP_SIDE_QUERIES; i += WARPGROUP_BLOCK) {
        if (first_query + i < scan.query_count) shared.queries[i] = Rule::query(scan, first_query + i);
    }
    u32 sums[WARPGROUP_M][WGMMA_ROWS / 2];
    for (i64 turn = 0, step = 0; turn < turns; turn++) {
        i64 tile = tile_of(turn);
        for (int chunk = 0; chunk < chunks; chunk++, step++) {
            copies_wait<AHEAD - 1>();
            warpgroup_sees_shared();
            warpgroup_wait<1>();
            __syncthreads();  // this stage is there for all; the one before the last is free
            copy(step + AHEAD);
            if (chunk == 0) {
                for (int i = threadIdx.x; i < WGMMA_ROWS; i += WARPGROUP_BLOCK) {
                    if (tile + i < scan.last) shared.rows[i] = Rule::row(scan, scan.row_at(tile + i));
                }
            }
            const u8* rows = shared.stages + step % WARPGROUP_STAGES * Shared::STAGE;
            const u8* queries = RESIDENT ? shared.resident + chunk * WARPGROUP_QUERY_CHUNK
                                         : rows + WARPGROUP_ROW_CHUNK;
#pragma unroll
            for (int m = 0; m < WARPGROUP_M; m++) warpgroup_holds(sums[m]);
            warpgroup_begin();
#pragma unroll
            for (int k = 0; k < STEPS; k++) {
#pragma unroll
                for (int m = 0; m < WARPGROUP_M; m++) {
                    // 32 bytes on within the swizzled rows: the hardware swizzles addresses.
                    warpgroup_product<PRODUCT>(sums[m],
                                               queries + (my_queries + m * 64) * CHUNK + k * 32,
                                               rows + k * 32, chunk > 0 || k > 0);
                }
            }
            warpgroup_end();
#pragma unroll
            for (int m = 0; m < WARPGROUP_M; m++) warpgroup_holds(sums[m]);
        }
        warpgroup_wait<0>();
#pragma unroll
        for (int m = 0; m < WARPGROUP_M; m++) warpgroup_holds(sums[m]);
        __syncthreads();  // the rows' facts are there for all
#pragma unroll
        for (int m = 0; m < WARPGROUP_M; m++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int query = my_queries + m * 64 + warp * 16 + lane / 4 + 8 * half;
                typename Rule::Query query_facts = shared.queries[query];
#pragma unroll
                for (int j = 0; j < WGMMA_ROWS / 8; j++) {
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        int row = j * 8 + lane % 4 * 2 + i;
                        test_pair<Rule>(scan, query_facts, shared.rows[row], first_query + query,
                                        tile + row, sums[m][4 * j + 2 * half + i]);
                    }
                }
            }
        }
    }
}

#define WARPGROUP_KERNEL(name, KIND, PRODUCT, RESIDENT)                                      \
    SHAPE(name, WARPGROUP_BLOCK, WARPGROUP_SIDE_QUERIES, WGMMA_ROWS,                         \
          sizeof(WarpgroupShared<KIND, RESIDENT>), 0)                                        \
    KERNEL void __launch_bounds__(WARPGROUP_BLOCK, 1) name(SCAN_PARAMETERS) {                \
        warpgroup_scan<KIND, PRODUCT, RESIDENT>(SCAN_ARGUMENTS);                             \
    }
#endif
