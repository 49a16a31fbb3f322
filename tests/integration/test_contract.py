"""The contracts of commands, tables and files, as somebody sees them who has only the documentation."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from raydnnr import cli
from raydnnr import run as run_module

KEYS = ["run_dir", "reason", "evaluations", "good", "valid", "failed", "iterations", "best_nll", "seconds"]
MAX_LOSS = math.log(sys.float_info.max) + 1
CONFIG = """
[scan]
name = "circle"
points = 0
max_evaluations = 60

[search]
method = "random"
bootstrap_points = 40

[parameters]
x = { low = -2, high = 2, unit = "GeV", latex = "x_1" }
y = { low = -2, high = 2 }
sgn = { value = 1 }

[derived]
product = "x * y"

[[tools]]
name = "circle"
kind = "python"
function = "circle_model:observables"

[observables.radius]
likelihood = { kind = "gauss", mean = 1, sigma = 0.2 }
unit = "m"

[observables.total]
likelihood = { kind = "upper", mean = 1, sigma = 0.5 }
"""
MODEL = """
import math
from raydnnr import InvalidPoint

def observables(point):
    if point["x"] > 1.6:
        raise InvalidPoint("tachyon")
    if point["x"] < -1.6:
        raise ValueError("the code broke")
    return {"radius": math.hypot(point["x"], point["y"]), "total": point["x"] + point["y"] * point["sgn"]}
"""


@dataclass
class Ended:
    """What a command left."""

    status: int
    summary: dict[str, Any]
    stderr: str
    run_dir: Path

    @property
    def table(self) -> pd.DataFrame:
        return pd.read_parquet(self.run_dir / "evaluations").sort_values("point_id", ignore_index=True)


@pytest.fixture
def scan(tmp_path, capsys, monkeypatch):
    """Run a configuration without Ray, from another folder than its own."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def run(config: str = CONFIG, *words: str, model: str = MODEL) -> Ended:
        (tmp_path / "scan.toml").write_text(config, encoding="utf-8")
        (tmp_path / "circle_model.py").write_text(textwrap.dedent(model), encoding="utf-8")
        run_dir = tmp_path / "a run, not in ASCII: é"
        status = run_module.main([str(tmp_path / "scan.toml"), "--run-dir", str(run_dir), "--inline", *words])
        out, err = capsys.readouterr()
        return Ended(status, json.loads(out.splitlines()[-1]) if out else {}, err, run_dir)

    return run


# ---- the command and its table


def test_the_last_line_on_stdout_is_the_summary_and_there_is_no_other(tmp_path):
    (tmp_path / "scan.toml").write_text(CONFIG)
    (tmp_path / "circle_model.py").write_text(MODEL.replace("import math", "import math; print('hello')"))
    done = subprocess.run([sys.executable, "-m", "raydnnr.run", tmp_path / "scan.toml", "--inline"], cwd=tmp_path,
                          capture_output=True, text=True, check=True)

    (line,) = done.stdout.splitlines()
    summary = json.loads(line)
    assert list(summary) == KEYS
    assert summary["run_dir"] == str(tmp_path / "runs" / "circle")
    assert summary["evaluations"] == 60 and summary["reason"].startswith("max_evaluations")
    assert "pandas.read_parquet(" in done.stderr and "\x1b" not in done.stderr


