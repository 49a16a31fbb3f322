"""Bandit: how many points each source may propose, by the new coverage per evaluation that it brought lately.

A good point is worth the distance to the nearest good point known before its round, in units of the median distance
between neighbouring good points, `MOST_WORTH` at most: a point beside another one brings little, a new island much.
While there are fewer than `FEW_GOOD` good points, a point is worth 1 that clearly belongs to the best ones known by
then: crawling along the floor of a valley is worth nothing.
Recent rounds count more; every source keeps a floor, so that none is ever forgotten (a non-stationary bandit with
discounting, arXiv:0805.3415).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HALF_LIFE = 200  # evaluations after which an outcome counts half
WINDOW = 1000  # evaluations that are looked at
MOST_WORTH = 3.0  # of a good point, however far from others
MAX_KNOWN = 5000  # good points that distances are measured to
SHARPNESS = 2.0  # shares grow like this power of the worth per evaluation
FEW_GOOD = 6
N_BEST = 10  # that a point must belong to, clearly
PROGRESS = 0.95  # a violation below this share of another one is clearly lower
FIRST_GUESS = (0.5, 1.0)  # worth and evaluations that every source starts with


@dataclass(frozen=True)
class History:
    """Finished rows in the order of their ids: unit cube (N, P), violation, whether good, round, and source, each (N,).
    """

    u: Array
    violation: Array
    good: NDArray[np.bool_]
    iteration: NDArray[np.int32]
    origin: NDArray[np.object_]


def worth(history: History) -> Array:
    """Worth (n,) of the last `WINDOW` rows."""
    first = max(0, len(history.u) - WINDOW)
    value = np.zeros(len(history.u) - first)
    for iteration in np.unique(history.iteration[first:]):
        before = history.iteration < iteration
        rows = first + np.flatnonzero(history.iteration[first:] == iteration)
        good = rows[history.good[rows]]
        known = history.u[before & history.good][-MAX_KNOWN:]
        if len(good):
            value[good - first] = _novelty(history.u[good], known)
        if len(known) < FEW_GOOD and before.sum() > N_BEST:
            bar = np.partition(history.violation[before], N_BEST)[N_BEST]
            value[rows - first] = np.maximum(value[rows - first], history.violation[rows] < PROGRESS * bar)
    return value


def _novelty(u: Array, known: Array) -> Array:
    """Distance of new good points to known ones, in units of the median distance between neighbours among these, up to
    `MOST_WORTH`.
    """
    from scipy.spatial import cKDTree

    if len(known) < FEW_GOOD:
        return np.ones(len(u))
    tree = cKDTree(known)
    typical = float(np.median(tree.query(known, k=2)[0][:, 1]))
    distance = tree.query(u)[0]
    novelty: Array = np.minimum(distance / max(typical, 1e-9), MOST_WORTH)
    return novelty


def shares(history: History, floors: Mapping[str, float]) -> dict[str, float]:
    """Share of the next round for each source; the sum is 1.

    Args:
        history: Of the scan.
        floors: The least share of each source, by its word in the column ``origin``.

    Example:
        >>> none = np.empty(0)
        >>> empty = History(np.empty((0, 2)), none, none.astype(bool), none.astype(np.int32), none.astype(object))
        >>> shares(empty, {"explore": 0.1, "region": 0.1})
        {'explore': 0.5, 'region': 0.5}
    """
    value = worth(history)
    first = len(history.u) - len(value)
    discount = 0.5 ** ((len(value) - 1.0 - np.arange(len(value))) / HALF_LIFE)
    origins = np.asarray(history.origin[first:], dtype=object)
    power = {}
    for word in floors:
        own = origins == word
        total, n = FIRST_GUESS[0] + (value * discount)[own].sum(), FIRST_GUESS[1] + discount[own].sum()
        power[word] = (total / n) ** SHARPNESS
    free = max(0.0, 1.0 - sum(floors.values()))
    everything = sum(power.values())
    return {word: floor + free * float(power[word] / everything) for word, floor in floors.items()}


def whole_numbers(parts: Mapping[str, float], n: int) -> dict[str, int]:
    """``n`` points by their shares, by the largest remainders.

    Example:
        >>> whole_numbers({"a": 0.5, "b": 0.3, "c": 0.2}, 11)
        {'a': 6, 'b': 3, 'c': 2}
    """
    wanted = np.array([share * n for share in parts.values()])
    numbers = np.floor(wanted).astype(int)
    order = np.argsort(-(wanted - numbers), kind="stable")
    numbers[order[: n - numbers.sum()]] += 1
    return dict(zip(parts, numbers.tolist(), strict=True))
