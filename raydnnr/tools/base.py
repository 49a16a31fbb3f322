"""Tools: a parameter point through physics codes, in their order -> observables, a status and a reason.

A `Tool` is one code; a `Toolchain` runs several of them over a point and reads the observables. What a tool cannot
answer is `InvalidPoint` (the physics said no) or `ToolFailure` (the code broke); both become a row's status and reason.

Reasons begin with a line that holds no number of the point, so that equal causes can be counted; details follow.
"""

from __future__ import annotations

import abc
import math
import re
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from raydnnr.errors import ConfigError, InvalidPoint, ToolFailure
from raydnnr.evaluation import Array, Inputs, Observable, Source, Status
from raydnnr.expressions import Expression
from raydnnr.likelihoods import Off
from raydnnr.tools.slot import Slot

MAX_REASON = 4000  # characters of a reason that are kept


class WorkerDied(ToolFailure):
    """The process that ran a Python function ended in the middle of a point. The point may be tried again."""


class Result:
    """What one run of a tool left. Only the tool that made it can read it."""


@dataclass(frozen=True)
class ManyResults(Result):
    """What a vectorised tool made of n points.

    ``values`` (n, S): one column per source asked for; ``status`` (n,); ``reason`` of each point, empty where it is
    `Status.OK`; ``attempts`` (n,): 2 where a point was tried again because its worker had died.
    """

    values: Array
    status: NDArray[np.int8]
    reason: Sequence[str]
    attempts: NDArray[np.int8]


