"""Round: points under way. Outcomes come in any order and any number at a time; the round knows what is missing."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raydnnr.atomic import replacing
from raydnnr.evaluation import Outcomes, Points, Scored
from raydnnr.journal import RoundJournal
from raydnnr.table import TIME, Layout, column, stacked, status_codes

JOURNAL_S = 0.4  # a finished row waits at most this long for the journal
Rows = NDArray[np.intp]


class Round:
    """A round under way: its points, their outcomes as far as they are known, and what waits for the journal.

    Args:
        points: Ordered by id.
        journal: Where they were committed.
        layout: Of the table.

    Attributes:
        done: Which points have an outcome (N,).
        n_left: How many have none.
        files_bytes: Size of their kept output files.
    """

    def __init__(self, points: Points, journal: RoundJournal, layout: Layout) -> None:
        n, k, n_tools = len(points), len(layout.plan.observables), len(layout.plan.timed_tools)
        self.points, self.journal, self._layout = points, journal, layout
        self.done, self.n_left = np.zeros(n, bool), n
        self._numbers = {"nll": np.full(n, np.nan), "seconds": np.zeros(n), "finished": np.zeros(n),
                         "status": np.zeros(n, np.int8), "attempts": np.zeros(n, np.int8),
                         "observables": np.full((n, k), np.nan), "losses": np.full((n, k), np.nan),
                         "tool_seconds": np.full((n, n_tools), np.nan)}
        self._reasons: dict[int, str] = {}
        self._hosts: dict[str, int] = {}
        self._host = np.zeros(n, np.int32)
        self._waiting: list[Rows] = []
        self._waiting_files: dict[int, Mapping[str, bytes]] = {}
        self._waiting_since = 0.0
        self.files_bytes = journal.files_bytes()

    # ---- outcomes in

    def match(self, ids: NDArray[np.int64]) -> tuple[Rows, Rows]:
        """Which of our points, still without outcome, are among ``ids``: their rows, and where they stand in ``ids``.

        An id that is there twice counts where it comes first. In the order of ``ids``.
        """
        own = self.points.point_id
        if not self.n_left or not len(ids) or ids.max() < own[0] or ids.min() > own[-1]:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        rows = np.minimum(np.searchsorted(own, ids), len(own) - 1)
        where = np.flatnonzero((own[rows] == ids) & ~self.done[rows])
        _, first = np.unique(rows[where], return_index=True)
        where = where[np.sort(first)]
        return rows[where], where

    def put(self, rows: Rows, scored: Scored, files: Mapping[int, Mapping[str, bytes]]) -> None:
        """The outcomes of these rows, in their order; they wait for the journal."""
        o = scored.outcomes
        self._store(rows, {"nll": scored.nll, "seconds": o.seconds, "finished": o.finished, "status": o.status,
                           "attempts": o.attempts, "observables": o.observables, "losses": scored.losses,
                           "tool_seconds": self._layout.times(o)},
                    o.reason, np.full(len(rows), self._hosts.setdefault(o.host, len(self._hosts)), np.int32))
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting.append(rows)
        self._waiting_files.update(files)
        self.files_bytes += sum(len(data) for some in files.values() for data in some.values())

    def restore(self, table: pa.Table) -> pa.Table:
        """Take in rows of the journal; those that were new."""
        rows, where = self.match(column(table, "point_id"))
        table = table.take(pa.array(where))
        names = [o.name for o in self._layout.plan.observables]
        numbers: dict[str, NDArray[Any]] = {name: column(table, name) for name in ("nll", "seconds", "attempts")}
        numbers |= {"status": status_codes(table), "observables": stacked(table, names),
                    "losses": stacked(table, [f"loss_{name}" for name in names]),
                    "tool_seconds": stacked(table, [f"{TIME}{tool}" for tool in self._layout.plan.timed_tools]),
                    "finished": column(table, "finished").astype("datetime64[us]").astype(np.int64) / 1e6}
        hosts = [self._hosts.setdefault(host, len(self._hosts)) for host in table.column("host").to_pylist()]
        self._store(rows, numbers, table.column("reason").to_pylist(), np.array(hosts, np.int32))
        return table

    def _store(self, rows: Rows, numbers: Mapping[str, NDArray[Any]], reasons: Any, host: NDArray[np.int32]) -> None:
        for name, array in self._numbers.items():
            array[rows] = numbers[name]
        self._host[rows] = host
        for k in np.flatnonzero(numbers["status"]).tolist():
            self._reasons[int(rows[k])] = reasons[k]
        self.done[rows] = True
        self.n_left -= len(rows)

    # ---- rows out

    def table(self, rows: Rows | None = None) -> pa.Table:
        """These rows, or all that are done ordered by id, as the table has them."""
        rows = np.flatnonzero(self.done) if rows is None else rows
        points = self.points.take(rows)
        n = {name: array[rows] for name, array in self._numbers.items()}
        reasons = [self._reasons.get(row, "") for row in rows.tolist()] if self._reasons else [""] * len(rows)
        outcomes = Outcomes(points.point_id, n["observables"], n["status"], reasons, n["attempts"], n["seconds"], "",
                            n["finished"], tool_seconds=n["tool_seconds"])
        names = list(self._hosts)
        hosts = [names[code] for code in self._host[rows].tolist()]
        return self._layout.rows(points, Scored(outcomes, n["losses"], n["nll"]), hosts)

    # ---- journal

    def due(self, now: float) -> bool:
        """Whether something has waited long enough for the journal."""
        return bool(self._waiting) and now - self._waiting_since > JOURNAL_S

    def write_journal(self) -> None:
        """Append what waits. Files first: a row in the journal has its files there.

        Raises:
            OSError: It goes on waiting.
        """
        if self._waiting:
            self.journal.append_files(self._waiting_files)
            self._waiting_files = {}
            self.journal.append(self.table(np.concatenate(self._waiting)))
            self._waiting = []

    def write_files(self, path: Path) -> int:
        """The kept output files as a ZIP archive, ``000000123/name`` for point 123, if there are any. Its size."""
        files = self._kept_files()
        if (first := next(files, None)) is None:
            return 0
        seen = set()
        with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for point_id, name, data in (first, *files):
                entry = f"{point_id:09d}/{name}"
                if entry not in seen:
                    archive.writestr(entry, data)
                    seen.add(entry)
        return path.stat().st_size

    def _kept_files(self) -> Iterator[tuple[int, str, bytes]]:
        """Those in the journal and those that wait for it; none of points that have no outcome."""
        done = set(self.points.point_id[self.done].tolist())
        yield from (entry for entry in self.journal.files() if entry[0] in done)
        for point_id, some in self._waiting_files.items():
            yield from ((point_id, name, data) for name, data in some.items())


def points_of(table: pa.Table, names: Sequence[str], iteration: int) -> Points:
    """The points behind some rows of a round, ordered by id, each once.

    Args:
        table: Rows as the journal has them.
        names: Of the scanned parameters.
        iteration: Number of the round.
    """
    ids, first = np.unique(column(table, "point_id"), return_index=True)
    table = table.take(pa.array(first))
    return Points(ids, iteration, stacked(table, names), table.column("origin").to_pylist(),
                  column(table, "nll_predicted"))
