"""coverage: estimates against regions of known size, laws of permutation, and what there is to say of nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydnnr import coverage as module
from raydnnr.coverage import FEWEST, Coverage, Regions, Survey, coverage, coverage_gain, n_regions, rung, survey

SEEDS = st.integers(0, 2**32 - 1)
DIMENSIONS = st.integers(1, 12)


def box(n, d, rng):
    """Half the width of the cube."""
    return 0.5 * rng.random((n, d))


def ball(n, d, rng):
    """Of radius 0.3 in the middle."""
    x = rng.normal(size=(n, d))
    return 0.5 + 0.3 * x / np.linalg.norm(x, axis=1, keepdims=True) * rng.random((n, 1)) ** (1 / d)


def islands(n, d, rng):
    """Two boxes, the small one with a fifth of the points."""
    small = rng.random(n) < 0.2
    return np.where(small[:, None], 0.2 * rng.random((n, d)), 0.7 + 0.3 * rng.random((n, d)))


def covered(u, region, d, radius, rng):
    """The share of a region that truly lies within the radius of a point."""
    probes = region(1000, d, rng)
    squares = np.square(probes[:, None] - u[None]).sum(axis=2)
    return float((squares.min(axis=1) <= radius**2).mean())


@pytest.mark.parametrize("region", [box, ball, islands])
@pytest.mark.parametrize("d", [1, 2, 4])
@pytest.mark.parametrize("n", [100, 400, 1000])
def test_the_share_of_a_region_that_even_points_cover_is_estimated(region, d, n):
    rng = np.random.default_rng([n, d])
    u = region(n, d, rng)
    found = coverage(u)
    assert found.share == pytest.approx(covered(u, region, d, found.radius, rng), abs=0.11)
    assert found.share == pytest.approx(1 - 0.1 ** (n / 1000), abs=0.10)


@pytest.mark.parametrize("d", [8, 12])
@pytest.mark.parametrize("n", [100, 1000])
def test_more_dimensions_cost_some_of_the_truth(n, d):
    """At the faces of a box of many dimensions points have few neighbours: the estimate is low, never high."""
    rng = np.random.default_rng([n, d])
    u = box(n, d, rng)
    found = coverage(u)
    assert -0.2 < found.share - covered(u, box, d, found.radius, rng) < 0.02


def test_the_radius_is_that_of_a_thousand_even_points_and_stays_while_points_are_added():
    rng = np.random.default_rng(2)
    radii = [coverage(ball(n, 4, rng)).radius for n in (200, 1000, 3000, 6000)]
    ideal, probes = ball(1000, 4, rng), ball(1000, 4, rng)
    nearest = np.sqrt(np.square(probes[:, None] - ideal[None]).sum(axis=2).min(axis=1))
    np.testing.assert_allclose(radii, np.quantile(nearest, 0.9), rtol=0.08)


def test_a_crowd_in_a_corner_is_not_coverage():
    """Good and Turing's share would be near 1 for it: half the points lie in a thousandth of the volume."""
    rng = np.random.default_rng(3)
    u = np.concatenate([box(300, 3, rng), 0.05 * rng.random((700, 3))])
    found = coverage(u)
    assert found.share == pytest.approx(covered(u, box, 3, found.radius, rng), abs=0.08)
    assert found.share < 0.6


def test_the_error_is_about_what_the_estimate_misses_the_truth_by():
    misses, claimed = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        u = box(300, 3, rng)
        found = coverage(u)
        misses.append(found.share - covered(u, box, 3, found.radius, rng))
        claimed.append(found.error)
    assert np.sqrt(np.mean(np.square(misses))) / 2 < np.mean(claimed) < 3 * np.sqrt(np.mean(np.square(misses)))


def test_the_dimension_is_that_of_the_region_not_of_the_cube():
    angle = 2 * np.pi * np.random.default_rng(4).random(500)
    ring = np.column_stack([0.5 + 0.3 * np.cos(angle), 0.5 + 0.3 * np.sin(angle), np.full(500, 0.5)])
    assert coverage(ring).dimension == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("region", [box, ball, islands])
def test_the_gain_of_even_points_is_what_was_not_covered(region):
    rng = np.random.default_rng(5)
    u = region(1250, 3, rng)
    found = coverage(u)
    assert coverage_gain(u) == pytest.approx(1 - covered(u[:1000], region, 3, found.radius, rng), abs=0.07)
    assert coverage_gain(region(4000, 3, rng)) < 0.02


def test_a_new_region_is_a_gain_and_an_old_one_is_none():
    rng = np.random.default_rng(6)
    old, new = box(2000, 3, rng), 0.9 + 0.1 * rng.random((400, 3))
    assert coverage_gain(np.concatenate([old, new]), radius=0.001) > 0.9
    assert coverage_gain(np.concatenate([old, old[:500]]), radius=0.001) == 0
    assert coverage_gain(np.concatenate([old, new[:1].repeat(500, axis=0)]), radius=0.001) == pytest.approx(1 / 500)


