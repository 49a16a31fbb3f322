"""Commands: an argv list -> how the process ended. Nothing that it started in its group outlives the call.

Every child leads a session of its own, so its process group is all it starts. The exit is awaited on a pidfd (no
signal, no polling), and the group is killed *before* its leader is reaped: until then the number cannot be reused.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Protocol

from raydnnr.errors import ToolFailure

GRACE_S = 0.5  # between TERM and KILL
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
GIB, MIB = 1 << 30, 1 << 20
Environment = Mapping[bytes, bytes]
_LONGEST_POLL_S = 86400.0
_HAS_PRLIMIT = hasattr(resource, "prlimit")


class Groups(Protocol):
    """Who must know which process groups run, to end them when we cannot."""

    def add(self, pgid: int) -> None:
        """A group runs."""
        ...

    def discard(self, pgid: int) -> None:
        """A group has ended; its number is still reserved."""
        ...


@dataclass(frozen=True)
class Limits:
    """Of one process: address space, and the size of any file it writes, in bytes. None: no limit."""

    memory_bytes: int | None = None
    file_bytes: int | None = None


@dataclass(frozen=True)
class Completed:
    """How a process ended: by ``exit_code`` or by ``signal`` (the other is None), after ``seconds``."""

    exit_code: int | None
    signal: int | None
    seconds: float
    timed_out: bool

    @property
    def how(self) -> str:
        """In words.

        >>> Completed(None, 11, 0.1, False).how
        'signal 11 (SIGSEGV)'
        """
        return ending(self.exit_code if self.signal is None else -self.signal)


def ending(returncode: int | None) -> str:
    """The return code of a process (``-N``: signal N) in words.

    >>> ending(3)
    'code 3'
    """
    if returncode is None:
        return "an unknown status"
    if returncode >= 0:
        return f"code {returncode}"
    with contextlib.suppress(ValueError):
        return f"signal {-returncode} ({signal.Signals(-returncode).name})"
    return f"signal {-returncode}"


class Child:
    """A process that leads its own group. Always `reap` it.

    Args:
        argv: Program and arguments; no shell.
        cwd: Working directory.
        env: Its whole environment (`environment`).
        groups: Told when the group starts and has ended.
        stdin, stdout, stderr: Open files, or None for ``/dev/null``.
        pass_fds: Descriptors it inherits.

    Raises:
        OSError: The program cannot be started.
    """

    def __init__(self, argv: Sequence[str], *, cwd: Path, env: Environment, groups: Groups,
                 limits: Limits = Limits(), stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None,
                 stderr: IO[bytes] | None = None, pass_fds: Sequence[int] = ()) -> None:
        null = subprocess.DEVNULL
        self._groups = groups
        self._process = subprocess.Popen(
            argv if _HAS_PRLIMIT else _limiting(argv, limits), cwd=cwd, env=env, pass_fds=pass_fds,
            stdin=null if stdin is None else stdin, stdout=null if stdout is None else stdout,
            stderr=null if stderr is None else stderr, start_new_session=True,
        )
        self.pid = self._process.pid
        self._pidfd = _pidfd(self.pid)
        self._reaped = self._lost = False
        try:
            groups.add(self.pid)
            if _HAS_PRLIMIT:
                _limit(self.pid, limits)
        except BaseException:
            self.reap()
            raise

    @property
    def pidfd(self) -> int | None:
        """Readable once the process has ended; None where the system has no such thing."""
        return self._pidfd

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within ``timeout_s``. It is not reaped."""
        deadline = time.monotonic() + timeout_s
        if self._pidfd is None:
            return self._wait_by_asking(deadline)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        while True:
            left = max(0.0, deadline - time.monotonic())
            if poll.poll(1000 * min(left, _LONGEST_POLL_S)):
                return True
            if left <= _LONGEST_POLL_S:
                return False

    def terminate(self) -> None:
        """TERM to the group, and a moment to comply; `reap` kills what does not."""
        self._signal(signal.SIGTERM)
        self.wait(GRACE_S)

    def reap(self) -> int | None:
        """Kill what is left of the group, take the exit status: a code, ``-N`` for signal N, None if it got lost."""
        if not self._reaped:
            self._reaped = True
            self._signal(signal.SIGKILL)
            self._groups.discard(self.pid)
            self._take_status(0)
            if self._pidfd is not None:
                os.close(self._pidfd)
        return None if self._lost else self._process.returncode

    def _take_status(self, options: int) -> bool:
        """Whether it has ended. Not with `Popen.wait`: where the status is lost, that one invents a success."""
        if self._process.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:  # somebody else took it, or SIGCHLD is ignored
                self._process.returncode, self._lost = 0, True  # for Popen: there is nothing to wait for
                return True
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._process.returncode is not None

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            os.killpg(self.pid, number)

    def _wait_by_asking(self, deadline: float) -> bool:
        pause = 0.0005
        while not self._take_status(os.WNOHANG):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(2 * pause, 0.02)
        return True


