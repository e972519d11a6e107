// Inner products and cosines: which pairs stay, and their bounds. As decide.cuh for differences; the
// proofs are those of kernels/sketch_dot.py and kernels/refine_dot.py, and what a device adds to them
// is in README.md. Keys are signed (common.cuh).
#pragma once
#include "decide.cuh"

constexpr double DOT_SLACK = 0x1p-19;    // of each term of a quick test, beside a few roundings of 2**-24
constexpr double DOT_TINY = 1e-19;       // in squared steps: more than flushed terms lose
constexpr double DOT_FAR = 1e18;         // what is larger passes
constexpr double DOT_TILT = 0x1p-40;     // of a cosine and a sine: more than they are off by
constexpr double DOT_ROUNDED = 0x1p-50;  // of the sum of sizes of a sum of three
constexpr double DOT_CLEAR = 0x1p24;     // how many times its error a row's size must be
// Squared sizes between which float32 sums of products have a bound: they do not overflow, and lose
// next to nothing by what is subnormal.
constexpr double DOT_SMALLEST = 0x1p-160, DOT_LARGEST = 0x1p120;

DEVICE double infinite() { return double_of(0x7ff0000000000000ull); }
DEVICE float infinite_float() { return __uint_as_float(0x7f800000u); }
DEVICE float unknown() { return __uint_as_float(0x7fc00000u); }  // NaN: such a row passes each test

// Terms of a query that is sketched, as kernels/sketch_dot.py has them.
enum DotTerm { DOT_OWN, DOT_OWN_SIZE, DOT_SIZE, DOT_ERROR, DOT_COSINE, DOT_OFF, DOT_TERMS };
// Facts of a sketched row for quick tests, in steps: lo and its sum, its error, and its size for
// inner products and for cosines.
enum DotFact { DOT_FIRST, DOT_ROW_ERROR, DOT_IP_SIZE, DOT_COSINE_SIZE, DOT_FACTS };

// |x_hat|**2 in squared steps, and how far it is off at most; `ratio` is lo / step.
struct DotSize {
    double square, off;
    DEVICE DotSize(double total, double squares, double ratio, double numbers) {
        double own = __dmul_rn(__dmul_rn(numbers, ratio), ratio);
        double mixed = __dmul_rn(__dmul_rn(2.0, ratio), total);
        square = __dadd_rn(__dadd_rn(own, mixed), squares);
        off = __dmul_rn(DOT_ROUNDED, __dadd_rn(__dadd_rn(own, fabs(mixed)), squares));
    }
};

struct DotQuery {
    float alone, by_error, by_size;
};
struct DotRow {
    float alone, error, size;
};

// Products stand for themselves.
DEVICE u32 distance_of(const DotQuery&, const DotRow&, u32 product) { return product; }

struct DotBounds {
    double lower, upper;
    DEVICE DotBounds(double low, double high) : lower(low), upper(high) {
        if (!(low <= high)) lower = -infinite(), upper = infinite();
    }
};

// How far the cosine of the definition may be from the true one, and a little more.
DEVICE double cosine_margin(const Scan& scan) { return __dadd_rn(__dmul_rn(4.0, scan.gamma), 0x1p-46); }

template <>
struct Decide<DOT_SKETCHES> {
    typedef DotQuery Query;
    typedef DotRow Row;

    static DEVICE Query no_query() { return {-LARGEST_FLOAT, 0.0f, 0.0f}; }
    static DEVICE Row no_row() { return {-LARGEST_FLOAT, 0.0f, 0.0f}; }

