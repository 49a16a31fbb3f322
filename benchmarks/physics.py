"""How many evaluations of real physics does a search need for 100 and for 300 good points, and what do these cover?

    PATH=/path/to/softsusy:/path/to/SPheno/bin:$PATH python benchmarks/physics.py \\
        configs/cmssm_softsusy.toml configs/cmssm_spheno.toml configs/b_anomalies_flavio.toml
    python benchmarks/physics.py configs/... --methods hybrid        # that one alone
    python benchmarks/physics.py configs/... --report                # from the runs that are there; runs nothing

The codes of the configurations must be there, a program on the PATH or named by ``--set tools.NAME.program=...``. All
searches see the same unit cube and the same NLL; points that are not ok have none. Peers are those of `efficiency.py`;
hybrid and random run as the program runs them, with the defaults of their methods, in strict iterations, one slot.

Every run has a process of its own, and each evaluation is on disk before the next begins, below --work: what was
interrupted, or is given a higher --limit, goes on where it was. A changed search or configuration is run again.

**Coverage** is measured in the unit cube. There is no brute-force reference here, so two makeshifts stand for it:

- *all*: good points of all methods and seeds together, thinned to 300 by farthest points (each next one is that which
  is farthest from those taken), so that a crowd counts once. The radius is the distance at which the thinning ended:
  every good point that was found lies within it of one of the 300. A run covers the share of the 300 that have one of
  its first good points within the radius. Bias: a part that no search found is missing; a run's own points are in it,
  so what only one method finds counts for it, which is meant, and every run covers a little of itself, which is not;
  and farthest points favour the rim, and with it a method that looks there.
- *random*: good points of the random runs, a run's own left out, with the same radius. These are independent and
  uniform under the prior, and no method's choice, but few, the fewer the smaller the good fraction.

Results: a page, the numbers behind it (JSON) and a plot for every configuration.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from common import table, versions
from efficiency import HERE, WORK, hardware, usable
from numpy.typing import NDArray
from peers import methods
from pictures import draw
from problems.problem import Reference
from score import Curves, Log, curves, good_points

from raydnnr.config import load
from raydnnr.errors import RunDirectoryError
from raydnnr.evaluation import Outcomes, Status, score
from raydnnr.export import read_evaluations
from raydnnr.plan import Plan
from raydnnr.run import run
from raydnnr.search.methods import KINDS
from raydnnr.tools.base import WorkerDied
from raydnnr.tools.slot import ScratchRoot, Slot

Array = NDArray[np.float64]

FORMAT = 1  # raised when a run of an older version of this file no longer means the same
REFERENCE_POINTS = 300
FIRST_GOOD = 100  # the other number of good points that is reported
TRIES = 2  # of a point whose worker died, as the program does
CODE = [HERE / "peers" / "recorder.py"]  # beside that of the search: decides what a run does


@dataclass(frozen=True)
class Task:
    """One run: until ``n_good`` good points, ``limit`` evaluations at most."""

    config: str
    overrides: tuple[str, ...]
    method: str
    seed: int
    n_good: int
    limit: int

    @cached_property
    def plan(self) -> Plan:
        """The configuration, with this search."""
        plan = load(Path(self.config), self.overrides)
        stop = replace(plan.stop, points=self.n_good, max_evaluations=self.limit, iterations=0)
        method = KINDS[self.method](synchronous=True) if self.is_ours else plan.method
        return replace(plan, method=method, seed=self.seed, stop=stop, cluster=replace(plan.cluster, slots=1))

    @property
    def name(self) -> str:
        """Of the configuration."""
        return Path(self.config).stem

    @property
    def is_ours(self) -> bool:
        """Whether it runs through the program, and not beside it."""
        return self.method in KINDS

    def path(self, work: Path) -> Path:
        """Where its evaluations are: a run directory of ours, or lines of JSON of a peer."""
        words = [FORMAT, physics_mark(Path(self.config), self.overrides), self.plan.stop.threshold_value,
                 methods.method(self.method).fingerprint(), [path.read_text() for path in CODE]]
        mark = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:12]
        return work / self.name / self.method / f"seed{self.seed}-{mark}{'' if self.is_ours else '.jsonl'}"

    def log(self, work: Path) -> Log:
        """What was evaluated so far, in the order it was asked for."""
        read = read_run if self.is_ours else Journal.read
        return read(self.path(work), self.plan)

    def done(self, work: Path) -> bool:
        """Whether nothing is left to do."""
        log = self.log(work)
        return len(log) >= self.limit or int(good_points(log, self.plan.stop.threshold_value).sum()) >= self.n_good


def physics_mark(config: Path, overrides: Sequence[str]) -> str:
    """Hash of what a configuration says of the physics, templates included; where programs are says nothing."""
    said = tomllib.loads(config.read_text())
    said = {name: value for name, value in said.items() if name not in ("scan", "search", "cluster")}
    words = sorted(set(re.findall(r'"([^"]+)"', json.dumps(said, default=str))))
    files = [(config.parent / word).read_text() for word in words if (config.parent / word).is_file()]
    settings = [text for text in overrides if not text.partition("=")[0].strip().endswith(".program")]
    return hashlib.sha256(json.dumps([said, files, settings], default=str).encode()).hexdigest()[:12]


# ---- running


class Enough(Exception):
    """There are as many good points as are wanted. Not a `BudgetSpent`: emcee's loop goes on after that."""


