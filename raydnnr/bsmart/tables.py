"""Tables: what BSMArt wrote as CSV -> our evaluation table, for pandas and for ``init_csv``."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raydnnr.bsmart.names import Names
from raydnnr.errors import ConfigError
from raydnnr.evaluation import Array, Status
from raydnnr.kinds import build, choose
from raydnnr.likelihoods import KINDS, Likelihood, Off, get_losses
from raydnnr.table import ARRAY_TYPES, STATUS_WORDS

_NLL = {"NLL": 1.0, "nll": 1.0, "LogLike": -1.0, "LogLikelihood": -1.0, "LL": -1.0}  # column: sign
_LIKELIHOOD = "Likelihood"
_ENDS = ("Result", "ID")  # columns that are neither variables nor observables


@dataclass
class Old:
    """Rows of BSMArt's: ``columns`` by their old names, each (n,); ``invalid`` (n,); what was wrong, in words."""

    columns: dict[str, Array]
    invalid: Array
    remarks: list[str] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """How many rows."""
        return len(self.invalid)


@dataclass(frozen=True)
class Meaning:
    """What the columns are, where the JSON file says so: old names of parameters; likelihoods by old names."""

    parameters: Sequence[str]
    likelihoods: Mapping[str, Likelihood]
    threshold_value: float = 1.0

    @classmethod
    def of(cls, config: Mapping[str, Any], names: Names) -> Meaning:
        """From a configuration that was made of the JSON file."""
        old = {new: name for name, new in names.items()}
        scored: dict[str, Likelihood] = {}
        for name, table in config["observables"].items():
            settings = dict(table["likelihood"])
            where = f"[observables.{name}.likelihood]"
            scored[old.get(name, name)] = build(choose(settings.pop("kind"), KINDS, where), settings, where)
        threshold = config["scan"].get("threshold_value", 1.0)
        return cls([old.get(name, name) for name in config["parameters"]], scored, threshold)


def read_run(folder: Path) -> Old:
    """All CSV files of a run folder of BSMArt's: ``Spectrum_Files`` and its parts, ``Results``; or one file.

    Raises:
        ConfigError: There is none, or nothing in them.
    """
    if folder.is_file():
        return read_csv([folder])
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; name the run folder of BSMArt (RunName), or a CSV file in it")
    for part in ("Spectrum_Files", "Results", "."):
        paths = sorted(p for p in (folder / part).glob("**/*" if part != "." else "*")
                       if p.suffix.lower() in {".csv", ".dat"} and p.is_file())
        if paths:
            return read_csv(paths)
    raise ConfigError(f"{folder}: no CSV file in Spectrum_Files, Results or the folder itself; BSMArt writes one where "
                      'Setup has "csv": "True"')


def read_csv(paths: Iterable[Path]) -> Old:
    """Rows of CSV or tab-separated files, one after the other; those of ``invalid_...`` files are invalid points.

    BSMArt's processes write into one file: lines that are no rows are left out, and counted.
    """
    paths, blocks, remarks = list(paths), [], []
    for path in paths:
        header, listed, n_bad = _rows(path)
        if n_bad:
            remarks.append(f"{path}: {n_bad} lines that are no rows were left out")
        if listed:
            blocks.append((header, np.array(listed), path.name.startswith("invalid_")))
    if not blocks:
        raise ConfigError(f"{', '.join(str(p) for p in paths) or 'no file'}: no rows")
    n = sum(len(rows) for _, rows, _ in blocks)
    columns: dict[str, Array] = {}
    invalid, start = np.zeros(n, bool), 0
    for header, rows, bad in blocks:
        here = slice(start, start + len(rows))
        for name, column in zip(header, rows.T, strict=True):
            columns.setdefault(name, np.full(n, np.nan))[here] = column
        invalid[here], start = bad, start + len(rows)
    return Old(columns, invalid, remarks)


