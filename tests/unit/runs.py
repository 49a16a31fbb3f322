"""Run directories that tests share: physics with a known answer at every point, and ways to drive a store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from raydnnr.evaluation import Outcomes, Points, Proposal, Status, score
from raydnnr.store import Store

FINISHED, STEP_S = 1.7e9, 1.234567  # Unix time at which point 0 is finished; every later id takes a step more


def proposal(n, seed=0, origin="random"):
    """``n`` points of the unit square."""
    rng = np.random.default_rng(seed)
    return Proposal(rng.random((n, 2)), [origin] * n, rng.random(n))


def physics(points: Points, rows=None, host="node1", files=False) -> Outcomes:
    """Distance from the centre and sum, as `plans.disc`: invalid for x < 0.2, failed for y > 0.9, else ok."""
    points = points if rows is None else points.take(np.asarray(rows, dtype=np.intp))
    x, y = points.x.T
    observables = np.column_stack([np.hypot(x - 0.5, y - 0.5), x + y])
    status = np.select([y > 0.9, x < 0.2], [Status.FAILED, Status.INVALID], Status.OK).astype(np.int8)
    observables[status == Status.INVALID, 1] = np.nan
    observables[status == Status.FAILED] = np.nan
    words = {Status.OK: "", Status.INVALID: "x too small", Status.FAILED: "crash\nat the end of the world"}
    kept = {i: {"out.slha": f"point {i}".encode()} for i in points.point_id.tolist()} if files else {}
    return Outcomes(points.point_id, observables, status, [words[Status(s)] for s in status.tolist()],
                    np.ones(len(points), np.int8), np.full(len(points), 0.25), host,
                    FINISHED + STEP_S * points.point_id, kept)


def evaluate(store: Store, plan, points: Points, rows=None, **settings) -> None:
    """Evaluate points, all by default, and record them."""
    store.record(score(physics(points, rows, **settings), plan.likelihoods))


def run_rounds(run_dir: Path, plan, sizes, **settings) -> None:
    """A scan of rounds of these sizes, to its end, from nothing."""
    store = Store.open(run_dir, plan, {"config.toml": ""})
    for seed, n in enumerate(sizes):
        evaluate(store, plan, store.open_round(proposal(n, seed)), **settings)
    store.close()


def finish(run_dir: Path, plan) -> Store:
    """Open a run directory again, evaluate what is missing, and close it."""
    store = Store.open(run_dir, plan, {"config.toml": ""})
    for points in store.unfinished():
        evaluate(store, plan, points)
    store.close()
    return store


def frame(run_dir: Path) -> pd.DataFrame:
    """The whole data set, as a user reads it, by point id."""
    return pd.read_parquet(run_dir / "evaluations").sort_values("point_id", ignore_index=True)


def shards(run_dir: Path) -> dict[str, bytes]:
    """Shards by name."""
    return {path.name: path.read_bytes() for path in sorted((run_dir / "evaluations").iterdir())}


def copied(run_dir: Path, target: Path) -> Path:
    """What a crash at this moment would leave: the same files, no driver."""
    shutil.copytree(run_dir, target)
    return target


def pretend_driver(run_dir: Path, **changes) -> None:
    """A ``driver.json`` of somebody else."""
    card = {"host": "elsewhere", "pid": 1, "started": 0.0} | changes
    (run_dir / "driver.json").write_text(json.dumps(card))
