"""From errors on held-out rows to uncertainties: how the spread between members becomes a standard deviation.

Members agree too much where all lack the same data, and a spread knows nothing of noise or of what no member can
express. So a variance is ``scale² (spread² + floor²)``, both per target, chosen where it can be seen: on rows that the
predicting member was not trained on.

Shapes: **N** rows, **T** targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_ROWS = 8  # held-out rows of a target; with fewer its uncertainty is that of not knowing it
FLOORS = (0.03, 0.1, 0.3, 1.0, 3.0)  # in units of the robust residual: from "the spread says all" to "it says nothing"
PROBES = 500
MAX_RATIO = 10.0
TEMPERATURES = np.geomspace(0.05, 5.0, 41)
NORMAL_MEDIAN = 0.6744897501960817  # of |z|, z standard normal


@dataclass(frozen=True)
class Calibration:
    """``std² = scale² (spread² + floor²)`` of each target (T,); ``temperature`` multiplies the validity logit."""

    scale: Array
    floor: Array
    temperature: float

    def std(self, spread: Array) -> Array:
        """Standard deviation (C, T) of the mean prediction, from the spread between the members (C, T)."""
        std: Array = self.scale * np.sqrt(spread**2 + self.floor**2)
        return std


def new_points(u: Array, seed: int) -> Array:
    """Points (S, P) as far from the rows as the rows are from each other, where the rows are.

    At a held-out row all members but one have seen the truth, so they agree more than at a new point; what they do at
    points like these tells by how much.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(u))[:PROBES]
    square = (u[chosen] ** 2).sum(axis=1)[:, None] + (u**2).sum(axis=1) - 2.0 * u[chosen] @ u.T
    square[np.arange(len(chosen)), chosen] = np.inf
    nearest = np.sqrt(np.clip(square.min(axis=1), 0.0, u.shape[1]))
    direction = rng.normal(size=(len(chosen), u.shape[1]))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    moved = np.abs(u[chosen] + nearest[:, None] * direction)  # back into the cube, as by a mirror
    return np.clip(np.where(moved > 1.0, 2.0 - moved, moved), 0.0, 1.0)


def spread_ratio(new: Array, seen: Array) -> Array:
    """How much more (T,) members differ at new points (S, T) than at rows (N, T) all but one have seen."""
    typical, before = np.median(new, axis=0), np.median(seen, axis=0)
    ratio: Array = np.clip(typical / np.maximum(before, 1e-300), 1.0, MAX_RATIO)
    return ratio


def calibrate_spread(residual: Array, spread: Array, weights: Array, members: int, width: Array) -> tuple[Array, Array]:
    """Scale and floor (T,) under which held-out residuals, divided by their std, have unit robust variance.

    Of the floors the one is taken under which the residuals are most probable (Student's t, so that a few outliers do
    not decide).

    Args:
        residual: Target less the prediction of a member that did not see the row (N, T); NaN where there is none.
        spread: Standard deviation between members at the same rows (N, T), as if none had seen them.
        weights: Of the rows (N,).
        members: How many. Residuals are of one member, while the mean of all is what is used; it is better by what
            averaging takes away of the spread.
        width: Standard deviation of each target (T,), the uncertainty where too little is held out.
    """
    scale, floor = np.ones(len(width)), width.copy()
    for t in range(len(width)):
        seen = np.isfinite(residual[:, t])
        if seen.sum() < MIN_ROWS:
            continue
        r, s, w = np.abs(residual[seen, t]), spread[seen, t], weights[seen]
        typical = max(weighted_median(r, w) / NORMAL_MEDIAN, 1e-6 * width[t], 1e-300)
        best = np.inf
        for trial in FLOORS:
            std = np.sqrt(s**2 + (trial * typical) ** 2)
            factor = max(weighted_median(r / std, w) / NORMAL_MEDIAN, 1e-6)
            cost = np.average(np.log(factor * std) + _surprise(r / (factor * std)), weights=w)
            if cost < best:
                best, scale[t], floor[t] = cost, factor, trial * typical
        scale[t] *= _gain_of_averaging(r, s, w, members)
    return scale, floor


def calibrate_logit(logit: Array, valid: NDArray[np.bool_], weights: Array) -> float:
    """The temperature under which held-out labels (N,) are most probable; logits are of members without them."""
    if len(valid) < MIN_ROWS:
        return 1.0
    signed = np.where(valid, logit, -logit)
    costs = [np.average(np.logaddexp(0.0, -t * signed), weights=weights) for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(costs))])


def weighted_median(values: Array, weights: Array) -> float:
    """The value with half of the weight on either side."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(cumulative, 0.5 * cumulative[-1])]])


def _surprise(z: Array) -> Array:
    """Negative log density of Student's t with four degrees of freedom, up to a constant."""
    surprise: Array = 2.5 * np.log1p(z**2 / 4.0)
    return surprise


def _gain_of_averaging(residual: Array, spread: Array, weights: Array, members: int) -> float:
    """Error of the mean over error of a member: averaging takes the spread away, but for 1 / M of its variance."""
    r2, s2 = weighted_median(residual**2, weights), weighted_median(spread**2, weights)
    return float(np.sqrt(1.0 - (1.0 - 1.0 / members) * min(s2 / r2, 0.75))) if r2 > 0 else 1.0