@dataclass(frozen=True, kw_only=True)
class Tool(abc.ABC):
    """A physics code. Subclasses are kinds: their fields are the keys of ``[[tools]]``.

    Attributes:
        name: What observables call it.
        conditions: Must hold after it ran and its observables were read, else the point is invalid.
        run_if: The tool runs only where this holds, an expression over what is known before it; None: always. Where it
            does not, the tool is skipped: its observables are NaN, which makes the point neither invalid nor failed,
            and its conditions are not asked. As any NaN, they cost the maximum loss unless their likelihood is
            ``off``.
        timeout_s: Longest one run may take.
        memory_limit_gib: Address space of its process, GiB; None: no limit. A code beyond it sees allocations fail.
        environment: Variables to set beside the inherited ones. OMP_NUM_THREADS and its like are 1 unless set here.
    """

    citations: ClassVar[tuple[str, ...]] = ()  # what to cite: keys of `raydnnr.references`, or whole BibTeX entries
    default_source: ClassVar[bool] = False  # whether an observable without ``from`` may be meant to come from it
    paths: ClassVar[tuple[str, ...]] = ()  # its settings that are paths

    name: str
    conditions: tuple[Expression, ...] = ()
    run_if: Expression | None = None
    timeout_s: float = 600.0
    memory_limit_gib: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", self.name):
            raise ConfigError(f"name: {self.name!r} cannot name a tool; use letters, digits and '_'")
        conditions = [self.conditions] if isinstance(self.conditions, str | Expression) else self.conditions
        parsed = tuple(Expression(c) if isinstance(c, str) else c for c in conditions)
        object.__setattr__(self, "conditions", parsed)
        if isinstance(self.run_if, str):
            object.__setattr__(self, "run_if", Expression(self.run_if))
        object.__setattr__(self, "environment", _checked_environment(self.environment))
        self._need_positive("timeout_s", self.timeout_s)
        if self.memory_limit_gib is not None:
            self._need_positive("memory_limit_gib", self.memory_limit_gib)

    @classmethod
    def resolve(cls, settings: Mapping[str, object], folder: Path) -> dict[str, object]:
        """Settings as written in a file in ``folder``: `paths` are relative to that folder, and absolute here."""
        return {key: str(folder / Path(value).expanduser()) if key in cls.paths and isinstance(value, str | Path)
                else value for key, value in settings.items()}

    @abc.abstractmethod
    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """Parse the ``from`` table of an observable (with or without its key ``tool``).

        Raises:
            ConfigError: An unknown key, or a value that is no address of this kind of tool.
        """

    @abc.abstractmethod
    def check(self) -> list[str]:
        """What is missing on this machine, as sentences; empty when the tool can run."""

    @abc.abstractmethod
    def run(self, point: Mapping[str, float], slot: Slot) -> Result:
        """Run the code on one point.

        Args:
            point: Scanned, fixed and derived values, and the observables of earlier tools, by name.
            slot: Where it runs.

        Raises:
            InvalidPoint: The physics has no answer here.
            ToolFailure: The code broke; `WorkerDied` where another try is worth it.
        """

    @abc.abstractmethod
    def read(self, result: Result, source: Source) -> float:
        """A number from a result of `run`; NaN is a number. Raises like `run` when it is not there."""

    @abc.abstractmethod
    def fingerprint(self) -> Mapping[str, object]:
        """What defines its physics, as JSON values. Limits of time and memory do not."""

    def prepare(self, names: Iterable[str]) -> None:
        """Check what can be checked once the names a point has are known.

        Raises:
            ConfigError: The tool uses a name that no parameter or earlier tool has.
        """
        return None

    def columns(self) -> tuple[str, ...]:
        """Observables it has by itself: they are columns of the table without being asked for."""
        return ()

    def uses(self, names: Iterable[str]) -> set[str]:
        """Those of ``names`` it may use. All of them where that cannot be known."""
        return set(names)

    def describe(self) -> str:
        """What it runs, for people."""
        return type(self).__name__

    def describe_at(self, point: Mapping[str, float]) -> str:
        """What it runs at this point, for people."""
        return self.describe()

    def keeps(self, status: Status | None) -> bool:
        """Whether files of a point that ended like this are kept; None: of any point."""
        return False

    def files(self, slot: Slot) -> dict[str, bytes]:
        """What the last run left in the slot and is worth keeping, by file name."""
        return {}

    def _common_fingerprint(self) -> dict[str, object]:
        """What every tool has of physics; ``run_if`` only where there is one."""
        common: dict[str, object] = {"conditions": [c.text for c in self.conditions]}
        return common if self.run_if is None else {**common, "run_if": self.run_if.text}

    def _need_positive(self, key: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConfigError(f"{key}: got {value!r}; use a number > 0")


def _checked_environment(variables: object) -> dict[str, str]:
    """Variables with texts for numbers; what no environment can hold is refused."""
    if not isinstance(variables, Mapping):
        raise ConfigError(f"environment: got {variables!r}; use a table such as {{ LHAPDF_DATA_PATH = '/data/pdf' }}")
    for name, value in variables.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise ConfigError(f"environment: {name!r} cannot name a variable")
        if isinstance(value, bool) or not isinstance(value, str | int | float) or "\0" in str(value):
            raise ConfigError(f"environment.{name}: got {value!r}; use a text or a number")
    return {name: str(value) for name, value in variables.items()}


Trial = Callable[[Mapping[str, float]], Mapping[str, float]]


class Solver(Tool):
    """A tool that tries those after it before it answers; then they run once more, with its answer."""

    @property
    @abc.abstractmethod
    def wanted(self) -> frozenset[str]:
        """The observables of later tools that it must see: it tries all tools up to the last of them."""

    @abc.abstractmethod
    def run_ahead(self, point: Mapping[str, float], trial: Trial) -> Result:
        """Find an answer.

        Args:
            point: As for `run`.
            trial: Runs the later tools with some values added to the point, without regard to ``valid`` and
                conditions; all that is known then, by name. It raises like `run`.
        """

    def run(self, point: Mapping[str, float], slot: Slot) -> Result:
        """Not called: a toolchain calls `run_ahead`."""
        raise AssertionError("a solver runs in a toolchain")


@runtime_checkable
class VectorizedTool(Protocol):
    """A tool that can take many points in one call, if it is ``vectorized``."""

    @property
    def vectorized(self) -> bool: ...

    def run_many(self, columns: Mapping[str, Array], sources: Sequence[Source], slot: Slot) -> ManyResults:
        """Run the code on n points: ``columns`` by name, each (n,). Raises ToolFailure when nothing can run at all."""
        ...


# a tool that has run, its seconds (None: it was skipped), and what is known of the point now
Watch = Callable[[Tool, float | None, Mapping[str, float]], None]


@dataclass(frozen=True)
class ChainResult:
    """One point through all tools.

    ``values`` (K,): NaN where not computed. ``files``: kept output, by name. ``seconds``: of each tool that ran.
    """

    values: Array
    status: Status
    reason: str
    files: Mapping[str, bytes]
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ChainResults:
    """n points through all tools: ``values`` (n, K), ``status`` (n,), ``reason``, ``attempts`` (n,).

    ``seconds`` (n, T): of each tool, a point's share of the call; NaN where it did not run.
    """

    values: Array
    status: NDArray[np.int8]
    reason: list[str]
    attempts: NDArray[np.int8]
    seconds: Array


@dataclass(frozen=True)
class _Stage:
    """A tool (None: before the first) and the observables that are known after it, with their columns.

    ``ahead``: the stages that a `Solver` tries.
    """

    tool: Tool | None
    observables: tuple[tuple[int, Observable], ...]
    ahead: tuple[_Stage, ...] = ()


@dataclass(frozen=True)
class Toolchain:
    """Tools in their order, and what is read from each.

    For each tool: run it; in the order of the configuration, read its observables and compute those that have an
    expression whose names are now known; check its conditions. The chain stops with `Status.INVALID` at a derived
    value that is not finite, an observable outside its ``valid`` range, an observable that is not finite (unless its
    likelihood is ``off``), a condition that is not met, or `InvalidPoint`; with `Status.FAILED` when a code broke. A
    tool whose ``run_if`` does not hold is skipped: its observables, and expressions that are NaN because of them, are
    NaN without a word.

    Later tools see the observables of earlier ones beside the parameters, and the files earlier tools left in the
    scratch directory.

    Raises:
        ConfigError: An observable of a tool that is not there, or a name that is used before it is known.
    """

    tools: tuple[Tool, ...]
    observables: tuple[Observable, ...]
    inputs: Inputs
    stages: tuple[_Stage, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", _stages(self))

    @property
    def vectorized(self) -> bool:
        """Whether all tools take many points in one call, whatever the points."""
        return all(isinstance(t, VectorizedTool) and t.vectorized and t.run_if is None for t in self.tools)

    def check(self) -> list[str]:
        """What is missing on this machine, as sentences."""
        return [f"tools.{tool.name}: {problem}" for tool in self.tools for problem in tool.check()]

    def evaluate(self, x: Array, slot: Slot, watch: Watch | None = None) -> ChainResult:
        """One point ``x`` (P,) through the tools; ``watch`` is told of each, with its files still there.

        Raises:
            WorkerDied: The process that ran a Python function ended; the same point may be tried again.
        """
        values = np.full(len(self.observables), np.nan)
        kept: list[tuple[Tool, dict[str, bytes]]] = []
        status, reason = Status.OK, ""
        skipped: set[str] = set()
        seconds: dict[str, float] = {}
        tool: Tool | None = None
        try:
            slot.empty()
            point = self._point(x)
            for stage in self.stages:
                tool = stage.tool
                with _timed(tool, point, seconds, watch):
                    _run_stage(stage, point, values, skipped, slot)
                _keep(tool, slot, kept)
        except WorkerDied:
            raise
        except (InvalidPoint, ToolFailure) as error:
            status = Status.INVALID if isinstance(error, InvalidPoint) else Status.FAILED
            reason = str(error) or type(error).__name__
            _keep(tool, slot, kept)
        except Exception as error:
            status, reason = Status.FAILED, broken(tool.name if tool else "derived", error)
            _keep(tool, slot, kept)
        files = {name: data for t, some in kept if t.keeps(status) for name, data in some.items()}
        return ChainResult(values, status, reason[:MAX_REASON], files, seconds)

    def evaluate_many(self, x: Array, slot: Slot) -> ChainResults:
        """Points ``x`` (n, P) through tools that are all vectorised. A bad point costs no other one."""
        slot.empty()
        rows = _Rows(len(x), len(self.observables), len(self.tools), self.inputs.columns(x))
        for name in self.inputs.derived:
            rows.drop(~np.isfinite(rows.columns[name]), partial(_not_finite_of, name, rows.columns[name]))
        for stage in self.stages:
            if not len(rows.alive):
                break
            with _shared_time(rows, self.tools.index(stage.tool) if stage.tool else None):
                _run_stage_many(stage, rows, slot)
        return rows.results

    def _point(self, x: Array) -> dict[str, float]:
        point = {name: float(column[0]) for name, column in self.inputs.columns(x[None, :]).items()}
        for name in self.inputs.derived:
            if not math.isfinite(point[name]):
                raise InvalidPoint(_not_finite(name, point[name]))
        return point


def broken(who: str, error: BaseException) -> str:
    """An exception as the reason of a point: type and message, then the traceback."""
    trace = "".join(traceback.format_exception(error))
    message = str(error).strip().split("\n", 1)[0]
    return bounded(f"{who}: {type(error).__name__}{': ' if message else ''}{message}", trace)


def bounded(first_line: str, details: str = "") -> str:
    """A reason of at most `MAX_REASON` characters that keeps its first line and the end of its details."""
    first_line = first_line[:500]
    return f"{first_line}\n{details.rstrip()[-(MAX_REASON - len(first_line) - 1):]}" if details.strip() else first_line


def _stages(chain: Toolchain) -> tuple[_Stage, ...]:
    """Sort the observables to the tools after which they are known, checking every name on the way."""
    known = set(chain.inputs.names)
    left = list(enumerate(chain.observables))
    stages = []
    for tool in (None, *chain.tools):
        if tool is not None:
            tool.prepare(known)
            if tool.run_if is not None:
                tool.run_if.check(known, f"tools.{tool.name}.run_if (known before this tool)")
        here = []
        for k, o in left:
            if (o.source.tool == tool.name if tool else False) if o.source else _computable(o, known):
                here.append((k, o))
                known.add(o.name)
        left = [item for item in left if item not in here]
        for condition in tool.conditions if tool else ():
            condition.check(known, f"tools.{tool.name}.conditions (known after this tool)" if tool else "")
        if tool is not None or here:
            stages.append(_Stage(tool, tuple(here)))
    for _, o in left:
        if o.source is not None:
            raise ConfigError(f"observables.{o.name}.from: no tool is named {o.source.tool!r}")
        if o.expression is not None:
            o.expression.check(known, f"observables.{o.name}.expression")
    for k in reversed(range(len(stages))):  # from the last: a solver may try another one
        stages[k] = replace(stages[k], ahead=_ahead(stages[k].tool, stages[k + 1 :]))
    return tuple(stages)


def _ahead(tool: Tool | None, later: Sequence[_Stage]) -> tuple[_Stage, ...]:
    """The stages that a solver tries: up to the one that has the last observable it wants."""
    if not isinstance(tool, Solver):
        return ()
    missing = set(tool.wanted)
    for k, stage in enumerate(later):
        missing -= {o.name for _, o in stage.observables}
        if not missing:
            return tuple(later[: k + 1])
    raise ConfigError(f"tools.{tool.name}: no tool after it gives the observable {', '.join(sorted(missing))}, which "
                      "it needs; put it before the tool that does")


def _computable(o: Observable, known: set[str]) -> bool:
    return o.expression is not None and o.expression.names <= known


def _keep(tool: Tool | None, slot: Slot, kept: list[tuple[Tool, dict[str, bytes]]]) -> None:
    if tool is not None and tool.keeps(None):
        kept.append((tool, tool.files(slot)))


# ---- one point

def _run_stage(stage: _Stage, point: dict[str, float], values: Array, skipped: set[str], slot: Slot) -> None:
    """Run a tool on a point; add its observables to ``point`` and ``values``; those skipped to ``skipped``."""
    tool = stage.tool
    runs = _runs(tool, point)
    result = _answer(stage, point, slot) if tool and runs else Result()
    for k, o in stage.observables:
        if o.source is not None and tool is not None:
            value = tool.read(result, o.source) if runs else math.nan
            absent = not runs
        elif o.expression is not None:
            value = float(o.expression.evaluate(point))
            absent = math.isnan(value) and not skipped.isdisjoint(o.expression.names)
        point[o.name] = values[k] = value
        if absent:
            skipped.add(o.name)
            continue
        if not math.isfinite(value) and not isinstance(o.likelihood, Off):
            raise InvalidPoint(_not_finite(o.name, value))
        if o.valid is not None and not o.valid[0] <= value <= o.valid[1]:
            raise InvalidPoint(_outside(o, value))
    for condition in tool.conditions if tool and runs else ():
        if not _holds(float(condition.evaluate(point))):
            raise InvalidPoint(_not_met(condition))


@contextmanager
def _timed(tool: Tool | None, point: Mapping[str, float], seconds: dict[str, float], watch: Watch | None
           ) -> Iterator[None]:
    """Note how long a tool takes that is not skipped, its observables included, however it ends."""
    runs, start = tool is not None and _runs(tool, point), time.perf_counter()
    try:
        yield
    finally:
        if tool is not None and runs:
            seconds[tool.name] = time.perf_counter() - start
        if tool is not None and watch is not None:
            watch(tool, seconds.get(tool.name), point)


def _runs(tool: Tool | None, point: Mapping[str, float]) -> bool:
    return tool is None or tool.run_if is None or _holds(float(tool.run_if.evaluate(point)))


def _answer(stage: _Stage, point: Mapping[str, float], slot: Slot) -> Result:
    """What the tool of a stage makes of a point."""
    if stage.tool is None:
        return Result()
    if not isinstance(stage.tool, Solver):
        return stage.tool.run(point, slot)
    rehearsal = _Rehearsal(stage, point, slot)
    try:
        return stage.tool.run_ahead(point, rehearsal)
    finally:
        rehearsal.close()


def _value(tool: Tool | None, result: Result, o: Observable, point: Mapping[str, float]) -> float:
    """An observable, read or computed."""
    if o.source is not None and tool is not None:
        return tool.read(result, o.source)
    return float(o.expression.evaluate(point)) if o.expression is not None else math.nan


class _Rehearsal:
    """The tools after a solver, run as often as it likes; each time on the files that were there before."""

    def __init__(self, stage: _Stage, point: Mapping[str, float], slot: Slot) -> None:
        self._stage, self._point, self._slot = stage, point, slot
        self._before = slot.scratch.with_name(f"{slot.scratch.name}.before-{stage.tool.name if stage.tool else ''}")
        shutil.rmtree(self._before, ignore_errors=True)
        shutil.copytree(slot.scratch, self._before, symlinks=True)

    def __call__(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """All that is known with these values. Raises like `Tool.run`."""
        self._restore()
        point = {**self._point, **values}
        for _, o in self._stage.observables:
            if o.expression is not None:
                point[o.name] = float(o.expression.evaluate(point))
        for stage in self._stage.ahead:
            runs = _runs(stage.tool, point)
            result = _answer(stage, point, self._slot) if runs else Result()
            for _, o in stage.observables:
                point[o.name] = _value(stage.tool, result, o, point) if runs or o.source is None else math.nan
        return point

    def close(self) -> None:
        """Leave the scratch directory as it was found."""
        self._restore()
        shutil.rmtree(self._before, ignore_errors=True)

    def _restore(self) -> None:
        self._slot.empty()
        shutil.copytree(self._before, self._slot.scratch, symlinks=True, dirs_exist_ok=True)


def _not_finite(name: str, value: float) -> str:
    return f"{name} is {'nan' if math.isnan(value) else 'inf' if value > 0 else '-inf'}"


def _outside(o: Observable, value: float) -> str:
    low, high = o.valid or (-math.inf, math.inf)
    return f"{o.name} outside valid [{low:g}, {high:g}]\n{o.name} = {value:.6g}"


def _holds(value: float) -> bool:
    """A condition that cannot be computed (NaN) does not hold."""
    return value != 0 and not math.isnan(value)


def _not_met(condition: Expression) -> str:
    return f"condition not met: {condition.text}"


# ---- many points

class _Rows:
    """Points on their way through a vectorised chain: ``columns`` hold those still ``alive`` (row numbers)."""

    def __init__(self, n_points: int, n_observables: int, n_tools: int, columns: Mapping[str, Array]) -> None:
        self.results = ChainResults(np.full((n_points, n_observables), np.nan), np.zeros(n_points, np.int8),
                                    [""] * n_points, np.ones(n_points, np.int8), np.full((n_points, n_tools), np.nan))
        self.alive = np.arange(n_points)
        self.columns = {name: np.broadcast_to(column, (n_points,)) for name, column in columns.items()}

    def add(self, k: int, name: str, column: Array) -> None:
        """Observable number ``k`` of the points alive."""
        self.columns[name] = column = np.broadcast_to(column, self.alive.shape)
        if len(self.alive) == len(self.results.values):
            self.results.values[:, k] = column
        else:
            self.results.values[self.alive, k] = column

    def drop(self, bad: NDArray[np.bool_], reason: Callable[[int], str],
             status: Status | NDArray[np.int8] = Status.INVALID) -> None:
        """Stop the points where ``bad`` (a mask over those alive); ``reason`` of each by its place among them."""
        if not bad.any():
            return
        rows = self.alive[bad]
        self.results.status[rows] = status if isinstance(status, Status) else status[bad]
        for row, k in zip(rows.tolist(), np.flatnonzero(bad).tolist(), strict=True):
            self.results.reason[row] = reason(k)[:MAX_REASON]
        self.alive = self.alive[~bad]
        self.columns = {name: column[~bad] for name, column in self.columns.items()}


@contextmanager
def _shared_time(rows: _Rows, tool: int | None) -> Iterator[None]:
    """Note how long tool number ``tool`` takes, its observables included, in equal shares of the points alive."""
    alive, start = rows.alive, time.perf_counter()
    yield
    if tool is not None:
        rows.results.seconds[alive, tool] = (time.perf_counter() - start) / len(alive)


def _run_stage_many(stage: _Stage, rows: _Rows, slot: Slot) -> None:
    """Run a vectorised tool on the points alive; add its observables."""
    if stage.tool is not None:
        _run_tool_many(stage, rows, slot)
    for k, o in stage.observables:
        if not len(rows.alive):
            return
        column = o.expression.evaluate(rows.columns) if o.expression else rows.columns.pop(_unread(o))
        rows.add(k, o.name, column)
        if not isinstance(o.likelihood, Off):
            rows.drop(~np.isfinite(rows.columns[o.name]), partial(_not_finite_of, o.name, rows.columns[o.name]))
        if o.valid is not None:
            value = rows.columns[o.name]
            rows.drop(~((value >= o.valid[0]) & (value <= o.valid[1])), partial(_outside_of, o, value))
    for condition in stage.tool.conditions if stage.tool else ():
        value = np.broadcast_to(condition.evaluate(rows.columns), rows.alive.shape)
        rows.drop((value == 0) | np.isnan(value), partial(_not_met_of, condition))


def _run_tool_many(stage: _Stage, rows: _Rows, slot: Slot) -> None:
    """Run the tool; its numbers wait among the columns until they are read."""
    tool = stage.tool
    assert isinstance(tool, VectorizedTool) and isinstance(tool, Tool)
    from_tool = [o for _, o in stage.observables if o.source is not None]
    everyone = np.ones(len(rows.alive), bool)
    try:
        result = tool.run_many(rows.columns, [o.source for o in from_tool if o.source is not None], slot)
    except ToolFailure as error:
        return rows.drop(everyone, partial(_same, str(error)), Status.FAILED)
    except Exception as error:
        return rows.drop(everyone, partial(_same, broken(tool.name, error)), Status.FAILED)
    rows.results.attempts[rows.alive] = np.maximum(rows.results.attempts[rows.alive], result.attempts)
    for o, column in zip(from_tool, result.values.T, strict=True):
        rows.columns[_unread(o)] = column
    rows.drop(result.status != Status.OK, result.reason.__getitem__, result.status)


def _unread(o: Observable) -> str:
    return f"{o.name} (not read yet)"


def _same(text: str, k: int) -> str:
    return text


def _not_finite_of(name: str, value: Array, k: int) -> str:
    return _not_finite(name, value[k])


def _outside_of(o: Observable, value: Array, k: int) -> str:
    return _outside(o, value[k])


def _not_met_of(condition: Expression, k: int) -> str:
    return _not_met(condition)
