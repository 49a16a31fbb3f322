"""Gaussian process: what it knows of its rows, and what it says of everything else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raydnnr.surrogates.gaussian_process import GaussianProcess
from raydnnr.surrogates.kernel_fit import (
    ADAPTED,
    ADDITIVE,
    LENGTH_RANGE,
    MATERN,
    NOISE_RANGE,
    NORMAL,
    NORMAL_ADAPTED,
    _Fit,
    fit_lengths,
    log_posterior,
)
from raydnnr.surrogates.kernels import Lengths, stretched

KERNELS = [MATERN, NORMAL, ADDITIVE, ADAPTED, NORMAL_ADAPTED]
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


def lengths_of(kernel, n_params, length=0.7, noise=1e-8):
    single, share = (np.linspace(0.1, 0.4, n_params), 0.6) if "additive" in kernel else (None, 0.0)
    turn = stretch = None
    if "adapted" in kernel:
        turn = np.eye(n_params) + 0.3 * np.triu(np.ones((n_params, n_params)), 1)
        stretch = np.linspace(-2.0, 1.5, n_params)
    return Lengths(np.full(n_params, length), noise, kernel in (NORMAL, NORMAL_ADAPTED), single, share, turn, stretch)


@pytest.mark.parametrize("kernel", KERNELS)
@given(seed=seeds, n_params=st.integers(2, 5))
@settings(max_examples=25)
def test_the_gradient_is_that_of_the_mean(kernel, seed, n_params):
    u, y = rows(40, n_params, seed)
    gp = GaussianProcess(lengths_of(kernel, n_params, noise=1e-6), u, y)
    u = np.random.default_rng(seed + 1).random((6, n_params))
    value, gradient = gp.gradient(u)
    np.testing.assert_allclose(value, gp.mean(u), atol=1e-9)
    h = 1e-4
    for p in range(n_params):
        step = h * np.eye(n_params)[p]
        np.testing.assert_allclose(gradient[:, p], (gp.mean(u + step) - gp.mean(u - step)) / (2 * h), atol=5e-4)


@pytest.mark.parametrize("kernel", KERNELS)
@given(seed=seeds, length=st.floats(0.05, 3.0), noise=st.floats(1e-6, 0.5))
@settings(max_examples=15)
def test_the_gradient_of_the_posterior_is_that_of_the_loss(kernel, seed, length, noise):
    u, y = (torch.from_numpy(a) for a in rows(30, 3, seed))
    fit = _Fit(u, y, kernel)
    theta = fit.theta(lengths_of(kernel, 3, length, noise))
    gradient = fit.loss(theta)[1]
    assert len(gradient) == {ADDITIVE: 8, ADAPTED: 13, NORMAL_ADAPTED: 13}.get(kernel, 4)
    for k, step in enumerate(1e-5 * np.eye(len(theta))):
        slope = (fit.loss(theta + step)[0] - fit.loss(theta - step)[0]) / 2e-5
        assert gradient[k] == pytest.approx(slope, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_coordinates_of_lengths_lead_back_to_them(kernel):
    u, y = (torch.from_numpy(a) for a in rows(10, 3))
    fit, lengths = _Fit(u, y, kernel), lengths_of(kernel, 3)
    there = fit.lengths(fit.theta(lengths))
    assert (there.smooth, there.share) == (lengths.smooth, pytest.approx(lengths.share))
    np.testing.assert_allclose(there.length, lengths.length)
    for name in ("single", "turn", "stretch"):
        mine, other = getattr(lengths, name), getattr(there, name)
        assert (mine is None) == (other is None)
        if mine is not None:
            np.testing.assert_allclose(other, mine)


@given(stretch=st.floats(-6.0, 6.0), seed=seeds)
def test_a_stretch_keeps_ends_and_order(stretch, seed):
    u = torch.from_numpy(np.sort(np.append(np.random.default_rng(seed).random(20), [0.0, 1.0])))[:, None]
    there, slope, _ = (a.numpy().ravel() for a in stretched(np.array([stretch]), u))
    assert there[[0, -1]] == pytest.approx([0.0, 1.0], abs=1e-12)
    assert (np.diff(there) >= 0).all()
    assert (slope > 0).all()


@pytest.mark.parametrize("law", [lambda u: np.sin(9.0 * (u[:, 0] - 0.6 * u[:, 1] + 0.3 * u[:, 2])),
                                 lambda u: np.cos(2.0 / (0.05 + u[:, 0])) + u[:, 1] * u[:, 2]],
                         ids=["along no axis", "fast at one end"])
def test_adapted_coordinates_learn_from_fewer_rows(law):
    rng = np.random.default_rng(0)
    u, new = rng.random((200, 5)), rng.random((300, 5))
    plain = fit_lengths(u, law(u))
    adapted = fit_lengths(u, law(u), kernel=ADAPTED, rival=plain)
    error, better = (np.abs(GaussianProcess(lengths, u, law(u)).mean(new) - law(new)).mean()
                     for lengths in (plain, adapted))
    assert better < 0.6 * error


def test_a_sum_of_functions_of_one_parameter_each_is_learned_from_few_rows():
    """Six wiggles in each of four parameters: 1,300 cells, 150 rows."""
    def egg(u):
        return np.cos(38.0 * (u - 0.4)).sum(axis=1)

    rng = np.random.default_rng(0)
    u, new = rng.random((150, 4)), rng.random((300, 4))
    error = {}
    for kernel in (MATERN, ADDITIVE):
        gp = GaussianProcess(fit_lengths(u, egg(u), kernel=kernel), u, egg(u))
        error[kernel] = np.abs(gp.mean(new) - egg(new)).mean()
    assert error[ADDITIVE] < 0.1 < 0.5 < error[MATERN]


@pytest.mark.parametrize("spoil", ["u", "y"])
def test_a_row_that_is_not_finite_is_refused(spoil):
    u, y = rows(20)
    (u if spoil == "u" else y)[3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        GaussianProcess(Lengths(np.ones(3), 1e-6), u, y)


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


def test_a_kernel_of_more_lengths_is_taken_only_where_rows_ask_for_it():
    u = rows(120, n_params=4)[0]
    product, step = np.sin(5.0 * u[:, 0] * u[:, 1]), np.sign(u[:, 0] + u[:, 1] - 1.0)
    for kernel, wanted, target in ((ADDITIVE, True, np.cos(25.0 * u).sum(axis=1)), (ADDITIVE, False, product),
                                   (NORMAL, True, product), (NORMAL, False, step), (ADAPTED, True, step),
                                   (ADAPTED, False, np.random.default_rng(1).standard_normal(120))):
        simple = fit_lengths(u, target)
        assert (fit_lengths(u, target, kernel=kernel, rival=simple) is not simple) == wanted


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