class Journal:
    """Evaluations of a peer, one line of JSON each: ``u``, ``nll`` (null: not ok) and the ``seconds`` it took."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.known = self.lines(path)
        whole = "".join(json.dumps(line) + "\n" for line in self.known)
        path.write_text(whole)  # without what a kill left of a last line
        self._file = path.open("a", buffering=1)

    @staticmethod
    def lines(path: Path) -> list[dict[str, Any]]:
        """What is there, but for a last line that is not whole."""
        texts = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(text) for text in texts]

    @classmethod
    def read(cls, path: Path, plan: Plan) -> Log:
        """As a log."""
        lines = cls.lines(path)
        u = np.array([line["u"] for line in lines], dtype=np.float64).reshape(-1, plan.space.n_params)
        return Log(u, np.array([np.nan if line["nll"] is None else line["nll"] for line in lines], dtype=np.float64))

    def append(self, u: Array, nll: float, seconds: float) -> None:
        """One evaluation more."""
        line = {"u": u.tolist(), "nll": None if np.isnan(nll) else nll, "seconds": round(seconds, 4)}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Nothing more comes."""
        self._file.close()


class RealProblem:
    """A plan's physics, as the peers want it; it ends them by `Enough`.

    Evaluations that the journal has are not made again: a search that starts anew from its seed asks for the same ones.
    """

    def __init__(self, plan: Plan, journal: Journal) -> None:
        self.plan, self.journal = plan, journal
        self.space, self.threshold_value = plan.space, plan.stop.threshold_value
        self._n_asked, self._good = 0, set[bytes]()  # emcee asks for its starts a second time: that counts once
        self._root = ScratchRoot.create()
        self._slot = Slot(0, self._root)

    def nll(self, u: Array) -> Array:
        """NLL (N,) of points (N, P) of the unit cube, one after the other; NaN where a point is not ok."""
        return np.array([self._one(point) for point in u])

    def close(self) -> None:
        """End its processes and scratch."""
        self._slot.kill()
        self._root.close()
        self.journal.close()

    def _one(self, u: Array) -> float:
        if len(self._good) >= self.plan.stop.points:
            raise Enough
        if self._n_asked < len(self.journal.known):
            line = self.journal.known[self._n_asked]
            if line["u"] != u.tolist():
                raise RuntimeError(f"evaluation {self._n_asked} is another than last time; delete the run")
            nll = np.nan if line["nll"] is None else float(line["nll"])
        else:
            start = time.monotonic()
            nll = self._evaluated(u)
            self.journal.append(u, nll, time.monotonic() - start)
        self._n_asked += 1
        if nll < self.threshold_value:
            self._good.add(u.tobytes())
        return nll

    def _evaluated(self, u: Array) -> float:
        x = self.space.from_unit_cube(u[None])[0]
        for _ in range(TRIES):
            with contextlib.suppress(WorkerDied):
                result = self.plan.toolchain.evaluate(x, self._slot)
                if result.status != Status.OK:
                    return np.nan
                one = Outcomes(np.zeros(1, np.int64), result.values[None], np.array([result.status], np.int8), [""],
                               np.ones(1, np.int8), np.zeros(1), "", np.zeros(1))
                return float(score(one, self.plan.likelihoods).nll[0])
        return np.nan


