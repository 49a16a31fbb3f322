"""Seeds: a table of earlier points (``init_csv``) to rows that a scan starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raydnnr.errors import ConfigError, RunDirectoryError
from raydnnr.evaluation import Array, Status
from raydnnr.export import read_evaluations
from raydnnr.table import StoredPlan, status_codes


@dataclass(frozen=True)
class Seeds:
    """``x`` (N, P), ``observables`` (N, K) NaN where the table has none, ``nll`` (N,) NaN where it follows from them,
    ``status`` (N,), and what was read and left out, in words."""

    x: Array
    observables: Array
    nll: Array
    status: NDArray[np.int8]
    report: str


def read_seeds(path: Path | str, plan: StoredPlan) -> Seeds:
    """Read a CSV file, a Parquet file, or another run directory.

    Wanted are a column for every scanned parameter, and either the observables or ``NLL`` (``nll``). With the
    observables the losses are computed anew; an NLL alone is taken as it stands. Rows are left out when a parameter
    lies outside its prior or is not a number, when nothing says how good they are, and when their status is
    ``failed``; fixed parameters and derived values are not read, a differing fixed value counts as outside.

    Raises:
        ConfigError: The file cannot be read or lacks columns.
    """
    path = Path(path)
    table = _read(path)
    names = {name.strip().lower(): name for name in table.column_names}
    missing = [p for p in plan.space.scanned if p not in table.column_names]
    if missing:
        raise ConfigError(f"{path}: no column {', '.join(missing)}; a seed table needs every scanned parameter. It has "
                          f"{', '.join(table.column_names)}")
    x = np.column_stack([_numbers(table, p, path) for p in plan.space.scanned])
    wanted = [o.name for o in plan.observables]
    present = [name for name in wanted if name in table.column_names]
    nll = _numbers(table, names["nll"], path) if "nll" in names else np.full(len(x), np.nan)
    if not present and "nll" not in names:
        raise ConfigError(f"{path}: neither NLL nor the observables ({', '.join(wanted)}); it has "
                          f"{', '.join(table.column_names)}")
    observables = np.full((len(x), len(wanted)), np.nan)
    for name in present:
        observables[:, wanted.index(name)] = _numbers(table, name, path)
    if len(present) == len(wanted):
        known = np.isfinite(observables).any(axis=1)
        nll = np.where(known, np.nan, nll)  # the losses are computed from the observables
    else:
        observables[:] = np.nan  # some of them do not make an NLL
    return _chosen(path, plan, table, x, observables, nll)


def _chosen(path: Path, plan: StoredPlan, table: pa.Table, x: Array, observables: Array, nll: Array) -> Seeds:
    """Leave out what cannot be used, and say how much that was."""
    status = status_codes(table) if "status" in table.column_names else np.zeros(len(x), np.int8)
    inside = np.isfinite(x).all(axis=1) & plan.space.contains(x)
    for p in plan.parameters:
        if p.name not in plan.space.scanned and p.name in table.column_names:
            fixed = p.prior.from_unit(np.zeros(1))[0]
            inside &= np.isclose(_numbers(table, p.name, path), fixed, rtol=1e-9, atol=0.0)
    rated = np.isfinite(nll) | np.isfinite(observables).any(axis=1) | (status == Status.INVALID)
    usable = inside & rated & (status != Status.FAILED)
    if "status" not in table.column_names:
        status[~np.isfinite(observables).all(axis=1) & ~np.isfinite(nll)] = Status.INVALID
    failed = inside & rated & (status == Status.FAILED)
    report = (f"{path}: {int(usable.sum())} of {len(x)} rows taken as seeds; left out: {int((~inside).sum())} outside "
              f"the priors, {int((inside & ~rated).sum())} without NLL or observables, {int(failed.sum())} failed")
    return Seeds(x[usable], observables[usable], nll[usable], status[usable], report)


def _read(path: Path) -> pa.Table:
    try:
        if path.is_dir():
            return read_evaluations(path)
        if path.suffix.lower() == ".parquet":
            return pq.read_table(path)
        return pyarrow.csv.read_csv(path)
    except RunDirectoryError as error:
        raise ConfigError(f"scan.init_csv: {error}") from None
    except FileNotFoundError:
        raise ConfigError(f"scan.init_csv: {path} does not exist") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"scan.init_csv: {path} cannot be read as a table: {error}") from None


def _numbers(table: pa.Table, name: str, path: Path) -> Array:
    try:
        return np.asarray(table.column(name).cast(pa.float64()).to_numpy(), dtype=np.float64)
    except (pa.ArrowException, ValueError) as error:
        raise ConfigError(f"{path}: column {name!r} holds what is not a number: {error}") from None
