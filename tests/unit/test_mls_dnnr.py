"""Every search method meets the same suite; then what MLS_DNNR alone promises."""

from __future__ import annotations

import math
from dataclasses import replace

import cloudpickle
import numpy as np
import pytest

from raydnnr.errors import ConfigError
from raydnnr.evaluation import Status, View
from raydnnr.kinds import build
from raydnnr.likelihoods import MAX_LOSS, Gauss
from raydnnr.plan import Problem
from raydnnr.search import mls_dnnr
from raydnnr.search.methods import KINDS
from raydnnr.search.mls_dnnr import MlsDnnr, extract_from_valid_points, postprocess
from raydnnr.search.random_sampling import RandomSampling
from raydnnr.space import Parameter, ParameterSpace

SMALL = {"candidate_points": 60, "bootstrap_points": 15, "points_per_iteration": 20, "neurons": 8, "epochs": 5,
         "batch_size": 16}
ROUNDS = {"bootstrap_points": 15, "points_per_iteration": 20}
EXAMPLES = {"hybrid": ROUNDS | {"max_rows": 60}, "mls_dnnr": SMALL, "random": ROUNDS}

PROBLEM = Problem(
    ParameterSpace((Parameter.of("x", low=-1, high=1), Parameter.of("y", low=1, high=100, prior="log"),
                    Parameter.of("k", value=3))),
    {"r": Gauss(mean=0.2, sigma=0.1), "s": Gauss(mean=1.0, sigma=0.5)}, 1.0, 7)


def data(n=60, seed=0, pending=4):
    """A view of points in random order: some are invalid, some failed, some not back yet."""
    rng = np.random.default_rng(seed)
    x = PROBLEM.space.from_unit_cube(rng.random((n, 2)))
    observables = np.column_stack([np.abs(x[:, 0]), np.log10(x[:, 1])])
    status = rng.choice([Status.OK, Status.INVALID, Status.FAILED], n, p=[0.8, 0.1, 0.1]).astype(np.int8)
    observables[status != Status.OK, 1] = math.nan
    observables[status == Status.FAILED] = math.nan
    nll = np.where(np.isnan(observables).any(axis=1), MAX_LOSS, 50 * (x[:, 0] - 0.2) ** 2 + observables[:, 1])
    nll[status == Status.FAILED] = math.nan
    return View(np.arange(n), x, observables, nll, status,
                PROBLEM.space.from_unit_cube(rng.random((pending, 2))), n + pending)


def shuffled(view, seed=1):
    order = np.random.default_rng(seed).permutation(len(view.x))
    return View(view.point_id[order], view.x[order], view.observables[order], view.nll[order], view.status[order],
                view.pending, view.n_proposed)


def same(a, b):
    return (a.x.tobytes() == b.x.tobytes() and list(a.origin) == list(b.origin)
            and a.nll_predicted.tobytes() == b.nll_predicted.tobytes())


@pytest.fixture(params=KINDS)
def method(request):
    return build(KINDS[request.param], EXAMPLES[request.param], "[search]")


def test_no_method_dodges_this_suite():
    assert EXAMPLES.keys() == KINDS.keys()


@pytest.mark.parametrize("iteration", [0, 1, 5])
def test_a_proposal_has_as_many_points_as_asked_for_in_the_space_and_each_once(method, iteration):
    view = data()
    for n in (1, 20, 33):
        proposal = method.propose(PROBLEM, view, iteration, n)
        assert proposal.x.shape == (n, 2)
        assert len(proposal.origin) == len(proposal.nll_predicted) == n
        assert PROBLEM.space.contains(proposal.x).all()
        assert len(np.unique(proposal.x, axis=0)) == n
        known = {tuple(row) for row in np.concatenate([view.x, view.pending])}
        assert not known.intersection(map(tuple, proposal.x))


@pytest.mark.parametrize("iteration", [0, 2])
def test_the_same_data_give_the_same_points_in_whatever_order_they_came(method, iteration):
    first = method.propose(PROBLEM, data(), iteration, 20)
    assert same(method.propose(PROBLEM, data(), iteration, 20), first)
    assert same(method.propose(PROBLEM, shuffled(data()), iteration, 20), first)
    assert same(cloudpickle.loads(cloudpickle.dumps(method)).propose(PROBLEM, data(), iteration, 20), first)


def test_another_seed_gives_other_points(method):
    for iteration in (0, 2):
        a = method.propose(PROBLEM, data(), iteration, 20)
        b = method.propose(replace(PROBLEM, seed=8), data(), iteration, 20)
        assert not np.isin(a.x, b.x).any()


