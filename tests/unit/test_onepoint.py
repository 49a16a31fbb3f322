"""One point told in full: which one is meant, and that all that happened is said."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from raydnnr import Observable, Parameter, Plan, PythonFunction, RandomSampling
from raydnnr.cli import main
from raydnnr.errors import ConfigError
from raydnnr.evaluation import Status
from raydnnr.likelihoods import Gauss
from raydnnr.onepoint import choose, show
from raydnnr.run import run
from raydnnr.tools.text_command import TextCommand
from tests.unit.plans import square

PROGRAM = "import sys; open('out.txt', 'w').write(sys.argv[1]); print('y =', 2 * float(sys.argv[1]))"


@pytest.fixture
def plan():
    tools = [TextCommand(name="code", command=(sys.executable, "-c", PROGRAM, "{x}")),
             TextCommand(name="dear", command=("no-such-program",), run_if="y > 2")]
    return Plan(
        name="told", parameters=[Parameter.of("x", low=0, high=2), Parameter.of("z", low=0, high=4)], tools=tools,
        observables=[Observable(name="y", source=tools[0].address({"pattern": r"y = (\S+)"}, "y"),
                                likelihood=Gauss(mean=2.0, sigma=1.0), unit="GeV"),
                     Observable(name="w", source=tools[1].address({"line": 1, "column": 1}, "w"),
                                likelihood=Gauss(mean=0.0, sigma=1.0))],
        method=RandomSampling())


def test_words_for_points(plan, tmp_path):
    assert choose(plan, "middle", tmp_path).tolist() == [[1.0, 2.0]]
    assert choose(plan, "z = 0.5", tmp_path).tolist() == [[1.0, 0.5]]
    drawn = np.concatenate([choose(plan, "random", tmp_path) for _ in range(8)])
    assert len(np.unique(drawn)) == 16 and (drawn >= 0).all() and (drawn[:, 0] <= 2).all()
    for word, complaint in [("bset", "Did you mean 'best'"), ("v=1", "'v' is not scanned; there are x, z"),
                            ("x=a", "x = 'a' is not a number"), ("x=inf", "not a number")]:
        with pytest.raises(ConfigError, match=complaint):
            choose(plan, word, tmp_path)


def test_the_best_point_is_that_of_the_scan(tmp_path):
    plan = square()
    frame = run(plan, run_dir=tmp_path / "run", inline=True, progress=False).dataframe()
    best = frame.loc[frame.nll.idxmin()]
    assert choose(plan, "best", tmp_path / "run").tolist() == [[best[name] for name in plan.space.scanned]]


def test_all_is_told(plan, tmp_path):
    said: list[str] = []
    result = show(plan, np.array([[1.5, 2.0]]), said.append, tmp_path / "kept")
    text = "\n".join(said)
    assert result.status == Status.FAILED
    for words in ["one point: x = 1.5, z = 2", "code: ", "float(sys.argv[1]))' 1.5 > stdout.txt\n", "left out.txt, 3 bytes", "y = 3 GeV   loss nan", "w = nan",
                  "failed after", "no-such-program is not on the PATH"]:
        assert words in text
    assert (tmp_path / "kept" / "out.txt").read_text() == "1.5"
    with pytest.raises(ConfigError, match="is there already"):
        show(plan, np.array([[1.5, 2.0]]), said.append, tmp_path / "kept")


def test_a_tool_that_is_skipped_is_said_to_be(plan):
    said: list[str] = []
    result = show(plan, np.array([[1.0, 2.0]]), said.append)
    assert result.status == Status.OK
    assert "dear: skipped, since run_if does not hold" in said
    assert set(result.seconds) == {"code"}
    assert said[-1].startswith("ok after") and "NLL 710.78" in said[-1]


def test_a_death_is_a_failure():
    def dies(point: dict[str, float]) -> dict[str, float]:
        import os

        os._exit(3)

    plan = Plan(name="dies", parameters=[Parameter.of("x", low=0, high=2)], method=RandomSampling(),
                tools=[PythonFunction(name="f", function=dies)],
                observables=[Observable(name="y", likelihood=Gauss(mean=2.0, sigma=1.0))])
    said: list[str] = []
    assert show(plan, np.array([[1.5]]), said.append).status == Status.FAILED
    assert "died of code 3" in said[-1]


def test_the_command(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text("def f(p):\n    return {'r': p['x']}\n")
    (tmp_path / "scan.toml").write_text(
        '[scan]\nname = "told"\nmax_evaluations = 9\n[parameters]\nx = { low = 0, high = 2 }\n[[tools]]\nname = "m"\n'
        'kind = "python"\nfunction = "model:f"\n[observables.r]\nlikelihood = { kind = "gauss", mean = 1, sigma = 1 }\n')
    assert main(["check", "scan.toml", "--point", "x=2", "--keep", "here"]) == 0
    said = capsys.readouterr().err
    assert "m: model:f" in said and "r = 2   loss 0.49" in said and "all is well" in said
    assert (tmp_path / "here").is_dir()
    assert main(["check", "scan.toml", "--point", "y=2"]) == 2
    (tmp_path / "model.py").write_text("def f(p):\n    raise OSError('no table')\n")
    assert main(["check", "scan.toml", "--point", "x=2"]) == 3
    said = capsys.readouterr().err
    assert "no table" in said and "the file is well, but the point failed" in said and "all is well" not in said
