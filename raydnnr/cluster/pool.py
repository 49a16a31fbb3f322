"""RayPool: the driver's side of one evaluator actor per node: dispatch, and what to do when one is lost or joins."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raydnnr.cluster.actors import EvaluatorActor, Parcel
from raydnnr.cluster.patience import Watcher, within
from raydnnr.cluster.trust import Trust
from raydnnr.errors import RaydnnrError
from raydnnr.evaluation import Array, Outcomes, Points, Status
from raydnnr.evaluator import Backlog, Batch, EvaluatorState
from raydnnr.plan import Plan
from raydnnr.pool import PoolState
from raydnnr.tools.times import NO_TIMES, ToolTimes

log = logging.getLogger(__name__)

WAIT_S = 0.25  # an exchange with a busy evaluator comes back after this long even with nothing to tell
GATHER_S = (0.05, 0.3)  # ... and this long after the first outcome, with all that finished meanwhile: the longer ...
EXCHANGES_PER_S = 200  # ... the more evaluators there are, each exchange costing the driver some 2 ms
TRIP_S = 0.2  # from an evaluator to the driver and back, when both are busy
AHEAD_S = 0.5  # work handed to an evaluator beyond what its slots are doing
SUSPECT_LOSSES = 2  # a point that was aboard this many lost evaluators is evaluated alone
MAX_LOSSES = 4  # ... and after this many it is failed
NO_EVALUATOR_S = 120.0  # with every evaluator gone this long, the scan gives up
STUCK_S = 20.0  # the points of an evaluator that has not answered for so long are given to others as well
LOOK_S = 2.0  # between two looks at which nodes there are
CLOSE_S = 8.0  # how long the evaluators may take to close
QUIET_S = 1.0  # after a loss, before an evaluator is asked again; longer each time, up to ...
MAX_QUIET_S = 30.0
AVOID_S = 600.0  # a node where everything fails is not used for so long
HOLD_S = 30.0  # failures in a row are held back for so long at most, before other nodes are asked

Layout = Callable[[], Mapping[str, int]]


@dataclass
class _Node:
    """An evaluator actor, and the points it has. It gets points once it has answered, first or after a loss."""

    node_id: str
    host: str
    actor: Any
    n_slots: int
    aboard: dict[int, Array] = field(default_factory=dict)
    exchange: ray.ObjectRef[Any] | None = None
    asked: float = 0.0  # when that call was made
    answers: bool = False
    losses: int = 0  # since the last answer
    quiet_until: float = 0.0
    avoided_until: float = 0.0
    worked: float = 0.0  # when a point last did not fail on it
    times: ToolTimes = NO_TIMES


class RayPool:
    """Evaluators on the nodes of a Ray cluster, as nodes come and go.

    Every evaluator has at most one call under way, which hands over new points and brings back finished ones. When
    a call fails, the points aboard go to the others (or to the evaluator that Ray starts in its place, once that has
    answered); a point that is aboard whenever an evaluator is lost ends up being evaluated alone, and then failed.
    Neighbours do not pay. A node on which everything fails, while other nodes manage the same points, is avoided.

    Args:
        plan: What to scan.
        layout: Slots by id of the Ray nodes that are alive now.
    """

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self._plan = plan
        self._layout = Watcher(layout, LOOK_S)
        self._toolchain = Parcel(plan.toolchain)
        self._backlog = Backlog()
        self._suspects = Backlog()
        self._losses: Counter[int] = Counter()
        self._lost_workers = 0
        self._seconds_per_point = math.nan
        self._outcomes: list[Outcomes] = []  # not given out yet
        self._trust = Trust()
        self._failed_x: dict[int, Array] = {}  # points whose failure does not count yet
        self._appeals: deque[tuple[str, Batch]] = deque()  # ... for any node but this one
        self._last_seen = time.monotonic()
        self._problem = ""
        self._forgetting = False  # what is queued or lost is no longer wanted
        self._nodes: dict[str, _Node] = {}
        self._look()

    @property
    def actors(self) -> list[Any]:
        """The Ray handles of the evaluators."""
        return [node.actor for node in self._nodes.values()]

    def submit(self, points: Points) -> None:
        """Queue committed points."""
        self._forgetting = False
        self._backlog.put(Batch(points.point_id, points.x))

    def finished(self, timeout: float) -> list[Outcomes]:
        """Outcomes since the last call, in completion order; waits up to ``timeout`` seconds for the first.

        Raises:
            RaydnnrError: No evaluator has answered for `NO_EVALUATOR_S`.
        """
        self._look()
        self._feed()
        calls = {node.exchange: node for node in self._nodes.values() if node.exchange is not None}
        if calls:
            ready, _ = ray.wait(list(calls), num_returns=1, timeout=timeout)
            if ready:
                ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
            for call in ready:
                self._answer(calls[call])
        else:
            time.sleep(timeout)
        for node in self._nodes.values():
            self._hear_appeals(node)
        self._give_up_if_alone()
        if self._forgetting:
            self._drop_queues()
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def forget_queued(self) -> None:
        """Drop what has not started; from now on, what is lost or appealed against is not evaluated again."""
        self._forgetting = True
        self._drop_queues()
        for node in self._nodes.values():
            node.actor.forget_queued.remote()

    def state(self) -> PoolState:
        """Slots busy and points queued, as of each evaluator's last answer."""
        nodes = self._nodes.values()
        aboard = sum(len(node.aboard) for node in nodes)
        busy = sum(min(node.n_slots, len(node.aboard)) for node in nodes)
        return PoolState(sum(node.n_slots for node in nodes), busy,
                         len(self._backlog) + len(self._suspects) + len(self._appeals) + aboard - busy,
                         self._seconds_per_point, self._lost_workers, sum((n.times for n in nodes), NO_TIMES))

    def close(self) -> None:
        """Kill what runs and remove what it left."""
        self._layout.close()
        within(CLOSE_S, self._close, "closing the evaluators")

    def _close(self) -> None:
        closing = [node.actor.close.remote() for node in self._nodes.values()]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
        for node in self._nodes.values():
            ray.kill(node.actor)

    def _drop_queues(self) -> None:
        for queue in (self._backlog, self._suspects, self._appeals):
            queue.clear()

    # ---- nodes

    def _look(self) -> None:
        """Start an evaluator on nodes that have come, forget nodes that are gone."""
        slots = self._layout.answer
        if slots.keys() == self._nodes.keys():
            return
        for node_id in self._nodes.keys() - slots.keys():
            self._forget_node(self._nodes.pop(node_id))
        for node_id in slots.keys() - self._nodes.keys():
            room = sum(slots.values()) - sum(node.n_slots for node in self._nodes.values())
            if room > 0:  # else all the slots that were asked for are given to others
                self._nodes[node_id] = self._start(node_id, min(room, slots[node_id]))

    def _forget_node(self, node: _Node) -> None:
        if node.aboard:
            self._lost(node, "its node is gone")
        self._count(self._trust.believe(node.node_id))
        log.warning("node %s is gone; the scan goes on with %d slots", node.host, self.state().n_slots)
        within(1.0, lambda: ray.kill(node.actor), "forgetting a node's evaluator")

    def _start(self, node_id: str, n_slots: int) -> _Node:
        found: dict[str, Any] = next((n for n in ray.nodes() if n["NodeID"] == node_id), {})
        cpus = min(n_slots, found.get("Resources", {}).get("CPU", 0))
        host = str(found.get("NodeManagerHostname", node_id[:8]))
        actor = EvaluatorActor.options(  # type: ignore[attr-defined]
            name=f"evaluator-{host}-{node_id[:8]}", num_cpus=cpus, max_restarts=-1, max_task_retries=0,
            max_concurrency=4, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        ).remote(self._toolchain, n_slots, self._plan.cluster.scratch)
        log.info("node %s: %d slots", host, n_slots)
        return _Node(node_id, host, actor, n_slots)

    # ---- giving out points

    def _feed(self) -> None:
        """Give every evaluator that has no call under way its next one."""
        now = time.monotonic()
        alone = self._node_for_suspects() if len(self._suspects) else None
        for node in self._nodes.values():
            if node.exchange is not None:
                if now - node.asked > STUCK_S:
                    self._give_to_others(node)
                continue
            if now < node.quiet_until:
                continue
            batch = self._next_batch(node, alone) if node.answers and now > node.avoided_until else None
            if batch is None and not node.aboard and node.answers:
                continue
            for point_id, x in zip(batch.point_id.tolist(), batch.x, strict=True) if batch else ():
                node.aboard[point_id] = x
            gather_s, low_water = self._gather(node)
            node.exchange, node.asked = node.actor.exchange.remote(batch, WAIT_S, gather_s, low_water), now

    def _gather(self, node: _Node) -> tuple[float, int]:
        """How long an exchange gathers outcomes, and with how many points left in its queue it comes back at once."""
        gather_s = min(max(GATHER_S[0], len(self._nodes) / EXCHANGES_PER_S), GATHER_S[1])
        low_water = min(node.n_slots, len(self._backlog))
        if math.isnan(self._seconds_per_point):
            return gather_s, low_water
        return gather_s, min(low_water, math.ceil(node.n_slots * (gather_s + TRIP_S) / self._seconds_per_point))

    def _node_for_suspects(self) -> _Node | None:
        """Where suspects are evaluated, one alone at a time: the node that has least to do."""
        now = time.monotonic()
        usable = [n for n in self._nodes.values() if n.answers and now > n.avoided_until]
        return min(usable, key=lambda n: len(n.aboard), default=None)

    def _next_batch(self, node: _Node, alone: _Node | None) -> Batch | None:
        """What keeps the slots busy for `AHEAD_S`; on the node for suspects, one of them once it is empty."""
        if node is alone:
            return None if node.aboard else self._suspects.take(1)
        wanted = node.n_slots * self._points_ahead() - len(node.aboard)
        if wanted > 0 and (appeal := self._next_appeal(node)):
            return appeal
        return self._backlog.take(wanted) if wanted > 0 and len(self._backlog) else None

    def _points_ahead(self) -> int:
        """Points per slot that an evaluator holds: those running and `AHEAD_S` of queue."""
        if math.isnan(self._seconds_per_point):
            return 2
        return 1 + max(1, min(int(2 * AHEAD_S / self._seconds_per_point), 200_000))

    # ---- taking in outcomes

    def _answer(self, node: _Node) -> None:
        """Take in what an evaluator's call brought, or that the evaluator is lost."""
        call, node.exchange = node.exchange, None
        assert call is not None
        state: EvaluatorState
        try:
            outcomes, state = ray.get(call)
        except RayTaskError as error:
            raise RaydnnrError(f"an evaluator failed: {error}") from error
        except RayError as error:
            self._lost(node, str(error))
            return
        node.answers, node.losses, node.times = True, 0, state.times
        self._last_seen = time.monotonic()
        if not math.isnan(state.seconds_per_point):
            self._seconds_per_point = state.seconds_per_point
        for o in outcomes:
            if len(o):
                self._judge(node, o)
        if self._forgetting and not (state.busy or state.queued):
            node.aboard.clear()  # it was told to forget them

    def _lost(self, node: _Node, why: str) -> None:
        """Give the points aboard to others; fail those that were aboard too often."""
        node.losses += 1
        node.answers = False
        node.quiet_until = time.monotonic() + min(QUIET_S * 2 ** (node.losses - 1), MAX_QUIET_S)
        self._problem = _told(why)
        if node.aboard or node.losses == 1:
            self._lost_workers += 1
            log.warning("the evaluator on %s was lost with %d points aboard, which are evaluated again (%s)",
                        node.host, len(node.aboard), self._problem)
        for point_id, x in reversed(node.aboard.items()):
            self._losses[point_id] += 1
            batch = Batch(np.array([point_id]), x[None])
            if self._losses[point_id] >= MAX_LOSSES:
                self._outcomes.append(self._lost_outcome(point_id))
            elif self._losses[point_id] >= SUSPECT_LOSSES:
                self._suspects.put(batch)
            else:
                self._backlog.put(batch, first=True)
        node.aboard.clear()

    def _give_to_others(self, node: _Node) -> None:
        """An evaluator does not answer: the network is cut, or its machine too busy. Its answer may still come."""
        if node.aboard:
            log.warning("node %s has not answered for %.0f s; its %d points are given to others, too", node.host,
                        STUCK_S, len(node.aboard))
            self._backlog.put(Batch(np.array(list(node.aboard)), np.array(list(node.aboard.values()))), first=True)
            node.aboard.clear()
        node.answers = False
        if time.monotonic() - node.asked > NO_EVALUATOR_S:
            node.losses = max(1, node.losses)  # no longer somebody who may be about to answer

    def _lost_outcome(self, point_id: int) -> Outcomes:
        reason = f"its evaluator was lost {self._losses[point_id]} times while it was aboard, at last with it alone"
        return Outcomes(np.array([point_id]), np.full((1, len(self._plan.observables)), np.nan),
                        np.array([Status.FAILED], np.int8), [reason], np.array([self._losses[point_id]], np.int8),
                        np.zeros(1), "", np.array([time.time()]))

    # ---- nodes on which everything fails

    def _judge(self, node: _Node, outcomes: Outcomes) -> None:
        """Count outcomes, but not at once those of points that fail one after the other on one node."""
        for point_id, status in zip(outcomes.point_id.tolist(), outcomes.status.tolist(), strict=True):
            x = node.aboard.pop(point_id, None)
            if status != Status.FAILED:
                node.worked = time.monotonic()
            elif x is not None:
                self._failed_x[point_id] = x
        count, bad = self._trust.judge(node.node_id, outcomes)
        self._count(count)
        for node_id in bad:
            self._avoid(node_id, outcomes.host)

    def _count(self, outcomes: list[Outcomes]) -> None:
        self._outcomes += outcomes
        if self._failed_x:
            for o in outcomes:
                for point_id in o.point_id.tolist():
                    self._failed_x.pop(point_id, None)

    def _hear_appeals(self, node: _Node) -> None:
        """Give points that failed on one node to the others, where there are others."""
        if not self._peers(node):
            self._count(self._trust.believe(node.node_id))
            return
        idle = not (node.aboard or len(self._backlog)) or time.monotonic() - node.worked > HOLD_S
        for point_id in self._trust.appeals(node.node_id, idle):
            if (x := self._failed_x.get(point_id)) is not None:
                self._appeals.append((node.node_id, Batch(np.array([point_id]), x[None])))

    def _peers(self, node: _Node) -> list[_Node]:
        """The other nodes that work, or may yet."""
        now = time.monotonic()
        return [n for n in self._nodes.values()
                if n is not node and now > n.avoided_until and (n.answers or not n.losses)]

    def _next_appeal(self, node: _Node) -> Batch | None:
        for k, (other, batch) in enumerate(self._appeals):
            if other != node.node_id or not self._peers(node):
                del self._appeals[k]
                return batch
        return None

    def _avoid(self, node_id: str, other_host: str) -> None:
        """Use a bad node no more for a while, unless it is the last one."""
        node = self._nodes.get(node_id)
        if node and self._peers(node):
            node.avoided_until = time.monotonic() + AVOID_S
            self._trust.forget(node_id)
            log.warning("points that fail on node %s succeed on %s: %s is avoided for %.0f minutes; is something "
                        "missing there?", node.host, other_host, node.host, AVOID_S / 60)

    def _give_up_if_alone(self) -> None:
        """
        Raises:
            RaydnnrError: There is work, and nobody has answered for too long.
        """
        state = self.state()
        if not (state.busy or state.queued):
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > NO_EVALUATOR_S:
            raise RaydnnrError(f"no evaluator has answered for {NO_EVALUATOR_S:.0f} s; the last problem was: "
                               f"{self._problem or 'none'}. See the Ray dashboard or the logs in Ray's temporary "
                               "directory. Everything finished is saved")


def _told(error: str) -> str:
    """The line of an error that says most: the last one of a traceback, else the first."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if any("Traceback" in line or "ray::" in line for line in lines):
        return lines[-1]
    return lines[0] if lines else "no reason given"
