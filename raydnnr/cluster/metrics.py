"""Metrics: where a scan stands, for the Ray dashboard, Prometheus and Grafana (``slurm/grafana.json``).

Prometheus sees them as ``ray_raydnnr_...``, with the label ``scan``; never a label per point.
"""

from __future__ import annotations

import math
import time

from ray.util.metrics import Counter, Gauge

from raydnnr.evaluation import Summary, TrainingReport
from raydnnr.pool import PoolState

PERIOD_S = 1.0

GAUGES = {
    "good_points": "Points below the threshold",
    "hit_rate": "Share of good points among the evaluations since the last minute began",
    "coverage": "Estimated share of the good region that the good points cover",
    "best_nll": "Lowest negative log-likelihood so far",
    "iterations": "Active-learning iterations finished",
    "slots": "Physics slots on all nodes",
    "slots_busy": "Slots with a point",
    "queue_length": "Points that wait for a slot",
    "pending_points": "Points proposed and not finished",
    "seconds_per_point": "How long a point takes in its slot (s)",
    "training_seconds": "Duration of the last training (s)",
    "training_points": "Points it learned from",
    "training_loss": "Its loss, a mean squared error in the scaled target",
    "validation_loss": "The same on points it did not learn from",
    "driver_lag_seconds": "Longest turn of the driver's loop since the last report (s)",
}


class Metrics:
    """A watch of the scan's loop that reports to Ray's metrics, once a second.

    Args:
        scan: Its name, a label.
    """

    def __init__(self, scan: str) -> None:
        self._tags = {"scan": scan}
        self._gauges = {name: Gauge(f"raydnnr_{name}", text, ("scan",)) for name, text in GAUGES.items()}
        self._evaluations = Counter("raydnnr_evaluations", "Evaluations by status", ("scan", "status"))
        self._workers_lost = Counter("raydnnr_workers_lost", "Evaluators lost", ("scan",))
        self._tool_seconds = Gauge("raydnnr_tool_seconds", "Mean duration of a run of a tool (s)", ("scan", "tool"))
        self._counted = {"ok": 0, "invalid": 0, "failed": 0}
        self._lost = 0
        self._minute = (time.monotonic(), Summary())
        self._due = self._last = time.monotonic()
        self._lag = 0.0

    def __call__(self, summary: Summary, pool: PoolState, report: TrainingReport | None) -> None:
        """One look at the scan; cheap, called at every turn of the loop."""
        now = time.monotonic()
        self._lag, self._last = max(self._lag, now - self._last), now
        if now < self._due:
            return
        self._due = now + PERIOD_S
        self._count(summary, pool)
        values = {
            "good_points": summary.good, "hit_rate": self._hit_rate(now, summary), "best_nll": summary.best_nll,
            "coverage": summary.survey.coverage.share, "iterations": summary.iterations, "slots": pool.n_slots,
            "slots_busy": pool.busy, "queue_length": pool.queued, "pending_points": summary.pending,
            "seconds_per_point": pool.seconds_per_point, "driver_lag_seconds": self._lag,
        }
        if report:
            values |= {"training_seconds": report.seconds, "training_points": report.n_points,
                       "training_loss": report.loss, "validation_loss": report.validation_loss}
        for name, value in values.items():
            if math.isfinite(value):
                self._gauges[name].set(float(value), self._tags)
        for tool, seconds in pool.times.mean_seconds.items():
            self._tool_seconds.set(seconds, {**self._tags, "tool": tool})
        self._lag = 0.0

    def _count(self, summary: Summary, pool: PoolState) -> None:
        """Counters only know how much was added."""
        for status, n in (("ok", summary.ok), ("invalid", summary.invalid), ("failed", summary.failed)):
            if (more := n - self._counted[status]) > 0:
                self._evaluations.inc(more, {**self._tags, "status": status})
                self._counted[status] = n
        if (more := pool.workers_lost - self._lost) > 0:
            self._workers_lost.inc(more, self._tags)
            self._lost = pool.workers_lost

    def _hit_rate(self, now: float, summary: Summary) -> float:
        began, before = self._minute
        n = summary.evaluations - before.evaluations
        rate = (summary.good - before.good) / n if n else math.nan
        if now - began > 60.0:
            self._minute = (now, summary)
        return rate
