"""The evaluation table's values: scores, views, points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.errors import ConfigError
from raydnnr.evaluation import Inputs, Outcomes, Points, Status, View, check_column_name, score
from raydnnr.expressions import Expression
from raydnnr.likelihoods import MAX_LOSS, Gauss, Off
from raydnnr.space import Parameter, ParameterSpace

KINDS = {"a": Gauss(mean=0.0, sigma=1.0), "b": Gauss(mean=1.0, sigma=2.0), "c": Off()}

rows = st.lists(
    st.tuples(*[st.floats(-10, 10) | st.just(math.nan)] * 3, st.sampled_from(list(Status))), max_size=12)


def outcomes(table):
    n = len(table)
    return Outcomes(
        np.arange(n), np.array([row[:3] for row in table]).reshape(n, 3), np.array([row[3] for row in table], np.int8),
        [""] * n, np.ones(n, np.int8), np.zeros(n), "here", np.zeros(n))


@given(rows)
def test_a_score_is_the_sum_of_losses_and_failed_points_have_none(table):
    scored = score(outcomes(table), KINDS)
    for (a, b, _, status), losses, nll in zip(table, scored.losses, scored.nll, strict=True):
        if status == Status.FAILED:
            assert np.isnan(losses).all()
            assert math.isnan(nll)
            continue
        assert math.isfinite(nll)
        assert nll == losses.sum()
        assert losses[2] == 0.0
        assert losses[0] == (MAX_LOSS if math.isnan(a) else pytest.approx(a**2 / 2, rel=0.1, abs=1e-9))
        assert losses[1] == (MAX_LOSS if math.isnan(b) else pytest.approx((b - 1) ** 2 / 8, rel=0.1, abs=1e-9))


@given(rows)
def test_rows_are_scored_independently(table):
    together = score(outcomes(table), KINDS)
    for k, row in enumerate(table):
        np.testing.assert_array_equal(score(outcomes([row]), KINDS).losses[0], together.losses[k])


def view(n, rng, start=0):
    return View(rng.permutation(n) + start, rng.random((n, 2)), rng.random((n, 3)), rng.random(n),
                rng.integers(0, 3, n).astype(np.int8), rng.random((3, 2)), n)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 99))
def test_a_view_is_cut_and_joined_without_loss(n, cut, seed):
    whole = view(n, np.random.default_rng(seed))
    cut = min(cut, n)
    head = View(whole.point_id[:cut], whole.x[:cut], whole.observables[:cut], whole.nll[:cut], whole.status[:cut],
                np.empty((0, 2)), 0)
    joined = head.extended(whole.rows(cut))
    for name in ("point_id", "x", "observables", "nll", "status", "pending", "n_proposed"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


@given(st.integers(0, 20), st.integers(0, 99))
def test_rows_stay_together_when_they_are_put_in_order(n, seed):
    whole = view(n, np.random.default_rng(seed))
    ordered = whole.in_order()
    assert ordered.point_id.tolist() == list(range(n))
    for k in range(n):
        at = int(ordered.point_id[k])
        here = whole.point_id.tolist().index(at)
        assert (ordered.x[k] == whole.x[here]).all()
        assert ordered.nll[k] == whole.nll[here]


def test_points_are_taken_by_mask_or_index():
    points = Points(np.arange(4), 2, np.arange(8.0).reshape(4, 2), list("abcd"), np.arange(4.0))
    for rows in (np.array([False, True, False, True]), np.array([1, 3])):
        taken = points.take(rows)
        assert (taken.point_id.tolist(), taken.origin, taken.x.tolist()) == ([1, 3], ["b", "d"], [[2, 3], [6, 7]])
        assert len(taken) == 2
        assert taken.iteration == 2
    assert len(points.take(np.zeros(4, bool))) == 0


def test_derived_values_are_columns_too_and_use_earlier_ones():
    space = ParameterSpace((Parameter.of("x", low=0, high=9), Parameter.of("k", value=2)))
    inputs = Inputs(space, {"a": Expression("k*x"), "b": Expression("sqrt(a - 4)"), "c": Expression("3")})
    columns = inputs.columns(np.array([[4.0], [1.0]]))
    assert inputs.names == tuple(columns) == ("x", "k", "a", "b", "c")
    np.testing.assert_array_equal(columns["b"], [2.0, math.nan])
    assert columns["c"].tolist() in ([3.0, 3.0], 3.0)


@pytest.mark.parametrize("name", ["", "1x", "a b", "a-b", "a.b", "\u03bc", "lambda", "nll", "status", "point_id",
                                  "loss_mh", "origin"])
def test_names_that_cannot_be_columns_are_refused(name):
    with pytest.raises(ConfigError, match="^parameters: "):
        check_column_name("parameters", name)


@pytest.mark.parametrize("name", ["x", "m0", "A_0", "NLL", "lossy"])
def test_names_that_can(name):
    check_column_name("parameters", name)
