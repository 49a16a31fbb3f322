"""Scans of problems whose good region is known: an analytic NLL with a known volume."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raydnnr import Gauss, Minusexpuser, MlsDnnr, Observable, Parameter, Plan, PythonFunction, RandomSampling, Stop
from raydnnr.plan import ClusterSettings, Method
from raydnnr.run import run


def disc(point: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A disc of radius 0.1 around (0.3, 0.6), good below 1: volume pi / 100 of the unit square."""
    return {"r2": ((point["x"] - 0.3) ** 2 + (point["y"] - 0.6) ** 2) / 0.01}


def shell(point: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A thin spherical shell in four dimensions, and an invalid half space that cuts it."""
    radius = np.sqrt(sum((point[n] - 0.5) ** 2 for n in "abcd"))
    return {"radius": np.where(point["a"] > 0.5, radius, np.nan)}


def scan(folder: Path, method: Method, function: object, names: str, observable: Observable, n: int) -> pd.DataFrame:
    plan = Plan(name="known", parameters=[Parameter.of(p, low=0, high=1) for p in names],
                tools=[PythonFunction(name="f", function=function, vectorized=True)], observables=[observable],  # type: ignore[arg-type]
                method=method, seed=3, stop=Stop(points=0, iterations=0, max_evaluations=n),
                cluster=ClusterSettings(slots=2))
    result = run(plan, run_dir=folder, inline=True, progress=False)
    assert result.evaluations == n
    return result.dataframe()


def n_good(table: pd.DataFrame) -> int:
    return int(((table.status == "ok") & (table.nll < 1)).sum())


@pytest.mark.parametrize("sampler", ["sobol", "uniform"])
def test_random_points_measure_the_volume(tmp_path: Path, sampler: str) -> None:
    n = 20_000
    table = scan(tmp_path, RandomSampling(sampler=sampler), disc, "xy",
                 Observable(name="r2", likelihood=Minusexpuser()), n)

    volume = math.pi / 100
    assert abs(n_good(table) / n - volume) < 5 * math.sqrt(volume / n)


def test_learning_beats_chance_on_a_shell(tmp_path: Path) -> None:
    observable = Observable(name="radius", likelihood=Gauss(mean=0.3, sigma=0.01))
    method = MlsDnnr(candidate_points=5000, points_per_iteration=100, synchronous=True)
    learned = scan(tmp_path / "learned", method, shell, "abcd", observable, 600)
    chance = scan(tmp_path / "chance", RandomSampling(), shell, "abcd", observable, 6000)

    assert n_good(learned) > 3 * n_good(chance) / 10
    good = learned[(learned.status == "ok") & (learned.nll < 1)]
    assert (good.a > 0.5).all() and ((good.radius - 0.3).abs() < 0.01 * math.sqrt(2.01)).all()
    assert (learned[learned.a < 0.5].status == "invalid").all()
