"""PythonFunction: a Python function as a tool. It runs in a child process of the slot, one point or batch at a time.

A crash, a hang or a memory blow-up of the function is then exactly that point's: the child is replaced.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from raydnnr.errors import ConfigError, InvalidPoint, ToolFailure, did_you_mean
from raydnnr.evaluation import Array, Source, Status
from raydnnr.tools.base import ManyResults, Result, Tool, WorkerDied, bounded
from raydnnr.tools.process import GIB
from raydnnr.tools.slot import ScratchRoot, Slot, SlotClosed
from raydnnr.tools.worker import Header
from raydnnr.tools.worker_process import CannotStart, TimedOut, WorkerProcess

USEFUL_TRACE = 4  # last lines of a traceback: the user's own place, not the machinery around it
FAN_OUT = 8  # a bad batch is cut into so many parts
MIN_PART_TIMEOUT_S = 1.0


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
            parts until the guilty points are known, so it should rather return NaN where it has no answer. How many
            points a call has depends on its speed: only a function that answers to the last digit whatever points are
            beside one makes a synchronous scan that repeats bit for bit.
        path: Folders to import from first. In a file, the folder of that file is always among them.
        timeout_s: Of one call: one point, or one batch of a vectorised function.
        memory_limit_gib: Address space of its process, Python and its libraries included (about 0.3 GiB with NumPy).
        recycle_gib: Once its process holds so many GiB more than after the first point, it is replaced before the next
            one, for functions that keep more and more; None: never.
    """

    default_source: ClassVar[bool] = True

    function: str | Callable[..., Any]
    vectorized: bool = False
    path: tuple[str, ...] = ()
    recycle_gib: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recycle_gib is not None:
            self._need_positive("recycle_gib", self.recycle_gib)
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
        found = super().resolve(settings, folder)
        path = settings.get("path", ())
        if not isinstance(path, list | tuple) or not all(isinstance(p, str) for p in path):
            return found
        return {**found, "path": [*(str(folder / Path(p).expanduser()) for p in path), str(folder)]}

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """``{key = "mh"}``; without it, the observable's own name."""
        for word in settings:
            if word not in {"tool", "key"}:
                raise ConfigError(f"observables.{observable}.from: no setting {word!r} for a Python tool; it accepts "
                                  f"tool, key.{did_you_mean(word, ['tool', 'key'])}")
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
            first, *trace = str(error).removeprefix(f"{self.name}: ").splitlines()
            return ["\n".join([first, *trace[-USEFUL_TRACE:]])]
        finally:
            slot.close()
            root.close()
        return []

    def fingerprint(self) -> Mapping[str, object]:
        """The function's name, and a hash of the code of its module (a given function: of its own), less comments."""
        return {"kind": "python", "function": self._label, "source": _hash_of_source(self.function, self.path),
                **self._common_fingerprint(), **({"environment": dict(self.environment)} if self.environment else {})}

    def describe(self) -> str:
        """The function."""
        return self._label

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

    def _worker(self, slot: Slot) -> WorkerProcess:
        memory = None if self.memory_limit_gib is None else int(self.memory_limit_gib * GIB)
        worker = slot.resident(self.name, lambda: WorkerProcess(self.name, self.function, self.path, memory, slot,
                                                                self.environment))
        assert isinstance(worker, WorkerProcess)
        return worker

    def _ask(self, slot: Slot, header: Header, body: memoryview, timeout_s: float) -> tuple[Header, bytearray]:
        """Question and answer; a child that died, took too long or has grown too large is dismissed."""
        worker = self._worker(slot)
        try:
            answer = worker.ask(header, body, timeout_s)
            if self.recycle_gib is not None and worker.gained_bytes() > self.recycle_gib * GIB:
                slot.dismiss(self.name)
            return answer
        except (WorkerDied, TimedOut):
            slot.dismiss(self.name)
            if slot.killed:
                raise SlotClosed("the slot was closed") from None
            raise
        except BaseException:
            slot.dismiss(self.name)
            raise

    def ask_many(self, slot: Slot, names: list[str], block: Array, wanted: list[str], timeout_s: float) -> Array:
        """Values (n, S) for a block (names, n) of points, from one call. Raises like `run`."""
        answer, body = self._ask_batch(slot, names, block, wanted, timeout_s)
        for key in wanted:
            if key not in answer["keys"] or key in answer["unusable"]:
                raise _Unreadable(str(self._useless(key, answer["keys"], answer["unusable"])))
        return np.frombuffer(body).reshape(len(wanted), block.shape[1]).T

    def _ask_batch(self, slot: Slot, names: list[str], block: Array, wanted: list[str] | None, timeout_s: float
                   ) -> tuple[Header, bytearray]:
        header: Header = {"names": names, "n_points": block.shape[1], "wanted": wanted}
        answer, body = self._ask(slot, header, np.ascontiguousarray(block).reshape(-1).data.cast("B"), timeout_s)
        self._raise_unless_ok(answer)
        return answer, body

    def _run_one_of_many(self, point: Mapping[str, float], slot: Slot) -> PythonResult:
        block = np.array([[value] for value in point.values()])
        answer, body = self._ask_batch(slot, list(point), block, None, self.timeout_s)
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


