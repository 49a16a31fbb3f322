"""MLS_DNNR: the original scan, as its text says (arXiv:2301.01154, after arXiv:2207.09959).

Random points first; then, iteration by iteration, a deep neural network regresses the NLL on all points so far, scores
random candidates, and those with the lowest predicted NLL are evaluated, with a share of random ones.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raydnnr.errors import ConfigError
from raydnnr.evaluation import Array, Proposal, Status, TrainingReport, View
from raydnnr.likelihoods import MAX_LOSS
from raydnnr.plan import Problem
from raydnnr.search.acquisition import distinct_from, lowest_predicted
from raydnnr.search.samplers import generate_param_points

MIN_ROWS = 10  # a network is not asked before so many rows are there
MAX_ROWS = 50_000  # ... and trained on at most so many: the better half, and a random choice of the others

Postprocess = Callable[[Array, Array, View], NDArray[np.bool_]]


def extract_from_valid_points(valid_points: View) -> tuple[Array, Array]:
    """Training data from finished evaluations, in the order of their ids.

    Invalid points are learned from, as points that cost `MAX_LOSS` at least: one that failed a condition after all its
    observables were read may have a low NLL, and is no good all the same. Failed ones have no NLL and are left out.

    Args:
        valid_points: Rows, in any order.

    Returns:
        ``x`` (n, P) in physical units, and ``nll`` (n,).
    """
    rows = valid_points.in_order()
    usable = (rows.status != Status.FAILED) & np.isfinite(rows.nll)
    nll = np.where(rows.status == Status.INVALID, np.maximum(rows.nll, MAX_LOSS), rows.nll)
    return rows.x[usable], nll[usable]


def postprocess(x: Array, nll_predicted: Array, view: View) -> NDArray[np.bool_]:
    """Which candidates may be evaluated: the hook that the setting ``postprocess`` replaces.

    Args:
        x: Candidates (C, P), physical units.
        nll_predicted: Their predicted NLL (C,).
        view: All that is known.

    Returns:
        A mask (C,). This one keeps every candidate that is not a point already known.
    """
    return distinct_from(x, np.concatenate([view.x, view.pending]))


@dataclass(frozen=True, kw_only=True)
class MlsDnnr:
    """Settings of the original scan, with its names and documented defaults.

    Attributes:
        candidate_points: Candidates generated and scored per iteration.
        bootstrap_points: Random points evaluated first.
        points_per_iteration: Candidates evaluated per iteration.
        random_fraction: Share of each iteration that is picked at random.
        batch_size: Of the training.
        neurons: Hidden width.
        epochs: At most, per training.
        learning_rate: Of AdamW.
        verbose: Above 0, the training says how it goes in the log.
        patience: Epochs without a better validation loss after which a training ends.
        min_delta: How much better counts as better.
        validation_fraction: Share of the data that is not trained on and watched instead.
        postprocess: ``package.module:function`` in place of `postprocess`.
        synchronous: Strict iterations, reproducible bit for bit from the seed on any number of slots.
    """

    candidate_points: int = 500
    bootstrap_points: int = 100
    points_per_iteration: int = 300
    random_fraction: float = 0.2
    batch_size: int = 500
    neurons: int = 100
    epochs: int = 250
    learning_rate: float = 1e-2
    verbose: int = 0
    patience: int = 10
    min_delta: float = 1e-5
    validation_fraction: float = 0.1
    postprocess: str = ""
    synchronous: bool = False

    def __post_init__(self) -> None:
        for key in ("candidate_points", "bootstrap_points", "points_per_iteration", "batch_size", "neurons", "epochs",
                    "patience"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key}: got {getattr(self, key)}; use a whole number >= 1")
        for key in ("random_fraction", "validation_fraction"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"{key}: got {getattr(self, key)}; use a number between 0 and 1")
        if self.validation_fraction == 1:
            raise ConfigError("validation_fraction: got 1; use less, so that something is left to train on")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ConfigError(f"learning_rate: got {self.learning_rate}; use a number > 0")
        if self.min_delta < 0:
            raise ConfigError(f"min_delta: got {self.min_delta}; use a number >= 0")
        self._postprocess()

    @property
    def default_iterations(self) -> int:
        """That of the original's text."""
        return 10

    @property
    def learns(self) -> bool:
        """It trains a network."""
        return True

    def round_size(self, iteration: int, n_wanted: int) -> int:
        """Fixed: the bootstrap, then `points_per_iteration`."""
        return self.points_per_iteration if iteration else self.bootstrap_points

    def propose(self, problem: Problem, view: View, iteration: int, n_points: int) -> Proposal:
        """Bootstrap points in iteration 0, else the candidates with the lowest predicted NLL and a random share.

        Depends on the seed, the iteration and the rows of ``view`` only, not on the order of the rows.
        """
        rng = np.random.default_rng([problem.seed, iteration])
        x, nll = extract_from_valid_points(view)
        if iteration == 0 or len(x) < MIN_ROWS:
            points = generate_param_points(problem.space, n_points, rng)
            return Proposal(points, ["random" if iteration else "bootstrap"] * n_points, np.full(n_points, np.nan))
        predict, report = self._train(problem, x, nll, iteration)
        candidates = generate_param_points(problem.space, self.candidate_points, rng)
        predicted = predict(candidates)
        may = self._postprocess()(candidates, predicted, view)
        candidates, predicted = candidates[may], predicted[may]
        n_random = round(self.random_fraction * n_points)
        best = lowest_predicted(predicted, n_points - n_random)
        rest = np.setdiff1d(np.arange(len(candidates)), best)
        drawn = rng.permutation(rest)[: n_points - len(best)]
        chosen = np.concatenate([best, np.sort(drawn)]).astype(np.intp)
        extra = generate_param_points(problem.space, n_points - len(chosen), rng)  # where candidates do not suffice
        return Proposal(
            np.concatenate([candidates[chosen], extra]),
            ["surrogate"] * len(best) + ["random"] * (n_points - len(best)),
            np.concatenate([predicted[chosen], predict(extra)]), report,
        )

    def _train(self, problem: Problem, x: Array, nll: Array, iteration: int) -> tuple[Callable[[Array], Array],
                                                                                      TrainingReport]:
        """A network on the data; what predicts NLL from physical points, and how the training went."""
        from raydnnr.surrogates.dnn import Dnn  # loads torch

        keep = _subset(nll, np.random.default_rng([problem.seed, iteration, 1]))
        settings = Dnn(neurons=self.neurons, epochs=self.epochs, batch_size=self.batch_size,
                       learning_rate=self.learning_rate, patience=self.patience, min_delta=self.min_delta,
                       validation_fraction=self.validation_fraction, verbose=self.verbose)
        regressor = settings.fit(problem.space.to_unit_cube(x[keep]), np.arcsinh(nll[keep])[:, None],
                                 seed=problem.seed * 1_000_003 + iteration)

        def predict(points: Array) -> Array:
            if not len(points):
                return np.empty(0)
            return np.sinh(np.minimum(regressor.predict(problem.space.to_unit_cube(points))[:, 0], 700.0))

        return predict, regressor.report

    def _postprocess(self) -> Postprocess:
        if not self.postprocess:
            return postprocess
        module, _, name = self.postprocess.partition(":")
        try:
            hook: Postprocess = getattr(importlib.import_module(module), name)
        except Exception as error:  # a module of the user's may raise anything
            raise ConfigError(f"postprocess: {self.postprocess!r} cannot be imported ({error}); write "
                              "'package.module:function'") from None
        return hook


def _subset(nll: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows to train on: all, or the better half of `MAX_ROWS` and a random choice of the others."""
    if len(nll) <= MAX_ROWS:
        return np.arange(len(nll))
    order = np.argsort(nll, kind="stable")
    half = MAX_ROWS // 2
    return np.sort(np.concatenate([order[:half], rng.choice(order[half:], MAX_ROWS - half, replace=False)]))
