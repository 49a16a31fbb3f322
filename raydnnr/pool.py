"""Pool: where points go to be evaluated. `LocalPool` has its slots in the driver's own process tree."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from raydnnr.evaluation import Outcomes, Points
from raydnnr.evaluator import Batch, Evaluator
from raydnnr.tools.base import Toolchain
from raydnnr.tools.times import NO_TIMES, ToolTimes


@dataclass(frozen=True)
class PoolState:
    """``busy`` of ``n_slots`` slots, ``queued`` points, seconds a point takes (NaN: not known yet), workers lost.

    ``times``: of the tools, in this run of the program.
    """

    n_slots: int
    busy: int
    queued: int
    seconds_per_point: float
    workers_lost: int = 0
    times: ToolTimes = NO_TIMES

    @property
    def points_per_s(self) -> float:
        """Points the slots finish per second when all are busy; NaN before the first outcome."""
        return self.n_slots / self.seconds_per_point

    @property
    def backlog_s(self) -> float:
        """How long the queue lasts; 0 when it is empty, infinite while nothing is known of the point time."""
        if not self.queued:
            return 0.0
        return self.queued / self.points_per_s if self.seconds_per_point == self.seconds_per_point else float("inf")


class Pool(Protocol):
    """What the scan loop needs of any pool."""

    def submit(self, points: Points) -> None:
        """Queue committed points."""
        ...

    def finished(self, timeout: float) -> list[Outcomes]:
        """Outcomes since the last call, in completion order; waits up to ``timeout`` seconds for the first."""
        ...

    def forget_queued(self) -> None:
        """Drop what has not started."""
        ...

    def state(self) -> PoolState:
        """Slots busy and points queued now."""
        ...

    def close(self) -> None:
        """Kill what runs and remove what it left."""
        ...


class LocalPool:
    """One evaluator inside the driver, without Ray.

    Args:
        toolchain: What to run.
        n_slots: Points evaluated at the same time.
        scratch: Folder for scratch directories, or ``auto``.
    """

    def __init__(self, toolchain: Toolchain, n_slots: int, scratch: str = "auto") -> None:
        self._evaluator = Evaluator(toolchain, n_slots, scratch)

    def submit(self, points: Points) -> None:
        """Queue committed points."""
        self._evaluator.submit(Batch(points.point_id, points.x))

    def finished(self, timeout: float) -> list[Outcomes]:
        """Outcomes since the last call, in completion order; waits up to ``timeout`` seconds."""
        start = time.monotonic()
        outcomes = self._evaluator.collect(timeout, gather_s=min(timeout, 0.02), low_water=1)
        if not outcomes and (left := timeout - (time.monotonic() - start)) > 0:
            time.sleep(left)  # nothing to wait for: the caller waits for a training
        return outcomes

    def forget_queued(self) -> None:
        """Drop what has not started."""
        self._evaluator.forget_queued()

    def state(self) -> PoolState:
        """Slots busy and points queued now."""
        s = self._evaluator.state()
        return PoolState(s.n_slots, s.busy, s.queued, s.seconds_per_point, times=s.times)

    def close(self) -> None:
        """Kill what runs and remove the scratch directories."""
        self._evaluator.close()
