"""Every kind of likelihood meets the same suite."""

from __future__ import annotations

import math
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from raydnnr.errors import ConfigError
from raydnnr.kinds import build
from raydnnr.likelihoods import KINDS, MAX_LOSS, Cfunction, Off, get_losses, smooth_cap_loss
from tests.unit.strategies import finite, values

any_float = st.floats(allow_nan=True, allow_infinity=True)
_mean_sigma = st.fixed_dictionaries({"mean": st.floats(-1e4, 1e4), "sigma": st.floats(1e-3, 1e4)})


@st.composite
def _bounds(draw):
    low, high = sorted(draw(st.tuples(st.floats(1e-3, 1e4), st.floats(1e-3, 1e4))))
    bounds = draw(st.sampled_from([{"lower_bound": low}, {"upper_bound": high},
                                   {"lower_bound": low, "upper_bound": high}, {"mean": high, "sigma": high / 2},
                                   {"lower_bound": low, "upper_bound": math.inf}]))
    return bounds | {"log_scaling": draw(st.booleans())}


EXAMPLES = {
    "gauss": _mean_sigma, "upper": _mean_sigma, "lower": _mean_sigma, "log": _mean_sigma,
    "bias": _mean_sigma.filter(lambda s: s["mean"] != 0), "cfunction": _bounds(),
    **{kind: st.just({}) for kind in ("user", "siguser", "expuser", "minusexpuser", "loguser", "off")},
}


def test_no_kind_dodges_this_suite():
    assert EXAMPLES.keys() == KINDS.keys()


def likelihoods(kind):
    return EXAMPLES[kind].map(lambda settings: KINDS[kind](**settings))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), x=st.lists(any_float, min_size=1, max_size=8))
def test_rows_are_independent(kind, data, x):
    likelihood = data.draw(likelihoods(kind))
    with np.errstate(all="ignore"):
        together = likelihood.log_likelihood(np.array(x))
        alone = [likelihood.log_likelihood(np.array([v]))[0] for v in x]
    np.testing.assert_allclose(together, alone, rtol=1e-14, atol=0)
    assert together.shape == (len(x),)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), x=st.lists(values, min_size=1, max_size=8))
def test_nan_in_nan_out_and_nowhere_else(kind, data, x):
    likelihood = data.draw(likelihoods(kind))
    mixed = np.array([*x, math.nan])
    out = likelihood.log_likelihood(mixed)
    assert np.isnan(out[-1])
    assert np.isnan(likelihood.nll(mixed)[-1])
    if kind != "bias":  # the logarithm of x / mean
        assert not np.isnan(out[:-1]).any()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), x=st.lists(any_float, min_size=1, max_size=8))
def test_losses_are_finite_and_the_maximum_where_nothing_was_computed(kind, data, x):
    likelihood = data.draw(likelihoods(kind))
    column = np.array([*x, math.nan, math.inf, -math.inf])
    loss = get_losses({"a": column}, {"a": likelihood})["a"]
    assert np.isfinite(loss).all()
    assert loss.max() <= MAX_LOSS
    if kind == "off":
        assert not loss.any()
    else:
        assert (loss[~np.isfinite(column)] == MAX_LOSS).all()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), x=st.lists(values, min_size=1, max_size=8))
def test_the_argument_is_left_alone(kind, data, x):
    likelihood, column = data.draw(likelihoods(kind)), np.array(x)
    out = likelihood.log_likelihood(column)
    out[:] = 1e9
    assert column.tolist() == x


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_kinds_are_built_compared_and_sent(kind, data):
    settings = data.draw(EXAMPLES[kind])
    likelihood = build(KINDS[kind], settings, "[observables.a.likelihood]")
    assert likelihood == KINDS[kind](**settings)
    assert pickle.loads(pickle.dumps(likelihood)) == likelihood
    assert hash(likelihood) == hash(KINDS[kind](**settings))


