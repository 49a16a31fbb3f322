"""Runs of the search benchmark to a page of tables, JSON and plots."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import table, versions
from numpy.typing import NDArray
from pictures import draw
from problems import ALL
from problems.problem import Problem
from problems.shells import on_small_island
from score import CHECKPOINTS, WANTED, Curves, Log, Score, curves, good_points, score

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """Of `hybrid`: at most so many evaluations to 1000 good points, coverage at least, at most to half coverage."""

    evals_to_1000: int
    coverage: float
    evals_to_cov50: int


TARGETS = {  # half coverage: a fifth of the best peer's with observables, half of it without
    "toy3d": Target(1400, 0.85, 970), "shell8": Target(1400, 0.85, 2598), "shell12": Target(1400, 0.85, 2983),
    "islands5": Target(1400, 0.85, 410), "himmelblau2": Target(1400, 0.70, 865), "ackley6": Target(1300, 0.70, 989),
    "rosenbrock4": Target(2500, 0.70, 1428), "rastrigin4": Target(4000, 0.70, 5061),
}
RIVALS = ("cmaes", "emcee")  # against which no seed may fall behind at the same number of evaluations
SHOWN = (1000, 2000, 5000, 10_000, 20_000)


@dataclass(frozen=True)
class Run:
    """What is reported of one run."""

    problem: str
    method: str
    seed: int
    score: Score
    curves: Curves
    cpu_ms: float
    wall_ms: float
    small_island: bool | None

    @classmethod
    def of(cls, problem: Problem, method: str, seed: int, log: Log, cpu_s: float, wall_s: float) -> Run:
        """Score a log. ``cpu_ms``, ``wall_ms``: per evaluation, the start of the program included."""
        found = curves(log, problem.threshold_value, problem.reference)
        island = None
        if problem.name == "islands5":
            first = log.u[good_points(log, problem.threshold_value)][:WANTED]
            island = bool(on_small_island(first).any())
        each = 1000.0 / max(len(log), 1)
        return cls(problem.name, method, seed, score(found), found, cpu_s * each, wall_s * each, island)


def write_report(stem: Path, runs: Sequence[Run], command: str, n_wanted: int) -> str:
    """Write ``stem``.md and ``stem``.json; the page is returned."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    head = [f"# Search efficiency, {stem.name.removeprefix('efficiency_').replace('_', ', ')}", _setting(command)]
    if len(runs) < n_wanted:
        head.append(f"**{n_wanted - len(runs)} of {n_wanted} runs are missing.**")
    methods = [run.method for run in runs if not run.method.startswith("hybrid: ")]
    plain = [run for run in runs if run.method in methods]
    parts = [*head, _explained(), _results(plain), "## At the same number of evaluations",
             "Medians: good points (coverage).", _at_checkpoints(plain)]
    if any(run.method == "hybrid" for run in plain):
        parts += ["## Worst case of hybrid", _worst_case(plain), _islands(plain)]
    if len(plain) < len(runs):
        parts += ["## Ablation of hybrid", _ablation([run for run in runs if run not in plain])]
    page = "\n\n".join(part for part in parts if part) + "\n"
    stem.with_name(stem.name + ".md").write_text(page)
    stem.with_name(stem.name + ".json").write_text(json.dumps(_raw(runs, command), indent=1) + "\n")
    return page


def pictures(stem: Path, runs: Sequence[Run]) -> None:
    """Good points and coverage against evaluations, every problem in ``stem``/<problem>.png."""
    names = list(dict.fromkeys(run.method for run in runs))
    for problem in dict.fromkeys(run.problem for run in runs):
        curves = {name: [r.curves for r in runs if (r.problem, r.method) == (problem, name)] for name in names}
        draw(stem / f"{problem}.png", curves, f"{problem}: {ALL[problem].hard}", logarithmic=True)


def _setting(command: str) -> str:
    extra = []
    for name in ("cmaes", "emcee", "scipy"):
        try:
            extra.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            pass
    commit = _git("rev-parse", "--short", "HEAD") + (" and changes" if _git("status", "--porcelain", "raydnnr") else "")
    return f"`{command}`\n\nCommit {commit}; {versions()}, {', '.join(extra)}, bsmart 2.0.2. One thread a run."


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip()


def _explained() -> str:
    return ("Median over seeds (lowest to highest). Evaluations count everything sent to the physics. `coverage`: "
            "share of the good region that the first 1000 good points are near to (r90); 1000 ideal independent ones "
            "have 0.90. `> N (g)`: not reached in N evaluations, with g good points. CPU time is per evaluation, start "
            "included.")


