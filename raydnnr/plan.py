"""Plan: all a scan is, one frozen value. `raydnnr.config` builds it from TOML; Python users build it directly."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from raydnnr.errors import ConfigError, did_you_mean
from raydnnr.evaluation import Inputs, Observable, Proposal, Summary, View, check_column_name
from raydnnr.expressions import RESERVED_WORDS, Expression
from raydnnr.kinds import check_fields
from raydnnr.likelihoods import Likelihood, Off
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.tools.base import Tool, Toolchain

GAIN_POINTS = 200  # good points below which a scan does not end for lack of new ground


@dataclass(frozen=True, kw_only=True)
class Stop:
    """When a scan ends: whichever limit comes first.

    ``points``: this many good points (NLL below ``threshold_value``) found by the scan; ``iterations`` of active
    learning after the bootstrap; ``max_evaluations`` points sent to the physics, whatever became of them;
    ``max_hours`` of wall time of one run of the program. 0 means no limit; ``iterations = None`` means what the
    search method has as its default.

    ``coverage_gain``: end when less than this share of the newest good points extends the covered region
    (`raydnnr.coverage.coverage_gain`), looked at from `GAIN_POINTS` good points on each time their number has grown by
    a tenth. 0.1 is reached when all that was found is covered as by a thousand evenly drawn points, 0.01 as by two
    thousand. What no point has come near to is not in it: with ``points = 0`` set another limit, too.
    """

    points: int = 1000
    iterations: int | None = None
    max_evaluations: int = 0
    max_hours: float = 0.0
    threshold_value: float = 1.0
    coverage_gain: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "scan")
        for key in ("points", "iterations", "max_evaluations", "max_hours"):
            value = getattr(self, key)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"scan.{key}: got {value}; use a number >= 0 (0: no limit)")
        if math.isnan(self.threshold_value):
            raise ConfigError("scan.threshold_value: got nan; use a number")
        if not 0 <= self.coverage_gain < 1:
            raise ConfigError(f"scan.coverage_gain: got {self.coverage_gain}; use a share from 0 (off) to below 1, "
                              "such as 0.05")

    def reached(self, summary: Summary) -> str | None:
        """The rule that ends the scan at this state, in words, or None to go on.
        """
        if self.points and summary.good >= self.points:
            return f"points: {summary.good} good points found (wanted {self.points})"
        if self.iterations and summary.iterations >= self.iterations and not summary.pending:
            return f"iterations: {summary.iterations} of {self.iterations} done"
        if self.max_evaluations and summary.evaluations >= self.max_evaluations:
            return f"max_evaluations: {summary.evaluations} points evaluated"
        if self.max_hours and summary.seconds >= 3600 * self.max_hours:
            return f"max_hours: {summary.seconds / 3600:.2f} h of {self.max_hours} h used"
        seen = summary.survey
        if seen.n_points >= GAIN_POINTS and seen.gain < self.coverage_gain:
            return (f"coverage_gain: {100 * seen.gain:.2g} % of the newest good points extend the covered region "
                    f"(wanted less than {100 * self.coverage_gain:g} %)")
        return None


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Where the physics runs. ``slots = None`` and ``gpus_for_trainer = None`` mean auto (one slot per CPU of the
    allocation; a GPU for the trainer if the cluster has one). ``address``: ``auto-local`` starts a Ray of its own.
    ``scratch``: node-local folder for private scratch directories, ``auto`` is memory where there is room.
    """

    slots: int | None = None
    gpus_for_trainer: float | None = None
    address: str = "auto-local"
    scratch: str = "auto"

    def __post_init__(self) -> None:
        check_fields(self, "cluster")


