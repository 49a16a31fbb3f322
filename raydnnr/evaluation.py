"""The evaluation table: what goes to the physics, what comes back, and the row that remains.

Shapes: **N** points, **P** scanned parameters, **K** observables.
"""

from __future__ import annotations

import enum
import keyword
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from raydnnr.coverage import Survey
from raydnnr.errors import ConfigError
from raydnnr.expressions import Expression
from raydnnr.likelihoods import Likelihood, get_losses
from raydnnr.space import ParameterSpace

Array = NDArray[np.float64]


class Status(enum.IntEnum):
    """How an evaluation ended. ``FAILED`` (the code broke) is never merged with ``INVALID`` (the physics said no)."""

    OK = 0
    INVALID = 1
    FAILED = 2


class Source(Protocol):
    """Where an observable is read: ``tool`` names the tool; the rest is that tool kind's own address."""

    @property
    def tool(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Observable:
    """A number read from a tool (``source``) or computed from earlier values (``expression``).

    ``valid``: outside ``[low, high]`` the point is invalid and the chain stops.
    """

    name: str
    source: Source | None = None
    expression: Expression | None = None
    likelihood: Likelihood
    valid: tuple[float, float] | None = None
    unit: str = ""
    latex: str = ""


@dataclass(frozen=True)
class Inputs:
    """What a tool sees of a point: scanned, fixed and derived values, by name."""

    space: ParameterSpace
    derived: Mapping[str, Expression] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters in the order of the configuration, then the derived values."""
        return (*self.space.names, *self.derived)

    def columns(self, x: Array) -> dict[str, Array]:
        """Values by name, each (N,), for points ``x`` (N, P); a derived value is NaN where it is not defined."""
        values = self.space.columns(x)
        for name, expression in self.derived.items():
            values[name] = expression.evaluate(values)
        return values


class Savable(Protocol):
    """A surrogate that a run directory can keep."""

    def save(self, path: Path) -> None:
        """Write it, as numbers only."""
        ...


@dataclass(frozen=True)
class Proposal:
    """Points chosen for physics, before they have a number.

    ``x`` (N, P) physical units; ``origin`` (N,) the proposal source's word for each point;
    ``nll_predicted`` (N,), NaN where no surrogate was asked; ``report`` of the training behind it; ``surrogate`` that
    can be saved, if there is one.
    """

    x: Array
    origin: Sequence[str]
    nll_predicted: Array
    report: TrainingReport | None = None
    surrogate: Savable | None = None


@dataclass(frozen=True)
class TrainingReport:
    """One training of the surrogate.

    Losses are mean squared errors in the scaled target; of method ``hybrid``, the median error on rows that it had not
    seen, beside that of guessing the median, averaged over the observables; NaN where there were none yet.

    ``expected_good`` and ``found_good``: the share of good points that was predicted of the round that was finished
    last, and what became of it; ``reliability``: of all rounds, by tenths of the predicted probability, the number of
    points, its mean and the share of good ones.
    """

    n_points: int
    epochs: int
    loss: float
    validation_loss: float
    seconds: float
    device: str = "cpu"
    expected_good: float = math.nan
    found_good: float = math.nan
    reliability: tuple[tuple[int, float, float], ...] = ()


@dataclass(frozen=True)
class Points:
    """Committed points of one iteration on their way to the physics."""

    point_id: NDArray[np.int64]
    iteration: int
    x: Array
    origin: Sequence[str]
    nll_predicted: Array

    def __len__(self) -> int:
        return len(self.point_id)

    def take(self, rows: NDArray[Any]) -> Points:
        """The points of these rows (a mask or indices)."""
        index = np.arange(len(self))[rows]
        return Points(self.point_id[index], self.iteration, self.x[index],
                      [self.origin[i] for i in index], self.nll_predicted[index])


@dataclass(frozen=True)
class Outcomes:
    """What the physics made of some points, as columns.

    ``observables`` (N, K): NaN was not computed. ``reason``: empty for `Status.OK`, else a first line that
    can be counted, then details. ``finished``: Unix time in s. ``files``: kept output files of a point, by point id,
    as a name -> bytes mapping. ``tool_seconds`` (N, T): of each tool of the chain, in its order, NaN where it did not
    run; None where nobody looked at the clock.
    """

    point_id: NDArray[np.int64]
    observables: Array
    status: NDArray[np.int8]
    reason: Sequence[str]
    attempts: NDArray[np.int8]
    seconds: Array
    host: str
    finished: Array
    files: Mapping[int, Mapping[str, bytes]] = field(default_factory=dict)
    tool_seconds: Array | None = None

    def __len__(self) -> int:
        return len(self.point_id)

    def take(self, rows: NDArray[np.intp]) -> Outcomes:
        """Those of these rows, in their order."""
        ids = self.point_id[rows]
        return Outcomes(ids, self.observables[rows], self.status[rows], [self.reason[k] for k in rows.tolist()],
                        self.attempts[rows], self.seconds[rows], self.host, self.finished[rows],
                        {i: self.files[i] for i in ids.tolist() if i in self.files} if self.files else {},
                        None if self.tool_seconds is None else self.tool_seconds[rows])


@dataclass(frozen=True)
class Scored:
    """Outcomes with their losses (N, K) and NLL (N,)."""

    outcomes: Outcomes
    losses: Array
    nll: Array


def score(outcomes: Outcomes, likelihoods: Mapping[str, Likelihood]) -> Scored:
    """Losses and NLL of some outcomes.

    The NLL is the sum of the losses; an observable that was not computed costs the maximum
    (`raydnnr.likelihoods.MAX_LOSS`). A failed point has no NLL: its losses and NLL are NaN.

    Args:
        outcomes: From a pool.
        likelihoods: By observable name, in the order of the columns of ``outcomes.observables``.
    """
    columns = {name: outcomes.observables[:, k] for k, name in enumerate(likelihoods)}
    losses = np.empty((len(outcomes), len(likelihoods)))
    for k, loss in enumerate(get_losses(columns, likelihoods).values()):
        losses[:, k] = loss
    losses[outcomes.status == Status.FAILED] = np.nan
    return Scored(outcomes, losses, losses.sum(axis=1))


@dataclass(frozen=True)
class View:
    """Everything known when points are proposed: finished evaluations (any order), and pending points.

    ``n_proposed`` counts the points ever proposed by the scan (bootstrap included, seed tables not). ``iteration`` and
    ``origin`` say in which round and by which source a row was proposed (`words` has the sources' words); they may be
    left out where nothing asks for them.
    """

    point_id: NDArray[np.int64]
    x: Array
    observables: Array
    nll: Array
    status: NDArray[np.int8]
    pending: Array
    n_proposed: int
    iteration: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    origin: NDArray[np.int16] = field(default_factory=lambda: np.empty(0, np.int16))
    words: tuple[str, ...] = ()

    def rows(self, start: int) -> View:
        """The finished rows from ``start`` on (rows are only ever appended), and all pending points."""
        return self._with(lambda a: a[start:])

    def extended(self, new: View) -> View:
        """These rows and newer ones; what is pending is what is pending in ``new``."""
        names = ("point_id", "x", "observables", "nll", "status", "iteration", "origin")
        return replace(new, **{name: np.concatenate([getattr(self, name), getattr(new, name)]) for name in names})

    def in_order(self) -> View:
        """The same rows in the order of their point ids."""
        order = np.argsort(self.point_id, kind="stable")
        return self._with(lambda a: a[order] if len(a) else a)

    def _with(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> View:
        """The same change of all columns of finished rows."""
        names = ("point_id", "x", "observables", "nll", "status", "iteration", "origin")
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **changed)

    def rounds(self) -> NDArray[np.int32]:
        """Round of each row (N,); 0 where it is not known."""
        return self.iteration if len(self.iteration) else np.zeros(len(self.point_id), np.int32)

    def origins(self) -> NDArray[np.object_]:
        """Source of each row (N,), in words; empty where it is not known."""
        if not len(self.origin):
            return np.full(len(self.point_id), "", dtype=object)
        return np.array(self.words, dtype=object)[self.origin]


@dataclass(frozen=True)
class Summary:
    """Where a scan stands. Rows that came from a seed table (origin ``csv``) are not counted.

    ``iterations``: active-learning iterations opened and finished (the bootstrap is iteration 0 and not counted).
    ``seconds``: since this driver started. ``reasons``: the most frequent reasons of points that were not ok.
    ``survey``: of the good points, made when their number has grown by some per cent.
    """

    evaluations: int = 0
    good: int = 0
    ok: int = 0
    invalid: int = 0
    failed: int = 0
    iterations: int = 0
    pending: int = 0
    best_nll: float = float("nan")
    seconds: float = 0.0
    reasons: tuple[tuple[str, int], ...] = ()
    survey: Survey = field(default_factory=Survey)


RESERVED = frozenset({"point_id", "iteration", "origin", "nll", "nll_predicted", "status", "reason", "attempts",
                      "seconds", "host", "finished"})


def check_column_name(where: str, name: str) -> None:
    """Refuse a name that cannot be a column, a Python identifier and a word of an expression at once.

    Raises:
        ConfigError: The name is empty, not an identifier, or one of the table's own columns.
    """
    if not name.isidentifier() or not name.isascii():
        raise ConfigError(f"{where}: {name!r} is not a name; use letters, digits and '_', not starting with a digit")
    if keyword.iskeyword(name):
        raise ConfigError(f"{where}: {name!r} is a word of Python and could not stand in an expression; choose another "
                          f"name, such as {name + '_'!r}")
    if name in RESERVED or name.startswith(("loss_", "seconds_")):
        raise ConfigError(f"{where}: {name!r} is a column of the evaluation table; choose another name")
