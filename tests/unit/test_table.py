"""The evaluation table: its columns are a contract."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from raydnnr import Gauss, Observable, Parameter
from raydnnr.evaluation import Points, score
from raydnnr.table import Layout, column, stacked, status_codes, with_times
from tests.unit.plans import square, two_tools
from tests.unit.runs import FINISHED, STEP_S, physics, proposal

COLUMNS = {
    "point_id": "int64", "iteration": "int32", "origin": "string", "x": "double", "y": "double", "k": "double",
    "x2": "double", "r": "double", "s": "double", "loss_r": "double", "loss_s": "double", "nll": "double",
    "nll_predicted": "double", "status": "string", "reason": "string", "attempts": "int8", "seconds": "double",
    "host": "string", "finished": "timestamp[us, tz=UTC]",
}


def table(plan, n=40):
    chosen = proposal(n)
    points = Points(np.arange(n), 7, chosen.x, list(chosen.origin), chosen.nll_predicted)
    return points, score(physics(points), plan.likelihoods)


def test_columns_are_those_of_the_contract_in_their_order():
    schema = Layout(square()).schema
    assert {field.name: str(field.type) for field in schema} == COLUMNS
    assert schema.names == list(COLUMNS)


def test_each_of_several_tools_has_its_seconds_behind_the_columns_of_the_contract():
    plan = two_tools()
    points, scored = table(plan)
    times = np.where(np.arange(80).reshape(40, 2) % 7 == 0, np.nan, np.arange(80.0).reshape(40, 2))
    rows = Layout(plan).rows(points, replace(scored, outcomes=replace(scored.outcomes, tool_seconds=times)))
    assert rows.schema.names == [*COLUMNS, "seconds_model", "seconds_more.1"]
    assert {rows.schema.field(f"seconds_{t}").metadata[b"role"] for t in plan.timed_tools} == {b"tool seconds"}
    np.testing.assert_array_equal(stacked(rows, ["seconds_model", "seconds_more.1"]), times)
    unknown = Layout(plan).rows(points, scored)
    assert np.isnan(stacked(unknown, ["seconds_model", "seconds_more.1"])).all()


def test_a_table_without_them_gets_them_and_forgets_how_it_was_scored():
    plan = two_tools()
    rows, schema = Layout(plan).rows(*table(plan)), Layout(plan).schema
    old = with_times(rows.drop_columns(["seconds_model", "seconds_more.1"]), schema)
    assert old.schema.equals(schema)
    assert (old.schema.metadata.keys() ^ schema.metadata.keys()) == {b"scoring"}
    assert with_times(rows, schema).schema.equals(schema, check_metadata=True)
    assert with_times(rows.drop_columns(["seconds"]), schema).column_names == [
        n for n in schema.names if n != "seconds"]


def test_fields_say_role_unit_and_label_and_the_table_says_whose_it_is():
    plan = square(parameters=[Parameter.of("x", low=1, high=2, unit="GeV", latex="x_0"),
                              Parameter.of("y", low=0, high=1), Parameter.of("k", value=2)], seed=5,
                  observables=[Observable(name="r", likelihood=Gauss(mean=0.2, sigma=0.1), unit="TeV", latex="r^2")])
    schema = Layout(plan).schema
    assert schema.field("x").metadata == {b"role": b"parameter", b"unit": b"GeV", b"latex": b"x_0"}
    assert schema.field("r").metadata == {b"role": b"observable", b"unit": b"TeV", b"latex": b"r^2"}
    assert schema.field("x2").metadata[b"role"] == b"derived"
    assert schema.field("loss_r").metadata[b"role"] == b"loss"
    said = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    assert (said["name"], said["seed"], said["fingerprint"], said["scoring"], said["threshold_value"]) == (
        "square", "5", plan.fingerprint, plan.scoring, "1.0")
    assert said["version"]
    assert json.loads(said["ranges"]) == {"x": [1.0, 2.0], "y": [0.0, 1.0], "k": [2.0, 2.0]}


def test_rows_hold_what_came_in():
    plan = square()
    points, scored = table(plan)
    rows = Layout(plan).rows(points, scored)
    assert rows.schema.equals(Layout(plan).schema, check_metadata=True)
    np.testing.assert_array_equal(stacked(rows, ["x", "y"]), points.x)
    np.testing.assert_array_equal(column(rows, "x2"), 2 * points.x[:, 0] ** 2)
    np.testing.assert_array_equal(stacked(rows, ["r", "s"]), scored.outcomes.observables)
    np.testing.assert_array_equal(stacked(rows, ["loss_r", "loss_s"]), scored.losses)
    np.testing.assert_array_equal(column(rows, "nll"), scored.nll)
    np.testing.assert_array_equal(status_codes(rows), scored.outcomes.status)
    assert set(rows["iteration"].to_pylist()) == {7}
    assert rows["reason"].to_pylist() == list(scored.outcomes.reason)
    assert rows["finished"][3].as_py().timestamp() == pytest.approx(FINISHED + 3 * STEP_S, rel=0, abs=1e-6)


def test_what_was_not_computed_is_nan_and_never_null():
    plan = square()
    rows = Layout(plan).rows(*table(plan))
    assert sum(rows.column(name).null_count for name in rows.column_names) == 0
    status, nll = np.array(rows["status"].to_pylist()), column(rows, "nll")
    assert set(status) == {"ok", "invalid", "failed"}
    assert np.isnan(nll[status == "failed"]).all()
    assert np.isfinite(nll[status != "failed"]).all()


def test_no_rows_are_a_table_too():
    plan = square()
    points, scored = table(plan, 0)
    assert Layout(plan).rows(points, scored).schema.equals(Layout(plan).schema)


def test_a_status_that_is_none_is_seen():
    assert status_codes(pa.table({"status": ["failed", "ok", "fine", None, "invalid"]})).tolist() == [2, 0, -1, -1, 1]


@pytest.mark.parametrize(("settings", "bounds"), [
    ({"low": 1, "high": 2}, [1, 2]),
    ({"prior": "symlog", "low": 1, "high": 2}, [-2, 2]),
    ({"prior": "sin"}, [0, 180]),
    ({"prior": "normal", "mean": 0, "sigma": 1}, [-math.inf, math.inf]),
    ({"prior": "normal", "mean": 0, "sigma": 1, "low": -2}, [-2, math.inf]),
    ({"prior": "lognormal", "mean": 0, "sigma": 1}, [0, math.inf]),
    ({"prior": "exponential", "sigma": 1, "high": 5}, [0, 5]),
    ({"value": 3}, [3, 3]),
])
def test_the_ranges_of_the_priors_are_kept(settings, bounds):
    plan = square(parameters=[Parameter.of("x", low=0, high=1), Parameter.of("y", low=0, high=1),
                              Parameter.of("k", **settings)])
    assert json.loads(Layout(plan).metadata["ranges"])["k"] == bounds
