"""A driver to be killed: ``python -m tests.integration.store_driver RUN_DIR LOG N_POINTS [PAUSE_S]``.

Evaluates points one by one in rounds of 50, as a scan does, and notes in LOG what it has recorded and when.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from raydnnr.store import Store
from tests.unit.plans import square
from tests.unit.runs import evaluate, proposal

ROUND = 50


def main(run_dir: Path, log: Path, n_points: int, pause_s: float) -> None:
    plan = square()
    note = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    store = Store.open(run_dir, plan, {"config.toml": ""})
    os.write(note, b"open\n")
    rng = np.random.default_rng()
    while (left := store.unfinished()) or ROUND * store.next_iteration < n_points:
        if not left:
            store.open_round(proposal(ROUND, store.next_iteration))
            continue
        for points in left:
            for row in rng.permutation(len(points)):
                time.sleep(pause_s)
                evaluate(store, plan, points, [row], files=True)
                os.write(note, f"{points.point_id[row]} {time.time():.6f}\n".encode())
                store.flush()
    store.close()
    os.write(note, b"end\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]) if sys.argv[4:] else 0.0)