    // `_aim` of kernels/sketch_dot.py.
    static DEVICE Query query(const Scan& scan, int number) {
        const Query everything = {infinite_float(), 0.0f, 0.0f};
        const double* terms = scan.query_errors + (i64)number * DOT_TERMS;
        double limit = of_signed_key(scan.limits[number]), inverse = 1.0 / scan.scale;
        double own = terms[DOT_OWN], own_size = terms[DOT_OWN_SIZE];
        double size = terms[DOT_SIZE], error = terms[DOT_ERROR], by_error, by_size;
        if (scan.cosine) {
            double reach = __dsub_rn(__dsub_rn(1.0, limit), cosine_margin(scan));
            if (!(reach > -1.0 && error < 1.0)) return everything;
            reach = reach < 1.0 ? reach : 1.0;
            double across = __dsqrt_rn(__dmul_rn(__dsub_rn(1.0, reach), __dadd_rn(1.0, reach)));
            double along =
                __dsub_rn(__dmul_rn(reach, terms[DOT_COSINE]), __dmul_rn(across, error));
            across = __dadd_rn(__dmul_rn(across, terms[DOT_COSINE]), __dmul_rn(reach, error));
            // Beyond the opposite direction nothing is excluded.
            if (reach < 0.0 && across <= 0.0) return everything;
            if (along < 0.0) across = 1.0;  // never stricter, and right beyond it, too
            by_error = __dmul_rn(__dmul_rn(__dmul_rn(size, inverse), __dadd_rn(across, DOT_TILT)),
                                 1.0 + DOT_SLACK);
            by_size = __dmul_rn(__dmul_rn(-size, inverse), __dsub_rn(along, DOT_TILT));
            by_size = __dadd_rn(by_size, __dmul_rn(DOT_SLACK, fabs(by_size)));
        } else {
            own = __dadd_rn(own, limit);
            own_size = __dadd_rn(own_size, fabs(limit));
            double rounded = __dmul_rn(scan.gamma, size);
            by_error = __dmul_rn(__dmul_rn(__dadd_rn(size, rounded), inverse), 1.0 + DOT_SLACK);
            by_size = __dmul_rn(__dmul_rn(__dadd_rn(error, rounded), inverse), 1.0 + DOT_SLACK);
        }
        own = __dadd_rn(own, __dmul_rn(DOT_SLACK, own_size));
        own = __dadd_rn(__dmul_rn(__dmul_rn(own, inverse), inverse), DOT_TINY);
        if (!(fabs(own) < DOT_FAR * DOT_FAR && by_error < DOT_FAR && fabs(by_size) < DOT_FAR)) {
            return everything;
        }
        return {(float)own, (float)by_error, (float)by_size};
    }

    static DEVICE Row row(const Scan& scan, i64 number) {
        const float* facts = scan.row_bounds + number * DOT_FACTS;
        return {facts[DOT_FIRST], facts[DOT_ROW_ERROR],
                facts[scan.cosine ? DOT_COSINE_SIZE : DOT_IP_SIZE]};
    }

    static DEVICE bool keeps(const Query& query, const Row& row, u32 product) {
        float reach = (float)product + (query.alone + row.alone);
        reach = fmaf(query.by_size, row.size, fmaf(query.by_error, row.error, reach));
        return !(reach < 0.0f);  // NaN stays
    }
    static DEVICE bool keeps_product(const Query& query, const Row& row, u32 product) {
        return keeps(query, row, product);
    }

    // Listed as it is: `bound_dots` makes bounds of it. They take more registers than tiles leave.
    static APART void list(const Scan& scan, int query, i64 position, u32 product) {
        list_here(scan, query, position, product);
    }
    static DEVICE void list_here(const Scan& scan, int query, i64 position, u32 product) {
        if (query >= scan.query_count || position >= scan.last) return;
        list_pair(scan, query, scan.row_at(position), product, 0);
    }
};

// Sums of float32: `query_errors` and `row_errors` are sums of squares as they are defined,
// `row_bounds` the rows' sizes, NaN of those that have no bound.
struct DotFloatQuery {
    float alone, by_size;
};
struct DotFloatRow {
    float size;
};

DEVICE bool dot_is_clear(double square) { return square >= DOT_SMALLEST && square <= DOT_LARGEST; }

template <>
struct Decide<DOT_FLOATS> {
    typedef DotFloatQuery Query;
    typedef DotFloatRow Row;

    static DEVICE Query no_query() { return {-LARGEST_FLOAT, 0.0f}; }
    static DEVICE Row no_row() { return {0.0f}; }

