"""Gaussian process: what it knows of its rows, and what it says of everything else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raydnnr.surrogates.gaussian_process import (
    LENGTH_RANGE,
    NOISE_RANGE,
    GaussianProcess,
    Lengths,
    _loss,
    _prior,
    fit_lengths,
    log_posterior,
)

seeds = st.integers(0, 2**32 - 1)


def smooth(u):
    """A function of the first parameter, a little of the second, and nothing of the others."""
    return np.sin(4.0 * u[:, 0]) + 0.3 * u[:, 1] ** 2


def rows(n=80, n_params=3, seed=0):
    u = np.random.default_rng(seed).random((n, n_params))
    return u, smooth(u)


def process(n=80, n_params=3, seed=0, noise=1e-8, length=0.7):
    u, y = rows(n, n_params, seed)
    return GaussianProcess(Lengths(np.full(n_params, length), noise), u, y)


@given(seeds, st.integers(1, 5))
def test_the_gradient_is_that_of_the_mean(seed, n_params):
    gp = process(40, max(n_params, 2), seed)
    u = np.random.default_rng(seed + 1).random((6, max(n_params, 2)))
    value, gradient = gp.gradient(u)
    np.testing.assert_allclose(value, gp.mean(u), atol=1e-10)
    h = 1e-4
    for p in range(u.shape[1]):
        step = h * np.eye(u.shape[1])[p]
        np.testing.assert_allclose(gradient[:, p], (gp.mean(u + step) - gp.mean(u - step)) / (2 * h), atol=2e-4)


@given(seeds, st.floats(0.05, 3.0), st.floats(1e-6, 0.5), st.booleans())
@settings(max_examples=25)
def test_the_gradient_of_the_posterior_is_that_of_the_loss(seed, length, noise, smooth):
    u, y = (torch.from_numpy(a) for a in rows(30, 3, seed))
    theta = np.log(np.array([length, 0.5, 2.0, noise]))
    middle, width = _prior(3)
    gradient = _loss(theta, u, y, middle, width, smooth)[1]
    for k in range(4):
        h = 1e-5 * np.eye(4)[k]
        above, below = (_loss(theta + side * h, u, y, middle, width, smooth)[0] for side in (1, -1))
        slope = (above - below) / 2e-5
        assert gradient[k] == pytest.approx(slope, rel=1e-3, abs=1e-3)


@given(seeds)
def test_it_passes_through_its_rows(seed):
    gp = process(40, 3, seed)
    np.testing.assert_allclose(gp.mean(gp.u), gp.y, atol=1e-3)
    assert (gp.moments(gp.u)[1] < 0.02).all()


@given(seeds, st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_a_shifted_and_stretched_target_is_predicted_so(seed, shift, stretch):
    gp, u = process(30, 2, seed), np.random.default_rng(seed).random((5, 2))
    other = GaussianProcess(gp.lengths, gp.u, shift + stretch * gp.y)
    (mean, std), (mean_2, std_2) = gp.moments(u), other.moments(u)
    np.testing.assert_allclose(mean_2, shift + stretch * mean, rtol=1e-5, atol=1e-5 * (stretch + abs(shift)))
    np.testing.assert_allclose(std_2, stretch * std, rtol=1e-3)


@given(seeds)
def test_the_order_of_the_rows_says_nothing(seed):
    gp, u = process(30, 3, seed), np.random.default_rng(seed).random((5, 3))
    order = np.random.default_rng(seed).permutation(30)
    other = GaussianProcess(gp.lengths, gp.u[order], gp.y[order])
    np.testing.assert_allclose(other.mean(u), gp.mean(u), atol=1e-6)
    np.testing.assert_allclose(other.moments(u)[1], gp.moments(u)[1], rtol=1e-2, atol=1e-6)


def test_the_uncertainty_grows_away_from_the_rows_up_to_that_of_knowing_nothing():
    u = 0.3 * np.random.default_rng(0).random((40, 2))
    gp = GaussianProcess(Lengths(np.full(2, 0.2), 1e-6), u, smooth(u))
    std = gp.moments(np.linspace(0.15, 3.0, 30)[:, None] * np.ones((1, 2)))[1]
    assert (np.diff(std[3:]) >= -1e-9).all()
    assert std[-1] > 30 * std[0]
    assert std[-1] == pytest.approx(gp.moments(np.full((1, 2), 50.0))[1][0], rel=1e-6)


def test_noise_is_part_of_the_uncertainty():
    u, y = rows(300)
    noisy = y + 0.2 * np.random.default_rng(1).standard_normal(300)
    gp = GaussianProcess(fit_lengths(u, noisy), u, noisy)
    mean, std = gp.moments(rows(400, seed=5)[0])
    assert 0.15 < np.median(std) < 0.27
    assert np.sqrt(np.mean((mean - smooth(rows(400, seed=5)[0])) ** 2)) < 0.1


def test_fitted_lengths_predict_new_rows_and_know_by_how_much():
    u, y = rows(120)
    gp = GaussianProcess(fit_lengths(u, y), u, y)
    there, truth = rows(400, seed=5)
    mean, std = gp.moments(there)
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.01 * truth.std()
    assert 0.3 < np.quantile(np.abs(mean - truth) / std, 0.9) < 3.0


def test_a_parameter_that_does_nothing_gets_a_long_length():
    u, y = rows(120, n_params=4)
    length = fit_lengths(u, y).length
    assert length[0] == min(length)
    assert min(length[2:]) > 3 * length[0]


def test_fitted_lengths_are_more_probable_than_others():
    u, y = rows(60)
    found = fit_lengths(u, y)
    best = log_posterior(found, u, y)
    for factor in (0.3, 3.0):
        assert log_posterior(Lengths(found.length * factor, found.noise), u, y) < best
    assert log_posterior(fit_lengths(u, y, [found]), u, y) >= best - 1e-6


def test_fitted_lengths_stay_in_their_ranges():
    u = rows(30)[0]
    for y in (np.zeros(30), np.random.default_rng(1).standard_normal(30), u[:, 0], 1e6 * u[:, 0]):
        found = fit_lengths(u, y)
        assert ((found.length >= 0.999 * LENGTH_RANGE[0]) & (found.length <= 1.001 * LENGTH_RANGE[1])).all()
        assert 0.999 * NOISE_RANGE[0] <= found.noise <= 1.001 * NOISE_RANGE[1]


@pytest.mark.parametrize("u", [np.full((20, 2), 0.5), np.repeat(np.random.default_rng(0).random((10, 2)), 2, axis=0),
                               0.5 + 1e-12 * np.random.default_rng(0).random((20, 2)), np.array([[0.2, 0.3]])])
def test_rows_that_are_one_point_do_no_harm(u):
    y = np.random.default_rng(1).standard_normal(len(u))
    gp = GaussianProcess(Lengths(np.ones(2), 1e-9), u, y)
    mean, std = gp.moments(np.random.default_rng(2).random((9, 2)))
    assert np.isfinite(mean).all()
    assert (np.isfinite(std) & (std > 0)).all()


def test_rows_of_one_value_predict_it():
    gp = GaussianProcess(Lengths(np.ones(2), 1e-6), rows(20, 2)[0], np.full(20, 0.1))
    u = np.random.default_rng(2).random((9, 2))
    np.testing.assert_allclose(gp.mean(u), 0.1, atol=1e-9)
    np.testing.assert_allclose(gp.gradient(u)[1], 0.0, atol=1e-6)


def test_no_points_no_predictions():
    gp, none = process(), np.empty((0, 3))
    assert gp.mean(none).shape == (0,)
    assert gp.gradient(none)[1].shape == (0, 3)
    assert gp.moments(none)[1].shape == (0,)


def test_the_same_rows_give_the_same_bits_and_touch_nothing_global():
    u, y = rows()
    threads, torch_state, numpy_state = torch.get_num_threads(), torch.get_rng_state(), np.random.get_state()
    torch.set_num_threads(2)
    try:
        a, b = (GaussianProcess(fit_lengths(u, y), u, y) for _ in range(2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    there = rows(50, seed=3)[0]
    assert a.lengths.length.tobytes() == b.lengths.length.tobytes()
    assert all(x.tobytes() == y.tobytes() for x, y in zip(a.moments(there), b.moments(there), strict=True))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert all(np.array_equal(x, y) for x, y in zip(np.random.get_state()[1:], numpy_state[1:], strict=True))
    assert (u.tobytes(), y.tobytes()) == tuple(a.tobytes() for a in rows())


def test_threads_are_given_back_after_an_error():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError):
            process().mean(np.zeros((2, 7)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
