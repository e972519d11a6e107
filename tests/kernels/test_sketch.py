"""Sketches and their bounds: proofs in rational arithmetic on small cases, and the integer
kernels against NumPy at all levels of instructions."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numba
import numpy as np
import pytest
from contract_data import DIFFERENCES, FLOAT_DATA, LEVELS, QUERIES, floats
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.kernels import layout, reference, simd_u8, sketch, sketch_scan
from vsearch_fast.kernels.cache import compiled
from vsearch_fast.kernels.memory import aligned
from vsearch_fast.kernels.simd_u8 import ABSOLUTE, PRODUCT

#: Bytes up to which a tile's sums are exact.
EXACT = 33_024
#: The levels as kernels number them.
NUMBERS = sorted({simd_u8.number_of(name) for name in LEVELS})

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
near_one = st.integers(-4, 4).map(lambda ulps: float(np.float32(1 + ulps * 2.0**-23)))
values = st.one_of(
    finite, near_one, st.floats(-1, 1, width=32), st.sampled_from((0.0, 1e-45, 3e38, -3e38))
)
matrices = st.tuples(st.integers(1, 4), st.integers(1, 20)).flatmap(
    lambda shape: st.lists(
        st.lists(values, min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    ).map(lambda rows: np.array(rows, np.float32))
)
steps = st.tuples(st.integers(1, 2**24), st.integers(-170, 100)).map(
    lambda parts: float(np.ldexp(parts[0], parts[1]))
)


def sketched(rows: np.ndarray, lo: float, step: float) -> tuple[np.ndarray, np.ndarray, int]:
    """(bytes, facts, first row that is not finite or -1) of C-contiguous float32 rows."""
    out = aligned((len(rows), layout.width_of(rows.shape[1])), np.uint8)
    facts = np.empty((len(rows), layout.FACTS))
    at, stride = rows.__array_interface__["data"][0], rows.strides[0]
    bad = sketch.sketch_rows(at, stride, rows.shape[1], lo, step, out, facts)
    return out, facts, bad


def adversarial(data: str, seed: int = 0, shape: tuple[int, int] = (6, 40)) -> np.ndarray:
    rows = FLOAT_DATA[data](np.random.default_rng(seed), shape)
    return np.ascontiguousarray(rows, np.float32)


# What a row keeps


def check_facts(rows: np.ndarray, lo: float, step: float) -> None:
    out, facts, bad = sketched(rows, lo, step)
    assert bad == -1
    dim = rows.shape[1]
    exact_lo, exact_step = Fraction(lo), Fraction(step)
    for row, sketch_bytes, (e1, e2, total, squares) in zip(rows, out, facts, strict=True):
        u = [int(byte) for byte in sketch_bytes]
        assert (total, squares) == (sum(u), sum(byte * byte for byte in u))
        assert not any(u[dim:])
        residuals = [
            Fraction(float(x)) - exact_lo - exact_step * byte
            for x, byte in zip(row, u, strict=False)
        ]
        sum1 = sum(map(abs, residuals))
        sum2 = sum(r * r for r in residuals)
        assert sum1 <= Fraction(float(e1))
        assert sum2 <= Fraction(float(e2)) ** 2
        # They are no more than rounded up: bounds that exclude nothing would be valid, too.
        slack = (dim + 1) * exact_step / 2**43
        assert Fraction(float(e1)) <= sum1 * (1 + Fraction(1, 10**9)) + slack
        assert Fraction(float(e2)) ** 2 <= (sum2 * (1 + Fraction(1, 10**9)) + slack**2) * 2
        for x, byte, r in zip(row, u, residuals, strict=False):
            place = (Fraction(float(x)) - exact_lo) / exact_step
            if 0 <= place <= 255:
                assert abs(r) <= exact_step * (Fraction(1, 2) + Fraction(1, 10**9))
            else:
                assert byte == (0 if place < 0 else 255)


@settings(max_examples=150)
@given(matrices, finite, steps)
def test_residual_norms_are_upper_bounds(rows, lo, step):
    """Whatever lo and step are, with any float64 as lo."""
    check_facts(rows, lo / 3, step)


@pytest.mark.parametrize("data", FLOAT_DATA)
@pytest.mark.parametrize("dim", [1, 7, 8, 40, 129])
def test_residual_norms_under_chosen_parameters(data, dim):
    rows = adversarial(data, shape=(6, dim))
    check_facts(rows, *sketch.choose(rows))


@settings(max_examples=150)
@given(matrices)
def test_chosen_steps_can_be_multiplied_exactly(rows):
    lo, step = sketch.choose(rows)
    assert np.isfinite(lo)
    assert 0 < step < np.inf
    mantissa, _ = np.frexp(step)
    assert (mantissa * 2.0**24).is_integer()
    for u in (1, 127, 255):
        assert Fraction(step * u) == Fraction(step) * u


@pytest.mark.parametrize("data", FLOAT_DATA)
def test_chosen_parameters_lose_little(data):
    """At most half a step of the range, but for the numbers that are clipped for good reason."""
    rows = adversarial(data, shape=(32, 64))
    lo, step = sketch.choose(rows)
    assert 0 < step < np.inf
    widest = float(rows.max()) - float(rows.min())
    plain = sketch._rounded_step(widest / 255) if widest else 1.0
    assert sketch.residual(rows, lo, step) <= sketch.residual(rows, float(rows.min()), plain)


def test_no_rows_and_rows_that_are_not_finite_have_parameters():
    assert sketch.choose(np.empty((0, 8), np.float32)) == (0.0, 1.0)
    assert sketch.choose(np.full((3, 8), np.nan, np.float32)) == (0.0, 1.0)
    rows = adversarial("gaussian")
    worse = np.concatenate([rows, np.full((2, 40), np.inf, np.float32)])
    assert sketch.choose(worse) == sketch.choose(rows)


@pytest.mark.parametrize("dim", [1, 8, 13])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_found(dim, bad):
    for column in range(dim):
        rows = np.ones((5, dim), np.float32)
        rows[[2, 4], column] = bad
        _, facts, first = sketched(rows, 0.0, 1.0)
        assert first == 2
        not_finite = ~np.isfinite(facts[:, [layout.E1, layout.E2]]).all(axis=1)
        assert not_finite.tolist() == [False, False, True, False, True]
        assert not np.isfinite(facts[2, layout.E2])


# Bounds


def check_bounds(queries: np.ndarray, rows: np.ndarray, lo: float, step: float) -> None:
    """Bounds of each pair enclose the defined, rounded distance."""
    dim = rows.shape[1]
    q, q_facts, _ = sketched(queries, lo, step)
    x, x_facts, _ = sketched(rows, lo, step)
    for metric, column in (("l1", layout.E1), ("l2", layout.E2)):
        for i in range(len(queries)):
            defined = reference.DISTANCE[metric](queries[i], rows)
            apart = np.abs(x.astype(np.int64) - q[i])
            for j in range(len(rows)):
                if metric == "l1":
                    between = step * float(apart[j].sum())
                else:
                    between = step * np.sqrt(float((apart[j] ** 2).sum()))
                errors = q_facts[i, column] + x_facts[j, column]
                lower, upper = sketch.bounds.py_func(between, errors, layout.rounding(dim))
                assert 0 <= lower <= defined[j] <= upper
                # No wider than the triangle inequality has them, but for rounding.
                assert upper - lower <= 2 * errors + 1e-9 * between + 1e-9 * errors


@pytest.mark.parametrize("data", FLOAT_DATA)
@pytest.mark.parametrize("kind", QUERIES)
def test_bounds_enclose_the_defined_distance(data, kind):
    for dim in (1, 40, 300):
        rows, queries = floats(data, kind, np.random.default_rng(dim), 8, 3, dim)
        rows, queries = (np.ascontiguousarray(a, np.float32) for a in (rows, queries))
        check_bounds(queries, rows, *sketch.choose(rows))


@settings(max_examples=150)
@given(matrices, steps, finite)
def test_bounds_enclose_the_defined_distance_of_any_floats(rows, step, lo):
    check_bounds(rows[:1], rows, lo, step)
    check_bounds(rows[:1], rows, *sketch.choose(rows))


@pytest.mark.parametrize(("step", "up"), [(65_511, True), (65_507, False)])
def test_bounds_enclose_sums_that_are_rounded_one_way(step, up):
    """Equal terms, each of which rounds its lane's sum to the same side; residuals of zero."""
    dim = 32_000
    rows = np.full((1, dim), 255 * step, np.float32)
    queries = np.zeros((1, dim), np.float32)
    true = Fraction(255 * step) ** 2 * dim
    off = Fraction(float(reference.l2(queries[0], rows)[0])) ** 2 / true - 1
    assert off > Fraction(1, 2**46) if up else off < -Fraction(1, 2**47)
    check_bounds(queries, rows, 0.0, float(step))


