"""Samplers: random and quasi-random points of a parameter space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raydnnr.space import ParameterSpace

Array = NDArray[np.float64]


def generate_param_points(inputs: ParameterSpace, num_points: int, rng: np.random.Generator | None = None) -> Array:
    """Points drawn from the priors.

    Args:
        inputs: The parameter space.
        num_points: N.
        rng: Source of randomness; a new one, from the operating system, if None.

    Returns:
        Shape (N, P), physical units.
    """
    rng = rng or np.random.default_rng()
    return inputs.from_unit_cube(rng.random((num_points, inputs.n_params)))


def sobol_points(inputs: ParameterSpace, start: int, num_points: int, seed: int) -> Array:
    """Points ``start`` to ``start + num_points`` of the scrambled Sobol sequence, through the priors.

    Point number i depends on the seed alone, not on how the sequence is cut into rounds.

    Returns:
        Shape (N, P), physical units.
    """
    from scipy.stats.qmc import Sobol  # scipy.stats takes a second to load

    sequence = Sobol(inputs.n_params, scramble=True, rng=np.random.default_rng([seed, 0x50B01]))
    if start:
        sequence.fast_forward(start)
    # the cut avoids scipy's warning on sizes that are no power of two: balance is that of the whole sequence
    u = np.concatenate([sequence.random(n) for n in _powers_of_two(num_points)]) if num_points else np.empty((0, 1))
    return inputs.from_unit_cube(u.reshape(num_points, inputs.n_params))


def _powers_of_two(n: int) -> list[int]:
    """``n`` as a sum of powers of two, largest first."""
    return [1 << k for k in range(n.bit_length() - 1, -1, -1) if n >> k & 1]