def test_rounds_do_not_repeat_points(method):
    view, seen = data(n=30, pending=0), []
    for iteration in range(4):
        proposal = method.propose(PROBLEM, view, iteration, 15)
        seen += map(tuple, proposal.x)
        view = view.extended(View(
            len(view.x) + np.arange(15), proposal.x, np.zeros((15, 2)), np.ones(15), np.zeros(15, np.int8),
            view.pending, view.n_proposed + 15))
    assert len(set(seen)) == 60


@pytest.mark.parametrize("n", [0, 1, 5])
def test_with_hardly_any_data_no_surrogate_is_asked(method, n):
    proposal = method.propose(PROBLEM, data(n=n, pending=0), 1, 20)
    assert set(proposal.origin) <= {"random", "explore", "local", "evolution"}
    assert np.isnan(proposal.nll_predicted).all()


@pytest.mark.parametrize("spoil", [
    lambda v: replace(v, status=np.full_like(v.status, Status.FAILED), nll=np.full_like(v.nll, math.nan)),
    lambda v: replace(v, status=np.full_like(v.status, Status.INVALID), nll=np.full_like(v.nll, MAX_LOSS),
                      observables=np.full_like(v.observables, math.nan)),
    lambda v: replace(v, nll=np.full_like(v.nll, 0.5), status=np.zeros_like(v.status)),
    lambda v: replace(v, nll=np.where(np.isnan(v.nll), math.nan, -1e300)),
])
def test_data_that_teach_nothing_still_give_points(method, spoil):
    proposal = method.propose(PROBLEM, spoil(data()), 1, 20)
    assert PROBLEM.space.contains(proposal.x).all()


def test_the_bootstrap_is_called_so(method):
    assert set(method.propose(PROBLEM, data(n=0, pending=0), 0, 5).origin) == {"bootstrap"}


def test_round_sizes_are_the_settings(method):
    assert method.round_size(0, 1) == 15
    assert method.round_size(1, 1) == method.round_size(9, 1) == 20
    strict = replace(method, synchronous=True)
    assert (strict.round_size(0, 10**6), strict.round_size(3, 10**6)) == (15, 20)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("settings", "words"), [
    ({"bootstrap_points": 0}, "bootstrap_points: got 0; use a whole number >= 1"),
    ({"points_per_iteration": -1}, "points_per_iteration: got -1"), ({"bootstrap_points": 1.5}, "wants a whole number"),
    ({"bootstrap_point": 1}, "Did you mean 'bootstrap_points'?"), ({"synchronous": 1}, "wants true or false"),
])
def test_wrong_settings_are_refused(kind, settings, words):
    with pytest.raises(ConfigError) as caught:
        build(KINDS[kind], settings, "[search]")
    assert words in str(caught.value)
    assert str(caught.value).startswith("[search]")


class TestRandomSampling:
    """What only it promises."""

    @pytest.mark.parametrize("sizes", [[60], [20, 40], [1, 2, 57], [30, 30]])
    def test_points_do_not_depend_on_how_rounds_are_cut(self, sizes):
        whole = RandomSampling().propose(PROBLEM, data(n=0, pending=0), 0, 60).x
        parts, n = [], 0
        for iteration, size in enumerate(sizes):
            view = replace(data(n=0, pending=0), n_proposed=n)
            parts.append(RandomSampling().propose(PROBLEM, view, iteration, size).x)
            n += size
        assert np.concatenate(parts).tobytes() == whole.tobytes()

    def test_idle_slots_get_more_points(self):
        method = RandomSampling(bootstrap_points=15, points_per_iteration=20)
        assert method.round_size(1, 500) == 500
        assert method.round_size(1, 10**9) == 50_000

    def test_samplers(self):
        uniform = RandomSampling(sampler="uniform")
        assert same(uniform.propose(PROBLEM, data(), 1, 5), uniform.propose(PROBLEM, data(), 2, 5))
        sobol = RandomSampling().propose(PROBLEM, data(), 1, 5)
        assert not np.isin(uniform.propose(PROBLEM, data(), 1, 5).x, sobol.x).any()
        with pytest.raises(ConfigError, match="sampler: got 'lattice'; choose one of sobol, uniform"):
            RandomSampling(sampler="lattice")


