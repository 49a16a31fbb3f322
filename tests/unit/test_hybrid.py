"""Hybrid: what its rounds depend on, and that they find what is there."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.errors import ConfigError
from raydnnr.evaluation import Status, View
from raydnnr.kinds import build
from raydnnr.likelihoods import Expuser, Gauss, Off, get_losses
from raydnnr.plan import Problem
from raydnnr.search import hybrid
from raydnnr.search.acquisition import ACQUISITIONS
from raydnnr.search.hybrid import LARGEST_GROWTH, SURROGATES, Hybrid
from raydnnr.search.random_sampling import RandomSampling
from raydnnr.search.sources import KINDS as SOURCES
from raydnnr.search.sources import Tournament
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.surrogates import learning
from raydnnr.surrogates.ensemble import Ensemble

WORDS = (*SOURCES, "csv", "bootstrap")
SPACE = ParameterSpace(tuple(Parameter.of(name, low=-1, high=1) for name in ("x", "y", "z")))
RING = Problem(SPACE, {"r": Gauss(mean=0.5, sigma=0.02), "z": Gauss(mean=0.3, sigma=0.05)}, 1.0, 7)
SMALL = {"bootstrap_points": 30, "points_per_iteration": 20, "max_rows": 100}


def physics(x):
    """A thin ring in a cube; nothing comes out where x + y > 1.2."""
    o = np.column_stack([np.hypot(x[:, 0], x[:, 1]), x[:, 2]])
    status = np.where(x[:, 0] + x[:, 1] > 1.2, Status.INVALID, Status.OK).astype(np.int8)
    o[status != Status.OK] = math.nan
    return o, status


def evaluated(x, origin, iteration, first=0, problem=RING, physics=physics):
    """A view of points that were evaluated."""
    o, status = physics(x)
    losses = get_losses({name: o[:, k] for k, name in enumerate(problem.likelihoods)}, problem.likelihoods)
    nll = np.where(status == Status.FAILED, math.nan, np.sum(list(losses.values()), axis=0))
    n = len(x)
    return View(first + np.arange(n), x, o, nll, status, np.empty((0, x.shape[1])), first + n,
                np.full(n, iteration, np.int32), np.array([WORDS.index(word) for word in origin], np.int16), WORDS)


def scan(method, n_rounds, problem=RING, physics=physics):
    """All rows after some rounds, each finished before the next."""
    view = None
    for iteration in range(n_rounds):
        n = method.round_size(iteration, 1)
        so_far = view or evaluated(np.empty((0, problem.space.n_params)), [], 0, 0, problem, physics)
        proposal = method.propose(problem, so_far, iteration, n)
        new = evaluated(proposal.x, proposal.origin, iteration, len(so_far.x), problem, physics)
        view = new if view is None else view.extended(new)
    return view


def n_good(view, problem=RING):
    return int(((view.nll < problem.threshold_value) & (view.status == Status.OK)).sum())


@pytest.fixture(scope="module")
def rows():
    """Three rounds of a scan."""
    return scan(Hybrid(**SMALL), 4)


def same(a, b):
    return (a.x.tobytes(), list(a.origin), a.nll_predicted.tobytes()) == (
        b.x.tobytes(), list(b.origin), b.nll_predicted.tobytes())


# ---- settings


@pytest.mark.parametrize(("settings", "words"), [
    ({"growth": -0.1}, "growth: got -0.1; use a number between 0 and 10"), ({"growth": math.nan}, "growth"),
    ({"sources": ["explor"]}, f"no source 'explor'; there are {', '.join(SOURCES)}."),
    ({"sources": ["explor"]}, "Did you mean 'explore'?"),
    ({"sources": []}, "sources: name each source once, one at least"),
    ({"sources": ["local", "local"]}, "sources: name each source once"),
    ({"sources": ["region", "tournament"]}, "sources: keep one that needs no surrogate: explore, local or evolution"),
    ({"floors": {"regoin": 0.1}}, "floors: no source 'regoin'"), ({"floors": {"region": 1.5}}, "floor: got 1.5"),
    ({"floors": {"region": 0.7, "local": 0.7}}, "floors: their sum is above 1"),
    ({"floors": {"region": "much"}}, "floor: got 'much', wants a number"),
    ({"acquisition": "best"}, "acquisition: got 'best'; choose one of coverage, farthest, rim and middle, probability"),
    ({"surrogate": "forest"}, "surrogate: got 'forest'; choose one of mixed, gaussian_process, ensemble"),
    ({"max_rows": 49}, "max_rows: got 49; use a whole number >= 50"),
])
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ConfigError) as caught:
        build(Hybrid, settings, "[search]")
    assert words in str(caught.value)
    assert str(caught.value).startswith("[search]")


def test_methods_with_the_same_settings_are_equal_whatever_they_remember(rows):
    a, b = Hybrid(**SMALL), Hybrid(**SMALL)
    a.propose(RING, rows, 5, 5)
    assert a == b
    assert "memo" not in repr(a)


# ---- round sizes

methods = st.builds(
    Hybrid, bootstrap_points=st.integers(1, 500), points_per_iteration=st.integers(1, 300), growth=st.floats(0, 10),
    synchronous=st.booleans())
iterations = st.integers(0, 60)


@given(methods, iterations, st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_strict_round_does_not_depend_on_how_many_points_are_wanted(method, iteration, a, b):
    strict = replace(method, synchronous=True)
    assert strict.round_size(iteration, a) == strict.round_size(iteration, b)


@given(methods, iterations, st.integers(0, 10**7))
def test_a_round_is_neither_smaller_than_the_setting_nor_larger_than_its_bound(method, iteration, wanted):
    size, strict = method.round_size(iteration, wanted), replace(method, synchronous=True).round_size(iteration, 1)
    assert isinstance(size, int)
    if iteration == 0:
        assert size == method.bootstrap_points
        return
    before = sum(replace(method, synchronous=True).round_size(k, 1) for k in range(min(iteration, 40)))
    assert size >= strict >= method.points_per_iteration
    assert size <= max(strict, wanted)
    if iteration <= 40 and before < 1e8:
        assert size <= max(strict, math.ceil(LARGEST_GROWTH * before))


@given(methods, st.integers(1, 60), st.integers(0, 10**7))
def test_rounds_grow(method, iteration, wanted):
    assert method.round_size(iteration, wanted) <= method.round_size(iteration + 1, wanted)
    assert method.round_size(iteration, 0) <= method.round_size(iteration, wanted)


def test_a_round_is_its_share_of_all_before():
    method = Hybrid(bootstrap_points=1000, points_per_iteration=10, growth=0.1)
    assert [method.round_size(k, 1) for k in range(4)] == [1000, 100, 110, 121]
    assert method.round_size(1, 200) == 200
    assert method.round_size(1, 10_000) == 250
    assert method.round_size(1, 10**6) == 100  # physics is free: larger rounds gain nothing


# ---- what a round depends on


def test_a_round_is_the_same_in_whatever_order_rows_came_and_whatever_was_asked_before(rows):
    order = np.random.default_rng(0).permutation(len(rows.x))
    names = ("point_id", "x", "observables", "nll", "status", "iteration", "origin")
    shuffled = replace(rows, **{name: getattr(rows, name)[order] for name in names})
    first = Hybrid(**SMALL).propose(RING, rows, 4, 20)
    assert same(Hybrid(**SMALL).propose(RING, shuffled, 4, 20), first)
    asked = Hybrid(**SMALL)
    for n in (35, 50, 70):
        asked.propose(RING, rows.rows(0)._with(lambda a, n=n: a[:n]), 3, 5)
    assert same(asked.propose(RING, rows, 4, 20), first)
    assert same(asked.propose(RING, rows, 4, 20), first)


def test_seed_iteration_and_pending_points_change_it(rows):
    method = Hybrid(**SMALL)
    first = method.propose(RING, rows, 4, 20)
    assert not same(method.propose(RING, rows, 5, 20), first)
    assert not same(method.propose(replace(RING, seed=8), rows, 4, 20), first)
    assert not same(method.propose(RING, replace(rows, pending=first.x), 4, 20), first)


def test_what_is_under_way_is_not_proposed_again(rows):
    method = Hybrid(**SMALL)
    first = method.propose(RING, rows, 4, 20)
    second = method.propose(RING, replace(rows, pending=first.x), 4, 20)
    assert not {tuple(row) for row in second.x} & {tuple(row) for row in first.x}


def test_a_proposal_says_what_it_expects(rows):
    proposal = Hybrid(**SMALL).propose(RING, rows, 4, 20)
    assert np.isfinite(proposal.nll_predicted).all()
    assert set(proposal.origin) <= set(SOURCES)
    assert proposal.report.n_points == len(rows.x)
    assert proposal.report.seconds > 0
    u = SPACE.to_unit_cube(proposal.x)
    np.testing.assert_allclose(proposal.surrogate.nll(proposal.surrogate.mean(u)), proposal.nll_predicted, rtol=1e-6)
    assert RING.space.contains(proposal.x).all()


def test_every_source_that_takes_part_keeps_its_floor(rows):
    proposal = Hybrid(**SMALL, sources=tuple(SOURCES), floors=dict.fromkeys(SOURCES, 0.1)).propose(RING, rows, 4, 60)
    assert min(Counter(proposal.origin)[word] for word in ("explore", "frontier", "tournament", "region")) >= 5


def test_what_stands_in_for_a_surrogate_rests_while_one_is_trusted(rows, monkeypatch):
    floors = dict.fromkeys(SOURCES, 0.1)
    trusted = Hybrid(**SMALL, floors=floors).propose(RING, rows, 4, 60)
    assert not {"local", "evolution"} & set(trusted.origin)
    alone = Hybrid(**SMALL, sources=("explore", "local", "evolution", "tournament")).propose(RING, rows, 4, 60)
    assert {"local", "evolution"} <= set(alone.origin)  # nobody else fills the region

    monkeypatch.setattr(learning, "_ranking", lambda *args: 0.5)
    monkeypatch.setattr(hybrid, "_earns_trust", lambda *args: False)
    doubted = Hybrid(**SMALL, floors=floors).propose(RING, rows, 4, 60)
    assert {"local", "evolution"} <= set(doubted.origin)


@pytest.mark.parametrize("mostly_good", [True, False])
def test_what_stands_in_rests_without_skill_only_where_the_surrogate_is_mostly_right(rows, monkeypatch, mostly_good):
    monkeypatch.setattr(learning, "_ranking", lambda *args: 0.5)
    good = (rows.nll < RING.threshold_value) & (rows.status == Status.OK)
    led = good | (np.zeros(len(good), bool) if mostly_good else np.cumsum(~good) <= 2 * good.sum())
    view = replace(rows, origin=led.astype(np.int16), words=("explore", "region"))
    proposal = Hybrid(**SMALL, floors=dict.fromkeys(SOURCES, 0.1)).propose(RING, view, 4, 60)
    assert ({"local", "evolution"} <= set(proposal.origin)) != mostly_good


@pytest.mark.parametrize("is_stuck", [True, False])
def test_what_stands_in_comes_back_where_a_search_for_good_points_is_stuck(rows, monkeypatch, is_stuck):
    monkeypatch.setattr(hybrid.Scene, "is_stuck", is_stuck)
    never = replace(RING, threshold_value=-1.0)
    proposal = Hybrid(**SMALL, floors=dict.fromkeys(SOURCES, 0.1)).propose(never, rows, 4, 60)
    assert ({"local", "evolution"} <= set(proposal.origin)) == is_stuck


# ---- ablations


@pytest.fixture
def quick_networks(monkeypatch):
    """Networks that learn little, soon."""
    monkeypatch.setattr(learning, "ENSEMBLE_MIN_ROWS", 40)
    monkeypatch.setattr(learning, "Ensemble", lambda: Ensemble(neurons=6, steps=40))


def test_a_source_that_is_over_has_no_share(rows, monkeypatch):
    monkeypatch.setattr(Tournament, "is_over", lambda self, scene: True)
    proposal = Hybrid(**SMALL, floors=dict.fromkeys(SOURCES, 0.1)).propose(RING, rows, 4, 60)
    assert "tournament" not in proposal.origin
    assert len(proposal.origin) == 60


@pytest.mark.parametrize("left_out", SOURCES)
def test_each_source_can_be_left_out(left_out, rows):
    sources = tuple(word for word in SOURCES if word != left_out)
    proposal = Hybrid(**SMALL, sources=sources).propose(RING, rows, 4, 20)
    assert len(proposal.x) == 20
    assert left_out not in proposal.origin or left_out == "explore"  # which stands in for what is missing


@pytest.mark.parametrize("word", ["explore", "local", "evolution"])
def test_a_source_without_surrogate_can_be_alone(word, rows):
    proposal = Hybrid(**SMALL, sources=(word,)).propose(RING, rows, 4, 20)
    assert Counter(proposal.origin)[word] == 20
    assert len(np.unique(proposal.x, axis=0)) == 20


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_each_surrogate_proposes(surrogate, rows, quick_networks):
    method = Hybrid(**SMALL, surrogate=surrogate)
    first = method.propose(RING, rows, 4, 20)
    assert np.isfinite(first.nll_predicted).all()
    assert same(Hybrid(**SMALL, surrogate=surrogate).propose(RING, rows, 4, 20), first)


def test_each_acquisition_proposes_other_points(rows):
    chosen = [Hybrid(**SMALL, sources=("explore", "region"), floors={"region": 0.9}, acquisition=word).propose(
        replace(RING, threshold_value=8.0), rows, 4, 20).x for word in ACQUISITIONS]
    assert all(len(x) == 20 for x in chosen)
    assert len({x.tobytes() for x in chosen}) == len(ACQUISITIONS)


def test_points_that_the_surrogate_chose_in_vain_change_nothing_where_it_is_not_doubted(rows):
    """The same rows, of which a surrogate chose the bad ones at one side, or none."""
    loose, explore, region = replace(RING, threshold_value=8.0), WORDS.index("explore"), WORDS.index("region")
    in_vain = replace(rows, origin=np.where((rows.nll < 8.0) | (rows.x[:, 0] < 0.0), explore, region).astype(np.int16))
    drawn = replace(rows, origin=np.full(len(rows.x), explore, np.int16))
    settings = {**SMALL, "sources": ("explore", "region"), "floors": {"explore": 0.0, "region": 1.0}}
    doubting, trusting = ([Hybrid(**settings, doubt=doubt).propose(loose, view, 4, 20).x.tobytes()
                           for view in (in_vain, drawn)] for doubt in (True, False))
    assert doubting[0] != doubting[1] == trusting[0] == trusting[1]


# ---- tables that teach nothing, or odd things


def spoiled(rows, **changes):
    return replace(rows, **changes)


ODD = {
    "all failed": lambda v: replace(v, status=np.full_like(v.status, Status.FAILED), nll=np.full_like(v.nll, math.nan),
                                    observables=np.full_like(v.observables, math.nan)),
    "all invalid": lambda v: replace(v, status=np.full_like(v.status, Status.INVALID),
                                     observables=np.full_like(v.observables, math.nan)),
    "the first half failed": lambda v: replace(
        v, status=np.where(np.arange(len(v.x)) < 60, Status.FAILED, v.status).astype(np.int8),
        nll=np.where(np.arange(len(v.x)) < 60, math.nan, v.nll),
        observables=np.where(np.arange(len(v.x))[:, None] < 60, math.nan, v.observables)),
    "a tool was skipped everywhere": lambda v: replace(
        v, observables=v.observables * [1.0, math.nan], nll=np.where(v.status == Status.OK, 711.0, v.nll)),
    "a tool was skipped somewhere": lambda v: replace(
        v, observables=np.where((np.arange(len(v.x)) % 3 == 0)[:, None] & [False, True], math.nan, v.observables),
        nll=np.where((np.arange(len(v.x)) % 3 == 0) & (v.status == Status.OK), 711.0, v.nll)),
    "an observable never changes": lambda v: replace(v, observables=np.where(
        np.isnan(v.observables), math.nan, [0.1, 0.3]), nll=np.where(v.status == Status.OK, 5.0, v.nll)),
    "all in one point": lambda v: replace(v, x=np.full_like(v.x, 0.25)),
    "an absurd observable": lambda v: replace(v, observables=np.where(
        (np.arange(len(v.x)) == 3)[:, None], 1e30, v.observables), nll=np.where(np.arange(len(v.x)) == 3, 1421.0, v.nll)),
    "an infinite observable": lambda v: replace(v, observables=np.where(
        (np.arange(len(v.x)) == 3)[:, None], math.inf, v.observables), nll=np.where(np.arange(len(v.x)) == 3, 1421.0, v.nll)),
    "nothing known of rounds": lambda v: replace(v, iteration=np.empty(0, np.int32), origin=np.empty(0, np.int16), words=()),
    "seeds only": lambda v: replace(v, iteration=np.full(len(v.x), -1, np.int32),
                                    origin=np.full(len(v.x), WORDS.index("csv"), np.int16)),
    "12 rows": lambda v: v._with(lambda a: a[:12]), "no rows": lambda v: v._with(lambda a: a[:0]),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_tables_still_give_points(name, rows):
    proposal = Hybrid(**SMALL).propose(RING, ODD[name](rows), 4, 20)
    assert proposal.x.shape == (20, 3)
    assert len(np.unique(proposal.x, axis=0)) == 20
    assert RING.space.contains(proposal.x).all()


@pytest.mark.parametrize("threshold", [math.inf, -math.inf, -5.0, 0.0, 1e-9, 1e12])
def test_any_threshold_gives_points(threshold, rows):
    proposal = Hybrid(**SMALL).propose(replace(RING, threshold_value=threshold), rows, 4, 20)
    assert proposal.x.shape == (20, 3)
    assert RING.space.contains(proposal.x).all()


def test_nothing_to_constrain_gives_points_all_over(rows):
    problem = replace(RING, likelihoods={"r": Off(), "z": Off()})
    proposal = Hybrid(**SMALL).propose(problem, replace(rows, nll=np.zeros(len(rows.x))), 4, 20)
    assert proposal.x.shape == (20, 3)


def test_one_parameter():
    space = ParameterSpace((Parameter.of("x", low=0, high=1),))
    problem = Problem(space, {"o": Gauss(mean=0.5, sigma=0.01)}, 1.0, 3)
    view = scan(Hybrid(**SMALL), 3, problem, lambda x: (x**2, np.zeros(len(x), np.int8)))
    assert n_good(view, problem) > 10


# ---- it finds what is there


def test_it_finds_a_thin_ring_with_far_fewer_evaluations_than_random_sampling():
    """Good is 0.16 % of the cube."""
    view = scan(Hybrid(bootstrap_points=60, points_per_iteration=30, max_rows=150), 5)
    assert len(view.x) == 180
    chance = RandomSampling(bootstrap_points=1, points_per_iteration=1).propose(RING, view, 1, 20_000).x
    rate = n_good(evaluated(chance, ["explore"] * 20_000, 0)) / 20_000
    assert n_good(view) > 40 > 30 * rate * 180
    good = view.x[(view.nll < 1.0) & (view.status == Status.OK)]
    angle = np.sort(np.arctan2(good[:, 1], good[:, 0]))
    assert np.diff(angle, append=angle[0] + 2 * math.pi).max() < 1.0  # all around


def test_likelihoods_whose_nll_is_negative():
    """The good region is a cap around the top of a hill, where the NLL is below -0.9."""
    space = ParameterSpace((Parameter.of("x", low=-1, high=1), Parameter.of("y", low=-1, high=1)))
    problem = Problem(space, {"hill": Expuser()}, -0.98, 3)

    def hill(x):
        return np.exp(-3.0 * ((x[:, 0] - 0.4) ** 2 + x[:, 1] ** 2))[:, None], np.zeros(len(x), np.int8)

    view = scan(Hybrid(**SMALL), 4, problem, hill)  # good is 0.5 % of the square
    assert n_good(view, problem) > 25


def test_violation_ranks_likelihoods_whose_nll_is_negative():
    problem = Problem(ParameterSpace((Parameter.of("x", low=-1, high=1),)), {"hill": Expuser()}, -0.98, 3)
    view = evaluated(np.linspace(-1, 0, 9)[:, None], ["explore"] * 9, 0, 0, problem,
                     lambda x: (np.exp(-3.0 * x**2), np.zeros(len(x), np.int8)))
    rows, violation = hybrid._learnable(problem, view)
    assert (rows.nll < 0).all() and (np.diff(violation) < 0).all() and violation[-1] == 0.0


def test_a_trained_surrogate_that_shows_no_skill_is_not_trusted(rows, monkeypatch):
    """Its sources keep their floors together; what one has no points for, the next one gets. Not so while the points
    that it chose are good more often than others, however it ranks these among each other.
    """
    monkeypatch.setattr(learning, "_ranking", lambda *args: 0.5)
    led = [word for word in SOURCES if SOURCES[word]().needs_surrogate]

    def n_led(view):
        origin = Counter(Hybrid(**SMALL).propose(RING, view, 4, 200).origin)
        return sum(origin[word] for word in led)

    floors = 200 * sum(SOURCES[word]().floor for word in led) + len(led)
    good = (rows.nll < RING.threshold_value) & (rows.status == Status.OK)
    unlucky = replace(rows, origin=np.where(good, 0, 1).astype(np.int16), words=("explore", "region"))
    lucky = replace(rows, origin=np.where(good, 1, 0).astype(np.int16), words=("explore", "region"))
    assert n_led(unlucky) <= floors < n_led(lucky)
