"""Hopper's warpgroups in a pipeline: how blocks share out work, what order barriers keep."""

from __future__ import annotations

import ctypes
from pathlib import Path

import emulated
import numpy as np
import pytest
from emulated import TILES, EmulatedDevice
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.kernels import reference
from vsearch_fast.kernels.cuda import sources
from vsearch_fast.kernels.cuda.arguments import SCAN, Record
from vsearch_fast.search.gpu.lists import NO_LIMIT, Lists
from vsearch_fast.search.gpu.resident_rows import count_bits
from vsearch_fast.search.gpu.scans import Compared, scan

SMALL = TILES["small"]
QUERIES, ROWS = 64 * SMALL["WARPGROUPS"] * SMALL["WARPGROUP_M"], SMALL["WGMMA_ROWS"]
KERNELS = (
    "hamming_multicast_warpgroup", "hamming_pipelined_warpgroup",
    "hamming_pipelined_warpgroup_resident",
)  # fmt: skip


# How blocks share out work


@pytest.fixture(scope="module")
def stretches() -> ctypes.CDLL:
    text = Path(emulated.__file__).with_name("stretches.cu").read_text() + "\nEXPORT(stretches)\n"
    library = emulated.compiled("stretches", text, "", "small", ["HAS_WGMMA"])
    library.emulate_stretches.restype = ctypes.c_char_p
    return library


