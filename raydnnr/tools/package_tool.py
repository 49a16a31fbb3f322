"""PackageTool: a physics code that is a Python package, as the base of kinds. It lives in a process of the slot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from raydnnr.errors import ToolFailure
from raydnnr.tools.formulas import Formulas
from raydnnr.tools.python_function import PythonFunction
from raydnnr.tools.slot import ScratchRoot, Slot
from raydnnr.tools.worker_process import START_TIMEOUT_S

JsonValue = Any  # what JSON holds; the worker gets it as it is


@dataclass(frozen=True, kw_only=True)
class PackageTool(PythonFunction):
    """A package that is imported once in a slot. Its process is asked by `ask`; data it reads stay there.

    The function that answers gets a request, not a point; an empty one asks it to import what it needs and to read its
    data, and is what `check` sends.
    """

    word: ClassVar[str]  # in ``kind = "..."``
    answered_by: ClassVar[str]  # ``module:function``: request -> numbers
    default_source: ClassVar[bool] = False

    function: str | Callable[..., Any] = field(init=False, default="")
    vectorized: bool = field(init=False, default=False)
    path: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", self.answered_by)
        super().__post_init__()

    def check(self) -> list[str]:
        """Import the package, and read its data, in a child process."""
        if problems := super().check():
            return problems
        root = ScratchRoot.create()
        slot = Slot(0, root)
        try:
            self.ask(slot, self._settings())
        except ToolFailure as error:
            return [str(error).removeprefix(f"{self.name}: ")]
        finally:
            slot.close()
            root.close()
        return []

    def ask(self, slot: Slot, request: Mapping[str, JsonValue]) -> Mapping[str, float]:
        """Numbers that the package gives. Raises like `run`. Importing it does not count for ``timeout_s``."""
        if not self._worker(slot).ready:
            self._values(slot, self._settings(), START_TIMEOUT_S)
            self._worker(slot).ready = True
        return self._values(slot, request, self.timeout_s)

    def _values(self, slot: Slot, request: Mapping[str, JsonValue], timeout_s: float) -> Mapping[str, float]:
        answer, _ = self._ask(slot, {"point": dict(request)}, memoryview(b""), timeout_s)
        self._raise_unless_ok(answer)
        values: Mapping[str, float] = answer["values"]
        return values

    def _settings(self) -> dict[str, JsonValue]:
        """The part of a request that is the same for all points: enough to get ready."""
        return {}


@dataclass(frozen=True, kw_only=True)
class FormulaTool(PackageTool):
    """A package that is told numbers of the user's: expressions by name, in the setting ``table``."""

    table: ClassVar[str]

    def prepare(self, names: Iterable[str]) -> None:
        """Check the expressions."""
        self._formulas.check(names, f"tools.{self.name}")

    def uses(self, names: Iterable[str]) -> set[str]:
        """Those in the expressions."""
        return self._formulas.uses(names)

    @cached_property
    def _formulas(self) -> Formulas:
        return Formulas(self.table, getattr(self, self.table))
