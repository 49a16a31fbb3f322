"""Progress: lines without a terminal, a picture with one, and a status file that any program can read."""

from __future__ import annotations

import io
import json
import logging
import math
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from raydnnr import Stop, progress
from raydnnr.evaluation import Summary, TrainingReport
from raydnnr.pool import PoolState
from raydnnr.progress import Progress
from tests.unit.plans import square

POOL = PoolState(n_slots=8, busy=7, queued=40, seconds_per_point=0.5)
REPORT = TrainingReport(n_points=700, epochs=120, loss=0.0123, validation_loss=0.0456, seconds=1.5, device="cuda:0",
                        expected_good=0.8, found_good=0.75, reliability=((20, 0.8, 0.75),))
BEGUN = Summary(evaluations=100, good=5, ok=90, invalid=6, failed=4, iterations=2, pending=50, best_nll=0.25,
                seconds=61.0, reasons=(("tachyon [/red]", 6),))


class Terminal(io.StringIO):
    """A stderr that is one."""

    def isatty(self):
        return True


class Clock:
    """Time that stands still until it is told to go."""

    now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1.7e9 + self.now

    def strftime(self, pattern):
        return "12:00:00"


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def watching(folder, *, points=0, stop=None, **settings):
    return Progress(square(stop=stop or Stop(points=points, max_evaluations=1000)), folder, **settings)


def status(folder):
    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads((folder / "status.json").read_text(), parse_constant=refuse)


