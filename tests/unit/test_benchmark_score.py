"""The score of the search benchmark, and that its problems are what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from peers.recorder import BudgetSpent, Recorder  # noqa: E402
from problems import ALL, PRACTICE, PROBLEMS  # noqa: E402
from problems.problem import IDEAL_COVERAGE, REFERENCES, Reference  # noqa: E402
from problems.shells import on_small_island  # noqa: E402
from score import Log, curves, ends, good_points, score  # noqa: E402
from subset_simulation import subset_simulation  # noqa: E402

from raydnnr import MlsDnnr  # noqa: E402
from raydnnr.likelihoods import smooth_cap_loss  # noqa: E402

EVERY = pytest.mark.parametrize("name", ALL)


def reference(points, r90):
    return Reference(fraction=0.1, fraction_error=0.0, points=np.asarray(points, dtype=float), r90=r90)


def logs(n_params=2):
    seeds, sizes = st.integers(0, 2**32 - 1), st.integers(0, 700)
    return st.builds(lambda seed, n: made_log(np.random.default_rng(seed), n, n_params), seeds, sizes)


def made_log(rng, n, n_params):
    nll = rng.exponential(2.0, n)
    nll[rng.random(n) < 0.2] = np.nan
    return Log(rng.random((n, n_params)), nll)


def test_a_point_found_again_counts_once_and_nan_is_never_good():
    log = Log(np.array([[0.1], [0.1], [0.2], [0.3], [0.2]]), np.array([0.5, 0.5, np.nan, 2.0, 0.1]))
    assert good_points(log, 1.0).tolist() == [True, False, False, False, True]


def test_what_is_counted_is_evaluations_not_good_points():
    log = Log(np.linspace(0, 1, 3000)[:, None], np.where(np.arange(3000) % 2, 0.0, 9.0))
    found = score(curves(log, 1.0, reference([[0.25], [0.9]], 0.01)))

    assert found.evals_to_1000 == 2000 and found.good == 1500 and found.evaluations == 3000
    assert found.coverage == 0.5  # of the first 1000 good points, which end at 2/3
    assert 0.23 < found.evals_to_cov50 / 3000 < 0.25


def test_too_few_good_points_have_no_time():
    log = Log(np.linspace(0, 1, 50)[:, None], np.zeros(50))
    found = score(curves(log, 1.0, reference([[0.5], [3.0], [4.0]], 0.1)))

    assert found.evals_to_1000 is None and found.evals_to_cov50 is None
    assert found.good == 50 and found.coverage == pytest.approx(1 / 3)


def test_an_empty_log_has_a_score():
    found = curves(Log(np.empty((0, 2)), np.empty(0)), 1.0, reference([[0.5, 0.5]], 0.1))
    assert score(found).good == 0 and not ends(found) and found.at(100) == (0, 0.0)


@settings(max_examples=30, deadline=None)
@given(logs(), st.floats(0.01, 0.5))
def test_coverage_is_what_a_slow_loop_says(log, radius):
    points = np.random.default_rng(0).random((20, 2))
    found = curves(log, 1.0, reference(points, radius))

    good = log.u[good_points(log, 1.0)]
    distance = np.sqrt(((points[:, None, :] - good[None, :, :]) ** 2).sum(axis=2))
    covered = (distance.min(axis=1) <= radius).mean() if len(good) else 0.0
    assert found.at(len(log)) == (len(good), pytest.approx(covered))
    assert (np.diff(found.coverage) >= 0).all() and (np.diff(found.good) >= 0).all()


@settings(max_examples=20, deadline=None)
@given(logs(), st.integers(0, 700))
def test_the_past_does_not_depend_on_the_future(log, n):
    points = np.random.default_rng(0).random((20, 2))
    whole, part = (curves(x, 1.0, reference(points, 0.1)) for x in (log, log.first(n)))
    assert whole.at(min(n, len(log))) == (part.at(n)[0], pytest.approx(part.at(n)[1]))


@EVERY
def test_reference_points_are_good_and_inside(name):
    problem = ALL[name]
    points = problem.reference.points
    assert points.shape == (500, problem.space.n_params) and (points >= 0).all() and (points <= 1).all()
    nll = problem.nll(points)  # stored in single precision, which may lift one over the edge
    assert (nll < problem.threshold_value * 1.001).all()


@EVERY
def test_an_ideal_sample_scores_as_it_should(name):
    with np.load(REFERENCES / f"{name}.npz") as file:
        ideal = file["ideal"]
    problem = ALL[name]
    found = curves(Log(ideal, np.zeros(len(ideal))), problem.threshold_value, problem.reference)
    assert score(found).coverage == pytest.approx(IDEAL_COVERAGE, abs=0.005)


@EVERY
def test_the_scan_calls_the_same_points_good(name):
    """The program's NLL is capped smoothly; its threshold is chosen so that hardly anything changes, and safely."""
    problem = ALL[name]
    rng = np.random.default_rng(1)
    u = np.clip(problem.reference.points + rng.normal(0, 0.05 * problem.reference.r90, problem.reference.points.shape),
                0, 1)
    nll, plan = problem.nll(u), problem.plan(MlsDnnr(), 1, points=1, max_evaluations=1)
    values = problem.observables(u)
    capped = sum(smooth_cap_loss(-kind.nll(values[n])) for n, kind in problem.likelihoods.items())

    ours, theirs = capped < plan.stop.threshold_value, nll < problem.threshold_value
    assert plan.space.names == problem.space.names and list(plan.likelihoods) == list(problem.likelihoods)
    assert not (ours & ~theirs).any()
    assert (ours != theirs).mean() < 0.02


