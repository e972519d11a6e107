// mbarriers and copies in bulk by their definitions: part of emulation.h.
//
// An mbarrier counts arrivals, and bytes that are to come; when none is left its phase is complete,
// and the next begins. Stricter than a device: a thread arrives at a phase once, waits for phases in
// their order, and leaves none half complete when the block ends, for what else would be a wrong
// count. A barrier that nobody can know to be initialised is not one. What blocks of a cluster do in
// each other's shared memory, a block must know to be done before it ends.
#pragma once

namespace emulation {

struct MBarrier {
    u32 count = 0, left = 0;
    i64 bytes = 0;  // still to come
    i64 phase = 0;  // that is under way
    u32 by = 0, since = 0;  // who initialised it, and when
    u32 engine = 0;         // of the copies that it tells of
    bool fenced = false;    // for what copies in bulk, and for other blocks
    std::vector<u32> arrived;
    std::map<u32, i64> waited;  // the phase that each thread waited for last
    Clock coming, complete;

    void advance() {
        if (left || bytes) return;
        left = count, phase++, progress++;
        arrived.clear();
        complete.swap(coming);
        coming.clear();
    }
    std::string state() const {
        return " (phase " + std::to_string(phase) + ": " + std::to_string(left) +
               " arrivals and " + std::to_string(bytes) + " bytes are to come)";
    }
};
inline std::map<const void*, MBarrier> mbarriers;

// Copies in bulk: by nobody's instruction, and complete by a barrier alone.
struct BulkCopy {
    u8* target;
    const u8* source;
    u32 bytes;
    const void* barrier;
};
inline std::vector<BulkCopy> bulk_copies;

// Copies of a thread, by whose end it arrives.
struct Arrival {
    std::vector<Copy> copies;
    const void* barrier;
    u32 thread;
};
inline std::vector<Arrival> arrivals;

// What came from another block of the cluster: which block's memory it was, who did it, and when.
struct FromOutside {
    u32 block, by, moment;
};
inline std::vector<FromOutside> from_outside;

inline void begin_mbarriers() {
    mbarriers.clear();
    bulk_copies.clear();
    arrivals.clear();
    from_outside.clear();
}

// Where something of this block lies in another block of the cluster.
template <class T>
T* in_block(T* pointer, u32 number) {
    return (T*)(blocks[number].shared + ((u8*)pointer - my_block().shared));
}
inline u32 block_with(const void* pointer) {
    u32 number = 0;
    while (number + 1 < blocks.size() && (u8*)pointer >= blocks[number + 1].shared) number++;
    return number;
}
// Something is done in a block's memory, as of this moment of who does it.
inline void comes_from_outside(u32 block, u32 by) {
    if (!blocks[block].alive) report("a block has ended while others still write to its memory");
    from_outside.push_back({block, by, clocks[by][by]});
}

inline MBarrier& mbarrier_at(const void* pointer) {
    static MBarrier none;
    auto found = mbarriers.find(pointer);
    if (found == mbarriers.end()) {
        report("an mbarrier was not initialised");
        return none = MBarrier();
    }
    if (!knows(current, found->second.by, found->second.since)) {
        report("an mbarrier is used by a thread that cannot know that it is initialised");
    }
    if (blocks.size() > 1 && !found->second.fenced) {
        report("an mbarrier of a cluster is used whose initialisation has no fence");
    }
    return found->second;
}

inline void land(size_t number) {
    BulkCopy one = bulk_copies[number];
    bulk_copies.erase(bulk_copies.begin() + (long)number);
    MBarrier& barrier = mbarriers[one.barrier];
    if (blocks.size() > 1) comes_from_outside(block_with(one.target), barrier.engine);
    Unwatched now;
    memcpy(one.target, one.source, one.bytes);
    for (u32 at = 0; at < one.bytes; at += 16) has_landed(piece_of(one.target + at), barrier.engine);
    publish(barrier.engine, barrier.coming);
    barrier.bytes -= one.bytes;
    if (!barrier.left && barrier.bytes < 0) report("more bytes come than an mbarrier expects");
    progress++;
    barrier.advance();
}
inline std::string who_waits() {
    std::string all;
    std::vector<const void*> told;
    for (u32 i = 0; i < block_size.x * blocks.size(); i++) {
        const void* what = threads[i].waits_for;
        if (threads[i].ended || !what) continue;
        if (std::find(told.begin(), told.end(), what) != told.end()) continue;
        told.push_back(what);
        all += (all.empty() ? ": thread " : "; thread ") + std::to_string(i) +
               " for an mbarrier" + mbarriers[what].state();
    }
    return all;
}

inline void end_mbarriers() {
    if (!trouble.empty()) return;
    if (bulk_copies.size() + arrivals.size()) report("a block ends while copies are under way");
    for (auto& [pointer, barrier] : mbarriers) {
        if (barrier.left != barrier.count || barrier.bytes) {
            report("a block ends with an mbarrier half complete" + barrier.state());
        }
    }
    // Whatever came first today: has the block's end waited for what others do in it?
    for (const FromOutside& one : from_outside) {
        bool known = false;
        for (u32 i = 0; i < block_size.x && !known; i++) {
            known = knows(one.block * block_size.x + i, one.by, one.moment);
        }
        if (!known) report("a block may end while others still write to its memory");
    }
}

// `who` arrives, having published what it did.
inline void arrive_as(u32 who, u32 knows, MBarrier& barrier) {
    if (std::find(barrier.arrived.begin(), barrier.arrived.end(), who) != barrier.arrived.end()) {
        report("a thread arrives twice in a phase" + barrier.state());
    }
    if (barrier.left == 0) {
        report("more threads arrive in a phase than an mbarrier counts");
        return;
    }
    barrier.arrived.push_back(who);
    publish(knows, barrier.coming);
    barrier.left--;
    if (!barrier.left && barrier.bytes < 0) report("more bytes come than an mbarrier expects");
    barrier.advance();
}
inline void arrive_at(const void* pointer) { arrive_as(current, current, mbarrier_at(pointer)); }

// Between a thread's mbarriers others may come to do much, which shows what plain loads and stores
// to shared memory have no clocks for.
inline void let_others_go() {
    if (order != ANY || random_below(16)) return;
    for (u32 turns = 1 + random_below(6); turns; turns--) {
        progress++;
        yield();
    }
}

// A thread's copies are there, and it arrives by that. What else it has done nobody learns by it.
inline void end_copies(size_t number) {
    Arrival one = std::move(arrivals[number]);
    arrivals.erase(arrivals.begin() + (long)number);
    MBarrier& barrier = mbarriers[one.barrier];
    for (Copy& copy : one.copies) {
        copy.make();
        has_landed(piece_of(copy.target), barrier.engine);
    }
    arrive_as(one.thread, barrier.engine, barrier);
}

// Something of what is under way lands; where all threads wait, all that one barrier waits for.
inline bool something_lands(bool all) {
    if (!bulk_copies.empty() && (arrivals.empty() || random_below(2))) {
        land(random_below((u32)bulk_copies.size()));
        return true;
    }
    if (arrivals.empty()) return false;
    if (!all) {
        end_copies(random_below((u32)arrivals.size()));
        return true;
    }
    const void* barrier = arrivals[random_below((u32)arrivals.size())].barrier;
    for (size_t i = arrivals.size(); i-- > 0;) {
        if (arrivals[i].barrier == barrier) end_copies(i);
    }
    return true;
}

}  // namespace emulation

