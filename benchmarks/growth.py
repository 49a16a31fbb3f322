"""Memory of the driver and time to resume, at a million evaluations.

    python benchmarks/growth.py [--quick]

A vectorised function that does nothing, method ``random``, through the whole program without Ray; then the same command
again, which reads everything back and finds that it is done.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from common import HERE, table, versions

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


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quick", action="store_true", help="100,000 evaluations")
    n = 100_000 if p.parse_args().quick else 1_000_000
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