def _results(runs: Sequence[Run]) -> str:
    header = ["problem", "method", "evals_to_1000", "coverage", "evals_to_cov50", "good", "CPU, ms"]
    rows: list[list[object]] = []
    for problem in dict.fromkeys(run.problem for run in runs):
        known = ALL[problem]
        rows.append([f"**{problem}**", f"good fraction {known.reference.fraction:.1e}", "", "", "", "", ""])
        if target := TARGETS.get(problem):
            rows.append(["", "*target of hybrid*", f"*{target.evals_to_1000:,}*", f"*{target.coverage:.2f}*",
                         f"*{target.evals_to_cov50:,}*", "", ""])
        for name, mine in _by_method(runs, problem):
            rows.append(["", name, _evaluations(mine, lambda s: s.evals_to_1000),
                         _spread([run.score.coverage for run in mine], "{:.2f}"),
                         _evaluations(mine, lambda s: s.evals_to_cov50),
                         f"{np.median([run.score.good for run in mine]):,.0f}",
                         f"{np.median([run.cpu_ms for run in mine]):.2f}"])
    return table(header, rows)


def _by_method(runs: Sequence[Run], problem: str) -> list[tuple[str, list[Run]]]:
    mine = [run for run in runs if run.problem == problem]
    return [(name, [run for run in mine if run.method == name]) for name in dict.fromkeys(run.method for run in mine)]


def _evaluations(runs: Sequence[Run], of: Callable[[Score], int | None]) -> str:
    """Median and range, where what was not reached counts as endless."""
    values = np.array([np.inf if of(run.score) is None else of(run.score) for run in runs], dtype=np.float64)
    median = np.sort(values)[len(values) // 2]
    if np.isinf(median):
        worst = runs[int(np.argsort(values)[len(values) // 2])].score
        return f"> {worst.evaluations:,} ({worst.good:,})"
    low, high = values.min(), values.max()
    return f"{median:,.0f} ({low:,.0f}–{'never' if np.isinf(high) else f'{high:,.0f}'})"


def _spread(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return f"{form.format(float(np.median(values)))} ({low}–{high})"


def _at_checkpoints(runs: Sequence[Run]) -> str:
    rows: list[list[object]] = []
    for problem in dict.fromkeys(run.problem for run in runs):
        for name, mine in _by_method(runs, problem):
            cells = []
            for n in SHOWN:
                if all(run.score.evaluations < n for run in mine):
                    cells.append("")
                    continue
                at = np.array([run.curves.at(n) for run in mine])
                cells.append(f"{np.median(at[:, 0]):,.0f} ({np.median(at[:, 1]):.2f})")
            rows.append([problem, name, *cells])
    return table(["problem", "method", *(f"{n:,}" for n in SHOWN)], rows)


def _worst_case(runs: Sequence[Run]) -> str:
    """Where a seed of hybrid has fewer good points or less coverage than the same seed of a rival."""
    rows: list[list[object]] = []
    compared = 0
    for run in (run for run in runs if run.method == "hybrid"):
        rivals = [r for r in runs if r.problem == run.problem and r.seed == run.seed and r.method in RIVALS]
        for rival in rivals:
            end = min(run.score.evaluations, rival.score.evaluations)
            for n in (*(n for n in CHECKPOINTS if n < end), end):
                compared += 1
                ours, theirs = run.curves.at(n), rival.curves.at(n)
                if ours[0] < theirs[0] or ours[1] < theirs[1] - 1e-9:
                    rows.append([run.problem, run.seed, rival.method, f"{n:,}", f"{ours[0]:,} ({ours[1]:.2f})",
                                 f"{theirs[0]:,} ({theirs[1]:.2f})"])
    text = (f"Against {' and '.join(RIVALS)} with the same seed, after {', '.join(map(str, CHECKPOINTS[:5]))}, ... "
            f"evaluations, as long as both ran: behind in {len(rows)} of {compared} comparisons.")
    return text if not rows else text + "\n\n" + table(
        ["problem", "seed", "rival", "evaluations", "hybrid: good (coverage)", "rival"], rows)


def _islands(runs: Sequence[Run]) -> str:
    mine = [run for run in runs if run.method == "hybrid" and run.small_island is not None]
    if not mine:
        return ""
    seen = sum(bool(run.small_island) for run in mine)
    return f"The small island of islands5 is among the first 1000 good points in {seen} of {len(mine)} seeds."


def _ablation(runs: Sequence[Run]) -> str:
    rows: list[list[object]] = []
    for problem in dict.fromkeys(run.problem for run in runs):
        for name, mine in _by_method(runs, problem):
            rows.append([problem, name.removeprefix("hybrid: "), _evaluations(mine, lambda s: s.evals_to_1000),
                         _spread([run.score.coverage for run in mine], "{:.2f}"),
                         _evaluations(mine, lambda s: s.evals_to_cov50),
                         f"{np.median([run.cpu_ms for run in mine]):.2f}"])
    return table(["problem", "switched off", "evals_to_1000", "coverage", "evals_to_cov50", "CPU, ms"], rows)


def _raw(runs: Sequence[Run], command: str) -> dict[str, Any]:
    return {"command": command, "versions": versions(), "runs": [
        {"problem": run.problem, "method": run.method, "seed": run.seed, **asdict(run.score), "cpu_ms": run.cpu_ms,
         "wall_ms": run.wall_ms, "small_island": run.small_island,
         "at": {n: run.curves.at(n) for n in CHECKPOINTS if n <= run.score.evaluations}} for run in runs]}
