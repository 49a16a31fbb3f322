"""Landscape: a potential of several fields -> the minima that are deeper than ours, and how fast ours decays into them.

Shapes: **N** places, **F** fields. Fields in GeV, potentials in GeV⁴.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Potential = Callable[[Array], Array]  # fields (N, F) -> values (N,); NaN and +inf are walls

LONGEST = 1000.0  # an action that is called this; a universe lives for about 400
NEWTON_STEPS = 60
_ALPHA = (13.832, -10.819, 2.0765)  # hep-ph/9302321
_STEP = 1e-3  # of a derivative, in units of the size of the fields there
_SAME = 0.02  # places nearer than that share of their size are one
_STRIDE = 0.25  # longest step, as a share of the reach
_EDGE = 0.999  # of the reach
_DEPTH = 1e-6  # of the fourth power of our fields: what counts as deeper
_TACHYON = 1e-4  # of the largest curvature: a negative one that is no rounding error


@dataclass(frozen=True)
class Deeper:
    """Minima that are deeper than ours, the deepest first.

    ``fields`` (n, F), ``depth`` (n,): potential there less ours, < 0; ``action`` (n,): Euclidean action of the decay;
    ``at_edge`` (n,): no minimum, but where the search ended at its reach: it goes on falling there.
    """

    fields: Array
    depth: Array
    action: Array
    at_edge: NDArray[np.bool_]


def is_minimum(potential: Potential, ours: Array) -> bool:
    """Whether the potential has a minimum at ``ours`` (F,), flat directions allowed."""
    scale = _size(ours[None])
    value, gradient, hessian = _derivatives(potential, ours[None], scale)
    if not (np.isfinite(value).all() and np.isfinite(gradient).all() and np.isfinite(hessian).all()):
        return False
    curvature, axes = np.linalg.eigh(hessian[0])
    largest = float(np.abs(curvature).max())
    if curvature[0] < -_TACHYON * largest:
        return False
    return bool(np.abs(axes.T @ gradient[0]).max() <= _SAME * largest * scale[0])


def deeper(potential: Potential, ours: Array, reach: float, n_starts: int = 100) -> Deeper:
    """Search by damped Newton steps from places all over: the same ones for every point.

    Args:
        potential: Of (N, F) fields.
        ours: Our minimum (F,).
        reach: No field is looked at beyond.
        n_starts: From how many places.
    """
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((n_starts, len(ours)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    smallest = min(0.1 * _size(ours[None])[0], reach)
    radii = smallest * (reach / smallest) ** rng.random((n_starts, 1))
    found = descend(potential, np.clip(ours + radii * directions, -reach, reach), reach)
    depth = potential(found) - potential(ours[None])
    order = np.argsort(depth, kind="stable")
    order = order[depth[order] < -_DEPTH * _size(ours[None])[0] ** 4]
    kept: list[int] = []
    for k in order.tolist():
        near = _SAME * _size(found[k][None])[0]
        if all(np.linalg.norm(found[k] - found[other]) > near for other in kept):
            kept.append(k)
    fields = found[kept]
    actions = np.array([action_to(potential, ours, place) for place in fields])
    return Deeper(fields, depth[kept], actions, (np.abs(fields) >= _EDGE * reach).any(axis=1))


def descend(potential: Potential, start: Array, reach: float, n_steps: int = NEWTON_STEPS) -> Array:
    """Where damped Newton steps lead from ``start`` (N, F), all at once, never uphill and never beyond ``reach``.

    Curvatures count with their absolute value, so that saddle points are left.
    """
    place, damping = start.copy(), np.full(len(start), 1e-2)
    for _ in range(n_steps):
        value, gradient, hessian = _derivatives(potential, place, _size(place))
        usable = np.isfinite(gradient).all(axis=1) & np.isfinite(hessian).all(axis=(1, 2))
        curvature, axes = np.linalg.eigh(np.where(usable[:, None, None], hessian, np.eye(place.shape[1])))
        gradient = np.where(usable[:, None], gradient, 0.0)
        least = np.linalg.norm(gradient, axis=1) / (_STRIDE * reach) + 1e-300  # no step is longer than the stride
        stiff = np.abs(curvature) + (damping * np.abs(curvature).max(axis=1) + least)[:, None]
        move = -np.einsum("nij,nj->ni", axes, np.einsum("nij,ni->nj", axes, gradient) / stiff)
        trial = np.clip(place + move, -reach, reach)
        better = potential(trial) < value
        place = np.where(better[:, None], trial, place)
        damping = np.clip(np.where(better, 0.1 * damping, 10 * damping), 1e-9, 1e9)
    return place


def action_to(potential: Potential, ours: Array, there: Array) -> float:
    """Action of the decay along the straight line to a deeper place; `LONGEST` at most.

    Along it the potential is taken for a quartic: exact for a renormalisable one.
    """
    distance = float(np.linalg.norm(there - ours))
    t = np.linspace(-0.25, 1.0, 26)[:, None]
    rise = potential(ours + t * (there - ours)) - potential(ours[None])
    usable = np.isfinite(rise)
    if usable.sum() < 3:
        return LONGEST
    b, a, quartic = np.linalg.lstsq(np.hstack([t**2, -(t**3), t**4])[usable], rise[usable], rcond=None)[0]
    return quartic_action(b / distance**2, a / distance**3, quartic / distance**4)


def quartic_action(b: float, a: float, quartic: float) -> float:
    r"""Action of the bounce in :math:`V = b\phi^2 - a\phi^3 + \lambda\phi^4`; `LONGEST` at most.

    .. math:: S = \frac{8\pi^2 b}{3a^2} \frac{13.832 - 10.819\,\delta + 2.0765\,\delta^2}{(2 - \delta)^3},
        \qquad \delta = 8 \lambda b / a^2

    0 without a barrier. A field is real, with the kinetic term :math:`(\partial\phi)^2 / 2`.

    References:
        F. C. Adams, hep-ph/9302321. For λ < 0 the formula is continued: it is right to 5 % there.
    """
    if b <= 0:
        return 0.0
    a = max(abs(a), 1e-9 * math.sqrt(b * abs(quartic)), 1e-150)
    delta = 8 * quartic * b / a**2
    if delta >= 2:
        return LONGEST
    first, second, third = _ALPHA
    shape = (first + second * delta + third * delta**2) / (2 - delta) ** 3
    return min(8 * math.pi**2 * b / (3 * a**2) * shape, LONGEST)


def _size(place: Array) -> Array:
    """Size of the fields at each place (N,), GeV; 1 at least."""
    return np.maximum(np.linalg.norm(place, axis=1), 1.0)


def _derivatives(potential: Potential, place: Array, size: Array) -> tuple[Array, Array, Array]:
    """Value (N,), gradient (N, F) and second derivatives (N, F, F), by differences; in one call of the potential."""
    n, f = place.shape
    h = _STEP * size
    pairs = [(i, j) for i in range(f) for j in range(i)]
    moves = [np.zeros(f), *(sign * row for row in np.eye(f) for sign in (1, -1)),
             *(u * np.eye(f)[i] + v * np.eye(f)[j] for i, j in pairs for u in (1, -1) for v in (1, -1))]
    places = place[None] + np.array(moves)[:, None] * h[None, :, None]
    values = potential(places.reshape(-1, f)).reshape(len(moves), n)
    up, down = values[1 : 2 * f + 1 : 2], values[2 : 2 * f + 1 : 2]
    with np.errstate(invalid="ignore"):
        gradient = ((up - down) / (2 * h)).T
        hessian = np.empty((n, f, f))
        hessian[:, range(f), range(f)] = ((up + down - 2 * values[0]) / h**2).T
        for k, (i, j) in enumerate(pairs):
            pp, pm, mp, mm = values[2 * f + 1 + 4 * k : 2 * f + 5 + 4 * k]
            hessian[:, i, j] = hessian[:, j, i] = (pp - pm - mp + mm) / (4 * h**2)
    return values[0], gradient, hessian
