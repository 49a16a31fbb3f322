"""The store: what was recorded is there, whatever the order, the likelihoods of today, or the moment of a crash."""

from __future__ import annotations

import resource
import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from raydnnr import Gauss, Observable, Stop, rounds, rundir
from raydnnr import store as module
from raydnnr.errors import ConfigError, RunDirectoryError, StorageError
from raydnnr.evaluation import Proposal, Status, score
from raydnnr.export import read_evaluations
from raydnnr.store import Store
from raydnnr.tools.text_command import TextCommand
from tests.unit.plans import square, two_tools
from tests.unit.runs import copied, evaluate, finish, frame, physics, proposal, run_rounds, shards

PLAN = square()


@pytest.fixture
def store(tmp_path):
    opened = Store.open(tmp_path / "run", PLAN, {"config.toml": ""})
    yield opened
    opened.close()


@pytest.fixture
def at_once(monkeypatch):
    """Every finished row goes to the journal without waiting."""
    monkeypatch.setattr(rounds, "JOURNAL_S", -1.0)


def good(status, nll):
    return (status == "ok") & (nll < 1.0)


# ---- a round


def test_a_proposal_is_on_the_disk_before_its_points_may_run(store, tmp_path):
    points = store.open_round(proposal(5))
    assert (points.iteration, points.point_id.tolist()) == (0, [0, 1, 2, 3, 4])
    later = Store.open(copied(store.run_dir, tmp_path / "crash"), PLAN, {})
    (unfinished,) = later.unfinished()
    np.testing.assert_array_equal(unfinished.x, points.x)
    np.testing.assert_array_equal(unfinished.nll_predicted, points.nll_predicted)
    assert unfinished.origin == points.origin
    later.close()


def test_ids_and_iterations_go_on_from_round_to_round(store):
    rounds_ = [store.open_round(proposal(n)) for n in (3, 1, 4)]
    assert [p.point_id.tolist() for p in rounds_] == [[0, 1, 2], [3], [4, 5, 6, 7]]
    assert [p.iteration for p in rounds_] == [0, 1, 2]


def test_a_complete_round_is_a_shard_and_leaves_only_its_proposal_behind(store):
    evaluate(store, PLAN, store.open_round(proposal(20)))
    assert list(shards(store.run_dir)) == ["iteration-00000.parquet"]
    assert [p.name for p in (store.run_dir / "journal").iterdir()] == ["iteration-00000.proposal.arrow"]
    evaluate(store, PLAN, store.open_round(proposal(20)))
    assert [p.name for p in (store.run_dir / "journal").iterdir()] == ["iteration-00001.proposal.arrow"]


def test_rows_are_what_the_physics_said(store):
    points = store.open_round(proposal(50, origin="surrogate"))
    evaluate(store, PLAN, points, host="node7")
    scored = score(physics(points), PLAN.likelihoods)
    table = frame(store.run_dir)
    assert table.point_id.tolist() == list(range(50))
    assert set(table.origin) == {"surrogate"}
    assert set(table.host) == {"node7"}
    np.testing.assert_array_equal(table[["x", "y"]], points.x)
    np.testing.assert_array_equal(table[["r", "s"]], scored.outcomes.observables)
    np.testing.assert_array_equal(table.nll, scored.nll)
    np.testing.assert_array_equal(table.nll_predicted, points.nll_predicted)
    assert table.reason.tolist() == list(scored.outcomes.reason)
    assert set(table.status) == {"ok", "invalid", "failed"}
    assert np.isnan(table.nll[table.status == "failed"]).all()


@settings(max_examples=25)
@given(st.permutations(range(24)), st.sets(st.integers(1, 23), max_size=6), st.lists(st.integers(0, 23), max_size=5),
       st.booleans())
def test_any_order_and_partition_of_outcomes_makes_the_same_shard(order, cuts, repeated, journaled):
    """Pieces may hold points that are known already, or hold one twice; other points of one call are not disturbed."""
    with tempfile.TemporaryDirectory() as folder:
        run_rounds(Path(folder) / "whole", PLAN, [24])
        opened = Store.open(Path(folder) / "pieces", PLAN, {})
        points = opened.open_round(proposal(24, 0))
        for piece in np.split(np.array(order), sorted(cuts)):
            evaluate(opened, PLAN, points, [*piece, *repeated, *piece[:1]] if repeated[:1] else piece)
            if journaled:
                for r in opened._rounds:
                    r.write_journal()
        opened.close()
        assert shards(Path(folder) / "pieces") == shards(Path(folder) / "whole")


def test_the_first_outcome_of_a_point_wins(store):
    points = store.open_round(proposal(3))
    evaluate(store, PLAN, points, [1], host="first")
    evaluate(store, PLAN, points, [1, 0], host="second")
    assert store.summary().evaluations == 2
    evaluate(store, PLAN, points, host="third")
    assert frame(store.run_dir).host.tolist() == ["second", "first", "third"]
    evaluate(store, PLAN, points, host="after the end")
    assert store.summary().evaluations == 3
    assert len(store.view().x) == 3


