"""Reliability: predictions of whole rounds, beside what became of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.search.reliability import MAX_WAITING, N_BINS, Reliability

chances = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)


@given(st.lists(chances, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_every_point_of_a_finished_round_counts_once(rounds, seed):
    rng, seen = np.random.default_rng(seed), Reliability()
    for number, p in enumerate(rounds):
        seen.predicted(number, p)
    iteration = np.repeat(np.arange(len(rounds)), [len(p) for p in rounds])
    good = rng.random(len(iteration)) < 0.5
    for _ in range(2):
        seen.finished(iteration, good)
    n, total, found = seen.table.sum(axis=0)
    assert (n, found) == (len(iteration), good.sum())
    assert total == pytest.approx(np.concatenate(rounds).sum())
    assert not seen.waiting


@given(st.floats(0, 1))
def test_a_probability_belongs_to_its_tenth(p):
    seen = Reliability()
    seen.predicted(0, np.array([p]))
    seen.finished(np.zeros(1, int), np.ones(1, bool))
    assert np.flatnonzero(seen.table[:, 0]).tolist() == [min(int(N_BINS * p), N_BINS - 1)]
    assert seen.rows() == ((1, round(p, 4), 1.0),)


def test_a_round_that_is_not_whole_waits():
    seen = Reliability()
    seen.predicted(3, np.array([0.2, 0.8]))
    seen.finished(np.array([2, 3]), np.array([True, True]))
    assert seen.rows() == ()
    assert all(np.isnan(seen.last))
    seen.finished(np.array([2, 3, 3]), np.array([True, False, True]))
    assert seen.rows() == ((1, 0.2, 0.0), (1, 0.8, 1.0))
    assert seen.last == (pytest.approx(0.5), 0.5)


def test_rounds_that_never_end_do_not_pile_up():
    seen = Reliability()
    for number in range(MAX_WAITING + 5):
        seen.predicted(number, np.array([0.5]))
    assert list(seen.waiting) == list(range(5, MAX_WAITING + 5))
