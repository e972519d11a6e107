"""Plain loads and stores of kernels, by the clocks of their threads: nothing that only luck orders.

The compiler tells the emulation of each (`tests/support/emulation_watch.h`). What is found does not
depend on who came first.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import emulated
import numpy as np
import pytest
from contract_data import DEVICE_METRICS, FLOAT_METRICS, assert_same
from emulated import TILES, EmulatedDevice
from reduced_data import BOTH, cut, near_a_plane

from vsearch_fast import Resident
from vsearch_fast.kernels import reference
from vsearch_fast.search import pack_bits, range_search, tiling, topk
from vsearch_fast.search.gpu.lists import ByReductions, Lists
from vsearch_fast.search.tiling import Tiling

SOURCE = Path(emulated.__file__).with_name("plain_stores.cu")
#: Every order of threads and every moment of copies comes up.
SEEDS = range(24)

#: By mistake of plain_stores.cu, in its order: what is reported.
MISTAKES = {
    "NO_BARRIER_BEFORE_LOADS": "a (load|store) meets another's (store|load)",
    "NO_BARRIER_BEFORE_THE_NEXT_STORE": "meets another's",
    "HALF_OF_THE_BLOCK_MEETS": "a (load|store) meets another's (store|load)",
    "A_SHUFFLE_FOR_A_BARRIER": "a (load|store) meets another's (store|load)",
    "ATOMIC_AND_LOADED": "a load meets another's atomic operation|an atomic operation meets",
    "ATOMIC_AND_STORED": "atomic operation",
    "A_COPY_IS_NOT_WAITED_FOR": "a load meets a copy under way",
    "A_COPY_OF_ANOTHER": "a load meets a copy under way|a load meets another's store|overwrites",
    "A_COPY_TOO_EARLY": "a copy overwrites what may still be loaded|a load meets",
    "NO_BARRIER_BETWEEN_ARRAYS": "of an array",
    "BLOCKS_SHARE_A_WORD": "a store meets another's store.*of an array",
    "TWO_LANES_STORE_THE_SAME": "a (store|load) meets another's (store|load)",
}


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    text = f"{SOURCE.read_text()}\nEXPORT(plain)\n"
    library = emulated.compiled("plain", text, "", "small", [], watched=True)
    library.emulate_plain.restype = ctypes.c_char_p
    return library


def run(library: ctypes.CDLL, seed: int, mistake: int) -> str:
    arrays = [emulated.guarded((n,), np.dtype(np.uint32)) for n in (400, 128, 129)]
    (given, between, found), _pages = zip(*arrays, strict=True)
    given[:] = np.random.default_rng(seed).integers(0, 99, 400)
    for array in (between, found):
        library.watch_array(ctypes.c_void_p(array.ctypes.data), ctypes.c_ulonglong(array.nbytes))
    values = [
        ctypes.c_void_p(given.ctypes.data), ctypes.c_int(mistake),
        ctypes.c_void_p(between.ctypes.data), ctypes.c_void_p(found.ctypes.data),
    ]  # fmt: skip
    pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
    shared = int((ctypes.c_int * 7).in_dll(library, "plain_shape")[3])
    trouble = library.emulate_plain(
        ctypes.c_ulonglong(seed), *map(ctypes.c_uint, (2, 1, 64, 1)), ctypes.c_ulonglong(shared),
        pointers,
    )  # fmt: skip
    return (trouble or b"").decode()


def test_what_barriers_order_is_in_order(library):
    for seed in SEEDS:
        assert run(library, seed, 0) == "", seed


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_missing_barrier_is_noticed_in_every_order(library, mistake):
    """Not where luck has it."""
    number = 1 + list(MISTAKES).index(mistake)
    for seed in SEEDS:
        trouble = run(library, seed, number)
        assert re.search(MISTAKES[mistake], trouble), (seed, trouble)


# The kernels


def watched(tiles: str = "small", capability: tuple[int, int] = (7, 5)) -> EmulatedDevice:
    return EmulatedDevice(capability, tiles, watched=True)


@pytest.mark.parametrize("tiles", sorted(TILES))
@pytest.mark.parametrize("k", [9, 70])
def test_selection(tiles, k, monkeypatch):
    """Empty lists, short ones and full ones; sorted in shared memory and where they are; a k-th
    smallest digit that is the first of a lane's."""
    monkeypatch.setattr(tiling, "TILING", Tiling(device_sorted=64))
    rng = np.random.default_rng(k)
    lists = Lists(watched(tiles), 5, k, 512, bounded=True)
    counts = np.array([512, 200, 2, 0, k], np.uint32)
    keys = rng.integers(0, 1000, (5, 512)).astype(np.uint64)
    keys[0] = rng.permutation(512).astype(np.uint64)
    ids = rng.permuted(np.tile(np.arange(512, dtype=np.uint32), (5, 1)), axis=1)
    lists.device.write(lists.counts, counts)
    for array, host in ((lists.keys, keys), (lists.uppers, keys), (lists.ids, ids)):
        lists.device.write(array, host)
    lists.promise()
    lists.lower_limits()
    lists.end_round(ByReductions(7, 1, 2, 3, 4))
    lists.keep()
    lists.keep_nearest()
    lists.end_round()
    assert lists.state().due == 2
    found, kept, _, numbers = lists.listed()
    for query, count in enumerate(counts):
        order = np.lexsort((ids[query, :count], keys[query, :count]))[:k]
        assert found[query] == len(order)
        assert (kept[query, : len(order)] == keys[query, order]).all()
        assert (numbers[query, : len(order)] == ids[query, order]).all()


