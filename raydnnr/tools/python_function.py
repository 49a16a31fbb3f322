"""PythonFunction: a Python function as a tool. It runs in a child process of the slot, one point or batch at a time.

A crash, a hang or a memory blow-up of the function is then exactly that point's: the child is replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.machinery
import inspect
import itertools
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raydnnr.errors import ConfigError, InvalidPoint, ToolFailure, did_you_mean
from raydnnr.evaluation import Array, Source, Status
from raydnnr.tools import process
from raydnnr.tools.base import ManyResults, Result, Tool, WorkerDied, bounded
from raydnnr.tools.process import GIB, Child, ending
from raydnnr.tools.slot import ScratchRoot, Slot, SlotClosed
from raydnnr.tools.worker import Header, Inbox, send

START_TIMEOUT_S = 600.0  # importing the physics, once per slot
FAN_OUT = 8  # a bad batch is cut into so many parts
MIN_PART_TIMEOUT_S = 1.0
MAX_LOG_BYTES = 1 << 20  # of a child's log that are kept from one point to the next
_PACKAGE_ROOT = str(Path(__file__).parents[2])


class TimedOut(ToolFailure):
    """The function took longer than its tool's ``timeout_s``."""


@dataclass(frozen=True)
class PythonSource:
    """``{key = "mh"}``: a key of the dict that the function returns."""

    tool: str
    key: str


