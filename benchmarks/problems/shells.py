"""Thin shells and islands where several constraints meet, as in models of new physics. The formulas are invented."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from problems.problem import Columns, Problem
from raydnnr import Gauss, Lower, Parameter, Upper

Array = NDArray[np.float64]
Answer = dict[str, Array]

M_Z, VEV, M_TOP = 91.19, 246.0, 165.0  # GeV

ROTATION = np.linalg.qr(np.random.default_rng(20230115).normal(size=(12, 12)))[0]


def shell8(point: Columns) -> Answer:
    """Higgs mass, relic density, direct detection, b to s gamma and gluino mass of something like supersymmetry."""
    m0, m12, a0, tanb, mu, lam, kap, a_lam = (
        point[n] for n in ("m0", "m12", "A0", "tanb", "mu", "lam", "kap", "Alam"))
    m_stop = np.sqrt(m0**2 + 5.0 * m12**2 + 1.0)
    mixing = (a0 - 1.5 * m12 - mu / tanb) / m_stop
    bino = 0.43 * m12
    m_chi = np.minimum(bino, mu) - 0.02 * np.abs(bino - mu) * np.exp(-np.abs(bino - mu) / 200.0)
    m_a = np.sqrt(m0**2 + mu**2 + (200 + 300 * kap) ** 2) + 0.1 * a_lam
    tempered = 1.0 / (1.0 + ((bino - mu) / 90.0) ** 2)
    funnel = 1.0 / (((2 * m_chi - m_a) / (0.04 * m_a)) ** 2 + 1.0)
    m_stau = np.sqrt(m0**2 + 0.15 * m12**2) - 0.004 * mu * tanb
    coannihilation = np.exp(-6.0 * np.clip((m_stau - m_chi) / m_chi, 0, 50))
    cross_section = 0.006 + 0.9 * tempered + 6.0 * funnel + 1.5 * coannihilation + 0.3 * lam**2 * tempered
    return {
        "mh": _higgs_mass(m_stop, mixing, tanb, lam),
        "lomega": np.log10(0.12 * (m_chi / 1000.0) ** 2 / cross_section + 1e-12),
        "dd": np.log10(1e-3 + tempered * (0.2 + lam**2)) - 0.5 * np.log10(m_chi / 100.0),
        "bsg": 3.4 - 0.25 * tanb / 50 * (1000.0 / m_stop) * np.sign(mu) * (1 - mixing / 4) + 6e3 / m_a,
        "mgl": 2.4 * m12,
    }


def shell12(point: Columns) -> Answer:
    """Five measurements and two limits; no direction of the box is special to any of them."""
    y = (np.stack([point[f"x{k}"] for k in range(1, 13)], axis=1) - 0.5) * 2.0 @ ROTATION
    return {
        "mh": 125.1 + 9.0 * y[:, 0] + 5.0 * y[:, 1] ** 2 - 4.0 * y[:, 2] * y[:, 3] - 2.0,
        "S": 0.6 * y[:, 4] + 0.35 * np.sin(2.0 * y[:, 5]),
        "T": 1.1 * y[:, 6] * y[:, 7] + 0.4 * y[:, 8] - 0.1,
        "lomega": np.log10(0.12) + 1.2 * (np.sqrt(np.sum(y[:, 8:12] ** 2, axis=1)) - 1.0) + 0.5 * y[:, 0] * y[:, 9],
        "dd": y[:, 9] + 0.5 * y[:, 1] - 0.3 * y[:, 4] ** 2,
        "uni": np.sqrt(np.sum(y[:, 1:7] ** 2, axis=1)),
        "mugg": 1.0 + 0.5 * np.tanh(y[:, 2] + 0.5 * y[:, 5]),
    }


def islands5(point: Columns) -> Answer:
    """Two islands of very different size; about half of the space is tachyonic: NaN."""
    u = np.stack([point["M1"] / 2000.0, (point["mu"] + 1000.0) / 2000.0, (point["tanb"] - 1.0) / 49.0,
                  (point["lA"] + 3.0) / 6.0, point["s"]], axis=1)
    determinant = u[:, 0] - 0.5 + 0.6 * (u[:, 1] - 0.5) * np.cos(3.0 * u[:, 2]) + 0.25 * np.sin(5.0 * u[:, 3])
    large = _distance(u, [0.80, 0.30, 0.40, 0.70, 0.25], [0.10, 0.16, 0.13, 0.16, 0.16])
    small = _distance(u, [0.62, 0.85, 0.12, 0.20, 0.85], [0.062] * 5)
    o1 = 5.0 - 8.0 * np.exp(-0.5 * (large / 1.6) ** 2) - 8.0 * np.exp(-0.5 * (small / 1.6) ** 2)
    o2 = 100.0 + 25.0 * (u[:, 2] - 0.3) * (u[:, 3] - 0.4)
    tachyonic = determinant < 0.0
    return {"o1": np.where(tachyonic, np.nan, o1), "o2": np.where(tachyonic, np.nan, o2)}


def on_small_island(u: Array) -> NDArray[np.bool_]:
    """Which good points (N, 5) of `islands5`, unit cube, belong to the island with 2 % of the good volume."""
    return u[:, 4] > 0.55


def _higgs_mass(m_stop: Array, mixing: Array, tanb: Array, lam: Array) -> Array:
    """Tree level and a stop loop, GeV; negative where the square is."""
    cos2 = ((1 - tanb**2) / (1 + tanb**2)) ** 2
    loop = 3 * M_TOP**4 / (2 * np.pi**2 * VEV**2) * (
        np.log(m_stop**2 / M_TOP**2) + mixing**2 * (1 - mixing**2 / 12.0))
    square = M_Z**2 * cos2 + 0.5 * (lam * VEV) ** 2 * (1 - cos2) + loop
    mass: Array = np.sign(square) * np.sqrt(np.abs(square))
    return mass


def _distance(u: Array, centre: list[float], width: list[float]) -> Array:
    distance: Array = np.sqrt(np.sum(((u - np.array(centre)) / np.array(width)) ** 2, axis=1))
    return distance


PROBLEMS = (
    Problem(name="shell8", hard="thin shells of five constraints", function="shells:shell8", threshold_value=2.5,
            parameters=(
                Parameter.of("m0", low=50, high=3000, unit="GeV"), Parameter.of("m12", low=300, high=2500, unit="GeV"),
                Parameter.of("A0", low=-6000, high=6000, unit="GeV"), Parameter.of("tanb", low=2, high=50),
                Parameter.of("mu", low=100, high=2000, unit="GeV"), Parameter.of("lam", low=0.01, high=0.7),
                Parameter.of("kap", low=0, high=1), Parameter.of("Alam", low=0, high=2000, unit="GeV")),
            likelihoods={"mh": Gauss(mean=125.1, sigma=1.5), "lomega": Gauss(mean=np.log10(0.12), sigma=0.05),
                         "dd": Upper(mean=-0.9, sigma=0.05), "bsg": Upper(mean=10.0, sigma=0.5),
                         "mgl": Lower(mean=1800.0, sigma=30.0)}),
    Problem(name="shell12", hard="seven constraints, none along an axis", function="shells:shell12",
            threshold_value=3.0, parameters=tuple(Parameter.of(f"x{k}", low=0, high=1) for k in range(1, 13)),
            likelihoods={"mh": Gauss(mean=125.1, sigma=0.8), "S": Gauss(mean=0.0, sigma=0.06),
                         "T": Gauss(mean=0.03, sigma=0.07), "lomega": Gauss(mean=np.log10(0.12), sigma=0.03),
                         "dd": Upper(mean=-0.25, sigma=0.05), "uni": Upper(mean=1.5, sigma=0.05),
                         "mugg": Gauss(mean=1.1, sigma=0.05)}),
    Problem(name="islands5", hard="half is invalid; two islands, one with 2 % of the good volume",
            function="shells:islands5", threshold_value=1.0,
            parameters=(
                Parameter.of("M1", low=0, high=2000, unit="GeV"), Parameter.of("mu", low=-1000, high=1000, unit="GeV"),
                Parameter.of("tanb", low=1, high=50), Parameter.of("lA", low=-3, high=3),
                Parameter.of("s", low=0, high=1)),
            likelihoods={"o1": Gauss(mean=-0.5, sigma=0.3), "o2": Gauss(mean=101.0, sigma=1.0)}),
)
