"""Store: the run directory. Rounds are committed before they run, outcomes as they come; a restart loses nothing.

::

    config.toml, templates/            what was asked for
    identity.json                      whose run directory this is
    driver.json                        the driver that works in it now
    evaluations/iteration-00012.parquet  a finished round: immutable, complete
    journal/                           the rounds under way
    files/iteration-00012.zip          kept output files
    surrogate/, status.json, scan.log, references.bib
    damaged/                           what was found among the shards and could not be read
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raydnnr.atomic import write_atomically
from raydnnr.claim import Claim
from raydnnr.errors import RunDirectoryError, StorageError
from raydnnr.evaluation import Array, Outcomes, Points, Proposal, Scored, Status, Summary, View, score
from raydnnr.journal import RoundJournal, open_rounds
from raydnnr.table import SHARD, Layout, StoredPlan, column, status_codes

log = logging.getLogger(__name__)

JOURNAL_S = 0.4  # a finished row waits at most this long for the journal
SYNC_S = 1.0  # ... and this long for the disk below it
FLOOR_BYTES = 50 * 2**20  # free space below which a scan does not start, or stops
MAX_REASONS = 1000  # distinct reasons that are counted
FOLDERS = ("evaluations", "journal", "surrogate", "files", "templates")


class Store:
    """An open run directory. Make one with `Store.open`.

    Attributes:
        run_dir: The folder.
        reports: What was found damaged or foreign, in words.
    """

    def __init__(self, run_dir: Path, plan: StoredPlan, claim: Claim) -> None:
        self.run_dir = run_dir
        self.reports: list[str] = []
        self._plan, self._claim, self._layout = plan, claim, Layout(plan)
        self._schema = self._layout.schema
        self._memory = _Memory(plan.space.n_params, len(plan.observables))
        self._rounds: dict[int, _Round] = {}
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._best_nll = float("nan")
        self._last_iteration, self._last_id, self._n_seeds = -1, -1, 0
        self._started = time.monotonic()
        self._synced = 0.0

    @classmethod
    def open(cls, run_dir: Path, plan: StoredPlan, files: Mapping[str, str], fresh: bool = False) -> Store:
        """Open a run directory, and resume what it holds.

        Args:
            run_dir: Made if it is not there.
            plan: The scan.
            files: Texts to keep in it, by name: the configuration and its templates (`raydnnr.config.dump`).
            fresh: Move a run directory that is there aside, and start over.

        Raises:
            RunDirectoryError: It holds another scan or something else, another driver works in it, or its disk is full.
        """
        run_dir = Path(run_dir).absolute()
        if fresh and run_dir.exists():
            if not (run_dir / "identity.json").exists() and any(run_dir.iterdir()):
                raise RunDirectoryError(f"{run_dir}: not a run directory of raydnnr, so --fresh does not touch it; "
                                        "choose another --run-dir")
            Claim.take(run_dir).release()
            run_dir.rename(f"{run_dir}.old-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
        check_identity(run_dir, plan)
        try:
            run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise RunDirectoryError(f"{run_dir}: cannot be made: {error.strerror}") from error
        if (free := shutil.disk_usage(run_dir).free) < FLOOR_BYTES:
            raise RunDirectoryError(f"{run_dir}: only {free / 2**20:.0f} MiB are free on its file system; a scan needs "
                                    f"{FLOOR_BYTES / 2**20:.0f} MiB at least. Free some, or choose another --run-dir")
        store = cls(run_dir, plan, Claim.take(run_dir))
        try:
            with store._disk("starting"):
                for folder in FOLDERS:
                    (run_dir / folder).mkdir(exist_ok=True, mode=0o700)
                for name, text in files.items():
                    write_atomically(run_dir / name, text.encode("utf-8", "surrogateescape"))
                write_atomically(run_dir / "identity.json", _identity(plan).encode())
            store._load()
        except BaseException:
            store._claim.release()
            raise
        return store

    # ---- what the loop asks

    @property
    def next_iteration(self) -> int:
        """Number of the round that `open_round` opens next; 0 is the bootstrap."""
        return self._last_iteration + 1

    def summary(self) -> Summary:
        """Where the scan stands; rows of a seed table are not counted."""
        c = self._counts
        done = max(0, self._last_iteration) - sum(1 for i in self._rounds if i > 0)
        return Summary(
            evaluations=c["ok"] + c["invalid"] + c["failed"], good=c["good"], ok=c["ok"], invalid=c["invalid"],
            failed=c["failed"], iterations=done, pending=sum(r.n_left for r in self._rounds.values()),
            best_nll=self._best_nll, seconds=time.monotonic() - self._started,
            reasons=tuple(self._reasons.most_common(3)),
        )

    def view(self) -> View:
        """All finished rows, in the order in which they came, and the points under way."""
        pending = [r.points.x[~r.done] for r in self._rounds.values()]
        x = np.concatenate(pending) if pending else np.empty((0, self._plan.space.n_params))
        return self._memory.view(x, self._last_id + 1 - self._n_seeds)

    def unfinished(self) -> list[Points]:
        """Points that were proposed and have no outcome yet, by round."""
        return [r.points.take(~r.done) for r in self._rounds.values()]

    def open_round(self, proposal: Proposal) -> Points:
        """Number the points of a proposal and commit them; they may run once this returns."""
        n = len(proposal.x)
        first, iteration = self._last_id + 1, self.next_iteration
        points = Points(np.arange(first, first + n), iteration, np.asarray(proposal.x, np.float64),
                        list(proposal.origin), np.asarray(proposal.nll_predicted, np.float64))
        journal = RoundJournal(self.run_dir / "journal", iteration)
        with self._disk("committing a proposal"):
            journal.propose(points)
        self._adopt(points, journal)
        return points

    def record(self, scored: Scored) -> None:
        """Take in outcomes. The first one of a point wins; others, and those of closed rounds, are dropped."""
        ids = scored.outcomes.point_id
        for r in list(self._rounds.values()):
            mine = (ids >= r.first) & (ids < r.first + len(r.points))
            if mine.any():
                self._record(r, scored, np.flatnonzero(mine))

    def flush(self) -> None:
        """Write what has waited long enough; called at every turn of the loop."""
        now = time.monotonic()
        with self._disk("writing the journal"):
            for r in self._rounds.values():
                if r.waiting and now - r.waiting_since > JOURNAL_S:
                    r.write_journal()
            if now - self._synced > SYNC_S:
                self._synced = now
                self._claim.beat()
                for r in self._rounds.values():
                    r.journal.sync()

    def abandon_unfinished(self) -> None:
        """End the rounds under way with what they have: their finished rows become shards, the rest is dropped."""
        for r in list(self._rounds.values()):
            self._close_round(r)

    def add_seeds(self, x: Array, observables: Array, nll: Array, status: NDArray[np.int8]) -> None:
        """Rows of an earlier table, origin ``csv``. Only before the first round; a second call is ignored.

        Args:
            x: (N, P).
            observables: (N, K), NaN where the table has none.
            nll: (N,), NaN where it follows from the observables.
            status: (N,).
        """
        if self._last_id >= 0 or not len(x):
            return
        n = len(x)
        points = Points(np.arange(n), 0, x, ["csv"] * n, np.full(n, np.nan))
        outcomes = Outcomes(points.point_id, observables, status, [""] * n, np.zeros(n, np.int8), np.zeros(n), "",
                            np.full(n, time.time()))
        scored = _with_known_nll(score(outcomes, self._plan.likelihoods), nll)
        with self._disk("writing the seed table"):
            self._write_shard(self.run_dir / "evaluations" / "iteration-00000-csv.parquet",
                              self._layout.rows(points, scored))
        self._n_seeds = n
        self._last_id = n - 1
        self._memory.add(points.point_id, x, observables, scored.nll, status)

    def low_space(self) -> bool:
        """Whether the file system is nearly full."""
        return shutil.disk_usage(self.run_dir).free < FLOOR_BYTES // 2

    def close(self) -> None:
        """Write everything that waits and let the run directory go."""
        try:
            with self._disk("closing"):
                for r in self._rounds.values():
                    r.write_journal()
                    r.journal.sync()
                    r.journal.close()
        finally:
            self._claim.release()

    # ---- rounds

    def _adopt(self, points: Points, journal: RoundJournal) -> _Round:
        r = self._rounds[points.iteration] = _Round(points, journal)
        self._last_iteration = max(self._last_iteration, points.iteration)
        self._last_id = max(self._last_id, int(points.point_id[-1]) if len(points) else -1)
        return r

    def _record(self, r: _Round, scored: Scored, mine: NDArray[np.intp]) -> None:
        """Outcomes number ``mine`` belong to this round."""
        rows = scored.outcomes.point_id[mine] - r.first
        _, unique = np.unique(rows, return_index=True)
        unique.sort()
        new = unique[~r.done[rows[unique]]]
        if not len(new):
            return
        rows, mine = rows[new], mine[new]
        kept = _take(scored, mine)
        points = r.points.take(rows)
        r.done[rows] = True
        r.add(self._layout.rows(points, kept), self._worth_keeping(kept))
        self._count(kept.nll, kept.outcomes.status, kept.outcomes.reason)
        self._memory.add(points.point_id, points.x, kept.outcomes.observables, kept.nll, kept.outcomes.status)
        if r.n_left == 0:
            self._close_round(r)

    def _worth_keeping(self, scored: Scored) -> Mapping[int, Mapping[str, bytes]]:
        """Kept files, less those of ``ok`` points that are not good, unless a tool keeps all."""
        o = scored.outcomes
        if not o.files or self._plan.keeps_all_files:
            return o.files
        poor = o.point_id[(o.status == Status.OK) & ~(scored.nll < self._plan.stop.threshold_value)]
        return {i: files for i, files in o.files.items() if i not in set(poor.tolist())}

    def _close_round(self, r: _Round) -> None:
        """The round's rows become its shard, and its journal goes."""
        with self._disk("writing a shard"):
            if r.tables:
                if r.files:
                    self._write_files(r)
                table = pa.concat_tables(r.tables).sort_by("point_id")
                self._write_shard(self.run_dir / "evaluations" / f"iteration-{r.points.iteration:05d}.parquet", table)
            r.journal.remove()
        del self._rounds[r.points.iteration]

    def _write_shard(self, path: Path, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", use_dictionary=["origin", "status", "reason", "host"])
        write_atomically(path, sink.getvalue().to_pybytes())

    def _write_files(self, r: _Round) -> None:
        path = self.run_dir / "files" / f"iteration-{r.points.iteration:05d}.zip"
        temporary = path.with_name(f".{path.name}.tmp")
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for point_id, files in sorted(r.files.items()):
                for name, data in files.items():
                    archive.writestr(f"{point_id:09d}/{name}", data)
        os.chmod(temporary, 0o600)
        os.replace(temporary, path)

    def _count(self, nll: Array, status: NDArray[np.int8], reason: Any) -> None:
        good = (status == Status.OK) & (nll < self._plan.stop.threshold_value)
        counts = np.bincount(status, minlength=len(Status))
        self._counts.update({s.name.lower(): int(counts[s]) for s in Status})
        self._counts["good"] += int(good.sum())
        ok = nll[status == Status.OK]
        if len(ok):
            self._best_nll = float(np.fmin(self._best_nll, ok.min()))
        for row in np.flatnonzero(status != Status.OK).tolist():
            first_line = reason[row].partition("\n")[0]
            if first_line in self._reasons or len(self._reasons) < MAX_REASONS:
                self._reasons[first_line] += 1

    # ---- resume

    def _load(self) -> None:
        """Shards, then the rounds under way."""
        for path in sorted((self.run_dir / "evaluations").iterdir()):
            match = SHARD.fullmatch(path.name)
            if match:
                self._last_iteration = max(self._last_iteration, -1 if match[2] else int(match[1]))
            try:
                self._load_shard(path, is_seeds=bool(match and match[2]))
            except _NotAShard as problem:
                self._put_aside(path, str(problem))
        for iteration in open_rounds(self.run_dir / "journal"):
            self._load_round(iteration)
        self._last_id = max(self._last_id, self._memory.largest_id)

    def _load_shard(self, path: Path, is_seeds: bool) -> None:
        table = _read_shard(path, self._schema)
        if table.schema.metadata[b"scoring"] != self._plan.scoring.encode():
            table = self._rescored(table)
            self._write_shard(path, table)
            log.info("%s: losses and NLL computed again for the changed likelihoods", path.name)
        self._remember(table, counted=not is_seeds)
        self._n_seeds += table.num_rows if is_seeds else 0

    def _load_round(self, iteration: int) -> None:
        journal = RoundJournal(self.run_dir / "journal", iteration)
        if (self.run_dir / "evaluations" / f"iteration-{iteration:05d}.parquet").exists():
            journal.remove()  # the driver ended between writing the shard and clearing the journal
            return
        try:
            points = journal.proposed()
        except (pa.ArrowInvalid, OSError, KeyError, ValueError) as error:
            self._report(f"journal of iteration {iteration}: unreadable ({error}); its points are not evaluated")
            return
        r = self._adopt(points, journal)
        for table in journal.rows(self._schema):
            rows = column(table, "point_id") - r.first
            fresh = (rows >= 0) & (rows < len(points)) & ~r.done[np.clip(rows, 0, len(points) - 1)]
            table, rows = table.filter(pa.array(fresh)), rows[fresh]
            if len(rows):
                r.done[rows] = True
                r.tables.append(table := self._rescored(table))
                self._remember(table, counted=True)
        r.files = {i: f for i, f in journal.files().items() if r.done[min(max(0, i - r.first), len(points) - 1)]}
        if r.n_left == 0:
            self._close_round(r)

    def _remember(self, table: pa.Table, counted: bool) -> None:
        status = status_codes(table)
        space = self._plan.space
        x = np.column_stack([column(table, name) for name in space.scanned])
        observables = np.column_stack([column(table, o.name) for o in self._plan.observables])
        nll = column(table, "nll")
        self._memory.add(column(table, "point_id"), x, observables, nll, status)
        if counted:
            bad = table.column("reason").to_pylist() if (status != Status.OK).any() else [""] * len(status)
            self._count(nll, status, bad)

    def _rescored(self, table: pa.Table) -> pa.Table:
        """The rows with losses and NLL of the present likelihoods. An NLL without observables stays as it is."""
        n = table.num_rows
        observables = np.column_stack([column(table, o.name) for o in self._plan.observables])
        blank = np.zeros(n)
        outcomes = Outcomes(column(table, "point_id"), observables, status_codes(table), [""] * n,
                            blank.astype(np.int8), blank, "", blank)
        nll_alone = np.isnan(column(table, f"loss_{self._plan.observables[0].name}"))
        known = np.where(nll_alone & np.isnan(observables).all(axis=1), column(table, "nll"), np.nan)
        scored = _with_known_nll(score(outcomes, self._plan.likelihoods), known)
        for k, o in enumerate(self._plan.observables):
            name = f"loss_{o.name}"
            table = table.set_column(table.schema.get_field_index(name), self._schema.field(name),
                                     pa.array(scored.losses[:, k]))
        table = table.set_column(table.schema.get_field_index("nll"), self._schema.field("nll"), pa.array(scored.nll))
        return table.replace_schema_metadata(self._schema.metadata)

    def _put_aside(self, path: Path, problem: str) -> None:
        folder = self.run_dir / "damaged"
        folder.mkdir(exist_ok=True, mode=0o700)
        target = folder / path.name
        while target.exists():
            target = target.with_name(target.name + "~")
        path.rename(target)
        self._report(f"evaluations/{path.name}: {problem}; moved to damaged/, the scan goes on without it")

    def _report(self, text: str) -> None:
        self.reports.append(text)
        log.warning(text)

    @contextmanager
    def _disk(self, doing: str) -> Iterator[None]:
        """Turn a full or broken disk into a StorageError that says what is safe."""
        try:
            yield
        except OSError as error:
            cause = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
            raise StorageError(f"storage: {cause} while {doing} in {self.run_dir}. What was committed before is safe; "
                               "make room and run the same command again") from error


@dataclass
class _Round:
    """A round under way: its points, which of them are done, their rows, and what waits for the journal."""

    points: Points
    journal: RoundJournal
    done: NDArray[np.bool_] = field(init=False)
    tables: list[pa.Table] = field(default_factory=list)
    files: dict[int, dict[str, bytes]] = field(default_factory=dict)
    waiting: list[pa.Table] = field(default_factory=list)
    waiting_files: dict[int, dict[str, bytes]] = field(default_factory=dict)
    waiting_since: float = 0.0

    def __post_init__(self) -> None:
        self.done = np.zeros(len(self.points), bool)

    @property
    def first(self) -> int:
        """Its first point id; the ids of a round are consecutive."""
        return int(self.points.point_id[0]) if len(self.points) else 0

    @property
    def n_left(self) -> int:
        """Points without an outcome."""
        return len(self.done) - int(self.done.sum())

    def add(self, rows: pa.Table, files: Any) -> None:
        """Finished rows, to be journaled soon unless the round ends first."""
        if not self.waiting:
            self.waiting_since = time.monotonic()
        self.tables.append(rows)
        self.waiting.append(rows)
        for point_id, some in files.items():
            self.files[point_id] = self.waiting_files[point_id] = dict(some)

    def write_journal(self) -> None:
        """Append what waits."""
        if self.waiting:
            self.journal.append(pa.concat_tables(self.waiting))
            self.journal.append_files(self.waiting_files)
            self.waiting, self.waiting_files = [], {}


class _Memory:
    """The numbers of all finished rows, in arrays that double when they are full."""

    def __init__(self, n_params: int, n_observables: int) -> None:
        self._n = 0
        self._arrays: list[NDArray[Any]] = [
            np.empty(0, np.int64), np.empty((0, n_params)), np.empty((0, n_observables)), np.empty(0),
            np.empty(0, np.int8),
        ]

    @property
    def largest_id(self) -> int:
        """-1 when there is no row."""
        return int(self._arrays[0][: self._n].max()) if self._n else -1

    def add(self, *columns: NDArray[Any]) -> None:
        """Rows: point_id, x, observables, nll, status."""
        end = self._n + len(columns[0])
        for k, new in enumerate(columns):
            if end > len(self._arrays[k]):
                bigger = np.empty((max(1024, 2 * end), *self._arrays[k].shape[1:]), self._arrays[k].dtype)
                bigger[: self._n] = self._arrays[k][: self._n]
                self._arrays[k] = bigger
            self._arrays[k][self._n : end] = new
        self._n = end

    def view(self, pending: Array, n_proposed: int) -> View:
        point_id, x, observables, nll, status = (a[: self._n] for a in self._arrays)
        return View(point_id, x, observables, nll, status, pending, n_proposed)


class _NotAShard(Exception):
    """A file among the shards that is none of ours, or is damaged; the message says what it is."""


def _read_shard(path: Path, schema: pa.Schema) -> pa.Table:
    if not SHARD.fullmatch(path.name):
        raise _NotAShard("not a shard of this scan" if not path.name.startswith(".") else "left by a driver that ended")
    try:
        table = pq.read_table(path, partitioning=None)
    except (pa.ArrowInvalid, pa.ArrowException, OSError, ValueError) as error:
        raise _NotAShard(f"damaged ({str(error).splitlines()[0][:100]})") from None
    if not table.schema.equals(schema):
        raise _NotAShard("its columns are those of another scan")
    if (table.schema.metadata or {}).get(b"fingerprint") != schema.metadata[b"fingerprint"]:
        raise _NotAShard("it belongs to another scan")
    return table


def _take(scored: Scored, rows: NDArray[np.intp]) -> Scored:
    o = scored.outcomes
    if len(rows) == len(o):
        return scored
    ids = o.point_id[rows]
    files = {i: o.files[i] for i in ids.tolist() if i in o.files} if o.files else {}
    return Scored(Outcomes(ids, o.observables[rows], o.status[rows], [o.reason[i] for i in rows], o.attempts[rows],
                           o.seconds[rows], o.host, o.finished[rows], files), scored.losses[rows], scored.nll[rows])


def _with_known_nll(scored: Scored, nll: Array) -> Scored:
    """An NLL that is known (not NaN) replaces the sum of losses, which then are not known."""
    known = ~np.isnan(nll)
    losses = np.where(known[:, None], np.nan, scored.losses)
    return Scored(scored.outcomes, losses, np.where(known, nll, scored.nll))


def _identity(plan: StoredPlan) -> str:
    return json.dumps({**Layout(plan).metadata, "physics": plan.physics}, indent=1, default=repr) + "\n"


def check_identity(run_dir: Path, plan: StoredPlan) -> None:
    """Refuse a folder that holds another scan, or anything else."""
    path = run_dir / "identity.json"
    if not path.exists():
        if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
            raise RunDirectoryError(f"{run_dir}: exists and is not a run directory of raydnnr; choose another "
                                    "--run-dir or another scan.name")
        return
    try:
        held = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path}: unreadable ({error}); use --fresh to start over beside it") from None
    if held.get("fingerprint") != plan.fingerprint:
        ours = json.loads(_identity(plan))["physics"]
        raise RunDirectoryError(
            f"{run_dir}: holds another scan (different: {', '.join(_differences(held.get('physics', {}), ours))}). Use "
            "--fresh to move it aside and start over, another --run-dir, another scan.name, or scan.init_csv to start "
            "from its points")


def _differences(held: Any, ours: Any, prefix: str = "") -> list[str]:
    """Keys that differ, dotted."""
    if not isinstance(held, dict) or not isinstance(ours, dict):
        return [prefix or "everything"]
    found: list[str] = []
    for key in sorted({*held, *ours}):
        if held.get(key) != ours.get(key):
            where = f"{prefix}.{key}" if prefix else key
            found += _differences(held.get(key), ours.get(key), where) if key in held and key in ours else [where]
    return found[:8]
