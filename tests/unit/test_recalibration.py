"""Recalibration: probabilities become those that come true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from raydnnr.surrogates.recalibration import EDGE, Recalibration, recalibrate

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=50).map(np.array)
seeds = st.integers(0, 2**32 - 1)


@given(probabilities, seeds)
def test_what_comes_out_are_probabilities_in_the_same_order(p, seed):
    new = recalibrate(p, np.random.default_rng(seed).random(len(p)) < 0.5).of(p)
    order = np.argsort(p, kind="stable")
    assert ((new >= 0) & (new <= 1)).all() and (np.diff(new[order]) >= 0).all()
    np.testing.assert_array_equal(new[p == 0], 0.0)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, 0.0), (2.0, -1.0), (1.0, 1.5)])
def test_what_was_done_to_probabilities_is_found(slope, offset):
    rng = np.random.default_rng(1)
    p = rng.random(20_000)
    found = recalibrate(p, rng.random(len(p)) < expit(slope * logit(np.clip(p, EDGE, 1 - EDGE)) + offset))
    assert (found.slope, found.offset) == (pytest.approx(slope, abs=0.08), pytest.approx(offset, abs=0.08))


def test_a_few_surprises_change_little():
    found = recalibrate(np.array([0.9, 0.9, 0.9]), np.array([False, False, True]))
    assert 0.5 < found.of(np.array([0.9]))[0] < 0.9


def test_nothing_new_changes_nothing():
    for p in (np.empty(0), np.zeros(5)):
        found = recalibrate(p, np.zeros(len(p), dtype=bool))
        np.testing.assert_allclose(found.of(np.array([0.0, 0.3, 0.8])), [0.0, 0.3, 0.8], atol=1e-6)
    p = np.array([0.0, 0.001, 0.5, 1.0])
    assert Recalibration().of(p) is p