def test_outcomes_of_several_rounds_come_in_one_piece(store):
    first, second = store.open_round(proposal(4, 1)), store.open_round(proposal(4, 2))
    both = physics(first)
    more = physics(second)
    mixed = score(type(both)(*(np.concatenate([getattr(more, n), getattr(both, n)]) if n != "reason" else
                               [*more.reason, *both.reason] for n in
                               ("point_id", "observables", "status", "reason", "attempts", "seconds")),
                             "node1", np.concatenate([more.finished, both.finished])), PLAN.likelihoods)
    store.record(mixed)
    table = frame(store.run_dir)
    assert table.iteration.tolist() == [0] * 4 + [1] * 4
    np.testing.assert_array_equal(table[["x", "y"]], np.concatenate([first.x, second.x]))


def test_a_proposal_of_nothing_is_a_round_that_is_over(store):
    assert len(store.open_round(Proposal(np.empty((0, 2)), [], np.empty(0)))) == 0
    assert (store.next_iteration, store.summary().pending, store.unfinished()) == (1, 0, [])
    evaluate(store, PLAN, store.open_round(proposal(3)))
    assert frame(store.run_dir).point_id.tolist() == [0, 1, 2]


@pytest.mark.parametrize("bad", [
    Proposal(np.zeros((3, 1)), ["a"] * 3, np.zeros(3)),
    Proposal(np.zeros((3, 2)), ["a"] * 2, np.zeros(3)),
    Proposal(np.zeros((3, 2)), ["a"] * 3, np.zeros(2)),
    Proposal(np.full((3, 2), np.nan), ["a"] * 3, np.zeros(3)),
], ids=["columns", "origins", "predictions", "nan"])
def test_a_proposal_that_does_not_fit_gets_no_numbers(store, bad):
    with pytest.raises(ConfigError, match="search: the method proposed"):
        store.open_round(bad)
    assert (store.next_iteration, store.unfinished()) == (0, [])


def test_files_are_private_and_readers_see_only_whole_ones(store):
    evaluate(store, PLAN, store.open_round(proposal(5)), files=True)
    evaluate(store, PLAN, store.open_round(proposal(5)), [0, 1], files=True)
    for path in store.run_dir.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    (store.run_dir / "evaluations" / ".iteration-00009.parquet.tmp").write_text("half a shard")
    assert len(pd.read_parquet(store.run_dir / "evaluations")) == 5


# ---- what the loop asks


def test_the_summary_is_what_counting_gives(store):
    for n in (30, 20):
        evaluate(store, PLAN, store.open_round(proposal(n, n)))
    points = store.open_round(proposal(10, 10))
    evaluate(store, PLAN, points, range(4))
    summary = store.summary()
    chosen = [proposal(n, n).x for n in (30, 20)] + [points.x[:4]]
    scored = [score(physics(type(points)(np.arange(len(x)), 0, x, [""] * len(x), np.zeros(len(x)))), PLAN.likelihoods)
              for x in chosen]
    status, nll = (np.concatenate(c) for c in zip(*((s.outcomes.status, s.nll) for s in scored), strict=True))
    ok = status == Status.OK
    assert summary.evaluations == 54
    assert (summary.ok, summary.invalid, summary.failed) == tuple((status == s).sum() for s in Status)
    assert summary.good == (ok & (nll < 1.0)).sum()
    assert summary.best_nll == nll[ok].min()
    assert (summary.iterations, summary.pending) == (1, 6)
    assert dict(summary.reasons) == {"x too small": summary.invalid, "crash": summary.failed}


def test_a_view_copies_nothing_and_later_rows_do_not_change_it(store):
    evaluate(store, PLAN, store.open_round(proposal(5, 1)))
    first = store.view()
    assert np.shares_memory(first.x, store.view().x)
    x, nll = first.x.copy(), first.nll.copy()
    points = store.open_round(proposal(3000, 2))
    evaluate(store, PLAN, points, range(2999, 10, -1))
    np.testing.assert_array_equal(first.x, x)
    np.testing.assert_array_equal(first.nll, nll)
    later = store.view()
    np.testing.assert_array_equal(later.x[:5], x)
    assert later.point_id[5:].tolist() == list(range(3004, 15, -1))  # completion order
    np.testing.assert_array_equal(later.rows(5).x, points.x[:10:-1])
    np.testing.assert_array_equal(later.pending, points.x[:11])
    assert later.n_proposed == 3005


def test_room_is_watched(store, monkeypatch):
    assert store.space_left_bytes() == pytest.approx(shutil.disk_usage(store.run_dir).free, rel=0.1)
    assert not store.low_space()
    monkeypatch.setattr(module, "STOP_BYTES", 10**18)
    assert store.low_space()


def test_more_reasons_than_can_be_counted_are_counted_together(store):
    points = store.open_round(proposal(3000))
    outcomes = physics(points)
    outcomes.status[:] = Status.FAILED
    outcomes.reason[:] = [f"error number {k}" for k in range(3000)]
    store.record(score(outcomes, PLAN.likelihoods))
    assert store.summary().reasons[0] == ("other reasons", 2000)


# ---- journal


