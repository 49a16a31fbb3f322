"""Hypothesis strategies: priors, parameter spaces, numbers, expressions."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from raydnnr.space import KINDS, Parameter, ParameterSpace

magnitudes = st.floats(1e-6, 1e6)
values = st.floats(-1e6, 1e6)
finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def intervals(draw, numbers=values):
    """Two numbers in order, apart by more than rounding."""
    low, high = sorted(draw(st.tuples(numbers, numbers)))
    return {"low": low, "high": high + 1e-3 * max(abs(low), abs(high), 1e-3)}


def _with_cuts(settings, cuts):
    """Settings of a distribution, sometimes with one or two cuts at quantiles of about 0.02 to 0.98."""
    return st.tuples(settings, cuts).map(lambda pair: pair[0] | pair[1](**pair[0]))


def _cuts(low, high):
    """No cut, one, or both; ``low`` and ``high`` compute them from the other settings."""
    return st.sampled_from([
        lambda **s: {}, lambda **s: {"low": low(**s)}, lambda **s: {"high": high(**s)},
        lambda **s: {"low": low(**s), "high": high(**s)}])


_mean_sigma = st.fixed_dictionaries({"mean": st.floats(-100, 100), "sigma": st.floats(0.01, 100)})

EXAMPLES = {  # settings of every prior
    "uniform": intervals(),
    "log": intervals(magnitudes),
    "symlog": intervals(magnitudes),
    "symlinear": intervals(st.floats(0, 1e6)),
    "normal": _with_cuts(_mean_sigma, _cuts(lambda mean, sigma: mean - 2 * sigma, lambda mean, sigma: mean + sigma)),
    "lognormal": _with_cuts(
        st.fixed_dictionaries({"mean": st.floats(-5, 5), "sigma": st.floats(0.05, 3)}),
        _cuts(lambda mean, sigma: math.exp(mean - 2 * sigma), lambda mean, sigma: math.exp(mean + sigma))),
    "cauchy": _with_cuts(_mean_sigma, _cuts(lambda mean, sigma: mean - 9 * sigma, lambda mean, sigma: mean + sigma)),
    "exponential": _with_cuts(st.fixed_dictionaries({"sigma": st.floats(0.01, 1e4)}),
                              _cuts(lambda sigma: 0.1 * sigma, lambda sigma: 2 * sigma)),
    "sin": st.one_of(st.just({}), intervals(st.floats(0, 170)).map(lambda s: s | {"high": s["high"] + 1.0})),
    "fixed": st.fixed_dictionaries({"value": values}),
}


def priors(kind: str):
    """Priors of one kind."""
    return EXAMPLES[kind].map(lambda settings: KINDS[kind](**settings))


@st.composite
def spaces(draw, max_params: int = 5):
    """Parameter spaces with at least one scanned parameter."""
    kinds = [draw(st.sampled_from([k for k in KINDS if k != "fixed"])),
             *draw(st.lists(st.sampled_from(list(KINDS)), max_size=max_params - 1))]
    return ParameterSpace(tuple(Parameter(name=f"p{k}", prior=draw(priors(kind))) for k, kind in enumerate(kinds)))


seeds = st.integers(0, 2**32 - 1)
