// Selection by (distance, id), a block a query. Loaded by vsearch_fast/kernels/cuda/module.py.
#include "select.cuh"

#define SELECT_SHAPE(name) SHAPE(name, BLOCK, 1, 0, sizeof(SelectShared), 0, 2)
SHAPE(begin_lists, BLOCK, 0, 0, 0, 0, 2)
SELECT_SHAPE(longest_list)
SELECT_SHAPE(end_round)
SELECT_SHAPE(lower_limits)
SELECT_SHAPE(most_promising)
SELECT_SHAPE(drop_listed)
// Per pair that is sorted in shared memory: a key and an id.
SHAPE(keep_nearest, BLOCK, 1, 0, (sizeof(SelectShared) + 15) / 16 * 16, 12, 2)

// The round that is due: any, by reductions, and by sketches in their stead.
enum Due { DUE, DUE_BY_REDUCTIONS, DUE_INSTEAD };
constexpr u32 NEVER_DUE = ~0u;

// What reductions have left (reduced.cu): in this round, and of all rounds that stay the pairs left, the
// rows that were reduced and the bytes that were read for them.
enum Left { COARSE, FINE, ALL_COARSE, ALL_FINE, ROWS, BYTES, LEFT };

// Lists without pairs and without limits, and what is told of them.
KERNEL void __launch_bounds__(BLOCK, 2)
    begin_lists(u32* counts, u32* kept, u64* limits, int query_count, u32* refined, u32* bad, u32* due,
                u64* left) {
    int query = blockIdx.x * BLOCK + threadIdx.x;
    if (query < query_count) {
        counts[query] = kept[query] = 0;
        limits[query] = NO_LIMIT;
    }
    if (query == 0) {
        *refined = 0;
        *bad = ~0u;
        due[DUE] = due[DUE_BY_REDUCTIONS] = 0;
        due[DUE_INSTEAD] = NEVER_DUE;
        for (int i = 0; i < LEFT; i++) left[i] = 0;
    }
}

// The largest count, by one block. All threads find the same.
DEVICE u32 largest_count(const u32* counts, int query_count) {
    SelectShared& shared = *(SelectShared*)shared_memory();
    if (threadIdx.x == 0) shared.total = 0;
    __syncthreads();
    u32 most = 0;
    for (int query = threadIdx.x; query < query_count; query += BLOCK) {
        most = counts[query] > most ? counts[query] : most;
    }
    atomicMax(&shared.total, most);
    __syncthreads();
    return shared.total;
}

// Pairs of the longest list, those that it has no room for included. One block.
KERNEL void __launch_bounds__(BLOCK, 2) longest_list(const u32* counts, int query_count, u32* longest) {
    u32 most = largest_count(counts, query_count);
    if (threadIdx.x == 0) *longest = most;
}

// A round has been scanned: the next is due if this one was, and every list had room for what it
// found. Else what it found is forgotten, and rounds behind it, which were queued before anybody knew,
// scan nothing: the host begins again with the one that is due. Of the round, `rows` are reduced; if
// reductions scanned them and left more than `most_left` pairs, rounds from now on are due by sketches in
// their stead. A reduced row is so many bytes, coarse and fine, and its sketch. One block.
KERNEL void __launch_bounds__(BLOCK, 2) end_round(u32* counts, const u32* kept, int query_count,
                                               int capacity, u32 round, u32* due, u64* left, i64 rows,
                                               i64 most_left, i64 coarse_bytes, i64 fine_bytes,
                                               i64 sketch_bytes) {
    u32 most = largest_count(counts, query_count);
    bool stays = due[DUE] == round && most <= (u32)capacity;
    __syncthreads();  // all have read what is due
    if (threadIdx.x == 0) {
        u64 coarse = left[COARSE], fine = left[FINE];
        left[COARSE] = left[FINE] = 0;
        if (stays) {
            bool flat = due[DUE_BY_REDUCTIONS] == NEVER_DUE;
            if (rows && !flat) {
                left[ALL_COARSE] += coarse, left[ALL_FINE] += fine, left[ROWS] += rows;
                left[BYTES] += rows * coarse_bytes + coarse * fine_bytes + fine * sketch_bytes;
                flat = fine > (u64)most_left;
            }
            due[DUE] = round + 1;
            due[DUE_BY_REDUCTIONS] = flat ? NEVER_DUE : round + 1;
            due[DUE_INSTEAD] = flat ? round + 1 : NEVER_DUE;
        }
    }
    if (stays) return;
    for (int query = threadIdx.x; query < query_count; query += BLOCK) counts[query] = kept[query];
}

