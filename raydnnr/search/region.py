r"""Region: the part of the unit cube that the surrogate takes for good, as a cloud of points spread over all of it.

Two moves make the cloud. `project` takes points from anywhere to the nearest place where all constraints hold, by
Gauss-Newton steps on :math:`\rho_k = \sqrt{2 \,\mathrm{loss}_k}`. `walk` moves points inside, by steps that know the
constraints: far along the directions that change no observable, little along the others,

.. math:: \delta \sim N(0, s^2 M^{-1}), \quad M = \sum_k D_k\, J_k J_k^T + 1/L^2

with the gradients :math:`J_k` of the predicted targets and the curvature :math:`D_k` of their losses, and a
Gauss-Newton step back for those that fall outside (cf. Riemann manifold Monte Carlo, Girolami and Calderhead 2011). In
thin shells of many dimensions four such moves spread a cloud as far as hundreds of random steps. Detailed balance is
not kept: the cloud is for choosing points, not for integrals.

Shapes: **C** points, **P** parameters, **T** targets.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from raydnnr.surrogates.emulator import Emulator, Geometry

Array = NDArray[np.float64]

FREE_LENGTH = 0.5  # L: of a step along directions that no constraint limits, in units of the cube
LONGEST_STEP = 0.12  # of a projection, times the root of P
LANDING = 0.9  # at most, so that points land all over the thickness of a shell, not on its outside
SIZES = (-1.5, 0.2)  # decadic logarithms of the size of a step inside
OPTIMISM = 3.0
FEWEST_STIRRED, STIRRING = 10, 0.003
DAMPING = 1e-3
VALID_MARGIN = 0.3  # of the validity label (+1 ok, -1 not) that a projection aims at
LABEL_WEIGHT = 3.0


def reflect(u: Array) -> Array:
    """Points that left the cube, mirrored back into it."""
    inside: Array = np.clip(1.0 - np.abs(1.0 - np.abs(u)), 0.0, 1.0)
    return inside


def violation(geometry: Geometry, excess: Array | float) -> Array:
    """Sum of the losses (C,), and more than ``excess`` where the point is taken as invalid."""
    total: Array = geometry.loss.sum(axis=1)
    if geometry.label is not None:
        total = total + np.where(geometry.label < 0, 2.0 * np.maximum(excess, 1.0) - 5.0 * geometry.label, 0.0)
    return total


def newton_step(geometry: Geometry, excess: Array | float, landing: Array) -> Array:
    r"""Step (C, P) of least length to where all constraints hold, as far as :math:`\rho` is linear.

    Args:
        geometry: Of the points.
        excess: The threshold, one or of each point (C,).
        landing: Where to land (C,): 0 where the losses are lowest, 1 where they just reach the threshold, -1 at the
            other side of the constraints.
    """
    rho = np.sqrt(2.0 * geometry.loss) + 1e-9
    total = np.maximum(geometry.loss.sum(axis=1), 1e-12)
    wanted = 1.0 - landing * np.sqrt(np.clip(excess, 0.0, total) / total)
    rows = (geometry.slope / rho)[..., None] * geometry.jacobian
    residual = rho * wanted[:, None]
    if geometry.label is not None and geometry.label_gradient is not None:
        short = np.maximum(VALID_MARGIN - geometry.label, 0.0)
        pull = -LABEL_WEIGHT * (short > 0)[:, None] * geometry.label_gradient
        rows = np.concatenate([rows, pull[:, None]], axis=1)
        residual = np.concatenate([residual, LABEL_WEIGHT * short[:, None]], axis=1)
    gram = rows @ rows.transpose(0, 2, 1)
    size = gram.trace(axis1=1, axis2=2) / gram.shape[1]
    gram += DAMPING * (size + 1e-9)[:, None, None] * np.eye(gram.shape[1])
    step = -np.einsum("ctp,ct->cp", rows, np.linalg.solve(gram, residual[..., None])[..., 0])
    longest = LONGEST_STEP * math.sqrt(step.shape[1])
    length = np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-12)
    shortened: Array = step * np.minimum(1.0, longest / length)
    return shortened


def project(emulator: Emulator, u: Array, rng: np.random.Generator, n_steps: int = 8,
            reach: Array | None = None) -> tuple[Array, Array]:
    """Points (C, P) moved to where the surrogate takes them for good, or as near as they got, and their violation (C,).

    With a ``reach`` (C,) no coordinate of a point moves farther than that: where the surrogate may be believed.
    """
    excess, low, high = emulator.excess, np.zeros_like(u), np.ones_like(u)
    if reach is not None:
        low, high = np.maximum(u - reach[:, None], 0.0), np.minimum(u + reach[:, None], 1.0)
    landing = rng.uniform(-LANDING, LANDING, len(u))
    best, lowest = u.copy(), np.full(len(u), np.inf)
    moving = np.arange(len(u))
    for _ in range(n_steps + 1):
        geometry = emulator.geometry(u)
        total = violation(geometry, excess)
        better = total < lowest[moving]
        best[moving[better]], lowest[moving[better]] = u[better], total[better]
        outside = total >= excess
        if not outside.any():
            break
        step = newton_step(geometry.take(outside), excess, landing[moving[outside]])
        moving = moving[outside]
        u = np.clip(u[outside] + step, low[moving], high[moving])
    return best, lowest


def walk(emulator: Emulator, u: Array, n_steps: int, rng: np.random.Generator) -> Array:
    """The places (n, P) where points (C, P) have been in the second half of ``n_steps`` moves inside the region.

    Half of the points take the threshold for up to `OPTIMISM` times what it is, and so get to know what lies just
    beyond the region: the surrogate may be wrong.
    """
    optimism = np.where(rng.random(len(u)) < 0.5, 1.0, rng.uniform(1.0, OPTIMISM, len(u)))
    excess = max(emulator.excess, 0.0) * optimism
    geometry = emulator.geometry(u)
    total = violation(geometry, excess)
    places = []
    for step in range(n_steps):
        new = reflect(u + _tangent_step(geometry, excess, rng))
        there = emulator.geometry(new)
        outside = violation(there, excess) >= excess
        if outside.any():
            landing = rng.uniform(-LANDING, LANDING, int(outside.sum()))
            back = newton_step(there.take(outside), excess[outside], landing)
            new[outside] = np.clip(new[outside] + back, 0.0, 1.0)
            there = there.put(outside, emulator.geometry(new[outside]))
        new_total = violation(there, excess)
        taken = new_total <= np.maximum(total, excess)
        u, total = np.where(taken[:, None], new, u), np.where(taken, new_total, total)
        geometry = geometry.put(taken, there.take(taken))
        if step >= n_steps // 2:
            places.append(u)
    return np.concatenate(places) if places else u


def stir(emulator: Emulator, u: Array, n_moves: int, rng: np.random.Generator) -> Array:
    """Points (C, P) of which those inside the region have been moved along differences of others, where they stayed
    inside: symmetric moves, which lead to an even density (differential evolution Monte Carlo; ter Braak 2006).
    """
    inside = np.flatnonzero(emulator.inside(u))
    if len(inside) < FEWEST_STIRRED:
        return u
    place = u[inside]
    for _ in range(n_moves):
        first, second = (place[rng.integers(len(place), size=len(place))] for _ in range(2))
        moved = rng.random(place.shape) < rng.uniform(0.2, 1.0, (len(place), 1))
        step = rng.uniform(0.1, 1.0, (len(place), 1)) * (first - second) * moved
        new = reflect(place + step + STIRRING * rng.standard_normal(place.shape))
        taken = emulator.inside(new)
        place = np.where(taken[:, None], new, place)
    u = u.copy()
    u[inside] = place
    return u


def _tangent_step(geometry: Geometry, excess: Array, rng: np.random.Generator) -> Array:
    """Random steps (C, P) that the constraints allow."""
    n, _, n_params = geometry.jacobian.shape
    width = 2.0 * np.maximum(excess, 1e-12)[:, None]
    stiffness = np.maximum(geometry.curvature, 0.0) / width + (geometry.slope / width) ** 2
    metric = geometry.jacobian.transpose(0, 2, 1) @ (stiffness[..., None] * geometry.jacobian)
    values, vectors = np.linalg.eigh(metric + np.eye(n_params) / FREE_LENGTH**2)
    size = 10.0 ** rng.uniform(*SIZES, (n, 1))
    z = rng.standard_normal((n, n_params)) / np.sqrt(np.maximum(values, FREE_LENGTH**-2))
    steps: Array = size * np.einsum("cpq,cq->cp", vectors, z)
    return steps