class Method(Protocol):
    """A search method: a frozen dataclass whose fields are the keys of ``[search]`` (`raydnnr.search.methods`)."""

    bootstrap_points: int
    synchronous: bool

    @property
    def default_iterations(self) -> int:
        """Active-learning iterations where the plan sets none (0: no limit)."""
        ...

    @property
    def learns(self) -> bool:
        """Whether it trains a surrogate: only then a trainer (and torch) is started."""
        ...

    def round_size(self, iteration: int, n_wanted: int) -> int:
        """How many points iteration ``iteration`` has, when the pool could use ``n_wanted`` now."""
        ...

    def propose(self, problem: Problem, view: View, iteration: int, n_points: int) -> Proposal:
        """Choose ``n_points`` for the physics; the same arguments give the same points."""
        ...


@dataclass(frozen=True)
class Problem:
    """What a search method knows of the scan besides the data."""

    space: ParameterSpace
    likelihoods: Mapping[str, Likelihood]
    threshold_value: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All a scan is.

    Attributes:
        name: The run directory is ``runs/<name>`` unless another one is given.
        parameters: Scanned and fixed ones, in the order of the table's columns.
        tools: Run in this order.
        observables: Read from the tools, or computed; one without a source is read from the only Python tool.
        method: How points are found (`raydnnr.search.methods`).
        derived: Expressions over parameters, by name, for templates, tools and observables.
        seed: Same seed, same points (bit for bit with a synchronous method).
        stop: When it ends.
        cluster: Where the physics runs.
        init_csv: Earlier points to start from: CSV, Parquet, or another run directory.

    Raises:
        ConfigError: Names that are used twice or reserved, an expression or a template of unknown names, an
            observable of an unknown tool, nothing to scan, nothing to compute.
    """

    name: str
    parameters: tuple[Parameter, ...]
    tools: tuple[Tool, ...]
    observables: tuple[Observable, ...]
    method: Method
    derived: Mapping[str, Expression] = field(default_factory=dict)
    seed: int = 0
    stop: Stop = Stop()
    cluster: ClusterSettings = ClusterSettings()
    init_csv: Path | None = None

    def __post_init__(self) -> None:
        for name, value in _completed(self).items():
            object.__setattr__(self, name, value)
        _check_names(self)
        _check_observables(self)
        if not self.space.n_params:
            raise ConfigError("parameters: nothing to scan; give at least one a range {low = ..., high = ...}")
        if not any(not isinstance(o.likelihood, Off) for o in self.observables):
            raise ConfigError("observables: no likelihood; give at least one observable a likelihood other than 'off'")
        Toolchain(self.tools, self.observables, self.inputs)  # templates are read, with the names they may use

    @cached_property
    def space(self) -> ParameterSpace:
        """The scanned and fixed parameters."""
        return ParameterSpace(self.parameters)

    @cached_property
    def inputs(self) -> Inputs:
        """Parameters and derived values, as tools see them."""
        return Inputs(self.space, self.derived)

    @cached_property
    def toolchain(self) -> Toolchain:
        """The tools in their order, with what is read from each."""
        return Toolchain(self.tools, self.observables, self.inputs)

    @cached_property
    def likelihoods(self) -> dict[str, Likelihood]:
        """By observable name, in the order of the table's columns."""
        return {o.name: o.likelihood for o in self.observables}

    @cached_property
    def problem(self) -> Problem:
        """What the search method is told."""
        return Problem(self.space, self.likelihoods, self.stop.threshold_value, self.seed)

    @cached_property
    def physics(self) -> dict[str, object]:
        """What makes this scan this scan, in plain words: two plans that agree here may share a run directory.

        Limits, likelihoods, labels and the machine are not in it: they may change when a scan is resumed.
        """
        return {
            "seed": self.seed,
            "method": type(self.method).__qualname__,
            "parameters": {p.name: repr(p.prior) for p in self.parameters},
            "derived": {name: e.text for name, e in self.derived.items()},
            "tools": {t.name: dict(t.fingerprint()) for t in self.tools},
            "tool_order": [t.name for t in self.tools],
            "observables": {
                o.name: {"from": repr(o.source), "expression": o.expression.text if o.expression else None,
                         "valid": list(o.valid) if o.valid else None}
                for o in self.observables
            },
        }

    @cached_property
    def fingerprint(self) -> str:
        """Hash of `physics`."""
        return _digest(self.physics)

    @cached_property
    def scoring(self) -> str:
        """Hash of the likelihoods: rows with another one are scored again from their observables."""
        return _digest({name: repr(likelihood) for name, likelihood in self.likelihoods.items()})

    @property
    def timed_tools(self) -> tuple[str, ...]:
        """Tools whose seconds are columns of the table: all of several. What a single one takes is ``seconds``."""
        return tuple(tool.name for tool in self.tools) if len(self.tools) > 1 else ()

    def keeps_of_all(self, file: str) -> bool:
        """Whether an output file of this name (``<tool>.<name>``) is kept of every point, not of good ones only."""
        tools = [tool for tool in self.tools if file.startswith(f"{tool.name}.")]
        return bool(tools) and getattr(max(tools, key=lambda tool: len(tool.name)), "keep_files", "") == "all"

    @property
    def max_kept_bytes(self) -> float:
        """Size of the kept files beyond which nothing more is kept."""
        return 2**30 * max((getattr(tool, "keep_total_gib", 0.0) for tool in self.tools), default=0.0) or math.inf

    def warnings(self) -> list[str]:
        """What is allowed but probably not meant, as sentences."""
        found = []
        used = set().union(*(tool.uses(self.inputs.names) for tool in self.tools))
        used |= set().union(*(e.names for e in self._expressions()))
        for name in self.space.scanned:
            if name not in used:
                found.append(f"parameters.{name}: no tool uses it; its value changes nothing")
        s = self.stop
        if not (s.iterations or s.max_evaluations or s.max_hours):
            other = " and coverage_gain" if s.coverage_gain else ""
            found.append(f"scan: no limit besides points{other}; set max_evaluations or max_hours to be sure it ends")
        return found

    def _expressions(self) -> Iterable[Expression]:
        yield from self.derived.values()
        yield from (o.expression for o in self.observables if o.expression)
        yield from (c for tool in self.tools for c in tool.conditions)
        yield from (tool.run_if for tool in self.tools if tool.run_if is not None)


