"""Subset simulation: the probability of a region too rare to be hit, as a product of probabilities that are not.

The region ``NLL < threshold`` is approached through levels of the NLL, each passed by a tenth of the points of the one
before; the points that pass are the seeds of Markov chains that fill it up again.

References:
    S. K. Au and J. L. Beck, Probabilistic Engineering Mechanics 16 (2001) 263. The chains move in the space of
    standard normal variables with fixed correlation (Papaioannou et al., ibid. 41 (2015) 89, section 4.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]

PASS = 0.1  # share of points that pass a level
WANTED_ACCEPTANCE = 0.44


@dataclass(frozen=True)
class Subset:
    """``probability`` of the region, points ``u`` in it (uniform, but correlated), and ``evaluations`` spent."""

    probability: float
    u: Array
    evaluations: int


def subset_simulation(nll: Callable[[Array], Array], n_params: int, threshold: float, rng: np.random.Generator, *,
                      n_points: int = 2000, max_levels: int = 20) -> Subset:
    """Probability that a uniform point of the unit cube has ``nll < threshold``.

    Args:
        nll: Of points (N, P) of the unit cube; NaN is outside of every level.
        n_params: P.
        threshold: Of the region.
        rng: For all draws.
        n_points: Per level. The estimate scatters by about ``sqrt(levels / (PASS n_points) * 3)``: run it repeatedly.
        max_levels: A region below ``PASS ** max_levels`` counts as empty.

    Returns:
        The estimate; probability 0 and no points where the region was not reached.

    Example:
        A corner with a volume of 1e-6.

        >>> corner = lambda u: u.max(axis=1)
        >>> rng = np.random.default_rng(1)
        >>> found = [subset_simulation(corner, 3, 0.01, rng).probability for _ in range(5)]
        >>> bool(3e-7 < np.median(found) < 3e-6)
        True
    """
    u = rng.random((n_points, n_params))
    values = _finite(nll(u))
    probability, evaluations = 1.0, n_points
    for _ in range(max_levels):
        level = float(np.sort(values)[int(PASS * n_points)])
        if level <= threshold:
            inside = values < threshold
            return Subset(probability * float(inside.mean()), u[inside], evaluations)
        passed = values < level
        probability *= float(passed.mean())
        if not passed.any():
            break
        u, values, spent = _refill(nll, u[passed], values[passed], level, n_points, rng)
        evaluations += spent
    return Subset(0.0, np.empty((0, n_params)), evaluations)


def _refill(nll: Callable[[Array], Array], seeds: Array, values: Array, level: float, n_points: int,
            rng: np.random.Generator) -> tuple[Array, Array, int]:
    """Chains from the seeds, all at once, until there are ``n_points`` below ``level``; the step adapts."""
    z, chain_u, chain_values = ndtri(np.clip(seeds, 1e-15, 1 - 1e-15)), [seeds], [values]
    step, spent = 0.6, 0
    while sum(map(len, chain_u)) < n_points:
        proposed = np.sqrt(1.0 - step**2) * z + step * rng.normal(size=z.shape)
        u = ndtr(proposed)
        new = _finite(nll(u))
        accept = new < level
        z = np.where(accept[:, None], proposed, z)
        values = np.where(accept, new, values)
        spent += len(z)
        chain_u.append(ndtr(z))
        chain_values.append(values)
        step = float(np.clip(step * np.exp(accept.mean() - WANTED_ACCEPTANCE), 1e-4, 0.999))
    return np.concatenate(chain_u)[:n_points], np.concatenate(chain_values)[:n_points], spent


def _finite(values: Array) -> Array:
    return np.where(np.isnan(values), np.inf, values)
