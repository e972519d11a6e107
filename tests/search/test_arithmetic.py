"""Whatever rounding, flushing or NumPy's errors a process has set, results are the defined ones."""

from __future__ import annotations

import ctypes
import pickle
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from contract_data import assert_same

import vsearch_fast as vs
from vsearch_fast.arithmetic import usual_arithmetic
from vsearch_fast.errors import ArgumentError, DTypeError
from vsearch_fast.kernels import reference
from vsearch_fast.search import Sketched, topk, topk_segments
from vsearch_fast.search.resident import Resident

MODES = {"nearest": 0x1F80, "flush": 0x9FC0, "down": 0x3F80, "up": 0x5F80, "zero": 0x7F80}


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    """(get, set) of the processor's control register, by a little C."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("mode")
    source, library = folder / "mode.c", folder / "mode.so"
    source.write_text(
        "#include <xmmintrin.h>\n"
        "unsigned get(void) { return _mm_getcsr(); }\n"
        "void put(unsigned mode) { _mm_setcsr(mode); }\n"
    )
    built = subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library])
    if built.returncode:
        pytest.skip("not an x86 processor")
    made = ctypes.CDLL(str(library))
    return made.get, made.put


def tiny(scale: float) -> np.ndarray:
    """Rows whose differences are subnormal, and whose sums depend on the rounding."""
    rng = np.random.default_rng(3)
    return (rng.standard_normal((3000, 130)) * scale).astype(np.float32)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("scale", [1.0, 1e-38, 3e-43])
def test_another_mode_changes_nothing(mode, metric, scale, control):
    rows = tiny(scale)
    want = reference.topk(rows[:9], rows, 20, metric)
    get, put = control
    put(MODES[mode])
    try:
        found = [
            topk(rows[:9], database, 20, metric=metric, strategy=strategy, threads=threads)
            for database in (rows, Sketched(rows))
            for strategy in ("scan", "sketch")
            for threads in (1, 3)
        ]
        after = get() & ~0x3F  # without the flags that operations leave
    finally:
        put(0x1F80)
    assert after == MODES[mode] & ~0x3F  # put back
    for got in found:
        assert_same(got, want)


def test_numpy_may_be_told_to_raise():
    rows = tiny(1e-42)
    for scale in (1.0, 1e78):
        wide = rows.astype(np.float64) * scale
        want = reference.topk(wide[:9], wide, 5, "l2")
        with np.errstate(all="raise"):
            for strategy in ("scan", "sketch"):
                assert_same(topk(wide[:9], wide, 5, metric="l2", strategy=strategy), want)
            assert np.geterr()["over"] == "raise"


def test_the_context_puts_back_what_was_set_after_an_error():
    with np.errstate(all="raise"):
        with pytest.raises(KeyError), usual_arithmetic():
            assert np.geterr()["over"] == "ignore"
            raise KeyError
        assert np.geterr()["over"] == "raise"


def test_masked_arrays_that_hide_values_are_refused():
    rows = tiny(1.0)
    hidden = np.ma.MaskedArray(rows, rows > 2)
    for queries, database in ((hidden[:2], rows), (rows[:2], hidden)):
        with pytest.raises(ArgumentError, match="masked array that hides"):
            topk(queries, database, 3, metric="l2")
    with pytest.raises(ArgumentError, match="hides"):
        Sketched(hidden)
    with pytest.raises(ArgumentError, match="the mask is a masked array"):
        topk(rows[:2], rows, 3, metric="l2", mask=np.ma.MaskedArray(rows[:, 0] > 0, rows[:, 0] > 1))
    nothing = np.ma.MaskedArray(rows)
    assert_same(topk(nothing[:2], nothing, 3, metric="l2"), topk(rows[:2], rows, 3, metric="l2"))


def test_an_index_refuses_hidden_values(tmp_path):
    hidden = np.ma.masked_array(np.ones((2, 8), np.float32), np.repeat([[False], [True]], 8, 1))
    with vs.Index.create(tmp_path / "i", dim=8, model_id="m") as index:
        with pytest.raises(ArgumentError, match="hides 8 values"):
            index.add(["a", "b"], hidden)
        index.add(["a", "b"], hidden.data)
        with pytest.raises(ArgumentError, match="hides 8 values"):
            index.search(hidden)


@pytest.mark.parametrize("given", ["a.jpg", Path("a.jpg"), ["a.jpg"], [Path("a.jpg")], b"\xff\xd8"])
def test_a_picture_is_no_query(given):
    with pytest.raises(DTypeError, match="not features") as caught:
        topk(given, tiny(1.0), 3, metric="l2")
    assert "Embedder().embed" in caught.value.cure


def test_a_pillow_image_is_no_query():
    image = pytest.importorskip("PIL.Image").new("RGB", (4, 4))
    with pytest.raises(DTypeError, match="a picture, not features"):
        topk([image], tiny(1.0), 3, metric="l2")  # type: ignore[call-overload]


@pytest.mark.parametrize("metric", ["l2", "l1", "hamming"])
def test_one_query_without_its_axis(metric):
    rows = tiny(1.0)
    rows = reference.pack_bits(rows) if metric == "hamming" else rows
    got = topk(rows[5], rows, 3, metric=metric)
    assert got[0].shape == got[1].shape == (1, 3)
    assert_same(got, topk(rows[5:6], rows, 3, metric=metric))
    with pytest.raises(ArgumentError, match="shape"):
        topk(rows[:2], rows[0], 3, metric=metric)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_sketched_databases_can_be_pickled(protocol):
    rows = tiny(1.0)
    made = Sketched(rows)
    again = pickle.loads(pickle.dumps(made, protocol))
    assert isinstance(again, Sketched) and repr(again) == repr(made)
    want = topk_segments(rows[:9], [rows], 3, metric="l2", sketches=[made.sketch], threads=1)
    got = topk_segments(rows[:9], [again.array], 3, metric="l2", sketches=[again.sketch], threads=1)
    assert_same(got[:2], want[:2])
    assert got[2] == want[2]


def test_rows_on_a_gpu_are_not_pickled():
    resident = Resident.__new__(Resident)
    with pytest.raises(ArgumentError, match="GPUs"):
        pickle.dumps(resident)
