"""Configuration files: what is wrong is refused with words that help; what is right comes back from `dump`."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import pytest

from raydnnr import Gauss, Hybrid, RandomSampling, Upper
from raydnnr.config import dump, load, versions
from raydnnr.errors import ConfigError
from raydnnr.likelihoods import Off
from tests.unit.plans import square

ROOT = Path(__file__).parents[2]
BAD = ROOT / "tests" / "bad_configs"
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))

# What the error says, beside the file: table, key, what came, what is accepted.
WORDS = {
    "attribute_in_condition":
        "[tools.model] conditions: 'r.real > 0': an attribute (r.real) is not allowed; use numbers",
    "attribute_in_derived": "[derived] sum: 'x.real + y': an attribute (x.real) is not allowed; use numbers, names",
    "bootstrap_of_0": "[search]: bootstrap_points: got 0; use a whole number >= 1",
    "call_in_derived": "[derived] sum: .* is not allowed; functions are abs, acos",
    "call_in_observable": "[observables.r] expression: 'open(x)': a call of 'open' is not allowed; functions are abs",
    "command_that_is_a_text": "[tools.spectrum]: command: got 'true', wants a list",
    "conditions_that_is_a_number": "[tools.model] conditions: got 3, wants a list of expressions",
    "derived_that_is_a_number": "[derived] sum: 5 is not an expression; write it as a text",
    "empty": "tools: none; add a [[tools]] table with kind = 'python' or 'slha'",
    "from_and_expression": "observables.r: give either from = {...} or expression = '...', not both",
    "from_that_is_a_text": "[observables.r.from]: got 'model', wants a table",
    "function_without_module": "[tools.model]: function: got 'disc'; use 'module:function'",
    "high_that_is_infinite": "parameters.x: low and high must be finite numbers, got low = 0, high = inf",
    "init_csv_that_is_a_number": "[scan] init_csv: got 5, wants a path",
    "kind_that_cannot_be_imported": "[observables.r.likelihood]: 'nolab.limits:Xenon' cannot be imported",
    "kind_that_is_no_kind": "[observables.r.likelihood]: 'math:sqrt' is not a dataclass; a kind is a frozen dataclass",
    "likelihood_that_is_a_text": "[observables.r.likelihood]: got 'gauss', wants a table",
    "likelihood_without_kind": "[observables.r.likelihood]: 'kind' is missing; choose one of gauss, upper",
    "likelihood_without_sigma": "[observables.r.likelihood]: 'sigma' is missing; it accepts mean, sigma",
    "log_of_low_0": "parameters.y: prior = 'log' needs low > 0, got 0. Use prior = 'uniform', or scan",
    "log_of_negative_low": "parameters.y: prior = 'log' needs low > 0, got -1. Use prior = 'uniform', or scan",
    "low_above_high": "parameters.x: low = 1 is above high = 0; swap them",
    "low_equal_to_high": "parameters.x: low and high are both 1; for a fixed parameter write value = 1",
    "low_that_is_a_list": "parameters.x: low: got [0, 1], wants a number",
    "low_that_is_a_text": "parameters.x: low: got '0', wants a number",
    "low_that_is_nan": "parameters.x: low and high must be finite numbers, got low = nan",
    "max_hours_of_nan": "scan.max_hours: got nan; use a number >= 0 (0: no limit)",
    "mean_that_is_a_text": "[observables.r.likelihood]: mean: got '0.2', wants a number",
    "name_in_derived_and_observables": "observables.sum: the name is already used in [derived]",
    "name_in_parameters_and_derived": "derived.x: the name is already used in [parameters]",
    "name_in_parameters_and_observables": "observables.x: the name is already used in [parameters]",
    "name_that_is_a_number": "[scan] name: got 5, wants a text",
    "name_with_a_null_character": "scan.name: got 'squ\\x00are'; a text cannot hold the null character",
    "name_with_a_slash": "scan.name: got 'runs/square'; use a name that can be a folder, without '/'",
    "no_likelihood": "observables: no likelihood; give at least one observable a likelihood other than 'off'",
    "no_observables": "observables: no likelihood; give at least one observable a likelihood",
    "no_parameters": "parameters: nothing to scan; give at least one a range {low = ..., high = ...}",
    "no_tools": "tools: none; add a [[tools]] table with kind = 'python' or 'slha'",
    "not_utf8": "not UTF-8 at byte 11; save the file as UTF-8",
    "nothing_to_scan": "parameters: nothing to scan; give at least one a range {low = ..., high = ...}",
    "observable_of_slha_without_from": "observables.r.from: name the tool it is read from, .* there are spectrum",
    "observable_that_is_a_number": "[observables.r]: got 3, wants a table",
    "observable_without_tool": "observables.r.from: name the tool it is read from, .* there are model, second",
    "parameter_name_with_a_space": "parameters.m 0: 'm 0' is not a name; use letters, digits and '_'",
    "parameter_named_like_a_function":
        "parameters.sqrt: 'sqrt' is a function or constant of expressions; choose another",
    "parameter_named_like_a_word_of_python": "parameters.lambda: 'lambda' is a word of Python .* such as 'lambda_'",
    "parameter_that_is_a_number": "[parameters.x]: got 3; write { low = ..., high = ... } or { value = ... }",
    "parameter_without_high": "parameters.x: 'high' is missing; it accepts low, high",
    "points_below_0": "scan.points: got -10; use a number >= 0 (0: no limit)",
    "points_beyond_64_bits": "scan.points: a whole number has 64 bits at most; write a larger number as 1e30",
    "points_in_scan_and_search": "[search] points: also given in [scan]; keep one of them",
    "points_that_is_a_fraction": "[scan]: points: got 10.5, wants a whole number",
    "points_that_is_a_text": "[scan]: points: got '10', wants a whole number",
    "points_that_is_true": "[scan]: points: got True, wants a whole number",
    "prior_that_is_empty": "parameters.y: prior: got ''; choose one of uniform, log, symlog",
    "prior_that_is_false": "parameters.y: prior: got False; choose one of uniform, log, symlog",
    "random_fraction_above_1": "[search]: random_fraction: got 20.0; use a number between 0 and 1",
    "reserved_observable_name": "observables.loss_r: 'loss_r' is a column of the evaluation table; choose another name",
    "reserved_parameter_name": "parameters.nll: 'nll' is a column of the evaluation table; choose another name",
    "scan_that_is_a_number": "[scan]: got 3, wants a table",
    "seed_below_0": "scan.seed: got -1; use a whole number from 0 to",
    "seed_that_is_a_text": "[scan] seed: got 'one', wants a whole number",
    "sigma_below_0": "[observables.r.likelihood]: sigma must be > 0 and finite, got -0.1",
    "sigma_of_0": "[observables.r.likelihood]: sigma must be > 0 and finite, got 0",
    "slha_key_that_is_a_text": "observables.r.from.key: got ['mh']; use whole numbers",
    "slots_of_0": "[cluster] slots: got 0; use a whole number >= 1 or 'auto'",
    "slots_that_is_a_text": "[cluster] slots: got 'many'; use a number or 'auto'",
    "template_missing": "[tools.spectrum]: template: cannot read .*missing.in: No such file",
    "template_that_is_a_number": "[tools.spectrum]: template: got 3, wants a path",
    "template_with_an_unknown_name": "tools.spectrum.template: .*card_unknown_name.in:2: 'x + z' uses 'z'",
    "timeout_of_0": "[tools.model]: timeout_s: got 0.0; use a number > 0",
    "timeout_that_is_a_text": "[tools.model]: timeout_s: got '1 min', wants a number",
    "toml_key_twice": "not TOML: .*line 11",
    "toml_syntax": "not TOML: .*line 10",
    "tool_kind_that_is_no_tool": "[tools.model] kind: 'raydnnr.likelihoods:Gauss' is not a raydnnr.tools.base.Tool",
    "tool_without_function": "[tools.model]: 'function' is missing; it accepts name, conditions",
    "tool_without_kind": "[tools.model]: 'kind' is missing; choose one of slha, python",
    "tool_without_name": "[tools.0]: 'name' is missing; it accepts name, conditions",
    "tools_that_is_one_table": "[[tools]]: write a table in double brackets for each tool",
    "two_tools_of_one_name": "tools.model: two tools have this name; every tool needs its own",
    "unit_that_is_a_number": "parameters.x: unit: got 5, wants a text",
    "unknown_keep_files": "[tools.spectrum]: keep_files: got 'goood'; use one of good, .* Did you mean 'good'?",
    "unknown_key_in_cluster": "[cluster]: no setting 'slot'; it accepts slots, .* Did you mean 'slots'?",
    "unknown_key_in_from_of_python": "observables.r.from: no setting 'kye' .* accepts tool, key. Did you mean 'key'?",
    "unknown_key_in_from_of_slha":
        "observables.r.from: no setting 'blok' .* accepts tool, block, .* Did you mean 'block'?",
    "unknown_key_in_likelihood":
        "[observables.r.likelihood]: no setting 'sigam'; it accepts mean, sigma. Did you mean 'sigma'?",
    "unknown_key_in_observable": "[observables.r]: no setting 'vaild'; it accepts from, .* Did you mean 'valid'?",
    "unknown_key_in_parameter":
        "parameters.x: no setting 'hihg'; it accepts low, high, prior, unit, latex. Did you mean 'high'?",
    "unknown_key_in_scan": "[scan]: no setting 'point'; it accepts name, seed, points, .* Did you mean 'points'?",
    "unknown_key_in_search": "[search]: no setting 'bootstrap_point'; .* Did you mean 'bootstrap_points'?",
    "unknown_key_in_search_of_mls_dnnr": "[search]: no setting 'learning_rat'; .* Did you mean 'learning_rate'?",
    "unknown_key_in_slha_tool":
        "[tools.spectrum]: no setting 'sucess_exit_codes'; .* Did you mean 'success_exit_codes'?",
    "unknown_key_in_tool": "[tools.model]: no setting 'timeuot_s'; it accepts name, .* Did you mean 'timeout_s'?",
    "unknown_likelihood_kind":
        "[observables.r.likelihood]: unknown kind 'gaus'; choose one of gauss, .* Did you mean 'gauss'?",
    "unknown_method": "[search] method: unknown kind 'mls_dnr'; choose one of .* Did you mean 'mls_dnnr'?",
    "unknown_name_in_condition":
        "tools.model.conditions: 'q > 0' uses 'q', which is not known here; known are x, y, sum, r",
    "unknown_name_in_derived": "derived.sum: 'x + z' uses 'z', which is not known here; known are x, y",
    "unknown_prior": "parameters.y: prior: unknown kind 'lgo'; choose one of uniform, log, .* Did you mean 'log'?",
    "unknown_table": "[serach]: no such table; there are scan, search, .* Did you mean 'search'?",
    "unknown_tool_in_from": "[observables.r.from]: no tool is named 'modle'; there are model. Did you mean 'model'?",
    "unknown_tool_kind":
        "[tools.model] kind: unknown kind 'pyhton'; choose one of slha, python, .* Did you mean 'python'?",
    "valid_reversed": "observables.r.valid: got [9.0, 0.0]; use [low, high] with low <= high",
    "valid_that_is_a_number": "[observables.r] valid: got 5, wants [low, high]",
    "valid_with_a_text": "[observables.r] valid: got [0.0, 'inf'], wants [low, high]",
    "valid_with_three_numbers": "[observables.r] valid: got [0.0, 1.0, 9.0], wants [low, high]",
}

GOOD = """\
[scan]
name = "square"
points = 10
max_evaluations = 100