def test_the_evaluation_table(scan):
    ended = scan()
    table = ended.table

    assert ended.status == 0
    assert {k: str(v) for k, v in table.dtypes.items() if k in ("point_id", "iteration", "attempts")} == {
        "point_id": "int64", "iteration": "int32", "attempts": "int8"}
    assert table.point_id.tolist() == list(range(60))
    assert table.origin.tolist() == ["bootstrap"] * 40 + ["random"] * 20
    assert table.iteration.tolist() == [0] * 40 + [1] * 20
    assert set(table.status) == {"ok", "invalid", "failed"}
    assert (table.sgn == 1).all()
    np.testing.assert_array_equal(table["product"], table.x * table.y)
    ok, invalid, failed = (table[table.status == word] for word in ("ok", "invalid", "failed"))
    np.testing.assert_allclose(table.nll, table.loss_radius + table.loss_total, equal_nan=True)
    assert np.isfinite(ok.nll).all() and (ok.reason == "").all()
    np.testing.assert_allclose(invalid.nll, 2 * MAX_LOSS)
    assert invalid.reason.str.contains("tachyon").all() and invalid.radius.isna().all()
    assert failed.nll.isna().all() and failed.loss_radius.isna().all()
    assert failed.reason.str.contains("ValueError: the code broke").all()
    assert failed.reason.str.contains("circle_model.py").all()  # the traceback
    counts = {"valid": len(ok), "failed": len(failed), "good": int((ok.nll < 1).sum()), "best_nll": ok.nll.min()}
    assert {key: ended.summary[key] for key in counts} == counts


def test_the_schema_says_what_columns_are_and_where_they_come_from(scan):
    ended = scan(CONFIG, "--set", "scan.seed=7")
    schema = pq.read_schema(next((ended.run_dir / "evaluations").iterdir()))

    assert schema.field("x").metadata == {b"role": b"parameter", b"unit": b"GeV", b"latex": b"x_1"}
    assert schema.field("product").metadata[b"role"] == b"derived"
    assert schema.field("radius").metadata[b"role"] == b"observable"
    assert schema.field("radius").metadata[b"unit"] == b"m"
    assert str(schema.field("finished").type).startswith("timestamp")
    assert {b"version", b"seed", b"fingerprint"} <= schema.metadata.keys() and schema.metadata[b"seed"] == b"7"


# ---- resume


def test_the_same_command_again_adds_nothing_and_a_raised_limit_goes_on(scan):
    first, again, more = scan().table, scan().table, scan(CONFIG, "--set", "scan.max_evaluations=80").table

    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_frame_equal(first, more[:60])
    assert more.point_id.tolist() == list(range(80))


def test_a_changed_likelihood_scores_again_without_physics(scan):
    scan()
    ended = scan(CONFIG, "--set", "observables.radius.likelihood.mean=2.5")
    ok = ended.table[ended.table.status == "ok"]

    assert len(ended.table) == 60
    expected = MAX_LOSS * -np.expm1(-0.5 * ((ok.radius - 2.5) / 0.2) ** 2 / MAX_LOSS)
    np.testing.assert_allclose(ok.loss_radius, expected)
    assert ended.summary["best_nll"] == ok.nll.min()


@pytest.mark.parametrize("setting", ["scan.seed=3", "parameters.x.high=3", "tools.circle.conditions='x < 1'",
                                     "derived.product='x'", "parameters.z.value=1"])
def test_another_scan_is_refused_and_fresh_moves_the_old_one_aside(scan, setting):
    old = scan().table
    refused = scan(CONFIG, "--set", setting)
    fresh = scan(CONFIG, "--set", setting, "--fresh")
    (aside,) = fresh.run_dir.parent.glob(f"{fresh.run_dir.name}.*")

    assert refused.status == 2 and not refused.summary and "another" in refused.stderr
    assert fresh.status == 0 and len(fresh.table) == 60
    pd.testing.assert_frame_equal(pd.read_parquet(aside / "evaluations").sort_values("point_id", ignore_index=True),
                                  old)


# ---- physics: hierarchical observables, what functions return


def test_hierarchical_observables_cost_the_maximum_once_one_fails(scan):
    config = CONFIG.replace('unit = "m"', "valid = [0.5, 1.5]") + """
[observables.twice]
expression = "2 * radius"
likelihood = { kind = "lower", mean = 1, sigma = 1 }
"""
    table = scan(config).table
    stopped = table[table.reason.str.startswith("radius outside")]

    assert len(stopped) and (stopped.status == "invalid").all()
    assert not stopped.radius.between(0.5, 1.5).any() and stopped.radius.notna().all()
    assert stopped.twice.isna().all()
    np.testing.assert_allclose(stopped.loss_twice, 710.7827, atol=1e-4)
    ok = table[table.status == "ok"]
    np.testing.assert_array_equal(ok.twice, 2 * ok.radius)


