"""The pieces below `topk`: the oracle by hand, selection, the kernel cache."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core import config

from vsearch_fast.kernels import cache, reference, select


def test_oracle_by_hand():
    rows = np.array([[0, 0, 0], [3, -4, 0], [1, 1, 1]], np.float32)
    query = np.zeros(3, np.float32)
    assert reference.l1(query, rows).tolist() == [0, 7, 3]
    assert reference.l2(query, rows).tolist() == [0, 5, np.sqrt(3)]
    codes = np.array([[0b1010_0000], [0b1111_0000]], np.uint8)
    assert reference.hamming(np.array([0], np.uint8), codes).tolist() == [2, 4]
    distances, ids = reference.topk(query[None], rows, 5, "l1", np.array([True, False, True]))
    assert distances.tolist() == [[0, 3]]
    assert ids.tolist() == [[0, 2]]


def test_lane_sum_is_in_the_defined_order():
    """Against the definition in plain Python floats, on data whose sum depends on the order."""
    rng = np.random.default_rng(0)
    terms = rng.random((5, 100)) * 10.0 ** rng.integers(-12, 12, (5, 100))
    for row, got in zip(terms, reference.lane_sum(terms), strict=True):
        lanes = [0.0] * 32
        for i, term in enumerate(row):
            lanes[i % 32] += float(term)
        for step in (16, 8, 4, 2, 1):
            lanes = [lanes[j] + lanes[j + step] for j in range(step)]
        assert got == lanes[0]
    assert (reference.lane_sum(terms) != terms.sum(axis=1)).any()


pairs = st.lists(st.integers(0, 5), min_size=1, max_size=200).flatmap(
    lambda d: st.tuples(st.just(d), st.permutations(range(len(d))), st.integers(1, len(d)))
)


@given(pairs)
def test_keep_smallest_and_sort(problem):
    """Any order of the input, thousands of ties: the k smallest by (distance, id)."""
    values, order, k = problem
    distances, ids = np.array(values, np.int32), np.array(order, np.int64)
    want = sorted(zip(values, order, strict=True))[:k]
    select.keep_smallest(distances, ids, len(distances), k)
    select.sort_pairs(distances, ids, k)
    assert list(zip(distances[:k].tolist(), ids[:k].tolist(), strict=True)) == want


def median_of_three_killer(count):
    """An order in which the median of three is the second smallest, again and again (Musser,
    Introspective Sorting and Selection Algorithms, 1997)."""
    half = count // 2
    order = np.empty(count, np.int32)
    for i in range(1, half + 1):
        order[i - 1] = i if i % 2 else half + i - 1
        order[half + i - 1] = 2 * i
    return order


def test_no_order_makes_selection_quadratic():
    """20,000 pairs in an adversarial order: quadratic selection would take a minute."""
    values = median_of_three_killer(20_000)
    for k in (1, 9_999, 19_999):
        distances, ids = values.copy(), np.arange(len(values))
        select.keep_smallest(distances, ids, len(distances), k)
        assert sorted(distances[:k]) == sorted(values)[:k]


def test_damaged_cache_is_made_anew(tmp_path):
    """What a power cut leaves of a compiled kernel must not stop every later process."""
    code = (
        "import numpy as np; from vsearch_fast import topk; x = np.eye(3, dtype=np.float32);"
        "print(topk(x, x, 1, metric='l1')[1].ravel().tolist())"
    )
    environment = os.environ | {"VSEARCH_CACHE_DIR": str(tmp_path)}

    def run():
        return subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    assert run() == "[0, 1, 2]"
    files = [*tmp_path.rglob("*.nbi"), *tmp_path.rglob("*.nbc")]
    assert files
    for file in files:
        file.write_bytes(b"")
    assert run() == "[0, 1, 2]"
    run()
    assert all(file.stat().st_size for file in tmp_path.rglob("*.nb[ic]"))


def test_numba_without_its_compiler_is_named():
    code = "import vsearch_fast.kernels.lanes"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Unset NUMBA_DISABLE_JIT" in done.stderr


def test_cache_setting_is_put_back(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "CACHE_DIR", "elsewhere")
    cache.compiled("int64(int64)")(lambda x: x + 1)
    assert config.CACHE_DIR == "elsewhere"  # type: ignore[attr-defined]


def test_cache_folder_changes_with_the_sources(monkeypatch, tmp_path):
    monkeypatch.setenv("VSEARCH_CACHE_DIR", str(tmp_path / "cache"))
    sources = tmp_path / "kernels"
    sources.mkdir()
    (sources / "a.py").write_text("1")
    monkeypatch.setattr(cache, "__file__", str(sources / "cache.py"))
    folders = []
    for text, cpu in (("1", "x"), ("2", "x"), ("2", "y")):
        (sources / "a.py").write_text(text)
        monkeypatch.setenv("NUMBA_CPU_NAME", cpu)
        cache._folder.cache_clear()
        folders.append(cache._folder())
    cache._folder.cache_clear()
    assert len(set(folders)) == 3


@pytest.mark.parametrize("variable", ["VSEARCH_CACHE_DIR", "XDG_CACHE_HOME"])
def test_cache_root_can_be_moved(monkeypatch, tmp_path, variable):
    monkeypatch.delenv("VSEARCH_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert tmp_path in (cache.cache_root(), cache.cache_root().parent)
