"""SuperIso: flavour observables from a spectrum."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from raydnnr.tools.named_program import NamedProgram
from raydnnr.tools.quantity_command import QuantityCommand


@dataclass(frozen=True, kw_only=True)
class SuperIso(NamedProgram, QuantityCommand):
    """SuperIso's ``slha.x`` on ``spectrum.slha``, the spectrum of an earlier tool.

    It prints a table; a line of it is addressed by its words, ``{quantity = "BR(b->s gamma)"}``. It prints four digits.

    It exits with 1, on success as well. What it prints tells:

    - *invalid*: ``Invalid point``, where the spectrum has an entry 4 in SPINFO, or no masses.
    - *failed*: ``Invalid SLHA file``, ``SLHA file absent``; a table without the line that is read.
    """

    word: ClassVar[str] = "superiso"
    arguments: ClassVar[tuple[str, ...]] = ("{input}",)
    citations: ClassVar[tuple[str, ...]] = ("Mahmoudi:2007vz", "Mahmoudi:2008tp")

    program: str = "slha.x"
    input_file: str = "spectrum.slha"
    success_exit_codes: tuple[int, ...] = (0, 1)
    invalid_messages: tuple[str, ...] = ("Invalid point",)

    def _pattern(self, quantity: str) -> str:
        words = r"[ \t]+".join(re.escape(word) for word in quantity.split())
        return rf"^[ \t]*{words}[ \t]+(\S+)[ \t]*$"
