"""Gaussian process: points of the unit cube -> one target, with its uncertainty and its gradient.

A smooth function of a few hundred points is predicted far better by a Gaussian process than by a network, as long as
the cube of the number of rows is affordable (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006).

Shapes: **N** rows, **C** candidates, **P** parameters.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raydnnr.surrogates.kernels import (
    MIN_NOISE,
    Lengths,
    between,
    blocks,
    by_point,
    coordinates,
    of_block,
    one_thread,
    pulled,
)

Array = NDArray[np.float64]


class GaussianProcess:
    """A Gaussian process that knows its rows.

    Args:
        lengths: From `kernel_fit.fit_lengths`, on these rows or fewer.
        u: Rows (N, P).
        y: Target (N,).

    Raises:
        ValueError: A row is not finite.
    """

    def __init__(self, lengths: Lengths, u: Array, y: Array) -> None:
        self.lengths, self.u, self.y = lengths, u, y
        if not (np.isfinite(u).all() and np.isfinite(y).all()):
            raise ValueError("a row of a Gaussian process is not finite")
        t = torch.from_numpy(np.ascontiguousarray(y))
        self._noise = lengths.noise + MIN_NOISE
        with one_thread():
            self._z = coordinates(lengths, torch.from_numpy(np.ascontiguousarray(u)))
            k = between(lengths, self._z, self._z)
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
            return np.concatenate([self._expected(k) for k in self._kernels(u)])

    def gradient(self, u: Array) -> tuple[Array, Array]:
        """Expected target (C,) and its gradient (C, P)."""
        with one_thread():
            x = torch.from_numpy(u)
            value, gradient = pulled(self.lengths, coordinates(self.lengths, x), self._z, self._alpha)
            return (self._mean + value).numpy(), by_point(self.lengths, x, gradient).numpy()

    def moments(self, u: Array) -> tuple[Array, Array]:
        """Expected target (C,) and its standard deviation (C,), noise included."""
        with one_thread():
            pairs = [(self._expected(k), self._deviation(k)) for k in self._kernels(u)]
        return np.concatenate([mean for mean, _ in pairs]), np.concatenate([std for _, std in pairs])

    def _kernels(self, u: Array) -> Iterator[Tensor]:
        """With the rows (B, N), for a block of points at a time."""
        z = coordinates(self.lengths, torch.from_numpy(u))
        return (of_block(self.lengths, block, self._z) for block in blocks(z, self._z))

    def _expected(self, k: Tensor) -> Array:
        expected: Array = (self._mean + k @ self._alpha).numpy()
        return expected

    def _deviation(self, k: Tensor) -> Array:
        explained = torch.linalg.solve_triangular(self._factor, k.T, upper=False).square_().sum(0)
        deviation: Array = (1.0 + self._noise - explained).clamp_(min=self._noise).mul_(self._variance).sqrt_().numpy()
        return deviation