    static DEVICE Query query(const Scan& scan, int number) {
        const Query everything = {infinite_float(), 0.0f};
        double square = scan.query_errors[number], limit = of_signed_key(scan.limits[number]);
        if (!dot_is_clear(square)) return everything;
        double size = __dsqrt_rn(square), alone = scan.lost, by_size = scan.scale;
        if (scan.cosine) {
            double reach = __dsub_rn(__dsub_rn(1.0, limit), cosine_margin(scan));
            by_size = __dsub_rn(by_size, reach);
        } else {
            alone = __dadd_rn(__dadd_rn(alone, limit), __dmul_rn(DOT_SLACK, fabs(limit)));
        }
        by_size = __dmul_rn(by_size, size);
        by_size = __dadd_rn(by_size, __dmul_rn(DOT_SLACK, fabs(by_size)));
        // What would be flushed might exclude: more is never stricter.
        if (by_size > 0.0 && by_size < 0x1p-125) by_size = 0x1p-125;
        if (!(fabs(alone) < DOT_FAR * DOT_FAR && fabs(by_size) < DOT_FAR * DOT_FAR)) return everything;
        return {(float)alone, (float)by_size};
    }
    static DEVICE Row row(const Scan& scan, i64 number) { return {scan.row_bounds[number]}; }

    static DEVICE bool keeps(const Query& query, const Row& row, float dot) {
        return !(fmaf(query.by_size, row.size, dot + query.alone) < 0.0f);  // NaN stays
    }

    static APART void list(const Scan& scan, int query, i64 position, float sum) {
        if (query >= scan.query_count || position >= scan.last) return;
        i64 row = scan.row_at(position);
        double mine = scan.query_errors[query], square = scan.row_errors[row];
        double sizes = __dmul_rn(__dsqrt_rn(mine), __dsqrt_rn(square));
        bool bounded = dot_is_clear(mine) && dot_is_clear(square) && fabsf(sum) <= LARGEST_FLOAT;
        double dot = bounded ? widen(sum) : 0.0, lower, upper;
        if (!(square < infinite())) {  // NaN or infinity, which must come to light
            lower = -infinite(), upper = infinite();
        } else if (mine == 0.0 || square == 0.0) {
            lower = upper = scan.cosine ? 1.0 : 0.0;
        } else if (scan.cosine) {
            double margin = cosine_margin(scan);
            lower = -margin, upper = __dadd_rn(2.0, margin);
            if (bounded) {
                double off = __dadd_rn(scan.scale, __dmul_rn(2.0, scan.lost) / sizes);
                off = __dadd_rn(off, __dmul_rn(2.0, margin));
                double distance = __dsub_rn(1.0, dot / sizes);
                lower = __dsub_rn(distance, off), upper = __dadd_rn(distance, off);
            }
        } else {
            sizes = __dmul_rn(sizes, __dadd_rn(1.0 + 0x1p-40, __dmul_rn(8.0, scan.gamma)));
            double share = __dadd_rn(scan.scale, __dmul_rn(2.0, scan.gamma));
            double off = bounded ? __dadd_rn(__dmul_rn(sizes, share), scan.lost) : sizes;
            lower = __dsub_rn(-dot, off), upper = __dadd_rn(-dot, off);
        }
        list_pair(scan, query, row, signed_key(lower), signed_key(upper));
    }
};

template <>
struct Terms<DOT_SKETCHES> {
    typedef u32 Value;
    static DEVICE u32 add(const uint4& a, const uint4& b, u32 value) {
        return Terms<L2_SKETCHES>::add(a, b, value);
    }
    template <class Query, class Row>
    static DEVICE u32 distance(const Query&, const Row&, u32 value) {
        return value;
    }
    static DEVICE u32 sum_of_warp(u32 value) { return warp_sum(value); }
};

template <>
struct Terms<DOT_FLOATS> : FloatTerms<false> {
    static DEVICE float add(u32 a, u32 b, float value) {
        return fmaf(__uint_as_float(a), __uint_as_float(b), value);
    }
    static DEVICE float add(const uint4& a, const uint4& b, float value) {
        return add(a.w, b.w, add(a.z, b.z, add(a.y, b.y, add(a.x, b.x, value))));
    }
};
