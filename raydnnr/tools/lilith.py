"""Lilith: how well a Higgs boson agrees with the LHC's measurements, in process."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from raydnnr.errors import ConfigError, InvalidPoint
from raydnnr.tools import text_template
from raydnnr.tools.package_tool import PackageTool
from raydnnr.tools.program import read_template
from raydnnr.tools.python_function import PythonResult
from raydnnr.tools.slot import Slot


@dataclass(frozen=True, kw_only=True)
class Lilith(PackageTool):
    """Lilith-2, imported once in each slot, with its list of measurements; 1 ms per point.

    Read from it: ``minus_2_log_l``, -2 ln L, and ``n_measurements``, the number of degrees of freedom. As a likelihood,
    take ``0.5 * (m2logl - 55)`` in an expression, with ``kind = "minusexpuser"``; 55 or so is what the Standard Model
    has.

    A point is *invalid* where Lilith has no answer, which is outside masses of 123 to 128 GeV, and where a value of its
    input is not a number. Any other complaint of Lilith's makes it *failed*.

    Attributes:
        folder: Where Lilith-2 is: the folder that holds ``lilith`` and ``data``.
        template: Its XML input, signal strengths or reduced couplings, with expressions in braces, ``{{ c_v }}``.
        measurements: List of measurements, below ``folder``.
    """

    word: ClassVar[str] = "lilith"
    answered_by: ClassVar[str] = "raydnnr.tools.lilith:compare"
    paths: ClassVar[tuple[str, ...]] = ("folder", "template")
    citations: ClassVar[tuple[str, ...]] = ("Bernon:2015hsa", "Kraml:2019sis")

    folder: Path
    template: Path
    measurements: str = "data/latest.list"
    template_text: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder).expanduser().absolute())
        object.__setattr__(self, "path", (str(self.folder), *self.path))
        object.__setattr__(self, "path", tuple(dict.fromkeys(self.path)))
        super().__post_init__()
        object.__setattr__(self, "template", Path(self.template))
        object.__setattr__(self, "template_text", read_template(self.template))
        try:
            text_template.expressions(self.template_text)
        except ConfigError as error:
            raise ConfigError(f"template: {self.template}: {error}") from None

    def check(self) -> list[str]:
        """Whether Lilith is there, can be imported, and finds its measurements."""
        if not (self.folder / "lilith").is_dir():
            return [f"there is no Lilith in {self.folder}: no folder lilith below it"]
        return super().check()

    def prepare(self, names: Iterable[str]) -> None:
        """Check the expressions of the template."""
        text_template.check(self.template_text, names, f"tools.{self.name}.template: {self.template}")

    def uses(self, names: Iterable[str]) -> set[str]:
        """Those in the template."""
        return {n for e in text_template.expressions(self.template_text) for n in e.names}.intersection(names)

    def fingerprint(self) -> Mapping[str, object]:
        """The template and the list of measurements."""
        card = hashlib.sha256(self.template_text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return {"kind": self.word, "template": card, "measurements": self.measurements, **self._common_fingerprint()}

    def run(self, point: Mapping[str, float], slot: Slot) -> PythonResult:
        """Compare one Higgs boson, or several, with the measurements."""
        try:
            text = text_template.fill(self.template_text, point)
        except InvalidPoint as error:
            raise InvalidPoint(f"{self.name}: {error}") from None
        return PythonResult(self.ask(slot, {**self._settings(), "xml": text}), {})

    def _settings(self) -> dict[str, Any]:
        return {"measurements": str(self.folder / self.measurements)}


# ---- in the worker

_lilith: dict[str, Any] = {}  # by its list of measurements


def compare(request: Mapping[str, Any]) -> dict[str, float]:
    """-2 ln L of an input; without one, only the measurements are read."""
    lilith = importlib.import_module("lilith")  # here: this module is read where Lilith may not be
    errors = importlib.import_module("lilith.errors")
    name = request["measurements"]
    if name not in _lilith:
        _lilith[name] = lilith.Lilith(False, False)
        _lilith[name].readexpinput(name)
    if "xml" not in request:
        return {}
    calculator = _lilith.pop(name)  # one that has stumbled is not asked again: what it knows of a point stays in it
    try:
        calculator.computelikelihood(userinput=request["xml"])
    except errors.HiggsMassError as error:
        raise InvalidPoint(str(error)) from None
    _lilith[name] = calculator
    return {"minus_2_log_l": float(calculator.l), "n_measurements": float(calculator.exp_ndf)}
