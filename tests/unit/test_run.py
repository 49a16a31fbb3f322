"""The command ``python -m raydnnr.run``, without Ray: exit status, the JSON line, resuming, refusing."""

from __future__ import annotations

import errno
import json
import logging

import pytest

from raydnnr.export import read_evaluations
from raydnnr.run import main, run
from raydnnr.store import Store
from tests.unit.plans import square

PHYSICS = """\
from raydnnr import InvalidPoint

def disc(point):
    return {"r": ((point["x"] - 0.5) ** 2 + (point["y"] - 0.5) ** 2) ** 0.5}

def tachyon(point):
    raise InvalidPoint("tachyon in the stau sector")

def broken(point):
    raise KeyError("no such mass")
"""
CONFIG = """\
[scan]
name = "square"
points = 0
max_evaluations = 40
[search]
method = "random"
bootstrap_points = 10
points_per_iteration = 10
synchronous = true
[parameters]
x = { low = 0, high = 1 }
y = { low = 0, high = 1 }
[[tools]]
name = "model"
kind = "python"
function = "disc_physics:disc"
[observables.r]
likelihood = { kind = "gauss", mean = 0.2, sigma = 0.1 }
[cluster]
slots = 1
"""
KEYS = ["run_dir", "reason", "evaluations", "good", "valid", "failed", "iterations", "best_nll", "seconds"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disc_physics.py").write_text(PHYSICS)
    (tmp_path / "x.toml").write_text(CONFIG)
    handlers = list(logging.getLogger("raydnnr").handlers)
    yield
    logging.getLogger("raydnnr").handlers[:] = handlers


def command(capsys, *words):
    """Exit status, the last line of stdout as JSON (None if there is no output), stderr."""
    status = main(["x.toml", *words])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) <= 1, "all but the summary goes to stderr"
    return status, json.loads(lines[0]) if lines else None, err


def test_a_scan_that_ends_by_a_rule(capsys, tmp_path):
    status, summary, err = command(capsys, "--inline")
    assert status == 0
    assert list(summary) == KEYS
    assert summary["evaluations"] == summary["valid"] == 40
    assert summary["failed"] == 0
    assert 0 < summary["good"] < 40
    assert summary["iterations"] == 3
    assert 0 <= summary["best_nll"] < 1
    assert summary["seconds"] > 0
    assert summary["reason"].startswith("max_evaluations")
    assert (tmp_path / summary["run_dir"]).resolve() == tmp_path / "runs" / "square"
    assert "ended by max_evaluations" in err
    folder = tmp_path / "runs" / "square"
    assert (folder / "config.toml").exists()
    assert (folder / "references.bib").exists()
    assert (folder / "scan.log").read_text()
    assert len(list((folder / "evaluations").glob("iteration-*.parquet"))) == 4
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"


def test_the_same_command_again_runs_nothing_and_a_higher_limit_goes_on(capsys):
    first = command(capsys, "--inline")[1]
    again = command(capsys, "--inline")[1]
    assert again["evaluations"] == 40
    assert again["best_nll"] == first["best_nll"]
    more = command(capsys, "--inline", "--set", "scan.max_evaluations=60")[1]
    assert (more["evaluations"], more["iterations"]) == (60, 5)


def test_a_scan_that_went_on_is_the_scan_that_was_never_stopped(capsys):
    command(capsys, "--inline", "--set", "scan.max_evaluations=20")
    command(capsys, "--inline")
    command(capsys, "--inline", "--run-dir", "other")
    tables = [read_evaluations(folder).to_pandas() for folder in ("runs/square", "other")]
    for name in ("point_id", "iteration", "origin", "x", "y", "r", "loss_r", "nll", "status"):
        assert tables[0][name].tolist() == tables[1][name].tolist()


def test_a_disk_that_is_full_at_the_very_end_is_85_and_the_same_command_goes_on(monkeypatch, capsys):
    def full(store):
        with store._disk("closing"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as there:
        there.setattr(Store, "save", full)
        status, summary, _ = command(capsys, "--inline")
    assert status == 85
    assert "the disk is full while closing" in summary["reason"]
    status, summary, _ = command(capsys, "--inline")
    assert (status, summary["evaluations"]) == (0, 40)


def test_a_changed_likelihood_scores_a_run_again_without_new_physics(capsys):
    first = command(capsys, "--inline")[1]
    again = command(capsys, "--inline", "--set", "observables.r.likelihood.sigma=10")[1]
    assert again["evaluations"] == 40
    assert again["good"] == 40 > first["good"]


@pytest.mark.parametrize("words", [("--set", "scan.seed=2"), ("--set", "parameters.x.high=2"),
                                   ("--set", "tools.model.function=disc_physics:broken")])
def test_another_scans_directory_is_refused_and_left_alone(capsys, tmp_path, words):
    command(capsys, "--inline")
    before = sorted(p.name for p in (tmp_path / "runs/square/evaluations").iterdir())
    status, summary, err = command(capsys, "--inline", *words)
    assert (status, summary) == (2, None)
    assert "ConfigError" in err
    assert "square" in err
    assert sorted(p.name for p in (tmp_path / "runs/square/evaluations").iterdir()) == before


def test_fresh_moves_the_old_directory_aside(capsys, tmp_path):
    command(capsys, "--inline")
    status, summary, _ = command(capsys, "--inline", "--fresh", "--set", "scan.seed=2")
    assert (status, summary["evaluations"]) == (0, 40)
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert len(list((tmp_path / "runs").glob("*/evaluations/*.parquet"))) == 8


@pytest.mark.parametrize(("text", "words"), [
    (CONFIG.replace("points = 0", "point = 0"), "[scan]: no setting 'point'"),
    (CONFIG.replace("disc_physics:disc", "disc_physics:dics"), "dics"),
    (CONFIG.replace("disc_physics:disc", "no_physics:disc"), "no_physics"),
    (CONFIG.replace("points = 0", 'points = 0\ninit_csv = "missing.csv"'), "missing.csv does not exist"),
    ("", "tools"),
])
@pytest.mark.parametrize("mode", ["--check", "--inline"])
def test_a_configuration_error_is_2_and_leaves_nothing(capsys, tmp_path, text, words, mode):
    (tmp_path / "x.toml").write_text(text)
    status, summary, err = command(capsys, mode)
    assert (status, summary) == (2, None)
    assert words in err
    assert err.startswith("ConfigError: ")
    assert "run.py" not in err, "a traceback is that of the user's module at most"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("function", "reason"), [("tachyon", "tachyon in the stau sector"), ("broken", "KeyError")])
