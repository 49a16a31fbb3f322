"""Drills on a Slurm that take minutes: ``RAYDNNR_DRILLS=1 python -m pytest tests/integration/test_slurm_drills.py``."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.slurm_lab.jobs import Job, Scan, finished_at, kill, nothing_left
from tests.slurm_lab.lab import Lab, Machine, missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.skipif(
    not os.environ.get("RAYDNNR_DRILLS") or (bool(missing()) and not os.environ.get("RAYDNNR_NEEDS_SLURM")),
    reason=missing() or "only with RAYDNNR_DRILLS=1")]

KILLS = 20
END_S = 400.0  # from the last kill to the end of the scan
SEED = int(os.environ.get("RAYDNNR_DRILL_SEED", "1"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    assert not missing(), missing()
    with Lab([Machine(f"n{k}") for k in range(1, 5)], patience_s=300) as lab:
        yield lab


@pytest.fixture(scope="module", autouse=True)
def limited(lab: Lab) -> Job:
    """A job with a minute of time, which passes on a machine of its own while the network is cut elsewhere."""
    scan = Scan(lab, "limited", points=300)
    scan.slow(True)
    return scan.submit("--nodes=1", "--exclusive", "--nodelist=n4", "--time=1", "--signal=B:USR1@40")


def test_a_network_that_is_cut_for_90_s(lab: Lab, limited: Job) -> None:
    """Ray takes a minute to notice; the points are with others long before, and the node is used again afterwards."""
    scan = Scan(lab, "cut", points=1500)
    scan.slow(True)
    job = scan.submit("--nodes=3", "--exclusive", "--nodelist=n1,n2,n3")
    for name in ("n1", "n2", "n3"):
        scan.wait_for(6, name)
    cut = time.time()
    lab.cut("n3")
    scan.wait_for(len(scan.diary()) + 60)
    limited.limit(10)  # before Slurm starts it again, which may be before this drill is over
    time.sleep(max(0.0, cut + 90 - time.time()))
    lab.heal("n3")
    healed = time.time()
    scan.wait_until(lambda: any(h == "n3" and t > healed + 5 for t, h, _ in scan.diary()), "a point on n3 again")
    scan.slow(False)
    job.end()

    scan.check((cut, healed + 5))
    assert "node n3 has not answered" in scan.output()
    nothing_left(lab, scan, machines=("n1", "n2", "n3"))


def test_a_time_limit_and_then_a_killed_driver_whose_job_is_requeued(lab: Lab, limited: Job) -> None:
    """Slurm warns before the minute is over, and the job requeues itself; the second time, somebody else does it."""
    scan = limited.scan
    limited.requeued(before=0)
    limited.limit(10)
    scan.wait_for(len(scan.diary()) + 10)
    assert "SIGUSR1" in scan.output()
    restarts = limited.restarts
    killed, _ = kill(lab, "n4", "raydnnr.run")
    lab.run("login", "scontrol", "requeue", limited.id)
    limited.requeued(restarts)
    ended = time.time()  # of the evaluator, which went on with what it had
    scan.slow(False)
    limited.end()

    scan.check((killed, ended))
    nothing_left(lab, scan)


def test_a_full_file_system(lab: Lab) -> None:
    """The job ends with everything saved; once there is room, a new one goes on."""
    scan = Scan(lab, "full", points=300)
    runs = scan.folder / "runs"
    runs.mkdir()
    lab.run("n1", "mount", "-t", "tmpfs", "-o", "size=80m,mode=700", "tmpfs", runs)
    job = scan.submit("--nodes=2", "--exclusive", "--nodelist=n1,n2")
    scan.wait_for(30)
    full = time.time()
    lab.run("n1", "dd", "if=/dev/zero", f"of={runs}/rubbish", "bs=1M", check=False)
    job.wait_for("FAILED")
    ended = time.time()
    assert job.exit_status == 85
    assert "disk" in scan.output() or "space" in scan.output()
    lab.run("n1", "rm", runs / "rubbish")
    scan.submit("--nodes=1", "--exclusive", "--nodelist=n1").end()
    lab.run("n1", "cp", "-r", runs, scan.folder / "copy")
    lab.run("n1", "umount", runs)
    runs.rmdir()
    (scan.folder / "copy").rename(runs)

    scan.check((full, ended))
    nothing_left(lab, scan, machines=("n1", "n2"))


def test_20_random_kills_of_random_processes(lab: Lab) -> None:
    """Whatever is killed, and whatever Slurm makes of it: the same scan in the end, and what was in the run directory
    before a kill is there unchanged. Every fourth kill is of a scan at work, others may be of one that starts."""
    rng = random.Random(SEED)
    scan = Scan(lab, f"chaos-{SEED}", points=1000)
    scan.slow(True)
    job = submit(scan)
    scan.wait_for(30)
    killed: list[str] = []
    faults: list[tuple[float, float]] = []
    safe: dict[int, int] = {}
    while len(killed) < KILLS:
        time.sleep(rng.uniform(0.5, 4.0))
        job = at_work(scan, job) if len(killed) % 4 == 0 else alive(scan, job)
        name = rng.choice(("n1", "n2", "n3"))
        victims = {pid: args for pid, args in lab.processes(name).items() if "slurmstepd" not in args}
        safe |= scan.safe()
        if victims:
            pid = rng.choice(sorted(victims))
            lab.run(name, "kill", "-KILL", str(pid), check=False)
            faults.append((time.time(), time.time() + 30))  # a cut-off evaluator goes on until its guard ends it
            killed.append(f"{name}: {victims[pid][:60]}")
    scan.slow(False)
    deadline = time.monotonic() + END_S
    while job.state != "COMPLETED":
        assert time.monotonic() < deadline and not scan.failed(), f"{job.state} {scan.failed()}\n{scan.output()}"
        job = alive(scan, job)
        time.sleep(1.0)

    print("\n".join(killed))
    assert len(safe) < scan.points
    assert safe.items() <= finished_at(scan.check(*faults)).items()
    nothing_left(lab, machines=("n1", "n2", "n3"))
    assert not list(scan.folder.glob(".raydnnr-job-*/token"))


def submit(scan: Scan) -> Job:
    return scan.submit("--nodes=3", "--exclusive", "--nodelist=n1,n2,n3")


def at_work(scan: Scan, job: Job, within_s: float = 60.0) -> Job:
    """Wait for points to be evaluated (again): the job that does it. In vain, for so long."""
    wanted, deadline = len(scan.diary()) + 10, time.monotonic() + within_s
    while len(scan.diary()) < wanted and time.monotonic() < deadline:
        job = alive(scan, job)
        time.sleep(1.0)
    return job


def alive(scan: Scan, job: Job) -> Job:
    """The job, or the next one if it has failed."""
    if job.state in ("FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT"):
        return submit(scan)
    if job.state == "PENDING" and job.restarts:
        job.start_now()
    return job
