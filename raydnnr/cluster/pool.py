"""RayPool: the driver's side of one evaluator actor per node: dispatch, and what to do when one is lost."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raydnnr.cluster.actors import EvaluatorActor, Parcel
from raydnnr.errors import RaydnnrError
from raydnnr.evaluation import Array, Outcomes, Points, Status
from raydnnr.evaluator import Backlog, Batch, EvaluatorState
from raydnnr.plan import Plan
from raydnnr.pool import PoolState

log = logging.getLogger(__name__)

WAIT_S = 0.25  # an exchange with a busy evaluator comes back after this long even with nothing to tell
GATHER_S = 0.05  # ... and this long after the first outcome, with all that finished meanwhile
AHEAD_S = 0.5  # work handed to an evaluator beyond what its slots are doing
SUSPECT_LOSSES = 2  # a point that was aboard this many lost evaluators is evaluated alone
MAX_LOSSES = 4  # ... and after this many it is failed
NO_EVALUATOR_S = 120.0  # with every evaluator gone this long, the scan gives up


@dataclass
class _Node:
    """An evaluator actor, and the points it has."""

    actor: Any
    n_slots: int
    aboard: dict[int, Array] = field(default_factory=dict)
    exchange: ray.ObjectRef[Any] | None = None
    state: EvaluatorState | None = None
    quiet_until: float = 0.0


class RayPool:
    """Evaluators on the nodes of a Ray cluster.

    Every evaluator has at most one call under way, which hands over new points and brings back finished ones. When
    a call fails, the points aboard go to the others (or to the evaluator that Ray starts in its place); a point that
    is aboard whenever an evaluator is lost ends up being evaluated alone, and then failed. Neighbours do not pay.

    Args:
        plan: What to scan.
        n_slots: Slots by Ray node id.
    """

    def __init__(self, plan: Plan, n_slots: dict[str, int]) -> None:
        self._plan = plan
        self._backlog = Backlog()
        self._suspects = Backlog()
        self._losses: Counter[int] = Counter()
        self._lost_workers = 0
        self._seconds_per_point = math.nan
        self._failed: list[Outcomes] = []
        self._last_seen = time.monotonic()
        self._nodes = {node_id: self._start(node_id, n) for node_id, n in n_slots.items()}

    @property
    def actors(self) -> list[Any]:
        """The Ray handles of the evaluators."""
        return [node.actor for node in self._nodes.values()]

    def submit(self, points: Points) -> None:
        """Queue committed points."""
        self._backlog.put(Batch(points.point_id, points.x))

    def finished(self, timeout: float) -> list[Outcomes]:
        """Outcomes since the last call, in completion order; waits up to ``timeout`` seconds for the first.

        Raises:
            RaydnnrError: No evaluator has answered for `NO_EVALUATOR_S`.
        """
        self._feed()
        calls = {node.exchange: node for node in self._nodes.values() if node.exchange is not None}
        if not calls:
            time.sleep(timeout)
            self._give_up_if_alone()
            return self._take_failed()
        ready, _ = ray.wait(list(calls), num_returns=1, timeout=timeout)
        if ready:
            ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        outcomes = [o for call in ready for o in self._answer(calls[call])]
        self._give_up_if_alone()
        return outcomes + self._take_failed()

    def forget_queued(self) -> None:
        """Drop what has not started."""
        self._backlog.clear()
        self._suspects.clear()
        for node in self._nodes.values():
            node.actor.forget_queued.remote()

    def state(self) -> PoolState:
        """Slots busy and points queued, as of each evaluator's last answer."""
        nodes = self._nodes.values()
        aboard = sum(len(node.aboard) for node in nodes)
        busy = sum(min(node.n_slots, len(node.aboard)) for node in nodes)
        return PoolState(sum(node.n_slots for node in nodes), busy,
                         len(self._backlog) + len(self._suspects) + aboard - busy,
                         self._seconds_per_point, self._lost_workers)

    def close(self) -> None:
        """Kill what runs and remove what it left."""
        closing = [node.actor.close.remote() for node in self._nodes.values()]
        try:
            ray.wait(closing, num_returns=len(closing), timeout=10.0)
        except RayError:
            log.debug("an evaluator was gone before it was closed")
        for node in self._nodes.values():
            ray.kill(node.actor)

    def _start(self, node_id: str, n_slots: int) -> _Node:
        cpus = min(n_slots, next((n["Resources"].get("CPU", 0) for n in ray.nodes() if n["NodeID"] == node_id), 0))
        actor = EvaluatorActor.options(  # type: ignore[attr-defined]
            name=f"evaluator-{node_id[:8]}", num_cpus=cpus, max_restarts=-1, max_task_retries=0, max_concurrency=4,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        ).remote(Parcel(self._plan.toolchain), n_slots, self._plan.cluster.scratch)
        return _Node(actor, n_slots)

    def _feed(self) -> None:
        """Give every evaluator that has no call under way its next one."""
        now = time.monotonic()
        for node in self._nodes.values():
            if node.exchange is not None or now < node.quiet_until:
                continue
            batch = self._next_batch(node)
            if batch is None and not node.aboard:
                continue
            for point_id, x in zip(batch.point_id.tolist(), batch.x, strict=True) if batch else ():
                node.aboard[point_id] = x
            low_water = min(node.n_slots, len(self._backlog))
            node.exchange = node.actor.exchange.remote(batch, WAIT_S, GATHER_S, low_water)

    def _next_batch(self, node: _Node) -> Batch | None:
        """What keeps the slots busy for `AHEAD_S`; while there are suspects, one of them alone on an empty cluster."""
        if len(self._suspects):
            return None if any(n.aboard for n in self._nodes.values()) else self._suspects.take(1)
        wanted = node.n_slots * self._points_ahead() - len(node.aboard)
        return self._backlog.take(wanted) if wanted > 0 and len(self._backlog) else None

    def _points_ahead(self) -> int:
        """Points per slot that an evaluator holds: those running and `AHEAD_S` of queue."""
        if math.isnan(self._seconds_per_point):
            return 2
        return 1 + max(1, min(int(2 * AHEAD_S / self._seconds_per_point), 200_000))

    def _answer(self, node: _Node) -> list[Outcomes]:
        """Take in what an evaluator's call brought, or that the evaluator is lost."""
        call, node.exchange = node.exchange, None
        assert call is not None
        try:
            outcomes, node.state = ray.get(call)
        except (RayActorError, OutOfMemoryError, GetTimeoutError) as error:
            self._lost(node, error)
            return []
        except RayTaskError as error:
            raise RaydnnrError(f"an evaluator failed: {error}") from error
        self._last_seen = time.monotonic()
        if not math.isnan(node.state.seconds_per_point):
            self._seconds_per_point = node.state.seconds_per_point
        return [o for o in (self._expected(node, o) for o in outcomes) if len(o)]

    def _expected(self, node: _Node, outcomes: Outcomes) -> Outcomes:
        for point_id in outcomes.point_id.tolist():
            node.aboard.pop(point_id, None)
        return outcomes

    def _lost(self, node: _Node, error: Exception) -> None:
        """Give the points aboard to others; fail those that were aboard too often."""
        self._lost_workers += 1
        node.quiet_until = time.monotonic() + 1.0
        log.warning("an evaluator was lost with %d points aboard, which are evaluated again (%s)",
                    len(node.aboard), str(error).splitlines()[0])
        for point_id, x in reversed(node.aboard.items()):
            self._losses[point_id] += 1
            batch = Batch(np.array([point_id]), x[None])
            if self._losses[point_id] >= MAX_LOSSES:
                self._failed.append(self._lost_outcome(point_id))
            elif self._losses[point_id] >= SUSPECT_LOSSES:
                self._suspects.put(batch)
            else:
                self._backlog.put(batch, first=True)
        node.aboard.clear()

    def _lost_outcome(self, point_id: int) -> Outcomes:
        reason = f"its evaluator was lost {self._losses[point_id]} times while it was aboard, at last with it alone"
        return Outcomes(np.array([point_id]), np.full((1, len(self._plan.observables)), np.nan),
                        np.array([Status.FAILED], np.int8), [reason], np.array([self._losses[point_id]], np.int8),
                        np.zeros(1), "", np.array([time.time()]))

    def _take_failed(self) -> list[Outcomes]:
        failed, self._failed = self._failed, []
        return failed

    def _give_up_if_alone(self) -> None:
        if any(node.exchange for node in self._nodes.values()) or not (len(self._backlog) or len(self._suspects)):
            return
        if time.monotonic() - self._last_seen > NO_EVALUATOR_S:
            raise RaydnnrError(f"no evaluator has answered for {NO_EVALUATOR_S:.0f} s; see the Ray dashboard or the "
                               "logs in Ray's temporary directory. Everything finished is saved")