@pytest.mark.parametrize(("returned", "reason"), [
    ("None", "NoneType"), ("[1.0]", "list"), ("{'Radius': 1.0}", "no 'radius'"), ("{'radius': 'far'}", "str"),
    ("{'radius': 1j, 'total': 1}", "complex"), ("{'radius': 10**400, 'total': 1}", "int"),
])
def test_a_function_that_returns_something_else_fails_and_exits_3(scan, returned, reason):
    ended = scan(model=f"def observables(point):\n    return {returned}\n")

    assert ended.status == 3 and ended.summary["valid"] == 0 and ended.summary["best_nll"] is None
    assert reason in ended.summary["reason"]
    assert (ended.table.status == "failed").all()


@pytest.mark.parametrize(("returned", "reason"), [
    ("{'radius': x, 'total': x[:-1]}", "shape"), ("{'radius': x + 1j, 'total': x}", "no array of numbers"),
    ("{'radius': [10**400] * len(x), 'total': x}", "no array of numbers"), ("{'radius': x}", "no 'total'"),
])
def test_a_vectorised_function_that_returns_something_else_fails(scan, returned, reason):
    config = CONFIG.replace('function = "', 'vectorized = true\nfunction = "')
    ended = scan(config, model=f"def observables(point):\n    x = point['x']\n    return {returned}\n")

    assert ended.status == 3
    assert ended.table.reason.str.contains(reason).all()


def test_physics_that_only_says_no_is_named_in_the_reason(scan):
    ended = scan(model="def observables(point):\n    return {'radius': float('nan'), 'total': 1}\n")

    assert ended.status == 3 and "radius is nan" in ended.summary["reason"]
    assert (ended.table.status == "invalid").all() and np.isfinite(ended.table.nll).all()


def test_a_vectorised_function_gives_the_rows_of_a_scalar_one(scan):
    scalar = scan(model="""
        def observables(point):
            return {"radius": abs(point["x"]) ** 0.5, "total": point["product"]}
        """).table
    vector = scan(CONFIG.replace('function = "', 'vectorized = true\nfunction = "'), "--fresh", model="""
        import numpy as np

        def observables(point):
            return {"radius": np.abs(point["x"]) ** 0.5, "total": point["product"]}
        """).table

    columns = ["point_id", "x", "y", "radius", "total", "nll", "status"]
    pd.testing.assert_frame_equal(scalar[columns], vector[columns])


# ---- every prior, every likelihood

PRIORS = {
    "uniform": "low = 1, high = 3", "log": "low = 1, high = 1000", "symlog": "low = 1, high = 1000",
    "symlinear": "low = 1, high = 3", "normal": "mean = 1, sigma = 2", "lognormal": "mean = 1, sigma = 2",
    "cauchy": "mean = 1, sigma = 2", "exponential": "sigma = 2", "sin": "low = 0, high = 90", "fixed": "value = 3",
}
MEDIANS = {"uniform": 2.0, "log": 31.6, "normal": 1.0, "lognormal": math.e, "cauchy": 1.0,
           "exponential": 2 * math.log(2), "sin": 60.0, "fixed": 3.0}


def test_every_prior(scan):
    lines = "\n".join(f'p_{name} = {{ prior = "{name}", {text} }}' for name, text in PRIORS.items())
    ended = scan(CONFIG.replace("[derived]", f"{lines}\n\n[derived]"), "--set", "scan.max_evaluations=512",
                 "--set", "search.bootstrap_points=512", "--set", "tools.circle.vectorized=true",
                 model="def observables(point):\n    return {'radius': point['x'], 'total': point['y']}\n")

    for name, median in MEDIANS.items():
        assert ended.table[f"p_{name}"].median() == pytest.approx(median, rel=0.05)
    for name in ("symlog", "symlinear"):
        assert (ended.table[f"p_{name}"] < 0).mean() == pytest.approx(0.5, abs=0.02)
        assert (ended.table[f"p_{name}"].abs() >= 1).all()


