"""Coverage: the good points found so far -> how much of the good region they cover, and in how many parts it lies.

Everything is measured in the unit cube, between found points alone, and so knows only the parts of the good region that
the search has been to: an island nobody has visited is in none of these numbers. They say whether a scan may end, not
that it has seen everything; for that, compare scans with different seeds.

Shapes: **N** good points, **P** scanned parameters.

References:
    Unseen mass from single observations: I. J. Good, Biometrika 40 (1953) 237. Intrinsic dimension from distances to
    neighbours: E. Levina, P. Bickel, NIPS 17 (2004). The score it imitates, share of a region within a fixed distance
    of a sample, is the empty-space function of spatial statistics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESOLUTION = 1000  # so many independent, evenly drawn points would cover `IDEAL` of the good region
IDEAL = 0.9
NEIGHBOURS = 8  # to which density is measured: more blur small regions, fewer are noise
FEWEST = 3 * NEIGHBOURS  # points below which nothing is said
MOST = 4000  # points whose distances are taken all: more are represented by so many, drawn with a fixed seed
MOST_SEEN = 100_000  # points that a survey looks at: of more, so many spread over their discovery, and all new ones
BLOCK = 1000  # points whose distances to others are held at once
NEWEST, NEWEST_SHARE = (50, 500), 0.2  # of these points the gain is measured
OUTLIER = 0.95  # quantile to which the volume of a point is cut: a lonely point is not a huge region
LINK, CLOSE = 3.0, 3  # points are linked over gaps up to this multiple of the distance to this neighbour
GROWTH = 1.1  # of the good points between two surveys
CELLS = 2**44  # to which coordinates are rounded where equal points are looked for


@dataclass(frozen=True)
class Coverage:
    """How much of the good region is covered: ``share`` in [0, 1] with its standard error ``error``.

    ``radius``: distance in the unit cube within which a point covers; ``dimension``: of the region, 1 to P. All are NaN
    below `FEWEST` points.
    """

    share: float = math.nan
    error: float = math.nan
    radius: float = math.nan
    dimension: float = math.nan


@dataclass(frozen=True)
class Regions:
    """Separate parts of the good region: their ``count`` and their ``effective`` number, ``exp(-sum p ln p)`` over the
    shares ``p`` of the points (NaN of nothing): parts with few points count little."""

    count: int = 0
    effective: float = math.nan


@dataclass(frozen=True)
class Survey:
    """What is known of the good region after ``n_points`` good points; NaN where that is nothing.

    ``gain``: share of the newest points that extend the covered region (`coverage_gain`).
    """

    n_points: int = 0
    coverage: Coverage = Coverage()
    gain: float = math.nan
    regions: Regions = Regions()

    def __str__(self) -> str:
        """In a few words, empty where nothing is known.

        >>> str(Survey(966, Coverage(0.871, 0.012, 0.05, 3.2), 0.124, Regions(4, 3.61)))
        'coverage 87.1 +- 1.2 %, gain 12.4 %, 4 regions (3.6 effective)'
        """
        share, error = 100 * self.coverage.share, 100 * self.coverage.error
        if math.isnan(share):
            return ""
        words = [f"coverage {share:.1f} +- {error:.1f} %"]
        words += [] if math.isnan(self.gain) else [f"gain {100 * self.gain:.1f} %"]
        n, effective = self.regions.count, self.regions.effective
        return ", ".join([*words, "1 region" if n == 1 else f"{n} regions ({effective:.1f} effective)"])


def survey(u_good: Array) -> Survey:
    """All numbers of this module for good points (N, P) of the unit cube in the order of their discovery."""
    seen = _seen(u_good)
    u = _distinct(seen)
    if len(u) < FEWEST:
        return Survey(len(u_good), regions=n_regions(u))
    neighbours = _neighbours(_sample(u))
    found = _coverage(neighbours[0], (round(len(u) * len(u_good) / len(seen)), u.shape[1]))
    return Survey(len(u_good), found, coverage_gain(seen, found.radius), _regions(*neighbours))


def rung(n_good: int) -> int:
    """The largest number of good points up to this one at which a survey is made; 0 for none.

    The numbers are fixed, so that a scan that is resumed looks at the same points as one that was never stopped.

    >>> [rung(n) for n in (10, 24, 100, 1000)]
    [0, 24, 94, 966]
    """
    step, last = FEWEST, 0
    while step <= n_good:
        last, step = step, math.ceil(GROWTH * step)
    return last


def coverage(u_good: Array) -> Coverage:
    r"""Estimate the share of the good region that lies within a radius of a found good point.

    Let :math:`T_i = d_i^m`, with :math:`d_i` the distance of point *i* to its *k*-th neighbour and *m* the dimension of
    the region, be the volume around a point in units of :math:`k` points per ball of radius 1. Where points are drawn
    evenly, :math:`T_i` is gamma distributed, and

    .. math:: \text{missing} = \sum_i T_i \, (1 - r^m / T_i)_+^k \Big/ \sum_i T_i

    is an unbiased estimate of the share of the volume without a point within *r*. It is Good and Turing's (the share of
    points with no other point near) made to count volume instead of points, for searches crowd, and to look at *k*
    neighbours instead of one, for a search that keeps its points apart leaves every point alone.

    The radius follows from the found region's own volume: with *r*, `RESOLUTION` (1000) points evenly drawn from it
    cover `IDEAL` (90 %) of it. So *r* does not shrink while points are added to the same region; it grows when new
    parts of the region are found. 0.90 is what 1000 ideal points reach, 0.99 what 2000 do; a search that crowds in one
    corner of what it has found has less.

    What it cannot see: islands never visited; and where the region is thinner than the distance between points, the
    dimension and with it the share are uncertain by more than ``error``. For points that keep a distance from one
    another, which cover more than independent ones, it is low.

    Args:
        u_good: Good points (N, P) of the unit cube in any order. Rows with NaN and repeated points do not count.

    Returns:
        NaN below `FEWEST` distinct points.

    Example:
        A thousand points of a square cover nine tenths of it; the edge of the square costs some per cent.

        >>> u = np.random.default_rng(1).random((1000, 2))
        >>> found = coverage(u)
        >>> abs(found.share - 0.9) < 0.03, round(found.dimension), abs(found.radius - 0.027) < 0.003
        (True, 2, True)
    """
    u = _distinct(u_good)
    return Coverage() if len(u) < FEWEST else _coverage(_neighbours(_sample(u))[0], u.shape)


def coverage_gain(u_good: Array, radius: float | None = None) -> float:
    """Share of the newest good points that lie farther than a radius from every earlier good point.

    The newest ones are the last fifth of all, at least 50 and at most 500 of them; earlier is all that was found before
    the point itself. For points drawn evenly from a region that is known, the gain is the uncovered share: 0.1 after
    1000 points, 0.01 after 2000. While new parts are found it is higher.

    Args:
        u_good: Good points (N, P) of the unit cube in the order of their discovery. Rows with NaN do not count; a
            repeated point extends nothing.
        radius: By default that of `coverage`.

    Returns:
        In [0, 1]; NaN where no radius is known, or no point is earlier than the newest.

    Example:
        >>> coverage_gain(np.linspace(0, 1, 101)[:, None], radius=0.02), coverage_gain(np.eye(60), radius=0.5)
        (0.0, 1.0)
    """
    u = np.asarray(u_good, np.float64)
    u = u[np.isfinite(u).all(axis=1)]
    radius = coverage(u).radius if radius is None else radius
    n_new = int(np.clip(NEWEST_SHARE * len(u), *NEWEST))
    if not radius >= 0 or len(u) <= n_new:
        return math.nan
    earlier, new = u[:-n_new], u[-n_new:]
    extends = _far(new, earlier, radius)
    for i in np.flatnonzero(extends):  # those before it among the newest themselves
        extends[i] = (np.square(new[:i] - new[i]).sum(axis=1) > radius**2).all()
    return float(extends.mean())


def n_regions(u_good: Array) -> Regions:
    """Separate regions among good points: single linkage with a local scale.

    Two points are linked when one is among the `NEIGHBOURS` (8) nearest of the other, and their distance is at most
    `LINK` (3) times the distance at which the lonelier of the two has its third neighbour. So the scale follows the
    density of points, a crowd within a region is no region of its own, and a region is separate from four points on
    when the gap around it is three times wider than the distances within. Fewer points count with the region next to
    them. Of more than `MOST` (4000) points so many are looked at, drawn with a fixed seed: a region with one found
    point in a thousand may be missed.

    Args:
        u_good: Good points (N, P) of the unit cube in any order. Rows with NaN and repeated points do not count.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> n_regions(np.concatenate([0.1 * rng.random((300, 2)), 0.9 + 0.1 * rng.random((100, 2))]))
        Regions(count=2, effective=1.75...)
    """
    u = _sample(_distinct(u_good))
    return _regions(*_neighbours(u)) if len(u) > NEIGHBOURS else Regions(min(len(u), 1), 1.0 if len(u) else math.nan)


def _coverage(distance: Array, shape: tuple[int, ...]) -> Coverage:
    """Of points ``shape`` (N, P), some of which have these distances to their neighbours."""
    n_points, n_params = shape
    dimension = _dimension(distance, n_params)
    scale = float(distance[:, -1].mean())
    volume = (distance[:, -1] / scale) ** dimension
    volume = np.minimum(volume, np.quantile(volume, OUTLIER)) * len(distance) / n_points
    ball = -math.log(1 - IDEAL) / RESOLUTION * volume.mean() * n_points / NEIGHBOURS
    alone = np.clip(1 - ball / volume, 0, None) ** NEIGHBOURS
    missing = float(np.average(alone, weights=volume))
    spread = math.sqrt(np.mean((volume * (alone - missing)) ** 2)) / volume.mean()
    radius = scale * ball ** (1 / dimension)
    return Coverage(1 - missing, spread * math.sqrt(NEIGHBOURS / len(distance)), radius, dimension)


def _regions(distance: Array, neighbour: NDArray[np.intp]) -> Regions:
    """Linked points are one region."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_points, reach = len(distance), LINK * distance[:, CLOSE - 1]
    linked = distance <= np.maximum(reach[:, None], reach[neighbour])
    pairs = (np.nonzero(linked)[0], neighbour[linked])
    graph = coo_array((np.ones(len(pairs[0]), np.int8), pairs), shape=(n_points, n_points))
    share = np.bincount(connected_components(graph, directed=False)[1]) / n_points
    return Regions(len(share), float(np.exp(-(share * np.log(share)).sum())))


