"""``scan.coverage_gain``: what a scan sees of its good region, where that is shown, and the end that follows from it."""

from __future__ import annotations

import json
import math
import threading

import numpy as np
import pytest

from raydnnr import Gauss, Minusexpuser, Observable, PythonFunction, RandomSampling, Stop, cli, coverage
from raydnnr.coverage import FEWEST, Coverage, Regions, Survey, rung, survey
from raydnnr.errors import ConfigError
from raydnnr.evaluation import Summary
from raydnnr.plan import ClusterSettings
from raydnnr.pool import PoolState
from raydnnr.progress import Progress
from raydnnr.run import run
from raydnnr.store import Store
from tests.unit.plans import square
from tests.unit.runs import evaluate, proposal, run_rounds

SEEN = Survey(400, Coverage(0.871, 0.012, 0.05, 3.2), 0.04, Regions(4, 3.61))


def disc(point):
    """Good in a disc of radius 0.25: a fifth of the square."""
    return {"r2": ((point["x"] - 0.5) ** 2 + (point["y"] - 0.5) ** 2) / 0.0625}


def disc_plan(**stop):
    """A synchronous scan of the disc by rounds of 500 independent points."""
    return square(tools=[PythonFunction(name="disc", function=disc, vectorized=True)], derived={},
                  observables=[Observable(name="r2", likelihood=Minusexpuser())], cluster=ClusterSettings(slots=2),
                  method=RandomSampling(sampler="uniform", bootstrap_points=500, points_per_iteration=500,
                                        synchronous=True),
                  stop=Stop(**{"points": 0, "iterations": 0, "coverage_gain": 0.1} | stop))


@pytest.mark.parametrize("value", [-0.1, 1, 5, math.nan, math.inf])
def test_a_share_is_wanted(value):
    with pytest.raises(ConfigError, match=r"scan\.coverage_gain: got .* use a share from 0 \(off\) to below 1"):
        Stop(coverage_gain=value)


@pytest.mark.parametrize(("gain", "n", "wanted", "ends"), [
    (0.04, 400, 0.05, True), (0.05, 400, 0.05, False), (0.0, 200, 0.05, True), (0.0, 199, 0.05, False),
    (0.0, 400, 0.0, False), (math.nan, 400, 0.05, False),
])
def test_a_scan_ends_when_the_gain_is_below_what_is_wanted(gain, n, wanted, ends):
    seen = Survey(n, gain=gain)
    reason = Stop(points=0, coverage_gain=wanted).reached(Summary(evaluations=1000, good=n, ok=1000, survey=seen))
    assert bool(reason) == ends
    assert not ends or reason.startswith("coverage_gain: ")


def test_a_scan_ends_by_it_and_says_what_it_saw(tmp_path, capfd):
    result = run(disc_plan(max_evaluations=60_000), run_dir=tmp_path / "run", inline=True, progress=False)

    assert result.reason.startswith("coverage_gain: ")
    assert 500 < result.good < 3000, "about a thousand points leave a tenth of an area uncovered"
    assert result.survey is not None and result.survey.n_points == result.good
    assert result.survey.coverage.share > 0.7 and result.survey.regions == Regions(1, 1.0)
    assert "survey" not in result.summary_line() and "coverage" not in json.loads(result.summary_line())
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["coverage"]["share"] == result.survey.coverage.share and status["coverage"]["regions"] == 1
    assert cli.main(["status", str(tmp_path / "run")]) == 0
    assert f"good region, after {result.good} good points: coverage " in capfd.readouterr().out


def test_a_scan_that_was_stopped_ends_where_the_other_one_ends(tmp_path):
    """The end depends on the rows alone, not on when one has looked."""
    whole = run(disc_plan(max_evaluations=60_000), run_dir=tmp_path / "whole", inline=True, progress=False)
    for n in (1000, 1500, 60_000):
        parts = run(disc_plan(max_evaluations=n), run_dir=tmp_path / "parts", inline=True, progress=False)

    assert parts.evaluations == whole.evaluations and parts.reason == whole.reason


