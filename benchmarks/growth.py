"""Memory of the driver and time to resume, at a million evaluations and at ten.

    python benchmarks/growth.py [--quick]
    python benchmarks/growth.py --table 10000000 [--round 5000] [--merged]
    python benchmarks/growth.py --propose 1000000
    python benchmarks/growth.py --survey 1000000

A vectorised function that does nothing, method ``random``, through the whole program without Ray; then the same command
again, which reads everything back and finds that it is done.

With ``--table``, the run directory is written by this script, in rounds of ``--round`` rows, four parameters and four
observables, every shard as the program writes it. It is opened as it is, merged (`raydnnr.compaction`) while a loop
turns as a scan's does, and opened again. ``--merged``: it is only opened as it is. Where it is not merged to the end,
it is closed while a merge has just begun.

With ``--propose``, method ``hybrid`` proposes 1,000 points from a tenth of so many random rows and then, as a scan does
that has gone on, from all of them, twice.

With ``--survey``, the good region is surveyed (`raydnnr.coverage`) with so many good points, and with fewer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import HERE, no_op_plan, table, versions

DRIVER = """
import json, resource, sys, time
sys.path.insert(0, {here!r})
from common import no_op_plan
from raydnnr import RandomSampling
from raydnnr.config import dump
from raydnnr.run import run
from raydnnr.store import Store
plan = no_op_plan("growth", RandomSampling(), {n}, slots=2)
start = time.monotonic()
if {resume}:
    Store.open({folder!r}, plan, dump(plan)).close()
    opened = time.monotonic() - start
result = run(plan, run_dir={folder!r}, inline=True, progress=False)
print(json.dumps([result.evaluations, time.monotonic() - start,
                  resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, opened if {resume} else 0.0]))
"""


def drive(folder: Path, n: int, resume: bool) -> tuple[int, float, float, float]:
    """Evaluations, seconds, peak memory of the driver in GiB, seconds of opening the run directory."""
    code = DRIVER.format(here=str(HERE), folder=str(folder), n=n, resume=resume)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    evaluations, seconds, gib, opened = json.loads(done.stdout.splitlines()[-1])
    return evaluations, seconds, gib, opened


OPEN = """
import json, resource, sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from common import no_op_plan
from raydnnr import RandomSampling
from raydnnr.config import dump
from raydnnr.store import Store
plan = no_op_plan("growth", RandomSampling(), 1, slots=2)
start, cpu = time.monotonic(), time.process_time()
store = Store.open(Path({folder!r}), plan, dump(plan))
opened, cpu = time.monotonic() - start, time.process_time() - cpu
start, busy = time.monotonic(), time.process_time()
lag = 0.0
while {merge}:
    turn = time.monotonic()
    store._synced = 0.0
    store.flush()
    lag = max(lag, time.monotonic() - turn)
    if not store._compaction._work:
        break
    time.sleep(0.05)
merged, busy = time.monotonic() - start, time.process_time() - busy
start = time.monotonic()
for _ in range(100):
    store.summary(), store.view()
look, evaluations = (time.monotonic() - start) / 100, store.summary().evaluations
if not {merge}:
    store._synced = 0.0
    store.flush()  # where there is something to merge, that begins
    time.sleep(0.2)
