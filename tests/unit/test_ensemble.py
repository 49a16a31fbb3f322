"""Ensemble: what it learns, what it may not know, and what its uncertainties are worth."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raydnnr.errors import ConfigError
from raydnnr.surrogates.ensemble import Ensemble, EnsembleRegressor
from raydnnr.surrogates.ensemble_calibration import calibrate_logit, calibrate_spread, weighted_median
from raydnnr.surrogates.ensemble_net import BatchedNet, n_weights
from raydnnr.surrogates.ensemble_training import Rows, _Goals, fit_trend, folds

QUICK = Ensemble(neurons=8, steps=60, batch_size=32)
GOOD = Ensemble(neurons=32, steps=500)


def data(n=200, seed=0, n_params=3):
    """Two smooth targets."""
    u = np.random.default_rng(seed).random((n, n_params))
    return u, np.column_stack([np.sin(4 * u[:, 0]) * u[:, 1], np.exp(u[:, 1] - u[:, 2])])


def fit(settings, u, y, valid=None, weights=None, seed=1, start=None):
    return settings.fit(u, y, valid, np.ones(len(u)) if weights is None else weights, seed, start)


def same(a, b, u):
    """Bit for bit, in all that is predicted."""
    return all(x.tobytes() == y.tobytes() for x, y in zip(a.summary(u), b.summary(u), strict=True))


@pytest.fixture(scope="module")
def trained():
    u, y = data(400)
    return fit(GOOD, u, y)


def test_it_learns_smooth_targets(trained):
    u, y = data(500, seed=5)
    mean, _ = trained.moments(u)
    assert (np.sqrt(((mean - y) ** 2).mean(axis=0)) < 0.05 * y.std(axis=0)).all()


def test_shapes_and_the_mean_of_the_members(trained):
    u, _ = data(7)
    members, (mean, std) = trained.members(u), trained.moments(u)
    assert (members.shape, mean.shape, std.shape, trained.p_valid(u).shape) == ((5, 7, 2), (7, 2), (7, 2), (7,))
    np.testing.assert_allclose(members.mean(axis=0), mean)
    assert (std > 0).all()
    assert trained.members(u[:0]).shape == (5, 0, 2)
    assert trained.p_valid(u[:0]).shape == (0,)


def test_a_candidate_does_not_depend_on_its_neighbours(trained):
    u, _ = data(40_000)
    np.testing.assert_allclose(trained.moments(u)[0][-3:], trained.moments(u[-3:])[0], atol=1e-5)


def test_the_uncertainty_is_the_error_within_a_factor(trained):
    u, y = data(2000, seed=5)
    mean, std = trained.moments(u)
    robust = np.median(np.abs(y - mean) / std, axis=0) / 0.6745
    assert ((robust > 0.4) & (robust < 1.6)).all()


def test_noise_is_part_of_the_uncertainty():
    u, y = data(600)
    noise = np.random.default_rng(2).normal(size=(600, 2)) * [0.0, 0.3]
    _, std = fit(GOOD, u, y + noise).moments(data(300, seed=3)[0])
    assert np.median(std[:, 0]) < 0.1
    assert 0.2 < np.median(std[:, 1]) < 0.5


def test_the_same_seed_gives_the_same_ensemble():
    u, y = data()
    a, b, c = (fit(QUICK, u, y, seed=seed) for seed in (1, 1, 2))
    assert same(a, b, u)
    assert not same(a, c, u)


def test_the_order_of_the_rows_does_not_matter():
    u, y = data()
    order = np.random.default_rng(3).permutation(len(u))
    valid, weights = u[:, 0] > 0.3, 1 + u[:, 1]
    a = fit(QUICK, u, y, valid, weights)
    assert same(a, fit(QUICK, u[order], y[order], valid[order], weights[order]), u)


def test_a_row_of_weight_0_is_absent():
    u, y = data()
    weights = np.where(np.arange(len(u)) % 4 == 0, 0.0, 1.0)
    spoiled = np.where(weights[:, None] > 0, y, 1e9)
    kept = weights > 0
    a = fit(QUICK, u, spoiled, valid=kept, weights=weights)
    assert same(a, fit(QUICK, u[kept], y[kept]), u)
    assert a.report.n_points == kept.sum()


def test_heavier_rows_are_fitted_better():
    u, y = data(300)
    noisy = y + np.where(np.arange(300)[:, None] % 2, 1.0, -1.0)  # two worlds, one unit above and below the truth
    weights = np.where(np.arange(300) % 2, 20.0, 1.0)
    mean, _ = fit(GOOD, u, noisy, weights=weights).moments(u)
    assert np.abs(np.median(mean - y) - 0.9) < 0.2


def test_missing_targets_are_learned_from_the_rows_that_have_them():
    """Two thirds of one target are missing, at random: it is not pulled to zero, and the other does not suffer."""
    u, y = data(600)
    y[np.random.default_rng(4).random(600) < 0.66, 0] = np.nan
    fitted = fit(GOOD, u, y)
    new, truth = data(500, seed=5)
    mean, std = fitted.moments(new)
    assert (np.sqrt(((mean - truth) ** 2).mean(axis=0)) < 0.1 * truth.std(axis=0)).all()
    assert (std > 0).all()


@pytest.mark.parametrize("fill", [np.nan, -np.inf])
def test_what_stands_where_a_target_is_missing_does_not_matter(fill):
    u, y = data()
    y[::3, 1] = np.nan
    assert same(fit(QUICK, u, y), fit(QUICK, u, np.where(np.isnan(y), fill, y)), u)


def test_a_target_no_row_has_is_predicted_as_unknown():
    u, y = data()
    y[:, 1] = np.nan
    mean, std = fit(QUICK, u, y).moments(u)
    assert np.isfinite(mean).all()
    assert (std[:, 1] > 0.5).all()


def test_the_validity_head_learns_a_half_space():
    u, y = data(600)
    normal = np.array([1.0, -1.0, 0.5])
    valid = u @ normal > 0.3
    y[~valid] = np.nan
    fitted = fit(GOOD, u, y, valid)
    new, truth = data(2000, seed=9)
    p = fitted.p_valid(new)
    label = new @ normal > 0.3
    assert ((p > 0.5) == label).mean() > 0.97
    assert -np.log(np.where(label, p, 1 - p)).mean() < 0.15
    assert np.abs(fitted.moments(new)[0] - truth)[label].mean() < 0.05


@pytest.mark.parametrize(("label", "low", "high"), [(True, 0.99, 1.0), (False, 0.0, 0.01)])
def test_one_label_alone_gives_a_constant(label, low, high):
    u, y = data()
    p = fit(QUICK, u, y, np.full(len(u), label)).p_valid(u)
    assert low < p[0] < high
    assert (p == p[0]).all()


def test_what_is_saved_is_loaded(tmp_path):
    u, y = data()
    a = fit(QUICK, u, y, valid=u[:, 0] > 0.5)
    a.save(tmp_path / "surrogate.pt")
    b = EnsembleRegressor.load(tmp_path / "surrogate.pt")
    assert same(a, b, u)
    assert b.report == a.report
    assert same(fit(QUICK, u, y, start=a), fit(QUICK, u, y, start=b), u)


def test_nothing_in_a_file_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    torch.save({"flat": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(pickle.UnpicklingError):
        EnsembleRegressor.load(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


def test_threads_and_random_numbers_of_the_process_stay_as_they_were():
    u, y = data()
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.manual_seed(3)
    np.random.seed(3)
    before, before_np = torch.get_rng_state(), np.random.get_state()[1].copy()
    torch.set_num_threads(2)
    fit(QUICK, u, y).moments(u)
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (2, precision)
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == before_np).all()
    torch.set_num_threads(threads)


def test_a_warm_start_is_short_and_leaves_what_it_starts_from_alone():
    u, y = data(400)
    first = fit(GOOD, u[:300], y[:300])
    before = first.flat.clone()
    warm = fit(GOOD, u, y, start=first)
    assert torch.equal(first.flat, before)
    assert warm.report.epochs < 0.7 * fit(GOOD, u, y).report.epochs
    new, truth = data(500, seed=5)
    assert np.abs(warm.moments(new)[0] - truth).mean() < 0.03


def test_a_start_of_other_shapes_is_not_used():
    u, y = data()
    assert same(fit(QUICK, u, y, start=fit(QUICK, u, y[:, :1])), fit(QUICK, u, y), u)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 3), st.integers(1, 7))
def test_any_number_of_rows_parameters_targets_and_members(n, n_params, n_targets, members):
    rng = np.random.default_rng(n)
    u, y = rng.random((n, n_params)), rng.normal(size=(n, n_targets))
    fitted = fit(Ensemble(members=members, neurons=4, layers=1, steps=5, batch_size=8), u, y, valid=rng.random(n) < 0.5)
    for values in (fitted.members(u), *fitted.moments(u), fitted.p_valid(u)):
        assert np.isfinite(values).all()


@given(st.integers(1, 200), st.integers(1, 5), st.integers(1, 9))
def test_every_row_is_in_one_fold_and_stays_there(n, n_params, members):
    u = np.random.default_rng(n).random((n, n_params))
    fold, _ = folds(u, members)
    assert ((fold >= 0) & (fold < max(5, members))).all()
    assert (folds(u[::-1], members)[0][::-1] == fold).all()
    assert (folds(u[: n // 2], members)[0] == fold[: n // 2]).all()


def test_folds_are_about_equal():
    fold, _ = folds(np.random.default_rng(0).random((5000, 2)), 5)
    assert np.abs(np.bincount(fold) - 1000).max() < 120


def test_a_member_never_sees_its_fold():
    """With wild values in one fold, that fold's member predicts as without them."""
    u, y = data(300)
    fold, _ = folds(u, 5)
    wild = np.where((fold == 2)[:, None], 1e3, y)
    assert np.abs(fit(QUICK, u, wild).members(u)[2] - y).mean() < 1.0
    assert np.abs(fit(QUICK, u, wild).members(u)[1] - y).mean() > 10.0


