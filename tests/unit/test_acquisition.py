"""Which candidates are picked."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.search.acquisition import distinct_from, lowest_predicted

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
