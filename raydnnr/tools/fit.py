"""Fit: values of one or more parameters at which observables of later tools meet their targets, found at each point.

The tools up to the last observable with a target run once for each trial, then once in full with the values found.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from raydnnr.errors import ConfigError, InvalidPoint, ToolFailure, did_you_mean
from raydnnr.evaluation import Array, Source
from raydnnr.tools.base import Result, Solver, Trial, WorkerDied
from raydnnr.tools.slot import SlotClosed

RUNS = "runs"  # how many trials it took: an observable that can be asked for
_ALGORITHMS = ("brent", "least_squares", "nelder_mead")
_UNSOLVED = ("invalid", "nearest")
_SHARP = 1e-8  # a change of sign within this share of a range is a jump or a pole, no solution
_MAX_STARTS = 17  # where a start has no answer, so many places are tried


@dataclass(frozen=True)
class FitSource:
    """``{key = "mu"}``: a value that was found, by default the observable's own name; ``runs``: how many trials."""

    tool: str
    key: str


@dataclass(frozen=True)
class FitResult(Result):
    """The values found, and ``runs``."""

    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Fit(Solver):
    r"""Solve for parameters so that observables meet targets.

    Solved is :math:`|o_i(x) - t_i| \le \mathrm{tolerance}_i` for all i. A fitted value is a column of the table under
    its name, and later tools see it like a parameter. During the trials ``valid`` and ``conditions`` are not looked
    at; a trial that has no answer is passed over.

    Attributes:
        solve: ``{ mu = { low = 100, high = 2000 } }``: what to solve for, and where; ``start`` is where more than one
            parameter starts from (by default the middle).
        targets: ``{ mZ = { value = 91.19, tolerance = 0.01 } }``: observables of later tools, in their unit.
        algorithm: ``brent`` (one parameter and one target: halve the range until there is a change of sign, then
            Brent's method), ``least_squares`` (bounded, with ``nelder_mead`` from the best point where it ends early)
            or ``nelder_mead``; by default the first that can be.
        resolution: Share of a range: ``brent`` looks for changes of sign in steps of at least that; step of the
            derivatives of ``least_squares``.
        max_runs: Trials at most.
        unsolved: What a point is when no trial met the targets: ``invalid``, or ``nearest``: the best trial is taken.
        timeout_s: Longest all trials may take.

    References:
        BSMArt calls it marginalisation or ``Fitting`` (arXiv:2301.01154).
    """

    citations: ClassVar[tuple[str, ...]] = ("Goodsell:2023iac", "Brent:1973", "Virtanen:2019joe")

    solve: Mapping[str, Mapping[str, float]] = field(hash=False)
    targets: Mapping[str, Mapping[str, float]] = field(hash=False)
    algorithm: str = ""
    resolution: float = 0.02
    max_runs: int = 100
    unsolved: str = "invalid"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "solve", _tables("solve", self.solve, ("low", "high", "start")))
        object.__setattr__(self, "targets", _tables("targets", self.targets, ("value", "tolerance")))
        for name, range_ in self.solve.items():
            _check_range(f"solve.{name}", range_)
        for name, target in self.targets.items():
            if target.keys() != {"value", "tolerance"} or not target["tolerance"] > 0:
                raise ConfigError(f"targets.{name}: got {dict(target)}; give value = ... and tolerance = ... > 0, in "
                                  "the observable's unit")
        one = len(self.solve) == len(self.targets) == 1
        object.__setattr__(self, "algorithm", self.algorithm or ("brent" if one else "least_squares"))
        for key, words in {"algorithm": _ALGORITHMS, "unsolved": _UNSOLVED}.items():
            if (word := getattr(self, key)) not in words:
                raise ConfigError(f"{key}: got {word!r}; use one of {', '.join(words)}."
                                  + did_you_mean(str(word), words))
        if self.algorithm == "brent" and not one:
            raise ConfigError("algorithm: 'brent' solves for one parameter with one target; use 'least_squares'")
        if not 0 < self.resolution <= 0.5:
            raise ConfigError(f"resolution: got {self.resolution}; use a share of the range between 0 and 0.5")
        if self.max_runs < 2:
            raise ConfigError(f"max_runs: got {self.max_runs}; use a whole number >= 2")

    @property
    def wanted(self) -> frozenset[str]:
        """The observables that have targets."""
        return frozenset(self.targets)

    def columns(self) -> tuple[str, ...]:
        """The values found are columns of the table."""
        return tuple(self.solve)

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """``{key = "mu"}``, or nothing for the observable's own name."""
        accepted = (*self.solve, RUNS)
        where = f"observables.{observable}.from"
        for setting in settings:
            if setting not in ("tool", "key"):
                raise ConfigError(f"{where}: no setting {setting!r} for a fit; it accepts tool, key."
                                  + did_you_mean(setting, ("tool", "key")))
        key = str(settings.get("key", observable))
        if key not in accepted:
            raise ConfigError(f"{where}: the fit {self.name!r} has no {key!r}; there are {', '.join(accepted)}."
                              + did_you_mean(key, accepted))
        return FitSource(self.name, key)

    def check(self) -> list[str]:
        """It needs nothing that is not installed with it."""
        return []

    def uses(self, names: Iterable[str]) -> set[str]:
        """None: the tools it tries do."""
        return set()

    def fingerprint(self) -> Mapping[str, object]:
        """All that decides what is found."""
        return {"kind": "fit", "solve": {k: dict(v) for k, v in self.solve.items()},
                "targets": {k: dict(v) for k, v in self.targets.items()}, "algorithm": self.algorithm,
                "resolution": self.resolution, "max_runs": self.max_runs, "unsolved": self.unsolved,
                **self._common_fingerprint()}

    def run_ahead(self, point: Mapping[str, float], trial: Trial) -> FitResult:
        """Find the values.

        Raises:
            InvalidPoint: No trial met the targets (unless ``unsolved = "nearest"``).
            ToolFailure: The trials took longer than ``timeout_s``, or no trial had an answer and a code broke.
        """
        trials = _Trials(self, trial)
        try:
            {"brent": _brent, "least_squares": _least_squares, "nelder_mead": _nelder_mead}[self.algorithm](trials)
        except _Done:
            pass
        return trials.answer()

    def read(self, result: Result, source: Source) -> float:
        """A value that was found."""
        assert isinstance(result, FitResult) and isinstance(source, FitSource)
        return result.values[source.key]


