"""FlexibleSUSY: the spectrum of a model that it has generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from raydnnr.tools.spectrum_generator import SpectrumGenerator


@dataclass(frozen=True, kw_only=True)
class FlexibleSusy(SpectrumGenerator):
    """The ``run_<model>.x`` of one of FlexibleSUSY's models.

    Its card is that of the model, ``LesHouches.in.<model>``, with expressions as values; what its block FlexibleSUSY
    does not say has a default value. Squarks and sleptons of models with flavour mixing are numbered by their mass
    (SLHA 2, arXiv:0801.0045): 1000006 is then the third lightest up squark, and no stop. Those whose name ends in NoFV
    have the usual numbers.

    - *invalid*: entry 4 of SPINFO (``running tachyon Se``, ``no ewsb``), which it writes with exit code 1.
    - *failed*: exit code 1 without it, a crash or a time-out.

    0.2 to 0.3 s per point.
    """

    word: ClassVar[str] = "flexiblesusy"
    arguments: ClassVar[tuple[str, ...]] = ("--slha-input-file={input}", "--slha-output-file={output}")
    citations: ClassVar[tuple[str, ...]] = ("Athron:2014yba", "Athron:2017fvs", "Staub:2013tta", "Allanach:2001kg")
