"""Seeds: tables that a BSMArt scan starts from -> a table for ``init_csv``."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from raydnnr.bsmart.names import Names, column_name
from raydnnr.bsmart.report import Kind, Report
from raydnnr.bsmart.section import Section
from raydnnr.bsmart.tables import Old, evaluations, read_csv, sample_nll
from raydnnr.errors import ConfigError

_KEYS = ("InitCSV", "Initial Sample", "Input_CSV_File")
_SAMPLES = {"Sample LogLike Name": "log", "Sample NLL Name": "nll", "Sample Likelihood Name": "likelihood"}


@dataclass(frozen=True)
class Seeds:
    """The table as Parquet, and the ranges of its columns by their old names."""

    parquet: bytes
    ranges: dict[str, tuple[float, float]]


def find_seeds(setup: Section, folder: Path, names: Names, report: Report) -> Seeds | None:
    """The table that the file names; None where there is none."""
    columns = {key: setup.text(key) for key in _SAMPLES if key in setup}
    for key in _KEYS:
        if not (name := setup.text(key)):
            continue
        path = folder / Path(name).expanduser()
        try:
            old = read_csv([path])
            _need_variables(old, path, names)
            return _seeds(old, key, columns)
        except ConfigError as error:
            report.add(Kind.TO_DO, setup.where(key), f"{error}; no seeds are taken from it")
    return None


def _need_variables(old: Old, path: Path, names: Names) -> None:
    """Refuse a table that holds none of the variables: it is that of another scan."""
    columns = {column_name(name) for name in old.columns}
    if names.variables and columns.isdisjoint(names.variables):
        raise ConfigError(f"{path}: none of the variables is a column of it; it has {', '.join(old.columns)}")


def _seeds(old: Old, key: str, columns: dict[str, str]) -> Seeds:
    nll = None
    if key == "Initial Sample":
        for setting, column in columns.items():
            nll = sample_nll(old, column, _SAMPLES[setting])
        if nll is None and "Likelihood" not in old.columns and "Result" in old.columns:
            nll = sample_nll(old, "Result", "likelihood")
    buffer = io.BytesIO()
    pq.write_table(evaluations(old, nll=nll), buffer)
    finite = {name: v[np.isfinite(v)] for name, v in old.columns.items()}
    return Seeds(buffer.getvalue(), {name: (float(v.min()), float(v.max())) for name, v in finite.items() if len(v)})
