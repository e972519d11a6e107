// What each block of a pipeline takes: tests/cuda/test_pipeline.py.
#include "pipeline.cuh"

template <int CLUSTER>
DEVICE void note_stretches(const Scan& scan, int tiles, u32* visits, u32* changes) {
    Stretch stretch;
    for (int number = 0; stretch_of<CLUSTER>(scan, number, stretch); number++) {
        changes[blockIdx.x]++;
        for (i64 tile = stretch.tile; tile < stretch.stop; tile += stretch.step) {
            i64 mine = tile + my_tile<CLUSTER>();
            if (mine >= scan.last) continue;  // the other block's was the last
            i64 at = stretch.first_query / WARPGROUP_SIDE_QUERIES * tiles;
            visits[(i64)blockIdx.x * tiles * ((scan.query_count - 1) / WARPGROUP_SIDE_QUERIES + 1) +
                   at + (mine - scan.first) / WGMMA_ROWS]++;
        }
    }
}

// visits (tiles of queries, tiles of rows), of a block each: one more for each tile that it takes; and
// how often its queries change.
KERNEL void stretches(ARGUMENT(Scan) scan, int tiles, int cluster, u32* visits, u32* changes) {
    if (threadIdx.x) return;
    if (cluster == 1) note_stretches<1>(scan, tiles, visits, changes);
    if (cluster == 2) note_stretches<2>(scan, tiles, visits, changes);
}