def _completed(plan: Plan) -> dict[str, object]:
    """Fields as they are kept: tuples for lists, expressions for texts, and defaults that depend on other fields."""
    _check_types(plan)
    tools = tuple(plan.tools)
    if not tools:
        raise ConfigError("tools: none; add a [[tools]] table with kind = 'python' or 'slha'")
    texts = plan.derived.items()
    stop = plan.stop
    if stop.iterations is None:
        stop = replace(stop, iterations=plan.method.default_iterations)
    return {
        "name": plan.name, "seed": int(plan.seed),
        "parameters": tuple(plan.parameters), "tools": tools, "stop": stop,
        "derived": {name: Expression(text) if isinstance(text, str) else text for name, text in texts},
        "observables": (*_own_columns(plan), *(_with_source(o, tools) for o in plan.observables)),
        "init_csv": None if plan.init_csv is None else Path(plan.init_csv),
    }


def _check_types(plan: Plan) -> None:
    """A file cannot get these wrong; Python can."""
    for key, value, accepted, words in (
        ("scan.name", plan.name, str, "a text"), ("scan.seed", plan.seed, numbers.Integral, "a whole number"),
        ("stop", plan.stop, Stop, "a Stop"), ("cluster", plan.cluster, ClusterSettings, "a ClusterSettings"),
        ("derived", plan.derived, Mapping, "a dict of expressions by name"),
        ("init_csv", plan.init_csv, str | Path | None, "a path, or None"),
    ):
        if not isinstance(value, accepted) or isinstance(value, bool):
            raise ConfigError(f"{key}: got {value!r}, wants {words}")
    if isinstance(plan.method, type) or not callable(getattr(plan.method, "propose", None)):
        raise ConfigError(f"method: got {plan.method!r}, wants a search method, such as Hybrid()")
    for key, values, kind in (("parameters", plan.parameters, Parameter), ("tools", plan.tools, Tool),
                              ("observables", plan.observables, Observable)):
        if not isinstance(values, Iterable):
            raise ConfigError(f"{key}: got {values!r}, wants a list of {kind.__name__}s")
        for item in values:
            if not isinstance(item, kind):
                raise ConfigError(f"{key}: got {item!r}, wants {kind.__name__}s only")


