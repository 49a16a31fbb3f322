"""What goes from an evaluator to the driver."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.cluster.actors import joined
from raydnnr.evaluation import Outcomes, Points, score
from tests.unit.plans import square
from tests.unit.runs import physics, proposal

PLAN = square()


def points(n: int, first: int):
    chosen = proposal(n, first)
    return Points(np.arange(first, first + n), 0, chosen.x, list(chosen.origin), chosen.nll_predicted)


@given(st.lists(st.integers(0, 5), max_size=8))
def test_joined_outcomes_say_the_same_in_the_same_order(sizes):
    parts = [physics(points(n, 10 * k), files=True) for k, n in enumerate(sizes)]
    whole = joined(parts)
    assert len(whole) == min(len(parts), 1)
    for o in whole:
        assert isinstance(o, Outcomes)
        assert o.point_id.tolist() == [i for part in parts for i in part.point_id.tolist()]
        assert list(o.reason) == [reason for part in parts for reason in part.reason]
        assert o.files == {i: part.files[i] for part in parts for i in part.files}
        assert o.host == "node1"
        for name in ("observables", "status", "attempts", "seconds", "finished"):
            np.testing.assert_array_equal(getattr(o, name), np.concatenate([getattr(p, name) for p in parts]))
        nll = np.concatenate([score(part, PLAN.likelihoods).nll for part in parts])
        np.testing.assert_array_equal(score(o, PLAN.likelihoods).nll, nll)