class _Done(Exception):
    """The targets are met, or no trial is left."""


class _Lost(Exception):
    """A trial between a change of sign has no answer."""


class _Trials:
    """Trials of one point: residuals in tolerances, the best so far, and what went wrong.

    Parameters are in units of their ranges, from 0 to 1.
    """

    def __init__(self, fit: Fit, trial: Trial) -> None:
        self.fit, self._trial = fit, trial
        self._low = np.array([r["low"] for r in fit.solve.values()])
        self._width = np.array([r["high"] for r in fit.solve.values()]) - self._low
        self._known: dict[tuple[float, ...], Array] = {}
        self._best: tuple[float, Array | None] = (math.inf, None)
        self._seen: Mapping[str, float] = {}
        self._errors: list[InvalidPoint | ToolFailure] = []
        self._runs, self._start = 0, time.monotonic()

    @property
    def starts(self) -> list[Array]:
        """Where to begin: the start, then the middles of the parts of the box."""
        ranges = self.fit.solve.values()
        start = [(r.get("start", (r["low"] + r["high"]) / 2) - r["low"]) / (r["high"] - r["low"]) for r in ranges]
        parts = itertools.islice(itertools.product((0.25, 0.75), repeat=len(start)), _MAX_STARTS - 1)
        return [np.array(start), *(np.array(p) for p in parts)]

    def residuals(self, u: Array) -> Array:
        """``(o - t) / tolerance`` of each target; NaN where the tools have no answer.

        Raises:
            _Done: All are within 1, or no trial is left.
        """
        key = tuple(np.clip(u, 0.0, 1.0).tolist())
        if key not in self._known:
            if self._runs >= self.fit.max_runs:
                raise _Done
            if (seconds := time.monotonic() - self._start) > self.fit.timeout_s:
                raise ToolFailure(f"{self.fit.name}: the trials took longer than {self.fit.timeout_s:g} s\n"
                                  f"{self._runs} trials in {seconds:.1f} s")
            self._known[key] = self._tried(key)
        return self._known[key]

    def answer(self) -> FitResult:
        """The best trial, if it is good enough."""
        miss, u = self._best
        if u is None:
            broken = [e for e in self._errors if isinstance(e, ToolFailure)]
            raise (broken or self._errors)[-1]
        values = {name: float(v) for name, v in zip(self.fit.solve, self._low + u * self._width, strict=True)}
        if miss > 1 and self.fit.unsolved == "invalid":
            nearest = ", ".join(f"{name} = {v:.6g}" for name, v in {**values, **self._seen}.items())
            raise InvalidPoint(f"{self.fit.name}: no solution\nafter {self._runs} trials; nearest: {nearest}")
        return FitResult({**values, RUNS: float(self._runs)})

    def _tried(self, u: tuple[float, ...]) -> Array:
        fit = self.fit
        self._runs += 1
        try:
            seen = self._trial(dict(zip(fit.solve, (self._low + np.array(u) * self._width).tolist(), strict=True)))
        except (WorkerDied, SlotClosed):
            raise
        except (InvalidPoint, ToolFailure) as error:
            self._errors.append(error)
            return np.full(len(fit.targets), np.nan)
        found = np.array([(seen[name] - t["value"]) / t["tolerance"] for name, t in fit.targets.items()])
        if not np.isfinite(found).all():
            self._errors.append(InvalidPoint(f"{fit.name}: {', '.join(fit.targets)} not finite in any trial"))
            return np.full(len(found), np.nan)
        miss = float(np.abs(found).max())
        if miss < self._best[0]:
            self._best, self._seen = (miss, np.array(u)), {name: seen[name] for name in fit.targets}
        if miss <= 1:
            raise _Done
        return found


