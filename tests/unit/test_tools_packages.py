"""Codes that are Python packages: one import in a slot, then a request for each point. The packages are made up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from raydnnr.errors import ConfigError, ToolFailure
from raydnnr.evaluation import Inputs, Observable, Status
from raydnnr.likelihoods import Off
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.tools.anybsm import AnyBsm
from raydnnr.tools.base import Toolchain
from raydnnr.tools.flavio import Flavio, Prediction
from raydnnr.tools.higgstools import HiggsTools
from raydnnr.tools.lilith import Lilith
from raydnnr.tools.python_function import PythonFunction
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

def sm_prediction(name, *args):
    return 100 + sum(args)
"""
WILSON = """
class Wilson:
    def __init__(self, values, scale, eft, basis):
        assert (scale, eft, basis) == (4.8, "WET", "flavio")
        self.values = values

    @classmethod
    def load_wc(cls, stream):
        return cls({"C9_bsmumu": complex(stream.read())}, 4.8, "WET", "flavio")
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

HIGGS = {
    "bounds.py": """
class Limit:
    def __init__(self, ratio):
        self.ratio = ratio
    def obsRatio(self):
        return self.ratio
    def expRatio(self):
        return self.ratio / 2

class Result:
    def __init__(self, ratios):
        self.allowed = max(ratios.values(), default=0) < 1
        self.selectedLimits = {name: Limit(ratio) for name, ratio in ratios.items()}

class Bounds:
    read = 0
    def __init__(self, path):
        Bounds.read += 1
        self.limit = float(open(path + "/limit.json").read())
    def __call__(self, predictions):
        return Result({name: mass / self.limit for name, mass in predictions.masses.items() if mass > 0})
""",
    "signals.py": """
class Signals:
    read = 0
    def __init__(self, path):
        Signals.read += 1
        self.n = int(open(path + "/rates.json").read())
    def observableCount(self):
        return self.n
    def __call__(self, predictions):
        return 1000 * Signals.read + sum(predictions.masses.values())
""",
    "predictions.py": """
smLikeEffCouplings = object()

def NeutralScalar(name, cp):
    return name, cp

class Higgs:
    def setMass(self, mass):
        self.mass = mass

class Predictions:
    def __init__(self):
        self.particles = []
    @property
    def masses(self):
        return {"h": p.mass for p in self.particles}
    def addParticle(self, scalar):
        self.particles.append(Higgs())
        return self.particles[-1]

def effectiveCouplingInput(particle, couplings):
    assert couplings is smLikeEffCouplings
""",
    "tools/Input.py": """
class Predictions:
    pass

def readHB5SLHA(file, neutral, charged, invisiblePDGs):
    text = open(file).read()
    if "Couplings" not in text:
        raise ValueError("SLHA file needs to contain the blocks: MASS, DECAY")
    assert (neutral, charged, invisiblePDGs) == ([25, 35], [37], [1000022])
    return {"m_25": 125.0, "m_35": float(text.split()[-1]), "m_37": 0.0, **({"dm_25": 2.0} if "DMASS" in text else {})}

def predictionsFromDict(found, neutral, charged, doubly):
    made = Predictions()
    made.masses = {p: found["m_" + p] + found["dm_" + p] for p in neutral + charged}
    return made
""",
}
ANYBSM = """
import os

with open(os.environ["anyBSM_CONF_DIR"] + "/anyBSM_config.yaml") as config:
    models_dir = config.read()

class anyBSM:
    made = 0

    def __init__(self, model, scheme_name, ask, quiet, progress):
        assert model.endswith("/ufo/THDM") and "/ufo" in models_dir and (ask, quiet, progress) == (False, True, False)
        if scheme_name == "none":
            raise KeyError(scheme_name)
        anyBSM.made += 1

    def setparameters(self, values):
        self.values = values

    def lambdahhh(self):
        if self.values["MH"] < 0:
            raise ValueError("no Higgs boson")
        tree = 191 + 0j if self.values["MH"] < 200 else complex("nan")
        return {"total": tree * 0.9, "treelevel": tree, "genuine": -1 + 0j, "tads": self.made, "customren": 0}
