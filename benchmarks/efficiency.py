"""How many evaluations does a search need for 1000 good points, and how well do these cover the good region?

    python benchmarks/efficiency.py                                  # everything, three seeds: hours
    python benchmarks/efficiency.py --quick                          # a small part of it: minutes
    python benchmarks/efficiency.py --methods hybrid cmaes --problems toy3d shell8 --seeds 1 2 3 4 5
    python benchmarks/efficiency.py --ablation --problems shell12    # hybrid with each part off in turn
    python benchmarks/efficiency.py --practice --methods hybrid      # on the problems that defaults are chosen on
    python benchmarks/efficiency.py --report                         # from the runs that are there; runs nothing

Problems are in `problems/`, searches in `peers/`, the score in `score.py`. Every run has a process of its own, on one
thread, and its log is kept below --work: an interrupted benchmark goes on where it was, and a changed method, problem
or setting is run again. Peers need ``pip install -e '.[benchmarks]'``; bsmart is installed into a cache on first use.

Results: a page, the numbers behind it (JSON) and a plot for every problem.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from peers import methods
from problems import ALL, PRACTICE, PROBLEMS
from report import Run, pictures, write_report
from score import Log

ABLATIONS: dict[str, dict[str, Any]] = {  # name: the settings of [search] that switch the part off
    "all": {},
    "networks only": {"surrogate": "ensemble"},
    "Gaussian processes only": {"surrogate": "gaussian_process"},
    "no surrogate": {"sources": ["explore", "local", "evolution"]},
    "no region": {"sources": ["explore", "local", "evolution", "valleys", "frontier", "tournament"]},
    "no frontier": {"sources": ["explore", "local", "evolution", "valleys", "tournament", "region"]},
    "no tournament": {"sources": ["explore", "local", "evolution", "valleys", "frontier", "region"]},
    "no valleys": {"sources": ["explore", "local", "evolution", "frontier", "tournament", "region"]},
    "no local, no evolution": {"sources": ["explore", "valleys", "frontier", "tournament", "region"]},
    "no doubt": {"doubt": False},
    "picks at the rim alone": {"acquisition": "farthest"},
    "picks by coverage gain": {"acquisition": "coverage"},
    "picks by P(good) alone": {"acquisition": "probability"},
    "100 points to start from": {"bootstrap_points": 100},
}

HERE = Path(__file__).parent
WORK = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "raydnnr-benchmarks" / "efficiency"
COMMON_CODE = [HERE / name for name in ("score.py", "problems/problem.py", "peers/recorder.py", "peers/ours.py")]
QUICK = {"problems": ["toy3d", "shell8", "islands5"], "methods": ["hybrid", "random", "cmaes"], "seeds": [1],
         "max_evaluations": 4000}
RUN_LIMIT_S = 3 * 3600


@dataclass(frozen=True)
class Task:
    """One run: ``label`` is what the tables call the method."""

    problem: str
    method: str
    seed: int
    max_evaluations: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    def path(self, work: Path) -> Path:
        """Where its log is kept; depends on all that decides what the run does."""
        module = ALL[self.problem].function.partition(":")[0]
        texts = [path.read_text() for path in (*COMMON_CODE, HERE / "problems" / f"{module}.py")]
        words = [texts, methods.method(self.method, self.settings).fingerprint(), self.max_evaluations]
        mark = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:12]
        return work / self.problem / self.method.replace(" ", "_") / f"seed{self.seed}-{mark}.npz"


def tasks(arguments: argparse.Namespace) -> list[Task]:
    """All runs that are wanted: seed by seed, so that a part of them is a smaller benchmark."""
    found = []
    for seed in arguments.seeds:
        for problem in arguments.problems:
            for name in arguments.methods:
                limit = methods.method(name).max_evaluations or arguments.max_evaluations
                found.append(Task(problem, name, seed, min(limit, arguments.max_evaluations), {}, name))
            if arguments.ablation:
                limit = min(methods.method("hybrid").max_evaluations, arguments.max_evaluations)
                found += [Task(problem, "hybrid", seed, limit, settings, f"hybrid: {part}")
                          for part, settings in ABLATIONS.items()]
    return found


def run_here(task: Task, path: Path) -> None:
    """Do the run in this process, and keep its log."""
    start = time.monotonic()
    log = methods.method(task.method, task.settings).search(ALL[task.problem], task.seed, task.max_evaluations)
    seconds = time.monotonic() - start
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(f".{os.getpid()}.tmp")
    with written.open("wb") as file:
        np.savez_compressed(file, u=log.u, nll=log.nll, seconds=seconds,
                            cpu_s=sum(u.ru_utime + u.ru_stime for u in used))
    written.replace(path)


def run_apart(task: Task, work: Path) -> str | None:
    """Do the run in a process of its own, on one thread, unless its log is there; what went wrong, or None."""
    path = task.path(work)
    if path.exists():
        return None
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    words = json.dumps({**asdict(task), "path": str(path)})
    try:
        done = subprocess.run([sys.executable, __file__, "--one", words], env=os.environ | threads, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=RUN_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"took longer than {RUN_LIMIT_S} s"
    return None if done.returncode == 0 else (done.stdout.strip().splitlines() or ["no message"])[-1]


def run_all(wanted: Sequence[Task], work: Path, jobs: int) -> None:
    """Do what is missing, and say how it goes."""
    missing = [task for task in wanted if not task.path(work).exists()]
    print(f"{len(wanted)} runs, {len(wanted) - len(missing)} of them done before", file=sys.stderr)
    with ThreadPoolExecutor(jobs) as pool:
        for k, (task, wrong) in enumerate(zip(missing, pool.map(lambda t: run_apart(t, work), missing), strict=True)):
            said = f": {wrong}" if wrong else ""
            print(f"{k + 1}/{len(missing)} {task.problem}, {task.label}, seed {task.seed}{said}", file=sys.stderr)


def finished(wanted: Iterable[Task], work: Path) -> list[Run]:
    """The runs that are there."""
    found = []
    for task in wanted:
        path = task.path(work)
        if path.exists():
            with np.load(path) as file:
                log = Log(file["u"], file["nll"])
                found.append(Run.of(ALL[task.problem], task.label, task.seed, log, float(file["cpu_s"]),
                                    float(file["seconds"])))
    return found


def usable(names: Sequence[str]) -> list[str]:
    """Methods whose packages are there; says which are not."""
    found = []
    for name in names:
        if name not in methods.names():
            print(f"{name}: there is no such method; there are {', '.join(methods.names())}", file=sys.stderr)
        elif missing := methods.method(name).missing():
            print(f"{name}: left out, needs {', '.join(missing)}: pip install -e '.[benchmarks]'", file=sys.stderr)
        else:
            found.append(name)
    return found


def hardware() -> str:
    """The machine in a word."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cpus}core"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(ALL), metavar="NAME",
                   help=f"{', '.join(PROBLEMS)}; for practice {', '.join(PRACTICE)}")
    p.add_argument("--methods", nargs="*", default=methods.names(), metavar="NAME", help=", ".join(methods.names()))
    p.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="N")
    p.add_argument("--max-evaluations", type=int, default=20_000, metavar="N", help="of a run; some peers have less")
    p.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at the same time")
    p.add_argument("--work", type=Path, default=WORK, metavar="DIR", help=f"where logs are kept ({WORK})")
    p.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR", help="where the results go")
    p.add_argument("--name", default=hardware(), help="of the machine, in the results' names (%(default)s)")
    p.add_argument("--ablation", action="store_true", help="hybrid with each part off in turn, too")
    p.add_argument("--practice", action="store_true", help="the problems for practice instead")
    p.add_argument("--quick", action="store_true", help=f"a part of it: {QUICK}")
    p.add_argument("--report", action="store_true", help="run nothing, report what is there")
    p.add_argument("--one", help=argparse.SUPPRESS)  # a run in this process: what a run apart is
    return p


def main() -> None:
    """Run what is asked for, and write the results."""
    arguments = parser().parse_args()
    if arguments.one:
        words = json.loads(arguments.one)
        run_here(Task(**{k: v for k, v in words.items() if k != "path"}), Path(words["path"]))
        return
    if arguments.practice:
        arguments.problems = list(PRACTICE)
    if arguments.quick:
        vars(arguments).update(QUICK)
    arguments.methods = usable(arguments.methods)
    wanted = tasks(arguments)
    if not arguments.report:
        run_all(wanted, arguments.work, arguments.jobs)
    runs = finished(wanted, arguments.work)
    stem = arguments.out / f"efficiency_{arguments.name}_{datetime.now(UTC):%Y-%m-%d}"
    command = " ".join(["python", "benchmarks/efficiency.py", *sys.argv[1:]])
    print(write_report(stem, runs, command, len(wanted)))
    pictures(stem, runs)


if __name__ == "__main__":
    main()
