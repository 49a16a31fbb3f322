"""Fault drills of the run directory, with real processes, a real full disk and a million rows."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from raydnnr import rundir
from raydnnr.claim import living_driver
from raydnnr.errors import RunDirectoryError, StorageError
from raydnnr.evaluation import Points, score
from raydnnr.export import read_evaluations
from raydnnr.shards import Span, span_of, write_shard
from raydnnr.store import Store
from raydnnr.table import Layout
from tests.integration.store_driver import ROUND
from tests.unit.plans import square
from tests.unit.runs import evaluate, finish, frame, physics, proposal, run_rounds, shards

ROOT = Path(__file__).parents[2]
PLAN = square()
LOST_S = 1.0  # finished work that SIGKILL may cost


class Driver:
    """A `store_driver` as a process."""

    def __init__(self, folder: Path, n_points: int, pause_s: float = 0.0) -> None:
        self.log = folder / "log"
        words = [sys.executable, "-m", "tests.integration.store_driver", folder / "run", self.log, n_points, pause_s]
        self.process = subprocess.Popen([str(word) for word in words], cwd=ROOT)

    def wait_for(self, word: str, n: int = 1) -> None:
        """Until the log holds ``n`` times this."""
        while not self.log.exists() or self.log.read_text().count(word) < n:
            assert self.process.poll() is None, "the driver ended by itself"
            time.sleep(0.01)

    def kill(self) -> float:
        """SIGKILL; when that was."""
        self.process.send_signal(signal.SIGKILL)
        when = time.time()
        self.process.wait()
        return when


def recorded(log: Path, start: int = 0) -> dict[int, float]:
    """When each point was recorded, from this line of the log on."""
    pairs = [line.split() for line in log.read_text().splitlines()[start:] if " " in line]
    return {int(point_id): float(when) for point_id, when in pairs}


def test_a_driver_that_is_killed_again_and_again_loses_at_most_a_second(tmp_path):
    """400 points at 5 ms; six kills at moments nobody chose."""
    n_points, run_dir = 400, tmp_path / "run"
    before: dict[int, float] = {}
    n_lost = 0
    for n, wait_s in enumerate((0.0, 0.07, 0.9, 0.3, 1.3, 0.6)):
        n_lines = len((tmp_path / "log").read_text().splitlines()) if n else 0
        driver = Driver(tmp_path, n_points, 0.005)
        driver.wait_for("open", n + 1)
        time.sleep(wait_s)
        killed = driver.kill()
        again = set(before) & set(recorded(tmp_path / "log", n_lines))
        assert not again, "a safe point was evaluated again"
        now = recorded(tmp_path / "log", n_lines)
        safe = {i for i, when in now.items() if when < killed - LOST_S}
        n_lost += len(set(now) - safe)
        before |= {i: now[i] for i in safe}
    n_lines = len((tmp_path / "log").read_text().splitlines())
    assert Driver(tmp_path, n_points).process.wait(60) == 0
    assert not set(before) & set(recorded(tmp_path / "log", n_lines))
    assert n_lost > 20, "no kill hit a driver at work"

    run_rounds(tmp_path / "undisturbed", PLAN, [ROUND] * (n_points // ROUND), files=True)
    assert shards(run_dir) == shards(tmp_path / "undisturbed")
    for path in (tmp_path / "undisturbed" / "files").iterdir():
        with zipfile.ZipFile(path) as wanted, zipfile.ZipFile(run_dir / "files" / path.name) as found:
            assert sorted(found.namelist()) == sorted(wanted.namelist())
    assert not list(run_dir.rglob("*.tmp"))
    assert not (run_dir / "damaged").exists()


def test_a_second_driver_is_refused_until_the_first_is_dead(tmp_path):
    driver = Driver(tmp_path, 10**6, 0.001)
    driver.wait_for("open")
    while not list((tmp_path / "run" / "journal").glob("*.proposal.arrow")):
        time.sleep(0.01)
    with pytest.raises(RunDirectoryError, match=f"a driver works in it .process {driver.process.pid} on "):
        Store.open(tmp_path / "run", PLAN, {})
    with pytest.raises(RunDirectoryError, match="a driver works in it"):
        Store.open(tmp_path / "run", PLAN, {}, fresh=True)
    os.kill(driver.process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, driver.process.pid, os.WEXITED | os.WNOWAIT)  # dead, and nobody has buried it
    assert living_driver(tmp_path / "run") is None
    store = Store.open(tmp_path / "run", PLAN, {})
    assert store.view().n_proposed
    store.close()
    driver.process.wait()


def test_of_drivers_that_start_together_one_gets_the_folder(tmp_path):
    """Then, killed, it is followed by one of four again. Those that are refused do not disturb the one."""
    for n in range(3):
        drivers = [Driver(tmp_path, 10**6, 0.001) for _ in range(4)]
        try:
            while sum(driver.process.poll() is None for driver in drivers) > 1:
                time.sleep(0.01)
            drivers_left = [driver for driver in drivers if driver.process.poll() is None]
            assert len(drivers_left) == 1
            drivers_left[0].wait_for("open", n + 1)
            time.sleep(0.05)
            assert living_driver(tmp_path / "run")["pid"] == drivers_left[0].process.pid
            assert (tmp_path / "log").read_text().count("open") == n + 1
        finally:
            for driver in drivers:
                driver.kill()


# ---- merging

MERGE = """
import sys, time
from pathlib import Path
from raydnnr import atomic, compaction, store
from raydnnr.store import Store
from tests.unit.plans import square

def slowly(operation):
    def slow(*words, **settings):
        time.sleep(0.5)
        return operation(*words, **settings)
    return slow