[search]
method = "random"

[parameters]
x = { low = 0, high = 1, unit = "GeV", latex = "x_0" }
y = { low = 1, high = 9, prior = "log" }
z = { prior = "normal", mean = 0, sigma = 2, high = 3 }
k = { value = 1 }

[derived]
sum = "x + y"

[[tools]]
name = "model"
kind = "python"
function = "good_physics:disc"
conditions = ["r < 90"]

[[tools]]
name = "spectrum"
kind = "slha"
command = ["./code.sh", "{input}", "{output}"]
template = "good_card.in"
environment = { OMP_NUM_THREADS = "2" }

[observables.r]
from = { tool = "model" }
likelihood = { kind = "gauss", mean = 0.2, sigma = 0.1 }
valid = [0.0, inf]

[observables.mh]
from = { tool = "spectrum", block = "MASS", key = [25] }
likelihood = { kind = "cfunction", lower_bound = 100 }

[observables.br]
from = { tool = "spectrum", br = [25, 5, -5] }

[observables.both]
expression = "r + mh"
"""


@pytest.fixture
def good(tmp_path):
    """The path of a good configuration, with its files beside it."""
    for name in ("good_card.in", "good_physics.py"):
        shutil.copy(BAD / name, tmp_path)
    path = tmp_path / "good.toml"
    path.write_text(GOOD)
    return path


def test_every_bad_file_has_its_words():
    assert {path.stem for path in BAD.glob("*.toml")} == WORDS.keys()


@pytest.mark.parametrize("name", WORDS)
def test_a_bad_file_is_refused_with_file_table_and_key(name):
    path = BAD / f"{name}.toml"
    with pytest.raises(ConfigError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert re.search(re.escape(WORDS[name]).replace(r"\.\*", ".*").replace(r"\ ", " "), text), text


def test_a_missing_file_is_answered_with_the_nearest(good):
    with pytest.raises(ConfigError, match=r"god.toml: no such file. Did you mean 'good.toml'\?"):
        load(good.with_name("god.toml"))
    with pytest.raises(ConfigError, match="no such file"):
        load(good.parent / "nowhere" / "good.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(good.parent)


def test_what_a_good_file_says(good):
    plan = load(good)
    assert plan.space.scanned == ("x", "y", "z")
    assert plan.method == RandomSampling()
    assert plan.observables[0].likelihood == Gauss(mean=0.2, sigma=0.1)
    assert plan.observables[0].valid == (0.0, math.inf)
    assert plan.observables[2].likelihood == Off()
    assert plan.observables[3].expression.text == "r + mh"
    assert [type(t).__name__ for t in plan.tools] == ["PythonFunction", "SlhaCommand"]
    assert plan.tools[1].command[0] == str(good.parent / "code.sh")
    assert str(good.parent) in plan.tools[0].path


def test_a_relative_file_is_the_same(good, monkeypatch):
    monkeypatch.chdir(good.parent)
    assert load("good.toml").fingerprint == load(good).fingerprint


def test_hybrid_is_the_default(good):
    good.write_text(GOOD.replace('[search]\nmethod = "random"\n', ""))
    plan = load(good)
    assert plan.method == Hybrid()
    assert plan.stop.iterations == 0


def test_stop_rules_may_stand_among_the_settings_of_the_search(good):
    good.write_text(GOOD.replace('method = "random"', 'method = "random"\niterations = 3\nthreshold_value = 2'))
    stop = load(good).stop
    assert (stop.iterations, stop.threshold_value, stop.points) == (3, 2.0, 10)


@pytest.mark.parametrize(("override", "read"), [
    ("scan.seed=7", lambda p: p.seed == 7),
    ("scan.name=other", lambda p: p.name == "other"),
    ('scan.name="other"', lambda p: p.name == "other"),
    ("scan.max_hours=1.5", lambda p: p.stop.max_hours == 1.5),
    ("scan.max_hours = 2", lambda p: p.stop.max_hours == 2.0),
    ("parameters.x.high=5", lambda p: p.parameters[0].prior.high == 5.0),
    ("parameters.w={ low = 1, high = 2 }", lambda p: p.space.names[-1] == "w"),
    ("derived.sum=x * y", lambda p: p.derived["sum"].text == "x * y"),
    ("derived.new='x - y'", lambda p: "new" in p.derived),
    ("tools.model.timeout_s=3", lambda p: p.tools[0].timeout_s == 3.0),
    ("tools.0.timeout_s=3", lambda p: p.tools[0].timeout_s == 3.0),
    ("tools.1.timeout_s=3", lambda p: p.tools[1].timeout_s == 3.0),
    ("tools.spectrum.environment.OMP_NUM_THREADS=4", lambda p: p.tools[1].environment == {"OMP_NUM_THREADS": "4"}),
    ("observables.r.likelihood.sigma=0.5", lambda p: p.likelihoods["r"] == Gauss(mean=0.2, sigma=0.5)),
    ("observables.r.likelihood={ kind = 'upper', mean = 1, sigma = 2 }",
     lambda p: p.likelihoods["r"] == Upper(mean=1.0, sigma=2.0)),
    ("observables.br.likelihood={ kind = 'log', mean = 1, sigma = 2 }", lambda p: p.likelihoods["br"] != Off()),
    ("observables.r.valid=[1, 2]", lambda p: p.observables[0].valid == (1.0, 2.0)),
    ("cluster.slots=3", lambda p: p.cluster.slots == 3),
    ("search.sampler=uniform", lambda p: p.method.sampler == "uniform"),
    ("search.synchronous=true", lambda p: p.method.synchronous is True),
    ("scan.init_csv=old.csv", lambda p: str(p.init_csv).endswith("old.csv")),
])
def test_a_key_is_set_over_the_file(good, override, read):
    assert not read(load(good))
    assert read(load(good, [override]))


def test_auto_is_a_word_for_the_clusters_numbers(good):
    cluster = load(good, ["cluster.slots=auto", "cluster.gpus_for_trainer=auto"]).cluster
    assert cluster.slots is cluster.gpus_for_trainer is None


def test_the_last_of_two_settings_wins(good):
    assert load(good, ["scan.seed=1", "scan.seed=2"]).seed == 2


@pytest.mark.parametrize(("override", "words"), [
    ("seed=2", "--set seed=2: write table.key=value"), ("scan.seed", "write table.key=value"),
    ("=2", "write table.key=value"),
    ("scan.=2", "write table.key=value"), (".seed=2", "write table.key=value"),
    ("scan.sede=2", "no setting 'sede'.*Did you mean 'seed'"), ("scna.seed=2", r"\[scna\]: no such table.*'scan'"),
    ("tools.modle.timeout_s=3", "no tool 'modle'; there are model, spectrum. Did you mean 'model'"),
    ("tools.2.timeout_s=3", "no tool '2'; there are model, spectrum"), ("tools.model=3", "--set tools.model=3"),
    ("scan.points.x=2", "--set scan.points.x=2"), ("scan.name.x.y=2", "--set scan.name.x.y=2"),
    ("scan.seed=one", "seed: got 'one', wants a whole number"),
    ("observables.r.likelihood.kind=uper", "Did you mean 'upper'"),
    ("parameters.x.low=2", "low = 2 is above high = 1"),
])
def test_a_wrong_setting_is_refused(good, override, words):
    with pytest.raises(ConfigError, match=words) as caught:
        load(good, [override])
    assert str(caught.value).startswith(str(good))


def reloaded(plan, folder):
    folder.mkdir()
    for name, text in dump(plan).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return load(folder / "config.toml")


def same(a, b):
    assert a.physics == b.physics
    assert (a.fingerprint, a.scoring, a.name) == (b.fingerprint, b.scoring, b.name)
    assert (a.stop, a.method, a.cluster, a.likelihoods) == (b.stop, b.method, b.cluster, b.likelihoods)
    assert (a.parameters, a.derived, a.observables) == (b.parameters, b.derived, b.observables)


@pytest.mark.parametrize("overrides", [[], ["search.method=mls_dnnr"], ["scan.seed=3", "cluster.slots=2"],
                                       ["scan.threshold_value=inf", "scan.points=0"],
                                       ["observables.r.likelihood.sigma=0.1234567890123456"]])
def test_what_is_dumped_is_loaded(good, tmp_path, overrides):
    plan = load(good, overrides)
    same(reloaded(plan, tmp_path / "dumped"), plan)


def test_what_is_dumped_twice_is_the_same(good, tmp_path):
    again = reloaded(load(good), tmp_path / "dumped")
    same(reloaded(again, tmp_path / "twice"), again)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_configs_of_the_repository_are_dumped_and_loaded(path, tmp_path):
    plan = load(path)
    same(reloaded(plan, tmp_path / "dumped"), plan)


def test_a_dump_says_every_setting_and_the_versions(good):
    text = dump(load(good))["config.toml"]
    for word in ("bootstrap_points = 100", "threshold_value = 1.0", "timeout_s = 600.0", "[versions]", 'numpy = "'):
        assert word in text
    assert versions()["raydnnr"]


def test_a_plan_of_python_objects_is_dumped_too():
    assert 'function = "tests.unit.plans:disc"' in dump(square())["config.toml"]


def test_a_kind_of_the_users_is_dumped_by_its_name(good, tmp_path, monkeypatch):
    (tmp_path / "mylab_xenon.py").write_text(
        "from dataclasses import dataclass\nimport numpy as np\n\n@dataclass(frozen=True)\nclass Xenon:\n"
        "    mass: float = 1.0\n\n    def log_likelihood(self, value):\n"
        "        return -np.asarray(value) / self.mass\n")
    monkeypatch.syspath_prepend(tmp_path)
    plan = load(good, ["observables.br.likelihood={ kind = 'mylab_xenon:Xenon', mass = 3 }"])
    assert plan.likelihoods["br"].mass == 3.0
    same(reloaded(plan, tmp_path / "dumped"), plan)
