"""``sbatch slurm/launch.sh`` on a real Slurm, and what can happen to a job there."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm_lab.jobs import Job, Scan, kill, nothing_left
from tests.slurm_lab.lab import Lab, Machine, missing

MUST_RUN = bool(os.environ.get("RAYDNNR_NEEDS_SLURM"))  # in CI, where a skipped test would go unnoticed
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.skipif(bool(missing()) and not MUST_RUN, reason=missing() or "-")]

LEARNING = 'method = "mls_dnnr"\nsynchronous = true\nbootstrap_points = 60\npoints_per_iteration = 60\nepochs = 20'
INTRUDER = """
import os, sys, urllib.error, urllib.request

def http(port, path):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code

address, dashboard, mode, token = sys.argv[1:]
os.environ["RAY_AUTH_MODE"] = mode
os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
if token:
    os.environ["RAY_AUTH_TOKEN"] = token
from ray._raylet import GcsClient
print([http(dashboard, path) for path in ("api/version", "api/jobs/", "nodes?view=summary", "api/v0/actors")])
try:
    print("in:", len(GcsClient(address=address).internal_kv_keys(b"", None, timeout=10)))
except Exception as error:
    print("out:", type(error).__name__)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    assert not missing(), missing()
    with Lab([Machine("n1"), Machine("n2"), Machine("n3", gpus=1), Machine("n4", cpus=3, shm="64m"), Machine("n5"), Machine("n6")]) as lab:
        yield lab


def test_nodes_come_and_go_and_the_time_is_up(lab: Lab) -> None:
    """Three nodes; one is switched off; SIGUSR1 saves and requeues; after the restart the node is back, but broken, and
    on another one everything is killed that would have cleaned up."""
    scan = Scan(lab, "coming-and-going", points=600)
    job = scan.submit("--nodes=3", "--exclusive", "--nodelist=n1,n2,n3")
    for name in ("n1", "n2", "n3"):
        scan.wait_for(10, name)
    lab.kill("n3")
    killed = time.time()
    try:
        scan.wait_for(len(scan.diary()) + 60)
        scan.slow(True)
        scan.wait_for_stragglers()  # before a restart would bring them back
        lab.wait_until(lambda: "down" in lab.run("login", "sinfo", "-h", "-n", "n3", "-o", "%T"), "Slurm to miss n3", 120)
        assert (job.state, job.restarts) == ("RUNNING", 0), scan.output()
        scan.wait_for(len(scan.diary()) + 10)
        job.signal("USR1")
        job.wait_for("PENDING")
    finally:
        lab.boot("n3")
    lab.run("n3", "touch", "/tmp/bad-mount")
    lab.wait_until_idle()
    time.sleep(5)  # what Slurm still has to say to n3 about the job's first run would end the second one there
    job.start_now()
    scan.wait_for_word("n3 is avoided")
    deserted, _ = kill(lab, "n2", "raydnnr.cluster.node", "guard.py")  # only the sweep in the end finds what is left
    scan.slow(False)
    summary = job.end()
    lab.run("n3", "rm", "/tmp/bad-mount")

    assert job.restarts == 1
    assert summary["evaluations"] == 600 and summary["reason"].startswith("max_evaluations")
    scan.check((killed, killed), (deserted, deserted + 30))
    assert "requeue" in scan.output() and "SIGUSR1" in scan.output()
    nothing_left(lab, scan)


def test_a_node_on_which_ray_is_missing(lab: Lab) -> None:
    """As where a file system is not mounted: it is said, with the reason, and the scan goes on without that node."""
    scan = Scan(lab, "half-mounted", points=200)
    installed = lab.run("login", "python", "-c", "import ray; print(ray.__path__[0])").strip()
    lab.run("n2", "mount", "-t", "tmpfs", "tmpfs", installed)
    scan.slow(True)
    job = scan.submit("--nodes=2", "--exclusive", "--nodelist=n1,n2")
    scan.wait_for_word("node n2 is not used")
    scan.slow(False)
    assert job.end()["evaluations"] == 200
    lab.run("n2", "umount", installed)
    assert "No module named" in scan.output()
    assert set(scan.check().host) == {"n1"}
    nothing_left(lab, scan, machines=["n1", "n2"])