def test_rows_wait_for_the_journal_a_moment_and_no_longer(store, monkeypatch):
    points = store.open_round(proposal(10))
    evaluate(store, PLAN, points, range(4))
    store.flush()
    assert not list((store.run_dir / "journal").glob("*.rows-*"))
    monkeypatch.setattr(rounds, "JOURNAL_S", -1.0)
    store.flush()
    assert len(list((store.run_dir / "journal").glob("*.rows-*"))) == 1
    assert rounds.JOURNAL_S + module.SYNC_S < 2


@settings(max_examples=25)
@given(st.data())
def test_a_journal_cut_at_any_byte_loses_the_torn_rows_and_nothing_is_repeated(data):
    with tempfile.TemporaryDirectory() as folder:
        whole, run_dir = Path(folder) / "whole", Path(folder) / "run"
        run_rounds(whole, PLAN, [12])
        opened = Store.open(run_dir, PLAN, {})
        points = opened.open_round(proposal(12, 0))
        sizes = []
        for rows in ([7, 3], [11], [0, 1, 2]):
            evaluate(opened, PLAN, points, rows)
            opened._rounds[0].write_journal()
            (path,) = (run_dir / "journal").glob("*.rows-*")
            sizes.append(path.stat().st_size)
        opened.close()
        cut = data.draw(st.integers(0, sizes[-1]), label="cut at byte")
        path.write_bytes(path.read_bytes()[:cut])
        known = [[], [7, 3], [7, 3, 11], [7, 3, 11, 0, 1, 2]][sum(size <= cut for size in sizes)]

        again = Store.open(run_dir, PLAN, {})
        assert again.view().point_id.tolist() == known
        (left,) = again.unfinished()
        assert left.point_id.tolist() == sorted(set(range(12)) - set(known))
        evaluate(again, PLAN, left, files=True)
        again.close()
        assert shards(run_dir) == shards(whole)


class Crashes(RuleBasedStateMachine):
    """A scan whose driver may be killed after any step: the files are copied, and another store goes on with those."""

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp())
        self.n_crashes = 0
        self.proposed, self.recorded, self.safe, self.abandoned = {}, set(), set(), set()
        self.store = Store.open(self.folder / "run-0", PLAN, {})

    @rule(n=st.integers(1, 6), seed=st.integers(0, 1000))
    def propose(self, n, seed):
        points = self.store.open_round(proposal(n, seed))
        assert not set(points.point_id.tolist()) & set(self.proposed)
        self.proposed |= dict(zip(points.point_id.tolist(), points.x, strict=True))

    @precondition(lambda self: self.store.unfinished())
    @rule(data=st.data())
    def outcomes(self, data):
        points = data.draw(st.sampled_from(self.store.unfinished()))
        rows = data.draw(st.sets(st.integers(0, len(points) - 1), min_size=1))
        evaluate(self.store, PLAN, points, sorted(rows), files=True)
        self.recorded |= set(points.point_id[sorted(rows)].tolist())
        self.safe |= self.recorded - self.in_memory_only()

    @rule()
    def flush(self):
        for r in self.store._rounds:
            r.write_journal()
        self.safe = set(self.recorded)

    @rule()
    def abandon(self):
        self.abandoned |= set(self.proposed) - self.recorded
        self.store.abandon_unfinished()
        self.safe = set(self.recorded)

    @rule(politely=st.booleans())
    def crash(self, politely):
        self.n_crashes += 1
        old, before = self.store, self.store.run_dir
        if politely:
            old.close()
            self.safe = set(self.recorded)
        after = copied(before, self.folder / f"run-{self.n_crashes}")
        self.store = Store.open(after, PLAN, {})
        if not politely:
            old.close()
        shutil.rmtree(before)
        self.recorded = self.check()
        assert self.safe <= self.recorded

    def in_memory_only(self):
        return {i for r in self.store._rounds for rows in r._waiting for i in r.points.point_id[rows].tolist()}

    def check(self):
        """Every proposed point is known, under way, or was abandoned: never two of these."""
        assert not self.store.reports
        known = self.store.view().point_id.tolist()
        left = [i for points in self.store.unfinished() for i in points.point_id.tolist()]
        assert sorted([*known, *left, *self.abandoned]) == sorted(self.proposed)
        assert set(known) <= self.recorded
        summary = self.store.summary()
        assert (summary.evaluations, summary.pending) == (len(known), len(left))
        return set(known)

    def teardown(self):
        if not hasattr(self, "store"):
            return
        self.check()
        for points in self.store.unfinished():
            evaluate(self.store, PLAN, points, files=True)
        self.store.close()
        if self.proposed:
            table = frame(self.store.run_dir)
            assert table.point_id.tolist() == sorted(set(self.proposed) - self.abandoned)
            for i, x, y, r in table[["point_id", "x", "y", "r"]].itertuples(index=False):
                assert (x, y) == tuple(self.proposed[i])
                assert np.isnan(r) or r == np.hypot(x - 0.5, y - 0.5)
            hits = set(table.point_id[good(table.status, table.nll)])
            kept = {int(name.partition("/")[0]) for path in (self.store.run_dir / "files").iterdir()
                    for name in zipfile.ZipFile(path).namelist()}
            assert hits <= kept
        shutil.rmtree(self.folder)


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=20, stateful_step_count=15)


