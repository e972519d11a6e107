"""Reductions of rows: their bounds in rational arithmetic, each term of them attacked, the
kernels against NumPy at all levels of instructions, and when they are learnt."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numba
import numpy as np
import pytest
from contract_data import FLOAT_DATA, LEVELS, REDUCED, cut_as
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch_fast.kernels import coarse, layout, reference, simd_u8
from vsearch_fast.kernels.cache import compiled
from vsearch_fast.kernels.simd_u8 import ABSOLUTE, PRODUCT
from vsearch_fast.search import Sketched, learning, topk
from vsearch_fast.search.reductions import Reduction
from vsearch_fast.search.tiling import Tiling

FORCED = Tiling(**REDUCED)
REGROUPED = Tiling(**(REDUCED | {"regroupings": 1}))
ALONE = Tiling(**(REDUCED | {"reduced_shapes": (("l2", 1, 8, 0), ("l1", 1, 8, 0))}))
NUMBERS = sorted({simd_u8.number_of(name) for name in LEVELS})
METRICS = ("l1", "l2")


def learnt(rows: np.ndarray, metric: str, cut: Tiling = FORCED) -> Reduction | None:
    with cut_as(cut):
        return learning.learn(rows, metric)


def made(data: str, rows: int, dim: int, seed: int) -> np.ndarray:
    values = FLOAT_DATA[data](np.random.default_rng(seed), (rows, dim))
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def stored(reduction: Reduction, rows: np.ndarray, fine: bool) -> list[tuple]:
    """(bytes, weight, residual, error) of each row, as they lie in pages or fine rows."""
    pages, others = reduction.reduce(rows)
    shape = reduction.shape
    if fine:
        facts = np.ascontiguousarray(others[:, shape.fine :]).view(np.float32)
        return [(row[: shape.fine], *facts[i, :3]) for i, row in enumerate(others)]
    out = []
    for page in pages.reshape(-1, layout.PAGE * shape.coarse_bytes):
        size = layout.PAGE * shape.coarse
        numbers = page[:size].reshape(-1, layout.PAGE, 2).transpose(1, 0, 2)
        facts = page[size:].view(np.float32).reshape(-1, layout.PAGE)
        if shape.metric == "l1":
            facts = np.concatenate([np.zeros((2, layout.PAGE), np.float32), facts])
        out += [
            (row, *facts[:, i]) for i, row in enumerate(numbers.reshape(layout.PAGE, shape.coarse))
        ]
    return out


def worst(reduction: Reduction, rows: np.ndarray, queries: np.ndarray, growth: float) -> Fraction:
    """How far a bound is above the defined distance at most, in exact arithmetic: at most 0."""
    shape = reduction.shape
    planes = [(False, reduction.coarse), (True, reduction.fine)][: 2 if shape.fine else 1]
    asked = reduction.queries(queries, len(queries))
    most = Fraction(-1)
    for (fine, plane), query in zip(planes, asked, strict=False):
        step = Fraction(plane.step)
        held = stored(reduction, rows, fine)
        for q in range(len(queries)):
            true = reference.DISTANCE[shape.metric](queries[q], rows)
            for (numbers, _, residual, error), distance in zip(held, true, strict=True):
                if not np.isfinite([error, residual, query.errors[q], distance]).all():
                    continue
                reach = Fraction(float(distance)) * Fraction(growth)
                reach += Fraction(float(error)) + Fraction(float(query.errors[q]))
                if shape.metric == "l1":
                    apart = [
                        int(s) * abs(int(u) - int(v))
                        for s, u, v in zip(plane.scales, numbers, query.numbers[q], strict=False)
                    ]
                    most = max(most, step * sum(apart) - reach)
                    continue
                squares = sum(
                    (coarse.FINER * int(u) - int(v)) ** 2
                    for u, v in zip(numbers, query.numbers[q], strict=False)
                )
                left = Fraction(float(residual)) - Fraction(float(query.residuals[q]))
                bound = (step / coarse.FINER) ** 2 * squares + left**2
                most = max(most, bound - reach**2)
    return most


def growth_of(reduction: Reduction) -> float:
    departure = max(reduction.coarse.departure, reduction.fine.departure)
    return (1 + departure) * (1 + 2 * layout.rounding(reduction.dim)) * (1 + 2.0**-40)


def moved(rows: np.ndarray, seed: int) -> np.ndarray:
    """Queries: some rows, and some rows moved by little."""
    rng = np.random.default_rng(seed)
    some = rows[rng.integers(0, len(rows), 3)]
    with np.errstate(over="ignore", invalid="ignore"):
        near = (some * (1 + 1e-3 * rng.standard_normal(some.shape))).astype(np.float32)
    near[~np.isfinite(near)] = 0
    return np.concatenate([some[:1], near])


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(FLOAT_DATA)), st.sampled_from(METRICS),
    st.sampled_from([FORCED, ALONE, REGROUPED]),
    st.integers(1, 70), st.integers(0, 1000),
)  # fmt: skip
def test_no_bound_is_above_the_distance(data, metric, cut, dim, seed):
    rows = made(data, 32, dim, seed)
    rows = rows[np.isfinite(rows).all(axis=1)]
    rows = rows[: len(rows) // 16 * 16]
    reduction = learnt(rows, metric, cut) if len(rows) else None
    if reduction is None:  # all rows equal, or beyond float32's squares
        return
    assert worst(reduction, rows, moved(rows, seed), growth_of(reduction)) <= 0


def spread(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((64, 40)).astype(np.float32)


def test_directions_that_are_not_orthonormal_are_allowed_for():
    """As far as their departure says; and not without it: in limits, or in residuals."""
    rows = spread()
    with cut_as(FORCED):
        reduction = learning.learn(rows, "l2")
        assert reduction is not None
        for stretch in (1.02, 0.98):
            directions = (reduction.directions * stretch).astype(np.float32)
            departure = learning.departure(directions)
            assert abs(departure / abs(stretch**2 - 1) / 4 - 1) < 0.1  # Frobenius, of 16 rows
            planes = {
                name: replace(getattr(reduction, name), departure=departure)
                for name in ("coarse", "fine")
            }
            bent = replace(reduction, directions=directions, **planes)
            queries = np.concatenate([rows[:8], spread(1)[:8]])
            assert worst(bent, rows, queries, growth_of(bent)) <= 0
    inside = (spread(2)[:32, :16] @ reduction.directions).astype(np.float32)  # no residuals
    bent = replace(reduction, directions=(reduction.directions * 1.02).astype(np.float32))
    assert worst(bent, inside, inside[:8] * 3, growth_of(bent)) > 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("term", ["row", "query"])
def test_each_error_is_needed(monkeypatch, metric, term):
    """Of rows of one number: one lies on a step, the other just beyond the half of one."""
    rows = spread(3)[:, :1].copy()
    reduction = learnt(rows, metric, ALONE)
    assert reduction is not None
    # At the centre nothing else is lost.
    plane = replace(reduction.coarse, lo=-100 * reduction.coarse.step)
    reduction = replace(reduction, coarse=plane)
    if metric == "l2":
        place = int(np.argmax(np.abs(reduction.directions[:, 0])))
        sign = float(reduction.directions[place, 0])
        centre, scale = float(reduction.centre[0]) * sign, 1
        unit = plane.step / coarse.FINER if term == "query" else plane.step
    else:
        place, sign = int(reduction.directions[0, 0]), float(reduction.directions[1, 0])
        centre, scale, unit = float(reduction.centre[place]), int(plane.scales[place]), plane.step
    on = (scale * (plane.lo + plane.step * 100) + centre) / sign
    between = on + 0.51 * scale * unit / sign
    first, second = ([[on]], [[between]])[:: 1 if term == "query" else -1]
    rows = np.repeat(np.array(first, np.float32), 16, axis=0)
    queries = np.array(second, np.float32)
    assert worst(reduction, rows, queries, growth_of(reduction)) <= 0
    if term == "query":
        asked = Reduction.queries

        def without(self, queries, padded):
            planes = asked(self, queries, padded)
            return tuple(replace(plane, errors=np.zeros(padded)) for plane in planes)

        monkeypatch.setattr(Reduction, "queries", without)
    else:
        real = stored
        monkeypatch.setitem(
            globals(), "stored", lambda *args: [(*row[:3], np.float32(0)) for row in real(*args)]
        )
    assert worst(reduction, rows, queries, growth_of(reduction)) > 0


def pages_at(operation: int, level: int, queries: int):
    """A kernel of one page, compiled for these constants."""

    def run(page, qb, qs, weights, residuals, reaches, scale, slack, out):
        return coarse.coarse_page(  # type: ignore[call-arg]
            operation, level, 6, queries, 1,
            page, qb, qs, weights, residuals, reaches, scale, slack, out,
        )  # fmt: skip

    run.__name__ = run.__qualname__ = f"page_{operation}_{level}_{queries}"
    return compiled(
        numba.int64(*(numba.intp,) * 6, numba.float32, numba.float32, numba.intp)
    )(run)  # fmt: skip


@pytest.mark.parametrize("level", NUMBERS)
@pytest.mark.parametrize("operation", [PRODUCT, ABSOLUTE])
@pytest.mark.parametrize("queries", [1, 4])
def test_pages_equal_numpy(operation, level, queries):
    rng = np.random.default_rng(operation + 10 * level + queries)
    page = np.zeros(coarse.page_bytes(operation, 12), np.uint8)
    rows = rng.choice([0, 1, 128, 254, 255], (16, 12)).astype(np.uint8)
    page[: 16 * 12] = rows.reshape(16, 6, 2).transpose(1, 0, 2).ravel()
    facts = page[16 * 12 :].view(np.float32).reshape(-1, 16)
    facts[:] = rng.random(facts.shape)
    facts[-1, 5] = np.nan  # nothing is known of the row: it passes
    weights, residuals = (rng.random(4).astype(np.float32) for _ in range(2))
    reaches = rng.random(4).astype(np.float32) * 3
    scale, slack, out = np.float32(2.0**-9), np.float32(0.75), np.zeros((4, 16), np.float32)
    if operation == PRODUCT:
        asked = rng.integers(-32767, 32768, (4, 12)).astype(np.int16)
        sums = asked.astype(np.int64) @ rows.astype(np.int64).T
        near = (weights[:, None] + facts[0]).astype(np.float64) * 0.75
        near -= 2 * (sums * 2.0**-9 + residuals[:, None].astype(np.float64) * facts[1])
        reach = (reaches[:, None].astype(np.float64) + facts[2]) ** 2
    else:
        asked = rng.choice([0, 3, 255], (4, 12)).astype(np.uint8)
        scales = rng.integers(1, 22, 12).astype(np.uint8)  # adds up to at most coarse.MOST
        residuals = np.zeros(16, np.uint8)
        residuals[:12] = scales
        apart = np.abs(rows.astype(int)[None] - asked.astype(int)[:, None])
        near = (apart * scales).sum(axis=2) * 2.0**-9
        reach = reaches[:, None].astype(np.float64) + facts[-1]
    passed = pages_at(operation, level, queries)(
        page.ctypes.data, asked.ctypes.data, asked.strides[0],
        weights.ctypes.data, residuals.ctypes.data, reaches.ctypes.data,
        scale, slack, out.ctypes.data,
    )  # fmt: skip
    np.testing.assert_allclose(out[:queries], near[:queries], rtol=1e-5, atol=1e-3)
    bits = passed >> np.arange(16 * queries, dtype=np.int64) & 1
    want = ~(near[:queries] > reach[:queries])
    clear = np.abs(near[:queries] - reach[:queries]) > 2e-3
    clear |= np.isnan(reach[:queries])
    np.testing.assert_array_equal(bits.reshape(queries, 16)[clear], want[clear])
    assert want[:, 5].all()


def test_scales_add_up_within_sixteen_bits():
    rng = np.random.default_rng(0)
    for sums, count in ((1, 64), (coarse.SUMS, 448), (coarse.SUMS, 64), (1, 2)):
        for deviations in (
            rng.random(count),
            np.ones(count),
            np.zeros(count),
            rng.random(count) ** 9,
        ):
            scales = learning.scales_for(deviations, sums)
            assert scales.min() >= 1
            lanes = np.arange(count) // 2 % sums
            assert np.bincount(lanes, scales).max() <= coarse.MOST
    assert coarse.MOST * 255 < 2**16


@pytest.mark.parametrize("metric", METRICS)
def test_a_reduction_is_kept_as_bytes(metric):
    rows = spread()
    reduction = learnt(rows, metric)
    assert reduction is not None
    again = Reduction.from_bytes(reduction.to_bytes())
    for a, b in zip(reduction.reduce(rows), again.reduce(rows), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.left == reduction.left
    with pytest.raises(ValueError, match="no reduction"):
        Reduction.from_bytes(reduction.to_bytes()[:500])


def clustered(rows: int, dim: int, seed: int) -> np.ndarray:
    """Rows around 60 centres of 12 dimensions, with a little noise in all."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((60, 12)) @ rng.standard_normal((12, dim))
    near = centres[rng.integers(0, 60, rows)] + 0.3 * rng.standard_normal((rows, dim))
    return near.astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
def test_usual_sizes_exclude_most_rows_and_change_nothing(metric):
    rows = clustered(5000, 2048, 0)
    queries = rows[::1000] + np.float32(0.01)
    database = Sketched(rows)
    assert [len(part) for part in database.sketch.reduced[metric]] == [5000 // 16 * 16]
    found, ids, proof = topk(queries, database, 10, metric=metric, strategy="sketch", explain=True)
    want = reference.topk(queries, rows, 10, metric)
    np.testing.assert_array_equal(found, want[0])
    np.testing.assert_array_equal(ids, want[1])
    assert proof.reduced >= 0.99 * len(queries) * len(rows)
    assert proof.after_fine < 0.1 * proof.reduced
    assert "bounded by reduced rows" in str(proof)


@pytest.mark.parametrize("metric", METRICS)
def test_noise_is_not_worth_reducing(metric):
    rows = np.random.default_rng(0).standard_normal((4200, 512)).astype(np.float32)
    assert metric not in Sketched(rows).sketch.reduced


def test_few_or_short_rows_are_not_reduced():
    assert not Sketched(clustered(1000, 512, 0)).sketch.reduced
    assert not Sketched(clustered(5000, 40, 0)).sketch.reduced