def test_the_gradient_is_that_of_autograd():
    generator = torch.Generator().manual_seed(0)
    u, y = data(64)
    y[::5, 0] = np.nan
    rows = Rows.of(u, y, u[:, 0] > 0.5, 1 + u[:, 1], folds(u, 3)[0], torch.device("cpu"))
    sizes = (3, 8, 8, 3)
    net = BatchedNet.drawn(3, sizes, generator, torch.device("cpu"))
    goals = _Goals(rows, fit_trend(rows, 3), 3)
    x, target, w = goals.take(goals.shuffled(32, generator))
    net.backward(x, goals.slope(net.forward(x), target, w))

    flat = net.flat.clone().requires_grad_()
    h, start = x, 0
    for k, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        weight = flat[:, start:start + n_in * n_out].view(3, n_in, n_out)
        start += n_in * n_out
        h = torch.nn.functional.silu(h) if k else h
        h = h @ weight + flat[:, None, start:start + n_out]
        start += n_out
    assert start == n_weights(sizes)
    square = (w * (h - target).square())[..., :-1].sum() / 2
    cross = torch.nn.functional.binary_cross_entropy_with_logits(h[..., -1], target[..., -1], w[..., -1], reduction="sum")
    ((square + cross) / 32).backward()
    torch.testing.assert_close(net.gradient, flat.grad, rtol=1e-4, atol=1e-6)


