"""A plan is checked whole; its fingerprint knows the physics, and not what may change on the way."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import cloudpickle
import numpy as np
import pytest

from raydnnr import (
    ClusterSettings,
    ConfigError,
    Expression,
    Gauss,
    MlsDnnr,
    Observable,
    Off,
    Parameter,
    PythonFunction,
    RandomSampling,
    SlhaCommand,
    Stop,
    Upper,
)
from raydnnr.evaluation import RESERVED, Summary
from tests.unit.plans import disc, square

X, Y = Parameter.of("x", low=0, high=1), Parameter.of("y", low=0, high=1)
R, S = Observable(name="r", likelihood=Gauss(mean=0.2, sigma=0.1)), Observable(name="s", likelihood=Off())


def other(point):
    """Another function than `disc`."""
    return {"r": point["x"], "s": point["y"]}


def test_lists_and_texts_are_kept_as_tuples_and_expressions():
    plan = square()
    assert isinstance(plan.parameters, tuple)
    assert isinstance(plan.derived["x2"], Expression)
    assert plan.observables[0].source.key == "r"
    assert plan.space.scanned == ("x", "y")
    assert plan.inputs.names == ("x", "y", "k", "x2")


@pytest.mark.parametrize(("changes", "words"), [
    ({"parameters": [X, X]}, "parameters.x: the name is already used in [parameters]"),
    ({"derived": {"x": "y"}}, "derived.x: the name is already used in [parameters]"),
    ({"observables": [R, R]}, "observables.r: the name is already used in [observables]"),
    ({"observables": [R, replace(S, name="x")]}, "observables.x: the name is already used in [parameters]"),
    ({"observables": [R, replace(S, name="x2")]}, "observables.x2: the name is already used in [derived]"),
    ({"parameters": [X, Y, replace(X, name="sqrt")]}, "parameters.sqrt: 'sqrt' is a function or constant"),
    ({"parameters": [X, Y, replace(X, name="pi")]}, "parameters.pi"),
    ({"parameters": [X, Y, replace(X, name="e")]}, "parameters.e"),
    ({"parameters": [X, Y, replace(X, name="loss_r")]}, "parameters.loss_r: 'loss_r' is a column"),
    ({"parameters": [X, Y, replace(X, name="m 0")]}, "parameters.m 0: 'm 0' is not a name"),
    ({"parameters": [X, Y, replace(X, name="lambda")], "derived": {}},
     "parameters.lambda: 'lambda' is a word of Python and could not stand in an expression"),
    ({"parameters": [Parameter.of("x", value=1), Parameter.of("y", value=1)], "derived": {}}, "nothing to scan"),
    ({"observables": [S]}, "no likelihood"),
    ({"tools": []}, "add a [[tools]] table"),
    ({"tools": [PythonFunction(name="a", function=disc)] * 2,
      "observables": [replace(R, source=PythonFunction(name="a", function=disc).address({}, "r"))]},
     "tools.a: two tools have this name"),
    ({"derived": {"a": "x + z"}}, "derived.a: 'x + z' uses 'z', which is not known here; known are x, y, k"),
    ({"derived": {"a": "b", "b": "x"}}, "derived.a: 'b' uses 'b'"),
    ({"derived": {"a": "x", "b": "a + r"}}, "derived.b: 'a + r' uses 'r'"),
    ({"observables": [R, Observable(name="t", expression=Expression("r + q"), likelihood=Off())]},
     "observables.t.expression: 'r + q' uses 'q'"),
    ({"observables": [Observable(name="t", expression=Expression("r"), likelihood=Off()), R]}, "uses 'r'"),
    ({"observables": [replace(R, valid=(2.0, 1.0))]}, "observables.r.valid: got [2.0, 1.0]"),
    ({"observables": [replace(R, source=PythonFunction(name="modle", function=disc).address({}, "r"))]},
     "observables.r.from: no tool is named 'modle'; there are model. Did you mean 'model'?"),
    ({"tools": [PythonFunction(name="model", function=disc, conditions=("r < q",))]},
     "tools.model.conditions: 'r < q' uses 'q'"),
    ({"seed": -1}, "scan.seed: got -1"), ({"seed": 2**32}, "scan.seed: got 4294967296"),
    ({"name": ""}, "scan.name"), ({"name": "a/b"}, "scan.name"), ({"name": ".."}, "scan.name"),
])
def test_what_does_not_fit_together_is_refused(changes, words):
    with pytest.raises(ConfigError) as caught:
        square(**changes)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_the_tables_own_columns_are_taken(name):
    with pytest.raises(ConfigError, match=f"parameters.{name}"):
        square(parameters=[X, Y, replace(X, name=name)], derived={})
    with pytest.raises(ConfigError, match=f"observables.{name}"):
        square(observables=[R, Observable(name=name, likelihood=Off())])


def test_with_two_python_tools_an_observable_must_say_which():
    tools = [PythonFunction(name=name, function=disc) for name in ("a", "b")]
    with pytest.raises(ConfigError, match="observables.r.from: name the tool .* there are a, b"):
        square(tools=tools)
    assert square(tools=tools, observables=[replace(R, source=tools[1].address({}, "r"))])


STANDING = Summary(evaluations=50, good=5, ok=40, invalid=5, failed=5, iterations=3, seconds=1800.0)


@pytest.mark.parametrize(("stop", "reason"), [
    (Stop(points=5), "points: 5 good points found"), (Stop(points=6), None), (Stop(points=0), None),
    (Stop(points=6, iterations=3), "iterations: 3 of 3 done"), (Stop(points=6, iterations=4), None),
    (Stop(points=6, iterations=0), None), (Stop(points=6, max_evaluations=50), "max_evaluations: 50"),
    (Stop(points=6, max_evaluations=51), None), (Stop(points=6, max_hours=0.5), "max_hours: 0.50 h of 0.5 h"),
    (Stop(points=6, max_hours=0.6), None),
    (Stop(points=5, iterations=3, max_evaluations=50, max_hours=0.5), "points"),
])
def test_a_scan_ends_at_whichever_limit_comes_first(stop, reason):
    reached = stop.reached(STANDING)
    assert reached is None if reason is None else reached.startswith(reason)


def test_an_iteration_that_still_runs_is_not_done():
    assert Stop(points=0, iterations=3).reached(replace(STANDING, pending=1)) is None


@pytest.mark.parametrize(("key", "value"), [
    ("points", -1), ("iterations", -1), ("max_evaluations", -5), ("max_hours", -0.1), ("max_hours", math.nan),
    ("max_hours", math.inf), ("threshold_value", math.nan)])
def test_impossible_limits_are_refused(key, value):
    with pytest.raises(ConfigError, match=f"scan.{key}: got"):
        Stop(**{key: value})


@pytest.mark.parametrize(("changes", "words"), [
    ({"points": "5"}, "scan.points: got '5', wants a whole number"),
    ({"points": 5.0}, "scan.points: got 5.0, wants a whole number"),
    ({"max_hours": "1"}, "scan.max_hours: got '1', wants a number"),
    ({"threshold_value": None}, "scan.threshold_value: got None, wants a number"),
    ({"max_evaluations": True}, "scan.max_evaluations: got True, wants a whole number"),
])
def test_limits_from_python_have_the_types_that_a_file_needs(changes, words):
    with pytest.raises(ConfigError) as caught:
        Stop(**changes)
    assert words in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    stop = Stop(points=np.int64(5), max_hours=np.float32(0.5), threshold_value=3)
    assert [type(v) for v in (stop.points, stop.max_hours, stop.threshold_value)] == [int, float, float]
    assert ClusterSettings(slots=np.int32(2), gpus_for_trainer=1) == ClusterSettings(slots=2, gpus_for_trainer=1.0)
    assert type(square(seed=np.uint32(7)).seed) is int


@pytest.mark.parametrize(("changes", "words"), [
    ({"slots": "many"}, "cluster.slots: got 'many', wants a whole number"),
    ({"scratch": 3}, "cluster.scratch: got 3, wants a text"),
    ({"address": None}, "cluster.address: got None, wants a text"),
])
def test_settings_of_the_cluster_have_types(changes, words):
    with pytest.raises(ConfigError) as caught:
        ClusterSettings(**changes)
    assert words in str(caught.value)


@pytest.mark.parametrize(("changes", "words"), [
    ({"name": 3}, "scan.name: got 3, wants a text"), ({"seed": 1.5}, "scan.seed: got 1.5, wants a whole number"),
    ({"seed": True}, "scan.seed: got True"), ({"stop": {"points": 5}}, "stop: got {'points': 5}, wants a Stop"),
    ({"cluster": 2}, "cluster: got 2, wants a ClusterSettings"), ({"init_csv": 3}, "init_csv: got 3, wants a path"),
    ({"derived": ["x"]}, "derived: got ['x'], wants a dict"), ({"method": "hybrid"}, "method: got 'hybrid', wants a"),
    ({"method": MlsDnnr}, "wants a search method, such as Hybrid()"), ({"tools": [disc]}, "wants Tools only"),
    ({"observables": ["r"]}, "observables: got 'r', wants Observables only"),
    ({"parameters": X}, "parameters: got Parameter(name='x'"),
])
def test_a_plan_from_python_has_the_types_that_a_file_needs(changes, words):
    with pytest.raises(ConfigError) as caught:
        square(**changes)
    assert words in str(caught.value)


def test_iterations_are_those_of_the_method_unless_they_are_set():
    assert square(stop=Stop()).stop.iterations == 0
    assert square(stop=Stop(), method=MlsDnnr()).stop.iterations == 10
    assert square(stop=Stop(iterations=3), method=MlsDnnr()).stop.iterations == 3


@pytest.mark.parametrize("changes", [
    {"seed": 1}, {"method": MlsDnnr()}, {"derived": {"x2": "k * x**3"}}, {"derived": {}},
    {"parameters": [X, Y, Parameter.of("k", value=3)]},
    {"parameters": [X, Parameter.of("y", low=0, high=2), Parameter.of("k", value=2)]},
    {"parameters": [X, Parameter.of("y", low=0.1, high=1, prior="log"), Parameter.of("k", value=2)]},
    {"tools": [PythonFunction(name="model", function=other)]},
    {"tools": [PythonFunction(name="model", function=disc, conditions=("r < 1",))]},
    {"observables": [R]}, {"observables": [R, S]}, {"observables": [S, R]},
])
def test_another_physics_is_another_scan(changes):
    assert square(**changes).fingerprint != square().fingerprint


@pytest.mark.parametrize("changes", [
    {"stop": Stop(points=1)}, {"stop": Stop(max_hours=3, threshold_value=2)}, {"cluster": ClusterSettings(slots=3)},
    {"name": "other"}, {"method": RandomSampling(points_per_iteration=7)},
    {"parameters": [replace(X, unit="GeV", latex="x_0"), Y, Parameter.of("k", value=2)]},
    {"tools": [PythonFunction(name="model", function=disc, timeout_s=5, memory_limit_gib=1)]},
])
def test_limits_labels_and_the_machine_may_change(changes):
    assert square(**changes).fingerprint == square().fingerprint


def test_likelihoods_change_the_scoring_only():
    observables = square().observables
    changed = square(observables=[replace(observables[0], likelihood=Upper(mean=1.0, sigma=0.1)), observables[1]])
    assert changed.fingerprint == square().fingerprint
    assert changed.scoring != square().scoring
    assert square(seed=5).scoring == square().scoring


def test_fingerprints_are_stable():
    assert square().fingerprint == square().fingerprint
    assert len(square().fingerprint) == 16
    assert pickle.loads(pickle.dumps(square())).fingerprint == square().fingerprint


def test_plans_travel():
    plan = square()
    again = cloudpickle.loads(cloudpickle.dumps(plan))
    assert again.fingerprint == plan.fingerprint
    assert again.scoring == plan.scoring
    assert again.likelihoods == plan.likelihoods


def test_a_parameter_that_nothing_uses_is_warned_of(tmp_path):
    from raydnnr import SlhaCommand

    (tmp_path / "card.in").write_text("Block MINPAR\n 1 x\n")
    tool = SlhaCommand(name="spectrum", command=("true",), template=tmp_path / "card.in")
    source = tool.address({"block": "MASS", "key": [25]}, "mh")
    mh = Observable(name="mh", source=source, likelihood=Gauss(mean=1.0, sigma=1.0))
    plan = square(tools=[tool], observables=[mh], derived={})
    assert plan.warnings() == ["parameters.y: no tool uses it; its value changes nothing"]
    assert square(tools=[tool], observables=[mh], derived={"d": "y"}).warnings() == []
    assert square().warnings() == []


def test_a_scan_without_an_end_is_warned_of():
    assert any("no limit besides points" in w for w in square(stop=Stop(points=5)).warnings())
    assert square(stop=Stop(points=5, iterations=2)).warnings() == []


def test_how_much_is_kept_is_the_largest_of_what_the_tools_say():
    tool = SlhaCommand(name="a", command=("code",), keep_total_gib=0.5)
    assert square(tools=[tool, replace(tool, name="b", keep_total_gib=2)], observables=[
        Observable(name="m", source=tool.address({"block": "MASS", "key": [25]}, "m"), likelihood=Gauss(mean=1, sigma=1)),
    ]).max_kept_bytes == 2**31
    assert square().max_kept_bytes == math.inf
