"""Random and quasi-random points of any parameter space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.search.samplers import generate_param_points, sobol_points
from raydnnr.space import Parameter, ParameterSpace
from tests.unit.strategies import seeds, spaces

SQUARE = ParameterSpace((Parameter.of("x", low=0, high=1), Parameter.of("y", low=1, high=100, prior="log")))


@given(spaces(), seeds, st.integers(0, 70))
def test_points_lie_in_the_space_and_follow_from_the_seed(space, seed, n):
    for draw in (lambda: generate_param_points(space, n, np.random.default_rng(seed)),
                 lambda: sobol_points(space, 0, n, seed)):
        x = draw()
        assert x.shape == (n, space.n_params)
        assert space.contains(x).all()
        assert x.tobytes() == draw().tobytes()


@given(seeds, st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_a_sobol_point_does_not_depend_on_how_the_sequence_is_cut(seed, sizes):
    whole = sobol_points(SQUARE, 0, sum(sizes), seed)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    parts = [sobol_points(SQUARE, int(start), n, seed) for start, n in zip(starts, sizes, strict=False)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_other_seeds_give_other_points():
    assert not np.isin(sobol_points(SQUARE, 0, 64, 1), sobol_points(SQUARE, 0, 64, 2)).any()
    a, b = (generate_param_points(SQUARE, 64, np.random.default_rng(seed)) for seed in (1, 2))
    assert not np.isin(a, b).any()


def test_without_a_generator_points_differ_from_call_to_call():
    assert not np.isin(generate_param_points(SQUARE, 8), generate_param_points(SQUARE, 8)).any()


def test_sobol_points_do_not_repeat():
    assert len(np.unique(sobol_points(SQUARE, 0, 4096, 0), axis=0)) == 4096


@pytest.mark.parametrize("draw", [lambda n: sobol_points(SQUARE, 0, n, 3),
                                  lambda n: generate_param_points(SQUARE, n, np.random.default_rng(3))])
def test_points_follow_the_priors(draw):
    """As many points in each tenth of a prior as its measure says, to five standard deviations of a random draw."""
    u = SQUARE.to_unit_cube(draw(4096))
    for column in u.T:
        counts = np.histogram(column, bins=10, range=(0, 1))[0]
        np.testing.assert_allclose(counts, 409.6, atol=5 * np.sqrt(409.6 * 0.9))


def test_sobol_points_are_spread_more_evenly_than_random_ones():
    counts = np.histogram(SQUARE.to_unit_cube(sobol_points(SQUARE, 0, 4096, 3))[:, 0], bins=16, range=(0, 1))[0]
    assert counts.min() == counts.max() == 256