@given(st.integers(51, 300), DIMENSIONS, st.floats(0, 2), SEEDS)
@settings(max_examples=40, deadline=None)
def test_the_gain_is_what_its_definition_says(n, d, radius, seed):
    u = np.random.default_rng(seed).random((n, d)).round(1)  # some points are equal
    n_new = max(50, int(0.2 * n))
    far = [np.square(u[:i] - u[i]).sum(axis=1).min() > radius**2 + 1e-12 for i in range(n - n_new, n)]
    near = [np.square(u[:i] - u[i]).sum(axis=1).min() > radius**2 - 1e-12 for i in range(n - n_new, n)]
    assert np.mean(far) <= coverage_gain(u, radius) <= np.mean(near)


def test_many_points_are_looked_at_by_blocks_with_the_same_answer(monkeypatch):
    u = np.random.default_rng(7).random((1500, 4))
    whole = survey(u)
    monkeypatch.setattr(module, "BLOCK", 70)
    assert survey(u) == whole


@pytest.mark.parametrize(("n", "d", "count"), [(120, 2, 2), (1000, 2, 2), (1000, 6, 2), (5000, 3, 2)])
def test_islands_are_counted(n, d, count):
    found = n_regions(islands(n, d, np.random.default_rng(8)))
    assert found.count == count
    assert found.effective == pytest.approx(math.exp(-0.2 * math.log(0.2) - 0.8 * math.log(0.8)), abs=0.15)


@pytest.mark.parametrize("region", [box, ball])
@pytest.mark.parametrize("d", [2, 4, 8])
@pytest.mark.parametrize("n", [30, 300, 3000])
def test_one_region_is_one(region, d, n):
    assert n_regions(region(n, d, np.random.default_rng([n, d]))).effective < 1.2


def test_a_crowd_in_a_region_is_not_a_region():
    rng = np.random.default_rng(9)
    assert n_regions(np.concatenate([box(500, 3, rng), 0.05 * rng.random((500, 3))])).effective < 1.1


def test_a_region_counts_from_four_points_on():
    rng = np.random.default_rng(10)
    few = 0.9 + 0.01 * rng.random((4, 2))
    assert n_regions(np.concatenate([box(200, 2, rng), few])).count == 2
    assert n_regions(np.concatenate([box(200, 2, rng), few[:2]])).count == 1


@given(st.integers(FEWEST, 200), DIMENSIONS, SEEDS)
@settings(max_examples=30, deadline=None)
def test_neither_order_nor_repetition_nor_nan_changes_coverage_and_regions(n, d, seed):
    rng = np.random.default_rng(seed)
    u = rng.random((n, d))
    again = np.concatenate([u, u[: n // 2], np.full((3, d), np.nan)])[rng.permutation(n + n // 2 + 3)]
    assert coverage(again) == coverage(u)
    assert n_regions(again) == n_regions(u)


@given(st.integers(0, 200), DIMENSIONS, SEEDS, st.sampled_from([1e-6, 0.01, 1.0]))
@settings(max_examples=40, deadline=None)
def test_numbers_stay_in_their_bounds(n, d, seed, width):
    found = survey(width * np.random.default_rng(seed).random((n, d)))
    if n >= FEWEST:
        assert 0 <= found.coverage.share <= 1 and found.coverage.error >= 0 and found.coverage.radius > 0
        assert 1 <= found.coverage.dimension <= d
        assert 1 <= found.regions.effective <= found.regions.count + 1e-9
    assert not found.gain < 0 and not found.gain > 1


@given(st.sampled_from([1e-5, 1e-3, 0.1]), DIMENSIONS, SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_tiny_region_is_covered_as_a_large_one(width, d, seed):
    u = np.random.default_rng(seed).random((150, d))
    large, tiny = survey(u), survey(0.7 + width * u)
    assert tiny.coverage.share == pytest.approx(large.coverage.share, abs=0.01)
    assert tiny.coverage.radius == pytest.approx(width * large.coverage.radius, rel=0.01)
    assert tiny.gain == pytest.approx(large.gain, abs=0.03) and tiny.regions == large.regions


@pytest.mark.parametrize("u", [np.empty((0, 3)), np.full((100, 3), np.nan)])
def test_of_nothing_nothing_is_known(u):
    assert math.isnan(coverage(u).share) and math.isnan(coverage_gain(u)) and n_regions(u).count == 0
    assert math.isnan(survey(u).gain) and math.isnan(n_regions(u).effective)


@pytest.mark.parametrize("u", [np.full((1, 3), 0.5), np.full((500, 3), 0.5)])
def test_one_point_is_one_region_of_unknown_size(u):
    assert n_regions(u) == Regions(1, 1.0)
    assert math.isnan(coverage(u).share) and math.isnan(coverage_gain(u))


def test_a_survey_is_all_of_it():
    u = islands(400, 2, np.random.default_rng(11))
    assert survey(u) == Survey(400, coverage(u), coverage_gain(u), n_regions(u))
    assert Survey().coverage == Coverage() or math.isnan(Coverage().share)


@given(st.integers(0, 10**6))
def test_surveys_are_made_at_fixed_numbers_some_per_cent_apart(n):
    assert rung(n) <= n and rung(rung(n)) == rung(n)
    assert n < FEWEST or n < 1.1 * rung(n) + 1
