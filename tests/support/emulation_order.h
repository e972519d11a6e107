// Who has seen what of shared memory: part of emulation.h. Included within its namespace.
//
// Threads that meet at barriers in one order today may miss each other tomorrow. So it does not count
// when things happen here, but whether the block's barriers say that one comes before the other: each
// thread has a clock of vectors (Lamport's order, Mattern's clocks), which barriers pass on. Of each
// 16 bytes it is known who wrote them and who reads them; a product that may meet a copy is an error,
// whoever came first. Kept of blocks that use mbarriers, from the first that they initialise.

typedef std::vector<u32> Clock;  // by thread: the last of its moments that is known
inline bool tracked = false;
inline bool clocked = false;  // clocks are kept: of what is tracked, and of all that is watched
inline std::vector<Clock> clocks;
inline std::vector<Clock> fenced;  // what a thread knew at its last fence
// The number, behind the threads, of what copies when nobody waits for it: one for each mbarrier, since
// who has waited at one knows nothing of what another tells.
inline u32 engine = 0;
constexpr u32 ENGINES = 64;

constexpr u32 UNDER_WAY = 0xffffffffu;
struct Piece {
    u32 writer = 0, written = 0;  // a moment of the writer, 0 if nobody has written
    Clock readers;  // by thread: when it had read this, 0 if it has not
};
inline std::vector<Piece> pieces;
inline std::vector<u8> shared_bytes;
inline u8* shared = nullptr;
inline u32 piece_of(const void* pointer) { return (u32)(((const u8*)pointer - shared) / 16); }

inline void keep_clocks(u32 size) {
    if (clocked) return;
    clocked = true;
    engine = size;
    u32 all = size + ENGINES;
    clocks.assign(all, Clock(all, 0));
    for (u32 i = 0; i < all; i++) clocks[i][i] = 1;
}

inline void begin_order(u32 size) {
    tracked = clocked = false;
#ifdef WATCHED
    keep_clocks(size);
#endif
}

inline void track(u32 size) {
    if (tracked) return;
    keep_clocks(size);
    tracked = true;
    fenced.assign(size + ENGINES, Clock(size + ENGINES, 0));
    pieces.assign(shared_bytes.size() / 16, Piece());
}

// A copy by 16 bytes begins, or is there: emulation_watch.h.
#ifdef WATCHED
inline void watch_copy(u32 piece, u32 thread, bool lands);
#else
inline void watch_copy(u32, u32, bool) {}
#endif

inline void join(Clock& clock, const Clock& other) {
    if (clock.size() < other.size()) clock.resize(other.size(), 0);
    for (size_t i = 0; i < other.size(); i++) clock[i] = std::max(clock[i], other[i]);
}
// What a thread has done and seen becomes part of what a barrier passes on.
inline void publish(u32 thread, Clock& clock) {
    if (!clocked) return;
    join(clock, clocks[thread]);
    clocks[thread][thread]++;
}
inline void learn(u32 thread, const Clock& clock) {
    if (clocked) join(clocks[thread], clock);
}
inline bool knows(u32 thread, u32 other, u32 moment) {
    return thread == other || clocks[thread][other] >= moment;
}

// A copy into a piece is begun: nobody may read what was there, or write it.
inline void begins_to_land(u32 piece, u32 thread, u32 writer = UNDER_WAY) {
    watch_copy(piece, thread, false);
    if (!tracked) return;
    Piece& one = pieces[piece];
    for (u32 reader = 0; reader < one.readers.size(); reader++) {
        u32 moment = one.readers[reader];
        if (moment == UNDER_WAY) {
            report("a copy overwrites what a product under way reads");
        } else if (!knows(thread, reader, moment)) {
            report("a copy overwrites a stage that may still be read");
        }
    }
    if (one.written == UNDER_WAY || (one.written && !knows(thread, one.writer, one.written))) {
        report("a copy overwrites what another copy writes");
    }
    one.readers.clear();
    one.writer = writer == UNDER_WAY ? thread : writer;
    one.written = UNDER_WAY;
}
// A barrier will say when it is there, and not its thread.
inline void lands_by_itself(u32 piece, u32 writer) {
    if (tracked) pieces[piece].writer = writer;
}
// The one who copied has waited for it.
inline void has_landed(u32 piece, u32 writer) {
    watch_copy(piece, writer, true);
    if (tracked && pieces[piece].written == UNDER_WAY) pieces[piece].written = clocks[writer][writer];
}
// A thread's fence is of what it knows, too: what others wrote before a barrier that it waited for.
inline bool fence_covers(u32 piece, u32 thread) {
    if (!tracked) return false;
    const Piece& one = pieces[piece];
    return one.written != UNDER_WAY && fenced[thread][one.writer] >= one.written;
}
inline void is_read(u32 piece, u32 thread) {
    Piece& one = pieces[piece];
    if (one.written == 0) {
        report("a product reads what nobody has written");
    } else if (one.written == UNDER_WAY || !knows(thread, one.writer, one.written)) {
        report("a product reads a stage before its barrier says that it is full");
    }
    if (one.readers.empty()) one.readers.assign(engine, 0);
    one.readers[thread] = UNDER_WAY;
}
inline void has_been_read(u32 piece, u32 thread) {
    Clock& readers = pieces[piece].readers;
    if (!readers.empty()) readers[thread] = clocks[thread][thread];
}