def _own_columns(plan: Plan) -> list[Observable]:
    """What tools put into the table by themselves, where the plan does not say more of it."""
    given = {o.name for o in plan.observables}
    return [Observable(name=name, source=tool.address({}, name), likelihood=Off())
            for tool in plan.tools for name in tool.columns() if name not in given]


def _with_source(o: Observable, tools: tuple[Tool, ...]) -> Observable:
    """An observable that says nothing of where it comes from is read from the only Python tool, by its name."""
    if o.source is not None or o.expression is not None:
        return o
    candidates = [tool for tool in tools if tool.default_source]
    if len(candidates) != 1:
        raise ConfigError(f"observables.{o.name}.from: name the tool it is read from, from = {{ tool = '...' }}; there "
                          f"are {', '.join(tool.name for tool in tools)}")
    return replace(o, source=candidates[0].address({}, o.name))


def _digest(value: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=repr).encode()).hexdigest()[:16]


def _check_names(plan: Plan) -> None:
    """Every column has one name, and expressions only use names that exist when they are computed."""
    if not plan.name or "/" in plan.name or plan.name in {".", ".."}:
        raise ConfigError(f"scan.name: got {plan.name!r}; use a name that can be a folder, without '/'")
    if not 0 <= plan.seed < 2**32:
        raise ConfigError(f"scan.seed: got {plan.seed}; use a whole number from 0 to {2**32 - 1}")
    columns = [("parameters", p.name) for p in plan.parameters]
    columns += [("derived", name) for name in plan.derived]
    columns += [("observables", o.name) for o in plan.observables]
    seen: dict[str, str] = {}
    for table, name in columns:
        check_column_name(f"{table}.{name}", name)
        if name in RESERVED_WORDS:
            raise ConfigError(f"{table}.{name}: {name!r} is a function or constant of expressions; choose another name")
        if name in seen:
            raise ConfigError(f"{table}.{name}: the name is already used in [{seen[name]}]; every column needs its own")
        seen[name] = table
    known = [p.name for p in plan.parameters]
    for name, expression in plan.derived.items():
        expression.check(known, f"derived.{name}")
        known.append(name)
    names = [tool.name for tool in plan.tools]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"tools.{name}: two tools have this name; every tool needs its own")


def _check_observables(plan: Plan) -> None:
    """Sources name tools that exist; `valid` is a range; expressions and conditions use known names."""
    tools = [tool.name for tool in plan.tools]
    known = [*(p.name for p in plan.parameters), *plan.derived]
    for o in plan.observables:
        where = f"observables.{o.name}"
        if o.source is not None and o.expression is not None:
            raise ConfigError(f"{where}: give either from = {{...}} or expression = '...', not both")
        if o.source is not None and o.source.tool not in tools:
            raise ConfigError(f"{where}.from: no tool is named {o.source.tool!r}; there are {', '.join(tools)}."
                              + did_you_mean(o.source.tool, tools))
        if o.expression is not None:
            o.expression.check(known, f"{where}.expression")
        if o.valid is not None and not o.valid[0] <= o.valid[1]:
            raise ConfigError(f"{where}.valid: got {list(o.valid)}; use [low, high] with low <= high")
        known.append(o.name)
    for tool in plan.tools:
        for condition in tool.conditions:
            condition.check(known, f"tools.{tool.name}.conditions")