"""


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


def test_flavio_reads_coefficients_that_an_earlier_tool_left(flavio, slot):
    @dataclass(frozen=True, kw_only=True)
    class Writes(PythonFunction):
        def run(self, point, slot):
            if point["x"] > 0:
                (slot.scratch / "WC.json").write_text(f"{point['x']}+1j")

    file = Flavio(name="f", wcxf_file="WC.json", path=flavio.path)
    inputs = Inputs(ParameterSpace((Parameter.of("x", low=-99, high=99),)), {})
    observables = tuple(Observable(name=name, source=file.address(address, name), likelihood=Off()) for name, address in (
        ("a", {"prediction": "A", "args": [5]}), ("d", {"prediction": "A", "args": [5], "less_sm": True})))
    toolchain = Toolchain((Writes(name="w", function=abs), file), observables, inputs)
    assert toolchain.evaluate(np.array([4.0]), slot).values.tolist() == [19, -86]
    assert toolchain.evaluate(np.array([6.0]), slot).values.tolist() == [21, -84]
    missing = toolchain.evaluate(np.array([-1.0]), slot)
    assert (missing.status, missing.reason) == (Status.FAILED, "f: no earlier tool left WC.json")


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
    with pytest.raises(ConfigError, match="less_sm: got 1"):
        flavio.address({"prediction": "A", "less_sm": 1}, "o")
    with pytest.raises(ConfigError, match="wcxf_file: a file says"):
        replace(flavio, wcxf_file="WC.json")
    with pytest.raises(ConfigError, match="wcxf_file: got '../WC.json'"):
        Flavio(name="f", wcxf_file="../WC.json")
    with pytest.raises(ConfigError, match="scale: got None"):
        Flavio(name="f", coefficients={"C": "x"})


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


GLUINOS = """Block SPINFO
    1   made up
Block MASS
    25  125.0
    1000021  {gluino}
    1000022  100.0
DECAY 1000021  1.0
    1.0   3   1   -1   1000022
DECAY 1000022  0.0
XSECTION  1.30E+04  2212 2212 2 1000021 1000021
  0  2  0  0  0  0  {xsec}  made up
