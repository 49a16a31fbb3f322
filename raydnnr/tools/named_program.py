"""NamedProgram: what is left of a `Program` where its arguments are known, for kinds of one code each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from raydnnr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NamedProgram:
    """A code whose arguments are known: a file names the ``program`` alone.

    It goes before a `raydnnr.tools.program.Program` in the bases of a kind. It is none itself: its fields would put
    the defaults of that class in the place of those of the other base.

    Attributes:
        program: Its name on the PATH, or its path (in a file: relative to the folder of that file).
    """

    arguments: ClassVar[tuple[str, ...]]

    program: str
    command: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        if not isinstance(self.program, str) or not self.program:
            raise ConfigError(f"program: got {self.program!r}; use a name on the PATH, or a path")
        object.__setattr__(self, "command", (self.program, *self.arguments))
        super().__post_init__()  # type: ignore[misc] # of the other base
        object.__setattr__(self, "program", self.command[0])

    @classmethod
    def resolve(cls, settings: Mapping[str, object], folder: Path) -> dict[str, object]:
        """The template and a program with a slash are relative to ``folder``."""
        found: dict[str, object] = super().resolve(settings, folder)  # type: ignore[misc] # of the other base
        if isinstance(program := found.get("program"), str) and "/" in program:
            found["program"] = str(folder / Path(program).expanduser())
        return found