def test_a_crash_between_shard_and_journal_costs_nothing(store, tmp_path):
    evaluate(store, PLAN, store.open_round(proposal(8, 1)))
    points = store.open_round(proposal(8, 2))
    evaluate(store, PLAN, points, range(5))
    store._rounds[0].write_journal()
    before = copied(store.run_dir, tmp_path / "crash")
    evaluate(store, PLAN, points, range(5, 8))
    shutil.copy(store.run_dir / "evaluations" / "iteration-00001.parquet", before / "evaluations")
    again = Store.open(before, PLAN, {})
    assert (again.summary().evaluations, again.unfinished(), again.next_iteration) == (16, [], 2)
    assert [p.name for p in (before / "journal").iterdir()] == ["iteration-00001.proposal.arrow"]
    again.close()


def test_a_round_of_which_all_is_in_the_journal_becomes_a_shard_at_the_next_start(store, tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "_close_round", lambda *_: None)
    evaluate(store, PLAN, store.open_round(proposal(8)))
    store._rounds[0].write_journal()
    crash = copied(store.run_dir, tmp_path / "crash")
    monkeypatch.undo()
    store.flush()
    Store.open(crash, PLAN, {}).close()
    assert shards(crash) == shards(store.run_dir) != {}


def test_times_are_kept_to_the_microsecond_through_a_crash(store, tmp_path, at_once):
    points = store.open_round(proposal(500))
    evaluate(store, PLAN, points, range(499))
    crash = copied(store.run_dir, tmp_path / "crash")
    for opened in (store, Store.open(crash, PLAN, {})):
        evaluate(opened, PLAN, points)
        opened.close()
    pd.testing.assert_series_equal(frame(crash).finished, frame(store.run_dir).finished)


def test_a_row_is_written_to_the_journal_once(store, at_once):
    points = store.open_round(proposal(10))
    for row in (4, 2, 7):
        evaluate(store, PLAN, points, [row])
    store.flush()
    assert [i for b in store._rounds[0].journal.rows() for i in b.column("point_id").to_pylist()] == [4, 2, 7]


# ---- kept files


def archive(run_dir, iteration=0):
    with zipfile.ZipFile(run_dir / "files" / f"iteration-{iteration:05d}.zip") as found:
        return {name: found.read(name) for name in found.namelist()}


def test_files_of_good_points_and_of_those_without_answer_are_kept(store):
    evaluate(store, PLAN, store.open_round(proposal(60)), files=True)
    table = frame(store.run_dir)
    wanted = table.point_id[good(table.status, table.nll) | (table.status != "ok")]
    assert archive(store.run_dir) == {f"{i:09d}/out.slha": f"point {i}".encode() for i in wanted}
    assert 0 < len(wanted) < 60


def test_files_of_all_points_are_kept_where_a_tool_wants_that(tmp_path):
    class All(type(PLAN)):
        def keeps_of_all(self, file):
            return file == "out.slha"

    plan = All(**{name: getattr(PLAN, name) for name in PLAN.__dataclass_fields__})
    run_rounds(tmp_path, plan, [20], files=True)
    assert len(archive(tmp_path)) == 20


def test_no_more_files_are_kept_than_a_run_may_hold(tmp_path, caplog):
    """The first archive goes over the limit, so it is the last one; a store that is opened again knows that."""
    class Little(type(PLAN)):
        max_kept_bytes = 100.0

        def keeps_of_all(self, file):
            return True

    plan = Little(**{name: getattr(PLAN, name) for name in PLAN.__dataclass_fields__})
    run_rounds(tmp_path, plan, [5, 5], files=True)
    run_rounds(tmp_path, plan, [5], files=True)
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["iteration-00000.zip"]
    assert len([r for r in caplog.records if "no more output files are kept" in r.message]) == 1


def test_a_single_round_holds_no_more_files_either(tmp_path, at_once):
    """30 points with 100 kB each, in parts; a driver that goes on with the round knows what is there."""
    class Little(type(PLAN)):
        max_kept_bytes = 1e6

        def keeps_of_all(self, file):
            return True

    plan = Little(**{name: getattr(PLAN, name) for name in PLAN.__dataclass_fields__})
    store = Store.open(tmp_path, plan, {})
    points = store.open_round(proposal(30))
    for first in (0, 7, 14):
        if first == 14:
            store.close()
            store = Store.open(tmp_path, plan, {})
        o = physics(points, range(first, first + 7))
        o = replace(o, files={i: {"out.slha": np.random.default_rng(i).bytes(100_000)} for i in o.point_id.tolist()})
        store.record(score(o, plan.likelihoods))
    store.abandon_unfinished()
    store.close()
    assert len(archive(tmp_path)) == 10
    assert sum(path.stat().st_size for path in (tmp_path / "files").iterdir()) < 1.1e6


