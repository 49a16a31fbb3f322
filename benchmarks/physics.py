"""Evaluations to 300 good points of real physics: hybrid beside random points, restarted CMA-ES and emcee.

    python benchmarks/physics.py configs/cmssm_softsusy.toml --set 'tools.spectrum.program="/path/to/softpoint.x"'

The configuration's codes must be there. All searches see the same unit cube and the same NLL; points that are not ok
have none. Peers are those of `efficiency.py`; hybrid and random run as the program runs them, in strict iterations.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import cma, mcmc
from peers.recorder import BudgetSpent

from raydnnr.config import load
from raydnnr.evaluation import Outcomes, Status, score
from raydnnr.plan import Plan
from raydnnr.run import run
from raydnnr.search.methods import KINDS
from raydnnr.tools.slot import ScratchRoot, Slot

Array = NDArray[np.float64]


class RealProblem:
    """A plan's physics, as the peers want it; it ends them by `BudgetSpent` once there are enough good points.

    Args:
        plan: Whose toolchain runs.
        n_good: Good points that are wanted.
    """

    def __init__(self, plan: Plan, n_good: int) -> None:
        self.plan, self.n_good, self.n_evaluations, self.found = plan, n_good, 0, 0
        self.space, self.threshold_value = plan.space, plan.stop.threshold_value
        self._root = ScratchRoot.create()
        self._slot = Slot(0, self._root)

    def nll(self, u: Array) -> Array:
        """NLL (N,) of points (N, P) of the unit cube, one after the other; NaN where a point is not ok."""
        out = np.array([self._one(point) for point in self.plan.space.from_unit_cube(u)])
        return out

    def close(self) -> None:
        """End its processes and scratch."""
        self._slot.kill()
        self._root.close()

    def _one(self, x: Array) -> float:
        if self.found >= self.n_good:
            raise BudgetSpent
        result = self.plan.toolchain.evaluate(x, self._slot)
        self.n_evaluations += 1
        if result.status != Status.OK:
            return np.nan
        outcomes = Outcomes(np.zeros(1, np.int64), result.values[None], np.array([result.status], np.int8), [""],
                            np.ones(1, np.int8), np.zeros(1), "", np.zeros(1))
        nll = float(score(outcomes, self.plan.likelihoods).nll[0])
        self.found += nll < self.threshold_value
        return nll


def peer(search: Callable[..., Any], plan: Plan, seed: int, n_good: int, limit: int) -> str:
    """Evaluations of a search that knows nothing of the program."""
    problem = RealProblem(plan, n_good)
    try:
        with contextlib.suppress(BudgetSpent):
            search(problem, seed, limit)
    finally:
        problem.close()
    return _words(problem.n_evaluations, problem.found, n_good)


def ours(method: str, plan: Plan, seed: int, n_good: int, limit: int) -> str:
    """Evaluations of one of our methods, through the program."""
    stop = replace(plan.stop, points=n_good, max_evaluations=limit, iterations=0)
    chosen = replace(plan, method=KINDS[method](synchronous=True), seed=seed, stop=stop)
    with tempfile.TemporaryDirectory() as folder:
        result = run(chosen, run_dir=Path(folder) / "run", inline=True, progress=False)
        table = result.dataframe().sort_values("point_id")
    good = np.flatnonzero(((table.status == "ok") & (table.nll < stop.threshold_value)).to_numpy())
    reached = len(good) >= n_good
    return _words(int(good[n_good - 1]) + 1 if reached else len(table), min(len(good), n_good), n_good)


def _words(n_evaluations: int, found: int, n_good: int) -> str:
    return f"{n_evaluations:,}" if found >= n_good else f"> {n_evaluations:,} ({found} good)"


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("config", type=Path)
    p.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE")
    p.add_argument("--good", type=int, default=300, metavar="N")
    p.add_argument("--limit", type=int, default=5000, metavar="N", help="evaluations of one search at most")
    p.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    p.add_argument("--methods", nargs="+", default=["hybrid", "cmaes", "emcee", "random"])
    arguments = p.parse_args()
    plan = load(arguments.config, arguments.set)
    peers = {"cmaes": cma.search, "emcee": mcmc.from_prior, "cmaes+emcee": mcmc.from_cma}
    print(f"| method | evaluations to {arguments.good} good points, seeds {arguments.seeds} |", flush=True)
    print("| --- | --- |", flush=True)
    for name in arguments.methods:
        search = (lambda *a, f=peers[name]: peer(f, *a)) if name in peers else (lambda *a, n=name: ours(n, *a))
        results = [search(plan, seed, arguments.good, arguments.limit) for seed in arguments.seeds]
        print(f"| {name} | {'; '.join(results)} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
