"""SOFTSUSY: the spectrum of the MSSM and the NMSSM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from raydnnr.tools.spectrum_generator import SpectrumGenerator


@dataclass(frozen=True, kw_only=True)
class Softsusy(SpectrumGenerator):
    """SOFTSUSY's ``softpoint.x leshouches``, which reads the card from its input and prints the spectrum.

    - *invalid*: exit code 255, with entry 4 of SPINFO (``[ stau tachyon ]``, ``[ MuSqWrongsign ]``); no block MASS.
    - *failed*: any other exit code, a crash or a time-out.

    Entry 3 of SPINFO holds warnings. ``stau LSP`` is one: to refuse charged dark matter, set
    ``invalid_warnings = ["LSP"]``, or use conditions.
    """

    word: ClassVar[str] = "softsusy"
    arguments: ClassVar[tuple[str, ...]] = ("leshouches",)
    citations: ClassVar[tuple[str, ...]] = ("Allanach:2001kg",)

    program: str = "softpoint.x"
    stdin: str | None = "{input}"
    stdout: str | None = "{output}"
    invalid_exit_codes: tuple[int, ...] = (255,)
