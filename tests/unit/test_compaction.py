"""Compaction: fewer files, the same rows, whatever happens in between."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydnnr import Gauss, Observable, compaction
from raydnnr import store as store_module
from raydnnr.compaction import Compaction, Shard, merge
from raydnnr.export import read_evaluations
from raydnnr.shards import Span, read_shard, span_of
from raydnnr.store import Store
from raydnnr.table import Layout
from tests.unit.plans import square
from tests.unit.runs import copied, evaluate, finish, frame, proposal, run_rounds, shards

PLAN = square()
SCHEMA = Layout(PLAN).schema
N_ROUNDS, N_POINTS = 30, 7


@pytest.fixture
def four_at_a_time(monkeypatch):
    """Four shards become one; the store looks at every turn of the loop."""
    monkeypatch.setattr(compaction, "FAN_IN", 4)
    monkeypatch.setattr(store_module, "SYNC_S", -1.0)


@pytest.fixture(scope="module")
def thirty_rounds(tmp_path_factory):
    """A scan that nothing was merged of."""
    run_dir = tmp_path_factory.mktemp("thirty") / "run"
    run_rounds(run_dir, PLAN, [N_POINTS] * N_ROUNDS)
    return run_dir


@pytest.fixture
def run_dir(thirty_rounds, tmp_path):
    """Shards of thirty rounds."""
    return copied(thirty_rounds, tmp_path / "run")


def settled(store: Store) -> None:
    """Turn the loop until nothing is left to merge."""
    while True:
        store.flush()
        if store._compaction._work is None:
            return
        time.sleep(0.002)


def compacted(run_dir: Path, plan=PLAN) -> list[str]:
    """Open, merge all, close; the names of the shards."""
    store = Store.open(run_dir, plan, {})
    settled(store)
    store.close()
    assert not store.reports
    return list(shards(run_dir))


def group(n: int, first: int = 0) -> list[Shard]:
    return [Shard(Span(k, k), N_POINTS) for k in range(first, first + n)]


# ---- what becomes of the table


def test_small_shards_become_large_ones_with_the_same_rows(run_dir, four_at_a_time):
    before = frame(run_dir)
    names = compacted(run_dir)
    assert names == ["iteration-00000-00015.parquet", "iteration-00016-00019.parquet", "iteration-00020-00023.parquet",
                     "iteration-00024-00027.parquet", "iteration-00028.parquet", "iteration-00029.parquet"]
    pd.testing.assert_frame_equal(frame(run_dir), before)
    pd.testing.assert_frame_equal(read_evaluations(run_dir).to_pandas(), before)


def test_a_scan_goes_on_over_merged_shards(run_dir, four_at_a_time):
    compacted(run_dir)
    store = Store.open(run_dir, PLAN, {})
    assert (store.next_iteration, store.summary().evaluations) == (N_ROUNDS, N_ROUNDS * N_POINTS)
    assert store.view().iteration.tolist() == np.repeat(np.arange(N_ROUNDS), N_POINTS).tolist()
    evaluate(store, PLAN, store.open_round(proposal(N_POINTS)))
    settled(store)
    store.close()
    table = frame(run_dir)
    assert table.point_id.tolist() == list(range((N_ROUNDS + 1) * N_POINTS))
    assert table.iteration.tolist() == np.repeat(np.arange(N_ROUNDS + 1), N_POINTS).tolist()


def test_scans_of_a_hundred_rounds_keep_a_shard_for_each():
    def due(n):
        planner = Compaction(Path(), SCHEMA, group(n))
        planner.close()
        return planner._due(None)

    assert due(127) == []
    assert due(128) == group(128)


def test_merging_goes_on_beside_the_scan(four_at_a_time, tmp_path):
    store = Store.open(tmp_path / "run", PLAN, {})
    for seed in range(9):
        evaluate(store, PLAN, store.open_round(proposal(N_POINTS, seed)))
        settled(store)
    store.close()
    assert list(shards(tmp_path / "run")) == [
        "iteration-00000-00003.parquet", "iteration-00004-00007.parquet", "iteration-00008.parquet"]


def test_new_likelihoods_score_merged_rows(run_dir, four_at_a_time, thirty_rounds, tmp_path):
    unmerged = copied(run_dir, tmp_path / "unmerged")
    compacted(run_dir)
    other = square(observables=[Observable(name="r", likelihood=Gauss(mean=0.5, sigma=0.5)),
                                Observable(name="s", likelihood=Gauss(mean=0.5, sigma=0.2), valid=(0.0, 2.0))])
    for folder in (run_dir, unmerged):
        Store.open(folder, other, {}).close()
    pd.testing.assert_frame_equal(frame(run_dir), frame(unmerged))
    assert frame(run_dir).nll.tolist() != frame(thirty_rounds).nll.tolist()


def test_nothing_is_merged_past_a_round_that_is_open(four_at_a_time, tmp_path):
    store = Store.open(tmp_path / "run", PLAN, {})
    evaluate(store, PLAN, store.open_round(proposal(3, 0)))
    late = store.open_round(proposal(3, 1))
    for seed in range(2, 12):
        evaluate(store, PLAN, store.open_round(proposal(3, seed)))
    settled(store)
    assert len(shards(store.run_dir)) == 11
    evaluate(store, PLAN, late)
    settled(store)
    store.close()
    assert list(shards(store.run_dir)) == [f"iteration-{k:05d}-{k + 3:05d}.parquet" for k in (0, 4, 8)]


def test_a_seed_table_stays_by_itself(four_at_a_time, tmp_path):
    store = Store.open(tmp_path / "run", PLAN, {})
    store.add_seeds(np.random.default_rng(0).random((5, 2)), np.full((5, 2), np.nan), np.ones(5), np.zeros(5, np.int8))
    for seed in range(3):
        evaluate(store, PLAN, store.open_round(proposal(3, seed)))
    store.close()
    names = list(shards(store.run_dir))
    assert compacted(store.run_dir) == names and "iteration-00000-csv.parquet" in names
    store = Store.open(store.run_dir, PLAN, {})
    evaluate(store, PLAN, store.open_round(proposal(3, 3)))
    settled(store)
    store.close()
    assert list(shards(store.run_dir)) == ["iteration-00000-00003.parquet", "iteration-00000-csv.parquet"]
    again = Store.open(store.run_dir, PLAN, {})
    assert (again.summary().evaluations, len(again.view().x), again.view().n_proposed) == (12, 17, 12)
    again.close()


@given(st.lists(st.integers(0, 400_000), max_size=400), st.integers(2, 16), st.integers(0, 400))
@settings(deadline=None)
def test_whatever_the_rounds_are_like_few_small_neighbours_are_left(sizes, fan_in, first_open):
    """As many files as rows demand, and no more than ``fan_in`` of a tier; open rounds are not touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "FAN_IN", fan_in)
        all_of_it = [Shard(Span(k, k), n) for k, n in enumerate(sizes)]
        planner = Compaction(Path(), SCHEMA, all_of_it)
        while due := planner._due(first_open):
            assert due[-1].span.last < first_open
            assert len(due) > 1 and len({shard.tier for shard in due}) == 1
            planner._shards = sorted([*(s for s in planner._shards if s not in due),
                                      Shard(Span(due[0].span.first, due[-1].span.last), sum(s.n_rows for s in due))])
        planner.close()
    assert sum(s.n_rows for s in planner._shards) == sum(sizes)
    assert [k for s in planner._shards for k in range(s.span.first, s.span.last + 1)] == list(range(len(sizes)))
    small = 0
    for shard in planner._shards:
        small = small + 1 if shard.n_rows < compaction.LARGE_ROWS and shard.span.last < first_open else 0
        assert small < 3 * fan_in


