"""Shards: finished rounds as Parquet files. What is read back is checked; changed likelihoods score it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raydnnr.atomic import write_atomically
from raydnnr.evaluation import Array, Outcomes, Scored, score
from raydnnr.table import SHARD, Layout, column, stacked, status_codes, with_times

TEXTS = ["origin", "status", "reason", "host"]  # columns with few different values


class NotAShard(Exception):
    """A file among the shards that is none of this scan, or is damaged; the message says what it is."""


class Span(NamedTuple):
    """The rounds whose rows are in a shard, and whether it is a seed table."""

    first: int
    last: int
    seeds: bool = False

    @property
    def file_name(self) -> str:
        """
        >>> Span(12, 12).file_name, Span(0, 127).file_name, Span(0, 0, seeds=True).file_name
        ('iteration-00012.parquet', 'iteration-00000-00127.parquet', 'iteration-00000-csv.parquet')
        """
        to = "-csv" if self.seeds else f"-{self.last:05d}" if self.last > self.first else ""
        return f"iteration-{self.first:05d}{to}.parquet"

    def holds(self, other: Span) -> bool:
        """Whether all of the other's rounds are among these.

        >>> Span(0, 127).holds(Span(5, 5)), Span(5, 5).holds(Span(5, 6))
        (True, False)
        """
        return self.seeds == other.seeds and self.first <= other.first and other.last <= self.last


def span_of(path: Path) -> Span | None:
    """What the name of a shard says of its rows; None for any other name."""
    if not (match := SHARD.fullmatch(path.name)):
        return None
    span = Span(int(match[1]), int(match[2] or match[1]), bool(match[3]))
    return span if span.file_name == path.name else None


def write_shard(path: Path, table: pa.Table) -> None:
    """Write a shard: whole or not at all, with checksums."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=TEXTS, write_page_checksum=True)
    write_atomically(path, memoryview(sink.getvalue()))


def count_rows(path: Path) -> int:
    """What a shard says of its size; 0 where it says nothing."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError, ValueError):
        return 0


def read_shard(path: Path, schema: pa.Schema) -> pa.Table:
    """A shard of the scan with this schema, columns in its order.

    Raises:
        NotAShard: It is damaged, or none of this scan.
        OSError: The file system does not give the file; nothing is known of it.
    """
    span = span_of(path)
    if span is None:
        raise NotAShard("not the name of a shard")
    table = checked_rows(read_parquet(path), schema, span)
    if (np.diff(column(table, "point_id")) <= 0).any():
        raise NotAShard("its points are not in their order")
    return table


def checked_rows(table: pa.Table, schema: pa.Schema, span: Span) -> pa.Table:
    """Rows of some iterations of the scan with this schema, columns in its order.

    Raises:
        NotAShard: They are something else.
    """
    table = with_times(table, schema)
    if set(table.column_names) != set(schema.names):
        raise NotAShard("its columns are those of another scan")
    table = table.select(schema.names)
    if not table.schema.equals(schema):
        raise NotAShard("its columns have other types")
    if (table.schema.metadata or {}).get(b"fingerprint") != schema.metadata[b"fingerprint"]:
        raise NotAShard("it belongs to another scan")
    if any(table.column(name).null_count for name in schema.names):
        raise NotAShard("it has empty cells")
    iteration = column(table, "iteration")
    if ((iteration < span.first) | (iteration > span.last)).any() or (column(table, "point_id") < 0).any():
        raise NotAShard("its rows are those of another iteration")
    if (status_codes(table) < 0).any():
        raise NotAShard("it has a status that is none")
    return table


def read_parquet(path: Path) -> pa.Table:
    """A Parquet file, whole.

    Raises:
        NotAShard: It is none, or damaged.
        OSError: The file system does not give the file.
    """
    if not path.is_file():
        if path.exists():
            raise NotAShard("not a file")
        raise FileNotFoundError(path)
    with path.open("rb") as file:  # an error of the file system shows here, and is not the file's fault
        file.read(1)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
            return parquet.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NotAShard(f"damaged ({str(error).splitlines()[0][:100]})") from None


def rescored(table: pa.Table, layout: Layout) -> pa.Table:
    """The rows with losses and NLL of the present likelihoods. An NLL without observables stays as it is."""
    plan, n = layout.plan, table.num_rows
    observables = stacked(table, [o.name for o in plan.observables])
    blank = np.zeros(n)
    outcomes = Outcomes(column(table, "point_id"), observables, status_codes(table), [""] * n, blank.astype(np.int8),
                        blank, "", blank)
    losses = stacked(table, [f"loss_{o.name}" for o in plan.observables])
    nll_alone = np.isnan(losses).all(axis=1) & np.isnan(observables).all(axis=1)
    known = np.where(nll_alone, column(table, "nll"), np.nan)
    new = with_known_nll(score(outcomes, plan.likelihoods), known)
    columns: dict[str, Any] = {name: table.column(name) for name in table.column_names}
    columns |= {f"loss_{o.name}": pa.array(new.losses[:, k]) for k, o in enumerate(plan.observables)}
    columns["nll"] = pa.array(new.nll)
    return pa.table([columns[name] for name in layout.schema.names], schema=layout.schema)


def with_known_nll(scored: Scored, nll: Array) -> Scored:
    """An NLL that is known (not NaN) replaces the sum of losses, which then are not known."""
    known = ~np.isnan(nll)
    losses = np.where(known[:, None], np.nan, scored.losses)
    return Scored(scored.outcomes, losses, np.where(known, nll, scored.nll))