@pytest.fixture(scope="module")
def headless(lab: Lab) -> tuple[Job, float]:
    """A job whose first machine, with its script and its driver, was switched off, and when."""
    scan = Scan(lab, "headless", points=200)
    job = scan.submit("--nodes=2", "--exclusive", "--nodelist=n5,n6")
    scan.slow(True)
    scan.wait_for(5, "n6")
    lab.kill("n5")
    return job, time.time()


def test_two_jobs_of_two_users_on_one_machine(lab: Lab, headless: tuple[Job, float]) -> None:
    """With programs for physics that take more room than 64 MB of /dev/shm have, stale tokens in the home folder and in
    the environment, temporary directories on paths that are too long; a third job that comes and goes, which is one
    user's second, and odd: of an array, with spaces in its paths and next to nothing in its environment; and a third
    user who looks around."""
    scans = [Scan(lab, name, points=250, program=True, scratch="40M", user=name) for name in ("daemon", "mail")]
    (lab.shared / ".ray").mkdir(exist_ok=True)
    (lab.shared / ".ray" / "auth_token").write_text("stale")
    for scan in scans:
        scan.slow(True)
    far_away = {"RAYDNNR_TMP": "/tmp/" + "x" * 40, "TMPDIR": "/tmp/" + "x" * 40 + "/" + "y" * 70}
    stale = {"RAY_AUTH_TOKEN": "stale", "RAY_ADDRESS": "127.0.0.1:1"}
    lab.run("n4", "mkdir", "-m", "1777", "-p", *far_away.values())
    jobs = [scan.submit("--nodelist=n4", environment=far_away | stale) for scan in scans]
    for scan in scans:
        scan.wait_for(5)
    visitor = Scan(lab, "a visitor", points=10, user="daemon", config="my scan.toml", options=["--set", "scan.seed=%a"])
    kept = "--export=PATH,PYTHONPATH,SLURM_CONF,HOME"  # which would keep the rest from the steps of the job, too
    assert visitor.submit("--nodelist=n4", "--array=7", kept).end()["evaluations"] == 10
    assert "seed = 7" in (visitor.run_dir / "config.toml").read_text()
    for scan in scans:
        scan.wait_for(len(scan.diary()) + 3)
    assert [job.state for job in jobs] == ["RUNNING"] * 2
    tokens = [(job.folder / "token").read_text() for job in jobs]
    stranger = [look_around(lab, scans[0], jobs[0], mode, token)
                for mode, token in (("disabled", ""), ("token", "0" * 64), ("token", ""))]
    owner = look_around(lab, scans[0], jobs[0], "token", tokens[0])
    readable, reachable = open_to_others(lab, "n4", *scans), open_to_the_network(lab, "n4")
    for scan in scans:
        scan.slow(False)
    for job in jobs:
        assert job.end()["evaluations"] == 250
    for scan in (*scans, visitor):
        assert scan.output().count("Ray is up") == 1, f"disturbed: {scan.output()}"  # not again, however well that ends
        table = scan.check()
        assert {host for _, host, _ in scan.diary()} == {"n4"} == set(table.host)
    assert owner[0] == "[200, 200, 200, 200]" and owner[1].startswith("in: ")
    assert stranger == [[f"[{code}, {code}, {code}, {code}]", "out: AuthenticationError"] for code in (401, 403, 401)]
    assert tokens[0] != tokens[1]
    assert not readable and not reachable
    lab.run("n4", "rmdir", "-p", far_away["TMPDIR"], check=False)
    nothing_left(lab, *scans, visitor, machines=["n4"])


def look_around(lab: Lab, scan: Scan, job: Job, mode: str, token: str) -> list[str]:
    """What somebody else on the machine gets from the dashboard, and when joining Ray."""
    (lab.shared / "intruder.py").write_text(INTRUDER)
    address, dashboard = ((job.folder / name).read_text() for name in ("address", "dashboard"))
    said = lab.run("n4", "python", lab.shared / "intruder.py", address, dashboard, mode, token, user="games",
                   cwd=Path("/tmp"))
    return [line for line in said.splitlines() if line.startswith(("[4", "[200", "in:", "out:"))]