"""


def gluino_limit(folder, limit_pb):
    """A database of SModelS with a single result: gluinos that decay to two jets and missing energy."""
    data = folder / "13TeV" / "CMS" / "CMS-TEST-00-001" / "data"
    data.mkdir(parents=True)
    (folder / "version").write_text("0.0.1\n")
    (data.parent / "globalInfo.txt").write_text(
        "id: CMS-TEST-00-001\nsqrts: 13*TeV\nlumi: 10/fb\nprettyName: made up\nlastUpdate: 2026/01/01\n")
    (data / "dataInfo.txt").write_text("dataType: upperLimit\ndataId: None\n")
    points = ",\n".join(f"[[[{m:.4E}*GeV,{lsp:.4E}*GeV],[{m:.4E}*GeV,{lsp:.4E}*GeV]],{limit_pb:.4E}*pb]"
                        for m in (500.0, 1000.0, 1500.0, 2000.0) for lsp in (0.0, 200.0, 400.0))
    (data / "T1.txt").write_text(
        "txName: T1\nconstraint: [[['jet','jet']],[['jet','jet']]]\ncondition: None\nconditionDescription: None\n"
        f"source: CMS\nvalidated: True\naxes: [[x, y], [x, y]]\nupperLimits: [{points}]\n")


@pytest.mark.slow
def test_the_real_smodels_confronts_gluinos_with_a_limit(tmp_path, slot):
    """With a database and spectra that are written here, in their formats."""
    pytest.importorskip("smodels")
    gluino_limit(tmp_path / "database", 0.05)
    tool = Smodels(name="lhc", database=tmp_path / "database", timeout_s=120)
    assert tool.check() == []
    answers = []
    for gluino, xsec in ((1200.0, 0.1), (1200.0, 0.01), (5000.0, 0.1)):
        (slot.scratch / "spectrum.slha").write_text(GLUINOS.format(gluino=gluino, xsec=xsec))
        answers.append(tool.run({}, slot).values)
    assert [(a["r"], a["n_results"]) for a in answers] == [
        (pytest.approx(2.0, rel=1e-3), 1), (pytest.approx(0.2, rel=1e-3), 1), (0.0, 0)]
    (slot.scratch / "spectrum.slha").write_text(GLUINOS.format(gluino=1200, xsec=0.1).partition("XSECTION")[0])
    with pytest.raises(ToolFailure, match="lhc: "):
        tool.run({}, slot)


@pytest.fixture
def higgs(tmp_path):
    for name, text in HIGGS.items():
        path = tmp_path / "Higgs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    for name, text in (("bounds/limit.json", "250"), ("signals/rates.json", "10")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    return HiggsTools(name="h", bounds=tmp_path / "bounds", signals=tmp_path / "signals", path=(str(tmp_path),),
                      neutral=[25, 35], charged=[37], invisible=[1000022], mass_uncertainty_gev=1.0)


def test_higgstools_reads_its_data_once_and_compares_spectra(higgs, slot):
    assert higgs.check() == []
    answers = []
    for text in ("Couplings m 100", "Couplings DMASS m 400", "MASS"):
        (slot.scratch / "spectrum.slha").write_text(text)
        try:
            answers.append(higgs.run({}, slot).values)
        except ToolFailure as error:
            answers.append(str(error).splitlines()[0])
    light, heavy, none = answers
    assert light == {"allowed": 1, "obs_ratio": 126 / 250, "exp_ratio": 63 / 250, "obs_ratio_25": 126 / 250,
                     "obs_ratio_35": 101 / 250, "obs_ratio_37": 1 / 250, "chisq": 1228, "n_observables": 10,
                     "delta_chisq": 1228 - 1125.09, "p_value": pytest.approx(0, abs=1e-9)}
    assert (heavy["allowed"], heavy["obs_ratio"], heavy["obs_ratio_25"]) == (0, 401 / 250, 127 / 250)
    assert none == "h: ValueError: SLHA file needs to contain the blocks: MASS, DECAY"
    slot.empty()
    with pytest.raises(ToolFailure, match="no earlier tool left spectrum.slha"):
        higgs.run({}, slot)


def test_higgstools_takes_predictions_by_formula(higgs, slot):
    tool = replace(higgs, bounds=None, input_file="", neutral=["h"], charged=[], predictions={"m_h": "x"})
    toolchain = chain(tool, c={"key": "chisq"})
    assert toolchain.evaluate(np.array([50.0]), slot).values.tolist() == [1051]
    assert tool.uses(["x", "y"]) == {"x"}
    with pytest.raises(ConfigError, match="tools.h.predictions.m_h.*'x'"):
        tool.prepare(["y"])
    nan = chain(replace(tool, predictions={"m_h": "sqrt(x)"}), c={"key": "chisq"}).evaluate(np.array([-1.0]), slot)
    assert (nan.status, nan.reason) == (Status.INVALID, "h: predictions.m_h is nan")


def test_higgstools_settings_are_checked(higgs, tmp_path):
    for changes, complaint in [({"bounds": None, "signals": None}, "bounds and signals: give one"),
                               ({"neutral": 25}, "neutral: got 25; use a list"),
                               ({"mass_uncertainty_gev": -1}, "mass_uncertainty_gev: got -1"),
                               ({"input_file": ""}, "predictions: none, and no input_file"),
                               ({"predictions": {"m_25": "f("}}, "predictions.m_25: ")]:
        with pytest.raises(ConfigError, match=complaint):
            replace(higgs, **changes)
    before = higgs.fingerprint()
    (tmp_path / "signals" / "rates.json").write_text("100")
    assert replace(higgs).fingerprint() != before
    assert "is no data set" in replace(higgs, bounds=tmp_path / "none").check()[0]


@pytest.fixture
def anybsm(tmp_path):
    (tmp_path / "anyBSM.py").write_text(ANYBSM)
    (tmp_path / "ufo" / "THDM").mkdir(parents=True)
    return AnyBsm(name="k", model=str(tmp_path / "ufo" / "THDM"), parameters={"MH": "x", "TB": 2},
                  path=(str(tmp_path),))


def test_anybsm_reads_its_model_once_and_gives_the_parts_of_the_coupling(anybsm, slot):
    assert anybsm.check() == []
    toolchain = chain(anybsm, l={"key": "lambda_hhh"}, t={"key": "lambda_hhh_tree"}, n={"key": "tadpoles"})
    assert toolchain.evaluate(np.array([125.0]), slot).values.tolist() == [191 * 0.9, 191, 1]
    assert toolchain.evaluate(np.array([126.0]), slot).values.tolist() == [191 * 0.9, 191, 1]
    broken = toolchain.evaluate(np.array([-3.0]), slot)
    assert (broken.status, broken.reason.splitlines()[0]) == (Status.FAILED, "k: ValueError: no Higgs boson")
    assert np.isnan(toolchain.evaluate(np.array([300.0]), slot).values[:2]).all()  # ok only since it is off


def test_what_is_missing_of_anybsm_is_said(anybsm, tmp_path):
    assert "no such folder" in replace(anybsm, model=str(tmp_path / "ufo" / "none")).check()[0]
    assert "KeyError" in replace(anybsm, scheme="none").check()[0]
    with pytest.raises(ConfigError, match="parameters: got \\['x'\\]"):
        replace(anybsm, parameters=["x"])
    with pytest.raises(ConfigError, match="model: got ''"):
        replace(anybsm, model="")
    assert AnyBsm.resolve({"model": "THDM"}, tmp_path)["model"] == "THDM"
    assert AnyBsm.resolve({"model": "./THDM"}, tmp_path)["model"] == str(tmp_path / "THDM")


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
