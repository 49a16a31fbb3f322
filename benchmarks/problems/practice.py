"""Problems for practice: defaults of the search are chosen on these, so that the others can judge it.

Each has a difficulty that users' models have, and none repeats a formula of the problems that judge. All is invented.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from problems.problem import Columns, Problem
from raydnnr import Cfunction, Gauss, Lower, Minusexpuser, Parameter, Upper

Array = NDArray[np.float64]
Answer = dict[str, Array]

ROTATION = {n: np.linalg.qr(np.random.default_rng(20260000 + n).normal(size=(n, n)))[0] for n in (4, 5, 10)}


def waves(point: Columns) -> Answer:
    """Two interfering waves: some twenty separate pieces of a curve, thickened."""
    x = _matrix(point)
    return {"sum": np.sin(7.0 * x[:, 0] + 2.0 * x[:, 1]) + np.cos(6.0 * x[:, 1] - x[:, 2]) * np.sin(5.0 * x[:, 2]),
            "product": x[:, 0] * x[:, 1] + 0.4 * np.cos(4.0 * x[:, 2])}


def funnel(point: Columns) -> Answer:
    """A cone under ripples that run along no axis; only the NLL is known."""
    y = _turned(_matrix(point) - np.linspace(-0.3, 0.35, len(point)))
    ripples = np.sum(1.0 - np.cos(9.0 * y), axis=1)
    return {"F": 22.0 * np.sqrt(np.sum(y**2, axis=1)) + 0.7 * ripples}


def mechanisms(point: Columns) -> Answer:
    """A relic density that three mechanisms can bring down, each in another corner, beside three other constraints."""
    m1, m2, mu, ma, tan_beta, slepton, trilinear = (
        point[n] for n in ("M1", "M2", "mu", "mA", "tanb", "msl", "At"))
    lightest = np.minimum(np.minimum(m1, m2), mu)
    higgsino, wino = (1.0 / (1.0 + ((other - lightest) / (0.08 * other)) ** 2) for other in (mu, m2))
    funnel = 1.0 / (1.0 + ((ma - 2.0 * lightest) / (0.05 * ma)) ** 2)
    coannihilation = np.exp(-np.clip(slepton / lightest - 1.0, -0.2, 5.0) / 0.06)
    rate = 0.02 + 1.2 * (higgsino + wino) * (1000.0 / lightest) ** 0.3 + 4.0 * funnel + 1.5 * coannihilation
    mixing = trilinear - mu / tan_beta / 1000.0
    return {
        "log_relic": np.log10(0.3 * (lightest / 500.0) ** 2 / rate),
        "log_scatter": np.log10(higgsino * 0.5 + 0.01 * tan_beta * (500.0 / ma) ** 2 + 1e-3),
        "mass_h": 91.0 * np.abs(1.0 - 2.0 / (1.0 + tan_beta**2)) + 26.0 * np.exp(-((mixing - 2.0) / 1.6) ** 2) + 8.0,
        "b_decay": 3.3 + 0.02 * tan_beta * (800.0 / ma) ** 2 - 0.3 * np.tanh(mixing) * (300.0 / mu),
        "charged": slepton - lightest,
    }


def refused(point: Columns) -> Answer:
    """Three islands of very different size on the shore of a sea where there is no answer."""
    x = _matrix(point)
    stable = 0.35 + x[:, 0] - 0.8 * x[:, 1] ** 2 + 0.4 * np.sin(4.0 * x[:, 2]) * x[:, 3]
    depth = np.zeros(len(x))
    for middle, width, height in (((0.1, 0.7, -0.5, 0.6), 0.20, 6.0), ((0.6, -0.6, 0.5, -0.3), 0.09, 7.5),
                                  ((-0.3, 0.1, 0.75, 0.75), 0.055, 9.0)):
        depth += height * np.exp(-0.5 * np.sum(((x - np.array(middle)) / width) ** 2, axis=1) / 3.0)
    answer = {"depth": depth, "tilt": 2.0 * x[:, 2] - x[:, 0] * x[:, 3]}
    return {name: np.where(stable > 0.0, value, np.nan) for name, value in answer.items()}


def valley(point: Columns) -> Answer:
    """A winding valley between walls of five decades; only the NLL is known."""
    x = _matrix(point)
    bends = sum((x[:, k + 1] - 0.6 * np.sin(2.5 * x[:, k])) ** 2 for k in range(x.shape[1] - 1))
    return {"F": (120.0 * bends) ** 1.5 + 6.0 * np.sum((x - 0.2) ** 2, axis=1)}


def lattice(point: Columns) -> Answer:
    """A turned lattice of minima of unequal depth; only the NLL is known."""
    y = _turned(_matrix(point))
    return {"F": 6.0 * np.sum(1.0 - np.cos(10.0 * y + 0.5), axis=1) + 5.0 * np.sum((y - 0.1) ** 2, axis=1)}


def crossed(point: Columns) -> Answer:
    """Ten parameters, six constraints of several kinds, none along an axis."""
    y = _turned(_matrix(point))
    return {
        "mass": 3.0 * y[:, 0] + np.exp(0.8 * y[:, 1]) - 1.0 + y[:, 2] * y[:, 3],
        "width": np.abs(y[:, 4] + 0.5 * y[:, 5] ** 2) * (1.0 + 0.3 * np.tanh(y[:, 6])),
        "rate": np.log10(0.05 + (y[:, 6] - y[:, 7]) ** 2 + 0.2 * y[:, 8] ** 2),
        "asymmetry": np.arctan(2.0 * y[:, 8] + y[:, 0]) + 0.3 * np.cos(3.0 * y[:, 9]),
        "limit": np.linalg.norm(y[:, 3:8], axis=1),
        "window": y[:, 9] - 0.6 * y[:, 1] * y[:, 2],
    }


def steps(point: Columns) -> Answer:
    """Channels that open at thresholds, a level crossing, and a cliff of four decades beside the good region."""
    x = _matrix(point)
    opened = sum(np.where(x[:, 0] + 0.5 * x[:, 1] > at, weight, 0.0) for at, weight in ((-0.4, 0.6), (0.2, 1.1)))
    crossing = np.minimum(x[:, 2] + x[:, 3], 0.3 - x[:, 2] + 0.8 * x[:, 4])
    cliff = 10.0 ** (2.0 + 2.0 * np.tanh(12.0 * (x[:, 3] - 0.25 * x[:, 0] - 0.3)))
    return {"sum": opened + np.sin(2.0 * x[:, 4]) + x[:, 1], "crossing": crossing, "cliff": cliff * (1.1 + x[:, 2])}


def idle(point: Columns) -> Answer:
    """Five of fifteen parameters matter; what is good is large in all the others."""
    x = _matrix(point)
    return {"ring": np.hypot(x[:, 0] - 0.2, x[:, 1] + 0.1), "plane": x[:, 2] + 0.7 * x[:, 3] * x[:, 0],
            "bound": x[:, 4] ** 2 + 0.5 * x[:, 3]}


def _matrix(point: Columns) -> Array:
    """Columns x1, x2, ... side by side (N, P)."""
    return np.stack([point[f"x{k}"] for k in range(1, len(point) + 1)], axis=1)


def _turned(x: Array) -> Array:
    """Points (N, P) in turned coordinates, to the same last digit whatever points are beside them."""
    turned: Array = (x[:, :, None] * ROTATION[x.shape[1]]).sum(axis=1)
    return turned


def _cube(n_params: int) -> tuple[Parameter, ...]:
    return tuple(Parameter.of(f"x{k}", low=-1.0, high=1.0) for k in range(1, n_params + 1))


PROBLEMS = (
    Problem(name="waves3", hard="many thin pieces", parameters=_cube(3), function="practice:waves",
            likelihoods={"sum": Gauss(mean=1.3, sigma=0.08), "product": Gauss(mean=0.1, sigma=0.08)},
            threshold_value=1.5),
    Problem(name="funnel5", hard="a cone with turned ripples; only the NLL is known", parameters=_cube(5),
            function="practice:funnel", likelihoods={"F": Minusexpuser()}, threshold_value=7.5),
    Problem(name="mechanisms7", hard="three mechanisms of one observable", function="practice:mechanisms",
            threshold_value=3.0,
            parameters=(
                Parameter.of("M1", low=50, high=2000, unit="GeV"), Parameter.of("M2", low=100, high=2500, unit="GeV"),
                Parameter.of("mu", low=100, high=2500, unit="GeV"), Parameter.of("mA", low=200, high=4000, unit="GeV"),
                Parameter.of("tanb", low=2, high=60, prior="log"), Parameter.of("msl", low=100, high=3000, unit="GeV"),
                Parameter.of("At", low=-4, high=4)),
            likelihoods={"log_relic": Gauss(mean=-0.92, sigma=0.03), "log_scatter": Upper(mean=-1.3, sigma=0.1),
                         "mass_h": Gauss(mean=124.5, sigma=0.6), "b_decay": Gauss(mean=3.4, sigma=0.1),
                         "charged": Lower(mean=0.0, sigma=10.0)}),
    Problem(name="refused4", hard="islands of unequal size beside a region without answers", parameters=_cube(4),
            function="practice:refused",
            likelihoods={"depth": Gauss(mean=5.0, sigma=0.6), "tilt": Cfunction(lower_bound=-2.2, upper_bound=1.9)},
            threshold_value=1.5),
    Problem(name="valley5", hard="a winding valley, walls of five decades; only the NLL", parameters=_cube(5),
            function="practice:valley", likelihoods={"F": Minusexpuser()}, threshold_value=8.0),
    Problem(name="lattice4", hard="a turned lattice of minima; only the NLL is known", parameters=_cube(4),
            function="practice:lattice", likelihoods={"F": Minusexpuser()}, threshold_value=4.0),
    Problem(name="crossed10", hard="six constraints, none along an axis", parameters=_cube(10),
            function="practice:crossed", threshold_value=4.0,
            likelihoods={"mass": Gauss(mean=1.0, sigma=0.07), "width": Gauss(mean=0.6, sigma=0.04),
                         "rate": Gauss(mean=-0.3, sigma=0.05), "asymmetry": Lower(mean=0.5, sigma=0.1),
                         "limit": Upper(mean=1.0, sigma=0.1), "window": Cfunction(lower_bound=-0.3, upper_bound=0.3)}),
    Problem(name="steps5", hard="thresholds, a crossing of levels, a cliff", parameters=_cube(5),
            function="practice:steps", threshold_value=2.0,
            likelihoods={"sum": Gauss(mean=0.9, sigma=0.05), "crossing": Gauss(mean=0.2, sigma=0.03),
                         "cliff": Upper(mean=10.0, sigma=2.0)}),
    Problem(name="idle15", hard="ten parameters that say nothing", parameters=_cube(15), function="practice:idle",
            threshold_value=2.5,
            likelihoods={"ring": Gauss(mean=0.6, sigma=0.02), "plane": Gauss(mean=0.3, sigma=0.03),
                         "bound": Upper(mean=-0.2, sigma=0.02)}),
)