class TestMlsDnnr:
    """The original scan."""

    def test_defaults_are_those_of_its_text(self):
        got = MlsDnnr()
        assert (got.candidate_points, got.bootstrap_points, got.points_per_iteration) == (500, 100, 300)
        assert got.random_fraction == 0.2
        assert (got.batch_size, got.neurons, got.epochs, got.learning_rate, got.verbose) == (500, 100, 250, 1e-2, 0)
        assert got.default_iterations == 10
        assert got.learns

    def test_a_share_is_picked_at_random_and_the_rest_are_the_lowest_predictions(self):
        proposal = MlsDnnr(**SMALL).propose(PROBLEM, data(), 1, 20)
        origin = np.array(proposal.origin)
        assert (origin == "surrogate").sum() == 16
        assert (origin == "random").sum() == 4
        best = proposal.nll_predicted[origin == "surrogate"]
        assert (np.diff(best) >= 0).all()
        assert best.max() <= proposal.nll_predicted[origin == "random"].min()
        assert np.isfinite(proposal.nll_predicted).all()

    @pytest.mark.parametrize(("fraction", "n_random"), [(0.0, 0), (0.5, 10), (1.0, 20)])
    def test_the_random_fraction(self, fraction, n_random):
        proposal = MlsDnnr(**SMALL, random_fraction=fraction).propose(PROBLEM, data(), 1, 20)
        assert list(proposal.origin).count("random") == n_random

    def test_where_candidates_do_not_suffice_random_points_are_added(self):
        proposal = MlsDnnr(**SMALL | {"candidate_points": 10}).propose(PROBLEM, data(), 1, 40)
        assert proposal.x.shape == (40, 2)
        assert list(proposal.origin).count("surrogate") == 10
        assert len(np.unique(proposal.x, axis=0)) == 40

    def test_it_finds_where_the_nll_is_low(self):
        settings = SMALL | {"epochs": 200, "neurons": 32, "candidate_points": 500}
        proposal = MlsDnnr(**settings).propose(PROBLEM, data(n=300), 1, 20)
        chosen = np.array(proposal.origin) == "surrogate"
        assert np.abs(proposal.x[chosen, 0] - 0.2).mean() < 0.25  # of candidates: 0.52

    def test_invalid_points_are_learned_from_and_failed_ones_are_not(self):
        view = shuffled(data())
        x, nll = extract_from_valid_points(view)
        assert len(x) == (view.status != Status.FAILED).sum()
        assert (nll == MAX_LOSS).sum() == (view.status == Status.INVALID).sum() > 0
        ordered = view.in_order()
        np.testing.assert_array_equal(x, ordered.x[ordered.status != Status.FAILED])

    def test_the_hook_keeps_what_is_not_known_yet(self):
        view = data()
        x = np.concatenate([view.x[:2], view.pending[:1], PROBLEM.space.from_unit_cube(np.full((2, 2), 0.25))])
        assert postprocess(x, np.zeros(5), view).tolist() == [False, False, False, True, False]

    def test_users_replace_the_hook(self, tmp_path, monkeypatch):
        (tmp_path / "my_hook.py").write_text("def positive(x, nll_predicted, view):\n    return x[:, 0] > 0\n")
        monkeypatch.syspath_prepend(tmp_path)
        proposal = MlsDnnr(**SMALL, postprocess="my_hook:positive").propose(PROBLEM, data(), 1, 15)
        assert (proposal.x[np.array(proposal.origin) == "surrogate", 0] > 0).all()
        for hook in ("my_hook:negative", "my_hok:positive", "my_hook", ":positive"):
            with pytest.raises(ConfigError, match="write 'package.module:function'"):
                MlsDnnr(postprocess=hook)

    def test_large_tables_are_thinned_and_keep_the_better_half(self, monkeypatch):
        monkeypatch.setattr(mls_dnnr, "MAX_ROWS", 20)
        nll = np.random.default_rng(0).random(100)
        keep = mls_dnnr._subset(nll, np.random.default_rng(1))
        assert len(set(keep.tolist())) == 20
        assert set(np.argsort(nll)[:10]) <= set(keep)

    def test_the_training_is_reported(self):
        report = MlsDnnr(**SMALL).propose(PROBLEM, data(n=150), 1, 20).report
        assert report.n_points == (data(n=150).status != Status.FAILED).sum()
        assert 1 <= report.epochs <= 5
        assert math.isfinite(report.validation_loss)

    @pytest.mark.parametrize(("settings", "words"), [
        ({"random_fraction": 1.5}, "between 0 and 1"), ({"validation_fraction": -0.1}, "between 0 and 1"),
        ({"validation_fraction": 1.0}, "left to train on"),
        ({"random_fraction": math.nan}, "between 0 and 1"),
        ({"learning_rate": 0.0}, "learning_rate: got 0.0; use a number > 0"),
        ({"learning_rate": math.nan}, "learning_rate"), ({"epochs": 0}, "epochs: got 0"),
        ({"neurons": 0}, "neurons: got 0"),
        ({"min_delta": -1.0}, "min_delta"), ({"patience": 0}, "patience"), ({"batch_size": 0}, "batch_size"),
    ])
    def test_impossible_settings_are_refused(self, settings, words):
        with pytest.raises(ConfigError, match=words):
            MlsDnnr(**settings)
