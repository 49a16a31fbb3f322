"""Jobs in a `Lab`: scans to submit, what becomes of them, and what they leave."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from raydnnr.errors import RunDirectoryError
from raydnnr.export import read_evaluations
from tests.slurm_lab.lab import Lab

CONFIG = """
[scan]
name = "drill"
points = 0
iterations = 0
max_evaluations = {points}
[search]
{method}
[parameters]
x = {{ low = 0, high = 1 }}
y = {{ low = 0, high = 1 }}
[[tools]]
name = "drill"
{tool}
[observables.z]
{observable}
likelihood = {{ kind = "gauss", mean = 0.5, sigma = 0.1 }}
"""
RANDOM = 'method = "random"\nbootstrap_points = {points}'
PYTHON = 'kind = "python"\nfunction = "drill:observables"'
PROGRAM = 'kind = "slha"\ncommand = ["{folder}/code", "{{input}}", "{{output}}"]\ntemplate = "{folder}/card.in"'
SLHA = 'from = { tool = "drill", block = "MASS", key = [25] }'
PHYSICS = """
import os, socket, time
from pathlib import Path
PAUSE_S, SLOW_S = {pause_s}, 1.0
def observables(point):
    time.sleep(SLOW_S if Path("{folder}/slow").exists() else PAUSE_S)
    if Path("/tmp/bad-mount").exists():
        raise OSError("libphysics.so: cannot open shared object file")
    line = f"{{time.time()}} {{socket.gethostname()}} {{point['x']!r}}\\n"
    note = os.open("{folder}/diary", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(note, line.encode())
    os.close(note)
    return {{"z": point["x"] * point["y"]}}
"""
CODE = """#!/bin/bash
fallocate -l {scratch} here || exit 1
if [ -e {folder}/slow ]; then sleep 1; else sleep {pause_s}; fi
x=$(sed -n 's/^ *1 *\\([^ ]*\\).*/\\1/p' "$1")
printf 'Block MASS\\n 25 0.5\\nBlock SPINFO\\n 1 code\\n' > "$2"
echo "$(date +%s.%N) $(hostname) $x" >> {folder}/diary
"""
CARD = "Block MINPAR\n 1 x\n 2 y\n"
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "PREEMPTED")


@dataclass
class Scan:
    """A folder with a configuration and physics in it, on the machines' shared file system.

    Args:
        lab: Where.
        name: Of the folder.
        points: How many evaluations it takes.
        pause_s: How long one takes.
        program: Whether the physics is a program, or a Python function.
        scratch: How much room the program takes where it works.
        user: Whose it is; root's if empty.
        method: The ``[search]`` table.
        options: Run options.
        config: Name of the configuration file.
    """

    lab: Lab
    name: str
    points: int = 200
    pause_s: float = 0.1
    program: bool = False
    scratch: str = "1K"
    user: str = ""
    method: str = RANDOM
    options: list[str] = field(default_factory=list)
    config: str = "drill.toml"
    jobs: list[Job] = field(default_factory=list, repr=False)  # that were submitted for it

    def __post_init__(self) -> None:
        self.folder = self.lab.shared / self.name
        self.folder.mkdir(mode=0o700)
        tool = PROGRAM.format(folder=self.folder) if self.program else PYTHON
        config = CONFIG.format(points=self.points, tool=tool, observable=SLHA if self.program else "",
                               method=self.method.format(points=self.points))
        (self.folder / self.config).write_text(config)
        (self.folder / "drill.py").write_text(PHYSICS.format(pause_s=self.pause_s, folder=self.folder))
        (self.folder / "code").write_text(CODE.format(pause_s=self.pause_s, scratch=self.scratch, folder=self.folder))
        (self.folder / "code").chmod(0o755)
        (self.folder / "card.in").write_text(CARD)
        if self.user:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, self.user)

    def slow(self, on: bool) -> None:
        """Let an evaluation take a second, so that the scan does not end before something else has happened."""
        mark = self.folder / "slow"
        mark.touch() if on else mark.unlink()

    def wait_until(self, condition: Callable[[], object], what: str, within_s: float = 300.0) -> None:
        """Wait for something that a job does; not once points have failed, or no job is left to do it."""
        self.lab.wait_until(condition, lambda: f"{what} in {self.name}: {self.output()}", within_s, self._hopeless)

    def wait_for_word(self, word: str) -> None:
        """Wait until a job has said something."""
        self.wait_until(lambda: word in self.output(), repr(word))

    @property
    def run_dir(self) -> Path:
        """Where the scan puts everything."""
        return self.folder / "runs" / "drill"

    def submit(self, *options: str, environment: dict[str, str] | None = None) -> Job:
        """``sbatch OPTIONS slurm/launch.sh drill.toml RUN_OPTIONS``."""
        words = [f"{k}={v}" for k, v in (environment or {}).items()]
        said = self.lab.run("login", "env", *words, "sbatch", "--output=out-%j.txt", *options,
                            self.lab.repository / "slurm" / "launch.sh", self.config, *self.options,
                            user=self.user, cwd=self.folder)
        self.jobs.append(Job(self, said.split()[-1]))
        return self.jobs[-1]

    def diary(self) -> list[tuple[float, str, float]]:
        """Every evaluation that reached its end: when, where, its x."""
        try:
            lines = (self.folder / "diary").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(float(t), host, float(x)) for t, host, x in map(str.split, lines)]

    def wait_for(self, n_points: int, host: str = "") -> None:
        """Wait until so many points have been evaluated (on a host)."""
        self.wait_until(lambda: sum(host in ("", h) for _, h, _ in self.diary()) >= n_points,
                        f"{n_points} points on {host or 'all hosts'}")

    def wait_for_stragglers(self) -> None:
        """Wait until every point up to the newest one that is finished now is finished: points are given out in
        order, so these are all that anybody had who was lost some time ago.
        """
        wanted = set(range(max(self.safe(), default=-1) + 1))
        self.wait_until(lambda: wanted <= self.safe().keys(), f"all of the first {len(wanted)} points", 120)

    def output(self) -> str:
        """What all its jobs printed."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("out-*.txt")))

    def table(self) -> pd.DataFrame:
        """The evaluations."""
        return pd.read_parquet(self.run_dir / "evaluations")

    def safe(self) -> dict[int, int]:
        """What is in the run directory now: when each point was finished (microseconds), by point id."""
        try:
            return finished_at(read_evaluations(self.run_dir).to_pandas())
        except RunDirectoryError:
            return {}

    def failed(self) -> str:
        """How many points have failed, and why, as far as the driver has told; empty if none have."""
        try:
            status = json.loads((self.run_dir / "status.json").read_text())
        except (OSError, ValueError):
            return ""
        return f"{status['failed']} points have failed: {status['reasons']}" if status["failed"] else ""

    def _hopeless(self) -> str:
        states = [job.state for job in self.jobs]
        return self.failed() or (f"all its jobs are over: {states}" if all(state in OVER for state in states) else "")

    def check(self, *faults: tuple[float, float]) -> pd.DataFrame:
        """The evaluations, of which there are as many as asked for, all ok, no point twice.

        Args:
            faults: From when to when something was broken. What was finished before (by more than a second) or
                after was evaluated once only.
        """
        table = self.table()
        assert len(table) == self.points, self.output()
        assert table.point_id.is_unique and table.x.is_unique
        assert (table.status == "ok").all(), table[table.status != "ok"].reason.value_counts()
        finished: dict[float, list[float]] = {}
        for t, _, x in self.diary():
            finished.setdefault(x, []).append(t)
        assert finished.keys() == set(table.x)
        repeated = {x: ts for x, ts in finished.items()
                    if len(ts) > 1 and not any(begin - 1.0 < min(ts) < end + 1.0 for begin, end in faults)}
        assert not repeated, f"finished evaluations were repeated: {repeated}\n{self.output()}"
        return table


def finished_at(table: pd.DataFrame) -> dict[int, int]:
    """When each point was finished (microseconds), by point id."""
    return dict(zip(table.point_id.tolist(), table.finished.astype("int64").tolist(), strict=True))


@dataclass(frozen=True)
class Job:
    """A job of a scan."""

    scan: Scan
    id: str

    @property
    def folder(self) -> Path:
        """What its nodes, driver and script tell each other."""
        return self.scan.folder / f".raydnnr-job-{self.id}"

    @property
    def state(self) -> str:
        """``RUNNING``, ``PENDING``, ``COMPLETED`` ..."""
        return self._field("JobState")

    @property
    def restarts(self) -> int:
        """How often it was requeued."""
        return int(self._field("Restarts"))

    @property
    def exit_status(self) -> int:
        """Of its script."""
        return int(self._field("ExitCode").partition(":")[0])

    def wait_for(self, state: str) -> None:
        """Wait for a state."""
        self._wait_until(lambda: self.state == state, state)

    def end(self) -> dict[str, Any]:
        """Wait for its end; the scan's summary."""
        self._wait_until(lambda: self.state in OVER, "over")
        text = (self.scan.folder / f"out-{self.id}.txt").read_text()
        assert self.state == "COMPLETED", f"{self.state}\n{text}"
        return dict(json.loads(re.findall(r"^\{.*\}$", text, re.MULTILINE)[-1]))

    def signal(self, name: str) -> None:
        """As Slurm does before the time limit (``--signal=B:NAME@...``)."""
        self.scan.lab.run("login", "scancel", "--batch", f"--signal={name}", self.id)

    def cancel(self, *machines: str) -> float:
        """``scancel``; when. Returns when the job is gone from its nodes."""
        now = time.time()
        lab = self.scan.lab
        lab.run("login", "scancel", self.id)
        lab.wait_until(lambda: not any(lab.processes(name) for name in machines), "the nodes to be empty", 90)
        return now

    def requeued(self, before: int) -> None:
        """Wait until it was requeued more often than before, and do not wait the two minutes that Slurm holds it."""
        self._wait_until(lambda: self.restarts > before, "requeued")
        self.start_now()

    def limit(self, minutes: int) -> None:
        """Once it was requeued, give it another time limit."""
        self._wait_until(lambda: self.restarts > 0, "requeued")
        self.scan.lab.run("login", "scontrol", "update", f"JobId={self.id}", f"TimeLimit={minutes}")

    def start_now(self) -> None:
        """Do not wait the two minutes that Slurm holds a requeued job, unless they are over."""
        self._wait_until(lambda: self.state in ("PENDING", "RUNNING"), "where it can start")
        time.sleep(2)  # a node refuses the credentials that a job is given in the second in which it was ended
        words = ("scontrol", "update", f"JobId={self.id}", "StartTime=now")
        self.scan.lab.run("login", *words, check=False)

    def _wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that becomes of the job; not once it is over, or points have failed."""
        def hopeless() -> str:
            return self.scan.failed() or (f"it is {self.state}" if self.state in OVER else "")

        self.scan.lab.wait_until(condition, lambda: f"job {self.id} to be {what}: {self.scan.output()}", 300, hopeless)

    def _field(self, name: str) -> str:
        text = self.scan.lab.run("login", "scontrol", "show", "job", self.id)
        found = re.search(rf"{name}=(\S+)", text)
        assert found, text
        return found[1]


def nothing_left(lab: Lab, *scans: Scan, machines: Iterable[str] = ()) -> None:
    """No process and no file of ours on any of the machines (by default, all), nor in the folders of the scans.

    Raises:
        AssertionError: What there is.
    """
    def left() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in machines or lab.machines:
            files = lab.run(name, "find", "/tmp", "/dev/shm", "-mindepth", "1", "-maxdepth", "1").split()
            if here := [*files, *lab.processes(name).values()]:
                found[name] = here
        if jobs := [path for scan in scans for path in scan.folder.glob(".raydnnr-*")]:
            found["shared"] = jobs
        return found

    try:
        lab.wait_until(lambda: not left(), "", 15)
    except AssertionError:
        raise AssertionError(f"left behind: {left()}") from None


def kill(lab: Lab, machine: str, *programs: str) -> tuple[float, float]:
    """SIGKILL for programs; when."""
    found = [pid for pid, args in lab.processes(machine).items()
             if any(program in args for program in programs) and "srun" not in args]
    assert found, lab.processes(machine)
    lab.run(machine, "kill", "-KILL", *map(str, found))
    return time.time(), time.time()
