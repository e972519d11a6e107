// What the kernels ask of the machine, and nothing else: every line of inline PTX of the project.
//
// Included by common.cuh. Tests include an emulation of the same names instead
// (tests/support/emulation.h), and so run the kernels' own code on a processor.
#pragma once

#define KERNEL extern "C" __global__
#define DEVICE __device__ __forceinline__
// A function that is called: code that is seldom needed lies apart from code that is.
#define APART __device__ __noinline__
// A condition that holds seldom: what it guards lies apart.
#define SELDOM(condition) __builtin_expect(condition, false)
// A struct as a kernel's parameter, where it is: a reference to it costs no copy.
#define ARGUMENT(type) const __grid_constant__ type
// What the launcher must know of a scan: threads of a block, queries and rows of a tile, bytes of
// shared memory beside so many for each byte of a row's width, blocks that a processor has
// registers for, as `__launch_bounds__` has them, and blocks of a cluster.
#define SHAPE(name, threads, queries, rows, shared, shared_a_byte, blocks) \
    SHAPE_IN_CLUSTERS(name, threads, queries, rows, shared, shared_a_byte, blocks, 1)
#define SHAPE_IN_CLUSTERS(name, threads, queries, rows, shared, shared_a_byte, blocks, cluster) \
    extern "C" __constant__ int name##_shape[7] = {                                             \
        threads, queries, rows, (int)(shared), shared_a_byte, blocks, cluster};
// Blocks of a kernel that run at the same time and reach each other's shared memory.
#define CLUSTERS_OF(blocks) __cluster_dims__(blocks, 1, 1)
#define FULL_WARP 0xffffffffu

// Dynamic shared memory, on a border that 128-byte swizzling needs.
DEVICE u8* shared_memory() {
    extern __shared__ __align__(1024) u8 dynamic_shared[];
    return dynamic_shared;
}

DEVICE u32 shared_address(const void* pointer) { return (u32)__cvta_generic_to_shared(pointer); }

// Exact. `(double)x` would do, but for CuPy's -ftz=true, by which it flushes subnormal numbers.
DEVICE double widen(float x) {
    double wide;
    asm("cvt.f64.f32 %0, %1;" : "=d"(wide) : "f"(x));
    return wide;
}

// IEEE half, as its bits, to float: exact.
DEVICE float widen_half(unsigned short bits) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(bits));
    return wide;
}

DEVICE float as_float_up(double x) { return __double2float_ru(x); }
DEVICE u64 bits_of(double x) { return (u64)__double_as_longlong(x); }
DEVICE double double_of(u64 bits) { return __longlong_as_double((i64)bits); }

// sum + |a.0 - b.0| + ... + |a.3 - b.3| over four unsigned bytes: one VABSDIFF4 instruction.
DEVICE u32 absolute4(u32 a, u32 b, u32 sum) {
    u32 total;
    asm("vabsdiff4.u32.u32.u32.add %0, %1, %2, %3;" : "=r"(total) : "r"(a), "r"(b), "r"(sum));
    return total;
}

// sum + a.0 * b.0 + ... + a.3 * b.3 over four unsigned bytes.
DEVICE u32 product4(u32 a, u32 b, u32 sum) {
#if __CUDA_ARCH__ >= 610
    return __dp4a(a, b, sum);
#else
    for (int i = 0; i < 32; i += 8) sum += (a >> i & 255) * (b >> i & 255);
    return sum;
#endif
}

// |a.0 - b.0|, ..., |a.3 - b.3| of unsigned bytes.
DEVICE u32 apart4(u32 a, u32 b) { return __vabsdiffu4(a, b); }

// sum + a.0 * b.0 + a.1 * b.1 over signed halves of a and the two lower unsigned bytes of b.
DEVICE u32 product2(u32 a, u32 b, u32 sum) {
    u32 total;
    asm("dp2a.lo.s32.u32 %0, %1, %2, %3;" : "=r"(total) : "r"(a), "r"(b), "r"(sum));
    return total;
}

DEVICE u32 warp_sum(u32 value) {
#if __CUDA_ARCH__ >= 800
    return __reduce_add_sync(FULL_WARP, value);
#else
    for (int i = 16; i; i /= 2) value += __shfl_xor_sync(FULL_WARP, value, i);
    return value;
#endif
}

