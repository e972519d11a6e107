// Inner products and cosines, of 8-bit sketches and in float32 with a rounding bound: one kernel for
// both, since they differ in their bounds alone. Loaded by vsearch_fast/kernels/cuda/module.py.
#include "dot.cuh"
#include "stream.cuh"
#include "tensor.cuh"
#include "tile.cuh"

// The sine that belongs to a cosine, or the cosine to a sine.
DEVICE double sine_of(double cosine) {
    return __dsqrt_rn(__dmul_rn(__dsub_rn(1.0, cosine), __dadd_rn(1.0, cosine)));
}

// `product_bounds` of kernels/sketch_dot.py: bounds of a query and a row, of whose sketches this is
// the sum of products.
DEVICE DotBounds cosine_bounds(const Scan& scan, const double* terms, double dot, double dot_off,
                               const DotSize& sketched, double row_error) {
    double margin = cosine_margin(scan), most = 1.0, least = -1.0;
    double error = terms[DOT_ERROR], cos_error = terms[DOT_COSINE];
    double row_off = sketched.off / sketched.square;
    double row_size = __dmul_rn(scan.scale, __dsqrt_rn(sketched.square));
    double sine = __dmul_rn(row_error / row_size, __dadd_rn(1.0 + 0x1p-50, row_off));
    double sizes = __dmul_rn(terms[DOT_SIZE], row_size);
    double angle = dot / sizes;
    double angle_off = __dmul_rn(dot_off / sizes, 1.0 + 0x1p-20);
    double share = __dadd_rn(__dadd_rn(row_off, terms[DOT_OFF]), 0x1p-50);
    angle_off = __dadd_rn(angle_off, __dmul_rn(fabs(angle), share));
    if (sketched.square > __dmul_rn(DOT_CLEAR, sketched.off) && sine < 1.0 && error < 1.0 &&
        angle_off < infinite()) {
        double cos_row = sine_of(sine);
        double turned = __dadd_rn(__dmul_rn(error, cos_row), __dmul_rn(cos_error, sine));
        double kept = __dsub_rn(__dmul_rn(cos_error, cos_row), __dmul_rn(error, sine));
        double high = __dadd_rn(angle, angle_off), low = __dsub_rn(angle, angle_off);
        high = high > -1.0 ? high : -1.0;
        low = low < 1.0 ? low : 1.0;
        if (high < kept) most = __dadd_rn(__dmul_rn(high, kept), __dmul_rn(sine_of(high), turned));
        if (low > -kept) least = __dsub_rn(__dmul_rn(low, kept), __dmul_rn(sine_of(low), turned));
    }
    return DotBounds(__dsub_rn(__dsub_rn(1.0, most), margin),
                     __dadd_rn(__dsub_rn(1.0, least), margin));
}

DEVICE DotBounds product_bounds(const Scan& scan, int query, i64 row, u32 whole) {
    const double* terms = scan.query_errors + (i64)query * DOT_TERMS;
    double total = (double)scan.row_totals[row], row_error = scan.row_errors[row];
    double mixed = __dmul_rn(__dmul_rn(scan.lo, scan.scale), total);
    double product = __dmul_rn(__dmul_rn(scan.scale, scan.scale), (double)whole);
    double dot = __dadd_rn(__dadd_rn(terms[DOT_OWN], mixed), product);
    double dot_off = __dadd_rn(__dadd_rn(terms[DOT_OWN_SIZE], fabs(mixed)), product);
    dot_off = __dmul_rn(DOT_ROUNDED, dot_off);
    DotSize sketched(total, (double)scan.row_sums[row], scan.lo / scan.scale, (double)scan.numbers);
    if (scan.cosine) return cosine_bounds(scan, terms, dot, dot_off, sketched, row_error);
    double size = terms[DOT_SIZE];
    double row_size = __dmul_rn(scan.scale, __dsqrt_rn(__dadd_rn(sketched.square, sketched.off)));
    double reach = __dadd_rn(__dmul_rn(size, row_error), __dmul_rn(terms[DOT_ERROR], row_size));
    reach = __dadd_rn(reach, __dmul_rn(__dmul_rn(scan.gamma, size), __dadd_rn(row_size, row_error)));
    reach = __dadd_rn(__dmul_rn(reach, 1.0 + 0x1p-48), dot_off);
    dot = __dsub_rn(0.0, dot);
    return DotBounds(__dsub_rn(dot, reach), __dadd_rn(dot, reach));
}

// Bounds of what scans of sketches have listed behind the first `kept` pairs of each query.
SHAPE(bound_dots, BLOCK, 1, BLOCK, 0, 0, 2)
KERNEL void __launch_bounds__(BLOCK, 2) bound_dots(ARGUMENT(Scan) scan, const u32* kept) {
    int query = blockIdx.x;
    u32 count = scan.counts[query], capacity = (u32)scan.capacity;
    count = count < capacity ? count : capacity;
    for (u32 i = kept[query] + blockIdx.y * BLOCK + threadIdx.x; i < count; i += gridDim.y * BLOCK) {
        i64 at = (i64)query * capacity + i;
        DotBounds found = product_bounds(scan, query, scan.ids[at] - scan.base, (u32)scan.keys[at]);
        scan.keys[at] = signed_key(found.lower);
        scan.uppers[at] = signed_key(found.upper);
    }
}

STREAM_KERNEL(dot_sketches_stream_1, DOT_SKETCHES, 1)
STREAM_KERNEL(dot_sketches_stream_2, DOT_SKETCHES, 2)
STREAM_KERNEL(dot_sketches_stream_4, DOT_SKETCHES, 4)
STREAM_KERNEL(dot_floats_stream_1, DOT_FLOATS, 1)
STREAM_KERNEL(dot_floats_stream_2, DOT_FLOATS, 2)
TILE_KERNEL(dot_sketches_tile, DOT_SKETCHES, TILE_BLOCKS)
TILE_KERNEL(dot_floats_tile, DOT_FLOATS, ROOMY_BLOCKS)
#ifdef HAS_MMA_BYTES
WARP_KERNEL(dot_sketches_warp, DOT_SKETCHES, UNSIGNED_BYTES)
#endif
#ifdef HAS_WGMMA
WARPGROUP_KERNEL(dot_sketches_warpgroup, DOT_SKETCHES, UNSIGNED_BYTES, false)
#endif