start = time.monotonic()
store.close()
closed = time.monotonic() - start
print(json.dumps([evaluations, opened, cpu, merged, busy, lag, look, closed,
                  resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
"""


def open_table(folder: Path, merge: bool) -> list[object]:
    """Open it in a process of its own, and merge its shards; a line of figures."""
    code = OPEN.format(here=str(HERE), folder=str(folder), merge=merge)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    n, opened, cpu, merged, busy, lag, look, closed, gib = json.loads(done.stdout.splitlines()[-1])
    n_files = len(list((folder / "evaluations").iterdir()))
    merging = [f"{merged:.1f}", f"{busy:.1f}", f"{1e3 * lag:.0f}"] if merge else [""] * 3
    return [f"{n:,}", f"{opened:.1f}", f"{cpu:.1f}", *merging, f"{1e3 * look:.2f}", f"{closed:.1f}", f"{gib:.2f}",
            n_files]


def write_table(folder: Path, n_rows: int, n_round: int) -> None:
    """A run directory with so many rows, in rounds of a size."""
    from raydnnr import RandomSampling
    from raydnnr.config import dump
    from raydnnr.evaluation import Outcomes, Points, score
    from raydnnr.shards import Span, write_shard
    from raydnnr.store import Store
    from raydnnr.table import Layout

    plan = no_op_plan("growth", RandomSampling(), 1, slots=2)
    Store.open(folder, plan, dump(plan)).close()
    rng, layout = np.random.default_rng(1), Layout(plan)
    for iteration, first in enumerate(range(0, n_rows, n_round)):
        n = min(n_round, n_rows - first)
        points = Points(np.arange(first, first + n), iteration, rng.random((n, 4)), ["random"] * n, np.full(n, np.nan))
        outcomes = Outcomes(points.point_id, points.x, np.zeros(n, np.int8), [""] * n, np.ones(n, np.int8), np.ones(n),
                            "node", np.full(n, 1.7e9))
        rows = layout.rows(points, score(outcomes, plan.likelihoods))
        write_shard(folder / "evaluations" / Span(iteration, iteration).file_name, rows)


def show_table(n_rows: int, n_round: int, merged: bool) -> None:
    """Write a table, open it, merge it, open it again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        write_table(folder, n_rows, n_round)
        rows = [[f"{n_round:,}", *open_table(folder, merge=False)]]
        if not merged:
            rows.append([f"{n_round:,}, merging", *open_table(folder, merge=True)])
            rows.append(["merged", *open_table(folder, merge=False)])
        size = sum(path.stat().st_size for path in (folder / "evaluations").iterdir())
    print(versions() + "\n")
    print(table(["rows a shard", "rows", "opened after (s)", "CPU (s)", "merged in (s)", "CPU (s)",
                 "longest turn meanwhile (ms)", "summary and view (ms)", "closed after (s)", "peak memory (GiB)",
                 "files afterwards"], rows))
    print(f"\nsize on disk: {size / 2**30:.2f} GiB")


def propose(n_rows: int) -> None:
    """What a round costs the trainer."""
    import resource
    import time
    from dataclasses import replace

    from raydnnr import Hybrid
    from raydnnr.evaluation import View
    from raydnnr.trainer import Trainer

    plan = no_op_plan("growth", Hybrid(), 1, slots=2)
    x = np.random.default_rng(1).random((n_rows, 4))
    nll = sum(o.likelihood.nll(x[:, k]) for k, o in enumerate(plan.observables))
    everything = View(np.arange(n_rows), x, x, nll, np.zeros(n_rows, np.int8), np.empty((0, 4)), n_rows)
    trainer, rows = Trainer(plan, None), []
    for iteration, n in enumerate((n_rows // 10, n_rows, n_rows), 1):
        view = replace(everything, **{name: getattr(everything, name)[:n] for name in
                                      ("point_id", "x", "observables", "nll", "status")}, n_proposed=n)
        start, cpu = time.monotonic(), time.process_time()
        trainer.propose(view, iteration, 1000)
        rows.append([f"{n:,}", f"{time.monotonic() - start:.1f}", f"{time.process_time() - cpu:.1f}",
                     f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}"])
    print(versions() + "\n")
    print(table(["rows", "1,000 points after (s)", "CPU (s)", "peak memory (GiB)"], rows))


def show_survey(n_points: int) -> None:
    """What a survey costs: of all points, and as a scan makes it."""
    import time

    from raydnnr import coverage

    rows, most = [], coverage.MOST_SEEN
    for n in (n_points // 100, n_points // 10, n_points):
        u = np.random.default_rng(1).random((n, 4))
        for seen in (most, n):
            coverage.MOST_SEEN, cpu = seen, time.process_time()
            found = coverage.survey(u)
            rows.append([f"{n:,}", f"{min(seen, n):,}", f"{time.process_time() - cpu:.2f}", str(found)])
    print(versions() + "\n")
    print(table(["good points", "looked at", "CPU (s)", "found"], rows))


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="100,000 evaluations")
    p.add_argument("--table", type=int, metavar="N", help="a table of N rows that this script writes")
    p.add_argument("--round", type=int, default=5000, help="rows of a round of it")
    p.add_argument("--merged", action="store_true", help="only open it")
    p.add_argument("--propose", type=int, metavar="N", help="what a proposal from N rows costs")
    p.add_argument("--survey", type=int, metavar="N", help="what a survey of N good points costs")
    a = p.parse_args()
    if a.survey:
        show_survey(a.survey)
        return
    if a.propose:
        propose(a.propose)
        return
    if a.table:
        show_table(a.table, a.round, a.merged)
        return
    n = 100_000 if a.quick else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        done, seconds, gib, _ = drive(folder, n, resume=False)
        shards = len(list((folder / "evaluations").iterdir()))
        _, _, gib_again, opened = drive(folder, n, resume=True)
    print(versions() + "\n")
    print(table(["what", "value"], [
        ["evaluations", f"{done:,} in {seconds:.0f} s, {shards} shards"],
        ["peak memory of the driver", f"{gib:.2f} GiB"],
        ["resume: run directory opened after", f"{opened:.2f} s"], ["peak memory of that", f"{gib_again:.2f} GiB"],
    ]))


if __name__ == "__main__":
    main()
