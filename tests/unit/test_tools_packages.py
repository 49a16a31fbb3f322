"""Codes that are Python packages: one import in a slot, then a request for each point. The packages are made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from raydnnr.errors import ConfigError, ToolFailure
from raydnnr.evaluation import Inputs, Observable, Status
from raydnnr.likelihoods import Off
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.tools.base import Toolchain
from raydnnr.tools.flavio import Flavio, Prediction
from raydnnr.tools.lilith import Lilith
from raydnnr.tools.slot import ScratchRoot, Slot
from raydnnr.tools.smodels import Smodels

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

SMODELS = {
    "experiment/databaseObj.py": "class Database:\n    def __init__(self, path):\n        self.limit = float(open(path + "
                                 "'/limit').read())\n",
    "base/physicsUnits.py": "fb, GeV = 1.0, 1.0\n",
    "base/model.py": """
class Model:
    def __init__(self, BSMparticles, SMparticles):
        assert (BSMparticles, SMparticles) == (["gluino"], ["quark"])

    def updateParticles(self, inputFile, ignorePromptQNumbers):
        text = open(inputFile).read()
        if "XSECTION" not in text:
            raise ValueError("no cross sections")
        self.xsec = float(text.split()[-1])
""",
    "share/models/SMparticles.py": "SMList = ['quark']\n", "share/models/mssm.py": "BSMList = ['gluino']\n",
    "decomposition/decomposer.py": """
def decompose(model, cut, massCompress, invisibleCompress, minmassgap):
    assert (cut, minmassgap) == (0.5, 5.0)
    return model.xsec
""",
    "matching/theoryPrediction.py": """
class Prediction:
    def __init__(self, r, condition):
        self.r, self.condition = r, condition

    def getRValue(self, kind="observed"):
        return None if kind == "apriori" and self.r > 10 else self.r * (2 if kind == "apriori" else 1)

    def getmaxCondition(self):
        return self.condition

def theoryPredictionsFor(database, xsec, combinedResults):
    r = xsec / database.limit
    return [Prediction(r, None), Prediction(r / 2, 0.1), Prediction(9 * r, 0.3)] if xsec else None
""",
    "statistics/basicStats.py": "apriori = 'apriori'\n",
}


@pytest.fixture
def smodels(tmp_path):
    for name, text in SMODELS.items():
        path = tmp_path / "smodels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder in {path.parent for path in (tmp_path / "smodels").rglob("*.py")} | {tmp_path / "smodels" / "share"}:
        (folder / "__init__.py").touch()
    (tmp_path / "smodels" / "__init__.py").touch()
    (tmp_path / "database").mkdir()
    (tmp_path / "database" / "limit").write_text("4.0")
    (tmp_path / "database" / "version").write_text("3.0.0\n")
    return Smodels(name="lhc", database=tmp_path / "database", sigma_cut_fb=0.5, path=(str(tmp_path),))


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


def test_smodels_gives_the_largest_ratio_whose_conditions_hold(smodels, slot):
    assert smodels.check() == []
    results = []
    for text in ("XSECTION 8", "XSECTION 100", "XSECTION 0", "MASS"):
        (slot.scratch / "spectrum.slha").write_text(text)
        try:
            results.append(smodels.run({}, slot).values)
        except ToolFailure as error:
            results.append(str(error).splitlines()[0])
    assert results == [{"r": 2, "r_expected": 4, "n_results": 2}, {"r": 25, "r_expected": 0, "n_results": 2},
                       {"r": 0, "r_expected": 0, "n_results": 0}, "lhc: ValueError: no cross sections"]
    slot.empty()
    with pytest.raises(ToolFailure, match="no earlier tool left spectrum.slha"):
        smodels.run({}, slot)


def test_the_version_of_the_database_is_part_of_the_physics(smodels):
    before = smodels.fingerprint()
    (smodels.database / "version").write_text("3.1.0\n")
    assert replace(smodels).fingerprint() != before
    assert "there is no database" in replace(smodels, database=smodels.database / "none").check()[0]
    with pytest.raises(ConfigError, match="particles: got 'a b'"):
        replace(smodels, particles="a b")


def test_the_real_smodels_has_what_is_asked_of_it():
    pytest.importorskip("smodels")
    import inspect

    from smodels.base.model import Model
    from smodels.decomposition.decomposer import decompose
    from smodels.matching.theoryPrediction import TheoryPrediction, theoryPredictionsFor
    from smodels.statistics.basicStats import apriori

    inspect.signature(Model).bind(BSMparticles=[], SMparticles=[])
    inspect.signature(Model.updateParticles).bind(None, inputFile="", ignorePromptQNumbers=[])
    inspect.signature(decompose).bind(None, 1, massCompress=True, invisibleCompress=True, minmassgap=1)
    inspect.signature(theoryPredictionsFor).bind(None, None, combinedResults=True)
    inspect.signature(TheoryPrediction.getRValue).bind(None, apriori)


def test_a_process_that_has_grown_is_replaced_and_reads_its_data_again(flavio, tmp_path, slot):
    """flavio here keeps 30 MB of every prediction; "asked" says how many its process has made."""
    (tmp_path / "flavio.py").write_text(FLAVIO.replace("asked.append(name)", "asked.append(b'x' * 30_000_000)"))
    patient = chain(replace(flavio, recycle_gib=1.0), n={"prediction": "asked"})
    assert [patient.evaluate(np.array([1.0]), slot).values.tolist() for _ in range(6)] == [[k] for k in range(1, 7)]
    slot.dismiss("f")
    strict = chain(replace(flavio, recycle_gib=0.08), n={"prediction": "asked"})
    counts = [strict.evaluate(np.array([1.0]), slot).values[0] for _ in range(9)]
    assert counts[:3] == [1, 2, 3] and max(counts) <= 4 and counts.count(1) >= 2
    with pytest.raises(ConfigError, match="recycle_gib: got 0"):
        replace(flavio, recycle_gib=0)
