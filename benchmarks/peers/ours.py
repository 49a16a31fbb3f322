"""Our own methods, through the program: a plan, a run directory, and the evaluation table read back."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from problems.problem import Problem
from score import WANTED, Log, curves, ends

from raydnnr.export import read_evaluations
from raydnnr.kinds import build
from raydnnr.run import run
from raydnnr.search.methods import KINDS


def search(problem: Problem, seed: int, max_evaluations: int, *, method: str,
           settings: Mapping[str, Any] | None = None) -> Log:
    """A scan by a method of ``raydnnr.search.methods``, in strict iterations, so that it repeats from its seed.

    It ends with 1000 good points. Where they cover less than half of the good region it is resumed for another 1000,
    until they do or the evaluations are spent.
    """
    kind: Any = build(KINDS[method], dict(settings or {}), f"search.{method}")
    points = WANTED
    with tempfile.TemporaryDirectory() as name:
        while True:
            plan = problem.plan(dataclasses.replace(kind, synchronous=True), seed, points=points,
                                max_evaluations=max_evaluations)
            done = run(plan, run_dir=Path(name) / "run", inline=True, progress=False)
            log = read_log(Path(name) / "run", problem)
            if done.evaluations >= max_evaluations or ends(curves(log, problem.threshold_value, problem.reference)):
                return log
            if done.good < points:
                raise RuntimeError(f"{problem.name}: the scan ended early: {done.reason}")
            points += WANTED


def read_log(run_dir: Path, problem: Problem) -> Log:
    """The evaluations of a run directory in the order of their ids; what is not ``ok`` has no NLL."""
    table = read_evaluations(run_dir).to_pandas().sort_values("point_id")
    u = problem.space.to_unit_cube(table[list(problem.space.scanned)].to_numpy(dtype=np.float64))
    return Log(u, np.where(table.status == "ok", problem.nll(u), np.nan))
