"""Toolchain: the order of things, and what stops a chain; one by one and in batches."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydnnr.errors import ConfigError, InvalidPoint, ToolFailure
from raydnnr.evaluation import Array, Inputs, Observable, Source, Status
from raydnnr.expressions import Expression
from raydnnr.likelihoods import Gauss, Off
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.tools.base import MAX_REASON, ManyResults, Result, Tool, Toolchain, WorkerDied, bounded, broken

GAUSS = Gauss(mean=0.0, sigma=1.0)


class NoSlot:
    """A slot for tools that need none."""

    def empty(self) -> None:
        pass


@dataclass(frozen=True)
class Key:
    tool: str
    key: str


@dataclass(frozen=True)
class Values(Result):
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Calculator(Tool):
    """Computes ``formulas``; raises ``raises`` where its formula ``where`` is not zero."""

    formulas: tuple[tuple[str, str], ...] = ()
    where: str = "0"
    raises: str = ""
    vectorized: bool = True
    keep: bool = False

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        return Key(self.name, observable)

    def check(self) -> list[str]:
        return ["its batteries are empty"] if self.raises == "check" else []

    def fingerprint(self) -> Mapping[str, object]:
        return {}

    def run(self, point: Mapping[str, float], slot: object) -> Values:
        if float(Expression(self.where).evaluate(point)):
            raise {"invalid": InvalidPoint("tachyon"), "failed": ToolFailure("crash"), "bug": KeyError("oops"),
                   "died": WorkerDied("killed")}[self.raises]
        return Values({key: float(Expression(text).evaluate(point)) for key, text in self.formulas})

    def read(self, result: Result, source: Source) -> float:
        assert isinstance(result, Values) and isinstance(source, Key)
        return result.values[source.key]

    def run_many(self, columns: Mapping[str, Array], sources: Sequence[Source], slot: object) -> ManyResults:
        n = len(next(iter(columns.values())))
        out = ManyResults(np.full((n, len(sources)), np.nan), np.zeros(n, np.int8), [""] * n, np.ones(n, np.int8))
        for k in range(n):
            try:
                result = self.run({name: column[k] for name, column in columns.items()}, slot)
                out.values[k] = [self.read(result, source) for source in sources]
            except InvalidPoint as error:
                out.status[k], out.reason[k] = Status.INVALID, str(error)
            except ToolFailure as error:
                out.status[k], out.reason[k] = Status.FAILED, str(error)
        return out

    def keeps(self, status: Status | None) -> bool:
        return self.keep and status is not Status.INVALID

    def files(self, slot: object) -> dict[str, bytes]:
        return {f"{self.name}.out": b"text"}


def inputs(**derived: str) -> Inputs:
    space = ParameterSpace((Parameter.of("x", low=-10, high=10), Parameter.of("y", low=-10, high=10),
                            Parameter.of("one", value=1)))
    return Inputs(space, {name: Expression(text) for name, text in derived.items()})


def read(name: str, tool: str, **settings: object) -> Observable:
    return Observable(**{"name": name, "source": Key(tool, name), "likelihood": GAUSS, **settings})


def computed(name: str, text: str, **settings: object) -> Observable:
    return Observable(**{"name": name, "expression": Expression(text), "likelihood": GAUSS, **settings})


def evaluate(chain: Toolchain, x: float, y: float):
    return chain.evaluate(np.array([x, y]), NoSlot())


A = Calculator(name="a", formulas=(("p", "x + one"), ("q", "1 / y")))
B = Calculator(name="b", formulas=(("r", "p * 10"),))


def test_observables_of_two_tools_and_expressions_in_their_place():
    observables = read("r", "b"), computed("s", "r + p"), read("p", "a"), computed("t", "2 * x")
    chain = Toolchain((A, B), observables, inputs())

    result = evaluate(chain, 2.0, 4.0)

    assert (result.status, result.reason, dict(result.files)) == (Status.OK, "", {})
    assert result.values.tolist() == [30.0, 33.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("chain", "reason", "values"),
    [
        (Toolchain((A,), (read("p", "a", valid=(0, 2)), read("q", "a")), inputs()),
         "p outside valid [0, 2]\np = 3", [3.0, math.nan]),
        (Toolchain((A,), (computed("t", "x", valid=(5, 9)), read("p", "a")), inputs()),
         "t outside valid [5, 9]\nt = 2", [2.0, math.nan]),
        (Toolchain((A,), (read("q", "a"), read("p", "a")), inputs()), "q is inf", [math.inf, math.nan]),
        (Toolchain((A,), (computed("t", "sqrt(-x)"),), inputs()), "t is nan", [math.nan]),
        (Toolchain((Calculator(name="a", formulas=(("p", "x"),), conditions=("p > 3",)), B),
                   (read("p", "a"), read("r", "b")), inputs()), "condition not met: p > 3", [2.0, math.nan]),
        (Toolchain((A,), (read("p", "a"),), inputs(d="log(y)")), "d is -inf", [math.nan]),
        (Toolchain((A, Calculator(name="b", where="x > 1", raises="invalid")), (read("p", "a"),), inputs()),
         "tachyon", [3.0]),
    ],
)
def test_what_makes_a_point_invalid_and_stops_the_chain(chain, reason, values):
    one = evaluate(chain, 2.0, 0.0)
    many = chain.evaluate_many(np.array([[2.0, 0.0]]), NoSlot())

    assert (one.status, one.reason) == (Status.INVALID, reason)
    np.testing.assert_array_equal(one.values, values)
    assert (many.status.tolist(), many.reason) == ([Status.INVALID], [reason])
    np.testing.assert_array_equal(many.values[0], values)


def test_observables_that_are_off_may_be_nan():
    chain = Toolchain((A,), (read("q", "a", likelihood=Off()), computed("t", "q - q", likelihood=Off())), inputs())
    assert evaluate(chain, 1.0, 0.0).status == Status.OK
    assert chain.evaluate_many(np.array([[1.0, 0.0]]), NoSlot()).status.tolist() == [Status.OK]


def test_a_condition_that_is_nan_does_not_hold():
    tool = Calculator(name="a", formulas=(("q", "log(y)"),), conditions=("q < 1",))
    chain = Toolchain((tool,), (read("q", "a", likelihood=Off()),), inputs())
    assert evaluate(chain, 0.0, -1.0).status == Status.INVALID
    assert chain.evaluate_many(np.array([[0.0, -1.0]]), NoSlot()).status.tolist() == [Status.INVALID]


def test_failures_are_not_invalid_and_a_bug_shows_its_traceback():
    failed = evaluate(Toolchain((Calculator(name="b", where="1", raises="failed"),), (), inputs()), 0, 0)
    bug = evaluate(Toolchain((Calculator(name="b", where="1", raises="bug"),), (), inputs()), 0, 0)

    assert (failed.status, failed.reason) == (Status.FAILED, "crash")
    assert bug.status == Status.FAILED
    assert bug.reason.startswith("b: KeyError: 'oops'\nTraceback") and bug.reason.endswith("KeyError: 'oops'")


def test_a_bug_in_a_batch_fails_the_batch_with_its_traceback():
    many = Toolchain((Calculator(name="b", where="1", raises="bug"),), (), inputs()).evaluate_many(
        np.zeros((3, 2)), NoSlot())
    assert many.status.tolist() == [Status.FAILED] * 3
    assert all(reason.startswith("b: KeyError: 'oops'\nTraceback") for reason in many.reason)


def test_a_dead_worker_is_the_callers_business():
    with pytest.raises(WorkerDied):
        evaluate(Toolchain((Calculator(name="b", where="1", raises="died"),), (), inputs()), 0, 0)


def test_files_are_kept_as_each_tool_wants():
    keeping, stopping = (Calculator(name="k", keep=True), Calculator(name="s", where="x > 0", raises="invalid"))
    chain = Toolchain((keeping, stopping), (), inputs())
    assert evaluate(chain, -1, 0).files == {"k.out": b"text"}
    assert evaluate(chain, 1, 0).files == {}
    failing = Toolchain((Calculator(name="s", where="1", raises="failed", keep=True),), (), inputs())
    assert evaluate(failing, 1, 0).files == {"s.out": b"text"}


@pytest.mark.parametrize(
    ("tools", "observables", "complaint"),
    [
        ((A,), (read("p", "c"),), "observables.p.from: no tool is named 'c'"),
        ((A,), (computed("t", "x + zz"),), "observables.t.expression.*'zz'"),
        ((Calculator(name="a", conditions=("r > 0",)), B), (read("r", "b"),), "tools.a.conditions.*'r'"),
    ],
)
def test_names_that_are_not_known_in_time_are_refused(tools, observables, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Toolchain(tools, observables, inputs())


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"name": "a b"}, "name: 'a b'"),
        ({"name": "../a"}, "name"),
        ({"name": "a", "timeout_s": 0}, "timeout_s: got 0; use a number > 0"),
        ({"name": "a", "timeout_s": float("nan")}, "timeout_s"),
        ({"name": "a", "timeout_s": True}, "timeout_s"),
        ({"name": "a", "memory_limit_gib": -1}, "memory_limit_gib"),
        ({"name": "a", "conditions": ("import os",)}, "import os"),
    ],
)
def test_settings_of_any_tool_are_checked(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Calculator(**settings)


def test_conditions_may_be_texts():
    assert Calculator(name="a", conditions=("x > 1",)).conditions == (Expression("x > 1"),)
    assert Calculator(name="a", conditions="x > 1").conditions == (Expression("x > 1"),)


def test_check_names_the_tool():
    chain = Toolchain((A, Calculator(name="b", raises="check")), (), inputs())
    assert chain.check() == ["tools.b: its batteries are empty"]


def test_a_toolchain_travels():
    chain = Toolchain((A, B), (read("p", "a"), read("r", "b")), inputs(d="x + y"))
    copy = cloudpickle.loads(cloudpickle.dumps(chain))
    assert copy == chain
    assert evaluate(copy, 2.0, 4.0).values.tolist() == [3.0, 30.0]


def test_reasons_are_bounded_and_keep_the_first_line_and_the_end():
    text = bounded("first", "x" * 10 * MAX_REASON + "end")
    assert len(text) == MAX_REASON and text.startswith("first\nx") and text.endswith("end")
    assert broken("t", ValueError("a\nb")).startswith("t: ValueError: a\n")


numbers = st.one_of(st.floats(-10, 10), st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8))
def test_a_batch_gives_what_its_points_give(points):
    first = Calculator(name="a", formulas=(("p", "log(x)"), ("q", "1 / y")), where="x > 8", raises="invalid",
                       conditions=("p < 2 * one",))
    second = Calculator(name="b", formulas=(("r", "p * q"),), where="y < -8", raises="failed")
    chain = Toolchain((first, second), (
        read("p", "a", valid=(-5, 5)), computed("s", "p + d", valid=(-4, 4)), read("q", "a", likelihood=Off()),
        read("r", "b"), computed("t", "r > 0"),
    ), inputs(d="sqrt(x + 5)"))

    many = chain.evaluate_many(np.array(points), NoSlot())

    for k, point in enumerate(points):
        one = evaluate(chain, *point)
        assert (many.status[k], many.reason[k]) == (one.status, one.reason)
        np.testing.assert_array_equal(many.values[k], one.values)
        assert [t.name for t, s in zip(chain.tools, many.seconds[k], strict=True) if not np.isnan(s)] == [*one.seconds]


def test_the_points_of_a_batch_share_its_time():
    @dataclass(frozen=True, kw_only=True)
    class Slow(Calculator):
        def run_many(self, columns, sources, slot):
            time.sleep(0.05)
            return super().run_many(columns, sources, slot)

    chain = Toolchain((Slow(name="a", formulas=(("p", "x"),)), Slow(name="b", formulas=(("r", "y"),))),
                      (read("p", "a", valid=(0, 5)), read("r", "b")), inputs())
    seconds = chain.evaluate_many(np.array([[1.0, 1.0], [9.0, 1.0], [2.0, 1.0], [3.0, 1.0], [9.0, 1.0]]),
                                  NoSlot()).seconds
    assert np.isnan(seconds[:, 1]).tolist() == [False, True, False, False, True]
    assert len(set(seconds[:, 0].tolist())) == 1
    assert 0.05 <= 5 * seconds[0, 0] < 0.5
    assert 0.05 <= 3 * seconds[0, 1] < 0.5


def test_batches_without_bad_points_cost_no_work_per_point():
    """A million points; a loop over them in Python would take seconds."""
    @dataclass(frozen=True, kw_only=True)
    class Instant(Calculator):
        def run_many(self, columns, sources, slot):
            n = len(columns["x"])
            values = np.ones((n, len(sources)))
            return ManyResults(values, np.zeros(n, np.int8), [""] * n, np.ones(n, np.int8))

    chain = Toolchain((Instant(name="a"),), (read("p", "a", valid=(0, 2)), computed("s", "p + x")), inputs(d="x + y"))
    x = np.zeros((1_000_000, 2))
    start = time.perf_counter()
    result = chain.evaluate_many(x, NoSlot())
    assert time.perf_counter() - start < 2.0
    assert not result.status.any()
