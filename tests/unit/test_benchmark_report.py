"""Tables of the search benchmark, from runs whose figures are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from peers import methods
from problems import PROBLEMS
from report import RIVALS, Run, write_report
from score import Log

TOY = PROBLEMS["toy3d"]


def run(method, seed, every, n=3000):
    """A search that finds a reference point every so many evaluations, and else nothing."""
    u = np.random.default_rng(seed).random((n, 3))
    nll = np.full(n, 9.0)
    found = np.arange(0, n, every)
    u[found] = TOY.reference.points[found // every % 500] + found[:, None] * 1e-12  # distinct
    nll[found] = 0.1
    return Run.of(TOY, method, seed, Log(u, nll), cpu_s=3.0, wall_s=4.0)


def page(tmp_path, runs, n_wanted=None):
    return write_report(tmp_path / "efficiency_here_today", runs, "python me", n_wanted or len(runs))


def test_medians_and_ranges_of_what_was_reached(tmp_path):
    text = page(tmp_path, [run("hybrid", 1, 1), run("hybrid", 2, 2), run("hybrid", 3, 2)])

    row = next(line for line in text.splitlines() if line.startswith("|  | hybrid "))
    assert "1,999 (1,000–1,999)" in row and "1.00 (1.00–1.00)" in row and "1.00 |" in row  # 3 s for 3000: 1 ms


def test_what_was_not_reached_says_how_far_it_came(tmp_path):
    text = page(tmp_path, [run("random", seed, 10) for seed in (1, 2, 3)])
    assert "> 3,000 (300)" in text


def test_the_worst_case_names_the_seed_that_falls_behind(tmp_path):
    good = [run("hybrid", 1, 1), run(RIVALS[0], 1, 2)]
    assert "behind in 0 of" in page(tmp_path, good)

    text = page(tmp_path, [*good, run("hybrid", 2, 3), run(RIVALS[0], 2, 2)])
    behind = [line for line in text.splitlines() if line.startswith("| toy3d | 2 | cmaes")]
    assert behind and not any(line.startswith("| toy3d | 1 | cmaes") for line in text.splitlines())


def test_missing_runs_are_said_and_the_numbers_are_kept(tmp_path):
    text = page(tmp_path, [run("random", 1, 10), run("hybrid: no network", 1, 1)], n_wanted=5)
    raw = json.loads((tmp_path / "efficiency_here_today.json").read_text())

    assert "3 of 5 runs are missing" in text and "| toy3d | no network | 1,000" in text
    assert [r["good"] for r in raw["runs"]] == [300, 3000] and raw["command"] == "python me"


@pytest.mark.parametrize("name", ["random", "mls_dnnr"])
def test_a_cached_run_depends_on_the_method_and_its_settings(name):
    plain, other = methods.method(name), methods.method(name, {"bootstrap_points": 7})
    files = {path.name for path in plain.code}

    assert plain.fingerprint() == methods.method(name).fingerprint() != other.fingerprint()
    assert "space.py" in files and (("torchfit.py" in files) == (name == "mls_dnnr"))
