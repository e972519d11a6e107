"""The emulation of clusters notices mistakes of two blocks that write to each other's memory."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import emulated
import numpy as np
import pytest

SOURCE = Path(emulated.__file__).with_name("protocol_cluster.cu")
ROWS = emulated.TILES["small"]["WGMMA_ROWS"]
CHUNK, STEPS, THREADS = 128, 5, 160
#: Every order of threads and every moment of copies and products comes up.
SEEDS = range(24)

#: By mistake of protocol_cluster.cu, in its order: what is reported.
MISTAKES = {
    "NO_WAIT_FOR_FULL": "before its barrier says that it is full|what nobody has written",
    "NO_WAIT_FOR_EMPTY": "copy overwrites|arrives twice in a phase",
    "SAME_PARITY": "by the wrong parity",
    "RELEASED_UNDER_WAY": "copy overwrites (what a product under way|a stage that may)",
    "FREES_ITSELF_ALONE": "wait for ever: .*: 4 arrivals and 0 bytes",
    "COUNTS_ITSELF_ALONE": "copy overwrites",
    "FREES_THE_OTHER_TWICE": "copy overwrites|arrive",
    "SENDS_TO_ITSELF_ALONE": "wait for ever: .*: 0 arrivals and 4096 bytes are to come",
    "SENDS_TO_THE_OTHER_ALONE": "wait for ever: .*: 0 arrivals and 4096 bytes are to come",
    "SENDS_THE_SAME_HALF": "copy overwrites what another copy writes|nobody has written",
    "EXPECTS_ITS_HALF": "more bytes come than|before its barrier says|nobody has written",
    "EXPECTS_NOTHING": "more bytes come than|before its barrier says|nobody has written",
    "NO_FENCE": "without a fence",
    "NO_FENCE_AFTER_INIT": "whose initialisation has no fence",
    "NO_MEETING_AFTER_INIT": "cannot know that it is initialised|was not initialised",
    "NO_MEETING_AT_THE_END": "a block (may end|has ended) while others still write to its memory",
}


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    text = f'#include "common.cuh"\n{SOURCE.read_text()}\nEXPORT(protocol)\n'
    library = emulated.compiled("protocol_cluster", text, "", "small", ["HAS_WGMMA"])
    library.emulate_protocol.restype = ctypes.c_char_p
    return library


def run(library: ctypes.CDLL, seed: int, mistake: int) -> tuple[str, bool]:
    """(what was reported, whether the sums are right)."""
    rng = np.random.default_rng(seed)
    both = rng.integers(0, 256, (STEPS, 64, 8, 16), np.uint8)
    own = rng.integers(0, 256, (2, STEPS, ROWS, CHUNK), np.uint8)
    flat = both.reshape(STEPS, 64, CHUNK).astype(np.int64)
    want = np.einsum("sac,bsrc->bar", flat, own.astype(np.int64))
    lines = np.arange(64)[:, None]
    images = both[:, lines, np.arange(8) ^ (lines & 7)]  # as tensor cores read them
    arrays, pages = [], []
    for host in (images, own, np.zeros((2, 64, ROWS), np.uint32)):
        array, kept = emulated.guarded(host.shape, host.dtype)
        array[...] = host
        arrays.append(array)
        pages.append(kept)
    values = [
        *(ctypes.c_void_p(array.ctypes.data) for array in arrays[:2]), ctypes.c_int(STEPS),
        ctypes.c_int(mistake), ctypes.c_void_p(arrays[2].ctypes.data),
    ]  # fmt: skip
    pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
    shared = 2 * (64 + ROWS) * CHUNK + 32
    trouble = library.emulate_protocol(
        ctypes.c_ulonglong(seed), *map(ctypes.c_uint, (2, 1, THREADS, 2)),
        ctypes.c_ulonglong(shared), pointers,
    )  # fmt: skip
    return (trouble or b"").decode(), bool((arrays[2] == want).all())


def test_what_is_right_is_right_in_every_order(library):
    for seed in SEEDS:
        assert run(library, seed, 0) == ("", True), seed


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_noticed_in_every_order(library, mistake):
    number = 1 + list(MISTAKES).index(mistake)
    for seed in SEEDS:
        trouble, _ = run(library, seed, number)
        assert re.search(MISTAKES[mistake], trouble), (seed, trouble)


def test_a_grid_is_of_whole_clusters(library):
    pointers = (ctypes.c_void_p * 5)()
    trouble = library.emulate_protocol(
        ctypes.c_ulonglong(0), *map(ctypes.c_uint, (3, 1, THREADS, 2)), ctypes.c_ulonglong(0),
        pointers,
    )  # fmt: skip
    assert trouble == b"a grid is not of whole clusters"
