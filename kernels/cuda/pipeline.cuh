// Many queries on Hopper's tensor cores, by warpgroups that have each their own work: one copies, the
// others multiply, and mbarriers are all that is between them. Same pairs as tensor.cuh's
// `warpgroup_scan`, which is simple, and what is used where this is found to be wrong.
//
// CLUSTER blocks may go together, with the same queries and one tile of rows each: then each copies its
// share of the queries to all of them, in bulk, and a stage is free when all of them have used it.
#pragma once
#include "tensor.cuh"
#ifdef HAS_WGMMA

constexpr int PIPELINE_BLOCK = 128 + WARPGROUP_BLOCK;  // the first warpgroup copies
constexpr int PIPELINE_FACTS = 4;                       // tiles whose facts are held
constexpr int CONSUMERS_MEET = 1;                       // a barrier's number
// Registers of a thread. A launch gives each of the 384 threads 168 of a processor's 65,536; those that
// copy pass some on, and no more can be taken than were.
constexpr int PRODUCER_REGISTERS = 64, CONSUMER_REGISTERS = 216;
static_assert(PRODUCER_REGISTERS + 2 * CONSUMER_REGISTERS <= 3 * 168, "more than there are");

template <Kind KIND, bool RESIDENT>
struct PipelineShared {
    // Where queries stay, there is room for a stage more than where they come with the rows.
    static constexpr int STAGES = WARPGROUP_STAGES + RESIDENT;
    static constexpr int STAGE = WARPGROUP_ROW_CHUNK + (RESIDENT ? 0 : WARPGROUP_QUERY_CHUNK);
    u8 stages[STAGES * STAGE];
    u8 resident[RESIDENT ? RESIDENT_CHUNKS * WARPGROUP_QUERY_CHUNK : 16];
    typename Decide<KIND>::Query queries[WARPGROUP_SIDE_QUERIES];
    typename Decide<KIND>::Row rows[PIPELINE_FACTS][WGMMA_ROWS];
    // Stages and facts are full, or may be filled; and a warpgroup has its turn.
    u64 full[STAGES], empty[STAGES], known[PIPELINE_FACTS], tested[PIPELINE_FACTS],
        turn[WARPGROUPS];
};

// The tile of this block among those that its cluster has under way.
template <int CLUSTER>
DEVICE int my_tile() {
    return CLUSTER > 1 ? (int)block_of_cluster() * WGMMA_ROWS : 0;
}

// A place in a ring, and the parity of the phase in which it is full there.
template <int SIZE>
struct Ring {
    int place = 0;
    u32 parity = 0;
    DEVICE void next() {
        if (++place == SIZE) place = 0, parity ^= 1;
    }
};

// Tiles of rows that a cluster takes one after the other, as many together as it has blocks, for the
// same queries.
struct Stretch {
    int first_query;
    i64 tile, stop, step;  // positions
};

// The `number`-th stretch of this block's cluster ("block", below). One wave of blocks shares out all tiles of all queries: as
// many blocks for each tile of queries as there are without a rest go through the same rows at the
// same time, which so come from memory once. They leave out so many rows at the end that the blocks
// of the rest, who take those for one tile of queries after the other, have as much to do.
template <int CLUSTER>
DEVICE bool stretch_of(const Scan& scan, int number, Stretch& found) {
    constexpr int ROWS = WGMMA_ROWS * CLUSTER;
    int across = (scan.query_count + WARPGROUP_SIDE_QUERIES - 1) / WARPGROUP_SIDE_QUERIES;
    i64 tiles = (scan.last - scan.first + ROWS - 1) / ROWS;
    int blocks = gridDim.x / CLUSTER, block = blockIdx.x / CLUSTER;
    int each = blocks / across, rest = blocks - each * across;
    i64 together = tiles * (each * across) / blocks;
    i64 first, stop;
    int query, step = each;
    if (block < each * across) {
        if (number > 0) return false;
        query = block % across, first = block / across, stop = together;
    } else {
        i64 left = tiles - together, all = left * across;
        i64 begin = all * (block - each * across) / rest;
        i64 end = all * (block - each * across + 1) / rest;
        query = (int)(begin / left) + number, step = 1;
        first = begin - left * query, stop = end - left * query;
        first = together + (first > 0 ? first : 0);
        stop = together + (stop < left ? stop : left);
    }
    found.first_query = query * WARPGROUP_SIDE_QUERIES;
    found.tile = scan.first + first * ROWS;
    found.step = (i64)step * ROWS;
    i64 last = scan.first + stop * ROWS;
    found.stop = last < scan.last ? last : scan.last;
    return first < stop;
}

