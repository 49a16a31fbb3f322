"""Progress: what a person sees while a scan runs, and ``status.json`` for everybody else."""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raydnnr.atomic import write_atomically
from raydnnr.coverage import Survey
from raydnnr.evaluation import Summary, TrainingReport
from raydnnr.logs import say
from raydnnr.plan import Plan
from raydnnr.pool import PoolState

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

log = logging.getLogger("raydnnr")

SCREEN_S = 0.25  # between two pictures of the live display
LINE_S = 10.0  # between two log lines
FILE_S = 2.0  # between two writes of status.json
RATE_WINDOW_S = 60.0  # the rate shown is that of the last minute


class Progress:
    """Watches a scan: a live display on a terminal, log lines elsewhere, and ``status.json``.

    Args:
        plan: What is scanned.
        run_dir: Where ``status.json`` goes.
        show: Whether anything is shown at all.
        dashboard_url: Of Ray, to be shown.
    """

    def __init__(self, plan: Plan, run_dir: Path, show: bool = True, dashboard_url: str = "") -> None:
        self._plan, self._run_dir, self._url = plan, run_dir, dashboard_url
        self._history: deque[tuple[float, int, int]] = deque()
        self._events: deque[str] = deque(maxlen=4)
        self._live: Live | None = None
        self._line_due = self._screen_due = self._file_due = 0.0
        self._last_iteration = -1
        self._state: tuple[Summary, PoolState, TrainingReport | None] | None = None
        self._show = show
        if show and sys.stderr.isatty():
            self._start_live()

    def __call__(self, summary: Summary, pool: PoolState, report: TrainingReport | None) -> None:
        """One look at the scan; cheap, called at every turn of the loop."""
        now = time.monotonic()
        self._note_events(summary, pool, report)
        self._state = summary, pool, report
        if not self._history or now - self._history[-1][0] > 0.2:
            self._history.append((now, summary.evaluations, summary.good))
            while now - self._history[0][0] > RATE_WINDOW_S:
                self._history.popleft()
        if now >= self._file_due:
            self._file_due = now + FILE_S
            self.write_status("running")
        if self._live and now >= self._screen_due:
            self._screen_due = now + SCREEN_S
            self._draw()
        elif self._show and not self._live and (now >= self._line_due or summary.iterations != self._last_iteration):
            self._line_due, self._last_iteration = now + LINE_S, summary.iterations
            say(self._line())

    def close(self) -> None:
        """Leave the last picture on the screen."""
        self._draw()
        self._end_live()

    def write_status(self, state: str, reason: str = "") -> None:
        """Write ``status.json``: state (running, finished, stopped, failed), counts, rates, who runs it."""
        summary, pool, report = self._state or (Summary(), PoolState(0, 0, 0, math.nan), None)
        status: dict[str, Any] = {
            "state": state, "reason": reason, "name": self._plan.name, "updated": time.time(),
            "host": socket.gethostname(), "pid": os.getpid(), "dashboard": self._url,
            "evaluations": summary.evaluations, "good": summary.good, "valid": summary.ok, "invalid": summary.invalid,
            "failed": summary.failed, "iterations": summary.iterations, "pending": summary.pending,
            "best_nll": _number(summary.best_nll), "threshold_value": self._plan.stop.threshold_value,
            "seconds": round(summary.seconds, 1), "evaluations_per_s": _number(self._rate()),
            "seconds_left": _number(self._seconds_left()), "slots": pool.n_slots, "slots_busy": pool.busy,
            "queued": pool.queued, "seconds_per_point": _number(pool.seconds_per_point),
            "workers_lost": pool.workers_lost, "reasons": [list(r) for r in summary.reasons],
            "coverage": _surveyed(summary.survey),
            "tools": {name: {"runs": pool.times.runs[name], "mean_seconds": round(mean, 6)}
                      for name, mean in pool.times.mean_seconds.items()},
            "saved_seconds": round(pool.times.saved_seconds, 3),
            "training": None if report is None else {
                "points": report.n_points, "epochs": report.epochs, "loss": _number(report.loss),
                "validation_loss": _number(report.validation_loss), "seconds": round(report.seconds, 2),
                "device": report.device, "expected_good": _number(report.expected_good),
                "found_good": _number(report.found_good), "reliability": report.reliability},
        }
        try:
            write_atomically(self._run_dir / "status.json", json.dumps(status).encode())
        except OSError as error:
            log.warning("status.json cannot be written: %s", error)

    def say_times(self) -> None:
        """How long each tool took, once the scan is over."""
        if self._state and self._state[1].times.runs:
            log.info("tools: %s", self._state[1].times)

    # ---- events

    def _note_events(self, summary: Summary, pool: PoolState, report: TrainingReport | None) -> None:
        """What has changed since the last look and deserves a line of its own."""
        if self._state is None:
            return
        before, pool_before, report_before = self._state
        if report is not None and report is not report_before:
            self._note(f"trained on {report.n_points} points: {report.epochs} epochs in {report.seconds:.1f} s")
        if summary.iterations > before.iterations:
            self._note(f"iteration {summary.iterations} done: {summary.good}{self._wanted()} good points")
        if pool.workers_lost > pool_before.workers_lost:
            self._note(f"{pool.workers_lost - pool_before.workers_lost} workers lost; their points are evaluated again")

    def _note(self, text: str) -> None:
        self._events.append(f"{time.strftime('%H:%M:%S')} {text}")

    # ---- numbers

    def _rate(self) -> float:
        """Evaluations per second, lately; NaN before two looks."""
        (t0, n0, _), (t1, n1, _) = (self._history[0], self._history[-1]) if self._history else ((0, 0, 0), (0, 0, 0))
        return (n1 - n0) / (t1 - t0) if t1 > t0 else math.nan

    def _recent_hit_rate(self) -> float:
        (_, n0, g0), (_, n1, g1) = (self._history[0], self._history[-1]) if self._history else ((0, 0, 0), (0, 0, 0))
        return (g1 - g0) / (n1 - n0) if n1 > n0 else math.nan

    def _seconds_left(self) -> float:
        """Until the first stop rule that can be foreseen, at the present rate; NaN if none can."""
        if self._state is None:
            return math.nan
        summary, stop, rate = self._state[0], self._plan.stop, self._rate()
        left = []
        if rate > 0 and stop.max_evaluations:
            left.append((stop.max_evaluations - summary.evaluations) / rate)
        if rate > 0 and stop.points and (hits := self._recent_hit_rate()) > 0:
            left.append((stop.points - summary.good) / (rate * hits))
        if stop.max_hours:
            left.append(3600 * stop.max_hours - summary.seconds)
        soonest = min(left, default=math.nan)
        return max(0.0, soonest) if math.isfinite(soonest) else math.nan

    # ---- pictures

    def _draw(self) -> None:
        """Show the present picture, where there is a terminal to show it."""
        if self._live:
            try:
                self._live.update(self._picture(), refresh=True)
            except OSError as error:
                self._end_live()
                self._show = False
                log.warning("the terminal is gone (%s); the scan goes on without it", error)

    def _line(self) -> str:
        assert self._state is not None
        s, pool, report = self._state
        words = [
            f"[{_clock(s.seconds)}]", f"{s.evaluations} evaluations", f"{s.good}{self._wanted()} good",
            f"hit rate {_percent(s.good, s.evaluations)}", f"best NLL {_figure(s.best_nll, 4)}",
            f"iteration {s.iterations}", f"slots {pool.busy}/{pool.n_slots}", f"queue {pool.queued}",
        ]
        if s.failed or s.invalid:
            words.append(f"{s.invalid} invalid, {s.failed} failed")
        if text := str(s.survey):
            words.append(text)
        if report:
            loss = "" if math.isnan(report.loss) else f"loss {report.loss:.3g} "
            words.append(f"{loss}({report.n_points} points, {report.seconds:.1f} s)")
        if not math.isnan(left := self._seconds_left()):
            words.append(f"about {_clock(left)} left")
        return "  ".join(words)

    def _wanted(self) -> str:
        return f"/{self._plan.stop.points}" if self._plan.stop.points else ""

    def _start_live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=False)
        self._live.start()

    def _end_live(self) -> None:
        live, self._live = self._live, None
        try:
            if live:
                live.stop()
        except OSError:
            pass  # nobody is there to see the cursor again

    def _picture(self) -> RenderableType:
        from rich.markup import escape
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        summary, pool, report = self._state or (Summary(), PoolState(0, 0, 0, math.nan), None)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", justify="right")
        grid.add_column()
        rate = self._rate()
        grid.add_row("evaluations", f"{summary.evaluations}   {'' if math.isnan(rate) else f'{rate:.3g} per s'}")
        grid.add_row("good points", f"[bold green]{summary.good}{self._wanted()}[/]")
        if self._plan.stop.points:
            grid.add_row("", ProgressBar(total=self._plan.stop.points, completed=summary.good, width=40))
        grid.add_row("hit rate", f"{_percent(summary.good, summary.evaluations)} in all, "
                                 f"{_share(self._recent_hit_rate())} lately")
        grid.add_row("best NLL", f"{_figure(summary.best_nll, 5)}   (good below {self._plan.stop.threshold_value:g})")
        if text := str(summary.survey):
            grid.add_row("good region", text)
        grid.add_row("not ok", f"{summary.invalid} invalid, {summary.failed} failed")
        grid.add_row("slots busy", f"{pool.busy} of {pool.n_slots}, {pool.queued} points queued"
                     + (f", {pool.workers_lost} workers lost" if pool.workers_lost else ""))
        limit = f" of {self._plan.stop.iterations}" if self._plan.stop.iterations else ""
        grid.add_row("iterations", f"{summary.iterations}{limit} done")
        if report:
            watched = "" if math.isnan(report.validation_loss) else f" (validation {report.validation_loss:.3g})"
            grid.add_row("training", f"{report.n_points} points, {report.epochs} epochs, loss {report.loss:.3g}"
                         f"{watched}, {report.seconds:.1f} s on {report.device}")
            if not math.isnan(report.expected_good):
                grid.add_row("last round", f"{report.expected_good:.0%} good expected, {report.found_good:.0%} found")
        left = self._seconds_left()
        ends = "" if math.isnan(left) else f", about {_clock(left)} left"
        grid.add_row("time", f"{_clock(summary.seconds)}{ends}")
        if self._url:
            grid.add_row("dashboard", f"http://{self._url}")
        for text in self._events:
            grid.add_row("", f"[dim]{escape(text)}[/]")
        title, subtitle = escape(f"raydnnr: {self._plan.name}"), escape(str(self._run_dir))
        return Panel(grid, title=title, subtitle=subtitle, expand=False)


def _number(value: float) -> float | None:
    """For JSON: None where there is no finite number."""
    return value if math.isfinite(value) else None


def _surveyed(survey: Survey) -> dict[str, float | int | None] | None:
    """For JSON: what is known of the good region; None where that is nothing."""
    if math.isnan(survey.coverage.share):
        return None
    return {"good": survey.n_points, "share": _number(survey.coverage.share), "error": _number(survey.coverage.error),
            "radius": _number(survey.coverage.radius), "dimension": _number(survey.coverage.dimension),
            "gain": _number(survey.gain), "regions": survey.regions.count,
            "regions_effective": _number(survey.regions.effective)}


def _percent(part: int, whole: int) -> str:
    return _share(part / whole) if whole else "-"


def _figure(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.3g} %"


def _clock(seconds: float) -> str:
    """
    >>> _clock(3725)
    '1:02:05'
    """
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