// Loads that pass by, since each row is read once.
DEVICE uint4 load_once(const uint4* pointer) { return __ldcs(pointer); }

// Copy 16 bytes from global to shared memory, or write 16 zeros where `wanted` is false.
DEVICE void copy16(void* target, const void* source, bool wanted) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(target)), "l"(source), "r"(wanted ? 16 : 0)
                 : "memory");
#else
    *(uint4*)target = wanted ? *(const uint4*)source : make_uint4(0, 0, 0, 0);
#endif
}

// Close a group of copies; wait until at most LEFT groups of this thread are under way.
DEVICE void copies_end() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int LEFT>
DEVICE void copies_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

// Four 8 x 16-byte matrices, whose rows the lanes point to: lanes 0-7 to the rows of the first,
// and so on. Lane l gets word l % 4 of row l / 4 of each.
DEVICE void load_matrices(u32 (&words)[4], const void* row) {
#if __CUDA_ARCH__ >= 750
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(shared_address(row))
                 : "memory");
#endif
}

// sums += A B of a 16 x 32-byte A and an 8 x 32-byte B, by a warp. Lane l = 4 g + t holds words
// (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4) of A, (g, t), (g, t + 4) of B, and sums
// (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1).
enum Product { COMMON_BITS, UNSIGNED_BYTES };

template <Product PRODUCT>
DEVICE void warp_product(u32 (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if __CUDA_ARCH__ >= 800
    if (PRODUCT == COMMON_BITS) {
        asm volatile("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    } else {
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 "
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
#endif
}

// Hopper's warpgroup products: 64 x 32 bytes of A, WGMMA_ROWS x 32 bytes of B, both in shared
// memory as rows of 128 bytes whose 16-byte pieces are swizzled (`swizzled` in tensor.cuh).
// Needs code for exactly sm_90a.
#ifdef HAS_WGMMA

// Writes to shared memory by this thread become visible to the tensor cores' reads. Without the
// state space, the fence would be one of all memory, for the whole device.
DEVICE void warpgroup_sees_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
DEVICE void warpgroup_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void warpgroup_end() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT>
DEVICE void warpgroup_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

// The tensor cores write these registers until the group is waited for: the compiler must
// neither move nor copy them meanwhile.
DEVICE void warpgroup_holds(u32 (&sums)[64]) {
#pragma unroll
    for (int i = 0; i < 64; i++) asm volatile("" : "+r"(sums[i])::"memory");
}

// mbarriers: each counts the arrivals of a phase, and when all have come the next phase begins. What
// a thread has done before it arrives is known to those who waited for the phase.
DEVICE void mbarrier_init(u64* barrier, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
                 : "memory");
}
DEVICE void mbarrier_arrive(u64* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}
// Arrive when the copies that this thread has begun are there; the thread goes on.
DEVICE void mbarrier_arrive_with_copies(u64* barrier) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(
                     shared_address(barrier))
                 : "memory");
}
// Nanoseconds, of the whole device.
DEVICE u64 nanoseconds() {
    u64 now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
}
DEVICE bool mbarrier_test(u64* barrier, u32 parity) {
    u32 complete;
    asm volatile("{\n.reg .pred complete;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 complete, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, complete;\n}"
                 : "=r"(complete)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
    return complete;
}
// Wait for the phase of this parity, that under way or the one before it: 0 is that of the first. Of
// a barrier at its first phase, the one before counts as complete. The hardware lets a thread sleep
// at each try. A kernel that waits for a minute waits for ever: it ends with an error.
DEVICE void mbarrier_wait(u64* barrier, u32 parity) {
    if (mbarrier_test(barrier, parity)) return;
    u64 start = nanoseconds();
    while (!mbarrier_test(barrier, parity)) {
        if (SELDOM(nanoseconds() - start > 60000000000ull)) __trap();
    }
}

// Clusters: blocks that run at the same time, each of which reaches the others' shared memory.
// The number of this block in its cluster, from 0 on.
DEVICE u32 block_of_cluster() {
    u32 number;
    asm("mov.u32 %0, %cluster_ctarank;" : "=r"(number));
    return number;
}
// All threads of the cluster's blocks meet. What they wrote before is not passed on but by fences of
// their own: a barrier that released it would wait for the memory of the whole device.
DEVICE void cluster_meets() {
    asm volatile("barrier.cluster.arrive.relaxed;\nbarrier.cluster.wait;" ::: "memory");
}
// mbarriers that this thread has initialised are so for those that meet it next in the cluster, and for
// copies in bulk.
DEVICE void mbarriers_initialised() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// Arrive at the mbarrier that lies in a block of the cluster where `barrier` lies in this one. What was
// read before has been read. Of what was written other blocks learn nothing: to release it to the
// cluster compiles to a wait for the memory of the whole device.
DEVICE void mbarrier_arrive_in(u64* barrier, u32 block) {
    asm volatile("{\n.reg .b32 there;\n"
                 "mapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(
                     shared_address(barrier)),
                 "r"(block)
                 : "memory");
}
// The phase under way is complete when so many bytes more have come, too. No arrival.
DEVICE void mbarrier_expect(u64* barrier, u32 bytes) {
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(
                     shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}
// Copy from global memory to the same place in the shared memory of each block of the cluster whose
// bit is set in `blocks`. There the mbarrier at the place of `barrier` counts the bytes.
DEVICE void bulk_copy_to(u32 blocks, void* target, const void* source, u32 bytes, u64* barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1], %2, [%3], %4;" ::"r"(shared_address(target)),
                 "l"(source), "r"(bytes), "r"(shared_address(barrier)), "h"((unsigned short)blocks)
                 : "memory");
}