DEVICE void mbarrier_init(u64* barrier, u32 count) {
    emulation::check_aligned(barrier, 8, "an mbarrier");
    emulation::track(emulation::block_size.x * (u32)emulation::blocks.size());
    emulation::MBarrier one;
    one.count = one.left = count;
    one.engine = emulation::engine + (u32)emulation::mbarriers.size();
    if (emulation::mbarriers.size() == emulation::ENGINES) emulation::report("too many mbarriers");
    one.by = emulation::current, one.since = emulation::clocks[one.by][one.by];
    emulation::mbarriers[barrier] = one;
}
DEVICE u32 block_of_cluster() { return emulation::block_of(emulation::current); }
DEVICE void cluster_meets() { emulation::wait_at(emulation::cluster, emulation::alive); }
DEVICE void mbarriers_initialised() {
    for (auto& [pointer, barrier] : emulation::mbarriers) {
        if (barrier.by == emulation::current) barrier.fenced = true;
    }
}
DEVICE void mbarrier_arrive(u64* barrier) {
    emulation::let_others_go();
    emulation::arrive_at(barrier);
}
DEVICE void mbarrier_arrive_in(u64* barrier, u32 block) {
    emulation::let_others_go();
    u64* there = emulation::in_block(barrier, block);
    if (block != block_of_cluster()) emulation::comes_from_outside(block, emulation::current);
    emulation::arrive_at(there);
}
DEVICE void mbarrier_arrive_with_copies(u64* barrier) {
    u32 engine = emulation::mbarrier_at(barrier).engine;
    auto& copies = emulation::me().copies;
    if (!copies.closed.empty()) emulation::report("copies have a group and an mbarrier");
    for (auto& copy : copies.open) {
        emulation::lands_by_itself(emulation::piece_of(copy.target), engine);
    }
    emulation::arrivals.push_back({std::move(copies.open), barrier, emulation::current});
    copies.open.clear();
    if (emulation::copy_moment == emulation::AT_ONCE) {
        emulation::end_copies(emulation::arrivals.size() - 1);
    }
}
DEVICE void mbarrier_expect(u64* barrier, u32 bytes) {
    emulation::mbarrier_at(barrier).bytes += bytes;
}

