"""Acquisition: which of the candidates deserve physics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def lowest_predicted(nll_predicted: NDArray[np.float64], n_points: int) -> NDArray[np.intp]:
    """Candidates with the lowest predicted NLL.

    Args:
        nll_predicted: Shape (C,); NaN counts as the highest.
        n_points: How many to pick, C at most.

    Returns:
        Their indices, best first; equal predictions in the order of the candidates.

    Example:
        >>> lowest_predicted(np.array([3.0, 1.0, np.nan, 2.0]), 2).tolist()
        [1, 3]
    """
    return np.argsort(nll_predicted, kind="stable")[:n_points]


def distinct_from(x: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows of ``x`` (C, P) are neither rows of ``known`` (N, P) nor repeated; the first of equals stays."""
    seen = {row.tobytes() for row in np.ascontiguousarray(known)}
    fresh = np.zeros(len(x), dtype=bool)
    for k, row in enumerate(np.ascontiguousarray(x)):
        key = row.tobytes()
        fresh[k] = key not in seen
        seen.add(key)
    return fresh
