// Many queries without tensor cores: each thread holds a tile of pairs in registers, and both
// sides come through shared memory, 16 bytes at a time.
#pragma once
#include "decide.cuh"

constexpr int TILE_BLOCK = TILE_THREADS * TILE_THREADS;
constexpr int TILE_SIDE_QUERIES = TILE_THREADS * TILE_QUERIES;
constexpr int TILE_SIDE_ROWS = TILE_THREADS * TILE_ROWS;
// 16 bytes of padding a row: eight threads that read eight rows meet eight groups of banks.
constexpr int TILE_STRIDE = TILE_BYTES + 16;
// Blocks that a processor has registers for. For sm_100 the compiler holds more of Hamming and float
// tiles at a time than the registers of two blocks hold: values would go to memory.
constexpr int TILE_BLOCKS = 2;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int ROOMY_BLOCKS = 1;
#else
constexpr int ROOMY_BLOCKS = 2;
#endif
constexpr int TILE_STAGE = (TILE_SIDE_QUERIES + TILE_SIDE_ROWS) * TILE_STRIDE;

template <Kind KIND>
struct TileShared {
    u8 stages[TILE_STAGES * TILE_STAGE];
    i64 offsets[TILE_SIDE_ROWS];  // of rows, in bytes; -1 beyond the last
    typename Decide<KIND>::Query queries[TILE_SIDE_QUERIES];
    typename Decide<KIND>::Row rows[TILE_SIDE_ROWS];
};

template <Kind KIND>
DEVICE void copy_stage(const Scan& scan, TileShared<KIND>& shared, int first_query, int chunk) {
    constexpr int PIECES = TILE_BYTES / 16;
    u8* stage = shared.stages + chunk % TILE_STAGES * TILE_STAGE;
    // One after the other: addresses of several would take registers from the pairs' sums.
#pragma unroll 1
    for (int piece = threadIdx.x; piece < (TILE_SIDE_QUERIES + TILE_SIDE_ROWS) * PIECES;
         piece += TILE_BLOCK) {
        int line = piece / PIECES, at = piece % PIECES * 16, byte = chunk * TILE_BYTES + at;
        bool wanted = byte < scan.width;
        const u8* from = scan.queries;
        if (line < TILE_SIDE_QUERIES) {
            wanted = wanted && first_query + line < scan.query_count;
            if (wanted) from += (first_query + line) * scan.query_stride + byte;
        } else {
            i64 offset = shared.offsets[line - TILE_SIDE_QUERIES];
            wanted = wanted && offset >= 0;
            if (wanted) from = scan.rows + offset + byte;
        }
        copy16(stage + line * TILE_STRIDE + at, from, wanted);
    }
}

template <Kind KIND>
DEVICE void tile_scan(const Scan& scan) {
    typedef Decide<KIND> Rule;
    typedef Terms<KIND> Term;
    TileShared<KIND>& shared = *(TileShared<KIND>*)shared_memory();
    int tx = threadIdx.x % TILE_THREADS, ty = threadIdx.x / TILE_THREADS;
    int first_query = blockIdx.x * TILE_SIDE_QUERIES;
    int chunks = (scan.width + TILE_BYTES - 1) / TILE_BYTES;
    share_out<TILE_SIDE_QUERIES, TILE_BLOCK>([&](int i) {
        bool there = first_query + i < scan.query_count;
        shared.queries[i] = there ? Rule::query(scan, first_query + i) : Rule::no_query();
    });
    for (i64 tile = scan.first + (i64)blockIdx.y * TILE_SIDE_ROWS; tile < scan.last;
         tile += (i64)gridDim.y * TILE_SIDE_ROWS) {
        __syncthreads();  // the tile before may still be read
        share_out<TILE_SIDE_ROWS, TILE_BLOCK>([&](int i) {
            bool there = tile + i < scan.last;
            i64 row = there ? scan.row_at(tile + i) : 0;
            shared.offsets[i] = there ? row * scan.row_stride : -1;
            shared.rows[i] = there ? Rule::row(scan, row) : Rule::no_row();
        });
        __syncthreads();
        for (int chunk = 0; chunk < TILE_STAGES - 1; chunk++) {
            if (chunk < chunks) copy_stage(scan, shared, first_query, chunk);
            copies_end();
        }
        typename Term::Value values[TILE_QUERIES][TILE_ROWS] = {};
        for (int chunk = 0; chunk < chunks; chunk++) {
            copies_wait<TILE_STAGES - 2>();
            __syncthreads();  // this stage is there for all; the one before has been used by all
            if (chunk + TILE_STAGES - 1 < chunks) {
                copy_stage(scan, shared, first_query, chunk + TILE_STAGES - 1);
            }
            copies_end();
            const u8* queries = shared.stages + chunk % TILE_STAGES * TILE_STAGE;
            const u8* rows = queries + TILE_SIDE_QUERIES * TILE_STRIDE;
#pragma unroll 1
            for (int at = 0; at < TILE_BYTES; at += 16) {
                uint4 some[TILE_QUERIES];
#pragma unroll
                for (int i = 0; i < TILE_QUERIES; i++) {
                    some[i] = *(const uint4*)(queries + (ty + i * TILE_THREADS) * TILE_STRIDE + at);
                }
#pragma unroll
                for (int j = 0; j < TILE_ROWS; j++) {
                    uint4 row = *(const uint4*)(rows + (tx + j * TILE_THREADS) * TILE_STRIDE + at);
#pragma unroll
                    for (int i = 0; i < TILE_QUERIES; i++) {
                        values[i][j] = Term::add(some[i], row, values[i][j]);
                    }
                }
            }
        }
#pragma unroll
        for (int i = 0; i < TILE_QUERIES; i++) {
            int query = ty + i * TILE_THREADS;
            typename Rule::Query query_facts = shared.queries[query];
            bool any = false;
#pragma unroll
            for (int j = 0; j < TILE_ROWS; j++) {
                typename Rule::Row row_facts = shared.rows[tx + j * TILE_THREADS];
                values[i][j] = Term::distance(query_facts, row_facts, values[i][j]);
                any |= Rule::keeps(query_facts, row_facts, values[i][j]);
            }
            if (!SELDOM(any)) continue;
#pragma unroll
            for (int j = 0; j < TILE_ROWS; j++) {
                int row = tx + j * TILE_THREADS;
                if (Rule::keeps(query_facts, shared.rows[row], values[i][j])) {
                    Rule::list(scan, first_query + query, tile + row, values[i][j]);
                }
            }
        }
    }
}

#define TILE_KERNEL(name, KIND, BLOCKS)                                                      \
    SHAPE(name, TILE_BLOCK, TILE_SIDE_QUERIES, TILE_SIDE_ROWS, sizeof(TileShared<KIND>), 0,  \
          BLOCKS)                                                                            \
    KERNEL void __launch_bounds__(TILE_BLOCK, BLOCKS) name(ARGUMENT(Scan) scan) {            \
        if (scan.is_due()) tile_scan<KIND>(scan);                                            \
    }
