// Types, arguments and tiles that all kernels share. Included by every .cu file of this folder;
// vsearch_fast/kernels/cuda/sources.py says how they are compiled.
#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#include "tiles.cuh"
#ifdef EMULATION
#include "emulation.h"
#else
#include "primitives.cuh"
#endif

// Far more than the roundings of the quick tests: each is 2**-24 of its result, and there are fewer
// than eight of them.
constexpr float QUICK_MARGIN = 1.0f + 1.0f / (1 << 20);

// What every scan takes: one parameter, which stays where the hardware has put it, so that functions
// that are called get its address. `arguments.py` has the same fields for the launcher. `live` lists
// the rows to scan where only some live; positions `first` to `last` count in it, or are row
// numbers where it is null. A row's id is `base` more. A pair that may be among the nearest goes
// to the list of its query: at most `capacity` are kept, `counts` counts all.
struct Scan {
    const u32* due;     // the round that is due (select.cu): this one, or nothing is scanned
    u32 round;
    const u8* queries;  // query_count rows of query_stride bytes; all strides multiples of 16
    i64 query_stride;
    int query_count;
    const double* query_errors;  // residual norms of the sketches, as kernels/sketch.py
    const u32* query_sums;       // set bits, or sums of squares, of what is compared
    const u8* rows;
    i64 row_stride;
    const double* row_errors;
    const float* row_bounds;  // the same in steps, rounded up, for quick tests (refine.cu)
    const u32* row_sums;
    const u32* live;
    i64 first;
    i64 last;
    u32 base;
    int width;     // bytes of a row, a multiple of 16; padding is zero
    double scale;  // sketches: step; floats: how far, relatively, float32 sums may be off
    double gamma;  // rounding of the defined distance, as kernels/sketch.py
    double lost;   // floats: how far float32 sums may be off by what is subnormal
    const u64* limits;  // keys that exclude: of Hamming distances, or the bits of a float64
    u32* counts;
    u64* keys;    // (query_count, capacity): distances, or lower bounds
    u64* uppers;  // upper bounds, where keys are lower bounds
    u32* ids;
    int capacity;
    const u32* row_totals;  // products: sums of a sketch's bytes
    double lo;              // what sketches begin with
    int numbers;            // of a row
    int cosine;             // instead of the inner product
    const u8* query_images;  // of clusters: queries as shared memory has them (chunks.cuh)

    DEVICE bool is_due() const { return *due == round; }
    DEVICE i64 row_at(i64 position) const { return live ? live[position] : position; }
};

// Keys of distances that may be negative order as they do: all bits of a negative number change, and
// the sign of others.
DEVICE u64 signed_key(double x) {
    u64 bits = bits_of(__dadd_rn(x, 0.0));  // of -0 and 0 the same
    return bits >> 63 ? ~bits : bits | 1ull << 63;
}
DEVICE double of_signed_key(u64 key) { return double_of(key >> 63 ? key ^ 1ull << 63 : ~key); }

DEVICE void list_pair(const Scan& scan, int query, i64 row, u64 key, u64 upper) {
    u32 place = atomicAdd(&scan.counts[query], 1u);
    if (place < (u32)scan.capacity) {
        i64 at = (i64)query * scan.capacity + place;
        scan.keys[at] = key;
        scan.ids[at] = scan.base + (u32)row;
        if (scan.uppers) scan.uppers[at] = upper;
    }
}

// Share so many pieces of work out among the threads of a block, or those from `first` on, in a loop
// whose length the compiler knows.
template <int COUNT, int THREADS, class Work>
DEVICE void share_out(Work work, int first = 0) {
#pragma unroll
    for (int turn = 0; turn < (COUNT + THREADS - 1) / THREADS; turn++) {
        int piece = turn * THREADS + (int)threadIdx.x - first;
        if (COUNT % THREADS == 0 || piece < COUNT) work(piece);
    }
}