def seen(watch, width=100):
    """The picture as text."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(watch._picture())
    return console.file.getvalue()


# ---- lines


def test_a_line_comes_at_once_then_every_ten_seconds_and_with_each_iteration(tmp_path, clock, capsys):
    watch = watching(tmp_path)

    def lines_after(seconds, summary):
        clock.now += seconds
        watch(summary, POOL, None)
        return len(capsys.readouterr().err.splitlines())

    assert lines_after(0, BEGUN) == 1
    assert sum(lines_after(0.05, BEGUN) for _ in range(100)) == 0
    assert lines_after(5.1, BEGUN) == 1
    assert lines_after(0.05, Summary(evaluations=150, iterations=3)) == 1
    assert lines_after(9.9, Summary(evaluations=160, iterations=3)) == 0


def test_a_line_says_where_the_scan_is(tmp_path, clock, capsys):
    watching(tmp_path, points=50)(BEGUN, POOL, REPORT)
    err = capsys.readouterr().err
    for words in ("[0:01:01]", "100 evaluations", "5/50 good", "hit rate 5 %", "best NLL 0.25", "iteration 2",
                  "slots 7/8", "queue 40", "6 invalid, 4 failed", "loss 0.0123 (700 points, 1.5 s)"):
        assert words in err
    assert "\x1b" not in err


def test_nothing_is_known_yet(tmp_path, clock, capsys):
    watch = watching(tmp_path)
    watch(Summary(), PoolState(8, 0, 0, math.nan), None)
    assert "nan" not in capsys.readouterr().err
    assert "nan" not in seen(watch)


def test_silence_is_kept_but_for_the_file(tmp_path, clock, capsys):
    watch = watching(tmp_path, show=False)
    watch(BEGUN, POOL, REPORT)
    watch.close()
    assert capsys.readouterr() == ("", "")
    assert status(tmp_path)["evaluations"] == 100


# ---- the status file


def test_the_status_file_holds_the_counts(tmp_path, clock):
    watch = watching(tmp_path, points=50, dashboard_url="127.0.0.1:8265")
    watch(BEGUN, POOL, REPORT)
    held = status(tmp_path)
    expected = {"state": "running", "name": "square", "evaluations": 100, "good": 5, "valid": 90, "invalid": 6,
                "failed": 4, "iterations": 2, "pending": 50, "best_nll": 0.25, "seconds": 61.0, "slots": 8,
                "slots_busy": 7, "queued": 40, "dashboard": "127.0.0.1:8265", "updated": clock.time(),
                "reasons": [["tachyon [/red]", 6]]}
    assert {key: held[key] for key in expected} == expected
    assert held["pid"] > 1
    assert held["training"] == {"points": 700, "epochs": 120, "loss": 0.0123, "validation_loss": 0.0456,
                                "seconds": 1.5, "device": "cuda:0", "expected_good": 0.8, "found_good": 0.75,
                                "reliability": [[20, 0.8, 0.75]]}
    watch.write_status("stopped", "signal: SIGTERM")
    assert (status(tmp_path)["state"], status(tmp_path)["reason"]) == ("stopped", "signal: SIGTERM")
    assert status(tmp_path)["evaluations"] == 100


def test_the_status_file_is_written_every_two_seconds(tmp_path, clock):
    watch = watching(tmp_path)
    watch(BEGUN, POOL, None)
    watch(Summary(evaluations=101), POOL, None)
    assert status(tmp_path)["evaluations"] == 100
    clock.now += 2.0
    watch(Summary(evaluations=102), POOL, None)
    assert status(tmp_path)["evaluations"] == 102
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_a_status_file_that_cannot_be_written_stops_no_scan(tmp_path, clock, caplog):
    watch = watching(tmp_path / "gone")
    with caplog.at_level(logging.WARNING):
        watch(BEGUN, POOL, None)
    assert "status.json cannot be written" in caplog.text


NUMBERS = st.floats() | st.just(math.nan)
COUNTS = st.integers(0, 10**12)


@given(st.builds(Summary, *[COUNTS] * 7, NUMBERS, st.floats(0, 1e12)),
       st.builds(Summary, *[COUNTS] * 7, NUMBERS, st.floats(0, 1e12)),
       st.builds(PoolState, COUNTS, COUNTS, COUNTS, NUMBERS, COUNTS),
       st.none() | st.builds(TrainingReport, COUNTS, COUNTS, NUMBERS, NUMBERS, st.floats(0, 1e12)),
       st.sampled_from([Stop(points=0), Stop(points=7, max_evaluations=10**9), Stop(max_hours=1e305, iterations=3)]))
def test_any_state_can_be_shown(tmp_path_factory, before, summary, pool, report, stop):
    folder = tmp_path_factory.getbasetemp()
    watch = watching(folder, stop=stop, show=False)
    watch(before, pool, None)
    watch(summary, pool, report)
    watch.write_status("running")
    assert status(folder)["good"] == summary.good
    assert watch._line()
    assert "raydnnr: square" in seen(watch)


# ---- rates, and the time that is left


def go(watch, clock, seconds, before, after):
    watch(before, POOL, None)
    clock.now += seconds
    watch(after, POOL, None)
    watch.write_status("running")


@pytest.mark.parametrize(("stop", "left"), [
    (Stop(points=0, max_evaluations=300), 10.0),  # 100 more, at 10 per second
    (Stop(points=20), 10.0),  # 10 more, at 1 per second
    (Stop(points=0, max_hours=1.0), 3580.0), (Stop(points=20, max_evaluations=250, max_hours=1.0), 5.0),
    (Stop(points=5), 0.0), (Stop(points=0), None), (Stop(points=0, max_hours=1e307), None),
])
def test_the_time_left_is_that_to_the_first_limit(tmp_path, clock, stop, left):
    go(watching(tmp_path, stop=stop, show=False), clock, 10.0, Summary(evaluations=100, seconds=10.0),
       Summary(evaluations=200, good=10, seconds=20.0))
    assert status(tmp_path)["evaluations_per_s"] == pytest.approx(10.0)
    assert status(tmp_path)["seconds_left"] == (None if left is None else pytest.approx(left))


def test_the_rate_is_that_of_the_last_minute(tmp_path, clock):
    watch = watching(tmp_path, show=False)
    for n in range(200):  # 100 per second at first, 10 in the last 100 seconds
        clock.now += 1.0
        watch(Summary(evaluations=100 * n if n < 100 else 10_000 + 10 * (n - 100)), POOL, None)
    watch.write_status("running")
    assert status(tmp_path)["evaluations_per_s"] == pytest.approx(10.0)


# ---- the picture


def test_the_picture_says_it_all(tmp_path, clock):
    watch = watching(tmp_path, points=50, show=False, dashboard_url="127.0.0.1:8265")
    go(watch, clock, 10.0, Summary(), BEGUN)
    watch(BEGUN, PoolState(8, 7, 40, 0.5, workers_lost=2), REPORT)
    text = seen(watch)
    for words in ("raydnnr: square", "100   10 per s", "5/50", "5 % in all", "0.25   (good below 1)",
                  "6 invalid, 4 failed", "7 of 8, 40 points queued, 2 workers lost", "2 done",
                  "700 points, 120 epochs, loss 0.0123 (validation 0.0456), 1.5 s on cuda:0", "0:01:01, about 0:01:30",
                  "http://127.0.0.1:8265", "12:00:00 iteration 2 done: 5/50 good points",
                  "12:00:00 trained on 700 points: 120 epochs in 1.5 s", "12:00:00 2 workers lost"):
        assert words in text, words


def test_events_are_told_once_and_the_last_four_are_kept(tmp_path, clock):
    watch = watching(tmp_path, show=False)
    for n in range(8):
        for _ in range(3):
            watch(Summary(iterations=n), POOL, None)
    assert [line for line in seen(watch).splitlines() if "done:" in line and "iteration 7" in line]
    assert seen(watch).count("done: 0 good points") == 4
    assert "iteration 3" not in seen(watch)


def test_a_terminal_gets_a_picture_four_times_a_second_at_most(tmp_path, clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    watch = watching(tmp_path)
    drawn = []
    monkeypatch.setattr(watch, "_picture", lambda: drawn.append(clock.now) or "picture")
    for _ in range(200):
        watch(BEGUN, POOL, None)
        clock.now += 0.05
    watch.close()
    assert 35 <= len(drawn) <= 42
    assert "picture" in terminal.getvalue()
    assert terminal.getvalue().count("\x1b[?25h") == terminal.getvalue().count("\x1b[?25l") == 1, "the cursor is back"
    assert sys.stderr is terminal


def test_a_terminal_that_goes_away_ends_the_display_only(tmp_path, clock, monkeypatch, caplog):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    watch = watching(tmp_path)
    watch(BEGUN, POOL, None)

    def gone(text):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(terminal, "write", gone)
    for n in range(3):
        clock.now += 20.0
        watch(Summary(evaluations=200 + n), POOL, None)
    watch.close()
    assert caplog.text.count("the terminal is gone") == 1
    assert status(tmp_path)["evaluations"] == 202
    assert sys.stderr is terminal, "later words must not go through the display"


def test_looking_costs_next_to_nothing(tmp_path):
    """The loop looks 20 times a second: 1 % of a core is 0.5 ms for each; some 10 us are needed."""
    watch = watching(tmp_path, show=False)
    watch(BEGUN, POOL, None)
    start = time.process_time()
    for _ in range(2000):
        watch(BEGUN, POOL, None)
    assert time.process_time() - start < 2000 * 0.5e-3