@pytest.mark.parametrize("name", ["toy3d", "islands5", "cracked6", "haystack24"])
def test_the_good_fraction_is_what_random_points_find(name):
    problem = ALL[name]
    n = 300_000
    good = int((problem.nll(np.random.default_rng(7).random((n, problem.space.n_params)))
                < problem.threshold_value).sum())
    expected = n * problem.reference.fraction
    assert abs(good - expected) < 5 * np.sqrt(expected)


@pytest.mark.parametrize("name", PRACTICE)
def test_what_practice_says_of_a_point_does_not_depend_on_others(name):
    """To the last digit: else searches on it do not repeat."""
    problem = ALL[name]
    u = np.random.default_rng(3).random((64, problem.space.n_params))
    together, alone = problem.observables(u), [problem.observables(u[i : i + 1]) for i in range(len(u))]
    for observable, values in together.items():
        np.testing.assert_array_equal(values, [own[observable][0] for own in alone])


def test_the_small_island_has_two_percent():
    assert 0.005 < on_small_island(PROBLEMS["islands5"].reference.points).mean() < 0.04


def test_points_that_break_the_code_are_not_those_without_an_answer():
    problem = PROBLEMS["cracked6"]
    columns = problem.space.columns(problem.space.from_unit_cube(np.random.default_rng(3).random((1000, 6))))
    broken = problem.fails(columns)

    assert 50 < broken.sum() < 200
    with pytest.raises(RuntimeError, match="converge"):
        problem._physics(columns)
    answer = problem._physics({name: column[~broken] for name, column in columns.items()})
    assert np.isfinite(answer["vacuum"]).all() and 0.1 < np.isnan(answer["arm"]).mean() < 0.5


def test_a_budget_is_never_overspent():
    record = Recorder(PROBLEMS["toy3d"], 25)
    record(np.full((20, 3), 0.5))
    with pytest.raises(BudgetSpent):
        record(np.full((20, 3), 0.5))
    assert len(record.log) == 25


def test_subset_simulation_knows_a_small_volume():
    def nll(u):
        return ((u - 0.5) ** 2).sum(axis=1)

    radius = 0.05  # of a ball in four dimensions, of volume pi^2 / 2 r^4
    rng = np.random.default_rng(5)
    found = [subset_simulation(nll, 4, radius**2, rng) for _ in range(8)]

    volume = np.pi**2 / 2 * radius**4
    assert volume / 1.4 < np.mean([f.probability for f in found]) < volume * 1.4
    assert all((nll(f.u) < radius**2).all() for f in found)


def test_subset_simulation_of_nothing_is_zero():
    found = subset_simulation(lambda u: np.full(len(u), np.nan), 2, 1.0, np.random.default_rng(0), max_levels=3)
    assert found.probability == 0.0 and found.u.shape == (0, 2)
