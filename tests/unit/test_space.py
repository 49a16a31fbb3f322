"""Every prior meets the same suite."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from raydnnr.errors import ConfigError
from raydnnr.space import KINDS, Parameter, ParameterSpace
from tests.unit.strategies import EXAMPLES, priors, seeds, spaces

SCANNED = [kind for kind in KINDS if kind != "fixed"]
units = st.lists(st.floats(0, 1), min_size=1, max_size=20).map(np.array)


def test_no_prior_dodges_this_suite():
    assert EXAMPLES.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", SCANNED)
@given(data=st.data())
def test_the_unit_interval_comes_back(kind, data):
    prior, u = data.draw(priors(kind)), data.draw(units)
    np.testing.assert_allclose(prior.to_unit(prior.from_unit(u)), u, atol=1e-7)


@pytest.mark.parametrize("kind", SCANNED)
@given(data=st.data())
def test_values_come_back(kind, data):
    """Near the middle, where a change of the value is not lost in the rounding of its probability."""
    prior, u = data.draw(priors(kind)), 0.02 + 0.96 * data.draw(units)
    x = prior.from_unit(u)
    again = prior.from_unit(prior.to_unit(x))
    np.testing.assert_allclose(again, x, rtol=1e-6, atol=1e-7 * np.ptp(prior.from_unit(np.array([0.01, 0.99]))))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_values_have_a_place_in_their_prior(kind, data):
    prior, u = data.draw(priors(kind)), data.draw(units)
    x = prior.from_unit(np.concatenate([u, [0.0, 1.0]]))
    assert np.isfinite(x).all()
    assert prior.contains(x).all()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_bounds_are_kept(kind, data):
    prior = data.draw(priors(kind))
    x = prior.from_unit(data.draw(units))
    magnitude = np.abs(x) if kind.startswith("sym") else x
    assert (magnitude >= getattr(prior, "low", -math.inf)).all()
    assert (magnitude <= getattr(prior, "high", math.inf)).all()


@pytest.mark.parametrize("kind", SCANNED)
@given(data=st.data())
def test_larger_probability_never_means_a_smaller_value(kind, data):
    prior, u = data.draw(priors(kind)), np.sort(data.draw(units))
    assert (np.diff(prior.from_unit(u)) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_rows_are_independent(kind, data):
    prior, u = data.draw(priors(kind)), data.draw(units)
    x = prior.from_unit(u)
    assert [prior.from_unit(u[k:k + 1])[0] for k in range(len(u))] == x.tolist()
    assert [prior.to_unit(x[k:k + 1])[0] for k in range(len(u))] == prior.to_unit(x).tolist()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_what_is_not_a_number_has_no_place(kind, data):
    assert not data.draw(priors(kind)).contains(np.array([math.nan])).any()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_priors_can_be_rebuilt_and_sent(kind, data):
    settings = data.draw(EXAMPLES[kind])
    prior = KINDS[kind](**settings)
    assert Parameter.of("x", prior=kind, **settings).prior == prior
    assert pickle.loads(pickle.dumps(prior)) == prior


@pytest.mark.parametrize(("kind", "settings", "reference"), [
    ("uniform", {"low": -2.0, "high": 3.0}, stats.uniform(-2, 5)),
    ("log", {"low": 0.1, "high": 50.0}, stats.loguniform(0.1, 50)),
    ("normal", {"mean": 1.0, "sigma": 2.0}, stats.norm(1, 2)),
    ("normal", {"mean": 1.0, "sigma": 2.0, "low": 0.0, "high": 9.0}, stats.truncnorm(-0.5, 4.0, 1, 2)),
    ("lognormal", {"mean": 0.5, "sigma": 0.3}, stats.lognorm(0.3, scale=math.exp(0.5))),
    ("cauchy", {"mean": -1.0, "sigma": 2.0}, stats.cauchy(-1, 2)),
    ("exponential", {"sigma": 3.0}, stats.expon(scale=3)),
    ("exponential", {"sigma": 3.0, "high": 6.0}, stats.truncexpon(2, scale=3)),
])
def test_quantiles_are_those_of_scipy(kind, settings, reference):
    u = np.linspace(0.001, 0.999, 101)
    prior = KINDS[kind](**settings)
    np.testing.assert_allclose(prior.from_unit(u), reference.ppf(u), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(prior.to_unit(reference.ppf(u)), u, rtol=1e-9)


def test_half_of_a_symmetric_prior_is_negative():
    u = np.array([0.0, 0.25, 0.5 - 1e-12, 0.5, 0.75, 1.0])
    for kind, middle in (("symlinear", 20.5), ("symlog", math.sqrt(40.0))):
        x = KINDS[kind](low=1.0, high=40.0).from_unit(u)
        np.testing.assert_allclose(x, [-40.0, -middle, -1.0, 1.0, middle, 40.0], rtol=1e-9)


def test_sin_is_the_measure_of_a_sphere():
    """As many directions above 60 degrees from the pole as the area of the cap says."""
    assert KINDS["sin"]().to_unit(np.array([60.0]))[0] == pytest.approx(0.25)


@pytest.mark.parametrize(("settings", "words"), [
    ({"low": 3, "high": 2}, "low = 3 is above high = 2; swap them"),
    ({"low": 3, "high": 3}, "for a fixed parameter write value = 3"),
    ({"low": 3}, "'high' is missing"),
    ({"low": math.nan, "high": 1}, "finite"),
    ({"low": 0, "high": math.inf}, "finite"),
    ({"low": -1.7e308, "high": 1.7e308}, "the range is too wide"),
    ({"low": 1e-300, "high": 1e300, "prior": "log"}, "high / low"),
    ({"low": 1e-300, "high": 1e300, "prior": "symlog"}, "high / low"),
    ({"low": 0, "high": 1e-7, "prior": "sin"}, "hardly any probability"),
    ({"low": "a", "high": 2}, "low: got 'a', wants a number"),
    ({"low": True, "high": 2}, "low: got True, wants a number"),
    ({"low": 0, "high": 2, "prior": "log"}, "prior = 'log' needs low > 0, got 0"),
    ({"low": -1, "high": 2, "prior": "symlog"}, "low > 0"),
    ({"low": -1, "high": 2, "prior": "symlinear"}, "low >= 0"),
    ({"low": -1, "high": 2, "prior": "sin"}, "between 0 and 180"),
    ({"mean": 0, "sigma": 0, "prior": "normal"}, "sigma must be > 0"),
    ({"mean": 0, "sigma": -1, "prior": "cauchy"}, "sigma must be > 0"),
    ({"mean": math.inf, "sigma": 1, "prior": "normal"}, "mean must be finite"),
    ({"low": -1, "mean": 0, "sigma": 1, "prior": "lognormal"}, "low >= 0"),
    ({"low": -1, "sigma": 1, "prior": "exponential"}, "low >= 0"),
    ({"value": math.nan}, "must be finite"),
    ({"low": 0, "high": 1, "prior": "flat"}, "choose one of uniform, log, symlog"),
    ({"low": 0, "high": 1, "prior": "lgo"}, "Did you mean 'log'?"),
    ({"low": 0, "high": 1, "hihg": 2}, "Did you mean 'high'?"),
    ({"low": 0, "high": 1, "unit": 3}, "unit: got 3, wants a text"),
])
def test_a_wrong_prior_is_an_error_that_says_where_and_what(settings, words):
    with pytest.raises(ConfigError) as caught:
        Parameter.of("A0", **settings)
    assert "parameters.A0" in str(caught.value)
    assert words in str(caught.value)


def test_an_empty_range_of_a_distribution_is_refused_when_it_is_built():
    for low, high in ((50, 60), (-60, -50), (7, 9)):
        with pytest.raises(ConfigError, match="hardly any probability"):
            Parameter.of("A0", prior="normal", mean=0, sigma=1, low=low, high=high)


def test_a_prior_of_the_users_is_used_and_lacks_no_method(tmp_path, monkeypatch):
    (tmp_path / "mylab_priors.py").write_text(
        "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Half:\n    top: float = 1.0\n\n"
        "    def from_unit(self, u):\n        return self.top * u\n\n"
        "    def to_unit(self, x):\n        return x / self.top\n\n"
        "class Whole(Half):\n    def contains(self, x):\n        return (x >= 0) & (x <= self.top)\n")
    monkeypatch.syspath_prepend(tmp_path)
    space = ParameterSpace((Parameter.of("A0", prior="mylab_priors:Whole", top=4),))
    assert space.from_unit_cube(np.array([[0.25]])).tolist() == [[1.0]]
    with pytest.raises(ConfigError, match="parameters.A0: prior = 'mylab_priors:Half' has no contains()"):
        Parameter.of("A0", prior="mylab_priors:Half")


@given(spaces(), seeds)
def test_unit_cube_round_trip(space, seed):
    u = np.random.default_rng(seed).random((16, space.n_params))
    x = space.from_unit_cube(u)
    assert space.contains(x).all()
    np.testing.assert_allclose(space.to_unit_cube(x), u, atol=1e-7)


@given(spaces(), seeds)
def test_columns_hold_all_parameters_in_the_order_of_the_configuration(space, seed):
    x = space.from_unit_cube(np.random.default_rng(seed).random((4, space.n_params)))
    columns = space.columns(x)
    assert tuple(columns) == space.names
    assert all(column.shape == (4,) for column in columns.values())
    np.testing.assert_array_equal(np.column_stack([columns[name] for name in space.scanned]), x)


@given(spaces())
def test_a_point_outside_one_range_is_outside(space):
    x = space.from_unit_cube(np.full((space.n_params + 1, space.n_params), 0.5))
    for k in range(space.n_params):
        x[k, k] = math.inf
    assert space.contains(x).tolist() == [False] * space.n_params + [True]


def test_no_points_are_points_too():
    space = ParameterSpace((Parameter.of("x", low=0, high=1), Parameter.of("k", value=2)))
    assert space.from_unit_cube(np.empty((0, 1))).shape == (0, 1)
    assert space.columns(np.empty((0, 1)))["k"].shape == (0,)
