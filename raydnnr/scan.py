"""The scan: propose -> evaluate -> score -> commit, until a rule ends it. Knows neither Ray nor the screen."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from raydnnr.errors import StorageError
from raydnnr.evaluation import Proposal, Scored, Status, Summary, TrainingReport, View, score
from raydnnr.plan import Plan
from raydnnr.pool import Pool, PoolState
from raydnnr.store import Store
from raydnnr.trainer import Trainer

log = logging.getLogger(__name__)

TICK_S = 0.05  # how long one turn of the loop waits for outcomes
LEAD_S = 1.0  # proposals are asked for at least this long before the slots run dry
ROUND_S = 5.0  # a method whose round size is free gives the slots about this much to do
GRACE_S = {"SIGUSR1": 60.0}  # how long running points may finish after a signal; others get `SHORT_GRACE_S`
SHORT_GRACE_S = 1.0
NEVER_OK_BOOTSTRAPS = 10  # so many bootstraps without one ok point: the physics does not work
SPACE_CHECK_S = 5.0

EXIT_DONE, EXIT_PHYSICS, EXIT_STOPPED = 0, 3, 85

Watch = Callable[[Summary, PoolState, TrainingReport | None], None]


@dataclass(frozen=True)
class StopReason:
    """Why a scan ended, in words, and the exit status that says so to a script."""

    text: str
    exit_status: int


class Proposer(Protocol):
    """A trainer that works beside the loop: ask with `request`, look for the answer with `proposal`."""

    def request(self, view: View, iteration: int, n_points: int) -> None:
        """Ask for the points of an iteration; returns at once."""
        ...

    def proposal(self) -> Proposal | None:
        """The points asked for, once they are there."""
        ...

    def close(self) -> None:
        """Stop what runs."""
        ...


class LocalTrainer:
    """A `Trainer` in a thread of the driver.

    Args:
        trainer: Does the work.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trainer")
        self._answer: Future[Proposal] | None = None

    def request(self, view: View, iteration: int, n_points: int) -> None:
        """Ask for the points of an iteration; returns at once."""
        self._answer = self._thread.submit(self._trainer.propose, view, iteration, n_points)

    def proposal(self) -> Proposal | None:
        """The points asked for, once they are there."""
        if self._answer is None or not self._answer.done():
            return None
        answer, self._answer = self._answer.result(), None
        return answer

    def close(self) -> None:
        """Wait for nothing: a training that still runs ends with the process."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def run_scan(
    plan: Plan, store: Store, pool: Pool, trainer: Proposer, *, watch: Watch, interrupted: Callable[[], str | None]
) -> StopReason:
    """Run a scan to its end.

    Args:
        plan: What to scan.
        store: An open run directory; what it holds unfinished is evaluated first.
        pool: Evaluates points.
        trainer: Proposes points.
        watch: Called at every turn of the loop.
        interrupted: The name of the signal that asked to stop, or None.

    Returns:
        Why it ended. Everything finished is in the store, whatever the reason.
    """
    loop = _Loop(plan, store, pool, trainer, watch)
    try:
        for points in store.unfinished():
            pool.submit(points)
        while not (reason := loop.over(interrupted())):
            if n_points := loop.wants_points():
                loop.ask(n_points)
            if proposal := trainer.proposal():
                loop.open_round(proposal)
            for outcomes in pool.finished(timeout=TICK_S):
                loop.record(score(outcomes, plan.likelihoods))
            loop.look()
        loop.drain(reason)
        return reason
    except StorageError as error:
        return StopReason(str(error), EXIT_STOPPED)


class _Loop:
    """The small decisions of the loop, each in one place."""

    def __init__(self, plan: Plan, store: Store, pool: Pool, trainer: Proposer, watch: Watch) -> None:
        self.plan, self.store, self.pool, self.trainer, self.watch = plan, store, pool, trainer, watch
        self.asked: float | None = None  # when the outstanding proposal was asked for
        self.training_s = 0.0  # how long the last proposal took
        self.report: TrainingReport | None = None
        self.failures_in_a_row = 0
        self.n_proposed = 0  # points of the last round
        self.recorded = time.monotonic()  # when the last outcome came
        self.space_checked = time.monotonic()

    def over(self, signal: str | None) -> StopReason | None:
        """The rule that ends the scan now."""
        summary = self.store.summary()
        if signal:
            return StopReason(f"signal: {signal} received; everything finished is saved", EXIT_STOPPED)
        if text := self._physics_is_broken(summary):
            return StopReason(text, EXIT_PHYSICS)
        may_end = not self.plan.method.synchronous or (not summary.pending and self.asked is None)
        if may_end:
            self.store.look_around(wait=self.plan.method.synchronous)
            summary = self.store.summary()
        if may_end and (text := self.plan.stop.reached(summary)):
            if summary.ok or not summary.evaluations:
                return StopReason(text, EXIT_DONE)
            return StopReason(f"{text}; none was ok. Most frequent: {_most_frequent(summary)}", EXIT_PHYSICS)
        if time.monotonic() - self.space_checked > SPACE_CHECK_S:
            self.space_checked = time.monotonic()
            if self.store.low_space():
                return StopReason("disk: the file system of the run directory is nearly full; free some space and run "
                                  "the same command again", EXIT_STOPPED)
        return None

    def wants_points(self) -> int:
        """How many points to ask the trainer for now; 0 for none."""
        summary, stop, method = self.store.summary(), self.plan.stop, self.plan.method
        iteration = self.store.next_iteration
        if self.asked is not None or (stop.iterations and iteration > stop.iterations):
            return 0
        if method.synchronous:
            if summary.pending:
                return 0
        elif summary.pending and not self._time_to_ask():
            return 0
        n_points = method.round_size(iteration, self._round_for_the_slots())
        if stop.max_evaluations:
            n_points = min(n_points, stop.max_evaluations - summary.evaluations - summary.pending)
        return max(0, n_points)

    def _time_to_ask(self) -> bool:
        """Whether a training begun now ends about when the slots run dry.

        Where a round is over in a fraction of a training, nothing is gained by training on half of it: then the round
        is waited for, stragglers excepted.
        """
        state, training_s = self.pool.state(), max(LEAD_S, 1.5 * self.training_s)
        round_s = self.n_proposed / state.points_per_s
        if math.isnan(round_s):
            return False
        if round_s > 0.25 * training_s:
            return state.backlog_s <= min(training_s, round_s / 2)
        quiet_s = time.monotonic() - self.recorded
        return not state.queued and quiet_s > max(0.25, 3 * state.seconds_per_point)

    def ask(self, n_points: int) -> None:
        """Ask for the next round."""
        self.asked = time.monotonic()
        self.trainer.request(self.store.view(), self.store.next_iteration, n_points)

    def open_round(self, proposal: Proposal) -> None:
        """Commit a proposal, then hand it to the slots."""
        if self.asked is not None:
            self.training_s = time.monotonic() - self.asked
        self.asked, self.report = None, proposal.report or self.report
        points = self.store.open_round(proposal)
        self.n_proposed = len(points)
        log.info("iteration %d: %d points proposed", points.iteration, len(points))
        self.pool.submit(points)

    def record(self, scored: Scored) -> None:
        """Commit some outcomes."""
        status = scored.outcomes.status
        worked = (status != Status.FAILED).nonzero()[0]
        since = len(status) - 1 - int(worked[-1]) if len(worked) else self.failures_in_a_row + len(status)
        self.failures_in_a_row, self.recorded = since, time.monotonic()
        self.store.record(scored)

    def look(self) -> None:
        """Let the journal reach the disk, and people see where the scan is."""
        self.store.flush()
        self.watch(self.store.summary(), self.pool.state(), self.report)

    def drain(self, reason: StopReason) -> None:
        """Take in what the slots finish within a short grace; on a clean end, close the rounds that are open."""
        self.pool.forget_queued()
        grace_s = next((s for name, s in GRACE_S.items() if name in reason.text), SHORT_GRACE_S)
        deadline = time.monotonic() + grace_s
        while self.pool.state().busy and time.monotonic() < deadline:
            for outcomes in self.pool.finished(timeout=TICK_S):
                self.record(score(outcomes, self.plan.likelihoods))
            self.look()
        for outcomes in self.pool.finished(timeout=0.0):
            self.record(score(outcomes, self.plan.likelihoods))
        if reason.exit_status != EXIT_STOPPED:
            self.store.abandon_unfinished()
            self.store.look_around(complete=True)
        self.look()

    def _round_for_the_slots(self) -> int:
        rate = self.pool.state().points_per_s
        return 0 if math.isnan(rate) else int(ROUND_S * rate)

    def _physics_is_broken(self, summary: Summary) -> str | None:
        """Nothing works, or nothing works any more: the text says what was seen."""
        bootstrap = max(1, self.plan.method.bootstrap_points)
        seen = _most_frequent(summary)
        if not summary.ok and summary.evaluations >= bootstrap and (
            summary.failed == summary.evaluations or summary.evaluations >= NEVER_OK_BOOTSTRAPS * bootstrap
        ):
            return f"physics: none of {summary.evaluations} points was ok. Most frequent: {seen}"
        if self.failures_in_a_row >= max(300, 2 * bootstrap):
            return f"physics: the last {self.failures_in_a_row} points all failed. Most frequent: {seen}"
        return None


def _most_frequent(summary: Summary) -> str:
    return "; ".join(f"{n} x {reason}" for reason, n in summary.reasons[:3])
