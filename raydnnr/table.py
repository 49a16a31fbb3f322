"""The evaluation table as Arrow: its schema, and rows from points and their outcomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raydnnr.evaluation import Inputs, Observable, Points, Scored, Status
from raydnnr.likelihoods import Likelihood
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.version import __version__

ARRAY_TYPES = {
    "point_id": pa.int64(), "iteration": pa.int32(), "origin": pa.string(), "nll": pa.float64(),
    "nll_predicted": pa.float64(), "status": pa.string(), "reason": pa.string(), "attempts": pa.int8(),
    "seconds": pa.float64(), "host": pa.string(), "finished": pa.timestamp("us", tz="UTC"),
}
STATUS_WORDS = pa.array([s.name.lower() for s in Status], pa.string())
SHARD = re.compile(r"iteration-(\d{5,})(-csv)?\.parquet")


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
    def keeps_all_files(self) -> bool: ...
    @property
    def stop(self) -> _StopRule: ...


@dataclass(frozen=True)
class Layout:
    """The columns of one scan, and how rows are made.

    Columns in order: ``point_id, iteration, origin``; parameters, derived values and observables under their names;
    ``loss_<observable>``; ``nll, nll_predicted, status, reason, attempts, seconds, host, finished``. Role, unit and
    LaTeX label of a column are in its field's metadata; version, seed, fingerprints and threshold in the schema's.
    """

    plan: StoredPlan

    @property
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
        return pa.schema([*own[:3], *fields, *own[3:]], metadata=self.metadata)

    @property
    def metadata(self) -> dict[str, str]:
        """What a shard says of the scan it belongs to."""
        p = self.plan
        return {"raydnnr_version": __version__, "name": p.name, "seed": str(p.seed), "fingerprint": p.fingerprint,
                "scoring": p.scoring, "threshold_value": repr(p.stop.threshold_value)}

    def rows(self, points: Points, scored: Scored) -> pa.Table:
        """Rows of some points (in the order of ``scored``) and what the physics made of them."""
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
            "attempts": o.attempts, "seconds": o.seconds, "host": pa.array([o.host] * n, pa.string()),
            "finished": (o.finished * 1e6).astype("datetime64[us]"),
        }
        schema = self.schema
        return pa.table([_array(columns[f.name], f.type) for f in schema], schema=schema)


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    return pa.array(np.ascontiguousarray(values)).cast(kind)


def column(table: pa.Table, name: str) -> NDArray[Any]:
    """A numeric column as numpy, nulls as NaN."""
    return np.asarray(table.column(name).to_numpy())


def status_codes(table: pa.Table) -> NDArray[np.int8]:
    """`Status` of each row."""
    words = table.column("status").to_numpy()
    codes = np.zeros(len(words), np.int8)
    for s in Status:
        codes[words == s.name.lower()] = s
    return codes
