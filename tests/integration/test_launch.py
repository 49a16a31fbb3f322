"""What ``slurm/launch.sh`` makes of each way in which a scan can end; Slurm, Ray and the scan are little scripts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "slurm" / "launch.sh"
pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")

SRUN = """
echo "$SLURM_NNODES $*" >> "$LAUNCH_TEST/sruns"
read -r _ silent < "$LAUNCH_TEST/silent" && case " $* " in
    *" --exclude=$silent "*) ;;
    *) echo "srun: error: Task launch for StepId=7.0 failed on node $silent: Communication connection failure" >&2; exit 1 ;;
esac
while case $1 in --*) true ;; *) false ;; esac; do shift; done
for node in n1 n2; do SLURMD_NODENAME=$node "$@" & done
wait %1
status=$?
wait
exit $status
"""
SQUEUE = """
case "$*" in
    *"-j 7 "*%i*) echo "7 $(cat "$LAUNCH_TEST/nodes")" ;;
    *"-j 7 "*) cat "$LAUNCH_TEST/nodes" ;;
    *"-j 8"*) echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1 ;;
    *"-j 9"*) echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1 ;;
esac
"""
SCONTROL = """
case "$1 $2" in
    "show hostnames") tr , '\\n' <<< "$3" ;;
    "show job") cat "$LAUNCH_TEST/job" ;;
    *) echo "$*" >> "$LAUNCH_TEST/scontrol" ;;
esac
"""
PYTHON = """
shift; module=$1; shift
if [ "$module" = raydnnr.cluster.node ]; then
    echo "$SLURMD_NODENAME $*" >> "$LAUNCH_TEST/starts"
    case "$*" in *--sweep*) exit 0 ;; esac
    starts=$(grep -c "^$SLURMD_NODENAME .*--cpus" "$LAUNCH_TEST/starts")
    read -r fate < <(sed -n "${starts}p" "$LAUNCH_TEST/$SLURMD_NODENAME")
    case $fate in
        killed) kill -KILL $$ ;;
        problem) echo "Ray does not start" > "$1/problem"; /bin/sleep 1; exit 1 ;;
        [0-9]*) exit "$fate" ;;
    esac
    if [ "$SLURMD_NODENAME" = n1 ]; then
        "$REAL_PYTHON" -c "$LISTEN" "$1" < /dev/null &
        trap "kill $!" EXIT
        echo 2 > "$1/dashboard"
    fi
    while [ ! -e "$1/end" ] && [ ! -e "$LAUNCH_TEST/head-dies" ]; do /bin/sleep 0.05; done
    if [ "$SLURMD_NODENAME" = n1 ] && [ -e "$LAUNCH_TEST/head-dies" ]; then rm "$LAUNCH_TEST/head-dies"; exit 1; fi
    exit 0
fi
echo "$*" >> "$LAUNCH_TEST/tries"
pwd >> "$LAUNCH_TEST/folders"
read -r end < <(sed -n "$(wc -l < "$LAUNCH_TEST/tries")p" "$LAUNCH_TEST/ends")
case $end in
    killed) kill -KILL $$ ;;
    head-*) touch "$LAUNCH_TEST/head-dies"; while [ -e "$LAUNCH_TEST/head-dies" ]; do /bin/sleep 0.05; done; exit "${end#head-}" ;;
    signal) trap 'exit 85' USR1 TERM; touch "$LAUNCH_TEST/waits"; while :; do /bin/sleep 0.05; done ;;
    [0-9]*) exit "$end" ;;
esac
"""
LISTEN = """
import os, socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
with open(sys.argv[1] + "/new", "w") as file:
    file.write("127.0.0.1:%d" % server.getsockname()[1])
