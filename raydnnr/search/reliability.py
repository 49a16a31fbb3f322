"""Reliability: how often points turned out good that were proposed with some probability of being good.

What is predicted of a round is kept, and compared with what became of its points once they are finished. Nothing had
been learned from them when it was predicted, and they are the points that matter, chosen because of those predictions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

N_BINS = 10
MAX_WAITING = 100  # rounds under way; of more, the oldest are given up


@dataclass
class Reliability:
    """What was predicted of the rounds of a scan since its start or restart, and what of it has come true.

    ``table`` (10, 3): of the points whose P(good) was predicted in a tenth of [0, 1], their number, the sum of those
    probabilities, and how many turned out good. ``last``: the same two sums of the round that was finished last.

    Example:
        >>> seen = Reliability()
        >>> seen.predicted(7, np.array([0.95, 0.85, 0.05]))
        >>> seen.finished(np.array([7, 7, 7]), np.array([True, True, False]))
        >>> seen.table[[0, 8, 9]].tolist()
        [[1.0, 0.05, 0.0], [1.0, 0.85, 1.0], [1.0, 0.95, 1.0]]
    """

    table: Array = field(default_factory=lambda: np.zeros((N_BINS, 3)))
    last: tuple[float, float] = (np.nan, np.nan)
    waiting: dict[int, Array] = field(default_factory=dict)

    def predicted(self, iteration: int, p_good: Array) -> None:
        """Keep what is predicted of a round, in the order of its points."""
        self.waiting[iteration] = p_good
        while len(self.waiting) > MAX_WAITING:
            del self.waiting[next(iter(self.waiting))]

    def finished(self, iteration: NDArray[np.int32], good: NDArray[np.bool_]) -> None:
        """Compare rounds that are whole by now.

        Args:
            iteration: Of the finished rows (N,), in the order of their ids.
            good: Whether they are (N,).
        """
        for number in sorted(self.waiting):
            rows = np.flatnonzero(iteration == number)
            if len(rows) == len(self.waiting[number]):
                self._compare(self.waiting.pop(number), good[rows])

    def _compare(self, p: Array, good: NDArray[np.bool_]) -> None:
        bins = np.minimum((N_BINS * p).astype(np.intp), N_BINS - 1)
        for column, what in enumerate((np.ones(len(p)), p, good)):
            self.table[:, column] += np.bincount(bins, what, N_BINS)
        self.last = float(p.mean()), float(good.mean())

    def rows(self) -> tuple[tuple[int, float, float], ...]:
        """Number of points, mean probability and share of good ones, of the tenths that have points."""
        return tuple((int(n), round(total / n, 4), round(good / n, 4)) for n, total, good in self.table.tolist() if n)
