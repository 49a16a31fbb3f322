"""Store: what a scan knows, in its run directory. Rounds are committed before they run, outcomes as they come; a
restart loses nothing. `raydnnr.rundir` says what stands where.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raydnnr import rundir
from raydnnr.claim import Claim
from raydnnr.compaction import Compaction, Shard
from raydnnr.coverage import Survey, rung, survey
from raydnnr.errors import ConfigError, RunDirectoryError, StorageError
from raydnnr.evaluation import Array, Outcomes, Points, Proposal, Scored, Status, Summary, View, score
from raydnnr.journal import RoundJournal
from raydnnr.resume import Known, load
from raydnnr.rounds import Round
from raydnnr.rundir import check_identity as check_identity
from raydnnr.shards import Span, with_known_nll, write_shard
from raydnnr.table import Layout, StoredPlan

log = logging.getLogger(__name__)

SYNC_S = 1.0  # what is in the journal waits at most this long for the disk below it
AT_ONCE = 4000  # good points up to which a survey is made while the scan waits: some tenths of a second
STOP_BYTES = 25 * 10**6  # free space below which a scan ends


class Store:
    """An open run directory. Make one with `Store.open`.

    Attributes:
        run_dir: The folder.
    """

    def __init__(self, run_dir: Path, plan: StoredPlan, claim: Claim) -> None:
        self.run_dir = run_dir
        self._plan, self._claim, self._layout = plan, claim, Layout(plan)
        self._known = Known(self._layout)
        self._compaction = Compaction(run_dir / "evaluations", self._layout.schema, ())
        self._started = self._synced = time.monotonic()
        self._failed = False
        self._survey = Survey()
        self._surveyor = ThreadPoolExecutor(1, thread_name_prefix="survey")
        self._surveying: Future[Survey] | None = None
        self._kept_bytes = sum(path.stat().st_size for path in (run_dir / "files").glob("iteration-*.zip"))
        self._full = self._kept_bytes >= plan.max_kept_bytes

    @classmethod
    def open(cls, run_dir: Path, plan: StoredPlan, files: Mapping[str, str], fresh: bool = False) -> Store:
        """Open a run directory, and resume what it holds.

        Args:
            run_dir: Made if it is not there.
            plan: The scan.
            files: Texts to keep in it, by name: the configuration and its templates (`raydnnr.config.dump`).
            fresh: Move a run directory that is there aside, to ``<run_dir>.old-<UTC time>``, and start over.

        Raises:
            RunDirectoryError: It holds another scan or something else, another driver works in it, or it cannot be
                read or written.
        """
        run_dir = Path(run_dir).absolute()
        store = cls(run_dir, plan, rundir.take(run_dir, plan, files, fresh))
        try:
            with store._disk("reading what is there"):
                store._known = load(run_dir, store._layout)
            store._compaction = Compaction(run_dir / "evaluations", store._layout.schema, store._known.shards)
            store._close_complete()
        except StorageError as error:
            store._claim.release()
            raise RunDirectoryError(str(error)) from error
        except BaseException:
            store._claim.release()
            raise
        return store

    # ---- what the loop asks

    @property
    def reports(self) -> list[str]:
        """What was found damaged or foreign when the run directory was opened, in words."""
        return self._known.reports

    @property
    def next_iteration(self) -> int:
        """Number of the round that `open_round` opens next; 0 is the bootstrap."""
        return self._known.last_iteration + 1

    def summary(self) -> Summary:
        """Where the scan stands; rows of a seed table are not counted."""
        known, t = self._known, self._known.tally
        return Summary(
            evaluations=t.evaluations, good=t.good, ok=t.ok, invalid=t.invalid, failed=t.failed,
            iterations=max(0, known.last_iteration) - sum(i > 0 for i in known.rounds),
            pending=sum(r.n_left for r in known.rounds.values()), best_nll=t.best_nll,
            seconds=time.monotonic() - self._started, reasons=t.reasons, survey=self._survey,
        )

    def look_around(self, complete: bool = False, wait: bool = True) -> None:
        """Survey the region of the good points, where their number has grown enough since the last time.

        Args:
            complete: Of all of them. Otherwise of the first ones, a number of them (`raydnnr.coverage.rung`) that does
                not depend on when one looks.
            wait: For the survey. Otherwise one of many points (`AT_ONCE`) is made beside the scan, and is there at a
                later look.
        """
        if self._surveying and (wait or self._surveying.done()):
            self._survey, self._surveying = self._surveying.result(), None
        wanted = self._known.tally.good if complete else rung(self._known.tally.good)
        if wanted in (0, self._survey.n_points) or self._surveying:
            return
        view = self._known.memory.view(np.empty((0, self._plan.space.n_params)), 0)
        if wait or wanted <= AT_ONCE:
            self._survey = self._surveyed(view, wanted)
        else:
            self._surveying = self._surveyor.submit(self._surveyed, view, wanted)

    def _surveyed(self, view: View, n_points: int) -> Survey:
        """Of the first so many good points by id; a pure function, but for what the scan is."""
        good = (view.status == Status.OK) & (view.nll < self._plan.stop.threshold_value)
        rows = np.flatnonzero(good & (view.point_id >= self._known.n_seeds))
        first = rows[np.argsort(view.point_id[rows], kind="stable")[:n_points]]
        return survey(self._plan.space.to_unit_cube(view.x[first]))

    def view(self) -> View:
        """All finished rows, in the order in which they came, and the points under way. No rows are copied."""
        pending = [r.points.x[~r.done] for r in self._rounds]
        x = np.concatenate(pending) if pending else np.empty((0, self._plan.space.n_params))
        return self._known.memory.view(x, self._known.last_id + 1 - self._known.n_seeds)

    def unfinished(self) -> list[Points]:
        """Points that were proposed and have no outcome yet, by round."""
        return [r.points.take(~r.done) for r in self._rounds if r.n_left]

    def space_left_bytes(self) -> int:
        """Room on the file system of the run directory."""
        return rundir.free_bytes(self.run_dir)

    def low_space(self) -> bool:
        """Whether the file system is nearly full: time to stop while everything can still be written."""
        return self.space_left_bytes() < STOP_BYTES

    # ---- what the loop tells

    def open_round(self, proposal: Proposal) -> Points:
        """Number the points of a proposal and commit them; they may run once this returns.

        Raises:
            ConfigError: The proposal is not one: a method of the user's own returned columns that do not fit.
            StorageError: It cannot be committed; no point has a number.
        """
        _check_proposal(proposal, self._plan.space.n_params)
        first = self._known.last_id + 1
        points = Points(np.arange(first, first + len(proposal.x)), self.next_iteration,
                        np.asarray(proposal.x, np.float64), list(proposal.origin),
                        np.asarray(proposal.nll_predicted, np.float64))
        journal = RoundJournal(self.run_dir / "journal", points.iteration)
        with self._disk("committing a proposal"):
            journal.propose(points, self._plan.space.scanned)
            if self._known.newest:
                self._known.newest.remove()
                self._known.newest = None
        self._known.adopt(points, journal)
        self._close_complete()
        return points

    def record(self, scored: Scored) -> None:
        """Take in outcomes. The first one of a point wins; others, and those of closed rounds, are dropped.

        Raises:
            StorageError: As `flush`.
        """
        for r in self._rounds:
            rows, where = r.match(scored.outcomes.point_id)
            if len(rows):
                self._record(r, rows, _take(scored, where))

    def flush(self) -> None:
        """Write what has waited long enough; called at every turn of the loop.

        Raises:
            StorageError: It cannot be written. What waits goes on waiting, and is tried again at the next call.
        """
        now = time.monotonic()
        self._close_complete()
        for r in self._rounds:
            self._journal(r, now)
        if now - self._synced > SYNC_S:
            self._synced = now
            with self._disk("writing the journal"):
                self._claim.beat()
                for r in self._rounds:
                    r.write_journal()  # nothing waits while a slow disk makes us wait
                    r.journal.sync()
            self._compaction.turn(self._known.rounds)

    def abandon_unfinished(self) -> None:
        """End the rounds under way with what they have: their finished rows become shards, the rest is dropped."""
        for r in self._rounds:
            self._close_round(r)

    def add_seeds(self, x: Array, observables: Array, nll: Array, status: NDArray[np.int8]) -> None:
        """Rows of an earlier table, origin ``csv``. Only before the first round; a second call is ignored.

        Args:
            x: (N, P).
            observables: (N, K), NaN where the table has none.
            nll: (N,), NaN where it follows from the observables.
            status: (N,).
        """
        if self._known.last_id >= 0 or not len(x):
            return
        n = len(x)
        points = Points(np.arange(n), 0, x, ["csv"] * n, np.full(n, np.nan))
        outcomes = Outcomes(points.point_id, observables, status, [""] * n, np.zeros(n, np.int8), np.zeros(n), "",
                            np.full(n, time.time()))
        scored = with_known_nll(score(outcomes, self._plan.likelihoods), nll)
        with self._disk("writing the seed table"):
            name = Span(0, 0, seeds=True).file_name
            write_shard(self.run_dir / "evaluations" / name, self._layout.rows(points, scored))
        self._known.n_seeds = n
        self._known.last_id = n - 1
        self._known.memory.add(points.point_id, x, observables, scored.nll, status, 0, points.origin)

    def save(self) -> None:
        """Write everything that waits.

        Raises:
            StorageError: It cannot be written.
        """
        with self._disk("closing"):
            for r in self._rounds:
                r.write_journal()
                r.journal.sync()

    def close(self) -> None:
        """Write everything that waits and let the run directory go.

        Raises:
            StorageError: Something could not be written, and no call before has said so.
        """
        known = self._failed
        self._compaction.close()
        self._surveyor.shutdown(wait=False, cancel_futures=True)
        try:
            self.save()
        except StorageError as error:
            if not known:
                raise
            log.warning("%s", error)
        finally:
            for r in self._rounds:
                r.journal.close()
            self._claim.release()

    # ---- rounds

    @property
    def _rounds(self) -> list[Round]:
        return list(self._known.rounds.values())

    def _record(self, r: Round, rows: NDArray[np.intp], scored: Scored) -> None:
        """Outcomes of these rows of a round."""
        o = scored.outcomes
        r.put(rows, scored, self._worth_keeping(scored))
        self._known.tally.add(scored.nll, o.status, Counter(o.reason[k] for k in np.flatnonzero(o.status).tolist()))
        self._known.memory.add(o.point_id, r.points.x[rows], o.observables, scored.nll, o.status, r.points.iteration,
                               [r.points.origin[row] for row in rows.tolist()])
        if r.n_left:
            self._journal(r, time.monotonic())
        else:
            self._close_round(r)

    def _worth_keeping(self, scored: Scored) -> Mapping[int, Mapping[str, bytes]]:
        """Kept files, less those of poor points (``ok``, not good) where a tool wants good ones; none once it is full.

        Files of rounds under way count as they are, those of finished ones as they were compressed.
        """
        o, plan = scored.outcomes, self._plan
        if not o.files:
            return {}
        room = plan.max_kept_bytes - self._kept_bytes - sum(r.files_bytes for r in self._rounds)
        poor = set(o.point_id[(o.status == Status.OK) & ~(scored.nll < plan.stop.threshold_value)].tolist())
        kept: dict[int, Mapping[str, bytes]] = {}
        for i, files in o.files.items():
            files = {name: data for name, data in files.items() if i not in poor or plan.keeps_of_all(name)}
            if files and room > 0:
                kept[i] = files
                room -= sum(map(len, files.values()))
        if room <= 0 and not self._full:
            self._full = True
            log.warning("files: they take the %.3g GiB that keep_total_gib allows; no more output files are kept",
                        plan.max_kept_bytes / 2**30)
        return kept

    def _journal(self, r: Round, now: float) -> None:
        if r.due(now):
            with self._disk("writing the journal"):
                r.write_journal()

    def _close_round(self, r: Round) -> None:
        """The round's rows become its shard, and its journal goes."""
        iteration = r.points.iteration
        with self._disk("writing a shard"):
            self._kept_bytes += r.write_files(self.run_dir / "files" / f"iteration-{iteration:05d}.zip")
            table, span = r.table(), Span(iteration, iteration)
            write_shard(self.run_dir / "evaluations" / span.file_name, table)
            del self._known.rounds[iteration]
            self._known.forget(r.journal)
        self._compaction.add(Shard(span, table.num_rows))

    def _close_complete(self) -> None:
        """Rounds that have all outcomes but no shard: resumed, or their shard could not be written before."""
        for r in self._rounds:
            if not r.n_left:
                self._close_round(r)

    @contextmanager
    def _disk(self, doing: str) -> Iterator[None]:
        """Turn a full or broken disk into a StorageError that says what is safe."""
        try:
            yield
        except OSError as error:
            self._failed = True
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            cause = "the disk is full" if full else error.strerror or str(error)
            advice = "make room" if full else "see to the file system"
            raise StorageError(f"storage: {cause} while {doing} in {self.run_dir}. What was committed before is safe; "
                               f"{advice} and run the same command again") from error


def _take(scored: Scored, rows: NDArray[np.intp]) -> Scored:
    """These outcomes; ``rows`` ascend."""
    if len(rows) == len(scored.outcomes):
        return scored
    return Scored(scored.outcomes.take(rows), scored.losses[rows], scored.nll[rows])


def _check_proposal(proposal: Proposal, n_params: int) -> None:
    """A search method may be the user's own."""
    n, shape = len(proposal.x), np.shape(proposal.x)
    if shape != (n, n_params) or len(proposal.origin) != n or np.shape(proposal.nll_predicted) != (n,):
        raise ConfigError(f"search: the method proposed x of shape {shape}, {len(proposal.origin)} origins and "
                          f"{np.size(proposal.nll_predicted)} predictions; it must be (N, {n_params}), N and N")
    if not np.isfinite(proposal.x).all():
        raise ConfigError("search: the method proposed a point that is not finite")
