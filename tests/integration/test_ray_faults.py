"""A real Ray, and what dies in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

pytestmark = pytest.mark.slow

CONFIG = """
[scan]
name = "drill"
points = 0
iterations = 2
[search]
method = "mls_dnnr"
synchronous = true
bootstrap_points = 40
points_per_iteration = 40
epochs = 100
[parameters]
x = { low = 0, high = 1 }
y = { low = 0, high = 1 }
[[tools]]
name = "drill"
kind = "python"
function = "drill:observables"
[observables.z]
likelihood = { kind = "gauss", mean = 0.5, sigma = 0.1 }
[cluster]
slots = 3
"""
PHYSICS = """
import os, time
def observables(point):
    time.sleep(0.05)
    with open(os.environ["DIARY"], "a") as diary:
        diary.write("x")
    if 0.2 < point["x"] < 0.25:
        os._exit(7)
    return {"z": point["x"] * point["y"]}
"""


def write(folder: Path) -> None:
    (folder / "drill.toml").write_text(CONFIG)
    (folder / "drill.py").write_text(PHYSICS)


def start(folder: Path, run_dir: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "raydnnr.run", "drill.toml", "--run-dir", run_dir, *words]
    env = {**os.environ, "DIARY": str(folder / "diary")}
    return subprocess.Popen(command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def physics(folder: Path, run_dir: str) -> pd.DataFrame:
    """The columns that the seed decides."""
    return pd.read_parquet(folder / run_dir / "evaluations").drop(columns=["seconds", "host", "finished"])


def wait_for(folder: Path, driver: subprocess.Popen[str], name: str) -> psutil.Process:
    """The Ray actor of this class below the driver, once it is there and at work."""
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and driver.poll() is None:
        for p in psutil.Process(driver.pid).children(recursive=True):
            try:
                if any(word.startswith(f"ray::{name}") for word in p.cmdline()):
                    return p
            except psutil.Error:
                continue
        time.sleep(0.02)
    raise AssertionError(f"no {name}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The rows as they are without Ray and without faults."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write(folder)
    driver = start(folder, "run", "--inline")
    _, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err
    return physics(folder, "run")


def test_exactly_the_points_that_kill_their_worker_fail(undisturbed: pd.DataFrame) -> None:
    killers = undisturbed[undisturbed.x.between(0.2, 0.25, inclusive="neither")]
    failed = undisturbed[undisturbed.status == "failed"]
    assert len(killers) > 0
    assert set(failed.point_id) == set(killers.point_id)
    assert (failed.attempts == 2).all() and (undisturbed[undisturbed.status == "ok"].attempts == 1).all()


def test_killed_actors_are_replaced_and_innocents_do_not_pay(tmp_path: Path, undisturbed: pd.DataFrame) -> None:
    write(tmp_path)
    driver = start(tmp_path, "run")
    os.kill(wait_for(tmp_path, driver, "TrainerActor").pid, signal.SIGKILL)
    evaluator = wait_for(tmp_path, driver, "EvaluatorActor")
    while not (tmp_path / "diary").exists() or (tmp_path / "diary").stat().st_size < 5:
        time.sleep(0.01)
    os.kill(evaluator.pid, signal.SIGKILL)  # with most of the bootstrap aboard
    _, err = driver.communicate(timeout=300)

    assert driver.returncode == 0, err
    pd.testing.assert_frame_equal(physics(tmp_path, "run"), undisturbed)


def test_a_killed_driver_leaves_no_ray_behind(tmp_path: Path, undisturbed: pd.DataFrame) -> None:
    write(tmp_path)
    driver = start(tmp_path, "run")
    wait_for(tmp_path, driver, "EvaluatorActor")
    time.sleep(2.0)
    left = psutil.Process(driver.pid).children(recursive=True)
    assert len(left) > 5  # Ray's servers
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 60
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in left) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []

    again = start(tmp_path, "run")
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    pd.testing.assert_frame_equal(physics(tmp_path, "run"), undisturbed)
