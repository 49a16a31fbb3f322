"""Against BSMArt itself: the files of its wheel import, and its likelihood functions give the same NLL.

bsmart is installed from PyPI into a cache folder and runs in processes of its own; nothing of it is imported here.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest

from raydnnr.bsmart.importer import import_bsmart, write
from raydnnr.cli import main
from raydnnr.config import load
from raydnnr.evaluation import Observable
from raydnnr.likelihoods import Off, get_losses
from raydnnr.run import main as run_main

VERSION = "2.0.2"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "raydnnr-tests" / f"bsmart-{VERSION}"
N_POINTS = 50
pytestmark = pytest.mark.slow  # and needs PyPI, once

# Log-likelihoods and NLL by bsmart; input: path, names, rows; output: one list and one number for each row.
SCORE = """
import json, sys
from bsmart.BSMlikelihood import MakeGlobalLikelihood, MakeLikelihoods
path, names, rows = json.load(sys.stdin)
content = json.load(open(path))
observables = dict(content.get("Observables", {}))
for code in content["Codes"].values():
    if code["Run"] == "True":
        observables.update(code.get("Observables", {}))
functions, masks = MakeLikelihoods({name: observables[name] for name in names}, loglike=True)
total, _ = MakeGlobalLikelihood({name: observables[name] for name in names}, return_type="NLL")
scored = []
for row in rows:
    active = iter(functions)
    scored.append([next(active)(x) if mask else 0.0 for x, mask in zip(row, masks)])
json.dump([scored, [total(row) for row in rows]], sys.stdout)
"""
# The toy targets by bsmart; input: settings, points; output: a dictionary for each.
TOYS = """
import json, sys
from bsmart.HEPRun import DataPoint
from bsmart.tools.toy_targets import NewTool
settings, points = json.load(sys.stdin)
tool, found = NewTool("toy_targets", settings), []
for number, inputs in enumerate(points):
    point = DataPoint(number, inputs)
    tool.run("", "", None, point)
    found.append(dict(point.obs_dict))
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def wheel() -> Path:
    """Folder with bsmart in it."""
    if not (CACHE / "bsmart").is_dir():
        new = CACHE.with_name(f"{CACHE.name}.{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(new)]
        done = subprocess.run([*pip, f"bsmart=={VERSION}", "six"], capture_output=True, text=True, timeout=120)
        if done.returncode:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"bsmart cannot be installed: {done.stderr[-300:]}")
        with contextlib.suppress(OSError):  # another process was first
            new.rename(CACHE)
    return CACHE


