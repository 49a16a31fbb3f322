"""Signals and the end of a driver: what was finished is kept, and nobody is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

CONFIG = """
[scan]
name = "slow"
points = 0
max_evaluations = 200
[search]
method = "random"
bootstrap_points = 200
[parameters]
x = { low = 0, high = 1 }
[[tools]]
name = "slow"
kind = "python"
function = "slow:observables"
[observables.y]
likelihood = { kind = "gauss", mean = 0.5, sigma = 0.1 }
[cluster]
slots = 4
"""
PHYSICS = """
import os, time
def observables(point):
    time.sleep(0.1)
    with open(os.environ["DIARY"], "a") as diary:
        diary.write(f"{time.time()} {point['x']!r}\\n")
    return {"y": point["x"]}
"""


def start(folder: Path, *words: str, pause_s: float = 0.1) -> subprocess.Popen[str]:
    (folder / "scan.toml").write_text(CONFIG)
    (folder / "slow.py").write_text(PHYSICS.replace("0.1", str(pause_s)))
    env = {**os.environ, "DIARY": str(folder / "diary"), "TMPDIR": str(folder)}
    return subprocess.Popen([sys.executable, "-m", "raydnnr.run", "scan.toml", *words], cwd=folder, env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def diary(folder: Path) -> dict[float, float]:
    """When each point was finished, by its x; a point may be there once only."""
    lines = (folder / "diary").read_text().splitlines() if (folder / "diary").exists() else []
    return {float(x): float(t) for t, x in (line.split() for line in lines)}


def wait_for(folder: Path, n_points: int) -> None:
    deadline = time.monotonic() + 150
    while len(diary(folder)) < n_points:
        assert time.monotonic() < deadline, "the scan does not get on"
        time.sleep(0.02)


def offspring(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process], within_s: float = 30.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "runs" / "slow" / "evaluations")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    driver = start(tmp_path, "--inline")
    wait_for(tmp_path, 20)
    children = offspring(driver)
    driver.send_signal(number)
    out, err = driver.communicate(timeout=150)

    assert driver.returncode == 85, err
    assert number.name in json.loads(out.splitlines()[-1])["reason"]
    assert "run the same command again" in err and "python -m raydnnr.run scan.toml --inline" in err
    assert gone(children)
    before = set(diary(tmp_path))

    again = start(tmp_path, "--inline")
    out, err = again.communicate(timeout=150)
    assert again.returncode == 0, err
    table = rows(tmp_path)
    assert json.loads(out.splitlines()[-1])["evaluations"] == len(table) == 200
    assert table.point_id.is_unique and before <= set(table.x)
    text = (tmp_path / "diary").read_text()
    # only what was running when the signal came may have run twice
    assert 200 <= len(text.splitlines()) <= 204


def test_a_driver_whose_job_script_was_killed_saves_and_lets_the_run_directory_go(tmp_path: Path) -> None:
    """The next job comes soon; without Slurm's control groups nobody ends the driver of the one before."""
    start(tmp_path, "--check").communicate(timeout=150)  # writes the files
    script = subprocess.Popen(["bash", "-c", f"{sys.executable} -m raydnnr.run scan.toml --inline & wait"], cwd=tmp_path,
                              env={**os.environ, "DIARY": str(tmp_path / "diary"), "RAYDNNR_JOB": "7"},
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(tmp_path, 20)
    processes = offspring(script)
    script.kill()
    script.wait()
    assert gone(processes)
    status = json.loads((tmp_path / "runs" / "slow" / "status.json").read_text())
    assert status["state"] == "stopped" and "end of the job's script" in status["reason"]
    assert not (tmp_path / "runs" / "slow" / "driver.json").exists()


@pytest.mark.parametrize("after", [5, 37, 90])
def test_a_killed_driver_loses_less_than_a_second(tmp_path: Path, after: int) -> None:
    driver = start(tmp_path, "--inline")
    wait_for(tmp_path, after)
    children = offspring(driver)
    killed = time.time()
    driver.kill()
    driver.wait()
    assert gone(children), "processes outlive their driver"
    finished = {x for x, t in diary(tmp_path).items() if t < killed - 1.0}

    again = start(tmp_path, "--inline")
    _, err = again.communicate(timeout=150)
    assert again.returncode == 0, err
    text = (tmp_path / "diary").read_text().split()
    twice = {float(x) for x in text[1::2] if text[1::2].count(x) > 1}
    assert not twice & finished, "a finished evaluation was repeated"
    table = rows(tmp_path)
    assert len(table) == 200 and table.point_id.is_unique and (table.status == "ok").all()
    assert not list(tmp_path.glob("raydnnr-*")), "scratch is left"


def test_a_scan_goes_on_when_nobody_listens(tmp_path: Path) -> None:
    """Such as `... 2>&1 | head`, or a terminal that is closed on a driver under nohup."""
    driver = start(tmp_path, "--inline", "--set", "scan.max_evaluations=60")
    wait_for(tmp_path, 8)
    assert driver.stderr and driver.stdout
    driver.stderr.close()
    out = driver.stdout.read()
    assert driver.wait(timeout=150) == 0
    assert json.loads(out)["evaluations"] == 60


def test_two_interrupts_abort_at_once(tmp_path: Path) -> None:
    driver = start(tmp_path, "--inline", pause_s=1.0)  # which is how long it would wait for running points
    wait_for(tmp_path, 4)
    driver.send_signal(signal.SIGINT)
    assert driver.stderr
    while "Ctrl-C now aborts at once" not in (line := driver.stderr.readline()):
        assert line, "it has ended"
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=150)
    assert driver.returncode == 130, err
    assert "aborted" in err
