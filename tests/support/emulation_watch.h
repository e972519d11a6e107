// Plain loads and stores by the clocks of their threads: part of emulation.h.
//
// The compiler calls a function at each load and store of what it compiles (-fsanitize=thread, whose
// library is not linked: these functions take its place). Of shared memory, and of the arrays that a
// kernel writes, it is known of each 4 bytes who stored and who has loaded, and when. Two accesses that
// no barrier orders, one of which is a store, are an error whatever came first (as in Flanagan and
// Freund, "FastTrack", 2009). What a warp's lanes exchange, or multiply together, orders nothing: only
// __syncwarp, barriers of blocks and of clusters, and mbarriers do. Atomic operations do not disturb
// each other, and order nothing. Blocks that are not of one cluster are never ordered.
//
// Without -DWATCHED nothing of this is compiled.
#pragma once

namespace emulation {

// By a thread of a cluster (from 1) at a moment of its own: these bytes of a cell.
struct Access {
    u32 cluster, thread, moment;
    u8 bytes;
};
struct Cell {
    std::vector<Access> stores, loads, atomics;
};
struct Watched {
    const u8 *start, *stop;
    bool shared;
    std::vector<Cell> cells;
};
inline std::vector<Watched> watched_memory;  // shared memory first
inline u32 running = 0;  // number of the cluster that runs, from 1

inline Watched* watched_at(const u8* pointer) {
    for (Watched& one : watched_memory) {
        if (pointer >= one.start && pointer < one.stop) return &one;
    }
    return nullptr;
}

inline std::string place_of(const Watched& memory, const u8* pointer) {
    std::string where = memory.shared ? "shared memory" : "an array";
    return " (byte " + std::to_string(pointer - memory.start) + " of " + where + ")";
}

inline bool is_before(const Access& one) {
    return one.cluster == running && one.moment != UNDER_WAY && knows(current, one.thread, one.moment);
}
// Forget what these bytes hold no longer, or who is known to be before.
inline void forget(std::vector<Access>& some, u8 bytes, bool known_alone) {
    size_t kept = 0;
    for (Access& one : some) {
        if (!known_alone || is_before(one)) one.bytes &= (u8)~bytes;
        if (one.bytes) some[kept++] = one;
    }
    some.resize(kept);
}

// The thread that runs loads or stores these bytes of one cell.
inline void touch(Watched& memory, const u8* at, u8 bytes, bool stores) {
    Cell& cell = memory.cells[(at - memory.start) / 4];
    const char* meets = nullptr;
    auto look = [&](const std::vector<Access>& some, const char* what) {
        for (const Access& one : some) {
            if ((one.bytes & bytes) && !is_before(one)) {
                meets = one.moment == UNDER_WAY ? "a copy under way" : what;
            }
        }
    };
    look(cell.stores, "another's store");
    if (!atomically) look(cell.atomics, "another's atomic operation");
    if (stores) look(cell.loads, "another's load");
    if (meets) {
        report(std::string(atomically ? "an atomic operation" : stores ? "a store" : "a load") + " meets " +
               meets + ", and no barrier orders the two" + place_of(memory, at));
    }
    if (atomically && !stores) return;  // the load of an exchange, whose store comes
    if (stores && !atomically) {
        for (auto* some : {&cell.stores, &cell.loads, &cell.atomics}) forget(*some, bytes, false);
    }
    auto& mine = atomically ? cell.atomics : stores ? cell.stores : cell.loads;
    forget(mine, bytes, true);
    mine.push_back({running, current, clocks[current][current], bytes});
}

inline void look_at(const u8* at, u64 size, bool stores) {
    Watched* memory = watched_at(at);
    if (!memory) return;
    const u8* stop = std::min(at + size, memory->stop);
    while (at < stop) {
        u32 offset = (at - memory->start) % 4, count = std::min<u64>(4 - offset, stop - at);
        touch(*memory, at, (u8)(((1u << count) - 1) << offset), stores);
        at += count;
    }
}

// What is not compiled to call itself.
#define PLAIN inline __attribute__((used, no_sanitize("thread")))
inline bool looking = false;
PLAIN void accessed(void* pointer, u64 size, bool stores) {
    if (!watching || looking) return;
    looking = true;
    look_at((const u8*)pointer, size, stores);
    looking = false;
}

// The 16 bytes that an asynchronous copy fills: nobody may load them until it is waited for.
inline void watch_copy(u32 piece, u32 thread, bool lands) {
    if (watched_memory.empty()) return;
    Unwatched now;
    Watched& memory = watched_memory[0];
    for (u32 i = 4 * piece; i < 4 * piece + 4; i++) {
        Cell& cell = memory.cells[i];
        for (const Access& one : cell.loads) {
            if (!lands && !is_before(one)) {
                report("a copy overwrites what may still be loaded" +
                       place_of(memory, memory.start + 4 * i));
            }
        }
        if (!lands) cell = Cell();
        cell.stores.assign(1, {running, thread, lands ? clocks[thread][thread] : UNDER_WAY, 15});
    }
}

// Before the first cluster of a launch, and before each.
inline void watch_shared() {
    watched_memory.insert(watched_memory.begin(),
                          {shared, shared_bytes.data() + shared_bytes.size(), true, {}});
}
inline void begin_watch() {
    running++;
    Watched& memory = watched_memory[0];
    memory.cells.assign((memory.stop - memory.start) / 4 + 1, Cell());
}
inline void end_watch() {
    watching = false;
    watched_memory.clear();
    running = 0;
}

}  // namespace emulation

// An array that the next launch writes.
extern "C" inline __attribute__((used)) void watch_array(const void* start, u64 size) {
    emulation::Watched one = {(const u8*)start, (const u8*)start + size, false, {}};
    one.cells.resize(size / 4 + 1);
    emulation::watched_memory.push_back(std::move(one));
}

#define WATCHES(size)                                                                           \
    PLAIN void __tsan_read##size(void* at) { emulation::accessed(at, size, false); }            \
    PLAIN void __tsan_write##size(void* at) { emulation::accessed(at, size, true); }            \
    PLAIN void __tsan_unaligned_read##size(void* at) { emulation::accessed(at, size, false); }  \
    PLAIN void __tsan_unaligned_write##size(void* at) { emulation::accessed(at, size, true); }
extern "C" {
WATCHES(1)
WATCHES(2)
WATCHES(4)
WATCHES(8)
WATCHES(16)
PLAIN void __tsan_read_range(void* at, u64 size) { emulation::accessed(at, size, false); }
PLAIN void __tsan_write_range(void* at, u64 size) { emulation::accessed(at, size, true); }
PLAIN void __tsan_init() {}
PLAIN void __tsan_func_entry(void*) {}
PLAIN void __tsan_func_exit() {}
PLAIN void __tsan_vptr_update(void**, void*) {}
PLAIN void __tsan_vptr_read(void**) {}
// Of the emulation's own: whether something static is made.
PLAIN u8 __tsan_atomic8_load(const volatile u8* at, int) { return *at; }
}