// Whether the phase of this parity is complete: that under way, or the one before it.
DEVICE bool mbarrier_test(u64* pointer, u32 parity) {
    emulation::MBarrier& barrier = emulation::mbarrier_at(pointer);
    if (emulation::copy_moment == emulation::SOMETIME && emulation::random_below(3) == 0) {
        emulation::something_lands(false);
    }
    bool complete = (barrier.phase & 1) != parity;
    i64 wanted = complete ? barrier.phase - 1 : barrier.phase;
    auto before = barrier.waited.find(emulation::current);
    bool first = before == barrier.waited.end();
    if (first ? wanted > 0 : wanted != before->second + 1) {
        emulation::report("a thread waits for a phase by the wrong parity" + barrier.state());
    }
    if (!complete) return false;
    barrier.waited[emulation::current] = wanted;
    emulation::learn(emulation::current, barrier.complete);
    return true;
}
DEVICE void mbarrier_wait(u64* barrier, u32 parity) {
    while (!mbarrier_test(barrier, parity)) {
        emulation::me().waits_for = barrier;
        emulation::yield();
        if (!emulation::trouble.empty()) emulation::end_thread();
    }
    emulation::me().waits_for = nullptr;
    emulation::let_others_go();
}

namespace emulation {
// To one block of the cluster.
inline void begin_bulk_copy(void* target, const void* source, u32 bytes, u64* barrier) {
    check_aligned(target, 16, "the target of a copy in bulk");
    check_aligned(source, 16, "the source of a copy in bulk");
    if (bytes % 16) report("a copy in bulk is not of whole pieces");
    MBarrier& tells = mbarrier_at(barrier);
    if (!tells.fenced) report("a copy in bulk meets an mbarrier whose initialisation has no fence");
    for (u32 at = 0; at < bytes; at += 16) {
        begins_to_land(piece_of((u8*)target + at), current, tells.engine);
    }
    bulk_copies.push_back({(u8*)target, (const u8*)source, bytes, barrier});
    if (copy_moment == AT_ONCE) land(bulk_copies.size() - 1);
}
}  // namespace emulation

DEVICE void bulk_copy_to(u32 to, void* target, const void* source, u32 bytes, u64* barrier) {
    for (u32 block = 0; block < emulation::blocks.size(); block++) {
        if (to >> block & 1) {
            emulation::begin_bulk_copy(emulation::in_block(target, block), source, bytes,
                                       emulation::in_block(barrier, block));
        }
    }
}

template <int THREADS>
DEVICE void some_meet(int id) {
    static const int count = THREADS;
    emulation::wait_at(emulation::my_block().named[id], count);
}

// Registers pass from warpgroups that need few to those that need many.
template <int REGISTERS>
DEVICE void registers_given_up() {}
template <int REGISTERS>
DEVICE void registers_taken() {}
