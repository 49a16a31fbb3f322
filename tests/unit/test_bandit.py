"""Bandit: who gets how much of a round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.search.bandit import HALF_LIFE, MOST_WORTH, WINDOW, History, shares, whole_numbers, worth

WORDS = ("explore", "local", "region")
floors = st.fixed_dictionaries({word: st.floats(0, 1 / 3) for word in WORDS})


def history(n_rounds=5, size=20, seed=0, n_params=2, good=0.3):
    """Rounds of random points from three sources."""
    rng = np.random.default_rng(seed)
    n = n_rounds * size
    return History(rng.random((n, n_params)), rng.random(n), rng.random(n) < good,
                   np.repeat(np.arange(n_rounds), size).astype(np.int32),
                   np.array(rng.choice(WORDS, n), dtype=object))


histories = st.builds(history, st.integers(0, 6), st.integers(1, 30), st.integers(0, 2**32 - 1), st.integers(1, 5),
                      st.sampled_from([0.0, 0.01, 0.3, 1.0]))


@given(histories, floors)
def test_shares_sum_to_one_and_floors_are_kept(past, least):
    parts = shares(past, least)
    assert list(parts) == list(least)
    assert sum(parts.values()) == pytest.approx(1.0)
    assert all(parts[word] >= least[word] - 1e-12 for word in WORDS)


@given(histories)
def test_worth_is_bounded_and_belongs_to_the_last_rows(past):
    value = worth(past)
    assert len(value) == min(len(past.u), WINDOW)
    assert ((value >= 0) & (value <= MOST_WORTH)).all()


@given(histories)
def test_the_order_of_the_words_says_nothing(past):
    a = shares(past, dict.fromkeys(WORDS, 0.1))
    b = shares(past, dict.fromkeys(reversed(WORDS), 0.1))
    assert all(a[word] == pytest.approx(b[word]) for word in WORDS)


def test_sources_that_all_do_the_same_share_alike():
    past = replace(history(), good=np.zeros(100, dtype=bool), violation=np.zeros(100))
    for word in WORDS:
        assert shares(past, dict.fromkeys(WORDS, 0.0))[word] == pytest.approx(1 / 3, abs=0.1)


def known_island(n=40, seed=0):
    """A first round that found an island of good points in one corner."""
    rng = np.random.default_rng(seed)
    return rng.random((n, 2)) * 0.1


def with_round(points, good, origin):
    u = np.concatenate([known_island(), *points])
    n = [len(p) for p in points]
    return History(u, np.zeros(len(u)), np.concatenate([np.ones(40, dtype=bool), *good]),
                   np.repeat([0, 1], [40, sum(n)]).astype(np.int32),
                   np.array(["bootstrap"] * 40 + list(np.repeat(origin, n)), dtype=object))


def test_a_source_that_brings_new_regions_gains_over_one_that_brings_as_many_where_some_are():
    near, far = known_island(20, seed=1), 0.8 + 0.1 * np.random.default_rng(2).random((20, 2))
    past = with_round([near, far], [np.ones(20, dtype=bool)] * 2, ["local", "region"])
    parts = shares(past, dict.fromkeys(WORDS, 0.05))
    assert parts["region"] > 2 * parts["local"]
    value = worth(past)[40:]
    np.testing.assert_array_equal(value[20:], MOST_WORTH)
    assert value[:20].mean() < 2.0


def test_points_that_are_not_good_are_worth_nothing_once_good_ones_are_many():
    far = 0.8 + 0.1 * np.random.default_rng(2).random((20, 2))
    past = with_round([far], [np.zeros(20, dtype=bool)], ["region"])
    np.testing.assert_array_equal(worth(past)[40:], 0.0)


def test_a_repeated_good_point_is_worth_nothing():
    past = with_round([known_island()[:5]], [np.ones(5, dtype=bool)], ["local"])
    np.testing.assert_allclose(worth(past)[40:], 0.0, atol=1e-9)


def test_points_of_one_round_do_not_make_each_other_old():
    far = np.full((6, 2), 0.9)
    past = with_round([far], [np.ones(6, dtype=bool)], ["region"])
    np.testing.assert_array_equal(worth(past)[40:], MOST_WORTH)


def test_before_there_are_good_points_the_better_ones_count():
    rng = np.random.default_rng(0)
    violation = np.concatenate([rng.uniform(5, 10, 40), np.full(10, 1.0), np.full(10, 20.0)])
    past = History(rng.random((60, 2)), violation, np.zeros(60, dtype=bool),
                   np.repeat([0, 1], [40, 20]).astype(np.int32),
                   np.array(["bootstrap"] * 40 + ["local"] * 10 + ["region"] * 10, dtype=object))
    np.testing.assert_array_equal(worth(past)[40:], np.repeat([1.0, 0.0], 10))
    parts = shares(past, dict.fromkeys(WORDS, 0.05))
    assert parts["local"] > parts["explore"] > parts["region"]


@pytest.mark.parametrize(("share", "value"), [(0.99, 0.0), (0.9, 1.0)])
def test_before_there_are_good_points_a_crawl_is_worth_nothing(share, value):
    violation = np.repeat([2.0, 8.0, 2.0 * share], [20, 20, 10])
    past = History(np.random.default_rng(0).random((50, 2)), violation, np.zeros(50, dtype=bool),
                   np.repeat([0, 1], [40, 10]).astype(np.int32),
                   np.array(["bootstrap"] * 40 + ["local"] * 10, dtype=object))
    np.testing.assert_array_equal(worth(past)[40:], value)


def test_what_was_long_ago_counts_little():
    """A source was good once; the other is good now."""
    n = 4 * HALF_LIFE
    rng = np.random.default_rng(0)
    origin = np.where(np.arange(n) % 2 == 0, "local", "region").astype(object)
    good = np.where(np.arange(n) < n // 2, origin == "local", origin == "region")
    past = History(rng.random((n, 2)), np.zeros(n), good, (np.arange(n) // 20).astype(np.int32), origin)
    parts = shares(past, dict.fromkeys(("local", "region"), 0.05))
    assert parts["region"] > 1.5 * parts["local"]


def test_only_the_last_rows_are_looked_at():
    past = history(60, 20)
    before = len(past.u) - WINDOW
    changed = replace(past, origin=np.where(np.arange(len(past.u)) < before, "local", past.origin))
    assert shares(past, dict.fromkeys(WORDS, 0.1)) == shares(changed, dict.fromkeys(WORDS, 0.1))


def test_rows_of_sources_that_no_longer_take_part_do_no_harm():
    past = replace(history(), origin=np.full(100, "csv", dtype=object))
    assert shares(past, dict.fromkeys(WORDS, 0.1)) == pytest.approx(dict.fromkeys(WORDS, 1 / 3))


@pytest.mark.parametrize("n", [1, 2, 6, 7])
def test_good_points_that_are_all_the_same(n):
    past = replace(history(), u=np.full((100, 2), 0.5), good=np.arange(100) % 20 < n)
    assert np.isfinite(worth(past)).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 10_000))
def test_whole_numbers_sum_to_what_is_wanted_and_are_the_shares_rounded(raw, n):
    total = sum(raw)
    parts = {str(k): (v / total if total > 1e-9 else 1 / len(raw)) for k, v in enumerate(raw)}
    numbers = whole_numbers(parts, n)
    assert sum(numbers.values()) == n
    assert all(abs(numbers[k] - share * n) < 1 + 1e-6 for k, share in parts.items())
    assert all(isinstance(v, int) and v >= 0 for v in numbers.values())


@given(st.integers(0, 10_000))
def test_whole_numbers_of_shares_of_a_history(n):
    assert sum(whole_numbers(shares(history(), dict.fromkeys(WORDS, 0.1)), n).values()) == n
