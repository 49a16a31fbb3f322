"""What is lost beside a code that takes 0.3 s a point, on two slots: the scan's time, and the CPU's.

    python benchmarks/slots.py [--methods hybrid] [--ways Ray] [--evaluations 1000]

The code is a program of its own that reads a card and writes a spectrum: four parameters, five masses. It is run

- sleeping until 0.3 s after its start. What is lost of the time is then all the program's doing: ``1 - n t / (slots
  wall)``, with ``t`` its seconds when nobody else starts it, ``wall`` from the first start to the last end, trainings
  included. The part of it in which slots have nothing to do, ``1 - sum of the points' seconds / (slots wall)``, is
  said beside: *idle*; the rest is what a point takes in its slot beyond ``t``;
- and not sleeping at all, to see what CPU the scan itself takes for a point: driver, trainer and slots. On as many
  CPUs as slots, a code that computes for 0.3 s loses ``own / (own + 0.3)`` of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from common import table, versions

from raydnnr import Gauss, Lower, Observable, Parameter, Plan, RandomSampling, SlhaCommand, Stop
from raydnnr.expressions import Expression
from raydnnr.likelihoods import Likelihood, Off
from raydnnr.plan import ClusterSettings, Method
from raydnnr.run import run
from raydnnr.search.hybrid import Hybrid

SLOTS = 2
CODE_S = 0.3
CODE = '''\
import math, sys, time
start = time.monotonic()
words = [line.split() for line in open(sys.argv[1])]
m0, m12, tanb, a0 = (float(word[1]) for word in words if word and word[0] in "1235" and len(word) == 2)
gluino, stau = 2.35 * m12, math.sqrt(m0**2 + 0.15 * m12**2) * (1 - (tanb / 90) ** 2)
stop = math.sqrt(abs(0.3 * m0**2 + 3.3 * m12**2 - 0.08 * a0**2) + 1e4)
higgs = 91 * (tanb**2 - 1) / (tanb**2 + 1) + 14 * math.log10(stop / 100) + 16 * math.exp(-(a0 / stop + 1.5) ** 2)
masses = {25: higgs, 1000021: gluino, 1000015: stau, 1000006: stop, 1000022: 0.43 * m12}
time.sleep(max(0.0, float(sys.argv[3]) - (time.monotonic() - start)))
with open(sys.argv[2], "w") as out:
    out.write("Block MASS\\n" + "".join(f" {k} {v:.8e}\\n" for k, v in masses.items()))
'''
CARD = "Block MINPAR\n 1 m0\n 2 m12\n 3 tanb\n 5 A0\n"


@dataclass(frozen=True)
class Measured:
    """A scan: evaluations, good ones, seconds from the first start to the last end, of CPU that are our own, and of
    slots that were busy."""

    evaluations: int
    good: int
    wall_s: float
    own_cpu_s: float
    busy_s: float


def command(folder: Path, card: str, output: str, seconds: float) -> tuple[str, ...]:
    """How the code is called."""
    return sys.executable, "-S", "-E", str(folder / "code.py"), card, output, str(seconds)


def plan(folder: Path, method: Method, seconds: float, n_evaluations: int) -> Plan:
    """Thin bands of a Higgs mass and of a small mass difference."""
    (folder / "code.py").write_text(CODE)
    (folder / "card.in").write_text(CARD)
    words = command(folder, "{input}", "{output}", seconds)
    tool = SlhaCommand(name="code", command=words, template=folder / "card.in")
    wanted: dict[str, tuple[int, Likelihood]] = {
        "mh": (25, Gauss(mean=125.0, sigma=1.0)), "gluino": (1000021, Lower(mean=2200, sigma=50)),
        "stau": (1000015, Off()), "stop": (1000006, Off()), "chi": (1000022, Off()),
    }
    read = [Observable(name=name, source=tool.address({"block": "MASS", "key": [pdg]}, name), likelihood=likelihood)
            for name, (pdg, likelihood) in wanted.items()]
    gap = Observable(name="gap", expression=Expression("stau - chi"), likelihood=Gauss(mean=20, sigma=15))
    low_high = {"m0": (100, 3000), "m12": (100, 3000), "A0": (-6000, 6000), "tanb": (2, 60)}
    return Plan(
        name="slots", parameters=[Parameter.of(n, low=a, high=b) for n, (a, b) in low_high.items()], tools=[tool],
        observables=[*read, gap], method=method, seed=1,
        stop=Stop(points=0, max_evaluations=n_evaluations), cluster=ClusterSettings(slots=SLOTS),
    )


def alone_s(folder: Path, seconds: float) -> float:
    """Seconds of the code where only we wait for it: median of 15 runs."""
    card = folder / "filled.in"
    card.write_text(CARD.replace("m0", "500").replace("m12", "900").replace("tanb", "10").replace("A0", "-1000"))

    def one() -> float:
        start = time.monotonic()
        subprocess.run(command(folder, str(card), str(folder / "out"), seconds), check=True)
        return time.monotonic() - start

    return statistics.median(one() for _ in range(15))


def scan(folder: Path, method: str, seconds: float, n_evaluations: int, inline: bool) -> Measured:
    """A scan in a process of its own, so that its CPU is counted alone."""
    words = [sys.executable, __file__, "--one", json.dumps([str(folder), method, seconds, n_evaluations, inline])]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return Measured(*json.loads(done.stdout.splitlines()[-1]))


def one(folder: str, method: str, seconds: float, n_evaluations: int, inline: bool) -> None:
    """Run a scan here and print what was measured."""
    import pandas as pd

    chosen: Method = Hybrid(bootstrap_points=100) if method == "hybrid" else RandomSampling()
    made = plan(Path(folder), chosen, seconds, n_evaluations)
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = run(made, run_dir=Path(folder) / "run", inline=inline, progress=False)
    after = resource.getrusage(resource.RUSAGE_SELF)
    rows = pd.read_parquet(Path(folder) / "run" / "evaluations", columns=["seconds", "finished"])
    starts = rows.finished - pd.to_timedelta(rows.seconds, unit="s")
    wall = (rows.finished.max() - starts.min()).total_seconds()
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps([result.evaluations, result.good, wall, own, rows.seconds.sum()]))


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--methods", nargs="+", choices=("random", "hybrid"), default=["random", "hybrid"])
    p.add_argument("--ways", nargs="+", choices=("inline", "Ray"), default=["inline", "Ray"])
    p.add_argument("--evaluations", type=int, default=1000)
    p.add_argument("--one", help=argparse.SUPPRESS)
    words = p.parse_args()
    if words.one:
        return one(*json.loads(words.one))
    n = words.evaluations
    rows: list[list[object]] = []
    for method in words.methods:
        for way in words.ways:
            with tempfile.TemporaryDirectory() as name:
                found = scan(Path(name), method, CODE_S, n, way == "inline")
                code_s = alone_s(Path(name), CODE_S)
            lost = 1 - found.evaluations * code_s / (SLOTS * found.wall_s)
            idle = 1 - found.busy_s / (SLOTS * found.wall_s)
            rows.append([f"{method}, {way}", found.evaluations, found.good, f"{found.wall_s:.1f}", f"{code_s:.3f}",
                         f"{100 * lost:.1f} %", f"{100 * idle:.1f} %"])
    cpu = []
    for method in words.methods:
        with tempfile.TemporaryDirectory() as name:
            found = scan(Path(name), method, 0.0, n, True)
        own = found.own_cpu_s / found.evaluations
        cpu.append([method, found.evaluations, f"{1000 * own:.1f}", f"{100 * own / (own + CODE_S):.1f} %"])
    print(versions() + "\n")
    print(table(["0.3 s a point, 2 slots", "evaluations", "good", "wall s", "code alone, s", "time lost",
                 "of it, slots idle"], rows) + "\n")
    print(table(["own CPU (--inline)", "evaluations", "ms a point", "of the CPUs at 0.3 s a point"], cpu))


if __name__ == "__main__":
    main()
