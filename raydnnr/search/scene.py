"""Scene: all that the sources of `hybrid` may look at when they propose the points of one round.

Shapes: **N** finished rows, **P** parameters, **C** candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raydnnr.search.bandit import PROGRESS
from raydnnr.search.region import project, reflect, stir, walk

if TYPE_CHECKING:
    from raydnnr.surrogates.emulator import Emulator

Array = NDArray[np.float64]
Index = NDArray[np.intp]

FEW_GOOD = 10  # with fewer good points, the best ones stand in for them
PATIENCE = 200  # rows without progress after which a search for the first good points is stuck
MAX_VALLEYS, VALLEY = 3, 0.1  # that it then follows at once, and how wide they are, times the root of P
REACH = (-1.7, -0.3)  # decadic logarithms of how far a descent may lead
MAX_GOOD = 5000  # good points that are looked at, drawn at random from more
N_PARENTS, N_PROJECTED = 350, 500  # that the clouds start from
WALK_STEPS = 4
N_STIRRED = 6  # moves that even out the cloud
FAR = 3.0  # from a good point, in units of the median distance between neighbouring ones
MAX_CLOUD = 1000
MAX_BELIEVED, N_WITNESSES = 1000, 8  # points that the surrogate chose, of which so many beside a candidate bear witness
MAX_WALKED = 250  # projected points that walk on


@dataclass
class Scene:
    """One round's view of the scan.

    Args:
        u: Finished rows (N, P), unit cube, in the order of their ids.
        nll: Of the rows (N,); infinite where a row is not ok.
        violation: Of the rows (N,): the sum of ``ln(1 + loss)`` over the observables, which still tells bad from worse
            where the NLL is far above the threshold.
        threshold: A row is good when its NLL is below it.
        pending: Points under way (M, P).
        emulator: The surrogate; None while there is too little to learn from.
        rng: Source of all randomness of the round.
        believed: Rows (N,) that were chosen because the surrogate took them for good; empty where that is not known.
    """

    u: Array
    nll: Array
    violation: Array
    threshold: float
    pending: Array
    emulator: Emulator | None
    rng: np.random.Generator
    believed: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    chosen: list[Array] = field(default_factory=list)

    @property
    def n_params(self) -> int:
        """P."""
        return self.u.shape[1]

    @cached_property
    def good(self) -> Array:
        """Good points (G, P), `MAX_GOOD` at most."""
        rows = np.flatnonzero(self.nll < self.threshold)
        if len(rows) > MAX_GOOD:
            rows = np.sort(self.rng.permutation(rows)[:MAX_GOOD])
        return self.u[rows]

    @property
    def few_good(self) -> bool:
        """Whether the search is still for good points, not yet for all of them."""
        return len(self.good) < FEW_GOOD

    @cached_property
    def elite(self) -> Array:
        """Good points, or while they are few the rows of the lowest violation, best first; where nothing better was
        found for long, those of several valleys, the deepest first.
        """
        if not self.few_good:
            return self.good
        order = np.argsort(self.violation, kind="stable")
        return self.u[self._by_valley(order) if self.is_stuck else order[: max(20, 2 * self.n_params)]]

    @property
    def is_stuck(self) -> bool:
        """Whether none of the newest rows is clearly better than the best one before."""
        before, newest = self.violation[:-PATIENCE], self.violation[-PATIENCE:]
        return len(before) > 0 and bool(newest.min() > PROGRESS * before.min())

    def _by_valley(self, rows: Index) -> Index:
        """The first rows of each of the first few valleys: rows around the first one that belongs to no other."""
        size = max(10, 2 * self.n_params)
        found: list[Index] = []
        while len(rows) and len(found) < MAX_VALLEYS:
            away = np.linalg.norm(self.u[rows] - self.u[rows[0]], axis=1) > VALLEY * math.sqrt(self.n_params)
            found.append(rows[~away][:size])
            rows = rows[away]
        return np.concatenate(found)

    @property
    def known(self) -> Array:
        """Points that new ones should keep away from: good, pending, and chosen in this round; one at least."""
        known = np.concatenate([self.good, self.pending, *self.chosen])
        return known if len(known) else np.full((1, self.n_params), 0.5)

    def parents(self, n: int) -> Array:
        """Elite points (n, P), drawn more often where they are sparse (or, while good ones are few, the better ones).
        """
        if self.few_good:
            weight = np.linspace(2.0, 0.2, len(self.elite))
        else:
            from scipy.spatial import cKDTree

            weight = cKDTree(self.elite).query(self.elite, k=4)[0][:, -1] + 1e-12
        return self.elite[self.rng.choice(len(self.elite), n, p=weight / weight.sum())]

    def elsewhere(self, u: Array) -> NDArray[np.bool_]:
        """Which points (C, P) are farther from every good point than `FAR` times what good ones are from each other."""
        from scipy.spatial import cKDTree

        if len(self.good) < 2:
            return np.ones(len(u), dtype=bool)
        tree = cKDTree(self.good)
        found: NDArray[np.bool_] = tree.query(u)[0] > FAR * float(np.median(tree.query(self.good, k=2)[0][:, 1]))
        return found

    @cached_property
    def lowest_elsewhere(self) -> Index:
        """Rows far from good points that no neighbour lies below in violation, the lowest first (`MAX_GOOD` looked at).
        """
        from scipy.spatial import cKDTree

        rows = np.flatnonzero(np.isfinite(self.nll))
        rows = rows[np.argsort(self.violation[rows], kind="stable")][:MAX_GOOD]
        if len(rows) < 2:
            return rows
        k = min(len(rows), 2 * self.n_params + 1)
        near = cKDTree(self.u[rows]).query(self.u[rows], k=k)[1]
        lowest = rows[self.violation[rows] <= self.violation[rows][near].min(axis=1)]
        return lowest[self.elsewhere(self.u[lowest])]

    @cached_property
    def projected(self) -> tuple[Array, Array]:
        """Points from all over the cube, moved to where the surrogate takes them for good, and their violation."""
        assert self.emulator is not None
        return project(self.emulator, self.rng.random((N_PROJECTED, self.n_params)), self.rng)

    @cached_property
    def cloud(self) -> Array:
        """Points (C, P) spread over all that the surrogate takes for good, once there are good points."""
        emulator = self.emulator
        assert emulator is not None
        cloud = np.concatenate([walk(emulator, self.parents(N_PARENTS), WALK_STEPS, self.rng), self.far_cloud])
        return stir(emulator, cloud[self.rng.permutation(len(cloud))[:MAX_CLOUD]], N_STIRRED, self.rng)

    def descended(self, u: Array) -> Array:
        """Points (C, P) moved down to the good region, or as far as a reach of each allows."""
        assert self.emulator is not None
        reach = 10.0 ** self.rng.uniform(*REACH, len(u))
        return project(self.emulator, reflect(u + 0.1 * reach[:, None] * self.rng.standard_normal(u.shape)), self.rng,
                       reach=reach)[0]

    @cached_property
    def far_cloud(self) -> Array:
        """The part of the cloud that does not start from good points: wherever else the surrogate sees some."""
        assert self.emulator is not None
        anywhere, violation = self.projected
        inside = anywhere[violation < self.emulator.excess]
        if not len(inside):
            return anywhere
        starts = inside[self.rng.permutation(len(inside))[:MAX_WALKED]]
        return np.concatenate([inside, walk(self.emulator, starts, WALK_STEPS, self.rng)])

    def p_good(self, candidates: Array) -> Array:
        """Probability (C,) that candidates are good."""
        assert self.emulator is not None
        return self.emulator.p_good(candidates, seed=int(self.rng.integers(2**31))) * self.trust(candidates)

    def trust(self, candidates: Array) -> Array:
        """Factor (C,) for the probability of candidates, below 1 where most points beside them that the surrogate chose
        lately were not good: it may be wrong there for a reason that it cannot learn.
        """
        from scipy.spatial import cKDTree

        rows = np.flatnonzero(self.believed)[-MAX_BELIEVED:]
        if self.few_good or len(rows) <= N_WITNESSES or not len(candidates):
            return np.ones(len(candidates))
        tree, good = cKDTree(self.u[rows]), self.nll[rows] < self.threshold
        near = float(np.median(tree.query(self.u[rows], k=N_WITNESSES + 1)[0][:, -1]))
        distance, witness = tree.query(candidates, k=N_WITNESSES)
        beside = distance <= near
        hits = (good[witness] & beside).sum(axis=1)
        trusted: Array = np.minimum(1.0, 2.0 * (hits + 1.0) / (beside.sum(axis=1) + 2.0))
        return trusted