@pytest.mark.parametrize("metric", BOTH)
def test_reduced_rows_and_refinement(metric, with_devices, monkeypatch):
    with_devices(watched())
    monkeypatch.setattr(tiling, "TILING", cut(device_rows=20, reduced_left=0.5))
    rng = np.random.default_rng(0)
    rows = near_a_plane(rng, 200, 40)
    queries = rows[::70] + np.float32(0.01)
    mask = rng.random(200) < 0.8
    got = topk(queries, Resident(rows), 3, metric=metric, mask=mask, backend="cuda")
    assert_same(got, reference.topk(queries, rows, 3, metric, mask))


CAPABILITIES = [(7, 5), (8, 0), (9, 0)]


@pytest.mark.full
@pytest.mark.parametrize("tiles", sorted(TILES))
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("metric", DEVICE_METRICS)
def test_all_scans(metric, capability, tiles, with_devices, monkeypatch):
    """Few queries and many, short rows and long; resident, passing, by every strategy."""
    with_devices(watched(tiles, capability))
    monkeypatch.setattr(
        tiling, "TILING", Tiling(device_list=64, device_rows=20, device_block_bytes=1 << 12)
    )
    rng = np.random.default_rng(1)
    for queries, dim in ((1, 40), (3, 300), (150, 40), (90, 700)):
        both: np.ndarray = rng.standard_normal((230, dim)).astype(np.float32)
        if metric == "hamming":
            both = pack_bits(np.repeat(both, 8, axis=1) * rng.standard_normal(8 * dim))
        rows, asked = both[:80], np.ascontiguousarray(both[80 : 80 + queries])
        mask = rng.random(80) < 0.9
        strategies = ("scan", "sketch") if metric in FLOAT_METRICS else ("auto",)
        for strategy in strategies:
            how: Any = {"metric": metric, "mask": mask, "backend": "cuda", "strategy": strategy}
            for base in (Resident(rows), rows):
                got = topk(asked, base, 3, **how)
                assert_same(got, reference.topk(asked, rows, 3, metric, mask))
    offsets, _, _ = range_search(asked, Resident(rows), 0.0, metric=metric, backend="cuda")
    assert offsets[0] == 0
