"""Which candidates are picked."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.search.acquisition import (
    ACQUISITIONS,
    distinct_from,
    expected_coverage_gain,
    farthest_good,
    lowest_predicted,
    most_probable,
)

predictions = st.lists(st.floats(allow_infinity=True) | st.just(math.nan), max_size=30).map(np.array)
rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20).map(
    lambda r: np.array(r, dtype=np.float64).reshape(len(r), 2))


@given(predictions, st.integers(0, 40))
def test_the_lowest_are_picked_each_once_and_best_first(nll, n):
    picked = lowest_predicted(nll, n)
    assert len(picked) == len(set(picked.tolist())) == min(n, len(nll))
    rank = [math.inf if math.isnan(v) else v for v in nll]
    chosen = [rank[k] for k in picked]
    assert chosen == sorted(rank)[:n]


@given(predictions)
def test_equals_keep_their_order_and_nan_comes_last(nll):
    picked = lowest_predicted(nll, len(nll)).tolist()
    for a, b in pairwise(picked):
        if nll[a] == nll[b] or (math.isnan(nll[a]) and math.isnan(nll[b])):
            assert a < b
        assert not (math.isnan(nll[a]) and not math.isnan(nll[b]))


@given(rows, rows)
def test_only_new_rows_stay_and_each_once(x, known):
    keep = distinct_from(x, known)
    held, kept = {tuple(r) for r in known}, [tuple(r) for r in x[keep]]
    assert len(kept) == len(set(kept))
    assert set(kept) == {tuple(r) for r in x} - held


@given(rows)
def test_the_first_of_equals_stays(x):
    keep = distinct_from(x, np.empty((0, 2)))
    first = {tuple(row): k for k, row in reversed(list(enumerate(x)))}
    assert np.flatnonzero(keep).tolist() == sorted(first.values())


def test_columns_in_any_memory_layout():
    x = np.asfortranarray([[1.0, 2.0], [3.0, 4.0]])
    assert distinct_from(x, np.array([[3.0, 4.0]])).tolist() == [True, False]


# ---- spread over the good region


@st.composite
def scenes(draw):
    """Candidates, their probabilities, known points, and how many to pick."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, n_params = draw(st.integers(0, 30)), draw(st.integers(1, 4))
    candidates = rng.random((n, n_params))
    if draw(st.booleans()):
        candidates = np.round(candidates, 1)  # some are the same
    chance = draw(st.sampled_from([np.zeros(n), np.ones(n), rng.random(n), np.round(rng.random(n))]))
    return candidates, chance, rng.random((draw(st.integers(1, 20)), n_params)), draw(st.integers(0, 40))


@pytest.mark.parametrize("pick", ACQUISITIONS.values(), ids=ACQUISITIONS)
@given(scenes())
def test_every_acquisition_picks_as_many_as_it_can_each_once(pick, scene):
    candidates, _, _, n = scene
    before = [np.copy(a) for a in scene[:3]]
    picked = pick(*scene)
    assert picked.dtype == np.intp
    assert len(picked) == len(set(picked.tolist())) == min(n, len(candidates))
    assert candidates[picked].shape == (len(picked), candidates.shape[1])
    assert pick(*scene).tolist() == picked.tolist()
    assert all(np.array_equal(a, b) for a, b in zip(before, scene[:3], strict=True))


@pytest.mark.parametrize("pick", ACQUISITIONS.values(), ids=ACQUISITIONS)
@given(scenes(), st.integers(0, 40))
def test_the_first_picks_do_not_depend_on_how_many_follow(pick, scene, fewer):
    whole = pick(*scene).tolist()
    assert pick(*scene[:3], fewer).tolist()[: len(whole)] == whole[:fewer]


def gain(candidates, chance, known, chosen):
    """Expected coverage gained by some picks: the formula, naively."""
    def nearest(points):
        return np.linalg.norm(candidates[:, None] - points[None], axis=2).min(axis=1)

    return float(chance @ (nearest(known) - nearest(np.concatenate([known, candidates[chosen]]))))


@given(scenes(), st.sampled_from([1.0, 2.0]))
def test_the_first_pick_is_the_one_of_the_highest_expected_gain(scene, caution):
    candidates, chance, known, _ = scene
    if not len(candidates):
        return
    expected = [chance[c] ** caution * gain(candidates, chance, known, [c]) for c in range(len(candidates))]
    first = expected_coverage_gain(candidates, chance, known, 1, caution)[0]
    assert expected[first] >= max(expected) - 1e-4 * (1 + max(expected))


@given(st.integers(0, 2**32 - 1))
def test_greedy_picks_gain_at_least_63_per_cent_of_the_best(seed):
    rng = np.random.default_rng(seed)
    candidates, known = rng.random((9, 2)), rng.random((2, 2))
    sure = np.ones(9)
    greedy = gain(candidates, sure, known, expected_coverage_gain(candidates, sure, known, 3))
    best = max(gain(candidates, sure, known, list(trio)) for trio in combinations(range(9), 3))
    assert greedy >= 0.632 * best - 1e-6


def test_picks_cover_both_islands_and_keep_away_from_what_is_known():
    rng = np.random.default_rng(0)
    left, right = 0.1 + 0.05 * rng.random((60, 2)), 0.8 + 0.05 * rng.random((60, 2))
    candidates, chance = np.concatenate([left, right]), np.ones(120)
    for pick in (expected_coverage_gain, farthest_good):
        assert pick(candidates, chance, left[:20], 1)[0] >= 60
        both = pick(candidates, chance, np.array([[0.5, 0.5]]), 2)
        assert sorted(both // 60) == [0, 1]
    unlikely = np.where(np.arange(120) < 60, 1.0, 0.0)
    assert (expected_coverage_gain(candidates, unlikely, right[:1], 5) < 60).all()
    assert (most_probable(candidates, unlikely, right[:1], 5) < 60).all()


def test_the_most_probable_come_first_and_equals_in_their_order():
    chance = np.array([0.2, 0.9, 0.2, 1.0])
    assert most_probable(np.zeros((4, 2)), chance, np.zeros((1, 2)), 3).tolist() == [3, 1, 0]


def test_farther_is_better_among_the_equally_probable():
    candidates = np.array([[0.1], [0.5], [0.9]])
    assert farthest_good(candidates, np.full(3, 0.5), np.array([[0.0]]), 3).tolist() == [2, 1, 0]
