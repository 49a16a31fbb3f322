"""Resume: a run directory to what a scan knows of it. What is damaged or foreign is moved aside and reported."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raydnnr.compaction import Shard
from raydnnr.evaluation import Points, Status
from raydnnr.journal import RoundJournal, rounds_in
from raydnnr.memory import GROWTH, Memory, Tally
from raydnnr.rounds import Round, points_of
from raydnnr.shards import NotAShard, Span, checked_rows, count_rows, read_shard, rescored, span_of, write_shard
from raydnnr.table import Layout, column, stacked, status_codes

log = logging.getLogger(__name__)


@dataclass
class Known:
    """What a scan knows.

    Attributes:
        layout: Of its table.
        memory: Numbers of the finished rows, seeds included.
        tally: Count of the finished rows, seeds not included.
        rounds: Those under way, by iteration.
        newest: Journal of the newest round if that round is closed: it says which ids are taken.
        last_iteration: The highest number in use, -1 for none.
        last_id: The highest point id in use, -1 for none.
        n_seeds: Rows of the seed table.
        shards: Those on the disk.
        reports: What was found damaged or foreign, in words.
    """

    layout: Layout
    memory: Memory = field(init=False)
    tally: Tally = field(init=False)
    rounds: dict[int, Round] = field(default_factory=dict)
    newest: RoundJournal | None = None
    last_iteration: int = -1
    last_id: int = -1
    n_seeds: int = 0
    shards: list[Shard] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        plan = self.layout.plan
        self.memory = Memory(plan.space.n_params, len(plan.observables))
        self.tally = Tally(plan.stop.threshold_value)

    def adopt(self, points: Points, journal: RoundJournal) -> Round:
        """Points are on their way."""
        r = self.rounds[points.iteration] = Round(points, journal, self.layout)
        self.last_iteration = max(self.last_iteration, points.iteration)
        self.last_id = max([self.last_id, *points.point_id[-1:].tolist()])
        return r

    def forget(self, journal: RoundJournal) -> None:
        """A round is in its shard. The newest proposal stays until another follows: it holds the ids."""
        if journal.iteration == self.last_iteration:
            journal.remove_streams()
            self.newest = journal
        else:
            journal.remove()


def load(run_dir: Path, layout: Layout) -> Known:
    """Read what a run directory holds: shards, then the rounds under way.

    Shards and journals of earlier likelihoods, or of a version that did not time tools, are scored again, here and on
    the disk. Of a shard that is damaged the
    journal is used, if it is still there: its points are evaluated again.

    Args:
        run_dir: Ours.
        layout: Of the table.

    Raises:
        OSError: The file system does not give a file, or does not take one.
    """
    loader = _Loader(run_dir, layout)
    loader.load()
    return loader.known


class _Loader:
    def __init__(self, run_dir: Path, layout: Layout) -> None:
        self._run_dir, self._layout, self._plan = run_dir, layout, layout.plan
        self.known = Known(layout)

    def load(self) -> None:
        shards: list[tuple[Span, Path]] = []
        for path in sorted((self._run_dir / "evaluations").iterdir()):
            if path.name.startswith((".", "_")):
                continue  # nothing that reads the folder as a table sees these
            if (span := span_of(path)) is None:
                self._put_aside(path, "not the name of a shard")
            else:
                shards.append((span, path))
        # the seeds' first, and what was merged before what it was merged from, should that still be there
        shards.sort(key=lambda shard: (not shard[0].seeds, shard[0].first, -shard[0].last))
        rounds = rounds_in(self._run_dir / "journal")
        used = [*rounds, *self._lost_iterations(), *(span.last for span, _ in shards if not span.seeds)]
        self.known.last_iteration = max(used, default=-1)
        self.known.memory.reserve(int(GROWTH * sum(count_rows(path) for _, path in shards)))
        whole: set[int] = set()
        for span, path in shards:
            if self._load_shard(path, span) and not span.seeds:
                whole.update(range(span.first, span.last + 1))
        self._load_journal(rounds, whole)

    def _load_journal(self, rounds: list[int], whole: set[int]) -> None:
        for iteration in rounds:
            journal = RoundJournal(self._run_dir / "journal", iteration)
            if iteration in whole:
                self._load_ids(journal)
                self.known.forget(journal)
            else:
                self._load_round(journal)

    def _lost_iterations(self) -> list[int]:
        """Numbers of shards that were moved aside, now or earlier: they are not used again."""
        spans = [span_of(path) for path in (self._run_dir / "damaged").glob("iteration-*")]
        return [span.last for span in spans if span and not span.seeds]

    def _load_shard(self, path: Path, span: Span) -> bool:
        """Whether it could be used."""
        merged = any(shard.span.holds(span) for shard in self.known.shards)
        try:
            table = read_shard(path, self._layout.schema)
            held = self._held(column(table, "point_id"))
            if merged and held.all():
                path.unlink()  # a driver was killed before it could
                return True
            if held.any():
                raise NotAShard("it holds points that another shard holds")
        except NotAShard as problem:
            self._put_aside(path, str(problem))
            return False
        if table.schema.metadata.get(b"scoring") != self._plan.scoring.encode():
            table = rescored(table, self._layout)
            write_shard(path, table)
            log.info("%s: written again, for changed likelihoods or columns that are new", path.name)
        self._remember(table, counted=not span.seeds)
        self.known.n_seeds += table.num_rows if span.seeds else 0
        if not merged:  # else somebody has put it back among what was merged without it
            self.known.shards.append(Shard(span, table.num_rows))
        return True

    def _held(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which points we have already."""
        if len(ids) and ids[0] <= self.known.last_id:
            return np.isin(ids, self.known.memory.point_id)
        return np.zeros(len(ids), bool)

    def _load_ids(self, journal: RoundJournal) -> None:
        """The ids of a round that is in its shard are taken, those without a row too."""
        try:
            ids = journal.proposed(self._plan.space.scanned).point_id
        except ValueError:
            return
        self.known.last_id = max([self.known.last_id, *ids[-1:].tolist()])

    def _load_round(self, journal: RoundJournal) -> None:
        """A round under way: what was proposed, and what has finished of it."""
        scanned = self._plan.space.scanned
        table, is_current = self._journaled(journal)
        try:
            points = journal.proposed(scanned)
        except ValueError as error:
            if journal.proposal.exists():
                self._put_aside(journal.proposal, f"damaged ({error})")
            points = points_of(table, scanned, journal.iteration)
        r = self.known.adopt(points, journal)
        self._remember(r.restore(table), counted=True)
        if not is_current:
            journal.rewrite(r.table())

    def _journaled(self, journal: RoundJournal) -> tuple[pa.Table, bool]:
        """Finished rows in the journal of a round, and whether their losses were those of the present likelihoods."""
        schema, tables, is_current = self._layout.schema, [], True
        for batch in journal.rows():
            try:
                table = checked_rows(pa.Table.from_batches([batch]), schema, Span(journal.iteration, journal.iteration))
            except NotAShard as problem:
                self._report(f"journal of iteration {journal.iteration}: rows left out: {problem}")
                continue
            if table.schema.metadata.get(b"scoring") != self._plan.scoring.encode():
                table, is_current = rescored(table, self._layout), False
            tables.append(table.replace_schema_metadata(schema.metadata))
        return pa.concat_tables(tables) if tables else schema.empty_table(), is_current

    def _remember(self, table: pa.Table, counted: bool) -> None:
        status, ids, nll = status_codes(table), column(table, "point_id"), column(table, "nll")
        observables = stacked(table, [o.name for o in self._plan.observables])
        origin = table.column("origin").combine_chunks().dictionary_encode()
        self.known.memory.add(ids, stacked(table, self._plan.space.scanned), observables, nll, status,
                              column(table, "iteration"), origin.dictionary.to_pylist(), origin.indices.to_numpy())
        self.known.last_id = max(self.known.last_id, int(ids.max(initial=-1)))
        if counted:
            bad = table.column("reason").filter(pa.array(status != Status.OK)).value_counts()
            self.known.tally.add(nll, status, {pair["values"]: pair["counts"] for pair in bad.to_pylist()})

    def _put_aside(self, path: Path, problem: str) -> None:
        folder = self._run_dir / "damaged"
        folder.mkdir(exist_ok=True, mode=0o700)
        target = folder / path.name
        for n in itertools.count(2):
            if not target.exists():
                break
            target = folder / str(n) / path.name
            target.parent.mkdir(exist_ok=True, mode=0o700)
        path.rename(target)
        self._report(f"{path.relative_to(self._run_dir)}: {problem}; moved to {target.relative_to(self._run_dir)}, the "
                     "scan goes on without it")

    def _report(self, text: str) -> None:
        self.known.reports.append(text)
        log.warning("%s", text)
