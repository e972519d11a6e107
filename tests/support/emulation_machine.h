// The machine's instructions by their definitions: part of emulation.h, which says how they run.
#pragma once

namespace emulation {

inline u64 exchange(u64 value, u32 from) {
    Warp& warp = my_warp();
    warp.slots[lane()] = value;
    sync_warp();
    u64 other = warp.slots[from];
    sync_warp();
    return other;
}

template <class T>
T exchange_as(T value, u32 from) {
    u64 bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = exchange(bits, from);
    memcpy(&value, &bits, sizeof value);
    return value;
}

// The product of 32 bytes, by its definition.
inline u32 product_of(Product product, const u8* a, const u8* b) {
    u32 sum = 0;
    for (int i = 0; i < 32; i++) {
        sum += product == COMMON_BITS ? __builtin_popcount(a[i] & b[i]) : (u32)a[i] * b[i];
    }
    return sum;
}

// Where the hardware finds byte `at` (from shared memory's start) under the 128-byte swizzle.
inline const u8* unswizzled(const u8* pointer) {
    u64 at = pointer - shared;
    return shared + (at ^ ((at >> 7 & 7) << 4));
}

inline void check_aligned(const void* pointer, u64 to, const char* what) {
    if ((u64)pointer % to) report(std::string(what) + " is not aligned");
}

// What a thread writes to shared memory by itself, tensor cores see after its fence.
inline void note_written(const void* target, u32 thread) {
    u32 piece = piece_of(target);
    unfenced_by[piece] = thread + 1;
    threads[thread].unfenced.push_back(piece);
}

inline void Copy::make() {
    if (made) return;
    made = true;
    Unwatched now;
    if (wanted) {
        memcpy(target, source, 16);
    } else {
        memset(target, 0, 16);
    }
    note_written(target, thread);
}

inline void Copy::waited() { has_landed(piece_of(target), thread); }

// Rows of a product's two sides that a thread reads for its i-th sum.
inline int row_of(u32 thread, int i) {
    return thread % block_size.x % 128 / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
}
inline int column_of(u32 thread, int i) { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

// The pieces of shared memory that a thread reads for a product.
template <class Visit>
void pieces_of(const WarpgroupProduct& one, Visit visit) {
    for (int i = 0; i < WGMMA_ROWS / 2; i++) {
        for (int byte = 0; byte < 32; byte += 16) {
            visit(piece_of(unswizzled(one.a + row_of(one.thread, i) * 128 + byte)));
            visit(piece_of(unswizzled(one.b + column_of(one.thread, i) * 128 + byte)));
        }
    }
}
inline void WarpgroupProduct::waited() {
    if (!tracked) return;
    pieces_of(*this, [&](u32 piece) { has_been_read(piece, thread); });
}

// A thread's part of a product.
inline void WarpgroupProduct::make() {
    if (made) return;
    made = true;
    Unwatched now;
    for (int i = 0; i < WGMMA_ROWS / 2; i++) {
        int row = row_of(thread, i), column = column_of(thread, i);
        u8 left[32], right[32];
        for (int byte = 0; byte < 32; byte++) {
            const u8* from_a = unswizzled(a + row * 128 + byte);
            const u8* from_b = unswizzled(b + column * 128 + byte);
            for (const u8* from : {from_a, from_b}) {
                u32 piece = piece_of(from);
                if (byte % 16 == 0 && unfenced_by[piece] && !fence_covers(piece, thread)) {
                    report("a product reads what was written without a fence");
                }
            }
            left[byte] = *from_a, right[byte] = *from_b;
        }
        u32 found = product_of(product, left, right);
        sums[i] = adds ? sums[i] + found : found;
    }
}

}  // namespace emulation


#define threadIdx (emulation::me().index)
#define blockIdx (emulation::my_block().index)
#define blockDim emulation::block_size
#define gridDim emulation::grid_size

inline void __syncthreads() { emulation::sync_block(); }
inline void __syncwarp() { emulation::sync_warp(true); }
template <class T>
T __shfl_xor_sync(u32, T value, int mask) {
    return emulation::exchange_as(value, emulation::lane() ^ mask);
}
template <class T>
T __shfl_down_sync(u32, T value, int by) {
    u32 from = emulation::lane() + by;
    return emulation::exchange_as(value, from < 32 ? from : emulation::lane());
}
template <class T>
T __shfl_up_sync(u32, T value, int by) {
    u32 lane = emulation::lane();
    return emulation::exchange_as(value, lane >= (u32)by ? lane - by : lane);
}
inline u32 __ballot_sync(u32, bool vote) {
    emulation::Warp& warp = emulation::my_warp();
    warp.slots[emulation::lane()] = vote;
    emulation::sync_warp();
    u32 votes = 0;
    for (int i = 0; i < 32; i++) votes |= (u32)(warp.slots[i] != 0) << i;
    emulation::sync_warp();
    return votes;
}

inline u32 atomicAdd(u32* target, u32 value) {
    emulation::Atomically now;
    return std::exchange(*target, *target + value);
}
inline u64 atomicAdd(u64* target, u64 value) {
    emulation::Atomically now;
    return std::exchange(*target, *target + value);
}
inline u32 atomicMax(u32* target, u32 value) {
    emulation::Atomically now;
    return std::exchange(*target, *target > value ? *target : value);
}
inline u32 atomicMin(u32* target, u32 value) {
    emulation::Atomically now;
    return std::exchange(*target, *target < value ? *target : value);
}

inline int __ffs(u32 x) { return __builtin_ffs((int)x); }
inline int __popc(u32 x) { return __builtin_popcount(x); }
inline float __uint_as_float(u32 x) {
    float value;
    memcpy(&value, &x, 4);
    return value;
}
// volatile: the compiler must not fuse two of these into one rounding.
inline double __dadd_rn(double a, double b) {
    volatile double sum = a + b;
    return sum;
}
inline double __dsub_rn(double a, double b) { return __dadd_rn(a, -b); }
inline double __dmul_rn(double a, double b) {
    volatile double product = a * b;
    return product;
}
inline double __dsqrt_rn(double a) { return std::sqrt(a); }

DEVICE u8* shared_memory() { return emulation::my_block().shared; }
DEVICE u64 bits_of(double x) {
    u64 bits;
    memcpy(&bits, &x, 8);
    return bits;
}
DEVICE double double_of(u64 bits) {
    double x;
    memcpy(&x, &bits, 8);
    return x;
}
// Without the conversion that flushes.
DEVICE double widen(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    u64 sign = (u64)(bits >> 31) << 63;
    int exponent = bits >> 23 & 255;
    double size = exponent == 255 ? (bits & 0x7fffff ? NAN : INFINITY)
                  : exponent      ? std::ldexp((double)((bits & 0x7fffff) | 0x800000), exponent - 150)
                                  : std::ldexp((double)(bits & 0x7fffff), -149);
    return double_of(bits_of(size) | sign);
}
DEVICE float widen_half(unsigned short bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                 : exponent     ? std::ldexp((float)(fraction | 1024), exponent - 25)
                                : std::ldexp((float)fraction, -24);
    return bits >> 15 ? -size : size;
}
DEVICE float as_float_up(double x) {
    float value = (float)x;
    return (double)value < x ? std::nextafterf(value, INFINITY) : value;
}
DEVICE u32 absolute4(u32 a, u32 b, u32 sum) {
    for (int i = 0; i < 32; i += 8) sum += std::abs((int)(a >> i & 255) - (int)(b >> i & 255));
    return sum;
}
DEVICE u32 product4(u32 a, u32 b, u32 sum) {
    for (int i = 0; i < 32; i += 8) sum += (a >> i & 255) * (b >> i & 255);
    return sum;
}
DEVICE u32 apart4(u32 a, u32 b) {
    u32 apart = 0;
    for (int i = 0; i < 32; i += 8) {
        apart |= (u32)std::abs((int)(a >> i & 255) - (int)(b >> i & 255)) << i;
    }
    return apart;
}
DEVICE u32 product2(u32 a, u32 b, u32 sum) {
    for (int i = 0; i < 2; i++) sum += (u32)((int)(short)(a >> 16 * i) * (int)(b >> 8 * i & 255));
    return sum;
}
DEVICE u32 warp_sum(u32 value) {
    for (int i = 16; i; i /= 2) value += __shfl_xor_sync(FULL_WARP, value, i);
    return value;
}
DEVICE uint4 load_once(const uint4* pointer) { return *pointer; }

DEVICE void copy16(void* target, const void* source, bool wanted) {
    emulation::check_aligned(target, 16, "the target of a copy");
    if (wanted) emulation::check_aligned(source, 16, "the source of a copy");
    emulation::begins_to_land(emulation::piece_of(target), emulation::current);
    emulation::Copy copy = {target, source, wanted, emulation::current};
    if (emulation::due(emulation::copy_moment)) copy.make();
    emulation::me().copies.open.push_back(copy);
}
DEVICE void copies_end() { emulation::me().copies.close(); }
template <int LEFT>
DEVICE void copies_wait() {
    emulation::me().copies.wait(LEFT);
}

DEVICE void load_matrices(u32 (&words)[4], const void* row) {
    emulation::check_aligned(row, 16, "a row of a matrix");
    for (int i = 0; i < 4; i++) {
        u64 from = emulation::exchange((u64)row, 8 * i + emulation::lane() / 4);
        memcpy(&words[i], (const u8*)from + emulation::lane() % 4 * 4, 4);
    }
    emulation::sync_warp();
}

template <Product PRODUCT>
DEVICE void warp_product(u32 (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    auto& words = emulation::my_warp().words;
    u32* mine = words[emulation::lane()];
    for (int i = 0; i < 4; i++) mine[i] = a[i];
    mine[4] = b0, mine[5] = b1;
    emulation::sync_warp();
    int g = emulation::lane() / 4, t = emulation::lane() % 4;
    for (int i = 0; i < 4; i++) {
        int row = g + i / 2 * 8, column = 2 * t + i % 2;
        u32 left[8], right[8];  // 32 bytes of a row of A and of B
        for (int word = 0; word < 8; word++) {
            left[word] = words[row % 8 * 4 + word % 4][row / 8 + word / 4 * 2];
            right[word] = words[column * 4 + word % 4][4 + word / 4];
        }
        sums[i] += emulation::product_of(PRODUCT, (u8*)left, (u8*)right);
    }
    emulation::sync_warp();
}

DEVICE void warpgroup_sees_shared() {
    for (u32 piece : emulation::me().unfenced) {
        u32& writer = emulation::unfenced_by[piece];
        if (writer == emulation::current + 1) writer = 0;
    }
    emulation::me().unfenced.clear();
    if (emulation::tracked) {
        emulation::fenced[emulation::current] = emulation::clocks[emulation::current];
    }
}
DEVICE void warpgroup_begin() {}
DEVICE void warpgroup_end() { emulation::me().products.close(); }
template <int SIZE>
DEVICE void warpgroup_holds(u32 (&)[SIZE]) {}

template <Product PRODUCT, int SIZE>
DEVICE void warpgroup_product(u32 (&sums)[SIZE], const u8* a, const u8* b, bool adds) {
    static_assert(SIZE == WGMMA_ROWS / 2, "registers of one product");
    emulation::WarpgroupProduct one = {sums, a, b, adds, PRODUCT, emulation::current};
    if (emulation::tracked) {
        emulation::pieces_of(one, [](u32 piece) { emulation::is_read(piece, emulation::current); });
    }
    auto& products = emulation::me().products;
    bool all_made = (products.open.empty() || products.open.back().made) &&
                    (products.closed.empty() || products.closed.back().empty() ||
                     products.closed.back().back().made);
    if (all_made && emulation::due(emulation::product_moment)) one.make();
    products.open.push_back(one);
}

template <int LEFT>
DEVICE void warpgroup_wait() {
    emulation::me().products.wait(LEFT);
}
