"""SPheno: the spectrum and decays of supersymmetric models, and of those that SARAH writes a SPheno for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from raydnnr.tools.spectrum_generator import SpectrumGenerator


@dataclass(frozen=True, kw_only=True)
class Spheno(SpectrumGenerator):
    """SPheno, or a program of its family such as ``SPhenoBLSSM``: ``SPheno input output``.

    Its exit code says nothing: it ends with 0 whatever happens. What it means:

    - *invalid*: entry 4 of SPINFO (a tachyon, no electroweak symmetry breaking, no convergence; the words are in
      ``Messages.out``), no block MASS, or ``TerminateProgram`` on its error output: couplings that leave the
      perturbative regime end it in the middle, without any output.
    - *failed*: a crash or a time-out, and an output that is missing without a word.

    Entry 3 of SPINFO is a warning ("potential numerical problem"); to refuse such points, set
    ``invalid_warnings = [""]``.
    """

    word: ClassVar[str] = "spheno"
    arguments: ClassVar[tuple[str, ...]] = ("{input}", "{output}")
    citations: ClassVar[tuple[str, ...]] = ("Porod:2003um", "Porod:2011nf")

    program: str = "SPheno"
    invalid_messages: tuple[str, ...] = ("TerminateProgram",)
