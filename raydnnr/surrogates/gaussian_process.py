r"""Gaussian process: points of the unit cube -> one target, with its uncertainty and its gradient.

A smooth function of a few hundred points is predicted far better by a Gaussian process than by a network, as long as
the cube of the number of rows is affordable (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006).
The kernel has one length per parameter, and is Matern 5/2, which forgives kinks, or the normal one, which learns
an analytic function from fewer rows:

.. math:: k(r) = (1 + \sqrt 5 r + \tfrac 5 3 r^2) e^{-\sqrt 5 r} \text{ or } e^{-r^2/2},
          \quad r^2 = \sum_d (u_d - u'_d)^2 / \ell_d^2

Lengths and noise are those of the highest posterior: marginal likelihood times a log-normal prior whose mean grows with
the root of the number of parameters, which keeps many-parameter fits sane (arXiv:2402.02229).

Shapes: **N** rows, **C** candidates, **P** parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

Array = NDArray[np.float64]

MIN_NOISE = 1e-6  # variance of the noise beside that of the target: keeps the matrix invertible
LENGTH_RANGE = (0.02, 30.0)
NOISE_RANGE = (1e-9, 1.0)
MAX_ITERATIONS = 25  # of the fit of lengths
TRIAL_ITERATIONS = 6  # from each start of it
SHORT = 0.25  # lengths of the second start, in units of the prior's: what varies fast looks like noise from the first
SQRT5 = math.sqrt(5.0)


@dataclass(frozen=True)
class Lengths:
    """What a kernel is: one length per parameter (P,), in units of the cube, the variance of the noise as a share of
    the target's, and whether it is the normal (smooth) one, not Matern 5/2.
    """

    length: Array
    noise: float
    smooth: bool = False


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread, so that the same rows give the same bits on any machine load."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fit_lengths(u: Array, y: Array, starts: Sequence[Lengths] = (), max_iterations: int = MAX_ITERATIONS, *,
                smooth: bool = False) -> Lengths:
    """Lengths and noise of the highest posterior.

    The posterior has several maxima: what varies fast may also be taken for noise. So the search tries several starts,
    and goes on from where the best of them has led.

    Args:
        u: Rows (N, P) of the unit cube; a few hundred suffice.
        y: Target (N,), about unit scale.
        starts: Further places to begin at, besides the middle of the prior and short lengths.
        max_iterations: Of the search (L-BFGS) after the trials.
        smooth: Of the normal kernel.
    """
    middle, width = _prior(u.shape[1])
    bounds = [tuple(map(math.log, LENGTH_RANGE))] * u.shape[1] + [tuple(map(math.log, NOISE_RANGE))]
    x, t = torch.from_numpy(np.ascontiguousarray(u)), torch.from_numpy(np.ascontiguousarray(y))

    def climb(first: Array, n_iterations: int) -> OptimizeResult:
        return minimize(_loss, first, args=(x, t, middle, width, smooth), jac=True, method="L-BFGS-B", bounds=bounds,
                        options={"maxiter": n_iterations})

    short = middle + np.append(np.full(u.shape[1], math.log(SHORT)), 0.0)
    firsts = [middle, short, *(np.log(np.append(start.length, start.noise)) for start in starts)]
    with one_thread():
        trials = [climb(first, TRIAL_ITERATIONS) for first in firsts]
        found = climb(min(trials, key=lambda trial: float(trial.fun)).x, max_iterations)
    return Lengths(np.exp(found.x[:-1]), float(np.exp(found.x[-1])), smooth)


def log_posterior(lengths: Lengths, u: Array, y: Array) -> float:
    """Log marginal likelihood plus log prior of some lengths, up to a constant that depends on N and P only."""
    theta = np.log(np.append(lengths.length, lengths.noise))
    x, t = torch.from_numpy(np.ascontiguousarray(u)), torch.from_numpy(np.ascontiguousarray(y))
    with one_thread():
        return -_loss(theta, x, t, *_prior(u.shape[1]), lengths.smooth)[0]


def _prior(n_params: int) -> tuple[Array, Array]:
    """Mean and width of the log-normal prior of lengths and noise."""
    return (np.append(np.full(n_params, math.log(0.6 * math.sqrt(n_params))), math.log(1e-4)),
            np.append(np.ones(n_params), 1.5))


def _loss(theta: Array, x: Tensor, y: Tensor, middle: Array, width: Array, smooth: bool) -> tuple[float, Array]:
    """Negative log posterior of (log lengths, log noise), up to a constant, and its gradient.

    The variance of the target and its mean are profiled out.
    """
    n = len(x)
    noise = math.exp(theta[-1]) + MIN_NOISE
    z = x / torch.from_numpy(np.exp(theta[:-1]))
    k, slope = _kernel(z, z, smooth)
    k.diagonal().add_(noise)
    factor, failed = torch.linalg.cholesky_ex(k)
    if failed > 0:
        return 1e10, np.zeros_like(theta)
    inverse = torch.cholesky_inverse(factor)
    row_sums = inverse.sum(1)
    alpha = inverse @ (y - (row_sums @ y) / row_sums.sum())
    variance = max(float(y @ alpha) / n, 1e-12)
    loss = 0.5 * n * math.log(variance) + float(factor.diagonal().log().sum())
    weight = inverse - torch.outer(alpha, alpha) / variance
    g = weight * slope
    gradient = np.empty_like(theta)
    gradient[:-1] = (g.sum(1) @ (z * z) - ((g @ z) * z).sum(0)).numpy()
    gradient[-1] = 0.5 * float(weight.diagonal().sum()) * math.exp(theta[-1])
    off = (theta - middle) / width
    return loss + 0.5 * float(off @ off), gradient + off / width


def _kernel(a: Tensor, b: Tensor, smooth: bool) -> tuple[Tensor, Tensor]:
    """Kernel between scaled points, and minus its derivative by half the squared distance."""
    r2 = torch.addmm((b * b).sum(1)[None, :], a, b.T, alpha=-2.0).add_((a * a).sum(1)[:, None]).clamp_(min=0.0)
    if smooth:
        k = r2.mul_(-0.5).exp_()
        return k, k.clone()
    s = r2.mul_(5.0).sqrt_()
    e = torch.exp(-s)
    slope = (1.0 + s).mul_(e)
    return slope + s.square().mul_(e).div_(3.0), slope.mul_(5.0 / 3.0)


class GaussianProcess:
    """A Gaussian process that knows its rows.

    Args:
        lengths: From `fit_lengths`, on these rows or fewer.
        u: Rows (N, P).
        y: Target (N,).
    """

    def __init__(self, lengths: Lengths, u: Array, y: Array) -> None:
        self.lengths, self.u, self.y = lengths, u, y
        self._length = torch.from_numpy(np.ascontiguousarray(lengths.length))
        self._z = torch.from_numpy(np.ascontiguousarray(u)) / self._length
        t = torch.from_numpy(np.ascontiguousarray(y))
        self._noise = lengths.noise + MIN_NOISE
        with one_thread():
            k = _kernel(self._z, self._z, lengths.smooth)[0]
            k.diagonal().add_(self._noise)
            factor, failed = torch.linalg.cholesky_ex(k)
            while failed > 0:  # rows so close that rounding makes them one
                k.diagonal().add_(9.0 * self._noise)
                self._noise *= 10.0
                factor, failed = torch.linalg.cholesky_ex(k)
            self._factor = factor
            one = torch.ones_like(t)
            solved = torch.cholesky_solve(torch.stack([t, one], 1), factor)
            self._mean = float(solved[:, 0].sum() / solved[:, 1].sum())
            self._alpha = solved[:, 0] - self._mean * solved[:, 1]
            self._variance = max(float((t - self._mean) @ self._alpha) / len(t), 1e-12)

    def mean(self, u: Array) -> Array:
        """Expected target (C,) at points (C, P)."""
        with one_thread():
            k = _kernel(torch.from_numpy(u) / self._length, self._z, self.lengths.smooth)[0]
            return (self._mean + k @ self._alpha).numpy()

    def gradient(self, u: Array) -> tuple[Array, Array]:
        """Expected target (C,) and its gradient (C, P)."""
        with one_thread():
            z = torch.from_numpy(u) / self._length
            k, slope = _kernel(z, self._z, self.lengths.smooth)
            slope *= self._alpha
            pull = (slope @ self._z - slope.sum(1)[:, None] * z) / self._length
            return (self._mean + k @ self._alpha).numpy(), pull.numpy()

    def moments(self, u: Array) -> tuple[Array, Array]:
        """Expected target (C,) and its standard deviation (C,), noise included."""
        with one_thread():
            k = _kernel(torch.from_numpy(u) / self._length, self._z, self.lengths.smooth)[0]
            explained = ((k @ self._inverse) * k).sum(1)
            left = (1.0 + self._noise - explained).clamp_(min=self._noise)
            return (self._mean + k @ self._alpha).numpy(), (self._variance * left).sqrt_().numpy()

    @cached_property
    def _inverse(self) -> Tensor:
        return torch.cholesky_inverse(self._factor)
