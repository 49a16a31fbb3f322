"""What ``raydnnr new`` writes is a configuration that can be read."""

from __future__ import annotations

import pytest

from raydnnr.cli import main
from raydnnr.config import load
from raydnnr.errors import ConfigError
from raydnnr.newconfig import PARTS, Range, interview, new_config, parse_range
from raydnnr.search import methods
from raydnnr.tools.kinds import KINDS

ON_A_SPECTRUM = {"gm2calc", "superiso", "micromegas", "susyhit", "smodels", "higgstools"}


def test_there_is_an_example_of_every_tool():
    assert PARTS.keys() == KINDS.keys() - {"fit"}  # a fit goes with tools of its own


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("method", methods.KINDS)
def test_what_is_written_can_be_read(kind, method, tmp_path):
    tools = ["softsusy", kind] if kind in ON_A_SPECTRUM else [kind]
    for path, text in new_config(tmp_path / "mine.toml", tools, method=method).items():
        path.write_text(text)
    plan = load(tmp_path / "mine.toml")
    assert [tool.name for tool in plan.tools] == tools
    assert plan.name == "mine" and plan.space.n_params >= 2


def test_ranges_go_to_the_file_and_the_card(tmp_path):
    ranges = [parse_range("m0=1:2"), parse_range("tanb = 2:60:log")]
    files = new_config(tmp_path / "mine.toml", ["spheno"], ranges)
    text, card = files.values()
    assert 'tanb = { low = 2, high = 60, prior = "log" }' in text and "\nm0 = { low = 1, high = 2 }" in text
    assert "    1   m0\n    3   tanb\n" in card
    assert "    2   m12\n    5   A0\n" in card, "what a card of the constrained MSSM wants beside these is fixed"
    assert "\nm12 = { value = 1000 }\nA0 = { value = 0 }\nsgnmu = { value = 1 }" in text
    assert [path.name for path in files] == ["mine.toml", "mine.spheno.in"]
    other = new_config(tmp_path / "mine.toml", ["spheno"], [parse_range("mu=1:2")])
    assert "m12" not in "".join(other.values())


def test_what_it_asks():
    answers = iter(["spheno, gm2calc", "m0=1:2 x=0:1", "random"])
    assert interview(lambda question, default: next(answers)) == (
        ["spheno", "gm2calc"], [Range("m0", "1", "2"), Range("x", "0", "1")], "random")


@pytest.mark.parametrize(("tools", "method", "complaint"), [
    ([], "random", "name one or more of"), (["sphено"], "random", "no tool"), (["sphen"], "random", "Did you mean 'spheno'"),
    (["python", "python"], "random", "twice"), (["python"], "randm", "Did you mean 'random'"),
])
def test_what_is_not_there(tools, method, complaint, tmp_path):
    with pytest.raises(ConfigError, match=complaint):
        new_config(tmp_path / "mine.toml", tools, method=method)


def test_the_command(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "a.toml", "--tools", "softsusy,superiso", "--scan", "m0=1:2", "tanb=2:60:log"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.softsusy.in", "a.toml"]
    assert "wrote a.toml" in capsys.readouterr().err
    assert main(["new", "a.toml", "--tools", "python"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["new", "b.toml", "--tools", "python", "--scan", "m0=1"]) == 2