def open_to_others(lab: Lab, machine: str, *scans: Scan) -> list[str]:
    """Files and folders of a scan that others may read, where no folder above keeps them out."""
    words = ["find", "/tmp", "/dev/shm", *(str(scan.folder) for scan in scans), "-mindepth", "1", "-perm", "/o+rwx",
             "-user"]
    return [path for scan in scans for path in lab.run(machine, *words, scan.user, user="games", check=False).split("\n")
            if path.startswith("/") and "x" * 40 not in path]


def open_to_the_network(lab: Lab, machine: str) -> list[str]:
    """What listens to other machines, but for Slurm. A job of a single machine needs none of that."""
    listening = [line.split(maxsplit=5) for line in lab.run(machine, "ss", "-Hltnp").splitlines()]
    assert any('"raylet"' in program for *_, program in listening)
    slurm = 'users:(("s'  # srun, slurmd, slurmstepd
    return [f"{address} {program}" for _, _, _, address, _, program in listening
            if "127.0.0.1" not in address and "[::1]" not in address and not program.startswith(slurm)]


def test_another_machine_takes_over_what_is_left(lab: Lab) -> None:
    """A learning scan on a heterogeneous allocation: CPUs here, a GPU there. Another job for the same run directory is
    refused; the driver is killed, a node's Ray is killed, then the job is cancelled, and a new one goes on."""
    scan = Scan(lab, "cancelled", points=420, method=LEARNING)
    job = scan.submit("--nodes=1", "--nodelist=n1", "--cpus-per-task=2", ":", "--nodes=1", "--gres=gpu:1", "--exclusive")
    scan.slow(True)
    scan.wait_for(5, "n1")
    second = scan.submit("--nodes=1", "--nodelist=n2", "--cpus-per-task=2")
    scan.wait_until(lambda: any("TrainerActor" in args for args in lab.processes("n3").values()), "the trainer on the GPU's node")
    second.wait_for("FAILED")
    assert second.exit_status == 2 and "a driver works in it" in scan.output()
    scan.slow(False)
    scan.wait_for(len(scan.diary()) + 10)
    faults = [kill(lab, "n1", "raydnnr.run")]
    scan.wait_for(count(scan, "n3") + 5, "n3")
    scan.slow(True)
    faults.append(kill(lab, "n3", "raylet/raylet"))
    scan.wait_for_stragglers()
    scan.wait_for(count(scan, "n3") + 5, "n3")  # where Ray is started again
    scan.slow(False)
    cancelled = job.cancel("n1", "n3")
    faults.append((cancelled, time.time()))  # evaluators that are cut off go on for a moment
    done = len(scan.diary())
    status = scan.run_dir / "status.json"
    assert json.loads(status.read_text())["state"] == "stopped" and status.stat().st_mtime < cancelled + 20
    again = scan.submit("--nodes=1", "--nodelist=n2", "--cpus-per-task=2")
    summary = again.end()

    assert 100 < done < 420
    assert summary["evaluations"] == 420 and summary["iterations"] == 6
    scan.check(*faults)
    nothing_left(lab, scan, machines=["n1", "n2", "n3"])


def count(scan: Scan, machine: str) -> int:
    """Evaluations that reached their end on a machine."""
    return sum(host == machine for _, host, _ in scan.diary())


def test_the_machine_of_the_driver_is_lost(lab: Lab, headless: tuple[Job, float]) -> None:
    """Slurm lets such a job live. The nodes that are left requeue it, and it goes on."""
    job, killed = headless
    job.scan.wait_until(lambda: job.restarts == 1, "a requeue")
    lab.boot("n5")
    lab.wait_until_idle("n5", "n6")
    job.start_now()
    job.scan.slow(False)
    assert job.end()["evaluations"] == 200
    job.scan.check((killed, time.time()))
    nothing_left(lab, job.scan)


def test_the_lab_is_as_safe_as_it_looks(lab: Lab) -> None:
    """Other users see the lab's shared folder and not what is private in it, or the test above would show nothing."""
    secret = lab.shared / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    assert stat.S_IMODE(os.stat(lab.shared).st_mode) == 0o1777
    assert "Permission denied" in lab.run("n1", "cat", secret, user="games", check=False)
    secret.unlink()
