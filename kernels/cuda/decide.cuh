// What is compared, and which pairs stay. The tests are quick and may let a pair too many pass,
// never one too few; `list` then writes the bounds as kernels/sketch.py proves them.
#pragma once
#include "common.cuh"

enum Kind { HAMMING, L1_SKETCHES, L2_SKETCHES, L1_FLOATS, L2_FLOATS, DOT_SKETCHES, DOT_FLOATS };

constexpr float LARGEST_FLOAT = 0x1.fffffep127f;

// From common bits or products to the distance: |a - b|**2 = a**2 + b**2 - 2 a b, modulo 2**32.
template <class Query, class Row>
DEVICE u32 distance_of(const Query& query, const Row& row, u32 product) {
    return query.sum + row.sum - 2 * product;
}

template <Kind KIND>
struct Decide {
    static constexpr bool FLOATS = KIND == L1_FLOATS || KIND == L2_FLOATS;
    static constexpr bool SKETCHES = KIND == L1_SKETCHES || KIND == L2_SKETCHES;
    static constexpr bool SQUARED = KIND == L2_SKETCHES || KIND == L2_FLOATS;

    // Of a query: distances from `limit` on are out (Hamming), or sums above `bound`. `room` is
    // what is left of the limit when the query's own bits are counted.
    struct Query {
        int limit;
        int room;
        float bound;
        u32 sum;
    };
    struct Row {
        float bound;
        u32 sum;
    };

    // Of a query and a row beyond the last: the quick tests need not ask for them. Where the tests
    // let such a pair pass nevertheless, `list` drops it.
    static DEVICE Query no_query() {
        return {0, -0x7fffffff, SQUARED && SKETCHES ? 0.0f : -LARGEST_FLOAT, 0x7fffffff};
    }
    static DEVICE Row no_row() { return {0.0f, 0x7fffffff}; }

    static DEVICE Query query(const Scan& scan, int number) {
        Query found = {0, 0, 0.0f, scan.query_sums ? scan.query_sums[number] : 0};
        u64 limit = scan.limits[number];
        if (KIND == HAMMING) {
            found.limit = (int)(limit < 0x7fffffff ? limit : 0x7fffffff);
            found.room = found.limit - (int)found.sum;
        } else {
            // Relative to the rounded distance, the true one is off by gamma.
            double most = __dmul_rn(double_of(limit), 1.0 + 8.0 * scan.gamma + 0x1p-40);
            if (SKETCHES) {
                most = __dadd_rn(most, scan.query_errors[number]) / scan.scale;
            } else {
                most = SQUARED ? __dmul_rn(most, most) : most;
                most = __dadd_rn(most, scan.lost) / (1.0 - scan.scale);
            }
            found.bound = as_float_up(most) * QUICK_MARGIN;
        }
        return found;
    }

    static DEVICE Row row(const Scan& scan, i64 number) {
        Row found = {0.0f, scan.row_sums ? scan.row_sums[number] : 0};
        if (SKETCHES) found.bound = scan.row_bounds[number];
        return found;
    }

    static DEVICE bool keeps(const Query& query, const Row& row, u32 distance) {
        if (KIND == HAMMING) return (int)distance < query.limit;
        float bound = query.bound + row.bound;
        return !((float)distance > (SQUARED ? bound * bound : bound));  // NaN stays
    }
    // Sums that overflow say nothing, and NaN must come to light: both stay.
    static DEVICE bool keeps(const Query& query, const Row&, float sum) {
        return !(sum > query.bound && sum <= LARGEST_FLOAT);
    }

    // The same by common bits or products of bytes.
    static DEVICE bool keeps_product(const Query& query, const Row& row, u32 product) {
        if (KIND == HAMMING) return (int)(row.sum - 2 * product) < query.room;
        return keeps(query, row, distance_of(query, row, product));
    }