def test_each_tool_keeps_the_files_that_it_wants(tmp_path):
    """One keeps all; the other one those of good points, and its files are not kept of poor ones because of the first."""
    tools = [TextCommand(name="a", command=["true"], keep_files="all"), TextCommand(name="a.b", command=["true"])]
    sources = [Observable(name=name, source=tool.address({"pattern": "(.)"}, name), likelihood=Gauss(mean=m, sigma=0.1))
               for name, tool, m in zip("rs", tools, (0.2, 1.0), strict=True)]
    plan = square(tools=tools, observables=sources, derived={})
    assert [plan.keeps_of_all(name) for name in ("a.out", "a.b.out", "a.log", "b.out")] == [True, False, True, False]
    store = Store.open(tmp_path, plan, {})
    o = physics(store.open_round(proposal(60)))
    o = replace(o, files={i: {"a.out": b"1", "a.b.out": b"2"} for i in o.point_id.tolist()})
    store.record(score(o, plan.likelihoods))
    store.close()
    table, names = frame(tmp_path), archive(tmp_path)
    poor = table.point_id[(table.status == "ok") & (table.nll >= 1)]
    assert 0 < len(poor) < 60 and len(names) == 2 * 60 - len(poor)
    assert not {f"{i:09d}/a.b.out" for i in poor} & names.keys()


def test_files_in_the_journal_leave_memory_and_survive_a_crash(store, tmp_path, at_once):
    points = store.open_round(proposal(30))
    evaluate(store, PLAN, points, range(0, 30, 2), files=True)
    assert not store._rounds[0]._waiting_files
    crash = copied(store.run_dir, tmp_path / "crash")
    evaluate(store, PLAN, points, range(1, 30, 2), files=True)
    again = Store.open(crash, PLAN, {})
    evaluate(again, PLAN, again.unfinished()[0], files=True)
    again.close()
    assert archive(crash) == archive(store.run_dir)


def test_files_without_a_row_are_no_ones(store, at_once):
    """The driver ended between writing the files of a point and its row; later the round was abandoned."""
    points = store.open_round(proposal(10))
    evaluate(store, PLAN, points, [4], files=True)
    kept = len(list(store._rounds[0].journal.files()))
    store._rounds[0].journal.append_files({5: {"out.slha": b"lost"}})
    store.abandon_unfinished()
    archives = list((store.run_dir / "files").iterdir())
    assert sum(len(zipfile.ZipFile(path).namelist()) for path in archives) == kept
    assert "000000005/out.slha" not in [name for path in archives for name in zipfile.ZipFile(path).namelist()]


def test_a_round_without_files_has_no_archive(store):
    evaluate(store, PLAN, store.open_round(proposal(5)))
    assert not list((store.run_dir / "files").iterdir())


# ---- changed likelihoods

TIGHTER = square(observables=[Observable(name="r", likelihood=Gauss(mean=0.3, sigma=0.05)),
                              Observable(name="s", likelihood=Gauss(mean=0.9, sigma=0.1), valid=(0.0, 2.0))])


def test_changed_likelihoods_score_shards_and_journal_again(tmp_path, at_once):
    for name, plan in (("old", PLAN), ("new", TIGHTER)):
        opened = Store.open(tmp_path / name, plan, {})
        evaluate(opened, plan, opened.open_round(proposal(40, 1)))
        evaluate(opened, plan, opened.open_round(proposal(40, 2)), range(25))
        opened.close()
    changed, never = Store.open(tmp_path / "old", TIGHTER, {}), Store.open(tmp_path / "new", TIGHTER, {})
    np.testing.assert_array_equal(changed.view().nll, never.view().nll)
    assert changed.summary().good == never.summary().good
    assert changed.summary().best_nll == never.summary().best_nll
    assert shards(tmp_path / "old") == shards(tmp_path / "new")
    # the journal too, for those who read while the scan goes on
    assert read_evaluations(tmp_path / "old").to_pandas().equals(read_evaluations(tmp_path / "new").to_pandas())
    changed.close()
    never.close()
    finish(tmp_path / "old", TIGHTER)
    finish(tmp_path / "new", TIGHTER)
    assert shards(tmp_path / "old") == shards(tmp_path / "new")


def test_the_same_likelihoods_leave_shards_as_they_are(tmp_path):
    run_rounds(tmp_path, PLAN, [20, 20])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "evaluations").iterdir()}
    finish(tmp_path, PLAN)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "evaluations").iterdir()} == before


def test_a_run_of_a_version_that_did_not_time_tools_goes_on_and_gets_the_columns(tmp_path, at_once):
    plan, times = two_tools(), ["seconds_model", "seconds_more.1"]
    untimed = type("Untimed", (type(plan),), {"timed_tools": ()})
    old = untimed(**{name: getattr(plan, name) for name in plan.__dataclass_fields__})
    opened = Store.open(tmp_path, old, {})
    evaluate(opened, old, opened.open_round(proposal(30, 1)))
    evaluate(opened, old, opened.open_round(proposal(30, 2)), range(20))
    opened.close()
    before = read_evaluations(tmp_path).to_pandas()
    assert not set(times) & set(before.columns) and len(before) == 50

    finish(tmp_path, plan)

    after = frame(tmp_path)
    assert len(after) == 60 and not (tmp_path / "damaged").exists()
    pd.testing.assert_frame_equal(after[:50][list(before.columns)], before)
    assert after[times].isna().all(axis=None)


def test_an_export_reads_tables_with_and_without_the_seconds_of_tools(tmp_path):
    """As they lie side by side while a run of an older version is being resumed."""
    plan = two_tools()
    run_rounds(tmp_path, plan, [10, 10, 10])
    for k in (0, 2):
        path = tmp_path / "evaluations" / f"iteration-{k:05d}.parquet"
        pq.write_table(pq.read_table(path).drop_columns(["seconds_model", "seconds_more.1"]), path)
    assert read_evaluations(tmp_path).num_rows == 30
    assert read_evaluations(tmp_path).column_names[-2:] == ["seconds_model", "seconds_more.1"]


