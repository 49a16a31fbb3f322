"""Seeds: a table of earlier points (``init_csv``) to rows that a scan starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raydnnr.errors import ConfigError, RunDirectoryError
from raydnnr.evaluation import Array, Status
from raydnnr.export import read_evaluations
from raydnnr.likelihoods import Off
from raydnnr.table import StoredPlan, status_codes
from raydnnr.usertable import numbers, read_user_table

WHERE = "scan.init_csv"


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

    Wanted are a column for every scanned parameter, and either all observables that have a likelihood or ``NLL``
    (``nll``). With the observables the losses are computed anew; an NLL alone is taken as it stands. Rows are left out
    when a parameter lies outside its prior or is not a number, when nothing says how good they are, and when their
    status is ``failed``. Derived values are not read; of fixed parameters, a column that is there must agree.

    Args:
        path: The table.
        plan: The scan that starts from it.

    Raises:
        ConfigError: The file cannot be read or lacks columns.
    """
    path = Path(path)
    table = _read(path)
    there = ", ".join(table.column_names)
    if missing := [name for name in plan.space.scanned if name not in table.column_names]:
        raise ConfigError(f"scan.init_csv: {path} has no column {', '.join(missing)}; a seed table needs every scanned "
                          f"parameter. It has {there}")
    x = np.column_stack([numbers(table, name, path, WHERE) for name in plan.space.scanned])
    wanted = [o.name for o in plan.observables if not isinstance(o.likelihood, Off)]
    missing = [name for name in wanted if name not in table.column_names]
    nll_name = next((name for name in table.column_names if name.strip().lower() == "nll"), None)
    if missing and nll_name is None:
        raise ConfigError(f"scan.init_csv: {path} has no column {', '.join(missing)}; a seed table needs every "
                          f"observable that has a likelihood, or NLL. It has {there}")
    nll = numbers(table, nll_name, path, WHERE) if nll_name else np.full(len(x), np.nan)
    observables = np.full((len(x), len(plan.observables)), np.nan)
    if not missing:
        for k, o in enumerate(plan.observables):
            if o.name in table.column_names:
                observables[:, k] = numbers(table, o.name, path, WHERE)
        nll[np.isfinite(observables).any(axis=1)] = np.nan  # computed anew
    return _chosen(path, plan, table, x, observables, nll)


def _chosen(path: Path, plan: StoredPlan, table: pa.Table, x: Array, observables: Array, nll: Array) -> Seeds:
    """Leave out what cannot be used, and say how much that was."""
    has_status = "status" in table.column_names
    status = status_codes(table) if has_status else np.zeros(len(x), np.int8)
    finite = np.isfinite(x).all(axis=1)
    inside = finite & plan.space.contains(x)
    for p in plan.parameters:
        if p.name not in plan.space.scanned and p.name in table.column_names:
            fixed = p.prior.from_unit(np.zeros(1))[0]
            inside &= np.isclose(numbers(table, p.name, path, WHERE), fixed, rtol=1e-9, atol=0.0)
    scored = [k for k, o in enumerate(plan.observables) if not isinstance(o.likelihood, Off)]
    known = np.isfinite(observables[:, scored])
    rated = np.isfinite(nll) | known.any(axis=1) | (status == Status.INVALID)
    failed = status == Status.FAILED
    usable = inside & rated & ~failed
    if not has_status:  # a chain that stopped on its way
        status[~known.all(axis=1) & ~np.isfinite(nll)] = Status.INVALID
    status[status < 0] = Status.OK
    left_out = {"not a number": ~finite, "outside the priors": finite & ~inside, "failed": inside & failed,
                "without NLL or observables": inside & ~failed & ~rated}
    words = ", ".join(f"{int(rows.sum())} {why}" for why, rows in left_out.items() if rows.any())
    report = f"{path}: {int(usable.sum())} of {len(x)} rows taken as seeds{'; left out: ' if words else ''}{words}"
    return Seeds(x[usable], observables[usable], nll[usable], status[usable], report)


def _read(path: Path) -> pa.Table:
    if not path.is_dir():
        return read_user_table(path, WHERE)
    try:
        return read_evaluations(path)
    except RunDirectoryError as error:
        raise ConfigError(f"{WHERE}: {error}") from None