os.rename(sys.argv[1] + "/new", sys.argv[1] + "/address")
time.sleep(600)
"""


class Launch:
    """``launch.sh`` in a folder, on the nodes n1 and n2.

    Args:
        folder: An empty one.
        ends: Of the scans, one after the other.
        n1: Fates of the nodes that are started there: ``killed``, an exit status, or nothing.
        n2: The same there.
        silent: A node that Slurm cannot reach.
        nodes: Which ones Slurm says the job has.
        python: Another Python.
        arguments: Of ``launch.sh``.
        site: More lines of ``site.sh``.
        script: What Slurm runs.
        environment: What else is different in it; None where something is not there.
    """

    def __init__(self, folder: Path, *ends: str, n1: str = "", n2: str = "", silent: str = "", nodes: str = "n1,n2",
                 python: str = "", arguments: Sequence[str] = ("scan.toml",), site: str = "", script: Path = LAUNCH,
                 environment: Mapping[str, str | None] | None = None) -> None:
        self.folder = folder
        programs = {"srun": SRUN, "scontrol": SCONTROL, "squeue": SQUEUE, "sleep": "/bin/sleep 0.3", "fake-python": PYTHON}
        (folder / "bin").mkdir()
        for name, text in programs.items():
            (folder / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
            (folder / "bin" / name).chmod(0o755)
        (folder / "site.sh").write_text(f"PYTHON=({python or 'fake-python'})\n{site}\n")
        for name, text in {"ends": "\n".join(ends), "n1": n1, "n2": n2, "nodes": nodes}.items():
            (folder / name).write_text(f"{text}\n")
        (folder / "silent").write_text(f"- {silent}\n" if silent else "")
        usual = {**os.environ, "LAUNCH_TEST": str(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}",
                 "RAYDNNR_SITE": str(folder / "site.sh"), "LISTEN": LISTEN, "REAL_PYTHON": sys.executable, "SLURM_JOB_ID": "7",
                 "SLURM_JOB_NODELIST": "n1,n2", "SLURM_ARRAY_TASK_ID": "3", "SLURMD_NODENAME": "n1"}
        there = {name: value for name, value in {**usual, **(environment or {})}.items() if value is not None}
        self.process = subprocess.Popen(["bash", str(script), *arguments], env=there, text=True, cwd=folder,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def end(self) -> tuple[int, int, str]:
        """Exit status, how often the scan was started, and what was said."""
        said, _ = self.process.communicate(timeout=180)
        return self.process.returncode, len(self.lines("tries")), said

    def lines(self, name: str) -> list[str]:
        """What a program noted."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("status", [0, 1, 2, 3, 85, 130])
def test_a_scan_that_ends_by_itself_is_not_tried_again(tmp_path, status):
    """2 is a bad configuration, 3 physics that never works, 1 any other error: more tries would end like the first."""
    found, tries, said = Launch(tmp_path, str(status)).end()
    assert (found, tries) == (status, 1), said
    assert not (tmp_path / "scontrol").exists()
    assert ("another try would end in the same way" in said) == (status in (1, 2))


@pytest.mark.parametrize("end", ["killed", "head-1", "head-2"])
def test_a_scan_is_started_again_when_it_or_ray_under_it_is_lost(tmp_path, end):
    """A driver that cannot join a Ray that has just died ends as after a wrong address, with 2."""
    found, tries, said = Launch(tmp_path, end, "0").end()
    assert (found, tries) == (0, 2), said


def test_a_scan_that_is_killed_every_time_is_given_up(tmp_path):
    found, tries, said = Launch(tmp_path, *["killed"] * 9).end()
    assert (found, tries) == (137, 6), said
    assert "what the nodes said is in" in said


def test_a_job_without_python_is_given_up_at_once(tmp_path):
    found, tries, said = Launch(tmp_path, python="/nowhere/python").end()
    assert (found, tries) == (1, 0)
    assert said.count("the first node ended before Ray was up") == 1 and "/nowhere/python" in said


@pytest.mark.parametrize(("fate", "status", "starts"), [("killed", 0, 2), ("1", 1, 1), ("problem", 1, 1)])
def test_a_first_node_that_is_killed_before_ray_is_up_is_started_again(tmp_path, fate, status, starts):
    """Not one that ends by itself, or is about to and says why: it would do so again."""
    launch = Launch(tmp_path, "0", n1=fate)
    found, tries, said = launch.end()
    assert (found, tries) == (status, 1 - status), said
    assert sum(line.startswith("n1 ") and "--cpus" in line for line in launch.lines("starts")) == starts


def test_another_node_that_is_killed_is_started_again_where_it_was(tmp_path):
    launch = Launch(tmp_path, "signal", n2="killed")
    await_file(tmp_path / "waits")
    deadline = time.monotonic() + 120
    while sum(line.startswith("n2 ") for line in launch.lines("starts")) < 2:
        assert time.monotonic() < deadline, launch.lines("starts")
        time.sleep(0.02)
    launch.process.send_signal(signal.SIGTERM)
    assert launch.end()[:2] == (85, 1)