// A barrier of its own, `id` from 1 on, for so many threads of the block.
template <int THREADS>
DEVICE void some_meet(int id) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "n"(THREADS) : "memory");
}

// Registers of each thread of a warpgroup, which passes some to others, or takes what was passed.
template <int REGISTERS>
DEVICE void registers_given_up() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS>
DEVICE void registers_taken() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// Where a matrix of 128-byte rows lies: address / 16, groups of 8 rows 1024 bytes apart, and
// the 128-byte swizzle. (PTX ISA, matrix descriptor of wgmma.)
DEVICE u64 matrix_descriptor(const void* pointer) {
    return (u64)((shared_address(pointer) & 0x3ffff) >> 4) | (u64)1 << 16 | (u64)(1024 >> 4) << 32 |
           (u64)1 << 62;
}

#define EIGHT(o, i) o(i), o(i + 1), o(i + 2), o(i + 3), o(i + 4), o(i + 5), o(i + 6), o(i + 7)
#define SUM(i) "+r"(sums[i])
#define WARPGROUP_PRODUCT(shape_and_types)                                                     \
    asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, %66, 0;\n"                            \
                 "wgmma.mma_async.sync.aligned." shape_and_types " "                           \
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "     \
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, " \
                 "%31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, " \
                 "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, " \
                 "%61, %62, %63}, %64, %65, adds;\n}\n"                                        \
                 : EIGHT(SUM, 0), EIGHT(SUM, 8), EIGHT(SUM, 16), EIGHT(SUM, 24),               \
                   EIGHT(SUM, 32), EIGHT(SUM, 40), EIGHT(SUM, 48), EIGHT(SUM, 56)              \
                 : "l"(matrix_descriptor(a)), "l"(matrix_descriptor(b)), "r"((int)adds))

// sums = A B, or sums += A B where `adds`. Of thread 32 w + 4 g + t, sums[4 j + 2 h + i] is that
// of row 16 w + g + 8 h of A and row 8 j + 2 t + i of B.
template <Product PRODUCT>
DEVICE void warpgroup_product(u32 (&sums)[64], const u8* a, const u8* b, bool adds) {
    if (PRODUCT == COMMON_BITS) {
        WARPGROUP_PRODUCT("m64n128k256.s32.b1.b1.and.popc");
    } else {
        WARPGROUP_PRODUCT("m64n128k32.s32.u8.u8");
    }
}
#undef SUM
#undef EIGHT
#undef WARPGROUP_PRODUCT
#endif
