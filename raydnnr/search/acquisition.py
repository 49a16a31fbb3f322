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


def expected_coverage_gain(
    candidates: NDArray[np.float64], probability: NDArray[np.float64], known: NDArray[np.float64], n_points: int
) -> NDArray[np.intp]:
    r"""Candidates that bring good points closest to the whole good region.

    The candidates stand for the good region, each with the weight of its probability to be good; :math:`d_j` is the
    distance of candidate j to the nearest known (good or pending) point. One after the other, the candidate of the
    highest expected gain

    .. math:: P_c \sum_j P_j \max(0, d_j - |u_c - u_j|)

    is chosen and counts as known from then on: the greedy solution of the k-median problem, at least 63 % of the best
    (Nemhauser, Wolsey and Fisher 1978).

    Args:
        candidates: Shape (C, P), unit cube.
        probability: Shape (C,).
        known: Shape (N, P), N >= 1.
        n_points: How many to pick, C at most.

    Returns:
        Their indices, in the order in which they were chosen.
    """
    if not len(candidates):
        return np.empty(0, np.intp)
    between = _distances(candidates, candidates)
    nearest = np.concatenate([_distances(block, known).min(axis=1) for block in _blocks(candidates)])
    weight, chance = probability.astype(np.float32), probability.astype(np.float32)
    chosen = []
    for _ in range(min(n_points, len(candidates))):
        gain = chance * (np.maximum(nearest[None, :] - between, 0.0) @ weight)
        gain[chance < 0] = -1.0
        best = int(np.argmax(gain))
        chosen.append(best)
        chance[best] = -1.0
        nearest = np.minimum(nearest, between[best])
    return np.array(chosen, np.intp)


def farthest_good(
    candidates: NDArray[np.float64], probability: NDArray[np.float64], known: NDArray[np.float64], n_points: int
) -> NDArray[np.intp]:
    """Candidates of the highest probability cubed times distance to what is known or chosen; arguments as above."""
    if not len(candidates):
        return np.empty(0, np.intp)
    nearest = np.concatenate([_distances(block, known).min(axis=1) for block in _blocks(candidates)])
    chosen: list[int] = []
    for _ in range(min(n_points, len(candidates))):
        value = probability**3 * nearest
        value[chosen] = -1.0
        best = int(np.argmax(value))
        chosen.append(best)
        nearest = np.minimum(nearest, _distances(candidates, candidates[best : best + 1])[:, 0])
    return np.array(chosen, np.intp)


def most_probable(
    candidates: NDArray[np.float64], probability: NDArray[np.float64], known: NDArray[np.float64], n_points: int
) -> NDArray[np.intp]:
    """Candidates of the highest probability to be good, wherever they are; arguments as above."""
    return np.argsort(-probability, kind="stable")[:n_points]


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float32]:
    """Euclidean distances (A, B)."""
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    distances: NDArray[np.float32] = np.sqrt(np.maximum(squared, 0.0)).astype(np.float32)
    return distances


def _blocks(candidates: NDArray[np.float64], size: int = 256) -> list[NDArray[np.float64]]:
    return [candidates[k : k + size] for k in range(0, len(candidates), size)]


ACQUISITIONS = {"coverage": expected_coverage_gain, "farthest": farthest_good, "probability": most_probable}
