"""Every source of `hybrid` meets the same suite; then what each of them alone promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydnnr.errors import ConfigError
from raydnnr.kinds import build
from raydnnr.search.scene import FEW_GOOD, PATIENCE, Scene
from raydnnr.search.sources import KINDS, Evolution, Explore, Frontier, Local, Region, Tournament, Valleys, children
from tests.unit.emulators import SHELL, emulator, radius, rows

EXAMPLES = {"explore": {}, "local": {"floor": 0.2}, "tournament": {}, "region": {"acquisition": "farthest"},
            "frontier": {"floor": 0.0}, "evolution": {"floor": 1.0}, "valleys": {}}

SURROGATE = emulator(80, likelihoods=SHELL, threshold=2.0)
HALF = emulator(120, likelihoods=SHELL, threshold=2.0, valid=lambda u: u[:, 0] < 0.6)


def scene(n=80, seed=0, threshold=2.0, surrogate=SURROGATE, pending=3, **changes):
    """Rows of a thin shell of good points in a square."""
    known = rows(n, seed=seed, likelihoods=SHELL)
    settings = {"u": known.u, "nll": known.nll, "violation": np.log1p(known.nll), "threshold": threshold,
                "pending": np.random.default_rng(seed + 1).random((pending, 2)), "emulator": surrogate,
                "rng": np.random.default_rng(seed)}
    return Scene(**settings | changes)


def with_good(n_good, **changes):
    """A scene of that many good rows."""
    nll = np.where(np.arange(80) < n_good, 0.5, 50.0)
    return scene(nll=nll, violation=np.log1p(nll), **changes)


SCENES = {
    "few good": scene, "many good": lambda: with_good(40), "all good": lambda: with_good(80),
    "at the edge": lambda: with_good(FEW_GOOD), "one less": lambda: with_good(FEW_GOOD - 1),
    "none good": lambda: scene(threshold=-1.0),
    "nothing ok": lambda: scene(nll=np.full(80, np.inf), violation=np.full(80, 17.0)),
    "one row": lambda: scene(1), "two rows": lambda: scene(2), "all in one point": lambda: scene(u=np.full((80, 2), 0.3)),
    "one good point many times": lambda: with_good(40, u=np.full((80, 2), 0.3)), "nothing pending": lambda: scene(pending=0),
    "much pending": lambda: scene(pending=500), "some invalid": lambda: scene(surrogate=HALF),
    "many good, some invalid": lambda: with_good(40, surrogate=HALF),
    "surrogate sees none good": lambda: with_good(40, surrogate=emulator(80, likelihoods=SHELL, threshold=-5.0)),
    "surrogate sees all good": lambda: with_good(40, surrogate=emulator(80, likelihoods=SHELL, threshold=1e300)),
    "half seen, all good": lambda: with_good(40, threshold=1e300, surrogate=emulator(
        120, likelihoods=SHELL, threshold=1e300, valid=lambda u: u[:, 0] < 0.6)),
    "on the walls": lambda: scene(u=np.round(np.random.default_rng(0).random((80, 2)))),
}


@pytest.fixture(params=KINDS)
def source(request):
    return build(KINDS[request.param], EXAMPLES[request.param], "[sources]")


def test_no_source_dodges_this_suite():
    assert EXAMPLES.keys() == KINDS.keys()


@pytest.mark.parametrize("name", SCENES)
def test_points_are_in_the_cube_and_no_more_than_asked_for(source, name):
    for n in (0, 1, 13):
        u = source.propose(SCENES[name](), n)
        assert u.ndim == 2
        assert u.shape[1] == 2
        assert len(u) == n if not source.needs_surrogate else len(u) <= n
        assert u.dtype == np.float64
        assert ((u >= 0) & (u <= 1)).all()


def test_the_same_scene_and_seed_give_the_same_points(source):
    for make in (scene, lambda: with_good(40)):
        a, b = source.propose(make(), 11), source.propose(make(), 11)
        assert a.tobytes() == b.tobytes()
        other = source.propose(scene(rng=np.random.default_rng(99)), 11)
        assert not len(a) or not np.isin(a[:, 0], other[:, 0]).all()


def test_a_source_that_needs_no_surrogate_works_without_one(source):
    if not source.needs_surrogate:
        for make in (scene, lambda **kw: with_good(40, **kw)):
            assert len(source.propose(make(surrogate=None), 9)) == 9


def test_what_is_known_is_not_changed(source):
    s = with_good(40)
    before = [a.copy() for a in (s.u, s.nll, s.violation, s.pending)]
    source.propose(s, 9)
    assert all(np.array_equal(a, b) for a, b in zip(before, (s.u, s.nll, s.violation, s.pending), strict=True))
    assert s.chosen == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("floor", [-0.1, 1.1, math.nan])
def test_impossible_floors_are_refused(kind, floor):
    with pytest.raises(ConfigError, match="floor: got .*; use a number between 0 and 1"):
        KINDS[kind](floor=floor)


def test_region_names_its_acquisitions():
    with pytest.raises(ConfigError, match="acquisition: got 'best'; choose one of coverage, farthest, rim and middle, probability"):
        Region(acquisition="best")


# ---- what each promises


def good_scene(**changes):
    """A hundred good points on the shell, among others."""
    angle = np.random.default_rng(5).uniform(0, math.pi, 100)  # only the upper half is known
    u = np.concatenate([0.5 + 0.35 * np.column_stack([np.cos(angle), np.sin(angle)]), rows(80, likelihoods=SHELL).u])
    nll = SHELL["r"].nll(radius(u))
    return scene(u=u, nll=nll, violation=np.log1p(nll), **changes)


def share_good(u, sigmas=2.0):
    return (np.abs(radius(u) - 0.35) < sigmas * 0.02).mean()


def test_explore_is_everywhere():
    u = Explore().propose(scene(surrogate=None), 400)
    assert np.abs(np.histogram2d(*u.T, bins=2, range=[[0, 1]] * 2)[0] - 100).max() < 40


def test_explore_goes_where_no_rows_are_and_not_into_corners():
    """Rows are everywhere but in a disc in the middle, of 5 % of the area."""
    u = np.random.default_rng(2).random((1500, 2))
    around = u[np.linalg.norm(u - 0.5, axis=1) > 0.13]
    here = scene(u=around, nll=np.full(len(around), 50.0), surrogate=None)
    found = np.concatenate([Explore().propose(here, 3) for _ in range(20)])
    assert (np.linalg.norm(found - 0.5, axis=1) < 0.13).mean() > 0.3
    filling = Explore().propose(scene(u=u[:1], nll=np.full(1, 50.0), surrogate=None), 60)
    assert abs((np.abs(filling - 0.5) > 0.4).mean() - 0.2) < 0.1  # of the coordinates, as of random ones


def test_explore_bears_rows_at_the_sides_of_the_cube_and_outside():
    """Rounding may put a row just below 0, whose remainder is 1; seeds may lie anywhere."""
    odd = np.array([[-1e-18, 1.0], [1.2, -3.0], [0.5, 0.5]])
    u = Explore().propose(scene(u=odd, nll=np.full(3, 50.0), surrogate=None), 5)
    assert u.shape == (5, 2) and ((u >= 0) & (u < 1)).all()


def test_explore_avoids_what_is_probably_invalid_and_nothing_else():
    u = Explore().propose(scene(surrogate=HALF), 100)
    assert (u[:, 0] < 0.65).all()
    assert (u[:, 0] < 0.2).sum() < 60


def test_children_of_good_points_are_near_them():
    u = Local().propose(good_scene(), 300)
    assert share_good(u) > 2 * share_good(np.random.default_rng(0).random((3000, 2)))
    assert len(np.unique(u, axis=0)) == 300


def test_a_tournament_picks_more_good_ones_than_chance():
    assert share_good(Tournament().propose(good_scene(), 60)) > 0.8 > 1.3 * share_good(Local().propose(good_scene(), 300))


def test_tournaments_end_when_there_are_good_points_enough():
    n_good = len(good_scene().good)
    assert Tournament(until_good=n_good).is_over(good_scene())
    assert not Tournament(until_good=n_good + 1).is_over(good_scene())


def test_region_covers_all_the_surrogate_takes_for_good():
    """The lower half of the shell has no known good point."""
    u = Region().propose(good_scene(), 40)
    assert share_good(u) > 0.8
    assert (u[:, 1] < 0.45).sum() > 15
    gaps = np.linalg.norm(u[:, None] - u[None], axis=2)[np.triu_indices(40, 1)]
    assert gaps.min() > 1e-3


def test_later_sources_keep_away_from_what_earlier_ones_chose():
    """All of the lower half is chosen already."""
    angle = np.linspace(math.pi, 2 * math.pi, 400)
    s = good_scene()
    s.chosen.append(0.5 + 0.35 * np.column_stack([np.cos(angle), np.sin(angle)]))
    nearest = np.linalg.norm(Region().propose(s, 20)[:, None] - s.chosen[0][None], axis=2).min(axis=1)
    free = np.linalg.norm(Region().propose(good_scene(), 20)[:, None] - s.chosen[0][None], axis=2).min(axis=1)
    assert (nearest < 0.03).sum() < (free < 0.03).sum()


def test_frontier_looks_where_no_good_points_are():
    """In the lower half of the shell."""
    u = Frontier().propose(good_scene(), 30)
    assert len(u) == 30
    assert (u[:, 1] < 0.45).mean() > 0.6


def test_valleys_that_are_good_in_no_draw_are_looked_into_only_before_there_are_good_points():
    hopeless = emulator(80, likelihoods=SHELL, threshold=-5.0)
    u = np.random.default_rng(0).random((80, 2))
    u[:12] = 0.3 + 0.01 * u[:12]  # the good ones, in one spot
    assert len(Valleys()._uncertain(with_good(12, u=u), 9)) == 9
    assert not len(Valleys()._uncertain(with_good(12, u=u, surrogate=hopeless), 9))
    assert len(Valleys()._uncertain(with_good(3, u=u, surrogate=hopeless), 9)) == 9


@pytest.mark.parametrize(("n_good", "later", "is_followed"),
                         [(12, [4.2, 4.3], True), (12, [4.2, 4.3, 4.2], False), (12, [5.0, 3.95, 4.2], False),
                          (12, [4.2, 4.3, 2.5], True), (12, [4.2, 2.5, 2.6], True), (0, [4.2, 4.3, 4.2], True)])
def test_a_valley_is_left_once_more_points_in_it_than_parameters_were_in_vain(n_good, later, is_followed):
    """Good points in one spot; two low rows elsewhere, and others that came later beside the lower one."""
    u = np.random.default_rng(0).random((80, 2))
    u[:12] = 0.3 + 0.01 * u[:12]
    u[12:, 1] = 0.5 + 0.5 * u[12:, 1]
    u[20], u[21] = (0.8, 0.2), (0.2, 0.8)
    nll = np.where(np.arange(80) < n_good, 0.5, 50.0)
    violation = np.where(nll < 2.0, 0.4, 6.0)
    violation[20:22] = 4.0, 4.1
    u[22 : 22 + len(later)] = u[20] + 0.01 * np.arange(1, len(later) + 1)[:, None]
    violation[22 : 22 + len(later)] = later
    step = Valleys()._below_lowest(scene(u=u, nll=nll, violation=violation), 1)
    assert len(step) == 1
    assert (np.linalg.norm(step[0] - u[20]) < 0.35) == is_followed


def test_before_there_are_good_points_the_surrogate_leads_to_where_they_should_be():
    for source in (Region(), Frontier()):
        s = with_good(0)
        u = source.propose(s, 10)
        assert share_good(u, 4.0) > 0.8
        gaps = np.linalg.norm(u[:, None] - u[None], axis=2)[np.triu_indices(len(u), 1)]
        assert gaps.min() > 0.002


def test_evolution_goes_downhill():
    """Towards the corner, where the violation is lowest."""
    known = np.random.default_rng(0).random((100, 2))
    s = scene(u=known, nll=np.full(100, 100.0), violation=known.sum(axis=1))
    u = Evolution().propose(s, 100)
    assert np.median(u.sum(axis=1)) < 0.6
    assert len(np.unique(u, axis=0)) == 100


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 30))
@settings(max_examples=30)
def test_children_are_in_the_cube_one_of_each_parent(seed, n_params, n):
    rng = np.random.default_rng(seed)
    parents, elite = rng.random((n, n_params)), np.round(rng.random((5, n_params)))
    child = children(parents, elite, rng)
    assert child.shape == parents.shape
    assert ((child >= 0) & (child <= 1)).all()


def test_some_children_have_one_or_two_coordinates_drawn_anew():
    """All elites are at one place: only a coordinate drawn anew leads far away, and along the axes."""
    rng = np.random.default_rng(0)
    parents = np.full((2000, 6), 0.3)
    moved = (np.abs(children(parents, parents[:1], rng) - 0.3) > 1e-12).sum(axis=1)
    along = np.isin(moved, (1, 2))
    assert 0.15 < along.mean() < 0.3
    assert 0.3 < (moved[along] == 1).mean() < 0.7


def test_parents_are_drawn_more_often_where_they_are_sparse():
    crowd = 0.2 + 0.01 * np.random.default_rng(0).random((50, 2))
    u = np.concatenate([crowd, 0.5 + 0.4 * np.random.default_rng(1).random((10, 2))])
    s = scene(u=u, nll=np.zeros(60), violation=np.zeros(60))
    assert (s.parents(1000)[:, 0] > 0.45).mean() > 0.7


def test_few_good_rows_are_led_by_the_best_ones():
    s = with_good(3)
    assert s.few_good
    assert s.elite.tobytes() == s.u[:20].tobytes()
    assert not with_good(FEW_GOOD).few_good
    assert len(with_good(FEW_GOOD).elite) == FEW_GOOD


@pytest.mark.parametrize("progress", [False, True])
def test_a_search_that_is_stuck_follows_several_valleys(progress):
    """All best rows lie in one corner; what is next lies in the others."""
    rng = np.random.default_rng(0)
    corners = np.array([[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]])
    n = 3 * PATIENCE
    corner = np.arange(n) % 3
    u = corners[corner] + 0.05 * rng.random((n, 2))
    violation = 2.0 + corner + 0.1 * rng.random(n)
    if progress:
        violation[-3] = 1.0
    s = scene(u=u, nll=np.full(n, 99.0), violation=violation)
    assert s.is_stuck != progress
    followed = {tuple(corners[np.linalg.norm(corners - row, axis=1).argmin()]) for row in s.elite}
    assert len(followed) == (1 if progress else 3)
    assert violation[np.flatnonzero((s.u == s.elite[0]).all(axis=1))[0]] == violation.min()


def test_what_new_points_keep_away_from():
    s = with_good(12)
    s.chosen.append(np.full((2, 2), 0.25))
    assert len(s.known) == 12 + 3 + 2
    assert scene(threshold=-1.0, pending=0).known.shape == (1, 2)


def test_what_the_surrogate_chose_in_vain_costs_it_trust_there_and_nowhere_else():
    u = np.random.default_rng(3).random((400, 2))
    chosen, good = np.arange(400) >= 100, (u[:, 0] < 0.5)
    here = scene(u=u, nll=np.where(good, 0.5, 50.0), believed=chosen)
    probed = np.random.default_rng(4).random((300, 2))
    trust = here.trust(probed)
    assert (trust[probed[:, 0] < 0.4] == 1.0).all()
    assert trust[probed[:, 0] > 0.6].max() <= 0.5
    assert (here.trust(np.full((1, 2), 5.0)) == 1.0).all()  # far from all that it chose
    for unknown in (scene(u=u, nll=here.nll, believed=~np.ones(400, bool)), scene(u=u, nll=np.full(400, 50.0)),
                    scene(u=u, nll=here.nll)):
        assert (unknown.trust(probed) == 1.0).all()


def test_good_and_bad_side_by_side_cost_no_trust():
    """At the rim of the region half of what is chosen is not good, however well the surrogate knows it."""
    u = np.random.default_rng(3).random((400, 2))
    here = scene(u=u, nll=np.where(np.arange(400) % 2, 0.5, 50.0), believed=np.ones(400, bool))
    assert np.median(here.trust(u)) == 1.0
