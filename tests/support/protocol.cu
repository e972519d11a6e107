// A warpgroup copies, another multiplies, and mbarriers are between them; or with one mistake, by
// which tests/cuda/test_emulation.py shows that the emulation notices it.
#include "tensor.cuh"

enum Mistake {
    NONE,
    NO_WAIT_FOR_FULL,
    NO_WAIT_FOR_EMPTY,
    WRONG_PARITY,
    SAME_PARITY,
    RELEASED_UNDER_WAY,
    TOO_FEW_BYTES,
    TOO_MANY_BYTES,
    TOO_MANY_ARRIVALS,
    TOO_FEW_ARRIVALS,
    ARRIVES_TWICE,
    NO_BARRIER_AFTER_INIT,
    NO_FENCE_AFTER_INIT,
    HALF_A_PHASE_MORE,
    NO_FENCE,
    ARRIVES_BEFORE_COPIES,
    A_STAGE_BEHIND,
};

constexpr int LINES = 64 + WGMMA_ROWS, STAGE = LINES * CHUNK, STAGES = 2;
struct Protocol {
    u8 stages[STAGES * STAGE];
    u64 full[STAGES], empty[STAGES];
};

// By threads that wait for what they copied, in bulk, or by threads whose copies arrive by themselves.
enum Way { THREADS, BULK, ASYNCHRONOUS };

// sums (64, WGMMA_ROWS) of the products of `steps` chunks of 64 lines with as many of WGMMA_ROWS. As
// they lie in shared memory where copied in bulk, otherwise as rows.
KERNEL void protocol(const u8* chunks, int steps, int way, int mistake, u32* found) {
    bool in_bulk = way == BULK;
    Protocol& shared = *(Protocol*)shared_memory();
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            int more = mistake == TOO_FEW_ARRIVALS;
            mbarrier_init(&shared.full[i], (in_bulk ? 1 : 128) + more);
            mbarrier_init(&shared.empty[i], 4);
        }
        if (mistake != NO_FENCE_AFTER_INIT) mbarriers_initialised();
    }
    if (mistake != NO_BARRIER_AFTER_INIT) __syncthreads();
    bool copies = threadIdx.x < 128, leads = threadIdx.x % 32 == 0;
    u32 sums[WGMMA_ROWS / 2];
    for (int step = 0; step < steps; step++) {
        int stage = step % STAGES;
        u32 parity = step / STAGES & 1;
        u8* lines = shared.stages + stage * STAGE;
        u64 *full = &shared.full[stage], *empty = &shared.empty[stage];
        const u8* from = chunks + step * STAGE;
        if (copies && in_bulk) {
            if (threadIdx.x) continue;
            if (mistake != NO_WAIT_FOR_EMPTY) mbarrier_wait(empty, parity ^ 1);
            mbarrier_expect(full, STAGE - (mistake == TOO_FEW_BYTES) * 16 +
                                      (mistake == TOO_MANY_BYTES) * 16);
            mbarrier_arrive(full);
            bulk_copy_to(1, lines, from, STAGE, full);
            if (mistake == TOO_MANY_ARRIVALS) mbarrier_arrive(full);
        } else if (copies) {
            if (mistake != NO_WAIT_FOR_EMPTY) mbarrier_wait(empty, parity ^ 1);
            if (mistake == ARRIVES_BEFORE_COPIES) mbarrier_arrive(full);
            share_out<LINES * PIECES, 128>([&](int i) {
                copy16(lines + swizzled(i / PIECES, i % PIECES), from + i * 16, true);
            });
            if (way == ASYNCHRONOUS) {
                if (mistake != ARRIVES_BEFORE_COPIES) mbarrier_arrive_with_copies(full);
                continue;
            }
            copies_end();
            copies_wait<0>();
            if (mistake != NO_FENCE) warpgroup_sees_shared();
            if (mistake != ARRIVES_BEFORE_COPIES) mbarrier_arrive(full);
        } else {
            if (mistake == WRONG_PARITY) parity ^= 1;
            if (mistake == SAME_PARITY) parity = 0;
            if (mistake != NO_WAIT_FOR_FULL) mbarrier_wait(full, parity);
            if (way == ASYNCHRONOUS && mistake != NO_FENCE) warpgroup_sees_shared();
            if (mistake == RELEASED_UNDER_WAY) {
                __syncwarp();
                if (leads) mbarrier_arrive(empty);
            }
            if (mistake == A_STAGE_BEHIND) lines = shared.stages + (stage ^ 1) * STAGE;
            warpgroup_begin();
            for (int k = 0; k < STEPS; k++) {
                warpgroup_product<UNSIGNED_BYTES>(sums, lines + k * 32, lines + 64 * CHUNK + k * 32,
                                                  step > 0 || k > 0);
            }
            warpgroup_end();
            warpgroup_wait<0>();
            __syncwarp();
            if (mistake != RELEASED_UNDER_WAY && leads) mbarrier_arrive(empty);
            if (mistake == ARRIVES_TWICE && threadIdx.x == 128) mbarrier_arrive(empty);
        }
    }
    if (mistake == HALF_A_PHASE_MORE && threadIdx.x == 128) mbarrier_arrive(&shared.empty[0]);
    if (copies) return;
    int warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
    for (int i = 0; i < WGMMA_ROWS / 2; i++) {
        int row = warp * 16 + lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
        found[row * WGMMA_ROWS + column] = sums[i];
    }
}
