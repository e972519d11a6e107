"""The stand-in for goods that no network was trained on (`benchmarks/other_goods.py`)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vsearch_fast import pack_bits


@pytest.fixture
def benchmark_file() -> ModuleType:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "other_goods.py"
    found = importlib.util.spec_from_file_location("other_goods", script)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_views_are_of_their_pictures_and_always_the_same(benchmark_file) -> None:
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (64, 64, 3), np.uint8) for name in "abc"}
    views, of = benchmark_file.views_of(pictures, 2, 48)
    assert [view.shape for view in views] == [(48, 48, 3)] * 6
    assert of.tolist() == [0, 0, 1, 1, 2, 2]
    again, _ = benchmark_file.views_of(pictures, 2, 48)
    assert all(np.array_equal(a, b) for a, b in zip(views, again, strict=True))
    assert not np.array_equal(views[0], views[1])


def test_the_view_itself_is_no_match(benchmark_file) -> None:
    features = np.array([[9, 1], [8, 1], [-9, 1], [-8, -1], [8.1, 1]], np.float32)
    of = np.array([0, 0, 1, 1, 2])
    found = benchmark_file.found_again(features, pack_bits(features), of)
    # The first two are each nearer to the last than to one another, or as near; the last is alone.
    nearest = [
        min((np.abs(features[i] - features[j]).sum(), j) for j in range(5) if j != i)[1]
        for i in range(5)
    ]
    assert found["l1"] == np.mean([of[j] == of[i] for i, j in enumerate(nearest)])
    assert set(found) == {"l1", "l2", "hamming"}