LIKELIHOODS = {  # settings, and ln L at 0.5
    "gauss": ("mean = 1, sigma = 2", -0.03125),
    "upper": ("mean = 1, sigma = 2", -math.log1p(math.exp(-0.25))),
    "lower": ("mean = 1, sigma = 2", -math.log1p(math.exp(0.25))),
    "bias": ("mean = 1, sigma = 2", 2 * math.log(0.5)),
    "user": ("", math.log(0.5)),
    "siguser": ("", -math.log1p(math.exp(-0.5))),
    "expuser": ("", 0.5),
    "minusexpuser": ("", -0.5),
    "loguser": ("", -0.5),
    "cfunction": ("lower_bound = 1.5, upper_bound = inf", -math.log10(2)),
    "log": ("mean = 1, sigma = 2", -math.log1p(0.03125)),
    "off": ("", 0.0),
}


def test_every_likelihood(scan):
    tables = "".join(f'\n[observables.o_{name}]\nfrom = {{ key = "half" }}\nlikelihood = {{ kind = "{name}"'
                     f'{", " if text else ""}{text} }}\n' for name, (text, _) in LIKELIHOODS.items())
    row = scan(CONFIG + tables,
               model="def observables(point):\n    return {'radius': 1, 'total': 0, 'half': 0.5}\n").table.iloc[0]

    for name, (_, log_l) in LIKELIHOODS.items():
        assert row[f"loss_o_{name}"] == pytest.approx(-MAX_LOSS * math.expm1(log_l / MAX_LOSS)), name
    assert row.nll == pytest.approx(sum(v for k, v in row.items() if k.startswith("loss_")))


# ---- stop rules, seeds, methods


@pytest.mark.parametrize(("setting", "reason"), [
    ("scan.points=3", "points"), ("scan.iterations=1", "iterations"), ("scan.max_hours=1e-6", "max_hours"),
    ("scan.max_evaluations=57", "max_evaluations"),
])
def test_every_stop_rule_says_that_it_was_the_one(scan, setting, reason):
    ended = scan(CONFIG.replace("max_evaluations = 60", ""), "--set", setting, "--set", "search.synchronous=true",
                 "--set", "search.points_per_iteration=30")

    assert ended.status == 0 and ended.summary["reason"].split(":")[0] == reason
    assert ended.summary["evaluations"] == {"scan.iterations=1": 70, "scan.max_evaluations=57": 57}.get(
        setting, ended.summary["evaluations"])


MLS = """
[search]
method = "mls_dnnr"
bootstrap_points = 30
points_per_iteration = 20
candidate_points = 200
epochs = 20
synchronous = true
"""


def mls(config: str = CONFIG) -> str:
    """The configuration with a network; 30 + 20 + 10 points."""
    head, _, rest = config.partition("[search]")
    return head + MLS + rest[rest.index("[parameters]") - 1 :]


