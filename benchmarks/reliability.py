"""Can P(good) be believed? What hybrid predicted of its own points, beside what became of them.

    python benchmarks/reliability.py [--problems NAME ...] [--seeds N ...] [--out FILE.md]

Scans of the search benchmark's problems to 1000 good points. Each point's probability of being good was predicted when
it was proposed; nothing had been learned from it by then. The points are those that were chosen because of such
predictions, where an overconfident surrogate shows most.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from common import table, versions
from numpy.typing import NDArray
from problems import PROBLEMS
from score import WANTED

from raydnnr.run import run
from raydnnr.search.hybrid import Hybrid

MAX_EVALUATIONS = 3000
SOME = ["toy3d", "rosenbrock4", "rastrigin4", "ackley6", "shell12", "islands5"]
Bins = NDArray[np.float64]


def reliability(problem: str, seed: int) -> Bins:
    """Number of points, sum of their predicted probabilities, and number of good ones, by tenths of it (10, 3)."""
    plan = PROBLEMS[problem].plan(Hybrid(synchronous=True), seed, points=WANTED, max_evaluations=MAX_EVALUATIONS)
    with tempfile.TemporaryDirectory() as name:
        run(plan, run_dir=Path(name) / "run", inline=True, progress=False)
        report = json.loads((Path(name) / "run" / "surrogate" / "training.json").read_text())
    bins = np.zeros((10, 3))
    for n, p, share in report["reliability"]:
        bins[min(int(10 * p), 9)] += (n, n * p, n * share)
    return bins


def rows_of(name: str, bins: Bins) -> list[list[str]]:
    """Lines of the table."""
    lines = []
    for k, (n, total, good) in enumerate(bins):
        if n:
            error = np.sqrt(max(good * (n - good), 1.0) / n) / n
            lines.append([name, f"{k / 10:.1f} to {(k + 1) / 10:.1f}", f"{n:.0f}", f"{total / n:.2f}",
                          f"{good / n:.2f} +- {error:.2f}"])
    return lines


def main() -> None:
    """Run, and print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--problems", nargs="+", default=SOME, choices=list(PROBLEMS))
    p.add_argument("--seeds", nargs="+", type=int, default=[1])
    p.add_argument("--out", type=Path)
    arguments = p.parse_args()
    found = {problem: sum((reliability(problem, seed) for seed in arguments.seeds), np.zeros((10, 3)))
             for problem in arguments.problems}
    lines = rows_of("all", sum(found.values(), np.zeros((10, 3))))
    for problem, bins in found.items():
        lines += rows_of(problem, bins)
    how = f"`python benchmarks/reliability.py`, seeds {arguments.seeds}; {versions()}."
    results = table(["problem", "P(good)", "points", "mean of it", "good"], lines)
    text = f"# Reliability of P(good)\n\n{how}\n\n{results}\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
