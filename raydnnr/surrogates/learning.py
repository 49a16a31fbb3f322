"""Learning: all rows so far -> an `Emulator`, with what new rows showed of its skill.

Lengths, scales and networks are learned at *milestones*, when the rows have grown by a fixed share; in between, new
rows only condition the models that are there. A milestone depends on its own rows alone, not on the milestones before
it, so that a resumed scan has the same surrogate as one that never stopped; what was learned is kept in a memo.

Every milestone is an examination: the models of the milestone before predict the rows that came since, which they have
not seen. That decides which model an observable gets, by how much its uncertainty is widened, and whether the surrogate
may be trusted with proposals at all.

Shapes: **N** rows, **P** parameters, **K** observables.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raydnnr.errors import ConfigError
from raydnnr.likelihoods import Likelihood
from raydnnr.surrogates.emulator import Emulator, EnsembleTarget, Model, Target, constrained
from raydnnr.surrogates.ensemble import Ensemble, EnsembleRegressor
from raydnnr.surrogates.gaussian_process import GaussianProcess
from raydnnr.surrogates.kernel_fit import ADAPTED, ADDITIVE, NORMAL, NORMAL_ADAPTED, fit_lengths
from raydnnr.surrogates.kernels import Lengths
from raydnnr.surrogates.memo import Memo
from raydnnr.surrogates.recalibration import UNCHANGED, Recalibration, recalibrate
from raydnnr.surrogates.subsets import conditioning_rows, telling_rows
from raydnnr.surrogates.targets import NARROW, Scale, choose_scale

Array = NDArray[np.float64]
Index = NDArray[np.intp]

MIN_ROWS = 12  # with which something can be learned
LENGTH_ROWS = 256
ENSEMBLE_MIN_ROWS, ENSEMBLE_MAX_ROWS, ENSEMBLE_GROWTH = 400, 20_000, 2.0
WIDEN_RANGE = (0.7, 5.0)
MIN_EXAMINED, MAX_EXAMINED = 12, 2000  # new rows of an examination; of more, some evenly spaced ones
# Models: a Gaussian process on a scale that is bent beyond what matters, or on a plain one; on these with the normal
# kernel; on the plain one of functions of one parameter each; any of these but the last on adapted
# coordinates; networks.
BENT, PLAIN, SUM, ENSEMBLE = "bent", "plain", "sum", "ensemble"
BENT_SMOOTH, PLAIN_SMOOTH = "bent smooth", "plain smooth"
ADAPTS = {model: f"{model} adapted" for model in (BENT, PLAIN, BENT_SMOOTH, PLAIN_SMOOTH)}
KERNELS = {BENT_SMOOTH: NORMAL, PLAIN_SMOOTH: NORMAL, SUM: ADDITIVE, ADAPTS[BENT]: ADAPTED, ADAPTS[PLAIN]: ADAPTED,
           ADAPTS[BENT_SMOOTH]: NORMAL_ADAPTED, ADAPTS[PLAIN_SMOOTH]: NORMAL_ADAPTED}
SIMPLER = {BENT_SMOOTH: BENT, PLAIN_SMOOTH: PLAIN, SUM: PLAIN,  # the same with fewer lengths
           **{adapted: model for model, adapted in ADAPTS.items()}}
ON_BENT_SCALE = (BENT, BENT_SMOOTH, ADAPTS[BENT], ADAPTS[BENT_SMOOTH], ENSEMBLE)
CLEARLY_BETTER = 0.9  # of the error of the model before it: what another one must do to be chosen
EXACT = 0.02  # an error, in units of the bent scale, that leaves no wish for another model, or for more rows
FEW_ROWS = 400  # with which Gaussian processes are compared
NORMAL_90 = 1.6449  # 90 % of a normal distribution lie within so many standard deviations


@dataclass(frozen=True)
class Rows:
    """Finished rows in the order of their ids: points of the unit cube, observables, NLL (infinite where not ok)."""

    u: Array
    observables: Array
    nll: Array
    ok: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.u)

    def take(self, rows: Any) -> Rows:
        """Some of them."""
        return Rows(self.u[rows], self.observables[rows], self.nll[rows], self.ok[rows])


@dataclass(frozen=True)
class Skill:
    """What an examination showed: the chance that a new good row (or, without one, a better row) was ranked above
    another one (0.5: no skill), and the error of each target beside that of guessing its median.
    """

    ranking: float = math.nan
    errors: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Learner:
    """How a scan learns.

    Attributes:
        surrogate: ``mixed`` (each observable has the model that predicted new rows better), ``gaussian_process`` or
            ``ensemble``.
        growth: Rows grow by this share between milestones.
        max_rows: Rows at most in a Gaussian process: half of them good, the others the best and a random choice.
    """

    surrogate: str = "mixed"
    growth: float = 0.5
    max_rows: int = 1000

    def __post_init__(self) -> None:
        if not 0.01 <= self.growth <= 10:
            raise ConfigError(f"growth: got {self.growth}; use a number between 0.01 and 10")
        if self.max_rows < 50:
            raise ConfigError(f"max_rows: got {self.max_rows}; use a whole number >= 50")

    def learn(self, rows: Rows, likelihoods: Mapping[str, Likelihood], threshold: float, seed: int,
              memo: Memo) -> tuple[Emulator, Skill]:
        """An emulator of all rows (`MIN_ROWS` ok ones at least)."""
        task = _Task(self, likelihoods, threshold, seed, memo)
        n_now = milestone(len(rows), MIN_ROWS, 1.0 + self.growth)
        now = rows.take(slice(0, n_now))
        exam = task.examine(rows.take(slice(0, self.before(n_now))), now)
        return task.emulator(rows, now if now.ok.sum() >= MIN_ROWS else rows, exam), exam.skill


    def before(self, n_rows: int) -> int:
        """Rows of the milestone before one."""
        return milestone(n_rows - 1, MIN_ROWS, 1.0 + self.growth)


def milestone(n_rows: int, first: int, factor: float) -> int:
    """The largest number of the series ``first``, ``first * factor``, ... that is not above ``n_rows``, rounded up.

    Example:
        >>> milestone(150, 100, 1.3), milestone(129, 100, 1.3), milestone(40, 100, 1.3)
        (130, 100, 40)
    """
    if n_rows < first:
        return n_rows
    k = math.floor(math.log(n_rows / first) / math.log(factor) + 1e-9)
    at = math.ceil(first * factor**k - 1e-9)
    return at if at <= n_rows else math.ceil(first * factor ** (k - 1) - 1e-9)


@dataclass(frozen=True)
class _Examination:
    """By target: the model that did best, how many rows it wants at most, and the factor that widens its uncertainties.
    """

    models: tuple[str, ...]
    rows: tuple[int, ...]
    widen: tuple[float, ...]
    skill: Skill
    recalibration: Recalibration = UNCHANGED


@dataclass(frozen=True)
class _Task:
    """One call of `Learner.learn`."""

    learner: Learner
    likelihoods: Mapping[str, Likelihood]
    threshold: float
    seed: int
    memo: Memo

    @property
    def columns(self) -> list[int]:
        """Of the targets."""
        return constrained(self.likelihoods)

    def emulator(self, rows: Rows, learned_from: Rows, exam: _Examination) -> Emulator:
        """Models whose lengths come from ``learned_from``, conditioned on ``rows``."""
        targets = self.targets(rows, learned_from, exam)
        return Emulator(self.likelihoods, self.threshold, targets, self.validity(rows, learned_from),
                        self.floors(rows, targets), exam.recalibration)

    def targets(self, rows: Rows, learned_from: Rows, exam: _Examination) -> list[Target]:
        """The model of each constrained observable."""
        chosen = {n: self.subset(rows, n) for n in set(exam.rows)}
        return [Target(column, *self.model(rows, learned_from, k, exam.models[k], chosen[exam.rows[k]]), exam.widen[k])
                for k, column in enumerate(self.columns)]

    def model(self, rows: Rows, learned_from: Rows, k: int, word: str, chosen: Index) -> tuple[Scale, Model]:
        """Scale and model of an observable, a Gaussian process being conditioned on the ``chosen`` rows."""
        column = self.columns[k]
        regressor = self.ensemble(rows) if word == ENSEMBLE else None
        if regressor is not None:
            return regressor[1][k], EnsembleTarget(regressor[0], k)
        scale, lengths = self.lengths(learned_from, column, BENT if word == ENSEMBLE else word)
        there = chosen[np.isfinite(rows.observables[chosen, column])]
        return scale, GaussianProcess(lengths, rows.u[there], scale.forward(rows.observables[there, column]))

    def floors(self, rows: Rows, targets: list[Target]) -> Array:
        """The lowest loss seen of each target, 0 if that is above."""
        blank = Emulator(self.likelihoods, self.threshold, targets, None, np.zeros(len(targets)))
        t = np.stack([target.scale.forward(rows.observables[:, target.column]) for target in targets], axis=-1)
        losses = blank.losses(t[np.isfinite(t).all(axis=1)])
        floors: Array = np.minimum(losses.min(axis=0, initial=0.0), 0.0)
        return floors

    def subset(self, rows: Rows, n_rows: int) -> Index:
        """Rows of a Gaussian process, so many at most."""
        rng = np.random.default_rng([self.seed, len(rows), 1])
        return conditioning_rows(rows.nll, self.threshold, rng, n_rows)

    def lengths(self, rows: Rows, column: int, model: str) -> tuple[Scale, Lengths]:
        """Scale and lengths of an observable, learned from a few hundred rows.

        Those of the milestone before and of the simpler model on the same rows are starts of the search.
        """
        scale = self.scale(rows, column, model)

        def learn() -> Lengths:
            there = np.flatnonzero(np.isfinite(rows.observables[:, column]))
            rng = np.random.default_rng([self.seed, len(rows), column, 2])
            pick = there[telling_rows(rows.u[there], rows.nll[there], self.threshold, rng, LENGTH_ROWS)]
            u, t = rows.u[pick], scale.forward(rows.observables[pick, column])
            before = rows.take(slice(0, self.learner.before(len(rows))))
            starts = [self.lengths(before, column, model)[1]] if before.ok.sum() >= MIN_ROWS else []
            if model not in SIMPLER:
                return fit_lengths(u, t, starts)
            simple = self.lengths(rows, column, SIMPLER[model])[1]
            return fit_lengths(u, t, starts, kernel=KERNELS[model], rival=simple)

        found: Lengths = self.memo.get(self.key(f"lengths {column} {model}", rows), learn)
        return scale, found

    def is_simple(self, rows: Rows, column: int, model: str) -> bool:
        """Whether nothing was gained by a model's kernel, so that it is the simpler model."""
        if model not in SIMPLER:
            return False
        return self.lengths(rows, column, model)[1] is self.lengths(rows, column, SIMPLER[model])[1]

    def scale(self, rows: Rows, column: int, model: str) -> Scale:
        """Scale on which a model learns an observable."""
        width = NARROW * self.matters(column) if model in ON_BENT_SCALE else math.inf

        def choose() -> Scale:
            there = np.isfinite(rows.observables[:, column])
            return choose_scale(rows.observables[there, column], rows.nll[there], width)

        found: Scale = self.memo.get(self.key(f"scale {column} {width}", rows), choose)
        return found

    def matters(self, column: int) -> float:
        """Change of an observable that matters: sigma, or the threshold where the observable is an NLL itself."""
        likelihood = list(self.likelihoods.values())[column]
        sigma = getattr(likelihood, "sigma", None)
        return float(sigma) if sigma else max(abs(self.threshold), 1e-3)

    def validity(self, rows: Rows, learned_from: Rows) -> GaussianProcess | None:
        """A model of which points are ok."""
        if rows.ok.sum() > len(rows) - 3:
            return None

        def learn() -> Lengths:
            pick = np.random.default_rng([self.seed, len(learned_from), 3]).permutation(len(learned_from))[:LENGTH_ROWS]
            return fit_lengths(learned_from.u[pick], np.where(learned_from.ok[pick], 1.0, -1.0))

        lengths = self.memo.get(self.key("validity", learned_from), learn)
        chosen = self.subset(rows, self.learner.max_rows)
        return GaussianProcess(lengths, rows.u[chosen], np.where(rows.ok[chosen], 1.0, -1.0))

    def ensemble(self, rows: Rows) -> tuple[EnsembleRegressor, list[Scale]] | None:
        """The networks of the latest milestone of their own; None while rows are few."""
        first = MIN_ROWS if self.learner.surrogate == "ensemble" else ENSEMBLE_MIN_ROWS
        growth = 1.0 + self.learner.growth if self.learner.surrogate == "ensemble" else ENSEMBLE_GROWTH
        if len(rows) < first:
            return None
        rows = rows.take(slice(0, milestone(len(rows), first, growth)))
        if rows.ok.sum() < MIN_ROWS:
            return None

        def learn() -> tuple[EnsembleRegressor, list[Scale]]:
            scales = [self.scale(rows, column, ENSEMBLE) for column in self.columns]
            t = np.stack([s.forward(rows.observables[:, c]) for s, c in zip(scales, self.columns, strict=True)], -1)
            rng = np.random.default_rng([self.seed, len(rows), 4])
            pick = np.sort(rng.permutation(len(rows))[:ENSEMBLE_MAX_ROWS])
            weights = np.where(rows.nll < np.quantile(rows.nll, 0.3, method="lower"), 2.0, 1.0)
            return Ensemble().fit(rows.u[pick], t[pick], rows.ok[pick], weights[pick], self.seed), scales

        return self.memo.get(self.key("ensemble", rows), learn)

    def examine(self, before: Rows, now: Rows) -> _Examination:
        """How the models of the milestone before predicted the rows that came since."""
        n_targets = len(self.columns)
        only_ensemble = self.learner.surrogate == "ensemble"
        untested = _Examination((ENSEMBLE if only_ensemble else BENT,) * n_targets,
                                (self.learner.max_rows,) * n_targets, (1.0,) * n_targets, Skill())
        n_new = len(now) - len(before)
        new = now.take(len(before) + np.unique(np.linspace(0, n_new - 1, min(n_new, MAX_EXAMINED)).astype(np.intp)))
        if before.ok.sum() < MIN_ROWS or new.ok.sum() < MIN_EXAMINED:
            return untested
        return self.memo.get(self.key("exam", now), lambda: self._examined(before, new, untested))

    def _examined(self, before: Rows, new: Rows, untested: _Examination) -> _Examination:
        verdicts = [self._verdict(before, new, k, untested.models[k]) for k in range(len(self.columns))]
        models, rows, tests = zip(*verdicts, strict=True)
        widen = tuple(float(np.clip(test.deviation, *WIDEN_RANGE)) for test in tests)
        errors = tuple(test.error / test.guess if test.guess > 0 else 0.0 for test in tests)
        emulator = self.emulator(before, before, _Examination(models, rows, widen, Skill()))
        skill = Skill(_ranking(emulator.score(new.u), new, self.threshold), errors)
        return _Examination(models, rows, widen, skill,
                            recalibrate(emulator.p_good(new.u, self.seed), new.nll < self.threshold))

    def _verdict(self, before: Rows, new: Rows, k: int, first: str) -> tuple[str, int, _Tested]:
        """The model of a target that predicts new rows best, how many rows it wants at most, and how it did.

        Gaussian processes are compared with few rows, which is cheap; the best of them is tried with all rows, and
        against the networks, unless it is exact already.
        """
        column, most = self.columns[k], self.learner.max_rows
        there = np.isfinite(new.observables[:, column])
        u, o, yardstick = new.u[there], new.observables[there, column], self.scale(before, column, BENT)

        def tested(word: str, n_rows: int) -> _Tested:
            return _tested(*self.model(before, before, k, word, self.subset(before, n_rows)), u, o, yardstick)

        n_few = min(FEW_ROWS, most)
        name, best = first, tested(first, n_few)

        def better(rival: str, n_rows: int) -> tuple[str, _Tested]:
            test = tested(rival, n_rows)
            return (rival, test) if test.error < CLEARLY_BETTER * best.error else (name, best)

        for rival in self.rivals():
            if best.error < EXACT:
                break
            if not (rival == BENT_SMOOTH and name != BENT) and not self.is_simple(before, column, rival):
                name, best = better(rival, n_few)
        if best.error >= EXACT and name in ADAPTS and not self.is_simple(before, column, ADAPTS[name]):
            name, best = better(ADAPTS[name], n_few)
        if best.error < EXACT:
            return name, n_few, best
        if len(before) > n_few:
            best = tested(name, most)
        if self.learner.surrogate == "mixed" and best.error >= EXACT and self.ensemble(before) is not None:
            name, best = better(ENSEMBLE, most)
        return name, most, best

    def rivals(self) -> tuple[str, ...]:
        """Gaussian processes that may be chosen instead of the first model."""
        return () if self.learner.surrogate == "ensemble" else (PLAIN, PLAIN_SMOOTH, SUM, BENT_SMOOTH)

    def key(self, what: str, rows: Rows) -> bytes:
        """What something was learned from."""
        h = hashlib.blake2b(repr((what, self.seed, self.learner, self.likelihoods, self.threshold)).encode())
        for array in (rows.u, rows.observables, rows.nll):
            h.update(np.ascontiguousarray(array).tobytes())
        return h.digest()