def physics(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that depend on the seed alone."""
    return table.drop(columns=["seconds", "host", "finished", "reason"])


def test_synchronous_rows_depend_on_the_seed_alone(scan, tmp_path):
    one = scan(mls(), "--set", "cluster.slots=1").table
    four = scan(mls(), "--fresh", "--set", "cluster.slots=8").table
    other = scan(mls(), "--fresh", "--set", "scan.seed=5").table

    pd.testing.assert_frame_equal(physics(one), physics(four))
    assert set(one.origin) == {"bootstrap", "surrogate", "random"}
    assert one.nll_predicted.notna().tolist() == [False] * 30 + [True] * 30
    assert not np.isin(other.x, one.x).any()


def test_a_run_killed_in_the_middle_goes_on_to_the_same_rows(scan, tmp_path):
    """SIGKILL after 35 of 60 points; what was finished is not evaluated again."""
    undisturbed = physics(scan(mls()).table)
    calls = tmp_path / "calls"
    slow = textwrap.dedent(MODEL).replace("    if point", f"""
    import time
    time.sleep(0.02)
    with open({str(calls)!r}, "a") as file:
        file.write(repr(point["x"]) + "\\n")
    if point""", 1)
    words = [str(tmp_path / "scan.toml"), "--run-dir", str(tmp_path / "killed"), "--inline", "--set",
             "cluster.slots=2"]
    (tmp_path / "circle_model.py").write_text(slow)
    process = subprocess.Popen([sys.executable, "-m", "raydnnr.run", *words], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    while not calls.exists() or len(calls.read_text().splitlines()) < 35:
        time.sleep(0.02)
    time.sleep(1.0)
    process.kill()
    process.wait()
    assert run_module.main(words) == 0

    rows = pd.read_parquet(tmp_path / "killed" / "evaluations").sort_values("point_id", ignore_index=True)
    pd.testing.assert_frame_equal(physics(rows), undisturbed)


@pytest.mark.parametrize("sampler", ["sobol", "uniform"])
def test_random_does_not_depend_on_the_slots(scan, sampler):
    words = ("--set", f"search.sampler={sampler}", "--set", "search.synchronous=true")
    one = scan(CONFIG, *words, "--set", "cluster.slots=1").table
    four = scan(CONFIG, *words, "--fresh", "--set", "cluster.slots=8").table

    pd.testing.assert_frame_equal(physics(one), physics(four))
    assert one.x.between(-2, 2).all() and one.x.nunique() == 60


# ---- earlier tables


@pytest.mark.parametrize("form", ["NLL.csv", "observables.csv", "NLL.parquet", "observables.parquet", "run directory"])
def test_init_csv_seeds_the_scan(scan, tmp_path, form):
    first = scan(CONFIG, "--set", "scan.max_evaluations=40")
    seeds = first.table[first.table.status == "ok"].rename(columns={"nll": "NLL"})
    columns = ["x", "y", "NLL"] if form.startswith("NLL") else ["x", "y", "radius", "total"]
    if form.endswith(".csv"):
        seeds[columns].to_csv(tmp_path / form, index=False)
    elif form.endswith(".parquet"):
        seeds[columns].to_parquet(tmp_path / form)
    source = form if "." in form else str(first.run_dir)
    words = ["--run-dir", str(tmp_path / "second"), "--inline", "--set", f"scan.init_csv={source}"]
    assert run_module.main([str(tmp_path / "scan.toml"), *words]) == 0

    table = pd.read_parquet(tmp_path / "second" / "evaluations")
    of_seeds, own = table[table.origin == "csv"], table[table.origin != "csv"]
    assert len(own) == 60 and table.point_id.is_unique
    kept = of_seeds[of_seeds.status == "ok"].sort_values("x")
    np.testing.assert_allclose(kept.x, seeds.x.sort_values())
    np.testing.assert_allclose(kept.nll, seeds.sort_values("x").NLL)


@pytest.mark.parametrize(("text", "message"), [
    ("x,NLL\n1,1\n", "y"), ("x,y\n1,1\n", "NLL"), ("", "seeds.csv"), ("x,y,NLL\n1,far,1\n", "not a number"),
])
def test_a_seed_table_that_cannot_be_used(scan, tmp_path, text, message):
    (tmp_path / "seeds.csv").write_text(text)
    ended = scan(CONFIG, "--set", "scan.init_csv=seeds.csv")

    assert ended.status == 2 and not ended.summary and message in ended.stderr


# ---- status, export, check


def test_status_and_every_export(scan, tmp_path, capsys):
    ended = scan()
    run_dir = str(ended.run_dir)
    good = ended.table[(ended.table.status == "ok") & (ended.table.nll < 1)]

    assert cli.main(["status", run_dir, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert {k: status[k] for k in ("evaluations", "good", "valid", "failed")} == {
        k: ended.summary[k] for k in ("evaluations", "good", "valid", "failed")}
    assert cli.main(["export", run_dir, "--good", "-o", str(tmp_path / "good.csv")]) == 0
    np.testing.assert_allclose(pd.read_csv(tmp_path / "good.csv").nll, good.nll)
    assert cli.main(["export", run_dir, "-o", str(tmp_path / "all.parquet")]) == 0
    assert len(pd.read_parquet(tmp_path / "all.parquet")) == 60
    assert cli.main(["export", run_dir, "--format", "getdist", "-o", str(tmp_path / "chain")]) == 0
    chain = np.loadtxt(tmp_path / "chain.txt")
    np.testing.assert_allclose(chain[:, 1], good.nll)
    names = [line.split()[0] for line in (tmp_path / "chain.paramnames").read_text().splitlines()]
    assert names == ["x", "y", "sgn", "product*", "radius*", "total*"] and chain.shape[1] == 2 + len(names)
    assert cli.main(["export", run_dir, "--format", "xml", "-o", str(tmp_path / "x")]) == 2
    assert cli.main(["status", str(tmp_path / "nothing")]) != 0


def test_check_runs_nothing_and_finds_what_is_missing(scan):
    fine = scan(CONFIG, "--check")
    missing = scan(CONFIG, "--check", model="def other(point): pass\n")

    assert fine.status == 0 and not fine.summary and not fine.run_dir.exists()
    assert missing.status == 2 and "observables" in missing.stderr and not missing.run_dir.exists()


# ---- kinds of the user's own, from the folder of the configuration

OWN = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True, kw_only=True)
class Xenon:
    scale: float = 1.0

    def log_likelihood(self, value):
        return -np.abs(value) / self.scale

@dataclass(frozen=True, kw_only=True)
class Square:
    high: float

    def from_unit(self, u):
        return self.high * np.sqrt(u)

    def to_unit(self, x):
        return (x / self.high) ** 2

    def contains(self, x):
        return (x >= 0) & (x <= self.high)

def right_half(x, nll_predicted, view):
    return x[:, 0] > 0
"""


def own_kinds(folder: Path, module: str) -> str:
    """A configuration with a likelihood, a prior and a hook of the module."""
    (folder / module).mkdir()
    (folder / module / "own.py").write_text(OWN)
    config = mls().replace('kind = "gauss", mean = 1, sigma = 0.2', f'kind = "{module}.own:Xenon", scale = 2')
    config = config.replace("y = { low = -2, high = 2 }", f'y = {{ prior = "{module}.own:Square", high = 2 }}')
    return config.replace("epochs = 20", f'epochs = 20\nrandom_fraction = 0\npostprocess = "{module}.own:right_half"')


def check_own_kinds(ended: Ended) -> None:
    ok = ended.table[ended.table.status == "ok"]

    assert ended.status == 0
    np.testing.assert_allclose(ok.loss_radius, -MAX_LOSS * np.expm1(-ok.radius / 2 / MAX_LOSS))
    assert (ended.table.y >= 0).all()
    assert (ended.table[ended.table.origin == "surrogate"].x > 0).all()


def test_kinds_in_the_folder_of_the_configuration(scan, tmp_path):
    check_own_kinds(scan(own_kinds(tmp_path, "mylab")))


@pytest.mark.slow
def test_kinds_in_the_folder_of_the_configuration_with_ray(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "scan.toml").write_text(own_kinds(tmp_path, "raylab"))
    (tmp_path / "circle_model.py").write_text(MODEL)
    done = subprocess.run([sys.executable, "-m", "raydnnr.run", "../scan.toml", "--run-dir", "run"], text=True,
                          cwd=tmp_path / "elsewhere", capture_output=True)
    assert done.returncode == 0, done.stderr
    check_own_kinds(Ended(0, json.loads(done.stdout), done.stderr, tmp_path / "elsewhere" / "run"))


# ---- two drivers, signals, and a chain of tools


def start(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    """A run of 0.1 s points, once its first row is in the journal."""
    (tmp_path / "scan.toml").write_text(CONFIG)
    slow = MODEL.replace("    if", "    import time; time.sleep(0.1)\n    if", 1)
    (tmp_path / "circle_model.py").write_text(slow)
    process = subprocess.Popen([sys.executable, "-m", "raydnnr.run", "scan.toml", "--inline", *words], text=True,
                               cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list((tmp_path / "runs" / "circle" / "journal").glob("*.rows-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def test_a_second_driver_is_refused_and_a_signal_saves(tmp_path, monkeypatch, capsys):
    process = start(tmp_path)
    monkeypatch.chdir(tmp_path)

    assert run_module.main(["scan.toml", "--inline"]) == 2
    assert "driver" in capsys.readouterr().err
    assert cli.main(["status", "runs/circle", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "running"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    summary = json.loads(out)
    assert process.returncode == 85 and "SIGINT" in summary["reason"]
    assert "run the same command again" in err

    assert run_module.main(["scan.toml", "--inline"]) == 0
    table = pd.read_parquet("runs/circle/evaluations")
    assert sorted(table.point_id) == list(range(60)) and 0 < summary["evaluations"] < 60


PROGRAM = """#!/usr/bin/env python3
import sys
m0 = float(open(sys.argv[1]).read().split("MINPAR")[1].split()[1])
problem = "  4 tachyon\\n" if m0 < 0.2 else ""
open(sys.argv[2], "w").write("Block SPINFO\\n" + problem + f'''BLOCK Mass
  25  {100 + 20 * m0:.6f}D+00 # h
BLOCK GAUGE Q= 1.00000E+03
  1  3.6234-001
DECAY 6 1.35D+00
  9.9E-01 2 5 24
''')
"""
CHAIN = """
[scan]
name = "chain"
points = 0
max_evaluations = 20

[search]
method = "random"
bootstrap_points = 20

[parameters]
m0 = { low = 0, high = 2 }

[[tools]]
name = "spectrum"
kind = "slha"
command = ["./program.py", "{input}", "{output}"]
template = "card.in"

[[tools]]
name = "after"
kind = "python"
function = "circle_model:observables"

[observables.mh]
from = { tool = "spectrum", block = "MASS", key = [25] }
likelihood = { kind = "gauss", mean = 125, sigma = 2 }

[observables.g]
from = { tool = "spectrum", block = "gauge", key = 1, q = 1000 }

[observables.br]
from = { tool = "spectrum", br = [6, 5, 24] }

[observables.radius]
from = { tool = "after" }
"""


def test_an_slha_program_and_then_python(scan, tmp_path):
    (tmp_path / "card.in").write_text("Block MINPAR\n 1 m0\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "program.py").chmod(0o755)
    ended = scan(CHAIN, model="def observables(point):\n    return {'radius': 2 * point['mh']}\n")
    table = ended.table
    ok, invalid = (table[table.status == word] for word in ("ok", "invalid"))

    assert ended.status == 0 and len(ok) + len(invalid) == 20
    np.testing.assert_allclose(ok.mh, 100 + 20 * ok.m0, atol=1e-5)
    np.testing.assert_array_equal(ok.radius, 2 * ok.mh)
    assert (ok.g == 0.36234).all() and (ok.br == 0.99).all()
    assert (invalid.m0 < 0.2).all() and invalid.reason.str.contains("tachyon").all()


def test_the_functions_of_the_original_scan_fit_together():
    import torch

    from raydnnr.surrogates.networks import network_architecture_selector
    from raydnnr.surrogates.torchfit import torchfit

    x = np.random.default_rng(1).random((60, 3))
    model = network_architecture_selector(len(x))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    report = torchfit(x, x.sum(axis=1), model, torch.nn.MSELoss(), optimizer, 50, 20, verbose=False)

    assert report.loss < 0.1 * report.losses[0]
