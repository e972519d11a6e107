"""The emulation of mbarriers and of copies notices mistakes, in whatever order things go."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import emulated
import numpy as np
import pytest

SOURCE = Path(emulated.__file__).with_name("protocol.cu")
ROWS = emulated.TILES["small"]["WGMMA_ROWS"]
LINES, CHUNK, STEPS = 64 + ROWS, 128, 7
#: Every order of threads and every moment of copies and products comes up.
SEEDS = range(24)

#: By mistake of protocol.cu, in its order: the ways to copy that can have it, by threads that
#: wait (0), in bulk (1), by threads whose copies arrive by themselves (2); what is reported.
MISTAKES = {
    "NO_WAIT_FOR_FULL": (
        "012", "before its barrier says that it is full|what nobody has written|half complete"
    ),
    "NO_WAIT_FOR_EMPTY": ("012", "copy overwrites|arrives twice in a phase"),
    "WRONG_PARITY": ("012", "by the wrong parity|before its barrier says|what nobody has written"),
    "SAME_PARITY": ("012", "by the wrong parity"),
    "RELEASED_UNDER_WAY": ("012", "copy overwrites (what a product under way|a stage that may)"),
    "TOO_FEW_BYTES": ("1", "more bytes come than"),
    "TOO_MANY_BYTES": ("1", "wait for ever: .*: 0 arrivals and 16 bytes are to come"),
    "TOO_MANY_ARRIVALS": ("1", "arrives twice in a phase|by the wrong parity"),
    "TOO_FEW_ARRIVALS": ("012", "wait for ever: .*: 1 arrivals and 0 bytes"),
    "ARRIVES_TWICE": ("012", "arrives twice in a phase|copy overwrites|half complete"),
    "NO_BARRIER_AFTER_INIT": ("012", "cannot know that it is initialised|was not initialised"),
    "NO_FENCE_AFTER_INIT": ("1", "whose initialisation has no fence"),
    "HALF_A_PHASE_MORE": ("012", "half complete|arrives twice in a phase"),
    "NO_FENCE": ("02", "without a fence"),
    "ARRIVES_BEFORE_COPIES": ("02", "before its barrier says|what nobody has written"),
    "A_STAGE_BEHIND": ("012", "before its barrier says|may still be read|nobody has written"),
}  # fmt: skip
CASES = [(name, int(way)) for name, (ways, _) in MISTAKES.items() for way in ways]


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    text = f'#include "common.cuh"\n{SOURCE.read_text()}\nEXPORT(protocol)\n'
    library = emulated.compiled("protocol", text, "", "small", ["HAS_WGMMA"])
    library.emulate_protocol.restype = ctypes.c_char_p
    return library


def run(library: ctypes.CDLL, seed: int, way: int, mistake: int) -> tuple[str, bool]:
    """(what was reported, whether the sums are right)."""
    lines = np.random.default_rng(seed).integers(0, 256, (STEPS, LINES, 8, 16), np.uint8)
    flat = lines.reshape(STEPS, LINES, CHUNK).astype(np.int64)
    want = np.einsum("sac,sbc->ab", flat[:, :64], flat[:, 64:])
    if way == 1:  # of what lies as the tensor cores read it
        inner = np.arange(ROWS) & 7, np.arange(64) & 7
        swizzle = np.concatenate([inner[1], inner[0]])
        lines = lines[:, np.arange(LINES)[:, None], np.arange(8) ^ swizzle[:, None]]
    given, _given = emulated.guarded(lines.shape, lines.dtype)
    given[...] = lines
    found, _found = emulated.guarded((64, ROWS), np.dtype(np.uint32))
    values = [
        ctypes.c_void_p(given.ctypes.data), ctypes.c_int(STEPS), ctypes.c_int(way),
        ctypes.c_int(mistake), ctypes.c_void_p(found.ctypes.data),
    ]  # fmt: skip
    pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
    shared = 2 * LINES * CHUNK + 32
    trouble = library.emulate_protocol(
        ctypes.c_ulonglong(seed), *map(ctypes.c_uint, (1, 1, 256, 1)), ctypes.c_ulonglong(shared),
        pointers,
    )  # fmt: skip
    return (trouble or b"").decode(), bool((found == want).all())


@pytest.mark.parametrize("way", [0, 1, 2])
def test_what_is_right_is_right_in_every_order(library, way):
    for seed in SEEDS:
        assert run(library, seed, way, 0) == ("", True), seed


@pytest.mark.parametrize(("mistake", "way"), CASES)
def test_a_mistake_is_noticed_in_every_order(library, mistake, way):
    """Not where luck has it, for it is the barriers that do not say what comes first."""
    number = 1 + list(MISTAKES).index(mistake)
    for seed in SEEDS:
        trouble, _ = run(library, seed, way, number)
        assert re.search(MISTAKES[mistake][1], trouble), (seed, trouble)
