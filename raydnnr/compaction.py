"""Compaction: many small shards become a few large ones, beside the scan.

``iteration-00000-00127.parquet`` takes the place of ``iteration-00000.parquet`` ... ``iteration-00127.parquet``: it is
written whole, under its name, before any of them is removed. What is killed in between leaves rows that are there
twice, which `raydnnr.resume` and `raydnnr.export` see by their ids. Until the last of the old files is gone, some
milliseconds, other readers see such rows twice, too.
"""

from __future__ import annotations

import bisect
import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from raydnnr.atomic import sync_folder
from raydnnr.shards import NotAShard, Span, read_shard, write_shard

log = logging.getLogger(__name__)

FAN_IN = 128  # so many shards become one, and so many of those one again
MOST_ROWS = 1_000_000  # of a merged shard, about: it is held in memory while it is written
LARGE_ROWS = MOST_ROWS // 8  # a shard of so many rows stays as it is
ROOM = 4  # free space that is wanted, as a multiple of what is merged


@dataclass(frozen=True, order=True)
class Shard:
    """A shard on the disk, and how many rows it has."""

    span: Span
    n_rows: int

    @property
    def tier(self) -> int:
        """How often its rows have been merged."""
        length, tier = self.span.last - self.span.first + 1, 0
        while length >= FAN_IN:
            length, tier = length // FAN_IN, tier + 1
        return tier


class Compaction:
    """Merges the shards of a run directory in a thread, one group at a time.

    Args:
        folder: ``evaluations/``.
        schema: Of the table.
        shards: Those that are there. Seed tables are left alone.
    """

    def __init__(self, folder: Path, schema: pa.Schema, shards: Iterable[Shard]) -> None:
        self._folder, self._schema = folder, schema
        self._shards = sorted(s for s in shards if not s.span.seeds)
        self._left_alone: set[Span] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compaction")
        self._closed = threading.Event()
        self._work: tuple[list[Shard], Future[Shard | None]] | None = None

    def add(self, shard: Shard) -> None:
        """A round's shard is on the disk."""
        bisect.insort(self._shards, shard)

    def turn(self, open_rounds: Iterable[int]) -> None:
        """Take in what has been merged, and begin with the next group; called often, returns at once.

        Args:
            open_rounds: Iterations whose shards may still come. Nothing from the first of them on is touched.
        """
        if self._work:
            if not self._work[1].done():
                return
            self._finish()
        if len(self._shards) > 1 and (group := self._due(min(open_rounds, default=None))):
            self._work = group, self._thread.submit(merge, self._folder, group, self._schema, self._closed.is_set)

    def close(self) -> None:
        """Merge no more: what is only being read stays as it is, what is being written is waited for."""
        self._closed.set()
        self._thread.shutdown(wait=True)

    def _due(self, first_open: int | None) -> list[Shard]:
        """The first group of neighbours that is worth a merge; empty if there is none."""
        group: list[Shard] = []
        n_rows = 0
        for shard in self._shards:
            if first_open is not None and shard.span.last >= first_open:
                break
            alone = shard.n_rows >= LARGE_ROWS or shard.span in self._left_alone
            if alone or (group and group[-1].tier != shard.tier):
                group, n_rows = [], 0
            if not alone:
                group.append(shard)
                n_rows += shard.n_rows
            if len(group) == FAN_IN or (len(group) > 1 and n_rows >= MOST_ROWS):
                return group
        return []

    def _finish(self) -> None:
        assert self._work
        group, future = self._work
        self._work = None
        if merged := future.result():
            first = bisect.bisect_left(self._shards, group[0])
            self._shards[first : first + len(group)] = [merged]
        else:
            self._left_alone |= {s.span for s in group}


def merge(folder: Path, group: Sequence[Shard], schema: pa.Schema,
          stopped: Callable[[], bool] = lambda: False) -> Shard | None:
    """Put one shard in the place of several.

    Args:
        folder: ``evaluations/``.
        group: Neighbours, in their order.
        schema: Of the table.
        stopped: Whether it is no longer wanted; asked before each file that is read.

    Returns:
        The new one; None if something is in the way (a damaged file, no room) or it was stopped: then all is as before.
    """
    span = Span(group[0].span.first, group[-1].span.last)
    old = [folder / s.span.file_name for s in group]
    try:
        if shutil.disk_usage(folder).free < ROOM * sum(path.stat().st_size for path in old):
            return None
        tables: list[pa.Table] = []
        for path in old:
            if stopped():
                return None
            tables.append(read_shard(path, schema).replace_schema_metadata(schema.metadata))
        table = pa.concat_tables(tables)
        write_shard(folder / span.file_name, table)
        for path in old:
            path.unlink()
        sync_folder(folder)
    except (NotAShard, OSError) as problem:
        log.warning("%s: its shards stay as they are: %s", folder / span.file_name, problem)
        return None
    log.info("%d shards have become %s, %d rows", len(group), span.file_name, table.num_rows)
    return Shard(span, table.num_rows)