def test_a_changed_threshold_counts_again(tmp_path):
    run_rounds(tmp_path, PLAN, [60])
    table = frame(tmp_path)
    for threshold in (0.1, 5.0):
        opened = Store.open(tmp_path, square(stop=Stop(threshold_value=threshold)), {})
        assert opened.summary().good == ((table.status == "ok") & (table.nll < threshold)).sum()
        opened.close()


def test_parameters_in_another_order_are_the_same_scan(tmp_path, at_once):
    opened = Store.open(tmp_path, PLAN, {})
    evaluate(opened, PLAN, opened.open_round(proposal(10, 1)))
    points = opened.open_round(proposal(10, 2))
    evaluate(opened, PLAN, points, range(4))
    opened.close()
    turned = square(parameters=PLAN.parameters[::-1])
    assert turned.fingerprint == PLAN.fingerprint
    again = Store.open(tmp_path, turned, {})
    assert not again.reports
    np.testing.assert_array_equal(again.view().x[:10], proposal(10, 1).x[:, ::-1])
    np.testing.assert_array_equal(again.unfinished()[0].x, points.x[4:, ::-1])
    again.close()
    np.testing.assert_array_equal(read_evaluations(tmp_path).to_pandas()[["x", "y"]][:10], proposal(10, 1).x)


# ---- damage


@pytest.mark.parametrize("victim", [0, 1])
def test_a_truncated_shard_is_moved_aside_and_its_numbers_are_not_used_again(tmp_path, victim):
    run_rounds(tmp_path, PLAN, [10, 10, 10])
    path = tmp_path / "evaluations" / f"iteration-0000{victim}.parquet"
    path.write_bytes(path.read_bytes()[:500])
    opened = Store.open(tmp_path, PLAN, {})
    (report,) = opened.reports
    assert f"evaluations/{path.name}: damaged" in report
    assert f"moved to damaged/{path.name}" in report
    assert (tmp_path / "damaged" / path.name).stat().st_size == 500
    assert opened.summary().evaluations == 20
    points = opened.open_round(proposal(5, 9))
    assert (points.iteration, points.point_id[0]) == (3, 30)
    evaluate(opened, PLAN, points)
    opened.close()
    assert len(frame(tmp_path)) == 25


def test_the_points_of_the_newest_shard_are_evaluated_again_if_it_is_damaged(tmp_path):
    """Its proposal is still in the journal; a disk that loses power loses what was written last."""
    run_rounds(tmp_path, PLAN, [10, 10])
    before = shards(tmp_path)
    path = tmp_path / "evaluations" / "iteration-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    opened = finish(tmp_path, PLAN)
    assert len(opened.reports) == 1
    assert shards(tmp_path) == before


def test_the_ids_of_a_lost_newest_round_are_known_from_its_proposal(tmp_path):
    run_rounds(tmp_path, PLAN, [10, 10])
    opened = Store.open(tmp_path, PLAN, {})
    opened.open_round(proposal(4, 2))
    opened.abandon_unfinished()
    opened.close()
    again = Store.open(tmp_path, PLAN, {})
    points = again.open_round(proposal(2, 3))
    assert (points.iteration, points.point_id.tolist()) == (3, [24, 25])
    again.close()


def test_a_shard_that_is_damaged_before_its_journal_was_cleared_is_made_again(store, tmp_path, at_once):
    points = store.open_round(proposal(10))
    evaluate(store, PLAN, points, range(6))
    crash = copied(store.run_dir, tmp_path / "crash")
    (crash / "evaluations" / "iteration-00000.parquet").write_bytes(b"PAR1 half a shard")
    again = Store.open(crash, PLAN, {})
    assert (again.summary().evaluations, len(again.reports)) == (6, 1)
    assert again.unfinished()[0].point_id.tolist() == [6, 7, 8, 9]
    again.close()


def test_foreign_files_among_the_shards_are_moved_aside(tmp_path):
    run_rounds(tmp_path / "run", PLAN, [10])
    other = square(seed=5)
    run_rounds(tmp_path / "other", other, [10, 10, 10])
    evaluations = tmp_path / "run" / "evaluations"
    shutil.copy(tmp_path / "other" / "evaluations" / "iteration-00002.parquet", evaluations)
    shutil.copy(evaluations / "iteration-00000.parquet", evaluations / "iteration-00005.parquet")
    shutil.copy(evaluations / "iteration-00000.parquet", evaluations / "iteration-00000 (copy).parquet")
    (evaluations / "iteration-00007.parquet").mkdir()
    (evaluations / "notes.txt").write_text("do not forget")
    (evaluations / ".DS_Store").write_text("a laptop was here")
    opened = Store.open(tmp_path / "run", PLAN, {})
    assert sorted(report.partition(";")[0] for report in opened.reports) == [
        "evaluations/iteration-00000 (copy).parquet: not the name of a shard",
        "evaluations/iteration-00002.parquet: it belongs to another scan",
        "evaluations/iteration-00005.parquet: its rows are those of another iteration",
        "evaluations/iteration-00007.parquet: not a file",
        "evaluations/notes.txt: not the name of a shard"]
    assert sorted(path.name for path in evaluations.iterdir()) == [".DS_Store", "iteration-00000.parquet"]
    assert opened.next_iteration == 8
    opened.close()
    again = Store.open(tmp_path / "run", PLAN, {})
    assert (again.reports, again.next_iteration, again.summary().evaluations) == ([], 8, 10)
    again.close()