# ---- crashes and damage


class Killed(BaseException):
    """SIGKILL, as far as the disk is concerned."""


@pytest.mark.parametrize("step", range(7))
def test_a_crash_at_any_step_loses_nothing_and_leaves_nothing_twice(run_dir, monkeypatch, tmp_path, step):
    """Steps: writing, renaming, the removal of each of four files, the end."""
    before, steps = frame(run_dir), [0]

    def killing(operation):
        def counted(*words, **settings):
            steps[0] += 1
            if steps[0] > step:
                raise Killed
            return operation(*words, **settings)
        return counted

    with monkeypatch.context() as patch, pytest.raises(Killed):
        for module, name in ((compaction, "write_shard"), (compaction, "sync_folder"), (Path, "unlink")):
            patch.setattr(module, name, killing(getattr(module, name)))
        merge(run_dir / "evaluations", group(4), SCHEMA)
        raise Killed
    crash = copied(run_dir, tmp_path / "crash")
    pd.testing.assert_frame_equal(read_evaluations(crash).to_pandas(), before)

    store = finish(crash, PLAN)
    assert not store.reports
    assert store.summary().evaluations == N_ROUNDS * N_POINTS
    pd.testing.assert_frame_equal(frame(crash), before)
    assert len(shards(crash)) == (N_ROUNDS if step == 0 else N_ROUNDS - 3)


