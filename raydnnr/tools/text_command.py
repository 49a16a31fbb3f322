"""TextCommand: any program whose output is text, JSON or CSV, as a tool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from raydnnr.errors import ConfigError
from raydnnr.evaluation import Source
from raydnnr.tools import process, text_template
from raydnnr.tools.base import Result
from raydnnr.tools.process import Completed, ending
from raydnnr.tools.program import PLACEHOLDERS, Program, check_file_name, regular_bytes
from raydnnr.tools.text_address import NotThere, TextSource, parse_address

STDOUT = "stdout.txt"


@dataclass(frozen=True)
class TextResult(Result):
    """What the program left in ``folder``; a file is read when a number of it is asked for."""

    folder: Path
    texts: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TextCommand(Program):
    """A program of any kind; numbers are taken from what it prints, or from files it writes.

    Observables are addressed by ``pattern`` (a regular expression), ``json``, ``csv`` or ``line`` and ``column``
    (`raydnnr.tools.text_address`), in the output file or in another ``file``. Words of the command may hold
    expressions in braces, ``"--m0={m0}"``; the template holds them in double ones, ``{{ m0 }}``.

    A point is *invalid* when the exit code is one of ``invalid_exit_codes``, the program printed one of
    ``invalid_messages``, or a number it gave is NaN. It is *failed* when the program timed out, died of a signal,
    ended with another exit code, or did not write what is read.

    Attributes:
        output_file: What observables without ``file`` are read from; ``stdout.txt``, what the program prints.
    """

    word: ClassVar[str] = "command"

    input_file: str = "input.txt"
    output_file: str = STDOUT

    def __post_init__(self) -> None:
        if self.output_file == STDOUT and self.stdout is None:
            object.__setattr__(self, "stdout", "{output}")
        super().__post_init__()
        if self.template is not None:
            text_template.expressions(self.template_text)

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """One of ``pattern``, ``json``, ``csv``, ``line`` with ``column``; and ``file``."""
        where = f"observables.{observable}.from"
        source = parse_address(settings, self.name, where)
        if source.file is not None:
            check_file_name(f"{where}.file", source.file)
        return source

    def prepare(self, names: Iterable[str]) -> None:
        """Check the expressions of command and template."""
        known = list(names)
        super().prepare(known)
        for word in self._filled_words:
            text_template.check(word, known, f"tools.{self.name}.command", double=False)

    def uses(self, names: Iterable[str]) -> set[str]:
        """Those in command and template."""
        found = text_template.expressions(self.template_text)
        for word in self._filled_words:
            found += text_template.expressions(word, double=False)
        return {name for expression in found for name in expression.names}.intersection(names)

    def read(self, result: Result, source: Source) -> float:
        """A number from the file that the source names."""
        assert isinstance(result, TextResult) and isinstance(source, TextSource)
        name = source.file or self.output_file
        if name not in result.texts:
            data = regular_bytes(result.folder / name, self._max_bytes)
            result.texts[name] = None if data is None else data.decode("utf-8", "replace")
        text = result.texts[name]
        if text is None:
            raise self._missing(f"{self._program} wrote no {name}")
        try:
            return source.value(text)
        except NotThere as error:
            raise self._missing(f"{name}: {error}", process.tail(result.folder / name)) from None

    @cached_property
    def _filled_words(self) -> list[str]:
        """Words of the command, less the names of files."""
        return [self._replace(word) for word in self.command[1:]]

    def _card(self, point: Mapping[str, float], *, fill: bool = True) -> str:
        if fill:
            return text_template.fill(self.template_text, point)
        text_template.check(self.template_text, point, str(self.template))
        return ""

    def _argument(self, word: str, point: Mapping[str, float]) -> str:
        return text_template.fill_argument(self._replace(word), point)

    def _check_word(self, word: str) -> None:
        if word in (self.stdin, self.stdout):
            return super()._check_word(word)
        for name in PLACEHOLDERS:
            word = word.replace(f"{{{name}}}", "")
        try:
            text_template.expressions(word, double=False)
        except ConfigError as error:
            raise ConfigError(f"command: {word!r}: {error}") from None

    def _result(self, completed: Completed, output: Path, log: Path) -> TextResult:
        """The folder, if the exit code and the output file agree that there is an answer."""
        self._judge_exit(completed, log)
        data, trouble = self._written(output)
        if data is None:
            said = f"{self._program} exited with {ending(completed.exit_code)} but {trouble}"
            raise self._missing(said, self._last_lines(log))
        return TextResult(log.parent, {self.output_file: data.decode("utf-8", "replace")})