@pytest.mark.parametrize("errors", [np.inf, np.nan])
def test_bounds_of_rows_that_are_not_finite_exclude_nothing(errors):
    for between in (0.0, 1.0, 3e38):
        lower, upper = sketch.bounds.py_func(between, errors, layout.rounding(8))
        assert lower == 0
        assert not upper < np.inf


# Sums of bytes


@cache
def sums_kernel(operation: int, level: int):
    """Calls the micro-kernels of one operation and level as kernels do, compiled."""

    def call(qb, qs, xb, xs, numbers, length, tile, qc, xc, qt, xt, bounded, chosen, of_row):
        at = numbers.ctypes.data
        # An intrinsic is called without its typing context.
        simd_u8.tile(  # type: ignore[call-arg]
            operation, level, qb, qs, xb, xs, at, length, tile.ctypes.data
        )  # fmt: skip
        passed = simd_u8.bounded_tile(
            operation, level, qb, qs, xb, xs, at, length,
            qc.ctypes.data, xc.ctypes.data, qt.ctypes.data, xt.ctypes.data, bounded.ctypes.data,
        )  # fmt: skip
        row = xb + numbers[0] * xs
        total = simd_u8.stream(operation, level, qb, row, length)
        single = simd_u8.pair_sum(operation, level, qb, row, length)
        simd_u8.row_sums(
            operation, level, qb, qs, chosen.ctypes.data, row, length, of_row.ctypes.data
        )  # fmt: skip
        # All live until here.
        return passed, total, single, numbers[0], qc[0], xc[0], qt[0], xt[0], chosen[0]

    call.__name__ = call.__qualname__ = f"tested_sums_{operation}_{level}"
    i32, f32, at, size = numba.int32[::1], numba.float32[::1], numba.intp, numba.int64
    i64 = numba.int64[::1]
    result = numba.types.Tuple((*(size,) * 4, *(numba.int32,) * 2, *(numba.float32,) * 2, size))
    return compiled(
        result(at, at, at, at, i64, size, i32, i32, i32, f32, f32, i32, i64, i32)
    )(call)  # fmt: skip


