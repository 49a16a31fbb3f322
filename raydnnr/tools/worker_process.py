"""WorkerProcess: the parent's end of a `raydnnr.tools.worker`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raydnnr.errors import ToolFailure
from raydnnr.tools import process
from raydnnr.tools.base import WorkerDied, bounded
from raydnnr.tools.process import Child, ending
from raydnnr.tools.slot import Slot
from raydnnr.tools.worker import Header, Inbox, send

START_TIMEOUT_S = 600.0  # importing the physics, once per slot
MAX_LOG_BYTES = 1 << 20  # of what it printed that are kept from one call to the next
_ASK_S = 0.05  # between looks at a child where there is no pidfd
_PIPE_BYTES = 1 << 20
_PACKAGE_ROOT = str(Path(__file__).parents[2])


class TimedOut(ToolFailure):
    """The function took longer than it may."""


class CannotStart(ToolFailure):
    """There is no process that could run the function: another point would not fare better."""


class WorkerProcess:
    """A child process that has imported a function and waits for points.

    Args:
        name: Of the tool, for messages.
        function: ``module:function`` or the function itself.
        path: Folders to import from, before ours.
        memory_bytes: Limit of its address space, or None.
        slot: Where it works; it stays until the slot closes.
        variables: To set in its environment.

    Raises:
        CannotStart: The function cannot be imported, or Python not started.
    """

    def __init__(self, name: str, function: str | Callable[..., Any], path: Sequence[str], memory_bytes: int | None,
                 slot: Slot, variables: Mapping[str, str] | None = None) -> None:
        self.ready = False  # for its user: whether it has read its data
        self._name = name
        self._held_at_first: int | None = None
        self._log = slot.log(name)
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
            self._log_file = undo.enter_context(open(self._log, "ab", buffering=0))
            self._write_fd, self._read_fd, their_fds = _pipes(undo, theirs)
            try:
                self._child = Child(
                    [sys.executable, "-P", "-m", "raydnnr.tools.worker", *map(str, their_fds)],
                    cwd=slot.scratch, groups=slot,
                    env=process.environment(variables or {}, slot.mark, {"PYTHONPATH": _python_path()}),
                    stdout=self._log_file, stderr=self._log_file, pass_fds=their_fds,
                )
            except OSError as error:
                raise CannotStart(f"{name}: cannot start {sys.executable}: {error}") from error
            undo.callback(self._child.reap)
            theirs.close()
            self._inbox = Inbox(self._read_fd)
            self._set_up(function, path, memory_bytes)
            self._undo = undo.pop_all()

    def ask(self, header: Header, body: memoryview | bytes, timeout_s: float) -> tuple[Header, bytearray]:
        """Send a message and wait for its answer.

        Raises:
            TimedOut: No answer within ``timeout_s``. The process has been told to end.
            WorkerDied: It ended before it answered.
        """
        since = self._trim_log()
        deadline = time.monotonic() + timeout_s
        try:
            send(self._write_fd, header, body)
        except BrokenPipeError:
            raise self._died(since) from None
        while (message := self._inbox.take()) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not self._wait(left):
                self._child.terminate()
                raise TimedOut(bounded(f"{self._name}: timed out after {timeout_s:g} s", self._printed(since)))
            if not (self._readable(0) and self._inbox.read()):
                raise self._died(since)
        return message

    def gained_bytes(self) -> int:
        """Memory that it holds now and did not when this was first asked; 0 where that cannot be known."""
        held = process.held_bytes(self._child.pid)
        if self._held_at_first is None:
            self._held_at_first = held
        return held - self._held_at_first

    def close(self) -> None:
        """End the process and everything it started."""
        self._undo.close()

    def _set_up(self, function: str | Callable[..., Any], path: Sequence[str], memory_bytes: int | None) -> None:
        by_value = b""
        if not isinstance(function, str):
            import cloudpickle  # here: a function that is named by its address does without it

            by_value = cloudpickle.dumps(function)
        ours = [os.path.abspath(folder) for folder in sys.path]
        header: Header = {
            "function": function if isinstance(function, str) else None, "path": list(dict.fromkeys([*path, *ours])),
            "looked_in": [*path] or [os.getcwd()], "memory_bytes": memory_bytes,
            "pythonpath": os.environ.get("PYTHONPATH"),
        }
        try:
            answer, _ = self.ask(header, by_value, START_TIMEOUT_S)
        except WorkerDied as died:
            raise CannotStart(f"{self._name}: Python ended while it imported the function\n{died}") from None
        if answer["status"]:
            first = f"{self._name}: cannot import the function: {answer['reason']}"
            raise CannotStart(bounded(first, answer["trace"]))

    def _wait(self, timeout_s: float) -> bool:
        """Whether there is an answer, or no one to give it, within ``timeout_s``."""
        if self._child.pidfd is not None:
            return self._readable(timeout_s, self._child.pidfd)
        deadline = time.monotonic() + timeout_s
        while not self._readable(min(_ASK_S, max(0.0, deadline - time.monotonic()))):
            if self._child.wait(0):
                return True
            if time.monotonic() >= deadline:
                return False
        return True

    def _readable(self, timeout_s: float, *also: int) -> bool:
        poll = select.poll()
        for fd in (self._read_fd, *also):
            poll.register(fd, select.POLLIN)
        return bool(poll.poll(1000 * min(timeout_s, 1e6)))

    def _died(self, since: int) -> WorkerDied:
        how = ending(self._child.reap())
        return WorkerDied(bounded(f"{self._name}: its Python process died of {how}", self._printed(since)))

    def _printed(self, since: int) -> str:
        return process.tail(self._log, n_bytes=3000, n_lines=40, since=since)

    def _trim_log(self) -> int:
        """Forget what was printed if it is much; where the log ends now."""
        size = os.fstat(self._log_file.fileno()).st_size
        if size > MAX_LOG_BYTES:
            os.ftruncate(self._log_file.fileno(), 0)
            return 0
        return size


def _pipes(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int, tuple[int, int]]:
    """Our ends (write, read), and the child's (read, write); the stacks close them."""
    read_there, write_here = os.pipe()
    read_here, write_there = os.pipe()
    for stack, fds in ((ours, (write_here, read_here)), (theirs, (read_there, write_there))):
        for fd in fds:
            stack.callback(os.close, fd)
    for fd in (write_here, read_here):
        with contextlib.suppress(OSError, AttributeError):  # Linux only, and limited per user
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return write_here, read_here, (read_there, write_there)


def _python_path() -> str:
    """What makes `raydnnr` importable in the child, however we found it; the child puts PYTHONPATH back as it was."""
    return os.pathsep.join([_PACKAGE_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
