"""Kernels of clusters by the launcher: when they are taken, and what their queries are made."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import REAL_TILES, EmulatedDevice

from vsearch_fast.search.gpu import scans
from vsearch_fast.search.gpu.scans import Compared


def test_clusters_share_what_all_processors_ask_for():
    """Not where so few tiles leave some of them idle: the second-level cache gives enough there."""
    device = EmulatedDevice(tiles=REAL_TILES)
    device.processors = 132
    some = scans._needless(device, "l2_sketches", 2048, 128 * 16)
    assert some == {"l2_sketches_multicast_warpgroup"}
    assert scans._needless(device, "l2_sketches", 2048, 128 * 16 + 1) == set()
    assert scans._needless(device, "l1_sketches", 1, 1) == set()
    shape = device.shape_of("l2_sketches_multicast_warpgroup")
    assert (shape.cluster, shape.queries, shape.rows) == (2, 256, 128)
    grids = [
        scans._grid("l2_sketches_multicast_warpgroup", shape, queries, rows, processors, 227 << 10)
        for queries, rows, processors in ((2048, 10**6, 132), (2048, 10**6, 131), (1, 129, 132),
                                          (1, 128, 132), (1, 10**6, 1))
    ]  # fmt: skip
    assert grids == [(132, 1), (130, 1), (2, 1), (2, 1), (2, 1)]


@pytest.mark.parametrize(("queries", "width"), [(1, 16), (64, 128), (130, 144), (70, 512)])
def test_images_of_queries_are_as_shared_memory_has_them(queries, width):
    device = EmulatedDevice(tiles="odd")
    shape = device.shape_of("hamming_multicast_warpgroup")
    rows = np.random.default_rng(width).integers(0, 256, (queries, width), np.uint8)
    asked = Compared(device.upload(rows))
    images = device.download(asked.images_for(device, shape))
    assert asked.images_for(device, shape) is asked.images  # made once
    tiles, chunks = -(-queries // shape.queries), -(-width // 128)
    whole = np.zeros((tiles * shape.queries, chunks * 128), np.uint8)
    whole[:queries, :width] = rows
    pieces = whole.reshape(tiles, shape.queries, chunks, 8, 16).swapaxes(1, 2)
    line = np.arange(shape.queries)[:, None]
    swizzled = pieces[:, :, line, np.arange(8) ^ (line & 7)]
    np.testing.assert_array_equal(images.reshape(swizzled.shape), swizzled)