@pytest.mark.parametrize(("nodes", "requeued"), [("n2", True), ("n1,n2", False)])
def test_the_nodes_that_are_left_requeue_a_job_whose_first_machine_is_lost(tmp_path, nodes, requeued):
    """They cannot reach Ray there (69), and Slurm no longer counts that machine to the job."""
    launch = Launch(tmp_path, "signal", n2="69", nodes=nodes)
    await_file(tmp_path / "waits")
    deadline = time.monotonic() + 120
    while sum(line.startswith("n2 ") for line in launch.lines("starts")) < 2:  # it is patient, too
        assert time.monotonic() < deadline, launch.lines("starts")
        time.sleep(0.02)
    assert launch.lines("scontrol") == ["requeue 7"] * requeued
    launch.process.send_signal(signal.SIGTERM)
    launch.end()


def test_a_node_that_slurm_cannot_reach_is_left_out(tmp_path):
    """Slurm ends a step of which it cannot start one task."""
    launch = Launch(tmp_path, "0", silent="n2")
    found, tries, said = launch.end()
    assert (found, tries) == (0, 1), said
    assert "node n2 does not answer: the job goes on without it" in said
    first, *_, last = launch.lines("sruns")
    assert first.startswith("2 ") and "--exclude" not in first
    assert last.startswith("1 ") and "--exclude=n2" in last


def test_every_node_is_swept_in_the_end(tmp_path):
    launch = Launch(tmp_path, "killed", "0")
    assert launch.end()[:2] == (0, 2)
    swept = [line.split()[0] for line in launch.lines("starts") if "--sweep" in line]
    assert sorted(swept) == ["n1", "n1", "n2", "n2"]  # after each of two tries
    assert "--sweep" in launch.lines("sruns")[-1]


def test_folders_of_jobs_that_are_over_are_removed_and_no_others(tmp_path):
    """9 is unknown to Slurm, 6 has ended; 8 may run: Slurm does not answer. What was kept for people stays."""
    for name in ("6", "8", "9", "5"):
        (tmp_path / f".raydnnr-job-{name}").mkdir()
    (tmp_path / ".raydnnr-job-5" / "kept").touch()
    Launch(tmp_path, "0").end()
    assert sorted(path.name for path in tmp_path.glob(".raydnnr-job-*")) == [".raydnnr-job-5", ".raydnnr-job-8"]


def test_a_run_option_knows_the_number_of_the_array_task(tmp_path):
    launch = Launch(tmp_path, "0", arguments=["scan.toml", "--set", "scan.seed=%a", "--set", "scan.name=s-%a"])
    assert launch.end()[0] == 0
    assert launch.lines("tries") == ["scan.toml --set scan.seed=3 --set scan.name=s-3"]


def test_slurms_copy_of_the_script_finds_its_site_file_and_works_where_sbatch_was_told(tmp_path):
    """With spaces wherever they can be."""
    home, folder, spool = (tmp_path / name for name in ("my programs", "my results", "job00007"))
    for new in (home, folder, spool):
        new.mkdir()
    (home / "site.sh").write_text("PYTHON=(fake-python)\nSITE_SH=found\necho $SITE_SH")
    (tmp_path / "job").write_text(f"JobId=7\n   Command={home}/launch.sh my scan.toml --run-dir a b\n   WorkDir={folder}\n")
    shutil.copy(LAUNCH, spool / "slurm_script")
    launch = Launch(tmp_path, "0", script=spool / "slurm_script", arguments=["my scan.toml", "--run-dir", "a b"],
                    environment={"RAYDNNR_SITE": None, "SLURM_SUBMIT_DIR": "/nowhere"})
    found, _, said = launch.end()
    assert found == 0 and "found" in said.splitlines(), said
    assert launch.lines("tries") == ["my scan.toml --run-dir a b"]
    assert launch.lines("folders") == [str(folder)]


def test_the_sites_own_scripts_see_none_of_our_arguments_and_may_be_careless(tmp_path):
    """As conda's do, which take arguments for names of environments, and stop where an unset variable is an error."""
    found, _, said = Launch(tmp_path, "0", site='echo "$# arguments and ${NOT_SET}nothing"; echo "$ALSO_NOT_SET"').end()
    assert found == 0 and "0 arguments and nothing" in said, said


def test_a_site_file_that_is_not_there_is_missed(tmp_path):
    found, tries, said = Launch(tmp_path, environment={"RAYDNNR_SITE": "/nowhere/site.sh"}).end()
    assert (found, tries) == (2, 0) and "/nowhere/site.sh" in said