class _Unreadable(ToolFailure):
    """The function does not return what is read from it: no smaller batch will help."""


class _Narrowing:
    """A batch of points, and the parts it is cut into until every bad point is known.

    A part that does not get through is cut into `FAN_OUT` pieces, with as much less time; a single point has all the
    time there is, and a second try if its process died.
    """

    def __init__(self, tool: PythonFunction, slot: Slot, names: list[str], block: Array, wanted: list[str]) -> None:
        n_points = block.shape[1]
        self._tool, self._slot, self._names, self._block, self._wanted = tool, slot, names, block, wanted
        self._values = np.full((n_points, len(wanted)), np.nan)
        self._status = np.zeros(n_points, np.int8)
        self._attempts = np.ones(n_points, np.int8)
        self._reason = [""] * n_points
        self._texts: dict[str, str] = {}  # equal reasons are stored once

    def run(self) -> ManyResults:
        """Call the function until every point has its values or its reason."""
        parts = [(0, len(self._reason), self._tool.timeout_s)]
        while parts:
            start, stop, timeout_s = parts.pop()
            try:
                self._values[start:stop] = self._tool.ask_many(
                    self._slot, self._names, self._block[:, start:stop], self._wanted, timeout_s)
            except (SlotClosed, CannotStart, _Unreadable):
                raise
            except (InvalidPoint, ToolFailure) as error:
                parts += self._cut(start, stop, timeout_s) if stop - start > 1 else self._settle(start, error)
        return ManyResults(self._values, self._status, self._reason, self._attempts)

    def _cut(self, start: int, stop: int, timeout_s: float) -> list[tuple[int, int, float]]:
        step = -(-(stop - start) // FAN_OUT)
        pieces = [(k, min(k + step, stop)) for k in range(start, stop, step)]
        less_s = min(self._tool.timeout_s, max(MIN_PART_TIMEOUT_S, timeout_s / FAN_OUT))
        return [(a, b, less_s if b - a > 1 else self._tool.timeout_s) for a, b in reversed(pieces)]

    def _settle(self, k: int, error: InvalidPoint | ToolFailure) -> list[tuple[int, int, float]]:
        """The verdict on a single point, or its second try."""
        if isinstance(error, WorkerDied) and self._attempts[k] == 1:
            self._attempts[k] = 2
            return [(k, k + 1, self._tool.timeout_s)]
        self._status[k] = Status.INVALID if isinstance(error, InvalidPoint) else Status.FAILED
        self._reason[k] = self._texts.setdefault(str(error), str(error))
        return []


def _hash_of_source(function: str | Callable[..., Any], path: Sequence[str]) -> str | None:
    """Hash of the code that defines a function, less blank lines and comment lines; None where there is no source."""
    try:
        if isinstance(function, str):
            text = _module_source(function.partition(":")[0], path)
        else:
            text = inspect.getsource(function)
    except (OSError, TypeError):
        return None
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _module_source(name: str, path: Sequence[str]) -> str:
    """Source of a module, found without importing anything. Raises OSError if there is none."""
    where: Sequence[str] = [*path, *sys.path]
    origin = None
    for depth in range(1, name.count(".") + 2):
        spec = PathFinder.find_spec(".".join(name.split(".")[:depth]), where)
        if spec is None:
            raise FileNotFoundError(name)
        where, origin = spec.submodule_search_locations or [], spec.origin
    if not origin or not origin.endswith(".py"):
        raise FileNotFoundError(name)
    return Path(origin).read_text(encoding="utf-8", errors="surrogateescape")
