"""Hybrid: several sources of points under a bandit, with a surrogate of every observable.

After a bootstrap, every round (i) learns a surrogate of each observable, with what the newest rows showed of its skill
(`raydnnr.surrogates.learning`); (ii) shares the round among the sources by the new coverage per evaluation that each of
them brought lately (`raydnnr.search.bandit`); (iii) asks each source for its points (`raydnnr.search.sources`), which
keep away from good, pending and already chosen ones. Sources that stand in for a surrogate take part until one is
trusted, and again while a search for good points is stuck. A round depends on the seed and the finished rows alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from raydnnr.errors import ConfigError, did_you_mean
from raydnnr.evaluation import Array, Proposal, Status, TrainingReport, View
from raydnnr.kinds import build
from raydnnr.likelihoods import Off, get_losses
from raydnnr.plan import Problem
from raydnnr.search import bandit
from raydnnr.search.acquisition import distinct_from
from raydnnr.search.reliability import Reliability
from raydnnr.search.samplers import sobol_points
from raydnnr.search.scene import Scene
from raydnnr.search.sources import KINDS as SOURCES
from raydnnr.search.sources import Evolution, Frontier, Local, Region, Source
from raydnnr.surrogates.memo import Memo

if TYPE_CHECKING:  # they load torch, which a command that only reads a config has no use for
    from raydnnr.surrogates.learning import Rows, Skill

SURROGATES = ("mixed", "gaussian_process", "ensemble")
NO_SKILL = 0.55  # ranking of new rows below which the surrogate proposes no more than its floors, unless it is good
MOSTLY = 0.5  # of its points good: a surrogate that others need not stand in for, whatever its ranking
FREE_PHYSICS = 20_000  # points wanted at once from which physics is so fast that nothing is gained by larger rounds
FINITE = 1e300  # what an infinite threshold (every ok point is good, or none) is taken for
LARGEST_GROWTH = 0.25  # of the rows by one round, where the slots want that many


@dataclass(frozen=True, kw_only=True)
class Hybrid:
    """Settings of the default search.

    Attributes:
        bootstrap_points: Points of a scrambled Sobol sequence that are evaluated first.
        points_per_iteration: Points of a round at least; more as the rows grow, and where the slots would run dry.
        growth: A round is this share of all points proposed before, at least.
        sources: Which sources take part: explore, local, evolution, valleys, frontier, tournament,
            region.
        floors: Share of every round that a source keeps, where it is not to be its default.
        acquisition: How ``region`` picks from its candidates: coverage, farthest, rim and middle or probability.
        surrogate: mixed, gaussian_process or ensemble.
        doubt: Whether P(good) counts for less where most points that were chosen for it were in vain.
        max_rows: Rows at most in a Gaussian process, whose cost grows with the cube of them.
        synchronous: Strict iterations, reproducible bit for bit from the seed on any number of slots.
    """

    bootstrap_points: int = 50
    points_per_iteration: int = 20
    growth: float = 0.08
    sources: tuple[str, ...] = tuple(SOURCES)
    floors: Mapping[str, float] = field(default_factory=dict)
    acquisition: str = "rim and middle"
    surrogate: str = "mixed"
    doubt: bool = True
    max_rows: int = 1000
    synchronous: bool = False
    _memo: Memo = field(default_factory=Memo, init=False, repr=False, compare=False)
    _reliability: Reliability = field(default_factory=Reliability, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for key in ("bootstrap_points", "points_per_iteration"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key}: got {getattr(self, key)}; use a whole number >= 1")
        if not 0 <= self.growth <= 10:
            raise ConfigError(f"growth: got {self.growth}; use a number between 0 and 10")
        for key, words in (("sources", self.sources), ("floors", self.floors)):
            for word in words:
                if word not in SOURCES:
                    raise ConfigError(f"{key}: no source {word!r}; there are {', '.join(SOURCES)}."
                                      + did_you_mean(word, SOURCES))
        if not self.sources or len(set(self.sources)) < len(self.sources):
            raise ConfigError("sources: name each source once, one at least")
        if all(SOURCES[word]().needs_surrogate for word in self.sources):
            raise ConfigError("sources: keep one that needs no surrogate: explore, local or evolution")
        if self.surrogate not in SURROGATES:
            raise ConfigError(f"surrogate: got {self.surrogate!r}; choose one of {', '.join(SURROGATES)}")
        if self.max_rows < 50:
            raise ConfigError(f"max_rows: got {self.max_rows}; use a whole number >= 50")
        if sum(source.floor for source in self._sources().values()) > 1:
            raise ConfigError("floors: their sum is above 1")

    @property
    def default_iterations(self) -> int:
        """No limit."""
        return 0

    @property
    def learns(self) -> bool:
        """It trains a surrogate."""
        return True

    def round_size(self, iteration: int, n_wanted: int) -> int:
        """A share of what was proposed before; up to `LARGEST_GROWTH` of it where the slots want more."""
        if iteration == 0:
            return self.bootstrap_points
        total = self.bootstrap_points
        for _ in range(iteration - 1):
            total += self._least(total)
            if total > 1e9:
                break
        least = self._least(total)
        if self.synchronous or n_wanted > FREE_PHYSICS:
            return least
        return max(least, min(n_wanted, math.ceil(LARGEST_GROWTH * total)))

    def _least(self, total: int) -> int:
        return max(self.points_per_iteration, round(self.growth * total))

    def propose(self, problem: Problem, view: View, iteration: int, n_points: int) -> Proposal:
        """The points of a round."""
        if iteration == 0:
            x = sobol_points(problem.space, 0, n_points, problem.seed)
            return Proposal(x, ["bootstrap"] * n_points, np.full(n_points, np.nan))
        with threadpool_limits(1):  # the same bits on any machine load; small matrices are no faster on more threads
            return self._propose(problem, view, iteration, n_points)

    def _propose(self, problem: Problem, view: View, iteration: int, n_points: int) -> Proposal:
        """The points of a round after the bootstrap."""
        from raydnnr.surrogates.emulator import constrained  # loads torch
        from raydnnr.surrogates.learning import MIN_ROWS, Learner, Skill

        began = time.monotonic()
        view = view.in_order()
        rng = np.random.default_rng([problem.seed, iteration])
        threshold = float(np.clip(problem.threshold_value, -FINITE, FINITE))
        rows, violation = _learnable(problem, view)
        emulator, skill = None, Skill()
        if rows.ok.sum() >= MIN_ROWS and constrained(problem.likelihoods):
            learner = Learner(surrogate=self.surrogate, max_rows=self.max_rows)
            emulator, skill = learner.learn(rows, problem.likelihoods, threshold, problem.seed, self._memo)
        pending = problem.space.to_unit_cube(view.pending)
        scene = Scene(rows.u, rows.nll, violation, threshold, pending, emulator, rng, believed=self._believed(view))
        u, origin = self._choose(scene, view, skill, n_points)
        x = problem.space.from_unit_cube(u)
        if emulator is None:
            return Proposal(x, origin, np.full(len(u), np.nan))
        self._reliability.finished(view.rounds(), rows.nll < threshold)
        self._reliability.predicted(iteration, emulator.p_good(u, problem.seed))
        report = _report(skill, self._reliability, len(rows), time.monotonic() - began)
        return Proposal(x, origin, emulator.nll(emulator.mean(u)), report, emulator)

    def _believed(self, view: View) -> NDArray[np.bool_]:
        """Rows (N,) that were chosen because the surrogate took them for good; none where nothing is to be doubted."""
        if not self.doubt:
            return np.empty(0, np.bool_)
        return np.isin(view.origins(), [word for word, source in self._sources().items() if source.needs_surrogate])

    def _choose(self, scene: Scene, view: View, skill: Skill, n_points: int) -> tuple[Array, list[str]]:
        """Points of the unit cube and the source of each."""
        sources = {word: source for word, source in self._sources().items()
                   if not (source.is_over(scene) or (scene.emulator is None and source.needs_surrogate))}
        past = bandit.History(scene.u, scene.violation, scene.nll < scene.threshold, view.rounds(), view.origins())
        has_skill = not skill.ranking < NO_SKILL
        trusted = has_skill or _earns_trust(past, sources)
        if (has_skill or _earns_trust(past, sources, MOSTLY)) and not (scene.few_good and scene.is_stuck):
            sources = _without_stand_ins(sources)
        floors = {word: source.floor for word, source in sources.items()}
        parts = bandit.shares(past, floors)
        if not trusted:
            parts = _without_trust(parts, floors, sources)
        origin: list[str] = []
        numbers = bandit.whole_numbers(parts, n_points)
        for k, word in enumerate(numbers):
            n = sum(list(numbers.values())[: k + 1]) - len(origin)
            u = sources[word].propose(scene, n) if len(scene.u) else scene.rng.random((n, scene.n_params))
            scene.chosen.append(u)
            origin += [word] * len(u)
        u = np.concatenate(scene.chosen)
        missing = n_points - len(u)
        u = np.concatenate([u, scene.rng.random((missing, scene.n_params))])
        origin += ["explore"] * missing
        again = ~distinct_from(u, np.concatenate([scene.u, scene.pending]))
        u[again] = scene.rng.random((int(again.sum()), scene.n_params))
        return u, ["explore" if repeated else word for repeated, word in zip(again, origin, strict=True)]

    def _sources(self) -> dict[str, Source]:
        """Those that take part, with their settings."""
        sources: dict[str, Source] = {}
        for word in (word for word in SOURCES if word in self.sources):
            settings: dict[str, object] = {"acquisition": self.acquisition} if word == "region" else {}
            if word in self.floors:
                settings["floor"] = self.floors[word]
            sources[word] = build(SOURCES[word], settings, f"sources.{word}")
        return sources


def _earns_trust(past: bandit.History, sources: Mapping[str, Source], least: float = 0.0) -> bool:
    """Whether points that were chosen by a surrogate were lately good more often than others, and a share of them at
    ``least``: among those alone, all of which it took for good, its ranking may be bad all the same.
    """
    recent = slice(-bandit.HALF_LIFE, None)
    chosen = np.isin(past.origin[recent], [word for word, source in sources.items() if source.needs_surrogate])
    good = past.good[recent]
    if not chosen.any() or good[chosen].mean() < least:
        return False
    return bool(chosen.all()) or bool(good[chosen].mean() > good[~chosen].mean())


def _without_stand_ins(sources: Mapping[str, Source]) -> dict[str, Source]:
    """Sources without those that stand in for a surrogate, which waste more points than any that it leads; with them
    where none of these fills the region.
    """
    if not any(isinstance(source, Region | Frontier) for source in sources.values()):
        return dict(sources)
    return {word: source for word, source in sources.items() if not isinstance(source, Local | Evolution)}


def _without_trust(parts: Mapping[str, float], floors: Mapping[str, float],
                   sources: Mapping[str, Source]) -> dict[str, float]:
    """Shares where the surrogate has no skill: its sources keep their floors, the others have the rest."""
    rest = 1.0 - sum(floors[word] for word, source in sources.items() if source.needs_surrogate)
    free = sum(parts[word] for word, source in sources.items() if not source.needs_surrogate)
    return {word: floors[word] if sources[word].needs_surrogate else share / free * rest
            for word, share in parts.items()}


def _learnable(problem: Problem, view: View) -> tuple[Rows, Array]:
    """Rows as a surrogate learns from them, and their violation.

    Only an ok row has an NLL here; one that is invalid or failed, or lacks an observable because a tool was skipped, is
    infinitely bad, and its violation is that of an observable that could not be computed, besides that of those that
    were.
    """
    from raydnnr.surrogates.learning import Rows

    columns = {name: view.observables[:, k] for k, name in enumerate(problem.likelihoods)}
    losses = get_losses(columns, problem.likelihoods)
    violation = np.sum([np.log1p(_from_lowest(loss)) for loss in losses.values()], axis=0)
    computed = np.all([np.isfinite(columns[name]) for name, likelihood in problem.likelihoods.items()
                       if not isinstance(likelihood, Off)], axis=0)
    ok = (view.status == Status.OK) & np.isfinite(view.nll) & computed
    nll: NDArray[np.float64] = np.where(ok, view.nll, np.inf)
    u = problem.space.to_unit_cube(view.x)
    return Rows(u, view.observables, nll, ok), np.where(ok, violation, violation + 10.0)


def _from_lowest(loss: Array) -> Array:
    """Losses (N,), counted from the lowest one where that is negative."""
    counted: Array = np.maximum(loss - np.min(loss, initial=0.0, where=np.isfinite(loss)), 0.0)
    return counted


def _report(skill: Skill, reliability: Reliability, n_rows: int, seconds: float) -> TrainingReport:
    error = float(np.mean(skill.errors)) if skill.errors else math.nan
    expected, found = reliability.last
    return TrainingReport(n_rows, 0, error, error, seconds, "cpu", expected, found, reliability.rows())
