"""What a scan tells its user to cite: what it makes use of, once, and nothing else."""

from __future__ import annotations

import re

import pytest

from raydnnr import Cfunction, Hybrid, MlsDnnr, Observable, RandomSampling
from raydnnr.references import ENTRIES, bibliography
from raydnnr.tools.base import Tool
from raydnnr.tools.fit import Fit
from raydnnr.tools.python_function import PythonFunction
from raydnnr.tools.softsusy import Softsusy
from tests.unit.plans import disc, square

NETWORK, PROCESS, EVOLUTION = "Paszke:2019", "Rasmussen:2006", "Hansen:2016"


def cited(**changes) -> list[str]:
    """Keys of the entries, in their order."""
    return re.findall(r"^@\w+{(.*),$", bibliography(square(**changes)), re.MULTILINE)


@pytest.mark.parametrize("key", ENTRIES)
def test_an_entry_is_bibtex_that_can_be_found_again(key):
    entry = ENTRIES[key]
    assert entry.startswith((f"@article{{{key},\n", f"@book{{{key},\n"))
    assert entry.count("{") == entry.count("}") and entry.count('"') % 2 == 0
    assert re.search(r'  author = "[^"]+",\n  title = "{[^"]+}",\n', entry)
    assert re.search(r'eprint = "([a-z-]+/\d{7}|\d{4}\.\d{4,5})"|year = "\d{4}"', entry)


@pytest.mark.parametrize(("method", "there", "absent"), [
    (RandomSampling(), set(), {"Hammad:2022wpq", NETWORK, PROCESS}),
    (MlsDnnr(), {"Hammad:2022wpq", "Goodsell:2023iac", NETWORK}, {PROCESS, EVOLUTION}),
    (Hybrid(), {"Hammad:2022wpq", NETWORK, PROCESS, EVOLUTION, "Storn:1997"}, set()),
    (Hybrid(surrogate="gaussian_process"), {PROCESS}, {NETWORK, "Lakshminarayanan:2016"}),
    (Hybrid(surrogate="ensemble"), {NETWORK, "Lakshminarayanan:2016"}, {PROCESS}),
    (Hybrid(sources=("explore", "region")), {"terBraak:2006"}, {EVOLUTION, "Storn:1997"}),
])
def test_the_method_with_its_settings_decides_what_is_cited(method, there, absent):
    keys = cited(method=method)
    assert there <= set(keys) and not absent & set(keys)
    assert len(keys) == len(set(keys))


def test_codes_fits_and_likelihoods_are_cited_where_they_are_used(tmp_path):
    (tmp_path / "card.in").write_text("Block MINPAR\n 1 x\n 2 y\n")
    spectrum = Softsusy(name="spectrum", program="softpoint.x", template=tmp_path / "card.in")
    fit = Fit(name="fit", solve={"z": {"low": 0, "high": 1}}, targets={"mh": {"value": 125, "tolerance": 1}})
    observables = [Observable(name="mh", source=spectrum.address({"block": "MASS", "key": [25]}, "mh"),
                              likelihood=Cfunction(lower_bound=122, upper_bound=128))]
    keys = cited(tools=[fit, spectrum], observables=observables)
    assert {"Allanach:2001kg", "Skands:2003cj", "Brent:1973", "AbreudeSouza:2022maq"} <= set(keys)
    assert not {"Allanach:2001kg", "Skands:2003cj", "Brent:1973", "AbreudeSouza:2022maq"} & set(cited())


def test_codes_behind_a_general_tool_are_named():
    assert "% Cite the codes behind these tools, too, as their manuals ask: model\n" in bibliography(square())


def test_a_tool_and_a_method_of_the_users_own_say_what_to_cite():
    class Mine(PythonFunction):
        citations = ("@misc{Mine:2026,\n  title = {Mine}\n}",)

    class Walk(RandomSampling):
        citations = (EVOLUTION,)

    assert issubclass(Mine, Tool)
    text = bibliography(square(tools=[Mine(name="model", function=disc)], method=Walk()))
    assert "% The search, Walk\n\n@article{Hansen:2016," in text
    assert text.endswith("% Codes\n\n@misc{Mine:2026,\n  title = {Mine}\n}\n")
    assert "Cite the codes" not in text