def run_here(task: Task, work: Path) -> None:
    """Do the run, or the rest of it, in this process."""
    path = task.path(work)
    if task.is_ours:
        run(task.plan, run_dir=path, inline=True, progress=False)
        return
    problem: Any = RealProblem(task.plan, Journal(path))
    try:
        with contextlib.suppress(Enough):
            methods.method(task.method).search(problem, task.seed, task.limit)
    finally:
        problem.close()


def read_run(path: Path, plan: Plan) -> Log:
    """A run directory's evaluations so far, in the order of their ids; none where there is no such directory."""
    try:
        rows = read_evaluations(path).to_pandas().sort_values("point_id")
    except (FileNotFoundError, RunDirectoryError):
        return Log(np.empty((0, plan.space.n_params)), np.empty(0))
    u = plan.space.to_unit_cube(rows[list(plan.space.scanned)].to_numpy(dtype=np.float64))
    return Log(u, np.where(rows.status == "ok", rows.nll, np.nan))


def run_apart(task: Task, work: Path) -> str | None:
    """Do the run in a process of its own, on one thread, unless it is done; what went wrong, or None."""
    if task.done(work):
        return None
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    words = json.dumps({**asdict(task), "work": str(work)})
    done = subprocess.run([sys.executable, __file__, task.config, "--one", words], env=os.environ | threads, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return None if done.returncode == 0 else (done.stdout.strip().splitlines() or ["no message"])[-1]


def run_all(wanted: Sequence[Task], work: Path, jobs: int) -> None:
    """Do what is missing, and say how it goes."""
    missing = [task for task in wanted if not task.done(work)]
    print(f"{len(wanted)} runs, {len(wanted) - len(missing)} of them done before", file=sys.stderr)

    def one(task: Task) -> None:
        start = time.monotonic()
        wrong = run_apart(task, work)
        log = task.log(work)
        n_good = int(good_points(log, task.plan.stop.threshold_value).sum())
        print(f"{task.name}, {task.method}, seed {task.seed}: {n_good} good of {len(log)}, "
              f"{time.monotonic() - start:.0f} s{f': {wrong}' if wrong else ''}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, missing))


# ---- reporting


@dataclass(frozen=True)
class Scored:
    """What is reported of one run: evaluations to so many good points (None: not reached), coverage of the first of
    them; of the random runs' too, NaN where there are none but its own."""

    config: str
    method: str
    seed: int
    evaluations: int
    good: int
    to_first: int | None
    to_all: int | None
    coverage: float
    coverage_random: float
    curves: Curves


@dataclass(frozen=True)
class Field:
    """All runs of one configuration, and what their good points are compared with."""

    config: str
    n_good: int
    threshold: float
    logs: dict[tuple[str, int], Log]

    @cached_property
    def reference(self) -> Reference:
        """Good points of all runs, thinned; ``fraction`` is from the random runs, NaN without."""
        everything = np.concatenate([self.good(*key) for key in self.logs])
        points, radius = thinned(everything, min(REFERENCE_POINTS, len(everything) // 4))
        n = sum(len(log) for (method, _), log in self.logs.items() if method == "random")
        hits = sum(len(self.good(*key)) for key in self.logs if key[0] == "random")
        share = hits / n if n else np.nan
        return Reference(share, float(np.sqrt(share * (1 - share) / n)) if n else np.nan, points, radius)

    def good(self, method: str, seed: int) -> Array:
        """The first ``n_good`` good points (n, P) of a run."""
        log = self.logs[method, seed]
        return np.asarray(log.u[good_points(log, self.threshold)][: self.n_good])

    def others(self, method: str, seed: int) -> Array:
        """Good points (n, P) of the random runs but this one."""
        found = [self.good(*key) for key in self.logs if key[0] == "random" and key != (method, seed)]
        return np.concatenate([np.empty((0, self.reference.points.shape[1])), *found])

    def score(self, method: str, seed: int) -> Scored:
        """One run."""
        log, reference = self.logs[method, seed], self.reference
        found = curves(log, self.threshold, reference)
        to_first, to_all = (evaluations_to(found, n) for n in (FIRST_GOOD, self.n_good))
        end = to_all or len(log)
        others = replace(reference, points=self.others(method, seed))
        random = curves(log, self.threshold, others).at(end)[1] if len(others.points) else np.nan
        return Scored(self.config, method, seed, len(log), found.at(end)[0], to_first, to_all, found.at(end)[1], random,
                      found)


def thinned(points: Array, n: int) -> tuple[Array, float]:
    """``n`` of the points (N, P), each next one the farthest from those taken, and how far the farthest left is.

    >>> thinned(np.array([[0.0], [0.1], [1.0], [0.4]]), 3)[0].ravel().tolist()
    [0.0, 1.0, 0.4]
    """
    taken, distance = [0], np.full(len(points), np.inf)
    while True:
        distance = np.minimum(distance, np.linalg.norm(points - points[taken[-1]], axis=1))
        if len(taken) >= n:
            return points[taken], float(distance.max())
        taken.append(int(distance.argmax()))


def evaluations_to(found: Curves, n_good: int) -> int | None:
    """How many it took, or None."""
    k = int(np.searchsorted(found.good, n_good))
    return k + 1 if k < len(found.good) else None


def fields(wanted: Sequence[Task], work: Path) -> list[Field]:
    """What is there, by configuration."""
    found: dict[str, Field] = {}
    for task in wanted:
        log = task.log(work)
        if len(log):
            empty = Field(task.name, task.n_good, task.plan.stop.threshold_value, {})
            found.setdefault(task.name, empty).logs[task.method, task.seed] = log
    return list(found.values())


def write_report(stem: Path, found: Sequence[Field], command: str, n_missing: int) -> str:
    """Write ``stem``.md, ``stem``.json and the plots; the page is returned."""
    scored = [field.score(*key) for field in found for key in field.logs]
    n_good = found[0].n_good
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=Path(methods.__file__).parent,
                            capture_output=True, text=True).stdout.strip()
    head = [f"# Real physics, {stem.name.removeprefix('physics_').replace('_', ', ')}",
            f"`{command}`\n\nCommit {commit}; {versions()}."]
    if n_missing:
        head.append(f"**{n_missing} runs are missing.**")
    explained = ("Median over seeds (lowest to highest). Evaluations count everything sent to the code. `> N (g)`: not "
                 f"reached in N evaluations, with g good points. `coverage` of the first {n_good} good points, or of "
                 "all where there are fewer: share of the good points of all searches together (thinned), and of those "
                 "of other random runs, that have one of them nearby; benchmarks/physics.py says how, and what is "
                 "biased about it.")
    page = "\n\n".join([*head, explained, *(_section(field, scored) for field in found)]) + "\n"
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_name(stem.name + ".md").write_text(page)
    stem.with_name(stem.name + ".json").write_text(json.dumps(_raw(found, scored, command), indent=1) + "\n")
    pictures(stem, scored)
    return page


def pictures(stem: Path, scored: Sequence[Scored]) -> None:
    """Good points and coverage (all) against evaluations, every configuration in ``stem``/<name>.png."""
    names = list(dict.fromkeys(one.method for one in scored))
    for config in dict.fromkeys(one.config for one in scored):
        curves = {name: [o.curves for o in scored if (o.config, o.method) == (config, name)] for name in names}
        draw(stem / f"{config}.png", curves, config, logarithmic=False)


def _section(field: Field, scored: Sequence[Scored]) -> str:
    reference = field.reference
    said = f"{len(reference.points)} thinned good points, radius {reference.r90:.3f}."
    if reference.fraction > 0:
        said = (f"Good fraction {reference.fraction:.3f} ± {reference.fraction_error:.3f} (the random runs): "
                f"{field.n_good} good points take {field.n_good / reference.fraction:,.0f} random ones. " + said)
    rows: list[list[object]] = []
    mine = [one for one in scored if one.config == field.config]
    for name in dict.fromkeys(one.method for one in mine):
        runs = [one for one in mine if one.method == name]
        rows.append([name, len(runs), _evaluations(runs, "to_first"), _evaluations(runs, "to_all"),
                     _spread([one.coverage for one in runs]), _spread([one.coverage_random for one in runs])])
    header = ["method", "seeds", f"evaluations to {FIRST_GOOD} good", f"to {field.n_good} good", "coverage: all",
              "random"]
    return f"## {field.config}\n\n{said}\n\n{table(header, rows)}"


def _evaluations(runs: Sequence[Scored], which: str) -> str:
    """Median and range, where what was not reached counts as endless."""
    order = sorted(runs, key=lambda one: (getattr(one, which) or np.inf, -one.good))
    middle = order[len(order) // 2]
    if getattr(middle, which) is None:
        return f"> {middle.evaluations:,} ({middle.good})"
    first, last = getattr(order[0], which), getattr(order[-1], which)
    return f"{getattr(middle, which):,} ({first:,}–{'never' if last is None else f'{last:,}'})"


def _spread(values: Sequence[float]) -> str:
    if np.isnan(values).all():
        return ""
    return f"{np.nanmedian(values):.2f} ({np.nanmin(values):.2f}–{np.nanmax(values):.2f})"


def _raw(found: Sequence[Field], scored: Sequence[Scored], command: str) -> dict[str, Any]:
    runs = []
    for one in scored:
        numbers = {name: getattr(one, name) for name in Scored.__dataclass_fields__ if name != "curves"}
        at = {n: one.curves.at(n) for n in range(100, one.evaluations + 1, 100)}
        runs.append({**{k: None if v != v else v for k, v in numbers.items()}, "at": at})
    references = {field.config: {"fraction": field.reference.fraction, "radius": field.reference.r90,
                                 "points": len(field.reference.points)} for field in found}
    return {"command": command, "versions": versions(), "references": references, "runs": runs}


def said_command(words: Sequence[str]) -> str:
    """The command line, without where things are on this machine.

    >>> said_command(["configs/a.toml", "--set", "tools.x.program=/home/me/codes/x.exe"])
    'python benchmarks/physics.py configs/a.toml --set tools.x.program=/path/to/x.exe'
    """
    kept = [re.sub(r"(^|(?<==))/(?:[^/\s]+/)+", "/path/to/", word) for word in words]
    return " ".join(["python", "benchmarks/physics.py", *kept])


def tasks(arguments: argparse.Namespace) -> list[Task]:
    """All runs that are wanted: seed by seed, so that a part of them is a smaller benchmark."""
    limits = {"random": arguments.random_limit or arguments.limit}
    return [Task(str(config), tuple(arguments.set), method, seed, arguments.good, limits.get(method, arguments.limit))
            for seed in arguments.seeds for config in arguments.configs for method in arguments.methods]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("configs", nargs="+", type=Path, metavar="CONFIG.toml")
    p.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="in every configuration")
    p.add_argument("--good", type=int, default=300, metavar="N", help="good points that are wanted (%(default)s)")
    p.add_argument("--limit", type=int, default=3000, metavar="N", help="evaluations of a run at most (%(default)s)")
    p.add_argument("--random-limit", type=int, metavar="N", help="of a random run, if another")
    p.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N")
    p.add_argument("--methods", nargs="+", default=["hybrid", "random", "emcee", "cmaes"], metavar="NAME")
    p.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at the same time")
    p.add_argument("--work", type=Path, default=WORK.with_name("physics"), metavar="DIR", help="where runs are kept")
    p.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR", help="where the results go")
    p.add_argument("--name", default=hardware(), help="of the machine, in the results' names (%(default)s)")
    p.add_argument("--report", action="store_true", help="run nothing, report what is there")
    p.add_argument("--no-report", action="store_true", help="run only")
    p.add_argument("--one", help=argparse.SUPPRESS)  # a run in this process: what a run apart is
    return p


def main() -> None:
    """Run what is asked for, and write the results."""
    arguments = parser().parse_args()
    if arguments.one:
        words = json.loads(arguments.one)
        work = Path(words.pop("work"))
        run_here(Task(**{**words, "overrides": tuple(words["overrides"])}), work)
        return
    arguments.methods = usable(arguments.methods)
    wanted = tasks(arguments)
    if not arguments.report:
        run_all(wanted, arguments.work, arguments.jobs)
    if arguments.no_report:
        return
    found = fields(wanted, arguments.work)
    if not found:
        sys.exit("there are no runs yet")
    n_missing = len(wanted) - sum(len(field.logs) for field in found)
    stem = arguments.out / f"physics_{arguments.name}_{datetime.now(UTC):%Y-%m-%d}"
    print(write_report(stem, found, said_command(sys.argv[1:]), n_missing))


if __name__ == "__main__":
    main()