M = {"mean": 3.0, "sigma": 2.0}
FORMULAS = {  # ln L of x > 0, from the table of BSMArt
    "gauss": (M, lambda x: stats.norm(3, 2).logpdf(x) - stats.norm(3, 2).logpdf(3)),
    "upper": (M, lambda x: special.log_expit((3 - x) / 2)),
    "lower": (M, lambda x: special.log_expit((x - 3) / 2)),
    "log": (M, lambda x: np.log(1 / (1 + (x - 3) ** 2 / (2 * 2**2)))),
    "bias": (M, lambda x: 2 * np.log(x / 3)),
    "user": ({}, np.log),
    "siguser": ({}, special.log_expit),
    "expuser": ({}, lambda x: x),
    "minusexpuser": ({}, lambda x: -x),
    "loguser": ({}, lambda x: -x),
    "cfunction": ({"lower_bound": 1.0, "upper_bound": 2.0},
                  lambda x: -np.log10(1 + np.maximum(0, np.maximum(x - 2, 1 - x)))),
    "off": ({}, np.zeros_like),
}


@pytest.mark.parametrize("kind", KINDS)
def test_formulas(kind):
    settings, formula = FORMULAS[kind]
    x = np.concatenate([np.linspace(0.01, 30, 200), [1e3, 1e6]])
    np.testing.assert_allclose(KINDS[kind](**settings).log_likelihood(x), formula(x), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", ["upper", "lower"])
def test_at_the_limit_a_point_costs_ln_2(kind):
    assert KINDS[kind](**M).nll(np.array([3.0]))[0] == pytest.approx(math.log(2))


@pytest.mark.parametrize("kind", ["gauss", "upper", "lower", "log", "siguser", "cfunction", "off"])
@given(data=st.data(), x=st.lists(finite, min_size=1, max_size=8))
def test_nothing_is_likelier_than_certain(kind, data, x):
    likelihood = data.draw(likelihoods(kind))
    with np.errstate(over="ignore"):
        assert (likelihood.nll(np.array(x)) >= 0).all()


def test_no_pull_overflows_into_nan():
    """A rubbish 1e308 is a bad point, not an unknown one."""
    x = np.array([sys.float_info.max, -sys.float_info.max])
    for kind in ("gauss", "upper", "lower", "log"):
        with np.errstate(over="ignore"):
            assert not np.isnan(KINDS[kind](mean=-1.0, sigma=1e-3).log_likelihood(x)).any()


@pytest.mark.parametrize("kind", ["user", "bias"])
def test_what_is_no_likelihood_costs_the_maximum(kind):
    likelihood = KINDS[kind](**(M if kind == "bias" else {}))
    assert get_losses({"a": [0.0, -1.0]}, {"a": likelihood})["a"].tolist() == [MAX_LOSS, MAX_LOSS]


class TestCfunction:
    """Bounds, their defaults, and logarithms."""

    def test_bounds_win_over_mean_and_sigma(self):
        assert Cfunction(mean=5.0, sigma=1.0).interval == (4.0, 6.0)
        assert Cfunction(mean=5.0, sigma=1.0, upper_bound=9.0).interval == (4.0, 9.0)
        assert Cfunction(lower_bound=3.0).interval == (3.0, math.inf)

    def test_log_scaling_takes_natural_logarithms_of_value_and_bounds(self):
        kind = Cfunction(lower_bound=1.0, upper_bound=math.e, log_scaling=True)
        np.testing.assert_allclose(kind.nll(np.array([2.0, math.e**10, math.exp(-9.0)])), [0.0, 1.0, 1.0])
        assert kind.nll(np.array([0.0, -1.0])).tolist() == [math.inf, math.inf]

    def test_with_log_scaling_what_has_no_logarithm_is_outside_of_an_open_interval_too(self):
        kind = Cfunction(upper_bound=10.0, log_scaling=True)
        assert kind.nll(np.array([5.0, 0.0, -5.0])).tolist() == [0.0, math.inf, math.inf]

    @pytest.mark.parametrize(("settings", "words"), [
        ({}, "give lower_bound, upper_bound or both, or mean and sigma"), ({"mean": 1.0}, "come together"),
        ({"sigma": 1.0}, "come together"), ({"mean": 1.0, "sigma": 0.0}, "sigma must be > 0"),
        ({"lower_bound": 2.0, "upper_bound": 1.0}, "swap them"),
        ({"lower_bound": math.nan}, "nan"), ({"mean": math.nan, "sigma": 1.0}, "nan"),
        ({"mean": 1.0, "sigma": math.inf}, "sigma must be > 0 and finite"),
        ({"mean": math.inf, "sigma": 1.0}, "mean must be finite"),
        ({"lower_bound": math.inf}, "no number lies in"), ({"upper_bound": -math.inf}, "no number lies in"),
        ({"lower_bound": -1.0, "log_scaling": True}, "bounds > 0"),
        ({"upper_bound": 0.0, "log_scaling": True}, "bounds > 0"),
    ])
    def test_wrong_bounds_are_refused(self, settings, words):
        with pytest.raises(ConfigError, match=words):
            Cfunction(**settings)


@pytest.mark.parametrize("kind", ["gauss", "upper", "lower", "bias", "log"])
@pytest.mark.parametrize(("settings", "words"), [
    ({"mean": 1.0, "sigma": 0.0}, "sigma must be > 0 and finite, got 0"),
    ({"mean": 1.0, "sigma": -1.0}, "sigma must be > 0"), ({"mean": 1.0, "sigma": math.nan}, "sigma must be > 0"),
    ({"mean": 1.0, "sigma": math.inf}, "finite"), ({"mean": math.nan, "sigma": 1.0}, "mean must be finite"),
    ({"mean": 1.0}, "'sigma' is missing"), ({"mean": 1.0, "sigam": 1.0}, "Did you mean 'sigma'?"),
    ({"mean": 1.0, "variance": 1.0}, "it accepts mean, sigma"),
])
def test_a_wrong_measurement_is_refused(kind, settings, words):
    with pytest.raises(ConfigError) as caught:
        build(KINDS[kind], settings, "[observables.mh.likelihood]")
    assert words in str(caught.value)
    assert "[observables.mh.likelihood]" in str(caught.value)


@given(st.floats(allow_nan=False))
def test_the_cap_is_smooth_and_finite(x):
    loss = float(smooth_cap_loss(x))
    assert math.isfinite(loss)
    assert loss <= MAX_LOSS
    assert (loss > 0) == (x < 0) or abs(x) < 1e-300
    if abs(x) < 1e-3 * MAX_LOSS:
        assert loss == pytest.approx(-x, rel=1e-3)


@given(st.floats(-1e6, 700), st.floats(0, 100))
def test_the_cap_keeps_the_order(x, step):
    assert smooth_cap_loss(x) >= smooth_cap_loss(x + step)


def test_the_limits_of_the_cap():
    assert pytest.approx(math.log(sys.float_info.max) + 1) == MAX_LOSS == pytest.approx(710.7827)
    assert smooth_cap_loss(-math.inf) == MAX_LOSS
    assert smooth_cap_loss(0.0) == 0.0
    assert math.copysign(1.0, smooth_cap_loss(0.0)) == 1.0
    assert math.isnan(smooth_cap_loss(math.nan))
    assert smooth_cap_loss(-MAX_LOSS) == pytest.approx(MAX_LOSS * (1 - 1 / math.e))
    assert smooth_cap_loss(np.zeros((2, 3))).shape == (2, 3)


def test_losses_come_in_the_order_of_the_likelihoods_and_off_costs_nothing():
    kinds = {"b": Off(), "a": KINDS["gauss"](mean=0.0, sigma=1.0)}
    losses = get_losses({"a": [1.0, math.nan], "b": [math.nan, 1.0], "c": [1.0, 1.0]}, kinds)
    assert list(losses) == ["b", "a"]
    assert losses["b"].tolist() == [0.0, 0.0]
    assert losses["a"][1] == MAX_LOSS