FILLS = {
    "any": lambda rng, shape: rng.integers(0, 256, shape, np.uint8),
    "extremes": lambda rng, shape: rng.choice(np.array([0, 255], np.uint8), shape),
    "zero against 255": lambda rng, shape: np.repeat(
        np.array([[0], [255]] * shape[0], np.uint8)[: shape[0]], shape[1], axis=1
    ),
    "halves": lambda rng, shape: rng.choice(np.array([127, 128, 129], np.uint8), shape),
}


@pytest.mark.parametrize("operation", [ABSOLUTE, PRODUCT])
@pytest.mark.parametrize("level", NUMBERS)
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("length", [64, 128, 192, 4096, sketch_scan.NARROW, EXACT])
def test_sums_of_bytes(operation, level, fill, length):
    rng = np.random.default_rng(length)
    queries, rows = aligned((4, length), np.uint8), aligned((7, length), np.uint8)
    queries[:], rows[:] = FILLS[fill](rng, (4, length)), FILLS[fill](rng, (7, length))
    numbers = np.array([6, 0, 3, 3])
    u, v = rows[numbers].astype(np.int64), queries.astype(np.int64)
    signed = simd_u8.signed_queries(operation, level)
    handed = queries ^ 128 if signed else queries
    if operation == PRODUCT:
        want = (v - 128 * signed) @ u.T
        distances = ((v[:, None] - u) ** 2).sum(axis=2)
        parts = (u * u).sum(axis=1) - 256 * signed * u.sum(axis=1)
        query_parts = (v * v).sum(axis=1)
    else:
        apart = np.abs(v[:, None] - u)
        want = distances = apart.sum(axis=2)
        parts = query_parts = np.zeros(4, np.int64)
    tile, bounded, of_row = (np.empty(size, np.int32) for size in (16, 16, 4))
    chosen = np.array([2, 0, 3, 3])
    # Thresholds so that about half pass; some are far, one is infinite and one is NaN.
    reach = np.sqrt(distances) if operation == PRODUCT else distances.astype(float)
    query_reach = np.median(reach, axis=1).astype(np.float32)
    row_reach = np.array([-1, 0, 1, np.inf], np.float32)
    for thresholds in (query_reach, np.array([np.nan, np.inf, -1e9, 1e9], np.float32)):
        passed, total, single, *_ = sums_kernel(operation, level)(
            handed.ctypes.data, length, rows.ctypes.data, length, numbers, length, tile,
            query_parts.astype(np.int32), parts.astype(np.int32), thresholds, row_reach, bounded,
            chosen, of_row,
        )  # fmt: skip
        assert tile.reshape(4, 4).tolist() == want.astype(np.int32).tolist()
        assert total == single == want[0, 0].astype(np.int32)
        assert of_row.tolist() == want[chosen, 0].astype(np.int32).tolist()
        assert bounded.reshape(4, 4).tolist() == distances.tolist()
        limit = thresholds[:, None] + row_reach
        if operation == PRODUCT:
            limit = limit * limit
        fits = distances.astype(np.float32) <= limit
        assert [bool(passed >> i & 1) for i in range(16)] == fits.ravel().tolist()


