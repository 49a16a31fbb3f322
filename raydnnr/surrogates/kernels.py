r"""Kernels of a Gaussian process: how alike the target is at two points of the unit cube.

The kernel has one length per parameter. It is Matern 5/2, which forgives kinks, or the normal one, which learns an
analytic function from fewer rows:

.. math:: k(r) = (1 + \sqrt 5 r + \tfrac 5 3 r^2) e^{-\sqrt 5 r} \text{ or } e^{-r^2/2},
          \quad r^2 = \sum_d (u_d - u'_d)^2 / \ell_d^2

A third one adds functions of one parameter each, with lengths of their own (Duvenaud, Nickisch and Rasmussen,
arXiv:1112.4394), to what all parameters do together:

.. math:: \frac{k(r) + s \, \tfrac 1 P \sum_d k(|u_d - u'_d| / \ell'_d)}{1 + s}

A sum of P functions with n wiggles each is learned from some P n rows; as a function of P parameters it has
:math:`n^P` cells.

Shapes: **A**, **B** points, **P** parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

SQRT5 = math.sqrt(5.0)


@dataclass(frozen=True)
class Lengths:
    """What a kernel is.

    ``length``: one per parameter (P,), in units of the cube; ``noise``: its variance as a share of the target's;
    ``smooth``: whether the kernel is the normal one, not Matern 5/2; ``single``: lengths (P,) of the functions of one
    parameter, None where there are none; ``share``: the variance of their sum beside that of the rest.
    """

    length: Array
    noise: float
    smooth: bool = False
    single: Array | None = None
    share: float = 0.0


def between(lengths: Lengths, a: Tensor, b: Tensor) -> Tensor:
    """Kernel (A, B) of points (A, P) and (B, P)."""
    k = together(lengths, a, b)[0]
    if lengths.single is None:
        return k
    for one, _ in alone(lengths.single, a, b):
        k += one * (lengths.share / a.shape[1])
    return k.div_(1.0 + lengths.share)


def pulled(lengths: Lengths, a: Tensor, b: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """The function ``sum_b alpha_b k(u, b)`` at points (A, P): values (A,) and gradients (A, P)."""
    length = torch.from_numpy(lengths.length)
    k, slope = together(lengths, a, b)
    slope *= alpha
    value, gradient = k @ alpha, (slope @ (b / length) - slope.sum(1)[:, None] * (a / length)) / length
    if lengths.single is None:
        return value, gradient
    weight = lengths.share / a.shape[1]
    for d, (one, slope) in enumerate(alone(lengths.single, a, b)):
        slope *= alpha
        value += weight * (one @ alpha)
        gradient[:, d] += weight * (slope @ b[:, d] - slope.sum(1) * a[:, d]) / float(lengths.single[d]) ** 2
    return value / (1.0 + lengths.share), gradient / (1.0 + lengths.share)


def together(lengths: Lengths, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The part of all parameters: kernel (A, B), and minus its derivative by half the squared scaled distance."""
    length = torch.from_numpy(lengths.length)
    return _of(_squares(a / length, b / length), lengths.smooth)


def alone(single: Array, a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The part of each parameter alone, as `together` gives it."""
    for d, length in enumerate(single.tolist()):
        yield _of((a[:, d, None] - b[None, :, d]).div_(length).square_(), smooth=False)


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return torch.addmm((b * b).sum(1)[None, :], a, b.T, alpha=-2.0).add_((a * a).sum(1)[:, None]).clamp_(min=0.0)


def _of(r2: Tensor, smooth: bool) -> tuple[Tensor, Tensor]:
    """Kernel and slope of squared distances, which are overwritten."""
    if smooth:
        k = r2.mul_(-0.5).exp_()
        return k, k.clone()
    s = r2.mul_(5.0).sqrt_()
    e = torch.exp(-s)
    slope = (1.0 + s).mul_(e)
    return slope + s.square().mul_(e).div_(3.0), slope.mul_(5.0 / 3.0)
