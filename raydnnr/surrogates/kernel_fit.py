"""Kernel fit: rows -> the kernel that they are likeliest with.

Lengths, noise and whatever else a kernel has (`kernels`) are those of the highest posterior: marginal likelihood times
a log-normal prior whose mean grows with the root of the number of parameters, which keeps many-parameter fits sane
(arXiv:2402.02229). Numbers of adapted coordinates have normal priors around 0, where nothing is stretched or mixed.

Shapes: **N** rows, **P** parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

from raydnnr.surrogates.kernels import MIN_NOISE, Lengths, alone, one_thread, stretched, together

Array = NDArray[np.float64]

LENGTH_RANGE = (0.02, 30.0)
NOISE_RANGE = (1e-9, 1.0)
MAX_ITERATIONS = 25  # of the fit of lengths
TRIAL_ITERATIONS = 6  # from each start of it, with half of the rows where there are
FLAT = 1e-6  # an iteration that gains less than this share of the posterior's logarithm is the last
MANY_ROWS = 128
SHORT = 0.25  # lengths of the second start, in units of the prior's: what varies fast looks like noise from the first
SINGLE, SHARE = 0.5, 0.3  # middle of the prior of the lengths of one parameter, and of the share of their functions
LEAST_SHARE, MOST_SHARE = 1e-3, 1e3
TURN, STRETCH = 0.5, 1.5  # widths of the priors of each number of a turn beside its diagonal, and of a stretch
MOST_TURN, MOST_STRETCH = 5.0, 6.0
MATERN, NORMAL, ADDITIVE = "matern", "normal", "additive"  # kernels
ADAPTED, NORMAL_ADAPTED = "matern adapted", "normal adapted"


def fit_lengths(u: Array, y: Array, starts: Sequence[Lengths] = (), max_iterations: int = MAX_ITERATIONS, *,
                kernel: str = MATERN, rival: Lengths | None = None) -> Lengths:
    """Lengths and noise of the highest posterior.

    The posterior has several maxima: what varies fast may also be taken for noise. So the search tries several starts,
    and goes on from where the best of them has led.

    Args:
        u: Rows (N, P) of the unit cube; a few hundred suffice.
        y: Target (N,), about unit scale.
        starts: Further places to begin at, besides those of `_Fit.first`.
        max_iterations: Of the search (L-BFGS) after the trials.
        kernel: matern, normal, additive, matern adapted or normal adapted.
        rival: Lengths of a simpler kernel, which are the answer where those found are not worth their number, at the
            end of the trials or of the search (Akaike's criterion: a unit of the likelihood's logarithm for each).
    """
    fit = _Fit(torch.from_numpy(np.ascontiguousarray(u)), torch.from_numpy(np.ascontiguousarray(y)), kernel)
    some = _Fit(fit.x[::2], fit.y[::2], kernel) if len(y) >= MANY_ROWS else fit
    bounds = fit.bounds()

    def climb(fit: _Fit, first: Array, n_iterations: int) -> OptimizeResult:
        return minimize(fit.loss, first, jac=True, method="L-BFGS-B", bounds=bounds,
                        options={"maxiter": n_iterations, "ftol": FLAT})

    def beaten(fit: _Fit, theta: Array) -> bool:
        return rival is not None and fit.criterion(fit.lengths(theta)) > fit.criterion(rival)

    firsts = [fit.theta(start) for start in (*fit.first(rival), *starts)]
    with one_thread():
        found = min((climb(some, first, TRIAL_ITERATIONS) for first in firsts), key=lambda trial: float(trial.fun)).x
        if not beaten(some, found):
            found = climb(fit, found, max_iterations).x
            if not beaten(fit, found):
                return fit.lengths(found)
    assert rival is not None
    return rival


def log_posterior(lengths: Lengths, u: Array, y: Array) -> float:
    """Log marginal likelihood plus log prior of some lengths, up to a constant that depends on N and P only."""
    fit = _Fit(torch.from_numpy(np.ascontiguousarray(u)), torch.from_numpy(np.ascontiguousarray(y)), kernel_of(lengths))
    with one_thread():
        return -fit.loss(fit.theta(lengths))[0]


def kernel_of(lengths: Lengths) -> str:
    """Which kernel some lengths are of."""
    if lengths.single is not None:
        return ADDITIVE
    if lengths.turn is not None:
        return NORMAL_ADAPTED if lengths.smooth else ADAPTED
    return NORMAL if lengths.smooth else MATERN


@dataclass(frozen=True)
class _Fit:
    """Rows (N, P), their target (N,), and the kernel whose lengths are sought.

    Its coordinates, theta, are logarithms of the lengths and the noise; for an additive kernel also of the lengths of
    the functions of one coordinate, and of their share. On adapted coordinates the stretches follow, and the numbers of
    the turn beside its diagonal, in units of the lengths of both parameters: so that none matters far more than others.
    """

    x: Tensor
    y: Tensor
    kernel: str

    @property
    def n_params(self) -> int:
        """P."""
        return self.x.shape[1]

    @property
    def is_adapted(self) -> bool:
        """Whether the kernel is on adapted coordinates."""
        return self.kernel in (ADAPTED, NORMAL_ADAPTED)

    def theta(self, lengths: Lengths) -> Array:
        """Coordinates of some lengths; what those lack is taken from the middle of the prior."""
        theta = np.append(lengths.length, lengths.noise)
        if self.kernel == ADDITIVE:
            single = np.full(self.n_params, SINGLE) if lengths.single is None else lengths.single
            theta = np.concatenate([theta, single, [lengths.share or SHARE]])
        return np.append(np.log(theta), self._adapted(lengths))

    def lengths(self, theta: Array) -> Lengths:
        """Lengths of some coordinates."""
        p = self.n_params
        positive, adapted = np.split(theta, [2 * p + 2 if self.kernel == ADDITIVE else p + 1])
        value = np.exp(positive)
        found = Lengths(value[:p], float(value[p]), self.kernel in (NORMAL, NORMAL_ADAPTED))
        if self.kernel == ADDITIVE:
            found = replace(found, single=value[p + 1 : -1], share=float(value[-1]))
        if self.is_adapted:
            turn = np.eye(p)
            turn[self.beside] = adapted[p:]
            turn *= _ratios(found.length)
            found = replace(found, turn=turn, stretch=adapted[:p])
        return found

    @property
    def beside(self) -> NDArray[np.bool_]:
        """Which numbers of a turn (P, P) are beside its diagonal."""
        return ~np.eye(self.n_params, dtype=bool)

    def _adapted(self, lengths: Lengths) -> Array:
        """Coordinates of stretch and turn; none, where the kernel has none."""
        if not self.is_adapted:
            return np.empty(0)
        if lengths.turn is None or lengths.stretch is None:
            return np.zeros(self.n_params**2)
        return np.append(lengths.stretch, (lengths.turn / _ratios(lengths.length))[self.beside])

    def first(self, simple: Lengths | None) -> list[Lengths]:
        """Starts: lengths of a simpler kernel where they are known, else the middle of the prior and short ones; of the
        additive kernel with short lengths of one parameter.
        """
        middle = simple or self.lengths(self.prior()[0])
        if self.kernel == ADDITIVE:
            single = np.full(self.n_params, SINGLE)
            return [replace(middle, single=SHORT**k * single, share=1.0 / SHARE) for k in (1, 2)]
        return [middle] if simple else [middle, replace(middle, length=SHORT * middle.length)]

    def prior(self) -> tuple[Array, Array]:
        """Mean and width of the log-normal prior."""
        p = self.n_params
        mean = np.append(np.full(p, math.log(0.6 * math.sqrt(p))), math.log(1e-4))
        width = np.append(np.ones(p), 1.5)
        if self.kernel == ADDITIVE:
            mean = np.concatenate([mean, np.full(p, math.log(SINGLE)), [math.log(SHARE)]])
            width = np.concatenate([width, np.ones(p), [2.0]])
        if self.is_adapted:
            mean = np.append(mean, np.zeros(p**2))
            width = np.concatenate([width, np.full(p, STRETCH), np.full(p**2 - p, TURN)])
        return mean, width

    def bounds(self) -> list[tuple[float, float]]:
        """Of the coordinates."""
        p = self.n_params
        lengths, noise = ((math.log(low), math.log(high)) for low, high in (LENGTH_RANGE, NOISE_RANGE))
        own = [lengths] * p + [noise]
        if self.kernel == ADDITIVE:
            own += [lengths] * p + [(math.log(LEAST_SHARE), math.log(MOST_SHARE))]
        if self.is_adapted:
            own += [(-MOST_STRETCH, MOST_STRETCH)] * p + [(-MOST_TURN, MOST_TURN)] * (p**2 - p)
        return own

    def criterion(self, lengths: Lengths) -> float:
        """Negative log likelihood of the rows, up to a constant, and the number of some lengths, of whatever kernel."""
        other = replace(self, kernel=kernel_of(lengths))
        theta = other.theta(lengths)
        off = (theta - other.prior()[0]) / other.prior()[1]
        n_idle = self.n_params * (self.n_params - 1) // 2 if other.is_adapted else 0  # rotations change no distance
        return other.loss(theta)[0] - 0.5 * float(off @ off) + len(theta) - n_idle

    def loss(self, theta: Array) -> tuple[float, Array]:
        """Negative log posterior, up to a constant, and its gradient. Variance and mean of the target are profiled out.
        """
        n, p, lengths = len(self.x), self.n_params, self.lengths(theta)
        z, by_adapted = self._coordinates(lengths)
        k, slope = together(lengths, z, z)
        singles = [] if lengths.single is None else list(alone(lengths.single, z, z))
        whole, part = 1.0 / (1.0 + lengths.share), lengths.share / (1.0 + lengths.share) / p
        added = sum((one for one, _ in singles), torch.zeros(())) * part
        full = k * whole + added
        full.diagonal().add_(lengths.noise + MIN_NOISE)
        factor, failed = torch.linalg.cholesky_ex(full)
        if failed > 0:
            return 1e10, np.zeros_like(theta)
        inverse = torch.cholesky_inverse(factor)
        row_sums = inverse.sum(1)
        alpha = inverse @ (self.y - (row_sums @ self.y) / row_sums.sum())
        variance = max(float(self.y @ alpha) / n, 1e-12)
        weight = inverse - torch.outer(alpha, alpha) / variance
        gradient = np.empty_like(theta)
        gradient[:p], by_z = _by_length(weight * slope, z, lengths.length, whole)
        gradient[p] = 0.5 * float(weight.diagonal().sum()) * lengths.noise
        if lengths.single is not None:
            for d, (_, own) in enumerate(singles):
                one = slice(d, d + 1)
                gradient[p + 1 + d], by_own = _by_length(weight * own, z[:, one], lengths.single[one], part)
                by_z[:, one] += by_own
            gradient[2 * p + 1] = 0.5 * whole * float((weight * (added - (1.0 - whole) * k)).sum())
        if lengths.turn is not None:
            stretches, by_turn = by_adapted(by_z)
            gradient[-p * p :] = np.append(stretches, (by_turn * _ratios(lengths.length))[self.beside])
            by_ratio = by_turn * lengths.turn
            gradient[:p] += by_ratio.sum(1) - by_ratio.sum(0)
        middle, width = self.prior()
        off = (theta - middle) / width
        loss = 0.5 * n * math.log(variance) + float(factor.diagonal().log().sum())
        return loss + 0.5 * float(off @ off), gradient + off / width

    def _coordinates(self, lengths: Lengths) -> tuple[Tensor, Callable[[Tensor], tuple[Array, Array]]]:
        """Coordinates (N, P) of the rows, and what makes of a gradient by these one by stretches (P,) and turn (P, P).
        """
        if lengths.turn is None or lengths.stretch is None:
            return self.x, lambda by_z: (np.empty(0), np.empty((0, 0)))
        turn = torch.from_numpy(lengths.turn)
        s, _, by_stretch = stretched(lengths.stretch, self.x)
        return s @ turn.T, lambda by_z: (((by_z @ turn) * by_stretch).sum(0).numpy(), (by_z.T @ s).numpy())


def _ratios(length: Array) -> Array:
    """Of lengths (P, P): how much longer that of the row is than that of the column."""
    return length[:, None] / length[None, :]


def _by_length(g: Tensor, z: Tensor, length: Array, share: float) -> tuple[Array, Tensor]:
    """The gradient of the loss by the logarithm of lengths (D,), and by coordinates z (N, D).

    ``g`` (N, N): the gradient by a kernel of these, times minus the slope of that, of which there is a ``share``.
    """
    divisor = torch.from_numpy(length)
    v = z / divisor
    pull = (g.sum(1)[:, None] * v - g @ v).mul_(share)
    found: Array = (pull * v).sum(0).numpy()
    return found, -pull / divisor
