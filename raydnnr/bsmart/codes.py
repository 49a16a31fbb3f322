"""Codes: BSMArt's tool chain -> ``[[tools]]``, and where each observable is read from."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raydnnr.bsmart import toys
from raydnnr.bsmart.names import Names
from raydnnr.bsmart.report import Kind, Report
from raydnnr.bsmart.section import Section, whole_number
from raydnnr.errors import ExpressionError

Table = dict[str, Any]

_HOMES = {  # blocks that codes add to the spectrum
    "DARKMATTER": "MicrOmegas", "HIGGSTOOLS": "HiggsTools", "HIGGSBOUNDS": "HiggsBounds",
    "HIGGSSIGNALS": "HiggsSignals", "SMODELS": "SModelS", "FLAVIO": "flavio", "ZPRIME": "Zprime", "ZPEED": "ZPEED",
    "VEVACIOUSSTABILITY": "VevaciousPlusPlus", "VACUUMSTABILITY": "VacStab", "RESUMMINO": "resummino",
    "ANYBSM": "anyBSM", "MADGRAPH": "MadGraph", "MADANALYSISPAD": "MadAnalysisAllPAD", "TOYTARGETS": "toy_targets",
}
_IN_NO_BLOCK = {"XSECTION", "PROCESS", "EFFICIENCIES", "WIDTH1L", "BR1L", "HIGGSCOUPLINGSFERMIONS",
                "HIGGSCOUPLINGSBOSONS"}
_OTHERS = {"HiggsTools", "HiggsBounds", "HiggsSignals", "SModelS", "SModelS2", "Zprime", "ZPEED",
           "VevaciousPlusPlus", "resummino", "MadGraph", "MadGraphHackAnalysis", "HackAnalysis_LO",
           "MadAnalysisExpert", "MadAnalysisAllPAD"}
_NEAR = {  # codes whose settings cannot be carried over, but that something here may stand for
    "SModelS": 'kind = "smodels" reads r, once you name the folder of its database and a module of particles',
    "SModelS2": 'kind = "smodels" reads r, once you name the folder of its database and a module of particles',
    "VevaciousPlusPlus": 'kind = "vacuum" compares the minima of a potential that you write down',
    "HiggsBounds": 'kind = "higgstools" is its successor', "HiggsSignals": 'kind = "higgstools" is its successor',
}
_SPECTRA = {"spheno", "flexiblesusy", "slha"}  # kinds
_NOTHING = "raydnnr.bsmart.toys:nothing"
_BSMART_LIMIT = 501  # in DARKMATTER: computed by BSMArt itself
_HIGGSTOOLS = {1: "allowed", 2: "obs_ratio", 11: "chisq", 12: "n_observables", 13: "p_value"}  # of its block: our keys
_ANYBSM = {1: "lambda_hhh_tree", 2: "lambda_hhh", 3: "kappa_lambda"}
_ANYBSM_UNIT = 187.2818  # GeV, coupling for which BSMArt has kappa = 1
_MASS_UNCERTAINTY_GEV = 3.0  # that BSMArt gives Higgs bosons without one


@dataclass
class Chain:
    """The tools so far.

    Attributes:
        folder: Of the JSON file.
        module: Name of the Python file with functions to write, beside the configuration.
        card: File name of the template, beside the configuration; empty where there is none.
        keep_files: ``good``, ``all`` or ``none``.
        environment: Of all tools.
        spectrum: The SLHA file that is passed along.
        tools: Tables of ``[[tools]]``.
        stubs: Functions to write: code, text.
        toys: Formulas of the toy targets, by name.
        kinds: Kind of each tool by its name.
        listed: Old names of the observables in each code.
    """

    folder: Path
    module: str
    names: Names
    report: Report
    card: str = ""
    keep_files: str = "good"
    environment: dict[str, str] = field(default_factory=dict)
    spectrum: str = "SLHA_output"
    tools: list[Table] = field(default_factory=list)
    stubs: dict[str, str] = field(default_factory=dict)
    toys: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    listed: dict[str, list[str]] = field(default_factory=dict)

    def add(self, code: str, settings: Section, observables: Sequence[str]) -> None:
        """Add a code that runs."""
        makers: dict[str, Callable[[str, Section], Table | None]] = {
            "SPheno": self._spheno, "FlexibleSUSY": self._flexiblesusy, "MicrOmegas": self._micromegas,
            "VacStab": self._vacstab, "pass_tool": self._pass, "toy_targets": self._toys,
            "HiggsTools": self._higgstools, "anyBSM": self._anybsm, "flavio": self._flavio,
        }
        self.listed[code] = list(observables)
        maker = makers.get(code)
        table = maker(code, settings) if maker else self._stub(code, settings, observables)
        conditions = [self._condition(settings, text) for text in settings.texts("Conditions")]
        if table is None and any(conditions):
            table = {"kind": "python", "function": _NOTHING, "vectorized": True}
        for key in settings.rest():
            settings.take(key)
            self.report.add(Kind.UNREAD, settings.where(key), f"BSMArt's {code} knows no such key")
        if table is None:
            return
        table = {"name": re.sub(r"[^\w.+-]", "_", code, flags=re.ASCII), **table}
        if found := [*table.pop("conditions", []), *(c for c in conditions if c)]:
            table["conditions"] = found
        if self.environment:
            table["environment"] = {**self.environment, **table.get("environment", {})}
        self.tools.append(table)
        self.kinds[code] = table["kind"]

    def finish(self) -> None:
        """A chain needs a tool, even where all observables are expressions."""
        if not self.tools:
            self.tools.append({"name": "nothing", "kind": "python", "function": _NOTHING, "vectorized": True})

    def address(self, block: str, keys: list[Any], code: str, observable: str) -> Table | None:
        """Where an observable is read: ``from`` or ``expression``; None: nowhere here."""
        if not block and self.kinds.get(code) == "flavio":
            return self._prediction([k + 1 for k, o in enumerate(self.listed[code]) if self.names[o] == observable])
        if not block:
            own = code if code in self.stubs else ""
            return {"expression": self.toys[observable]} if observable in self.toys else self._python(own)
        if block == "TOYTARGETS" and self.toys:
            place = keys[0] - 1 if keys and isinstance(keys[0], int) else -1
            return {"expression": toys.NAMES[place]} if 0 <= place < len(toys.NAMES) else None
        home = self._home(block, code)
        tool = self._tool(home)
        if self.kinds.get(home) == "python":
            return self._python(home)
        if tool is None or block in _IN_NO_BLOCK:
            return None
        if self.kinds[home] == "command":
            return self._dark_matter(keys, tool)
        if self.kinds[home] == "flavio":
            return self._prediction(keys)
        if self.kinds[home] in {"higgstools", "anybsm"}:
            return _by_key(_HIGGSTOOLS if self.kinds[home] == "higgstools" else _ANYBSM, keys, tool)
        return _slha(block, keys, tool)

    def _home(self, block: str, code: str) -> str:
        """The code that makes a block."""
        if (home := _HOMES.get(block, "")) in self.kinds:
            return home
        for older, newer in (("SModelS", "SModelS2"), ("MadGraph", "MadGraphHackAnalysis")):
            if home == older and newer in self.kinds:
                return newer
        if code in self.stubs and code not in _OTHERS:  # a tool of the user's own: any block may be its own
            return code
        spectra = [c for c, kind in self.kinds.items() if kind in _SPECTRA]
        return spectra[0] if spectra else code if code in self.stubs else next(iter(self.stubs), "")

    def _tool(self, code: str) -> str | None:
        name = re.sub(r"[^\w.+-]", "_", code, flags=re.ASCII)
        return name if code in self.kinds else None

    def _python(self, code: str) -> Table | None:
        return {"from": {"tool": self._tool(code)}} if self.kinds.get(code) == "python" else None

    def _dark_matter(self, keys: list[Any], tool: str) -> Table | None:
        if len(keys) != 1 or not isinstance(keys[0], int):
            return None
        if keys[0] == _BSMART_LIMIT:
            self.report.add(Kind.DIFFERENT, "DARKMATTER 501", "BSMArt computes this limit from tables of its own; "
                            "entry 401 is the p-value of micrOMEGAs itself")
            return None
        return {"from": {"tool": tool, "pattern": rf"^\s*{keys[0]}\s+(\S+)", "match": "first"}}

    def _condition(self, settings: Section, text: str) -> str:
        try:
            return self.names.expression(text)
        except ExpressionError as error:
            self.report.add(Kind.TO_DO, settings.where("Conditions"), f"{error}; the condition is left out")
            return ""

    def _program(self, settings: Section, default: str) -> list[str]:
        """The words of ``Command``; a path that is relative was so to the folder of the JSON file."""
        text = settings.text("Command")
        if not text:
            self.report.add(Kind.TO_DO, settings.where("Command"), f"is empty: give the path of {default}")
            return [default]
        try:
            words = shlex.split(text)
        except ValueError:
            words = [text]
        words[1:] = [os.path.expanduser(w) if w.startswith("~") else w for w in words[1:]]
        if "/" in words[0] and not words[0].startswith(("/", "~")):
            words[0] = str(self.folder / words[0])
        return words

    def _generator(self, settings: Section) -> Table:
        """What all spectrum generators have: the card is for the first of them."""
        name = settings.text("InputFile") or "LesHouches.in"
        settings.take("OutputFile")
        self.report.add(Kind.DIFFERENT, settings.where("Observables"), "a point is invalid where an entry that is read "
                        "is not in the spectrum; BSMArt takes 0.0 for it")
        first = not any(kind in _SPECTRA for kind in self.kinds.values())
        table: Table = {"template": self.card} if self.card and first else {}
        return {**table, "input_file": Path(name).name, "output_file": self.spectrum, "missing": "invalid",
                "keep_files": self.keep_files, "timeout_s": 600}

    def _spheno(self, code: str, settings: Section) -> Table:
        words = self._program(settings, "SPheno")
        more = self._generator(settings)
        if len(words) == 1:
            return {"kind": "spheno", "program": words[0], **more}
        return {"kind": "slha", "command": [*words, "{input}", "{output}"], "required_blocks": ["MASS"], **more}

    def _flexiblesusy(self, code: str, settings: Section) -> Table:
        words = self._program(settings, "run_model.x")
        more = self._generator(settings)
        if len(words) == 1:
            return {"kind": "flexiblesusy", "program": words[0], **more}
        command = [*words, "--slha-input-file={input}", "--slha-output-file={output}"]
        return {"kind": "slha", "command": command, "required_blocks": ["MASS"], **more}

    def _micromegas(self, code: str, settings: Section) -> Table:
        """BSMArt's main programs read the spectrum by a name that is compiled in, and write numbered lines."""
        words = self._program(settings, "MicrOmegas")
        settings.take("InputFile")
        output = settings.text("OutputFile") or "omg.out"
        if settings.boolean("Cross-sections"):
            words.append("--xsections")
        settings.boolean("DD_Limits")
        table: Table = {"kind": "command", "command": words, "input_file": self.spectrum, "output_file": output,
                        "keep_files": self.keep_files, "timeout_s": 600, "environment": {"nParProc": "0"}}
        if allowed := [whole_number(v, settings.where("LSP")) for v in settings.numbers("LSP")]:
            table["conditions"] = [" or ".join(f"lsp_pdg == {pdg}" for pdg in allowed)]
        return table

    def _vacstab(self, code: str, settings: Section) -> Table:
        """It adds its block to the spectrum."""
        words = self._program(settings, "vacstab.py")
        settings.take("InputFile")
        return {"kind": "slha", "command": [*words, "{input}"], "input_file": self.spectrum,
                "output_file": self.spectrum, "missing": "invalid", "keep_files": "none", "timeout_s": 600}

    def _higgstools(self, code: str, settings: Section) -> Table:
        """Data sets, particles; the spectrum is read by HiggsTools itself."""
        table: Table = {"kind": "higgstools", "input_file": self.spectrum, "timeout_s": 600,
                        "mass_uncertainty_gev": _MASS_UNCERTAINTY_GEV}
        for key, ours in (("HiggsBounds Dataset", "bounds"), ("HiggsSignals Dataset", "signals")):
            if folder := settings.text(key):
                table[ours] = self._path(folder)
            else:
                self.report.add(Kind.TO_DO, settings.where(key), f"is empty: give the folder of {ours}")
        if not {"bounds", "signals"} & table.keys():
            table["signals"] = str(self.folder / "hsdataset")
        for key, ours in (("Neutral Higgs", "neutral"), ("Charged Higgs", "charged"),
                          ("Invisible Particles", "invisible")):
            if found := [whole_number(v, settings.where(key)) for v in settings.numbers(key)]:
                table[ours] = found
        if settings.boolean("Signal Strengths"):
            self.report.add(Kind.DIFFERENT, settings.where("Signal Strengths"), "signal strengths are not recorded")
        return table

    def _anybsm(self, code: str, settings: Section) -> Table:
        """A model, its parameters as expressions, and a scheme."""
        model, more = settings.text("model"), settings.section("settings")
        table: Table = {"kind": "anybsm", "model": self._path(model) if "/" in model else model, "timeout_s": 600,
                        "scheme": more.text("scheme_name"), "parameters": {}}
        if not model:
            self.report.add(Kind.TO_DO, settings.where("model"), "is empty: name the model")
            table["model"] = "SM"
        more.take("quiet")
        for key in more.rest():
            self.report.add(Kind.DIFFERENT, more.where(key), "anyBSM gets no such setting here")
        given = settings.section("setparameters")
        for name in given:
            try:
                table["parameters"][name] = self.names.expression(given.text(name))
            except ExpressionError as error:
                self.report.add(Kind.TO_DO, given.where(name), f"{error}; the parameter is left out")
        self.report.add(Kind.DIFFERENT, settings.path, "anyBSM's kappa is the coupling over its value in the Standard "
                        f"Model at tree level here; BSMArt divides by {_ANYBSM_UNIT} GeV")
        return table

    def _flavio(self, code: str, settings: Section) -> Table:
        """A file of coefficients that the spectrum generator leaves; predictions by the names of its observables."""
        name = settings.text("InputFile")
        if not name:
            self.report.add(Kind.TO_DO, settings.where("InputFile"), "is empty: name the file of Wilson coefficients")
        if {"mu_EDM", "e_EDM"} & set(self.listed[code]):
            self.report.add(Kind.TO_DO, settings.where("Observables"), "mu_EDM and e_EDM are BSMArt's own, and not "
                            "known to flavio: compute them by a Python tool")
        return {"kind": "flavio", "wcxf_file": Path(name or "WC.json").name, "timeout_s": 600}

    def _prediction(self, keys: list[Any]) -> Table | None:
        """BSMArt's block FLAVIO has what new physics changes, numbered as the observables stand."""
        names = self.listed["flavio"]
        if len(keys) != 1 or not isinstance(keys[0], int) or not 0 < keys[0] <= len(names):
            return None
        return {"from": {"tool": "flavio", "prediction": names[keys[0] - 1], "less_sm": True}}

    def _path(self, text: str) -> str:
        """A path that is relative was so to the folder of the JSON file."""
        return text if text.startswith(("/", "~")) else str(self.folder / text)

    def _pass(self, code: str, settings: Section) -> Table | None:
        """It does nothing; what is read as its spectrum is the card."""
        settings.take("InputFile")
        settings.take("OutputFile")
        if not self.card:
            return None
        return {"kind": "slha", "command": ["cp", "{input}", "{output}"], "template": self.card,
                "output_file": self.spectrum, "keep_files": self.keep_files}

    def _toys(self, code: str, settings: Section) -> Table | None:
        settings.take("InputFile")
        settings.take("OutputFile")
        self.toys = toys.formulas(self.names.variables, settings)
        return None

    def _stub(self, code: str, settings: Section, observables: Sequence[str]) -> Table:
        """A function that has to be written, with all that BSMArt knew."""
        known = {key: settings.take(key) for key in settings.rest() if key not in ("Observables", "Conditions")}
        function = re.sub(r"\W+", "_", code, flags=re.ASCII).strip("_") or "tool"
        function = f"code_{function}" if function[0].isdigit() else function
        own = code not in _OTHERS
        what = f"Tools/{code}.py, a tool class of your own," if own else f"BSMArt's tool for {code}"
        near = f"; {_NEAR[code]}" if code in _NEAR else ""
        self.report.add(Kind.TO_DO, settings.path, f"{what} has no counterpart here: write the function {function} in "
                        f"{self.module}.py; until then every point fails and says so{near}")
        self.stubs[code] = _stub_text(code, function, known, [self.names.add(o) for o in observables], self.spectrum)
        return {"kind": "python", "function": f"{self.module}:{function}", "timeout_s": 600}


