r"""Recalibration: predicted probabilities -> those that come true.

.. math:: \mathrm{logit}\, p' = a \, \mathrm{logit}\, p + b

with a and b of the highest posterior, given what was predicted of new rows and what became of them (Platt 1999). Both
have a prior around what changes nothing, so that few rows change little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

Array = NDArray[np.float64]

EDGE = 0.01  # probabilities nearer to 0 or 1 than this are not told apart
SLOPE_WIDTH, OFFSET_WIDTH = 0.15, 0.3  # of the priors of ln a and of b: models have learned more rows since


@dataclass(frozen=True)
class Recalibration:
    """``slope`` a and ``offset`` b; the default changes nothing between `EDGE` and 1 - `EDGE`."""

    slope: float = 1.0
    offset: float = 0.0

    def of(self, p: Array) -> Array:
        """Probabilities (C,), recalibrated; what is impossible stays so."""
        if self == Recalibration():
            return p
        new: Array = np.where(p > 0, expit(self.slope * logit(np.clip(p, EDGE, 1 - EDGE)) + self.offset), 0.0)
        return new


UNCHANGED = Recalibration()


def recalibrate(p: Array, came_true: NDArray[np.bool_]) -> Recalibration:
    """What makes predicted probabilities (N,) those with which they came true.

    Example:
        Of many rows that were called good with 80 %, half were.

        >>> found = recalibrate(np.full(100_000, 0.8), np.arange(100_000) % 2 == 0)
        >>> found.of(np.array([0.0, 0.8])).round(2).tolist()
        [0.0, 0.5]
    """
    possible = p > 0
    x, y = logit(np.clip(p[possible], EDGE, 1 - EDGE)), came_true[possible].astype(np.float64)

    def loss(theta: Array) -> tuple[float, Array]:
        slope = math.exp(theta[0])
        z = slope * x + theta[1]
        off = theta / (SLOPE_WIDTH, OFFSET_WIDTH)
        residual = expit(z) - y
        value = float((np.logaddexp(0.0, z) - y * z).sum() + 0.5 * off @ off)
        return value, np.array([slope * residual @ x, residual.sum()]) + off / (SLOPE_WIDTH, OFFSET_WIDTH)

    log_slope, offset = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-2.0, 2.0), (-5.0, 5.0)]).x
    return Recalibration(math.exp(log_slope), float(offset))
