"""Fit: what is solved for at each point, and what a point is when nothing is found."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.config import dump, load
from raydnnr.errors import ConfigError, InvalidPoint, ToolFailure
from raydnnr.evaluation import Inputs, Observable, Source, Status
from raydnnr.expressions import Expression
from raydnnr.likelihoods import Gauss, Off
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.tools.base import Result, Tool, Toolchain, WorkerDied
from raydnnr.tools.fit import Fit, FitResult

MU = {"mu": {"low": 100.0, "high": 2000.0}}
MZ = {"mZ": {"value": 91.19, "tolerance": 0.01}}


def fit(**settings) -> Fit:
    return Fit(**{"name": "ewsb", "solve": MU, "targets": MZ, **settings})


def found(mz: Callable[[float], float], **settings) -> FitResult:
    """What one parameter is found to be, with a function in place of the tools."""
    return fit(**settings).run_ahead({}, lambda values: {"mZ": mz(values["mu"])})


@given(st.floats(110, 1990), st.floats(0.01, 10))
def test_one_parameter_is_found_wherever_it_is(mu, slope):
    result = found(lambda x: 91.19 + slope * (x - mu))
    assert abs(result.values["mu"] - mu) * slope <= 0.01


def test_the_first_change_of_sign_may_be_hidden_and_a_pole_is_none():
    with_pole = found(lambda x: 91.19 + (x - 300) * (x - 420) / (x - 1500.5))
    assert min(abs(with_pole.values["mu"] - 300), abs(with_pole.values["mu"] - 420)) < 0.2


def test_trials_without_an_answer_are_passed_over():
    def mz(x: float) -> float:
        if x > 900:
            raise InvalidPoint("tachyon")
        if x < 200:
            raise ToolFailure("crash")
        return math.nan if x < 250 else 91.19 + (x - 700) / 10

    assert abs(found(mz).values["mu"] - 700) <= 0.1


def test_no_solution_is_invalid_unless_the_nearest_will_do():
    with pytest.raises(InvalidPoint, match=r"ewsb: no solution\nafter \d+ trials; nearest: mu = 100, mZ = 100"):
        found(lambda x: x)
    assert found(lambda x: x, unsolved="nearest").values["mu"] == 100.0


@pytest.mark.parametrize("error", [InvalidPoint("tachyon"), ToolFailure("crash")])
def test_where_no_trial_has_an_answer_the_tools_say_why(error):
    def mz(x: float) -> float:
        raise error

    with pytest.raises(type(error), match=str(error)):
        found(mz, unsolved="nearest")


def test_a_worker_that_died_is_not_passed_over():
    def mz(x: float) -> float:
        raise WorkerDied("killed")

    with pytest.raises(WorkerDied):
        found(mz)


def test_trials_are_bounded_in_number_and_time():
    calls = []

    def mz(x: float) -> float:
        calls.append(x)
        return 1e3

    with pytest.raises(InvalidPoint):
        found(mz, max_runs=7)
    assert len(calls) == 7
    with pytest.raises(ToolFailure, match="longer than 1e-09 s"):
        found(mz, timeout_s=1e-9)


@pytest.mark.parametrize("algorithm", ["", "nelder_mead"])
@given(a=st.floats(-2, 2), b=st.floats(-2, 2))
def test_two_parameters_meet_two_targets(algorithm, a, b):
    both = {"a": {"low": -3, "high": 3}, "b": {"low": -3, "high": 3, "start": 1}}
    targets = {"p": {"value": a + b, "tolerance": 1e-3}, "q": {"value": math.exp(a) - b, "tolerance": 1e-3}}
    solver = fit(solve=both, targets=targets, algorithm=algorithm, max_runs=400)
    result = solver.run_ahead({}, lambda v: {"p": v["a"] + v["b"], "q": math.exp(v["a"]) - v["b"]}).values
    assert result["a"] + result["b"] == pytest.approx(a + b, abs=1e-3)
    assert math.exp(result["a"]) - result["b"] == pytest.approx(math.exp(a) - b, abs=1e-3)


def test_a_start_without_an_answer_is_left():
    both = {"a": {"low": -3, "high": 3}, "b": {"low": -3, "high": 3}}

    def trial(v: Mapping[str, float]) -> dict[str, float]:
        if v["a"] < 0.5:
            raise InvalidPoint("tachyon")
        return {"p": v["a"] - 1.0, "q": v["b"] - 2.0}

    targets = {name: {"value": 0.0, "tolerance": 1e-3} for name in "pq"}
    result = fit(solve=both, targets=targets, max_runs=300).run_ahead({}, trial).values
    assert (result["a"], result["b"]) == pytest.approx((1.0, 2.0), abs=1e-3)


@pytest.mark.parametrize(("settings", "words"), [
    ({"solve": {}}, "solve: got {}; write { name = { low = ..., high = ... } }"),
    ({"solve": {"mu": {"low": 1}}}, "solve.mu: got {'low': 1.0}; give low"),
    ({"solve": {"mu": {"low": 2, "high": 1}}}, "give low = ... and high = ... above it"),
    ({"solve": {"mu": {"low": 1, "high": 2, "start": 3}}}, "solve.mu.start: got 3"),
    ({"solve": {"mu": {"lo": 1, "high": 2}}}, "solve.mu: no setting 'lo'; it accepts low, high, start. Did you mean"),
    ({"solve": {"mu": {"low": True, "high": 2}}}, "solve.mu.low: got True; use a number"),
    ({"targets": {"mZ": {"value": 91.0}}}, "targets.mZ: got {'value': 91.0}; give value"),
    ({"targets": {"mZ": {"value": 91.0, "tolerance": 0}}}, "tolerance = ... > 0"),
    ({"algorithm": "brend"}, "algorithm: got 'brend'; use one of brent, least_squares, nelder_mead. Did you mean"),
    ({"targets": {**MZ, "mh": MZ["mZ"]}, "algorithm": "brent"}, "solves for one parameter with one target"),
    ({"resolution": 0.0}, "resolution: got 0.0"), ({"max_runs": 1}, "max_runs: got 1"),
    ({"unsolved": "failed"}, "unsolved: got 'failed'; use one of invalid, nearest"),
])
def test_what_cannot_be_solved_is_refused(settings, words):
    with pytest.raises(ConfigError) as error:
        fit(**settings)
    assert words in str(error.value)


# ---- in a chain


@dataclass(frozen=True)
class Key:
    tool: str
    key: str


@dataclass(frozen=True)
class Values(Result):
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Formula(Tool):
    """Computes ``formulas``, and counts its runs in a file of the scratch directory that it finds there."""

    formulas: tuple[tuple[str, str], ...] = ()

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        return Key(self.name, observable)

    def check(self) -> list[str]:
        return []

    def fingerprint(self) -> Mapping[str, object]:
        return {}

    def run(self, point: Mapping[str, float], slot: object) -> Values:
        with open(slot.scratch / "log", "a") as log:
            log.write(f"{self.name} ")
        return Values({key: float(Expression(text).evaluate(point)) for key, text in self.formulas})

    def read(self, result: Result, source: Source) -> float:
        return result.values[source.key]


class Bench:
    """A slot without processes."""

    def __init__(self, folder: Path) -> None:
        self.scratch = folder / "slot-000"
        self.scratch.mkdir()

    def empty(self) -> None:
        for path in self.scratch.iterdir():
            path.unlink()


SPACE = ParameterSpace((Parameter.of("m0", low=0, high=1000),))


def observable(name: str, tool: str = "", expression: str = "", **settings) -> Observable:
    source = Key(tool, name) if tool else None
    return Observable(name=name, source=source, expression=Expression(expression) if expression else None,
                      **{"likelihood": Off(), **settings})


def chain(*observables: Observable, **settings) -> Toolchain:
    solver = fit(**settings)
    tools = (Formula(name="before", formulas=(("base", "2 * m0"),)), solver,
             Formula(name="spectrum", formulas=(("mZ", "91.19 + (mu_2 - base) / 100"),)), Formula(name="after"))
    mu = Observable(name="mu", source=solver.address({}, "mu"), likelihood=Off())
    mu_2 = observable("mu_2", expression="mu + 1")
    return Toolchain(tools, (observable("base", "before"), mu, mu_2, *observables), Inputs(SPACE))


def test_the_tools_run_again_in_full_on_the_files_that_were_there_before(tmp_path):
    slot = Bench(tmp_path)
    mz = observable("mZ", "spectrum", likelihood=Gauss(mean=91.19, sigma=1.0), valid=(91.0, 91.3))
    result = chain(mz).evaluate(np.array([250.0]), slot)

    assert result.status == Status.OK, result.reason
    assert result.values[1] == pytest.approx(499.0, abs=1.0)
    assert result.values[3] == pytest.approx(91.19, abs=0.01)
    assert (slot.scratch / "log").read_text() == "before spectrum after "
    assert [p.name for p in tmp_path.iterdir()] == ["slot-000"]


def test_a_point_without_solution_is_invalid_and_keeps_what_was_read_before(tmp_path):
    mz = observable("mZ", "spectrum")
    result = chain(mz, solve={"mu": {"low": 100, "high": 200}}).evaluate(np.array([900.0]), Bench(tmp_path))
    assert (result.status, result.reason.split("\n")[0]) == (Status.INVALID, "ewsb: no solution")
    assert result.values[0] == 1800.0 and np.isnan(result.values[1:]).all()


def test_a_target_that_no_later_tool_has_is_refused():
    with pytest.raises(ConfigError, match=r"tools.ewsb: no tool after it gives the observable mZ, which it needs"):
        chain()


CONFIG = """
[scan]
name = "fit"
max_evaluations = 5
[search]
method = "random"
[parameters]
m0 = { low = 0, high = 1 }
[[tools]]
name = "ewsb"
kind = "fit"
solve = { mu = { low = 100, high = 2000 } }
targets = { mZ = { value = 91.19, tolerance = 0.01 } }
[[tools]]
name = "mine"
kind = "python"
function = "mymodel:observables"
[observables.mZ]
likelihood = { kind = "gauss", mean = 91.19, sigma = 1.0 }
[observables.trials]
from = { tool = "ewsb", key = "runs" }
"""


def test_fitted_values_are_columns_and_a_plan_survives_its_file(tmp_path):
    (tmp_path / "mymodel.py").write_text("def observables(point):\n    return {'mZ': point['mu']}\n")
    path = tmp_path / "scan.toml"
    path.write_text(CONFIG)
    plan = load(path)
    assert [o.name for o in plan.observables] == ["mu", "mZ", "trials"]

    (tmp_path / "again.toml").write_text(dump(plan)["config.toml"])
    assert load(tmp_path / "again.toml").fingerprint == plan.fingerprint
    with pytest.raises(ConfigError, match="the fit 'ewsb' has no 'rums'; there are mu, runs. Did you mean 'runs'?"):
        load(path, ["observables.trials.from.key=rums"])


def test_a_physics_worker_without_a_fit_at_work_loads_no_scipy():
    code = "import sys, raydnnr.evaluator, raydnnr.tools.kinds; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
