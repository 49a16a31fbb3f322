"""Three problems with other kinds of difficulty than the listed ones.

``needle13``: so rare that no random point will ever be good. ``haystack24``: many parameters, most of which say
nothing, behind every kind of prior and likelihood. ``cracked6``: a code that breaks, stops early and jumps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from problems.problem import Columns, Problem
from raydnnr import Cfunction, Gauss, Lower, Parameter, Siguser, Upper

Array = NDArray[np.float64]
Answer = dict[str, Array]

VEV_GEV = 174.0
EV_PER_GEV = 1e9


def seesaw(point: Columns) -> Answer:
    r"""Neutrino masses and mixings of the type-I seesaw with real couplings, normal ordering.

    .. math:: m_\nu = y_0^2 v^2 \, Y \, \mathrm{diag}(1/M_k) \, Y^T, \qquad v = 174\ \mathrm{GeV}

    Eigenvalues are ordered, so that the observables have edges where two of them cross. Signs that change nothing are
    fixed by the ranges: couplings of the first flavour and of the first heavy state are positive.

    References:
        hep-ph/9306371 for the conventions of mixing angles; the measurements are close to arXiv:2007.14792.
    """
    couplings = np.stack([point[f"y{i}{j}"] for i in "123" for j in "123"], axis=1).reshape(-1, 3, 3)
    heavy = np.stack([point[f"M{k}"] for k in "123"], axis=1)
    scale = (point["y0"] * VEV_GEV) ** 2 * EV_PER_GEV
    light = scale[:, None, None] * np.einsum("nik,nk,njk->nij", couplings, 1.0 / heavy, couplings)
    masses, mixing = np.linalg.eigh(light)  # all masses are >= 0: the matrix is Y diag(positive) Y^T
    square = mixing**2  # (N, flavour, mass)
    s13 = square[:, 0, 2]
    return {
        "dm21": np.log10((masses[:, 1] ** 2 - masses[:, 0] ** 2) / 7.5e-5 + 1e-30),
        "dm31": np.log10((masses[:, 2] ** 2 - masses[:, 0] ** 2) / 2.5e-3 + 1e-30),
        "s13": s13,
        "s12": square[:, 0, 1] / np.maximum(1.0 - s13, 1e-12),
        "s23": square[:, 1, 2] / np.maximum(1.0 - s13, 1e-12),
        "sum_m": masses.sum(axis=1),
        "lfv": np.log10(np.abs(np.einsum("nk,nk->n", couplings[:, 0] / heavy**2, couplings[:, 1]))
                        * point["y0"] ** 2 * 1e28 + 1e-12),
    }


def haystack(point: Columns) -> Answer:
    """A mass, a rate, a limit, an interval and a score that depend on six of 24 parameters, and weakly on six more."""
    weak = sum(0.02 * np.tanh(point[f"w{k}"]) for k in range(1, 7))
    square = point["m"] ** 2 + 0.5 * point["mix"] * point["m"] * np.abs(point["split"])
    mass = np.sqrt(np.where(square > 0, square, np.nan)) * (1.0 + weak)  # NaN: a tachyon
    rate = np.log10(point["g"] ** 4 / (1.0 + (point["m"] / 500.0) ** 2)) + 0.5 * np.sin(np.radians(point["phase"]))
    shift = np.where(point["split"] > 0, 1.0, -0.7) * np.log10(np.abs(point["split"]))
    return {
        "mass": mass,
        "rate": rate + weak,
        "width": point["g"] ** 2 * mass / 25.0,
        "shift": shift + 0.3 * point["mix"] + weak,
        "score": 4.0 * np.cos(np.radians(point["phase"])) * point["mix"] - 1.0 + 5.0 * weak,
    }


def cracked(point: Columns) -> Answer:
    """A spiral of several arms, an order parameter that jumps, and two ways of having no answer.

    The cheap ``vacuum`` comes first; where it is not stable nothing else is computed (NaN, *invalid*). Where the
    iteration of `diverges` does not converge the code breaks.

    Raises:
        RuntimeError: A point of the batch is one of `diverges`.
    """
    if diverges(point).any():
        raise RuntimeError("the iteration did not converge")
    a, b, c, d, e, f = (point[f"x{k}"] for k in range(1, 7))
    vacuum = 0.6 + 0.5 * a * b - c**2 + 0.8 * d
    arm = np.hypot(a, b) / 0.55 - np.arctan2(b, a) / (2 * np.pi)
    broken_phase = c + 0.3 * np.sin(4.0 * d) > 0.1
    order = np.where(broken_phase, 0.5 + 0.5 * np.tanh(2.0 * (c + e)), 0.05 * e)
    levels = np.floor(3.0 * (d + 1.0)) + 0.25 * f * e  # which resonance is open
    stable = vacuum > 0.0
    answer = {"arm": arm - np.floor(arm), "order": order, "levels": levels, "size": e**2 + f**2}
    return {"vacuum": vacuum, **{name: np.where(stable, value, np.nan) for name, value in answer.items()}}


def diverges(point: Columns) -> NDArray[np.bool_]:
    """Where `cracked` breaks (N,): bands that cut through the good region, about a tenth of the space."""
    return np.sin(7.0 * point["x1"] + 5.0 * point["x5"] * point["x3"]) > 0.95


def _irrelevant() -> tuple[Parameter, ...]:
    """Twelve parameters that nothing depends on, of all kinds of priors."""
    return (
        *(Parameter.of(f"n{k}", low=0.0, high=1.0) for k in range(1, 5)),
        *(Parameter.of(f"n{k}", low=1e-3, high=1e3, prior="log") for k in range(5, 8)),
        *(Parameter.of(f"n{k}", mean=0.0, sigma=2.0, prior="normal") for k in range(8, 10)),
        Parameter.of("n10", low=1.0, high=1e4, prior="symlog"), Parameter.of("n11", sigma=3.0, prior="exponential"),
        Parameter.of("n12", mean=0.0, sigma=1.0, prior="lognormal"),
    )


PROBLEMS = (
    Problem(name="needle13", hard="a good fraction of about 1e-7", function="own:seesaw", threshold_value=3.0,
            parameters=(
                *(Parameter.of(f"y{i}{j}", low=0 if "1" in (i, j) else -1, high=1) for i in "123" for j in "123"),
                Parameter.of("M1", low=1e13, high=3e14, prior="log", unit="GeV"),
                Parameter.of("M2", low=1e14, high=3e15, prior="log", unit="GeV"),
                Parameter.of("M3", low=3e14, high=1e16, prior="log", unit="GeV"),
                Parameter.of("y0", low=0.03, high=1.0, prior="log")),
            likelihoods={"dm21": Gauss(mean=0.0, sigma=0.03), "dm31": Gauss(mean=0.0, sigma=0.03),
                         "s13": Gauss(mean=0.022, sigma=0.004), "s12": Gauss(mean=0.307, sigma=0.02),
                         "s23": Gauss(mean=0.55, sigma=0.04), "sum_m": Upper(mean=0.12, sigma=0.01),
                         "lfv": Upper(mean=-0.5, sigma=0.2)}),
    Problem(name="haystack24", hard="24 parameters, twelve say nothing and six hardly anything; mixed priors",
            function="own:haystack", threshold_value=2.5,
            parameters=(
                Parameter.of("m", low=50, high=2000, prior="log", unit="GeV"),
                Parameter.of("g", low=0.03, high=3.0, prior="log"),
                Parameter.of("split", low=1.0, high=1000.0, prior="symlog", unit="GeV"),
                Parameter.of("mix", low=-1, high=1), Parameter.of("phase", prior="sin"),
                *(Parameter.of(f"w{k}", mean=0.0, sigma=1.0, prior="normal") for k in range(1, 7)),
                Parameter.of("spare", low=-1, high=1), *_irrelevant()),
            likelihoods={"mass": Gauss(mean=300.0, sigma=9.0), "rate": Gauss(mean=-0.5, sigma=0.1),
                         "width": Upper(mean=12.0, sigma=2.0), "shift": Cfunction(lower_bound=1.0, upper_bound=2.2),
                         "score": Siguser()}),
    Problem(name="cracked6", hard="failing bands, early stops, jumps; a spiral in pieces", function="own:cracked",
            fails=diverges, threshold_value=1.5,
            parameters=tuple(Parameter.of(f"x{k}", low=-1, high=1) for k in range(1, 7)),
            likelihoods={"vacuum": Lower(mean=0.0, sigma=0.05), "arm": Gauss(mean=0.5, sigma=0.02),
                         "order": Gauss(mean=0.85, sigma=0.03), "levels": Gauss(mean=4.0, sigma=0.05),
                         "size": Upper(mean=1.0, sigma=0.1)}),
)
