"""Score of a search: from the log of its evaluations to how soon it had found how much.

A *good* point has an NLL below the threshold, and counts once. A reference point is *covered* once a good point was
found within r90 of it in the unit cube. Everything sent to the physics is an evaluation, whatever became of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from problems.problem import Reference
from scipy.spatial import cKDTree

Array = NDArray[np.float64]

WANTED = 1000  # good points
HALF = 0.50  # coverage
CHECKPOINTS = (300, 500, 1000, 1500, 2000, 3000, 5000, 7000, 10_000, 14_000, 20_000, 30_000)
_CHUNK = 256


@dataclass(frozen=True)
class Log:
    """Evaluations in the order they were asked for: ``u`` (N, P) unit cube, ``nll`` (N,), NaN: invalid or failed."""

    u: Array
    nll: Array

    def __len__(self) -> int:
        return len(self.nll)

    def first(self, n: int) -> Log:
        """The first ``n`` evaluations."""
        return Log(self.u[:n], self.nll[:n])


@dataclass(frozen=True)
class Curves:
    """After each evaluation: ``good`` (N,) points found, and ``coverage`` (N,) of the reference."""

    good: NDArray[np.int64]
    coverage: Array

    def at(self, n: int) -> tuple[int, float]:
        """Good points and coverage after ``n`` evaluations; those at the end where there were fewer."""
        if n < 1 or not len(self.good):
            return 0, 0.0
        k = min(n, len(self.good)) - 1
        return int(self.good[k]), float(self.coverage[k])


@dataclass(frozen=True)
class Score:
    """``evals_to_1000`` good points and ``evals_to_cov50``, None where it did not get there; ``coverage`` of the first
    1000 good points, or of all where there are fewer; ``evaluations`` and ``good`` points in all."""

    evals_to_1000: int | None
    coverage: float
    evals_to_cov50: int | None
    evaluations: int
    good: int


def good_points(log: Log, threshold: float) -> NDArray[np.bool_]:
    """Which evaluations found a good point that was not evaluated before (N,)."""
    with np.errstate(invalid="ignore"):
        good = log.nll < threshold
    rows = np.flatnonzero(good)
    _, first = np.unique(log.u[rows], axis=0, return_index=True)
    distinct = np.zeros(len(log), dtype=bool)
    distinct[rows[first]] = True
    return distinct


def curves(log: Log, threshold: float, reference: Reference) -> Curves:
    """What was found by when.

    Example:
        Two reference points, of which the second evaluation covers one; the third is the same point again.

        >>> reference = Reference(fraction=0.1, fraction_error=0.0, points=np.array([[0.1], [0.9]]), r90=0.05)
        >>> log = Log(np.array([[0.5], [0.12], [0.12]]), np.array([np.nan, 0.2, 0.2]))
        >>> found = curves(log, 1.0, reference)
        >>> found.good.tolist(), found.coverage.tolist()
        ([0, 1, 1], [0.0, 0.5, 0.5])
    """
    good = good_points(log, threshold)
    covered = np.zeros(len(log))
    hits = _first_within(log.u[good], reference.points, reference.r90)
    np.add.at(covered, np.flatnonzero(good)[hits[hits >= 0]], 1.0 / len(reference.points))
    return Curves(np.cumsum(good), np.cumsum(covered))


def score(found: Curves) -> Score:
    """The numbers a search is judged by."""
    to_1000 = _reached(found.good, WANTED)
    to_half = _reached(found.coverage, HALF - 1e-9)
    n = len(found.good)
    return Score(to_1000, found.at(to_1000 or n)[1], to_half, n, found.at(n)[0])


def ends(found: Curves) -> bool:
    """Whether nothing that `score` reports could change by going on."""
    return found.at(len(found.good))[0] >= WANTED and found.at(len(found.good))[1] >= HALF


def _first_within(points: Array, reference: Array, radius: float) -> NDArray[np.int64]:
    """Index (R,) of the first of ``points``, in their order, near each reference point; -1: none is."""
    first = np.full(len(reference), -1)
    for start in range(0, len(points), _CHUNK):
        waiting = np.flatnonzero(first < 0)
        if not len(waiting):
            break
        near = cKDTree(points[start:start + _CHUNK]).query_ball_point(reference[waiting], radius)
        for k, found in zip(waiting, near, strict=True):
            if found:
                first[k] = start + min(found)
    return first


def _reached(values: NDArray[np.float64] | NDArray[np.int64], level: float) -> int | None:
    """How many evaluations it took; ``values`` never fall."""
    k = int(np.searchsorted(values, level))
    return k + 1 if k < len(values) else None