// Lower each query's limit to the k-th smallest of its `values`, where it has k.
KERNEL void __launch_bounds__(BLOCK, 2) lower_limits(const u64* values, const u32* counts, int capacity,
                                                  int k, u64* limits) {
    SelectShared& shared = *(SelectShared*)shared_memory();
    u32 query = blockIdx.x, count = counts[query], rank = k - 1;
    if (count < (u32)k) return;
    const u64* mine = values + (i64)query * capacity;
    u64 found = kth_smallest(
        shared, count, rank, 64, [&](u32 i) { return mine[i]; }, [](u32) { return true; });
    if (threadIdx.x == 0 && found < limits[query]) limits[query] = found;
}

// The k-th smallest key of each query, or the largest number of all where it has no k.
KERNEL void __launch_bounds__(BLOCK, 2) most_promising(const u64* keys, const u32* counts, int capacity,
                                                    int k, u64* most) {
    SelectShared& shared = *(SelectShared*)shared_memory();
    u32 query = blockIdx.x, count = counts[query], rank = k - 1;
    const u64* mine = keys + (i64)query * capacity;
    u64 found = ~0ull;
    if (count > (u32)k) {
        found = kth_smallest(
            shared, count, rank, 64, [&](u32 i) { return mine[i]; }, [](u32) { return true; });
    }
    if (threadIdx.x == 0) most[query] = found;
}

// Drop the pairs whose lower bound is above the limit.
KERNEL void __launch_bounds__(BLOCK, 2) drop_listed(u64* keys, u64* uppers, u32* ids, u32* counts,
                                                 int capacity, const u64* limits) {
    SelectShared& shared = *(SelectShared*)shared_memory();
    u32 query = blockIdx.x, count = counts[query];
    i64 at = (i64)query * capacity;
    u64 limit = limits[query];
    u32 kept = compact(shared, count, keys + at, uppers + at, ids + at,
                       [&](u32 i) { return keys[at + i] <= limit; });
    if (threadIdx.x == 0 && kept < count) counts[query] = kept;
}

// Keep the k smallest pairs (key, id) of each query, sorted. Keys of so many `bits` are distances.
// The limit becomes the k-th distance.
// Lists of up to `shared_pairs` are sorted in shared memory, longer ones (a power of two fits into
// `capacity`) where they are.
KERNEL void __launch_bounds__(BLOCK, 2) keep_nearest(u64* keys, u64* uppers, u32* ids, u32* counts,
                                                  int capacity, int k, int bits, int shared_pairs,
                                                  u64* limits) {
    SelectShared& shared = *(SelectShared*)shared_memory();
    u32 query = blockIdx.x, count = counts[query];
    u64* mine = keys + (i64)query * capacity;
    u64* my_uppers = uppers ? uppers + (i64)query * capacity : 0;
    u32* my_ids = ids + (i64)query * capacity;
    if (count > (u32)k) {
        u32 rank = k - 1;
        u64 last = kth_smallest(
            shared, count, rank, bits, [&](u32 i) { return mine[i]; }, [](u32) { return true; });
        // Of those at the last distance, the ones of the lowest ids.
        u32 last_id = (u32)kth_smallest(
            shared, count, rank, 32, [&](u32 i) { return (u64)my_ids[i]; },
            [&](u32 i) { return mine[i] == last; });
        count = compact(shared, count, mine, my_uppers, my_ids, [&](u32 i) {
            return mine[i] < last || (mine[i] == last && my_ids[i] <= last_id);
        });
    }
    u32 size = 1;
    while (size < count) size *= 2;
    u64* sorted = mine;
    u32* sorted_ids = my_ids;
    bool apart = size <= (u32)shared_pairs;
    if (apart) {
        sorted = (u64*)(shared_memory() + (sizeof(SelectShared) + 15) / 16 * 16);
        sorted_ids = (u32*)(sorted + shared_pairs);
    }
    for (u32 i = threadIdx.x; i < size; i += BLOCK) {
        sorted[i] = i < count ? mine[i] : ~0ull;
        sorted_ids[i] = i < count ? my_ids[i] : ~0u;
    }
    __syncthreads();
    sort_pairs(sorted, sorted_ids, size);
    for (u32 i = threadIdx.x; i < count; i += BLOCK) {
        if (apart) mine[i] = sorted[i], my_ids[i] = sorted_ids[i];
        if (my_uppers) my_uppers[i] = sorted[i];
    }
    if (threadIdx.x == 0) {
        counts[query] = count;
        if (count == (u32)k && sorted[k - 1] < limits[query]) limits[query] = sorted[k - 1];
    }
}
