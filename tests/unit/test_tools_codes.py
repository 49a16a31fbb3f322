"""Kinds of one code each: what its endings mean, on little programs that end as the real ones do."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raydnnr.errors import ConfigError
from raydnnr.evaluation import Inputs, Observable, Status
from raydnnr.expressions import Expression
from raydnnr.likelihoods import Gauss, Off
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.tools.base import Toolchain
from raydnnr.tools.kinds import KINDS
from raydnnr.tools.slot import ScratchRoot, Slot

FAKES = Path(__file__).parents[1] / "fakes"
SPECTRUM = "Block MINPAR\n 1  ending\n 3  10\n"


@pytest.fixture
def slot(tmp_path_factory):
    root = ScratchRoot.create(str(tmp_path_factory.mktemp("scratch")))
    slot = Slot(0, root)
    yield slot
    slot.close()
    root.close()


@pytest.fixture
def code(tmp_path):
    """The path of a program that behaves like this code."""
    def make(name: str) -> str:
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKES / "codes.py"}" {name} "$@"\n')
        path.chmod(0o755)
        return str(path)

    return make


def evaluate(tools, addresses, slot, **point):
    """The values read from the last tool, the status and the reason of a point."""
    inputs = Inputs(ParameterSpace(tuple(Parameter.of(n, low=-1e9, high=1e9) for n in point)), {})
    observables = tuple(Observable(name=n, source=tools[-1].address(a, n), likelihood=Off())
                        for n, a in addresses.items())
    chain = Toolchain(tuple(tools), observables, inputs)
    assert chain.check() == []
    result = chain.evaluate(np.array(list(point.values()), float), slot)
    return result.values.tolist(), result.status, result.reason


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "card.in"
    path.write_text(SPECTRUM)
    return path


MH = {"mh": {"block": "MASS", "key": [25]}}


@pytest.mark.parametrize(
    ("kind", "ending", "settings", "status", "reason"),
    [
        ("spheno", 0, {}, Status.OK, ""),
        ("spheno", 1, {}, Status.INVALID, "s: SPINFO 4: internal problem, see Messages.out for infos"),
        ("spheno", 2, {}, Status.OK, ""),
        ("spheno", 2, {"invalid_warnings": [""]}, Status.INVALID, "s: SPINFO 3: potential numerical problem"),
        ("spheno", 3, {}, Status.INVALID, "s: TerminateProgram"),
        ("spheno", 4, {}, Status.FAILED, "s: spheno exited with code 0 but wrote no spectrum.slha"),
        ("spheno", 5, {}, Status.INVALID, "s: spheno wrote no block MASS"),
        ("softsusy", 0, {}, Status.OK, ""),
        ("softsusy", 1, {}, Status.INVALID, "s: SPINFO 4: [ stau tachyon ]"),
        ("softsusy", 2, {}, Status.OK, ""),
        ("softsusy", 2, {"invalid_warnings": ["LSP"]}, Status.INVALID, "s: SPINFO 3: stau LSP"),
        ("softsusy", 3, {}, Status.FAILED, "s: softsusy exited with code 7"),
        ("flexiblesusy", 0, {}, Status.OK, ""),
        ("flexiblesusy", 1, {}, Status.INVALID, "s: SPINFO 4: tachyon Hd"),
        ("flexiblesusy", 2, {}, Status.OK, ""),
        ("flexiblesusy", 3, {}, Status.FAILED, "s: flexiblesusy exited with code 1"),
    ],
)
def test_spectrum_generators(kind, ending, settings, status, reason, code, card, slot):
    tool = KINDS[kind](name="s", program=code(kind), template=card, **settings)
    values, found, why = evaluate([tool], MH, slot, ending=ending)
    assert (found, why.startswith(reason)) == (status, True), why
    assert np.isfinite(values).all() == (status == Status.OK)


@pytest.mark.parametrize(
    ("ending", "status", "values", "reason"),
    [
        (0, Status.OK, [-6.65068425e-12, 2.30036948e-10], ""),
        (1, Status.INVALID, [np.nan] * 2, "g: SPINFO 4: soft mass squared < 0"),
    ],
)
def test_gm2calc_works_on_a_card_or_a_spectrum(ending, status, values, reason, code, card, slot):
    tool = KINDS["gm2calc"](name="g", program=code("gm2calc"), template=card)
    numbers = {"a": {"block": "GM2CalcOutput", "key": [0]}, "da": {"block": "GM2CalcOutput", "key": [1]}}
    found = evaluate([tool], numbers, slot, ending=ending)
    np.testing.assert_equal(found[0], values)
    assert found[1] == status and found[2].startswith(reason)


@pytest.mark.parametrize(
    ("ending", "status", "reason"),
    [(0, Status.OK, ""), (1, Status.INVALID, "f: Invalid point"),
     (2, Status.FAILED, "f: stdout.txt: nothing matches")],
)
def test_superiso_exits_with_1_whatever_happens(ending, status, reason, code, card, slot):
    card.write_text("Block MINPAR\n 1  {{ ending }}\n")
    tool = KINDS["superiso"](name="f", program=code("superiso"), template=card)
    values, found, why = evaluate([tool], {"b": {"quantity": "BR(Bs->mu mu)"}, "r": {"quantity": "R(B->tau nu)"}}, slot,
                                  ending=ending)
    assert (found, why.startswith(reason)) == (status, True), why
    if status == Status.OK:
        assert values == [3.185e-9, 1.0]


def test_superiso_without_a_spectrum_is_a_failure(code, slot):
    tool = KINDS["superiso"](name="f", program=code("superiso"))
    assert evaluate([tool], {"b": {"quantity": "BR(Bs->mu mu)"}}, slot, x=0)[1:] == (
        Status.FAILED, "f: no earlier tool left spectrum.slha")


QUANTITIES = {"omega": 0.0614, "x_f": 25.5, "mass": 700, "sigma_p_si": 1.615e-9, "sigma_p_sd": 2e-10,
              "sigma_n_si": 1.648e-9, "sigma_n_sd": 3e-10}


@pytest.mark.parametrize(
    ("mass", "status", "reason"),
    [(700, Status.OK, ""), (-1, Status.INVALID, "o: Can't calculate"),
     (2000, Status.INVALID, "o: Dark Matter has electric charge")],
)
def test_micromegas(mass, status, reason, code, tmp_path, slot):
    (tmp_path / "card.par").write_text("Mh 125\nMdm1 {{ m }}\n")
    tool = KINDS["micromegas"](name="o", program=code("micromegas"), template=tmp_path / "card.par")
    values, found, why = evaluate([tool], {q: {"quantity": q} for q in QUANTITIES}, slot, m=mass)
    assert (found, why.startswith(reason)) == (status, True), why
    if status == Status.OK:
        assert values == list(QUANTITIES.values())


H_BB = {"br": {"br": [25, 5, -5]}, "width": {"width": 25}, "mh": {"block": "MASS", "key": [25]}}


@pytest.fixture
def susyhit(code, tmp_path):
    """With a spectrum that is a card: masses, and what is to happen."""
    (tmp_path / "susyhit.in").write_text("* whose spectrum\n  (1) its own\n2\n* format\n1\n")
    (tmp_path / "spectrum.in").write_text("Block MINPAR\n 1 ending\nBlock MASS\n 25 123.0\n")
    return KINDS["susyhit"](name="d", program=code("susyhit"), options=tmp_path / "susyhit.in",
                            template=tmp_path / "spectrum.in")


def test_susyhit_gives_decays_to_the_spectrum(susyhit, slot):
    assert evaluate([susyhit], H_BB, slot, ending=0) == ([0.669713176, 3.88394808e-3, 123.0], Status.OK, "")
    values, status, _ = evaluate([susyhit], H_BB, slot, ending=1)
    assert status == Status.OK and np.isnan(values[:2]).all()  # ok only since their likelihood is off


def test_susyhit_is_not_asked_without_masses(susyhit, tmp_path, slot):
    (tmp_path / "spectrum.in").write_text("Block MINPAR\n 1 ending\n")
    bare = replace(susyhit, template=tmp_path / "spectrum.in")
    assert evaluate([bare], H_BB, slot, ending=0)[1:] == (Status.FAILED, "d: spectrum.slha has no block MASS")


def test_susyhit_works_on_the_spectrum_of_others(susyhit, tmp_path):
    absent = replace(susyhit, options=tmp_path / "none.in")
    assert "there are no options" in absent.check()[0]
    before = susyhit.fingerprint()
    (tmp_path / "susyhit.in").write_text("* whose spectrum\n2\n* format\n0\n")
    assert replace(susyhit).fingerprint() != before
    (tmp_path / "susyhit.in").write_text("* whose spectrum\n1\n2\n")
    with pytest.raises(ConfigError, match="its first answer, a number alone in a line, is 1; use 2"):
        replace(susyhit)


PRINTED = {"S": {"quantity": "S"}, "rho": {"quantity": "delta_rho"}, "stable": {"quantity": "stability"},
           "hh": {"br": [35, 25, 25]}, "m": {"block": "MASS", "key": [35]}}


@pytest.mark.parametrize(("heavy", "status", "values", "reason"), [
    (300, Status.OK, [-2.94264e-3, -1.62895e-4, 1, 0.25014981, 300], ""),
    (500, Status.OK, [-2.94264e-3, -1.62895e-4, 0, 0.25014981, 500], ""),
    (100, Status.INVALID, [np.nan] * 5, "t: parameters you have specified were not valid"),
    (130, Status.FAILED, [np.nan] * 5, "t: calc_phys exited with code 255"),
    (-1, Status.INVALID, [np.nan] * 5, "t: parameters.2 is nan"),
])
def test_2hdmc(heavy, status, values, reason, code, slot):
    tool = KINDS["2hdmc"](name="t", program=code("calc_phys"),
                          parameters=[125.1, "sqrt(m2)", 350, 350, "0.99", 0, 0, 17300, 5, 2])
    found, how, why = evaluate([tool], PRINTED, slot, m2=heavy**2 if heavy > 0 else -1.0)
    np.testing.assert_allclose(found, values)
    assert (how, why.startswith(reason)) == (status, True), why


def test_2hdmcs_settings_are_checked(code):
    tool = KINDS["2hdmc"](name="t", program="CalcPhys", parameters=["m_h", 300])
    assert tool.parameters == ("m_h", "300") and tool.uses(["m_h", "x"]) == {"m_h"}
    assert tool.describe() == "CalcPhys m_h 300 spectrum.slha"
    assert replace(tool, parameters=["m_h", 301]).fingerprint() != tool.fingerprint()
    with pytest.raises(ConfigError, match="tools.t.parameters.1.*'m_h'"):
        tool.prepare(["x"])
    for parameters, words in (([], "parameters: got "), ("m_h", "parameters: got 'm_h'"), (["f("], "parameters.1: ")):
        with pytest.raises(ConfigError, match=words):
            replace(tool, parameters=parameters)
    with pytest.raises(ConfigError, match="quantity: got 'delta_ro'.*Did you mean 'delta_rho'"):
        tool.address({"quantity": "delta_ro"}, "x")
    with pytest.raises(ConfigError, match="no setting 'key' beside quantity"):
        tool.address({"quantity": "S", "key": [1]}, "x")


@pytest.mark.parametrize(("ending", "settings", "status", "reason"), [
    (0, {}, Status.OK, ""), (2, {}, Status.OK, ""),
    (1, {}, Status.INVALID, "n: SPINFO 4: M_H1^2<1"),
    (2, {"invalid_warnings": ["LEP"]}, Status.INVALID, "n: SPINFO 3: Chargino excluded by LEP"),
    (3, {}, Status.FAILED, "n: nmhdecay exited with code 1"),
])
def test_nmssmtools_leaves_its_two_files_as_one(ending, settings, status, reason, code, card, tmp_path, slot):
    (tmp_path / "EXPCON").mkdir()
    (tmp_path / "EXPCON" / "hZbb.dat").touch()
    tool = KINDS["nmssmtools"](name="n", program=code("nmhdecay"), template=card, data=tmp_path / "EXPCON", **settings)
    values, found, why = evaluate([tool], {"mh": MH["mh"], "bb": {"br": [25, 5, -5]}}, slot, ending=ending)
    assert (found, why.startswith(reason)) == (status, True), why
    if status == Status.OK:
        assert values == [123.456789, 0.65]
    assert "is no folder EXPCON" in replace(tool, data=tmp_path).check()[0]
    assert tool.fingerprint() == replace(tool, data=tmp_path).fingerprint()


def test_a_chain_hands_the_spectrum_on(code, card, slot):
    spectrum = KINDS["softsusy"](name="s", program=code("softsusy"), template=card)
    gm2 = KINDS["gm2calc"](name="g", program=code("gm2calc"))
    flavour = KINDS["superiso"](name="f", program=code("superiso"))
    values, status, why = evaluate([spectrum, gm2, flavour], {"b": {"quantity": "BR(b->s gamma)"}}, slot, ending=0)
    assert (values, status, why) == ([3.266e-4], Status.OK, "")


def test_a_tool_that_is_skipped_leaves_nan_and_an_ok_point(code, card, slot):
    """Its conditions are not asked; what is computed from its observables is NaN, too."""
    spectrum = KINDS["softsusy"](name="s", program=code("softsusy"), template=card)
    flavour = KINDS["superiso"](name="f", program=code("superiso"), run_if="mh > limit", conditions=["b > 0"])
    inputs = Inputs(ParameterSpace((Parameter.of("ending", low=0, high=9), Parameter.of("limit", low=0, high=999))), {})
    likelihood = Gauss(mean=1.0, sigma=1.0)
    chain = Toolchain((spectrum, flavour), (
        Observable(name="mh", source=spectrum.address(MH["mh"], "mh"), likelihood=likelihood),
        Observable(name="b", source=flavour.address({"quantity": "BR(b->s gamma)"}, "b"), likelihood=likelihood,
                   valid=(0, 1)),
        Observable(name="b4", expression=Expression("2 * b"), likelihood=likelihood),
    ), inputs)

    ran, skipped = chain.evaluate(np.array([0.0, 100.0]), slot), chain.evaluate(np.array([0.0, 200.0]), slot)
    assert (ran.status, ran.values.tolist()) == (Status.OK, [123.456789, 3.266e-4, 6.532e-4])
    assert (skipped.status, skipped.reason) == (Status.OK, "")
    np.testing.assert_equal(skipped.values, [123.456789, np.nan, np.nan])


def test_run_if_knows_only_what_comes_before_the_tool(code, card):
    tool = KINDS["softsusy"](name="s", program="softpoint.x", template=card, run_if="mh > 1")
    inputs = Inputs(ParameterSpace((Parameter.of("ending", low=0, high=9),)), {})
    with pytest.raises(ConfigError, match=r"tools.s.run_if \(known before this tool\).*'mh'"):
        Toolchain((tool,), (Observable(name="mh", source=tool.address(MH["mh"], "mh"), likelihood=Off()),), inputs)


def test_what_is_no_quantity():
    tool = KINDS["micromegas"](name="o", program="main")
    with pytest.raises(ConfigError, match="observables.x.from.quantity: got 'omga'; .*Did you mean 'omega'"):
        tool.address({"quantity": "omga"}, "x")
    with pytest.raises(ConfigError, match="alone"):
        tool.address({"quantity": "omega", "match": "first"}, "x")


@pytest.mark.parametrize("kind", ["spheno", "micromegas"])
def test_a_program_with_a_slash_is_relative_to_the_file(kind, tmp_path):
    settings = KINDS[kind].resolve({"name": "s", "program": "bin/code"}, tmp_path)
    assert KINDS[kind](**settings).command[0] == str(tmp_path / "bin/code")
    with pytest.raises(ConfigError, match="program: got 3"):
        KINDS[kind](name="s", program=3)