// Copy a chunk of a block's queries by 128 threads: a pointer and a step, as there are few registers.
DEVICE void copy_queries(const Scan& scan, u8* target, int first_query, int chunk) {
    int piece = threadIdx.x % PIECES, at = chunk * CHUNK + piece * 16;
    int query = first_query + threadIdx.x / PIECES;
    const u8* from = scan.queries + query * scan.query_stride + at;
    u8* to = target + swizzled(threadIdx.x / PIECES, piece);
    constexpr int LINES = 128 / PIECES;  // a turn; eight lines on, the swizzle is the same
#pragma unroll 4
    for (int turn = 0; turn < WARPGROUP_SIDE_QUERIES / LINES; turn++) {
        copy16(to, from, at < scan.width && query < scan.query_count);
        query += LINES, to += LINES * CHUNK, from += LINES * scan.query_stride;
    }
}

// Have a chunk of the queries copied to all blocks of the cluster: this block's share of it. One
// thread does so, and every block's barrier is complete when all shares have come.
template <int CLUSTER>
DEVICE void send_queries(const Scan& scan, u8* target, int first_query, int chunk, int chunks,
                         u64* full) {
    constexpr int SHARE = WARPGROUP_QUERY_CHUNK / CLUSTER;
    u32 begin = block_of_cluster() * SHARE;
    const u8* image = scan.query_images + image_of(first_query / WARPGROUP_SIDE_QUERIES, chunk,
                                                   chunks, WARPGROUP_SIDE_QUERIES);
    mbarrier_expect(full, WARPGROUP_QUERY_CHUNK);
    bulk_copy_to((1 << CLUSTER) - 1, target + begin, image + begin, SHARE, full);
}

// The first warpgroup: fills stages as they become free.
template <Kind KIND, bool RESIDENT, int CLUSTER>
DEVICE void produce(const Scan& scan, PipelineShared<KIND, RESIDENT>& shared) {
    typedef PipelineShared<KIND, RESIDENT> Shared;
    int chunks = (scan.width + CHUNK - 1) / CHUNK;
    Ring<Shared::STAGES> ring;
    Ring<PIPELINE_FACTS> facts;
    Stretch stretch;
    for (int number = 0; stretch_of<CLUSTER>(scan, number, stretch); number++) {
        __syncthreads();  // the queries of the stretch before are done with
        if (RESIDENT) {
            for (int chunk = 0; chunk < chunks; chunk++) {  // with the first stage
                copy_queries(scan, shared.resident + chunk * WARPGROUP_QUERY_CHUNK,
                             stretch.first_query, chunk);
            }
        }
        for (i64 tile = stretch.tile; tile < stretch.stop; tile += stretch.step) {
            Copier<WGMMA_ROWS, 128> rows;
            i64 mine = tile + my_tile<CLUSTER>();  // of which the last may have no row
            aim_at_rows(rows, scan, mine);
            for (int chunk = 0; chunk < chunks; chunk++) {
                u8* stage = shared.stages + ring.place * Shared::STAGE;
                u8* queries = stage + WARPGROUP_ROW_CHUNK;
                mbarrier_wait(&shared.empty[ring.place], ring.parity ^ 1);
                if (CLUSTER > 1 && threadIdx.x == 0) {
                    send_queries<CLUSTER>(scan, queries, stretch.first_query, chunk, chunks,
                                          &shared.full[ring.place]);
                }
                rows.copy(stage, chunk, scan.width);
                if (!RESIDENT && CLUSTER == 1) {
                    copy_queries(scan, queries, stretch.first_query, chunk);
                }
                mbarrier_arrive_with_copies(&shared.full[ring.place]);
                ring.next();
            }
            // Needed last: what is copied meanwhile hides how long they take.
            mbarrier_wait(&shared.tested[facts.place], facts.parity ^ 1);
            learn_rows<Decide<KIND>, WGMMA_ROWS, 128>(scan, shared.rows[facts.place], mine);
            mbarrier_arrive(&shared.known[facts.place]);
            facts.next();
        }
    }
}

// A warp has done something, all of it: one of its threads says so.
DEVICE void warp_arrives(u64* barrier) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(barrier);
}

// A warp has used a stage: each block that copies to it must know.
template <int CLUSTER>
DEVICE void warp_frees(u64* empty) {
    if (CLUSTER == 1) return warp_arrives(empty);
    __syncwarp();
    if (threadIdx.x % 32 < CLUSTER) mbarrier_arrive_in(empty, threadIdx.x % 32);
}