def _distinct(u: Array) -> Array:
    """Finite points, each once, in an order that is random but follows from the points alone."""
    u = np.asarray(u, np.float64)
    u = u[np.isfinite(u).all(axis=1)]
    cells = np.round(u * CELLS).astype(np.int64).astype(np.uint64)
    mark = cells @ np.random.default_rng(0).integers(2**64, size=u.shape[1], dtype=np.uint64)
    mark = (mark ^ (mark >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    return u[np.unique(mark, return_index=True)[1]]


def _seen(u: Array) -> Array:
    """What a survey looks at of so many points: what it costs does not grow with their number."""
    n_new = NEWEST[1]
    if len(u) <= MOST_SEEN:
        return u
    spread = np.linspace(0, len(u) - n_new, MOST_SEEN - n_new, endpoint=False).astype(np.intp)
    return np.concatenate([u[spread], u[-n_new:]])


def _sample(u: Array) -> Array:
    """At most `MOST` of what `_distinct` gave."""
    return u[:MOST]


def _neighbours(u: Array) -> tuple[Array, NDArray[np.intp]]:
    """Distances to the nearest `NEIGHBOURS` other points in their order, and who they are, (N, k) each.

    All distances are computed: up to `MOST` points that is faster than a tree from six dimensions on.
    """
    found = np.empty((len(u), NEIGHBOURS), np.intp)
    for first in range(0, len(u), BLOCK):
        square = _squares(u[first : first + BLOCK], u)
        np.fill_diagonal(square[:, first:], np.inf)
        found[first : first + BLOCK] = np.argpartition(square, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    distance = np.sqrt(np.square(u[found] - u[:, None]).sum(axis=2))
    order = np.argsort(distance, axis=1, kind="stable")
    return np.take_along_axis(distance, order, axis=1), np.take_along_axis(found, order, axis=1)


def _squares(a: Array, b: Array) -> Array:
    """Squared distances (A, B), to about 1e-15 of the squared extent of ``b``."""
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    squares: Array = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return squares


def _dimension(distance: Array, n_params: int) -> float:
    """Of the set whose points have these distances (N, k) to their neighbours: the maximum likelihood estimate."""
    mean = float(np.log(distance[:, -1:] / distance[:, :-1]).mean())
    return float(np.clip(1 / mean if mean > 0 else n_params, 1, n_params))


def _far(new: Array, earlier: Array, radius: float) -> NDArray[np.bool_]:
    """Which new points have no earlier point within the radius. Those that have one are not looked at again."""
    far = np.ones(len(new), bool)
    for first in range(0, len(earlier), 4 * BLOCK):
        left = np.flatnonzero(far)
        far[left] = (_squares(new[left], earlier[first : first + 4 * BLOCK]) > radius**2).all(axis=1)
    return far