    // Called, not inlined: few pairs come here, and hundreds of places ask.
    static APART void list(const Scan& scan, int query, i64 position, u32 distance) {
        list_here(scan, query, position, distance);
    }
    static DEVICE void list_here(const Scan& scan, int query, i64 position, u32 distance) {
        if (query >= scan.query_count || position >= scan.last) return;
        i64 row = scan.row_at(position);
        if (KIND == HAMMING) {
            list_pair(scan, query, row, distance, 0);
            return;
        }
        // `bounds` of kernels/sketch.py, with the same proof.
        double whole = SQUARED ? __dsqrt_rn((double)distance) : (double)distance;
        double sketched = __dmul_rn(scan.scale, whole);
        double errors = __dadd_rn(scan.query_errors[query], scan.row_errors[row]);
        double lower = __dsub_rn(__dmul_rn(sketched, 1.0 - 0x1p-50),
                                 __dmul_rn(errors, 1.0 + 0x1p-50));
        double upper = __dmul_rn(__dadd_rn(sketched, errors), 1.0 + 0x1p-49 + 2.0 * scan.gamma);
        lower = lower > 0.0 ? __dmul_rn(lower, 1.0 - 0x1p-50 - 2.0 * scan.gamma) : 0.0;
        list_pair(scan, query, row, bits_of(lower), bits_of(upper));
    }
    static APART void list(const Scan& scan, int query, i64 position, float sum) {
        if (query >= scan.query_count || position >= scan.last) return;
        double lower = 0.0, upper = double_of(0x7ff0000000000000ull);
        if (sum <= LARGEST_FLOAT) {
            double near = widen(sum);
            lower = __dsub_rn(__dmul_rn(near, 1.0 - scan.scale), scan.lost);
            upper = __dadd_rn(__dmul_rn(near, 1.0 + scan.scale), scan.lost);
            lower = lower > 0.0 ? lower : 0.0;
            if (SQUARED) lower = __dsqrt_rn(lower), upper = __dsqrt_rn(upper);
            double slack = 0x1p-48 + 2.0 * scan.gamma;
            lower = __dmul_rn(lower, 1.0 - slack), upper = __dmul_rn(upper, 1.0 + slack);
        }
        list_pair(scan, query, scan.row_at(position), bits_of(lower), bits_of(upper));
    }
};

// What 16 bytes of a query and of a row add to the value of their pair.
template <Kind KIND>
struct Terms {
    typedef u32 Value;
    static DEVICE u32 add(const uint4& a, const uint4& b, u32 value) {
        if (KIND == HAMMING) {
            return value + __popc(a.x ^ b.x) + __popc(a.y ^ b.y) + __popc(a.z ^ b.z) +
                   __popc(a.w ^ b.w);
        } else if (KIND == L1_SKETCHES) {
            value = absolute4(a.x, b.x, value), value = absolute4(a.y, b.y, value);
            return absolute4(a.w, b.w, absolute4(a.z, b.z, value));
        } else {
            value = product4(a.x, b.x, value), value = product4(a.y, b.y, value);
            return product4(a.w, b.w, product4(a.z, b.z, value));
        }
    }
    template <class Query, class Row>
    static DEVICE u32 distance(const Query& query, const Row& row, u32 value) {
        return KIND == L2_SKETCHES ? distance_of(query, row, value) : value;
    }
    static DEVICE u32 sum_of_warp(u32 value) { return warp_sum(value); }
};

template <bool SQUARED>
struct FloatTerms {
    typedef float Value;
    static DEVICE float add(u32 a, u32 b, float value) {
        float difference = __uint_as_float(a) - __uint_as_float(b);
        return SQUARED ? fmaf(difference, difference, value) : value + fabsf(difference);
    }
    static DEVICE float add(const uint4& a, const uint4& b, float value) {
        return add(a.w, b.w, add(a.z, b.z, add(a.y, b.y, add(a.x, b.x, value))));
    }
    template <class Query, class Row>
    static DEVICE float distance(const Query&, const Row&, float value) {
        return value;
    }
    static DEVICE float sum_of_warp(float value) {
        for (int i = 16; i; i /= 2) value += __shfl_xor_sync(FULL_WARP, value, i);
        return value;
    }
};
template <>
struct Terms<L1_FLOATS> : FloatTerms<false> {};
template <>
struct Terms<L2_FLOATS> : FloatTerms<true> {};
