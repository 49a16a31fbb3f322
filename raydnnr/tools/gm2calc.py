"""GM2Calc: the anomalous magnetic moment of the muon in the MSSM, from the spectrum of an earlier tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from raydnnr.errors import ToolFailure
from raydnnr.tools.named_program import NamedProgram
from raydnnr.tools.slha_command import SlhaCommand
from raydnnr.tools.slot import Slot

_CONFIG = """\
Block GM2CalcConfig
  0  4   # output: the SLHA input with a block GM2CalcOutput
  1  2   # loop order
  2  1   # resum tan(beta)
  3  0   # no output for points with a problem
  5  1   # with uncertainty
"""


@dataclass(frozen=True, kw_only=True)
class Gm2Calc(NamedProgram, SlhaCommand):
    """GM2Calc's ``gm2calc.x`` on ``spectrum.slha``, or on a card of your own in its format (``template``).

    Read from it: ``{block = "GM2CalcOutput", key = [0]}``, Δa_μ = (g - 2)/2 of the muon beyond the Standard Model, and
    ``key = [1]``, its uncertainty. Two loops, with tan β resummed.

    - *invalid*: exit code 1 with entry 4 of SPINFO (``soft mass squared < 0``, a spectrum without masses).
    - *failed*: anything else.
    """

    word: ClassVar[str] = "gm2calc"
    arguments: ClassVar[tuple[str, ...]] = ("--slha-input-file=gm2calc.in",)
    citations: ClassVar[tuple[str, ...]] = ("Athron:2015rva", "Athron:2021evk")

    program: str = "gm2calc.x"
    input_file: str = "spectrum.slha"
    output_file: str = "gm2calc.slha"
    stdout: str | None = "{output}"
    required_blocks: tuple[str, ...] = ("GM2CALCOUTPUT",)

    def _lay_out(self, point: Mapping[str, float], slot: Slot, output: Path) -> None:
        """Its own input: the spectrum as it is, and what is wanted of it."""
        super()._lay_out(point, slot, output)
        try:
            spectrum = (slot.scratch / self.input_file).read_bytes()
        except OSError:
            raise ToolFailure(f"{self.name}: no earlier tool left {self.input_file}") from None
        (slot.scratch / "gm2calc.in").write_bytes(spectrum + _CONFIG.encode())
