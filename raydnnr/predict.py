"""Predict: a run directory and a table of points -> what the run's surrogate expects of them, without physics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raydnnr.atomic import write_atomically
from raydnnr.config import load
from raydnnr.errors import ConfigError, RunDirectoryError, did_you_mean
from raydnnr.export import SHARED, identity
from raydnnr.likelihoods import Off
from raydnnr.search import methods
from raydnnr.trainer import SURROGATE_FILE
from raydnnr.usertable import numbers, read_user_table

WHERE = "predict"

if TYPE_CHECKING:  # it loads torch, which the other commands have no use for
    from raydnnr.plan import Plan
    from raydnnr.surrogates.emulator import Emulator, Prediction

Array = NDArray[np.float64]

BLOCK = 2000  # points whose draws are in memory at once
WITH_A_SURROGATE = "hybrid"  # the method that saves one


@dataclass(frozen=True)
class Predicted:
    """Predictions, one row for each point asked for; and what was not predicted, in words."""

    table: pa.Table
    note: str = ""


def predict(run_dir: Path | str, points: Path | str) -> Predicted:
    """What the surrogate of a run, finished or not, expects of the points of a table.

    The table has a column for every scanned parameter, in the units of the configuration; of the others only
    ``point_id`` is kept, and a fixed parameter's column must agree with its value. The likelihoods are those in the
    run directory's ``config.toml``.

    Args:
        run_dir: A run whose method saves its surrogate.
        points: A CSV or Parquet file.

    Returns:
        In the order of the rows: parameters; for every observable with a likelihood its expectation and, as
        ``<name>_std``, the standard deviation; ``nll_predicted`` (median) with ``nll_low`` and ``nll_high`` (16 % and
        84 % quantiles); ``p_valid``, the probability that the physics accepts the point; ``p_good``, that it does and
        the NLL is below the threshold. A row outside the priors, where the surrogate has learned nothing, or without a
        number for a parameter, has NaN for all of these.

    Raises:
        RunDirectoryError: Not a run directory, or one without a surrogate.
        ConfigError: The table cannot be read, or lacks a column.
    """
    run_dir, points = Path(run_dir), Path(points)
    identity(run_dir)
    plan = load(run_dir / "config.toml")
    emulator = _emulator(run_dir, plan)
    asked = read_user_table(points, WHERE)
    x = _parameters(asked, plan, points)
    inside = np.isfinite(x).all(axis=1)
    inside[inside] = plan.space.contains(x[inside])
    inside &= _agrees(asked, plan, points)
    columns = {"point_id": asked["point_id"]} if "point_id" in asked.column_names else {}
    columns |= plan.space.columns(x)
    for name, values in _predictions(emulator, plan, x[inside]).items():
        columns[name] = np.full(len(x), np.nan)
        columns[name][inside] = values
    n_outside = int((~inside).sum())
    note = f"{n_outside} of {len(x)} rows lie outside the priors or lack a number: no prediction" if n_outside else ""
    return Predicted(pa.table(columns), note)


def write(table: pa.Table, destination: Path | None) -> bytes:
    """Write a table as CSV or, where the file's name says so, Parquet.

    Args:
        table: What to write.
        destination: The file; None for none.

    Returns:
        What was written.

    Raises:
        ConfigError: The name ends with neither ``.csv`` nor ``.parquet``, or the file cannot be written.
    """
    word = destination.suffix.lower() if destination else ".csv"
    if word not in (".csv", ".parquet"):
        raise ConfigError(f"predict: {destination}: unknown format {word!r}; let the name end with .csv or .parquet")
    sink = pa.BufferOutputStream()
    if word == ".csv":
        pyarrow.csv.write_csv(table, sink)
    else:
        pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    if destination:
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(destination, data, SHARED)
        except OSError as error:
            raise ConfigError(f"predict: {destination} cannot be written: {error.strerror or error}") from error
    return data


def _emulator(run_dir: Path, plan: Plan) -> Emulator:
    path = run_dir / "surrogate" / SURROGATE_FILE
    if not path.exists():
        word = next((word for word, kind in methods.KINDS.items() if kind is type(plan.method)),
                    type(plan.method).__name__)
        why = ("its method has not trained one yet" if word == WITH_A_SURROGATE else
               f"method {word!r} saves none; {WITH_A_SURROGATE!r} does")
        raise RunDirectoryError(f"{run_dir}: has no surrogate to predict with ({path.relative_to(run_dir)}): {why}")
    from raydnnr.surrogates.emulator import Emulator

    return replace(Emulator.load(path, plan.likelihoods), threshold=plan.stop.threshold_value)


def _predictions(emulator: Emulator, plan: Plan, x: Array) -> dict[str, Array]:
    """Columns of predictions for points inside the priors."""
    u = np.clip(plan.space.to_unit_cube(x), 0.0, 1.0)
    parts = list(_blocks(emulator, u))

    def joined(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in parts])

    columns: dict[str, Array] = {}
    observables, std = joined("observables"), joined("observables_std")
    for k, o in enumerate(plan.observables):
        if not isinstance(o.likelihood, Off):
            columns |= {o.name: observables[:, k], f"{o.name}_std": std[:, k]}
    return columns | {"nll_predicted": joined("nll"), **{n: joined(n) for n in ("nll_low", "nll_high", "p_valid",
                                                                               "p_good")}}


def _blocks(emulator: Emulator, u: Array) -> Iterator[Prediction]:
    for first in range(0, max(1, len(u)), BLOCK):
        yield emulator.predict(u[first : first + BLOCK])


# ---- the table of points


def _parameters(table: pa.Table, plan: Plan, path: Path) -> Array:
    """Values (N, P) of the scanned parameters."""
    if missing := [name for name in plan.space.scanned if name not in table.column_names]:
        raise ConfigError(f"predict: {path} has no column {', '.join(missing)}; every scanned parameter needs one. It "
                          f"has {', '.join(table.column_names)}.{did_you_mean(missing[0], table.column_names)}")
    return np.column_stack([numbers(table, name, path, WHERE) for name in plan.space.scanned])


def _agrees(table: pa.Table, plan: Plan, path: Path) -> NDArray[np.bool_]:
    """Whether the fixed parameters that the table has are those of the scan, by row."""
    agrees = np.ones(table.num_rows, bool)
    for p in plan.parameters:
        if p.name in table.column_names and p.name not in plan.space.scanned:
            fixed = p.prior.from_unit(np.zeros(1))[0]
            agrees &= np.isclose(numbers(table, p.name, path, WHERE), fixed, rtol=1e-9, atol=0.0)
    return agrees
