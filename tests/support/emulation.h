// kernels/cuda/primitives.cuh for a processor: the kernels' own code runs in fibers, one a CUDA
// thread, and the machine's instructions are replaced by their definitions.
//
// Stricter than a device where that finds mistakes: warpgroup products take place when they are
// waited for and not before, asynchronous copies likewise or, with EAGER_COPIES, at once (a device
// may do either, and each finds other waits that are missing), a barrier that some threads miss is an
// error, shared memory is filled with rubbish between blocks, and subnormal float32 are flushed
// as CuPy's -ftz=true has it.
#pragma once
#include <csetjmp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <ucontext.h>
#include <utility>
#include <vector>
#include <xmmintrin.h>

#define KERNEL extern "C"
#define DEVICE inline
#define __launch_bounds__(...)
#define SHAPE(name, threads, queries, rows, shared, shared_a_byte) \
    extern "C" {                                                        \
    int name##_shape[5] = {threads, queries, rows, (int)(shared), shared_a_byte}; \
    }
#define FULL_WARP 0xffffffffu

struct uint4 {
    u32 x, y, z, w;
};
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }

enum Product { COMMON_BITS, UNSIGNED_BYTES };

namespace emulation {

struct Index {
    u32 x = 0, y = 0, z = 0;
};

struct Copy {
    void* target;
    const void* source;
    bool wanted;
    void make() {
        if (wanted) {
            memcpy(target, source, 16);
        } else {
            memset(target, 0, 16);
        }
    }
};

struct WarpgroupProduct {
    u32* sums;
    const u8 *a, *b;
    bool adds;
    Product product;
};

template <class Operation>
struct Groups {
    std::vector<Operation> open;
    std::deque<std::vector<Operation>> closed;
    void close() {
        closed.push_back(std::move(open));
        open.clear();
    }
};

struct Barrier {
    int waiting = 0;
    u64 generation = 0;
};

struct Thread {
    Index index;
    jmp_buf place;
    ucontext_t start;
    std::unique_ptr<char[]> stack;
    bool started = false, ended = false;
    Groups<Copy> copies;
    Groups<WarpgroupProduct> products;
};

struct Warp {
    int alive = 0;
    Barrier barrier;
    u64 slots[32];
    u32 words[32][8];
};

constexpr size_t STACK = 256 << 10;
inline std::vector<Thread> threads;
inline std::vector<Warp> warps;
inline Barrier block;
inline int alive = 0;
inline u32 current = 0;
inline u64 progress = 0;
inline Index block_index, block_size, grid_size;
inline std::vector<u8> shared_bytes;
inline u8* shared = nullptr;
inline jmp_buf scheduler;
inline std::function<void()> body;

inline Thread& me() { return threads[current]; }
inline Warp& my_warp() { return warps[current / 32]; }
inline u32 lane() { return current % 32; }

inline void yield() {
    if (!_setjmp(me().place)) _longjmp(scheduler, 1);
}

inline void release(Barrier& barrier) {
    barrier.waiting = 0;
    barrier.generation++;
    progress++;
}

inline void wait_at(Barrier& barrier, const int& count) {
    if (++barrier.waiting == count) {
        release(barrier);
        return;
    }
    u64 generation = barrier.generation;
    while (barrier.generation == generation) yield();
}

inline void sync_warp() { wait_at(my_warp().barrier, my_warp().alive); }
inline void sync_block() { wait_at(block, alive); }

inline void end_thread() {
    Warp& warp = my_warp();
    me().ended = true;
    progress++;
    alive--, warp.alive--;
    if (alive && block.waiting == alive) release(block);
    if (warp.alive && warp.barrier.waiting == warp.alive) release(warp.barrier);
    _longjmp(scheduler, 1);
}

inline void enter() {
    body();
    end_thread();
}

inline void resume(u32 number) {
    current = number;
    Thread& thread = threads[number];
    if (_setjmp(scheduler)) return;
    if (thread.started) _longjmp(thread.place, 1);
    thread.started = true;
    getcontext(&thread.start);
    thread.start.uc_stack.ss_sp = thread.stack.get();
    thread.start.uc_stack.ss_size = STACK;
    thread.start.uc_link = nullptr;
    makecontext(&thread.start, enter, 0);
    setcontext(&thread.start);
}

inline int run_block() {
    u32 size = block_size.x;
    if (threads.size() < size) threads.resize(size);
    warps.assign((size + 31) / 32, Warp());
    block = Barrier();
    alive = size;
    for (u32 i = 0; i < size; i++) {
        Thread& thread = threads[i];
        thread.index.x = i;
        thread.started = thread.ended = false;
        thread.copies = {};
        thread.products = {};
        if (!thread.stack) thread.stack.reset(new char[STACK]);
        warps[i / 32].alive++;
    }
    memset(shared, 0xa5, shared_bytes.size() - 1024);
    while (alive) {
        u64 before = progress;
        for (u32 i = 0; i < size; i++) {
            if (!threads[i].ended) resume(i);
        }
        if (alive && progress == before) {
            fprintf(stderr, "emulation: %d threads of block (%u, %u) wait for ever\n", alive,
                    block_index.x, block_index.y);
            return 1;
        }
    }
    return 0;
}

// Flush subnormal float32, as code compiled with -ftz=true does.
struct Flushing {
    u32 before = _mm_getcsr();
    Flushing() { _mm_setcsr(before | 0x8040); }
    ~Flushing() { _mm_setcsr(before); }
};

template <class... Parameters, size_t... I>
int launch(void (*kernel)(Parameters...), u32 x, u32 y, u32 size, u64 shared_size, void** arguments,
           std::index_sequence<I...>) {
    grid_size = {x, y, 1};
    block_size = {size, 1, 1};
    shared_bytes.assign(shared_size + 1024, 0);
    shared = (u8*)(((u64)shared_bytes.data() + 1023) & ~1023ull);
    body = [=] { kernel(*(Parameters*)arguments[I]...); };
    Flushing flushing;
    for (u32 j = 0; j < y; j++) {
        for (u32 i = 0; i < x; i++) {
            block_index = {i, j, 0};
            if (run_block()) return 1;
        }
    }
    return 0;
}

template <class... Parameters>
int launch(void (*kernel)(Parameters...), u32 x, u32 y, u32 size, u64 shared_size, void** arguments) {
    return launch(kernel, x, y, size, shared_size, arguments,
                  std::index_sequence_for<Parameters...>());
}

inline u64 exchange(u64 value, u32 from) {
    Warp& warp = my_warp();
    warp.slots[lane()] = value;
    sync_warp();
    u64 other = warp.slots[from];
    sync_warp();
    return other;
}

template <class T>
T exchange_as(T value, u32 from) {
    u64 bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = exchange(bits, from);
    memcpy(&value, &bits, sizeof value);
    return value;
}

// The product of 32 bytes, by its definition.
inline u32 product_of(Product product, const u8* a, const u8* b) {
    u32 sum = 0;
    for (int i = 0; i < 32; i++) {
        sum += product == COMMON_BITS ? __builtin_popcount(a[i] & b[i]) : (u32)a[i] * b[i];
    }
    return sum;
}

// Where the hardware finds byte `at` (from shared memory's start) under the 128-byte swizzle.
inline const u8* unswizzled(const u8* pointer) {
    u64 at = pointer - shared;
    return shared + (at ^ ((at >> 7 & 7) << 4));
}

}  // namespace emulation

