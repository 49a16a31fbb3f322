"""Random sampling: the baseline every method must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raydnnr.errors import ConfigError
from raydnnr.evaluation import Proposal, View
from raydnnr.plan import Problem
from raydnnr.search.samplers import generate_param_points, sobol_points

SAMPLERS = ("sobol", "uniform")


@dataclass(frozen=True, kw_only=True)
class RandomSampling:
    """Points from the priors, whatever was found before.

    Attributes:
        bootstrap_points: Points of iteration 0.
        points_per_iteration: Points of each later iteration; more where the slots are fast enough to want more.
        sampler: ``sobol`` (scrambled Sobol sequence, spreads evenly) or ``uniform`` (independent points).
        synchronous: Strict iterations of fixed size.
    """

    bootstrap_points: int = 100
    points_per_iteration: int = 300
    sampler: str = "sobol"
    synchronous: bool = False

    def __post_init__(self) -> None:
        for key in ("bootstrap_points", "points_per_iteration"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key}: got {getattr(self, key)}; use a whole number >= 1")
        if self.sampler not in SAMPLERS:
            raise ConfigError(f"sampler: got {self.sampler!r}; choose one of {', '.join(SAMPLERS)}")

    @property
    def default_iterations(self) -> int:
        """No limit."""
        return 0

    @property
    def learns(self) -> bool:
        """It never does."""
        return False

    def round_size(self, iteration: int, n_wanted: int) -> int:
        """At least the setting's; up to 50,000 where the slots want that many."""
        size = self.bootstrap_points if iteration == 0 else self.points_per_iteration
        return size if self.synchronous else max(size, min(n_wanted, 50_000))

    def propose(self, problem: Problem, view: View, iteration: int, n_points: int) -> Proposal:
        """The next ``n_points`` of the sequence: they depend on the seed and on how many were proposed before."""
        if self.sampler == "sobol":
            x = sobol_points(problem.space, view.n_proposed, n_points, problem.seed)
        else:
            stream = np.random.PCG64([problem.seed, 0]).advance(view.n_proposed * problem.space.n_params)
            x = generate_param_points(problem.space, n_points, np.random.Generator(stream))
        origin = "random" if iteration else "bootstrap"
        return Proposal(x, [origin] * n_points, np.full(n_points, np.nan))
