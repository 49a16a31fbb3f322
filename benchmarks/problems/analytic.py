"""Test functions of the optimisation literature, and the toy of arXiv:2207.09959: here shape is all that is hard."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from problems.problem import Columns, Problem
from raydnnr import Gauss, Minusexpuser, Parameter

Array = NDArray[np.float64]
Answer = dict[str, Array]


def toy3d(point: Columns) -> Answer:
    """``(2 + cos(x1/7) cos(x2/7) cos(x3/7))^5``, arXiv:2207.09959: periodic, whence separate shells."""
    return {"O": (2.0 + np.prod(np.cos(_matrix(point) / 7.0), axis=1)) ** 5}


def himmelblau(point: Columns) -> Answer:
    """Four minima of equal depth."""
    x, y = point["x1"], point["x2"]
    return {"F": (x**2 + y - 11.0) ** 2 + (x + y**2 - 7.0) ** 2}


def rosenbrock(point: Columns) -> Answer:
    """A curved valley in walls 1e6 high."""
    x = _matrix(point)
    return {"F": np.sum(100.0 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1.0 - x[:, :-1]) ** 2, axis=1)}


def rastrigin(point: Columns) -> Answer:
    """A bowl under a lattice of minima."""
    x = _matrix(point)
    return {"F": 10.0 * x.shape[1] + np.sum(x**2 - 10.0 * np.cos(2 * np.pi * x), axis=1)}


def ackley(point: Columns) -> Answer:
    """A funnel under ripples."""
    x = _matrix(point)
    return {"F": 20.0 + np.e - 20.0 * np.exp(-0.2 * np.sqrt(np.mean(x**2, axis=1)))
            - np.exp(np.mean(np.cos(2 * np.pi * x), axis=1))}


def _matrix(point: Columns) -> Array:
    """Columns x1, x2, ... side by side (N, P)."""
    return np.stack([point[f"x{k}"] for k in range(1, len(point) + 1)], axis=1)


def _box(n_params: int, half_width: float) -> tuple[Parameter, ...]:
    return tuple(Parameter.of(f"x{k}", low=-half_width, high=half_width) for k in range(1, n_params + 1))


PROBLEMS = (
    Problem(name="toy3d", hard="about 13 separate thin shells", parameters=_box(3, 10 * np.pi),
            function="analytic:toy3d", likelihoods={"O": Gauss(mean=100.0, sigma=10.0)}, threshold_value=0.5),
    Problem(name="himmelblau2", hard="four tiny disks; only the NLL is known", parameters=_box(2, 5.0),
            function="analytic:himmelblau", likelihoods={"F": Minusexpuser()}, threshold_value=1.0),
    Problem(name="rosenbrock4", hard="a curved valley, NLL over seven decades", parameters=_box(4, 5.0),
            function="analytic:rosenbrock", likelihoods={"F": Minusexpuser()}, threshold_value=10.0),
    Problem(name="rastrigin4", hard="many islands in a lattice of false minima", parameters=_box(4, 5.12),
            function="analytic:rastrigin", likelihoods={"F": Minusexpuser()}, threshold_value=12.0),
    Problem(name="ackley6", hard="a funnel with ripples", parameters=_box(6, 3.0),
            function="analytic:ackley", likelihoods={"F": Minusexpuser()}, threshold_value=3.0),
)
