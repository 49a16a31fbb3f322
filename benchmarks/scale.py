"""One driver and 1,000 slots: are they busy, and what does it cost the driver?

    python benchmarks/scale.py [--slots 1000] [--nodes 8] [--seconds 60] [--point-s 1.0]

Several nodes of `raydnnr.cluster.node` on this machine, each a Ray node with an evaluator of its own, share out the
slots. A slot's physics sleeps in its thread, 0.5 to 1.5 times ``--point-s``, so that the evaluators, which elsewhere
have processors of their own, leave some of this machine to the driver. The driver is the whole program, with method
``random``, its run directory and Ray's metrics.

Measured between the moment when every slot has finished a point and the end of the time: the share of the slots' time
that was spent in evaluations; the driver's processor time, and how often it spoke with an evaluator.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, table, versions

from raydnnr import Gauss, Observable, Parameter, Plan, RandomSampling, Stop
from raydnnr.evaluation import Source
from raydnnr.plan import ClusterSettings
from raydnnr.tools.base import Result, Tool
from raydnnr.tools.slot import Slot

WAIT_S = 300.0  # for Ray, and for every slot to have finished a point


@dataclass(frozen=True)
class Slept(Result):
    """What a run left."""

    x: float


@dataclass(frozen=True)
class Number:
    """The only number there is to read of a tool."""

    tool: str


@dataclass(frozen=True, kw_only=True)
class Sleep(Tool):
    """Physics that sleeps in the slot's own thread."""

    mean_s: float

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """There is but one number."""
        return Number(self.name)

    def check(self) -> list[str]:
        """Nothing is missing."""
        return []

    def run(self, point: Mapping[str, float], slot: Slot) -> Result:
        """Sleep, the longer the larger ``x``."""
        time.sleep(self.mean_s * (0.5 + point["x"]))
        return Slept(point["x"])

    def read(self, result: Result, source: Source) -> float:
        """It is ``x``."""
        assert isinstance(result, Slept)
        return result.x

    def fingerprint(self) -> Mapping[str, object]:
        """How long it sleeps."""
        return {"mean_s": self.mean_s}


def plan(n_slots: int, point_s: float) -> Plan:
    """Random points, without end; one in seventy is good."""
    return Plan(
        name="scale", parameters=[Parameter.of("x", low=0, high=1), Parameter.of("y", low=0, high=1)],
        tools=[Sleep(name="sleep", mean_s=point_s)],
        observables=[Observable(name="z", source=Number("sleep"), likelihood=Gauss(mean=0.5, sigma=0.005))],
        method=RandomSampling(bootstrap_points=4 * n_slots), stop=Stop(points=0, max_evaluations=0, max_hours=1.0),
        cluster=ClusterSettings(),
    )


class Sampler:
    """The driver's processor time, resident memory and exchanges, once a second."""

    def __init__(self) -> None:
        self.exchanges = 0
        self.samples: list[tuple[float, float, int, float]] = []  # Unix time, CPU s, exchanges, GiB
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.samples.append((time.time(), usage.ru_utime + usage.ru_stime, self.exchanges,
                                 pages * resource.getpagesize() / 2**30))
            time.sleep(1.0)


def drive(folder: Path, n_slots: int, seconds: float, point_s: float) -> dict[str, Any]:
    """The driver: run, stop, count."""
    import signal

    from raydnnr.cluster import pool
    from raydnnr.run import run

    sampler, answer = Sampler(), pool.RayPool._answer

    def counted(self: Any, node: Any) -> None:
        sampler.exchanges += 1
        answer(self, node)

    pool.RayPool._answer = counted  # type: ignore[method-assign]
    begun: list[float] = []

    def stop_in_time() -> None:
        deadline = time.time() + WAIT_S
        while not begun and time.time() < deadline:
            time.sleep(0.2)
            status = folder / "status.json"
            if status.exists() and json.loads(status.read_text())["evaluations"] > 2 * n_slots:
                begun.append(time.time())
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_in_time, daemon=True).start()
    result = run(plan(n_slots, point_s), run_dir=folder, progress=False)
    return measured(result.dataframe(), sampler, begun[0], begun[0] + seconds, n_slots)


