// Two blocks of a cluster copy halves of what both multiply, and each its own rows; or with one
// mistake, by which tests/cuda/test_emulation_clusters.py shows that the emulation notices it.
#include "tensor.cuh"

enum Mistake {
    NONE,
    NO_WAIT_FOR_FULL,
    NO_WAIT_FOR_EMPTY,
    SAME_PARITY,
    RELEASED_UNDER_WAY,
    FREES_ITSELF_ALONE,
    COUNTS_ITSELF_ALONE,
    FREES_THE_OTHER_TWICE,
    SENDS_TO_ITSELF_ALONE,
    SENDS_TO_THE_OTHER_ALONE,
    SENDS_THE_SAME_HALF,
    EXPECTS_ITS_HALF,
    EXPECTS_NOTHING,
    NO_FENCE,
    NO_FENCE_AFTER_INIT,
    NO_MEETING_AFTER_INIT,
    NO_MEETING_AT_THE_END,
};

constexpr int COPIERS = 32, STAGES = 2;  // behind the warpgroup that multiplies
constexpr int SHARED_LINES = 64 * CHUNK, STAGE = SHARED_LINES + WGMMA_ROWS * CHUNK;
struct Protocol {
    u8 stages[STAGES * STAGE];
    u64 full[STAGES], empty[STAGES];
};

// sums (2, 64, WGMMA_ROWS), a block each, of the products of `steps` chunks: of 64 lines, as they lie in
// shared memory, with WGMMA_ROWS of each block, as rows.
KERNEL void protocol(const u8* images, const u8* rows, int steps, int mistake, u32* found) {
    Protocol& shared = *(Protocol*)shared_memory();
    u32 me = block_of_cluster();
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            mbarrier_init(&shared.full[i], COPIERS);
            mbarrier_init(&shared.empty[i], mistake == COUNTS_ITSELF_ALONE ? 4 : 8);
        }
        if (mistake != NO_FENCE_AFTER_INIT) mbarriers_initialised();
    }
    mistake == NO_MEETING_AFTER_INIT ? __syncthreads() : cluster_meets();
    bool copies = threadIdx.x >= 128;
    int lane = threadIdx.x % 32;
    u32 sums[WGMMA_ROWS / 2];
    for (int step = 0; step < steps; step++) {
        int stage = step % STAGES;
        u32 parity = step / STAGES & 1;
        u8* lines = shared.stages + stage * STAGE;
        u64 *full = &shared.full[stage], *empty = &shared.empty[stage];
        if (copies) {
            if (mistake != NO_WAIT_FOR_EMPTY) {
                mbarrier_wait(empty, mistake == SAME_PARITY ? 1 : parity ^ 1);
            }
            if (lane == 0) {
                u32 half = SHARED_LINES / 2, begin = mistake == SENDS_THE_SAME_HALF ? 0 : me * half;
                u32 bytes = mistake == EXPECTS_ITS_HALF ? half : SHARED_LINES;
                if (mistake != EXPECTS_NOTHING) mbarrier_expect(full, bytes);
                u32 to = 3;
                if (mistake == SENDS_TO_ITSELF_ALONE) to = 1 << me;
                if (mistake == SENDS_TO_THE_OTHER_ALONE) to = 2 >> me;
                bulk_copy_to(to, lines + begin, images + step * SHARED_LINES + begin, half, full);
            }
            const u8* mine = rows + (me * steps + step) * WGMMA_ROWS * CHUNK;
            for (int i = lane; i < WGMMA_ROWS * PIECES; i += COPIERS) {
                copy16(lines + SHARED_LINES + swizzled(i / PIECES, i % PIECES), mine + i * 16, true);
            }
            mbarrier_arrive_with_copies(full);
        } else {
            if (mistake != NO_WAIT_FOR_FULL) mbarrier_wait(full, parity);
            if (mistake != NO_FENCE) warpgroup_sees_shared();
            warpgroup_begin();
            for (int k = 0; k < STEPS; k++) {
                warpgroup_product<UNSIGNED_BYTES>(sums, lines + k * 32, lines + SHARED_LINES + k * 32,
                                                  step > 0 || k > 0);
            }
            warpgroup_end();
            if (mistake != RELEASED_UNDER_WAY) warpgroup_wait<0>();
            __syncwarp();
            bool alone = mistake == FREES_ITSELF_ALONE || mistake == COUNTS_ITSELF_ALONE;
            bool other = mistake == FREES_THE_OTHER_TWICE;
            if (lane < 2 && !(alone && lane != (int)me)) {
                mbarrier_arrive_in(empty, other ? me ^ 1 : lane);
            }
            if (mistake == RELEASED_UNDER_WAY) warpgroup_wait<0>();
        }
    }
    if (mistake != NO_MEETING_AT_THE_END) cluster_meets();
    if (copies) return;
    int warp = threadIdx.x / 32;
    for (int i = 0; i < WGMMA_ROWS / 2; i++) {
        int row = warp * 16 + lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
        found[(me * 64 + row) * WGMMA_ROWS + column] = sums[i];
    }
}
