"""Kind ``vacuum``: minima where they are known, and the action of a bounce that is computed here in full."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from raydnnr.errors import ConfigError, InvalidPoint
from raydnnr.tools.landscape import LONGEST, action_to, deeper, descend, is_minimum, quartic_action
from raydnnr.tools.vacuum import Vacuum

V, M_H = 246.22, 125.25
SINGLET = Vacuum(
    name="v", fields={"h": "v", "s": 0},
    potential="l_h / 4 * (h**2 - v**2)**2 + mu2_s / 2 * s**2 + l_hs / 4 * h**2 * s**2 + l_s / 4 * s**4")


def bounce(b: float, a: float, quartic: float) -> float:
    """The action, from the equation of motion: bisection of where the field starts, between falling short and over."""
    def slope(phi):
        return 2 * b * phi - 3 * a * phi**2 + 4 * quartic * phi**3

    def fall(start):
        def back(r, y):
            return y[0] + 1e-9 * start

        def turned(r, y):
            return y[1]

        back.terminal = turned.terminal = True
        turned.direction = 1
        r0 = 1e-3
        first = [start + slope(start) * r0**2 / 8, slope(start) * r0 / 4]
        return solve_ivp(lambda r, y: [y[1], slope(y[0]) - 3 * y[1] / r], (r0, 400), first, events=(back, turned),
                         rtol=1e-8, atol=1e-10, dense_output=True)

    roots = np.roots([4 * quartic, -3 * a, 2 * b]) if quartic else np.array([2 * b / (3 * a)])
    top = min(r.real for r in roots if r.real > 0)
    bottom = max(r.real for r in roots) * (1 - 1e-13) if quartic > 0 else 200 * top
    for _ in range(60):
        middle = 0.5 * (top + bottom)
        if fall(middle).t_events[0].size:
            bottom = middle
        else:
            top = middle
    path = fall(bottom)
    r = np.linspace(path.t[0], path.t[-1], 40_001)
    phi, speed = path.sol(r)
    density = r**3 * (speed**2 / 2 + b * phi**2 - a * phi**3 + quartic * phi**4)
    return float(2 * math.pi**2 * np.trapz(density, r))


@pytest.mark.parametrize(("delta", "within"), [(-2.0, 0.05), (-0.5, 0.05), (0.0, 0.01), (0.5, 0.01), (1.2, 0.01)])
def test_the_action_is_that_of_the_equation_of_motion(delta, within):
    exact = bounce(0.5, 0.5, delta / 16)
    assert quartic_action(0.5, 0.5, delta / 16) == pytest.approx(exact, rel=within)


def test_the_action_of_a_thin_wall():
    """27 π² σ⁴ / 2 ε³ (Coleman 1977), where both minima are nearly as deep."""
    delta, quartic = 1.998, 1.998 * 4
    tension, below = math.sqrt(2 * quartic) / 6, (2 - delta) * quartic / 2  # b = a²/8λ, minima at 0 and 1
    exact = 27 * math.pi**2 * tension**4 / (2 * below**3)
    b, a = delta / 2 * quartic, 2 * quartic
    assert exact > LONGEST and quartic_action(b, a, quartic) == LONGEST
    scale = 1e7  # V -> scale V: the action falls by it
    assert quartic_action(b * scale, a * scale, quartic * scale) == pytest.approx(exact / scale, rel=0.02)


def test_the_action_where_there_is_no_barrier_or_nothing_deeper():
    assert quartic_action(-1.0, 1.0, 1.0) == 0 and quartic_action(1.0, 1.0, 0.25) == LONGEST
    assert quartic_action(1e4, 0.0, -0.1) == pytest.approx(2 * math.pi**2 / (3 * 0.1), rel=0.05)  # φ⁴ alone


@settings(max_examples=60, deadline=None)
@given(st.floats(65, 600), st.floats(0.01, 4), st.floats(0.02, 1))
def test_a_singlet_makes_our_vacuum_metastable_where_it_should(m_s, l_hs, l_s):
    l_h, mu2_s = M_H**2 / (2 * V**2), m_s**2 - l_hs * V**2 / 2
    ours, there = -l_h * V**4 / 4, -(mu2_s**2) / (4 * l_s) if mu2_s < 0 else 0.0
    assume(abs(there / ours - 1) > 1e-3)
    point = {"v": V, "l_h": l_h, "l_hs": l_hs, "l_s": l_s, "mu2_s": mu2_s}
    found = SINGLET.run(point, None).values
    assert found["stable"] == (there > ours) and found["bounded"] == 1
    if there < ours:
        assert found["depth"] == pytest.approx(there - ours, rel=1e-5)
        assert abs(found["at_s"]) == pytest.approx(math.sqrt(-mu2_s / l_s), rel=1e-3)
        assert abs(found["at_h"]) < 1 and found["n_deeper"] == 2 and 0 < found["action"] <= LONGEST
    else:
        assert (found["depth"], found["action"], found["n_deeper"]) == (0, LONGEST, 0)
        assert math.isnan(found["at_s"])


def test_a_tachyon_is_invalid_and_so_is_a_place_that_is_no_minimum():
    point = {"v": V, "l_h": 0.13, "l_hs": 1.0, "l_s": 0.5, "mu2_s": -(V**2)}
    with pytest.raises(InvalidPoint, match="v: our vacuum is no minimum"):
        SINGLET.run(point, None)
    assert not is_minimum(lambda x: (x[:, 0] - 100.0) ** 2, np.array([150.0]))
    assert not is_minimum(lambda x: np.full(len(x), np.nan), np.array([150.0]))
    assert is_minimum(lambda x: (x[:, 0] ** 2 + x[:, 1] ** 2 - 1e4) ** 2, np.array([60.0, 80.0]))  # with a flat direction


def test_a_potential_that_falls_for_ever_is_not_bounded():
    tool = Vacuum(name="v", fields={"h": 0}, potential="1e4 * h**2 - 0.01 * h**4")
    found = tool.run({}, None).values
    assert (found["stable"], found["bounded"]) == (0, 0)
    assert abs(found["at_h"]) == pytest.approx(10_000, rel=1e-3)
    assert found["action"] == pytest.approx(2 * math.pi**2 / 0.03, rel=0.05)
    assert tool.run({}, None) == tool.run({}, None)


def test_walls_are_not_entered():
    def potential(x):
        return np.where(x[:, 0] > 50, np.nan, -x[:, 0])

    end = descend(potential, np.array([[10.0], [-20.0]]), 1000.0)
    assert np.isfinite(potential(end)).all() and (end <= 50).all()
    assert len(deeper(lambda x: np.full(len(x), np.nan), np.array([1.0]), 10.0).depth) == 0
    assert action_to(lambda x: np.full(len(x), np.nan), np.array([0.0]), np.array([1.0])) == LONGEST


@pytest.mark.parametrize(("changes", "complaint"), [
    ({"potential": "h +"}, "potential: 'h \\+' is not an expression"), ({"fields": {}}, "fields: none"),
    ({"fields": {"h": 0, "t": 1}}, "fields.t: the potential does not depend on it"), ({"starts": 0}, "starts: got 0"),
    ({"reach_gev": -1}, "reach_gev: got -1"), ({"fields": {"h": "f("}}, "fields.h: "),
])
def test_settings(changes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Vacuum(**{"name": "v", "potential": "h**2", "fields": {"h": 0}, **changes})


def test_names():
    tool = Vacuum(name="v", potential="m * h**2", fields={"h": "w"})
    tool.prepare(["m", "w"])
    assert tool.uses(["m", "w", "z"]) == {"m", "w"}
    for names, complaint in ((["m", "w", "h"], "fields.h: a parameter"), (["w"], "potential.*'m'"), (["m"], "fields.h.*'w'")):
        with pytest.raises(ConfigError, match=complaint):
            tool.prepare(names)
    with pytest.raises(ConfigError, match="there is no 'at_x'"):
        tool.address({"key": "at_x"}, "o")
