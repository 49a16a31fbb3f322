"""Whose run directory it is, and getting hold of it."""

from __future__ import annotations

import json
import os

import pytest

from raydnnr import MlsDnnr, Parameter, rundir
from raydnnr.errors import RunDirectoryError
from raydnnr.rundir import FOLDERS, check_identity, identity, take, threshold
from tests.unit.plans import square
from tests.unit.runs import pretend_driver


def made(run_dir, plan=None, **files):
    take(run_dir, plan or square(), files, fresh=False).release()
    return run_dir


def test_a_run_directory_is_made_with_its_parents_for_its_owner_only(tmp_path):
    run_dir = made(tmp_path / "runs" / "one", **{"config.toml": "a = 1\n", "templates/spheno.in": "BLOCK\n"})
    assert {path.name for path in run_dir.iterdir()} == {*FOLDERS, "identity.json", "config.toml"}
    assert (run_dir / "templates/spheno.in").read_text() == "BLOCK\n"
    for path in (run_dir, *run_dir.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_it_says_whose_it_is(tmp_path):
    plan = square(seed=3)
    held = identity(made(tmp_path, plan))
    assert (held["name"], held["seed"], held["fingerprint"]) == ("square", "3", plan.fingerprint)
    assert threshold(tmp_path) == 1.0


def test_what_may_change_is_brought_up_to_date(tmp_path):
    made(tmp_path, **{"config.toml": "old"})
    plan = square()
    made(tmp_path, square(stop=type(plan.stop)(threshold_value=2.5)), **{"config.toml": "new"})
    assert threshold(tmp_path) == 2.5
    assert (tmp_path / "config.toml").read_text() == "new"


@pytest.mark.parametrize(("other", "words"), [
    (square(seed=9), "seed: 0 there, 9 here"),
    (square(method=MlsDnnr()), "method: RandomSampling there, MlsDnnr here"),
    (square(parameters=[Parameter.of("x", low=0, high=2), Parameter.of("y", low=0, high=1),
                        Parameter.of("k", value=2)]),
     "parameters.x: Uniform(low=0.0, high=1.0) there, Uniform(low=0.0, high=2.0) here"),
    (square(derived={}), "derived.x2: only there"),
], ids=["seed", "method", "prior", "derived"])
def test_another_scan_is_refused_with_what_differs_and_what_to_do(tmp_path, other, words):
    made(tmp_path)
    with pytest.raises(RunDirectoryError) as error:
        check_identity(tmp_path, other)
    assert words in str(error.value)
    for remedy in ("--fresh", "--run-dir", "scan.name", "scan.init_csv"):
        assert remedy in str(error.value)
    assert not (tmp_path / "driver.json").exists()


@pytest.mark.parametrize("fresh", [False, True])
def test_what_is_not_ours_is_not_touched(tmp_path, fresh, monkeypatch):
    monkeypatch.setattr(rundir, "Claim", None)  # not even for a moment
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(RunDirectoryError, match="not a run directory of raydnnr"):
        take(tmp_path, square(), {}, fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_file_is_no_run_directory(tmp_path, fresh):
    (tmp_path / "file").write_text("text")
    with pytest.raises(RunDirectoryError):
        take(tmp_path / "file", square(), {}, fresh)
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"fingerprint": 3}'])
def test_an_identity_that_says_nothing_is_refused(tmp_path, content):
    made(tmp_path)
    (tmp_path / "identity.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"identity\.json: unreadable"):
        check_identity(tmp_path, square())


def test_a_folder_that_is_none_is_said_so(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(RunDirectoryError, match="not a run directory"):
            identity(path)


def test_an_empty_folder_and_one_of_a_driver_killed_at_its_start_can_be_used(tmp_path):
    made(tmp_path)
    other = tmp_path / "killed"
    other.mkdir()
    pretend_driver(other, host=os.uname().nodename, pid=2**22 + 1)
    (other / ".identity.json.tmp").write_text("{")
    (other / ".driver-here-12.tmp").write_text("")
    made(other)
    assert not list(other.glob(".*"))


def test_leftovers_of_a_killed_driver_are_removed(tmp_path):
    made(tmp_path)
    for name in (".config.toml.tmp", "evaluations/.iteration-00003.parquet.tmp", "journal/.x.tmp", "files/.y.zip.tmp"):
        (tmp_path / name).write_text("half")
    made(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


def test_fresh_moves_the_old_one_aside_whole(tmp_path):
    run_dir = made(tmp_path / "run", **{"config.toml": "old"})
    (run_dir / "evaluations" / "iteration-00000.parquet").write_text("results")
    take(run_dir, square(seed=9), {"config.toml": "new"}, fresh=True).release()
    (old,) = tmp_path.glob("run.old-*Z")
    assert (old / "evaluations" / "iteration-00000.parquet").read_text() == "results"
    assert (old / "config.toml").read_text() == "old"
    assert not (old / "driver.json").exists()
    assert (run_dir / "config.toml").read_text() == "new"
    assert not list((run_dir / "evaluations").iterdir())


def test_fresh_twice_in_a_second_loses_nothing(tmp_path):
    for n in range(3):
        take(tmp_path / "run", square(), {"config.toml": str(n)}, fresh=True).release()
    kept = [json.loads((old / "config.toml").read_text()) for old in tmp_path.glob("run.old-*")]
    assert sorted(kept) == [0, 1]


def test_fresh_behind_a_link_moves_what_the_link_leads_to(tmp_path):
    made(tmp_path / "disk" / "run")
    (tmp_path / "run").symlink_to(tmp_path / "disk" / "run")
    take(tmp_path / "run", square(), {}, fresh=True).release()
    assert (tmp_path / "run").is_symlink()
    assert len(list((tmp_path / "disk").glob("run.old-*"))) == 1
    assert identity(tmp_path / "run")


def test_fresh_of_nothing_is_a_start(tmp_path):
    take(tmp_path / "run", square(), {}, fresh=True).release()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_driver_that_works_is_not_moved_aside(tmp_path):
    claim = take(tmp_path / "run", square(), {}, fresh=False)
    with pytest.raises(RunDirectoryError, match="a driver works in it"):
        take(tmp_path / "run", square(), {}, fresh=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    claim.release()


def test_too_little_room_is_said_with_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir, "FLOOR_BYTES", 10**18)
    with pytest.raises(RunDirectoryError, match=r"only [\d.]+ MB are free .* at least 1000000000000 MB"):
        take(tmp_path, square(), {}, fresh=False)
    assert not (tmp_path / "driver.json").exists()


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="Not a directory"):
        take(tmp_path / "file" / "run", square(), {}, fresh=False)