def shared_out(
    library: ctypes.CDLL, queries: int, first: int, last: int, blocks: int, cluster: int = 1
):
    """(visits of blocks, tiles of queries and tiles of rows; changes of queries by block)."""
    across, tiles = -(-queries // QUERIES), -(-(last - first) // ROWS)
    given = {"query_count": np.int32(queries), "first": np.int64(first), "last": np.int64(last)}
    fields = [given.get(name, None if kind.endswith("*") else 0) for kind, name in SCAN.fields]
    packed = np.zeros(1, SCAN.layout)
    for (_, name), value in zip(SCAN.fields, fields, strict=True):
        packed[name] = 0 if value is None else value
    assert Record(SCAN, fields).struct.layout == packed.dtype
    visits, changes = np.zeros((blocks, across, tiles), np.uint32), np.zeros(blocks, np.uint32)
    values = [
        (ctypes.c_char * packed.nbytes).from_buffer_copy(packed.tobytes()), ctypes.c_int(tiles),
        ctypes.c_int(cluster), ctypes.c_void_p(visits.ctypes.data),
        ctypes.c_void_p(changes.ctypes.data),
    ]  # fmt: skip
    pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
    trouble = library.emulate_stretches(
        ctypes.c_ulonglong(1),
        *map(ctypes.c_uint, (blocks, 1, 32, cluster)),
        ctypes.c_ulonglong(0),
        pointers,
    )
    assert not trouble, trouble
    return visits, changes


@settings(max_examples=200)
@given(
    st.integers(1, 9 * QUERIES), st.integers(0, 100), st.integers(1, 200 * ROWS),
    st.integers(1, 40), st.sampled_from([1, 2]),
)  # fmt: skip
def test_a_wave_of_blocks_takes_each_tile_once(stretches, queries, first, rows, places, cluster):
    across, tiles = -(-queries // QUERIES), -(-rows // ROWS)
    together = -(-tiles // cluster)  # tiles that a cluster takes at a time
    clusters = min(max(1, places // cluster), across * together)  # as scans._grid has it
    visits, changes = shared_out(
        stretches, queries, first, first + rows, clusters * cluster, cluster
    )
    assert (visits.sum(axis=0) == 1).all()
    # Nobody has much more to do than others: a tile for the rest of a division, and one for each
    # time that rows are left out at the end.
    work = visits.sum(axis=(1, 2))
    assert work.max() <= across * together / clusters + 2 + across / max(1, clusters % across)
    # Queries are exchanged seldom: but for blocks that take what others leave, never.
    assert (changes[: clusters // across * across * cluster] <= 1).all()
    # Blocks of a cluster begin and end together, whoever has the last tile.
    assert (changes.reshape(clusters, cluster) == changes[::cluster, None]).all()


def test_blocks_that_go_together_read_the_same_rows(stretches):
    """At the same time, so that rows come from memory once: 132 processors, 2,048 queries."""
    visits, _ = shared_out(stretches, 8 * QUERIES, 0, 1000 * ROWS, 132)
    together = visits[:128].reshape(16, 8, 8, 1000)
    for each in together:
        first = each[0, 0]
        assert all((each[query, query] == first).all() for query in range(8))
    work = visits.sum(axis=(1, 2))
    assert work.max() - work.min() <= 2


# That pairs are listed, whatever the order


def check(kernel: str, tiles: str, queries: int, rows: int, width: int, processors: int) -> None:
    """Exactly the Hamming distances below the limits."""
    rng = np.random.default_rng(rows)
    both = rng.integers(0, 256, (rows + queries, width), np.uint8)
    database, query = both[:rows], np.ascontiguousarray(both[rows:])
    true = np.array([reference.DISTANCE["hamming"](q, database) for q in query])
    limits = np.sort(true, axis=1)[:, rows // 4].astype(np.uint64)
    limits[::3] = NO_LIMIT
    device = EmulatedDevice((9, 0), tiles)
    device.processors = processors
    lists = Lists(device, queries, 1, rows + 1, bounded=False)
    device.write(lists.limits, limits)
    there, asked = Compared(device.upload(database)), Compared(device.upload(query))
    there.sums, asked.sums = (count_bits(device, one.rows) for one in (there, asked))
    scan(
        device, "hamming", asked, there, None, 0, rows, 0, lists, 0.0, 0.0, 0.0, kernel
    )  # fmt: skip
    counts, keys, _, ids = lists.listed()
    for q, n in enumerate(counts):
        want = [(int(key), r) for r, key in enumerate(true[q]) if key < limits[q]]
        found = sorted(zip(keys[q, :n].tolist(), ids[q, :n].tolist(), strict=True))
        assert found == sorted(want)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("processors", [1, 2, 4, 7])
def test_several_tiles_of_queries(kernel, processors):
    """More than a wave of blocks has, as many, and with a rest: queries are exchanged meanwhile."""
    for queries, rows, width in ((3 * QUERIES - 5, 5 * ROWS + 3, 400), (QUERIES + 1, 90, 48)):
        check(kernel, "small", queries, rows, width, processors)


def check_many(kernels: tuple[str, ...] = KERNELS) -> None:
    """Orders by ten seeds; rows of one chunk, and of more than the ring of stages has."""
    for kernel in kernels:
        for rows in range(70, 90, 2):
            for width in (64, 400):
                check(kernel, "odd", 300, rows, width, 1)


@pytest.mark.full
def test_many_orders():
    check_many()


#: Of a cluster: the same, by the kernel of pairs of blocks.
MUTATIONS_OF_CLUSTERS = {
    "fills what the other has not used": ("4 * WARPGROUPS * CLUSTER", "4 * WARPGROUPS"),
    "frees for itself alone": (
        "if (threadIdx.x % 32 < CLUSTER) mbarrier_arrive_in(empty, threadIdx.x % 32);",
        "if (threadIdx.x % 32 == 0) mbarrier_arrive(empty);",
    ),
    "one thread frees for its warp": (
        "    __syncwarp();\n    if (threadIdx.x % 32 < CLUSTER)",
        "    if (threadIdx.x % 32 < CLUSTER)",
    ),
    "sends to itself alone": ("(1 << CLUSTER) - 1, target", "1 << block_of_cluster(), target"),
    "sends the first share only": ("block_of_cluster() * SHARE", "0 * SHARE"),
    "expects its own share": (
        "mbarrier_expect(full, WARPGROUP_QUERY_CHUNK)", "mbarrier_expect(full, SHARE)",
    ),
    "sends another chunk": ("WARPGROUP_SIDE_QUERIES, chunk,", "WARPGROUP_SIDE_QUERIES, 0,"),
    "takes the other's rows": ("(int)block_of_cluster() * WGMMA_ROWS", "0 * WGMMA_ROWS"),
    "barriers without a fence": ("if (CLUSTER > 1) mbarriers_initialised();", ""),
    "begins alone": ("CLUSTER > 1 ? cluster_meets() : __syncthreads();", "__syncthreads();"),
    "ends before the other": ("    if (CLUSTER > 1) cluster_meets();\n", ""),
}  # fmt: skip

#: Lines of pipeline.cuh without which barriers no longer keep the order, and what each becomes.
MUTATIONS = {
    "fills what is not free": ("mbarrier_wait(&shared.empty[ring.place], ring.parity ^ 1);", ""),
    "fills too early": ("shared.empty[ring.place], ring.parity ^ 1", "shared.empty[ring.place], 1"),
    "says full at once": (
        "mbarrier_arrive_with_copies(&shared.full", "mbarrier_arrive(&shared.full",
    ),
    "multiplies what is not full": ("mbarrier_wait(&shared.full[ring.place], ring.parity);", ""),
    "waits by the wrong parity": (
        "mbarrier_wait(&shared.full[ring.place], ring.parity)",
        "mbarrier_wait(&shared.full[ring.place], ring.parity ^ 1)",
    ),
    "sets no fence": ("warpgroup_sees_shared();", ""),
    "frees a stage under way": ("warpgroup_wait<1>();", ""),
    "frees the stage of now": (
        "warp_frees<CLUSTER>(&shared.empty[before]);\n                }",
        "warp_frees<CLUSTER>(&shared.empty[ring.place]);\n                }",
    ),
    "one thread frees for its warp": (
        "    __syncwarp();\n    if (threadIdx.x % 32 == 0)", "    if (threadIdx.x % 32 == 0)",
    ),
    "tests what is under way": ("warpgroup_wait<0>();", ""),
}  # fmt: skip


CASES = [
    *(("pipelined", *one) for one in MUTATIONS.items()),
    *(("multicast", *one) for one in MUTATIONS_OF_CLUSTERS.items()),
]


def test_the_kernels_page_says_how_many():
    page = (sources.FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{len(CASES)} wrong lines of" in page


@pytest.mark.full
@pytest.mark.parametrize(
    ("unit", "mutation", "lines"), CASES, ids=[f"{unit} {mutation}" for unit, mutation, _ in CASES]
)
def test_a_pipeline_with_one_wrong_line_is_noticed(monkeypatch, tmp_path, unit, mutation, lines):
    old, new = lines
    text = (sources.FOLDER / "pipeline.cuh").read_text()
    assert text.count(old) == 1
    for file in sources.FOLDER.glob("*.cu*"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "pipeline.cuh").write_text(text.replace(old, new))
    names = sources.kernels_of(unit, (9, 0))
    whole = sources.source(unit) + "".join(f"EXPORT({name})\n" for name in names)
    kept = emulated._library
    # A folder of its own, whose name is none of what the library is kept by.
    monkeypatch.setattr(sources, "FOLDER", tmp_path)
    mutant = emulated.compiled("mutant", whole, text.replace(old, new), "odd", ["HAS_WGMMA"])
    Path(mutant._name).unlink()  # what is loaded stays; the file is of no use to anybody
    monkeypatch.undo()
    monkeypatch.setattr(emulated, "_library", lambda u, *of: mutant if u == unit else kept(u, *of))
    with pytest.raises(AssertionError):
        check_many(tuple(name for name in KERNELS if name in names))