def test_calibration_finds_the_scale_it_is_given():
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.1, 1.0, (4000, 1))
    residual = 3.0 * spread * rng.normal(size=(4000, 1))
    scale, floor = calibrate_spread(residual, spread, np.ones(4000), 1, np.ones(1))
    std = scale * np.sqrt(spread**2 + floor**2)
    assert np.abs(std / (3.0 * spread) - 1).mean() < 0.15


def test_an_overconfident_logit_is_cooled():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=5000)
    valid = rng.random(5000) < 1 / (1 + np.exp(-truth))
    assert 0.2 < calibrate_logit(4 * truth, valid, np.ones(5000)) < 0.32


def test_weighted_median():
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 5.0])) == 2.0


@pytest.mark.parametrize(("key", "value"), [("members", 0), ("neurons", 0), ("steps", 0), ("learning_rate", 0.0), ("learning_rate", float("nan")), ("weight_decay", -1.0), ("warm_fraction", 0.0), ("warm_rate", 1.5), ("patience", 0)])
def test_settings_that_make_no_sense_are_refused(key, value):
    with pytest.raises(ConfigError, match=f"{key}: got"):
        Ensemble(**{key: value})


def test_rows_that_do_not_fit_are_refused():
    u, y = data()
    with pytest.raises(ValueError, match="do not fit"):
        fit(QUICK, u[1:], y)
    with pytest.raises(ValueError, match="positive weight"):
        fit(QUICK, u, y, weights=np.zeros(len(u)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_learns_as_well():
    u, y = data(400)
    fitted = fit(GOOD, u, y)
    assert fitted.report.device == "cuda"
    new, truth = data(500, seed=5)
    assert np.abs(fitted.moments(new)[0] - truth).mean() < 0.03
