"""The console script: status and export of a small run."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from raydnnr import PythonFunction
from raydnnr.cli import main, read_status
from raydnnr.run import run
from tests.unit.plans import square


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "square"
    run(square(), run_dir=folder, inline=True, progress=False)
    return folder


@pytest.fixture
def frame(run_dir):
    return pd.read_parquet(run_dir / "evaluations")


def command(capsys, *words):
    status = main([str(w) for w in words])
    out, err = capsys.readouterr()
    return status, out, err


def test_status_counts_what_the_table_holds(capsys, run_dir, frame):
    status, out, _ = command(capsys, "status", run_dir, "--json")
    held = json.loads(out)
    good = (frame.status == "ok") & (frame.nll < 1)
    assert status == 0
    assert held["state"] == "finished"
    assert (held["evaluations"], held["good"], held["valid"]) == (len(frame), good.sum(), (frame.status == "ok").sum())
    assert held["driver"] is None
    assert held["best"][0]["nll"] == frame.nll.min()
    assert sum(o["evaluations"] for o in held["origins"].values()) == len(frame)
    assert sum(h["good"] for h in held["hit_rates"]) == good.sum()


def test_status_for_people(capsys, run_dir, frame):
    status, out, _ = command(capsys, "status", run_dir)
    assert status == 0
    assert "square" in out
    assert "finished" in out
    assert f"{len(frame)} evaluations" in out
    best = frame.loc[frame.nll.idxmin()]
    (line,) = [line for line in out.splitlines() if line.startswith("│        x ")]
    assert float(line.split("│")[2]) == pytest.approx(best.x, rel=1e-3)


def test_reasons_are_shown_as_they_are(capsys, tmp_path):
    """rich would take brackets for its markup, and stop at a closing one."""

    def broken(point):
        raise ValueError("no [/red] and no [bold]mass[/bold]")

    run(square(tools=[PythonFunction(name="model", function=broken)]), run_dir=tmp_path / "x", inline=True,
        progress=False)
    status, out, _ = command(capsys, "status", tmp_path / "x")
    assert status == 0
    assert "x model: ValueError: no [/red] and no [bold]mass[/bold]" in out


def test_status_says_what_is_on_disk(capsys, run_dir):
    held = json.loads(command(capsys, "status", run_dir, "--json")[1])
    assert held["bytes"]["evaluations"] == sum(p.stat().st_size for p in (run_dir / "evaluations").iterdir())
    assert "on disk: evaluations" in command(capsys, "status", run_dir)[1]


def test_a_driver_that_is_gone_is_told_from_one_that_works(tmp_path, run_dir):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    status = json.loads((copy / "status.json").read_text())
    (copy / "status.json").write_text(json.dumps(status | {"state": "running"}))
    assert read_status(copy)["state"] == "interrupted"
    (copy / "status.json").write_text("{")
    assert read_status(copy)["evaluations"] > 0


@pytest.mark.parametrize("words", [(), ("--good",)])
def test_export_as_csv(capsys, run_dir, frame, tmp_path, words):
    status, out, err = command(capsys, "export", run_dir, "-o", tmp_path / "out" / "points.csv", *words)
    written = pd.read_csv(tmp_path / "out" / "points.csv", float_precision="round_trip")
    expected = frame[(frame.status == "ok") & (frame.nll < 1)] if words else frame
    assert (status, out) == (0, "")
    assert f"{len(expected)} points written" in err
    assert written.x.tolist() == expected.x.tolist()
    assert list(written.columns) == list(frame.columns)


def test_export_as_parquet(capsys, run_dir, frame, tmp_path):
    command(capsys, "export", run_dir, "-o", tmp_path / "points.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "points.parquet"), frame)


def test_export_for_getdist(capsys, run_dir, frame, tmp_path):
    _, _, err = command(capsys, "export", run_dir, "--format", "getdist", "-o", tmp_path / "chain")
    rows = (tmp_path / "chain.txt").read_text().splitlines()
    names = [line.split("\t")[0] for line in (tmp_path / "chain.paramnames").read_text().splitlines()]
    assert len(rows) == ((frame.status == "ok") & (frame.nll < 1)).sum()
    assert names[0] == "x"
    assert "r*" in names
    assert len(rows[0].split()) == 2 + len(names)
    assert "not a posterior sample" in err
    assert (tmp_path / "chain.ranges").read_text().startswith("x ")


@pytest.mark.parametrize(("words", "said"), [
    (("export", "{run}", "-o", "points.xlsx"), "unknown format 'xlsx'; choose one of csv, parquet, getdist, slha"),
    (("export", "{run}", "-o", "points"), "unknown format ''"),
    (("export", "{tmp}", "-o", "points.csv"), "not a run directory of raydnnr"),
    (("export", "{run}", "-o", "/dev/null/points.csv"), "cannot be written"),
    (("status", "{tmp}"), "not a run directory of raydnnr"), (("status", "{tmp}/nowhere"), "not a run directory"),
    (("check", "{tmp}/nowhere.toml"), "no such file"), (("run", "{tmp}/nowhere.toml"), "no such file"),
])
def test_what_cannot_be_done_is_2_and_said(capsys, run_dir, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    status, out, err = command(capsys, *(w.format(run=run_dir, tmp=tmp_path) for w in words))
    assert (status, out) == (2, "")
    assert err.startswith("ConfigError: ")
    assert said in err


def test_check_is_that_of_the_run_command(capsys, tmp_path):
    from tests.unit.test_run import CONFIG, PHYSICS

    (tmp_path / "disc_physics.py").write_text(PHYSICS)
    (tmp_path / "x.toml").write_text(CONFIG)
    status, _, err = command(capsys, "check", tmp_path / "x.toml", "--run-dir", tmp_path / "here", "--set",
                             "scan.seed=4")
    assert status == 0
    assert "all is well" in err
    assert command(capsys, "check", tmp_path / "x.toml", "--set", "scan.seed=-4")[0] == 2


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for word in ("run", "check", "status", "export"):
        assert f"\n    {word} " in out