def ask(wheel: Path, program: str, question: object) -> list:
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    done = subprocess.run([sys.executable, "-c", program], input=json.dumps(question), capture_output=True, text=True,
                          env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def files(wheel: Path) -> list[Path]:
    return sorted((wheel / "bsmart" / "data").glob("**/*.json"))


def random_values(observables: list[Observable], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Observables near what their likelihoods are about: within 20 sigma. Below -25 bsmart's softened limits are an
    approximation that is wrong by 3e-11."""
    values = {}
    for o in observables:
        mean, sigma = getattr(o.likelihood, "mean", None) or 1.0, getattr(o.likelihood, "sigma", None) or 1.0
        near = mean + sigma * rng.uniform(-20, 20, N_POINTS)
        positive = type(o.likelihood).__name__ in {"User", "Bias"}
        values[o.name] = rng.uniform(1e-6, 2 * mean, N_POINTS) if positive else near
    return values


def test_every_file_of_the_wheel_imports_and_scores_as_bsmart_does(wheel, tmp_path, capsys):
    found, compared = files(wheel), 0
    assert len(found) == 18
    rng = np.random.default_rng(7)
    for path in found:
        output = tmp_path / f"{path.stem}.toml"
        assert main(["import-bsmart", str(path), "-o", str(output)]) == 0, capsys.readouterr().err
        imported = import_bsmart(path, output)
        if path.stem in {"BSMArt_basetemplate", "random"}:
            continue  # no variables; a template that is not in the wheel
        plan = load(output)
        classified = json.loads(path.read_text())["Setup"]["Type"] == "AL"
        if classified or {o["likelihood"].get("lower_bound") for o in imported.config["observables"].values()} == {-np.inf}:
            continue  # AL has no likelihood
        old = {new: name for name, new in imported.names.items()}
        own = imported.config["observables"].keys() - {"lsp_pdg"}  # without what is fitted or was added
        observables = [o for o in plan.observables if o.name in own]
        values = random_values(observables, rng)
        rows = np.column_stack(list(values.values()))
        log_l, nll = ask(wheel, SCORE, [str(path), [old[name] for name in values], rows.tolist()])
        for k, o in enumerate(observables):
            if not isinstance(o.likelihood, Off):
                theirs = np.array(log_l)[:, k]
                np.testing.assert_allclose(o.likelihood.log_likelihood(rows[:, k]), theirs, rtol=1e-12, atol=1e-12,
                                           err_msg=f"{path.name} {o.name}")
                compared += 1
        lossy = (np.array(log_l) <= 0).all(axis=1)  # for L > 1 bsmart has two different caps
        mine = np.sum(list(get_losses(values, {o.name: o.likelihood for o in observables}).values()), axis=0)
        np.testing.assert_allclose(mine[lossy], np.array(nll)[lossy], rtol=1e-12, err_msg=path.name)
    assert compared > 20


def every_kind() -> dict[str, dict]:
    """Observables of every kind of likelihood."""
    pair = {"MEAN": 3.0, "VARIANCE": 0.7}
    return {
        "gauss": pair, "upper": {**pair, "SCALING": "UPPER"}, "lower": {**pair, "SCALING": "LOWER"},
        "tails": {**pair, "SCALING": "LOG"}, "odd": {**pair, "SCALING": "ODD"}, "bias": {**pair, "SCALING": "BIAS"},
        "user": {"SCALING": "USER"}, "siguser": {"SCALING": "SIGUSER"}, "expuser": {"SCALING": "EXPUSER"},
        "minus": {"SCALING": "MINUSEXPUSER"}, "loguser": {"SCALING": "LOGUSER"}, "c": {**pair, "SCALING": "CFUNCTION"},
        "c_bounds": {"SCALING": "CFUNCTION", "LOWER_BOUND": 1, "UPPER_BOUND": "2"},
        "c_low": {"SCALING": "CFUNCTION", "LOWER_BOUND": 1}, "c_up": {"SCALING": "CFUNCTION", "UPPER_BOUND": "1.5"},
        "c_log": {"SCALING": "CFUNCTION", "LOWER_BOUND": 1, "UPPER_BOUND": 2, "LOG_SCALING": "True"},
        "c_point": {"SCALING": "CFUNCTION", "MEAN": 2.0}, "range": {"SCALING": "GAUSS", "RANGE": [4, 1]},
        "range_up": {"SCALING": "UPPER", "RANGE": [1, 4]}, "flipped": {"SCALING": "UPPER", "MEAN": 3, "VARIANCE": -1},
        "off": {**pair, "SCALING": "OFF"}, "nothing": {"MEAN": 3.0},
    }


def test_every_kind_of_likelihood_is_the_same(wheel, tmp_path):
    observables = {name: {"SLHA": ["MASS", [1]], **table} for name, table in every_kind().items()}
    path = tmp_path / "kinds.json"
    path.write_text(json.dumps({
        "Setup": {"RunName": "kinds", "Type": "MLS_DNNR"}, "Variables": {"x": {"RANGE": [0, 1]}},
        "Codes": {"SPheno": {"Run": "True", "Command": "SPheno", "InputFile": "card.in", "Observables": observables}}}))
    (tmp_path / "card.in").write_text("Block MINPAR\n 1 x\n")
    output = tmp_path / "kinds.toml"
    write(import_bsmart(path, output), path, output, force=False)
    plan = load(output)
    rng = np.random.default_rng(3)
    rows = rng.uniform(0.01, 9.0, (400, len(plan.observables)))
    log_l, nll = ask(wheel, SCORE, [str(path), [o.name for o in plan.observables], rows.tolist()])
    for k, o in enumerate(plan.observables):
        if not isinstance(o.likelihood, Off):
            np.testing.assert_allclose(o.likelihood.log_likelihood(rows[:, k]), np.array(log_l)[:, k], rtol=1e-12,
                                       atol=1e-12, err_msg=o.name)
    columns = {o.name: rows[:, k] for k, o in enumerate(plan.observables)}
    columns["expuser"] = -columns["expuser"]
    columns["bias"] = np.minimum(columns["bias"], 3.0)
    columns["user"] = columns["user"] / 9.0
    rows = np.column_stack(list(columns.values()))
    log_l, nll = ask(wheel, SCORE, [str(path), list(columns), rows.tolist()])
    assert (np.array(log_l) <= 0).all()
    mine = np.sum(list(get_losses(columns, plan.likelihoods).values()), axis=0)
    np.testing.assert_allclose(mine, nll, rtol=1e-12)


def run_inline(config: Path, run_dir: Path, *words: str) -> pandas.DataFrame:
    assert run_main([str(config), "--inline", "--run-dir", str(run_dir), *words]) == 0
    return pandas.read_parquet(run_dir / "evaluations")


def test_the_toy_of_the_wheel_runs_and_its_points_have_the_nll_of_bsmart(wheel, tmp_path):
    path = next(p for p in files(wheel) if p.stem == "FakeMLS")
    output = tmp_path / "fake.toml"
    (tmp_path / "fake_tools.py").write_text(  # what its user would write
        "import math\n\ndef fakefunc(point):\n"
        "    return {'lres': math.exp(-((point['m0'] - 800) ** 2 + (point['m12'] - 750) ** 2) / 1e5)}\n")
    assert main(["import-bsmart", str(path), "-o", str(output)]) == 0
    table = run_inline(output, tmp_path / "run", "--set", "scan.max_evaluations=40", "--set", "search.bootstrap_points=40")
    assert len(table) == 40 and (table["status"] == "ok").all()
    _, nll = ask(wheel, SCORE, [str(path), ["lres"], table[["lres"]].to_numpy().tolist()])
    np.testing.assert_allclose(table["nll"], nll, rtol=1e-12)


def test_toy_targets_run_and_have_the_values_and_the_nll_of_bsmart(wheel, tmp_path):
    observables = {
        "Rosen": {"FUNCTION": "Rosenbrock", "SCALING": "MINUSEXPUSER"},
        "Rastrigin": {"SLHA": ["TOYTARGETS", [2]], "SCALING": "MINUSEXPUSER"},
        "Ackley": {"SCALING": "UPPER", "MEAN": 8, "VARIANCE": 1},
        "Himmelblau": {"SLHA": ["TOYTARGETS", [4]], "SCALING": "CFUNCTION", "UPPER_BOUND": 20},
        "E": {"FUNCTION": "Easom", "SCALING": "GAUSS", "MEAN": -1.0, "VARIANCE": 0.3}}
    code = {"Run": "True", "Rosenbrock a": 1.5, "Ackley b": 0.1, "Himmelblau a": 10, "Easom center": [1, 2],
            "Observables": observables}
    path = tmp_path / "toys.json"
    path.write_text(json.dumps({
        "Setup": {"RunName": "toys", "Type": "Random", "Points": 40, "Skip SLHA Files": "True"},
        "Codes": {"toy_targets": code}, "Variables": {name: {"RANGE": [-3, 3]} for name in "xyz"}}))
    assert main(["import-bsmart", str(path)]) == 0
    table = run_inline(path.with_suffix(".toml"), tmp_path / "run")
    theirs = pandas.DataFrame(ask(wheel, TOYS, [code, table[["x", "y", "z"]].to_numpy().tolist()]))
    for mine, name in {"Rosen": "Rosenbrock", "Rastrigin": "Rastrigin", "Ackley": "Ackley", "Himmelblau": "Himmelblau",
                       "E": "Easom"}.items():
        np.testing.assert_allclose(table[mine], theirs[name], rtol=1e-12, atol=1e-12)
    names = list(observables)
    _, nll = ask(wheel, SCORE, [str(path), names, table[names].to_numpy().tolist()])
    np.testing.assert_allclose(table["nll"], nll, rtol=1e-12)
