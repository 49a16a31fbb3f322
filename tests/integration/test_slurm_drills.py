"""Drills on a Slurm that take minutes: ``RAYDNNR_DRILLS=1 python -m pytest tests/integration/test_slurm_drills.py``."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.slurm_lab.jobs import Job, Scan, nothing_left
from tests.slurm_lab.lab import Lab, Machine, missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.skipif(
    not os.environ.get("RAYDNNR_DRILLS") or bool(missing()), reason=missing() or "only with RAYDNNR_DRILLS=1")]

KILLS = 20
SEED = int(os.environ.get("RAYDNNR_DRILL_SEED", "1"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Machine("n1"), Machine("n2"), Machine("n3")], patience_s=300) as lab:
        yield lab


def test_a_network_that_is_cut_for_90_s(lab: Lab) -> None:
    """Ray takes a minute to notice; the points are with others long before, and the node is used again afterwards."""
    scan = Scan(lab, "cut", points=4500, pause_s=0.2)
    job = scan.submit("--nodes=3", "--exclusive")
    for name in lab.machines:
        scan.wait_for(10, name)
    cut = time.time()
    lab.cut("n3")
    scan.wait_for(len(scan.diary()) + 100)
    time.sleep(max(0.0, cut + 90 - time.time()))
    lab.heal("n3")
    healed = time.time()
    lab.wait_until(lambda: any(h == "n3" and t > healed + 5 for t, h, _ in scan.diary()), lambda: f"n3 to be used again: {scan.output()} "
                   + (job.folder / "node-n3.log").read_text(), 150)
    job.end(300)

    scan.check((cut, healed + 5))
    assert "node n3 has not answered" in scan.output()
    nothing_left(lab)


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
    job.wait_for("FAILED", 150)
    ended = time.time()
    assert "ExitCode=85" in lab.run("login", "scontrol", "show", "job", job.id)
    assert "disk" in scan.output() or "space" in scan.output()
    lab.run("n1", "rm", runs / "rubbish")
    scan.submit("--nodes=1", "--exclusive", "--nodelist=n1").end()
    lab.run("n1", "cp", "-r", runs, scan.folder / "copy")
    lab.run("n1", "umount", runs)
    runs.rmdir()
    (scan.folder / "copy").rename(runs)

    scan.check((full, ended))
    nothing_left(lab)


def test_a_real_time_limit(lab: Lab) -> None:
    """A minute, of which Slurm warns half a minute before, or somewhat later; then it is held for two minutes."""
    scan = Scan(lab, "limited", points=700, pause_s=0.2)
    job = scan.submit("--nodes=2", "--exclusive", "--time=1", "--signal=B:USR1@40")
    lab.wait_until(lambda: job.restarts == 1, scan.output, 150)
    job.start_now()
    lab.run("login", "scontrol", "update", f"JobId={job.id}", "TimeLimit=10")
    job.end(240)

    scan.check()
    assert "SIGUSR1" in scan.output()
    nothing_left(lab)


def test_20_random_kills_of_random_processes(lab: Lab) -> None:
    """Whatever is killed, and whatever Slurm makes of it: the same scan in the end."""
    rng = random.Random(SEED)
    scan = Scan(lab, f"chaos-{SEED}", points=1500)
    job = scan.submit("--nodes=3", "--exclusive")
    scan.wait_for(30)
    faults, killed = [], []
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.5, 6.0))
        job = alive(scan, job)
        name = rng.choice(sorted(lab.machines))
        victims = {pid: args for pid, args in lab.processes(name).items() if "slurmstepd" not in args}
        if victims:
            pid = rng.choice(sorted(victims))
            lab.run(name, "kill", "-KILL", str(pid), check=False)
            faults.append((time.time(), time.time() + 30))  # a cut-off evaluator goes on until its guard ends it
            killed.append(f"{name}: {victims[pid][:60]}")
    while len(scan.diary()) < scan.points or not finished(job):
        job = alive(scan, job)
        time.sleep(1.0)

    print("\n".join(killed))
    scan.check(*faults)
    nothing_left(lab)


def finished(job: Job) -> bool:
    return job.state == "COMPLETED"


def alive(scan: Scan, job: Job) -> Job:
    """The job, or the next one if it has failed."""
    if job.state in ("FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT"):
        return scan.submit("--nodes=3", "--exclusive")
    if job.state == "PENDING" and job.restarts:
        job.start_now()
    return job
