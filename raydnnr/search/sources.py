"""Proposal sources of `hybrid`: each knows one way to find points worth an evaluation.

A source is a kind: its fields are its settings, `propose` does the work, and its ``floor`` is the share of every round
that it keeps however little it brought lately (`raydnnr.search.bandit`). Sources that need no surrogate (`Explore`,
`Local`, `Evolution`) are what a scan falls back on where none has skill; the last two rest while one is trusted.

Shapes: **P** parameters, **n** points asked for, **C** candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from raydnnr.errors import ConfigError
from raydnnr.search.acquisition import ACQUISITIONS, expected_coverage_gain
from raydnnr.search.region import reflect
from raydnnr.search.scene import Scene

if TYPE_CHECKING:
    from raydnnr.surrogates.emulator import Emulator

Array = NDArray[np.float64]

N_CANDIDATES = 16  # children of each parent in a tournament; random points of which `explore` takes one
MAX_FILLING, MAX_ROWS = 64, 20_000  # points of a round of `explore` that keep away from rows, of these the newest
N_STEPS = 64  # that are considered from each row
LEAST_DESCENT = 0.05  # of what a valley misses: a point that gains less was in vain
MAX_VALLEYS = 128  # that are compared: of the lowest rows, and once there are good points of predicted ones
APART = 0.05  # that predicted valleys are taken for different ones, times the root of P
MAX_DESCENDED = 300  # before there are good points
MAX_FAR, MAX_REDRAWN = 450, 250  # candidates of the frontier
LEAST_CHANCE = 0.002  # that frontier gives any candidate
CAUTION = 2.0  # of frontier, with which a chance counts


class Source(Protocol):
    """A way to find points."""

    @property
    def floor(self) -> float:
        """Share of every round that is this source's."""
        ...

    @property
    def needs_surrogate(self) -> bool:
        """Whether it can do nothing without one."""
        ...

    def is_over(self, scene: Scene) -> bool:
        """Whether it takes no part any more."""
        ...

    def propose(self, scene: Scene, n: int) -> Array:
        """Points (n, P) of the unit cube, or fewer."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Floored:
    """What all sources have."""

    floor: float = 0.04

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ConfigError(f"floor: got {self.floor}; use a number between 0 and 1")

    @property
    def needs_surrogate(self) -> bool:
        """It does not."""
        return False

    def is_over(self, scene: Scene) -> bool:
        """Never."""
        return False


@dataclass(frozen=True, kw_only=True)
class Explore(_Floored):
    """Points from anywhere in the priors, those first that are probably valid, where the fewest others are.

    What keeps a scan honest: it alone finds what nothing hints at, and shows the surrogate where it is wrong
    (deep active learning that never loses to random sampling has such a part; arXiv:2302.00098). Of random points it
    takes those that are farthest from all rows (Mitchell's best candidates), with opposite sides of the cube taken for
    neighbours: else corners would be the farthest places, and the middle would be left.
    """

    floor: float = 0.05

    def propose(self, scene: Scene, n: int) -> Array:
        """Points (n, P)."""
        u = scene.rng.random((N_CANDIDATES * n, scene.n_params))
        if scene.emulator is not None and scene.emulator.validity is not None:
            p_valid = np.minimum(scene.emulator.p_valid(u), 0.5)
            u = u[np.argsort(-p_valid, kind="stable")[: 4 * n]]
        rows = np.concatenate([scene.u[-MAX_ROWS:], scene.pending, *scene.chosen])
        picks = _loneliest(u, rows, min(n, MAX_FILLING))
        others = np.setdiff1d(np.arange(len(u)), picks)[: n - len(picks)]
        return u[np.concatenate([picks, others])]


@dataclass(frozen=True, kw_only=True)
class Local(_Floored):
    """Children of good points: random steps, differences of other good points, some of their coordinates, or one or two
    coordinates drawn anew.

    Step lengths are log-uniform over 1.6 decades. Differences (differential evolution; Storn and Price 1997) know the
    shape of the good region and lead from island to island; coordinates of another point help where parameters act
    alone. A coordinate drawn anew finds the island that differs in a sign or a phase, which no step within the first
    one hints at.
    """

    floor: float = 0.0075

    def propose(self, scene: Scene, n: int) -> Array:
        """Points (n, P)."""
        return children(scene.parents(n), scene.elite, scene.rng)


@dataclass(frozen=True, kw_only=True)
class Tournament(_Floored):
    """Children as of `Local`, 16 of each parent; the surrogate picks one of each parent.

    A choice among all children would double the yield and lose the coverage; one per parent keeps it. Of children that
    are predicted to be good the farthest from what is known is taken, else the one of the lowest predicted NLL.

    It asks little of the surrogate, and so is ahead while that is weak; from ``until_good`` good points on, when others
    cover better what it fills, it takes no part.
    """

    floor: float = 0.015
    until_good: int = 250

    @property
    def needs_surrogate(self) -> bool:
        """It does."""
        return True

    def is_over(self, scene: Scene) -> bool:
        """Whether there are good points enough."""
        return len(scene.good) >= self.until_good

    def propose(self, scene: Scene, n: int) -> Array:
        """Points (n, P)."""
        from scipy.spatial import cKDTree

        assert scene.emulator is not None
        if not n:
            return np.empty((0, scene.n_params))
        candidates = children(np.repeat(scene.parents(n), N_CANDIDATES, axis=0), scene.elite, scene.rng)
        score = scene.emulator.score(candidates)
        distance = cKDTree(scene.known).query(candidates)[0]
        value = np.where(score < scene.threshold, distance, -1.0 - np.maximum(score - scene.threshold, 0.0))
        best = value.reshape(n, N_CANDIDATES).argmax(axis=1)
        return candidates.reshape(n, N_CANDIDATES, -1)[np.arange(n), best]


@dataclass(frozen=True, kw_only=True)
class Region(_Floored):
    """The cloud of points that the surrogate takes for good, thinned to those that cover it best.

    While good points are few, it goes down from the best rows by the surrogate's gradients, no farther than a trust
    region of many sizes: along the floor of a thin, bent valley, where random steps leave it. Half of the picks are
    those that are likeliest to be good, be they far and hardly likely; the others are best under one draw each.

    Attributes:
        acquisition: ``coverage`` (expected gain of coverage), ``farthest`` (P(good) cubed times distance), ``rim and
            middle`` (these two in turn) or ``probability`` (P(good) alone).
    """

    floor: float = 0.05
    acquisition: str = "rim and middle"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.acquisition not in ACQUISITIONS:
            raise ConfigError(f"acquisition: got {self.acquisition!r}; choose one of {', '.join(ACQUISITIONS)}")

    @property
    def needs_surrogate(self) -> bool:
        """It does."""
        return True

    def propose(self, scene: Scene, n: int) -> Array:
        """Points (n, P)."""
        if scene.few_good:
            return self._first_good(scene, n)
        pick = ACQUISITIONS[self.acquisition]
        return scene.cloud[pick(scene.cloud, scene.p_good(scene.cloud), scene.known, n)]

    def _first_good(self, scene: Scene, n: int) -> Array:
        """Points (n, P), or fewer, while good points are few."""
        down = scene.descended(scene.parents(MAX_DESCENDED))
        candidates = np.concatenate([down, scene.projected[0]])
        chance = scene.p_good(candidates)
        candidates, chance = candidates[chance > 0], chance[chance > 0]
        likeliest = candidates[_apart(candidates, -chance, (n + 1) // 2, APART * math.sqrt(scene.n_params))]
        return np.concatenate([likeliest, by_draws(scene, down, n - len(likeliest))])


@dataclass(frozen=True, kw_only=True)
class Frontier(_Floored):
    """Where else the good region may be: candidates that do not start from good points, uncertain ones welcome.

    It picks by the expected gain of coverage times the chance to be good: a place far from all good points is worth a
    try at a lower chance than `Region` takes, and a miss there teaches the surrogate most. While good points are few,
    it looks at the valleys that points from all over the cube fall into.
    """

    floor: float = 0.08

    @property
    def needs_surrogate(self) -> bool:
        """It does."""
        return True

    def propose(self, scene: Scene, n: int) -> Array:
        """Points (n, P)."""
        if scene.few_good:
            return by_draws(scene, scene.projected[0], n)
        candidates = np.concatenate([scene.far_cloud[:MAX_FAR], redrawn(scene.parents(MAX_REDRAWN), scene.rng)])
        chance = scene.p_good(candidates) + LEAST_CHANCE
        return candidates[expected_coverage_gain(candidates, chance, scene.known, n, CAUTION)]


@dataclass(frozen=True, kw_only=True)
class Valleys(_Floored):
    """Valleys of the surrogate far from all good points: where the next island may be.

    A quarter of its points goes down from evaluated rows: from those far from every good point that have no row of
    lower violation beside them, the lowest first, by the step that the surrogate likes best of many. Once there are
    good points, a valley is left in which more than P points have been in vain: else one whose floor is a little too
    high would draw them for ever. The others look into predicted valleys: of points from all over the cube that were
    moved towards the good region and ended far from every good point, those are taken that are the fewest standard
    deviations away from being good, once there are good points none that is good in no draw of the surrogate; a valley
    that was looked into and is too shallow loses its uncertainty, and is left.
    """

    floor: float = 0.02

    @property
    def needs_surrogate(self) -> bool:
        """It does."""
        return True

    def propose(self, scene: Scene, n: int) -> Array:
        """Points (n, P), or fewer where there are not so many valleys."""
        lowest = self._below_lowest(scene, (n + 3) // 4)
        return np.concatenate([lowest, self._uncertain(scene, n - len(lowest))])

    def _below_lowest(self, scene: Scene, n: int) -> Array:
        """A step down from each of the lowest rows far from good points that have no lower row beside them, in valleys
        that are not left.
        """
        assert scene.emulator is not None
        followed = (row for row in scene.lowest_elsewhere[:MAX_VALLEYS]
                    if scene.few_good or _n_in_vain(scene, row) <= scene.n_params)
        rows = list(islice(followed, n))
        if not rows:
            return np.empty((0, scene.n_params))
        size = 10.0 ** scene.rng.uniform(-1.7, -0.7, (len(rows), N_STEPS, 1))
        steps = size * scene.rng.standard_normal((len(rows), N_STEPS, scene.n_params))
        candidates = reflect(scene.u[rows][:, None] + steps).reshape(-1, scene.n_params)
        violation = graded(scene.emulator, scene.emulator.mean(candidates))
        violation += _refused(scene.emulator, candidates)
        best = violation.reshape(len(rows), N_STEPS).argmin(axis=1)
        return candidates.reshape(len(rows), N_STEPS, -1)[np.arange(len(rows)), best]

    def _uncertain(self, scene: Scene, n: int) -> Array:
        """Predicted valleys far from good points, those first that are the fewest deviations from being good."""
        assert scene.emulator is not None
        candidates = scene.projected[0]
        if not scene.few_good:
            candidates = candidates[scene.elsewhere(candidates)][:MAX_VALLEYS]
        if not len(candidates):
            return candidates
        targets = scene.emulator.draws(candidates, seed=int(scene.rng.integers(2**31)))
        draws = graded(scene.emulator, targets)
        bar = math.log1p(max(scene.emulator.excess, 0.0))
        away = (draws.mean(axis=0) - bar) / (draws.std(axis=0) + 1e-6)
        away += _refused(scene.emulator, candidates)
        if not scene.few_good:
            possible = (scene.emulator.nll(targets) < scene.emulator.threshold).any(axis=0)
            candidates, away = candidates[possible], away[possible]
        return candidates[_apart(candidates, away, n, APART * math.sqrt(scene.n_params))]


@dataclass(frozen=True, kw_only=True)
class Evolution(_Floored):
    """Samples of a normal distribution around the best points of one valley, for the time before there are good points.

    Mean and covariance are those of the nearest elites of one of them, weighted by rank, and a little widened: one
    generation of CMA-ES (arXiv:1604.00772) whose memory is the table. Every sample starts from another elite, so that
    many valleys are followed at once. Once there are good points it samples around those.
    """

    floor: float = 0.0075

    def propose(self, scene: Scene, n: int) -> Array:
        """Points (n, P)."""
        if not n:
            return np.empty((0, scene.n_params))
        elite, rng = scene.elite, scene.rng
        k = min(len(elite), max(8, 2 * scene.n_params))
        out = np.empty((n, scene.n_params))
        for i, middle in enumerate(scene.parents(n)):
            near = elite[np.argsort(((elite - middle) ** 2).sum(axis=1), kind="stable")[:k]]
            spread = near - near.mean(axis=0)
            z = rng.standard_normal(len(near)) / math.sqrt(max(1, len(near) - 1))
            out[i] = middle + 0.7 * (near.mean(axis=0) - middle) * rng.random() + 1.2 * z @ spread
        return reflect(out + 0.002 * rng.standard_normal(out.shape))


def _n_in_vain(scene: Scene, lowest: int) -> int:
    """How many rows came into the valley of its lowest row since one of them was about as low."""
    assert scene.emulator is not None
    near = np.linalg.norm(scene.u - scene.u[lowest], axis=1) < APART * math.sqrt(scene.n_params)
    violation = scene.violation[near]
    missing = scene.violation[lowest] - math.log1p(max(scene.emulator.excess, 0.0))
    as_low = violation <= scene.violation[lowest] + LEAST_DESCENT * max(missing, 0.0)
    return len(violation) - 1 - int(np.argmax(as_low))


def _loneliest(candidates: Array, rows: Array, n: int) -> NDArray[np.intp]:
    """Candidates (n,) that are the farthest from rows and from earlier picks, where a coordinate of 1 is beside 0."""
    from scipy.spatial import cKDTree

    nearest = cKDTree(np.clip(rows, 0.0, 1.0) % 1.0, boxsize=1.0).query(candidates)[0]
    picks: list[int] = []
    for _ in range(n):
        picks.append(int(np.argmax(nearest)))
        across = np.abs(candidates - candidates[picks[-1]])
        nearest = np.minimum(nearest, np.linalg.norm(np.minimum(across, 1.0 - across), axis=1))
        nearest[picks] = -1.0
    return np.array(picks, np.intp)


def _apart(candidates: Array, value: Array, n: int, distance: float) -> list[int]:
    """Candidates of the lowest value, none nearer to another one than ``distance``; n at most."""
    free = np.ones(len(candidates), dtype=bool)
    picks: list[int] = []
    while len(picks) < n and free.any():
        best = int(np.argmin(np.where(free, value, np.inf)))
        picks.append(best)
        free &= np.linalg.norm(candidates - candidates[best], axis=1) > distance
    return picks


def children(parents: Array, elite: Array, rng: np.random.Generator) -> Array:
    """One child (n, P) of each parent (n, P): a random step, a difference of elites, some coordinates of one, or some
    drawn anew.
    """
    n = len(parents)
    size = 10.0 ** rng.uniform(-2.3, -0.7, (n, 1))
    noise = size * rng.standard_normal(parents.shape)
    first, second, other = (elite[rng.integers(len(elite), size=n)] for _ in range(3))
    factor = np.where(rng.random((n, 1)) < 0.3, 1.0, rng.uniform(0.2, 1.0, (n, 1)))
    taken = rng.random(parents.shape) < rng.uniform(0.1, 0.6, (n, 1))
    way = rng.random((n, 1))
    child = np.where(way < 0.35, parents + noise,
                     np.where(way < 0.65, parents + factor * (first - second) + 0.03 * noise,
                              np.where(way < 0.8, np.where(taken, other, parents) + 0.1 * noise,
                                       redrawn(parents, rng))))
    return reflect(child)


def redrawn(parents: Array, rng: np.random.Generator) -> Array:
    """Points (n, P) with one or two of their coordinates drawn anew."""
    anew = rng.permuted(np.arange(parents.shape[1]) < rng.integers(1, 3, (len(parents), 1)), axis=1)
    return np.where(anew, rng.random(parents.shape), parents)


def by_draws(scene: Scene, candidates: Array, n: int) -> Array:
    """Candidates that are best under one draw of the surrogate each (Thompson sampling, in batches arXiv:1705.09236).

    Every pick believes in another draw of the predicted observables, and takes the candidate of the lowest violation
    under it that is not beside an earlier pick.
    """
    emulator = scene.emulator
    assert emulator is not None
    draws = emulator.draws(candidates, seed=int(scene.rng.integers(2**31)), n_draws=16)
    violation = graded(emulator, draws) + _refused(emulator, candidates)
    free = np.ones(len(candidates), dtype=bool)
    apart = 0.002 * math.sqrt(scene.n_params)
    picks = []
    for k in range(min(n, len(candidates))):
        best = int(np.argmin(np.where(free, violation[k % len(draws)], np.inf)))
        if not free[best]:
            break
        picks.append(best)
        free &= np.linalg.norm(candidates - candidates[best], axis=1) > apart
    return candidates[picks]


def graded(emulator: Emulator, targets: Array) -> Array:
    """Sum of ``ln(1 + loss)`` over the observables (...), for targets (..., T)."""
    total: Array = np.log1p(np.maximum(emulator.losses(targets) - emulator.floors, 0.0)).sum(axis=-1)
    return total


def _refused(emulator: Emulator, candidates: Array) -> Array:
    """What a candidate (C,) that is probably not ok has on top of its violation."""
    return np.where(emulator.p_valid(candidates) < 0.5, 3.0, 0.0)


# in the order in which they propose: what one has no points for goes to the next
KINDS: dict[str, type] = {
    "explore": Explore, "local": Local, "evolution": Evolution, "valleys": Valleys, "frontier": Frontier,
    "tournament": Tournament, "region": Region,
}