def run(argv: Sequence[str], *, cwd: Path, env: Environment, groups: Groups, timeout_s: float,
        limits: Limits = Limits(), stdin: Path | None = None, stdout: Path | None = None,
        stderr: Path | None = None) -> Completed:
    """Run a program to its end, or to its time-out: then TERM, and `GRACE_S` later KILL, to its whole group.

    Args:
        stdin: File it reads; None: nothing.
        stdout, stderr: Files it writes, truncated first; the same path twice: both together. None: thrown away.

    Raises:
        OSError: The program cannot be started, or a file cannot be opened.
        ToolFailure: Its exit status got lost.
    """
    with contextlib.ExitStack() as files:
        source = files.enter_context(open(stdin, "rb", buffering=0)) if stdin else None
        output = files.enter_context(open(stdout, "wb", buffering=0)) if stdout else None
        if stderr == stdout:
            errors = output
        else:
            errors = files.enter_context(open(stderr, "wb", buffering=0)) if stderr else None
        start = time.monotonic()
        child = Child(argv, cwd=cwd, env=env, groups=groups, limits=limits, stdin=source, stdout=output, stderr=errors)
    try:
        in_time = child.wait(timeout_s)
        seconds = time.monotonic() - start
        if not in_time:
            child.terminate()
    finally:
        code = child.reap()
    if code is None:
        raise ToolFailure(f"{os.path.basename(argv[0])}: its exit status was taken by another part of this process")
    return Completed(code if code >= 0 else None, -code if code < 0 else None, seconds, not in_time)


def environment(*extra: Mapping[str, str]) -> Environment:
    """This process's environment, one thread for numerical libraries, then ``extra``. Do not change the result."""
    return _environment(tuple(item for some in extra for item in some.items()))


@lru_cache(maxsize=64)
def _environment(extra: tuple[tuple[str, str], ...]) -> Environment:
    """In bytes, once: to encode a hundred variables for every start would cost as much as the start."""
    return {os.fsencode(k): os.fsencode(v) for k, v in {**os.environ, **ONE_THREAD, **dict(extra)}.items()}


def tail(path: Path, n_bytes: int = 2000, n_lines: int = 12, since: int = 0) -> str:
    """The last lines of a text file from byte ``since`` on, whatever its bytes; empty if there is none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, since, size - n_bytes))
            text = file.read(n_bytes).decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(line.rstrip() for line in text.strip().splitlines()[-n_lines:])


def held_bytes(pid: int) -> int:
    """Memory that a process holds (resident, in RAM); 0 where that cannot be known."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:  # no /proc: macOS
        asked = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return int(asked.stdout) * 1024
    except (OSError, ValueError):
        return 0


def _pidfd(pid: int) -> int | None:
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):  # kernels before 5.3
            return os.pidfd_open(pid)
    return None


def _limit(pid: int, limits: Limits) -> None:
    """Set limits on a process that has just been started: long before it can have used up any."""
    if sys.platform == "linux":
        wanted = ((resource.RLIMIT_AS, limits.memory_bytes), (resource.RLIMIT_FSIZE, limits.file_bytes),
                  (resource.RLIMIT_CORE, 0))
        for what, value in wanted:
            if value is not None:
                hard = resource.getrlimit(what)[1]  # the child has ours, and nobody may raise it
                value = value if hard == resource.RLIM_INFINITY else min(value, hard)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    resource.prlimit(pid, what, (value, value))


def _limiting(argv: Sequence[str], limits: Limits) -> list[str]:
    """The same command behind a shell that sets the limits (where no prlimit exists); argv stays words, not code."""
    script = "ulimit -c 0; "
    if limits.memory_bytes is not None:
        script += f"ulimit -v {limits.memory_bytes // 1024} 2>/dev/null; "
    if limits.file_bytes is not None:
        script += f"ulimit -f {-(-limits.file_bytes // 512)}; "
    return ["/bin/sh", "-c", script + 'exec "$@"', "sh", *argv]
