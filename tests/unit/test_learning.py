"""Learning: what an emulator depends on, and what new rows say of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.errors import ConfigError
from raydnnr.likelihoods import Gauss, Off, get_losses
from raydnnr.surrogates import learning
from raydnnr.surrogates.emulator import EnsembleTarget
from raydnnr.surrogates.ensemble import Ensemble
from raydnnr.surrogates.gaussian_process import GaussianProcess
from raydnnr.surrogates.kernels import Lengths
from raydnnr.surrogates.learning import MIN_ROWS, WIDEN_RANGE, Learner, Rows, milestone
from raydnnr.surrogates.memo import Memo
from tests.unit.emulators import LIKELIHOODS, SHELL, radius, rows

PROCESS = Learner(surrogate="gaussian_process")


def learn(known, memo=None, learner=PROCESS, likelihoods=SHELL, seed=3, threshold=1.0):
    return learner.learn(known, likelihoods, threshold, seed, Memo() if memo is None else memo)


def predictions(emulator):
    u = np.random.default_rng(8).random((20, 2))
    return [a.tobytes() for a in vars(emulator.predict(u)).values()]


@pytest.fixture
def quick_networks(monkeypatch):
    """Networks that learn little, soon."""
    monkeypatch.setattr(learning, "ENSEMBLE_MIN_ROWS", 40)
    monkeypatch.setattr(learning, "Ensemble", lambda: Ensemble(neurons=6, steps=40))


# ---- milestones


@given(st.integers(0, 100_000), st.integers(1, 500), st.floats(1.01, 11))
def test_milestones_are_not_above_the_rows_and_not_far_below(n, first, factor):
    at = milestone(n, first, factor)
    assert at <= n
    assert at > n / factor - 1 or n < first
    assert milestone(at, first, factor) == at


@given(st.integers(0, 10_000), st.integers(1, 500), st.floats(1.01, 11))
def test_milestones_never_go_back(n, first, factor):
    assert milestone(n, first, factor) <= milestone(n + 1, first, factor)


def test_between_milestones_lengths_stay_and_rows_are_learned():
    memo, known = Memo(), rows(60, likelihoods=SHELL)
    at = milestone(60, MIN_ROWS, 1.0 + PROCESS.growth)
    assert at < 60
    a, b = learn(known.take(slice(0, at)), memo)[0], learn(known, memo)[0]
    assert a.targets[0].model.lengths == b.targets[0].model.lengths
    assert (len(a.targets[0].model.u), len(b.targets[0].model.u)) == (at, 60)


# ---- memo


def test_a_memo_learns_once():
    calls, memo = [], Memo()
    assert [memo.get(b"a", lambda: calls.append(1) or 5) for _ in range(3)] == [5, 5, 5]
    assert len(calls) == 1


def test_a_memo_forgets_the_oldest():
    memo = Memo(size=3)
    for k in range(5):
        memo.get(bytes([k]), lambda k=k: k)
    assert list(memo.known.values()) == [2, 3, 4]


@pytest.mark.parametrize("surrogate", ["gaussian_process", "mixed", "ensemble"])
def test_a_second_call_learns_nothing_new(surrogate, monkeypatch, quick_networks):
    memo, known, learner = Memo(), rows(60, likelihoods=SHELL, valid=lambda u: u[:, 0] < 0.7), Learner(surrogate=surrogate)
    first = learn(known, memo, learner)[0]

    def never(*args, **settings):
        raise AssertionError("it was learned before")

    monkeypatch.setattr(learning, "fit_lengths", never)
    monkeypatch.setattr(learning, "choose_scale", never)
    monkeypatch.setattr(learning, "Ensemble", never)
    assert predictions(learn(known, memo, learner)[0]) == predictions(first)


@pytest.mark.parametrize("surrogate", ["gaussian_process", "mixed", "ensemble"])
def test_a_resumed_scan_has_the_surrogate_of_one_that_never_stopped(surrogate, quick_networks):
    memo, learner = Memo(), Learner(surrogate=surrogate)
    known = rows(90, likelihoods=SHELL, valid=lambda u: u[:, 0] < 0.8)
    for n in (30, 47, 60, 90):
        emulator, skill = learn(known.take(slice(0, n)), memo, learner)
    again, skill_again = learn(known, Memo(), learner)
    assert predictions(again) == predictions(emulator)
    assert skill == skill_again


@pytest.mark.parametrize("change", ["seed", "threshold", "likelihoods", "rows"])
def test_a_memo_does_not_mix_what_differs(change):
    memo, known = Memo(), rows(40, likelihoods=SHELL)
    learn(known, memo)
    settings = {"seed": {"seed": 4}, "threshold": {"threshold": 9.0},
                "likelihoods": {"likelihoods": {"r": Gauss(mean=0.2, sigma=0.1)}}, "rows": {}}[change]
    if change == "rows":
        known = rows(40, seed=5, likelihoods=SHELL)
    assert predictions(learn(known, memo, **settings)[0]) == predictions(learn(known, Memo(), **settings)[0])


# ---- examinations


def test_a_smooth_surrogate_has_skill():
    emulator, skill = learn(rows(120))[0], learn(rows(120, likelihoods=SHELL))[1]
    assert skill.ranking > 0.9
    assert max(skill.errors) < 0.3
    assert emulator is not None


def test_noise_has_no_skill():
    known = rows(150, likelihoods=SHELL)
    noise = np.random.default_rng(0).permutation(known.observables)
    nll = SHELL["r"].nll(noise[:, 0])
    _, skill = learn(replace(known, observables=noise, nll=nll))
    assert 0.25 < skill.ranking < 0.75
    assert min(skill.errors) > 0.6


def test_probabilities_that_do_not_come_true_are_recalibrated():
    """Rows since the last milestone are bad although their observable is not, as where something unknown forbids them."""
    known = rows(120, likelihoods=SHELL)
    n_before = Learner().before(milestone(120, MIN_ROWS, 1.5))
    forbidden = replace(known, nll=np.where(np.arange(120) < n_before, known.nll, np.maximum(known.nll, 99.0)))
    chance = np.array([0.5, 0.95])
    honest, warned = (learn(table, threshold=8.0)[0].recalibration.of(chance) for table in (known, forbidden))
    assert (warned < 0.8 * honest).all()


def test_an_overconfident_model_is_widened_and_a_timid_one_is_not_beyond_a_bound(monkeypatch):
    """Lengths far too long, with no noise, promise more than they keep."""
    known = rows(100, likelihoods=SHELL)
    honest = learn(known)[0].targets[0].widen
    monkeypatch.setattr(learning, "fit_lengths", lambda *args, **settings: Lengths(np.full(2, 0.9), 1e-9))
    monkeypatch.setattr(learning, "GaussianProcess", lambda *args: Shrunk(GaussianProcess(*args)))
    overconfident = learn(known)[0].targets[0].widen
    assert WIDEN_RANGE[0] <= honest < overconfident
    assert overconfident == WIDEN_RANGE[1]


class Shrunk:
    """A model that believes it is a hundred times better than it is."""

    def __init__(self, model):
        self.model = model

    def mean(self, u):
        return self.model.mean(u)

    def moments(self, u):
        mean, std = self.model.moments(u)
        return mean, 0.01 * std


def test_the_model_that_predicted_new_rows_better_is_taken(monkeypatch, quick_networks):
    known, mixed = rows(100, likelihoods=SHELL), Learner()
    assert not isinstance(learn(known, learner=mixed)[0].targets[0].model, EnsembleTarget)
    monkeypatch.setattr(learning, "fit_lengths", lambda u, *args, **settings: Lengths(np.full(2, 0.021), 0.9))
    assert isinstance(learn(known, learner=mixed)[0].targets[0].model, EnsembleTarget)


def wave(u):
    return np.sin(9.0 * u[:, 0]) * np.cos(7.0 * u[:, 1])


def kink(u):
    return np.abs(np.mod(7.0 * u[:, 0] + 3.0 * u[:, 1], 1.0) - 0.5)


@pytest.mark.parametrize(("function", "smooth"), [(wave, True), (kink, False)])
def test_an_analytic_observable_has_the_normal_kernel_and_one_with_kinks_has_not(function, smooth):
    known = rows(200, likelihoods=SHELL)
    o = function(known.u)
    nll = 0.5 * ((o - 0.35) / 0.02) ** 2
    emulator, _ = learn(replace(known, observables=o[:, None], nll=nll))
    assert emulator.targets[0].model.lengths.smooth == smooth


def test_an_observable_is_learned_on_the_scale_that_predicts_it_better():
    """A cliff of a hundred widths, far from what matters, and a function that is smooth everywhere."""
    known = rows(200, likelihoods=SHELL)
    cliff = known.observables[:, 0] - 3.0 * (known.u[:, 0] > 0.8)
    widths = {}
    for name, o in {"cliff": cliff, "smooth": wave(known.u)}.items():
        nll = 0.5 * ((o - 0.35) / 0.02) ** 2
        widths[name] = learn(replace(known, observables=o[:, None], nll=nll))[0].targets[0].scale.width
    assert widths == {"cliff": pytest.approx(0.04), "smooth": math.inf}


def test_an_observable_that_is_a_sum_is_learned_as_one():
    known = rows(200, n_params=4, likelihoods=SHELL)
    o = np.cos(30.0 * known.u).sum(axis=1)
    nll = 0.5 * ((o - 0.35) / 0.02) ** 2
    emulator, skill = learn(replace(known, observables=o[:, None], nll=nll))
    assert emulator.targets[0].model.lengths.single is not None
    assert skill.errors[0] < 0.3


def test_each_surrogate_is_what_was_asked_for(quick_networks):
    known = rows(60)
    for surrogate, kind in (("ensemble", EnsembleTarget), ("gaussian_process", GaussianProcess)):
        emulator, _ = learn(known, learner=Learner(surrogate=surrogate), likelihoods=LIKELIHOODS)
        assert [type(t.model) for t in emulator.targets] == [kind, kind]
        assert [t.column for t in emulator.targets] == [0, 2]


# ---- which rows


def test_a_large_table_is_thinned_to_good_near_and_other_rows():
    learner = Learner(surrogate="gaussian_process", max_rows=50)
    known = rows(300, likelihoods=SHELL)
    emulator, _ = learn(known, learner=learner, threshold=2.0)
    there = emulator.targets[0].model.u
    assert len(there) == 50
    assert len(np.unique(there, axis=0)) == 50
    order = np.argsort(known.nll)
    n_good = (known.nll < 2.0).sum()
    kept = {tuple(row) for row in there}
    assert sum(tuple(known.u[k]) in kept for k in order[:n_good]) == min(n_good, 25)
    assert all(tuple(known.u[k]) in kept for k in order[n_good : n_good + 12])


@pytest.mark.parametrize("surrogate", ["gaussian_process", "ensemble", "mixed"])
def test_rows_that_failed_or_are_invalid_say_where_not_to_go(surrogate, quick_networks):
    known = rows(100, likelihoods=LIKELIHOODS, valid=lambda u: u[:, 0] < 0.5)
    emulator, _ = learn(known, learner=Learner(surrogate=surrogate), likelihoods=LIKELIHOODS)
    u = np.random.default_rng(5).random((200, 2))
    clear = np.abs(u[:, 0] - 0.5) > 0.15
    assert ((emulator.p_valid(u) > 0.5) == (u[:, 0] < 0.5))[clear].mean() > 0.95
    assert np.isfinite(emulator.nll(emulator.mean(u))).all()


def test_hierarchical_observables_are_learned_from_the_rows_that_have_them():
    """The second observable is computed only where the first one passed; the row is invalid elsewhere."""
    known = rows(100)
    known.observables[known.u[:, 0] > 0.5, 2] = math.nan
    ok = known.u[:, 0] <= 0.5
    emulator, _ = learn(Rows(known.u, known.observables, np.where(ok, known.nll, np.inf), ok), likelihoods=LIKELIHOODS)
    assert [len(t.model.u) for t in emulator.targets] == [100, ok.sum()]
    there = np.column_stack([np.random.default_rng(1).uniform(0.05, 0.45, 50), np.random.default_rng(2).random(50)])
    np.testing.assert_allclose(emulator.predict(there).observables[:, 2], there.sum(axis=1), atol=0.02)


@pytest.mark.parametrize("surrogate", ["gaussian_process", "ensemble", "mixed"])
@pytest.mark.parametrize("first_bad", [50, 200])
def test_a_scan_that_began_with_rows_that_all_failed(surrogate, first_bad, quick_networks):
    """Whatever the milestones fall on: what is learned comes from the rows that have something to teach."""
    good, bad = rows(15, likelihoods=SHELL), rows(first_bad, seed=1, likelihoods=SHELL, valid=lambda u: u[:, 0] < 0)
    known = Rows(*(np.concatenate([getattr(bad, name), getattr(good, name)]) for name in vars(good)))
    emulator, skill = learn(known, learner=Learner(surrogate=surrogate))
    assert np.isfinite(emulator.mean(good.u)).all()
    assert math.isnan(skill.ranking) or 0 <= skill.ranking <= 1


@pytest.mark.parametrize("n", [MIN_ROWS, MIN_ROWS + 1, 25])
def test_few_rows_suffice(n, quick_networks):
    for surrogate in ("gaussian_process", "ensemble", "mixed"):
        emulator, skill = learn(rows(n, likelihoods=SHELL), learner=Learner(surrogate=surrogate))
        assert np.isfinite(emulator.predict(rows(5).u).nll).all()
        if n == MIN_ROWS:
            assert math.isnan(skill.ranking)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
def test_an_observable_that_never_changes_is_predicted_to_be_so(value):
    known = rows(60)
    known.observables[:, 2] = value
    likelihoods = LIKELIHOODS | {"s": Gauss(mean=value, sigma=1.0)}
    emulator, _ = learn(replace(known, nll=get_losses({"r": known.observables[:, 0]}, SHELL)["r"]),
                        likelihoods=likelihoods)
    u = np.random.default_rng(5).random((20, 2))
    np.testing.assert_allclose(emulator.predict(u).observables[:, 2], value, rtol=1e-6, atol=1e-6)
    assert np.isfinite(emulator.p_good(u, 1)).all()
    assert np.isfinite(emulator.geometry(u).slope).all()


def test_an_observable_over_many_decades():
    known = rows(120)
    known.observables[:, 2] = 10.0 ** (-8.0 * known.u[:, 0])
    likelihoods = LIKELIHOODS | {"s": Gauss(mean=1e-6, sigma=1e-7)}
    emulator, _ = learn(known, likelihoods=likelihoods)
    u = np.random.default_rng(5).random((50, 2))
    decades = np.log10(np.maximum(emulator.predict(u).observables[:, 2], 1e-12)) + 8.0 * u[:, 0]
    assert np.abs(decades[u[:, 0] < 0.65]).max() < 0.2  # what is nearer to 0 than sigma is as good as 0
    assert math.isfinite(emulator.targets[1].scale.width)


def test_floors_are_the_lowest_losses_below_zero():
    from raydnnr.likelihoods import Expuser

    known = rows(60)
    likelihoods = {"r": Gauss(mean=0.35, sigma=0.02), "note": Off(), "s": Expuser()}
    emulator, _ = learn(known, likelihoods=likelihoods, threshold=-0.5)
    losses = get_losses({"r": known.observables[:, 0], "note": known.observables[:, 1], "s": known.observables[:, 2]},
                        likelihoods)
    assert emulator.floors[0] == 0.0
    assert emulator.floors[1] == pytest.approx(losses["s"].min(), rel=1e-3)
    assert emulator.excess == pytest.approx(-0.5 - losses["s"].min(), rel=1e-3)


def test_what_was_given_is_not_changed():
    known, same = rows(60), rows(60)
    learn(known, likelihoods=LIKELIHOODS)
    for name, value in vars(known).items():
        np.testing.assert_array_equal(value, getattr(same, name))


@pytest.mark.parametrize(("settings", "words"), [
    ({"growth": 0.0}, "growth: got 0.0; use a number between 0.01 and 10"), ({"growth": math.nan}, "growth"),
    ({"max_rows": 49}, "max_rows: got 49; use a whole number >= 50"),
])
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Learner(**settings)


def test_a_cone_is_known_everywhere_in_the_end():
    u = np.random.default_rng(5).random((200, 2))
    errors = [np.median(np.abs(learn(rows(n, likelihoods=SHELL))[0].predict(u).observables[:, 0] - radius(u)))
              for n in (20, 80, 200)]
    assert errors[2] < errors[1] < errors[0]