def evaluations(old: Old, meaning: Meaning | None = None, nll: Array | None = None) -> pa.Table:
    """Rows as an evaluation table: its columns and types, with roles where they are known.

    With a meaning, losses and NLL are computed from the observables. Without, the NLL is that of a column ``NLL``,
    ``LogLike`` or ``Likelihood``, else NaN: what ``Result`` is depends on BSMArt's scan.

    Args:
        old: N rows.
        meaning: What the columns are.
        nll: (N,) instead.
    """
    values = {name: column for name, column in old.columns.items() if name not in (*_ENDS, *_NLL, _LIKELIHOOD)
              and not name.upper().startswith("RESULT")}
    new = Names(list(values))
    parameters = set(meaning.parameters) if meaning else set()
    losses = _losses(values, meaning, old.n_rows) if meaning else {}
    if nll is None:
        nll = np.sum(list(losses.values()), axis=0) if losses else _written_nll(old)
    fields = [_field(name, ARRAY_TYPES[name]) for name in ("point_id", "iteration", "origin")]
    roles = {name: "parameter" if name in parameters else "observable" if meaning else "" for name in values}
    fields += [_field(new[name], pa.float64(), roles[name]) for name in values]
    fields += [_field(f"loss_{new.add(name)}", pa.float64(), "loss") for name in losses]
    last = list(ARRAY_TYPES)[3:]
    fields += [_field(name, ARRAY_TYPES[name]) for name in last]
    n = old.n_rows
    own = {
        "point_id": np.arange(n), "iteration": np.zeros(n, np.int32), "origin": np.full(n, "csv"), "nll": nll,
        "nll_predicted": np.full(n, np.nan), "status": STATUS_WORDS.take(pa.array(old.invalid.astype(np.int8))),
        "reason": np.where(old.invalid, "invalid in BSMArt", ""), "attempts": np.ones(n, np.int8),
        "seconds": np.full(n, np.nan), "host": np.full(n, ""), "finished": pa.nulls(n, ARRAY_TYPES["finished"]),
    }
    data = [*(own[k] for k in ("point_id", "iteration", "origin")), *values.values(), *losses.values(),
            *(own[k] for k in last)]
    metadata = {"source": "BSMArt", **({"threshold_value": repr(meaning.threshold_value)} if meaning else {})}
    return pa.table([_array(d, f.type) for d, f in zip(data, fields, strict=True)], schema=pa.schema(fields, metadata))


def sample_nll(old: Old, column: str, transform: str) -> Array:
    """The NLL of a sample by the column that holds it: ``nll``, ``log`` (a log-likelihood) or ``likelihood``.

    Raises:
        ConfigError: There is no such column.
    """
    if column not in old.columns:
        raise ConfigError(f"no column {column!r}; there are {', '.join(old.columns)}")
    values = old.columns[column]
    if transform == "likelihood":
        with np.errstate(all="ignore"):
            return -np.log(values)
    return values if transform == "nll" else -values


def _losses(values: Mapping[str, Array], meaning: Meaning, n: int) -> dict[str, Array]:
    absent = np.full(n, np.nan)
    columns = {name: values.get(name, absent) for name in meaning.likelihoods}
    if not any(name in values for name, kind in meaning.likelihoods.items() if not isinstance(kind, Off)):
        return {}
    return get_losses(columns, meaning.likelihoods)


def _written_nll(old: Old) -> Array:
    for name, sign in _NLL.items():
        if name in old.columns:
            return sign * old.columns[name]
    if _LIKELIHOOD in old.columns:
        return sample_nll(old, _LIKELIHOOD, "likelihood")
    return np.full(old.n_rows, np.nan)


def _rows(path: Path) -> tuple[list[str], list[list[float]], int]:
    """Header, rows, and how many lines were none."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            first = file.readline()
            delimiter = "\t" if "\t" in first and "," not in first else ","
            header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
            if len(set(header)) < len(header):
                raise ConfigError(f"{path}: a column stands there twice: {', '.join(header)}")
            rows, n_bad = [], 0
            for line in file:
                cells = line.strip().split(delimiter)
                row = [_cell(c) for c in cells]
                if len(row) == len(header) and None not in row and header:
                    rows.append([math.nan if v is None else v for v in row])
                elif line.strip() and [c.strip() for c in cells] != header:
                    n_bad += 1
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return header, rows, n_bad


def _cell(text: str) -> float | None:
    text = text.strip().strip('"')
    if not text or text == "None":
        return math.nan
    try:
        return float(text)
    except ValueError:
        return None


def _field(name: str, kind: pa.DataType, role: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={"role": role} if role else None)


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values).cast(kind)


def statuses(old: Old) -> dict[str, int]:
    """How many rows of each status."""
    return {Status.OK.name.lower(): int((~old.invalid).sum()), Status.INVALID.name.lower(): int(old.invalid.sum())}
