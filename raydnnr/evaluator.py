"""Evaluator: a toolchain on ``k`` slots of one node; points in, outcomes out, in the order in which they finish.

Plain Python with threads: a slot's thread only waits for the process that does the physics. `raydnnr.pool` runs one
evaluator inside the driver, `raydnnr.cluster` one per node as a Ray actor.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raydnnr.evaluation import Array, Outcomes, Status
from raydnnr.tools.base import ChainResult, Toolchain, WorkerDied
from raydnnr.tools.slot import ScratchRoot, Slot
from raydnnr.tools.times import NO_TIMES, ToolTimes

MAX_ATTEMPTS = 2  # a point that kills its worker twice is failed
CALL_S = 0.25  # a vectorised call aims at this long
GRAB_S = 0.02  # a slot takes this much work at a time where points are fast


def cpus_of_this_process() -> int:
    """CPUs this process may use: those of the allocation, not of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Batch:
    """Numbered points for an evaluator: ``x`` (n, P)."""

    point_id: NDArray[np.int64]
    x: Array

    def __len__(self) -> int:
        return len(self.point_id)


class Backlog:
    """First-in, first-out queue of points that gives out batches of any size. Not thread-safe."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self._n_points = 0

    def __len__(self) -> int:
        return self._n_points

    def put(self, batch: Batch, *, first: bool = False) -> None:
        """Queue a batch, at the front if ``first``."""
        if len(batch):
            (self._batches.appendleft if first else self._batches.append)(batch)
            self._n_points += len(batch)

    def take(self, n_points: int) -> Batch:
        """At most ``n_points`` from the front; at least one. The backlog must not be empty."""
        taken: list[Batch] = []
        wanted = min(max(1, n_points), self._n_points)
        self._n_points -= wanted
        while wanted:
            batch = self._batches.popleft()
            if len(batch) > wanted:
                self._batches.appendleft(Batch(batch.point_id[wanted:], batch.x[wanted:]))
                batch = Batch(batch.point_id[:wanted], batch.x[:wanted])
            taken.append(batch)
            wanted -= len(batch)
        if len(taken) == 1:
            return taken[0]
        return Batch(np.concatenate([b.point_id for b in taken]), np.concatenate([b.x for b in taken]))

    def clear(self) -> None:
        """Forget what is queued."""
        self._batches.clear()
        self._n_points = 0


@dataclass(frozen=True)
class EvaluatorState:
    """``busy`` slots out of ``n_slots``, ``queued`` points; ``seconds_per_point`` is NaN before the first outcome.

    ``times``: of the tools, since the evaluator started.
    """

    n_slots: int
    busy: int
    queued: int
    seconds_per_point: float
    times: ToolTimes = NO_TIMES


class Evaluator:
    """Runs points through a toolchain on ``n_slots`` slots, each with its own scratch directory and processes.

    Args:
        toolchain: What to run.
        n_slots: Points evaluated at the same time.
        scratch: Folder for scratch directories, or ``auto``.
    """

    def __init__(self, toolchain: Toolchain, n_slots: int, scratch: str = "auto") -> None:
        self._toolchain = toolchain
        self._tools = [tool.name for tool in toolchain.tools]
        self._root = ScratchRoot.create(scratch)
        self._backlog = Backlog()
        self._done: list[Outcomes] = []
        self._busy = 0
        self._rate = _PointTime()
        self._times = ToolTimes()
        self._closed = False
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)
        self._host = socket.gethostname()
        self._slots = [Slot(k, self._root) for k in range(n_slots)]
        self._threads = [threading.Thread(target=self._serve, args=(slot,), name=f"slot-{slot.index}", daemon=True)
                         for slot in self._slots]
        for thread in self._threads:
            thread.start()

    @property
    def n_slots(self) -> int:
        """Points evaluated at the same time."""
        return len(self._slots)

    def submit(self, batch: Batch) -> None:
        """Queue points."""
        with self._lock:
            self._backlog.put(batch)
            self._work.notify(len(batch))

    def collect(self, wait_s: float, gather_s: float = 0.0, low_water: int = 0) -> list[Outcomes]:
        """What has finished since the last call.

        Waits up to ``wait_s`` for something to finish, then up to ``gather_s`` for more, but no longer once
        fewer than ``low_water`` points are queued or nothing is left to do.
        """
        deadline = time.monotonic() + wait_s
        with self._lock:
            while not self._done and self._pending() and (left := deadline - time.monotonic()) > 0:
                self._news.wait(left)
            deadline = time.monotonic() + gather_s
            while self._pending() and len(self._backlog) >= low_water and (left := deadline - time.monotonic()) > 0:
                self._news.wait(left)
            done, self._done = self._done, []
        return done

    def forget_queued(self) -> None:
        """Drop what has not started."""
        with self._lock:
            self._backlog.clear()

    def state(self) -> EvaluatorState:
        """Slots busy and points queued now."""
        with self._lock:
            return EvaluatorState(self.n_slots, self._busy, len(self._backlog), self._rate.seconds_per_point,
                                  self._times)

    def close(self) -> None:
        """Stop: kill what runs, remove the scratch directories."""
        with self._lock:
            self._closed = True
            self._backlog.clear()
            self._work.notify_all()
        for slot in self._slots:
            slot.kill()
        for thread in self._threads:
            thread.join(timeout=10.0)
        for slot in self._slots:
            slot.close()
        self._root.close()

    def _pending(self) -> bool:
        return bool(self._busy or len(self._backlog)) and not self._closed

    def _serve(self, slot: Slot) -> None:
        """One slot's life: take some points, evaluate, publish."""
        while True:
            with self._lock:
                while not self._backlog and not self._closed:
                    self._work.wait()
                if self._closed:
                    return
                batch = self._backlog.take(self._share())
                self._busy += 1
            try:
                if self._toolchain.vectorized:
                    self._publish(self._evaluate_many(batch, slot))
                else:
                    for k in range(len(batch)):
                        self._publish(self._evaluate_one(int(batch.point_id[k]), batch.x[k], slot))
                        if self._closed:
                            return
            finally:
                with self._lock:
                    self._busy -= 1
                    self._news.notify_all()

    def _share(self) -> int:
        """Points a slot takes now: about `CALL_S` (vectorised) or `GRAB_S` of work, never the others' share."""
        fair = -(-len(self._backlog) // self.n_slots)
        return min(fair, self._rate.points_in(CALL_S if self._toolchain.vectorized else GRAB_S))

    def _publish(self, outcomes: Outcomes) -> None:
        assert outcomes.tool_seconds is not None
        times = ToolTimes.of(self._tools, outcomes.tool_seconds)
        with self._lock:
            if self._closed:
                return
            self._times += times
            self._rate.add(len(outcomes), float(outcomes.seconds.sum()))
            self._done.append(outcomes)
            self._news.notify_all()

    def _evaluate_one(self, point_id: int, x: Array, slot: Slot) -> Outcomes:
        start, attempts = time.monotonic(), 0
        result: ChainResult | None = None
        while result is None:
            attempts += 1
            try:
                result = self._toolchain.evaluate(x, slot)
            except WorkerDied as died:
                if attempts == MAX_ATTEMPTS:
                    result = ChainResult(self._nothing(), Status.FAILED, str(died), {})
        seconds = np.array([[result.seconds.get(tool, math.nan) for tool in self._tools]])
        return self._outcomes(np.array([point_id]), result.values[None], np.array([result.status], np.int8),
                              [result.reason], np.array([attempts], np.int8), time.monotonic() - start,
                              {point_id: result.files} if result.files else {}, seconds)

    def _evaluate_many(self, batch: Batch, slot: Slot) -> Outcomes:
        start = time.monotonic()
        r = self._toolchain.evaluate_many(batch.x, slot)
        return self._outcomes(batch.point_id, r.values, r.status, r.reason, r.attempts, time.monotonic() - start, {},
                              r.seconds)

    def _nothing(self) -> Array:
        return np.full(len(self._toolchain.observables), np.nan)

    def _outcomes(self, point_id: NDArray[np.int64], values: Array, status: NDArray[np.int8], reason: Sequence[str],
                  attempts: NDArray[np.int8], seconds: float, files: Mapping[int, Mapping[str, bytes]],
                  tool_seconds: Array) -> Outcomes:
        n = len(point_id)
        return Outcomes(point_id, values, status, reason, attempts, np.full(n, seconds / n), self._host,
                        np.full(n, time.time()), files, tool_seconds)


class _PointTime:
    """Running mean of the seconds a point takes in its slot, recent ones counting more."""

    def __init__(self) -> None:
        self.seconds_per_point = float("nan")
        self._largest = 1

    def add(self, n_points: int, seconds: float) -> None:
        mean = max(seconds / n_points, 1e-7)
        old = self.seconds_per_point
        weight = 1.0 if old != old else max(0.05, min(0.5, n_points * mean / 1.0))
        self.seconds_per_point = mean if old != old else (1 - weight) * old + weight * mean
        self._largest = max(self._largest, n_points)

    def points_in(self, seconds: float) -> int:
        """Points that take about this long; one before anything is known, then at most 8 times as many as ever."""
        if self.seconds_per_point != self.seconds_per_point:
            return 1
        return max(1, min(int(seconds / self.seconds_per_point), 8 * self._largest, 100_000))
