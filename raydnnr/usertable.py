"""Tables of the user's own (CSV or Parquet): file -> Arrow table -> columns of numbers, with errors that say where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raydnnr.errors import ConfigError


def read_user_table(path: Path, where: str) -> pa.Table:
    """A table from a file; what it is, its first bytes say.

    Args:
        path: CSV or Parquet.
        where: Setting or command that names the file, for messages.

    Raises:
        ConfigError: There is no such file, or it is no table.
    """
    try:
        with path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        return pq.read_table(path) if is_parquet else pyarrow.csv.read_csv(path)
    except FileNotFoundError:
        raise ConfigError(f"{where}: {path} does not exist") from None
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{where}: {path} cannot be read as a table: {error}") from None


def numbers(table: pa.Table, name: str, path: Path, where: str) -> NDArray[np.float64]:
    """A column as numbers (N,); an empty cell is NaN.

    Raises:
        ConfigError: Two columns have this name, or a cell holds what is not a number.
    """
    if table.column_names.count(name) > 1:
        raise ConfigError(f"{where}: {path}: two columns are named {name!r}")
    try:
        return np.array(table.column(name).cast(pa.float64()).to_numpy(), dtype=np.float64)
    except pa.ArrowException as error:
        raise ConfigError(f"{where}: {path}: column {name!r} holds what is not a number: {error}") from None