def test_a_shell_that_is_on_none_of_the_jobs_machines_is_told_so(tmp_path):
    """As salloc gives one, where Ray's head would be waited for in vain."""
    found, tries, said = Launch(tmp_path, environment={"SLURMD_NODENAME": None}).end()
    assert (found, tries) == (2, 0) and "is not one of the job's machines, n1,n2" in said


def test_steps_have_the_environment_of_the_script(tmp_path):
    """Also where `sbatch --export=NONE` would have kept it from them."""
    launch = Launch(tmp_path, "0", environment={"SLURM_EXPORT_ENV": "NONE"})
    launch.end()
    steps = [line for line in launch.lines("sruns") if "--ntasks-per-node" in line]  # the words of one have many lines
    assert len(steps) == 2 and all("--export=ALL" in step for step in steps)


@pytest.mark.parametrize("fate", ["1", "127"])
def test_a_node_on_which_ray_does_not_run_is_said_to_be_left_out(tmp_path, fate):
    launch = Launch(tmp_path, "signal", n2=fate)
    assert launch.process.stdout
    said = [launch.process.stdout.readline()]
    while "is not used" not in said[-1]:
        said.append(launch.process.stdout.readline())
        assert said[-1], said
    assert f"node n2 is not used: Ray does not run there (status {fate})" in said[-1]
    await_file(tmp_path / "waits")
    launch.process.send_signal(signal.SIGTERM)
    assert launch.end()[:2] == (85, 1)


def test_a_job_whose_time_is_up_when_it_has_just_begun_is_requeued_once_only(tmp_path):
    """A time limit below the five minutes of the warning would bring it back for ever."""
    launch = Launch(tmp_path, "signal", environment={"SLURM_RESTART_COUNT": "1"})
    await_file(tmp_path / "waits")
    launch.process.send_signal(signal.SIGUSR1)
    found, _, said = launch.end()
    assert found == 85 and "the time limit must be longer" in said
    assert not (tmp_path / "scontrol").exists()


@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_only_the_time_limit_requeues(tmp_path, number, requeued):
    launch = Launch(tmp_path, "signal")
    await_file(tmp_path / "waits")
    launch.process.send_signal(number)
    found, tries, said = launch.end()
    assert (found, tries) == (85, 1), said
    assert (tmp_path / "scontrol").exists() == requeued
    assert not requeued or (tmp_path / "scontrol").read_text() == "requeue 7\n"


def test_the_script_for_another_scheduler_starts_signals_and_sweeps(tmp_path):
    """The one in slurm/README.md."""
    script = re.findall(r"```bash\n(#!/bin/bash\n#PBS.*?)```", (LAUNCH.parent / "README.md").read_text(), re.DOTALL)[0]
    folder = tmp_path / "here"
    (folder / "venv" / "bin").mkdir(parents=True)
    programs = {"python": PYTHON, "hostname": "echo n1", "pbsdsh": 'export SLURMD_NODENAME=$3; shift 4; exec "$@"'}
    for name, text in programs.items():
        (folder / "venv" / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / "venv" / "bin" / name).chmod(0o755)
    (folder / "venv" / "bin" / "activate").write_text(f"PATH={folder}/venv/bin:$PATH\n")
    (tmp_path / "nodes").write_text("n1\nn2\nn1\n")
    for name, text in {"ends": "signal", "n1": "", "n2": ""}.items():
        (tmp_path / name).write_text(f"{text}\n")
    environment = {**os.environ, "PBS_O_WORKDIR": str(folder), "PBS_JOBID": "12[3].pbs", "LISTEN": LISTEN,
                   "PBS_NODEFILE": str(tmp_path / "nodes"), "REAL_PYTHON": sys.executable, "LAUNCH_TEST": str(tmp_path)}
    job = subprocess.Popen(["bash", "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    await_file(tmp_path / "waits")
    job.send_signal(signal.SIGTERM)
    said, _ = job.communicate(timeout=180)

    assert job.returncode == 85, said
    where = f"{folder}/.raydnnr-job-123"
    assert sorted((tmp_path / "starts").read_text().splitlines()) == [
        f"n1 {where} --cpus 32 --head", f"n1 {where} --sweep --head", f"n2 {where} --cpus 32", f"n2 {where} --sweep"]
    assert not Path(where).exists()


def await_file(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
