"""micrOMEGAs: relic density and direct detection of dark matter, by a main program of one of its models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from raydnnr.errors import ConfigError, did_you_mean
from raydnnr.tools.named_program import NamedProgram
from raydnnr.tools.quantity_command import QuantityCommand

_NUMBER = r"[ \t]*([^\s,;]+)"
_CROSS_SECTIONS = r"nucleon cross sections\[pb\][^\n]*\n(?:[^\n]*\n)??"
QUANTITIES = {
    "omega": rf"Omega(?: h\^2)?[ \t]*={_NUMBER}",
    "x_f": rf"\bXf[ \t]*={_NUMBER}",
    "sigma_p_si": rf"{_CROSS_SECTIONS}[ \t]*proton[ \t]+SI{_NUMBER}",
    "sigma_p_sd": rf"{_CROSS_SECTIONS}[ \t]*proton[^\n]*SD{_NUMBER}",
    "sigma_n_si": rf"{_CROSS_SECTIONS}[^\n]*\n?[ \t]*neutron[ \t]+SI{_NUMBER}",
    "sigma_n_sd": rf"{_CROSS_SECTIONS}[^\n]*\n?[ \t]*neutron[^\n]*SD{_NUMBER}",
    "mass": rf"Dark matter candidate is [^\n]*mass[ \t]*={_NUMBER}",
}


@dataclass(frozen=True, kw_only=True)
class Micromegas(NamedProgram, QuantityCommand):
    """The ``main`` that micrOMEGAs builds in the folder of a model: ``main spectrum.slha``, or ``main`` on your card.

    Numbers are addressed by ``{quantity = "omega"}``, as the ``main.c`` that comes with a model prints them: ``omega``
    (Ω h²), ``x_f``, ``mass`` of the candidate (GeV), ``sigma_p_si``, ``sigma_p_sd``, ``sigma_n_si``, ``sigma_n_sd``
    (cross sections on nucleons, pb; with ``CDM_NUCLEON`` defined in it). It prints three digits; one of yours may print
    more, and what it calls them is then addressed as in any command, by ``pattern``.

    In ``main.c``, leave ``CLEAN`` and ``SHOWPLOTS`` undefined. For a spectrum of an earlier tool, leave ``EWSB`` and
    its like undefined; else the ``template`` is a list of parameters. One that is missing there has its default value,
    without a word.

    - *invalid*: exit code 1 (masses, or the candidate, cannot be computed), a candidate that is charged or coloured,
      Ω h² that is not a number.
    - *failed*: any other exit code: 2 for a file that is not there or no SLHA, 3 for a wrong list of parameters.

    Matrix elements of a process that it meets for the first time are compiled with gcc, and stay for all points to
    come: seconds to minutes, in which other slots wait for it. Leave ``timeout_s`` large, and run one point by hand
    first. A point with known processes takes 0.4 to 3 s, most of which is the comparison with direct detection that
    ``main.c`` makes by itself, and ``CONSTRAINTS``: a main that calls ``lesHinput``, ``sortOddParticles``,
    ``darkOmega`` and ``nucleonAmplitudes`` only takes 0.3 s in the MSSM.
    """

    word: ClassVar[str] = "micromegas"
    arguments: ClassVar[tuple[str, ...]] = ("{input}",)
    citations: ClassVar[tuple[str, ...]] = ("Belanger:2008sj", "Alguero:2023zol")

    input_file: str = "spectrum.slha"
    invalid_exit_codes: tuple[int, ...] = (1,)
    invalid_messages: tuple[str, ...] = ("Dark Matter has electric charge", "Dark Matter is a color particle",
                                         "Can't calculate")

    def _pattern(self, quantity: str) -> str:
        if quantity not in QUANTITIES:
            raise ConfigError(f"got {quantity!r}; use one of {', '.join(QUANTITIES)}."
                              + did_you_mean(quantity, QUANTITIES))
        return QUANTITIES[quantity]
