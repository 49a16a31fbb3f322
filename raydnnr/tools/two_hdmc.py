"""2HDMC: theory, decays and oblique parameters of two-Higgs-doublet models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from raydnnr.errors import ConfigError, did_you_mean
from raydnnr.evaluation import Source
from raydnnr.slha import number
from raydnnr.tools.base import Result
from raydnnr.tools.formulas import Formulas, formula_texts
from raydnnr.tools.named_program import NamedProgram
from raydnnr.tools.process import Completed
from raydnnr.tools.program import regular_bytes
from raydnnr.tools.slha_command import SlhaCommand, SlhaResult

PRINTED = {  # quantity: how its line begins
    "unitarity": "Tree-level unitarity:", "perturbativity": "Perturbativity:", "stability": "Stability:",
    "S": "S", "T": "T", "U": "U", "V": "V", "W": "W", "X": "X",
    "delta_rho": "Delta_rho", "delta_a_mu": "Delta_amu",
}
_LOG_BYTES = 1 << 20


@dataclass(frozen=True)
class Printed:
    """``{quantity = "S"}``: a number that 2HDMC prints."""

    tool: str
    quantity: str


@dataclass(frozen=True)
class TwoHdmcResult(SlhaResult):
    """What it wrote, and what it printed."""

    text: str


@dataclass(frozen=True, kw_only=True)
class TwoHdmc(NamedProgram, SlhaCommand):
    """One of 2HDMC's calculators, such as ``CalcPhys``: a two-Higgs-doublet model at tree level, and its decays.

    ``CalcPhys`` takes masses, ``CalcGen`` the potential, ``CalcHiggs`` that of the Higgs basis; there are
    ``CalcHybrid`` and, for the inert doublet, ``CalcInert``.

    What it leaves, ``spectrum.slha``, has masses, mixing and decays of the Higgs bosons and the top quark. Read from
    it: ``{br = [35, 25, 25]}``, ``{width = 36}``, ``{block = "THDM", key = [4]}``; and what it prints, by
    ``{quantity = "..."}``:

    - ``unitarity`` (tree level, eigenvalues below 16π), ``perturbativity`` (quartic couplings below 4π), ``stability``
      (the potential is bounded from below): 1 where it holds, else 0. As ``conditions = ["stability"]``, a point where
      it does not is invalid. The absolute minimum is another question: see ``configs/vacuum.py``.
    - ``S``, ``T``, ``U``, ``V``, ``W``, ``X``: oblique parameters, relative to the Standard Model with m_h = 125 GeV;
      ``delta_rho``; ``delta_a_mu``, the contribution to (g - 2)/2 of the muon.

    A point is *invalid* where it says ``The parameters you have specified were not valid`` (exit code 255), such as a
    heavy Higgs boson that is lighter than the light one, or m² < 0. *Failed*: any other exit code, as that of a wrong
    number of parameters, a crash or a time-out. 0.12 s per point.

    Attributes:
        parameters: Expressions for the arguments of the program, in its order, without the output file at the end. Of
            CalcPhys: m_h, m_H, m_A, m_H+ (GeV), sin(β - α), λ6, λ7, m12² (GeV²), tan β, and the type of the Yukawa
            couplings, 1 to 4. Started without any, the program says its own.
    """

    word: ClassVar[str] = "2hdmc"
    arguments: ClassVar[tuple[str, ...]] = ("{output}",)
    citations: ClassVar[tuple[str, ...]] = ("Eriksson:2009ws",)

    parameters: tuple[str | float, ...]
    program: str = "CalcPhys"
    output_file: str = "spectrum.slha"
    invalid_messages: tuple[str, ...] = ("parameters you have specified were not valid",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.parameters, str) or not self.parameters:
            raise ConfigError(f"parameters: got {self.parameters!r}; use a list of numbers and expressions, as the "
                              "program wants them")
        texts = formula_texts("parameters", {str(k): text for k, text in enumerate(self.parameters, 1)})
        object.__setattr__(self, "parameters", tuple(texts.values()))

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """``{quantity = "S"}``, or an address of any SLHA file."""
        if "quantity" not in settings:
            return super().address(settings, observable)
        where, quantity = f"observables.{observable}.from", settings["quantity"]
        if quantity not in PRINTED:
            raise ConfigError(f"{where}.quantity: got {quantity!r}; use one of {', '.join(PRINTED)}."
                              + did_you_mean(str(quantity), PRINTED))
        if extra := settings.keys() - {"quantity", "tool"}:
            raise ConfigError(f"{where}: no setting {min(extra)!r} beside quantity")
        return Printed(self.name, str(quantity))

    def prepare(self, names: Iterable[str]) -> None:
        """Check the expressions of the parameters."""
        known = list(names)
        super().prepare(known)
        self._formulas.check(known, f"tools.{self.name}")

    def uses(self, names: Iterable[str]) -> set[str]:
        """Those in the parameters."""
        return self._formulas.uses(names)

    def fingerprint(self) -> Mapping[str, object]:
        """That of the program, and its parameters."""
        return {**super().fingerprint(), "parameters": list(self.parameters)}

    def describe(self) -> str:
        """The command, with expressions as they are written."""
        return " ".join([self.command[0], *map(str, self.parameters), self.output_file])

    def read(self, result: Result, source: Source) -> float:
        """A number of its file, or one that it printed."""
        if not isinstance(source, Printed):
            return super().read(result, source)
        assert isinstance(result, TwoHdmcResult)
        start = re.escape(PRINTED[source.quantity])
        match = re.search(rf"^[ \t]*{start}[ \t]+(\S+)[ \t]*$", result.text, re.MULTILINE)
        if match is None:
            raise self._missing(f"{self._program} printed no {source.quantity}")
        return number(match[1], source.quantity)

    def _argv(self, point: Mapping[str, float]) -> list[str]:
        program, *rest = super()._argv(point)
        return [program, *map(repr, self._formulas.values(point, self.name).values()), *rest]

    def _result(self, completed: Completed, output: Path, log: Path) -> TwoHdmcResult:
        spectrum = super()._result(completed, output, log).spectrum
        return TwoHdmcResult(spectrum, (regular_bytes(log, _LOG_BYTES) or b"").decode("utf-8", "replace"))

    @cached_property
    def _formulas(self) -> Formulas:
        return Formulas("parameters", {str(k): str(text) for k, text in enumerate(self.parameters, 1)})
