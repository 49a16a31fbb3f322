"""Subsets: which rows a Gaussian process learns from, whose cost grows with the cube of them.

Shapes: **N** rows, **P** parameters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]


def conditioning_rows(nll: Array, threshold: float, rng: np.random.Generator, n_rows: int) -> Index:
    """Rows that a model is conditioned on: half good ones, a quarter the best of the others, a quarter any of the rest.

    Args:
        nll: Of the rows (N,).
        threshold: Good is below.
        rng: Draws them.
        n_rows: How many; all rows where there are not more.
    """
    if len(nll) <= n_rows:
        return np.arange(len(nll))
    order = np.argsort(nll, kind="stable")
    n_good = int((nll < threshold).sum())
    good, others = order[:n_good], order[n_good:]
    good = rng.permutation(good)[: max(n_rows // 2, n_rows - len(others))]
    near, rest = np.split(others, [min(len(others), (n_rows - len(good)) // 2)])
    rest = rng.permutation(rest)[: n_rows - len(good) - len(near)]
    return np.sort(np.concatenate([good, near, rest]))


def telling_rows(u: Array, nll: Array, threshold: float, rng: np.random.Generator, n_rows: int) -> Index:
    """Rows that lengths are learned from: a third good ones, spread over the whole good region, and any of the others.

    The best rows alone crowd where little varies, and make a target look smoother than it is elsewhere.

    Args:
        u: Rows (N, P).
        nll: Of the rows (N,).
        threshold: Good is below; where good rows are few, the best of the others stand in for them.
        rng: Draws them.
        n_rows: How many; all rows where there are not more.
    """
    order = np.argsort(nll, kind="stable")
    if len(order) <= n_rows:
        return order
    n_best = max(n_rows // 3, int((nll < threshold).sum()))
    others = rng.permutation(order[n_best:])[: n_rows - n_rows // 3]
    best = order[:n_best]
    return np.concatenate([best[spread(u[best], n_rows - len(others))], others])


def spread(u: Array, n: int) -> Index:
    """``n`` of the points (N, P), the first and then always the one farthest from those chosen.

    Example:
        >>> spread(np.array([[0.0], [0.1], [1.0], [0.4]]), 3).tolist()
        [0, 2, 3]
    """
    chosen = np.zeros(min(n, len(u)), dtype=np.intp)
    distance = np.full(len(u), np.inf)
    for k in range(1, len(chosen)):
        distance = np.minimum(distance, ((u - u[chosen[k - 1]]) ** 2).sum(axis=1))
        chosen[k] = np.argmax(distance)
    return chosen
