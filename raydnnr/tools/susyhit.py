"""SUSY-HIT: decays of Higgs bosons and supersymmetric particles, from the spectrum of an earlier tool."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from raydnnr.errors import ConfigError, ToolFailure
from raydnnr.tools.named_program import NamedProgram
from raydnnr.tools.program import read_template
from raydnnr.tools.slha_command import SlhaCommand
from raydnnr.tools.slot import Slot

_ITS_INPUT, _ITS_OPTIONS = "slhaspectrum.in", "susyhit.in"
_SPECTRUM_OF_OTHERS = "2"  # the first answer in its options: not SuSpect's


@dataclass(frozen=True, kw_only=True)
class SusyHit(NamedProgram, SlhaCommand):
    """SUSY-HIT's ``run``, SDECAY and HDECAY, on ``spectrum.slha``, or on a spectrum of your own (``template``).

    What it leaves, ``susyhit_slha.out``, is the spectrum with its decays: later tools that need these have it as their
    ``input_file``. Read from it: ``{width = 25}``, ``{br = [25, 5, -5]}``, and the masses as they were.

    It exits with 0, whatever happens:

    - *invalid*: a width or a branching ratio that is read and is no number: what it makes of a spectrum that is none.
    - *failed*: a crash, a time-out, a spectrum without masses. Spectra of SPheno and SOFTSUSY work; one with flavour
      mixing, as FlexibleSUSY's CMSSM writes it, makes it crash.

    0.6 s per point.

    Attributes:
        options: A copy of the ``susyhit.in`` that comes with it, where the first answer is changed to 2: the spectrum
            is that of another program. Its other answers are input of HDECAY.
    """

    word: ClassVar[str] = "susyhit"
    arguments: ClassVar[tuple[str, ...]] = ()
    paths: ClassVar[tuple[str, ...]] = ("template", "options")
    citations: ClassVar[tuple[str, ...]] = ("Djouadi:2006bz", "Muhlleitner:2003vg", "Djouadi:1997yw")

    options: Path
    program: str = "run"
    input_file: str = "spectrum.slha"
    output_file: str = "susyhit_slha.out"
    required_blocks: tuple[str, ...] = ("MASS",)
    options_text: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "options", Path(self.options))
        if self.options.exists():  # else `check` says so: it comes with the program
            object.__setattr__(self, "options_text", read_template(self.options))
            self._check_options()

    def check(self) -> list[str]:
        """Whether the program is there, and its options."""
        return [*super().check(), *([] if self.options_text else [f"there are no options {self.options}"])]

    def fingerprint(self) -> Mapping[str, object]:
        """That of the program, and its options."""
        options = hashlib.sha256(self.options_text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return {**super().fingerprint(), "options": options}

    def _check_options(self) -> None:
        answer = re.search(r"^[ \t]*(\d+)[ \t]*$", self.options_text, re.MULTILINE)
        if answer is None or answer[1] != _SPECTRUM_OF_OTHERS:
            raise ConfigError(f"options: {self.options}: its first answer, a number alone in a line, is "
                              f"{answer[1] if answer else 'not there'}; use 2, the spectrum of another program")

    def _lay_out(self, point: Mapping[str, float], slot: Slot, output: Path) -> None:
        """The spectrum and the options under the names that it looks for."""
        super()._lay_out(point, slot, output)
        spectrum = slot.scratch / self.input_file
        try:
            has_masses = re.search(rb"^block\s+mass\b", spectrum.read_bytes(), re.MULTILINE | re.IGNORECASE)
        except OSError:
            raise ToolFailure(f"{self.name}: no earlier tool left {self.input_file}") from None
        if not has_masses:  # it would make up its own
            raise ToolFailure(f"{self.name}: {self.input_file} has no block MASS")
        if self.input_file != _ITS_INPUT:
            shutil.copyfile(spectrum, slot.scratch / _ITS_INPUT)
        (slot.scratch / _ITS_OPTIONS).write_bytes(self.options_text.encode("utf-8", "surrogateescape"))
