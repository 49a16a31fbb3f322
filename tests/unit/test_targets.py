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


@given(scales, st.floats(-1e6, 1e6) | st.sampled_from([math.inf, -math.inf]))
def test_wild_targets_come_back_finite_where_the_scale_is_bent(scale, t):
    with np.errstate(over="ignore"):
        o = scale.backward(np.array([t]))[0]
    assert math.isfinite(o) or (math.isinf(scale.width) and math.isinf(t))


def decades(n=200):
    """An observable over seven decades."""
    return 10.0 ** (-7.0 * np.random.default_rng(0).random(n))


@pytest.mark.parametrize("factor", [1e-9, 1e6])
def test_units_do_not_matter(factor):
    o = decades()
    a, b = (choose_scale(k * o, o, k * 1e-6) for k in (1.0, factor))
    np.testing.assert_allclose(b.forward(factor * o), a.forward(o), atol=1e-6)


@pytest.mark.parametrize("width", [1e-4, math.inf])
def test_targets_have_about_unit_scale_and_the_best_rows_are_fine(width):
    o = decades()
    scale = choose_scale(o, np.abs(o - 1e-3), width)
    t = scale.forward(o)
    assert t.mean() == pytest.approx(0.0, abs=1e-6)
    assert t.std() == pytest.approx(1.0, rel=1e-6)
    assert scale.fine == pytest.approx(min(1.0, np.ptp(t[np.argsort(np.abs(o - 1e-3))[:20]])))


def test_the_center_is_where_the_best_rows_are():
    o = decades()
    assert choose_scale(o, np.abs(o - 1e-3), 1e-4).center == pytest.approx(1e-3, rel=0.2)


def test_the_fine_scale_is_never_nothing_and_never_more_than_all():
    nll = decades()
    assert choose_scale(np.full(200, 5.0), nll, math.inf).fine == 1e-8
    assert choose_scale(np.random.default_rng(1).random(200), nll, math.inf).fine == 1.0


@pytest.mark.parametrize("width", [1e-3, 1.0, math.inf])
@pytest.mark.parametrize("o", [np.zeros(50), np.full(50, 0.1), np.where(np.arange(50) < 40, 0.1, 7.0),
                               np.where(np.arange(50) < 49, 3.0, 1e9), np.full(50, -1e-30)])
def test_hardly_any_variation_is_no_division_by_zero(o, width):
    scale = choose_scale(o, np.arange(50.0), width)
    t = scale.forward(o)
    assert np.isfinite(t).all()
    assert np.abs(t).max() < 100
    np.testing.assert_allclose(scale.backward(t), o, rtol=1e-6, atol=1e-12 * np.abs(o).max())


@pytest.mark.parametrize("o", [np.full(50, 0.1), np.full(50, 1.0 / 3.0)])
def test_the_rounding_of_a_constant_is_no_spread(o):
    assert choose_scale(o, np.arange(50.0), math.inf).scale == 1.0
