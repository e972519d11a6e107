// Many queries on tensor cores: common bits (Hamming) or products of bytes (L2), by warps
// (mma.sync, sm_80 on) or by warpgroups (wgmma, sm_90a).
//
// Both read shared memory as rows of 128 bytes whose 16-byte pieces are swizzled, and both take
// 32 bytes of each side a step, so that packed codes and sketches need no rearrangement.
#pragma once
#include "chunks.cuh"
#include "decide.cuh"

// What a thread copies of LINES lines to shared memory: always the same pieces, chunk by chunk, so
// that a step's copies are little more than themselves.
template <int LINES, int THREADS>
struct Copier {
    static constexpr int EACH = (LINES * PIECES + THREADS - 1) / THREADS;
    const u8* from[EACH];
    u32 there;  // a bit for each that there is

    // `line(i)` is where line i lies, or null; where it is null, zeros are copied.
    template <class Line>
    DEVICE void aim(Line line) {
        there = 0;
        int turn = 0;
        share_out<LINES * PIECES, THREADS>([&](int i) {
            const u8* found = line(i / PIECES);
            from[turn] = found + i % PIECES * 16;
            there |= (u32)(found != 0) << turn++;
        });
    }
    DEVICE void copy(u8* target, int chunk, int width) const {
        int turn = 0;
        share_out<LINES * PIECES, THREADS>([&](int i) {
            int piece = i % PIECES, at = chunk * CHUNK;
            bool wanted = at + piece * 16 < width && (there >> turn & 1);
            copy16(target + swizzled(i / PIECES, piece), from[turn] + at, wanted);
            turn++;
        });
    }
};

template <int LINES, int THREADS>
DEVICE void aim_at_queries(Copier<LINES, THREADS>& copier, const Scan& scan, int first) {
    copier.aim([&](int line) {
        const u8* found = scan.queries + (first + line) * scan.query_stride;
        return first + line < scan.query_count ? found : 0;
    });
}

template <int LINES, int THREADS>
DEVICE void aim_at_rows(Copier<LINES, THREADS>& copier, const Scan& scan, i64 tile) {
    copier.aim([&](int line) -> const u8* {
        if (tile + line >= scan.last) return 0;
        return scan.rows + scan.row_at(tile + line) * scan.row_stride;
    });
}

// What the quick tests must know of a block's queries and of a tile's rows. Learnt by threads from
// `from` on.
template <class Rule, int LINES, int THREADS>
DEVICE void learn_queries(const Scan& scan, typename Rule::Query* facts, int first, int from = 0) {
    share_out<LINES, THREADS>(
        [&](int i) {
            bool there = first + i < scan.query_count;
            facts[i] = there ? Rule::query(scan, first + i) : Rule::no_query();
        },
        from);
}
template <class Rule, int LINES, int THREADS>
DEVICE void learn_rows(const Scan& scan, typename Rule::Row* facts, i64 tile) {
    share_out<LINES, THREADS>([&](int i) {
        bool there = tile + i < scan.last;
        facts[i] = there ? Rule::row(scan, scan.row_at(tile + i)) : Rule::no_row();
    });
}