// The other warpgroups: each multiplies its queries with all tiles, and tests the sums.
template <Kind KIND, Product PRODUCT, bool RESIDENT, int CLUSTER>
DEVICE void consume(const Scan& scan, PipelineShared<KIND, RESIDENT>& shared) {
    typedef Decide<KIND> Rule;
    typedef PipelineShared<KIND, RESIDENT> Shared;
    int chunks = (scan.width + CHUNK - 1) / CHUNK;
    int group = threadIdx.x / 128 - 1, my_queries = group * WARPGROUP_M * 64;
    // Where a tile is in the ring as a whole, warpgroups take turns in beginning it: so one tests
    // while the other multiplies, not both at the same time. Longer rows need no turns, as tests are
    // little beside products; nor could they take any, as stages are free when all have used them.
    bool turns = chunks < Shared::STAGES;
    Ring<1> turn;
    if (group == 0) turn.next();  // the first turn is there
    Ring<Shared::STAGES> ring;
    Ring<PIPELINE_FACTS> facts;
    u32 sums[WARPGROUP_M][WGMMA_ROWS / 2];
    Stretch stretch;
    for (int number = 0; stretch_of<CLUSTER>(scan, number, stretch); number++) {
        __syncthreads();
        learn_queries<Rule, WARPGROUP_SIDE_QUERIES, WARPGROUP_BLOCK>(scan, shared.queries,
                                                                     stretch.first_query, 128);
        some_meet<WARPGROUP_BLOCK>(CONSUMERS_MEET);
        for (i64 tile = stretch.tile; tile < stretch.stop; tile += stretch.step) {
            if (turns) mbarrier_wait(&shared.turn[group], turn.parity);
            int before = 0;
            for (int chunk = 0; chunk < chunks; chunk++) {
                mbarrier_wait(&shared.full[ring.place], ring.parity);
                warpgroup_sees_shared();  // copies of others, too, that the barrier tells of
                const u8* rows = shared.stages + ring.place * Shared::STAGE;
                const u8* queries = RESIDENT ? shared.resident + chunk * WARPGROUP_QUERY_CHUNK
                                             : rows + WARPGROUP_ROW_CHUNK;
                multiply_chunk<PRODUCT>(sums, queries + my_queries * CHUNK, rows, chunk > 0);
                if (chunk > 0) {
                    warpgroup_wait<1>();
                    warp_frees<CLUSTER>(&shared.empty[before]);
                }
                before = ring.place;
                ring.next();
            }
            if (turns) warp_arrives(&shared.turn[(group + 1) % WARPGROUPS]), turn.next();
            warpgroup_wait<0>();
            hold(sums);
            warp_frees<CLUSTER>(&shared.empty[before]);
            mbarrier_wait(&shared.known[facts.place], facts.parity);
            list_near<Rule>(scan, sums, shared.queries + my_queries, shared.rows[facts.place],
                            stretch.first_query + my_queries, tile + my_tile<CLUSTER>());
            warp_arrives(&shared.tested[facts.place]);
            facts.next();
        }
    }
}

template <Kind KIND, Product PRODUCT, bool RESIDENT, int CLUSTER>
DEVICE void pipeline_scan(const Scan& scan) {
    static_assert(CLUSTER == 1 || !RESIDENT, "queries that stay are copied once");
    typedef PipelineShared<KIND, RESIDENT> Shared;
    Shared& shared = *(Shared*)shared_memory();
    if (threadIdx.x == 0) {
        for (int i = 0; i < Shared::STAGES; i++) {
            mbarrier_init(&shared.full[i], 128);
            mbarrier_init(&shared.empty[i], 4 * WARPGROUPS * CLUSTER);
        }
        for (int i = 0; i < PIPELINE_FACTS; i++) {
            mbarrier_init(&shared.known[i], 128);
            mbarrier_init(&shared.tested[i], 4 * WARPGROUPS);
        }
        for (int i = 0; i < WARPGROUPS; i++) mbarrier_init(&shared.turn[i], 4);
        if (CLUSTER > 1) mbarriers_initialised();
    }
    CLUSTER > 1 ? cluster_meets() : __syncthreads();
    if (threadIdx.x < 128) {
        registers_given_up<PRODUCER_REGISTERS>();
        produce<KIND, RESIDENT, CLUSTER>(scan, shared);
    } else {
        registers_taken<CONSUMER_REGISTERS>();
        consume<KIND, PRODUCT, RESIDENT, CLUSTER>(scan, shared);
    }
    // The memory of a block that ends is no longer there for those that arrive in it.
    if (CLUSTER > 1) cluster_meets();
}

#define PIPELINE_KERNEL(name, KIND, PRODUCT, RESIDENT)                                       \
    SHAPE(name, PIPELINE_BLOCK, WARPGROUP_SIDE_QUERIES, WGMMA_ROWS,                          \
          sizeof(PipelineShared<KIND, RESIDENT>), 0, 1)                                      \
    KERNEL void __launch_bounds__(PIPELINE_BLOCK, 1) name(ARGUMENT(Scan) scan) {             \
        if (scan.is_due()) pipeline_scan<KIND, PRODUCT, RESIDENT, 1>(scan);                  \
    }

constexpr int MULTICAST_CLUSTER = 2;
#define MULTICAST_KERNEL(name, KIND, PRODUCT)                                                \
    SHAPE_IN_CLUSTERS(name, PIPELINE_BLOCK, WARPGROUP_SIDE_QUERIES, WGMMA_ROWS,              \
                      sizeof(PipelineShared<KIND, false>), 0, 1, MULTICAST_CLUSTER)          \
    KERNEL void CLUSTERS_OF(MULTICAST_CLUSTER)                                               \
        __launch_bounds__(PIPELINE_BLOCK, 1) name(ARGUMENT(Scan) scan) {                     \
        if (scan.is_due()) pipeline_scan<KIND, PRODUCT, false, MULTICAST_CLUSTER>(scan);     \
    }
#endif