#define EXPORT(name)                                                                             \
    extern "C" int emulate_##name(u32 x, u32 y, u32 size, u64 shared_size, void** arguments) {   \
        return emulation::launch(name, x, y, size, shared_size, arguments);                      \
    }

#define threadIdx (emulation::me().index)
#define blockIdx emulation::block_index
#define blockDim emulation::block_size
#define gridDim emulation::grid_size

inline void __syncthreads() { emulation::sync_block(); }
inline void __syncwarp() { emulation::sync_warp(); }
template <class T>
T __shfl_xor_sync(u32, T value, int mask) {
    return emulation::exchange_as(value, emulation::lane() ^ mask);
}
template <class T>
T __shfl_down_sync(u32, T value, int by) {
    u32 from = emulation::lane() + by;
    return emulation::exchange_as(value, from < 32 ? from : emulation::lane());
}
template <class T>
T __shfl_up_sync(u32, T value, int by) {
    u32 lane = emulation::lane();
    return emulation::exchange_as(value, lane >= (u32)by ? lane - by : lane);
}
inline u32 __ballot_sync(u32, bool vote) {
    emulation::Warp& warp = emulation::my_warp();
    warp.slots[emulation::lane()] = vote;
    emulation::sync_warp();
    u32 votes = 0;
    for (int i = 0; i < 32; i++) votes |= (u32)(warp.slots[i] != 0) << i;
    emulation::sync_warp();
    return votes;
}

