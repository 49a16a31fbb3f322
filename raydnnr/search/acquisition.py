"""Acquisition: which of the candidates deserve physics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
    candidates: NDArray[np.float64], probability: NDArray[np.float64], known: NDArray[np.float64], n_points: int,
    caution: float = 1.0,
) -> NDArray[np.intp]:
    r"""Candidates that bring good points closest to the whole good region.

    The candidates stand for the good region, each with the weight of its probability to be good; :math:`d_j` is the
    distance of candidate j to the nearest known (good or pending) point. One after the other, the candidate of the
    highest expected gain

    .. math:: P_c^a \sum_j P_j \max(0, d_j - |u_c - u_j|)

    is chosen and counts as known from then on: for a = 1 the greedy solution of the k-median problem, at least 63 % of
    the best (Nemhauser, Wolsey and Fisher 1978). A larger a has fewer points in vain, and looks less far.

    Args:
        candidates: Shape (C, P), unit cube.
        probability: Shape (C,).
        known: Shape (N, P), N >= 1.
        n_points: How many to pick, C at most.
        caution: The power a.

    Returns:
        Their indices, in the order in which they were chosen.
    """
    sure, weight = (probability**caution).astype(np.float32), probability.astype(np.float32)
    return _one_by_one(candidates, known, n_points, [lambda nearest, between: sure * _gain(nearest, between, weight)])


def farthest_good(
    candidates: NDArray[np.float64], probability: NDArray[np.float64], known: NDArray[np.float64], n_points: int
) -> NDArray[np.intp]:
    """Candidates of the highest probability cubed times distance to what is known or chosen; arguments as above."""
    return _one_by_one(candidates, known, n_points, [lambda nearest, between: probability**3 * nearest])


def rim_and_middle(
    candidates: NDArray[np.float64], probability: NDArray[np.float64], known: NDArray[np.float64], n_points: int
) -> NDArray[np.intp]:
    """In turn a candidate as by `farthest_good`, and one of the highest gain times its probability cubed; arguments as
    above.

    The farthest points lie at the rim of the region, where they show how far it reaches, and in corners of parameters
    that say nothing; the others cover the middle of what is large.
    """
    sure, weight = (probability**3).astype(np.float32), probability.astype(np.float32)
    return _one_by_one(candidates, known, n_points, [lambda nearest, between: sure * nearest,
                                                     lambda nearest, between: sure * _gain(nearest, between, weight)])


def most_probable(
    candidates: NDArray[np.float64], probability: NDArray[np.float64], known: NDArray[np.float64], n_points: int
) -> NDArray[np.intp]:
    """Candidates of the highest probability to be good, wherever they are; arguments as above."""
    return np.argsort(-probability, kind="stable")[:n_points]


def _one_by_one(candidates: NDArray[np.float64], known: NDArray[np.float64], n_points: int,
                values: Sequence[Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.floating[Any]]]],
                ) -> NDArray[np.intp]:
    """Picks (n,) of the highest value, each of which counts as known for the next one.

    Args:
        candidates: Shape (C, P).
        known: Shape (N, P), N >= 1.
        n_points: How many to pick, C at most.
        values: Value of each candidate (C,), from its distance to the nearest known point (C,) and those between
            candidates (C, C); of several, each has its turn.
    """
    if not len(candidates):
        return np.empty(0, np.intp)
    between = _distances(candidates, candidates)
    nearest = np.concatenate([_distances(block, known).min(axis=1) for block in _blocks(candidates)])
    chosen: list[int] = []
    for k in range(min(n_points, len(candidates))):
        value = values[k % len(values)](nearest, between)
        value[chosen] = -1.0
        chosen.append(int(np.argmax(value)))
        nearest = np.minimum(nearest, between[chosen[-1]])
    return np.array(chosen, np.intp)


def _gain(nearest: NDArray[np.float32], between: NDArray[np.float32], weight: NDArray[np.float32],
          ) -> NDArray[np.float32]:
    """By how much each candidate (C,) brings known points closer to all of them, weighted."""
    gain: NDArray[np.float32] = np.maximum(nearest[None, :] - between, 0.0) @ weight
    return gain


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float32]:
    """Euclidean distances (A, B)."""
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    distances: NDArray[np.float32] = np.sqrt(np.maximum(squared, 0.0)).astype(np.float32)
    return distances


def _blocks(candidates: NDArray[np.float64], size: int = 256) -> list[NDArray[np.float64]]:
    return [candidates[k : k + size] for k in range(0, len(candidates), size)]


ACQUISITIONS = {"coverage": expected_coverage_gain, "farthest": farthest_good, "rim and middle": rim_and_middle,
                "probability": most_probable}
