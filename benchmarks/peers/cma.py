"""Restarted CMA-ES: PyPI ``cmaes``, with a fresh random start after every 40 good points."""

from __future__ import annotations

import contextlib

import numpy as np
from numpy.typing import NDArray
from problems.problem import Problem
from score import Log

from peers.recorder import BudgetSpent, Recorder

Array = NDArray[np.float64]

GOOD_PER_START = 40
SIGMA = 0.3  # of the first step, in the unit cube
PENALTY = 1e30  # for what has no NLL: CMA-ES ranks only, so any number above all others says the same


def search(problem: Problem, seed: int, max_evaluations: int) -> Log:
    """CMA-ES in the unit cube on the NLL; it starts anew after 40 good points, or when it stops by itself."""
    record = Recorder(problem, max_evaluations)
    rng = np.random.default_rng([seed, 1])
    with contextlib.suppress(BudgetSpent):
        while True:
            climb(record, rng, GOOD_PER_START)
    return record.log


def climb(record: Recorder, rng: np.random.Generator, n_good: int) -> Array:
    """One start, from a random point, until it has ``n_good`` good points (n, P), or stops by itself.

    Raises:
        BudgetSpent: No evaluations are left.
    """
    from cmaes import CMA

    n_params = record.problem.space.n_params
    optimizer = CMA(mean=rng.random(n_params), sigma=SIGMA, bounds=np.tile([0.0, 1.0], (n_params, 1)),
                    seed=int(rng.integers(2**31)))
    found: list[Array] = []
    while not optimizer.should_stop():
        u = np.array([optimizer.ask() for _ in range(optimizer.population_size)])
        nll = record(u)
        found += list(u[record.is_good(nll)])
        if len(found) >= n_good:
            break
        cost = np.where(np.isnan(nll), PENALTY, np.minimum(nll, PENALTY))
        optimizer.tell([(point, float(value)) for point, value in zip(u, cost, strict=True)])
    return np.array(found).reshape(-1, n_params)