def test_two_files_of_one_name_are_both_kept(tmp_path):
    run_rounds(tmp_path, PLAN, [10])
    for n in range(3):
        (tmp_path / "evaluations" / "notes.txt").write_text(str(n))
        finish(tmp_path, PLAN)
    assert sorted(path.read_text() for path in (tmp_path / "damaged").rglob("notes.txt")) == ["0", "1", "2"]


def test_points_that_another_shard_holds_do_not_count_twice(tmp_path):
    """A shard of the same scan from another of its lives, such as the one that --fresh moved aside."""
    run_rounds(tmp_path / "one", PLAN, [10, 10])
    run_rounds(tmp_path / "two", PLAN, [15, 10])
    path = tmp_path / "two" / "evaluations" / "iteration-00001.parquet"
    shutil.copy(path, tmp_path / "one" / "evaluations")
    assert frame(tmp_path / "two").point_id[15:].tolist() == list(range(15, 25))
    shutil.copy(tmp_path / "two" / "evaluations" / "iteration-00000.parquet", tmp_path / "one" / "evaluations")
    opened = Store.open(tmp_path / "one", PLAN, {})
    assert opened.view().point_id.tolist() == list(range(25))
    opened.close()
    run_rounds(tmp_path / "three", PLAN, [10, 10])
    shutil.copy(tmp_path / "two" / "evaluations" / "iteration-00000.parquet", tmp_path / "three" / "evaluations")
    opened = Store.open(tmp_path / "three", PLAN, {})
    assert opened.reports[0].startswith("evaluations/iteration-00001.parquet: it holds points that another shard holds")
    ids = opened.view().point_id.tolist()
    assert len(ids) == len(set(ids))
    opened.close()


def test_what_finished_is_kept_when_a_proposal_is_damaged(tmp_path, at_once):
    opened = Store.open(tmp_path, PLAN, {})
    points = opened.open_round(proposal(10))
    evaluate(opened, PLAN, points, [2, 5, 3])
    opened.close()
    (tmp_path / "journal" / "iteration-00000.proposal.arrow").write_bytes(b"ARROW1")
    again = Store.open(tmp_path, PLAN, {})
    assert "journal/iteration-00000.proposal.arrow: damaged" in again.reports[0]
    assert (again.unfinished(), again.summary().evaluations, again.next_iteration) == ([], 3, 1)
    again.close()
    np.testing.assert_array_equal(frame(tmp_path)[["x", "y"]], points.x[[2, 3, 5]])


def test_journal_rows_of_another_scan_are_left_out(tmp_path, at_once):
    for name, plan in (("run", PLAN), ("other", square(seed=5))):
        opened = Store.open(tmp_path / name, plan, {})
        evaluate(opened, plan, opened.open_round(proposal(10)), range(5))
        opened.close()
    shutil.copy(tmp_path / "other/journal/iteration-00000.rows-000.arrows", tmp_path / "run/journal")
    again = Store.open(tmp_path / "run", PLAN, {})
    assert "rows left out: it belongs to another scan" in again.reports[0]
    assert again.summary().evaluations == 0
    assert len(again.unfinished()[0]) == 10
    again.close()


# ---- a disk that does not take more


