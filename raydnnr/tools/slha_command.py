"""SlhaCommand: any program that reads an SLHA file and writes another, as a tool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from raydnnr.errors import InvalidPoint, SlhaError
from raydnnr.evaluation import Source
from raydnnr.slha import Slha
from raydnnr.tools import process
from raydnnr.tools.base import Result, bounded
from raydnnr.tools.process import Completed, ending
from raydnnr.tools.program import Program
from raydnnr.tools.slha_address import SlhaBranching, SlhaEntry, SlhaWidth, parse_address
from raydnnr.tools.template import compile_template, words


@dataclass(frozen=True)
class SlhaResult(Result):
    """What the program wrote."""

    spectrum: Slha


@dataclass(frozen=True, kw_only=True)
class SlhaCommand(Program):
    """A program that reads one SLHA file and writes another, in a private directory.

    A point is *invalid* when entry 4 of the output's SPINFO is there, the exit code is one of ``invalid_exit_codes``,
    or what the program printed contains one of ``invalid_messages`` (plain text, not patterns). It is *failed* when
    the program timed out, died of a signal, ended with any other exit code, or wrote no output, or one that is no
    SLHA or larger than ``max_output_mib``. Its exit code is believed only together with its output.

    Expressions stand in the value fields of the template (`raydnnr.tools.template`).

    Attributes:
        invalid_warnings: Texts that make a point invalid where entry 3 of SPINFO, a warning, contains one of them. An
            empty text: any warning does.
        required_blocks: A spectrum without one of these blocks is none: the point is invalid.
    """

    word: ClassVar[str] = "slha"

    invalid_warnings: tuple[str, ...] = ()
    required_blocks: tuple[str, ...] = ()

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """``{block, key, q}``, ``{width = pdg}`` or ``{br = [pdg, daughters...]}``."""
        return parse_address(settings, self.name, f"observables.{observable}.from")

    def uses(self, names: Iterable[str]) -> set[str]:
        """Those in the template."""
        return set(words(self.template_text).intersection(names))

    def fingerprint(self) -> Mapping[str, object]:
        """That of the program, and what else makes a spectrum no answer."""
        more = {"invalid_warnings": list(self.invalid_warnings), "required_blocks": list(self.required_blocks)}
        return {**super().fingerprint(), **{key: value for key, value in more.items() if value}}

    def read(self, result: Result, source: Source) -> float:
        """A number of the spectrum."""
        assert isinstance(result, SlhaResult) and isinstance(source, SlhaEntry | SlhaWidth | SlhaBranching)
        try:
            return source.value(result.spectrum)
        except SlhaError as error:
            raise self._missing(f"{self.output_file}: {error}") from None

    def _card(self, point: Mapping[str, float], *, fill: bool = True) -> str:
        template = compile_template(self.template_text, frozenset(point), str(self.template))
        return template.fill(point) if fill else ""

    def _result(self, completed: Completed, output: Path, log: Path) -> SlhaResult:
        """The output, if exit code and content agree that there is one."""
        spectrum, trouble = self._parse(output)
        if spectrum is not None:
            self._judge_spinfo(spectrum)
        self._judge_exit(completed, log)
        if spectrum is not None:
            if absent := [b for b in self.required_blocks if not spectrum.has(b)]:
                raise InvalidPoint(bounded(f"{self.name}: {self._program} wrote no block {absent[0]}",
                                           process.tail(log)))
            return SlhaResult(spectrum)
        said = f"exited with {ending(completed.exit_code)} but {trouble}"
        if output.exists():
            self._fail(said, log)
        raise self._missing(f"{self._program} {said}", self._last_lines(log))

    def _judge_spinfo(self, spectrum: Slha) -> None:
        warnings, problems = spectrum.spinfo()
        if problems:
            raise InvalidPoint(bounded(f"{self.name}: SPINFO 4: {'; '.join(problems)}"))
        for warning in warnings:
            if any(text in warning for text in self.invalid_warnings):
                raise InvalidPoint(bounded(f"{self.name}: SPINFO 3: {warning}"))

    def _parse(self, output: Path) -> tuple[Slha | None, str]:
        """The output file, or what is wrong with it."""
        data, trouble = self._written(output)
        if data is None:
            return None, trouble
        try:
            return Slha.parse(data), ""
        except SlhaError as error:
            return None, f"{self.output_file} cannot be read\n{error}"
