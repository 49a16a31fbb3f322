"""NMSSMTools: spectrum, decays and limits of the next-to-minimal supersymmetric model."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from raydnnr.tools.process import Completed
from raydnnr.tools.program import regular_bytes
from raydnnr.tools.slha_command import SlhaResult
from raydnnr.tools.slot import Slot
from raydnnr.tools.spectrum_generator import SpectrumGenerator

_LEFT = ("spectr", "decay")  # names that are compiled in, as is that of the input


@dataclass(frozen=True, kw_only=True)
class NmssmTools(SpectrumGenerator):
    """NMSSMTools' ``nmhdecay`` (parameters at the SUSY scale) or ``nmspec`` (unification), on a card of yours.

    The card is SLHA 2 with MODSEL 3 = 1; MODSEL 1 = 0 or 3 for nmhdecay, 1 or 4 for nmspec; MODSEL 9 = 0, or the relic
    density as well, if micrOMEGAs was compiled in. What it leaves, ``spectrum.slha``, is its ``spectr`` and its
    ``decay`` together. Higgs bosons are 25, 35 and 45 by mass, and 36 and 46.

    It compares the point with experiments by itself: each limit that excludes it is an entry 3 of SPINFO. By default
    such points are *ok*, since a search learns more from how far they are off than from a verdict;
    ``invalid_warnings = ["LEP"]`` or ``["xcluded"]`` refuses them. To leave out groups of these checks, see MODSEL 17
    to 22 in its README.

    - *invalid*: entry 4 of SPINFO (``M_H1^2<1``, ``Negative sfermion mass squared``), no masses.
    - *failed*: any exit code but 0, as 1 for a mistake in the card, a crash or a time-out.

    0.1 s per point.

    Attributes:
        data: Its folder ``EXPCON`` of experimental tables.
    """

    word: ClassVar[str] = "nmssmtools"
    arguments: ClassVar[tuple[str, ...]] = ()
    paths: ClassVar[tuple[str, ...]] = ("template", "data")
    citations: ClassVar[tuple[str, ...]] = ("Ellwanger:2004xm", "Ellwanger:2005dv", "Ellwanger:2006rn")

    data: Path
    program: str = "nmhdecay"
    input_file: str = "inp"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "data", Path(self.data).expanduser().absolute())

    def check(self) -> list[str]:
        """Whether the program is there, and its tables."""
        absent = not (self.data / "hZbb.dat").exists()
        return [*super().check(), *([f"{self.data} is no folder EXPCON: it has no hZbb.dat"] if absent else [])]

    def _variables(self) -> Mapping[str, str]:
        return {"EXPCON_PATH": str(self.data), **self.environment}

    def _lay_out(self, point: Mapping[str, float], slot: Slot, output: Path) -> None:
        super()._lay_out(point, slot, output)
        for name in _LEFT:
            with contextlib.suppress(FileNotFoundError):
                (slot.scratch / name).unlink()

    def _result(self, completed: Completed, output: Path, log: Path) -> SlhaResult:
        """Its two files as one."""
        parts = [regular_bytes(log.parent / name, self._max_bytes) for name in _LEFT]
        if parts[0] is not None:
            output.write_bytes(b"\n".join(part for part in parts if part is not None))
        return super()._result(completed, output, log)