compaction.FAN_IN, store.SYNC_S = 4, -1.0
atomic.os.replace = slowly(atomic.os.replace)
Path.unlink = slowly(Path.unlink)
store = Store.open(Path(sys.argv[1]), square(), {"config.toml": ""})
while True:
    store.flush()
    time.sleep(0.01)
"""


def names(run_dir: Path) -> set[str]:
    return {path.name for path in (run_dir / "evaluations").iterdir()}


def is_writing(there: set[str]) -> bool:
    return any(name.endswith(".tmp") for name in there)


def is_removing(there: set[str]) -> bool:
    spans = [span for name in there if (span := span_of(Path(name)))]
    return any(a != b and a.holds(b) for a in spans for b in spans)


@pytest.mark.parametrize("moment", [is_writing, is_removing])
def test_a_driver_that_is_killed_while_it_merges_loses_no_row_and_leaves_none_twice(tmp_path, moment):
    """Five kills in a row, each at this moment, each of a process that has resumed what the last one left."""
    run_dir = tmp_path / "run"
    run_rounds(run_dir, PLAN, [7] * 40)
    before = frame(run_dir)
    for _ in range(5):
        left = names(run_dir)
        driver = subprocess.Popen([sys.executable, "-c", MERGE, run_dir], cwd=ROOT)
        try:
            while (now := names(run_dir)) == left or not moment(now):
                assert driver.poll() is None, "the driver ended by itself"
                time.sleep(0.005)
        finally:
            driver.kill()
            driver.wait()
        assert moment(names(run_dir)), "killed too late"
        assert read_evaluations(run_dir).to_pandas().equals(before)

    store = finish(run_dir, PLAN)
    assert not store.reports
    assert (store.summary().evaluations, store.next_iteration) == (280, 40)
    assert frame(run_dir).equals(before)
    assert not list(run_dir.rglob("*.tmp")) and not (run_dir / "damaged").exists()
    assert len(shards(run_dir)) < 40 or moment is is_writing


# ---- a disk that is full


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """A file system of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("may not mount")
    monkeypatch.setattr(rundir, "FLOOR_BYTES", 0)
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk: Path, room: int) -> Path:
    """Leave so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        file.write(b"\0" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - room))
    return ballast


@pytest.mark.parametrize("room", [0, 4096, 8192, 16384, 65536, 131072])
def test_a_full_disk_stops_a_scan_that_goes_on_when_there_is_room(small_disk, tmp_path, room):
    store = Store.open(small_disk / "run", PLAN, {"config.toml": ""})
    evaluate(store, PLAN, store.open_round(proposal(200, 0)), files=True)
    points = store.open_round(proposal(200, 1))
    evaluate(store, PLAN, points, range(100), files=True)
    for r in store._rounds:
        r.write_journal()
    safe = set(range(300))
    ballast = fill(small_disk, room)
    with pytest.raises(StorageError, match="the disk is full while .* make room and run the same command again"):
        for row in itertools.count(100):
            if row < 200:
                evaluate(store, PLAN, points, [row], files=True)
            else:
                evaluate(store, PLAN, store.open_round(proposal(200, row - 198)), files=True)
    store.close()
    assert not list((small_disk / "run").rglob("*.tmp"))
    assert set(frame(small_disk / "run").point_id) >= set(range(200))

    ballast.unlink()
    again = Store.open(small_disk / "run", PLAN, {"config.toml": ""})
    assert not again.reports
    assert set(again.view().point_id.tolist()) >= safe
    again.close()
    finish(small_disk / "run", PLAN)
    sizes = [200] * len(shards(small_disk / "run"))
    run_rounds(tmp_path / "undisturbed", PLAN, sizes)
    assert shards(small_disk / "run") == shards(tmp_path / "undisturbed")


def test_a_scan_sees_the_end_of_the_disk_coming(small_disk):
    store = Store.open(small_disk / "run", PLAN, {})
    assert store.low_space()  # 3 MB
    assert store.space_left_bytes() < 3 * 2**20
    store.close()


def test_a_scan_does_not_start_on_a_full_disk(small_disk, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(RunDirectoryError, match=r"only [23]\.\d MB are free on its file system; .* at least 50 MB"):
        Store.open(small_disk / "run", PLAN, {})


# ---- a million rows

OPEN = """
import json, resource, sys, time
from pathlib import Path
from tests.integration.test_store_faults import LARGE
from raydnnr.store import Store
start = time.monotonic()
store = Store.open(Path(sys.argv[1]), LARGE, {})
seconds = time.monotonic() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([seconds, peak, store.summary().evaluations, len(store.view().x), store.next_iteration]))
store.close()
"""
LARGE = square(name="large")


@pytest.mark.slow
def test_a_million_rows_are_resumed_in_ten_seconds_and_a_gibibyte(tmp_path):
    Store.open(tmp_path, LARGE, {}).close()
    n, layout = 10_000, Layout(LARGE)
    for iteration in range(100):
        chosen = proposal(n, iteration)
        points = Points(np.arange(iteration * n, (iteration + 1) * n), iteration, chosen.x, chosen.origin,
                        chosen.nll_predicted)
        rows = layout.rows(points, score(physics(points), LARGE.likelihoods))
        write_shard(tmp_path / "evaluations" / Span(iteration, iteration).file_name, rows)
    done = subprocess.run([sys.executable, "-c", OPEN, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, peak, evaluations, n_rows, next_iteration = json.loads(done.stdout)
    assert (evaluations, n_rows, next_iteration) == (10**6, 10**6, 100)
    assert seconds < 10
    assert peak < 2**30