def _slha(block: str, keys: list[Any], tool: str) -> Table | None:
    """The address of an SLHA entry."""
    if block == "WIDTH":
        return {"from": {"tool": tool, "width": keys[0]}} if keys and isinstance(keys[0], int) else None
    if block == "BR":
        daughters = keys[1] if len(keys) == 2 and isinstance(keys[1], list) else keys[1:]
        decay = [*keys[:1], *daughters]
        return {"from": {"tool": tool, "br": decay}} if len(decay) > 2 and _whole(decay) else None
    return {"from": {"tool": tool, "block": block, "key": keys}} if _whole(keys) else None


def _by_key(words: dict[int, str], keys: list[Any], tool: str) -> Table | None:
    """The address of an entry of a block that BSMArt makes up; HiggsTools' has particles by their numbers, too."""
    if len(keys) != 1 or not isinstance(keys[0], int):
        return None
    word = words.get(keys[0]) or (f"obs_ratio_{keys[0]}" if words is _HIGGSTOOLS and 20 < keys[0] < 1000 else "")
    return {"from": {"tool": tool, "key": word}} if word else None


def _whole(keys: list[Any]) -> bool:
    return all(isinstance(k, int) for k in keys)


def _stub_text(code: str, function: str, known: Table, observables: Sequence[str], spectrum: str) -> str:
    """Source of a function to write; what came from the file stands in comments, one JSON value a line."""
    lines = [f"def {function}(point):", f'    """What {function} says of a point: {", ".join(observables)}.', "",
             "    ``point`` has parameters, derived values and earlier observables by name, and the current folder the",
             "    files of earlier tools. Raise raydnnr.errors.InvalidPoint where the physics says no.", '    """',
             f"    # the spectrum: {json.dumps(spectrum)}"]
    lines += [f"    # {json.dumps(key)}: {json.dumps(value)}" for key, value in known.items()]
    values = ", ".join(f'"{o}": ...' for o in observables)
    lines += [f"    # return {{{values}}}", f'    raise ToolFailure("{function}: write this function first")']
    return "\n".join(lines) + "\n"
