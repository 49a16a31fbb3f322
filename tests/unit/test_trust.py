"""Whose fault a failure is: laws of `raydnnr.cluster.trust`."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.cluster.trust import APPEAL_AFTER, BELIEVED, WRONG, Trust
from raydnnr.evaluation import Outcomes, Status


def outcomes(first: int, words: str) -> Outcomes:
    """``o`` is ok, ``i`` invalid, ``x`` failed; ids from ``first`` on."""
    status = np.array([{"o": Status.OK, "i": Status.INVALID, "x": Status.FAILED}[w] for w in words], np.int8)
    n = len(words)
    return Outcomes(np.arange(first, first + n), np.zeros((n, 1)), status, ["r"] * n, np.ones(n, np.int8), np.ones(n),
                    "host", np.zeros(n), {first: {"log": b"x"}} if n else {})


def ids(counted: list[Outcomes]) -> list[int]:
    return [p for o in counted for p in o.point_id.tolist()]


@given(st.lists(st.text("oix", min_size=1, max_size=6), max_size=8))
def test_every_outcome_counts_once_or_is_appealed_against(words):
    trust, counted, appealed, first = Trust(), [], [], 0
    for word in words:
        counted += ids(trust.judge("a", outcomes(first, word))[0])
        appealed += trust.appeals("a", idle=False)
        first += len(word)
    counted += ids(trust.believe("a"))
    assert sorted(counted + appealed) == list(range(first))
    again = [p for p in appealed for p in ids(trust.judge("b", outcomes(p, "o"))[0])]
    assert again == appealed


@given(st.text("oi", min_size=1, max_size=20))
def test_without_failures_nothing_is_touched(words):
    o = outcomes(0, words)
    counted, bad = Trust().judge("a", o)
    assert counted[0] is o and len(counted) == 1 and not bad


def test_failures_before_a_success_are_the_points_own():
    trust = Trust()
    assert ids(trust.judge("a", outcomes(0, "xxx"))[0]) == []
    assert ids(trust.judge("a", outcomes(3, "xo"))[0]) == [0, 1, 2, 3, 4]
    assert trust.appeals("a", idle=True) == []


def test_a_node_where_only_its_own_points_fail_is_found_out():
    trust = Trust()
    trust.judge("bad", outcomes(0, "x" * APPEAL_AFTER))
    appeals = trust.appeals("bad", idle=False)
    assert appeals == list(range(APPEAL_AFTER))
    found = [trust.judge("good", outcomes(p, "o"))[1] for p in appeals]
    assert found == [[], [], ["bad"], [], []] and WRONG == 3
    trust.forget("bad")
    trust.judge("bad", outcomes(100, "x"))
    assert trust.appeals("bad", idle=False) == [100]  # a second chance is a short one


def test_physics_that_always_fails_costs_few_second_evaluations():
    trust = Trust()
    trust.judge("a", outcomes(0, "x" * APPEAL_AFTER))
    assert len(trust.appeals("a", idle=False)) == APPEAL_AFTER
    for p in range(APPEAL_AFTER):
        counted, bad = trust.judge("b", outcomes(p, "x"))
        assert ids(counted) == [p] and not bad
    assert ids(trust.judge("a", outcomes(50, "x" * BELIEVED))[0]) == list(range(50, 50 + BELIEVED))
    assert ids(trust.judge("a", outcomes(999, "x"))[0]) == []


def test_few_failures_are_asked_about_once_the_node_is_idle():
    trust = Trust()
    trust.judge("a", outcomes(0, "ox"))
    assert trust.appeals("a", idle=False) == []
    assert trust.appeals("a", idle=True) == [1]
    counted, _ = trust.judge("a", outcomes(1, "x"))  # the others are gone: its own second word counts
    assert ids(counted) == [1]


def test_kept_files_stay_with_their_points():
    trust = Trust()
    counted, _ = trust.judge("a", outcomes(0, "ox"))
    assert counted[0].files == {0: {"log": b"x"}}
    assert trust.believe("a")[0].files == {}
