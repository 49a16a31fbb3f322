"""Dnn: scaling, network and training in one; saved and loaded."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raydnnr.surrogates.dnn import Dnn, DnnRegressor

QUICK = Dnn(neurons=8, epochs=3, batch_size=32)


def data(n=100, seed=0):
    u = np.random.default_rng(seed).random((n, 3))
    return u, np.column_stack([np.sin(3 * u[:, 0]), 1000 + 50 * u[:, 1]])


def test_it_predicts_in_the_units_of_the_targets():
    u, y = data(400)
    regressor = Dnn(neurons=32, epochs=150, batch_size=64).fit(u, y, seed=1)
    u_new, y_new = data(200, seed=1)
    errors = np.abs(regressor.predict(u_new) - y_new).mean(axis=0)
    assert errors[0] < 0.1
    assert errors[1] < 5.0


def test_the_same_seed_gives_the_same_network():
    u, y = data()
    torch.rand(3)
    a, b, c = (QUICK.fit(u, y, seed=seed).predict(u) for seed in (1, 1, 2))
    assert a.tobytes() == b.tobytes()
    assert a.tobytes() != c.tobytes()


@pytest.mark.parametrize("n", [60, 5000])
def test_what_is_saved_is_loaded(tmp_path, n):
    u, y = data(n)
    regressor = Dnn(neurons=8, epochs=1).fit(u, y, seed=1)
    regressor.save(tmp_path / "surrogate.pt")
    again = DnnRegressor.load(tmp_path / "surrogate.pt")
    assert again.predict(u).tobytes() == regressor.predict(u).tobytes()
    assert again.report.n_points == n


@pytest.mark.parametrize("neurons", [1, 2, 5])
@pytest.mark.parametrize("n", [60, 5000])
def test_any_width_is_saved(tmp_path, neurons, n):
    u, y = data(n)
    Dnn(neurons=neurons, epochs=1).fit(u, y, seed=1).save(tmp_path / "surrogate.pt")
    assert DnnRegressor.load(tmp_path / "surrogate.pt").predict(u[:4]).shape == (4, 2)


def test_nothing_in_a_file_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    torch.save({"weights": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(pickle.UnpicklingError):
        DnnRegressor.load(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


@settings(max_examples=15)
@given(st.integers(10, 60), st.integers(1, 4), st.integers(1, 3), st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_any_scale_of_targets_is_learned_and_given_back(n, n_params, n_targets, shift, scale):
    rng = np.random.default_rng(n)
    u, y = rng.random((n, n_params)), shift + scale * rng.random((n, n_targets))
    predicted = QUICK.fit(u, y, seed=1).predict(u)
    assert predicted.shape == y.shape
    assert (np.abs(predicted - y.mean(axis=0)) < 20 * y.std(axis=0) + 1e-9 * abs(shift)).all()


def test_a_target_that_does_not_vary_is_predicted():
    u, y = data()
    y[:, 0] = 7.0
    assert np.abs(Dnn(neurons=8, epochs=50).fit(u, y, seed=1).predict(u)[:, 0] - 7.0).max() < 1.0


def test_the_report_says_how_the_training_went():
    u, y = data(200)
    report = QUICK.fit(u, y, seed=1).report
    assert (report.n_points, report.epochs) == (200, 3)
    assert report.loss > 0
    assert report.validation_loss > 0
    assert np.isnan(Dnn(neurons=8, epochs=3, validation_fraction=0.0).fit(u, y, seed=1).report.validation_loss)


def test_no_rows_are_predicted_as_no_rows():
    assert QUICK.fit(*data(), seed=1).predict(np.empty((0, 3))).shape == (0, 2)
