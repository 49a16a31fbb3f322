"""Target scales: there and back, and which one is chosen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raydnnr.surrogates.targets import Scale, choose_scale

numbers = arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e6, 1e6))
scales = st.builds(
    Scale, center=st.floats(-1e3, 1e3), width=st.just(math.inf) | st.floats(1e-2, 1e4), shift=st.floats(-5, 5),
    scale=st.floats(0.05, 20), fine=st.floats(1e-3, 1.0))


@given(scales, numbers)
def test_there_and_back(scale, o):
    size = np.abs(o) + abs(scale.center) + abs(scale.shift) * scale.scale + 1.0
    np.testing.assert_allclose((scale.backward(scale.forward(o)) - o) / size, 0.0, atol=1e-9)


@given(scales, numbers)
def test_larger_observables_have_larger_targets(scale, o):
    assert (np.diff(scale.forward(np.sort(o))) >= 0).all()


@given(scales, st.floats(-100, 100))
def test_the_jacobian_is_that_of_the_scale(scale, o):
    h = 1e-4 * (1.0 if math.isinf(scale.width) else scale.width)
    slope = (scale.forward(np.array([o + h])) - scale.forward(np.array([o - h])))[0] / (2 * h)
    assert scale.log_jacobian(np.array([o])) == pytest.approx(math.log(slope), abs=1e-3)
    assert scale.log_jacobian(np.array([o, o])) == pytest.approx(2 * scale.log_jacobian(np.array([o])))


@given(scales, st.floats(-1e6, 1e6) | st.sampled_from([math.inf, -math.inf]))
def test_wild_targets_come_back_finite_where_the_scale_is_bent(scale, t):
    with np.errstate(over="ignore"):
        o = scale.backward(np.array([t]))[0]
    assert math.isfinite(o) or (math.isinf(scale.width) and math.isinf(t))


def problem(n=200, seed=0):
    u = np.random.default_rng(seed).random((n, 2))
    return u, np.random.default_rng(seed + 1)


def test_an_observable_over_seven_decades_gets_a_bent_scale():
    u, rng = problem()
    o = 10.0 ** (-7.0 * u[:, 0])
    scale, lengths = choose_scale(u, o, o, 1e-6, rng)
    assert scale.width in (3e-6, 3e-5)
    assert lengths is not None


def test_one_that_spans_little_beside_what_matters_keeps_its_own():
    u, rng = problem()
    o = 10.0 ** (-7.0 * u[:, 0])
    assert math.isinf(choose_scale(u, o, o, 0.1, rng)[0].width)


@pytest.mark.parametrize("smooth", [lambda u: 125 + 3 * u[:, 0], lambda u: np.sin(3 * u[:, 0]) + u[:, 1] ** 2])
@pytest.mark.parametrize("matters", [1e-6, 1e-3, 1.0, math.inf])
def test_a_smooth_observable_keeps_its_own(smooth, matters):
    u, rng = problem(100)
    o = smooth(u)
    assert math.isinf(choose_scale(u, o, np.abs(o - np.median(o)), matters, rng)[0].width)


@pytest.mark.parametrize("factor", [1e-9, 1e6])
def test_units_do_not_matter(factor):
    u, _ = problem()
    o = 10.0 ** (-7.0 * u[:, 0])
    (a, _), (b, _) = (choose_scale(u, k * o, o, k * 1e-6, np.random.default_rng(3)) for k in (1.0, factor))
    assert b.width / factor == pytest.approx(a.width)
    np.testing.assert_allclose(b.forward(factor * o), a.forward(o), atol=1e-6)


def test_targets_have_about_unit_scale_and_the_best_rows_are_fine():
    u, rng = problem()
    o = 10.0 ** (-7.0 * u[:, 0])
    scale, _ = choose_scale(u, o, np.abs(o - 1e-3) / 1e-4, 1e-6, rng)
    t = scale.forward(o)
    assert t.mean() == pytest.approx(0.0, abs=1e-6)
    assert t.std() == pytest.approx(1.0, rel=1e-6)
    assert scale.fine == pytest.approx(min(1.0, np.ptp(t[np.argsort(np.abs(o - 1e-3))[:20]])))


def test_the_fine_scale_is_never_nothing_and_never_more_than_all():
    u, rng = problem()
    assert choose_scale(u, np.full(200, 5.0), u[:, 0], 1.0, rng)[0].fine == 1e-8
    assert choose_scale(u, u[:, 1], u[:, 0], 1.0, rng)[0].fine == 1.0


@pytest.mark.parametrize("matters", [1e-3, 1.0])
@pytest.mark.parametrize("o", [np.zeros(50), np.full(50, 0.1), np.where(np.arange(50) < 40, 0.1, 7.0),
                               np.where(np.arange(50) < 49, 3.0, 1e9), np.full(50, -1e-30)])
def test_hardly_any_variation_is_no_division_by_zero(o, matters):
    u, rng = problem(50)
    scale, _ = choose_scale(u, o, np.arange(50.0), matters, rng)
    t = scale.forward(o)
    assert np.isfinite(t).all()
    assert np.abs(t).max() < 100
    np.testing.assert_allclose(scale.backward(t), o, rtol=1e-6, atol=1e-12 * np.abs(o).max())


@pytest.mark.parametrize("o", [np.full(50, 0.1), np.full(50, 1.0 / 3.0)])
def test_the_rounding_of_a_constant_is_no_spread(o):
    u, rng = problem(50)
    assert choose_scale(u, o, np.arange(50.0), 1.0, rng)[0].scale == 1.0


@pytest.mark.parametrize("n", [1, 2, 15, 16, 30])
def test_few_rows_keep_the_plain_scale(n):
    u, rng = problem(n)
    scale, lengths = choose_scale(u, 10.0 ** (-7.0 * u[:, 0]), u[:, 1], 1e-9, rng)
    assert (lengths is None) == (n < 16)
    assert math.isinf(scale.width) or n >= 16


def test_the_same_rows_and_seed_give_the_same_scale():
    u, _ = problem(60)
    o = np.exp(5 * u[:, 0])
    a, b = (choose_scale(u, o, o, 1e-3, np.random.default_rng(3)) for _ in range(2))
    assert a[0] == b[0]
    assert a[1].length.tobytes() == b[1].length.tobytes()
