"""Program: a command that is run on files in a private directory, as the base of tools that are external codes.

What is common to all of them stands here: the command, its card, its limits, and what its exit says of the point. What
its output means is the business of the kinds: `raydnnr.tools.slha_command`, `raydnnr.tools.text_command`.
"""

from __future__ import annotations

import abc
import hashlib
import os
import re
import shlex
import shutil
import signal
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import ClassVar, NoReturn

from raydnnr.errors import ConfigError, InvalidPoint, ToolFailure, did_you_mean
from raydnnr.evaluation import Status
from raydnnr.tools import process
from raydnnr.tools.base import Result, Tool, bounded
from raydnnr.tools.process import GIB, MIB, Completed, Limits, ending
from raydnnr.tools.slot import Slot, SlotClosed

_KEEP = ("good", "none", "failed", "all")
_LOG_BYTES = 64 << 10  # of a log that is kept
PLACEHOLDERS = ("input", "output")


@dataclass(frozen=True, kw_only=True)
class Program(Tool):
    """A program that works on files in a private directory.

    Attributes:
        command: Program and arguments, run without a shell. ``{input}`` and ``{output}`` stand for the two files. A
            program with a slash in it is a path (in a file: relative to the folder of that file), else on the PATH.
        template: The input card, with expressions for the point's values. It is read once, here. None: the program
            works on what an earlier tool left as ``input_file`` in the scratch directory.
        input_file, output_file: Names in the scratch directory. The same name: the program changes its input.
        stdin, stdout: Files the program is given as these (``"{input}"``, ``"{output}"`` or a name).
        success_exit_codes, invalid_exit_codes: What an exit code means; any other one is a failure.
        invalid_messages: Texts that mean the physics said no, where the program prints one of them (no patterns).
        missing: ``failed`` or ``invalid``: a point without the output file, or without a number that is read from it.
        keep_files: Input and output of these points are kept: ``good``, ``failed``, ``all`` or ``none``.
        keep_max_mib: A larger file is not kept, whatever ``keep_files`` says.
        keep_total_gib: Once a run directory holds kept files of this size, of all tools together, nothing more is
            kept; those of finished rounds are compressed. Tools that say different things: the largest counts.
        max_output_mib: Largest file the program may write, of any kind.
    """

    word: ClassVar[str]  # in ``kind = "..."``, and in what makes one scan differ from another
    paths: ClassVar[tuple[str, ...]] = ("template",)

    command: tuple[str, ...]
    template: Path | None = None
    input_file: str = "input.slha"
    output_file: str = "output.slha"
    stdin: str | None = None
    stdout: str | None = None
    success_exit_codes: tuple[int, ...] = (0,)
    invalid_exit_codes: tuple[int, ...] = ()
    invalid_messages: tuple[str, ...] = ()
    missing: str = "failed"
    keep_files: str = "good"
    keep_max_mib: float = 4.0
    keep_total_gib: float = 5.0
    max_output_mib: float = 64.0
    template_text: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("command", "success_exit_codes", "invalid_exit_codes", "invalid_messages"):
            if isinstance(value := getattr(self, key), str | int):
                raise ConfigError(f"{key}: got {value!r}; use a list")
            object.__setattr__(self, key, tuple(value))
        self._check_command()
        self._check_files()
        for key in ("max_output_mib", "keep_max_mib", "keep_total_gib"):
            self._need_positive(key, getattr(self, key))
        self._need_word("missing", ("failed", "invalid"))
        self._need_word("keep_files", _KEEP)
        if self.template is not None:
            object.__setattr__(self, "template", Path(self.template))
            object.__setattr__(self, "template_text", read_template(Path(self.template)))

    @classmethod
    def resolve(cls, settings: Mapping[str, object], folder: Path) -> dict[str, object]:
        """The template and a program with a slash are relative to ``folder``."""
        found = super().resolve(settings, folder)
        command = found.get("command")
        if isinstance(command, list | tuple) and command and isinstance(command[0], str) and "/" in command[0]:
            found["command"] = [str(folder / Path(command[0]).expanduser()), *command[1:]]
        return found

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
                self._card(dict.fromkeys(names, 1.0), fill=False)
            except ConfigError as error:
                raise ConfigError(f"tools.{self.name}.template: {error}") from None

    def fingerprint(self) -> Mapping[str, object]:
        """The command (without the folder of the program), the template's content, and what counts as an answer."""
        card = self.template_text.encode("utf-8", "surrogateescape")
        return {
            "kind": self.word, "command": [os.path.basename(self.command[0]), *self.command[1:]],
            "template": hashlib.sha256(card).hexdigest()[:16] if self.template else None,
            "files": [self.input_file, self.output_file, self.stdin, self.stdout],
            "environment": dict(self.environment), **self._common_fingerprint(),
            "answers": [list(self.success_exit_codes), list(self.invalid_exit_codes), list(self.invalid_messages),
                        self.missing],
        }

    def describe(self) -> str:
        """The command, with the names of its files."""
        return shlex.join([self.command[0], *map(self._replace, self.command[1:])]) + self._redirections

    def describe_at(self, point: Mapping[str, float]) -> str:
        """The command with the numbers of a point."""
        try:
            return shlex.join(self._argv(point)) + self._redirections
        except (InvalidPoint, ToolFailure):  # it did not come to that
            return self.describe()

    def run(self, point: Mapping[str, float], slot: Slot) -> Result:
        """Write the card, run the program, read what it wrote."""
        output = slot.scratch / self.output_file
        self._lay_out(point, slot, output)
        log = slot.scratch / self._log_name
        completed = self._completed(self._argv(point), slot, log)
        if slot.killed:
            raise SlotClosed("the slot was closed")
        self._judge_messages(completed, [log, self._place(self.stdout, slot) or log])
        if completed.timed_out:
            self._fail(f"timed out after {self.timeout_s:g} s", log)
        if completed.signal == signal.SIGXFSZ or (completed.exit_code and self._wrote_too_much(slot)):
            self._fail(f"wrote a file larger than max_output_mib = {self.max_output_mib:g}", log)
        if completed.signal is not None:
            self._fail(f"died of {completed.how}", log)
        return self._result(completed, output, log)

    def keeps(self, status: Status | None) -> bool:
        """As ``keep_files`` says."""
        if self.keep_files == "none" or status is None:
            return self.keep_files != "none"
        return self.keep_files == "all" or (self.keep_files, status) in {("good", Status.OK), ("failed", Status.FAILED)}

    def files(self, slot: Slot) -> dict[str, bytes]:
        """``<tool>.<input file>`` and ``<tool>.<output file>``; where failures are kept, also the end of the log."""
        found = {}
        for name in (self.input_file, self.output_file):
            path = slot.scratch / name
            if _size(path) <= self.keep_max_mib * MIB and (data := regular_bytes(path, self._max_bytes)) is not None:
                found[f"{self.name}.{PurePosixPath(name).name}"] = data
        if self.keep_files in {"failed", "all"}:
            log = regular_bytes(slot.scratch / self._log_name, _LOG_BYTES)
            found |= {} if log is None else {self._log_name: log}
        return found

    # ---- what the kinds say

    @abc.abstractmethod
    def _card(self, point: Mapping[str, float], *, fill: bool = True) -> str:
        """The template filled with a point's values; ``fill = False``: only checked, for these names.

        Raises:
            ConfigError: It uses a name that the point does not have.
            InvalidPoint: A value is not finite.
        """

    @abc.abstractmethod
    def _result(self, completed: Completed, output: Path, log: Path) -> Result:
        """What the program left, or what its exit code and its output say together. Raises like `run`."""

    def _argument(self, word: str, point: Mapping[str, float]) -> str:
        """A word of the command for one point."""
        return self._replace(word)

    def _variables(self) -> Mapping[str, str]:
        """What is set in its environment beside the inherited ones."""
        return self.environment

    # ---- parts

    @property
    def _redirections(self) -> str:
        return "".join(f" {sign} {self._replace(name)}" for sign, name in (("<", self.stdin), (">", self.stdout))
                       if name is not None)

    @property
    def _program(self) -> str:
        return os.path.basename(self.command[0])

    @property
    def _log_name(self) -> str:
        return f"{self.name}.log"

    @property
    def _max_bytes(self) -> int:
        return int(self.max_output_mib * MIB)

    def _need_word(self, key: str, accepted: tuple[str, ...]) -> None:
        if (word := getattr(self, key)) not in accepted:
            raise ConfigError(f"{key}: got {word!r}; use one of {', '.join(accepted)}."
                              + did_you_mean(str(word), accepted))

    def _check_command(self) -> None:
        if not self.command or not all(isinstance(word, str) and word and "\0" not in word for word in self.command):
            raise ConfigError(f"command: got {list(self.command)!r}; use a list of texts, the program first")
        for word in (*self.command, self.stdin or "", self.stdout or ""):
            self._check_word(word)
        if "/" in self.command[0]:
            program = str(Path(self.command[0]).expanduser().absolute())
            object.__setattr__(self, "command", (program, *self.command[1:]))

    def _check_word(self, word: str) -> None:
        for name in re.findall(r"\{(\w+)\}", word):
            if name not in PLACEHOLDERS:
                raise ConfigError(f"command: {word!r} has {{{name}}}, which stands for nothing; there are "
                                  f"{{input}} and {{output}}.{did_you_mean(name, PLACEHOLDERS)}")

    def _check_files(self) -> None:
        for key in ("input_file", "output_file", "stdin", "stdout"):
            name = getattr(self, key)
            if name is not None or key not in {"stdin", "stdout"}:
                check_file_name(key, name)

    def _replace(self, word: str) -> str:
        return word.replace("{input}", self.input_file).replace("{output}", self.output_file)

    def _place(self, name: str | None, slot: Slot) -> Path | None:
        return None if name is None else slot.scratch / self._replace(name)

    def _environment_path(self) -> str:
        return self.environment.get("PATH", os.environ.get("PATH", os.defpath))

    def _argv(self, point: Mapping[str, float]) -> list[str]:
        try:
            program = _which(self.command[0], self._environment_path())
        except FileNotFoundError:
            raise ToolFailure(f"{self.name}: {self.check()[0]}") from None
        return [program, *(self._argument(word, point) for word in self.command[1:])]

    def _completed(self, argv: list[str], slot: Slot, log: Path) -> Completed:
        memory = None if self.memory_limit_gib is None else int(self.memory_limit_gib * GIB)
        try:
            return process.run(
                argv, cwd=slot.scratch, env=process.environment(self._variables(), slot.mark), groups=slot,
                timeout_s=self.timeout_s, limits=Limits(memory, self._max_bytes),
                stdin=self._place(self.stdin, slot), stdout=self._place(self.stdout, slot) or log, stderr=log,
            )
        except OSError as error:
            raise ToolFailure(f"{self.name}: cannot run {self._program}: {error.strerror or error}") from error

    def _lay_out(self, point: Mapping[str, float], slot: Slot, output: Path) -> None:
        """The card where the program will look for it, and no output of anybody else where ours is expected."""
        card = slot.scratch / self.input_file
        if self.template is not None:
            try:
                text = self._card(point)
            except InvalidPoint as error:
                raise InvalidPoint(f"{self.name}: {error}") from None
            card.parent.mkdir(parents=True, exist_ok=True)
            card.write_bytes(text.encode("utf-8", "surrogateescape"))
        elif not card.exists() and any("{input}" in word for word in (*self.command, self.stdin or "")):
            raise ToolFailure(f"{self.name}: no earlier tool left {self.input_file}")
        output.parent.mkdir(parents=True, exist_ok=True)
        if output == card:
            if card.exists():
                os.utime(output, (0, 0))  # whether the program wrote to it shows in its time
        else:
            output.unlink(missing_ok=True)

    def _judge_messages(self, completed: Completed, logs: list[Path]) -> None:
        """Stop with an invalid point if the program said so."""
        if not self.invalid_messages or completed.timed_out:
            return
        for log in dict.fromkeys(logs):
            text = (regular_bytes(log, self._max_bytes) or b"").decode("utf-8", "replace")
            for message in self.invalid_messages:
                if message in text:
                    line = next((line.strip() for line in text.splitlines() if message in line), message)
                    raise InvalidPoint(bounded(f"{self.name}: {message}", line))

    def _judge_exit(self, completed: Completed, log: Path) -> None:
        """Stop unless the exit code means success."""
        code = completed.exit_code
        if code in self.invalid_exit_codes:
            said = f"{self.name}: {self._program} exited with code {code}"
            raise InvalidPoint(bounded(said, self._last_lines(log)))
        if code not in self.success_exit_codes:
            self._fail(f"exited with {ending(code)}", log)

    def _wrote_too_much(self, slot: Slot) -> bool:
        """Whether a file met the limit (an interpreter gets an error then, not a signal)."""
        with os.scandir(slot.scratch) as entries:
            return any(entry.stat(follow_symlinks=False).st_size >= self._max_bytes for entry in entries)

    def _written(self, output: Path) -> tuple[bytes | None, str]:
        """What the program wrote to its output file, or what is wrong with it."""
        try:
            status = output.stat()
        except OSError:
            return None, f"wrote no {output.name}"
        if not stat.S_ISREG(status.st_mode):
            return None, f"{output.name} is not a file"
        if status.st_size >= self._max_bytes:
            return None, f"{output.name} is larger than max_output_mib = {self.max_output_mib:g}"
        if self.input_file == self.output_file and status.st_mtime == 0:
            return None, f"left {output.name} as it was"
        try:
            return output.read_bytes(), ""
        except OSError as error:
            return None, f"{output.name} cannot be read\n{error}"

    def _fail(self, what: str, log: Path) -> NoReturn:
        """Equal failures have equal reasons: how long it took is a column of its own."""
        last = self._last_lines(log)
        raise ToolFailure(bounded(f"{self.name}: {self._program} {what}", f"last lines:\n{last}" if last else ""))

    def _last_lines(self, log: Path) -> str:
        """What the program said last; where the log is empty, in the file that its standard output goes to."""
        last = process.tail(log)
        return last if last or self.stdout is None else process.tail(log.parent / self._replace(self.stdout))

    def _missing(self, what: str, last: str = "") -> InvalidPoint | ToolFailure:
        kind = InvalidPoint if self.missing == "invalid" else ToolFailure
        return kind(bounded(f"{self.name}: {what}", f"last lines:\n{last}" if last else ""))


def check_file_name(key: str, name: object) -> None:
    """Refuse what is no file name below the scratch directory.

    Raises:
        ConfigError: It is absolute, climbs, or is no text.
    """
    if not isinstance(name, str) or not name or name.startswith("/") or ".." in name.split("/"):
        raise ConfigError(f"{key}: got {name!r}; use a file name, which is taken in the scratch directory")


def regular_bytes(path: Path, limit: int) -> bytes | None:
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


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def read_template(path: Path) -> str:
    """A card as text, whatever its bytes. Raises ConfigError if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"template: cannot read {path}: {error.strerror}") from None


@lru_cache(maxsize=64)
def _which(program: str, path: str) -> str:
    if found := shutil.which(program, path=path):
        return found
    raise FileNotFoundError(program)  # not remembered: it may be installed while we run
