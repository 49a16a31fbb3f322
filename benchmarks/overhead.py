"""What the framework costs per evaluation, beside what does the same work without it, in the same run.

    python benchmarks/overhead.py [--quick]

Physics that costs nothing: (a) a vectorised Python function, method ``random``, through the whole program into
committed shards, beside bare Ray actors that get 100 points a call; (b) ``/bin/cp`` as an SLHA program on 8 slots,
beside a bare thread pool that starts the same program; (c) the time to import the package and to print the help.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import no_op_plan, nothing, table, versions

from raydnnr import Gauss, Observable, Parameter, Plan, RandomSampling, SlhaCommand, Stop
from raydnnr.plan import ClusterSettings
from raydnnr.run import run

SLOTS = 8


def seconds_of_scan(run_dir: Path) -> float:
    """From the first outcome to the last, as the table has them."""
    import pandas as pd

    finished = pd.read_parquet(run_dir / "evaluations", columns=["finished"]).finished
    return (finished.max() - finished.min()).total_seconds()


def through_the_program(plan: Plan, folder: Path, inline: bool = False) -> tuple[float, float]:
    """Evaluations per second of the driver's loop, start of the slots included and Ray's start not; and hit seconds."""
    start = time.monotonic()
    result = run(plan, run_dir=folder, inline=inline, progress=False)
    return result.evaluations / seconds_of_scan(folder), time.monotonic() - start


def bare_ray(n_evaluations: int, n_actors: int) -> float:
    """Evaluations per second of actors that get 100 points a call and give back 100 results; nothing is kept."""
    import ray

    ray.init(address="local", num_cpus=n_actors, include_dashboard=False, log_to_driver=False, configure_logging=False)

    @ray.remote
    class Bare:
        def call(self, x: np.ndarray) -> np.ndarray:
            return np.array(list(nothing({f"x{k + 1}": x[:, k] for k in range(4)}).values()))

    actors = [Bare.remote() for _ in range(n_actors)]
    x = np.random.default_rng(0).random((100, 4))
    ray.get([a.call.remote(x) for a in actors])
    start = time.monotonic()
    calls = [actors[k % n_actors].call.remote(x) for k in range(4 * n_actors)]
    left = n_evaluations // 100 - len(calls)
    while calls:
        done, calls = ray.wait(calls, num_returns=1)
        ray.get(done)
        if left > 0:
            calls.append(actors[left % n_actors].call.remote(x))
            left -= 1
    rate = n_evaluations / (time.monotonic() - start)
    ray.shutdown()
    return rate


def bare_threads(n_points: int, folder: Path) -> float:
    """Program starts per second of a thread pool."""
    source = folder / "in"
    source.write_text("Block MASS\n 25 125.0\n")

    def one(k: int) -> None:
        subprocess.run(["/bin/cp", str(source), str(folder / f"out-{k % SLOTS}")], check=True)

    with ThreadPoolExecutor(SLOTS) as pool:
        start = time.monotonic()
        list(pool.map(one, range(n_points)))
        return n_points / (time.monotonic() - start)


def cp_plan(folder: Path, n_points: int) -> Plan:
    """``/bin/cp`` as a spectrum generator."""
    (folder / "card.in").write_text("Block MASS\n 25 x\n")
    tool = SlhaCommand(name="cp", command=("/bin/cp", "{input}", "{output}"), template=folder / "card.in",
                       keep_files="none")
    return Plan(
        name="cp", parameters=[Parameter.of("x", low=100, high=150)], tools=[tool],
        observables=[Observable(name="mh", source=tool.address({"block": "MASS", "key": [25]}, "mh"),
                                likelihood=Gauss(mean=125, sigma=2))],
        method=RandomSampling(bootstrap_points=SLOTS, points_per_iteration=n_points),
        stop=Stop(points=0, max_evaluations=n_points), cluster=ClusterSettings(slots=SLOTS),
    )


def wall_s(*words: str) -> float:
    """Median of five runs of this Python."""
    def one() -> float:
        start = time.monotonic()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - start

    return statistics.median(one() for _ in range(5))


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quick", action="store_true", help="a fifth of the points, no Ray")
    quick = p.parse_args().quick
    n, n_cp = (200_000, 2_000) if quick else (1_000_000, 5_000)
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = no_op_plan("no-op", RandomSampling(), n, slots=2)
        inline, _ = through_the_program(plan, folder / "inline", inline=True)
        rows.append(["no-op vectorised Python, --inline, evaluations/s", f"{inline:,.0f}", "", ""])
        if not quick:
            bare = bare_ray(n, 2)
            with_ray, _ = through_the_program(replace(plan, name="ray"), folder / "ray")
            rows.append(["no-op vectorised Python, Ray, evaluations/s", f"{with_ray:,.0f}", f"bare Ray {bare:,.0f}",
                         f"{with_ray / bare:.2f}"])
        threads = bare_threads(n_cp, folder)
        cp, _ = through_the_program(cp_plan(folder, n_cp), folder / "cp", inline=True)
        again = bare_threads(n_cp, folder)
        rows.append(["/bin/cp, 8 slots, points/s", f"{cp:,.0f}", f"bare threads {threads:,.0f}, {again:,.0f}",
                     f"{2 * cp / (threads + again):.2f}"])
    empty = wall_s("-c", "pass")
    rows.append(["import raydnnr, s", f"{wall_s('-c', 'import raydnnr'):.3f}", f"python -c pass {empty:.3f}", ""])
    rows.append(["python -m raydnnr.run --help, s", f"{wall_s('-m', 'raydnnr.run', '--help'):.3f}", "", ""])
    print(versions() + "\n")
    print(table(["what", "raydnnr", "baseline", "ratio"], rows))


if __name__ == "__main__":
    main()