inline u32 atomicAdd(u32* target, u32 value) { return std::exchange(*target, *target + value); }
inline u64 atomicAdd(u64* target, u64 value) { return std::exchange(*target, *target + value); }
inline u32 atomicMax(u32* target, u32 value) {
    return std::exchange(*target, *target > value ? *target : value);
}
inline u32 atomicMin(u32* target, u32 value) {
    return std::exchange(*target, *target < value ? *target : value);
}

inline int __ffs(u32 x) { return __builtin_ffs((int)x); }
inline int __popc(u32 x) { return __builtin_popcount(x); }
inline float __uint_as_float(u32 x) {
    float value;
    memcpy(&value, &x, 4);
    return value;
}
// volatile: the compiler must not fuse two of these into one rounding.
inline double __dadd_rn(double a, double b) {
    volatile double sum = a + b;
    return sum;
}
inline double __dsub_rn(double a, double b) { return __dadd_rn(a, -b); }
inline double __dmul_rn(double a, double b) {
    volatile double product = a * b;
    return product;
}
inline double __dsqrt_rn(double a) { return std::sqrt(a); }

DEVICE u8* shared_memory() { return emulation::shared; }
DEVICE u64 bits_of(double x) {
    u64 bits;
    memcpy(&bits, &x, 8);
    return bits;
}
DEVICE double double_of(u64 bits) {
    double x;
    memcpy(&x, &bits, 8);
    return x;
}
// Without the conversion that flushes.
DEVICE double widen(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    u64 sign = (u64)(bits >> 31) << 63;
    int exponent = bits >> 23 & 255;
    double size = exponent == 255 ? (bits & 0x7fffff ? NAN : INFINITY)
                  : exponent      ? std::ldexp((double)((bits & 0x7fffff) | 0x800000), exponent - 150)
                                  : std::ldexp((double)(bits & 0x7fffff), -149);
    return double_of(bits_of(size) | sign);
}
DEVICE float widen_half(unsigned short bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                 : exponent     ? std::ldexp((float)(fraction | 1024), exponent - 25)
                                : std::ldexp((float)fraction, -24);
    return bits >> 15 ? -size : size;
}
DEVICE float as_float_up(double x) {
    float value = (float)x;
    return (double)value < x ? std::nextafterf(value, INFINITY) : value;
}
DEVICE u32 absolute4(u32 a, u32 b, u32 sum) {
    for (int i = 0; i < 32; i += 8) sum += std::abs((int)(a >> i & 255) - (int)(b >> i & 255));
    return sum;
}
DEVICE u32 product4(u32 a, u32 b, u32 sum) {
    for (int i = 0; i < 32; i += 8) sum += (a >> i & 255) * (b >> i & 255);
    return sum;
}
DEVICE u32 apart4(u32 a, u32 b) {
    u32 apart = 0;
    for (int i = 0; i < 32; i += 8) {
        apart |= (u32)std::abs((int)(a >> i & 255) - (int)(b >> i & 255)) << i;
    }
    return apart;
}
DEVICE u32 product2(u32 a, u32 b, u32 sum) {
    for (int i = 0; i < 2; i++) sum += (u32)((int)(short)(a >> 16 * i) * (int)(b >> 8 * i & 255));
    return sum;
}
DEVICE u32 warp_sum(u32 value) {
    for (int i = 16; i; i /= 2) value += __shfl_xor_sync(FULL_WARP, value, i);
    return value;
}
DEVICE uint4 load_once(const uint4* pointer) { return *pointer; }

