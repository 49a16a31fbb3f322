r"""Kernels of a Gaussian process: how alike the target is at two points of the unit cube.

The kernel has one length per parameter. It is Matern 5/2, which forgives kinks, or the normal one, which learns an
analytic function from fewer rows:

.. math:: k(r) = (1 + \sqrt 5 r + \tfrac 5 3 r^2) e^{-\sqrt 5 r} \text{ or } e^{-r^2/2},
          \quad r^2 = \sum_d (u_d - u'_d)^2 / \ell_d^2

On *adapted coordinates* z it measures the distance after each parameter was stretched at one end (input warping; Snoek
et al., arXiv:1402.0929) and all were mixed by a linear map close to the identity (a factor of a Mahalanobis distance;
Vivarelli and Williams, NIPS 1998). What acts through its logarithm or inverse then varies evenly, and a length may lie
along a direction that is no axis: two masses that are nearly equal, a resonance at twice a mass:

.. math:: r^2 = \sum_d (z_d - z'_d)^2 / \ell_d^2, \quad z = A s, \quad
          s_d = \frac{e^{\kappa_d u_d} - 1}{e^{\kappa_d} - 1}, \quad A_{dd} = 1

A last one adds functions of one parameter each, with lengths of their own (Duvenaud, Nickisch and Rasmussen,
arXiv:1112.4394), to what all parameters do together:

.. math:: \frac{k(r) + s \, \tfrac 1 P \sum_d k(|u_d - u'_d| / \ell'_d)}{1 + s}

A sum of P functions with n wiggles each is learned from some P n rows; as a function of P parameters it has
:math:`n^P` cells.

Shapes: **A**, **B** points, **P** parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

SQRT5 = math.sqrt(5.0)
LEAST_STRETCH = 1e-3  # below, rounding errors
MIN_NOISE = 1e-6  # variance of the noise beside that of the target: keeps the matrix invertible
BLOCK = 2**15  # numbers of a matrix at a time: what stays in the processor's cache between two operations


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread, so that the same rows give the same bits on any machine load."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Lengths:
    """What a kernel is.

    ``length``: one per parameter (P,), in units of the cube; ``noise``: its variance as a share of the target's;
    ``smooth``: whether the kernel is the normal one, not Matern 5/2; ``single``: lengths (P,) of the functions of one
    coordinate, None where there are none; ``share``: the variance of their sum beside that of the rest; ``turn``: the
    map A (P, P), and ``stretch``: kappa (P,), of adapted coordinates, None where there are none.
    """

    length: Array
    noise: float
    smooth: bool = False
    single: Array | None = None
    share: float = 0.0
    turn: Array | None = None
    stretch: Array | None = None


def stretched(stretch: Array, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points (A, P) stretched at one end, and the derivatives (A, P) of that by the point and by the stretch."""
    kappa = torch.from_numpy(np.where(np.abs(stretch) < LEAST_STRETCH, np.copysign(LEAST_STRETCH, stretch), stretch))
    whole, part = torch.expm1(kappa), torch.expm1(kappa * x)
    by_point = kappa * (part + 1.0) / whole
    return part / whole, by_point, x * (part + 1.0) / whole - part * (whole + 1.0) / whole**2


def coordinates(lengths: Lengths, x: Tensor) -> Tensor:
    """Points (A, P) of the unit cube in the coordinates z (A, P) of the kernel, which are its own or adapted ones."""
    if lengths.turn is None or lengths.stretch is None:
        return x
    return stretched(lengths.stretch, x)[0] @ torch.from_numpy(lengths.turn).T


def by_point(lengths: Lengths, x: Tensor, gradient: Tensor) -> Tensor:
    """A gradient (A, P) by the coordinates of points (A, P), as one by the points themselves."""
    if lengths.turn is None or lengths.stretch is None:
        return gradient
    return (gradient @ torch.from_numpy(lengths.turn)).mul_(stretched(lengths.stretch, x)[1])


def between(lengths: Lengths, a: Tensor, b: Tensor) -> Tensor:
    """Kernel (A, B) of coordinates (A, P) and (B, P)."""
    k = torch.empty((len(a), len(b)), dtype=a.dtype)
    for rows, block in zip(k.split(_block_size(b)), blocks(a, b), strict=True):
        rows.copy_(of_block(lengths, block, b))
    return k


def pulled(lengths: Lengths, a: Tensor, b: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """The function ``sum_b alpha_b k(z, b)`` at coordinates (A, P): values (A,) and gradients (A, P) by these."""
    parts = [_pulled(lengths, block, b, alpha) for block in blocks(a, b)]
    return torch.cat([value for value, _ in parts]), torch.cat([gradient for _, gradient in parts])


def together(lengths: Lengths, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The part of all coordinates: kernel (A, B), and minus its derivative by half the squared scaled distance."""
    length = torch.from_numpy(lengths.length)
    distance = torch.cdist(a / length, b / length)
    if not lengths.smooth:
        return _matern(distance)
    k = distance.square_().mul_(-0.5).exp_()
    return k, k.clone()


def alone(single: Array, a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The part of each coordinate alone, as `together` gives it."""
    for d, length in enumerate(single.tolist()):
        yield _matern((a[:, d, None] - b[None, :, d]).abs_().div_(length))


def blocks(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    """Points ``a``, as many at a time as have `BLOCK` pairs with points ``b``."""
    return a.split(_block_size(b))


def _block_size(b: Tensor) -> int:
    return max(1, BLOCK // max(1, len(b)))


def of_block(lengths: Lengths, a: Tensor, b: Tensor) -> Tensor:
    """The kernel (A, B) of one block of coordinates."""
    k = together(lengths, a, b)[0]
    if lengths.single is None:
        return k
    for one, _ in alone(lengths.single, a, b):
        k += one * (lengths.share / a.shape[1])
    return k.div_(1.0 + lengths.share)


def _pulled(lengths: Lengths, a: Tensor, b: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    k, slope = together(lengths, a, b)
    slope *= alpha
    value, gradient = k @ alpha, slope @ b - slope.sum(1)[:, None] * a
    gradient /= torch.from_numpy(lengths.length**2)
    if lengths.single is None:
        return value, gradient
    weight = lengths.share / a.shape[1]
    for d, (one, slope) in enumerate(alone(lengths.single, a, b)):
        slope *= alpha
        value += weight * (one @ alpha)
        gradient[:, d] += weight * (slope @ b[:, d] - slope.sum(1) * a[:, d]) / float(lengths.single[d]) ** 2
    return value / (1.0 + lengths.share), gradient / (1.0 + lengths.share)


def _matern(distance: Tensor) -> tuple[Tensor, Tensor]:
    """Kernel and slope of scaled distances, which are overwritten."""
    s = distance.mul_(SQRT5)
    decay = torch.exp(-s)
    linear = s + 1.0
    return torch.addcmul(linear, s, s, value=1.0 / 3.0).mul_(decay), linear.mul_(decay).mul_(5.0 / 3.0)
