"""SpectrumGenerator: what spectrum generators have in common, as the base of their kinds."""

from __future__ import annotations

from dataclasses import dataclass

from raydnnr.tools.named_program import NamedProgram
from raydnnr.tools.slha_command import SlhaCommand


@dataclass(frozen=True, kw_only=True)
class SpectrumGenerator(NamedProgram, SlhaCommand):
    """A program that computes masses and couplings from a card.

    The spectrum it leaves, ``spectrum.slha``, is what later tools read. One without masses is none, whatever the exit
    code says: the point is invalid.
    """

    output_file: str = "spectrum.slha"
    required_blocks: tuple[str, ...] = ("MASS",)
