"""Affine-invariant sampling (PyPI ``emcee``, arXiv:1202.3665) of a likelihood that is flat inside the good region."""

from __future__ import annotations

import contextlib

import numpy as np
from numpy.typing import NDArray
from problems.problem import Problem
from score import Log

from peers.cma import climb
from peers.recorder import BudgetSpent, Recorder

Array = NDArray[np.float64]

MIN_WALKERS = 20
DE_SHARE = 0.5  # of steps by differential evolution; the others stretch
N_STEPS = 10**9  # never reached: the evaluations end first
GOOD_PER_SEED = 10  # of a CMA-ES start that looks for seeds
SEED_SHARE = 0.5  # of all evaluations, at most, that are spent on seeds


def from_prior(problem: Problem, seed: int, max_evaluations: int) -> Log:
    """Walkers from the best of some prior draws; ``ln L = -max(NLL, threshold)``, differential evolution and stretch.

    Ten draws a walker are made first (and counted), and the walkers start at the best of them: with starts drawn
    blindly, walkers stay lost where the likelihood is flat or absent.
    """
    record = Recorder(problem, max_evaluations)
    rng = np.random.default_rng([seed, 2])
    with contextlib.suppress(BudgetSpent):
        u = rng.random((10 * n_walkers(problem), problem.space.n_params))
        nll = record(u)
        order = np.argsort(np.where(np.isnan(nll), np.inf, nll), kind="stable")
        walk(record, rng, u[order[: n_walkers(problem)]])
    return record.log


def from_cma(problem: Problem, seed: int, max_evaluations: int) -> Log:
    """CMA-ES, restarted as soon as a start has found ten good points, gives the walkers their places."""
    record = Recorder(problem, max_evaluations)
    rng = np.random.default_rng([seed, 3])
    places: list[Array] = []
    with contextlib.suppress(BudgetSpent):
        while len(places) < n_walkers(problem) and (record.left > (1 - SEED_SHARE) * max_evaluations or not places):
            places += list(climb(record, rng, GOOD_PER_SEED)[:GOOD_PER_SEED])
        walk(record, rng, _filled_up(np.array(places), n_walkers(problem), rng))
    return record.log


def n_walkers(problem: Problem) -> int:
    """Even, more than twice the number of parameters, as emcee wants it."""
    return max(MIN_WALKERS, 2 * problem.space.n_params + 2)


def walk(record: Recorder, rng: np.random.Generator, start: Array) -> None:
    """Sample from ``start`` (walkers, P) until no evaluations are left. A step out of the cube costs none."""
    import emcee

    threshold = record.problem.threshold_value

    def log_probability(u: Array) -> Array:
        inside = ((u >= 0) & (u <= 1)).all(axis=1)
        log_p = np.full(len(u), -np.inf)
        with contextlib.suppress(BudgetSpent):  # emcee would print it; the loop below ends instead
            nll = record(u[inside])
            log_p[inside] = np.where(np.isnan(nll), -np.inf, -np.maximum(nll, threshold))
        return log_p

    moves = [(emcee.moves.DEMove(), DE_SHARE), (emcee.moves.StretchMove(), 1.0 - DE_SHARE)]
    sampler = emcee.EnsembleSampler(*start.shape, log_probability, moves=moves, vectorize=True)
    state = emcee.State(start, random_state=np.random.RandomState(int(rng.integers(2**31))).get_state())
    for _ in sampler.sample(state, iterations=N_STEPS, store=False, skip_initial_state_check=True):
        if not record.left:
            return


def _filled_up(places: Array, n: int, rng: np.random.Generator) -> Array:
    """``n`` starts: the places, spread out if there are more, and points near them if there are fewer."""
    if len(places) >= n:
        return np.asarray(places[rng.permutation(len(places))[:n]])
    copies = places[rng.integers(len(places), size=n - len(places))]
    return np.concatenate([places, np.clip(copies + rng.normal(0.0, 0.01, copies.shape), 0.0, 1.0)])