// What a thread holds of a product: pairs of two queries, the second eight after the first, with two
// rows. Called, not inlined: tests let few of them pass.
template <class Rule>
APART void list_four(const Scan& scan, const typename Rule::Query* query_facts,
                     const typename Rule::Row* row_facts, int query, i64 position, u32 p0, u32 p1,
                     u32 p2, u32 p3) {
#pragma unroll 1
    for (int i = 0; i < 4; i++) {
        u32 product = i < 2 ? (i ? p1 : p0) : (i < 3 ? p2 : p3);
        const typename Rule::Query& asked = query_facts[i / 2 * 8];
        if (Rule::keeps_product(asked, row_facts[i % 2], product)) {
            Rule::list_here(scan, query + i / 2 * 8, position + i % 2,
                            distance_of(asked, row_facts[i % 2], product));
        }
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
    learn_queries<Rule, WARP_SIDE_QUERIES, WARP_BLOCK>(scan, shared.queries, first_query);
    for (i64 tile = scan.first + (i64)blockIdx.y * WARP_SIDE_ROWS; tile < scan.last;
         tile += (i64)gridDim.y * WARP_SIDE_ROWS) {
        __syncthreads();  // the tile before may still be read
        learn_rows<Rule, WARP_SIDE_ROWS, WARP_BLOCK>(scan, shared.rows, tile);
        auto copy = [&](int chunk) {
            u8* stage = shared.stages + chunk % WARP_STAGES * WARP_STAGE;
            // Aimed anew: there are no registers to keep addresses in, and another block of the
            // same processor multiplies meanwhile.
            Copier<WARP_SIDE_QUERIES, WARP_BLOCK> queries;
            aim_at_queries(queries, scan, first_query);
            queries.copy(stage, chunk, scan.width);
            Copier<WARP_SIDE_ROWS, WARP_BLOCK> rows;
            aim_at_rows(rows, scan, tile);
            rows.copy(stage + WARP_SIDE_QUERIES * CHUNK, chunk, scan.width);
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
            int query = my_queries + m * 16 + lane / 4;
            const typename Rule::Query* query_facts = shared.queries + query;
            typename Rule::Query asked[2] = {query_facts[0], query_facts[8]};
            const typename Rule::Row* row_facts = shared.rows + my_rows + lane % 4 * 2;
            bool any = false;
#pragma unroll
            for (int i = 0; i < 4 * WARP_N; i++) {
                any |= Rule::keeps_product(asked[i / 2 % 2], row_facts[i / 4 * 8 + i % 2],
                                           sums[m][i / 4][i % 4]);
            }
            if (!SELDOM(any)) continue;
#pragma unroll
            for (int i = 0; i < 4 * WARP_N; i++) {
                const typename Rule::Row& facts = row_facts[i / 4 * 8 + i % 2];
                u32 product = sums[m][i / 4][i % 4];
                if (Rule::keeps_product(asked[i / 2 % 2], facts, product)) {
                    Rule::list(scan, first_query + query + i / 2 % 2 * 8,
                               tile + my_rows + lane % 4 * 2 + i / 4 * 8 + i % 2,
                               distance_of(asked[i / 2 % 2], facts, product));
                }
            }
        }
    }
}

#define WARP_KERNEL(name, KIND, PRODUCT)                                                     \
    SHAPE(name, WARP_BLOCK, WARP_SIDE_QUERIES, WARP_SIDE_ROWS, sizeof(WarpShared<KIND>), 0,  \
          2)                                                                                 \
    KERNEL void __launch_bounds__(WARP_BLOCK, 2) name(ARGUMENT(Scan) scan) {                 \
        if (scan.is_due()) warp_scan<KIND, PRODUCT>(scan);                                   \
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

template <int SIZE>
DEVICE void hold(u32 (&sums)[WARPGROUP_M][SIZE]) {
#pragma unroll
    for (int m = 0; m < WARPGROUP_M; m++) warpgroup_holds(sums[m]);
}

// Issue the products of a chunk of a warpgroup's queries with a tile's rows: one group. The sums are
// begun anew, or added to.
template <Product PRODUCT>
DEVICE void multiply_chunk(u32 (&sums)[WARPGROUP_M][WGMMA_ROWS / 2], const u8* queries,
                           const u8* rows, bool adds) {
    hold(sums);
    warpgroup_begin();
#pragma unroll
    for (int k = 0; k < STEPS; k++) {
#pragma unroll
        for (int m = 0; m < WARPGROUP_M; m++) {
            // 32 bytes on within the swizzled rows: the hardware swizzles addresses.
            warpgroup_product<PRODUCT>(sums[m], queries + m * 64 * CHUNK + k * 32, rows + k * 32,
                                       adds || k > 0);
        }
    }
    warpgroup_end();
    hold(sums);
}

// Test what a warpgroup has multiplied, and list the pairs that may be near: its queries from
// `first_query` on, with a tile of rows.
template <class Rule>
DEVICE void list_near(const Scan& scan, const u32 (&sums)[WARPGROUP_M][WGMMA_ROWS / 2],
                      const typename Rule::Query* queries, const typename Rule::Row* rows,
                      int first_query, i64 tile) {
    int lane = threadIdx.x % 32, query = threadIdx.x % 128 / 32 * 16 + lane / 4;
    const typename Rule::Query* query_facts = queries + query;
    typename Rule::Query asked[2 * WARPGROUP_M];
#pragma unroll
    for (int q = 0; q < 2 * WARPGROUP_M; q++) asked[q] = query_facts[q / 2 * 64 + q % 2 * 8];
#pragma unroll
    for (int j = 0; j < WGMMA_ROWS / 8; j++) {
        int row = j * 8 + lane % 4 * 2;
        typename Rule::Row row_facts[2] = {rows[row], rows[row + 1]};
        bool any = false;
#pragma unroll
        for (int i = 0; i < 4 * WARPGROUP_M; i++) {
            any |= Rule::keeps_product(asked[i / 2], row_facts[i % 2], sums[i / 4][4 * j + i % 4]);
        }
        if (!SELDOM(any)) continue;
#pragma unroll
        for (int m = 0; m < WARPGROUP_M; m++) {
            const u32* four = sums[m] + 4 * j;
            list_four<Rule>(scan, query_facts + m * 64, rows + row, first_query + query + m * 64,
                            tile + row, four[0], four[1], four[2], four[3]);
        }
    }
}

template <Kind KIND, Product PRODUCT, bool RESIDENT>
DEVICE void warpgroup_scan(const Scan& scan) {
    typedef Decide<KIND> Rule;
    typedef WarpgroupShared<KIND, RESIDENT> Shared;
    Shared& shared = *(Shared*)shared_memory();
    // One product may be under way while the next begins; its stage cannot be filled yet.
    constexpr int AHEAD = WARPGROUP_STAGES - 2;
    int my_queries = threadIdx.x / 128 * WARPGROUP_M * 64;
    int first_query = blockIdx.x * WARPGROUP_SIDE_QUERIES;
    int chunks = (scan.width + CHUNK - 1) / CHUNK;
    i64 first_tile = scan.first + (i64)blockIdx.y * WGMMA_ROWS;
    i64 tile_step = (i64)gridDim.y * WGMMA_ROWS;

    Copier<WARPGROUP_SIDE_QUERIES, WARPGROUP_BLOCK> query_copier;
    Copier<WGMMA_ROWS, WARPGROUP_BLOCK> row_copier;
    aim_at_queries(query_copier, scan, first_query);
    aim_at_rows(row_copier, scan, first_tile);
    // What is copied next. Tiles follow each other without a pause.
    i64 copied_tile = first_tile;
    int copied_chunk = 0, copied_stage = 0;
    auto copy = [&] {
        if (copied_tile < scan.last) {
            u8* stage = shared.stages + copied_stage * Shared::STAGE;
            row_copier.copy(stage, copied_chunk, scan.width);
            if (!RESIDENT) {
                query_copier.copy(stage + WARPGROUP_ROW_CHUNK, copied_chunk, scan.width);
            }
            if (++copied_stage == WARPGROUP_STAGES) copied_stage = 0;
            if (++copied_chunk == chunks) {
                copied_chunk = 0, copied_tile += tile_step;
                aim_at_rows(row_copier, scan, copied_tile);
            }
        }
        copies_end();
    };
    if (RESIDENT) {
        for (int chunk = 0; chunk < chunks; chunk++) {  // of the first group of copies
            query_copier.copy(shared.resident + chunk * WARPGROUP_QUERY_CHUNK, chunk, scan.width);
        }
    }
    for (int step = 0; step < AHEAD; step++) copy();
    learn_queries<Rule, WARPGROUP_SIDE_QUERIES, WARPGROUP_BLOCK>(scan, shared.queries, first_query);
    u32 sums[WARPGROUP_M][WGMMA_ROWS / 2];
    int stage = 0;
    for (i64 tile = first_tile; tile < scan.last; tile += tile_step) {
        for (int chunk = 0; chunk < chunks; chunk++) {
            copies_wait<AHEAD - 1>();
            warpgroup_sees_shared();
            warpgroup_wait<1>();
            __syncthreads();  // this stage is there for all; the one before the last is free
            const u8* rows = shared.stages + stage * Shared::STAGE;
            const u8* queries = RESIDENT ? shared.resident + chunk * WARPGROUP_QUERY_CHUNK
                                         : rows + WARPGROUP_ROW_CHUNK;
            if (++stage == WARPGROUP_STAGES) stage = 0;
            multiply_chunk<PRODUCT>(sums, queries + my_queries * CHUNK, rows, chunk > 0);
            // While the tensor cores are at work: what the steps after the next need, and facts.
            copy();
            if (chunk == 0) {
                learn_rows<Rule, WGMMA_ROWS, WARPGROUP_BLOCK>(scan, shared.rows, tile);
            }
        }
        warpgroup_wait<0>();
        hold(sums);
        __syncthreads();  // the rows' facts are there for all
        list_near<Rule>(scan, sums, shared.queries + my_queries, shared.rows,
                        first_query + my_queries, tile);
    }
}

#define WARPGROUP_KERNEL(name, KIND, PRODUCT, RESIDENT)                                      \
    SHAPE(name, WARPGROUP_BLOCK, WARPGROUP_SIDE_QUERIES, WGMMA_ROWS,                         \
          sizeof(WarpgroupShared<KIND, RESIDENT>), 0, 1)                                     \
    KERNEL void __launch_bounds__(WARPGROUP_BLOCK, 1) name(ARGUMENT(Scan) scan) {            \
        if (scan.is_due()) warpgroup_scan<KIND, PRODUCT, RESIDENT>(scan);                    \
    }
#endif
