"""Subsets: which rows a Gaussian process learns from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.surrogates.subsets import conditioning_rows, spread, telling_rows

seeds = st.integers(0, 2**32 - 1)


def drawn(seed, n, n_params=2):
    rng = np.random.default_rng(seed)
    return rng, rng.random((n, n_params)), rng.exponential(10.0, n)


@pytest.mark.parametrize("choose", [
    telling_rows,
    lambda u, nll, threshold, rng, n_rows: conditioning_rows(nll, threshold, rng, n_rows)])
@given(seed=seeds, n=st.integers(1, 120), n_rows=st.integers(3, 60), threshold=st.floats(0, 30))
def test_as_many_rows_as_asked_for_each_once(choose, seed, n, n_rows, threshold):
    rng, u, nll = drawn(seed, n)
    chosen = choose(u, nll, threshold, rng, n_rows)
    assert len(chosen) == len(set(chosen.tolist())) == min(n, n_rows)
    assert set(chosen.tolist()) <= set(range(n))


@given(seed=seeds, n=st.integers(60, 200), n_rows=st.integers(6, 50))
def test_a_third_of_the_telling_rows_are_among_the_best(seed, n, n_rows):
    rng, u, nll = drawn(seed, n)
    chosen = telling_rows(u, nll, -1.0, rng, n_rows)  # no row is good
    assert (np.argsort(np.argsort(nll))[chosen] < n_rows // 3).sum() >= n_rows // 3


def test_good_rows_that_tell_are_spread_over_the_good_region():
    """A crowd of the very best rows, and good rows all over: the crowd has hardly a say."""
    rng = np.random.default_rng(0)
    u = np.concatenate([0.5 + 0.001 * rng.random((300, 2)), rng.random((60, 2)), rng.random((300, 2))])
    nll = np.concatenate([np.full(300, 0.1), np.full(60, 0.5), np.full(300, 50.0)])
    good = telling_rows(u, nll, 1.0, rng, 90)
    good = good[good < 360]
    assert len(good) == 30
    assert (good < 300).sum() <= 3


@given(seed=seeds, n=st.integers(2, 40), k=st.integers(2, 40))
def test_spread_points_are_farther_apart_than_any_left_out_is_from_them(seed, n, k):
    _, u, _ = drawn(seed, n)
    chosen = spread(u, k)
    assert len(set(chosen.tolist())) == min(n, k)
    left = np.setdiff1d(np.arange(n), chosen)
    between = np.linalg.norm(u[chosen][:, None] - u[chosen][None], axis=2) + 9.0 * np.eye(len(chosen))
    if len(left):
        nearest = np.linalg.norm(u[left][:, None] - u[chosen][None], axis=2).min(axis=1)
        assert nearest.max() <= between.min() + 1e-12
