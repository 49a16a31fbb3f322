"""Problem: physics that costs nothing and whose good points are known, to judge a search by.

Shapes: **N** points, **P** scanned parameters. All distances are in the unit cube, where the prior is uniform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raydnnr import Observable, Parameter, Plan, PythonFunction, Stop
from raydnnr.likelihoods import Likelihood, Minusexpuser, smooth_cap_loss
from raydnnr.plan import ClusterSettings, Method
from raydnnr.space import ParameterSpace

Array = NDArray[np.float64]
Columns = Mapping[str, Array]
Physics = Callable[[Columns], Mapping[str, Array]]

REFERENCES = Path(__file__).parent / "ref"
N_IDEAL = 1000  # independent uniform good points, which score IDEAL_COVERAGE by the choice of r90
IDEAL_COVERAGE = 0.90


@dataclass(frozen=True)
class Reference:
    """What is known of a problem's good region.

    ``fraction`` of the prior volume, with its standard error; ``points`` (R, P) uniform in it, unit cube;
    ``r90``: a reference point is covered where a found point is nearer than this.
    """

    fraction: float
    fraction_error: float
    points: Array
    r90: float


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Parameters, physics, likelihoods and a threshold.

    Attributes:
        name: Ends in the number of parameters.
        hard: What makes it so.
        parameters: With their priors.
        function: ``module:function`` in this folder: values by name (N,) to observables (N,), NaN where the physics
            has no answer (an *invalid* point); raises where a point of the batch breaks it (a *failed* one).
        likelihoods: By observable; an observable that is not here is not used.
        threshold_value: A point is good when its NLL is below.
        fails: Which points break the function, (N,) bool; None: none does.
    """

    name: str
    hard: str
    parameters: tuple[Parameter, ...]
    function: str
    likelihoods: Mapping[str, Likelihood]
    threshold_value: float
    fails: Callable[[Columns], NDArray[np.bool_]] | None = None

    @cached_property
    def space(self) -> ParameterSpace:
        """Priors, and the maps between them and the unit cube."""
        return ParameterSpace(self.parameters)

    @cached_property
    def has_observables(self) -> bool:
        """Whether more is known of a point than its NLL."""
        return not all(isinstance(likelihood, Minusexpuser) for likelihood in self.likelihoods.values())

    @cached_property
    def reference(self) -> Reference:
        """The good region, from ``ref/`` (``make_references.py`` makes these files)."""
        with np.load(REFERENCES / f"{self.name}.npz") as file:
            return Reference(float(file["fraction"]), float(file["fraction_error"]), file["points"], float(file["r90"]))

    def observables(self, u: Array) -> dict[str, Array]:
        """What the physics says of points (N, P) of the unit cube; NaN where it has no answer or breaks."""
        columns = self.space.columns(self.space.from_unit_cube(np.asarray(u, dtype=np.float64)))
        broken = np.zeros(len(u), dtype=bool) if self.fails is None else self.fails(columns)
        values = {name: np.full(len(u), np.nan) for name in self.likelihoods}
        if not broken.all():
            answer = self._physics({name: column[~broken] for name, column in columns.items()})
            for name in values:
                values[name][~broken] = answer[name]
        return values

    def nll(self, u: Array) -> Array:
        """Negative log-likelihood (N,) of points of the unit cube, without the smooth cap; NaN: invalid or failed."""
        values = self.observables(u)
        with np.errstate(all="ignore"):
            return -sum((kind.log_likelihood(values[n]) for n, kind in self.likelihoods.items()), np.zeros(len(u)))

    def plan(self, method: Method, seed: int, *, points: int, max_evaluations: int) -> Plan:
        """The problem as a scan. Its threshold is that of the problem after the smooth cap of losses.

        With one observable the same points are good; with several, a few in a thousand at the very edge are not, so
        a point that is good for the scan is good for the problem.
        """
        return Plan(
            name=self.name, parameters=self.parameters, method=method, seed=seed,
            tools=(PythonFunction(name="physics", function=f"problems.{self.function}", vectorized=True,
                                  path=(str(Path(__file__).parents[1]),)),),
            observables=tuple(Observable(name=n, likelihood=kind) for n, kind in self.likelihoods.items()),
            stop=Stop(points=points, iterations=0, max_evaluations=max_evaluations,
                      threshold_value=float(smooth_cap_loss(-self.threshold_value))),
            cluster=ClusterSettings(slots=1),
        )

    @cached_property
    def _physics(self) -> Physics:
        module, _, name = self.function.partition(":")
        found: Physics = getattr(import_module(f"{__package__}.{module}"), name)
        return found
