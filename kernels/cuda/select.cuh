// Of the pairs that a query has listed, which stay: a block a query.
//
// Keys are distances, or lower bounds whose upper bounds lie beside them; float64 that are not
// negative order as their bits do. Radix selection by 8-bit digits: a histogram of a digit tells
// the digit of the k-th smallest, whatever k and however many pairs are listed.
#pragma once
#include "common.cuh"

constexpr u64 NO_LIMIT = 0x7ff0000000000000;  // infinite; above all Hamming distances

constexpr int DIGIT_BITS = 8, BINS = 1 << DIGIT_BITS;

struct SelectShared {
    u32 histogram[BINS];
    u32 digit, before;  // what the k-th smallest has, and how many are smaller by it
    u32 warps[BLOCK / 32];
    u32 total;
};

// The digit of the k-th smallest (k from 0) by the histogram, by the first warp.
DEVICE void find_digit(SelectShared& shared, u32 k) {
    if (threadIdx.x < 32) {
        constexpr int EACH = BINS / 32;
        u32 mine = 0;
        for (int i = 0; i < EACH; i++) mine += shared.histogram[threadIdx.x * EACH + i];
        u32 up_to = mine;
        for (int i = 1; i < 32; i *= 2) {
            u32 other = __shfl_up_sync(FULL_WARP, up_to, i);
            if (threadIdx.x >= (u32)i) up_to += other;
        }
        u32 before = up_to - mine;
        if (before <= k && k < up_to) {
            int digit = threadIdx.x * EACH;
            while (before + shared.histogram[digit] <= k) before += shared.histogram[digit++];
            shared.digit = digit;
            shared.before = before;
        }
    }
    __syncthreads();
}

// The k-th smallest (k from 0, below `count`) of the values of so many bits that `value(i)` gives
// for those i that `among(i)` holds of. On return `k` counts among those equal to it.
template <class Value, class Among>
DEVICE u64 kth_smallest(SelectShared& shared, u32 count, u32& k, int bits, Value value, Among among) {
    u64 found = 0;
    for (int shift = bits - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        for (int i = threadIdx.x; i < BINS; i += BLOCK) shared.histogram[i] = 0;
        __syncthreads();
        for (u32 i = threadIdx.x; i < count; i += BLOCK) {
            if (!among(i)) continue;
            u64 one = value(i);
            if ((one >> shift >> DIGIT_BITS) == (found >> shift >> DIGIT_BITS)) {
                atomicAdd(&shared.histogram[one >> shift & (BINS - 1)], 1u);
            }
        }
        __syncthreads();
        find_digit(shared, k);
        found |= (u64)shared.digit << shift;
        k -= shared.before;
        __syncthreads();
    }
    return found;
}

// Move the pairs that `stays(i)` holds of to the front, in their order; returns how many.
template <class Stays>
DEVICE u32 compact(SelectShared& shared, u32 count, u64* keys, u64* uppers, u32* ids, Stays stays) {
    u32 kept = 0;
    for (u32 start = 0; start < count; start += BLOCK) {
        u32 i = start + threadIdx.x;
        bool keep = i < count && stays(i);
        u64 key = keep ? keys[i] : 0, upper = keep && uppers ? uppers[i] : 0;
        u32 id = keep ? ids[i] : 0;
        u32 votes = __ballot_sync(FULL_WARP, keep);
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        if (lane == 0) shared.warps[warp] = __popc(votes);
        __syncthreads();  // all have read what may now be written
        u32 place = kept;
        for (int w = 0; w < BLOCK / 32; w++) {
            if (w < warp) place += shared.warps[w];
            kept += shared.warps[w];
        }
        place += __popc(votes & ((1u << lane) - 1));
        if (keep) {
            keys[place] = key;
            ids[place] = id;
            if (uppers) uppers[place] = upper;
        }
        __syncthreads();
    }
    return kept;
}

// Sort pairs by (key, id): bitonic, of a power of two of pairs, in shared or global memory.
DEVICE void sort_pairs(u64* keys, u32* ids, u32 size) {
    for (u32 run = 2; run <= size; run *= 2) {
        for (u32 gap = run / 2; gap; gap /= 2) {
            for (u32 i = threadIdx.x; i < size / 2; i += BLOCK) {
                u32 low = 2 * i - (i & (gap - 1)), high = low + gap;
                bool ascends = (low & run) == 0;
                bool greater = keys[low] > keys[high] ||
                               (keys[low] == keys[high] && ids[low] > ids[high]);
                if (greater == ascends) {
                    u64 key = keys[low];
                    u32 id = ids[low];
                    keys[low] = keys[high], ids[low] = ids[high];
                    keys[high] = key, ids[high] = id;
                }
            }
            __syncthreads();
        }
    }
}
