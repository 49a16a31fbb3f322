"""What ``slurm/launch.sh`` makes of each way in which a scan can end; Slurm, Ray and the scan are little scripts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "slurm" / "launch.sh"
pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")

SRUN = """
while case $1 in --*) true ;; *) false ;; esac; do shift; done
"$@"
"""
PYTHON = """
shift; module=$1; shift
if [ "$module" = raydnnr.cluster.node ]; then
    echo 127.0.0.1:1 > "$1/address"; echo 2 > "$1/dashboard"
    while [ ! -e "$1/end" ] && [ ! -e "$LAUNCH_TEST/head-dies" ]; do /bin/sleep 0.05; done
    [ -e "$LAUNCH_TEST/head-dies" ] || exit 0
    rm "$LAUNCH_TEST/head-dies"; echo "Ray's head node ended" > "$1/problem"; exit 1
fi
echo "$*" >> "$LAUNCH_TEST/tries"
read -r end < <(sed -n "$(wc -l < "$LAUNCH_TEST/tries")p" "$LAUNCH_TEST/ends")
case $end in
    killed) kill -KILL $$ ;;
    head-*) touch "$LAUNCH_TEST/head-dies"; while [ -e "$LAUNCH_TEST/head-dies" ]; do /bin/sleep 0.05; done; exit "${end#head-}" ;;
    signal) trap 'exit 85' USR1 TERM; touch "$LAUNCH_TEST/waits"; while :; do /bin/sleep 0.05; done ;;
    *) exit "$end" ;;
esac
"""


class Launch:
    """``launch.sh`` in a folder, with scans that end in these ways one after the other."""

    def __init__(self, folder: Path, *ends: str, python: str = "") -> None:
        self.folder = folder
        programs = {"srun": SRUN, "scontrol": 'echo "$*" >> "$LAUNCH_TEST/scontrol"', "squeue": "", "sleep": "/bin/sleep 0.3",
                    "fake-python": PYTHON}
        (folder / "bin").mkdir()
        for name, text in programs.items():
            (folder / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
            (folder / "bin" / name).chmod(0o755)
        (folder / "site.sh").write_text(f"PYTHON=({python or 'fake-python'})\n")
        (folder / "ends").write_text("".join(f"{end}\n" for end in ends))
        environment = {**os.environ, "LAUNCH_TEST": str(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}",
                       "RAYDNNR_SITE": str(folder / "site.sh"), "RAYDNNR_SLURM": str(LAUNCH.parent),
                       "SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(folder), "SLURMD_NODENAME": "n1"}
        self.process = subprocess.Popen(["bash", str(LAUNCH), "scan.toml"], env=environment, text=True, cwd=folder,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def end(self) -> tuple[int, int, str]:
        """Exit status, how often the scan was started, and what was said."""
        said, _ = self.process.communicate(timeout=60)
        tries = self.folder / "tries"
        return self.process.returncode, len(tries.read_text().splitlines()) if tries.exists() else 0, said


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
    assert said.count("srun ended before Ray was up") == 1 and "/nowhere/python" in said


@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_only_the_time_limit_requeues(tmp_path, number, requeued):
    launch = Launch(tmp_path, "signal")
    deadline = time.monotonic() + 30
    while not (tmp_path / "waits").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    launch.process.send_signal(number)
    found, tries, said = launch.end()
    assert (found, tries) == (85, 1), said
    assert (tmp_path / "scontrol").exists() == requeued
    assert not requeued or (tmp_path / "scontrol").read_text() == "requeue 7\n"