DEVICE void copy16(void* target, const void* source, bool wanted) {
    emulation::Copy copy = {target, source, wanted};
#ifdef EAGER_COPIES
    copy.make();
#else
    emulation::me().copies.open.push_back(copy);
#endif
}
DEVICE void copies_end() { emulation::me().copies.close(); }
template <int LEFT>
DEVICE void copies_wait() {
    auto& groups = emulation::me().copies.closed;
    for (; groups.size() > LEFT; groups.pop_front()) {
        for (auto& copy : groups.front()) {
            copy.make();
        }
    }
}

DEVICE void load_matrices(u32 (&words)[4], const void* row) {
    for (int i = 0; i < 4; i++) {
        u64 from = emulation::exchange((u64)row, 8 * i + emulation::lane() / 4);
        memcpy(&words[i], (const u8*)from + emulation::lane() % 4 * 4, 4);
    }
    emulation::sync_warp();
}

template <Product PRODUCT>
DEVICE void warp_product(u32 (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    auto& words = emulation::my_warp().words;
    u32* mine = words[emulation::lane()];
    for (int i = 0; i < 4; i++) mine[i] = a[i];
    mine[4] = b0, mine[5] = b1;
    emulation::sync_warp();
    int g = emulation::lane() / 4, t = emulation::lane() % 4;
    for (int i = 0; i < 4; i++) {
        int row = g + i / 2 * 8, column = 2 * t + i % 2;
        u32 left[8], right[8];  // 32 bytes of a row of A and of B
        for (int word = 0; word < 8; word++) {
            left[word] = words[row % 8 * 4 + word % 4][row / 8 + word / 4 * 2];
            right[word] = words[column * 4 + word % 4][4 + word / 4];
        }
        sums[i] += emulation::product_of(PRODUCT, (u8*)left, (u8*)right);
    }
    emulation::sync_warp();
}

DEVICE void warpgroup_sees_shared() {}
DEVICE void warpgroup_begin() {}
DEVICE void warpgroup_end() { emulation::me().products.close(); }
template <int SIZE>
DEVICE void warpgroup_holds(u32 (&)[SIZE]) {}

template <Product PRODUCT, int SIZE>
DEVICE void warpgroup_product(u32 (&sums)[SIZE], const u8* a, const u8* b, bool adds) {
    static_assert(SIZE == WGMMA_ROWS / 2, "registers of one product");
    emulation::me().products.open.push_back({sums, a, b, adds, PRODUCT});
}

template <int LEFT>
DEVICE void warpgroup_wait() {
    auto& groups = emulation::me().products.closed;
    u32 lane = emulation::lane(), warp = emulation::current % 128 / 32;
    for (; groups.size() > LEFT; groups.pop_front()) {
        for (auto& one : groups.front()) {
            for (int i = 0; i < WGMMA_ROWS / 2; i++) {
                int row = warp * 16 + lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
                u8 left[32], right[32];
                for (int byte = 0; byte < 32; byte++) {
                    left[byte] = *emulation::unswizzled(one.a + row * 128 + byte);
                    right[byte] = *emulation::unswizzled(one.b + column * 128 + byte);
                }
                u32 product = emulation::product_of(one.product, left, right);
                one.sums[i] = one.adds ? one.sums[i] + product : product;
            }
        }
    }
}
