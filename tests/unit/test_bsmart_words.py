"""From BSMArt, word by word: values, names, expressions, variables, likelihoods, cards."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.bsmart.cards import overlaid, translated
from raydnnr.bsmart.fitting import fit
from raydnnr.bsmart.names import Names, column_name
from raydnnr.bsmart.observables import observable
from raydnnr.bsmart.report import Kind, Report
from raydnnr.bsmart.section import Section, number, read_json
from raydnnr.bsmart.variables import grid_size, parameters
from raydnnr.errors import ConfigError, ExpressionError
from raydnnr.evaluation import check_column_name
from raydnnr.expressions import RESERVED_WORDS, Expression
from raydnnr.kinds import build, choose
from raydnnr.likelihoods import KINDS
from raydnnr.space import Parameter

# ---- values


@pytest.mark.parametrize(("value", "truth"), [
    ("True", True), ("true", True), (True, True), (1, True), ("1", True), ("False", False), (False, False), (0, False),
    ("None", False), (None, False), (" True ", True),
])
def test_booleans_are_literals_in_any_of_their_forms(value, truth):
    assert Section("Setup", {"csv": value}).boolean("csv") is truth


@pytest.mark.parametrize("value", ["__import__('os').system('x')", "1+1", "yess", [True], {}])
def test_what_bsmart_would_evaluate_is_refused(value):
    with pytest.raises(ConfigError, match=r'Setup.csv: got .*, wants "True" or "False"'):
        Section("Setup", {"csv": value}).boolean("csv")


@pytest.mark.parametrize(("value", "found"), [
    (3, 3.0), ("1e3", 1000.0), ("inf", math.inf), ("+infty", math.inf), ("-Infinity", -math.inf), (" 2 ", 2.0),
])
def test_numbers_may_be_texts(value, found):
    assert number(value, "x") == found


@pytest.mark.parametrize("value", ["2*3", "np.pi", True, None, [1], "", 10**400])
def test_other_things_are_no_numbers(value):
    with pytest.raises(ConfigError, match="^x: got "):
        number(value, "x")


def test_keys_that_nothing_read_are_known():
    section = Section("Setup", {"a": 1, "b": {"c": 2, "d": 3}})
    section.section("b").number("c")
    assert section.rest() == {"a": 1} and section.section("b").rest() == {"d": 3}


@pytest.mark.parametrize(("text", "words"), [
    ("{", "not JSON"), ('{"Setup": {}, // no\n}', r":1: not JSON: .*without comments"), ("[]", "no object with the key"),
    ('{"Setup": {}}', "no key 'Codes'"), ('{"Setup": {"Included_Codes": []}}', "it looks like xBIT's"),
    ("[" * 100_000, "not JSON"),
])
def test_files_that_are_none(tmp_path, text, words):
    path = tmp_path / "scan.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_json(path)


# ---- names and expressions


@given(st.text(max_size=20))
def test_every_name_becomes_a_column(name):
    new = column_name(name)
    check_column_name("x", new)
    assert new not in RESERVED_WORDS


def test_names_that_would_meet_are_kept_apart():
    names = Names(["a-b", "a_b", "pi", "lambda", "nll", "loss_mh"])
    assert names.variables == ["a_b", "a_b_", "pi_", "lambda_", "nll_", "of_loss_mh"]


@pytest.mark.parametrize(("old", "value"), [
    ("VARIABLE[0] + Variable[1]*2", 10.0), ("math.sqrt(4) + np.arctan2(0, 1)", 2.0), ("abs(x) if x > 3 else 0", 0.0),
    ("math.log(8, 2)", 3.0), ("int(-2.7)", -2.0), ("float(x)", 2.0), ("math.pi", math.pi), ("(x > 1) & (y > 9)", 0.0),
    ("(x > 1) | (y > 9)", 1.0), ("numpy.power(x, 3)", 8.0), ("max(x, y)", 4.0), ("math.exp(0)", 1.0),
    ("x**2", 4.0),
])
def test_expressions_mean_the_same(old, value):
    new = Names(["x", "y"]).expression(old)
    assert float(Expression(new).evaluate({"x": 2.0, "y": 4.0})) == pytest.approx(value)


@pytest.mark.parametrize("text", [
    "__import__('os')", "open('x')", "math.__loader__", "VARIABLE[9]", "VARIABLE[x]", "x.real", "[1, 2]", "lambda: 1",
    "'a'", "x if", "os.system('x')", "math.perm(x)", "exec('x')", "-" * 200 + "1", "x" * 20_000,
])
def test_expressions_that_have_no_counterpart_are_refused(text):
    with pytest.raises(ExpressionError):
        Names(["x"]).expression(text)


# ---- variables


def variable(settings: object, report: Report | None = None) -> dict:
    return parameters({"x": settings}, Names(["x"]), Report() if report is None else report, {})["x"]


@pytest.mark.parametrize(("settings", "found"), [
    ({"RANGE": [5, -5]}, {"low": -5, "high": 5}),
    ({"RANGE": ["1e2", 1000], "PRIOR": "LOG", "Label": "$m_0$"},
     {"low": 100, "high": 1000, "prior": "log", "latex": "m_0"}),
    ({"RANGE": [1, 1]}, {"value": 1}),
    ({"RANGE": [1, 9], "PRIOR": "FIXED"}, {"value": 5}),
    ({"PRIOR": {"TYPE": "FIXED", "MEAN": 3}, "RANGE": [1, 9]}, {"value": 3}),
    ({"RANGE": [1, 9], "PRIOR": "symlog"}, {"low": 1, "high": 9, "prior": "symlog"}),
    ({"RANGE": [-9, 1], "PRIOR": "SYMLINEAR"}, {"low": 1, "high": 9, "prior": "symlinear"}),
    ({"RANGE": [5, -5], "PRIOR": "SYMLINEAR"}, {"low": -5, "high": 5}),
    ({"RANGE": [1, 9], "PRIOR": "INTERVAL"}, {"low": 1, "high": 9}),
    ({"RANGE": [1, 9], "PRIOR": "OPEN"}, {"low": 1, "high": 9}),
    ({"RANGE": [0, 90], "PRIOR": "SIN"}, {"low": 0, "high": 90, "prior": "sin"}),
    ({"PRIOR": {"TYPE": "GAUSS", "MEAN": 1, "SIGMA": 2}}, {"prior": "normal", "mean": 1, "sigma": 2}),
    ({"PRIOR": "CAUCHY", "MEAN": 1, "SIGMA": 2, "RANGE": [0, 5]},
     {"prior": "cauchy", "mean": 1, "sigma": 2, "low": 0, "high": 5}),
    ({"PRIOR": {"TYPE": "LOGNORMAL", "MEAN": 1, "SIGMA": 2}}, {"prior": "lognormal", "mean": 4, "sigma": 2}),
    ({"PRIOR": {"TYPE": "EXP", "SIGMA": -0.5}, "RANGE": [0, 9]}, {"prior": "exponential", "sigma": 2, "low": 0, "high": 9}),
    (7, {"value": 7}),
    ("np.linspace(0, 10, num=11)", {"low": 0, "high": 10}),
    ("np.geomspace(1.0e2, 1e4, 3)", {"low": 100, "high": 10_000, "prior": "log"}),
    ("np.logspace(2, 4, num=3)", {"low": 100, "high": 10_000, "prior": "log"}),
    ("np.arange(0, 10, 2)", {"low": 0, "high": 8}), ("[3, 1, 2]", {"low": 1, "high": 3}),
    ("np.linspace(5, 5, num=4)", {"value": 5}), ("np.random.uniform(1, 2)", {"low": 1, "high": 2}),
])
def test_variables(settings, found):
    table = variable(settings)
    assert table == pytest.approx(found) if all(not isinstance(v, str) for v in found.values()) else table == found
    Parameter.of("x", **table)


def test_a_variance_is_a_jump_size_and_unknown_keys_are_listed():
    report = Report()
    variable({"RANGE": [0, 1], "VARIANCE": 0.1, "Range": 1}, report)
    assert [(f.kind, f.where) for f in report.findings] == [
        (Kind.LEFT_OUT, "Variables.x.VARIANCE"), (Kind.UNREAD, "Variables.x.Range")]


@pytest.mark.parametrize("settings", [
    {"RANGE": [-9, -1], "PRIOR": "LOG"}, {"RANGE": [1, 9], "PRIOR": "GAUSS"}, {"RANGE": [1, 9], "PRIOR": "MAGIC"},
    {"RANGE": [1, 9], "PRIOR": {"TYPE": "EXP", "SIGMA": 2}},
])
def test_priors_that_cannot_be_carried_over_are_to_do_and_even_now(settings):
    report = Report()
    table = variable(settings, report)
    assert "prior" not in table and table["low"] < table["high"]
    assert [f.kind for f in report.findings] == [Kind.TO_DO]


def test_a_variable_without_a_range_cannot_be_overlooked():
    report = Report()
    table = variable({}, report)
    assert report.findings[0].kind is Kind.TO_DO
    with pytest.raises(ConfigError, match="low"):
        Parameter.of("x", **table)
    listed = parameters(["x"], Names(["x"]), report, {"x": (1.0, 2.0)})
    assert listed == {"x": {"low": 1.0, "high": 2.0}}


@pytest.mark.parametrize("text", ["np.load('x')", "range(3)", "np.linspace(1)", "open('x')", "__import__('os')", "1/0",
                                  "np.arange(0, 1, 0)", "[]", "np.linspace(0, 1, num=1e400)", "[" * 9999])
def test_grids_are_read_and_not_run(text):
    with pytest.raises(ConfigError, match="wants np.linspace"):
        variable(text)


def test_the_size_of_a_grid():
    assert grid_size({"a": "np.linspace(0, 1, num=4)", "b": "[1, 2]", "c": "np.geomspace(1, 2)"}) == 400
    assert grid_size({"a": {"RANGE": [0, 1]}}) == grid_size(["a"]) == 0


# ---- observables


def here(block: str, keys: list, code: str) -> dict | None:
    return {"from": {"block": block, "key": keys}} if block and block != "NOWHERE" else None


def scored(settings: dict, report: Report | None = None, *, classified: bool = False, code: str = "SPheno") -> dict:
    table = observable(Section("Observables.x", {"SLHA": ["mass", [25]], **settings}), code, here, Names(["m0"]),
                       Report() if report is None else report, classified=classified)
    assert table is not None
    return table


def log_likelihood(table: dict, value: float) -> float:
    settings = dict(table["likelihood"])
    return float(build(choose(settings.pop("kind"), KINDS, ""), settings, "").log_likelihood(np.array(value)))


MV = {"MEAN": 10.0, "VARIANCE": 2.0}


@pytest.mark.parametrize(("settings", "value", "log_l"), [
    (MV, 14.0, -2.0), ({**MV, "SCALING": "GAUSS"}, 14.0, -2.0), ({**MV, "SCALING": "LOG"}, 14.0, -2.0),
    ({**MV, "SCALING": "WHATEVER"}, 14.0, -2.0), ({"MEAN": 10, "VARIANCE": -2, "SCALING": "GAUSS"}, 14.0, -2.0),
    ({**MV, "SCALING": "UPPER"}, 10.0, -math.log(2)), ({**MV, "SCALING": "LOWER"}, 10.0, -math.log(2)),
    ({**MV, "SCALING": "UPPER"}, 30.0, -math.log1p(math.exp(10))),
    ({"MEAN": 10, "VARIANCE": -2, "SCALING": "UPPER"}, -10.0, -math.log1p(math.exp(10))),
    ({**MV, "SCALING": "BIAS"}, 20.0, 2 * math.log(2)), ({"SCALING": "USER"}, 0.5, math.log(0.5)),
    ({"SCALING": "SIGUSER"}, 0.0, -math.log(2)), ({"SCALING": "EXPUSER"}, -3.0, -3.0),
    ({"SCALING": "MINUSEXPUSER"}, 3.0, -3.0), ({"SCALING": "LOGUSER"}, 3.0, -3.0),
    ({"SCALING": "OFF", **MV}, 99.0, 0.0), ({}, 99.0, 0.0), ({"MEAN": 3.0}, 99.0, 0.0),
    ({"RANGE": [8, 12], "SCALING": "GAUSS"}, 14.0, -2.0), ({"RANGE": [12, 8], "SCALING": "UPPER"}, 10.0, -math.log(2)),
    ({**MV, "SCALING": "CFUNCTION"}, 21.0, -1.0), ({"MEAN": 10, "SCALING": "CFUNCTION"}, 19.0, -1.0),
    ({"SCALING": "CFUNCTION", "UPPER_BOUND": 1, **MV}, 10.0, -1.0),
    ({"SCALING": "CFUNCTION", "LOWER_BOUND": "-inf", "UPPER_BOUND": "1"}, -1e9, 0.0),
    ({"SCALING": "CFUNCTION", "LOWER_BOUND": 1, "UPPER_BOUND": "infinity", "LOG_SCALING": "True"},
     math.exp(-9), -1.0),
])
def test_likelihoods_are_those_of_bsmart(settings, value, log_l):
    assert log_likelihood(scored(settings), value) == pytest.approx(log_l, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("settings", "value", "good"), [
    ({"TYPE": "UPPER", "MAX": 1}, 0.9, True), ({"MAX": 1}, 1.1, False), ({"TYPE": "LOWER", "MIN": 1}, 0.9, False),
    ({"TYPE": "RANGE", **MV}, 12.0, True), ({"TYPE": "RANGE", **MV}, 12.1, False), ({"RANGE": [1, 2]}, 1.5, True),
    ({"TYPE": "UPPER", "MEAN": 5}, 5.5, False), ({"TYPE": "OFF", **MV}, 99.0, True), ({**MV}, 99.0, True),
    ({"TYPE": "USER"}, 1.0, True), ({"TYPE": "USER"}, 0.1, False),
])
def test_what_al_calls_good_has_no_loss(settings, value, good):
    assert (log_likelihood(scored(settings, classified=True), value) == 0) is good


@pytest.mark.parametrize("settings", [
    {"SCALING": "GAUSS", "MEAN": 3}, {"SCALING": "UPPER", "VARIANCE": 1}, {"SCALING": "BIAS", "MEAN": 0, "VARIANCE": 1},
    {"SCALING": "BIAS", "MEAN": 1, "VARIANCE": -1}, {"SCALING": "GAUSS", "MEAN": "x", "VARIANCE": 1},
])
def test_numbers_that_make_no_likelihood_are_to_do(settings):
    report = Report()
    assert scored(settings, report)["likelihood"] == {"kind": "off"}
    assert [f.kind for f in report.findings] == [Kind.TO_DO]


def test_validity_is_a_cut_inside_a_code_only():
    report = Report()
    assert scored({"VALID": [130, "120"]}, report)["valid"] == [120, 130]
    assert scored({"VALID": [1]}, report)["valid"] == [1, 1]
    assert scored({"VALID": ["-inf", 3]}, report)["valid"] == [-math.inf, 3]
    assert not report.findings
    assert "valid" not in scored({"VALID": [1, 2]}, report, code="")
    assert report.findings[0].kind is Kind.DIFFERENT


def test_addresses_and_functions():
    assert scored({})["from"] == {"block": "MASS", "key": [25]}
    assert scored({"SLHA": ["BR", [25, [5, -5]]]})["from"]["key"] == [25, [5, -5]]
    assert scored({"SLHA": ["NMIX", ["1,2"]]})["from"]["key"] == [1, 2]
    function = Section("x", {"FUNCTION": "VARIABLE[0] + 1"})
    assert observable(function, "", here, Names(["m0"]), Report(), classified=False)["expression"] == "m0 + 1"


@pytest.mark.parametrize("settings", [{"SLHA": ["NOWHERE", [1]]}, {"FUNCTION": "open('x')"}, {}])
def test_observables_that_cannot_be_read_are_to_do(settings):
    report = Report()
    assert observable(Section("Observables.x", settings), "", here, Names([]), report, classified=False) is None
    assert report.findings[0].kind is Kind.TO_DO


def test_keys_that_bsmart_does_not_read_are_listed():
    report = Report()
    scored({"LOG SCALING": "True", "TYPE": "UPPER"}, report)
    assert [f.kind for f in report.findings] == [Kind.DIFFERENT, Kind.UNREAD]
    assert "meant was LOG_SCALING" in report.findings[1].text


# ---- cards


CARD = """\
Block MODSEL  # VARIABLE[0]
 1 1
