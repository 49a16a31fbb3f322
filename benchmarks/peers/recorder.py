"""Recorder: the physics of a problem, and the log of all that was asked of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from problems.problem import Problem
from score import Log

Array = NDArray[np.float64]


class BudgetSpent(Exception):
    """There are no evaluations left."""


class Recorder:
    """Evaluates points of the unit cube until ``max_evaluations`` are spent, and remembers them."""

    def __init__(self, problem: Problem, max_evaluations: int) -> None:
        self.problem = problem
        self.left = max_evaluations
        self._u: list[Array] = []
        self._nll: list[Array] = []

    def __call__(self, u: Array) -> Array:
        """NLL (N,) of points (N, P). Raises `BudgetSpent` once nothing is left; a batch too large is cut first."""
        if not len(u):
            return np.empty(0)
        nll = self.problem.nll(u[: self.left])
        self._u.append(u[: self.left].copy())
        self._nll.append(nll)
        self.left -= len(nll)
        if len(nll) < len(u) or not self.left:
            raise BudgetSpent
        return nll

    def is_good(self, nll: Array) -> NDArray[np.bool_]:
        """Which are below the threshold (N,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(nll < self.problem.threshold_value)

    @property
    def log(self) -> Log:
        """All evaluations so far."""
        if not self._u:
            return Log(np.empty((0, self.problem.space.n_params)), np.empty(0))
        return Log(np.concatenate(self._u), np.concatenate(self._nll))