@dataclass(frozen=True)
class _Tested:
    """How a model did on new rows: the mean absolute error on the bent scale, on which a miss far away counts little,
    that of guessing the median, and the 90 % quantile of the standardised errors beside the normal one's.
    """

    error: float
    guess: float
    deviation: float


def _tested(scale: Scale, model: Model, u: Array, o: Array, yardstick: Scale) -> _Tested:
    if len(o) < MIN_EXAMINED // 2:
        return _Tested(math.inf, 0.0, 1.0)
    mean, std = model.moments(u)
    deviation = float(np.quantile(np.abs(scale.forward(o) - mean) / std, 0.9)) / NORMAL_90
    predicted, true = yardstick.bent(scale.backward(mean)), yardstick.bent(o)
    return _Tested(float(np.abs(predicted - true).mean()), float(np.abs(true - np.median(true)).mean()), deviation)


def _ranking(score: Array, new: Rows, threshold: float) -> float:
    """Area under the curve of telling good rows (the better half, if none or all are good) from the others."""
    positive = new.nll < threshold
    if positive.sum() < 3 or (~positive).sum() < 3:
        positive = new.nll <= np.median(new.nll)
        if positive.all():
            return math.nan
    ranks = np.argsort(np.argsort(-score, kind="stable"), kind="stable") + 1.0
    n_positive = int(positive.sum())
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * (len(new) - n_positive)))
