"""How much of the slots' time goes to physics: streaming beside strict iterations, trainings included.

    python benchmarks/busy.py [--quick]

Eight slots, points that sleep for a log-normal time (mean 0.5 s, sigma 1, the same for the same point), method
``mls_dnnr``. Busy share: seconds spent in evaluations over slots times the time between the start of the first and the
end of the last.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

from common import HERE, table, versions

from raydnnr import Gauss, MlsDnnr, Observable, Parameter, Plan, PythonFunction, Stop
from raydnnr.plan import ClusterSettings
from raydnnr.run import run

SLOTS = 8


def sleeping(point: dict[str, float]) -> dict[str, float]:
    """Sleeps for a time that looks random and is the point's own; log-normal of mean 0.5 s and sigma 1."""
    from statistics import NormalDist

    u = math.modf(abs(math.sin(12.9898 * point["x"] + 78.233 * point["y"])) * 43758.5453)[0]
    time.sleep(0.5 * math.exp(NormalDist().inv_cdf(min(max(u, 1e-6), 1 - 1e-6)) - 0.5))
    return {"r": math.hypot(point["x"], point["y"])}


def plan(synchronous: bool, n_evaluations: int) -> Plan:
    """A ring, slowly."""
    return Plan(
        name="busy", parameters=[Parameter.of("x", low=-2, high=2), Parameter.of("y", low=-2, high=2)],
        tools=[PythonFunction(name="sleeping", function="busy:sleeping", path=(str(HERE),))],
        observables=[Observable(name="r", likelihood=Gauss(mean=1.0, sigma=0.05))],
        method=MlsDnnr(synchronous=synchronous, points_per_iteration=100), seed=1,
        stop=Stop(points=0, iterations=0, max_evaluations=n_evaluations), cluster=ClusterSettings(slots=SLOTS),
    )


def busy_share(run_dir: Path) -> float:
    """Of the slots' time."""
    import pandas as pd

    rows = pd.read_parquet(run_dir / "evaluations", columns=["seconds", "finished"])
    starts = rows.finished - pd.to_timedelta(rows.seconds, unit="s")
    return float(rows.seconds.sum() / (SLOTS * (rows.finished.max() - starts.min()).total_seconds()))


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quick", action="store_true", help="300 evaluations instead of 1500, without Ray")
    quick = p.parse_args().quick
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for synchronous in (False, True):
            folder = Path(name) / str(synchronous)
            run(plan(synchronous, 300 if quick else 1500), run_dir=folder, inline=quick, progress=False)
            rows.append(["strict iterations" if synchronous else "streaming", f"{100 * busy_share(folder):.1f} %"])
    print(versions() + "\n")
    print(table(["mode", "slots busy"], rows))


if __name__ == "__main__":
    main()