def test_a_store_looks_when_the_good_points_have_grown_by_a_tenth(tmp_path, monkeypatch):
    plan = square(observables=[Observable(name="r", likelihood=Gauss(mean=0.2, sigma=0.2)),
                               Observable(name="s", likelihood=Gauss(mean=1.0, sigma=0.5))])
    looks = []
    monkeypatch.setattr("raydnnr.store.survey", lambda u: looks.append(len(u)) or survey(u))
    store = Store.open(tmp_path / "run", plan, {"config.toml": ""})
    assert store.summary().survey.n_points == 0
    for seed in range(12):
        evaluate(store, plan, store.open_round(proposal(30, seed)))
        store.look_around()
        store.look_around()
        assert store.summary().survey.n_points == rung(store.summary().good)
    assert looks == sorted(set(looks)) and len(looks) > 3
    store.look_around(complete=True)
    assert store.summary().survey.n_points == store.summary().good
    store.close()


def test_a_scan_does_not_wait_for_a_survey_of_many_points(tmp_path, monkeypatch):
    """Points go on being evaluated meanwhile; the survey is of those that were good when it began."""
    begun, may_end, looks = threading.Event(), threading.Event(), []

    def slow(u):
        looks.append(len(u))
        begun.set()
        assert may_end.wait(60)
        return Survey(len(u))

    monkeypatch.setattr("raydnnr.store.survey", slow)
    monkeypatch.setattr("raydnnr.store.AT_ONCE", FEWEST)
    plan = square()
    store = Store.open(tmp_path / "run", plan, {"config.toml": ""})
    try:
        evaluate(store, plan, store.open_round(proposal(1000)))
        wanted = rung(store.summary().good)
        store.look_around(wait=False)
        assert begun.wait(60) and store.summary().survey == Survey()
        evaluate(store, plan, store.open_round(proposal(1000, 1)))
        for _ in range(3):
            store.look_around(wait=False)
        assert store.summary().survey == Survey()
    finally:
        may_end.set()
    store.look_around(wait=True)
    assert FEWEST < wanted < store.summary().survey.n_points == rung(store.summary().good)
    store.look_around(complete=True)
    assert store.summary().survey.n_points == store.summary().good
    assert looks == [wanted, rung(store.summary().good), store.summary().good]
    store.close()


def test_what_a_survey_costs_does_not_grow_with_the_points(monkeypatch):
    """Of 20,000 points it sees 2,000, and says the same; an island among the newest is still a gain."""
    rng = np.random.default_rng(1)
    u = np.concatenate([0.5 * rng.random((19_900, 2)), 0.9 + 0.05 * rng.random((100, 2))])
    whole, seen = survey(u), []
    monkeypatch.setattr(coverage, "MOST_SEEN", 2000)
    monkeypatch.setattr(coverage, "_distinct", lambda u, distinct=coverage._distinct: seen.append(len(u)) or distinct(u))
    found = survey(u)
    assert max(seen) == 2000
    assert found.n_points == whole.n_points == 20_000
    assert found.coverage.share == pytest.approx(whole.coverage.share, abs=0.01) and found.coverage.share > 0.99
    assert found.gain == pytest.approx(whole.gain, abs=0.02) and min(found.gain, whole.gain) > 0.005


def test_good_seeds_are_not_surveyed(tmp_path):
    plan = square()
    store = Store.open(tmp_path / "run", plan, {"config.toml": ""})
    x = np.random.default_rng(0).random((100, 2))
    store.add_seeds(x, np.tile([0.2, 1.0], (100, 1)), np.full(100, np.nan), np.zeros(100, np.int8))
    store.look_around()
    store.look_around(complete=True)
    assert store.summary().survey == Survey() or store.summary().survey.n_points == 0
    store.close()


def test_a_display_shows_it_once_it_is_known(tmp_path, capsys):
    pool = PoolState(8, 0, 0, 1.0)
    watch = Progress(square(), tmp_path)
    watch(Summary(evaluations=10), pool, None)
    assert "coverage" not in capsys.readouterr().err
    assert json.loads((tmp_path / "status.json").read_text())["coverage"] is None
    watch(Summary(evaluations=1000, good=400, iterations=1, survey=SEEN), pool, None)
    assert "coverage 87.1 +- 1.2 %, gain 4.0 %, 4 regions (3.6 effective)" in capsys.readouterr().err
    watch.write_status("running")
    assert json.loads((tmp_path / "status.json").read_text())["coverage"] == {
        "good": 400, "share": 0.871, "error": 0.012, "radius": 0.05, "dimension": 3.2, "gain": 0.04, "regions": 4,
        "regions_effective": 3.61}


def test_a_status_of_an_earlier_version_is_shown_without_it(tmp_path, capsys):
    run_rounds(tmp_path / "run", square(), [20])
    assert cli.main(["status", str(tmp_path / "run")]) == 0
    assert "good region" not in capsys.readouterr().out
