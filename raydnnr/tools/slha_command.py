"""SlhaCommand: any program that reads an SLHA file and writes another, as a tool."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NoReturn

from raydnnr.errors import ConfigError, InvalidPoint, SlhaError, ToolFailure, did_you_mean
from raydnnr.evaluation import Source, Status
from raydnnr.slha import Slha
from raydnnr.tools import process
from raydnnr.tools.base import Result, Tool, bounded
from raydnnr.tools.process import GIB, MIB, Completed, Limits, ending
from raydnnr.tools.slha_address import SlhaBranching, SlhaEntry, SlhaWidth, parse_address
from raydnnr.tools.slot import Slot, SlotClosed
from raydnnr.tools.template import compile_template, words

_KEEP = ("good", "none", "failed", "all")
_LOG_BYTES = 64 << 10  # of a log that is kept
_PLACEHOLDERS = ("input", "output")


@dataclass(frozen=True)
class SlhaResult(Result):
    """What the program wrote."""

    spectrum: Slha


@dataclass(frozen=True, kw_only=True)
class SlhaCommand(Tool):
    """A program that reads one SLHA file and writes another, in a private directory.

    A point is *invalid* when entry 4 of the output's SPINFO is there, the exit code is one of ``invalid_exit_codes``,
    or what the program printed contains one of ``invalid_messages`` (plain text, not patterns). It is *failed* when
    the program timed out, died of a signal, ended with any other exit code, or wrote no output, or one that is no
    SLHA or larger than ``max_output_mib``. Its exit code is believed only together with its output.

    Attributes:
        command: Program and arguments, run without a shell. ``{input}`` and ``{output}`` stand for the two files. A
            program with a slash in it is a path (in a file: relative to the folder of that file), else on the PATH.
        template: The input card, with expressions in its value fields (`raydnnr.tools.template`). It is read once,
            here. None: the program works on what an earlier tool left as ``input_file`` in the scratch directory.
        input_file, output_file: Names in the scratch directory. The same name: the program changes its input.
        stdin, stdout: Files the program is given as these (``"{input}"``, ``"{output}"`` or a name).
        environment: Variables to set beside the inherited ones. OMP_NUM_THREADS and its like are 1 unless set here.
        success_exit_codes, invalid_exit_codes: What an exit code means; any other one is a failure.
        invalid_messages: Texts that mean the physics said no.
        missing: ``failed`` or ``invalid``: a point without the output file, or without a number that is read from it.
        keep_files: Input and output of these points are kept: ``good``, ``failed``, ``all`` or ``none``.
        max_output_mib: Largest file the program may write, of any kind.
    """

    command: tuple[str, ...]
    template: Path | None = None
    input_file: str = "input.slha"
    output_file: str = "output.slha"
    stdin: str | None = None
    stdout: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    success_exit_codes: tuple[int, ...] = (0,)
    invalid_exit_codes: tuple[int, ...] = ()
    invalid_messages: tuple[str, ...] = ()
    missing: str = "failed"
    keep_files: str = "good"
    max_output_mib: float = 64.0
    template_text: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("command", "success_exit_codes", "invalid_exit_codes", "invalid_messages"):
            if isinstance(value := getattr(self, key), str | int):
                raise ConfigError(f"{key}: got {value!r}; use a list")
            object.__setattr__(self, key, tuple(value))
        object.__setattr__(self, "environment", {str(k): str(v) for k, v in self.environment.items()})
        self._check_command()
        self._check_files()
        self._need_positive("max_output_mib", self.max_output_mib)
        for key, accepted in (("missing", ("failed", "invalid")), ("keep_files", _KEEP)):
            if (word := getattr(self, key)) not in accepted:
                raise ConfigError(f"{key}: got {word!r}; use one of {', '.join(accepted)}."
                                  + did_you_mean(str(word), accepted))
        if self.template is not None:
            object.__setattr__(self, "template", Path(self.template))
            object.__setattr__(self, "template_text", _read_template(Path(self.template)))

    @classmethod
    def resolve(cls, settings: Mapping[str, object], folder: Path) -> dict[str, object]:
        """The template and a program with a slash are relative to ``folder``."""
        found = dict(settings)
        if isinstance(template := found.get("template"), str | Path):
            found["template"] = str(folder / Path(template).expanduser())
        command = found.get("command")
        if isinstance(command, list | tuple) and command and isinstance(command[0], str) and "/" in command[0]:
            found["command"] = [str(folder / Path(command[0]).expanduser()), *command[1:]]
        return found

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """``{block, key, q}``, ``{width = pdg}`` or ``{br = [pdg, daughters...]}``."""
        return parse_address(settings, self.name, f"observables.{observable}.from")

    def check(self) -> list[str]:
        """Whether the program is there."""
        program, path = self.command[0], self._environment_path()
        if shutil.which(program, path=path):
            return []
        if "/" in program:
            what = "is not an executable file" if os.path.exists(program) else "does not exist"
            return [f"the program {program} {what}"]
        return [f"the program {program} is not on the PATH; install it or give its path (looked in {path})"]

    def prepare(self, names: Iterable[str]) -> None:
        """Find the fields of the template."""
        if self.template is not None:
            try:
                compile_template(self.template_text, frozenset(names), str(self.template))
            except ConfigError as error:
                raise ConfigError(f"tools.{self.name}.template: {error}") from None

    def uses(self, names: Iterable[str]) -> set[str]:
        """Those in the template."""
        return set(words(self.template_text).intersection(names))

    def fingerprint(self) -> Mapping[str, object]:
        """The command (without the folder of the program), the template's content, and what counts as an answer."""
        card = self.template_text.encode("utf-8", "surrogateescape")
        return {
            "kind": "slha", "command": [os.path.basename(self.command[0]), *self.command[1:]],
            "template": hashlib.sha256(card).hexdigest()[:16] if self.template else None,
            "files": [self.input_file, self.output_file, self.stdin, self.stdout],
            "environment": dict(self.environment), "conditions": [c.text for c in self.conditions],
            "answers": [list(self.success_exit_codes), list(self.invalid_exit_codes), list(self.invalid_messages),
                        self.missing],
        }

    def run(self, point: Mapping[str, float], slot: Slot) -> SlhaResult:
        """Write the card, run the program, read what it wrote."""
        output = slot.scratch / self.output_file
        self._lay_out(point, slot, output)
        log, stdout = slot.scratch / self._log_name, self._place(self.stdout, slot)
        memory = None if self.memory_limit_gib is None else int(self.memory_limit_gib * GIB)
        try:
            completed = process.run(
                self._argv(), cwd=slot.scratch, env=process.environment(self.environment, slot.mark), groups=slot,
                timeout_s=self.timeout_s, limits=Limits(memory, int(self.max_output_mib * MIB)),
                stdin=self._place(self.stdin, slot), stdout=stdout or log, stderr=log,
            )
        except OSError as error:
            raise ToolFailure(f"{self.name}: cannot run {self._program}: {error.strerror or error}") from error
        if slot.killed:
            raise SlotClosed("the slot was closed")
        self._judge_messages(completed, [log, stdout or log])
        if completed.timed_out:
            self._fail(f"timed out after {self.timeout_s:g} s", log)
        if completed.signal == signal.SIGXFSZ or (completed.exit_code and self._wrote_too_much(slot)):
            self._fail(f"wrote a file larger than max_output_mib = {self.max_output_mib:g}", log)
        if completed.signal is not None:
            self._fail(f"died of {completed.how}", log)
        return SlhaResult(self._spectrum(completed, output, log))

    def read(self, result: Result, source: Source) -> float:
        """A number of the spectrum."""
        assert isinstance(result, SlhaResult) and isinstance(source, SlhaEntry | SlhaWidth | SlhaBranching)
        try:
            return source.value(result.spectrum)
        except SlhaError as error:
            raise self._missing(f"{self.output_file}: {error}") from None

    def keeps(self, status: Status | None) -> bool:
        """As ``keep_files`` says."""
        if self.keep_files == "none" or status is None:
            return self.keep_files != "none"
        return self.keep_files == "all" or (self.keep_files, status) in {("good", Status.OK), ("failed", Status.FAILED)}

    def files(self, slot: Slot) -> dict[str, bytes]:
        """``<tool>.<input file>`` and ``<tool>.<output file>``; where failures are kept, also the end of the log."""
        found = {}
        limits = {self.input_file: int(self.max_output_mib * MIB), self.output_file: int(self.max_output_mib * MIB)}
        if self.keep_files in {"failed", "all"}:
            limits[self._log_name] = _LOG_BYTES
        for name, limit in limits.items():
            data = _regular_bytes(slot.scratch / name, limit)
            if data is not None:
                found[name if name == self._log_name else f"{self.name}.{PurePosixPath(name).name}"] = data
        return found

    @property
    def _program(self) -> str:
        return os.path.basename(self.command[0])

    @property
    def _log_name(self) -> str:
        return f"{self.name}.log"

    def _check_command(self) -> None:
        if not self.command or not all(isinstance(word, str) and word and "\0" not in word for word in self.command):
            raise ConfigError(f"command: got {list(self.command)!r}; use a list of texts, the program first")
        for word in (*self.command, self.stdin or "", self.stdout or ""):
            for name in re.findall(r"\{(\w+)\}", word):
                if name not in _PLACEHOLDERS:
                    raise ConfigError(f"command: {word!r} has {{{name}}}, which stands for nothing; there are "
                                      f"{{input}} and {{output}}.{did_you_mean(name, _PLACEHOLDERS)}")
        if "/" in self.command[0]:
            program = str(Path(self.command[0]).expanduser().absolute())
            object.__setattr__(self, "command", (program, *self.command[1:]))

    def _check_files(self) -> None:
        for key in ("input_file", "output_file", "stdin", "stdout"):
            name = getattr(self, key)
            if name is None and key in {"stdin", "stdout"}:
                continue
            if not isinstance(name, str) or not name or name.startswith("/") or ".." in name.split("/"):
                raise ConfigError(f"{key}: got {name!r}; use a file name, which is taken in the scratch directory")

    def _replace(self, word: str) -> str:
        return word.replace("{input}", self.input_file).replace("{output}", self.output_file)

    def _place(self, name: str | None, slot: Slot) -> Path | None:
        return None if name is None else slot.scratch / self._replace(name)

    def _environment_path(self) -> str:
        return self.environment.get("PATH", os.environ.get("PATH", os.defpath))

    def _argv(self) -> list[str]:
        try:
            program = _which(self.command[0], self._environment_path())
        except FileNotFoundError:
            raise ToolFailure(f"{self.name}: {self.check()[0]}") from None
        return [program, *(self._replace(word) for word in self.command[1:])]

    def _lay_out(self, point: Mapping[str, float], slot: Slot, output: Path) -> None:
        """The card where the program will look for it, and no output of anybody else where ours is expected."""
        card = slot.scratch / self.input_file
        if self.template is not None:
            template = compile_template(self.template_text, frozenset(point), str(self.template))
            try:
                text = template.fill(point)
            except InvalidPoint as error:
                raise InvalidPoint(f"{self.name}: {error}") from None
            card.parent.mkdir(parents=True, exist_ok=True)
            card.write_bytes(text.encode("utf-8", "surrogateescape"))
        elif not card.exists() and any("{input}" in word for word in (*self.command, self.stdin or "")):
            raise ToolFailure(f"{self.name}: no earlier tool left {self.input_file}")
        output.parent.mkdir(parents=True, exist_ok=True)
        if output == card:
            os.utime(output, (0, 0))  # whether the program wrote to it shows in its time
        else:
            output.unlink(missing_ok=True)

    def _judge_messages(self, completed: Completed, logs: list[Path]) -> None:
        """Stop with an invalid point if the program said so."""
        if not self.invalid_messages or completed.timed_out:
            return
        for log in dict.fromkeys(logs):
            text = (_regular_bytes(log, int(self.max_output_mib * MIB)) or b"").decode("utf-8", "replace")
            for message in self.invalid_messages:
                if message in text:
                    line = next((line.strip() for line in text.splitlines() if message in line), message)
                    raise InvalidPoint(bounded(f"{self.name}: {message}", line))

    def _spectrum(self, completed: Completed, output: Path, log: Path) -> Slha:
        """The output, if exit code and content agree that there is one."""
        code = completed.exit_code
        spectrum, trouble = self._parse(output)
        if spectrum is not None and (problems := spectrum.spinfo()[1]):
            raise InvalidPoint(bounded(f"{self.name}: SPINFO 4: {'; '.join(problems)}"))
        if code in self.invalid_exit_codes:
            raise InvalidPoint(bounded(f"{self.name}: {self._program} exited with code {code}", process.tail(log)))
        if code not in self.success_exit_codes:
            self._fail(f"exited with {ending(code)}", log)
        if spectrum is not None:
            return spectrum
        text = f"{self._program} exited with {ending(code)} but {trouble}"
        if output.exists():
            self._fail(f"exited with {ending(code)} but {trouble}", log)
        raise self._missing(text, process.tail(log))

    def _wrote_too_much(self, slot: Slot) -> bool:
        """Whether a file met the limit (an interpreter gets an error then, not a signal)."""
        limit = int(self.max_output_mib * MIB)
        with os.scandir(slot.scratch) as entries:
            return any(entry.stat(follow_symlinks=False).st_size >= limit for entry in entries)

    def _parse(self, output: Path) -> tuple[Slha | None, str]:
        """The output file, or what is wrong with it."""
        limit = int(self.max_output_mib * MIB)
        try:
            status = output.stat()
        except OSError:
            return None, f"wrote no {self.output_file}"
        if not stat.S_ISREG(status.st_mode):
            return None, f"{self.output_file} is not a file"
        if status.st_size >= limit:
            return None, f"{self.output_file} is larger than max_output_mib = {self.max_output_mib:g}"
        if self.input_file == self.output_file and status.st_mtime == 0:
            return None, f"left {self.output_file} as it was"
        try:
            return Slha.parse(output.read_bytes()), ""
        except (SlhaError, OSError) as error:
            return None, f"{self.output_file} cannot be read\n{error}"

    def _fail(self, what: str, log: Path) -> NoReturn:
        """Equal failures have equal reasons: how long it took is a column of its own."""
        last = process.tail(log)
        raise ToolFailure(bounded(f"{self.name}: {self._program} {what}", f"last lines:\n{last}" if last else ""))

    def _missing(self, what: str, last: str = "") -> InvalidPoint | ToolFailure:
        kind = InvalidPoint if self.missing == "invalid" else ToolFailure
        return kind(bounded(f"{self.name}: {what}", f"last lines:\n{last}" if last else ""))


def _read_template(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"template: cannot read {path}: {error.strerror}") from None


def _regular_bytes(path: Path, limit: int) -> bytes | None:
    """The last ``limit`` bytes of a plain file; None if it is none (a pipe would be waited for)."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None
        with open(path, "rb") as file:
            file.seek(max(0, status.st_size - limit))
            return file.read(limit)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _which(program: str, path: str) -> str:
    if found := shutil.which(program, path=path):
        return found
    raise FileNotFoundError(program)  # not remembered: it may be installed while we run
