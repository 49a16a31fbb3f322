"""Region: clouds over a thin shell that is known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raydnnr.search import region
from raydnnr.search.region import OPTIMISM, newton_step, reflect, stir, violation, walk
from raydnnr.surrogates.emulator import Geometry

RADIUS, WIDTH = 0.35, 0.01


@dataclass(frozen=True)
class Shell:
    """What a perfect surrogate says of ``r = RADIUS ± WIDTH`` around the middle of the cube, in any dimension.

    ``half``: only points of ``u_0 < 0.5`` are valid.
    """

    excess: float = 2.0  # two sigma: |r - RADIUS| < 0.02
    half: bool = False

    def geometry(self, u):
        """As of `Emulator`."""
        off = u - 0.5
        r = np.maximum(np.linalg.norm(off, axis=1), 1e-9)
        pull = (r - RADIUS) / WIDTH
        label = gradient = None
        if self.half:
            label, gradient = 4.0 * (0.5 - u[:, 0]), np.zeros(u.shape)
            gradient[:, 0] = -4.0
        return Geometry((0.5 * pull**2)[:, None], (pull / WIDTH)[:, None], np.full((len(u), 1), 1 / WIDTH**2),
                        (off / r[:, None])[:, None, :], label, gradient)


def anywhere(n, n_params, seed=0):
    return np.random.default_rng(seed).random((n, n_params))


def project(shell, u, n_steps=8, reach=None):
    """With the same landings whenever it is asked."""
    return region.project(shell, u, np.random.default_rng(3), n_steps, reach)


def inside(u, sigmas=2.0):
    return np.abs(np.linalg.norm(u - 0.5, axis=1) - RADIUS) < sigmas * WIDTH


@given(arrays(np.float64, (7, 3), elements=st.floats(-0.999, 1.999)))
def test_reflected_points_are_in_the_cube_as_far_behind_the_wall_as_they_were_before_it(u):
    v = reflect(u)
    assert ((v >= 0) & (v <= 1)).all()
    within = (u >= 0) & (u <= 1)
    np.testing.assert_allclose(v[within], u[within], atol=1e-15)
    np.testing.assert_allclose(v[u < 0], -u[u < 0], atol=1e-15)
    np.testing.assert_allclose(v[u > 1], 2.0 - u[u > 1], atol=1e-15)


@given(arrays(np.float64, (5, 2), elements=st.floats(-1e6, 1e6)))
def test_points_that_went_anywhere_come_back_into_the_cube(u):
    assert ((reflect(u) >= 0) & (reflect(u) <= 1)).all()


@pytest.mark.parametrize("n_params", [1, 2, 5, 12])
def test_projection_reaches_a_thin_shell_from_anywhere(n_params):
    start = anywhere(200, n_params)
    u, total = project(Shell(), start)
    assert ((u >= 0) & (u <= 1)).all()
    assert inside(u).mean() > 0.97
    np.testing.assert_array_equal(total < 2.0, inside(u))
    assert start.tobytes() == anywhere(200, n_params).tobytes()


def test_projection_goes_straight():
    """The nearest point of a shell lies on the ray from its middle."""
    start = anywhere(200, 3)
    u, _ = project(Shell(), start)
    a, b = start - 0.5, u - 0.5
    away = np.linalg.norm(a, axis=1) > 0.05
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine[away].min() > 0.999


def test_points_inside_stay_where_they_are():
    u = project(Shell(), anywhere(100, 3))[0]
    assert project(Shell(), u)[0].tobytes() == u.tobytes()


@pytest.mark.parametrize("n_steps", [0, 1, 3])
def test_more_steps_never_lose(n_steps):
    start = anywhere(100, 4)
    fewer, more = project(Shell(), start, n_steps)[1], project(Shell(), start, n_steps + 1)[1]
    assert (more <= fewer).all()


def test_projection_knows_where_the_physics_refuses():
    u, total = project(Shell(half=True), anywhere(300, 3))
    good = total < 2.0
    assert good.mean() > 0.8
    assert (u[good, 0] < 0.5).all()


def test_what_is_invalid_is_worse_than_the_threshold():
    u = anywhere(300, 3)
    total = violation(Shell(half=True).geometry(u), 2.0)
    assert (total[u[:, 0] > 0.5] > 2.0).all()
    np.testing.assert_allclose(total[u[:, 0] <= 0.5], violation(Shell().geometry(u), 2.0)[u[:, 0] <= 0.5])


@pytest.mark.parametrize("size", [0.0, 0.01, 0.1, 2.0])
def test_nothing_is_moved_beyond_its_reach(size):
    start, reach = anywhere(200, 3), np.full(200, size)
    u, total = project(Shell(), start, reach=reach)
    assert (np.abs(u - start).max(axis=1) <= reach + 1e-12).all()
    free, least = project(Shell(), start)
    assert (total >= least - 1e-9).mean() > 0.9
    if size == 2.0:
        assert u.tobytes() == free.tobytes()



@pytest.mark.parametrize("n_params", [2, 3, 6])
def test_a_walk_stays_inside(n_params):
    start = project(Shell(), anywhere(60, n_params))[0]
    start = start[inside(start)]
    u = walk(Shell(), start, 8, np.random.default_rng(1))
    assert len(u) == 4 * len(start)
    assert inside(u, 2.0 * math.sqrt(OPTIMISM)).all()
    assert 0.5 < inside(u).mean() < 1.0  # half of the walks look at what lies just beyond
    assert ((u >= 0) & (u <= 1)).all()


def test_a_walk_respects_what_the_physics_refuses():
    shell = Shell(half=True)
    start, total = project(shell, anywhere(200, 2))
    u = walk(shell, start[total < 2.0], 8, np.random.default_rng(1))
    assert (u[:, 0] < 0.5).all()
    assert inside(u, 2.0 * math.sqrt(OPTIMISM)).all()


@pytest.mark.parametrize("n_params", [2, 4])
def test_a_walk_from_one_point_spreads_over_the_whole_shell(n_params):
    """Every place of the shell has a point of the cloud near it, though the shell is thin."""
    start = np.full((40, n_params), 0.5)
    start[:, 0] += RADIUS
    u = walk(Shell(), start, 30, np.random.default_rng(1))
    z = np.random.default_rng(2).standard_normal((500, n_params))
    places = 0.5 + RADIUS * z / np.linalg.norm(z, axis=1, keepdims=True)
    nearest = np.min(np.linalg.norm(places[:, None] - u[None], axis=2), axis=1)
    assert np.quantile(nearest, 0.95) < (0.05 if n_params == 2 else 0.15)
    assert len(np.unique(u, axis=0)) > 0.7 * len(u)  # hardly a move is refused
    assert 0.2 < inside(u, 1.0).mean() < 0.95  # across its width, too
    assert 0.1 < (np.linalg.norm(u - 0.5, axis=1) < RADIUS).mean() < 0.9


def test_walks_outside_come_nearer_or_stay():
    start = anywhere(100, 3)
    before = violation(Shell().geometry(start), 2.0)
    after = violation(Shell().geometry(walk(Shell(), start, 1, np.random.default_rng(0))), 2.0)
    assert (after <= np.maximum(before, 2.0 * OPTIMISM) * (1 + 1e-9)).all()
    assert (after < before).any()


def test_the_same_seed_walks_the_same_way():
    start = project(Shell(), anywhere(30, 3))[0]
    a, b, c = (walk(Shell(), start, 4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert a.tobytes() == b.tobytes() != c.tobytes()


@pytest.mark.parametrize("excess", [math.inf, 0.0, -3.0, 1e-300, 1e300])
def test_thresholds_that_all_or_no_points_meet(excess):
    for shell in (Shell(excess), Shell(excess, half=True)):
        u, _ = project(shell, anywhere(50, 3))
        cloud = walk(shell, u, 4, np.random.default_rng(0))
        assert ((cloud >= 0) & (cloud <= 1)).all()
        assert ((u >= 0) & (u <= 1)).all()


def test_where_nothing_changes_nothing_moves():
    flat = replace(Shell().geometry(anywhere(5, 3)), jacobian=np.zeros((5, 1, 3)))
    np.testing.assert_array_equal(newton_step(flat, 2.0, np.full(5, 0.5)), 0.0)


def test_no_points_no_cloud():
    none = np.empty((0, 3))
    assert project(Shell(), none)[0].shape == (0, 3)
    assert walk(Shell(), none, 4, np.random.default_rng(0)).shape == (0, 3)
    assert walk(Shell(), anywhere(3, 3), 0, np.random.default_rng(0)).shape == (3, 3)


# ---- evening out


@dataclass(frozen=True)
class Ball:
    """A surrogate that takes the ball of radius 0.3 around the middle of the cube for good, but for a slice of it."""

    threshold: float = 0.3

    def score(self, u):
        """As of `Emulator`."""
        r = np.linalg.norm(u - 0.5, axis=1)
        return np.where(np.abs(u[:, 0] - 0.5) < 0.02, 9.0, r)

    def inside(self, u):
        """As of `Emulator`."""
        return self.score(u) < self.threshold


def test_stirred_points_stay_inside_and_others_where_they_are():
    u = anywhere(300, 3)
    new, within = stir(Ball(), u, 5, np.random.default_rng(1)), Ball().inside(u)
    assert Ball().inside(new[within]).all()
    assert not (new[within] == u[within]).all()
    np.testing.assert_array_equal(new[~within], u[~within])


def test_stirring_makes_the_density_even():
    """Points on the surface of a ball become points of all its volume, where half lie within 0.24 of the middle."""
    direction = np.random.default_rng(0).standard_normal((600, 3))
    u = 0.5 + 0.29 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    before, after = u, stir(Ball(), u, 60, np.random.default_rng(1))
    share = [np.mean(np.linalg.norm(cloud - 0.5, axis=1) < 0.3 * 0.5 ** (1 / 3)) for cloud in (before, after)]
    assert share[0] < 0.05
    assert 0.4 < share[1] < 0.56


def test_a_few_points_are_not_stirred():
    u = np.full((4, 3), 0.3) + 0.2 * anywhere(4, 3)
    np.testing.assert_array_equal(stir(Ball(), u, 5, np.random.default_rng(1)), u)