def test_physics_that_never_works_is_3_with_the_reasons(capsys, function, reason):
    status, summary, err = command(capsys, "--inline", "--set", f"tools.model.function=disc_physics:{function}",
                                   "--set", "scan.max_evaluations=0")
    assert status == 3
    assert summary["valid"] == summary["good"] == 0
    assert summary["best_nll"] is None or function == "tachyon"
    assert reason in summary["reason"] + err


def test_check_says_that_all_is_well_and_writes_nothing(capsys, tmp_path):
    status, summary, err = command(capsys, "--check")
    assert (status, summary) == (0, None)
    assert "all is well: 2 parameters to scan, 1 tools, 1 observables" in err
    assert not (tmp_path / "runs").exists()


def test_check_sees_that_a_run_directory_holds_another_scan(capsys):
    command(capsys, "--inline")
    assert command(capsys, "--check")[0] == 0
    assert command(capsys, "--check", "--set", "scan.seed=2")[0] == 2
    assert command(capsys, "--check", "--set", "scan.seed=2", "--fresh")[0] == 0


def test_what_is_probably_not_meant_is_warned_of(capsys):
    status, _, err = command(capsys, "--check", "--set", "scan.max_evaluations=0")
    assert status == 0
    assert "warning: scan: no limit besides points" in err


def test_a_missing_file_is_2(capsys):
    assert main(["nowhere.toml"]) == 2
    assert "ConfigError: nowhere.toml: no such file" in capsys.readouterr().err


def test_help_says_the_exit_statuses(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "0 ended by a stop rule, 2 configuration error" in " ".join(out.split())


def test_seeds_are_a_table_of_earlier_points(capsys, tmp_path):
    (tmp_path / "old.csv").write_text("x,y,r\n0.5,0.7,0.2\n0.5,0.5,0.0\n5.0,0.5,0.1\n")
    summary = command(capsys, "--inline", "--set", "scan.init_csv=old.csv")[1]
    assert summary["evaluations"] == 40, "seeds are not counted"
    frame = read_evaluations("runs/square").to_pandas()
    seeds = frame[frame.origin == "csv"]
    assert seeds.r.tolist() == [0.2, 0.0]
    assert seeds.nll.tolist()[0] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("mode", ["--check", "--inline"])
def test_seeds_that_cannot_be_read_are_refused_before_anything_is_made(capsys, tmp_path, mode):
    (tmp_path / "old.csv").write_text("a,b\n1,2\n")
    status, _, err = command(capsys, mode, "--set", "scan.init_csv=old.csv")
    assert status == 2
    assert "old.csv has no column x, y" in err
    assert not (tmp_path / "runs").exists()


def test_a_scan_under_way_no_longer_needs_the_table_of_its_seeds(capsys, tmp_path):
    (tmp_path / "old.csv").write_text("x,y,r\n0.5,0.7,0.2\n")
    words = ("--inline", "--set", "scan.init_csv=old.csv")
    command(capsys, *words, "--set", "scan.max_evaluations=20")
    (tmp_path / "old.csv").unlink()
    status, summary, _ = command(capsys, *words)
    assert (status, summary["evaluations"]) == (0, 40)
    assert command(capsys, *words, "--fresh")[0] == 2, "a new one would need it"
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_mls_dnnr_runs(capsys):
    words = ["search.method=mls_dnnr", "search.bootstrap_points=15", "search.points_per_iteration=10",
             "search.epochs=3", "search.candidate_points=30", "scan.max_evaluations=35"]
    status, summary, _ = command(capsys, "--inline", *(w for word in words for w in ("--set", word)))
    assert (status, summary["evaluations"], summary["iterations"]) == (0, 35, 2)


def test_python_users_run_a_plan_and_get_tables(tmp_path):
    result = run(square(), run_dir=tmp_path / "here", inline=True, progress=False)
    frame = result.dataframe()
    assert result.exit_status == 0
    assert len(frame) == result.evaluations
    assert len(result.good_points()) == result.good >= 10
    assert {"x", "y", "k", "x2", "r", "s", "loss_r", "nll"} <= set(frame.columns)
    assert frame.x2.tolist() == pytest.approx((2 * frame.x**2).tolist())