@pytest.mark.parametrize("level", NUMBERS)
@pytest.mark.parametrize("metric", DIFFERENCES)
@pytest.mark.parametrize("dim", [5, 300, 16_400, 33_030])
@pytest.mark.parametrize("queries", [1, 3, 4, 9])
@pytest.mark.parametrize("data", ["far offset", "scale changes", "saturated"])
def test_bounds_that_a_scan_lists(level, metric, dim, queries, data):
    """Without limits all pairs are listed; their bounds enclose the defined distances."""
    rng = np.random.default_rng(dim)
    rows, some = (
        np.ascontiguousarray(a, np.float32) for a in floats(data, "alike", rng, 11, queries, dim)
    )
    squared = metric == "l2"
    operation = PRODUCT if squared else ABSOLUTE
    padded = -(-queries // 4) * 4
    lo, step = sketch.choose(rows)
    x, x_facts, _ = sketched(rows, lo, step)
    q, q_facts, _ = sketched(np.concatenate([some, np.zeros((padded - queries, dim))]).astype(
        np.float32), lo, step)  # fmt: skip
    wide = x.shape[1] > sketch_scan.NARROW
    signed = simd_u8.signed_queries(operation, level)
    errors = q_facts[:, layout.E2 if squared else layout.E1].copy()
    errors[queries:] = np.nan
    constants = q_facts[:, layout.SQUARES].astype(np.int64)
    handed = q ^ 128 if signed else q
    live = np.ones(11, np.uint8)
    live[4] = 0
    live.flags.writeable = False
    capacity = 64
    uppers, counts = np.empty((padded, capacity)), np.zeros(padded, np.int64)
    listed = np.empty(200, np.int32), np.empty(200, np.int64), np.empty(200)
    unlimited = np.full(padded, np.inf)
    stop, refined, pairs = sketch_scan.scanner(operation, level, wide)(
        handed.ctypes.data, x.shape[1], queries, constants, errors, x.ctypes.data, x.shape[1],
        x_facts, step, layout.rounding(dim), 1, 11, 1000, live, 3, 20,
        uppers, counts, unlimited, unlimited.copy(), np.arange(capacity), *listed, 0, 0,
    )  # fmt: skip
    assert (stop, refined, pairs) == (11, 0, 9 * queries)
    assert counts.tolist() == [9] * queries + [0] * (padded - queries)
    defined = np.array([reference.DISTANCE[metric](query, rows) for query in some])
    expected = [row for row in range(1, 11) if live[row]]
    for query in range(queries):
        mine = listed[0][:pairs] == query
        numbers = listed[1][:pairs][mine] - 1000
        assert numbers.tolist() == expected
        distances = defined[query, numbers]
        assert (listed[2][:pairs][mine] <= distances).all()
        assert (uppers[query, :9] >= distances).all()
        widths = uppers[query, :9] - listed[2][:pairs][mine]
        reach = errors[query] + x_facts[numbers, layout.E2 if squared else layout.E1]
        assert (widths <= 2 * reach + 1e-9 * uppers[query, :9]).all()


@pytest.mark.parametrize("level", NUMBERS)
@pytest.mark.parametrize("queries", [1, 4])
@pytest.mark.parametrize("dim", [64, 1000])
def test_only_rows_within_the_limit_are_listed(level, queries, dim):
    """Nothing above the limit is listed, nothing at it or below is left out: neither by the
    comparison in float32, which comes first, nor by the bounds."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((200, dim)).astype(np.float32)
    lo, step = sketch.choose(rows)
    x, facts, _ = sketched(rows, lo, step)
    q, q_facts = x[:4], facts[:4]
    everything = np.empty(0, np.uint8)
    everything.flags.writeable = False
    listed = np.empty(9000, np.int32), np.empty(9000, np.int64), np.empty(9000)
    for metric, operation, column in (("l1", ABSOLUTE, layout.E1), ("l2", PRODUCT, layout.E2)):
        apart = np.abs(q[:queries, None].astype(np.int64) - x)
        sums = (apart * apart).sum(axis=2) if metric == "l2" else apart.sum(axis=2)
        between = step * (np.sqrt(sums) if metric == "l2" else sums)
        errors = q_facts[:queries, column, None] + facts[:, column]
        lowers = np.array(
            [[sketch.bounds.py_func(b, e, layout.rounding(dim))[0]
              for b, e in zip(*line, strict=True)]
             for line in zip(between, errors, strict=True)]
        )  # fmt: skip
        handed = q ^ 128 if simd_u8.signed_queries(operation, level) else q.copy()
        for rank in range(1, 199, 4):
            limits = np.full(4, np.inf)
            limits[:queries] = np.sort(lowers, axis=1)[:, rank]  # exactly a lower bound
            _, _, pairs = sketch_scan.scanner(operation, level, False)(
                handed.ctypes.data, x.shape[1], queries,
                q_facts[:, layout.SQUARES].astype(np.int64), q_facts[:, column].copy(),
                x.ctypes.data, x.shape[1], facts, step, layout.rounding(dim),
                0, 200, 0, everything, 16, 400,
                np.empty((4, 900)), np.zeros(4, np.int64), limits.copy(), limits.copy(),
                np.arange(900), *listed, 0, 0,
            )  # fmt: skip
            got = set(zip(listed[0][:pairs].tolist(), listed[1][:pairs].tolist(), strict=True))
            want = np.argwhere(lowers <= limits[:queries, None])
            assert got == set(map(tuple, want.tolist()))
            assert len(got) == pairs == queries * (rank + 1)