@pytest.fixture
def full_disk():
    """Call it: from then on no file may grow beyond so many bytes; call the result: there is room again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(n_bytes=0):
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    yield fill
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_proposal_that_cannot_be_committed_gets_no_numbers(store, full_disk):
    evaluate(store, PLAN, store.open_round(proposal(4, 1)))
    make_room = full_disk()
    with pytest.raises(StorageError, match="while committing a proposal .* What was committed before is safe"):
        store.open_round(proposal(4, 2))
    make_room()
    assert (store.next_iteration, store.summary().pending) == (1, 0)
    assert store.open_round(proposal(4, 2)).point_id.tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("files", [True, False])
def test_a_shard_that_cannot_be_written_is_written_later(store, full_disk, tmp_path, files):
    points = store.open_round(proposal(8))
    evaluate(store, PLAN, points, range(5), files=files)
    store._rounds[0].write_journal()
    make_room = full_disk()
    with pytest.raises(StorageError, match="while writing a shard"):
        evaluate(store, PLAN, points, files=files)
    with pytest.raises(StorageError):
        store.flush()
    assert not list((store.run_dir / "evaluations").iterdir())
    assert not list(store.run_dir.rglob("*.tmp"))
    make_room()
    again = Store.open(copied(store.run_dir, tmp_path / "crash"), PLAN, {})
    assert again.view().point_id.tolist() == [0, 1, 2, 3, 4]
    again.close()
    store.flush()
    assert len(frame(store.run_dir)) == 8
    assert store.summary().evaluations == 8


def test_a_journal_that_cannot_be_written_keeps_rows_waiting(store, full_disk, tmp_path, at_once):
    points = store.open_round(proposal(100))
    evaluate(store, PLAN, points, range(10))
    (path,) = (store.run_dir / "journal").glob("*.rows-*")
    make_room = full_disk(path.stat().st_size + 50)
    with pytest.raises(StorageError, match="while writing the journal"):
        evaluate(store, PLAN, points, range(10, 20))
    make_room()
    store.flush()
    again = Store.open(copied(store.run_dir, tmp_path / "crash"), PLAN, {})
    assert again.view().point_id.tolist() == list(range(20))
    again.close()


def test_closing_says_what_nobody_said_before(tmp_path, full_disk):
    for told in (False, True):
        opened = Store.open(tmp_path / str(told), PLAN, {})
        points = opened.open_round(proposal(10))
        evaluate(opened, PLAN, points, range(5))
        make_room = full_disk()
        if told:
            with pytest.raises(StorageError):
                opened.open_round(proposal(4, 2))
            opened.close()
        else:
            with pytest.raises(StorageError, match="while closing"):
                opened.close()
        make_room()
        assert not (tmp_path / str(told) / "driver.json").exists()
        assert finish(tmp_path / str(told), PLAN).summary().evaluations == 10


def test_a_disk_that_is_full_at_the_start_is_a_run_directory_that_cannot_be_used(tmp_path, full_disk):
    make_room = full_disk()
    with pytest.raises(RunDirectoryError, match="File too large"):
        Store.open(tmp_path / "run", PLAN, {"config.toml": "a = 1"})
    make_room()
    Store.open(tmp_path / "run", PLAN, {"config.toml": "a = 1"}).close()


# ---- seeds


def seed_rows(n=6):
    x = proposal(n, 99).x
    return x, np.column_stack([np.hypot(*(x - 0.5).T), x.sum(axis=1)]), np.full(n, np.nan), np.zeros(n, np.int8)


def test_seeds_come_first_and_are_not_counted(tmp_path):
    opened = Store.open(tmp_path, PLAN, {})
    opened.add_seeds(*seed_rows())
    assert opened.summary().evaluations == opened.summary().good == 0
    assert (opened.next_iteration, opened.view().n_proposed, len(opened.view().x)) == (0, 0, 6)
    points = opened.open_round(proposal(4))
    assert (points.iteration, points.point_id[0], opened.view().n_proposed) == (0, 6, 4)
    evaluate(opened, PLAN, points)
    opened.close()
    table = frame(tmp_path)
    assert table.origin.tolist() == ["csv"] * 6 + ["random"] * 4
    assert table.iteration.tolist() == [0] * 10
    assert table.attempts.tolist() == [0] * 6 + [1] * 4
    assert (table.seconds[:6] == 0).all()
    again = Store.open(tmp_path, PLAN, {})
    again.add_seeds(*seed_rows())  # they are there already
    assert (again.summary().evaluations, len(again.view().x), again.view().n_proposed) == (4, 10, 4)
    again.close()


def test_seeds_of_which_only_the_nll_is_known_keep_it(tmp_path):
    x, observables, nll, status = seed_rows(4)
    observables[:2] = np.nan
    nll[:2] = [0.5, 7.0]
    opened = Store.open(tmp_path, PLAN, {})
    opened.add_seeds(x, observables, nll, status)
    opened.close()
    again = Store.open(tmp_path, TIGHTER, {})  # scored again where that is possible
    assert again.view().nll[:2].tolist() == [0.5, 7.0]
    table = frame(tmp_path)
    assert np.isnan(table.loss_r[:2]).all()
    np.testing.assert_allclose(table.nll[2:], table.loss_r[2:] + table.loss_s[2:])
    again.close()


def test_no_seeds_are_no_shard(store):
    store.add_seeds(*(column[:0] for column in seed_rows()))
    assert not list((store.run_dir / "evaluations").iterdir())


# ---- the folder


def test_a_second_store_on_one_folder_is_refused(store):
    with pytest.raises(RunDirectoryError, match="a driver works in it"):
        Store.open(store.run_dir, PLAN, {})


def test_a_store_that_cannot_be_opened_lets_the_folder_go(tmp_path, monkeypatch):
    run_rounds(tmp_path, PLAN, [5])

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "load", broken)
    with pytest.raises(RunDirectoryError, match="Input/output error while reading what is there"):
        Store.open(tmp_path, PLAN, {})
    monkeypatch.undo()
    assert finish(tmp_path, PLAN).summary().evaluations == 5


def test_fresh_starts_over_and_keeps_the_old_results(tmp_path):
    run_rounds(tmp_path / "run", PLAN, [5])
    opened = Store.open(tmp_path / "run", PLAN, {}, fresh=True)
    assert (opened.summary().evaluations, opened.next_iteration) == (0, 0)
    opened.close()
    (old,) = tmp_path.glob("run.old-*")
    assert len(frame(old)) == 5


def test_room_is_needed_to_start(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir, "FLOOR_BYTES", 10**18)
    with pytest.raises(RunDirectoryError, match="MB are free"):
        Store.open(tmp_path / "run", PLAN, {})