def _brent(trials: _Trials) -> None:
    """Halve the range until neighbours differ in sign; between them, Brent's method. A pole is not a solution."""
    from scipy.optimize import brentq

    def inside(u: float) -> float:
        residual = float(trials.residuals(np.array([u]))[0])
        if math.isnan(residual):
            raise _Lost
        return residual

    jumps: list[tuple[float, float]] = []  # where a change of sign came to nothing
    for level in range(int(math.log2(1 / trials.fit.resolution)) + 1):
        places = [k / 2**level for k in range(2**level + 1)]
        found = [float(trials.residuals(np.array([u]))[0]) for u in places]
        for a, b, f, g in zip(places[:-1], places[1:], found[:-1], found[1:], strict=True):
            if f * g < 0 and not any(a <= low and high <= b for low, high in jumps):
                try:
                    jump = brentq(inside, a, b, xtol=_SHARP, disp=False)
                    jumps.append((max(a, jump - _SHARP), min(b, jump + _SHARP)))
                except _Lost:
                    jumps.append((a, b))


def _least_squares(trials: _Trials) -> None:
    """From the first start that has an answer; then `_nelder_mead` with the trials that are left."""
    from scipy.optimize import least_squares

    start = _first_answer(trials)
    try:
        least_squares(trials.residuals, start, bounds=(0.0, 1.0), diff_step=trials.fit.resolution, x_scale=1.0,
                      max_nfev=trials.fit.max_runs)
    except (ValueError, np.linalg.LinAlgError):  # no answer where a derivative was wanted
        pass
    _nelder_mead(trials)


def _nelder_mead(trials: _Trials) -> None:
    """The sum of squared residuals, infinite where there is no answer."""
    from scipy.optimize import minimize

    def total(u: Array) -> float:
        squares = float((trials.residuals(u) ** 2).sum())
        return math.inf if math.isnan(squares) else squares

    best = trials._best[1]
    start = _first_answer(trials) if best is None else best
    with np.errstate(invalid="ignore"):
        minimize(total, start, method="Nelder-Mead", bounds=[(0.0, 1.0)] * len(start),
                 options={"maxfev": trials.fit.max_runs, "xatol": 1e-10, "fatol": 1e-10})


def _first_answer(trials: _Trials) -> Array:
    for start in trials.starts:
        if np.isfinite(trials.residuals(start)).all():
            return start
    raise _Done


def _tables(key: str, value: object, accepted: Sequence[str]) -> dict[str, dict[str, float]]:
    """``{ name = { word = number, ... } }``."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(v, Mapping) for v in value.values()):
        words = ", ".join(f"{word} = ..." for word in accepted[:2])
        raise ConfigError(f"{key}: got {value!r}; write {{ name = {{ {words} }} }}")
    found: dict[str, dict[str, float]] = {}
    for name, table in value.items():
        for word, number in table.items():
            if word not in accepted:
                raise ConfigError(f"{key}.{name}: no setting {word!r}; it accepts {', '.join(accepted)}."
                                  + did_you_mean(str(word), accepted))
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise ConfigError(f"{key}.{name}.{word}: got {number!r}; use a number")
        found[name] = {word: float(number) for word, number in table.items()}
    return found


def _check_range(where: str, range_: Mapping[str, float]) -> None:
    if not {"low", "high"} <= range_.keys() or not range_["low"] < range_["high"]:
        raise ConfigError(f"{where}: got {dict(range_)}; give low = ... and high = ... above it")
    if not range_["low"] <= range_.get("start", range_["low"]) <= range_["high"]:
        raise ConfigError(f"{where}.start: got {range_['start']:g}; use a number between low and high")