Block MINPAR
 1\tVARIABLE[0]  # m0
 2  math.sqrt(m12)
 3  1.0E+01
 4  -VARIABLE[0]*2
Block SPINFO
 1 m12
Block TEXT
 1 somefile.dat
 2 T
DECAY 25 4.0E-03
   0.5  2  5 -5
DECAY 35 VARIABLE[0]/1e6  # width
   math.exp(-m12)  2  5 -5
XSECTION 1.3E+04 2212 2212 2 25 25
   0 0 0 0 0 0 VARIABLE[1]*2 MadeUp 1.0
"""


def test_fields_are_translated_and_all_else_stays():
    card = translated(CARD, Names(["m0", "m12"]), report := Report(), "card")
    assert card == CARD.replace("\tVARIABLE[0]", "\tm0").replace("-VARIABLE[0]*2", "-m0*2").replace(
        "math.sqrt", "sqrt").replace("VARIABLE[0]/1e6", "m0/1000000.0").replace("math.exp", "exp").replace(
        "VARIABLE[1]*2", "m12*2")
    assert not report.findings


def test_fields_that_are_lost_are_to_do():
    translated("Block A\n 1 VARIABLE[7]\n 2 m0+mystery\nDECAY 25 VARIABLE[8]\n", Names(["m0"]), report := Report(), "card")
    assert [(f.kind, f.where) for f in report.findings] == [(Kind.TO_DO, f"card:{k}") for k in (2, 3, 4)]


def test_blocks_are_laid_over_a_card():
    blocks = Section("Blocks", {"MINPAR": {"3": "VARIABLE[1]", "5": -100}, "yuin": {"3,3": "1e-2"}})
    card = overlaid("Block MINPAR # in\n 1 100\n 3 10\nBlock SMINPUTS\n 1 1.0", blocks, Names(["a", "b"]), Report())
    assert card == ("Block MINPAR # in\n 1 100\n 3  b\n 5  -100\nBlock SMINPUTS\n 1 1.0\n"
                    "Block YUIN\n 3 3  1e-2\n")
    assert overlaid("", Section("Blocks", {"A": {"1": 2}}), Names([]), Report()) == "Block A\n 1  2\n"


# ---- fits


def test_a_fit():
    fitting = Section("Fitting", {
        "Variables": {"m0": {"RANGE": [6000, 200]}}, "Observables": {"mh": {"TARGET": 125, "VARIANCE": 0.5}},
        "Options": {"eps": 0.1, "ftol": 1.0, "disp": "False", "Overloads": [["SPHENOINPUT", [11], 0]]}})
    table = fit(fitting, Names([]), report := Report())
    assert table == {"name": "fit", "kind": "fit", "solve": {"m0": {"low": 200, "high": 6000}}, "unsolved": "nearest",
                     "targets": {"mh": {"value": 125, "tolerance": 0.05}}, "resolution": 0.1}
    assert {f.where.rpartition(".")[2] for f in report.of(Kind.LEFT_OUT)[0:3]} == {"ftol", "disp", "Overloads"}


@pytest.mark.parametrize("fitting", [
    {}, {"Variables": {"a": {}}}, {"Variables": {"a": {"RANGE": [1, 2]}}},
    {"Variables": {"a": {"RANGE": [1, 2]}}, "Observables": {"b": {"TARGET": 1}}},
])
def test_a_fit_that_is_none_is_refused(fitting):
    with pytest.raises(ConfigError, match="needs"):
        fit(Section("Fitting", fitting), Names([]), Report())
