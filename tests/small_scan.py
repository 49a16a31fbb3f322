"""A small scan that goes on until it is told to stop, for tests that look at one while it works."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

CONFIG = """
[scan]
name = "small"
points = 0
iterations = 0
max_evaluations = 100000
[search]
{search}
[parameters]
x = {{ low = 0, high = 1 }}
[[tools]]
name = "small"
kind = "python"
function = "small:observables"
[observables.y]
likelihood = {{ kind = "gauss", mean = 0.5, sigma = 0.1 }}
[cluster]
{cluster}
"""
PHYSICS = """
import time
def observables(point):
    time.sleep(0.05)
    return {"y": point["x"]}
"""
PATIENCE_S = 150.0  # Ray alone can take half a minute to start on a busy machine


@dataclass(frozen=True)
class SmallScan:
    """A folder with ``scan.toml`` and the physics in ``small.py``.

    Args:
        folder: An empty one.
        search: The ``[search]`` table.
        cluster: The ``[cluster]`` table.
        physics: A module with ``observables(point)``, which gives ``y`` from ``x``.
    """

    folder: Path
    search: str = 'method = "random"'
    cluster: str = "slots = 2"
    physics: str = PHYSICS

    def __post_init__(self) -> None:
        (self.folder / "scan.toml").write_text(CONFIG.format(search=self.search, cluster=self.cluster))
        (self.folder / "small.py").write_text(self.physics)

    @property
    def run_dir(self) -> Path:
        """Where the scan puts everything."""
        return self.folder / "runs" / "small"

    @staticmethod
    def command(*words: str) -> list[str]:
        """Of the driver, with these run options."""
        return [sys.executable, "-m", "raydnnr.run", "scan.toml", *words]

    def start(self, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """The driver, with these run options; what it says goes to the file ``said``."""
        with open(self.folder / "said", "a") as file:
            return subprocess.Popen(self.command(*words), cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=file)

    def status(self) -> dict[str, Any]:
        """What the driver tells of itself in ``status.json``; empty before it does."""
        try:
            return dict(json.loads((self.run_dir / "status.json").read_text()))
        except (OSError, ValueError):
            return {}

    def wait_for(self, found: Callable[[], T], what: str, driver: subprocess.Popen[bytes] | None = None) -> T:
        """What is found in the end, which is true; in vain, what the driver said is shown."""
        return wait_for(found, lambda: f"{what}: {(self.folder / 'said').read_text()}", driver)


def wait_for(found: Callable[[], T], what: Callable[[], str], process: subprocess.Popen[bytes] | None = None) -> T:
    """What is found in the end, which is true.

    Raises:
        AssertionError: In vain: for `PATIENCE_S`, or because the process has ended that would have brought it about.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not (value := found()):
        ended = process is not None and process.poll() is not None
        assert time.monotonic() < deadline and not ended, f"{'ended' if ended else 'waited in vain'}: {what()}"
        time.sleep(0.2)
    return value
