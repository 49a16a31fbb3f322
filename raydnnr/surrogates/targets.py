r"""Target scales: an observable -> what a surrogate learns, and back.

An observable is learned as it is, or through ``asinh((o - center) / width)``: linear where points are good, logarithmic
far away (a warped process; Snelson et al., NIPS 2004). On the second scale a cliff or a pole far from what matters is a
step like others, so that the model need not take the whole cube for as rugged as that; on the first one, functions that
are smooth everywhere are learned from fewer rows. What predicts new rows better is used (`learning`).

Shapes: **N** rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BEST_SHARE, MIN_BEST = 0.05, 20  # rows whose middle is the center
NARROW = 2.0  # width of the scale that is bent most, in units of the scale that matters
ROUNDING = 1e-12  # of a center: what is spread by less is one value
MAX_ARGUMENT = 30.0  # of sinh, beyond which predictions are cut


@dataclass(frozen=True)
class Scale:
    """``t = (g(o) - shift) / scale`` with ``g(o) = asinh((o - center) / width)``, or ``g(o) = o`` for infinite width.

    ``fine``: the spread of t among the best rows; derivatives of losses are taken on a fraction of it.
    """

    center: float
    width: float
    shift: float
    scale: float
    fine: float

    def forward(self, o: Array) -> Array:
        """Observable to target, about unit scale."""
        return (self.bent(o) - self.shift) / self.scale

    def backward(self, t: Array) -> Array:
        """Target to observable."""
        bent = t * self.scale + self.shift
        if math.isinf(self.width):
            return bent
        return self.center + self.width * np.sinh(np.clip(bent, -MAX_ARGUMENT, MAX_ARGUMENT))

    def bent(self, o: Array) -> Array:
        """``g(o)``."""
        return o if math.isinf(self.width) else np.arcsinh((o - self.center) / self.width)


def choose_scale(o: Array, nll: Array, width: float) -> Scale:
    """A scale that is linear over a ``width`` around the observable of the best rows, and of about unit scale.

    Args:
        o: Observable (N,), finite.
        nll: Of the rows (N,): says which are the best.
        width: In units of the observable; infinite for one that is linear everywhere.
    """
    best = o[np.argsort(nll, kind="stable")[: max(MIN_BEST, round(BEST_SHARE * len(o)))]]
    raw = Scale(float(np.median(best)), width, 0.0, 1.0, 1.0)
    t = raw.forward(o)
    shift, scale = float(t.mean()), float(t.std())
    if scale <= ROUNDING * abs(shift):
        scale = 1.0
    fine = float(np.ptp(raw.forward(best))) / scale
    return Scale(raw.center, width, shift, scale, min(max(fine, 1e-8), 1.0))