def test_a_damaged_shard_is_not_merged_away(run_dir, four_at_a_time):
    path = run_dir / "evaluations" / "iteration-00002.parquet"
    store = Store.open(run_dir, PLAN, {})
    whole, path_bytes = frame(run_dir), path.read_bytes()
    path.write_bytes(path_bytes[:-40])
    settled(store)
    store.close()
    assert path.read_bytes() == path_bytes[:-40]
    path.write_bytes(path_bytes)
    pd.testing.assert_frame_equal(frame(run_dir), whole)


def test_a_shard_that_is_put_back_among_merged_ones_counts(run_dir, four_at_a_time):
    whole, path = frame(run_dir), run_dir / "evaluations" / "iteration-00002.parquet"
    kept = path.rename(run_dir / "kept")
    assert "iteration-00000-00016.parquet" in compacted(run_dir)
    kept.rename(path)
    compacted(run_dir)
    assert path.exists()
    store = Store.open(run_dir, PLAN, {})
    assert store.summary().evaluations == N_ROUNDS * N_POINTS
    store.close()
    pd.testing.assert_frame_equal(frame(run_dir), whole)


def test_a_merged_shard_that_is_damaged_is_reported_and_its_ids_are_not_used_again(run_dir, four_at_a_time):
    compacted(run_dir)
    path = run_dir / "evaluations" / "iteration-00016-00019.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    store = Store.open(run_dir, PLAN, {})
    assert len(store.reports) == 1 and "damaged" in store.reports[0]
    assert store.summary().evaluations == (N_ROUNDS - 4) * N_POINTS
    points = store.open_round(proposal(3))
    assert (points.iteration, points.point_id[0]) == (N_ROUNDS, N_ROUNDS * N_POINTS)
    store.close()


def test_without_room_shards_stay_as_they_are(run_dir, monkeypatch):
    monkeypatch.setattr(compaction, "ROOM", 1 << 60)
    before = shards(run_dir)
    assert merge(run_dir / "evaluations", group(4), SCHEMA) is None
    assert shards(run_dir) == before


def test_a_scan_that_ends_waits_for_one_file_at_most(run_dir, four_at_a_time, monkeypatch):
    """Not for all that is being merged: what has only been read stays as it is."""
    before, read, may_go_on = shards(run_dir), [], threading.Event()

    def slow(path, schema):
        read.append(path.name)
        assert may_go_on.wait(60)
        return read_shard(path, schema)

    store = Store.open(run_dir, PLAN, {})
    monkeypatch.setattr(compaction, "read_shard", slow)
    store.flush()
    while not read:
        time.sleep(0.002)
    threading.Timer(0.1, may_go_on.set).start()
    store.close()
    assert read == ["iteration-00000.parquet"] and shards(run_dir) == before


def test_our_own_reader_never_sees_a_row_twice_while_shards_are_merged(run_dir, four_at_a_time):
    seen, wrong, over = [0], [], threading.Event()

    def look():
        while not over.is_set():
            ids = read_evaluations(run_dir)["point_id"].to_numpy()
            seen[0] += 1
            if ids.tolist() != list(range(N_ROUNDS * N_POINTS)):
                wrong.append(ids)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        names = compacted(run_dir)
    finally:
        over.set()
        reader.join()
    assert not wrong
    assert seen[0] and len(names) == 6
    assert all(span_of(Path(name)) for name in names)
