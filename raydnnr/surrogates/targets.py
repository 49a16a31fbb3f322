r"""Target scales: an observable -> what a surrogate learns, and back.

An observable that spans more than two decades of the scale on which its likelihood changes is learned through
``asinh((o - center) / width)``: linear where points are good, logarithmic far away, if the marginal likelihood of the
observable under a Gaussian process says so clearly (a warped process; Snelson et al., NIPS 2004). Others are learned as
they are: bending a smooth observable makes it harder to learn.

Shapes: **N** rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raydnnr.surrogates.gaussian_process import Lengths, fit_lengths, log_posterior

Array = NDArray[np.float64]

BEST_SHARE, MIN_BEST = 0.05, 20  # rows whose middle is the center
WIDTHS = (30.0, 3.0)  # that are tried, in units of the scale that matters
MANY_DECADES = 100.0  # of that scale: what an observable must span (98 % of its rows) for a bent scale to be tried
SELECTION_ROWS = 128
CLEARLY = 10.0  # by so much log evidence a bent scale must beat the plain one
SELECTION_ITERATIONS = 8  # of the lengths that a scale is judged with
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
        return (self._bent(o) - self.shift) / self.scale

    def backward(self, t: Array) -> Array:
        """Target to observable."""
        bent = t * self.scale + self.shift
        if math.isinf(self.width):
            return bent
        return self.center + self.width * np.sinh(np.clip(bent, -MAX_ARGUMENT, MAX_ARGUMENT))

    def log_jacobian(self, o: Array) -> float:
        """Sum of ``ln |dt/do|``."""
        bend = 0.0 if math.isinf(self.width) else -float(
            0.5 * np.log1p(((o - self.center) / self.width) ** 2).sum() + len(o) * math.log(self.width))
        return bend - len(o) * math.log(self.scale)

    def _bent(self, o: Array) -> Array:
        return o if math.isinf(self.width) else np.arcsinh((o - self.center) / self.width)


def choose_scale(u: Array, o: Array, nll: Array, matters: float,
                 rng: np.random.Generator) -> tuple[Scale, Lengths | None]:
    """The scale on which a Gaussian process explains an observable best, and the lengths it has on few rows.

    Args:
        u: Rows (N, P) of the unit cube.
        o: Observable (N,), finite.
        nll: Of the rows (N,): says which are the best.
        matters: Change of the observable that matters to its likelihood, such as a sigma.
        rng: Draws the rows that decide.
    """
    order = np.argsort(nll, kind="stable")
    best = o[order[: max(MIN_BEST, round(BEST_SHARE * len(o)))]]
    center = float(np.median(best))
    half = min(len(o), SELECTION_ROWS) // 2
    rows = np.concatenate([order[:half], rng.permutation(order[half:])[:half]])
    plain = _scale(o, center, math.inf, best)
    if len(rows) < 16 or np.quantile(np.abs(o - center), 0.98) < MANY_DECADES * matters:
        return plain, None
    found: list[tuple[float, Scale, Lengths]] = []
    for s in (plain, *(_scale(o, center, width * matters, best) for width in WIDTHS)):
        t = s.forward(o[rows])
        lengths = fit_lengths(u[rows], t, [found[-1][2]] if found else (), SELECTION_ITERATIONS)
        found.append((log_posterior(lengths, u[rows], t) + s.log_jacobian(o[rows]), s, lengths))
    highest = max(found, key=lambda trial: trial[0])
    return (highest if highest[0] > found[0][0] + CLEARLY else found[0])[1:]


def _scale(o: Array, center: float, width: float, best: Array) -> Scale:
    raw = Scale(center, width, 0.0, 1.0, 1.0)
    t = raw.forward(o)
    shift, scale = float(t.mean()), float(t.std())
    if scale <= ROUNDING * abs(shift):
        scale = 1.0
    fine = float(np.ptp(raw.forward(best))) / scale
    return Scale(center, width, shift, scale, min(max(fine, 1e-8), 1.0))