@dataclass(frozen=True)
class PythonResult(Result):
    """What the function returned: ``values`` that are numbers, and for the other keys why they are ``unusable``."""

    values: Mapping[str, float]
    unusable: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class PythonFunction(Tool):
    """A Python function ``f(point: dict[str, float]) -> dict[str, float]``.

    It says that a point is *invalid* with `InvalidPoint` or with a NaN; any other exception, a dict without a key that
    is read, a time-out or the death of its process make the point *failed*. It runs in the slot's scratch directory,
    where earlier tools have left their files.

    Attributes:
        function: ``"module:function"``, or the function itself (sent with cloudpickle).
        vectorized: It takes and returns arrays, one value per point. One that raises is called again with smaller
            parts until the guilty points are known, so it should rather return NaN where it has no answer.
        path: Folders to import from first. In a file, the folder of that file is always among them.
        timeout_s: Of one call: one point, or one batch of a vectorised function.
        memory_limit_gib: Address space of its process, Python and its libraries included (about 0.3 GiB with NumPy).
    """

    function: str | Callable[..., Any]
    vectorized: bool = False
    path: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.function, str):
            if not re.fullmatch(r"[\w.]+:[\w.]+", self.function):
                raise ConfigError(f"function: got {self.function!r}; use 'module:function'")
        elif not callable(self.function):
            raise ConfigError(f"function: got {self.function!r}; use 'module:function', or a function")
        if not isinstance(self.vectorized, bool):
            raise ConfigError(f"vectorized: got {self.vectorized!r}; use true or false")
        folders = [self.path] if isinstance(self.path, str | Path) else self.path
        object.__setattr__(self, "path", tuple(str(Path(p).expanduser().absolute()) for p in folders))

    @classmethod
    def resolve(cls, settings: Mapping[str, object], folder: Path) -> dict[str, object]:
        """Paths are relative to ``folder``, which is importable itself."""
        path = settings.get("path", ())
        if not isinstance(path, list | tuple) or not all(isinstance(p, str) for p in path):
            return dict(settings)
        return {**settings, "path": [*(str(folder / Path(p).expanduser()) for p in path), str(folder)]}

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """``{key = "mh"}``; without it, the observable's own name."""
        for key in settings:
            if key not in {"tool", "key"}:
                raise ConfigError(f"observables.{observable}.from: no setting {key!r} for a Python tool; it accepts "
                                  f"tool, key.{did_you_mean(key, ['tool', 'key'])}")
        key = settings.get("key", observable)
        if not isinstance(key, str):
            raise ConfigError(f"observables.{observable}.from.key: got {key!r}; use a key of the returned dict")
        return PythonSource(self.name, key)

    def check(self) -> list[str]:
        """Import the function in a child process."""
        root = ScratchRoot.create()
        slot = Slot(0, root)
        try:
            self._worker(slot)
        except ToolFailure as error:
            return [str(error).removeprefix(f"{self.name}: ")]
        finally:
            slot.close()
            root.close()
        return []

    def fingerprint(self) -> Mapping[str, object]:
        """The function's name, and a hash of the code of its module (a given function: of its own), less comments."""
        return {"kind": "python", "function": self._label, "source": _hash_of_source(self.function, self.path),
                "conditions": [c.text for c in self.conditions]}

    def run(self, point: Mapping[str, float], slot: Slot) -> PythonResult:
        """Call the function with one point."""
        if self.vectorized:
            return self._run_one_of_many(point, slot)
        answer, _ = self._ask(slot, {"point": dict(point)}, memoryview(b""), self.timeout_s)
        self._raise_unless_ok(answer)
        return PythonResult(answer["values"], answer["unusable"])

    def read(self, result: Result, source: Source) -> float:
        """A value of the returned dict."""
        assert isinstance(result, PythonResult) and isinstance(source, PythonSource)
        if source.key in result.values:
            return result.values[source.key]
        raise self._useless(source.key, [*result.values, *result.unusable], result.unusable)

    def run_many(self, columns: Mapping[str, Array], sources: Sequence[Source], slot: Slot) -> ManyResults:
        """Call the function with a batch, and again with parts of it where it broke."""
        names = list(columns)
        block = np.array([columns[name] for name in names], dtype=np.float64)
        wanted = [source.key for source in sources if isinstance(source, PythonSource)]
        return _Narrowing(self, slot, names, block, wanted).run()

    @property
    def _label(self) -> str:
        if isinstance(self.function, str):
            return self.function
        function = self.function
        return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__qualname__)}"

    def _worker(self, slot: Slot) -> Worker:
        worker = slot.resident(self.name, lambda: Worker(self, slot))
        assert isinstance(worker, Worker)
        return worker

    def _ask(self, slot: Slot, header: Header, body: memoryview, timeout_s: float) -> tuple[Header, bytearray]:
        """Question and answer; a child that died or took too long is dismissed."""
        worker = self._worker(slot)
        try:
            return worker.ask(header, body, timeout_s)
        except (WorkerDied, TimedOut):
            slot.dismiss(self.name)
            if slot.killed:
                raise SlotClosed("the slot was closed") from None
            raise
        except BaseException:
            slot.dismiss(self.name)
            raise

    def _ask_many(self, slot: Slot, names: list[str], block: Array, wanted: list[str], timeout_s: float) -> Array:
        """Values (S, n) for a block (names, n) of points. Raises like `run`."""
        header: Header = {"names": names, "n_points": block.shape[1], "wanted": wanted}
        answer, body = self._ask(slot, header, np.ascontiguousarray(block).reshape(-1).data.cast("B"), timeout_s)
        self._raise_unless_ok(answer)
        for key in wanted:
            if key not in answer["keys"] or key in answer["unusable"]:
                raise _Useless(str(self._useless(key, answer["keys"], answer["unusable"])))
        return np.frombuffer(body).reshape(len(wanted), block.shape[1])

    def _run_one_of_many(self, point: Mapping[str, float], slot: Slot) -> PythonResult:
        block = np.array([[value] for value in point.values()])
        header: Header = {"names": list(point), "n_points": 1, "wanted": None}
        answer, body = self._ask(slot, header, block.reshape(-1).data.cast("B"), self.timeout_s)
        self._raise_unless_ok(answer)
        values = dict(zip(answer["keys"], np.frombuffer(body).tolist(), strict=True))
        return PythonResult({k: v for k, v in values.items() if k not in answer["unusable"]}, answer["unusable"])

    def _raise_unless_ok(self, answer: Header) -> None:
        if answer["status"] == Status.OK:
            return
        kind = InvalidPoint if answer["status"] == Status.INVALID else ToolFailure
        raise kind(bounded(f"{self.name}: {answer['reason']}", answer.get("trace", "")))

    def _useless(self, key: str, returned: Sequence[str], unusable: Mapping[str, str]) -> ToolFailure:
        if key in unusable:
            return ToolFailure(f"{self.name}: {key!r} in what the function returned {unusable[key]}")
        return ToolFailure(f"{self.name}: the function returned no {key!r}; it returned "
                           f"{', '.join(returned) or 'an empty dict'}.{did_you_mean(key, returned)}")
