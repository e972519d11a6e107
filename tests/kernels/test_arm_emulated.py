"""The portable micro-kernels run as Arm code, in emulation, and compared to the bit with NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from arm_code import Emulated, as_double, missing_tools
from arm_kernels import COARSE_PAIRS, COARSE_QUERIES, KERNELS, SHORT_WORDS
from contract_data import FLOAT_DATA

from vsearch_fast.kernels import reference
from vsearch_fast.kernels.coarse import MOST
from vsearch_fast.kernels.layout import SUMS

pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")

LENGTHS = (1, 7, 31, 32, 33, 64, 100, 257)
FLOATS = sorted(FLOAT_DATA)


@pytest.fixture(scope="module", params=["generic", "neoverse-n1"])
def arm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    missing = missing_tools()
    if missing:
        pytest.skip(
            f"{' and '.join(missing)} not installed: Arm code is compiled, not run"
            " (Debian: gcc-aarch64-linux-gnu, qemu-user)"
        )
    emulated = Emulated(tmp_path_factory.mktemp("arm"), KERNELS, request.param)
    yield emulated
    emulated.close()


def floats(name: str, seed: int, shape: tuple[int, int]) -> np.ndarray:
    rows = FLOAT_DATA[name](np.random.default_rng(seed), shape).astype(np.float32)
    rows[0, :3] = [[-0.0, 1e-45, -1e-40][i] for i in range(min(3, shape[1]))]
    return rows


def numbers(*rows: int) -> np.ndarray:
    return np.array(rows, np.int64)


def wide(rows: np.ndarray) -> np.ndarray:
    return rows.astype(np.float64)


@pytest.mark.parametrize("name", FLOATS)
def test_defined_sums(arm, name):
    """Every order and rounding that the definition fixes, denormal and odd lengths included."""
    for dim in LENGTHS:
        queries, rows = floats(name, dim, (2, dim)), floats(name, dim + 1, (6, dim))
        order = numbers(5, 0, 3, 2)
        for metric in ("l1", "l2", "dot"):

            def true(q, x, metric=metric):
                if metric == "dot":
                    return reference.lane_sum(wide(x) * wide(q))
                return reference.DISTANCE[metric](q, x)

            for shape, q, r in (("2x2", 2, 2), ("1x4", 1, 4), ("1x1", 1, 1)):
                if (metric, shape) == ("dot", "1x1"):
                    continue
                out: np.ndarray = np.full((q, r), np.nan)
                arm.call(f"{metric}_{shape}", queries, 4 * dim, rows, 4 * dim, order, 4 * dim, out)
                want = [true(query, rows[order[:r]]) for query in queries[:q]]
                assert np.array_equal(out, want), (metric, shape, dim)
        squares = reference.lane_sum(wide(rows[order]) ** 2)
        for r in (1, 2):
            out = np.full(2 * r, np.nan)
            arm.call(f"dot_squares_1x{r}", queries, 0, rows, 4 * dim, order, 4 * dim, out)
            dots = reference.lane_sum(wide(rows[order[:r]]) * wide(queries[0]))
            assert np.array_equal(out, [*dots, *squares[:r]])
        out = np.full(4, np.nan)
        arm.call("squares_4", rows, 4 * dim, order, 4 * dim, out)
        assert np.array_equal(out, squares)


def near(terms: np.ndarray) -> float:
    """A sum in float32 in 64 lanes, then a tree, as the middle tier adds up."""
    lanes = np.zeros(64, np.float32)
    for start in range(0, len(terms), 64):
        block = terms[start : start + 64]
        lanes[: len(block)] += block
    a, b, c, d = lanes.reshape(4, 16)
    total = (a + b) + (c + d)
    while len(total) > 1:
        total = total[: len(total) // 2] + total[len(total) // 2 :]
    return float(total[0])


@pytest.mark.parametrize("name", FLOATS)
def test_sums_in_float32(arm, name):
    """Their bounds allow for the rounding of each term: none may be fused."""
    for dim in LENGTHS:
        q, x = floats(name, dim, (1, dim))[0], floats(name, dim + 1, (2, dim))[1]
        want = [near(np.abs(x - q)), near((x - q) * (x - q)), near(q * x), near(x * x)]
        got = [as_double(arm.call(f"near_{m}", q, x, 4 * dim)[0]) for m in ("l1", "l2")]
        got += [as_double(bits) for bits in arm.call("near_dot_squares", q, x, 4 * dim)]
        assert np.array_equal(got, want, equal_nan=True)


def codes(kind: str, seed: int, shape: tuple[int, ...]) -> np.ndarray:
    if kind == "random":
        return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return np.full(shape, {"zeros": 0, "ones": 255}[kind], np.uint8)


@pytest.mark.parametrize("queried", ["random", "zeros"])
@pytest.mark.parametrize("stored", ["random", "ones"])
def test_differing_bits(arm, queried, stored):
    """All bits of long rows differ, too: sums of bytes come to their end, and do not pass it."""
    for length in (1, 15, 16, 17, 64, 255, 256, 257, 512, 1000):
        queries, rows = codes(queried, length, (4, length)), codes(stored, 1, (9, length))
        for shape, q, r in (("4x2", 4, 2), ("1x8", 1, 8)):
            order = numbers(8, 1, 0, 3, 3, 7, 2, 5)
            want = np.array([reference.hamming(query, rows[order[:r]]) for query in queries[:q]])
            limits = np.median(want).astype(np.int32) + np.zeros(8, np.int32)
            for words in {0, length // 64 if length in (64, 512) else 0}:
                out = np.full((q, r), -1, np.int32)
                (mask,) = arm.call(f"hamming_{shape}_{words}", queries, length, rows, length,
                                   order, length, limits, out)  # fmt: skip
                assert np.array_equal(out, want)
                assert mask == sum(1 << i for i in range(8) if want.ravel()[i] < limits[i])
        assert arm.call("popcount", rows, length) == [np.bitwise_count(rows[0]).sum()]


@pytest.mark.parametrize("stored", ["random", "ones"])
def test_short_rows(arm, stored):
    for words in SHORT_WORDS:
        count = {1: 32, 2: 16}.get(words, 8)
        query, rows = codes("random", 0, (8 * words,)), codes(stored, words, (count, 8 * words))
        want = reference.hamming(query, rows)
        limit, out = int(np.median(want)) + 1, np.full(count, -1, np.int32)
        (mask,) = arm.call(f"short_rows_{words}", rows, np.tile(query, 8), limit, out)
        assert mask == sum(1 << i for i in range(count) if want[i] < limit)
        assert np.array_equal(out, want)


@pytest.mark.parametrize("stored", ["random", "ones"])
def test_sums_of_groups(arm, stored):
    query, rows = codes("random", 0, (SUMS,)), codes(stored, 1, (8, SUMS))
    want = np.abs(rows.astype(int) - query).sum(axis=1)
    for limit in (0, *sorted(want), int(want.max()) + 1):
        (mask,) = arm.call("groups_below", rows, query, int(limit))
        assert mask == sum(1 << i for i in range(8) if want[i] < limit)
    order, limits = numbers(7, 0, 3, 3, 1, 2, 6, 5), np.arange(8, dtype=np.int32) * 100
    for half, first in ((0, 0), (1, SUMS // 2)):
        rest = np.empty(8, np.int32)
        arm.call(f"groups_rest_{half}", rows, order, query, limits, rest)
        bounds = np.abs(rows[order, first:].astype(int) - query[first:]).sum(axis=1)
        assert np.array_equal(rest, limits - bounds)
    added = rows.copy()
    arm.call("add_bytes", added, np.tile(query, 8), 8)
    assert np.array_equal(added, rows + query)


@pytest.mark.parametrize("queried", ["random", "zeros", "ones"])
@pytest.mark.parametrize("stored", ["random", "ones"])
def test_sketches(arm, queried, stored):
    for length in (64, 128, 4096, 33_024):
        queries, rows = codes(queried, 1, (4, length)), codes(stored, 2, (5, length))
        order = numbers(4, 0, 2, 1)
        q, x = queries.astype(np.int64)[:, None], rows[order].astype(np.int64)[None]
        sums = {"absolute": np.abs(q - x).sum(axis=2), "product": (q * x).sum(axis=2)}
        constants = (q * q).sum(axis=2)[:, 0], (x * x).sum(axis=2)[0]
        constants = tuple((c & 0xFFFFFFFF).astype(np.uint32).view(np.int32) for c in constants)
        apart = {"absolute": sums["absolute"], "product": ((q - x) ** 2).sum(axis=2)}
        for name, want in sums.items():
            out = np.full((4, 4), -1, np.int32)
            arm.call(f"tile_{name}", queries, length, rows, length, order, length, out)
            assert np.array_equal(out.view(np.uint32), want)  # products pass 2**31
            for single in ("stream", "pair_sum"):
                (one,) = arm.call(f"{single}_{name}", queries[0], rows[4], length)
                assert one & 0xFFFFFFFF == want[0, 0]
            of_row, some = np.full(4, -1, np.int32), numbers(3, 0, 2, 2)
            arm.call(f"row_sums_{name}", queries, length, some, rows[4], length, of_row)
            assert np.array_equal(of_row.view(np.uint32), want[some, 0])
            reach = np.sqrt(apart[name]) if name == "product" else apart[name]
            halves = (np.median(reach, axis=1).astype(np.float32) / 2, np.zeros(4, np.float32))
            halves[1][:] = halves[0][::-1]
            halves[1][3] = np.nan
            (mask,) = arm.call(
                f"bounded_tile_{name}", queries, length, rows, length, order, length,
                *constants, *halves, out,
            )  # fmt: skip
            assert np.array_equal(out, apart[name])
            threshold = halves[0][:, None] + halves[1][None]
            threshold = threshold * threshold if name == "product" else threshold
            passed = apart[name].astype(np.float32) <= threshold
            assert mask == sum(1 << i for i in range(16) if passed.ravel()[i])


def test_thresholds_of_products(arm):
    rng = np.random.default_rng(3)
    queries, rows = codes("random", 1, (4, 256)), codes("random", 2, (4, 256))
    want = queries.astype(np.int32) @ rows.astype(np.int32).T
    more = rng.integers(-(2**20), 2**20, 4, np.int32)
    qt, xt = (rng.standard_normal((3, 4)).astype(np.float32) * 2000 for _ in range(2))
    qt[0] -= np.float32(want.mean())
    xt[2, 1] = np.nan
    out = np.empty((4, 4), np.int32)
    (mask,) = arm.call("product_tile", queries, 256, rows, 256, numbers(0, 1, 2, 3), 256,
                       more, qt, 16, xt, 16, out)  # fmt: skip
    assert np.array_equal(out, want + more)
    a, b, c = qt[:, :, None]
    d, e, f = xt[:, None, :]
    sums = ((out.astype(np.float32) + a + d) + b * e) + c * f
    passed = ~(sums < 0)
    assert mask == sum(1 << i for i in range(16) if passed.ravel()[i])
    assert 0 < mask < 65535


@pytest.mark.parametrize("stored", ["random", "ones"])
def test_reduced_rows(arm, stored):
    """A page of 16 coarse rows, and one pair of fine ones."""
    rng = np.random.default_rng(4)
    pairs, count = COARSE_PAIRS, COARSE_QUERIES
    rows = codes(stored, 5, (pairs, 16, 2))
    facts = rng.random((3, 16)).astype(np.float32) * 40
    facts[2, 7] = np.nan
    by_query = [rng.random(count).astype(np.float32) * 40 for _ in range(3)]
    scale, slack = np.float32(0.001), np.float32(1 - 2.0**-20)
    nothing = np.zeros(4, np.float32)
    plain = rows.transpose(1, 0, 2).reshape(16, 2 * pairs).astype(np.int64)

    queries = rng.integers(-8160, 8161, (count, 2 * pairs), np.int16)
    page = np.concatenate([rows.ravel(), facts.view(np.uint8).ravel()])
    out = np.empty((count, 16), np.float32)
    (mask,) = arm.call("coarse_product", page, queries, queries.strides[0], *by_query,
                       scale, slack, out)  # fmt: skip
    weights, residuals, reaches = (values[:, None] for values in by_query)
    close = (queries.astype(np.int64) @ plain.T).astype(np.float32) * scale
    across = residuals * facts[1]
    want = (weights + facts[0]) * slack - ((close + close) + (across + across))
    reach = (reaches + facts[2]) * (reaches + facts[2])
    assert np.array_equal(out, want)
    assert mask & (2**64 - 1) == sum(1 << i for i in range(64) if not (want > reach).ravel()[i])

    scales = np.full(2 * pairs, MOST // (2 * pairs), np.uint8)
    bytes_of = codes("random", 6, (count, 2 * pairs))
    page = np.concatenate([rows.ravel(), facts[2].view(np.uint8)])
    (mask,) = arm.call("coarse_absolute", page, bytes_of, bytes_of.strides[0], nothing, scales,
                       by_query[2] * 100, np.float32(0.5), slack, out)  # fmt: skip
    apart = np.abs(bytes_of[:, None].astype(np.int64) - plain) @ scales.astype(np.int64)
    want = apart.astype(np.float32) * np.float32(0.5)
    reach = (by_query[2] * 100)[:, None] + facts[2]
    assert np.array_equal(out, want)
    assert mask & (2**64 - 1) == sum(1 << i for i in range(64) if not (want > reach).ravel()[i])

    for length in (32, 64, 224):
        row, query = codes(stored, 7, (length,)), codes("random", 8, (length,))
        finer = rng.integers(-8160, 8161, length, np.int16)
        assert arm.call("fine_product", finer, row, length) == [
            int(row.astype(np.int64) @ finer.astype(np.int64))
        ]
        few = np.full(length, 8, np.uint8)
        assert arm.call("fine_differences", query, row, few, length) == [
            int(8 * np.abs(row.astype(np.int64) - query).sum())
        ]
    assert as_double(arm.call("float_at", facts[0])[0]) == float(facts[0, 0])


def test_products_with_directions(arm):
    """Fused here: the sum of small whole numbers is exact either way, others within the bound."""
    rng = np.random.default_rng(9)
    rows = rng.integers(-9, 10, (4, 128)).astype(np.float32)
    tile = rng.integers(-9, 10, (128, 16)).astype(np.float32)
    sums = rng.integers(-9, 10, (4, 16)).astype(np.float64)
    want = sums + wide(rows) @ wide(tile)
    arm.call("project_tile", rows, rows.strides[0], tile, sums, sums.strides[0])
    assert np.array_equal(sums, want)


@pytest.mark.parametrize("name", FLOATS)
def test_sketching(arm, name):
    """Bytes and residuals of float32 rows, in float64 and in a fixed order."""
    values = floats(name, 1, (1, 128))[0]
    lo, step = float(np.quantile(values, 0.1)), 2.0**-9 * max(1e-30, float(np.ptp(wide(values))))
    step = float(np.float32(step))
    out, sums = np.zeros(128, np.uint8), np.full(4, np.nan)
    arm.call("sketch_whole", values, 128, np.float64(lo), np.float64(step),
             np.float64(1 / step), out, sums)  # fmt: skip
    shifted = wide(values) - lo
    u = np.rint(np.clip(shifted * (1 / step), 0, 255))
    residual = shifted - step * u
    assert np.array_equal(out, u)
    for got, terms in zip(sums, (np.abs(residual), residual**2, u, u * u), strict=True):
        lanes = np.zeros(8)
        for start in range(0, 128, 8):
            lanes += terms[start : start + 8]
        while len(lanes) > 1:
            lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
        assert got == lanes[0]