def measured(rows: Any, sampler: Sampler, begin: float, end: float, n_slots: int) -> dict[str, Any]:
    """The figures of the time between ``begin`` and ``end``."""
    finished = rows.finished.astype("int64").to_numpy() / 1e6
    overlap = np.minimum(finished, end) - np.maximum(finished - rows.seconds.to_numpy(), begin)
    n = int(((finished > begin) & (finished <= end)).sum())
    inside = [s for s in sampler.samples if begin <= s[0] <= end]
    (t0, cpu0, calls0, _), (t1, cpu1, calls1, gib) = inside[0], inside[-1]
    rate = n / (end - begin)
    return {"busy": float(overlap.clip(0.0).sum() / (n_slots * (end - begin))), "points_per_s": rate,
            "cpu": (cpu1 - cpu0) / (t1 - t0), "cpu_ms_per_point": 1e3 * (cpu1 - cpu0) / (t1 - t0) / rate,
            "exchanges_per_s": (calls1 - calls0) / (t1 - t0), "gib": gib, "rows": len(rows)}


def start_nodes(folder: Path, n_nodes: int, n_slots: int) -> list[subprocess.Popen[bytes]]:
    """Ray nodes on this machine, each with a part of the slots."""
    job = folder / "job"
    job.mkdir(mode=0o700)
    (job / "token").write_text(secrets.token_hex(32))
    nodes = []
    for k in range(n_nodes):
        share = (k + 1) * n_slots // n_nodes - k * n_slots // n_nodes
        words = [sys.executable, "-m", "raydnnr.cluster.node", str(job), "--cpus", str(share), "--address", "127.0.0.1"]
        environment = {**os.environ, "RAYDNNR_JOB": str(os.getpid() * 100 + k), "OMP_NUM_THREADS": "1"}
        with open(folder / f"node-{k}", "w") as log:
            nodes.append(subprocess.Popen([*words, "--head"] if k == 0 else words, env=environment,
                                          stdout=log, stderr=log))
    deadline = time.monotonic() + WAIT_S
    while not (job / "address").exists():
        if time.monotonic() > deadline or nodes[0].poll() is not None:
            raise RuntimeError(f"Ray is not up: {(folder / 'node-0').read_text()}")
        time.sleep(0.2)
    return nodes


def scaled(n_slots: int, n_nodes: int, seconds: float, point_s: float) -> dict[str, Any]:
    """One run: nodes, driver, figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nodes = start_nodes(folder, n_nodes, n_slots)
        try:
            job = folder / "job"
            environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(job / "token"),
                           "RAYDNNR_ADDRESS": (job / "address").read_text(), "RAYDNNR_NODES": str(n_nodes)}
            words = ["--drive", str(folder / "run"), "--slots", str(n_slots), "--seconds", str(seconds),
                     "--point-s", str(point_s)]
            done = subprocess.run([sys.executable, str(HERE / "scale.py"), *words], env=environment, check=True,
                                  stdout=subprocess.PIPE, text=True)
            return dict(json.loads(done.stdout.splitlines()[-1]))
        finally:
            (folder / "job" / "end").touch()
            for node in nodes:
                node.wait(60)


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--slots", type=int, default=1000)
    p.add_argument("--nodes", type=int, nargs="+", default=[8])
    p.add_argument("--seconds", type=float, default=60.0)
    p.add_argument("--point-s", type=float, default=1.0, help="mean duration of a point")
    p.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.drive:
        sys.modules["scale"] = sys.modules["__main__"]  # where the evaluators find the tool
        Sleep.__module__ = Number.__module__ = Slept.__module__ = "scale"
        print(json.dumps(drive(a.drive, a.slots, a.seconds, a.point_s)))
        return
    rows = []
    for n_nodes in a.nodes:
        r = scaled(a.slots, n_nodes, a.seconds, a.point_s)
        rows.append([n_nodes, a.slots, f"{100 * r['busy']:.1f} %", f"{r['points_per_s']:.0f}", f"{r['cpu']:.2f}",
                     f"{r['cpu_ms_per_point']:.2f}", f"{r['exchanges_per_s']:.0f}", f"{r['gib']:.2f}"])
        print(rows[-1], file=sys.stderr, flush=True)
    print(versions() + "\n")
    print(table(["nodes", "slots", "busy", "points/s", "driver: CPUs", "ms of CPU per point", "exchanges/s", "GiB"],
                rows))


if __name__ == "__main__":
    main()
