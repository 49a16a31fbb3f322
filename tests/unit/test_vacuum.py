"""configs/vacuum.py: what it says of a potential, against the potential itself."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

FUNCTIONS = runpy.run_path(str(Path(__file__).parents[2] / "configs" / "vacuum.py"))
thdm, mssm, V = FUNCTIONS["thdm"], FUNCTIONS["mssm"], FUNCTIONS["V"]
POINT = {"m_h": 125.0, "m_H": 300.0, "m_A": 350.0, "m_Hp": 350.0, "sba": 0.99, "tanb": 5.0, "m12sq": 17300.0}


def potential(found, m12sq, tanb):
    """V(v1, v2) / v⁴ on the neutral directions, with our vacuum at v (cos β, sin β)."""
    l1, l2, l345 = found["lambda1"], found["lambda2"], found["lambda3"] + found["lambda4"] + found["lambda5"]
    cb, sb, m = math.cos(math.atan(tanb)), math.sin(math.atan(tanb)), m12sq / V**2
    m11 = m * tanb - (l1 * cb**2 + l345 * sb**2) / 2
    m22 = m / tanb - (l2 * sb**2 + l345 * cb**2) / 2
    return lambda v: float((m11 * v[0]**2 + m22 * v[1]**2) / 2 - m * v[0] * v[1]
                           + (l1 * v[0]**4 + l2 * v[1]**4 + 2 * l345 * v[0]**2 * v[1]**2) / 8)


def test_couplings_are_those_of_2hdmc():
    found = thdm(POINT)
    for name, value in (("lambda1", 1.40163), ("lambda2", 0.21266), ("lambda3", 2.20179), ("lambda4", -0.53675)):
        assert found[name] == pytest.approx(value, abs=2e-5)
    assert thdm({**POINT, "sba": -0.99})["lambda1"] == pytest.approx(-2.02502, abs=2e-5)


def test_masses_come_back_from_the_potential():
    found = thdm(POINT)
    v, beta, step = potential(found, POINT["m12sq"], POINT["tanb"]), math.atan(POINT["tanb"]), 1e-4
    at = np.array([math.cos(beta), math.sin(beta)])
    e = np.eye(2) * step
    hessian = np.array([[(v(at + a + b) - v(at + a - b) - v(at - a + b) + v(at - a - b)) / (4 * step**2) for b in e]
                        for a in e])
    np.testing.assert_allclose(np.sqrt(np.linalg.eigvalsh(hessian)) * V, [125, 300], rtol=1e-4)


def test_the_discriminant_knows_whether_another_minimum_is_deeper():
    rng = np.random.default_rng(1)
    seen = {True: 0, False: 0}
    while min(seen.values()) < 8:
        point = {"m_h": 125.0, "m_H": rng.uniform(130, 600), "m_A": rng.uniform(50, 600), "m_Hp": rng.uniform(80, 600),
                 "sba": rng.uniform(-1, 1), "tanb": rng.uniform(0.3, 8), "m12sq": rng.uniform(-1e4, 6e4)}
        found = thdm(point)
        if not found["bounded"] > 0.05 or abs(found["discriminant"]) < 1e-4:
            continue
        v, beta = potential(found, point["m12sq"], point["tanb"]), math.atan(point["tanb"])
        ours = v([math.cos(beta), math.sin(beta)])
        deepest = min(minimize(v, start, tol=1e-12).fun for start in rng.uniform(-3, 3, (12, 2)))
        stable = bool(found["discriminant"] > 0)
        assert (deepest > ours - 1e-6) == stable, (point, found, deepest, ours)
        seen[stable] += 1


def test_unbounded_potentials_are_found():
    assert thdm(POINT)["bounded"] > 0
    assert not thdm({**POINT, "m12sq": 25000.0})["bounded"] > 0  # lambda1 < 0: NaN


def test_large_trilinear_couplings_break_charge_and_colour():
    quiet = {"A_t": 1000.0, "A_b": 0.0, "A_tau": 0.0, "mu": 500.0, "m_Hd_sq": 1e6, "m_Hu_sq": -2e5,
             **dict.fromkeys(("m_Q3", "m_U3", "m_D3", "m_L3", "m_E3"), 1000.0)}
    found = mssm(quiet)
    assert found["ccb_t"] == pytest.approx(1e6 / (3 * (-2e5 + 2.5e5 + 2e6)))
    assert found["metastable_t"] == pytest.approx((1e6 + 7.5e5) / (7.5 * 2e6))
    assert mssm({**quiet, "A_t": 3000.0})["ccb_t"] > 1
    assert mssm({**quiet, "m_Hu_sq": -9e6})["ccb_t"] == math.inf
