"""Exports: what other programs read, from a run that is finished or not."""

from __future__ import annotations

import os
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest

from raydnnr import Gauss, Observable, Parameter
from raydnnr import export as module
from raydnnr.errors import ConfigError, RunDirectoryError
from raydnnr.export import export, good, read_evaluations
from raydnnr.store import Store
from tests.unit.plans import square
from tests.unit.runs import copied, evaluate, frame, proposal, run_rounds

PLAN = square(parameters=[Parameter.of("x", low=0, high=1, latex="x_0", unit="GeV"),
                          Parameter.of("y", prior="normal", mean=0.5, sigma=0.5), Parameter.of("k", value=2)],
              observables=[Observable(name="r", likelihood=Gauss(mean=0.2, sigma=0.1), latex="r"),
                           Observable(name="s", likelihood=Gauss(mean=1.0, sigma=0.1), valid=(0.0, 2.0))])


@pytest.fixture
def run_dir(tmp_path):
    """Two rounds in shards."""
    run_rounds(tmp_path / "run", PLAN, [30, 30], files=True)
    return tmp_path / "run"


@pytest.fixture
def under_way(tmp_path):
    """One round in a shard, one half in the journal; its driver lives."""
    opened = Store.open(tmp_path / "open", PLAN, {})
    evaluate(opened, PLAN, opened.open_round(proposal(30, 0)), files=True)
    evaluate(opened, PLAN, opened.open_round(proposal(30, 1)), range(17, 2, -1), files=True)
    opened._rounds[0].write_journal()
    yield opened
    opened.close()


def hits(table):
    return table[(table.status == "ok") & (table.nll < 1.0)].reset_index(drop=True)


def test_shards_and_journal_are_one_table_by_point_id(run_dir, under_way):
    whole = read_evaluations(run_dir).to_pandas()
    pd.testing.assert_frame_equal(whole, frame(run_dir))
    part = read_evaluations(under_way.run_dir).to_pandas()
    assert part.point_id.tolist() == [*range(30), *range(33, 48)]
    pd.testing.assert_frame_equal(part, whole.iloc[part.point_id].reset_index(drop=True))


def test_a_round_in_its_shard_and_still_in_the_journal_counts_once(under_way, tmp_path):
    journal = copied(under_way.run_dir / "journal", tmp_path / "journal")
    evaluate(under_way, PLAN, under_way.unfinished()[0], files=True)
    crash = copied(under_way.run_dir, tmp_path / "crash")
    shutil.rmtree(crash / "journal")
    shutil.move(journal, crash / "journal")
    assert read_evaluations(crash)["point_id"].to_pylist() == list(range(60))


def test_files_that_vanish_while_they_are_read_are_looked_for_again(run_dir, under_way, monkeypatch):
    """The driver closes the round between our look at its journal and at the shards, then moves a shard."""
    shards, calls = module._shards, []

    def slowly(folder):
        calls.append(folder)
        if len(calls) == 1:
            evaluate(under_way, PLAN, under_way.unfinished()[0])
            raise FileNotFoundError("a shard was moved")
        return shards(folder)

    monkeypatch.setattr(module, "_shards", slowly)
    assert read_evaluations(under_way.run_dir)["point_id"].to_pylist() == list(range(60))
    assert len(calls) == 2


def test_a_journal_that_is_cleared_while_it_is_read_is_in_its_shard(under_way, monkeypatch):
    read = module.read_stream

    def too_late(path):
        monkeypatch.setattr(module, "read_stream", read)
        evaluate(under_way, PLAN, under_way.unfinished()[0])
        return read(path)

    monkeypatch.setattr(module, "read_stream", too_late)
    monkeypatch.setattr(module, "READ_TRIES", 1)
    assert read_evaluations(under_way.run_dir)["point_id"].to_pylist() == list(range(60))


def test_files_that_never_stay_are_an_error_in_the_end(run_dir, monkeypatch):
    def never(folder):
        raise FileNotFoundError("gone")

    monkeypatch.setattr(module, "_shards", never)
    with pytest.raises(RunDirectoryError, match="cannot be read: gone"):
        read_evaluations(run_dir)


def test_damaged_and_foreign_shards_are_left_out(run_dir, tmp_path):
    run_rounds(tmp_path / "other", square(seed=9), [10])
    shutil.copy(tmp_path / "other/evaluations/iteration-00000.parquet", run_dir / "evaluations/iteration-00007.parquet")
    (run_dir / "evaluations/iteration-00000.parquet").write_bytes(b"PAR1")
    assert read_evaluations(run_dir)["point_id"].to_pylist() == list(range(30, 60))


