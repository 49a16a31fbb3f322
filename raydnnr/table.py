"""The evaluation table as Arrow: its schema, and rows from points and their outcomes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raydnnr.evaluation import Array, Inputs, Observable, Outcomes, Points, Scored, Status
from raydnnr.likelihoods import Likelihood
from raydnnr.space import Parameter, ParameterSpace, Prior
from raydnnr.version import __version__

ARRAY_TYPES = {
    "point_id": pa.int64(), "iteration": pa.int32(), "origin": pa.string(), "nll": pa.float64(),
    "nll_predicted": pa.float64(), "status": pa.string(), "reason": pa.string(), "attempts": pa.int8(),
    "seconds": pa.float64(), "host": pa.string(), "finished": pa.timestamp("us", tz="UTC"),
}
TIME = "seconds_"  # and a tool's name
TIME_METADATA = {"role": "tool seconds", "unit": "s", "latex": ""}
STATUS_WORDS = pa.array([s.name.lower() for s in Status], pa.string())
SHARD = re.compile(r"iteration-(\d{5,9})(?:-(\d{5,9})|(-csv))?\.parquet")


class _StopRule(Protocol):
    @property
    def threshold_value(self) -> float: ...


class StoredPlan(Protocol):
    """What the table and the store need of a plan (`raydnnr.plan.Plan` has it all)."""

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def parameters(self) -> tuple[Parameter, ...]: ...
    @property
    def space(self) -> ParameterSpace: ...
    @property
    def inputs(self) -> Inputs: ...
    @property
    def observables(self) -> tuple[Observable, ...]: ...
    @property
    def likelihoods(self) -> Mapping[str, Likelihood]: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def physics(self) -> Mapping[str, object]: ...
    @property
    def scoring(self) -> str: ...
    @property
    def timed_tools(self) -> tuple[str, ...]: ...
    def keeps_of_all(self, file: str) -> bool: ...
    @property
    def max_kept_bytes(self) -> float: ...
    @property
    def stop(self) -> _StopRule: ...


@dataclass(frozen=True)
class Layout:
    """The columns of one scan, and how rows are made.

    Columns in order: ``point_id, iteration, origin``; parameters, derived values and observables under their names;
    ``loss_<observable>``; ``nll, nll_predicted, status, reason, attempts, seconds, host, finished``; of a chain of
    several tools, ``seconds_<tool>``. Role, unit and LaTeX label of a column are in its field's metadata; what the
    table says of its scan is in the schema's.

    ``seconds_<tool>``: in s, the tool and the reading of its observables, of the attempt that counted; of a `Solver`
    with all its trials, which the tools it tries do not count again. Of a vectorised chain, the point's share of the
    call. NaN where the tool did not run: skipped, stopped before, or its worker died. A single tool has no such
    column: its time is ``seconds``.
    """

    plan: StoredPlan

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of journal and shards."""
        plan, fields = self.plan, []
        labels = {p.name: (p.unit, p.latex) for p in plan.parameters}
        labels |= {o.name: (o.unit, o.latex) for o in plan.observables}
        roles = [(n, "parameter" if n in plan.space.names else "derived") for n in plan.inputs.names]
        roles += [(o.name, "observable") for o in plan.observables]
        for name, role in roles:
            unit, latex = labels.get(name, ("", ""))
            fields.append(pa.field(name, pa.float64(), metadata={"role": role, "unit": unit, "latex": latex}))
        fields += [pa.field(f"loss_{o.name}", pa.float64(), metadata={"role": "loss"}) for o in plan.observables]
        own = [pa.field(name, kind) for name, kind in ARRAY_TYPES.items()]
        times = [pa.field(f"{TIME}{tool}", pa.float64(), metadata=TIME_METADATA) for tool in plan.timed_tools]
        return pa.schema([*own[:3], *fields, *own[3:], *times], metadata=self.metadata)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """What a shard says of its scan: version, name, seed, fingerprints, threshold, and the ranges of the priors."""
        p = self.plan
        ranges = {q.name: _bounds(q.prior) for q in p.parameters}
        return {"version": __version__, "name": p.name, "seed": str(p.seed), "fingerprint": p.fingerprint,
                "scoring": p.scoring, "threshold_value": repr(float(p.stop.threshold_value)),
                "ranges": json.dumps(ranges)}

    def times(self, outcomes: Outcomes) -> Array:
        """Seconds of each tool that has a column (n, T); NaN where they are not known."""
        n_tools = len(self.plan.timed_tools)
        if outcomes.tool_seconds is None:
            return np.full((len(outcomes), n_tools), np.nan)
        return outcomes.tool_seconds[:, :n_tools]

    def rows(self, points: Points, scored: Scored, hosts: Sequence[str] | None = None) -> pa.Table:
        """Rows of some points and what the physics made of them.

        Args:
            points: N points.
            scored: Their outcomes, in the same order.
            hosts: Where each was evaluated; ``scored.outcomes.host`` for all if not given.
        """
        o = scored.outcomes
        n = len(o)
        columns: dict[str, Any] = {
            "point_id": o.point_id, "iteration": np.full(n, points.iteration, np.int32),
            "origin": pa.array(points.origin, pa.string()), **self.plan.inputs.columns(points.x),
        }
        for k, observable in enumerate(self.plan.observables):
            columns[observable.name] = o.observables[:, k]
            columns[f"loss_{observable.name}"] = scored.losses[:, k]
        columns |= {
            "nll": scored.nll, "nll_predicted": points.nll_predicted,
            "status": STATUS_WORDS.take(pa.array(o.status)), "reason": pa.array(o.reason, pa.string()),
            "attempts": o.attempts, "seconds": o.seconds,
            "host": pa.array(hosts, pa.string()) if hosts is not None else pa.repeat(pa.scalar(o.host), n),
            "finished": np.rint(o.finished * 1e6).astype("datetime64[us]"),
        }
        columns |= {f"{TIME}{tool}": self.times(o)[:, k] for k, tool in enumerate(self.plan.timed_tools)}
        return pa.table([_array(columns[f.name], f.type, n) for f in self.schema], schema=self.schema)


