"""Codes that are Python packages: one import in a slot, then a request for each point. The packages are made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from raydnnr.errors import ConfigError
from raydnnr.evaluation import Inputs, Observable, Status
from raydnnr.likelihoods import Off
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.tools.base import Toolchain
from raydnnr.tools.flavio import Flavio, Prediction
from raydnnr.tools.lilith import Lilith
from raydnnr.tools.slot import ScratchRoot, Slot

LILITH = """
class Lilith:
    read = 0

    def __init__(self, verbose, timer):
        self.exp_ndf, self.l = 0, 0.0

    def readexpinput(self, path):
        Lilith.read += 1
        with open(path) as file:
            self.exp_ndf = len(file.read().split())

    def computelikelihood(self, userinput):
        from .errors import HiggsMassError, UserInputError
        value = float(userinput.partition("<C>")[2].partition("</C>")[0])
        if value > 10:
            raise HiggsMassError("<mass> is not between 123.0 and 128.0 GeV.")
        if value < 0:
            raise UserInputError("rubbish")
        self.l = 100 * Lilith.read + value
"""
ERRORS = """
class LilithError(Exception): pass
class UserInputError(LilithError): pass
class HiggsMassError(UserInputError): pass
"""
FLAVIO = """
asked = []

def np_prediction(name, wilson, *args):
    asked.append(name)
    if name == "unknown":
        raise KeyError(name)
    if name == "asked":
        return len(asked)
    return wilson.values["C9_bsmumu"].real + 10 * wilson.values["C9_bsmumu"].imag + sum(args)
"""
WILSON = """
class Wilson:
    def __init__(self, values, scale, eft, basis):
        assert (scale, eft, basis) == (4.8, "WET", "flavio")
        self.values = values
"""


@pytest.fixture
def slot(tmp_path_factory):
    root = ScratchRoot.create(str(tmp_path_factory.mktemp("scratch")))
    slot = Slot(0, root)
    yield slot
    slot.close()
    root.close()


def chain(tool, **addresses):
    inputs = Inputs(ParameterSpace((Parameter.of("x", low=-99, high=99),)), {})
    return Toolchain((tool,), tuple(Observable(name=n, source=tool.address(a, n), likelihood=Off())
                                    for n, a in addresses.items()), inputs)


@pytest.fixture
def lilith(tmp_path):
    package = tmp_path / "Lilith-2" / "lilith"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(LILITH)
    (package / "errors.py").write_text(ERRORS)
    (tmp_path / "Lilith-2" / "data").mkdir()
    (tmp_path / "Lilith-2" / "data" / "latest.list").write_text("a\nb\nc\n")
    (tmp_path / "card.xml").write_text("<C>{{ x }}</C>")
    return Lilith(name="h", folder=tmp_path / "Lilith-2", template=tmp_path / "card.xml")


def test_lilith_reads_its_measurements_once_unless_it_stumbles(lilith, slot):
    assert lilith.check() == []
    toolchain = chain(lilith, l={"key": "minus_2_log_l"}, n={"key": "n_measurements"})
    results = [toolchain.evaluate(np.array([x]), slot) for x in (1, 2, 50, 3, -1, 4)]
    assert [r.status for r in results] == [Status.OK, Status.OK, Status.INVALID, Status.OK, Status.FAILED, Status.OK]
    assert [r.values.tolist() for r in results if r.status == Status.OK] == [[101, 3], [102, 3], [203, 3], [304, 3]]
    assert results[2].reason == "h: <mass> is not between 123.0 and 128.0 GeV."
    assert results[4].reason.startswith("h: UserInputError: rubbish")


def test_what_is_missing_of_lilith_is_said(tmp_path, lilith):
    (tmp_path / "card.in").write_text("{{ x }}")
    elsewhere = Lilith(name="h", folder=tmp_path / "nowhere", template=tmp_path / "card.in")
    assert "there is no Lilith in" in elsewhere.check()[0]
    without = Lilith(name="h", folder=lilith.folder, template=lilith.template, measurements="data/none.list")
    assert "FileNotFoundError" in without.check()[0]


@pytest.fixture
def flavio(tmp_path):
    (tmp_path / "flavio.py").write_text(FLAVIO)
    (tmp_path / "wilson.py").write_text(WILSON)
    return Flavio(name="f", scale=4.8, path=(str(tmp_path),),
                  coefficients={"C9_bsmumu": "x / 2", "C9_bsmumu.im": 0.25, "C7": 1})


def test_flavio_predicts_what_is_read(flavio, slot):
    assert flavio.check() == []
    toolchain = chain(flavio, a={"prediction": "A", "args": [1, 6.0]}, b={"prediction": "B"}, n={"prediction": "asked"})
    assert toolchain.evaluate(np.array([4.0]), slot).values.tolist() == [11.5, 4.5, 3]
    assert toolchain.evaluate(np.array([6.0]), slot).values.tolist() == [12.5, 5.5, 6]
    broken = chain(flavio, a={"prediction": "unknown"}).evaluate(np.array([4.0]), slot)
    assert (broken.status, broken.reason.splitlines()[0]) == (Status.FAILED, "f: KeyError: 'unknown'")


def test_an_import_that_takes_long_is_no_time_out_of_a_point(flavio, tmp_path, slot):
    (tmp_path / "flavio.py").write_text("import time\ntime.sleep(2.5)\n" + FLAVIO)
    toolchain = chain(replace(flavio, timeout_s=2.0), n={"prediction": "asked"})
    assert [toolchain.evaluate(np.array([4.0]), slot).values.tolist() for _ in range(2)] == [[1], [2]]


def test_what_comes_after_an_invalid_prediction_is_not_predicted(flavio, slot):
    inputs = Inputs(ParameterSpace((Parameter.of("x", low=-99, high=99),)), {})
    strict = Observable(name="a", source=Prediction("f", "A"), likelihood=Off(), valid=(0, 1))
    count = Observable(name="n", source=Prediction("f", "asked"), likelihood=Off())
    invalid = Toolchain((flavio,), (strict, count), inputs).evaluate(np.array([40.0]), slot)
    assert invalid.status == Status.INVALID
    assert chain(flavio, n={"prediction": "asked"}).evaluate(np.array([4.0]), slot).values.tolist() == [2]


def test_flavios_settings_are_checked(flavio, tmp_path):
    for changes, complaint in [({"coefficients": {}}, "coefficients: got {}"), ({"scale": -1}, "scale: got -1"),
                               ({"coefficients": {"C": "f("}}, "coefficients.C: ")]:
        with pytest.raises(ConfigError, match=complaint):
            Flavio(**{"name": "f", "scale": 4.8, "coefficients": {"C": "x"}, **changes})
    with pytest.raises(ConfigError, match="tools.f.coefficients.C9_bsmumu.*'x'"):
        flavio.prepare(["y"])
    assert flavio.uses(["x", "y"]) == {"x"}
    with pytest.raises(ConfigError, match="prediction: got None"):
        flavio.address({"args": [1]}, "o")
    with pytest.raises(ConfigError, match="args: got 'x'"):
        flavio.address({"prediction": "A", "args": "x"}, "o")
