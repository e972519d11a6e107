// kernels/cuda/primitives.cuh for a processor: the kernels' own code runs in fibers, one a CUDA
// thread, and the machine's instructions are replaced by their definitions.
//
// Stricter than a device where that finds mistakes: a barrier that some threads miss is an error, as
// are a load that is not aligned and a product of shared memory whose writer set no fence; shared
// memory is filled with rubbish between blocks, and subnormal float32 are flushed as CuPy's -ftz=true
// has it. What a device may do in any order, a launch's seed orders: blocks, the threads of a block
// between their barriers, and when asynchronous copies and products take place, from at once to the
// moment that they are waited for. The blocks of a cluster run together. The machine's instructions
// are in emulation_machine.h; who has seen what of shared memory is in emulation_order.h, mbarriers are
// in emulation_mbarrier.h, plain loads and stores in emulation_watch.h.
#pragma once
#include <csetjmp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>
#include <xmmintrin.h>

#ifdef SHAPES_ALONE
#define KERNEL [[maybe_unused]] static  // read, and not compiled
#else
#define KERNEL extern "C"
#endif
#define DEVICE inline
#define __launch_bounds__(...)
#define APART inline __attribute__((noinline))
#define ARGUMENT(type) const type
#define SELDOM(condition) (condition)
#define SHAPE(name, threads, queries, rows, shared, shared_a_byte, blocks) \
    SHAPE_IN_CLUSTERS(name, threads, queries, rows, shared, shared_a_byte, blocks, 1)
#define SHAPE_IN_CLUSTERS(name, threads, queries, rows, shared, shared_a_byte, blocks, cluster) \
    extern "C" {                                                                                \
    int name##_shape[7] = {threads,       queries, rows,   (int)(shared),                       \
                           shared_a_byte, blocks,  cluster};                                    \
    }
#define CLUSTERS_OF(blocks)
#define FULL_WARP 0xffffffffu

struct alignas(16) uint4 {
    u32 x, y, z, w;
};
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }

enum Product { COMMON_BITS, UNSIGNED_BYTES };