def test_nothing_to_read_is_said_so(tmp_path):
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        read_evaluations(tmp_path)
    Store.open(tmp_path / "run", PLAN, {}).close()
    with pytest.raises(RunDirectoryError, match="no evaluation is finished yet"):
        read_evaluations(tmp_path / "run")


@pytest.mark.parametrize("name", ["all.csv", "all.parquet"])
@pytest.mark.parametrize("good_only", [False, True])
def test_tables_come_back(run_dir, tmp_path, name, good_only):
    done = export(run_dir, tmp_path / "out" / name, good_only)
    path = tmp_path / "out" / name
    back = pd.read_csv(path) if name.endswith("csv") else pd.read_parquet(path)
    table = frame(run_dir)
    table = hits(table) if good_only else table
    assert (done.n_points, done.destination, done.note) == (len(table), path, "")
    assert len(table)
    assert list(back) == list(table)
    for column in ("point_id", "x", "y", "r", "nll", "origin", "status"):
        pd.testing.assert_series_equal(back[column], table[column], check_dtype=False)
    assert [p.name for p in path.parent.iterdir()] == [name]
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_good_means_ok_and_below_the_threshold_of_the_run(run_dir, tmp_path):
    table = read_evaluations(run_dir)
    assert good(table, 1.0).to_pandas().equals(hits(frame(run_dir)))
    stop = type(PLAN.stop)(threshold_value=5.0)
    looser = square(parameters=PLAN.parameters, observables=PLAN.observables, stop=stop)
    Store.open(run_dir, looser, {}).close()
    done = export(run_dir, tmp_path / "good.csv", good_only=True)
    assert done.n_points == ((frame(run_dir).status == "ok") & (frame(run_dir).nll < 5.0)).sum()


@pytest.mark.parametrize("format", ["getdist", ""])
def test_getdist_chains(run_dir, tmp_path, format):
    done = export(run_dir, tmp_path / ("chain" if format else "chain.getdist"), format=format)
    table = hits(frame(run_dir))
    chain = np.loadtxt(tmp_path / "chain.txt")
    assert done.n_points == len(table) == len(chain)
    assert (chain[:, 0] == 1).all()
    np.testing.assert_allclose(chain[:, 1:], table[["nll", "x", "y", "k", "x2", "r", "s"]], rtol=1e-9)
    assert (tmp_path / "chain.paramnames").read_text().splitlines() == [
        "x\tx_0", "y\ty", "k\tk", "x2*\tx2", "r*\tr", "s*\ts"]
    assert (tmp_path / "chain.ranges").read_text().splitlines() == ["x 0 1", "y N N", "k 2 2"]
    assert "not a posterior sample" in done.note


def test_slha_files_of_the_good_points(run_dir, under_way, tmp_path):
    for folder in (run_dir, under_way.run_dir):
        done = export(folder, tmp_path / folder.name / "slha", format="slha")
        wanted = hits(read_evaluations(folder).to_pandas()).point_id
        written = {path.name: path.read_text() for path in (tmp_path / folder.name / "slha").iterdir()}
        assert written == {f"{i:09d}-out.slha": f"point {i}" for i in wanted}
        assert (done.n_points, done.note) == (len(wanted), "")
        assert len(wanted)


def test_good_points_without_files_are_counted(run_dir, tmp_path):
    (run_dir / "files/iteration-00000.zip").unlink()
    (run_dir / "files/iteration-00002.zip").write_bytes(b"no archive")
    done = export(run_dir, tmp_path / "slha", format="slha")
    table = hits(frame(run_dir))
    missing = (table.iteration == 0).sum()
    assert done.n_points == len(table) - missing == len(list((tmp_path / "slha").iterdir()))
    assert done.note == f"{missing} of {len(table)} good points have no kept files (keep_files of their tool)"


def test_no_file_is_written_outside_the_folder(run_dir, tmp_path):
    first = hits(frame(run_dir)).point_id[0]
    with zipfile.ZipFile(run_dir / "files/iteration-00000.zip", "w") as archive:
        archive.writestr(f"{first:09d}/../../../escaped", b"x")
        archive.writestr("rubbish", b"x")
    export(run_dir, tmp_path / "deep" / "slha", format="slha")
    assert (tmp_path / "deep" / "slha" / f"{first:09d}-escaped").exists()
    assert not list(tmp_path.rglob("escaped"))


def test_formats_and_places_that_cannot_be_are_said_so(run_dir, tmp_path):
    with pytest.raises(ConfigError, match="unknown format 'xlsx'; choose one of csv, parquet, getdist, slha"):
        export(run_dir, tmp_path / "table.xlsx")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        export(run_dir, tmp_path / "file" / "table.csv")
    with pytest.raises(ConfigError, match="cannot be written"):
        export(run_dir, tmp_path, format="csv")
