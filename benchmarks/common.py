"""What the benchmarks share: plans, versions, tables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raydnnr import Gauss, Observable, Parameter, Plan, PythonFunction, Stop
from raydnnr.plan import ClusterSettings, Method

HERE = Path(__file__).parent


def nothing(point: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Physics that costs nothing: four observables of four parameters."""
    return {"a": point["x1"], "b": point["x2"], "c": point["x3"], "d": point["x4"]}


def no_op_plan(name: str, method: Method, n_evaluations: int, slots: int) -> Plan:
    """Random points through a vectorised function that does nothing."""
    return Plan(
        name=name, parameters=[Parameter.of(f"x{k}", low=0, high=1) for k in range(1, 5)],
        tools=[PythonFunction(name="nothing", function="common:nothing", vectorized=True, path=(str(HERE),))],
        observables=[Observable(name=n, likelihood=Gauss(mean=0.5, sigma=0.1)) for n in "abcd"], method=method,
        stop=Stop(points=0, max_evaluations=n_evaluations), cluster=ClusterSettings(slots=slots),
    )


def versions() -> str:
    """Of what the figures depend on."""
    names = ("raydnnr", "ray", "torch", "numpy", "pyarrow", "scikit-learn")
    found = [f"{n} {importlib.metadata.version(n)}" for n in names]
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cpus} CPUs, Python {platform.python_version()}, " + ", ".join(found)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