namespace emulation {

struct Index {
    u32 x = 0, y = 0, z = 0;
};

// Numbers that seem random (Steele, Lea and Flood's SplitMix64), all from a launch's seed.
inline u64 random_state = 0;
inline u32 random_below(u32 count) {
    u64 z = random_state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (u32)((z ^ z >> 31) % count);
}

// Blocks, and threads between barriers: in ascending order, descending, or any.
enum Order { ASCENDING, DESCENDING, ANY };
inline Order order = ASCENDING;
inline void arrange(std::vector<u32>& numbers) {
    if (order == ASCENDING) return;
    u32 count = (u32)numbers.size();
    for (u32 i = 0; i + 1 < count; i++) {
        u32 other = order == ANY ? i + random_below(count - i) : count - 1 - i;
        if (order == ANY || i < other) std::swap(numbers[i], numbers[other]);
    }
}

// When what is asynchronous takes place: at once, when it is waited for, or at any time between.
enum Moment { AT_ONCE, AT_LAST, SOMETIME };
inline Moment copy_moment = AT_LAST, product_moment = AT_LAST;
inline bool due(Moment moment) {
    return moment == AT_ONCE || (moment == SOMETIME && random_below(3) == 0);
}

inline std::string trouble;  // the first that a launch met
inline void report(const std::string& what) {
    if (trouble.empty()) trouble = what;
}

// Whether what is loaded and stored is a thread's (emulation_watch.h).
#ifdef WATCHED
void begin_watch();
void end_watch();
void watch_shared();
inline bool watching = false, atomically = false;
inline void watch(bool on) { watching = on; }
// What the emulation itself does in place of a copy or of a product.
struct Unwatched {
    bool before = std::exchange(watching, false);
    ~Unwatched() { watching = before; }
};
struct Atomically {
    bool before = std::exchange(atomically, true);
    ~Atomically() {
        atomically = before;
        asm volatile("" ::: "memory");  // what is loaded behind it, the compiler does not know
    }
};
#else
inline void watch(bool) {}
inline void begin_watch() {}
inline void end_watch() {}
inline void watch_shared() {}
struct Unwatched {
    ~Unwatched() {}
};
struct Atomically {
    ~Atomically() {}
};
#endif

inline u32 current = 0;
#include "emulation_order.h"

// Operations of a thread in groups that it waits for. Some may have taken place before.
template <class Operation>
struct Groups {
    std::vector<Operation> open;
    std::deque<std::vector<Operation>> closed;
    void close() {
        closed.push_back(std::move(open));
        open.clear();
    }
    void wait(size_t left) {
        for (; closed.size() > left; closed.pop_front()) {
            for (auto& one : closed.front()) one.make(), one.waited();
        }
    }
    // Those under way may take place between any two instructions of the thread; of products, in
    // their order.
    void pass(Moment moment) {
        if (moment != SOMETIME) return;
        for (auto& group : closed) {
            for (auto& one : group) {
                if (!one.made && random_below(4) == 0) one.make();
                if (Operation::IN_ORDER && !one.made) return;
            }
        }
    }
};

struct Copy {
    static constexpr bool IN_ORDER = false;
    void* target;
    const void* source;
    bool wanted;
    u32 thread;
    bool made = false;
    void make();
    void waited();
};

struct WarpgroupProduct {
    static constexpr bool IN_ORDER = true;
    u32* sums;
    const u8 *a, *b;
    bool adds;
    Product product;
    u32 thread;
    bool made = false;
    void make();
    void waited();
};

struct Barrier {
    int waiting = 0;
    u64 generation = 0;
    Clock coming, gone;  // what those that wait have seen, and those that have gone on
};

struct Thread {
    Index index;
    jmp_buf place;
    ucontext_t start;
    std::unique_ptr<char[]> stack;
    bool started = false, ended = false;
    Groups<Copy> copies;
    Groups<WarpgroupProduct> products;
    std::vector<u32> unfenced;  // pieces that it wrote since its last fence
    const void* waits_for = nullptr;  // an mbarrier
};

struct Warp {
    int alive = 0;
    Barrier barrier;
    u64 slots[32];
    u32 words[32][8];
};

// A block of the cluster that runs.
struct Block {
    Index index;
    int alive = 0;
    u8* shared = nullptr;
    Barrier barrier, named[16];
};

constexpr size_t STACK = 256 << 10;
inline std::vector<Thread> threads;  // of the blocks, one block's behind the other's
inline std::vector<Warp> warps;
inline std::vector<Block> blocks;
inline Barrier cluster;
inline int alive = 0;  // threads of the cluster
inline u64 progress = 0;
inline Index block_size, grid_size;
// By 16 bytes of shared memory: the thread, from 1, that wrote them and has set no fence since.
inline std::vector<u32> unfenced_by;
inline jmp_buf scheduler;
inline std::function<void()> body;

inline Thread& me() { return threads[current]; }
inline Warp& my_warp() { return warps[current / 32]; }
inline u32 block_of(u32 thread) { return thread / block_size.x; }
inline Block& my_block() { return blocks[block_of(current)]; }
inline u32 lane() { return current % 32; }

inline void yield() {
    me().copies.pass(copy_moment);
    me().products.pass(product_moment);
    if (!_setjmp(me().place)) _longjmp(scheduler, 1);
}

inline void release(Barrier& barrier) {
    barrier.waiting = 0;
    barrier.generation++;
    barrier.gone.swap(barrier.coming);
    barrier.coming.clear();
    progress++;
}

// What a warp's lanes exchange orders nothing else that they do.
inline void wait_at(Barrier& barrier, const int& count, bool orders = true) {
    if (orders) publish(current, barrier.coming);
    u64 generation = barrier.generation;
    if (++barrier.waiting == count) release(barrier);
    while (barrier.generation == generation) yield();
    if (orders) learn(current, barrier.gone);
}

inline void sync_warp(bool orders = false) { wait_at(my_warp().barrier, my_warp().alive, orders); }
inline void sync_block() { wait_at(my_block().barrier, my_block().alive); }

inline void end_thread() {
    Warp& warp = my_warp();
    Block& block = my_block();
    me().ended = true;
    progress++;
    alive--, block.alive--, warp.alive--;
    if (alive && cluster.waiting == alive) release(cluster);
    if (block.alive && block.barrier.waiting == block.alive) release(block.barrier);
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
    watch(true);
    if (_setjmp(scheduler)) {
        watch(false);
        return;
    }
    if (thread.started) _longjmp(thread.place, 1);
    thread.started = true;
    getcontext(&thread.start);
    thread.start.uc_stack.ss_sp = thread.stack.get();
    thread.start.uc_stack.ss_size = STACK;
    thread.start.uc_link = nullptr;
    makecontext(&thread.start, enter, 0);
    setcontext(&thread.start);
}

void begin_mbarriers();
bool something_lands(bool all);
std::string who_waits();
void end_mbarriers();

// The blocks that are set up.
inline void run_cluster() {
    u32 size = block_size.x * (u32)blocks.size();
    if (threads.size() < size) threads.resize(size);
    warps.assign((size + 31) / 32, Warp());
    cluster = Barrier();
    alive = size;
    for (Block& block : blocks) {
        block.barrier = Barrier();
        block.alive = block_size.x;
        for (Barrier& barrier : block.named) barrier = Barrier();
    }
    for (u32 i = 0; i < size; i++) {
        Thread& thread = threads[i];
        thread.index.x = i % block_size.x;
        thread.started = thread.ended = false;
        thread.copies = {};
        thread.products = {};
        thread.unfenced.clear();
        thread.waits_for = nullptr;
        if (!thread.stack) thread.stack.reset(new char[STACK]);
        warps[i / 32].alive++;
    }
    memset(shared, 0xa5, shared_bytes.size() - 1024);
    std::fill(unfenced_by.begin(), unfenced_by.end(), 0);
    begin_order(size);
    begin_watch();
    begin_mbarriers();
    std::vector<u32> turns(size);
    std::iota(turns.begin(), turns.end(), 0);
    arrange(turns);
    while (alive && trouble.empty()) {
        u64 before = progress;
        for (u32 i : turns) {
            if (!threads[i].ended) resume(i);
        }
        if (order == ANY) arrange(turns);
        if (alive && progress == before && !something_lands(true)) {
            report("some threads wait for ever" + who_waits());
        }
    }
    end_mbarriers();
}

// Flush subnormal float32, as code compiled with -ftz=true does.
struct Flushing {
    u32 before = _mm_getcsr();
    Flushing() { _mm_setcsr(before | 0x8040); }
    ~Flushing() { _mm_setcsr(before); }
};

template <class... Parameters, size_t... I>
const char* launch(void (*kernel)(Parameters...), u64 seed, u32 x, u32 y, u32 size, u32 together,
                   u64 shared_size, void** arguments, std::index_sequence<I...>) {
    random_state = seed;
    order = (Order)random_below(3);
    copy_moment = (Moment)random_below(3);
    product_moment = (Moment)random_below(3);
    trouble.clear();
    grid_size = {x, y, 1};
    block_size = {size, 1, 1};
    u64 each = (shared_size + 1023) & ~1023ull;  // of a block of the cluster
    shared_bytes.assign(each * together + 1024, 0);
    unfenced_by.assign(each * together / 16 + 1, 0);
    shared = (u8*)(((u64)shared_bytes.data() + 1023) & ~1023ull);
    blocks.assign(together, Block());
    for (u32 i = 0; i < together; i++) blocks[i].shared = shared + i * each;
    watch_shared();
    body = [=] { kernel(*(Parameters*)arguments[I]...); };
    Flushing flushing;
    if (x % together) return "a grid is not of whole clusters";
    std::vector<u32> clusters(x / together * y);
    std::iota(clusters.begin(), clusters.end(), 0);
    arrange(clusters);
    for (u32 number : clusters) {
        for (u32 i = 0; i < together; i++) {
            u32 block = number * together + i;
            blocks[i].index = {block % x, block / x, 0};
        }
        run_cluster();
        if (!trouble.empty()) break;
    }
    end_watch();
    return trouble.empty() ? nullptr : trouble.c_str();
}

template <class... Parameters>
const char* launch(void (*kernel)(Parameters...), u64 seed, u32 x, u32 y, u32 size, u32 together,
                   u64 shared_size, void** arguments) {
    return launch(kernel, seed, x, y, size, together, shared_size, arguments,
                  std::index_sequence_for<Parameters...>());
}

// A parameter's type as the sources write it.
inline std::string type_name(const u8*) { return "u8*"; }
inline std::string type_name(const u32*) { return "u32*"; }
inline std::string type_name(const u64*) { return "u64*"; }
inline std::string type_name(const float*) { return "float*"; }
inline std::string type_name(const double*) { return "double*"; }
inline std::string type_name(int) { return "int"; }
inline std::string type_name(u32) { return "u32"; }
inline std::string type_name(i64) { return "i64"; }
inline std::string type_name(double) { return "double"; }
template <class Struct, class = std::enable_if_t<std::is_class_v<Struct>>>
std::string type_name(const Struct&) { return "struct of " + std::to_string(sizeof(Struct)); }

template <class... Parameters>
std::string signature(void (*)(Parameters...)) {
    std::string all;
    ((all += type_name(Parameters()) + ","), ...);
    return all;
}

}  // namespace emulation

// What Python calls: a launch of so many blocks together, which returns what went wrong, or null; and
// the parameters' types.
#define EXPORT(name)                                                                              \
    extern "C" const char* emulate_##name(u64 seed, u32 x, u32 y, u32 size, u32 together,        \
                                          u64 shared_size, void** arguments) {                   \
        return emulation::launch(name, seed, x, y, size, together, shared_size, arguments);      \
    }                                                                                             \
    extern "C" const char* signature_##name() {                                                   \
        static std::string found = emulation::signature(name);                                   \
        return found.c_str();                                                                     \
    }

// The compiler asks here at each load and store that is not aligned (-fsanitize=alignment).
extern "C" inline __attribute__((used)) void __ubsan_handle_type_mismatch_v1(void*, unsigned long) {
    emulation::report("a load or store is not aligned");
}

#ifdef WATCHED
#include "emulation_watch.h"
#endif
#include "emulation_machine.h"
#include "emulation_mbarrier.h"
