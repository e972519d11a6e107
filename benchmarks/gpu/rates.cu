// How fast one unit of a device is: `turns` times CHAINS independent operations of a thread, nothing
// else that the same unit does. Compiled and launched by rates.py, with the kernels' own options.
#include "common.cuh"

constexpr int CHAINS = 8;
constexpr int RATE_THREADS = 256;

// `add(word, turn, sum)` is the operation; sums are written, so that none of it is left out.
template <class Value, class Add>
DEVICE void repeat(Value* out, int turns, Add add) {
    Value sums[CHAINS];
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sums[c] = (Value)(threadIdx.x + c);
    for (int turn = 0; turn < turns; turn++) {
#pragma unroll
        for (int c = 0; c < CHAINS; c++) sums[c] = add((Value)(turn + c), sums[c]);
    }
    Value all = 0;
#pragma unroll
    for (int c = 0; c < CHAINS; c++) all += sums[c];
    out[(i64)blockIdx.x * blockDim.x + threadIdx.x] = all;
}

#define RATE(name, Value, operation)                                                       \
    KERNEL void __launch_bounds__(RATE_THREADS) name(Value* out, int turns) {              \
        repeat<Value>(out, turns, [](Value word, Value sum) -> Value { return operation; }); \
    }

RATE(rate_popc, u32, sum + __popc(sum ^ word))
RATE(rate_vabsdiff4, u32, absolute4(sum, word, sum))
RATE(rate_dp4a, u32, product4(sum, word, sum))
RATE(rate_fma, float, fmaf(sum, 0.5f, 3.0f))
RATE(rate_dadd, double, __dadd_rn(sum, 3.0))

#define WARP_RATE(name, PRODUCT)                                                           \
    KERNEL void __launch_bounds__(RATE_THREADS) name(u32* out, int turns) {                \
        u32 sums[CHAINS][4] = {}, a[4] = {threadIdx.x, 1, 2, 3};                           \
        for (int turn = 0; turn < turns; turn++) {                                         \
            _Pragma("unroll") for (int c = 0; c < CHAINS; c++)                             \
                warp_product<PRODUCT>(sums[c], a, threadIdx.x, c);                         \
        }                                                                                  \
        u32 all = 0;                                                                       \
        _Pragma("unroll") for (int c = 0; c < CHAINS; c++)                                 \
            all += sums[c][0] + sums[c][1] + sums[c][2] + sums[c][3];                      \
        out[(i64)blockIdx.x * blockDim.x + threadIdx.x] = all;                             \
    }

#ifdef HAS_MMA_BITS
WARP_RATE(rate_mma_b1, COMMON_BITS)
#endif
#ifdef HAS_MMA_BYTES
WARP_RATE(rate_mma_u8, UNSIGNED_BYTES)
#endif

#ifdef HAS_WGMMA
// Two warpgroups of two products each, as in tensor.cuh; what they multiply are zeros.
#define WARPGROUP_RATE(name, PRODUCT)                                                      \
    KERNEL void __launch_bounds__(RATE_THREADS, 1) name(u32* out, int turns) {             \
        u8* shared = shared_memory();                                                      \
        for (int i = threadIdx.x; i < (64 + WGMMA_ROWS) * 32; i += RATE_THREADS)           \
            ((u32*)shared)[i] = 0;                                                         \
        warpgroup_sees_shared();                                                           \
        __syncthreads();                                                                   \
        u32 sums[2][WGMMA_ROWS / 2] = {};                                                  \
        for (int turn = 0; turn < turns; turn++) {                                         \
            _Pragma("unroll") for (int m = 0; m < 2; m++) warpgroup_holds(sums[m]);        \
            warpgroup_begin();                                                             \
            _Pragma("unroll") for (int k = 0; k < CHAINS; k++)                             \
                warpgroup_product<PRODUCT>(sums[k % 2], shared + k / 2 * 32,               \
                                           shared + 64 * 128 + k / 2 * 32, true);          \
            warpgroup_end();                                                               \
            _Pragma("unroll") for (int m = 0; m < 2; m++) warpgroup_holds(sums[m]);        \
            warpgroup_wait<0>();                                                           \
            _Pragma("unroll") for (int m = 0; m < 2; m++) warpgroup_holds(sums[m]);        \
        }                                                                                  \
        u32 all = 0;                                                                       \
        _Pragma("unroll") for (int i = 0; i < WGMMA_ROWS / 2; i++)                         \
            all += sums[0][i] + sums[1][i];                                                \
        out[(i64)blockIdx.x * blockDim.x + threadIdx.x] = all;                             \
    }
WARPGROUP_RATE(rate_wgmma_b1, COMMON_BITS)
WARPGROUP_RATE(rate_wgmma_u8, UNSIGNED_BYTES)
#endif