def _bounds(prior: Prior) -> list[float]:
    """The lowest and the highest value that a prior allows; infinite where it has no bound."""
    with np.errstate(all="ignore"):
        first, last = prior.from_unit(np.array([0.0, 1.0])).tolist()
    return [float(min(first, getattr(prior, "low", first))), float(max(last, getattr(prior, "high", last)))]


def _array(values: Any, kind: pa.DataType, n: int) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    return pa.array(np.ascontiguousarray(np.broadcast_to(values, n))).cast(kind)


def with_times(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with those ``seconds_<tool>`` of a schema, all NaN, that it lacks: an older version did not time tools.

    What it says of its likelihoods goes, so that it is scored, and written, again.
    """
    lacking = [field for field in schema if field.name.startswith(TIME) and field.name not in table.column_names]
    for field in lacking:
        table = table.append_column(field, pa.array(np.full(table.num_rows, np.nan)))
    if not lacking:
        return table
    said = {key: value for key, value in (table.schema.metadata or {}).items() if key != b"scoring"}
    return table.replace_schema_metadata(said)


def column(table: pa.Table, name: str) -> NDArray[Any]:
    """A numeric column as numpy, nulls as NaN."""
    return np.asarray(table.column(name).to_numpy())


def stacked(table: pa.Table, names: Sequence[str]) -> NDArray[np.float64]:
    """Columns side by side (N, len(names))."""
    out = np.empty((table.num_rows, len(names)))
    for k, name in enumerate(names):
        out[:, k] = column(table, name)
    return out


def status_codes(table: pa.Table) -> NDArray[np.int8]:
    """`Status` of each row; -1 for a word that is none."""
    words = table.column("status").cast(pa.string())
    return np.asarray(pc.fill_null(pc.index_in(words, value_set=STATUS_WORDS), -1).to_numpy(), dtype=np.int8)
